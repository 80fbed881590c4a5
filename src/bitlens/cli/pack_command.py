"""`bitlens pack RUN`: the trained net of a run as one `.bits` file, checked against torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from bitlens.cli.bits_file import NAME
from bitlens.cli.options import parse, take_names, use_threads
from bitlens.errors import BitlensError

if TYPE_CHECKING:
    from torch import nn

    from bitlens.engine.graph import Graph
    from bitlens.training.feed import Feed


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
    images: int = 256
    """Images on which signs are compared: of the validation split, or of the test split without one."""
    threads: int = 0
    """CPU threads; 0 takes one per core."""


def run(arguments: Sequence[str]) -> None:
    """Pack a run."""
    names, rest = take_names(arguments, "pack: name one run folder")
    options: Pack = parse(Pack, "pack RUN", rest)
    if options.images < 1:
        raise BitlensError(f"pack: images={options.images}; compare at least 1")
    folder = Path(names[0])
    out = options.out or folder / NAME
    if out.suffix != ".bits":
        raise BitlensError(f"pack: {out} must end in .bits; a file of that name would be replaced")
    use_threads(options.threads)
    _check_run(folder)
    _check_target(out)
    _pack(folder, out, options)


def _check_run(folder: Path) -> None:
    """Refuse, before any work, what is no run folder."""
    from bitlens.training.run import RunFolder

    if not folder.exists():
        raise BitlensError(f"pack: there is no run folder {folder}")
    RunFolder(folder).recipe()


def _check_target(out: Path) -> None:
    """Refuse, before any work, a name that is a folder's or has no folder to be in."""
    if out.is_dir():
        raise BitlensError(f"pack: {out} is a folder")
    if not out.parent.is_dir():
        raise BitlensError(f"pack: there is no folder {out.parent} to write {out.name} into")


def _pack(folder: Path, out: Path, options: Pack) -> None:
    import torch

    import bitlens
    from bitlens.cli.display import console, counting
    from bitlens.report.quantities import ratio, size
    from bitlens.training.build import load_run_net
    from bitlens.training.feed import Feed
    from bitlens.training.packing_images import calibration_images, compared_images
    from bitlens.training.run import RunFolder

    recipe = RunFolder(folder).recipe()
    feed = Feed(recipe, torch.device("cpu"))
    data = feed.data
    net = load_run_net(folder, data, torch.device("cpu")).eval()
    with counting("images calibrated on, then compared") as told:
        packed = bitlens.pack(
            net,
            compared_images(feed, options.images),
            calibration_images(feed),
            mean=data.mean,
            std=data.std,
            labels=data.classes,
            float32=options.float32,
            strict=options.strict,
            progress=told,
        )
    with counting("test images answered by both nets") as told:
        tested = _test(net, packed.graph, feed, told)
    origin = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "model": recipe.model,
        "method": recipe.method,
        "data": _data_name(recipe.data),
        "test_images": tested.images,
        "test_equal": tested.equal,
        "test_accuracy": tested.packed / tested.images,
        "test_accuracy_torch": tested.torch / tested.images,
    }
    packed = replace(packed, graph=replace(packed.graph, meta={**packed.graph.meta, **origin}))
    packed.save(out)
    screen = console()
    print(packed.table)
    print()
    for line in (
        f"checked: {packed.verification}",
        f"test split, {tested.images:,} images: accuracy {tested.torch / tested.images:.2%} in torch, "
        f"{tested.packed / tested.images:.2%} packed; top-1 equal on {tested.equal:,} of {tested.images:,}",
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
    local = scheme in ("parquet", "folder")
    return f"{scheme}{colon}{Path(target).name}" if local else data
