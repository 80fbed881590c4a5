"""How element by element arithmetic of torch becomes steps."""

from __future__ import annotations

from collections.abc import Callable
from math import frexp
from typing import Any

import numpy as np
import torch

from bitlens.engine.freeze.flow import View
from bitlens.engine.freeze.norms import multiply_add_of
from bitlens.engine.freeze.translation import Translation

aten: Any = torch.ops.aten


def _is_power_of_two(value: Any) -> bool:
    return bool(np.all([abs(frexp(v)[0]) == 0.5 for v in np.ravel(value)]))


def _scaled(t: Translation, operand: Any, alpha: float) -> Any:
    """`operand` times the `alpha` of torch's add; exact, or refused."""
    if alpha == 1:
        return operand
    if not _is_power_of_two(float(alpha)):
        t.refuse(f"has alpha={alpha}", "multiply the operand itself, then add")
    if isinstance(operand, View):
        return t.step("multiply", operand, a=np.full(operand.op.channels, alpha, np.float32))
    return t.constant(operand) * np.float32(alpha)


def add(t: Translation, x: Any, y: Any, *, alpha: float = 1) -> View:
    """x + alpha y."""
    y = _scaled(t, y, alpha)
    if not isinstance(x, View):
        x, y = y, x
    if isinstance(y, View):
        return _with_value(t, "add_value", x, y)
    view, a = t.per_channel(x, torch.as_tensor(y))
    return t.step("add", view, a=a)


def subtract(t: Translation, x: Any, y: Any, *, alpha: float = 1) -> View:
    """x - alpha y, as x + (-y), which rounds alike."""
    return add(t, x, y, alpha=-alpha)


def subtract_from(t: Translation, x: View, y: Any, alpha: float = 1) -> View:
    """y - alpha x."""
    return add(t, y, x, alpha=-alpha)


def multiply(t: Translation, x: Any, y: Any) -> View:
    """x y."""
    if not isinstance(x, View):
        x, y = y, x
    if isinstance(y, View):
        return _with_value(t, "multiply_value", x, y)
    view, a = t.per_channel(x, torch.as_tensor(y))
    return t.step("multiply", view, a=a)


def divide(t: Translation, x: Any, y: Any) -> View:
    """x / y for a constant y, as x (1 / y): open in its last bit unless y is a power of two."""
    if not isinstance(x, View) or isinstance(y, View):
        t.refuse("divides by a number that depends on the image", "divide by constants only")
    view, divisor = t.per_channel(x, torch.as_tensor(y))
    if not divisor.all():
        t.refuse("divides by zero", "divide by other numbers")
    with np.errstate(over="ignore"):
        factor = 1 / divisor
    if not np.isfinite(factor).all():
        smallest = np.abs(divisor).min()
        t.refuse(
            f"divides by {smallest:.3g}, whose reciprocal is beyond float32",
            "divide by larger numbers",
        )
    made = t.step("multiply", view, a=factor, open=not _is_power_of_two(divisor))
    if made.op.open:
        t.record(made)
    return made


def negate(t: Translation, x: View) -> View:
    """-x."""
    return t.step("multiply", x, a=np.full(x.op.channels, -1, np.float32))


def square(t: Translation, x: View) -> View:
    """x x."""
    return t.step("multiply_value", x, x.op)


def power(t: Translation, x: View, exponent: Any) -> View:
    """x to the power of 2."""
    if exponent != 2:
        t.refuse(f"has exponent {exponent}", "only squares can be packed")
    return square(t, x)


def _with_value(t: Translation, kind: Any, x: View, y: View) -> View:
    """One image-dependent operand each; the second may be one number a channel."""
    rank = max(len(x.dims), len(y.dims))
    dims = [((),) * (rank - len(v.dims)) + v.dims for v in (x, y)]
    (xh, xw, xc), (yh, yw, yc) = x.op.shape, y.op.shape
    if xh * xw < yh * yw:
        return _with_value(t, kind, y, x)
    fits = all(b in (a, ()) for a, b in zip(*dims, strict=True))
    if not fits or xc != yc or (yh, yw) not in ((xh, xw), (1, 1)):
        t.refuse(
            f"joins tensors of shapes {x.sizes(2)} and {y.sizes(2)}",
            "both need the same channels, and equal sides or sides of 1",
        )
    return t.step(kind, View(op=x.op, dims=dims[0]), y.op)


def clamp(t: Translation, x: View, low: Any = None, high: Any = None) -> View:
    """min(max(x, low), high)."""
    if isinstance(low, View | torch.Tensor) or isinstance(high, View | torch.Tensor):
        t.refuse("has tensors for limits", "use numbers")
    bottom = -np.inf if low is None else float(low)
    top = np.inf if high is None else float(high)
    return t.step("clamp", x, low=bottom, high=top)


def clamp_below(t: Translation, x: View, high: Any) -> View:
    """min(x, high)."""
    return clamp(t, x, None, high)


def hardtanh(t: Translation, x: View, low: float = -1.0, high: float = 1.0) -> View:
    """min(max(x, -1), 1) by default."""
    return clamp(t, x, low, high)


