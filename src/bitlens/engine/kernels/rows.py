"""Fields of a program: the table of integers that the kernels walk through.

A program is an int64 array, one row an operation. Addresses are absolute. A tiled row computes, for
every output pixel and channel, one accumulator over `TERMS` terms and sends it through its steps; a row
covers a band of output rows, so a larger operation may be cut into several rows.
"""

from __future__ import annotations

WIDTH = 32
"""Integers in a row."""

OPCODE = 0
"""Which kernel: one of the codes below."""

POPCOUNT, DOT, MULTIPLY, SIGNED, MAXIMUM, SUM = 1, 2, 3, 4, 5, 6
"""Tiled kernels. Accumulator: popcount(x xor w) int32; four u8 times four s8 int32; x w float32; x or -x
by a bit of w; the largest x; the sum of x. A term is a word, four bytes, or a float of the input."""

TILED_OPCODES = (POPCOUNT, DOT, MULTIPLY, SIGNED, MAXIMUM, SUM)

INPUT = 1
"""Address of the first byte of the window of output pixel (0, 0), borders included."""
INPUT_ROW, INPUT_PIXEL = 2, 3
"""Bytes from an output row's window to the next's, and from an output pixel's to the next's: the stride of
the convolution times the bytes of an input row or pixel."""
HEIGHT, OUT_WIDTH = 4, 5
"""Output rows and columns of this row."""
GROUPS, GROUP_CHANNELS = 6, 7
"""Groups, and output channels of one. MAXIMUM and SUM have one group and as many as the input has."""
TERMS = 8
"""Terms of an accumulator."""
OFFSETS = 9
"""Address of int64[TERMS]: bytes from the window's first byte to each term. MAXIMUM and SUM add four bytes
for each output channel to it."""
GROUP_STEP = 10
"""Bytes of the input from one group's channels to the next's."""
WEIGHTS = 11
"""Address of the weights of output channels 0 to 63 of group 0: [TERMS][64] uint32 (POPCOUNT), [TERMS][64][4]
int8 (DOT), [TERMS][64] float32 (MULTIPLY), [TERMS][2] uint32 with bit j for channel j (SIGNED)."""
BLOCK_STEP = 12
"""Bytes from one block of 64 output channels to the next; a group has ceil(GROUP_CHANNELS / 64) blocks."""
GAIN = 13
"""Address of float32[channels]; POPCOUNT and DOT alone read it."""
OFFSET = 14
"""Address of a table [classes][channels], of int32 for POPCOUNT: t = float(offset - acc) * gain; of float32
for DOT: t = fl(float(acc) * gain) + offset, and for SUM: t = acc / offset. The others do not read it, and
t = acc."""
CLASS_ROW, CLASS_COLUMN = 15, 16
"""Addresses of int64[HEIGHT] and int64[OUT_WIDTH]: the row of the offset table of output pixel (y, x) starts
class_row[y] + class_column[x] bytes behind its address."""
STEPS, STEP_COUNT = 17, 18
"""Address of int64[STEP_COUNT][STEP_WIDTH]."""

LOOSE = 19
"""DOT: terms of four bytes that do not lie side by side, after the others. Theirs are the last 4 LOOSE of
int64[TERMS + 4 LOOSE] at OFFSETS, one for each byte, and the last of [TERMS + LOOSE] weights."""

STEP_WIDTH = 8
KIND = 0
STEP_MULTIPLY, STEP_ADD, STEP_FMA, STEP_ADD_VALUE, STEP_MULTIPLY_VALUE = 0, 1, 2, 3, 4
STEP_PRELU, STEP_CLAMP, STEP_STORE, STEP_SIGN, STEP_QUANTIZE = 5, 6, 7, 8, 9
A, B = 1, 2
"""Addresses of per-channel constants, float32[channels] (MULTIPLY, ADD, PRELU: A; FMA: A and B; SIGN: A the
threshold, B the address of uint16[channels / 16] to be xored onto the bits, always there). CLAMP: A is the
address of float32[2], low and high. QUANTIZE: A is the address of float32[2], scale and zero point."""
PLACE, PLACE_ROW, PLACE_PIXEL = 3, 4, 5
"""ADD_VALUE, MULTIPLY_VALUE, STORE, SIGN, QUANTIZE: address of channel 0 of output pixel (0, 0), and bytes
to the next output row and pixel (both 0 for a value without extent). Channel c lies 4 c bytes on for
floats, c bytes on for bytes; signs of channels 16 i to 16 i + 15 are the uint16 that lies 2 i bytes on."""
LIMIT = 6
"""STORE and QUANTIZE: channels that may be written, a multiple of 16 for STORE; the place holds no more."""

FILL, GATHER, BILINEAR, FLATTEN, UNARY = 16, 17, 18, 19, 20
"""Structural kernels. They move four-byte elements, a float or a word of signs each."""
IMAGE_BYTES, IMAGE_QUANTIZE, IMAGE_FLOATS, IMAGE_NORMALIZE = 21, 22, 23, 24
"""Copies of the caller's image into the program's input: bytes to bytes, floats to bytes, floats to floats,
bytes to normalised floats."""
EXPAND, REGROUP = 25, 26
"""Signs to bytes 0 and 1, one a channel; signs to signs with every group of channels at a word of its own."""

SOURCE, SOURCE_ROW, SOURCE_PIXEL = 1, 2, 3
"""Address of channel 0 of the first pixel read, and bytes to the next row and pixel. HEIGHT and OUT_WIDTH
keep their columns and count what is written."""
TARGET, TARGET_ROW, TARGET_PIXEL = 6, 7, 8
"""The same of what is written. FLATTEN uses TARGET alone: it writes floats one behind another, channel by
channel, row by row."""
CHANNELS = 9
"""Elements of a pixel. FILL: elements of a row."""
ROWS, COLUMNS = 10, 11
"""GATHER: addresses of int64[HEIGHT] and int64[OUT_WIDTH], which row and column is read, -1 for VALUE.
BILINEAR: addresses of int64[HEIGHT][2] and int64[OUT_WIDTH][2], the two rows and columns between which it
reads."""
CHANNEL_STEP = 12
"""Bytes from a channel of the source to the next: GATHER and the copies of images."""
VALUE = 13
"""The four bytes that FILL and GATHER write where there is no source, as an integer below 2^32."""
TAIL = 14
"""Elements of zeros behind a pixel's channels: GATHER and the copies of images to floats. FLATTEN: behind
all."""
CONSTANTS = 15
"""BILINEAR: address of float32[HEIGHT + OUT_WIDTH], the weight of the second of the two. IMAGE_NORMALIZE
and IMAGE_QUANTIZE: float32[2][CHANNELS], gain and shift. UNARY: float32[1], the alpha of ELU."""
FUNCTION = 16
"""UNARY: one of the functions below. It runs over HEIGHT rows of CHANNELS elements, SOURCE_ROW apart."""
SIGMOID, TANH, SILU, GELU, GELU_TANH, HARDSWISH, HARDSIGMOID = 0, 1, 2, 3, 4, 5, 6
ELU, EXP, ABS, SQRT = 7, 8, 9, 10
PARTS = 17
"""REGROUP: groups; CHANNELS is then the channels of one."""
