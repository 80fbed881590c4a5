"""Processes that do independent jobs at the same time, and end when whoever started them ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from typing import Any, TypeVar

import torch

T = TypeVar("T")


@contextmanager
def workers(jobs: int) -> Generator[ProcessPoolExecutor | None]:
    """`jobs` processes that share this process's threads; None for one, which needs no other."""
    if jobs == 1:
        yield None
        return
    threads = max(1, torch.get_num_threads() // jobs)
    others = set(active_children())
    pool = ProcessPoolExecutor(
        jobs, get_context("spawn"), initializer=_begin_worker, initargs=(threads,)
    )
    try:
        yield pool
    except BaseException:
        # Jobs continue from where they last saved, so nobody has to wait for the others to finish.
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in set(active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown()


def finished(
    pool: ProcessPoolExecutor | None, do: Callable[..., T], calls: Sequence[tuple[Any, ...]]
) -> Iterator[T]:
    """Do all of `calls`, here or in the pool; yields the result of each one that is done."""
    if pool is None:
        for call in calls:
            yield do(*call)
    else:
        for done in as_completed([pool.submit(do, *call) for call in calls]):
            yield done.result()


def _begin_worker(threads: int) -> None:
    # Ctrl-C reaches the whole group; the parent decides, and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)


def _end_with_parent() -> None:
    """Leave when the parent was killed: a worker of its own would go on training unseen."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
