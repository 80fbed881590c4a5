"""ReSTE against its formulas in numpy, and its surrogate's area in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitlens import binarize
from bitlens.bits import rectified, sign
from bitlens.methods import get
from bitlens.methods.contract import Progress
from bitlens.methods.reste import LayerMagnitudeWeight, Rectified, exponent

GRID = np.array(
    [-3.0, -1.51, -1.49, -1.0, -0.3, -0.11, -0.09, -1e-9, 0.0, 0.05, 0.2, 0.7, 1.2, 1.6]
)


def slope(x: np.ndarray, o: float) -> np.ndarray:
    found = []
    for value in np.abs(x).ravel():
        if value < 0.1:
            found.append(0.1 ** (1 / o) / 0.1)
        elif value < 1.5:
            found.append(value ** ((1 - o) / o) / o)
        else:
            found.append(0.0)
    return np.array(found).reshape(x.shape)


@pytest.mark.parametrize("o", [1.0, 1.3, 2.0, 3.0])
def test_the_surrogate_is_its_formula(o: float) -> None:
    x = torch.tensor(GRID, requires_grad=True)
    upstream = np.linspace(-2, 3, len(GRID))
    sign(x, lambda g, v: rectified(g, v, o)).backward(torch.from_numpy(upstream))
    assert x.grad is not None
    np.testing.assert_allclose(x.grad, upstream * slope(GRID, o), rtol=1e-12)


@pytest.mark.parametrize("o", [1.0, 1.7, 3.0])
def test_its_area_is_that_of_the_power_function(o: float) -> None:
    x = torch.linspace(-2, 2, 400_001, dtype=torch.float64)
    area = torch.trapezoid(rectified(torch.ones_like(x), x, o), x)
    assert area.item() == pytest.approx(2 * 1.5 ** (1 / o), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_it_keeps_dtype_inputs_and_nan(dtype: torch.dtype) -> None:
    x = torch.tensor([*GRID, float("nan")], dtype=dtype)
    grad = torch.ones_like(x)
    before = x.clone()
    found = rectified(grad, x, 2.5)
    assert found.dtype == dtype and found[:-1].isfinite().all() and found[-1].isnan()
    assert torch.equal(x[:-1], before[:-1]) and (grad == 1).all()


def test_it_starts_as_a_clip_and_ends_as_a_cube_root() -> None:
    assert exponent(0.0) == 1.0
    assert exponent(0.5) == pytest.approx(3 - 2**0.5)
    assert exponent(1.0) == pytest.approx(3.0)
    progress = Progress()
    surrogate, x = Rectified(progress), torch.tensor([-2.0, -0.02, 0.5, 1.4])
    progress.value = 0.0
    assert surrogate(torch.ones(4), x).tolist() == [0.0, 1.0, 1.0, 1.0]
    progress.value = 1.0
    torch.testing.assert_close(surrogate(torch.ones(4), x)[2].item(), 0.5 ** (-2 / 3) / 3)


@pytest.mark.parametrize("shape", [(5, 3, 2, 2), (5, 7)])
@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_the_gradient_flows_through_the_signs_and_the_magnitude(
    shape: tuple[int, ...], t: float
) -> None:
    random = np.random.default_rng(3)
    w, upstream = random.normal(size=shape), random.normal(size=shape)
    progress = Progress()
    progress.value = t
    weight = torch.tensor(w, requires_grad=True)
    made = LayerMagnitudeWeight(progress)(weight)
    made.backward(torch.tensor(upstream))
    signs, magnitude = np.where(w >= 0, 1.0, -1.0), np.abs(w).mean()
    np.testing.assert_allclose(made.detach(), magnitude * signs, rtol=1e-13)
    expected = (
        magnitude * upstream * slope(w, exponent(t)) + signs * (upstream * signs).sum() / w.size
    )
    assert weight.grad is not None
    np.testing.assert_allclose(weight.grad, expected, rtol=1e-10)


def test_a_layer_passes_the_same_surrogate_to_its_input() -> None:
    layer = binarize(torch.nn.Linear(14, 1, bias=False).double(), "reste")
    x = torch.tensor(GRID[None], requires_grad=True)
    layer(x).sum().backward()
    (weight,) = (p for n, p in layer.named_parameters() if n == "weight")
    w = weight.detach().numpy()[0]
    expected = np.abs(w).mean() * np.where(w >= 0, 1, -1) * slope(GRID, 3.0)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad[0], expected, rtol=1e-10)
    assert isinstance(get("reste").nonlinearity(14), torch.nn.Hardtanh)
