"""What happens to a file while a session reads from it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bitlens.engine.file.format import encode, write
from bitlens.engine.graph import Graph
from bitlens.engine.run.session import Session, load
from bitlens.errors import BitlensError


@pytest.fixture
def file(random_net: Callable[..., Graph], tmp_path: Path) -> tuple[Path, np.ndarray]:
    graph = random_net(11)
    path = tmp_path / "net.bits"
    write(graph, path)
    value = graph.values[graph.input]
    if value.kind == "u8":
        return path, np.zeros((1, *value.shape), np.uint8)
    return path, np.zeros((1, *value.shape), np.float32)


@pytest.mark.parametrize("change", ["cut", "overwrite", "append"])
@pytest.mark.parametrize("how", ["call", "trace", "profile"])
def test_a_change_in_place_is_noticed(file: tuple[Path, np.ndarray], change: str, how: str) -> None:
    path, images = file
    session = load(path)
    run = {"call": session, "trace": session.trace}.get(how)
    if run is None:
        images = images.transpose(0, 3, 1, 2)
    content = path.read_bytes()
    with path.open("r+b") as stream:
        if change == "cut":
            stream.truncate(0)
        else:
            stream.write(content if change == "overwrite" else content + b" ")
    os.utime(path, ns=(1, 1))
    with pytest.raises(BitlensError, match=r"net\.bits was changed in place.*load it again"):
        session.profile(images, 1) if run is None else run(images, layout="nhwc")


def test_another_file_under_its_name_changes_nothing(
    file: tuple[Path, np.ndarray], random_net: Callable[..., Graph]
) -> None:
    path, images = file
    session = load(path)
    before = session(images, layout="nhwc")
    write(random_net(12), path)
    np.testing.assert_array_equal(session(images, layout="nhwc"), before)
    path.unlink()
    np.testing.assert_array_equal(session(images, layout="nhwc"), before)


def test_the_file_is_closed_with_the_session(file: tuple[Path, np.ndarray]) -> None:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("needs /proc")
    path, images = file

    def opened() -> int:
        return sum(os.path.realpath(link) == str(path.resolve()) for link in folder.iterdir())

    session = load(path)
    session(images, layout="nhwc")
    assert opened() >= 1
    del session
    assert opened() == 0


def test_names_of_files(file: tuple[Path, np.ndarray], random_net: Callable[..., Graph]) -> None:
    path, images = file
    wanted = load(path)(images, layout="nhwc")
    for name in (str(path), os.fsencode(path)):
        np.testing.assert_array_equal(load(name)(images, layout="nhwc"), wanted)
    for odd in (None, 3, ["net.bits"]):
        with pytest.raises(BitlensError, match=r"path is .*give the name of a \.bits file"):
            load(odd)  # type: ignore[arg-type]
        with pytest.raises(BitlensError, match=r"path is .*give the name of a \.bits file"):
            write(random_net(11), odd)  # type: ignore[arg-type]
    with pytest.raises(BitlensError, match=r"no ordinary file|cannot be read"):
        load("/dev/null")


def test_a_graph_of_its_own_needs_no_file(random_net: Callable[..., Graph]) -> None:
    graph = random_net(11)
    assert len(encode(graph)) and Session(graph)._file is None
