"""The packed net as a torch operation."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bitlens.engine.file.format import write
from bitlens.engine.graph import Graph, Node, Step, Value
from bitlens.engine.run import torch_op
from bitlens.engine.run.session import load
from bitlens.engine.run.torch_op import PackedNet
from bitlens.errors import BitlensError


@pytest.fixture
def net(random_net: Callable[..., Graph], tmp_path: Path) -> tuple[Path, torch.Tensor]:
    graph = random_net(11)
    path = tmp_path / "net.bits"
    write(graph, path)
    height, width, channels = graph.values[graph.input].shape
    shape = (3, channels, height, width)
    if graph.values[graph.input].kind == "u8":
        return path, torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    return path, torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_torch_accepts_the_operation(net: tuple[Path, torch.Tensor]) -> None:
    path, images = net
    torch.library.opcheck(torch.ops.bitlens.packed_net.default, (images, str(path), 1))


@pytest.mark.parametrize("strict", [True, False])
def test_exported_saved_and_loaded_it_answers_as_the_session(
    net: tuple[Path, torch.Tensor], tmp_path: Path, strict: bool
) -> None:
    path, images = net
    batch = {"images": {0: torch.export.Dim("batch", min=1, max=64)}}
    exported = torch.export.export(PackedNet(path), (images,), dynamic_shapes=batch, strict=strict)
    torch.export.save(exported, tmp_path / "net.pt2")
    again = torch.export.load(tmp_path / "net.pt2").module()
    for some in (images, images[:2]):
        assert torch.equal(again(some), load(path)(some))


def test_compiled_it_stays_one_graph(net: tuple[Path, torch.Tensor]) -> None:
    path, images = net
    compiled = torch.compile(PackedNet(path), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(images), load(path)(images))


def test_a_changed_file_is_read_again(
    net: tuple[Path, torch.Tensor], random_net: Callable[..., Graph]
) -> None:
    path, images = net
    module = PackedNet(path)
    before = module(images)
    write(random_net(11), path)
    assert torch.equal(module(images), before)
    path.unlink()
    with pytest.raises(BitlensError, match=r"cannot be read"):
        module(images)


def identity(shift: float) -> Graph:
    return Graph(
        nodes=(
            Node(
                name="add",
                op="elementwise",
                inputs=("x",),
                shape=(2, 2, 3),
                steps=(Step(op="add", a="shift"), Step(op="store", value="y")),
            ),
        ),
        values={name: Value(name=name, kind="float", shape=(2, 2, 3)) for name in ("x", "y")},
        tensors={"shift": np.full(3, shift, np.float32)},
        input="x",
        output="y",
        output_rank=4,
    )


def test_a_new_file_of_the_same_age_is_read_too(tmp_path: Path) -> None:
    path, images = tmp_path / "net.bits", torch.zeros(1, 3, 2, 2)
    write(identity(1.0), path)
    module = PackedNet(path)
    assert module(images).mean() == 1
    state = path.stat()
    write(identity(5.0), path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert module(images).mean() == 5


def test_few_sessions_stay_open(tmp_path: Path) -> None:
    write(identity(1.0), tmp_path / "first.bits")
    first = PackedNet(tmp_path / "first.bits")
    for i in range(torch_op.KEPT + 3):
        write(identity(float(i)), tmp_path / f"{i}.bits")
        PackedNet(tmp_path / f"{i}.bits")
    assert len(torch_op._sessions) == torch_op.KEPT
    assert first(torch.zeros(1, 3, 2, 2)).mean() == 1


def test_it_has_no_gradient(tmp_path: Path) -> None:
    write(identity(1.0), tmp_path / "net.bits")
    module = PackedNet(tmp_path / "net.bits")
    images = torch.zeros(1, 3, 2, 2, requires_grad=True)
    answer = module(images)
    assert answer.mean() == 1
    with pytest.raises(BitlensError, match=r"a packed net has no gradient"):
        answer.sum().backward()
    with torch.no_grad():
        assert not module(images).requires_grad
