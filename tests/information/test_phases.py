"""The statistics of a path, on paths whose timing is known."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bitlens.errors import BitlensError
from bitlens.information.phases import (
    Phases,
    late_drawdown,
    late_fall,
    measure_phases,
    median_of_three,
    rank_correlation,
)

Floats = npt.NDArray[np.float64]
STEPS = np.unique(np.concatenate([[0], np.geomspace(1, 10_000, 70).round()]))
U = np.log10(1 + STEPS)


def ramp(low: float, high: float) -> Floats:
    return np.clip((U - low) / (high - low), 0, 1)


def separated() -> tuple[Floats, Floats]:
    """Fit on u in [.5, 1.5] while x rises, compression on [2, 3]: the halves lie 1.5 decades apart."""
    return 2 + 3 * ramp(0.5, 1.5) - 3 * ramp(2, 3), ramp(0.5, 1.5)


def simultaneous() -> tuple[Floats, Floats]:
    return 5 - 3 * ramp(0, 4), ramp(0, 4)


def with_noise(x: Floats, y: Floats) -> list[Phases]:
    draw = np.random.default_rng(0)
    return [
        measure_phases(
            STEPS,
            x + 0.05 * draw.standard_normal(len(x)),
            y + 0.02 * draw.standard_normal(len(y)),
        )
        for _ in range(40)
    ]


def mean_of(paths: list[Phases], name: str) -> float:
    values = [getattr(path, name) for path in paths]
    assert None not in values
    return float(np.mean(values))


def test_separated_phases() -> None:
    found = measure_phases(STEPS, *separated())
    assert found.defined and found.why_not is None
    assert pytest.approx(1) == found.F
    assert pytest.approx(3, abs=1e-9) == found.C
    assert found.kappa == pytest.approx(3 / 5)
    assert found.rise == pytest.approx(3)
    assert (found.overlap, found.coupling, found.phi) == pytest.approx((0, 1, 1))
    assert found.lag == pytest.approx(1.5, abs=0.01)


def test_simultaneous_phases() -> None:
    found = measure_phases(STEPS, *simultaneous())
    assert found.rise == pytest.approx(0)
    assert (found.overlap, found.coupling, found.lag, found.phi) == pytest.approx((1, -1, 0, 0.5))


def test_noise_leaves_the_coupling_and_lowers_the_overlap() -> None:
    apart = with_noise(2 + 3 * ramp(0, 2) - 3 * ramp(2, 3), ramp(0, 2))
    together = with_noise(*simultaneous())
    assert mean_of(apart, "overlap") == pytest.approx(0.03, abs=0.015)
    assert mean_of(apart, "coupling") == pytest.approx(1, abs=0.005)
    assert mean_of(together, "overlap") == pytest.approx(0.55, abs=0.05)
    assert mean_of(together, "coupling") == pytest.approx(-1, abs=0.005)


def test_a_path_by_hand() -> None:
    # Medians of three leave these monotone stretches as they are, but for the peak of 4, which becomes 3.
    found = measure_phases(
        [0, 9, 99, 999, 9999], [1.0, 4.0, 3.0, 2.0, 0.0], [0.0, 0.2, 0.4, 0.4, 1.0]
    )
    assert found.u == pytest.approx([0, 1, 2, 3, 4])
    # x becomes 1 3 3 2 0: the drawdown is 0 0 0 1 3.
    assert pytest.approx(3) == found.C
    assert found.compression == pytest.approx([0, 0, 0, 1 / 3, 2 / 3])
    assert pytest.approx(1) == found.F
    assert found.fit == pytest.approx([0, 0.2, 0.2, 0, 0.6])
    assert found.overlap == pytest.approx(0.6)
    assert (found.kappa, found.rise) == pytest.approx((1, 2))
    # Half of C is reached a quarter of the way from u=3 to u=4, half of F a sixth of that way.
    assert found.lag == pytest.approx(1 / 4 - 1 / 6)
    assert found.phi == pytest.approx(0.4 + 0.6 / 4)
    # 90 % of the fit is reached only at the end: all five points, y tied at the third and fourth.
    assert found.coupling == pytest.approx(
        stats.spearmanr([1, 3, 3, 2, 0], [0, 0.2, 0.4, 0.4, 1])[0]
    )


def test_coupling_looks_only_at_the_first_nine_tenths_of_the_fit() -> None:
    y = np.array([0.0, 0.3, 0.6, 0.9, 0.95, 1.0])
    found = measure_phases([0, 1, 2, 3, 4, 5], [1.0, 2.0, 3.0, 4.0, 4.0, 0.0], y)
    assert found.coupling == pytest.approx(1)


def test_coupling_is_none_when_the_fit_is_over_at_once() -> None:
    found = measure_phases([0, 1, 2, 3], [4.0, 3.0, 2.0, 1.0], [0.0, 1.0, 1.0, 1.0])
    assert found.defined and found.coupling is None and found.overlap == pytest.approx(1 / 3)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_rank_correlation_is_scipys(pairs: list[tuple[int, int]]) -> None:
    x, y = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
    ours = rank_correlation(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert ours is None
    else:
        assert ours == pytest.approx(stats.spearmanr(x, y)[0])


@given(
    st.lists(st.tuples(st.floats(0, 16), st.floats(0, 3.3)), min_size=3, max_size=40),
    st.floats(0.1, 10),
)
def test_ranges_and_scales(pairs: list[tuple[float, float]], scale: float) -> None:
    x, y = (np.array(side) for side in zip(*pairs, strict=True))
    steps = np.arange(len(x)) ** 2
    found = measure_phases(steps, x, y)
    assert found.F >= 0 and found.C >= 0 and 0 <= found.kappa <= 1 and found.rise >= 0
    for curve, total in ((found.fit, found.F), (found.compression, found.C)):
        assert (curve >= 0).all()
        assert curve.sum() == pytest.approx(1 if total > 0 else 0)
    if not found.defined:
        assert (
            found.why_not and (found.overlap, found.coupling, found.lag, found.phi) == (None,) * 4
        )
        return
    assert found.overlap is not None and -1e-12 <= found.overlap <= 1 + 1e-12
    assert found.phi is not None and -1e-12 <= found.phi <= 1 + 1e-12
    # Timing does not depend on how many bits it is about.
    if min(found.F, found.C) * min(1, scale) > 0.021:
        scaled = measure_phases(steps, x * scale, y * scale)
        assert scaled.overlap == pytest.approx(found.overlap, abs=1e-6)


def test_median_of_three() -> None:
    path = np.array([3.0, 9.0, 1.0, 2.0, 2.5])
    assert median_of_three(path).tolist() == [3.0, 3.0, 2.0, 2.0, 2.5]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"y": 0.019 * ramp(0.5, 1.5)}, "total fit 0.0190"),
        ({"x": 2 - 0.019 * ramp(2, 3)}, "total compression 0.0190"),
        ({"half_x": 1.1}, "three half-widths"),
        ({"half_y": np.full(len(STEPS), 0.35)}, "three half-widths"),
        ({"saturated": np.arange(len(STEPS)) < 0.4 * len(STEPS)}, "40% of the checkpoints"),
    ],
)
def test_paths_that_are_not_defined(
    change: dict[str, npt.NDArray[np.float64]], reason: str
) -> None:
    x, y = separated()
    given_path = {"x": x, "y": y, **change}
    found = measure_phases(STEPS, **given_path)
    assert not found.defined and found.overlap is None and found.coupling is None
    assert found.why_not is not None and reason in found.why_not


def test_just_within_the_rules_is_defined() -> None:
    x, y = separated()
    lost = np.arange(len(STEPS)) % 3 == 2
    found = measure_phases(STEPS, x, 0.021 * y, half_x=0.99, half_y=0.006, saturated=lost)
    assert found.defined


def test_late_drawdown() -> None:
    # The last half begins at u = 2: only what is lost there counts.
    assert late_drawdown(STEPS, 5 - 3 * ramp(0, 1) - 0.7 * ramp(2.5, 3.5)) == pytest.approx(0.7)
    assert late_drawdown(STEPS, 5 - 3 * ramp(0, 1.9)) == pytest.approx(0, abs=1e-12)
    assert late_drawdown(STEPS, 5 - 3 * ramp(1, 3)) == pytest.approx(1.5, abs=0.1)
    # Losing one bit in the window counts even when another is gained.
    assert late_drawdown(STEPS, 1 + ramp(2.1, 2.8) - ramp(3, 3.8)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0, 1], [1, 1], [1, 1]), "three checkpoints"),
        (([0, 2, 1], [1, 1, 1], [1, 1, 1]), "ascending"),
        (([-1, 0, 1], [1, 1, 1], [1, 1, 1]), "ascending"),
        (([0, 1, 2], [1, 1], [1, 1, 1]), "x has shape"),
        (([0, 1, 2], [1, 1, 1], [1, float("nan"), 1]), r"y\[1\] is nan"),
    ],
)
def test_bad_paths(arguments: tuple[list[float], ...], words: str) -> None:
    with pytest.raises(BitlensError, match=words):
        measure_phases(*arguments)


def test_bad_masks_and_widths() -> None:
    path = ([0, 1, 2], [1, 1, 1], [0, 1, 1])
    with pytest.raises(BitlensError, match="3 booleans"):
        measure_phases(*path, saturated=[0, 1, 0])
    with pytest.raises(BitlensError, match="negative"):
        measure_phases(*path, half_x=-0.1)


def test_needs_no_torch() -> None:
    script = (
        "import sys, bitlens.information.phases, bitlens.information.regimes, "
        "bitlens.information.group_tests, bitlens.information.estimators; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_saturated_points_are_left_out() -> None:
    steps = [0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000]
    x = [9.97, 9.97, 9.97, 6.0, 5.6, 5.3, 5.0, 4.6, 4.3, 4.0]
    y = [3.32, 3.32, 3.32, 0.5, 0.7, 0.9, 1.1, 1.3, 1.4, 1.5]
    saturated = np.array(x) > 9.9
    found = measure_phases(steps, x, y, saturated=saturated)
    alone = measure_phases(steps[3:], x[3:], y[3:])
    assert found.F == pytest.approx(1.0) and found.C == pytest.approx(2.0)
    assert (found.F, found.C, found.coupling) == (alone.F, alone.C, alone.coupling)
    assert found.overlap == pytest.approx(alone.overlap)
    assert len(found.u) == len(found.fit) == 10 and not found.fit[:3].any()


def test_jitter_draws_down_but_does_not_fall() -> None:
    steps = np.unique(np.round(np.geomspace(1, 10_000, 70)))
    noise = np.random.default_rng(0).normal(0, 0.02, len(steps))
    assert late_drawdown(steps, 5 + noise) > 0.03
    assert abs(late_fall(steps, 5 + noise)) < 0.03
    falling = 5 - 0.3 * np.log10(steps)
    # The window covers two of four decades; its ends are medians of three points.
    assert late_fall(steps, falling + noise) == pytest.approx(0.56, abs=0.08)
    assert late_fall(steps, -falling) == pytest.approx(-late_fall(steps, falling))
