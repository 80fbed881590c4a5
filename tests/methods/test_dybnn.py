"""DyBNN: exactly ReActNet while its last matrices are zero, its formulas by hand otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bitlens
from bitlens import BitlensError
from bitlens.methods.dybnn import DYBNN, ChannelShift, DyPReLU, DySign
from bitlens.methods.reactnet import REACTNET, RPReLU, RSign
from bitlens.models import create
from bitlens.models.layers import binary_layers


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randomize(module: nn.Module, seed: int = 1) -> None:
    with torch.no_grad():
        for offset, parameter in enumerate(module.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=seed + offset))


def shift_by_hand(made: ChannelShift, x: Tensor) -> np.ndarray:
    """static + W2 max(W1 m, 0), as (n, c, 1, 1)."""
    static, first, second = (p.detach().numpy() for p in made.parameters())
    means = x.detach().numpy().reshape(*x.shape[:2], -1).mean(2)
    shifts = static + np.maximum(means @ first.T, 0) @ second.T
    return shifts.reshape(*shifts.shape, *[1] * (x.dim() - 2))


@pytest.mark.parametrize("shape", [(4, 20, 3, 5), (4, 20, 7), (4, 20)])
def test_values_by_hand(shape: tuple[int, ...]) -> None:
    x, sign, act = draw(*shape, seed=9), DySign(20).double(), DyPReLU(20).double()
    randomize(sign), randomize(act, seed=5)
    threshold = shift_by_hand(sign.threshold, x)
    np.testing.assert_array_equal(sign(x).detach(), np.where(x.numpy() >= threshold, 1, -1))
    slopes = act.prelu.weight.detach().numpy().reshape(-1, *[1] * (x.dim() - 2))
    moved = x.numpy() - shift_by_hand(act.shift_in, x)
    expected = np.where(moved > 0, moved, slopes * moved) + shift_by_hand(act.shift_out, x)
    np.testing.assert_allclose(act(x).detach(), expected, rtol=1e-9)


@pytest.mark.parametrize(("channels", "hidden"), [(3, 4), (64, 4), (80, 5), (512, 32)])
def test_the_bottleneck_is_a_sixteenth_and_at_least_four(channels: int, hidden: int) -> None:
    assert ChannelShift(channels).squeeze.shape == (hidden, channels)


def test_a_new_activation_is_reactnets_with_the_threshold_as_its_shift() -> None:
    x, dynamic, static = draw(3, 6, 4, 4).float(), DySign(6), RSign(6)
    values = draw(6, seed=3).float()
    with torch.no_grad():
        dynamic.threshold.static.copy_(values)
        static.shift.copy_(-values)
    assert torch.equal(dynamic(x), static(x))


def test_at_the_start_it_is_reactnet_bit_for_bit() -> None:
    """Outputs, and the gradients of everything both have."""
    dynamic, static = (
        create("resnet8-bireal-poolpad", method=m, classes=4, channels=3, image_size=12)
        for m in ("dybnn", "reactnet")
    )
    assert list(binary_layers(dynamic)) == list(binary_layers(static))
    shared = dict(dynamic.named_parameters())
    with torch.no_grad():
        for name, parameter in static.named_parameters():
            if name in shared:
                shared[name].copy_(parameter)
    images, labels = draw(6, 3, 12, 12).float(), torch.arange(6) % 4
    for training in (True, False):
        outputs = [net.train(training)(images) for net in (dynamic, static)]
        assert torch.equal(*outputs)
        for output in outputs:
            nn.functional.cross_entropy(output, labels).backward()
    weights = [n for n, _ in static.named_parameters() if n in shared and "weight" in n]
    assert len(weights) > 20
    for name in weights:
        torch.testing.assert_close(shared[name].grad, static.get_parameter(name).grad)


def test_the_same_pixel_gets_another_sign_in_another_image() -> None:
    sign = DySign(4)
    with torch.no_grad():
        nn.init.eye_(sign.threshold.squeeze)
        nn.init.eye_(sign.threshold.excite)
    images = torch.ones(2, 4, 2, 2)
    images[..., 0, 0] = 2.0
    images[1, :, 1, 1] = 9.0
    codes = sign(images)
    assert (codes[0, :, 0, 0] == 1).all() and (codes[1, :, 0, 0] == -1).all()


def test_gradients_reach_the_images_through_their_means() -> None:
    """Autograd of the threshold alone, beside the surrogate's own path."""
    x, sign = draw(2, 6, 3, 3).requires_grad_(), DySign(6).double()
    randomize(sign)
    upstream = draw(2, 6, 3, 3, seed=7)
    (found,) = torch.autograd.grad(sign(x), x, upstream)
    mean = x.mean((2, 3))
    hidden = (mean @ sign.threshold.squeeze.T).relu() @ sign.threshold.excite.T
    z = x - (sign.threshold.static + hidden)[:, :, None, None]
    slopes = (2 - 2 * z.abs()).clamp_min(0).detach()
    (expected,) = torch.autograd.grad(slopes * z, x, upstream)
    torch.testing.assert_close(found, expected)


def test_packing_says_what_is_computed_at_run_time() -> None:
    net = bitlens.binarize(nn.Sequential(nn.Conv2d(3, 4, 3)), "dybnn")
    with pytest.raises(BitlensError, match="computed from every image's channel means"):
        bitlens.pack(net, torch.zeros(2, 3, 8, 8))
    assert DYBNN.plan == REACTNET.plan and DYBNN.deploy == "runtime"


def test_a_new_nonlinearity_is_reactnets() -> None:
    x = draw(3, 6, 4, 4).float()
    assert torch.equal(DyPReLU(6)(x), RPReLU(6)(x))
