"""Runs a packed net on images."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.file.mapped import MappedFile
from bitlens.engine.graph import Graph
from bitlens.engine.kernels.cache import kernels
from bitlens.engine.run.crew import Crew, Worker
from bitlens.engine.run.images import Images, check_floats, take_images
from bitlens.engine.run.memory import Place
from bitlens.engine.run.plan import plan
from bitlens.engine.run.program import Program, address
from bitlens.engine.words import unpack_channels
from bitlens.errors import BitlensError, unknown

Array = npt.NDArray[Any]
_NUMBERS = {"codes": np.int8, "float": np.float32, "u8": np.uint8}
CHUNK = 32
"""Float images whose numbers are checked at once."""

MOST_THREADS = 256
"""Each holds an arena, so a slip of the finger must not take all memory."""

BACKENDS = ("cpu",)
"""What can run a program. Another one would read the same `Program`: it takes the place of `kernels()` and
of `Crew`, and a session of it checks here that its device is there."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes that a session holds.

    Attributes:
        weights: packed weights and constants, shared by all threads.
        arena: values of one image, for one thread.
        peak: all of it.
    """

    weights: int
    arena: int
    peak: int


def load(
    path: str | bytes | os.PathLike[str], threads: int = 1, *, backend: str = "cpu"
) -> Session:
    """Open a `.bits` file.

    The session reads weights where the file is mapped. A new file put in its place (as `bitlens.pack` and
    most programs write) leaves the session as it is; a change of the file itself is noticed at the next
    call, which raises. Only one in the midst of a call is not: on Linux, a file cut short then ends the
    process.

    Args:
        path: the file.
        threads: images computed at once. The answers do not depend on it.
        backend: "cpu".

    Raises:
        BitlensError: the file is damaged, needs more memory than a net of its size should, or an argument
            is not possible.
    """
    from bitlens.engine.file.format import open_graph

    graph, file = open_graph(path)
    return Session(graph, threads, backend=backend, file=file)


class Session:
    """A packed net, ready to answer.

    Calls from several threads are safe; they share the session's arenas, which are allocated when first
    needed. A process made by fork has threads and arenas of its own.
    """

    def __init__(
        self,
        graph: Graph,
        threads: int = 1,
        *,
        backend: str = "cpu",
        file: MappedFile | None = None,
    ) -> None:
        """Plan the net, and load the compiled kernels.

        Args:
            graph: the packed net.
            threads: images computed at once, each on a core of its own.
            backend: "cpu".
            file: where the net's tensors are mapped from; None where they are the process's own.

        Raises:
            BitlensError: the net needs more memory than one of its size should, or an argument is not
                possible.
        """
        if backend not in BACKENDS:
            raise unknown("backend", backend, BACKENDS)
        self.graph = graph
        self.threads = _whole_threads(threads)
        self._file = file
        self._program = plan(graph)
        self._kernels = kernels()
        self._crew = Crew(graph, self._program, self._kernels.run, self.threads)
        self._warned = False

    def __call__(self, images: Any, layout: str = "nchw") -> Any:
        """Answer for images.

        Args:
            images: numpy array or torch tensor (n, c, h, w): uint8 for raw bytes, or float32 as the net
                takes them. Any strides. n may be 0. A tensor's history is not followed: answers have no
                gradient.
            layout: "nchw" or "nhwc", how `images` lie.

        Returns:
            float32 (n, classes) or (n, c, h, w), an array for an array, a tensor for a tensor.

        Raises:
            BitlensError: the net does not take such images, its file has changed, or memory is short.
        """
        taken = self._taken(images, layout)
        self._check(taken, len(taken))
        crew = self._own_crew()
        answers = np.empty((len(taken), *self._answer_shape), np.float32)
        if self.threads == 1 or len(taken) == 1:
            _answer(crew, taken, answers, range(len(taken)))
        else:
            bounds = np.linspace(0, len(taken), min(self.threads, len(taken)) + 1).astype(int)
            own, *others = [range(a, b) for a, b in pairwise(bounds.tolist())]
            jobs = [crew.pool.submit(_answer, crew, taken, answers, part) for part in others]
            # The calling thread is awake already; a second one to wake would cost it a tenth of a net.
            _answer(crew, taken, answers, own)
            for job in jobs:
                job.result()
        return sys.modules["torch"].from_numpy(answers) if taken.torch else answers

    def trace(self, images: Any, layout: str = "nchw") -> dict[str, Array]:
        """Every value of the graph, by the same kernels.

        Args:
            images: as for a call.
            layout: as for a call.

        Returns:
            By name, (n, h, w, c): codes as int8 -1 and +1, floats as float32, bytes as uint8.
        """
        taken = self._taken(images, layout)
        self._check(taken, len(taken))
        worker = Worker(self.graph, self._traced, self._kernels.run)
        values = self.graph.values
        homes = self._traced.homes
        found = {
            name: np.empty((len(taken), *values[name].shape), _NUMBERS[place.kind])
            for name, place in homes.items()
        }
        answer = np.empty(self._answer_shape, np.float32)
        for image in range(len(taken)):
            worker.answer(taken, image, address(answer))
            for name, place in homes.items():
                found[name][image] = _read(worker.bound.arena, place, values[name].shape[2])
        return found

    def profile(self, images: Any, repeats: int = 20) -> list[tuple[str, str, float]]:
        """Time each node alone.

        Args:
            images: as for a call; the first is used.
            repeats: runs, whose median is taken.

        Returns:
            For each part of the program in order: name of the node, its operation, seconds.
        """
        taken = self._taken(images, "nchw")
        if not len(taken) or repeats < 1:
            raise BitlensError("profile needs an image, and repeats of 1 or more")
        self._check(taken, 1)
        answer = np.empty(self._answer_shape, np.float32)
        parts = self._program.parts
        seconds = np.empty((repeats, len(parts)))
        with self._own_crew().worker() as worker:
            worker.answer(taken, 0, address(answer))
            run, rows = self._kernels.run, worker.bound.rows
            tables = [(address(rows[p.first :]), p.stop - p.first) for p in parts]
            for turn in range(repeats):
                for i, (table, count) in enumerate(tables):
                    started = time.perf_counter()
                    run(table, count)
                    seconds[turn, i] = time.perf_counter() - started
        medians = np.median(seconds, axis=0)
        return [(p.name, p.op, float(s)) for p, s in zip(parts, medians, strict=True)]

    @property
    def kernel(self) -> str:
        """Which instructions the kernels use: "avx512-vpopcntdq", "avx2", "neon" or "generic"."""
        return self._kernels.name

    @property
    def memory(self) -> Memory:
        """Bytes held for weights and values."""
        weights, arena = self._program.weights, self._program.arena
        return Memory(weights=weights, arena=arena, peak=weights + self.threads * arena)

    @cached_property
    def _answer_shape(self) -> tuple[int, ...]:
        height, width, channels = self.graph.values[self.graph.output].shape
        return (channels,) if self.graph.output_rank == 2 else (channels, height, width)

    @cached_property
    def _traced(self) -> Program:
        return plan(self.graph, whole=True)

    def _taken(self, images: Any, layout: str) -> Images:
        taken = take_images(self.graph, images, layout)
        if self._file is not None:
            self._file.check()
        return taken

    def _own_crew(self) -> Crew:
        """The crew of this process."""
        if self._crew.process != os.getpid():
            self._crew = Crew(self.graph, self._program, self._kernels.run, self.threads)
        return self._crew

    def _check(self, images: Images, count: int) -> None:
        """Look at the numbers of the first `count` images; the caller is told as the caller of a method."""
        if images.array.dtype != np.float32:
            return
        for first in range(0, count, CHUNK):
            some = images.array[first : min(first + CHUNK, count)]
            self._warned = check_floats(self.graph, some, first, warned=self._warned)


def _whole_threads(threads: Any) -> int:
    if isinstance(threads, bool) or not isinstance(threads, Integral):
        raise BitlensError(f"threads is {threads!r}; it counts cores, so give 1 or more")
    count = int(threads)
    if not 1 <= count <= MOST_THREADS:
        raise BitlensError(
            f"threads is {count}; it counts cores, so give 1 or more, {MOST_THREADS} at most"
        )
    return count


def _answer(crew: Crew, images: Images, answers: Array, part: range) -> None:
    with crew.worker() as worker:
        start, step = address(answers), answers.strides[0]
        for image in part:
            worker.answer(images, image, start + image * step)


def _read(arena: Array, place: Place, channels: int) -> Array:
    """A value's elements out of the arena, (h, w, c)."""
    height, width, _ = place.shape
    top, left, bottom, right = place.border
    rows, columns = top + height + bottom, left + width + right
    raw = arena[place.start : place.start + rows * place.row]
    pixels = raw.reshape(rows, columns, place.pixel)[top : top + height, left : left + width]
    pixels = pixels.copy()
    if place.kind == "codes":
        return unpack_channels(pixels.view("<u4"), channels)
    if place.kind == "u8":
        return pixels
    return pixels.view(np.float32)[..., :channels]
