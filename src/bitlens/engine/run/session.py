"""Runs a packed net on images."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.graph import Graph
from bitlens.engine.kernels import rows as r
from bitlens.engine.kernels.cache import kernels
from bitlens.engine.kernels.compile import Run
from bitlens.engine.run.image_copies import image_copies
from bitlens.engine.run.images import Images, check_floats, take_images
from bitlens.engine.run.memory import Place
from bitlens.engine.run.plan import plan
from bitlens.engine.run.program import Bound, Program, address
from bitlens.engine.words import unpack_channels
from bitlens.errors import BitlensError, unknown

Array = npt.NDArray[Any]
CHUNK = 32
"""Float images whose numbers are checked at once."""

BACKENDS = ("cpu", "cuda")


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


def load(path: str | Path, threads: int = 1, *, backend: str = "cpu") -> Session:
    """Open a `.bits` file.

    Args:
        path: the file.
        threads: images computed at once. The answers do not depend on it.
        backend: "cpu".

    Raises:
        BitlensError: the file is damaged, or an argument is not possible.
    """
    from bitlens.engine.file.format import read

    return Session(read(path), threads, backend=backend)


class Session:
    """A packed net, ready to answer.

    Calls from several threads are safe; they share the session's arenas.
    """

    def __init__(self, graph: Graph, threads: int = 1, *, backend: str = "cpu") -> None:
        """Plan the net, and load the compiled kernels.

        Args:
            graph: the packed net.
            threads: images computed at once, each on a core of its own.
            backend: "cpu".

        Raises:
            BitlensError: an argument is not possible.
        """
        if backend not in BACKENDS:
            raise unknown("backend", backend, BACKENDS)
        if backend == "cuda":
            raise BitlensError("backend 'cuda' is not built in this version; use backend='cpu'")
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise BitlensError(f"threads is {threads!r}; it counts cores, so give 1 or more")
        self.graph = graph
        self.threads = threads
        self._program = plan(graph)
        self._kernels = kernels()
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for _ in range(threads):
            self._free.put(_Worker(graph, self._program, self._kernels.run))
        self._lock = threading.Lock()
        self._warned = False

    def __call__(self, images: Any, layout: str = "nchw") -> Any:
        """Answer for images.

        Args:
            images: numpy array or torch tensor (n, c, h, w): uint8 for raw bytes, or float32 as the net
                takes them. Any strides. n may be 0.
            layout: "nchw" or "nhwc", how `images` lie.

        Returns:
            float32 (n, classes) or (n, c, h, w), an array for an array, a tensor for a tensor.

        Raises:
            BitlensError: the net does not take such images.
        """
        taken = take_images(self.graph, images, layout)
        answers = np.empty((len(taken), *self._answer_shape), np.float32)
        if self.threads == 1 or len(taken) == 1:
            self._answer(taken, answers, range(len(taken)))
        else:
            bounds = np.linspace(0, len(taken), min(self.threads, len(taken)) + 1).astype(int)
            parts = [range(a, b) for a, b in pairwise(bounds.tolist())]
            jobs = [self._pool.submit(self._answer, taken, answers, part) for part in parts]
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
        taken = take_images(self.graph, images, layout)
        self._check(taken, range(len(taken)))
        worker = _Worker(self.graph, self._traced, self._kernels.run)
        values = self.graph.values
        found: dict[str, list[Array]] = {name: [] for name in values}
        answer = np.empty(self._answer_shape, np.float32)
        for image in range(len(taken)):
            worker.answer(taken, image, address(answer))
            for name, place in self._traced.homes.items():
                found[name].append(_read(worker.bound.arena, place, values[name].shape[2]))
        return {name: np.stack(seen) for name, seen in found.items() if seen}

    def profile(self, images: Any, repeats: int = 20) -> list[tuple[str, str, float]]:
        """Time each node alone.

        Args:
            images: as for a call; the first is used.
            repeats: runs, whose median is taken.

        Returns:
            For each part of the program in order: name of the node, its operation, seconds.
        """
        taken = take_images(self.graph, images, "nchw")
        if not len(taken) or repeats < 1:
            raise BitlensError("profile needs an image, and repeats of 1 or more")
        self._check(taken, range(1))
        answer = np.empty(self._answer_shape, np.float32)
        parts = self._program.parts
        seconds = np.empty((repeats, len(parts)))
        with self._worker() as worker:
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

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads, thread_name_prefix="bitlens")

    @contextmanager
    def _worker(self) -> Iterator[_Worker]:
        worker = self._free.get()
        try:
            yield worker
        finally:
            self._free.put(worker)

    def _answer(self, images: Images, answers: Array, part: range) -> None:
        with self._worker() as worker:
            start, step = address(answers), answers.strides[0]
            for first in range(part.start, part.stop, CHUNK):
                some = range(first, min(first + CHUNK, part.stop))
                self._check(images, some)
                for image in some:
                    worker.answer(images, image, start + image * step)

    def _check(self, images: Images, part: range) -> None:
        if images.array.dtype == np.float32 and part:
            some = images.array[part.start : part.stop]
            self._warned = check_floats(self.graph, some, part.start, warned=self._warned)


class _Worker:
    """One arena and the tables that point into it."""

    def __init__(self, graph: Graph, program: Program, run: Run) -> None:
        self.bound: Bound = program.bind()
        self._run = run
        self._rows = self.bound.rows
        self._table = address(self._rows)
        self._copies = image_copies(graph, program.homes[graph.input], address(self.bound.arena))

    def answer(self, images: Images, image: int, target: int) -> None:
        """Run the net on one image, the answer to an address."""
        row = self._rows[0]
        step, row_step, column_step, channel_step = images.strides
        row[:] = self._copies.of_bytes if images.array.dtype == np.uint8 else self._copies.of_floats
        row[r.SOURCE] = address(images.array) + image * step
        row[r.SOURCE_ROW], row[r.SOURCE_PIXEL] = row_step, column_step
        row[r.CHANNEL_STEP] = channel_step
        self._rows[-1, r.TARGET] = target
        self._run(self._table, len(self._rows))


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
