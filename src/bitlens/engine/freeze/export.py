"""torch.export with its failures told in one sentence each."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind, OutputKind

from bitlens.errors import BitlensError


def run_once(net: nn.Module, pair: Tensor) -> None:
    """Run a net on two images before it is exported, so that its own errors are told as such.

    Raises:
        BitlensError: the net cannot run on them, or returns anything but one tensor.
    """
    running: list[str] = []
    try:
        with _places(net, running), torch.no_grad():
            answer = net(pair.clone())
    except Exception as error:
        place = _innermost(running)
        raise BitlensError(
            f"pack: the net cannot run on the example {tuple(pair.shape[1:])}, in {place!r}: "
            f"{first_line(error)}; give images as the net takes them, to a net that takes nothing else"
        ) from error
    if isinstance(answer, Tensor):
        return
    kind = type(answer).__name__
    if isinstance(answer, dict):
        kind = f"dict with {', '.join(map(repr, answer))}"
    elif isinstance(answer, tuple | list):
        kind = f"{kind} of {len(answer)}"
    raise BitlensError(
        f"pack: the net returns a {kind}; wrap it in a module whose forward returns one tensor"
    )


def export(net: nn.Module, pair: Tensor) -> fx.GraphModule:
    """The net as functional ATen operators for as many images as `pair` holds.

    Raises:
        BitlensError: torch.export cannot follow the net, or the net changes its input or itself.
    """
    running: list[str] = []
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(net, (pair,), strict=False)
            program = program.run_decompositions({})
            _check_functional(program)
            module = program.module()
    except BitlensError:
        raise
    except Exception as error:
        with contextlib.suppress(Exception), _quiet(), torch.no_grad(), _places(net, running):
            torch.export.export(net, (pair,), strict=False)
        raise BitlensError(
            f"pack: torch.export cannot follow the net in {_innermost(running)!r}: {first_line(error)}; "
            "a packed net runs the same operators for every image, so replace branches, loops and "
            "indexing that depend on pixel values"
        ) from error
    assert isinstance(module, fx.GraphModule)
    for node in list(module.graph.nodes):
        if node.op == "call_module":
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says anything."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _check_functional(program: torch.export.ExportedProgram) -> None:
    signature = program.graph_signature
    tensors = {
        spec.target for spec in signature.input_specs if spec.kind is not InputKind.USER_INPUT
    }
    for spec in signature.output_specs:
        if spec.kind is OutputKind.USER_INPUT_MUTATION:
            raise BitlensError(
                "pack: the net changes its input in place; write x = x * 2 instead of x.mul_(2), or "
                "begin with x = x.clone()"
            )
        if spec.kind is OutputKind.BUFFER_MUTATION and spec.target in tensors:
            raise BitlensError(
                f"pack: the net changes its buffer {spec.target} in evaluation mode; a packed net keeps "
                "no state, so change it in training mode only"
            )


@contextmanager
def _places(net: nn.Module, running: list[str]) -> Generator[None]:
    """Keep the paths of the modules that are running in `running`; a failure leaves them there."""
    handles = []
    for name, module in net.named_modules():

        def enter(module: nn.Module, inputs: Any, name: str = name) -> None:
            running.append(name)

        def leave(module: nn.Module, inputs: Any, output: Any) -> None:
            running.pop()

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _innermost(running: list[str]) -> str:
    return (running[-1] if running else "") or "(net)"


@contextmanager
def _quiet() -> Generator[None]:
    """Without torch's own deprecations, and the whole graph in its log where it cannot go on."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
