"""`bitlens pack RUN`: the trained net of a run as one `.bits` file, checked against torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import tyro

from bitlens.cli.bits_file import NAME
from bitlens.cli.options import parse, take_names, use_threads
from bitlens.errors import BitlensError

if TYPE_CHECKING:
    from torch import nn

    from bitlens.engine.graph import Graph
    from bitlens.training.feed import Feed
    from bitlens.training.recipe import Recipe

Size = tuple[int, int]
"""Height and width in pixels."""


class Tested(Protocol):
    """What both nets made of the test split, in words and for the header."""

    def meta(self) -> dict[str, object]:
        """What the file's header keeps."""
        ...


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Write the trained net of a run folder as one small file that computes with 1-bit arithmetic.

    Every sign that the file's layers compute is compared with the torch net's before the file is written;
    one that differs is an error.
    """

    out: Annotated[Path | None, tyro.conf.arg(aliases=("-o",), metavar="FILE")] = None
    """The file, its name ending in .bits; by default model.bits in the run folder."""
    float32: bool = False
    """Keep float layers in float32 instead of int8: larger and slower, with the torch net's own values."""
    strict: bool = False
    """Refuse a net without binary layers, or with one that does not compute in 1-bit weights and inputs."""
    images: int = 0
    """Images on which signs are compared: of the validation split, or of the test split without one. 0 takes
    256, or scenes of some 4 million pixels together."""
    size: Annotated[str, tyro.conf.arg(metavar="HxW")] = ""
    """Height and width of the images that the file takes, such as 480x640, where a run of dense prediction
    is packed for another size than it was trained at; its weights do not depend on it."""
    threads: int = 0
    """CPU threads; 0 takes one per core."""


def run(arguments: Sequence[str]) -> None:
    """Pack a run."""
    names, rest = take_names(arguments, "pack: name one run folder")
    options: Pack = parse(Pack, "pack RUN", rest)
    if options.images < 0:
        raise BitlensError(
            f"pack: images={options.images}; compare at least 1, or 0 for as many as is usual"
        )
    size = _size(options.size)
    folder = Path(names[0])
    out = options.out or folder / NAME
    if out.suffix != ".bits":
        raise BitlensError(f"pack: {out} must end in .bits; a file of that name would be replaced")
    use_threads(options.threads)
    _check_run(folder, size)
    _check_target(out)
    _pack(folder, out, options, size)


def _size(given: str) -> Size | None:
    """Height and width, None where none are given."""
    if not given:
        return None
    sides = given.split("x")
    if len(sides) != 2 or not all(side.isdecimal() and 0 < int(side) for side in sides):
        raise BitlensError(f"pack: size={given}; give height and width in pixels, such as 480x640")
    return int(sides[0]), int(sides[1])


def _check_run(folder: Path, size: Size | None) -> None:
    """Refuse, before any work, what is no run folder, or one that has a size of its own."""
    from bitlens.training.run import RunFolder

    if not folder.exists():
        raise BitlensError(f"pack: there is no run folder {folder}")
    recipe = RunFolder(folder).recipe()
    if size is not None and recipe.task == "classify":
        raise BitlensError(
            f"pack: size={size[0]}x{size[1]}, but {folder} classifies whole images, at the size it was "
            "trained at; only nets of dense prediction take others"
        )
    if size is not None:
        _check_size(size, recipe)


