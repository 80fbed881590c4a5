"""`bitlens info RUN|MODEL|FILE`: the layer table of a trained run, of a net by name, or of a `.bits` file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitlens.cli.bits_file import find_bits
from bitlens.cli.options import parse, take_names
from bitlens.errors import BitlensError

if TYPE_CHECKING:
    from bitlens.engine.heads import Heads


@dataclass(frozen=True, kw_only=True)
class Info:
    """Show which layers are 1-bit, which are not and why, with MACs and bytes.

    The options describe a model by name; a run folder or a .bits file knows them itself.
    """

    method: str = "bireal"
    """Binarization method, or float."""
    classes: int = 10
    """Number of outputs, for each pixel in a dense net."""
    channels: int = 3
    """Image channels."""
    image_size: int = 32
    """Side of the image in pixels."""


def run(arguments: Sequence[str]) -> None:
    """Print a layer table."""
    wanted = "info: name one run folder or one model (bitlens list models), or one .bits file"
    names, rest = take_names(arguments, wanted)
    options: Info = parse(Info, "info RUN|MODEL|FILE", rest)
    name = names[0]
    if rest and (Path(name).exists() or name.endswith(".bits")):
        raise BitlensError(
            f"info: {name} knows its own layers and sizes; {rest[0]} describes a model by name"
        )
    if name.endswith(".bits") or Path(name).is_file():
        _show_file(find_bits("info", name))
        return
    from bitlens.cli.display import console
    from bitlens.report.terminal import layer_table

    console().print(layer_table(_rows(name, options)))


def _show_file(path: Path) -> None:
    from bitlens.engine.file.format import read
    from bitlens.engine.heads import heads_of
    from bitlens.engine.table import table

    graph = read(path)
    origin = ("model", "method", "data")
    told = [f"{key} {graph.meta[key]}" for key in origin if key in graph.meta]
    height, width, channels = graph.values[graph.input].shape
    told.append(f"images {channels}x{height}x{width}")
    print(f"{path}: {', '.join(told)}")
    if (heads := heads_of(graph)) is not None:
        print(f"{_answers(heads)}{_tested(graph.meta)}")
    print()
    print(table(graph))


def _answers(heads: Heads) -> str:
    """What the net's map tells."""
    told = [f"{heads.classes} classes"] if heads.classes else []
    told += ["depth"] if "depth" in heads.channels else []
    return (
        f"task {heads.task}: {', '.join(told)}, one answer for {heads.stride}x{heads.stride} pixels"
    )


def _tested(meta: Mapping[str, Any]) -> str:
    """The stored metrics of test scenes; nothing where none are."""
    found = [
        f"{name.removeprefix('test_')} {value:.4f}"
        for name, value in meta.items()
        if name.startswith("test_") and not name.endswith("_torch") and isinstance(value, float)
    ]
    scenes = meta.get("test_images")
    return f"\n{scenes} test scenes: {', '.join(found)}" if found and type(scenes) is int else ""


def _rows(name: str, options: Info) -> list[dict]:
    if (Path(name) / "layers.json").exists():
        from bitlens.report.runs import read_run

        return list(read_run(Path(name)).layers)
    import torch

    from bitlens.models import create
    from bitlens.models.dense import DENSE_NETS, create_dense
    from bitlens.models.summary import summary

    if Path(name).is_dir():
        raise BitlensError(f"info: {name} is a folder without layers.json; not a run")
    if options.channels < 1 or options.image_size < 1:
        raise BitlensError(
            f"info: channels={options.channels}, image_size={options.image_size}; both must be positive"
        )
    size = options.image_size
    if name in DENSE_NETS:
        net = create_dense(
            name,
            method=options.method,
            heads={"segment": options.classes},
            channels=options.channels,
            image_size=(size, size),
        )
    else:
        net = create(
            name,
            method=options.method,
            classes=options.classes,
            channels=options.channels,
            image_size=size,
        )
    example = torch.zeros(1, options.channels, size, size)
    return summary(net, example).as_dicts()
