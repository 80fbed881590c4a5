from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path as File

import numpy as np
import pytest

from bitlens.studies.information_plane.claims import judge
from bitlens.studies.information_plane.kinds import KINDS
from bitlens.studies.information_plane.paths import Path, trajectories
from bitlens.studies.information_plane.store import Store
from bitlens.studies.information_plane.tiers import trial
from bitlens.studies.information_plane.verdict import STATEMENTS

BLANK = Path(
    task="rule",
    hidden="64-16-12-8-6",
    kind="bnn-ste",
    weight_decay=0.0,
    seed=0,
    layer="L5",
    depth=5,
    from_end=1,
    readout="signs",
    fit=0.5,
    compression=2.0,
    kappa=0.5,
    rise=0.0,
    overlap=0.3,
    coupling=-0.8,
    lag=0.1,
    phi=0.5,
    why_not="",
    entropy_first=6.0,
    entropy_half_fit=5.0,
    entropy_last=4.0,
    entropy_corrected=4.0,
    information_first=0.1,
    information_last=0.6,
    information_corrected=0.6,
    half_width=0.0,
    late_drawdown=1.0,
    late_fall=0.8,
    balanced_first=0.9,
    saturated=0.0,
    flag_last="reliable",
    train_accuracy=0.9,
    test_accuracy=0.85,
    test_loss=0.4,
)


def paths(kind: str, overlap: float, coupling: float, readout: str = "signs") -> list[Path]:
    return [
        replace(
            BLANK,
            kind=kind,
            seed=seed,
            from_end=from_end,
            depth=6 - from_end,
            layer=f"L{6 - from_end}",
            readout=readout,
            overlap=overlap + seed / 1000,
            coupling=coupling + seed / 1000,
        )
        for seed, from_end in product(range(8), (1, 2))
    ]


def verdicts(found: list[Path], claim: str) -> list[str]:
    return [row.verdict for row in judge(found) if row.claim == claim]


def test_the_published_picture_holds() -> None:
    found = paths("dnn-tanh", 0.1, 0.7, "30 bins")
    for kind in ("bnn-ste", "bnn-approx", "bnn-swish"):
        found += paths(kind, 0.3, -0.8)
    assert verdicts(found, "C1") == ["holds"] * 2
    assert verdicts(found, "C2") == ["holds"] * 6
    assert verdicts(found, "C3") == ["holds"] * 2
    assert verdicts(found, "C4") == ["holds"] * 2
    difference = next(row for row in judge(found) if row.claim == "C3")
    assert difference.value == pytest.approx(-1.5, abs=0.01)
    # 8 against 8, fully apart: 2 / C(16, 8), doubled by Holm for two layers.
    assert difference.p == pytest.approx(2 * 2 / 12870)
    assert difference.low < -1.5 < difference.high < 0


def test_the_opposite_picture_fails() -> None:
    found = paths("dnn-tanh", 0.4, -0.7, "30 bins")
    for kind, overlap in (("bnn-ste", 0.1), ("bnn-approx", 0.5), ("bnn-swish", 0.1)):
        found += paths(kind, overlap, 0.8)
    assert set(verdicts(found, "C1")) == {"fails"}
    assert set(verdicts(found, "C2")) == {"fails"}
    assert set(verdicts(found, "C3")) == {"fails"}
    assert set(verdicts(found, "C4")) == {"fails"}


def test_a_median_interval_is_made_of_order_statistics() -> None:
    row = next(row for row in judge(paths("bnn-ste", 0.3, -0.8)) if row.claim == "C2")
    # With eight values the smallest and the largest hold the median with 1 - 2/256 = .992.
    assert (row.low, row.high) == (pytest.approx(-0.8), pytest.approx(-0.793))


def test_what_is_not_defined_is_undecided() -> None:
    found = [
        replace(path, overlap=None, coupling=None, why_not="all saturated")
        for path in paths("dnn-tanh", 0.1, 0.5, "30 bins")
    ]
    rows = [row for row in judge(found + paths("bnn-ste", 0.3, -0.5)) if row.claim in ("C1", "C3")]
    assert {row.verdict for row in rows} == {"undecided"}
    assert "all saturated" in rows[0].note


