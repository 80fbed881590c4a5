"""Complex batch norm against numpy on complex numbers and on 2x2 matrices."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn

import bitlens
from bitlens import BitlensError
from bitlens.information.calibrate import settle
from bitlens.models import create
from bitlens.models.complex import ComplexBatchNorm2d, complexify

HALF = 3


def values(seed: int = 0, shape: tuple[int, ...] = (5, 2 * HALF, 4, 3)) -> Tensor:
    """Parts of different size, mean and correlation."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=random, dtype=torch.float64)
    real, imaginary = x.chunk(2, 1)
    return torch.cat([2 * real + 1, imaginary - 0.7 * real - 2], 1)


def norm(circular: bool, seed: int = 1) -> ComplexBatchNorm2d:
    made = ComplexBatchNorm2d(2 * HALF, circular=circular).double()
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random, dtype=torch.float64))
    return made


def to_complex(x: Tensor) -> np.ndarray:
    real, imaginary = x.detach().numpy().reshape(len(x), 2, HALF, -1).transpose(1, 0, 2, 3)
    return real + 1j * imaginary


def circular_by_hand(made: ComplexBatchNorm2d, z: np.ndarray, mean: np.ndarray, v: np.ndarray):
    gamma, bias = made.weight.detach().numpy(), made.bias.detach().numpy()
    beta = bias[:HALF] + 1j * bias[HALF:]
    scaled = gamma / np.sqrt(v + made.eps)
    return scaled[:, None] * (z - mean[:, None]) + beta[:, None]


def whitened_by_hand(
    made: ComplexBatchNorm2d, z: np.ndarray, mean: np.ndarray, covariances: np.ndarray
) -> np.ndarray:
    (rr, ii, ri), bias = made.weight.detach().numpy(), made.bias.detach().numpy()
    out = np.empty_like(z)
    for c in range(HALF):
        root = scipy.linalg.sqrtm(covariances[c] + made.eps * np.eye(2))
        gamma = np.array([[rr[c], ri[c]], [ri[c], ii[c]]])
        parts = np.stack([(z[:, c] - mean[c]).real, (z[:, c] - mean[c]).imag])
        re, im = np.einsum("ab,bnp->anp", gamma @ np.linalg.inv(root), parts)
        out[:, c] = re + bias[c] + 1j * (im + bias[HALF + c])
    return out


def test_circular_training_divides_by_the_deviation_of_the_complex_number() -> None:
    made, x = norm(True), values()
    z = to_complex(x)
    mean = z.mean((0, 2))
    variance = (np.abs(z - mean[:, None]) ** 2).mean((0, 2))
    np.testing.assert_allclose(to_complex(made(x)), circular_by_hand(made, z, mean, variance))


