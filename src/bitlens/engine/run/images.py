"""Images as callers bring them: what a net takes, and plain sentences about what it does not."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.graph import Graph
from bitlens.errors import BitlensError, unknown

Array = npt.NDArray[Any]
LAYOUTS = ("nchw", "nhwc")


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images that a net takes.

    Attributes:
        array: uint8 or float32, of any strides.
        axes: which axes of `array` are image, row, column and channel.
        torch: whether the caller brought a torch tensor.
    """

    array: Array
    axes: tuple[int, int, int, int]
    torch: bool

    def __len__(self) -> int:
        return self.array.shape[0]

    @property
    def strides(self) -> tuple[int, int, int, int]:
        """Bytes from an image, row, column and channel to the next."""
        image, row, column, channel = (self.array.strides[axis] for axis in self.axes)
        return image, row, column, channel


def take_images(graph: Graph, images: Any, layout: str) -> Images:
    """Check shape and type of what a caller brought.

    Args:
        graph: the net.
        images: numpy array or torch tensor, (n, c, h, w) or (n, h, w, c).
        layout: "nchw" or "nhwc".

    Raises:
        BitlensError: the net does not take it.
    """
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    array, is_torch = _array(images)
    if array.dtype not in (np.uint8, np.float32):
        raise BitlensError(
            f"images are {array.dtype}; a net takes uint8 (raw bytes) or float32 (normalised); "
            "convert them first"
        )
    _check_shape(graph, array, layout)
    if array.dtype == np.uint8 and graph.values[graph.input].kind == "float":
        if graph.mean is None or graph.std is None:
            raise BitlensError(
                "images are uint8, but this net was packed without mean and std, so how bytes become "
                "its float input is not known; bring normalised float32, or pack it again with mean and std"
            )
    if array.dtype == np.float32 and graph.values[graph.input].kind == "u8":
        if graph.mean is None or graph.std is None:
            raise BitlensError(
                "images are float32, but this net takes bytes and was packed without mean and std; "
                "bring uint8, or pack it again with mean and std"
            )
    axes = (0, 2, 3, 1) if layout == "nchw" else (0, 1, 2, 3)
    return Images(array=array, axes=axes, torch=is_torch)


def _array(images: Any) -> tuple[Array, bool]:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(images, torch.Tensor):
        return _of_tensor(torch, images), True
    if isinstance(images, np.ma.MaskedArray):
        raise BitlensError(
            "images are a masked array; say what is behind the mask: images.filled(0)"
        )
    if not isinstance(images, np.ndarray):
        raise BitlensError(
            f"images are a {type(images).__name__}; bring a numpy array or a torch tensor (n, c, h, w)"
        )
    return images, False


def _of_tensor(torch: Any, images: Any) -> Array:
    """The numbers of a tensor, in place."""
    kind = str(images.dtype).removeprefix("torch.")
    if images.layout != torch.strided:
        raise BitlensError(
            f"images are a tensor of layout {images.layout}; a net takes an ordinary one: images.to_dense()"
        )
    if images.device.type != "cpu":
        raise BitlensError(f"images lie on {images.device}; this net runs on the CPU: images.cpu()")
    if images.is_quantized:
        raise BitlensError(f"images are {kind}; a net takes uint8 or float32: images.dequantize()")
    if images.dtype not in (torch.uint8, torch.float32):
        raise BitlensError(f"images are {kind}; a net takes uint8 or float32: images.float()")
    try:
        return images.detach().numpy()
    except (RuntimeError, TypeError) as error:
        raise BitlensError(f"images are a tensor without numbers to read: {error}") from None


def _check_shape(graph: Graph, array: Array, layout: str) -> None:
    height, width, channels = graph.values[graph.input].shape
    wanted = (channels, height, width) if layout == "nchw" else (height, width, channels)
    names = ", ".join(map(str, wanted))
    if array.ndim == 3 and array.shape == wanted:
        raise BitlensError(
            f"images have shape {array.shape}: one image without a batch; images[None] makes it one of 1"
        )
    if array.ndim != 4:
        raise BitlensError(
            f"images have shape {array.shape}, {array.ndim} axes; this net takes (n, {names})"
        )
    if array.shape[1:] == wanted:
        return
    other = (height, width, channels) if layout == "nchw" else (channels, height, width)
    if array.shape[1:] == other:
        name = "nhwc" if layout == "nchw" else "nchw"
        raise BitlensError(
            f"images have shape {array.shape}, that is layout {name}, and layout={layout!r} was said; "
            f"pass layout={name!r}"
        )
    raise BitlensError(
        f"images have shape {array.shape}; this net takes (n, {names}) in layout {layout!r}: "
        "resize or crop them as in training"
    )


def check_floats(graph: Graph, array: Array, first: int, *, warned: bool) -> bool:
    """Look at the numbers of some float images.

    Args:
        graph: the net.
        array: float32, some images.
        first: index of the first of them, for the message.
        warned: whether the caller was already told about a suspicious range.

    Returns:
        Whether the caller has been told now.

    Raises:
        BitlensError: NaN, infinity, or numbers that no byte becomes by the net's normalisation.
    """
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        spoiled = ~np.isfinite(array).reshape(len(array), -1).all(1)
        raise BitlensError(
            f"images[{first + int(spoiled.argmax())}] holds NaN or infinity; "
            "mend the data or what comes before the net"
        )
    if graph.mean is None or graph.std is None:
        return warned
    least, most = _reach(graph.mean, graph.std)
    room = most - least
    if low < least - room or high > most + room:
        raise BitlensError(
            f"images range from {low:.4g} to {high:.4g}, but bytes become {least:.4g} to {most:.4g} by "
            "this net's normalisation; bring normalised floats, or the raw bytes as uint8"
        )
    looks_raw = least < -0.25 and low >= 0 and low < 0.02 and 0.98 < high <= 1
    if looks_raw and not warned:
        warnings.warn(
            f"images range from {low:.4g} to {high:.4g} and look like [0, 1] before normalisation, which "
            f"takes them to {least:.4g} to {most:.4g}; bring normalised floats, or raw bytes as uint8",
            stacklevel=4,
        )
    return warned or looks_raw


def _reach(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[float, float]:
    least = min(-m / s for m, s in zip(mean, std, strict=True))
    most = max((1 - m) / s for m, s in zip(mean, std, strict=True))
    return least, most
