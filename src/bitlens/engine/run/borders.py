"""What happens at the edge of an image: which positions of a window lie inside, and their classes.

Two output pixels whose windows reach equally far over the edge are of one class, and a table with one row
a class tells how their sums are corrected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.graph import Node, Window

Array = npt.NDArray[Any]


def spans(
    window: Window, axis: int, outputs: int, size: int, extent: int = 0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Classes of output rows (axis 0) or columns (axis 1) by what of their window lies inside the image.

    Args:
        window: the geometry.
        axis: which side.
        outputs: output rows or columns.
        size: rows or columns of the image.
        extent: how many beyond it, on each side, still count as inside.

    Returns:
        First position inside and one past the last of each class, (classes, 2), both 0 where none is; and
        the class of each output, (outputs,).
    """
    start = np.arange(outputs, dtype=np.int64) * window.stride[axis] - window.pads[axis]
    step, kernel = window.dilation[axis], window.kernel[axis]
    first = -((start + extent) // step)
    past = (size - 1 + extent - start) // step + 1
    inside = np.stack([first, past], 1).clip(0, kernel)
    inside[inside[:, 0] >= inside[:, 1]] = 0
    kinds, of = np.unique(inside, axis=0, return_inverse=True)
    return kinds, of.reshape(-1).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Classes:
    """Classes of output rows and of output columns.

    Attributes:
        rows: which rows of the window lie inside, bool (row classes, kh).
        columns: the same of columns, bool (column classes, kw).
        of_row: class of each output row.
        of_column: class of each output column.
    """

    rows: Array
    columns: Array
    of_row: Array
    of_column: Array

    def steps(self, row_bytes: int) -> tuple[Array, Array]:
        """Bytes to add for each output row and column, for a table (row class, column class, ...)."""
        across = np.int64(len(self.columns) * row_bytes)
        return self.of_row * across, self.of_column * np.int64(row_bytes)

    def inside_sums(self, taps: Array) -> npt.NDArray[np.float64]:
        """Sums of taps (o, kh, kw) over the positions inside, (row classes, column classes, o)."""
        rows, columns = self.rows.astype(np.float64), self.columns.astype(np.float64)
        return np.einsum("ri,cj,oij->rco", rows, columns, taps.astype(np.float64), optimize=True)


def classes(node: Node, size: tuple[int, int], extent: tuple[int, int] = (0, 0)) -> Classes:
    """The classes of a node's output pixels.

    Args:
        node: gives the window and the output's size.
        size: rows and columns of the image.
        extent: rows and columns beyond the image, on each side, that still count as inside.
    """
    sides = []
    for axis in (0, 1):
        kinds, of = spans(node.window, axis, node.shape[axis], size[axis], extent[axis])
        taps = np.arange(node.window.kernel[axis])
        sides.append(((taps >= kinds[:, :1]) & (taps < kinds[:, 1:]), of))
    (rows, of_row), (columns, of_column) = sides
    return Classes(rows=rows, columns=columns, of_row=of_row, of_column=of_column)


def one_class(node: Node) -> Classes:
    """A single class that every output pixel belongs to."""
    kernel = node.window.kernel
    return Classes(
        rows=np.ones((1, kernel[0]), bool),
        columns=np.ones((1, kernel[1]), bool),
        of_row=np.zeros(node.shape[0], np.int64),
        of_column=np.zeros(node.shape[1], np.int64),
    )
