"""Constants against brute force over all candidates, judged as nets are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bitlens.data.dense.scenes import VOID, SceneData, SceneSet
from bitlens.errors import BitlensError
from bitlens.tasks.config import DenseConfig
from bitlens.tasks.constants import (
    best_constants,
    commonest_depth,
    evaluate_constant,
    evaluate_constants,
    mean_depth,
    mean_log_depth,
    median_depth,
    most_frequent_class,
)
from bitlens.tasks.dense import DenseTask

CROP = (1 / 8, 7 / 8, 0.0, 0.5)


def scenes(seed: int, n: int = 20, *, masks: bool = True, depths: bool = True) -> SceneSet:
    source = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(torch.tensor([0.2, 0.1, 0.5, 0.2]), n * 96, True, generator=source)
    labels[torch.rand(n * 96, generator=source) < 0.6] = VOID
    metres = (torch.randn(n * 96, generator=source) * 0.5 + 0.9).exp().clamp(0.2, 9.9)
    millimetres = (1000 * metres).to(torch.int16)
    millimetres[torch.rand(n * 96, generator=source) < 0.3] = 0
    return SceneSet(
        torch.zeros(n, 3, 8, 12, dtype=torch.uint8),
        labels.reshape(n, 8, 12).to(torch.uint8) if masks else None,
        millimetres.reshape(n, 8, 12) if depths else None,
    )


def data() -> SceneData:
    return SceneData(
        name="drawn", train=scenes(0), test=scenes(1, 5), classes=("a", "b", "c", "d"),
        mean=(0.5,) * 3, std=(0.5,) * 3, crop=CROP,
    )  # fmt: skip


def test_the_most_frequent_class() -> None:
    assert most_frequent_class(scenes(0)) == 2


def test_depths_against_numpy() -> None:
    train = scenes(0)
    known = train.depths.numpy()[train.depths.numpy() > 0].astype(np.float64) / 1000
    assert mean_depth(train) == pytest.approx(known.mean(), rel=1e-12)
    assert median_depth(train) == np.quantile(known, 0.5, method="inverted_cdf")


def test_the_commonest_depth_is_the_best_in_delta1() -> None:
    train = scenes(0)
    known = train.depths.numpy()[train.depths.numpy() > 0].astype(np.int64)
    shares = [np.mean((5 * known > 4 * said) & (4 * known < 5 * said)) for said in range(1, 10000)]
    assert commonest_depth(train) == pytest.approx((1 + int(np.argmax(shares))) / 1000)


def test_the_mean_of_logarithms_is_that_of_known_pixels() -> None:
    train = scenes(0)
    known = train.depths.numpy()[train.depths.numpy() > 0].astype(np.float64)
    assert mean_log_depth(train) == pytest.approx(np.log(known / 1000).mean(), rel=1e-12)
    with pytest.raises(BitlensError, match="depth"):
        mean_log_depth(SceneSet(train.images, train.masks, train.depths * 0))


def test_each_depth_is_the_best_of_its_metric_on_its_own_scenes() -> None:
    train = scenes(0)
    known = train.depths[train.depths > 0].double() / 1000
    found = {
        "rmse": evaluate_constant(train, depth=mean_depth(train)),
        "log10": evaluate_constant(train, depth=median_depth(train)),
        "delta1": evaluate_constant(train, depth=commonest_depth(train)),
    }
    for said in torch.linspace(0.3, 9, 60).tolist():
        other = evaluate_constant(train, depth=said)
        assert other["rmse"] >= found["rmse"]["rmse"]
        assert other["log10"] >= found["log10"]["log10"] - 1e-6
        assert other["delta1"] <= found["delta1"]["delta1"]
    assert found["rmse"]["rmse"] == pytest.approx(known.std(correction=0).item())


class Says(nn.Module):
    """A net whose outputs are the same everywhere."""

    def __init__(self, outputs: list[float]) -> None:
        super().__init__()
        self.outputs = nn.Parameter(torch.tensor(outputs))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        n, _, h, w = images.shape
        return self.outputs[None, :, None, None].expand(n, -1, h // 4, w // 4)


def test_a_net_that_says_the_constants_gets_the_same_metrics() -> None:
    drawn = data()
    net = Says([0.0, 0.0, 1.0, 0.0, float(np.log(median_depth(drawn.train)))])
    heads = {"segment": 4, "depth": 1}
    task = DenseTask(net, heads=heads, config=DenseConfig(), crop=CROP)
    batches = drawn.test.batches(torch.arange(5).split(2))
    theirs = task.evaluate((images.float(), truth) for images, truth in batches)
    ours = evaluate_constants(drawn, heads)
    assert set(ours) == {"most frequent class", "median depth", "mean depth", "commonest depth"}
    expected = ours["most frequent class"] | ours["median depth"]
    del theirs["loss"]
    assert theirs == pytest.approx(expected, rel=1e-5)
    assert expected["class_accuracy"] == 1 / 4


def test_the_best_of_each_metric() -> None:
    constants = {
        "one": {"rmse": 1.0, "delta1": 0.2},
        "two": {"rmse": 0.9, "delta1": 0.1},
        "classes": {"miou": 0.05},
    }
    assert best_constants(constants) == {"rmse": 0.9, "delta1": 0.2, "miou": 0.05}


def test_heads_that_are_not_there_are_not_judged() -> None:
    assert set(evaluate_constants(data(), {"segment": 4})) == {"most frequent class"}
    assert "most frequent class" not in evaluate_constants(data(), {"depth": 1})


def test_nothing_to_fit_is_refused() -> None:
    with pytest.raises(
        BitlensError, match="no constant depth can be fitted: the train scenes have"
    ):
        mean_depth(scenes(0, depths=False))
    empty = scenes(0)
    empty.masks.fill_(VOID)
    with pytest.raises(BitlensError, match="no pixel of the train scenes has one"):
        most_frequent_class(empty)


def test_truth_that_is_missing_is_told() -> None:
    with pytest.raises(BitlensError, match="the scenes have no depths"):
        evaluate_constant(scenes(0, 2, depths=False), depth=2.0)
    with pytest.raises(BitlensError, match="the scenes have no masks"):
        evaluate_constant(scenes(0, 2, masks=False), label=1, classes=4)
