"""The algebra of signs against formulas written out in numpy and dot products of plain integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from bitlens.bits import (
    Surrogate,
    error_decay,
    error_decay_slopes,
    hard_tanh,
    pack,
    polynomial,
    sign,
    sign_values,
    straight_through,
    unit_step,
    unpack,
    xnor_dot,
)

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def random_signs(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice([-1, 1], size=shape)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sign_is_exact_at_every_kind_of_number(dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    denormal = info.smallest_normal * info.eps
    inputs = [0.0, -0.0, denormal, -denormal, info.smallest_normal, -info.smallest_normal]
    inputs += [0.3, -0.3, 1.0, -1.0, info.max, info.min, float("inf"), float("-inf")]
    expected = [1, 1, *(1, -1) * 6]
    x = torch.tensor(inputs, dtype=dtype)
    assert x[2] > 0 > x[3]
    y = sign(x)
    assert y.dtype == dtype
    assert y.tolist() == expected


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_stays_nan_among_ordinary_numbers(dtype: torch.dtype) -> None:
    x = torch.full((37,), float("nan"), dtype=dtype)
    x[::5] = -2.0
    y = sign_values(x)
    assert torch.equal(y.isnan(), x.isnan())
    assert (y[::5] == -1).all()


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9),
        elements=st.floats(width=32, allow_nan=False),
    )
)
def test_sign_agrees_with_a_comparison(x: np.ndarray) -> None:
    before = x.copy()
    y = sign_values(torch.from_numpy(x))
    assert np.array_equal(y.numpy(), np.where(x >= 0, 1, -1))
    assert np.array_equal(x, before)


def test_sign_keeps_the_memory_format() -> None:
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert sign(x).is_contiguous(memory_format=torch.channels_last)
    view = torch.randn(4, 6).T[::2]
    assert torch.equal(sign(view), torch.where(view >= 0, 1.0, -1.0))


GRID = np.array(
    [
        -3.0,
        -1.0 - 1e-9,
        -1.0,
        -1.0 + 1e-9,
        -0.75,
        -0.5,
        -0.5 + 1e-9,
        -0.25,
        -0.0,
        0.0,
        1e-9,
        0.125,
        0.5 - 1e-9,
        0.5,
        0.75,
        1.0 - 1e-9,
        1.0,
        1.0 + 1e-9,
        2.5,
    ]
)

SLOPES: dict[str, tuple[Surrogate, Callable[[np.ndarray], np.ndarray]]] = {
    "straight_through": (straight_through, np.ones_like),
    "hard_tanh": (hard_tanh, lambda x: (np.abs(x) < 1).astype(float)),
    "polynomial": (polynomial, lambda x: np.maximum(0, 2 - 2 * np.abs(x))),
    "unit_step": (unit_step, lambda x: 2.0 * (np.abs(x) < 0.5)),
    "error_decay_soft": (
        lambda g, x: error_decay(g, x, 0.01, 100.0),
        lambda x: 1 / np.cosh(0.01 * x) ** 2,
    ),
    "error_decay_sharp": (
        lambda g, x: error_decay(g, x, 10.0, 1.0),
        lambda x: 10 / np.cosh(10 * x) ** 2,
    ),
}


@pytest.mark.parametrize("name", SLOPES)
def test_surrogate_is_its_formula(name: str) -> None:
    surrogate, slope = SLOPES[name]
    upstream = np.linspace(-2, 3, len(GRID))
    x = torch.tensor(GRID, requires_grad=True)
    sign(x, surrogate).backward(torch.from_numpy(upstream))
    np.testing.assert_allclose(x.grad, upstream * slope(GRID), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SLOPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_surrogate_keeps_dtype_and_inputs(name: str, dtype: torch.dtype) -> None:
    x, grad = torch.tensor(GRID, dtype=dtype), torch.ones(len(GRID), dtype=dtype)
    before = x.clone(), grad.clone()
    assert SLOPES[name][0](grad, x).dtype == dtype
    assert torch.equal(x, before[0]) and torch.equal(grad, before[1])


@pytest.mark.parametrize("name", SLOPES)
def test_surrogate_can_be_differentiated_again(name: str) -> None:
    x = torch.tensor([-0.8, -0.3, 0.1, 0.45, 1.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda v: sign(v, SLOPES[name][0]), x)


@pytest.mark.parametrize("name", SLOPES)
def test_surrogate_batches_over_gradients_of_one_input(name: str) -> None:
    x = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)
    grads = torch.randn(3, 7, dtype=torch.float64)
    surrogate = SLOPES[name][0]
    batched = torch.func.vmap(lambda g: surrogate(g, x))(grads)
    torch.testing.assert_close(batched, torch.stack([surrogate(g, x) for g in grads]))


def test_sign_maps_under_vmap_without_a_warning() -> None:
    x = torch.randn(3, 4)
    assert torch.equal(torch.func.vmap(sign)(x), sign(x))


def test_error_decay_slopes_run_log_linearly_and_cross_one_at_three_quarters() -> None:
    assert error_decay_slopes(0.0) == pytest.approx((1e-3, 1e3))
    assert error_decay_slopes(0.5) == pytest.approx((0.1, 10.0))
    assert error_decay_slopes(0.75) == pytest.approx((1.0, 1.0))
    assert error_decay_slopes(1.0) == pytest.approx((10.0, 1.0))
    assert error_decay_slopes(0.5, t_min=1e-2) == pytest.approx((10**-0.5, 10**0.5))


@given(st.floats(0, 1))
def test_the_peak_of_error_decay_is_one_until_t_passes_one(progress: float) -> None:
    t, k = error_decay_slopes(progress)
    assert k * t == pytest.approx(max(1.0, t))


def test_bit_j_of_word_i_is_entry_32_i_plus_j() -> None:
    for entry in range(70):
        signs = -torch.ones(70)
        signs[entry] = 1
        words = pack(signs)
        assert words.dtype == torch.uint32
        assert words.tolist() == [
            (1 << (entry - 32 * i)) if entry // 32 == i else 0 for i in range(3)
        ]


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 3), max_size=2),
    length=st.integers(0, 100),
    seed=st.integers(0, 2**31),
)
def test_unpack_undoes_pack(shape: list[int], length: int, seed: int) -> None:
    signs = random_signs(*shape, length, seed=seed)
    words = pack(torch.from_numpy(signs))
    assert words.shape == (*shape, -(-length // 32))
    assert np.array_equal(unpack(words, length).numpy(), signs)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.int8, torch.int64])
def test_pack_takes_any_dtype_of_signs(dtype: torch.dtype) -> None:
    assert pack(torch.tensor([1, -1, -1, 1]).to(dtype)).tolist() == [0b1001]


def test_pack_reads_a_transposed_view_in_its_own_order() -> None:
    signs = torch.from_numpy(random_signs(40, 3)).float()
    assert torch.equal(unpack(pack(signs.T), 40), signs.T)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 3), max_size=2),
    length=st.integers(1, 100),
    seed=st.integers(0, 2**31),
)
def test_xnor_dot_is_the_integer_dot_product(shape: list[int], length: int, seed: int) -> None:
    a = random_signs(*shape, length, seed=seed)
    b = random_signs(*shape, length, seed=seed + 1)
    product = xnor_dot(pack(torch.from_numpy(a)), pack(torch.from_numpy(b)), length)
    assert isinstance(product, Tensor) and product.dtype == torch.int64
    assert np.array_equal(product.numpy(), (a * b).sum(-1))


def test_xnor_dot_broadcasts_to_a_matrix_product() -> None:
    a, b = random_signs(4, 45), random_signs(5, 45, seed=1)
    words_a, words_b = pack(torch.from_numpy(a)), pack(torch.from_numpy(b))
    assert np.array_equal(xnor_dot(words_a[:, None], words_b[None], 45).numpy(), a @ b.T)


@pytest.mark.parametrize("bad", [0.0, 0.5, 2.0, float("nan")])
def test_pack_refuses_what_is_no_sign(bad: float) -> None:
    with pytest.raises(ValueError, match=rf"pack: `signs` holds {bad}; every entry must be"):
        pack(torch.tensor([[1.0, bad, -1.0]]))


def test_pack_refuses_a_single_number() -> None:
    with pytest.raises(ValueError, match="last axis"):
        pack(torch.tensor(1.0))


@pytest.mark.parametrize("length", [-1, 65])
def test_unpack_refuses_a_length_beyond_its_words(length: int) -> None:
    with pytest.raises(ValueError, match=f"length={length} does not fit in 2 words"):
        unpack(pack(torch.ones(64)), length)


def test_xnor_dot_refuses_words_that_do_not_hold_the_length() -> None:
    with pytest.raises(ValueError, match="length=64 takes 2 words, but `a` has 1 and `b` has 2"):
        xnor_dot(pack(torch.ones(3, 3)), pack(torch.ones(3, 64)), 64)
    with pytest.raises(ValueError, match="length=65 takes 3 words"):
        xnor_dot(pack(torch.ones(64)), pack(torch.ones(64)), 65)
