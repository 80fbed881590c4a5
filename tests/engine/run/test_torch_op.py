"""The packed net as a torch operation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bitlens.engine.file.format import write
from bitlens.engine.graph import Graph
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
