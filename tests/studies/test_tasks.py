from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from bitlens.errors import BitlensError
from bitlens.studies.information_plane.tasks import TASKS, load_task


def test_the_rule_is_a_quadratic_form_above_its_median() -> None:
    task = load_task("rule")
    x, y = (part.numpy() for part in task.probe)
    assert x.shape == (4096, 12) and set(np.unique(x)) == {-1.0, 1.0}
    assert len(np.unique(x, axis=0)) == 4096
    assert y.mean() == 0.5 and task.population
    generator = np.random.default_rng(12)
    form, linear = generator.normal(size=(12, 12)), generator.normal(size=12)
    scores = [
        sum(form[i, j] * row[i] * row[j] for i in range(12) for j in range(12)) + linear @ row
        for row in x.astype(float)[:40]
    ]
    above = [score for score, label in zip(scores, y[:40], strict=True) if label]
    below = [score for score, label in zip(scores, y[:40], strict=True) if not label]
    assert max(below) < min(above)


@pytest.mark.parametrize("name", ["rule", "digits"])
def test_what_is_learned_and_what_is_judged_do_not_overlap(name: str) -> None:
    task = load_task(name)
    whole = len(task.probe[0])
    assert len(task.train[0]) == whole * 4 // 5
    assert len(task.train[0]) + len(task.test[0]) == whole
    if name == "rule":
        rows = torch.cat([task.train[0], task.test[0]])
        assert len(rows.unique(dim=0)) == whole


def test_digits_are_scikit_learns() -> None:
    pixels, labels = load_digits(return_X_y=True)
    task = load_task("digits")
    assert np.array_equal((task.probe[0].numpy() + 1) * 8, pixels.astype(np.float32))
    assert np.array_equal(task.probe[1].numpy(), labels)
    assert task.classes == 10 and not task.population


def test_images_come_flat_and_normalized() -> None:
    task = load_task("fashion-mnist-mini")
    x, y = task.train
    assert x.shape == (10_000, 784) and task.test[0].shape == (2000, 784)
    assert task.probe is task.train and task.classes == 10 == len(y.unique())
    assert abs(float(x.mean())) < 0.05 and float(x.std()) == pytest.approx(1.0, abs=0.05)


def test_an_unknown_task_is_named_with_its_neighbours() -> None:
    with pytest.raises(BitlensError, match=r"digitz.*digits"):
        load_task("digitz")
    assert set(TASKS) >= {"rule", "digits", "fashion-mnist", "cifar10"}
