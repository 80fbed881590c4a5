"""Gated units against their formulas in numpy, and packed exactly though their gates look at the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import bitlens
from bitlens.models import create
from bitlens.models.blocks import BottleneckGate, PoolPad
from bitlens.models.gated import BNextUnit, RealToBinaryUnit

Real = NDArray[np.float64]


def made(kind: type[nn.Module], c_in: int, c_out: int, stride: int) -> nn.Module:
    """A unit in float64 with no parameter or statistic at its usual value."""
    unit = kind(
        c_in, c_out, stride=stride, shortcut=PoolPad, nonlinearity=lambda _: nn.Identity()
    ).double()
    source = torch.Generator().manual_seed(c_in + stride)
    for name, value in unit.state_dict().items():
        if value.is_floating_point():
            value.copy_(
                torch.rand(value.shape, generator=source) - (0.3 if "var" not in name else 0)
            )
    return unit.eval()


def numbers(module: nn.Module) -> dict[str, Real]:
    return {name: value.numpy() for name, value in module.state_dict().items()}


def across(values: Real) -> Real:
    return values[:, None, None]


def normed(x: Real, given: dict[str, Real], name: str) -> Real:
    shrunk = (x - across(given[f"{name}.running_mean"])) / np.sqrt(
        across(given[f"{name}.running_var"]) + 1e-5
    )
    return shrunk * across(given[f"{name}.weight"]) + across(given[f"{name}.bias"])


def convolved(x: Real, weight: Real, stride: int) -> Real:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows, columns = -(-x.shape[2] // stride), -(-x.shape[3] // stride)
    out = np.empty((len(x), len(weight), rows, columns))
    for i in range(rows):
        for j in range(columns):
            window = padded[:, :, i * stride : i * stride + 3, j * stride : j * stride + 3]
            out[:, :, i, j] = np.einsum("nchw,ochw->no", window, weight)
    return out


def kinked(x: Real, slope: Real) -> Real:
    return np.where(x > 0, x, across(slope) * x)


def gated(averages: Real, given: dict[str, Real]) -> Real:
    between = averages @ given["gate.reduce.weight"].T + given.get("gate.reduce.bias", 0)
    out = np.maximum(between, 0) @ given["gate.expand.weight"].T + given.get("gate.expand.bias", 0)
    return (1 / (1 + np.exp(-out)))[:, :, None, None]


def through(x: Real, c_out: int, stride: int) -> Real:
    n, c, h, w = x.shape
    pooled = x.reshape(n, c, h // stride, stride, w // stride, stride).mean((3, 5))
    before = (c_out - c) // 2
    return np.pad(pooled, ((0, 0), (before, c_out - c - before), (0, 0), (0, 0)))


@pytest.fixture
def x() -> Real:
    return np.random.default_rng(0).normal(size=(3, 4, 6, 8)) + 0.2


@pytest.mark.parametrize(("c_out", "stride"), [(4, 1), (8, 2)])
def test_real_to_binary_unit_is_its_formula(x: Real, c_out: int, stride: int) -> None:
    unit = made(RealToBinaryUnit, 4, c_out, stride)
    given = numbers(unit)
    source = normed(x, given, "norm")
    scaled = convolved(source, given["conv.weight"], stride) * gated(source.mean((2, 3)), given)
    expected = kinked(scaled, given["act.weight"]) + through(x, c_out, stride)
    np.testing.assert_allclose(unit(torch.tensor(x)).detach().numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize(("c_out", "stride"), [(4, 1), (8, 2)])
def test_bnext_unit_is_its_formula(x: Real, c_out: int, stride: int) -> None:
    unit = made(BNextUnit, 4, c_out, stride)
    given = numbers(unit)
    shortcut = through(x, c_out, stride)
    y = convolved(x + across(given["shift"]), given["conv.weight"], stride)
    y = kinked(normed(y, given, "norm"), given["act.weight"])
    share = np.clip(across(given["mix"]), 0, 1)
    assert (given["mix"] < 0).any(), "an evaluation clips too"
    mixed = (share * shortcut + (1 - share) * y).mean((2, 3))
    expected = normed(y * gated(mixed, given), given, "out_norm") + shortcut
    np.testing.assert_allclose(unit(torch.tensor(x)).detach().numpy(), expected, rtol=1e-9)


def test_a_mixture_beyond_its_interval_is_put_back_and_learns_on() -> None:
    unit = made(BNextUnit, 4, 4, 1).train()
    with torch.no_grad():
        unit.mix.copy_(torch.tensor([-0.5, 0.25, 1.5, 1.0]))
    unit(torch.randn(5, 4, 6, 6, dtype=torch.float64)).square().sum().backward()
    assert unit.mix.tolist() == [0.0, 0.25, 1.0, 1.0]
    assert unit.mix.grad.all()


def test_one_backward_pass_serves_two_forwards() -> None:
    unit = made(BNextUnit, 4, 4, 1).train()
    with torch.no_grad():
        unit.mix[0] = 1.5
    first, second = (torch.randn(5, 4, 6, 6, dtype=torch.float64) for _ in range(2))
    (unit(first) + unit(second)).square().sum().backward()
    assert unit.mix.grad.all() and unit.mix[0] == 1


@pytest.mark.parametrize(("channels", "between"), [(16, 8), (64, 8), (256, 32)])
def test_a_gate_has_an_eighth_of_the_channels_between(channels: int, between: int) -> None:
    gate = BottleneckGate(channels, 3, bias=False)
    assert gate.reduce.weight.shape == (between, channels)
    assert gate.expand.weight.shape == (3, between)


@pytest.mark.parametrize("name", ["resnet8-r2b-poolpad", "resnet8-bnext-poolpad"])
@pytest.mark.parametrize("method", ["bireal", "reactnet"])
def test_a_gated_net_packs_sign_for_sign(name: str, method: str) -> None:
    """The gates stay float layers that the packed net computes for each image."""
    net = create(name, method=method, classes=5, channels=3, image_size=16)
    images = torch.randn(24, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(24) % 5
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(4):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    net.eval()
    packed = bitlens.pack(net, images, float32=True)
    bits = {row.name: row.bits for row in packed.table.rows}
    assert {bits[f"stages.{stage}.{unit}.conv"] for stage in range(3) for unit in range(2)} == {1}
    assert all(bits[gate] > 1 for gate in bits if ".gate." in gate)
    session = bitlens.Session(packed.graph)
    with torch.no_grad():
        expected = net(images).numpy()
    np.testing.assert_allclose(session(images.numpy()), expected, rtol=1e-3, atol=1e-4)
