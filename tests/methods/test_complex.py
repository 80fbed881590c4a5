"""The tied real layer is torch's own complex convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bitlens import BitlensError, binarize
from bitlens.methods.complex import COMPLEX, ComplexWeight, complex_parts, real_form
from bitlens.models.layers import BinaryConv2d, BinaryLinear


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def to_complex(x: Tensor, axis: int = 1) -> Tensor:
    return torch.complex(*(part.contiguous() for part in x.chunk(2, axis)))


def to_real(z: Tensor) -> Tensor:
    return torch.cat([z.real, z.imag], 1)


def blocks(weight: Tensor) -> tuple[Tensor, ...]:
    return tuple(block for half in weight.chunk(2, 0) for block in half.chunk(2, 1))


def conv(**settings: int) -> BinaryConv2d:
    torch.manual_seed(0)
    source = nn.Conv2d(6, 8, 3, bias=False, **settings).double()
    made = binarize(source, "complex", keep_float=())
    assert isinstance(made, BinaryConv2d)
    return made


@pytest.mark.parametrize("options", [{}, {"padding": 1}, {"stride": 2, "padding": 2}])
def test_a_layer_is_torchs_complex_convolution(options: dict[str, int]) -> None:
    made, x = conv(**options), draw(2, 6, 7, 6)
    a, b = complex_parts(made.weight.detach())
    one = torch.ones((), dtype=torch.float64)
    signs = torch.complex(torch.where(a >= 0, one, -one), torch.where(b >= 0, one, -one))
    z = to_complex(torch.where(x >= 0, one, -one))
    scale = (a.abs() + b.abs()).flatten(1).mean(1) / 2
    exact = F.conv2d(z, signs, **options)
    expected = to_real(exact * scale.view(-1, 1, 1))
    for training in (True, False):
        torch.testing.assert_close(made.train(training)(x), expected, rtol=1e-12, atol=1e-12)
    codes, real = made.activation(x), made.signs()
    assert torch.equal(F.conv2d(codes, real, **options), to_real(exact))


def test_a_linear_layer_is_a_complex_product() -> None:
    made = binarize(nn.Linear(10, 4).double(), "complex", keep_float=())
    assert isinstance(made, BinaryLinear)
    x = draw(3, 10)
    a, b = complex_parts(made.signs())
    expected = to_real(to_complex(x.sign()) @ torch.complex(a, b).T)
    assert torch.equal(F.linear(made.activation(x), made.signs()), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 1000))
def test_the_structured_part_is_the_nearest_complex_weight(o: int, c: int, seed: int) -> None:
    weight = draw(2 * o, 2 * c, 3, 1, seed=seed)
    structured = real_form(*complex_parts(weight))
    assert torch.equal(real_form(*complex_parts(structured)), structured)
    other = real_form(draw(o, c, 3, 1, seed=seed + 1), draw(o, c, 3, 1, seed=seed + 2))
    # What is cut off is orthogonal to every structured weight.
    assert abs(((weight - structured) * other).sum()) < 1e-9
    torch.testing.assert_close(ComplexWeight().relaxed(weight), structured)


def test_tied_signs_are_exact_copies_and_opposites_even_at_zero() -> None:
    weight = draw(4, 6, 3, 3)
    weight[2:, :3] = weight[:2, 3:]
    signs, scale = ComplexWeight().decompose(weight)
    p, q, r, s = blocks(signs)
    assert torch.equal(p, s) and torch.equal(q, -r)
    assert (r == 1).all() and signs.abs().eq(1).all()
    assert torch.equal(scale[:2], scale[2:])
    a, b = complex_parts(weight)
    torch.testing.assert_close(scale[:2], torch.cat([a, b], 1).abs().mean((1, 2, 3)))


def test_the_gradient_is_that_of_the_tied_parts_clipped_and_unscaled() -> None:
    weight, upstream = (2 * draw(4, 6, 2, 2)).requires_grad_(), draw(4, 6, 2, 2, seed=1)
    (found,) = torch.autograd.grad(ComplexWeight()(weight), weight, upstream)
    a, b = complex_parts(weight.detach())
    assert (a.abs() > 1).any() and (a.abs() < 1).any()
    p, q, r, s = blocks(upstream)
    to_a = (p + s) * (a.abs() < 1) / 2
    to_b = (r - q) * (b.abs() < 1) / 2
    expected = torch.cat([torch.cat([to_a, -to_b], 1), torch.cat([to_b, to_a], 1)])
    torch.testing.assert_close(found, expected)


def test_a_structured_latent_weight_stays_structured_under_adam() -> None:
    made = conv(padding=1)
    with torch.no_grad():
        made.weight.copy_(real_form(*complex_parts(made.weight)))
    before = made.weight.detach().clone()
    optimizer = torch.optim.Adam(made.parameters(), lr=0.01, weight_decay=1e-3)
    target = draw(4, 8, 6, 6, seed=5)
    losses = []
    for step in range(40):
        loss = (made(draw(4, 6, 6, 6, seed=step % 2)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        p, q, r, s = blocks(made.weight.detach())
        assert torch.equal(p, s) and torch.equal(q, -r)
    assert not torch.equal(made.weight, before)
    assert min(losses[-2:]) < min(losses[:2])


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (nn.Linear(7, 4), "7 input channels a filter reads"),
        (nn.Linear(8, 5), "5 output channels"),
        (nn.Conv2d(6, 6, 3, groups=2), "2 groups; real and imaginary channels must meet"),
        (nn.Conv2d(8, 8, 3, groups=2), "2 groups; real and imaginary channels must meet"),
        (nn.Conv2d(8, 8, 3, groups=8), "8 groups; real and imaginary channels must meet"),
    ],
)
def test_layers_without_pairs_are_refused(source: nn.Module, reason: str) -> None:
    with pytest.raises(BitlensError, match=f"cannot serve layer .*{reason}.*keep_float"):
        binarize(source, "complex", keep_float=())


def test_it_folds_into_thresholds() -> None:
    assert COMPLEX.deploy == "static" and COMPLEX.pad == 0
