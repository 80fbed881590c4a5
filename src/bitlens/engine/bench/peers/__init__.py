"""Other engines that run the float twin of a packed net, to be timed beside it: one file an engine.

Each module has `prepare(graph, threads) -> Peer` and imports its engine's package at the top, so it is
imported only when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from bitlens.errors import BitlensError, unknown

if TYPE_CHECKING:
    from bitlens.engine.graph import Graph

CALIBRATION_BATCHES = 8
"""Random images from which the int8 peers take their ranges: enough for time, which depends on no value."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """An engine with the twin loaded, ready to be timed.

    Attributes:
        run: answers one fixed image.
        description: engine, arithmetic and the settings that decide its speed.
        version: of the engine's package.
    """

    run: Callable[[], object]
    description: str
    version: str


PEERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "torch": ("torch_eager", ("torch",)),
    "onnxruntime": ("onnxruntime_float", ("onnxruntime", "onnx")),
    "onnxruntime-int8": ("onnxruntime_int8", ("onnxruntime", "onnx")),
    "openvino": ("openvino_float", ("openvino", "onnx")),
    "openvino-int8": ("openvino_int8", ("openvino", "nncf", "onnx")),
}
"""Module of each peer, and the packages it needs."""

GROUPS: dict[str, tuple[str, ...]] = {
    "int8": ("onnxruntime-int8", "openvino-int8"),
    "all": tuple(PEERS),
}
"""Names that stand for several peers."""


class MissingPackage(BitlensError):
    """A peer whose package is not installed."""


def named(names: Sequence[str]) -> tuple[str, ...]:
    """Peers and groups spelled out, each once.

    Raises:
        BitlensError: a name that is neither.
    """
    found: dict[str, None] = {}
    for name in names:
        if name not in PEERS and name not in GROUPS:
            raise unknown("peer", name, [*PEERS, *GROUPS])
        found |= dict.fromkeys(GROUPS.get(name, (name,)))
    return tuple(found)


def prepare(name: str, graph: Graph, threads: int) -> Peer:
    """Load the float twin of `graph` into the engine called `name`.

    Args:
        name: one of `PEERS`.
        graph: a packed net.
        threads: threads that the engine may use, fixed to this number.

    Raises:
        MissingPackage: a package that the peer needs is not installed.
    """
    module, packages = PEERS[name]
    try:
        return import_module(f"bitlens.engine.bench.peers.{module}").prepare(graph, threads)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in packages:
            raise
        raise MissingPackage(
            f"peer {name}: the package {missing} is not installed; pip install 'bitlens[bench]'"
        ) from error
