"""Bins against numpy's digitize and unique."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.errors import BitlensError
from bitlens.information.codes import Codes
from bitlens.information.counts import count_codes
from bitlens.information.estimators.binning import bin_codes, range_of, width_codes
from bitlens.information.estimators.one_bit import one_bit


def same_partition(codes: Codes, rows: np.ndarray) -> bool:
    """Whether two samples share a code exactly when they share a row."""
    _, truth = np.unique(rows, axis=0, return_inverse=True)
    truth = truth.reshape(-1)
    pairs = len(set(zip(truth.tolist(), codes.ids().tolist(), strict=True)))
    return pairs == len(np.unique(truth)) == len(np.unique(codes.ids()))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 400),
    st.integers(1, 20),
    st.sampled_from([2, 3, 7, 30, 256, 257, 5000]),
    st.integers(0, 99),
)
def test_bins_are_numpys(samples: int, units: int, bins: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    # A coarse grid inside the bins, so that rows coincide and no value lies on an edge.
    cells = draw.integers(0, min(bins, 4), (samples, units))
    t = (cells + draw.uniform(0.1, 0.9, (samples, units))) / bins * 2 - 1
    codes = bin_codes(torch.from_numpy(t), bins)
    assert (codes.units, codes.levels) == (units, bins)
    assert same_partition(codes, np.digitize(t, np.linspace(-1, 1, bins + 1)))


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 300), st.integers(1, 9), st.sampled_from([0.5, 0.25, 3.0]), st.integers(0, 99)
)
def test_widths_are_floors(samples: int, units: int, width: float, seed: int) -> None:
    t = np.random.default_rng(seed).normal(0, 0.7, (samples, units))
    codes = width_codes(torch.from_numpy(t), width)
    bins = np.floor(t / width)
    assert same_partition(codes, bins)
    assert codes.levels == bins.max() - bins.min() + 1


def test_edges_and_ends() -> None:
    t = torch.tensor([[-1.0], [-0.51], [-0.5], [0.0], [0.5], [0.99], [1.0]])
    assert bin_codes(t, 4).ids().tolist() == relabel([0, 0, 1, 2, 3, 3, 3], bin_codes(t, 4))
    assert width_codes(t, 0.5).levels == 5
    assert len(count_codes(width_codes(t, 0.5).hashes)) == 5


def relabel(levels: list[int], codes: Codes) -> list[int]:
    """The ids that samples of these levels get, whatever the order of the hashes."""
    first = {level: int(codes.ids()[levels.index(level)]) for level in levels}
    assert len(set(first.values())) == len(first)
    return [first[level] for level in levels]


def test_signs_in_half_bins_and_two_bins_are_their_sign_pattern() -> None:
    t = torch.randn(500, 6, generator=torch.Generator().manual_seed(0)).sign()
    wanted = one_bit(t).ids()
    for codes in (width_codes(t), bin_codes(t, 2), bin_codes(t, 30)):
        assert len(set(zip(codes.ids().tolist(), wanted.tolist(), strict=True))) == 64


def test_wide_layers_saturate() -> None:
    t = torch.tanh(torch.randn(5000, 64, generator=torch.Generator().manual_seed(0)))
    assert len(count_codes(bin_codes(t).hashes)) == 5000


def test_batches_agree_whatever_they_hold() -> None:
    t = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    for read in (width_codes, lambda part: bin_codes(part, 30, -5, 5)):
        halves = np.concatenate([read(t[:3]).hashes, read(t[3:]).hashes])
        assert (halves == read(t).hashes).all()


def test_values_outside_are_an_error_unless_clipped() -> None:
    t = torch.tensor([[-1.5], [0.2], [2.0]])
    with pytest.raises(
        BitlensError, match=r"from -1.5 to 2.0, outside the bins' range \[-1.0, 1.0\]"
    ):
        bin_codes(t)
    with pytest.raises(
        BitlensError, match=r"to 1.0000001\d*, outside the bins' range \[-1.0, 1.0\]"
    ):
        bin_codes(torch.tensor([[0.5], [1.0000001]]))
    clipped = bin_codes(t, clip=True)
    assert (clipped.hashes == bin_codes(t.clamp(-1, 1)).hashes).all()
    low, high = range_of(t)
    assert (low, high) == (-1.5, 2.0)
    assert len(count_codes(bin_codes(t, 30, low, high).hashes)) == 3


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.bool]
)
def test_types_of_activations(dtype: torch.dtype) -> None:
    t = torch.tensor([[0, 1], [1, 1], [0, 1], [1, 0]]).to(dtype)
    for codes in (bin_codes(t), width_codes(t)):
        assert sorted(count_codes(codes.hashes).tolist()) == [1, 1, 2]


def test_errors() -> None:
    t = torch.rand(4, 2)
    with pytest.raises(BitlensError, match="bins=0"):
        bin_codes(t, 0)
    with pytest.raises(BitlensError, match="range of the bins"):
        bin_codes(t, 30, 1, 1)
    with pytest.raises(BitlensError, match="width=0"):
        width_codes(t, 0)
    with pytest.raises(BitlensError, match="too small"):
        width_codes(t + 1, 1e-10)
    with pytest.raises(BitlensError, match="128"):
        bin_codes(t, bits=32)
