from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bitlens.errors import BitlensError
from bitlens.information.codes import Codes, hash_signs
from bitlens.information.steps import LogSteps
from bitlens.studies.information_plane import trial as module
from bitlens.studies.information_plane.kinds import FACTORIAL, KINDS
from bitlens.studies.information_plane.measure import _units, measure
from bitlens.studies.information_plane.stack import StackedNet
from bitlens.studies.information_plane.tasks import load_task
from bitlens.studies.information_plane.tiers import TIERS, trial, trials
from bitlens.studies.information_plane.trial import Trial, run_trial

SMALL = trial("rule", (10, 6, 4), "bnn-ste", 2, epochs=3)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return run_trial(SMALL)


def test_every_net_is_measured_at_every_step_of_the_schedule(rows: list[dict[str, Any]]) -> None:
    steps = LogSteps(70).steps(3 * (3276 // 256))
    assert {row["step"] for row in rows} == set(steps)
    counts = Counter((row["seed"], row["step"]) for row in rows)
    assert set(counts.values()) == {4}
    assert {row["layer"] for row in rows} == {"L1", "L2", "L3", "prediction"}
    assert all(row["reading"] == "population" for row in rows)


def test_processing_never_adds_information(rows: list[dict[str, Any]]) -> None:
    order = ["L1", "L2", "L3", "prediction"]
    by_point: dict[tuple[int, int], dict[str, dict[str, Any]]] = {}
    for row in rows:
        by_point.setdefault((row["seed"], row["step"]), {})[row["layer"]] = row
    for point in by_point.values():
        for name in ("entropy", "information"):
            path = [point[layer][name] for layer in order]
            assert all(a >= b - 1e-9 for a, b in itertools.pairwise(path))
        assert point["L1"]["entropy"] <= 12 + 1e-9


def test_a_trial_repeats_to_the_last_bit(rows: list[dict[str, Any]]) -> None:
    assert run_trial(SMALL) == rows


def test_the_net_learns_the_rule() -> None:
    last = run_trial(trial("rule", (64, 16, 8), "dnn-tanh", 1, epochs=60, matched=False))[-1]
    assert last["train_accuracy"] > 0.85 and last["test_accuracy"] > 0.8


def test_float_layers_are_read_in_every_way() -> None:
    task, kind = load_task("digits"), KINDS["dnn-tanh"]
    net = StackedNet(kind, (64, 6, 5, 10), (0,))
    layers, (logits, _) = net.probe(0, task.probe[0], (task.test[0],))
    found = measure(layers, logits, task, kind, matched=True)
    readouts = Counter(row["readout"] for row in found)
    assert readouts == {
        **dict.fromkeys(("signs", "30 bins", "width 0.5", "kernel"), 2),
        "prediction": 1,
    }
    by_key = {(row["layer"], row["readout"]): row for row in found}
    bits = (layers[1].output >= 0).numpy()
    distinct = {tuple(row) for row in bits}
    assert by_key["L2", "signs"]["distinct"] == len(distinct)
    # Bins of width 1/2 refine the signs, so they cannot say less.
    assert by_key["L2", "width 0.5"]["entropy"] >= by_key["L2", "signs"]["entropy"]
    assert by_key["prediction", "prediction"]["distinct"] == len(logits.argmax(1).unique())


def test_single_units_against_counting() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 400)
    bits = (generator.random((400, 5)) < 0.2 + 0.3 * labels[:, None]).astype(bool)
    expected = expected_entropy = 0.0
    for unit in range(5):
        joint = np.array(
            [[np.mean((bits[:, unit] == b) & (labels == c)) for b in (0, 1)] for c in range(3)]
        )
        p, q = joint.sum(0), joint.sum(1)
        expected += float(np.sum(joint * np.log2(joint / np.outer(q, p))))
        expected_entropy -= float(np.sum(p * np.log2(p)))
    found = _units(torch.from_numpy(bits), labels)
    assert found["unit_information"] == pytest.approx(expected, abs=1e-6)
    assert found["unit_entropy"] == pytest.approx(expected_entropy, abs=1e-6)
    shares = bits.mean(0)
    assert found["balanced_units"] == pytest.approx(np.mean(np.abs(shares - 0.5) <= 0.1))


def test_constant_and_balanced_units() -> None:
    labels = np.array([0, 0, 1, 1])
    bits = torch.tensor([[1, 1], [1, 1], [1, 0], [1, 0]], dtype=torch.bool)
    found = _units(bits, labels)
    assert found == {"unit_information": 1.0, "unit_entropy": 1.0, "balanced_units": 0.5}


def test_a_loss_that_is_not_finite_names_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> torch.Tensor:
        return torch.tensor([1.0, float("nan")], requires_grad=True)

    monkeypatch.setattr(module, "_loss", broken)
    with pytest.raises(BitlensError, match="seed 1 is nan"):
        run_trial(SMALL)


@pytest.mark.parametrize("tier", list(TIERS))
def test_trials_of_a_tier_have_names_of_their_own(tier: str) -> None:
    found = trials(tier)
    assert len({one.name for one in found}) == len(found)
    assert all(one.kind in KINDS for one in found)


def test_the_tiers_hold_what_the_claims_need() -> None:
    full, short = trials("full"), trials("short")
    binary = [one for one in full if KINDS[one.kind].binary and not KINDS[one.kind].cmim]
    assert sum(len(one.seeds) for one in binary) >= 375
    assert {one.task for one in full} == {
        "rule", "digits", "fashion-mnist", "fashion-mnist-mini", "cifar10",
    }  # fmt: skip
    assert {one.kind for one in short if one.task == "rule"} == set(KINDS)
    assert {one.kind for one in full if one.task == "fashion-mnist"} == set(KINDS)
    with pytest.raises(BitlensError, match="tier"):
        trials("ful")


def test_the_factorial_names_the_kind_in_each_cell() -> None:
    assert len(FACTORIAL) == len(set(FACTORIAL.values())) == 8
    for (weights, activation, norm), name in FACTORIAL.items():
        kind = KINDS[name]
        assert (kind.weights, kind.activation, kind.norm) == (weights, activation, norm)
        assert not kind.cmim and not kind.spread


def test_names_tell_trials_apart() -> None:
    one = Trial(task="rule", hidden=(4,), kind="bnn-ste", seeds=(0,), epochs=1, batch=8, lr=0.1)
    others = [replace(one, hidden=(5,)), replace(one, weight_decay=0.1), replace(one, seeds=(0, 1))]
    assert len({one.name, *(other.name for other in others)}) == 4


def test_signs_of_latent_and_output_are_one_code() -> None:
    layer = StackedNet(KINDS["dnn-tanh"], (12, 8, 2), (0,)).probe(0, load_task("rule").probe[0])[0]
    latent, output = (Codes(hash_signs(t), 8) for t in (layer[0].latent, layer[0].output))
    assert np.array_equal(latent.hashes, output.hashes)
