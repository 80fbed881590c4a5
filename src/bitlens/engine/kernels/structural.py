"""Kernels that move or reshape whole values: everything of a program that is not a tile."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from bitlens.engine.kernels import rows as r
from bitlens.engine.kernels.address import (
    at,
    load_float,
    load_int64,
    load_word,
    store_byte,
    store_float,
    store_word,
)

HALF = np.float32(0.5)
ONE = np.float32(1.0)
THREE = np.float32(3.0)
SIX = np.float32(6.0)
ZERO = np.float32(0.0)
ROOT_HALF = np.float32(math.sqrt(0.5))
ROOT_TWO_OVER_PI = np.float32(math.sqrt(2 / math.pi))
CUBIC = np.float32(0.044715)


@njit(nogil=True, error_model="numpy")
def fill(row):
    """Write one value over rows of elements."""
    value = np.uint32(at(row, r.VALUE))
    for y in range(at(row, r.HEIGHT)):
        target = at(row, r.TARGET) + y * at(row, r.TARGET_ROW)
        for i in range(at(row, r.CHANNELS)):
            store_word(target, 4 * i, value)


@njit(nogil=True, error_model="numpy")
def gather(row):
    """Copy pixels, each from the row and column that the maps name."""
    channels, tail = at(row, r.CHANNELS), at(row, r.TAIL)
    step = at(row, r.CHANNEL_STEP)
    value = np.uint32(at(row, r.VALUE))
    width, columns = at(row, r.OUT_WIDTH), at(row, r.COLUMNS)
    source_pixel, target_pixel = at(row, r.SOURCE_PIXEL), at(row, r.TARGET_PIXEL)
    for y in range(at(row, r.HEIGHT)):
        from_row = load_int64(at(row, r.ROWS), 8 * y)
        source_row = at(row, r.SOURCE) + from_row * at(row, r.SOURCE_ROW)
        target = at(row, r.TARGET) + y * at(row, r.TARGET_ROW)
        for x in range(width):
            from_column = load_int64(columns, 8 * x)
            source = source_row + from_column * source_pixel
            if from_row < 0 or from_column < 0:
                for c in range(channels):
                    store_word(target, 4 * c, value)
            elif step == 4:
                for c in range(channels):
                    store_word(target, 4 * c, load_word(source, 4 * c))
            else:
                for c in range(channels):
                    store_word(target, 4 * c, load_word(source, step * c))
            for c in range(channels, channels + tail):
                store_word(target, 4 * c, np.uint32(0))
            target += target_pixel


@njit(nogil=True, error_model="numpy")
def bilinear(row):
    """Blend the four pixels around every output pixel's place."""
    height = at(row, r.HEIGHT)
    for y in range(height):
        down = load_float(at(row, r.CONSTANTS), 4 * y)
        up = ONE - down
        above = at(row, r.SOURCE) + load_int64(at(row, r.ROWS), 16 * y) * at(row, r.SOURCE_ROW)
        below = at(row, r.SOURCE) + load_int64(at(row, r.ROWS), 16 * y + 8) * at(row, r.SOURCE_ROW)
        for x in range(at(row, r.OUT_WIDTH)):
            right = load_float(at(row, r.CONSTANTS), 4 * (height + x))
            left = ONE - right
            first = load_int64(at(row, r.COLUMNS), 16 * x) * at(row, r.SOURCE_PIXEL)
            second = load_int64(at(row, r.COLUMNS), 16 * x + 8) * at(row, r.SOURCE_PIXEL)
            target = at(row, r.TARGET) + y * at(row, r.TARGET_ROW) + x * at(row, r.TARGET_PIXEL)
            for c in range(at(row, r.CHANNELS)):
                i = 4 * c
                top = left * load_float(above + first, i) + right * load_float(above + second, i)
                bottom = left * load_float(below + first, i) + right * load_float(below + second, i)
                store_float(target, i, up * top + down * bottom)


