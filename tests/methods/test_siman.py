"""SiMaN against brute-force ranking, numpy's percentiles and autograd of the same expressions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bitlens import BitlensError, after_step, binarize, pack, set_progress
from bitlens.methods.contract import Progress
from bitlens.methods.siman import SIMAN, MagnitudeWeight, larger_half
from bitlens.models.layers import BinaryConv2d


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(1, 3))
def test_the_larger_half_is_exactly_half_ties_in_order(values: list[int], filters: int) -> None:
    rows = [values[k:] + values[:k] for k in range(filters)]
    found = larger_half(torch.tensor(rows, dtype=torch.float32)).tolist()
    for row, signs in zip(rows, found, strict=True):
        ranked = sorted(range(len(row)), key=lambda index: (-row[index], index))
        chosen = set(ranked[: max(len(row) // 2, 1)])
        assert signs == [1.0 if index in chosen else -1.0 for index in range(len(row))]


def test_nan_stays_nan() -> None:
    signs = larger_half(torch.tensor([[1.0, float("nan"), 3.0, 2.0]]))
    assert signs.isnan().tolist() == [[False, True, False, False]]


@pytest.mark.parametrize("shape", [(5, 3, 3, 3), (4, 16)])
def test_weight_and_gradients_are_those_of_the_formula(shape: tuple[int, ...]) -> None:
    weight = (0.02 * normal(*shape) + 0.01).requires_grad_()
    binarizer = MagnitudeWeight(weight.detach(), Progress())
    assert torch.allclose(binarizer.scale, weight.detach().abs().flatten(1).mean(1))
    w = weight.detach().clone().requires_grad_()
    alpha = binarizer.scale.detach().clone().requires_grad_()
    axes = tuple(range(1, w.dim()))
    m = ((w - w.mean(axes, keepdim=True)) / torch.sqrt(w.var(axes, keepdim=True) + 1e-5)).abs()
    flat = m.detach().flatten(1).numpy()
    half = flat.shape[1] // 2
    large = np.argsort(np.argsort(-flat, axis=1), axis=1) < half
    signs = torch.from_numpy(np.where(large, 1.0, -1.0)).view(shape)
    expected = (m + (signs - m).detach()) * alpha.view(-1, *[1] * (w.dim() - 1))

    found = binarizer(weight)
    assert torch.equal(binarizer.decompose(weight)[0], signs)
    torch.testing.assert_close(found, expected)
    upstream = normal(*shape, seed=1)
    ours = torch.autograd.grad((found * upstream).sum(), [weight, binarizer.scale])
    theirs = torch.autograd.grad((expected * upstream).sum(), [w, alpha])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("shape", [(3, 4, 5, 5), (6, 9)])
def test_samples_are_standardised_before_the_sign(shape: tuple[int, ...]) -> None:
    x = (0.7 * normal(*shape, seed=2) + 0.3).requires_grad_()
    upstream = normal(*shape, seed=3)
    axes = tuple(range(1, x.dim()))
    u = (x - x.mean(axes, keepdim=True)) / torch.sqrt(x.var(axes, keepdim=True) + 1e-5)
    inside = u.clamp(-1, 1)
    (expected,) = torch.autograd.grad(((2 - inside.abs()) * inside * upstream).sum(), x)
    codes = SIMAN.activation(shape[1], Progress())(x)
    assert torch.equal(codes, torch.where(u >= 0, 1.0, -1.0).double())
    (found,) = torch.autograd.grad((codes * upstream).sum(), x)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_a_step_clips_magnitudes_at_the_layers_percentiles(t: float) -> None:
    layer = binarize(nn.Conv2d(5, 7, 3).double(), "siman")
    assert isinstance(layer, BinaryConv2d)
    with torch.no_grad():
        layer.weight.copy_(normal(7, 5, 3, 3))
    w = layer.weight.detach().numpy().copy()
    set_progress(layer, t)
    after_step(layer)
    centered = w - w.mean((1, 2, 3), keepdims=True)
    p = 15 * (1 - t)
    low, high = np.percentile(np.abs(centered), [p, 100 - p], method="nearest")
    expected = np.sign(centered) * np.clip(np.abs(centered), low, high)
    np.testing.assert_allclose(layer.weight.detach().numpy(), expected)
    assert (np.abs(expected) == high).mean() == pytest.approx(p / 100, abs=0.01)


def test_looking_at_a_net_changes_nothing() -> None:
    layer = binarize(nn.Linear(16, 4), "siman")
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    set_progress(layer, 0.0)
    for training in (True, False):
        layer.train(training)(normal(3, 16).float())
    before["bitlens_progress"].fill_(0.0)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_latent_weights_do_not_decay_and_packing_is_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 2))
    binarize(net, "siman")
    layer = net[1]
    assert isinstance(layer, BinaryConv2d) and layer.latent_decay == 0.0
    with pytest.raises(BitlensError, match="every image's own mean is subtracted before the sign"):
        pack(net, torch.zeros(1, 3, 8, 8))
