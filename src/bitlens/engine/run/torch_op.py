"""A packed net as one torch operation, so that torch.export and torch.compile keep it in their graphs."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn

from bitlens.engine.run.session import Session, load
from bitlens.errors import BitlensError

Stamp = tuple[int, int, int]
KEPT = 8
"""Sessions that stay open; the one not used for longest is dropped."""

_sessions: OrderedDict[tuple[str, int], tuple[Stamp, Session]] = OrderedDict()
_lock = threading.Lock()


def _session(path: str, threads: int) -> Session:
    """The session of a file, opened again when the file has changed or another took its name."""
    try:
        state = os.stat(path)
    except OSError as error:
        raise BitlensError(
            f"{path} cannot be read ({error.strerror}); an exported net needs its .bits file where it was"
        ) from None
    stamp = state.st_mtime_ns, state.st_size, state.st_ino
    with _lock:
        known = _sessions.pop((path, threads), None)
        if known is None or known[0] != stamp:
            known = stamp, load(path, threads)
        _sessions[path, threads] = known
        while len(_sessions) > KEPT:
            _sessions.popitem(last=False)
    return known[1]


@torch.library.custom_op("bitlens::packed_net", mutates_args=())
def packed_net(images: Tensor, path: str, threads: int) -> Tensor:
    """Answer for images (n, c, h, w), uint8 or float32, by the net in a `.bits` file.

    Returns:
        float32 (n, classes) or (n, c, h, w).
    """
    return _session(path, threads)(images)


@packed_net.register_fake
def _shape(images: Tensor, path: str, threads: int) -> Tensor:
    graph = _session(path, threads).graph
    height, width, channels = graph.values[graph.output].shape
    answer = (channels,) if graph.output_rank == 2 else (channels, height, width)
    return images.new_empty((images.shape[0], *answer), dtype=torch.float32)


def _no_gradient(context: object, gradient: Tensor) -> tuple[Tensor, None, None]:
    raise BitlensError(
        "a packed net has no gradient; train or differentiate the float net that it was packed from, or "
        "call the packed one under torch.no_grad()"
    )


packed_net.register_autograd(_no_gradient)


class PackedNet(nn.Module):
    """A packed net as a module without parameters.

    What torch.export saves of it holds the file's path, not the file. A process that loads such a program
    imports `bitlens.engine.run.torch_op` before `torch.export.load`, which makes the operation known.
    Images may require a gradient; asking for one behind the net raises `BitlensError`.
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        """Open a net.

        Args:
            path: a `.bits` file.
            threads: images computed at once.

        Raises:
            BitlensError: the file cannot be read, or is damaged.
        """
        super().__init__()
        self.path = str(Path(path).resolve())
        self.threads = threads
        _session(self.path, threads)

    def forward(self, images: Tensor) -> Tensor:
        """Answer for images (n, c, h, w), uint8 or float32."""
        return torch.ops.bitlens.packed_net(images, self.path, self.threads)
