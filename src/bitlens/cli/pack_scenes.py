"""How a packed dense net is judged before its file is written: the metrics of both nets on test scenes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.data.dense.scenes import SceneData
from bitlens.data.normalize import normalize
from bitlens.engine.graph import Graph
from bitlens.engine.run.session import Session
from bitlens.tasks.dense import DenseTask
from bitlens.training.build import heads_of
from bitlens.training.feed import Feed
from bitlens.training.packing_images import Size, resized

SCENES = 64
"""Test scenes that both nets answer, the first ones."""

AT_ONCE = 4
"""Scenes in memory at full size."""

TOLD = ("miou", "pixel_accuracy", "rmse", "abs_rel", "delta1")
"""Metrics that are told and kept, those that the net's heads have."""


@dataclass(frozen=True, kw_only=True)
class ScenesTested:
    """Metrics of both nets on the same scenes, by name."""

    scenes: int
    torch: dict[str, float]
    packed: dict[str, float]

    def meta(self) -> dict[str, object]:
        """What the file's header keeps."""
        kept: dict[str, object] = {"test_images": self.scenes}
        kept |= {f"test_{name}": value for name, value in self.packed.items()}
        return kept | {f"test_{name}_torch": value for name, value in self.torch.items()}

    def __str__(self) -> str:
        told = (
            f"{name} {value:.4f} in torch, {self.packed[name]:.4f} packed"
            for name, value in self.torch.items()
        )
        return f"test split, {self.scenes:,} scenes: {'; '.join(told)}"


class _Packed(nn.Module):
    """A session in the place of the net it came from."""

    def __init__(self, net: nn.Module, graph: Graph) -> None:
        super().__init__()
        self.net = net
        self.session = Session(graph, torch.get_num_threads())

    def forward(self, images: Tensor) -> Tensor:
        return self.session(images)


def test_scenes(
    net: nn.Module, graph: Graph, feed: Feed, size: Size | None, told: Callable[[int, int], None]
) -> ScenesTested:
    """Both nets on test scenes, by the run's own task.

    Args:
        net: the trained net.
        graph: what it was packed to.
        feed: of the run.
        size: that the images are brought to; None keeps theirs. The truth keeps its own.
        told: called with the scenes answered and their number.
    """
    data = feed.data
    assert isinstance(data, SceneData)
    count = min(SCENES, len(data.test))
    found = []
    for place, judged in enumerate((net, _Packed(net, graph))):
        task = DenseTask(
            judged, heads=heads_of(feed.recipe, data), config=feed.recipe.dense, crop=data.crop
        )
        before = place * count
        batches = _batches(
            feed, size, count, lambda done, before=before: told(before + done, 2 * count)
        )
        metrics = task.evaluate(batches)
        found.append({name: metrics[name] for name in TOLD if name in metrics})
    return ScenesTested(scenes=count, torch=found[0], packed=found[1])


def _batches(
    feed: Feed, size: Size | None, count: int, told: Callable[[int], None]
) -> Iterator[tuple[Tensor, Any]]:
    done = 0
    for pixels, truth in feed.test.batches(torch.arange(count).split(AT_ONCE)):
        yield resized(normalize(pixels, feed.data.mean, feed.data.std), feed, size), truth
        done += len(pixels)
        told(done)
