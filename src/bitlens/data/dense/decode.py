"""One scene as stored, checked: the picture, the class and the depth of every pixel.

Every source reads its scenes through this file, so that a mask of 16 bits or a depth of nowhere is
refused in the same words wherever it comes from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from bitlens.data.dense.scenes import MILLIMETRES, VOID
from bitlens.data.pixels import packings, plain, reason
from bitlens.errors import BitlensError

VOIDS = {VOID, 65535, -1}
"""Stored labels of no class: of masks with 8 bits, with 16 bits, and with a sign."""

FARTHEST = np.iinfo(np.int16).max
"""Millimetres that a depth can be stored with."""

_CLASS_MODES = {"1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N"}
_MILLIMETRE_MODES = {"I", "I;16", "I;16B", "I;16L", "I;16N"}
_NOT_MEASURED = 65535

_TURNS = range(2, 9)
"""EXIF orientations that move pixels; 1 is upright."""

_GREY_STEPS = {"L;2": 85, "L;4": 17}
"""What Pillow multiplies grey of 2 and of 4 bits by, to fill 8."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """One picture and what is known of its pixels.

    Attributes:
        image: mode L or RGB.
        mask: uint8 `(h, w)`, `VOID` where a pixel has no class; None without masks.
        depth: int16 `(h, w)` millimetres, 0 where unknown; None without depths.
    """

    image: Image.Image
    mask: npt.NDArray[np.uint8] | None
    depth: npt.NDArray[np.int16] | None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image, in pixels."""
        return self.image.height, self.image.width

    def resized(self, image_size: int | None, *, truth: bool) -> Scene:
        """The scene with the shorter side of its image brought to `image_size` pixels.

        The aspect is kept, the image is antialiased. Mask and depth follow by nearest neighbour where
        `truth` is set, and stay as they are where it is not.
        """
        height, width = shape = shape_for(self.size, image_size)
        if shape == self.size:
            return self
        image = self.image.resize((width, height), Image.Resampling.BILINEAR)
        if not truth:
            return replace(self, image=image)
        return Scene(
            image=image,
            mask=None if self.mask is None else nearest(self.mask, shape),
            depth=None if self.depth is None else nearest(self.depth, shape),
        )


def read_scene(
    image: Image.Image | npt.NDArray,
    mask: Image.Image | npt.NDArray | None,
    depth: Image.Image | npt.NDArray | None,
    *,
    where: str,
    classes: int | None = None,
    mask_where: str | None = None,
    depth_where: str | None = None,
) -> Scene:
    """Check what a source has stored of one scene.

    Pictures are turned upright as their own EXIF orientation says, each by itself. They must not have
    been loaded: what a file tells of its bits and of its orientation is gone after that.

    Args:
        image: a picture, or its uint8 pixels `(h, w)` or `(h, w, 3)`.
        mask: class numbers; 255, 65535 and -1 are no class.
        depth: integers are millimetres, floats are metres; 0, 65535, what is not finite and what is
            negative is unknown.
        where: the file or row, for errors.
        classes: how many there are; None takes every number that fits beside `VOID`.
        mask_where, depth_where: their files, for errors, where they have their own.

    Raises:
        BitlensError: image, mask and depth differ in size, the image has to be turned and the truth does
            not say whether it has to be, a label is beyond the classes, all depths
            of the image are unknown or one is too large, or something cannot be read; `where` is named.
    """
    try:
        opened = image if isinstance(image, Image.Image) else Image.fromarray(image)
        turned = _orientation(opened) in _TURNS
        picture = plain(opened)
    except Exception as why:  # each codec of Pillow raises errors of its own
        raise BitlensError(f"{where}: {reason(why)}") from why
    scene = Scene(
        image=picture,
        mask=None
        if mask is None
        else read_mask(mask, where=mask_where or where, classes=classes, turned=turned),
        depth=None
        if depth is None
        else read_depth(depth, where=depth_where or where, turned=turned),
    )
    for kind, known in (("mask", scene.mask), ("depth", scene.depth)):
        if known is not None and known.shape != scene.size:
            raise BitlensError(
                f"{where}: the {kind} is {known.shape[1]}x{known.shape[0]} pixels but its image "
                f"{scene.size[1]}x{scene.size[0]}; every pixel needs its own"
            )
    return scene