def relu(t: Translation, x: View) -> View:
    """max(x, 0)."""
    return clamp(t, x, 0.0)


def relu6(t: Translation, x: View) -> View:
    """min(max(x, 0), 6)."""
    return clamp(t, x, 0.0, 6.0)


def prelu(t: Translation, x: View, slope: Any) -> View:
    """x where positive, else slope x, one slope or one a channel (dimension 1)."""
    slopes = torch.as_tensor(t.constant(slope))
    if slopes.numel() > 1:
        slopes = slopes.reshape(1, -1, *(1,) * (len(x.dims) - 2))
    view, a = t.per_channel(x, slopes)
    return t.step("prelu", view, a=a)


def leaky_relu(t: Translation, x: View, slope: float = 0.01) -> View:
    """x where positive, else slope x."""
    return prelu(t, x, float(slope))


def batch_norm(
    t: Translation,
    x: View,
    gamma: Any,
    beta: Any,
    mean: Any,
    variance: Any,
    momentum: float,
    eps: float,
) -> tuple[View, None, None]:
    """(x - mean) / sqrt(variance + eps) gamma + beta, as torch's one multiply-add."""
    weight, bias = (None if v is None else t.constant(v) for v in (gamma, beta))
    a, b = multiply_add_of(weight, bias, t.constant(mean), t.constant(variance), eps)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        t.refuse("has statistics that are not finite", "recalibrate or retrain the batch norm")
    around = (1, -1, *(1,) * (len(x.dims) - 2))
    view, scale = t.per_channel(x, torch.from_numpy(a.reshape(around)))
    _, shift = t.per_channel(view, torch.from_numpy(b.reshape(around)))
    made = t.step("multiply_add", view, a=scale, b=shift, open=not _is_dense(t.node.args[0]))
    if made.op.open:
        t.record(made)
    return made, None, None


def _is_dense(node: Any) -> bool:
    """Whether torch normalises a tensor in one multiply-add; one with gaps it does in several steps."""
    value = node.meta["val"]
    formats = [torch.contiguous_format]
    formats += [torch.channels_last] if value.dim() == 4 else []
    return any(value.is_contiguous(memory_format=each) for each in formats)


def batch_norm_of_the_batch(t: Translation, *_: Any, **__: Any) -> View:
    """Batch norm without running statistics: refused."""
    t.refuse(
        "normalises with the statistics of the batch itself",
        "train with track_running_stats=True",
    )


def _unary(function: str, **defaults: Any) -> Callable[..., View]:
    names = list(defaults)

    def apply(t: Translation, x: View, *given: Any, **named: Any) -> View:
        options = {**defaults, **dict(zip(names, given, strict=False)), **named}
        made = t.step("unary", x, attributes={"function": function, **options}, open=True)
        t.record(made)
        return made

    apply.__doc__ = f"The function {function}."
    return apply


def _elu(
    t: Translation, x: View, alpha: float = 1, scale: float = 1, input_scale: float = 1
) -> View:
    if (scale, input_scale) != (1, 1):
        t.refuse(f"has scales {scale} and {input_scale} (a selu)", "use nn.ELU or nn.PReLU")
    made = t.step("unary", x, attributes={"function": "elu", "alpha": float(alpha)}, open=True)
    t.record(made)
    return made


ARITHMETIC: dict[Any, Callable[..., Any]] = {
    aten.add.Tensor: add,
    aten.add.Scalar: add,
    aten.sub.Tensor: subtract,
    aten.sub.Scalar: subtract,
    aten.rsub.Scalar: subtract_from,
    aten.rsub.Tensor: subtract_from,
    aten.mul.Tensor: multiply,
    aten.mul.Scalar: multiply,
    aten.div.Tensor: divide,
    aten.div.Scalar: divide,
    aten.neg.default: negate,
    aten.square.default: square,
    aten.pow.Tensor_Scalar: power,
    aten.clamp.default: clamp,
    aten.clamp_min.default: clamp,
    aten.clamp_max.default: clamp_below,
    aten.hardtanh.default: hardtanh,
    aten.relu.default: relu,
    aten.relu6.default: relu6,
    aten.prelu.default: prelu,
    aten._prelu_kernel.default: prelu,
    aten.leaky_relu.default: leaky_relu,
    aten._native_batch_norm_legit_no_training.default: batch_norm,
    aten._native_batch_norm_legit.no_stats: batch_norm_of_the_batch,
    aten._native_batch_norm_legit_functional.default: batch_norm_of_the_batch,
    aten.sigmoid.default: _unary("sigmoid"),
    aten.tanh.default: _unary("tanh"),
    aten.silu.default: _unary("silu"),
    aten.gelu.default: _unary("gelu", approximate="none"),
    aten.hardswish.default: _unary("hardswish"),
    aten.hardsigmoid.default: _unary("hardsigmoid"),
    aten.exp.default: _unary("exp"),
    aten.abs.default: _unary("abs"),
    aten.sqrt.default: _unary("sqrt"),
    aten.elu.default: _elu,
}
"""Torch operator -> rule."""
