"""The walker of a program: row after row, each to its kernel."""

from __future__ import annotations

from numba import njit

from bitlens.engine.kernels import rows as r
from bitlens.engine.kernels.address import at
from bitlens.engine.kernels.image import (
    image_bytes,
    image_floats,
    image_normalize,
    image_quantize,
)
from bitlens.engine.kernels.structural import (
    bilinear,
    expand,
    fill,
    flatten,
    gather,
    regroup,
    unary,
)
from bitlens.engine.kernels.tiled import tiled

ROW_BYTES = 8 * r.WIDTH


@njit(nogil=True, error_model="numpy")
def structural(row):
    """Compute a row that is not tiled; `row` is its address."""
    code = at(row, r.OPCODE)
    if code == r.FILL:
        fill(row)
    elif code == r.GATHER:
        gather(row)
    elif code == r.BILINEAR:
        bilinear(row)
    elif code == r.FLATTEN:
        flatten(row)
    elif code == r.UNARY:
        unary(row)
    elif code == r.IMAGE_BYTES:
        image_bytes(row)
    elif code == r.IMAGE_QUANTIZE:
        image_quantize(row)
    elif code == r.IMAGE_FLOATS:
        image_floats(row)
    elif code == r.IMAGE_NORMALIZE:
        image_normalize(row)
    elif code == r.EXPAND:
        expand(row)
    elif code == r.REGROUP:
        regroup(row)


@njit(nogil=True, error_model="numpy")
def run(program, count):
    """Run `count` rows from the address `program` on."""
    for i in range(count):
        row = program + ROW_BYTES * i
        if at(row, r.OPCODE) < r.FILL:
            tiled(row)
        else:
            structural(row)
