"""VISPA against what is known of signs of Gaussians, and the straight-through estimator by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

import bitlens
from bitlens import BitlensError, after_step, before_step, set_progress
from bitlens.methods.contract import Progress
from bitlens.methods.vispa import GaussianWeight, vispa
from bitlens.models import create
from bitlens.models.layers import BinaryLinear, binary_layers


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(latent: Tensor, rank: int = 3, *, seed: int = 0, t: float = 0.5) -> GaussianWeight:
    progress = Progress()
    progress.value = t
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GaussianWeight(latent, progress, rank)


def draws(binarizer: GaussianWeight, count: int) -> Tensor:
    found = []
    for draw in range(count):
        binarizer.draw = draw
        found.append(binarizer.noise())
    binarizer.draw = None
    return torch.stack(found)


def signs_of_draws(binarizer: GaussianWeight, latent: Tensor, count: int) -> Tensor:
    found = []
    for draw in range(count):
        binarizer.draw = draw
        found.append(binarizer.decompose(latent)[0])
    binarizer.draw = None
    return torch.stack(found)


def test_the_mean_sign_is_the_error_function() -> None:
    latent = 0.3 * normal(6, 5)
    binarizer = gaussian(latent)
    with torch.no_grad():
        binarizer.factor.copy_(0.4 * normal(30, 3, seed=1))
    count = 4000
    mean = signs_of_draws(binarizer, latent, count).mean(0)
    deviation = binarizer.factor.detach().square().sum(1).sqrt().view(6, 5)
    expected = torch.erf(latent / (deviation * math.sqrt(2)))
    error = ((1 - expected.square()) / count).sqrt()
    assert ((mean - expected).abs() <= 4.5 * error + 2 / count).all()


def test_two_centred_signs_agree_as_their_angle_says() -> None:
    latent = torch.zeros(1, 8, dtype=torch.float64)
    binarizer = gaussian(latent)
    with torch.no_grad():
        binarizer.factor.copy_(normal(8, 3, seed=2))
    signs = signs_of_draws(binarizer, latent, 4000)[:, 0]
    rows = binarizer.factor.detach()
    angles = nn.functional.cosine_similarity(rows[:, None], rows[None], dim=-1).clamp(-1, 1)
    expected = 2 / math.pi * angles.asin()
    assert torch.allclose(signs.T @ signs / 4000, expected, atol=0.075)


def test_draws_are_standard_normal_and_independent() -> None:
    binarizer = gaussian(torch.zeros(2, 2, dtype=torch.float64), 4)
    over_training = []
    for t in np.linspace(0, 1, 1500, endpoint=False):
        binarizer.progress.value = float(t)
        over_training.append(binarizer.noise())
    for found in (torch.stack(over_training), draws(binarizer, 1500)):
        assert scipy.stats.kstest(found.flatten().numpy(), "norm").pvalue > 1e-3
        correlation = np.corrcoef(found.numpy(), rowvar=False)
        assert np.abs(correlation - np.eye(4)).max() < 0.12
        following = np.corrcoef(found[:-1, 0].numpy(), found[1:, 0].numpy())
        assert abs(following[0, 1]) < 0.12


def test_a_draw_follows_seed_and_progress_alone() -> None:
    latent = torch.zeros(2, 2)
    ours, twin, other = gaussian(latent), gaussian(latent), gaussian(latent, seed=1)
    state = torch.get_rng_state()
    assert torch.equal(ours.noise(), twin.noise())
    assert not torch.equal(ours.noise(), other.noise())
    other.load_state_dict(ours.state_dict())
    assert torch.equal(ours.noise(), other.noise())
    first = ours.noise()
    ours.progress.value = math.nextafter(0.5, 1)
    assert not torch.equal(ours.noise(), first)
    ours.progress.value = 0.5
    assert torch.equal(ours.noise(), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_kept_net_is_the_mean() -> None:
    latent = 0.1 * normal(9, 9)
    binarizer = gaussian(latent)
    assert not torch.equal(binarizer(latent).sign(), latent.sign())
    for t, training in ((0.5, False), (1.0, True)):
        binarizer.progress.value = t
        binarizer.train(training)
        assert not binarizer.noise().any()
        assert torch.equal(binarizer(latent).sign(), latent.sign())
    binarizer.progress.value = 0.5
    signs, scale = binarizer.train().decompose(latent)
    assert torch.equal(signs, latent.sign())
    assert torch.equal(scale, latent.abs().mean(1))


def test_gradients_are_the_clipped_one_and_its_product_with_the_draw() -> None:
    latent = normal(5, 4, 3, 3).requires_grad_()
    binarizer = gaussian(latent.detach())
    upstream = normal(5, 4, 3, 3, seed=3)
    binarizer(latent).backward(upstream)
    u = binarizer.noise()
    z = latent.detach() + (binarizer.factor.detach() * u).sum(1).view(5, 4, 3, 3)
    passed = torch.where(z.abs() < 1, upstream, 0.0)
    assert latent.grad is not None and binarizer.factor.grad is not None
    assert torch.equal(latent.grad, passed)
    torch.testing.assert_close(binarizer.factor.grad, passed.flatten()[:, None] * u)


def test_rows_are_projected_on_the_unit_ball() -> None:
    latent = nn.Parameter(normal(40, 5))
    binarizer = gaussian(latent.detach(), 2)
    with torch.no_grad():
        binarizer.factor.copy_(normal(200, 2, seed=4))
    before = torch.cat([latent.detach().view(-1, 1), binarizer.factor.detach()], 1).numpy()
    binarizer.after_step(latent)
    after = torch.cat([latent.detach().view(-1, 1), binarizer.factor.detach()], 1).numpy()
    lengths = np.linalg.norm(before, axis=-1)
    assert (lengths < 1).any() and (lengths > 1).any()
    inside = lengths <= 1
    assert np.array_equal(after[inside], before[inside])
    assert np.allclose(after[~inside], before[~inside] / lengths[~inside, None], rtol=1e-14)


def test_rank_zero_is_the_clipped_straight_through_estimator_bit_for_bit() -> None:
    source = nn.Linear(7, 4, bias=False).double()
    latent = source.weight.detach().clone() * 3
    with torch.no_grad():
        source.weight.copy_(latent)
    layer = BinaryLinear(source, vispa(0), "vispa", Progress())
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.3)
    for number in range(40):
        x, upstream = normal(9, 7, seed=number), normal(9, 4, seed=100 + number)
        layer.zero_grad()
        layer(x).backward(upstream)
        before_step(layer)
        optimizer.step()
        after_step(layer)
        codes = torch.where(x >= 0, 1.0, -1.0).double()
        gradient = (upstream.T @ codes) * (latent.abs() < 1)
        latent = torch.add(latent, gradient, alpha=-0.3).clamp(-1, 1)
        assert torch.equal(layer.weight, latent)
        assert torch.equal(layer.signs(), torch.where(latent >= 0, 1.0, -1.0).double())
    assert dict(layer.weight_binarizer.state_dict()) == {}


def test_without_progress_the_factor_does_not_move() -> None:
    layer = BinaryLinear(nn.Linear(7, 4).double(), vispa(), "vispa", Progress())
    assert isinstance(layer.weight_binarizer, GaussianWeight)
    before = layer.weight_binarizer.factor.detach().clone()
    layer(normal(9, 7)).square().sum().backward()
    torch.optim.Adam(layer.parameters()).step()
    assert torch.equal(layer.weight_binarizer.factor, before)


def test_the_first_noise_is_a_fifth_of_the_latent_weights() -> None:
    latent = 0.03 * normal(500, 20)
    binarizer = gaussian(latent, 4)
    noise = draws(binarizer, 50) @ binarizer.factor.detach().T
    assert noise.square().mean().sqrt() == pytest.approx(0.03 * 0.1 * math.sqrt(4), rel=0.15)


def test_a_negative_rank_is_refused() -> None:
    with pytest.raises(BitlensError, match=r"rank=-1; give 0 \(plain STE\) or more"):
        vispa(-1)


def test_the_packed_net_has_the_signs_of_the_means() -> None:
    net = create("resnet8-bireal-poolpad", method="vispa", classes=4, channels=3, image_size=16)
    set_progress(net, 0.3)
    images = normal(2, 3, 16, 16).float()
    net(images)
    packed = bitlens.pack(net, images)
    assert packed.verification.differing == 0 and packed.verification.layers == 6
    for layer in binary_layers(net).values():
        assert torch.equal(layer.signs(), torch.where(layer.weight >= 0, 1.0, -1.0))