def test_equal_kinds_show_no_difference() -> None:
    found = paths("bnn-ste", 0.3, -0.8) + paths("w32a32-bn", 0.3, -0.8)
    rows = [row for row in judge(found) if row.claim == "C5" and row.p is not None]
    assert {row.verdict for row in rows} == {"no difference shown"}
    assert all(row.value == 0 for row in rows)


def test_too_few_nets_leave_a_difference_undecided() -> None:
    found = paths("dnn-tanh", 0.1, 0.7, "30 bins") + paths("bnn-ste", 0.3, -0.8)
    few = [path for path in found if path.seed < 3]
    rows = [row for row in judge(few) if row.claim == "C3"]
    assert {row.verdict for row in rows} == {"undecided"}
    assert rows[0].note == "3 against 3 nets cannot reach p < 0.05" and rows[0].value < -1


def test_tasks_are_families_of_their_own() -> None:
    found = paths("dnn-tanh", 0.1, 0.7, "30 bins") + paths("bnn-ste", 0.3, -0.8)
    elsewhere = [replace(path, task="digits", hidden="64-12-8-7-6") for path in found]
    alone = next(row for row in judge(found) if row.claim == "C3")
    together = next(row for row in judge(found + elsewhere) if row.claim == "C3")
    assert alone.p == together.p


def test_spread_at_the_start_predicts_the_coupling() -> None:
    generator = np.random.default_rng(0)
    found = []
    for seed, path in enumerate(paths("bnn-ste", 0.3, 0.0) * 4):
        spread = generator.normal()
        noise = 0.1 * generator.normal()
        found.append(
            replace(path, seed=seed, entropy_first=6 + spread, entropy_half_fit=6.0,
                    entropy_last=6.0, coupling=-np.tanh(spread) + noise)
        )  # fmt: skip
    rows = [row for row in judge(found) if row.claim == "C6"]
    assert rows[0].verdict == "holds" and rows[0].value < -0.9
    assert rows[0].low < rows[0].value < rows[0].high < 0


def test_late_compression_counts_layers_that_fell() -> None:
    found = [
        replace(path, late_fall=1.0 if path.seed < 6 else -0.5)
        for path in paths("bnn-ste", 0.3, -1)
    ]
    row = next(row for row in judge(found) if row.claim == "C7")
    assert row.n == 16 and row.value == 0.75 and row.verdict == "holds"
    assert "rose in 25%" in row.note and "drawdown in 100%" in row.note
    assert 0.25 < row.low < 0.75 < row.high <= 1


def test_compression_against_generalisation() -> None:
    generator = np.random.default_rng(1)
    found = []
    for seed in range(60):
        final = generator.normal()
        found.append(replace(BLANK, seed=100 + seed, entropy_corrected=final,
                             kappa=generator.random(), test_accuracy=0.8 - 0.05 * final))  # fmt: skip
    rows = [row for row in judge(found) if row.claim == "C8"]
    by_measure = {row.about.split(" of the")[0]: row for row in rows if "all shapes" in row.task}
    assert by_measure["final I(X;T)"].verdict == "compressed better"
    assert by_measure["final I(X;T)"].value == pytest.approx(-1.0)
    assert by_measure["compression kappa"].verdict == "no relation shown"


def test_a_net_too_narrow_to_fit() -> None:
    found = [
        replace(path, hidden="10-7-5-4-3", train_accuracy=0.8)
        for path in paths("bnn-ste", 0.05, -0.6)
    ]
    assert verdicts(found, "C10") == ["holds"] * 2
    fitting = [replace(path, train_accuracy=0.95) for path in found]
    assert verdicts(fitting, "C10") == ["undecided"] * 2


def test_one_seed_of_ten_decides_nothing() -> None:
    found = paths("dnn-tanh", 0.1, 0.7, "30 bins")
    for kind in ("bnn-ste", "bnn-approx", "bnn-swish"):
        found += paths(kind, 0.3, -0.8)
    found += [
        replace(path, hidden="10-7-5-4-3", train_accuracy=0.8)
        for path in paths("bnn-ste", 0.3, -0.8)
    ]
    lost = [
        replace(path, overlap=None, coupling=None, why_not="lost") if path.seed else path
        for path in found
    ]
    for row in judge(lost):
        if row.claim in ("C1", "C2", "C3", "C4", "C10"):
            assert row.verdict == "undecided" and "defined in 1 of 8: lost" in row.note
    few = [replace(path, overlap=None, coupling=None, why_not="lost") if path.seed < 2 else path
           for path in found]  # fmt: skip
    row = next(row for row in judge(few) if row.claim == "C3")
    assert row.verdict == "holds" and "dnn-tanh defined in 6 of 8: lost" in row.note


