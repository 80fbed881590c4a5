"""Which layers of a net a plane shows, how each is read by one bit a unit, and in which order.

A binary layer's code is what its `Sign` puts out. A float layer has no code; it is read by the same
alphabet, the sign of what its activation function is given. (For ReLU that is whether the unit is on,
for tanh the sign of its output.) Binary and float nets are then compared on equal terms.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.errors import BitlensError, near
from bitlens.methods.contract import Sign
from bitlens.models.convert import matches
from bitlens.models.layers import binary_layers

PREDICTION = "prediction"
"""Name and read-out of the class the net decides for."""
SIGNS = "signs"
"""Read-out of a `Sign`: the code the binary layer computes with."""
INPUT_SIGNS = "input signs"
"""Read-out of an activation module: the signs of its input, 1 where >= 0."""
OUTPUT_SIGNS = "output signs"
"""Read-out of any other module that is named: the signs of its output, 1 where >= 0."""

COMPILED = "_orig_mod"
"""What torch.compile calls the module inside its wrapper."""

ACTIVATIONS = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU,
    nn.LogSigmoid, nn.Mish, nn.PReLU, nn.RReLU, nn.ReLU, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus,
    nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Threshold,
)  # fmt: skip
"""Modules whose input is read in a net without signs."""


@dataclass(frozen=True, kw_only=True)
class Tap:
    """One point of a net that is read.

    Attributes:
        name: the layer's name in the plane.
        module: the module that is hooked.
        call: which of the module's calls within a forward pass, from 0.
        readout: SIGNS, INPUT_SIGNS or OUTPUT_SIGNS.
    """

    name: str
    module: nn.Module
    call: int
    readout: str


Sink = Callable[[Tap, Tensor], None]


def find_taps(
    net: nn.Module, run: Callable[[], Any], layers: str | Iterable[str] | None
) -> list[Tap]:
    """The taps of `net` in the order in which they are executed.

    By default every `Sign`, named after the binary layer whose input it makes; in a net without
    signs every activation module. A module that is called k times in a forward pass makes k layers,
    `name`, `name#2` and so on. Binary layers that share a binarizer and read one tensor see one code,
    which is one layer under the name of the first; where they read different ones, as at different depths,
    these are `name` and `name#2` again.

    Args:
        net: any net.
        run: makes one forward pass of it.
        layers: exact names, prefixes or globs, a comma between them or in a sequence; they are looked
            for among the signs, then among the activation modules, and last among all modules.
            "prediction" is known and changes nothing, as it is always measured.

    Raises:
        BitlensError: a name that matches nothing or is not reached by the forward pass; a net with
            neither signs nor activation modules and no names given.
    """
    found, sharing = _readable(net)
    if layers is None:
        signs = {name: m for name, m in found.items() if isinstance(m, Sign)}
        wanted = signs or found
        if not wanted:
            raise BitlensError(
                "plane: the net has neither binary layers nor activation modules (functions such as "
                "torch.relu cannot be seen); name modules whose output is to be read with layers="
            )
    else:
        wanted = _choose(net, found, layers)
    names = {module: name for name, module in wanted.items()}
    taps: list[Tap] = []
    times: dict[nn.Module, int] = {}
    for module, call in _executed(list(names), sharing, run):
        times[module] = time = times.get(module, 0) + 1
        name = names[module] if time == 1 else f"{names[module]}#{time}"
        taps.append(Tap(name=name, module=module, call=call, readout=_readout(module)))
    reached = {tap.module for tap in taps}
    absent = [name for name, module in wanted.items() if module not in reached]
    if absent and (layers is not None or not taps):
        raise BitlensError(
            f"plane: layer {absent[0]!r} is not reached by a forward pass of the net in evaluation "
            "mode; leave it out"
        )
    if any(tap.name == PREDICTION for tap in taps):
        raise BitlensError(
            f"plane: a layer called {PREDICTION!r}, the name of the net's decision; rename the module"
        )
    return taps


def _readable(net: nn.Module) -> tuple[dict[str, nn.Module], dict[nn.Module, list[nn.Module]]]:
    """Signs and activation modules by name; the binarizers of signs that several layers share."""
    named: dict[nn.Module, str] = {}
    users: dict[nn.Module, list[nn.Module]] = {}
    for name, layer in binary_layers(net).items():
        sign = layer.activation.sign
        named.setdefault(sign, _plain(name))
        users.setdefault(sign, []).append(layer.activation)
    readable = [(n, m) for n, m in net.named_modules() if isinstance(m, (Sign, *ACTIVATIONS))]
    sharing = {sign: list(dict.fromkeys(all_)) for sign, all_ in users.items() if len(all_) > 1}
    return {named.get(module, _plain(name)) or "net": module for name, module in readable}, sharing


def _plain(name: str) -> str:
    """The module's name in the net as it was before parts of it were compiled."""
    return ".".join(part for part in name.split(".") if part != COMPILED)


def _readout(module: nn.Module) -> str:
    if isinstance(module, Sign):
        return SIGNS
    return INPUT_SIGNS if isinstance(module, ACTIVATIONS) else OUTPUT_SIGNS


