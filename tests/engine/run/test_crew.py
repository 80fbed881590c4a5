"""Whose memory and threads compute: made when needed, bounded, and each process's own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bitlens.engine.graph import Graph
from bitlens.engine.run import crew
from bitlens.engine.run.program import Program
from bitlens.engine.run.session import MOST_THREADS, Session
from bitlens.errors import BitlensError

Nets = Callable[..., Graph]


def images_for(graph: Graph, count: int) -> np.ndarray:
    value = graph.values[graph.input]
    random = np.random.default_rng(0)
    if value.kind == "u8":
        return random.integers(0, 256, (count, *value.shape)).astype(np.uint8)
    return random.uniform(-1, 1, (count, *value.shape)).astype(np.float32)


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the arenas that are allocated."""
    sizes: list[int] = []
    bind = Program.bind

    def counted(program: Program) -> object:
        sizes.append(program.arena)
        return bind(program)

    monkeypatch.setattr(crew.Program, "bind", counted)
    return sizes


def test_arenas_are_allocated_when_first_needed(random_net: Nets, bound: list[int]) -> None:
    graph = random_net(3, 6)
    session = Session(graph, threads=MOST_THREADS)
    assert session.memory.arena > 0 and bound == []
    session(images_for(graph, 1), layout="nhwc")
    session(images_for(graph, 1), layout="nhwc")
    assert bound == [session.memory.arena]


def test_no_more_arenas_than_threads(random_net: Nets, bound: list[int]) -> None:
    graph = random_net(3, 6)
    session = Session(graph, threads=2)
    session(images_for(graph, 9), layout="nhwc")
    session(images_for(graph, 9), layout="nhwc")
    assert 1 <= len(bound) <= 2


def test_memory_that_is_not_there_is_told(
    random_net: Nets, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = random_net(3, 6)
    session = Session(graph)
    images = images_for(graph, 1)

    def refuse(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("bitlens.engine.run.program.np.zeros", refuse)
        with pytest.raises(BitlensError, match=r"no memory for the values of an image, .* MB"):
            session(images, layout="nhwc")
        with pytest.raises(BitlensError, match=r"no memory for the net's weights and tables"):
            Session(graph)
    assert session(images, layout="nhwc").shape[0] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_answers_too(random_net: Nets) -> None:
    """Its parent's threads are not there, and the locks they held stay held."""
    graph = random_net(3, 6)
    images = images_for(graph, 6)
    session = Session(graph, threads=2)
    wanted = session(images, layout="nhwc")
    child = os.fork()
    if child == 0:
        try:
            same = np.array_equal(session(images, layout="nhwc"), wanted, equal_nan=True)
        except BaseException:
            same = False
        os._exit(0 if same else 1)
    for _ in range(600):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")


@pytest.mark.parametrize("threads", [np.int64(2), np.uint8(1)])
def test_integers_of_numpy_count_cores(random_net: Nets, threads: int) -> None:
    session = Session(random_net(3, 6), threads)
    assert type(session.threads) is int and session.threads == threads


@pytest.mark.parametrize("threads", [MOST_THREADS + 1, 20_000, np.int64(0)])
def test_threads_have_an_end(random_net: Nets, threads: int) -> None:
    with pytest.raises(BitlensError, match=rf"threads is {threads}; .* {MOST_THREADS} at most"):
        Session(random_net(3, 6), threads)


def test_a_trace_of_no_images_has_every_value(random_net: Nets) -> None:
    graph = random_net(5, 8)
    session = Session(graph)
    some = session.trace(images_for(graph, 2), layout="nhwc")
    none = session.trace(images_for(graph, 0), layout="nhwc")
    assert none.keys() == some.keys() == graph.values.keys()
    for name, value in none.items():
        assert value.shape == (0, *graph.values[name].shape)
        assert value.dtype == some[name].dtype


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("how", ["call", "trace", "profile"])
def test_a_warning_points_at_the_caller(random_net: Nets, threads: int, how: str) -> None:
    graph = next(g for g in map(random_net, range(40)) if g.values[g.input].kind == "float")
    channels = graph.values[graph.input].shape[2]
    graph = replace(graph, mean=(0.5,) * channels, std=(0.25,) * channels)
    images = np.linspace(0, 1, images_for(graph, 4).size, dtype=np.float32)
    images = images.reshape(4, *graph.values[graph.input].shape).transpose(0, 3, 1, 2)
    images = np.ascontiguousarray(images)
    images[:, 0, 0, 0], images[:, -1, -1, -1] = 0.001, 0.999
    session = Session(graph, threads)
    run = {"call": session, "trace": session.trace, "profile": session.profile}[how]
    with pytest.warns(UserWarning, match=r"look like \[0, 1\]") as caught:
        run(images)
    assert caught[0].filename == __file__