@njit(nogil=True, error_model="numpy")
def flatten(row):
    """Write a value in torch's order: channel, row, column."""
    target = at(row, r.TARGET)
    height = at(row, r.HEIGHT)
    width = at(row, r.OUT_WIDTH)
    for c in range(at(row, r.CHANNELS)):
        for y in range(height):
            source = at(row, r.SOURCE) + 4 * c + y * at(row, r.SOURCE_ROW)
            for x in range(width):
                store_word(target, 4 * x, load_word(source, x * at(row, r.SOURCE_PIXEL)))
            target += 4 * width
    for i in range(at(row, r.TAIL)):
        store_word(target, 4 * i, np.uint32(0))


@njit(nogil=True, error_model="numpy")
def _bend(function, x, alpha):
    if function == r.SIGMOID:
        return ONE / (ONE + math.exp(-x))
    if function == r.TANH:
        return math.tanh(x)
    if function == r.SILU:
        return x / (ONE + math.exp(-x))
    if function == r.GELU:
        return HALF * x * (ONE + math.erf(x * ROOT_HALF))
    if function == r.GELU_TANH:
        return HALF * x * (ONE + math.tanh(ROOT_TWO_OVER_PI * (x + CUBIC * x * x * x)))
    if function == r.HARDSWISH:
        return x * min(max(x + THREE, ZERO), SIX) / SIX
    if function == r.HARDSIGMOID:
        return min(max(x + THREE, ZERO), SIX) / SIX
    if function == r.ELU:
        return x if x > ZERO else alpha * math.expm1(x)
    if function == r.EXP:
        return math.exp(x)
    if function == r.ABS:
        return abs(x)
    return math.sqrt(x)


@njit(nogil=True, error_model="numpy")
def unary(row):
    """Send every element through a function."""
    alpha = load_float(at(row, r.CONSTANTS), 0)
    for y in range(at(row, r.HEIGHT)):
        source = at(row, r.SOURCE) + y * at(row, r.SOURCE_ROW)
        target = at(row, r.TARGET) + y * at(row, r.TARGET_ROW)
        for i in range(at(row, r.CHANNELS)):
            bent = _bend(at(row, r.FUNCTION), load_float(source, 4 * i), alpha)
            store_float(target, 4 * i, np.float32(bent))


@njit(nogil=True, error_model="numpy")
def expand(row):
    """Give every sign a byte: 1 for +1, 0 for -1."""
    for y in range(at(row, r.HEIGHT)):
        for x in range(at(row, r.OUT_WIDTH)):
            source = at(row, r.SOURCE) + y * at(row, r.SOURCE_ROW) + x * at(row, r.SOURCE_PIXEL)
            target = at(row, r.TARGET) + y * at(row, r.TARGET_ROW) + x * at(row, r.TARGET_PIXEL)
            for c in range(at(row, r.CHANNELS)):
                word = load_word(source, 4 * (c >> 5))
                store_byte(target, c, np.uint8((word >> np.uint32(c & 31)) & np.uint32(1)))


@njit(nogil=True, error_model="numpy")
def regroup(row):
    """Move every group's signs to words of their own, zero bits behind them."""
    channels = at(row, r.CHANNELS)
    words = (channels + 31) >> 5
    for y in range(at(row, r.HEIGHT)):
        for x in range(at(row, r.OUT_WIDTH)):
            source = at(row, r.SOURCE) + y * at(row, r.SOURCE_ROW) + x * at(row, r.SOURCE_PIXEL)
            target = at(row, r.TARGET) + y * at(row, r.TARGET_ROW) + x * at(row, r.TARGET_PIXEL)
            for part in range(at(row, r.PARTS)):
                for i in range(words):
                    packed = np.uint32(0)
                    for j in range(min(32, channels - 32 * i)):
                        c = part * channels + 32 * i + j
                        bit = (load_word(source, 4 * (c >> 5)) >> np.uint32(c & 31)) & np.uint32(1)
                        packed |= np.uint32(bit << np.uint32(j))
                    store_word(target, 4 * (part * words + i), packed)
