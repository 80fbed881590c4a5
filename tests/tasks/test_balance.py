"""Balances against their formulas, and learned variances against the optimum in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from bitlens.tasks.balance import FixedBalance, UncertaintyBalance
from bitlens.tasks.pooled import PixelSum


def loss(mean: float, count: int = 10) -> PixelSum:
    sum_ = torch.tensor(mean * count, dtype=torch.float64, requires_grad=True)
    return PixelSum(sum=sum_, count=torch.tensor(count))


def uncertainty() -> UncertaintyBalance:
    return UncertaintyBalance(("segment", "depth"), regressions={"depth"}).double()


def test_fixed_weights() -> None:
    balance = FixedBalance({"segment": 1.0, "depth": 0.25})
    assert balance({"segment": loss(3.0), "depth": loss(2.0)}).item() == pytest.approx(3.5)
    assert balance({"segment": loss(3.0), "depth": loss(0.0, 0)}).item() == pytest.approx(3.0)
    assert not list(balance.parameters())


def test_kendalls_sum() -> None:
    """L1 / sigma1^2 + L2 / (2 sigma2^2) + log sigma1 + log sigma2."""
    balance = uncertainty()
    sigma = {"segment": 1.7, "depth": 0.6}
    with torch.no_grad():
        for head, value in sigma.items():
            balance.log_variances[head].fill_(2 * math.log(value))
    expected = 3.0 / 1.7**2 + 2.0 / (2 * 0.6**2) + math.log(1.7) + math.log(0.6)
    found = balance({"segment": loss(3.0), "depth": loss(2.0)})
    assert found.item() == pytest.approx(expected)


def test_at_the_start_a_regression_counts_half() -> None:
    found = uncertainty()({"segment": loss(3.0), "depth": loss(2.0)})
    assert found.item() == pytest.approx(4.0)


def test_learned_variances_reach_their_optimum() -> None:
    """The derivative vanishes where sigma^2 is L for a regression and 2 L for classes."""
    balance = uncertainty()
    optimizer = torch.optim.SGD(balance.parameters(), lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        balance({"segment": loss(1.4), "depth": loss(0.3)}).backward()
        optimizer.step()
    found = {head: s.item() for head, s in balance.log_variances.items()}
    assert found == pytest.approx({"segment": math.log(2 * 1.4), "depth": math.log(0.3)}, abs=1e-6)


def test_a_head_without_known_pixels_teaches_nothing() -> None:
    balance = uncertainty()
    nothing = loss(0.0, 0)
    total = balance({"segment": loss(3.0), "depth": nothing})
    total.backward()
    assert total.item() == pytest.approx(3.0)
    assert nothing.sum.grad == 0
    assert balance.log_variances["depth"].grad == 0
    assert balance.log_variances["segment"].grad == pytest.approx(0.5 - 3.0)
