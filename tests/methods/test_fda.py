"""FDA-BNN: the series against cosines one by one, the noise against its formula, and its end."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bitlens import binarize, set_progress
from bitlens.bits import fourier
from bitlens.methods.contract import Progress
from bitlens.methods.fda import FourierWeight, NoiseAdapter, NoisySign, last_term, noise_level
from bitlens.models.layers import BinaryConv2d


def slope(x: np.ndarray, n: int) -> np.ndarray:
    waves = sum(np.cos((2 * i + 1) * 0.1 * x) for i in range(n + 1))
    return 0.4 / math.pi * waves * (np.abs(x) < 1)


@pytest.mark.parametrize("n", [0, 9, 13, 18])
@pytest.mark.parametrize(
    ("dtype", "error"), [(torch.float64, 1e-14), (torch.float32, 2e-6), (torch.bfloat16, 0.1)]
)
def test_the_power_series_is_the_sum_of_cosines(n: int, dtype: torch.dtype, error: float) -> None:
    x = torch.linspace(-1.5, 1.5, 997, dtype=dtype)
    before = x.clone()
    found = fourier(torch.full_like(x, -2.0), x, n)
    assert found.dtype == dtype and torch.equal(x, before)
    exact = -2 * slope(x.double().numpy(), n)
    np.testing.assert_allclose(found.double(), exact, atol=error * (n + 1))


def test_it_is_exact_at_zero_zero_far_away_and_keeps_nan() -> None:
    x = torch.tensor([0.0, -0.0, 1e30, -1e30, float("nan")], dtype=torch.float64)
    found = fourier(torch.ones_like(x), x, 18)
    assert found[:2].tolist() == pytest.approx([7.6 / math.pi] * 2, rel=1e-15)
    assert found[2:4].tolist() == [0.0, 0.0] and found[4].isnan()


@pytest.mark.parametrize("n", [9, 18])
def test_it_agrees_with_the_closed_form_of_the_sum(n: int) -> None:
    x = np.linspace(0.01, 0.99, 99)
    closed = 0.4 / math.pi * np.sin(0.2 * (n + 1) * x) / (2 * np.sin(0.1 * x))
    found = fourier(torch.ones(99).double(), torch.tensor(x), n)
    np.testing.assert_allclose(found, closed, atol=1e-13)


def test_the_schedules() -> None:
    assert [last_term(t) for t in (0.0, 0.11, 0.12, 0.5, 0.999, 1.0)] == [9, 9, 10, 13, 17, 18]
    assert noise_level(0.0) == 0.1 and noise_level(1.0) == 0.0
    assert noise_level(0.5) == pytest.approx(0.05)


def noise(adapter: NoiseAdapter, v: np.ndarray) -> np.ndarray:
    first, second = (m.weight.detach().numpy() for m in (adapter.fc1, adapter.fc2))
    return np.maximum(v @ first.T, 0) @ second.T + 0.1 * np.sin(v)


def at(t: float) -> Progress:
    progress = Progress()
    progress.value = t
    return progress


@pytest.mark.parametrize(("width", "hidden"), [(1, 1), (63, 1), (64, 1), (128, 2), (576, 9)])
def test_the_hidden_width_is_a_64th(width: int, hidden: int) -> None:
    adapter = NoiseAdapter(width)
    assert adapter.fc1.weight.shape == (hidden, width)
    assert adapter.fc2.weight.shape == (width, hidden)


@pytest.mark.parametrize("shape", [(5, 4, 3, 3), (5, 7)])
def test_weights_carry_noise_until_the_end(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    latent = torch.randn(shape, dtype=torch.float64)
    binarizer = FourierWeight(latent, at(0.3)).double()
    w = latent.flatten(1).numpy()
    signs, scale = np.where(w >= 0, 1.0, -1.0), np.abs(w).mean(1, keepdims=True)
    noisy = scale * (signs + noise_level(0.3) * noise(binarizer.noise, w))
    np.testing.assert_allclose(binarizer(latent).detach().flatten(1), noisy, rtol=1e-12)
    assert np.abs(noisy - scale * signs).max() > 1e-3
    clean = torch.tensor(scale * signs).view(shape)
    torch.testing.assert_close(binarizer.eval()(latent), clean, rtol=1e-15, atol=0)
    binarizer.progress.value = 1.0
    assert torch.equal(binarizer.train()(latent), binarizer.eval()(latent))


def test_the_weights_gradient_is_fda_plus_that_of_the_noise() -> None:
    torch.manual_seed(1)
    latent = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(4, 6, dtype=torch.float64)
    binarizer = FourierWeight(latent.detach(), at(0.6)).double()
    leaves = [latent, *binarizer.parameters()]
    found = torch.autograd.grad(binarizer(latent), leaves, upstream)
    multiplier = torch.tensor(slope(latent.detach().numpy(), 14))
    scale = latent.detach().abs().mean(1, keepdim=True)
    hidden = (latent @ binarizer.noise.fc1.weight.T).relu() @ binarizer.noise.fc2.weight.T
    equal = scale * (multiplier * latent + noise_level(0.6) * (hidden + 0.1 * latent.sin()))
    for one, other in zip(found, torch.autograd.grad(equal, leaves, upstream), strict=True):
        torch.testing.assert_close(one, other)


def test_observers_see_signs_and_the_convolution_sees_noise_per_pixel() -> None:
    torch.manual_seed(2)
    binarizer = NoisySign(6, at(0.2)).double()
    seen: list[Tensor] = []
    binarizer.sign.register_forward_hook(lambda module, inputs, output: seen.append(output))
    x = torch.randn(2, 6, 4, 3, dtype=torch.float64)
    made = binarizer(x)
    assert set(seen[0].unique().tolist()) == {-1.0, 1.0}
    pixels = x.movedim(1, -1).numpy()
    expected = np.where(pixels >= 0, 1.0, -1.0) + noise_level(0.2) * noise(binarizer.noise, pixels)
    np.testing.assert_allclose(made.detach().movedim(1, -1), expected, rtol=1e-12)
    corner = binarizer(x[:, :, :1, :2])
    torch.testing.assert_close(corner, made[:, :, :1, :2])
    for training, t in ((False, 0.2), (True, 1.0)):
        binarizer.progress.value = t
        clean = binarizer.train(training)(x)
        assert torch.equal(clean, torch.where(x >= 0, 1.0, -1.0).double())


@pytest.mark.parametrize(("binary_weights", "t"), [(False, 0.5), (True, 1.0)])
def test_a_matrix_without_effect_still_has_a_gradient_of_zeros(
    binary_weights: bool, t: float
) -> None:
    layer = binarize(nn.Conv2d(4, 5, 3, bias=False), "fda")
    assert isinstance(layer, BinaryConv2d)
    layer.binary_weights = binary_weights
    set_progress(layer, t)
    layer(torch.randn(2, 4, 5, 5)).square().sum().backward()
    for parameter in layer.weight_binarizer.parameters():
        assert parameter.grad is not None and not parameter.grad.any()
