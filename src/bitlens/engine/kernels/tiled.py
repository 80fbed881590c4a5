"""Tiled rows of a program: groups, blocks of 64 output channels, and tiles over the pixels of the band.

For the walker of the program:

    tiled(row: int) -> None

computes one row, whose `OPCODE` is one of `rows.TILED_OPCODES`, completely: all groups, all output
channels, all pixels of its band, all steps. `row` is the address (int64) of the row's first integer. It
is a Numba function without the GIL, to be called from another one.

What it touches besides the row:

* inputs: 4 bytes a term of POPCOUNT, DOT, MULTIPLY, SIGNED, single ones for a loose term; 64 bytes a vector
  of 16 channels of the others.
* constants (GAIN, OFFSET, A, B): whole vectors of 16 channels.
* ADD_VALUE and MULTIPLY_VALUE read, and STORE writes, whole vectors of 16 channels, STORE below LIMIT
  only. QUANTIZE writes channels below LIMIT. SIGN writes one uint16 for each vector begun.
* an output channel beyond the last, in a vector begun, goes through the steps like the others.

Pixels of a row are independent of each other, and a value may be read by ADD_VALUE and written by STORE
at the same place: every output element is computed exactly once.
"""

from __future__ import annotations

from numba import njit

from bitlens.engine.kernels import rows as r
from bitlens.engine.kernels.address import at
from bitlens.engine.kernels.sweep import SHAPES, sweep
from bitlens.engine.kernels.terms import VECTOR_BYTES

WIDEST = max(SHAPES)
BLOCK = 64
LANES = 16
WORD_STEP, BIT_STEP = VECTOR_BYTES[r.POPCOUNT], VECTOR_BYTES[r.SIGNED]


# Inlined, because a compiled function would hold all tiles, and its caller would compile them again.
@njit(nogil=True, inline="always", error_model="numpy")
def _block(opcode, row, inputs, weights, channel, vectors):
    """Up to 64 output channels of the band."""
    step = BIT_STEP if opcode == r.SIGNED else WORD_STEP
    width = WIDEST
    while vectors > 0:
        while width > vectors:
            width //= 2
        sweep(opcode, width, row, inputs, weights, channel)
        vectors -= width
        weights += width * step
        channel += width * LANES


@njit(nogil=True, inline="always", error_model="numpy")
def tiled(row):
    """Compute a row whose opcode is one of `rows.TILED_OPCODES`; `row` is its address."""
    opcode = at(row, r.OPCODE)
    inputs = at(row, r.INPUT)
    weights = at(row, r.WEIGHTS)
    channels = at(row, r.GROUP_CHANNELS)
    for group in range(at(row, r.GROUPS)):
        for first in range(0, channels, BLOCK):
            vectors = (min(BLOCK, channels - first) + LANES - 1) // LANES
            _block(opcode, row, inputs, weights, group * channels + first, vectors)
            weights += at(row, r.BLOCK_STEP)
        inputs += at(row, r.GROUP_STEP)