def _choose(
    net: nn.Module, found: dict[str, nn.Module], layers: str | Iterable[str]
) -> dict[str, nn.Module]:
    # The wrapper of a compiled module has the same plain name and comes before the module itself.
    everything = {
        _plain(name): module
        for name, module in net.named_modules()
        if _plain(name) and not isinstance(module, nn.ModuleList | nn.ModuleDict)
    }
    chosen: dict[str, nn.Module] = {}
    for pattern in _patterns(layers):
        if pattern == PREDICTION and PREDICTION not in everything:
            continue
        matching = {name: m for name, m in found.items() if matches(name, pattern)}
        signs = {name: m for name, m in matching.items() if isinstance(m, Sign)}
        exact = {pattern: everything[pattern]} if pattern in everything else {}
        others = {name: m for name, m in everything.items() if matches(name, pattern)}
        if not others and not matching:
            close = near(pattern, [*found, *everything])
            hint = f"did you mean {' or '.join(close)}?" if close else f"layers: {', '.join(found)}"
            raise BitlensError(f"plane: layers={pattern!r} matches no layer; {hint}")
        chosen |= signs or matching or exact or others
    return chosen


def _patterns(layers: str | Iterable[str]) -> list[str]:
    if not isinstance(layers, str | Iterable):
        raise BitlensError(f"plane: layers={layers!r}; give names or globs, a comma between them")
    given = layers.split(",") if isinstance(layers, str) else list(layers)
    wrong = [part for part in given if not isinstance(part, str)]
    if wrong:
        raise BitlensError(f"plane: layers holds {wrong[0]!r}; names and globs are strings")
    return [part.strip() for part in given if part.strip()]


def _executed(
    modules: list[nn.Module],
    sharing: dict[nn.Module, list[nn.Module]],
    run: Callable[[], Any],
) -> list[tuple[nn.Module, int]]:
    """Modules and the numbers of their calls in order, without calls of a shared sign for a tensor it had."""
    order: list[tuple[nn.Module, int]] = []
    calls: dict[nn.Module, int] = {}
    latest: dict[nn.Module, Tensor] = {}
    had: dict[nn.Module, list[tuple[Any, Tensor]]] = {}

    def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        call = calls.get(module, 0)
        calls[module] = call + 1
        if module in latest:
            x = latest[module]
            place = (x.data_ptr(), x.shape, None if x.is_inference() else x._version)
            if any(place == other for other, _ in had.setdefault(module, [])):
                return
            # Kept, so that no later tensor is put in its place.
            had[module].append((place, x))
        order.append((module, call))

    def remember(sign: nn.Module) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        # The binarizer's input: what it gives to its sign may be computed anew for every layer.
        return lambda binarizer, inputs: latest.update({sign: inputs[0]})

    handles = [
        binarizer.register_forward_pre_hook(remember(sign))
        for sign, binarizers in sharing.items()
        for binarizer in binarizers
    ]
    handles += [module.register_forward_pre_hook(note) for module in modules]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return order


@contextmanager
def listening(net: nn.Module, taps: Iterable[Tap], sink: Sink) -> Generator[None]:
    """Give `sink` every tap's values in each forward pass of `net` inside the block.

    Values have as many rows as the net's input has samples, (n, ...).
    """
    listener = _Listener(list(taps), sink)
    handles = [net.register_forward_pre_hook(listener.begin)]
    for module in {tap.module: None for tap in listener.taps.values()}:
        if _readout(module) == OUTPUT_SIGNS:
            handles.append(module.register_forward_hook(listener.take_output))
        else:
            # An activation may work in place, so its input is read before it runs.
            handles.append(module.register_forward_pre_hook(listener.take_input))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Listener:
    def __init__(self, taps: list[Tap], sink: Sink) -> None:
        self.taps = {(tap.module, tap.call): tap for tap in taps}
        self.sink = sink
        self.calls: dict[nn.Module, int] = {}
        self.samples = 0

    def begin(self, net: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.samples = len(inputs[0])
        self.calls.clear()

    def take_input(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._take(module, inputs[0])

    def take_output(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._take(module, output)

    def _take(self, module: nn.Module, values: Any) -> None:
        tap = self.taps.get((module, self.calls.get(module, 0)))
        self.calls[module] = self.calls.get(module, 0) + 1
        if tap is None:
            return
        if not isinstance(values, Tensor) or values.numel() % self.samples or not values.dim():
            shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise BitlensError(
                f"layer {tap.name!r} gives {shape} for {self.samples} samples; only tensors "
                "with rows that belong to samples can be read"
            )
        # A binary linear layer flattens (n, tokens, c) to rows before its sign.
        rows = values if len(values) == self.samples else values.reshape(self.samples, -1)
        self.sink(tap, rows if rows.dim() > 1 else rows[:, None])


def choices(output: Any, samples: int) -> int:
    """How many classes a net can decide for, by its output for `samples` inputs.

    Raises:
        BitlensError: it is neither (n, classes) nor one logit a sample.
    """
    if isinstance(output, Tensor) and len(output) == samples:
        if output.numel() == samples:
            return 2
        if output.dim() == 2:
            return output.shape[1]
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise BitlensError(
        f"plane: the net puts out {shape} for {samples} samples, not (n, classes); wrap it so that it "
        "returns its logits"
    )


def decisions(output: Tensor) -> Tensor:
    """(n,) the class a net decides for: argmax of (n, classes), the sign of one logit a sample.

    Raises:
        BitlensError: NaN.
    """
    if bool(output.isnan().any()):
        raise BitlensError(f"layer {PREDICTION!r}: the net's output holds NaN")
    if output.numel() == len(output):
        return (output.flatten() >= 0).to(torch.int64)
    return output.argmax(1)
