"""What the channels of a net's map of answers mean: the heads of dense prediction in a file's `meta`.

A net that answers with a map has one or more heads, whose channels follow each other: logits of the
classes under "segment", the natural logarithm of metres under "depth". The header keeps `heads`, a list
of [name, channels] in that order, `task`, their names joined by "-", and `output_stride`, pixels of the
image's side to one of the map's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import index
from typing import Any

from bitlens.engine.errors import BitsFileError, shown
from bitlens.engine.graph import Graph
from bitlens.errors import BitlensError

HEADS = ("segment", "depth")
"""Heads whose answers have a meaning here, in the order of their channels."""

CLASSES = 255
"""Most classes that a mask of bytes holds beside 255, a pixel of no class."""

STRIDES = (1, 2, 4, 8, 16, 32)
"""Pixels of an image's side to one of the map's that a header may tell."""


@dataclass(frozen=True, kw_only=True)
class Heads:
    """What a map's channels are.

    Attributes:
        channels: of each head, in order.
        stride: pixels of the image's side to one of the map's.
    """

    channels: dict[str, int]
    stride: int

    @property
    def classes(self) -> int:
        """Channels of class logits, which come first; 0 where no classes are predicted."""
        return self.channels.get("segment", 0)

    @property
    def task(self) -> str:
        """The heads' names joined by "-"."""
        return "-".join(self.channels)

    def part(self, name: str) -> slice:
        """The channels of one head."""
        names = list(self.channels)
        first = sum(self.channels[before] for before in names[: names.index(name)])
        return slice(first, first + self.channels[name])

    def as_meta(self) -> dict[str, object]:
        """What a header keeps of them."""
        return {
            "task": self.task,
            "heads": [[name, count] for name, count in self.channels.items()],
            "output_stride": self.stride,
        }


def are_known(channels: Mapping[str, Any]) -> bool:
    """Whether these are heads of `HEADS`, at least one, in their order."""
    return bool(channels) and list(channels) == [name for name in HEADS if name in channels]


def heads_for(graph: Graph, given: Mapping[str, int]) -> Heads:
    """The heads of a net about to be packed, held against the shapes of its values.

    Raises:
        BitlensError: the net's answer is no map with these channels, or of no stride of `STRIDES`, or has
            more than `CLASSES` classes.
    """
    channels = _counts(given)
    if not are_known(channels) or min(channels.values()) < 1:
        raise BitlensError(
            f"pack: heads={channels}; give the channels of 'segment', of 'depth', or of both in this order"
        )
    if channels.get("depth", 1) != 1:
        raise BitlensError(f"pack: heads={channels}; 'depth' has 1 channel, its logarithm")
    if channels.get("segment", 1) > CLASSES:
        raise BitlensError(
            f"pack: heads={channels}; masks are bytes and hold at most {CLASSES} classes, so train the net "
            "on fewer"
        )
    height, width, count = graph.values[graph.output].shape
    if graph.output_rank != 4 or count != sum(channels.values()):
        raise BitlensError(
            f"pack: heads={channels} for a net that answers with {count} channels"
            f"{'' if graph.output_rank == 4 else ' and no map'}; name the channels of its map"
        )
    taken = graph.values[graph.input].shape[:2]
    for stride in STRIDES:
        if _map_of(taken, stride) == (height, width):
            return Heads(channels=channels, stride=stride)
    raise BitlensError(
        f"pack: heads={channels} for a map of {height}x{width} on images of {taken[0]}x{taken[1]}; "
        f"one pixel of the map must stand for {', '.join(map(str, STRIDES))} pixels of the image's side"
    )


def _counts(given: Any) -> dict[str, int]:
    """Heads whose channels are Python's integers, also those that numpy and torch count with."""
    try:
        return {name: index(count) for name, count in dict(given).items()}
    except (TypeError, ValueError):
        raise BitlensError(
            f"pack: heads={given!r}; give the number of channels of each, such as "
            "{'segment': 13, 'depth': 1}"
        ) from None


def heads_of(graph: Graph) -> Heads | None:
    """The heads that a file's header tells; None where it tells of none.

    Raises:
        BitsFileError: they are not those of the file's answer.
    """
    told: Any = graph.meta.get("heads")
    if told is None:
        return None
    stride: Any = graph.meta.get("output_stride")
    try:
        channels = {str(name): count for name, count in told}
        fits = len(channels) == len(told) and _fits(graph, channels, stride)
    except (TypeError, ValueError):
        channels, fits = {}, False
    if not fits:
        raise BitsFileError(
            f"heads: {shown(told)} at stride {shown(stride)} are not those of the net's answer"
        )
    return Heads(channels=channels, stride=stride)


def _fits(graph: Graph, channels: Mapping[str, Any], stride: Any) -> bool:
    """Whether an answer consists of these heads."""
    counts = list(channels.values())
    if not all(type(count) is int and count > 0 for count in counts):
        return False
    if not are_known(channels) or type(stride) is not int or stride not in STRIDES:
        return False
    height, width, count = graph.values[graph.output].shape
    return (
        graph.output_rank == 4
        and channels.get("depth", 1) == 1
        and channels.get("segment", 1) <= CLASSES
        and sum(counts) == count
        and _map_of(graph.values[graph.input].shape[:2], stride) == (height, width)
    )


def _map_of(size: tuple[int, int], stride: int) -> tuple[int, int]:
    return -(-size[0] // stride), -(-size[1] // stride)
