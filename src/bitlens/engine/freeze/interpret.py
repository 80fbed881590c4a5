"""The captured net run in torch beside the engine's values, every sign compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx

from bitlens.engine.freeze.capture import Captured
from bitlens.engine.freeze.flow import Array, Op, Substitute, View, from_rows, to_rows
from bitlens.engine.freeze.lower import Lowered
from bitlens.engine.freeze.observe import shown_by
from bitlens.engine.freeze.quantize import Affine, to_bytes
from bitlens.errors import BitlensError

CLOSE = 1e-4
"""How far an open sum may be from torch's, as a part of the largest magnitude in the tensor."""


def distance(a: Tensor, b: Tensor) -> float:
    """Largest difference of `a` from `b`, as a part of the largest magnitude of `b`."""
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        return 0.0 if torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) else float("inf")
    size = max(float(b.abs().max()), 1e-30)
    return float((a - b).abs().max()) / size


class SideBySide:
    """Runs the captured net beside the engine's values."""

    def __init__(self, captured: Captured, lowered: Lowered) -> None:
        self.captured, self.lowered, self.flow = captured, lowered, lowered.flow
        self.order = list(captured.module.graph.nodes)
        self.shown = shown_by(lowered.flow, captured)
        self.codes = 0
        self.seen: set[Op] = set()

    @torch.no_grad()
    def pair(self, images: Tensor, rows: Array, values: Mapping[str, Array]) -> Array:
        """Run a pair of images and compare every sign; torch's answers (n, h, w, c)."""
        interpreter = fx.Interpreter(self.captured.module)
        env: dict[fx.Node, Any] = dict(self.captured.constants)
        interpreter.env = env
        for node in self.order:
            if node in env or node.op not in ("placeholder", "call_function"):
                continue
            substitute = self.flow.substitutes.get(node)
            view = self.flow.views.get(node)
            op = None if substitute is None else substitute.view.op
            if substitute is not None and op in self.lowered.used and not op.open:
                env[node] = self._simulated(substitute, env, rows, values)
            else:
                env[node] = images if node.op == "placeholder" else interpreter.run_node(node)
                if substitute is not None and op in self.lowered.used:
                    # A batch norm returns what it normalised with as well.
                    torchs, *more = env[node] if isinstance(env[node], tuple) else (env[node],)
                    own = self._substituted(node, substitute, torchs, values)
                    env[node] = (own, *more) if more else own
            if view is not None:
                self._compare(view, env[node], values)
        answer = to_rows(env[self.captured.answer], self.flow.answer)
        ours = values[self.lowered.probed.output]
        if distance(torch.from_numpy(ours), torch.from_numpy(answer)) > CLOSE:
            raise BitlensError(
                "pack: the packed net's answer is not that of the torch net; this is a bug of the engine, "
                "please report it"
            )
        return answer

    def _simulated(
        self,
        substitute: Substitute,
        env: Mapping[fx.Node, Tensor],
        rows: Array,
        values: Mapping[str, Array],
    ) -> Tensor:
        """The value of an int8 convolution or a sum of two, from the bytes of torch's own numbers."""
        op = substitute.view.op
        parts = op.inputs if op.kind == "add_value" else (op,)
        t, *more = (self._int8(conv, env, rows, values) for conv in parts)
        t = sum(more, start=t)
        self._require_equal(op, t, values)
        t = t if substitute.bias is None else t + substitute.bias
        return from_rows(t, substitute.view)

    def _int8(
        self,
        conv: Op,
        env: Mapping[fx.Node, Tensor],
        rows: Array,
        values: Mapping[str, Array],
    ) -> Array:
        (source,) = conv.inputs
        if source.kind == "image":
            taken = rows
        else:
            real = self._rows_of(source.inputs[0], env)
            taken = to_bytes(real, Affine(source.scale, source.zero))
            ours = values[self.lowered.names[source]]
            if not np.array_equal(taken, ours):
                raise BitlensError(
                    f"pack: layer {conv.name!r}: {int((taken != ours).sum())} of {taken.size} bytes of "
                    "its input differ from torch's; this is a bug of the engine, please report it"
                )
        return int8_sums(conv, taken)

    def _rows_of(self, op: Op, env: Mapping[fx.Node, Tensor]) -> Array:
        if op not in self.shown and op.kind == "binary_conv":
            return self._rows_of(op.inputs[0], env)  # signs as floats
        node = self.shown[op]
        view = self.flow.views[node]
        return to_rows(env[node], view if view.op is op else View(op=op, dims=view.dims))

    def _substituted(
        self, node: fx.Node, substitute: Substitute, torchs: Tensor, values: Mapping[str, Array]
    ) -> Tensor:
        """The engine's value of an open operation, if it is close to torch's."""
        op = substitute.view.op
        ours = values[self.lowered.names[op]]
        ours = ours if substitute.bias is None else ours + substitute.bias
        tensor = from_rows(ours, substitute.view)
        if (far := distance(tensor, torchs)) > CLOSE:
            raise BitlensError(
                f"pack: {op.name or node.name!r}: the engine's {op.kind} is {far:.1e} of its range away "
                f"from torch's, more than {CLOSE:.0e}; nothing was written"
            )
        return tensor

    def _compare(self, view: View, torchs: Tensor, values: Mapping[str, Array]) -> None:
        """Every value that the probed net holds against torch's, to the last bit."""
        op = view.op
        if op.kind == "sign" and op in self.lowered.used:
            self._compare_signs(view, torchs, values)
        elif isinstance(torchs, Tensor) and not op.open and op.kind != "image":
            self._require_equal(op, to_rows(torchs, view), values)

    def _require_equal(self, op: Op, theirs: Array, values: Mapping[str, Array]) -> None:
        ours = values.get(self.lowered.names.get(op, ""))
        if op not in self.lowered.used or ours is None:
            return
        if not np.array_equal(ours, theirs, equal_nan=True):
            different = int((ours != theirs).sum())
            raise BitlensError(
                f"pack: {op.name or op.kind!r}: {different} of {ours.size} values of its {op.kind} differ "
                "from torch's; this is a bug of the engine, please report it"
            )

    def _compare_signs(self, view: View, torchs: Tensor, values: Mapping[str, Array]) -> None:
        ours, theirs = values[self.lowered.names[view.op]], to_rows(torchs, view)
        self.seen.add(view.op)
        self.codes += ours.size
        different = ours != theirs
        if different.any():
            image, row, column, channel = (int(i) for i in np.argwhere(different)[0])
            raise BitlensError(
                f"pack: layer {view.op.name!r}: {int(different.sum())} of {different.size} signs differ "
                f"from torch's, first at image {image}, row {row}, column {column}, channel {channel}; "
                "nothing was written"
            )


def int8_sums(conv: Op, taken: Array) -> Array:
    """What an int8 convolution makes of bytes (n, h, w, c), float32 (n, h, w, o)."""
    assert conv.weights is not None
    filters = torch.from_numpy(conv.weights).double()
    zeros = np.broadcast_to(conv.zero.astype(np.float64), (1, *taken.shape[1:]))
    sums, shifts = (
        _convolved(torch.from_numpy(x.astype(np.float64)), filters, conv) for x in (taken, zeros)
    )
    offset = (-conv.scale.astype(np.float64) * shifts).astype(np.float32)
    return sums.astype(np.float32) * conv.scale + offset


def _convolved(rows: Tensor, filters: Tensor, conv: Op) -> Array:
    top, left, bottom, right = conv.window.pads
    image = F.pad(rows.permute(0, 3, 1, 2), (left, right, top, bottom))
    window = conv.window
    out = F.conv2d(image, filters, None, window.stride, 0, window.dilation, conv.groups)
    return out.permute(0, 2, 3, 1).contiguous().numpy()
