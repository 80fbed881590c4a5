"""The one-bit read-out is the sign pattern, and a lower bound."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bitlens.information.codes import hash_signs
from bitlens.information.counts import count_codes
from bitlens.information.estimators.one_bit import one_bit


def entropy(counts: np.ndarray) -> float:
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def test_it_is_the_sign_pattern_with_zero_as_plus() -> None:
    t = torch.tensor([[0.0, -1e-9], [3.0, -2.0], [-0.0, 5.0], [1e-30, 0.0]])
    codes = one_bit(t)
    assert codes.units == 2 and codes.levels == 2
    assert codes.hashes[0] == codes.hashes[1]
    assert codes.hashes[2] == codes.hashes[3]
    assert codes.hashes[0] != codes.hashes[2]
    assert (codes.hashes == hash_signs(t)).all()
    assert one_bit(t, bits=128).hashes.shape == (4, 2)


def test_feature_maps_are_flattened() -> None:
    t = torch.randn(5, 2, 3, 3)
    assert one_bit(t).units == 18
    assert (one_bit(t).hashes == one_bit(t.flatten(1)).hashes).all()


@pytest.mark.parametrize(("r", "bits"), [(0.25, 0.018747), (0.5, 0.081704), (0.9, 0.406497)])
def test_signs_of_a_bivariate_normal(r: float, bits: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100_000, 1, generator=generator)
    y = r * x + math.sqrt(1 - r * r) * torch.randn(100_000, 1, generator=generator)
    joint = one_bit(torch.cat([x, y], dim=1))
    found = (
        entropy(count_codes(one_bit(x).hashes))
        + entropy(count_codes(one_bit(y).hashes))
        - entropy(count_codes(joint.hashes))
    )
    # Standard error below .003 bit at this size for all of these correlations.
    assert found == pytest.approx(bits, abs=0.01)
    assert found < -0.5 * math.log2(1 - r * r)