def read_mask(
    stored: Image.Image | npt.NDArray,
    *,
    where: str,
    classes: int | None = None,
    turned: bool = False,
) -> npt.NDArray[np.uint8]:
    """Class numbers as uint8 `(h, w)`, whatever the integers they were stored as.

    A mask of 16 bits is read where every value is a class or no class, which no rescaled mask passes.
    Grey of 2 and 4 bits, which Pillow stretches to 8, is taken back to its numbers.

    Args:
        stored: a picture that was opened and not loaded, or an array.
        where: the file or row, for errors.
        classes: how many there are; see `read_scene`.
        turned: whether EXIF turns the image, so that the mask has to say how it stands.

    Raises:
        BitlensError: it holds colors or fractions, or a number that is no class; see `read_scene`.
    """
    packing = next(packings(stored), "") if isinstance(stored, Image.Image) else ""
    values = _plane(stored, _CLASS_MODES, "mask", "one class number per pixel", where, turned)
    if packing in _GREY_STEPS:
        values = values // np.uint8(_GREY_STEPS[packing])
    if values.dtype.kind not in "bui":
        raise BitlensError(f"{where}: the mask holds {values.dtype}, not whole class numbers")
    void = np.isin(values, [label for label in VOIDS if _fits(label, values.dtype)])
    limit = VOID if classes is None else classes
    bad = ~void & ((values < 0) | (values >= limit))
    if bad.any():
        kind = f" of {values.dtype.itemsize * 8} bits" if values.dtype.itemsize > 1 else ""
        told = (
            f"is beyond the {classes} classes" if classes is not None else "does not fit in a byte"
        )
        raise BitlensError(
            f"{where}: label {int(values[bad][0])} of the mask{kind} {told}; a mask holds the classes "
            f"counted from 0, and {VOID} where there is none"
        )
    return np.where(void, VOID, values).astype(np.uint8)


def read_depth(
    stored: Image.Image | npt.NDArray, *, where: str, turned: bool = False
) -> npt.NDArray[np.int16]:
    """Millimetres as int16 `(h, w)`, 0 where unknown; arguments as of `read_mask`.

    Raises:
        BitlensError: 8 bits or colors, nothing known in the whole image, or farther than `FARTHEST`.
    """
    need = "16 bits of millimetres or floats in metres"
    values = _plane(stored, _MILLIMETRE_MODES | {"F"}, "depth", need, where, turned)
    if values.dtype.kind == "f":
        known = np.isfinite(values) & (values > 0)
        millimetres = np.rint(np.where(known, values, 0) * np.float64(MILLIMETRES))
    elif values.dtype.kind in "ui" and values.dtype.itemsize > 1:
        known = (values > 0) & (values != _NOT_MEASURED)
        millimetres = np.where(known, values, 0)
    else:
        raise BitlensError(f"{where}: the depth holds {values.dtype}; it needs {need}")
    if not millimetres.any():
        raise BitlensError(
            f"{where}: the depth is unknown in the whole image; leave the scene out, or its depth file"
        )
    if (farthest := millimetres.max()) > FARTHEST:
        raise BitlensError(
            f"{where}: a depth of {farthest / MILLIMETRES:.1f} m is farther than "
            f"{FARTHEST / MILLIMETRES} m; integers are read as millimetres, floats as metres"
        )
    return millimetres.astype(np.int16)


def shape_for(size: tuple[int, int], image_size: int | None) -> tuple[int, int]:
    """Height and width that bring the shorter side of `size` to `image_size`; None changes nothing."""
    if image_size is None:
        return size
    height, width = size
    if height <= width:
        return image_size, max(1, round(width * image_size / height))
    return max(1, round(height * image_size / width)), image_size


def nearest(plane: npt.NDArray, shape: tuple[int, int]) -> npt.NDArray:
    """`(h, w)` brought to another shape, each pixel the stored one under its center."""
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for new, old in zip(shape, plane.shape, strict=True)
    )
    return plane[rows[:, None], columns]


def _plane(
    stored: Image.Image | npt.NDArray,
    modes: set[str],
    kind: str,
    need: str,
    where: str,
    turned: bool,
) -> npt.NDArray:
    """One number per pixel, of a picture in one of `modes` or of an array."""
    orientation = None
    if isinstance(stored, Image.Image):
        try:
            # TIFF is turned on loading, and says nothing of it afterwards.
            orientation = _orientation(stored)
            stored.load()
            stored = ImageOps.exif_transpose(stored) if orientation in _TURNS else stored
        except Exception as why:  # each codec of Pillow raises errors of its own
            raise BitlensError(f"{where}: {reason(why, kind)}") from why
        if len(stored.getbands()) > 1 and kind == "mask":
            raise BitlensError(
                f"{where}: the mask holds colors (mode {stored.mode}); save the number of its class for "
                "every pixel, as a grey or palette picture"
            )
        if stored.mode not in modes:
            raise BitlensError(f"{where}: the {kind} is of mode {stored.mode}; it needs {need}")
    if turned and orientation is None:
        raise BitlensError(
            f"{where}: EXIF turns the image, and the {kind} has no EXIF orientation; save the image "
            f"as it is to be seen, without the tag, and the {kind} with its pixels in the same places"
        )
    values = np.asarray(stored)
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values.squeeze(0 if values.shape[0] == 1 else 2)
    if values.ndim != 2:
        raise BitlensError(f"{where}: the {kind} has the shape {values.shape}; it needs {need}")
    return values


def _orientation(image: Image.Image) -> int | None:
    """What EXIF says of how a picture is to be turned; None where it says nothing."""
    return image.getexif().get(ExifTags.Base.Orientation)


def _fits(label: int, dtype: np.dtype) -> bool:
    if dtype.kind == "b":
        return False
    limits = np.iinfo(dtype)
    return limits.min <= label <= limits.max