def _check_size(size: Size, recipe: Recipe) -> None:
    """Refuse sizes at which the net has no coarsest map, or a value too large for a file.

    The widest value is the stem's: as many channels as the first stage has, at half the image's side.
    """
    from bitlens.engine.file.limits import SIDE_LIMIT, VALUE_LIMIT
    from bitlens.models.dense import DENSE_NETS, TOTAL_STRIDE

    height, width = size
    given = f"pack: size={height}x{width}"
    if min(size) < TOTAL_STRIDE:
        raise BitlensError(
            f"{given}; the net's coarsest map has 1/{TOTAL_STRIDE} of the image's side, so give at least "
            f"{TOTAL_STRIDE} pixels a side"
        )
    facts = DENSE_NETS.get(recipe.model)
    channels = 3 if facts is None else facts.base
    if max(size) > SIDE_LIMIT or channels * (-(-height // 2)) * (-(-width // 2)) > VALUE_LIMIT:
        pixels = 4 * VALUE_LIMIT // channels
        raise BitlensError(
            f"{given} is more than a packed net takes: sides up to {SIDE_LIMIT:,} and some {pixels:,} "
            "pixels together"
        )


def _check_target(out: Path) -> None:
    """Refuse, before any work, a name that is a folder's or has no folder to be in."""
    if out.is_dir():
        raise BitlensError(f"pack: {out} is a folder")
    if not out.parent.is_dir():
        raise BitlensError(f"pack: there is no folder {out.parent} to write {out.name} into")


def _pack(folder: Path, out: Path, options: Pack, pixels: Size | None) -> None:
    import torch

    import bitlens
    from bitlens.cli.display import console, counting
    from bitlens.report.quantities import ratio, size
    from bitlens.training.build import load_run_net
    from bitlens.training.packing_images import calibration_images, compared_images, feed_at
    from bitlens.training.run import RunFolder

    recipe = RunFolder(folder).recipe()
    feed = feed_at(recipe, pixels)
    data = feed.data
    net = load_run_net(folder, data, torch.device("cpu")).eval()
    with counting("images calibrated on, then compared") as told:
        packed = bitlens.pack(
            net,
            compared_images(feed, options.images, pixels),
            calibration_images(feed, pixels),
            mean=data.mean,
            std=data.std,
            labels=() if recipe.task == "depth" else data.classes,
            float32=options.float32,
            strict=options.strict,
            progress=told,
        )
    with counting("test images answered by both nets") as told:
        if recipe.task == "classify":
            tested: Tested = _test(net, packed.graph, feed, told)
        else:
            from bitlens.cli.pack_scenes import judge_scenes

            tested = judge_scenes(net, packed.graph, feed, told)
    origin = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "model": recipe.model,
        "method": recipe.method,
        "data": _data_name(recipe.data),
        **tested.meta(),
    }
    packed = replace(packed, graph=replace(packed.graph, meta={**packed.graph.meta, **origin}))
    packed.save(out)
    screen = console()
    print(packed.table)
    print()
    for line in (
        f"checked: {packed.verification}",
        str(tested),
        f"{out}: {size(out.stat().st_size)}, as float32 {size(packed.table.float_bytes)} "
        f"({ratio(packed.table.float_bytes, out.stat().st_size)} smaller)   "
        f"try: bitlens bench {out}",
    ):
        screen.print(line, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class _Tested:
    """Right answers of both nets on the test split, and on how many images they agree."""

    images: int
    torch: int
    packed: int
    equal: int

    def meta(self) -> dict[str, object]:
        """What the file's header keeps."""
        return {
            "test_images": self.images,
            "test_equal": self.equal,
            "test_accuracy": self.packed / self.images,
            "test_accuracy_torch": self.torch / self.images,
        }

    def __str__(self) -> str:
        return (
            f"test split, {self.images:,} images: accuracy {self.torch / self.images:.2%} in torch, "
            f"{self.packed / self.images:.2%} packed; top-1 equal on {self.equal:,} of {self.images:,}"
        )


def _test(net: nn.Module, graph: Graph, feed: Feed, told: Callable[[int, int], None]) -> _Tested:
    """Both nets on the whole test split; the packed one is given the raw bytes."""
    import torch

    from bitlens.data.normalize import normalize
    from bitlens.engine.run.session import Session

    session = Session(graph, torch.get_num_threads())
    right_torch = right_packed = equal = done = 0
    for pixels, labels in feed.test.batches(torch.arange(len(feed.test)).split(256)):
        with torch.inference_mode():
            own = net(normalize(pixels, feed.data.mean, feed.data.std)).argmax(1)
        packed = session(pixels).argmax(1)
        right_torch += int((own == labels).sum())
        right_packed += int((packed == labels).sum())
        equal += int((own == packed).sum())
        done += len(labels)
        told(done, len(feed.test))
    return _Tested(images=len(feed.test), torch=right_torch, packed=right_packed, equal=equal)


def _data_name(data: str) -> str:
    """What a recipe calls its data, without the folders of this machine."""
    scheme, colon, target = data.partition(":")
    local = scheme in ("parquet", "folder", "scenes", "mat")
    return f"{scheme}{colon}{Path(target).name}" if local else data
