"""Who computes: arenas with their tables, made when first needed, and the threads that use them."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property

import numpy as np

from bitlens.engine.graph import Graph
from bitlens.engine.kernels import rows as r
from bitlens.engine.kernels.compile import Run
from bitlens.engine.run.image_copies import image_copies
from bitlens.engine.run.images import Images
from bitlens.engine.run.program import Bound, Program, address


class Worker:
    """One arena and the tables that point into it."""

    def __init__(self, graph: Graph, program: Program, run: Run) -> None:
        """Take the memory.

        Raises:
            BitlensError: there is not so much.
        """
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


class Crew:
    """The workers and threads of one session in one process.

    Locks and threads do not survive a fork, so a child process needs a crew of its own.
    """

    def __init__(self, graph: Graph, program: Program, run: Run, size: int) -> None:
        """Nothing is allocated until someone works.

        Args:
            graph: the net.
            program: its plan.
            run: the kernels.
            size: workers at most.
        """
        self.process = os.getpid()
        self._made = graph, program, run
        self._size = size
        self._count = 0
        self._idle: list[Worker] = []
        self._changed = threading.Condition()

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """As many threads as workers, less the caller's own."""
        return ThreadPoolExecutor(max(1, self._size - 1), thread_name_prefix="bitlens")

    @contextmanager
    def worker(self) -> Generator[Worker]:
        """A worker for one's own, as soon as there is one.

        Raises:
            BitlensError: there is no memory for another.
        """
        worker = self._take()
        try:
            yield worker
        finally:
            with self._changed:
                self._idle.append(worker)
                self._changed.notify()

    def _take(self) -> Worker:
        with self._changed:
            self._changed.wait_for(lambda: self._idle or self._count < self._size)
            if self._idle:
                return self._idle.pop()
            worker = Worker(*self._made)
            self._count += 1
            return worker
