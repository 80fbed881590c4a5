"""What `bitlens predict` does with a file that answers with maps: masks and depths as pictures.

Imports no torch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bitlens.errors import BitlensError

if TYPE_CHECKING:
    from bitlens.data.pixels import Framed
    from bitlens.engine.heads import Heads
    from bitlens.engine.run.session import Session

ENDINGS = {
    "segment": (".mask.png", ".overlay.png"),
    "depth": (".depth.png", ".depth-color.png"),
}
"""What is written for each head, behind a picture's name without its ending."""


@dataclass(frozen=True, kw_only=True)
class Maps:
    """Predicts and writes.

    Attributes:
        session: the net.
        heads: what the channels of its map are.
        names: of the classes.
        out: folder to write into.
        top: classes to tell of each picture.
    """

    session: Session
    heads: Heads
    names: tuple[str, ...]
    out: Path
    top: int

    def check(self, pictures: Sequence[Path]) -> None:
        """Refuse, before any work, names that would be written twice, or over a picture.

        Raises:
            BitlensError: naming the pictures, or a folder that cannot be made.
        """
        given = {picture.resolve() for picture in pictures}
        makers: dict[Path, Path] = {}
        for picture in pictures:
            for path in self._paths(picture).values():
                if path.resolve() in given:
                    raise BitlensError(
                        f"predict: {path} would be written over a picture that is to be read; give another "
                        "--out"
                    )
                if path in makers:
                    raise BitlensError(
                        f"predict: {makers[path]} and {picture} would both be written to {path}; predict "
                        "them in two calls with an --out each"
                    )
                makers[path] = picture
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BitlensError(
                f"predict: {self.out} cannot be a folder: {error.strerror or error}"
            ) from error

    def run(self, pictures: Sequence[Path]) -> int:
        """Write the maps of every picture and print a line; how many could not be read."""
        from bitlens.data.pixels import read_framed

        height, width, channels = self.session.graph.values[self.session.graph.input].shape
        longest = max(len(str(picture)) for picture in pictures)
        bad = 0
        for picture in pictures:
            try:
                framed = read_framed(picture, height=height, width=width, channels=channels)
            except BitlensError as error:
                bad += 1
                sys.stdout.flush()
                print(f"bitlens: {error}", file=sys.stderr)
                continue
            print(f"{picture!s:<{longest}}  {self._answer(framed, self._paths(picture))}")
        return bad

    def _paths(self, picture: Path) -> dict[str, Path]:
        endings = [ending for head in self.heads.channels for ending in ENDINGS[head]]
        return {ending: self.out / f"{picture.stem}{ending}" for ending in endings}

    def _answer(self, framed: Framed, paths: dict[str, Path]) -> str:
        """Write one picture's maps; what they show, in a line."""
        from bitlens.data.dense import pictures

        classes, depth = self._maps(framed)
        told = []
        try:
            if classes is not None:
                pictures.save_mask(classes, paths[".mask.png"])
                pictures.save_overlay(framed.picture, classes, self.names, paths[".overlay.png"])
                told.append(self._shares(classes))
            if depth is not None:
                pictures.save_depth(depth, paths[".depth.png"])
                pictures.save_depth_colors(depth, paths[".depth-color.png"])
                told.append(f"depth {depth.min() / 1000:.2f} .. {depth.max() / 1000:.2f} m")
        except OSError as error:
            name = error.filename or self.out
            raise BitlensError(
                f"predict: {name} cannot be written: {error.strerror or error}"
            ) from error
        return "; ".join(told)

    def _maps(self, framed: Framed) -> tuple[npt.NDArray[Any] | None, npt.NDArray[Any] | None]:
        """Classes uint8 and depths uint16 in millimetres, (H, W) of the picture, of the heads there are."""
        from bitlens.data.dense.pictures import millimetres
        from bitlens.engine.run.maps import resized_bands, upsampled

        answer = self.session(framed.pixels[None])[0]
        pixels = upsampled(answer, self.heads.stride, framed.inside)
        size = (framed.picture.height, framed.picture.width)
        found: dict[str, npt.NDArray[Any]] = {}
        if self.heads.classes:
            found["segment"] = np.empty(size, np.uint8)
        if "depth" in self.heads.channels:
            found["depth"] = np.empty(size, np.uint16)
        for rows, band in resized_bands(pixels, size):
            if "segment" in found:
                found["segment"][rows] = band[self.heads.part("segment")].argmax(0)
            if "depth" in found:
                (logarithm,) = band[self.heads.part("depth")]
                with np.errstate(over="ignore"):
                    found["depth"][rows] = millimetres(np.exp(logarithm))
        return found.get("segment"), found.get("depth")

    def _shares(self, classes: npt.NDArray[Any]) -> str:
        from bitlens.data.dense.pictures import count_classes

        shares = count_classes(classes)[: len(self.names)] / classes.size
        best = (-shares).argsort(kind="stable")[: self.top]
        return ", ".join(f"{self.names[i]} {100 * shares[i]:.1f} %" for i in best if shares[i])
