"""The original labelled file of NYU-Depth-v2: a MATLAB 7.3 file, which is HDF5 behind 512 bytes of text.

MATLAB stores columns first, so that every array appears here with its axes turned round: frames come
first, and the width before the height.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bitlens.data.dense.nyudv2_labels import FRAMES, LABELS
from bitlens.errors import BitlensError

if TYPE_CHECKING:
    import h5py

_BLOCK = 64 * 2**20
_KINDS = {"images": "u", "labels": "u", "depths": "f"}
_AXES = {
    "images": "(frames, 3, width, height)",
    "labels": "(frames, width, height)",
    "depths": "(frames, width, height)",
}
_OLD, _NEW = b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file"
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)


class LabelledFile:
    """The open file: frames one by one, and the names of the labels."""

    def __init__(self, path: Path, stored: h5py.File) -> None:
        """Check that `stored` holds what the labelled file holds.

        Raises:
            BitlensError: it lacks an array, or one has another type or shape.
        """
        self.path = path
        self._stored = stored
        self._arrays = {name: _array(path, stored, name) for name in _KINDS}
        _check_shapes(path, self._arrays)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames, in pixels."""
        width, height = self._arrays["labels"].shape[1:]
        return height, width

    def names(self) -> tuple[str, ...]:
        """The names of the labels; the first is that of label 1.

        Raises:
            BitlensError: there are not `LABELS` of them, or one cannot be read.
        """
        try:
            cells = np.asarray(self._stored["names"][()]).ravel()
            names = tuple(_text(self._stored[cell][()]) for cell in cells)
        except _DAMAGE as why:
            raise BitlensError(
                f"{self.path}: the names of the labels cannot be read: {why}"
            ) from why
        if len(names) != LABELS:
            raise BitlensError(f"{self.path} names {len(names)} labels; the original has {LABELS}")
        return names

    def where(self, frame: int) -> str:
        """Frame `frame` in words, counted from 1 as in MATLAB."""
        return f"{self.path} frame {frame + 1}"

    def frames(
        self, wanted: Iterable[int]
    ) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer], npt.NDArray[np.floating]]]:
        """Image uint8 `(h, w, 3)`, labels `(h, w)` and metres `(h, w)` of the frames, one after another.

        Args:
            wanted: frames counted from 0; in rising order each part of the file is read once.

        Raises:
            BitlensError: a frame cannot be read, or holds a label that has no name; it is named.
        """
        columns = [_Column(self._arrays[name]) for name in ("images", "labels", "depths")]
        for frame in wanted:
            try:
                # From (width, height) to (height, width); colors go last.
                image, labels, depth = (column.frame(frame).T for column in columns)
            except _DAMAGE as why:
                raise BitlensError(
                    f"{self.where(frame)} cannot be read, the file is damaged: {why}"
                ) from why
            if (largest := int(labels.max())) > LABELS:
                raise BitlensError(
                    f"{self.where(frame)}: label {largest} is beyond the {LABELS} labels of the set"
                )
            yield image, labels, depth


class _Column:
    """One array, read in blocks of as many frames as it is stored in."""

    def __init__(self, stored: h5py.Dataset) -> None:
        per_frame = int(np.prod(stored.shape[1:])) * stored.dtype.itemsize
        together = stored.chunks[0] if stored.chunks else 1
        self.step = max(1, min(together, _BLOCK // per_frame))
        self.stored = stored
        self.start = -1
        self.block: npt.NDArray[Any] = np.empty(0)

    def frame(self, at: int) -> npt.NDArray[Any]:
        start = at - at % self.step
        if start != self.start:
            self.block, self.start = self.stored[start : start + self.step], start
        return self.block[at - start]


@contextmanager
def open_labelled(path: Path) -> Generator[LabelledFile]:
    """Open the original labelled file for reading.

    Raises:
        BitlensError: h5py is not installed, or the file is missing, truncated or another one.
    """
    try:
        import h5py
    except ModuleNotFoundError as why:
        raise BitlensError(
            f"{path}: reading a MATLAB 7.3 file needs h5py; pip install 'bitlens[mat]'"
        ) from why
    _check_kind(path)
    try:
        stored = h5py.File(path, "r")
    except OSError as why:
        raise BitlensError(
            f"{path} cannot be read as MATLAB 7.3 (HDF5), it is truncated or damaged: {why}"
        ) from why
    with stored:
        yield LabelledFile(path, stored)


def _check_kind(path: Path) -> None:
    """Say what a file is that h5py would only say is not HDF5."""
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise BitlensError(
            f"{path} {kind}; mat:PATH needs the file nyu_depth_v2_labeled.mat itself"
        )
    import h5py

    if h5py.is_hdf5(path):
        return
    try:
        with path.open("rb") as file:
            head = file.read(len(_NEW))
    except OSError as why:
        raise BitlensError(f"{path} cannot be opened: {why.strerror}") from why
    if head == _NEW:
        kind = "begins as a MATLAB 7.3 file and breaks off; it is truncated, fetch it again"
    elif head == _OLD:
        kind = "is a MATLAB 5 file, as splits.mat is; the labelled set is one of MATLAB 7.3 (HDF5)"
    elif not head:
        kind = "is empty"
    else:
        kind = "is not a MATLAB 7.3 (HDF5) file"
    raise BitlensError(f"{path} {kind}")


def _array(path: Path, stored: h5py.File, name: str) -> h5py.Dataset:
    import h5py

    try:
        found = stored.get(name)
    except _DAMAGE as why:
        raise BitlensError(f"{path}: {name} cannot be read, the file is damaged: {why}") from why
    if not isinstance(found, h5py.Dataset):
        held = ", ".join(sorted(stored)[:8]) or "nothing"
        raise BitlensError(
            f"{path} holds no array {name}, so it is not nyu_depth_v2_labeled.mat; it holds {held}"
        )
    if found.dtype.kind != _KINDS[name] or (name == "images" and found.dtype != np.uint8):
        kind = {"images": "bytes", "labels": "unsigned integers", "depths": "floats"}[name]
        raise BitlensError(f"{path}: {name} holds {found.dtype}, not {kind}")
    return found


def _check_shapes(path: Path, arrays: Mapping[str, h5py.Dataset]) -> None:
    sizes = {}
    for name, array in arrays.items():
        fixed = (FRAMES, 3) if name == "images" else (FRAMES,)
        shape = tuple(array.shape)
        if len(shape) != len(fixed) + 2 or shape[: len(fixed)] != fixed:
            raise BitlensError(
                f"{path}: {name} has the shape {shape}; the original has {_AXES[name]} with {FRAMES} "
                "frames, as MATLAB writes its columns first"
            )
        sizes[name] = shape[len(fixed) :]
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {size[0]}x{size[1]}" for name, size in sizes.items())
        raise BitlensError(f"{path}: the frames differ in size: {told}")
    width, height = sizes["images"]
    if not width > height > 0:
        raise BitlensError(
            f"{path}: frames of {width}x{height} pixels stand upright; the original's lie, and its "
            "arrays have the width before the height"
        )


def _text(codes: npt.NDArray[np.uint16]) -> str:
    return "".join(chr(int(code)) for code in codes.ravel())