def test_an_interval_that_reaches_zero_is_told() -> None:
    found = [replace(path, coupling=-0.3 + 0.15 * path.seed) for path in paths("bnn-ste", 0.3, 0.0)]
    low = [replace(path, coupling=(path.coupling or 0) - 0.3) for path in found]
    row = next(row for row in judge(low) if row.claim == "C2")
    assert row.value < 0 < row.high and "interval reaches 0" in row.note


def test_seeds_within_a_kind_are_compared_apart_from_kinds() -> None:
    generator = np.random.default_rng(0)
    found = []
    # Kinds differ in start and coupling; from seed to seed there is no relation.
    for kind, start, rho in (("bnn-ste", 6.0, -0.8), ("dnn-tanh", 2.0, 0.8)):
        for path in paths(kind, 0.3, rho):
            noise, other = generator.normal(size=2)
            found.append(
                replace(path, entropy_first=start + 0.1 * noise, coupling=rho + 0.05 * other,
                        entropy_half_fit=4.0, entropy_last=4.0)
            )  # fmt: skip
    rows = {row.about: row for row in judge(found) if row.claim == "C6"}
    name = "H(T) at step 0 minus at half of the fit"
    assert rows[name].value < -0.6
    within = rows[f"{name}, within a task, shape, kind and layer"]
    assert abs(within.value) < 0.5 and within.verdict == "fails"


def test_extra_seeds_of_the_population_do_not_enter_the_phase_claims() -> None:
    found = [replace(path, seed=path.seed + 100) for path in paths("bnn-ste", 0.3, -0.8)]
    assert not verdicts(found, "C2") and verdicts(found, "C7")


def test_every_claim_is_stated() -> None:
    assert list(STATEMENTS) == [f"C{k}" for k in range(1, 11)]
    assert set(KINDS) >= {"dnn-tanh", "bnn-ste", "bnn-ste-cmim"}


def test_paths_of_written_points(tmp_path: File) -> None:
    one, store = trial("rule", (8, 5, 4), "bnn-ste", 1, epochs=1), Store(tmp_path)
    steps = [0, 1, 3, 9, 27, 81]
    entropy = [4.0, 4.5, 4.0, 3.0, 2.0, 1.5]
    information = [0.0, 0.1, 0.3, 0.5, 0.8, 0.9]
    rows = [
        {
            "seed": 0, "step": step, "layer": "L3", "readout": "signs", "entropy": h,
            "information": i, "entropy_low": h - 0.01, "entropy_high": h + 0.01,
            "information_low": i, "information_high": i, "entropy_cwj": h, "information_cwj": i,
            "flag": "reliable", "reading": "sample", "balanced_units": 0.5, "log2_samples": 12.0,
            "label_entropy": 1.0, "train_accuracy": 0.9, "test_accuracy": 0.8, "test_loss": 0.5,
        }
        for step, h, i in zip(steps, entropy, information, strict=True)
    ]  # fmt: skip
    store.write(one, rows[::-1], {})
    (found,) = trajectories(store, [one])
    path = found.path
    assert found.steps.tolist() == steps and path.from_end == 1 and path.depth == 3
    # Medians of three: 4, 4, 4, 3, 2, 1.5 and 0, .1, .3, .5, .8, .9.
    assert path.fit == pytest.approx(0.9) and path.compression == pytest.approx(2.5)
    assert path.rise == pytest.approx(0.0) and path.half_width == pytest.approx(0.01)
    assert path.coupling == pytest.approx(-0.90, abs=0.08)
    assert path.entropy_half_fit == 3.0 and path.entropy_last == 1.5
    assert path.test_accuracy == 0.8 and path.balanced_first == 0.5
