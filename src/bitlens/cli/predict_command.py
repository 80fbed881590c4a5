"""`bitlens predict FILE IMAGE...`: what a packed net sees in pictures. Imports no torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from bitlens.cli.bits_file import find_bits
from bitlens.cli.options import parse, take_names
from bitlens.errors import BitlensError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bitlens.engine.graph import Graph
    from bitlens.engine.run.session import Session

BATCH = 64
"""Pictures held at a time."""


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Classify image files with a packed net, or write masks and depths of them.

    FILE is a .bits file or a run folder with one. Pictures are scaled until they cover the net's size and
    cropped in the middle, as in training; color becomes grey where the net was trained on grey. For a net
    of dense prediction they are scaled until they fit, and nothing is cropped: the last row or column is
    repeated where the shapes differ. Into --out go, at each picture's own size, NAME.mask.png (indices are
    classes), NAME.overlay.png, NAME.depth.png (16 bits, millimetres) and NAME.depth-color.png; files of
    these names are replaced.
    """

    out: Annotated[Path | None, tyro.conf.arg(aliases=("-o",), metavar="FOLDER")] = None
    """Folder for the pictures that a net of dense prediction makes; made where there is none."""
    top: int = 3
    """Classes to show, most probable first, or those of most pixels."""
    threads: int = 1
    """CPU threads."""


def run(arguments: Sequence[str]) -> None:
    """Print one line a picture; those that cannot be read are told and end in an error."""
    wanted = "predict: name a .bits file or a run folder, then the image files"
    names, rest = take_names(arguments, wanted, least=2, most=None)
    options: Predict = parse(Predict, "predict FILE IMAGE...", rest)
    for field in ("top", "threads"):
        if getattr(options, field) < 1:
            raise BitlensError(f"predict: {field}={getattr(options, field)}; give at least 1")
    path = find_bits("predict", names[0])
    import bitlens

    session = bitlens.load(path, threads=options.threads)
    total = len(names) - 1
    if session.graph.output_rank == 4:
        pictures = _distinct(names[1:])
        total = len(pictures)
        bad = _write_maps(session, path, options, pictures)
    else:
        bad = _classify(session, path, options, names[1:])
    if bad:
        raise BitlensError(f"predict: {bad} of {total} images could not be read")


def _classify(session: Session, path: Path, options: Predict, names: Sequence[str]) -> int:
    """Print classes and probabilities; how many pictures could not be read."""
    if options.out is not None:
        raise BitlensError(
            f"predict: {path} answers with classes, for which no picture is written; leave out --out"
        )
    classes = _classes(session.graph, path)
    width = max(map(len, names))
    bad = 0
    for batch in _batches(names):
        pictures = [_read(session.graph, Path(name)) for name in batch]
        bad += sum(isinstance(picture, BitlensError) for picture in pictures)
        answers = iter(_answers(session, pictures))
        for name, picture in zip(batch, pictures, strict=True):
            if isinstance(picture, BitlensError):
                sys.stdout.flush()
                print(f"bitlens: {picture}", file=sys.stderr)
            else:
                print(f"{name:<{width}}  {_line(next(answers), classes, options.top)}")
    return bad


def _distinct(names: Sequence[str]) -> list[Path]:
    """The files named, each once and by its first name: maps of one are written once."""
    found: dict[Path, Path] = {}
    for path in map(Path, names):
        found.setdefault(path.resolve(), path)
    return list(found.values())


def _write_maps(session: Session, path: Path, options: Predict, pictures: Sequence[Path]) -> int:
    """Write masks and depths; how many pictures could not be read."""
    from bitlens.cli.predict_maps import Maps
    from bitlens.engine.heads import heads_of

    heads = heads_of(session.graph)
    if heads is None:
        raise BitlensError(
            f"predict: {path} answers with a map per image and does not say what it means; pack the net "
            "with heads={'segment': ..., 'depth': 1}"
        )
    if options.out is None:
        raise BitlensError(
            f"predict: {path} answers with a map per image; name a folder for the pictures: --out FOLDER"
        )
    names = _classes(session.graph, path, heads.classes)
    maps = Maps(session=session, heads=heads, names=names, out=options.out, top=options.top)
    maps.check(pictures)
    return maps.run(pictures)


def _classes(graph: Graph, path: Path, count: int | None = None) -> tuple[str, ...]:
    """Names of the classes, numbers where the file has none."""
    if count is None:
        count = graph.values[graph.output].shape[2]
    channels = graph.values[graph.input].shape[2]
    if channels not in (1, 3):
        raise BitlensError(f"predict: {path} takes {channels} channels; pictures have 1 or 3")
    return graph.labels or tuple(f"class {number}" for number in range(count))


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[at : at + BATCH] for at in range(0, len(names), BATCH))


def _read(graph: Graph, path: Path) -> npt.NDArray[np.uint8] | BitlensError:
    from bitlens.data.pixels import read_picture

    height, width, channels = graph.values[graph.input].shape
    try:
        return read_picture(path, height=height, width=width, channels=channels)
    except BitlensError as error:
        return error


def _answers(session: Any, pictures: Sequence[Any]) -> npt.NDArray[np.float64]:
    """Probabilities (n, classes) of the pictures that could be read."""
    import numpy as np

    good = [picture for picture in pictures if not isinstance(picture, BitlensError)]
    if not good:
        return np.empty((0, 0))
    logits = session(np.stack(good)).astype(np.float64)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def _line(shares: npt.NDArray[np.float64], classes: Sequence[str], top: int) -> str:
    best = (-shares).argsort(kind="stable")[:top]
    return ", ".join(f"{classes[index]} {100 * shares[index]:.1f} %" for index in best)
