"""The state of a translation from captured operators to `Op`s, and what every rule needs of it."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, fx

from bitlens.engine.freeze.capture import BATCH, Captured
from bitlens.engine.freeze.flow import (
    Array,
    Op,
    OpKind,
    Shape,
    Substitute,
    View,
    image_view,
    row_view,
    tag,
)
from bitlens.engine.graph import Window
from bitlens.errors import BitlensError


class Translation:
    """Values made so far, and the node that is being translated."""

    def __init__(self, captured: Captured) -> None:
        self.captured = captured
        self.values: dict[fx.Node, Any] = {}
        self.substitutes: dict[fx.Node, Substitute] = {}
        self.node: fx.Node = captured.image
        self._made: dict[tuple[Any, ...], Op] = {}

    @property
    def path(self) -> str:
        """Module path of the node that is being translated; "" for the net's own code."""
        stack = self.node.meta.get("nn_module_stack") or {}
        return next(reversed(stack.values()))[0] if stack else ""

    def refuse(self, reason: str, way_out: str) -> NoReturn:
        """Give up on the current node.

        Raises:
            BitlensError: always.
        """
        name = str(self.node.target).removesuffix(".default")
        raise BitlensError(f"pack: {self.path or '(net)'}: the operator {name} {reason}; {way_out}")

    def size(self, output: int | None = None) -> tuple[int, ...]:
        """Torch's shape of the current node's value, or of one of its several values."""
        value = self.node.meta["val"]
        return tuple(int(n) for n in (value if output is None else value[output]).shape)

    def make(
        self, kind: OpKind, *inputs: Op, shape: Shape, name: str | None = None, **fields: Any
    ) -> Op:
        """An operation, or the equal one that exists already.

        A layer is itself alone, whatever other layer has equal weights and the same input.
        """
        name = self.path if name is None else name
        layer = name if "weights" in fields else None
        key = (kind, inputs, shape, layer, *((k, _frozen(v)) for k, v in sorted(fields.items())))
        if key not in self._made:
            self._made[key] = Op(kind=kind, inputs=inputs, shape=shape, name=name, **fields)
        return self._made[key]

    def step(self, kind: OpKind, view: View, *others: Op, **fields: Any) -> View:
        """An operation on every element of `view`."""
        op = self.make(kind, view.op, *others, shape=view.op.shape, **fields)
        return View(op=op, dims=view.dims)

    def record(self, view: View, bias: Array | None = None) -> None:
        """Note that the current node's value comes from an open op, after which `bias` is added."""
        self.substitutes[self.node] = Substitute(view=view, bias=bias)

    def constant(self, value: Any) -> Array:
        """A constant operand as float32; refuses what depends on the images."""
        if isinstance(value, View):
            self.refuse("takes an operand that depends on the image", "make it a parameter")
        tensor = value if isinstance(value, Tensor) else torch.tensor(value)
        if not torch.isfinite(tensor.float()).all():
            self.refuse("takes a constant that is not finite", "use finite numbers")
        return tensor.detach().to(torch.float32).cpu().numpy()

    def per_channel(self, view: View, value: Any) -> tuple[View, Array]:
        """A constant operand as one number a channel (c,), and the view it now belongs to.

        A flattened value takes one number an element; then the flattening is carried out.
        """
        constant = self.constant(value)
        sizes = view.sizes(BATCH)
        if constant.ndim > len(sizes):
            extra = constant.shape[: constant.ndim - len(sizes)]
            if any(n != 1 for n in extra):
                self.refuse("makes more dimensions than its input has", "keep the shape")
            constant = constant.reshape(constant.shape[len(extra) :])
        constant = constant.reshape((1,) * (len(sizes) - constant.ndim) + constant.shape)
        varying = [place for place, size in enumerate(constant.shape) if size > 1]
        if not varying:
            return view, np.full(view.op.channels, constant.reshape(-1)[0], np.float32)
        if len(varying) == 1 and view.dims[varying[0]] == tag(view.op.shape, "c"):
            return view, np.ascontiguousarray(constant.reshape(-1))
        if len(varying) == 1 and view.dims[varying[0]] == tag(view.op.shape, "chw"):
            return self.per_channel(self.flattened(view), value)
        self.refuse(
            f"takes constants of shape {constant.shape} for an input of shape {sizes}",
            "only one number a channel can be packed",
        )

    def flattened(self, view: View) -> View:
        """Carry out a flattening (n, c h w) that so far is only a way to look at a value."""
        shape = view.op.shape
        if tag(shape, "chw") == tag(shape, "c"):
            return view
        op = self.make("flatten", view.op, shape=(1, 1, shape[0] * shape[1] * shape[2]))
        features = tag(op.shape, "c")
        return View(op=op, dims=tuple(features if d == tag(shape, "chw") else d for d in view.dims))

    def image(self, view: View) -> Op:
        """The op of a view that is (n, c, h, w); refuses any other."""
        if view.dims != image_view(view.op).dims:
            self.refuse(
                f"reads a tensor of shape {view.sizes(BATCH)} that is no image (n, c, h, w) here",
                "permute it back to that order first",
            )
        return view.op

    def floats(self, view: View) -> View:
        """Signs as the numbers -1 and +1, made by a convolution of each channel with the weight +1."""
        if view.op.kind != "sign":
            return view
        c = view.op.channels
        op = self.make(
            "binary_conv",
            view.op,
            shape=view.op.shape,
            name=f"{self.path}.signs" if self.path else "signs",
            window=Window(),
            groups=c,
            weights=np.ones((c, 1, 1, 1), np.int8),
        )
        return View(op=op, dims=view.dims)

    def answer(self, view: View) -> View:
        """The net's answer as (n, c) or (n, c, h, w)."""
        view = self.floats(view)
        if len(view.dims) == 2 and view.dims[1] != tag(view.op.shape, "c"):
            view = self.flattened(view)
        if view.dims not in (row_view(view.op).dims, image_view(view.op).dims):
            raise BitlensError(
                f"pack: the net returns a tensor of shape {view.sizes(BATCH)}; return (n, classes) or "
                "(n, channels, h, w)"
            )
        return view


def _frozen(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return tuple((k, _frozen(v)) for k, v in sorted(value.items()))
    if isinstance(value, list):
        return tuple(_frozen(v) for v in value)
    return value