def test_whitening_in_training_undoes_the_covariance() -> None:
    made, x = norm(False), values()
    z = to_complex(x)
    flat = z.transpose(1, 0, 2).reshape(HALF, -1)
    covariances = np.stack([np.cov(row.real, row.imag, ddof=0) for row in flat])
    expected = whitened_by_hand(made, z, flat.mean(1), covariances)
    np.testing.assert_allclose(to_complex(made(x)), expected, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whitening_of_fully_correlated_parts_stays_finite(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    one = torch.randn(8, HALF, 5, 5, generator=random).to(dtype)
    x = (torch.cat([one, one], 1) * 100).requires_grad_()
    made = ComplexBatchNorm2d(2 * HALF, circular=False).to(dtype)
    for training in (True, False):
        made.train(training)
        out = made(x)
        assert out.isfinite().all()
        assert 0.9 < out.abs().max() < 10, (
            "the common direction has deviation one half in each part"
        )
        (gradient,) = torch.autograd.grad(out.square().sum(), x)
        assert gradient.isfinite().all()
        made.momentum = 1.0
        made.train()(x.detach())


@pytest.mark.parametrize("circular", [True, False])
def test_a_new_norm_makes_numbers_of_variance_one(circular: bool) -> None:
    y = to_complex(ComplexBatchNorm2d(2 * HALF, circular=circular, eps=0.0).double()(values()))
    np.testing.assert_allclose(y.mean((0, 2)), 0, atol=1e-12)
    np.testing.assert_allclose((np.abs(y) ** 2).mean((0, 2)), 1)
    if not circular:
        np.testing.assert_allclose((y**2).mean((0, 2)), 0, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.3, None])
def test_evaluation_uses_running_moments(momentum: float | None) -> None:
    batches = [values(seed) for seed in range(3)]
    for circular in (True, False):
        made = norm(circular)
        made.momentum = momentum
        mean, covariances = np.zeros(HALF, complex), np.stack([np.eye(2) / 2] * HALF)
        for k, batch in enumerate(batches):
            made(batch)
            rows = to_complex(batch).transpose(1, 0, 2).reshape(HALF, -1)
            share = 1 / (k + 1) if momentum is None else momentum
            fresh = np.stack([np.cov(row.real, row.imag, ddof=1) for row in rows])
            mean = (1 - share) * mean + share * rows.mean(1)
            covariances = (1 - share) * covariances + share * fresh
        z = to_complex(values(9))
        if circular:
            expected = circular_by_hand(made, z, mean, np.trace(covariances, axis1=1, axis2=2))
        else:
            expected = whitened_by_hand(made, z, mean, covariances)
        np.testing.assert_allclose(to_complex(made.eval()(values(9))), expected, rtol=1e-9)
        assert made.num_batches_tracked == 3


@pytest.mark.parametrize("circular", [True, False])
def test_gradients_are_those_of_finite_differences(circular: bool) -> None:
    made = norm(circular)
    x = values(shape=(3, 2 * HALF, 2, 1)).requires_grad_()
    made.momentum = 0.0
    for training in (True, False):
        made.train(training)
        assert torch.autograd.gradcheck(made, (x,), atol=1e-6)


def test_circular_evaluation_is_affine_in_every_real_channel() -> None:
    made = norm(True)
    made(values())
    made.eval()
    zero, one = (made(torch.full((1, 2 * HALF, 1, 1), v, dtype=torch.float64)) for v in (0.0, 1.0))
    x = values(4)
    torch.testing.assert_close(made(x), x * (one - zero) + zero)


@pytest.mark.parametrize("circular", [True, False])
def test_no_parameters_and_no_statistics(circular: bool) -> None:
    plain = ComplexBatchNorm2d(
        2 * HALF, circular=circular, affine=False, track_running_stats=False
    ).double()
    assert not plain.state_dict()
    full = ComplexBatchNorm2d(2 * HALF, circular=circular).double()
    scale = 1.0 if circular else 2**0.5
    torch.testing.assert_close(plain(values()), full(values()) * scale)
    torch.testing.assert_close(plain.eval()(values()), plain.train()(values()))


def test_what_it_refuses() -> None:
    for channels in (0, 5):
        with pytest.raises(BitlensError, match=f"channels={channels}"):
            ComplexBatchNorm2d(channels)
    made = ComplexBatchNorm2d(4)
    with pytest.raises(BitlensError, match="one value a channel"):
        made(torch.zeros(1, 4, 1, 1))
    for shape in ((2, 6, 3, 3), (2, 4, 3)):
        with pytest.raises(BitlensError, match=r"it takes \(n, 4, h, w\)"):
            made(torch.zeros(shape))


def test_complexify_swaps_even_norms_and_leaves_the_rest() -> None:
    odd, last, free = nn.BatchNorm2d(3), nn.BatchNorm1d(8), nn.BatchNorm2d(8, eps=0.1, affine=False)
    net = nn.Sequential(odd, nn.Sequential(free, nn.Conv2d(8, 8, 1)), last).double().eval()
    assert complexify(net, circular=False) is net
    new = net.get_submodule("1.0")
    assert isinstance(new, ComplexBatchNorm2d) and not new.circular and not new.training
    assert (new.eps, new.weight, new.running_mean.dtype) == (0.1, None, torch.float64)
    assert net[0] is odd and net[2] is last
    with pytest.raises(BitlensError, match="no BatchNorm2d of an even channel count"):
        complexify(net)
    with pytest.raises(BitlensError, match="start from the float net"):
        complexify(bitlens.binarize(nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)), "bireal"))


def complex_net(circular: bool, method: str = "complex") -> nn.Module:
    torch.manual_seed(0)
    net = create("resnet8-bireal-poolpad", method="float", classes=4, channels=1, image_size=12)
    complexify(net, circular=circular)
    return bitlens.binarize(net, method, keep_float=net.keep_float)


@pytest.mark.parametrize("circular", [True, False])
def test_recalibration_finds_the_moments_over_all_batches(circular: bool) -> None:
    net = complex_net(circular)
    images = torch.randn(70, 1, 12, 12, generator=torch.Generator().manual_seed(3))
    norms = [m for m in net.modules() if isinstance(m, ComplexBatchNorm2d)]
    assert bitlens.recalibrate(net, images.split(30)) == len(norms) + 1 == 8
    seen: dict[nn.Module, Tensor] = {}
    for made in norms:
        made.register_forward_pre_hook(lambda m, given: seen.update({m: given[0]}))
    with torch.no_grad():
        net.eval()(images)
    for made in norms:
        rows = seen[made].transpose(0, 1).flatten(1).double().numpy()
        np.testing.assert_allclose(made.running_mean, rows.mean(1), rtol=1e-4, atol=1e-5)
        covariance = np.cov(rows, ddof=1)
        half = len(rows) // 2
        expected = np.diag(covariance)
        if not circular:
            expected = np.r_[expected, np.diag(covariance[:half, half:])]
        np.testing.assert_allclose(made.running_var, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("circular", [True, False])
def test_statistics_of_one_batch_in_one_pass(circular: bool) -> None:
    """`settle` leaves what the same batch in training normalises with."""
    made = norm(circular)
    net, x = nn.Sequential(made), values(5)
    expected = made(x)
    held = made.running_var
    before = held.clone()
    assert settle(net.eval(), x) == 1
    torch.testing.assert_close(net(x), expected)
    assert torch.equal(held, before)


def test_a_complex_net_learns() -> None:
    net = complex_net(circular=True)
    random = torch.Generator().manual_seed(2)
    images, labels = torch.randn(32, 1, 12, 12, generator=random), torch.arange(32) % 4
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(25):
        loss = nn.functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("circular", [True, False])
def test_a_complex_net_packs(circular: bool) -> None:
    net = complex_net(circular)
    images = torch.randn(6, 1, 12, 12, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        net(images)
    packed = bitlens.pack(net, images[:3])
    assert packed.verification.differing == 0 and packed.verification.codes > 0
