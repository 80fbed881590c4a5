"""Kernels that copy a caller's image, of any strides, into the input of a program."""

from __future__ import annotations

import numpy as np
from numba import njit

from bitlens.engine.kernels import rows as r
from bitlens.engine.kernels.address import (
    at,
    fused_multiply_add,
    load_byte,
    load_float,
    store_byte,
    store_float,
)


@njit(nogil=True, error_model="numpy")
def image_bytes(row):
    """Bytes to bytes with the channels of a pixel side by side."""
    channels = at(row, r.CHANNELS)
    width = at(row, r.OUT_WIDTH)
    pixel = at(row, r.SOURCE_PIXEL)
    step = at(row, r.CHANNEL_STEP)
    for y in range(at(row, r.HEIGHT)):
        source = at(row, r.SOURCE) + y * at(row, r.SOURCE_ROW)
        target = at(row, r.TARGET) + y * at(row, r.TARGET_ROW)
        if step == 1 and pixel == channels:
            for i in range(width * channels):
                store_byte(target, i, load_byte(source, i))
        elif channels == 3 and pixel == 1:
            _interleave(source, source + step, source + 2 * step, target, width)
        else:
            for x in range(width):
                for c in range(channels):
                    store_byte(target, x * channels + c, load_byte(source, x * pixel + c * step))


@njit(nogil=True, error_model="numpy")
def _interleave(red, green, blue, target, width):
    for x in range(width):
        a, b, c = load_byte(red, x), load_byte(green, x), load_byte(blue, x)
        store_byte(target, 3 * x, a)
        store_byte(target, 3 * x + 1, b)
        store_byte(target, 3 * x + 2, c)


@njit(nogil=True, error_model="numpy")
def image_quantize(row):
    """Normalised floats back to the bytes they came from, the nearest where they came from none."""
    channels = at(row, r.CHANNELS)
    width = at(row, r.OUT_WIDTH)
    pixel = at(row, r.SOURCE_PIXEL)
    step = at(row, r.CHANNEL_STEP)
    constants = at(row, r.CONSTANTS)
    for y in range(at(row, r.HEIGHT)):
        source = at(row, r.SOURCE) + y * at(row, r.SOURCE_ROW)
        target = at(row, r.TARGET) + y * at(row, r.TARGET_ROW)
        if channels == 3 and pixel == 4:
            _quantize_three(source, source + step, source + 2 * step, target, width, constants)
            continue
        for x in range(width):
            for c in range(channels):
                gain = load_float(constants, 4 * c)
                shift = load_float(constants, 4 * (channels + c))
                level = load_float(source, x * pixel + c * step)
                store_byte(target, x * channels + c, _byte(level, gain, shift))


@njit(nogil=True, error_model="numpy")
def _quantize_three(red, green, blue, target, width, constants):
    a, b, c = load_float(constants, 0), load_float(constants, 4), load_float(constants, 8)
    d, e, f = load_float(constants, 12), load_float(constants, 16), load_float(constants, 20)
    for x in range(width):
        first = _byte(load_float(red, 4 * x), a, d)
        second = _byte(load_float(green, 4 * x), b, e)
        third = _byte(load_float(blue, 4 * x), c, f)
        store_byte(target, 3 * x, first)
        store_byte(target, 3 * x + 1, second)
        store_byte(target, 3 * x + 2, third)


@njit(nogil=True, error_model="numpy")
def _byte(level, gain, shift):
    rounded = np.rint(fused_multiply_add(level, gain, shift))
    return np.uint8(np.int32(min(max(rounded, np.float32(0)), np.float32(255))))


@njit(nogil=True, error_model="numpy")
def image_floats(row):
    """Floats to floats with the channels of a pixel side by side, in whole vectors."""
    channels = at(row, r.CHANNELS)
    for y in range(at(row, r.HEIGHT)):
        for x in range(at(row, r.OUT_WIDTH)):
            source = at(row, r.SOURCE) + y * at(row, r.SOURCE_ROW) + x * at(row, r.SOURCE_PIXEL)
            target = at(row, r.TARGET) + y * at(row, r.TARGET_ROW) + x * at(row, r.TARGET_PIXEL)
            for c in range(channels):
                store_float(target, 4 * c, load_float(source, c * at(row, r.CHANNEL_STEP)))
            for c in range(channels, channels + at(row, r.TAIL)):
                store_float(target, 4 * c, np.float32(0.0))


@njit(nogil=True, error_model="numpy")
def image_normalize(row):
    """Bytes to floats, `shift + byte gain` rounded once, as the data pipeline normalises."""
    channels = at(row, r.CHANNELS)
    for y in range(at(row, r.HEIGHT)):
        for x in range(at(row, r.OUT_WIDTH)):
            source = at(row, r.SOURCE) + y * at(row, r.SOURCE_ROW) + x * at(row, r.SOURCE_PIXEL)
            target = at(row, r.TARGET) + y * at(row, r.TARGET_ROW) + x * at(row, r.TARGET_PIXEL)
            for c in range(channels):
                byte = np.float32(load_byte(source, c * at(row, r.CHANNEL_STEP)))
                gain = load_float(at(row, r.CONSTANTS), 4 * c)
                shift = load_float(at(row, r.CONSTANTS), 4 * (channels + c))
                store_float(target, 4 * c, fused_multiply_add(byte, gain, shift))
            for c in range(channels, channels + at(row, r.TAIL)):
                store_float(target, 4 * c, np.float32(0.0))
