"""The tiled kernels against the slow reference, over one stretch of memory compared to the last byte.

Everything a row reads and writes lies in one array of bytes, on addresses with no more alignment than
an element needs, with random bytes between the buffers. The reference runs on it, then the kernel runs on
a copy of the beginning put back to the same place: all bytes must be equal, so a write too far shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.engine.kernels import rows, tiled_reference
from bitlens.engine.kernels.cache import kernels

KINDS = tuple(range(10))
SINKS = (rows.STEP_STORE, rows.STEP_SIGN, rows.STEP_QUANTIZE)


@dataclass
class Memory:
    """Bytes with buffers in them."""

    random: np.random.Generator
    bytes: np.ndarray = field(init=False)
    used: int = 64

    def __post_init__(self) -> None:
        self.bytes = self.random.integers(0, 256, 1 << 22, dtype=np.uint8)

    def put(self, values: np.ndarray) -> int:
        """Address of a copy, aligned to an element and to no more."""
        size = values.dtype.itemsize
        self.used += -(self.bytes.ctypes.data + self.used) % 64 + size
        address = self.bytes.ctypes.data + self.used
        flat = np.ascontiguousarray(values).view(np.uint8).reshape(-1)
        self.bytes[self.used : self.used + flat.size] = flat
        self.used += flat.size + int(self.random.integers(65, 130))
        assert self.used < self.bytes.size - 4096
        return address


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A row's sizes."""

    opcode: int
    channels: int
    groups: int = 1
    out: tuple[int, int] = (3, 5)
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    units: int = 1
    """Terms of one position and group."""
    loose: int = 0
    """Terms of single bytes."""
    limit: int = 1000


def floats(random: np.random.Generator, *shape: int) -> np.ndarray:
    values = random.normal(0, 2, shape).astype(np.float32)
    values[random.random(shape) < 0.1] = 0
    return values


def inputs(memory: Memory, shape: Shape, unit_bytes: int, pixel_bytes: int) -> dict[int, int]:
    """The input with its fields of the row; one row and column more than the windows touch."""
    rows_in = (shape.out[0] - 1) * shape.stride[0] + (shape.kernel[0] - 1) * shape.dilation[0] + 2
    columns = (shape.out[1] - 1) * shape.stride[1] + (shape.kernel[1] - 1) * shape.dilation[1] + 2
    random = memory.random
    count = rows_in * columns * pixel_bytes
    if shape.opcode in (rows.POPCOUNT, rows.DOT):
        data = random.integers(0, 256, count, dtype=np.uint8)
        data = data.view(np.uint32) if shape.opcode == rows.POPCOUNT else data
    elif shape.opcode == rows.MULTIPLY or shape.opcode == rows.SIGNED:
        data = random.integers(-8, 9, count // 4).astype(np.float32)
    else:
        data = floats(random, count // 4)
    offsets = [
        (i * shape.dilation[0] * columns + j * shape.dilation[1]) * pixel_bytes + u * unit_bytes
        for i in range(shape.kernel[0])
        for j in range(shape.kernel[1])
        for u in range(shape.units)
    ]
    terms = len(offsets)
    offsets += random.integers(0, pixel_bytes, 4 * shape.loose).tolist()
    return {
        rows.INPUT: memory.put(data),
        rows.INPUT_ROW: shape.stride[0] * columns * pixel_bytes,
        rows.INPUT_PIXEL: shape.stride[1] * pixel_bytes,
        rows.TERMS: terms,
        rows.LOOSE: shape.loose,
        rows.OFFSETS: memory.put(np.array(offsets, np.int64)),
    }


def weights(memory: Memory, shape: Shape, terms: int) -> dict[int, int]:
    blocks = shape.groups * -(-shape.channels // 64)
    random = memory.random
    if shape.opcode == rows.POPCOUNT:
        data = random.integers(0, 1 << 32, (blocks, terms, 64), dtype=np.uint32)
    elif shape.opcode == rows.DOT:
        data = random.integers(-128, 128, (blocks, terms, 64, 4)).astype(np.int8)
    elif shape.opcode == rows.MULTIPLY:
        data = random.integers(-8, 9, (blocks, terms, 64)).astype(np.float32)
    else:
        data = random.integers(0, 1 << 32, (blocks, terms, 2), dtype=np.uint32)
    return {rows.WEIGHTS: memory.put(data), rows.BLOCK_STEP: data[0].nbytes}


def beginning(memory: Memory, shape: Shape, padded: int) -> dict[int, int]:
    """Gain and offset; each row and each column of the output has one of three classes."""
    if shape.opcode in (rows.MULTIPLY, rows.SIGNED, rows.MAXIMUM):
        return {}
    random = memory.random
    if shape.opcode == rows.POPCOUNT:
        gain = floats(random, padded)
        offset = random.integers(-9, 500, (9, padded)).astype(np.int32)
    elif shape.opcode == rows.DOT:
        gain, offset = floats(random, padded) / 1000, floats(random, 9, padded)
    else:
        gain = np.zeros(padded, np.float32)
        offset = random.integers(1, 10, (9, padded)).astype(np.float32)
    row_classes = random.integers(0, 3, shape.out[0]) * 3 * padded * 4
    column_classes = random.integers(0, 3, shape.out[1]) * padded * 4
    return {
        rows.GAIN: memory.put(gain),
        rows.OFFSET: memory.put(offset),
        rows.CLASS_ROW: memory.put(row_classes.astype(np.int64)),
        rows.CLASS_COLUMN: memory.put(column_classes.astype(np.int64)),
    }


def step(memory: Memory, shape: Shape, kind: int, padded: int, before: np.ndarray) -> np.ndarray:
    """One step. ADD_VALUE reads the place of an earlier STORE where there is one: then in place."""
    random = memory.random
    made = np.zeros(rows.STEP_WIDTH, np.int64)
    made[rows.KIND] = kind
    limit = min(shape.limit, padded)
    if kind in (rows.STEP_MULTIPLY, rows.STEP_ADD, rows.STEP_PRELU, rows.STEP_FMA):
        made[rows.A] = memory.put(floats(random, padded))
        made[rows.B] = memory.put(floats(random, padded))
    elif kind == rows.STEP_CLAMP:
        made[rows.A] = memory.put(np.array([-1, 1.5], np.float32))
    elif kind in (rows.STEP_ADD_VALUE, rows.STEP_MULTIPLY_VALUE, rows.STEP_STORE):
        held = padded if kind != rows.STEP_STORE else limit // 16 * 16
        extent = kind == rows.STEP_STORE or random.random() < 0.8
        pixels = shape.out if extent else (1, 1)
        address = memory.put(floats(random, *pixels, held))
        made[rows.PLACE : rows.PLACE_PIXEL + 1] = (
            (address, pixels[1] * held * 4, held * 4) if extent else (address, 0, 0)
        )
        made[rows.LIMIT] = held
        if kind == rows.STEP_STORE and len(before) and random.random() < 0.5:
            stride = padded * 4
            made[rows.PLACE : rows.LIMIT + 1] = (
                *before[-1][rows.PLACE : rows.PLACE_PIXEL + 1],
                padded,
            )
            assert before[-1][rows.PLACE_PIXEL] == stride
    elif kind == rows.STEP_SIGN:
        made[rows.A] = memory.put(np.round(floats(random, padded)))
        made[rows.B] = memory.put(random.integers(0, 1 << 16, padded // 16, dtype=np.uint16))
        words = -(-padded // 32)
        place = memory.put(random.integers(0, 1 << 32, (*shape.out, words), dtype=np.uint32))
        made[rows.PLACE : rows.PLACE_PIXEL + 1] = place, shape.out[1] * words * 4, words * 4
    else:
        made[rows.A] = memory.put(np.array([3.5, 100], np.float32))
        held = min(shape.limit, shape.channels * shape.groups)
        place = memory.put(random.integers(0, 256, (*shape.out, held), dtype=np.uint8))
        made[rows.PLACE : rows.PLACE_PIXEL + 1] = place, shape.out[1] * held, held
        made[rows.LIMIT] = held
    return made


def compare(shape: Shape, kinds: tuple[int, ...], seed: int) -> None:
    memory = Memory(np.random.default_rng(seed))
    own = shape.opcode in (rows.MAXIMUM, rows.SUM)
    padded = -(-shape.channels // 16) * 16 * shape.groups
    group_bytes = 4 * shape.units
    pixel_bytes = 4 * padded if own else group_bytes * shape.groups + 4 * int(seed % 2)
    fields = {
        rows.OPCODE: shape.opcode,
        rows.HEIGHT: shape.out[0],
        rows.OUT_WIDTH: shape.out[1],
        rows.GROUPS: shape.groups,
        rows.GROUP_CHANNELS: shape.channels,
        rows.GROUP_STEP: group_bytes,
        rows.STEP_COUNT: len(kinds),
        **inputs(memory, shape, 4, pixel_bytes),
        **beginning(memory, shape, padded),
    }
    if not own:
        fields |= weights(memory, shape, fields[rows.TERMS] + shape.loose)
    steps: list[np.ndarray] = []
    for kind in kinds:
        readable = [
            s
            for s in steps
            if s[rows.KIND] == rows.STEP_ADD_VALUE and s[rows.PLACE_PIXEL] == 4 * padded
        ]
        steps.append(step(memory, shape, kind, padded, np.array(readable)))
    fields[rows.STEPS] = memory.put(np.array(steps, np.int64).reshape(-1))
    row = np.zeros(rows.WIDTH, np.int64)
    row[list(fields)] = list(fields.values())
    start = memory.bytes.copy()
    tiled_reference.tiled(row)
    expected = memory.bytes.copy()
    memory.bytes[:] = start
    kernels().run(row.ctypes.data, 1)
    assert np.array_equal(memory.bytes, expected), np.flatnonzero(memory.bytes != expected)[:20]


STEPS = st.lists(st.sampled_from(KINDS), min_size=0, max_size=5).map(tuple)
ENDS = st.sampled_from([(kind,) for kind in SINKS] + [(rows.STEP_STORE, rows.STEP_SIGN)])
PAIRS = st.tuples(st.integers(1, 2), st.integers(1, 2))


@st.composite
def shapes(draw: st.DrawFn, opcode: int) -> Shape:
    groups = draw(st.sampled_from((1, 1, 1, 2, 3))) if opcode < rows.MAXIMUM else 1
    channels = draw(st.sampled_from((16, 48, 64, 80)) if groups > 1 else st.integers(1, 150))
    return Shape(
        opcode=opcode,
        channels=channels,
        groups=groups,
        out=draw(st.tuples(st.integers(1, 4), st.integers(1, 7))),
        kernel=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        stride=draw(PAIRS),
        dilation=draw(PAIRS),
        units=draw(st.integers(1, 3)) if opcode < rows.MAXIMUM else 1,
        loose=draw(st.integers(0, 3)) if opcode == rows.DOT else 0,
        limit=draw(st.one_of(st.just(1000), st.integers(16, 150))),
    )


@pytest.mark.parametrize("opcode", rows.TILED_OPCODES)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), steps=STEPS, ends=ENDS, seed=st.integers(0, 1 << 20))
def test_kernel_writes_what_the_reference_writes(opcode, data, steps, ends, seed):
    compare(data.draw(shapes(opcode)), steps + ends, seed)


def rowed(memory: Memory, fields: dict[int, int], steps: list[tuple[int, ...]]) -> np.ndarray:
    """A row of one group and one class over steps given as their first integers."""
    table = np.zeros((len(steps), rows.STEP_WIDTH), np.int64)
    for own, given_step in zip(table, steps, strict=True):
        own[: len(given_step)] = given_step
    row = np.zeros(rows.WIDTH, np.int64)
    row[rows.GROUPS], row[rows.HEIGHT], row[rows.OUT_WIDTH] = 1, 1, 1
    row[rows.CLASS_ROW] = row[rows.CLASS_COLUMN] = memory.put(np.zeros(64, np.int64))
    row[rows.STEPS], row[rows.STEP_COUNT] = memory.put(table), len(steps)
    row[list(fields)] = list(fields.values())
    return row


def elementwise(memory: Memory, t: np.ndarray, steps: list[tuple[int, ...]]) -> np.ndarray:
    """t of one pixel after some steps."""
    place = memory.put(np.zeros(t.size, np.float32))
    fields = {
        rows.OPCODE: rows.MAXIMUM,
        rows.INPUT: memory.put(t),
        rows.GROUP_CHANNELS: t.size,
        rows.TERMS: 1,
        rows.OFFSETS: memory.put(np.zeros(1, np.int64)),
    }
    steps = [*steps, (rows.STEP_STORE, 0, 0, place, 0, 0, t.size)]
    kernels().run(rowed(memory, fields, steps).ctypes.data, 1)
    return tiled_reference.peek(place, np.float32, t.size).copy()


@pytest.fixture
def memory() -> Memory:
    return Memory(np.random.default_rng(0))


def equal_bits(found: np.ndarray, expected: np.ndarray) -> None:
    """The same floats, -0 apart from 0, every NaN like any other."""
    nan = np.isnan(expected)
    assert np.array_equal(np.isnan(found), nan)
    assert np.array_equal(found.view(np.uint32)[~nan], expected.view(np.uint32)[~nan])


SPECIAL = np.array(
    [0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38, -3e38, 0.5, 2.5, -2, 7, 1.5],
    np.float32,
)


def test_one_element_passes_unchanged(memory):
    equal_bits(elementwise(memory, SPECIAL, []), SPECIAL)


def test_clamp_keeps_nan(memory):
    bounds = memory.put(np.array([-1, 2], np.float32))
    found = elementwise(memory, SPECIAL, [(rows.STEP_CLAMP, bounds)])
    equal_bits(found, np.clip(SPECIAL, np.float32(-1), np.float32(2)))


@pytest.mark.parametrize("slope", [0.25, -3.0, 0.0])
def test_prelu_multiplies_what_is_not_positive(memory, slope):
    slopes = np.full(16, slope, np.float32)
    found = elementwise(memory, SPECIAL, [(rows.STEP_PRELU, memory.put(slopes))])
    with np.errstate(invalid="ignore", over="ignore"):
        equal_bits(found, np.where(SPECIAL > 0, SPECIAL, SPECIAL * slopes))


def test_multiply_add_rounds_once_and_multiply_then_add_twice(memory):
    step = np.float32(2**-12)
    a, b = np.full(16, 1 + step, np.float32), np.full(16, -1 - 2 * step, np.float32)
    places = memory.put(a), memory.put(b)
    once = elementwise(memory, a, [(rows.STEP_FMA, *places)])
    twice = elementwise(memory, a, [(rows.STEP_MULTIPLY, places[0]), (rows.STEP_ADD, places[1])])
    assert np.all(once == 2.0**-24)
    assert np.all(twice == 0)


def test_largest_of_a_window_keeps_nan(memory):
    values = np.zeros((3, 16), np.float32)
    values[:, 0] = 1, np.nan, 2
    values[:, 1] = np.nan, 1, 2
    values[:, 2] = -np.inf, -np.inf, -np.inf
    values[:, 3] = -3, -1, -2
    values[:, 4] = 0.0, -0.0, -1
    values[:, 5] = -0.0, 0.0, -1
    values[:, 6] = np.inf, -np.inf, 1
    values[:, 7] = -3e38, 3e38, 3e38
    place = memory.put(np.zeros(16, np.float32))
    fields = {
        rows.OPCODE: rows.MAXIMUM,
        rows.INPUT: memory.put(values),
        rows.GROUP_CHANNELS: 16,
        rows.TERMS: 3,
        rows.OFFSETS: memory.put(np.array([0, 64, 128], np.int64)),
    }
    row = rowed(memory, fields, [(rows.STEP_STORE, 0, 0, place, 0, 0, 16)])
    kernels().run(row.ctypes.data, 1)
    found = tiled_reference.peek(place, np.float32, 8)
    expected = [np.nan, np.nan, -np.inf, -1, 0.0, -0.0, np.inf, 3e38]
    equal_bits(found, np.array(expected, np.float32))


def test_quantize_rounds_half_to_even_and_stays_within_a_byte(memory):
    t = np.array(
        [
            0.5,
            1.5,
            2.5,
            -0.5,
            -1.5,
            300,
            -300,
            1e30,
            np.nan,
            np.inf,
            -np.inf,
            245,
            246,
            0,
            -10,
            -11,
        ],
        np.float32,
    )
    place = memory.put(np.zeros(16, np.uint8))
    levels = memory.put(np.array([1, 10], np.float32))
    elementwise(memory, t, [(rows.STEP_QUANTIZE, levels, 0, place, 0, 0, 16)])
    expected = [10, 12, 12, 10, 8, 255, 0, 255, 0, 255, 0, 255, 255, 10, 0, 0]
    assert tiled_reference.peek(place, np.uint8, 16).tolist() == expected


def test_sign_is_greater_or_equal_then_flipped(memory):
    t = np.array([1, 2, 3, np.nan] * 4, np.float32)
    flips = np.uint16(0b1111_0000_0000_0000)
    place = memory.put(np.zeros(1, np.uint16))
    step = (rows.STEP_SIGN, memory.put(np.full(16, 2, np.float32)), memory.put(flips[None]), place)
    elementwise(memory, t, [step])
    assert tiled_reference.peek(place, np.uint16, 1)[0] == 0b1001_0110_0110_0110


@pytest.mark.parametrize(("byte", "weight"), [(255, -128), (255, 127), (1, -1), (128, -128)])
def test_sums_of_bytes_are_exact(memory, byte, weight):
    """More than 24 bits of sum, and products that a saturating instruction would clip."""
    terms = 700
    place = memory.put(np.zeros(64, np.float32))
    fields = {
        rows.OPCODE: rows.DOT,
        rows.INPUT: memory.put(np.full(4 * terms, byte, np.uint8)),
        rows.GROUP_CHANNELS: 64,
        rows.TERMS: terms,
        rows.OFFSETS: memory.put(4 * np.arange(terms)),
        rows.WEIGHTS: memory.put(np.full((terms, 64, 4), weight, np.int8)),
        rows.GAIN: memory.put(np.ones(64, np.float32)),
        rows.OFFSET: memory.put(np.zeros(64, np.float32)),
    }
    row = rowed(memory, fields, [(rows.STEP_STORE, 0, 0, place, 0, 0, 64)])
    kernels().run(row.ctypes.data, 1)
    found = tiled_reference.peek(place, np.float32, 64)
    assert np.all(found == np.float32(4 * terms * byte * weight))


@pytest.mark.parametrize("terms", [1, 30, 31, 32, 62, 63, 500])
def test_all_bits_of_many_words_are_counted(memory, terms):
    """Counts kept in bytes are widened before they overflow."""
    place = memory.put(np.zeros(16, np.float32))
    fields = {
        rows.OPCODE: rows.POPCOUNT,
        rows.INPUT: memory.put(np.full(terms, 0xFFFFFFFF, np.uint32)),
        rows.GROUP_CHANNELS: 16,
        rows.TERMS: terms,
        rows.OFFSETS: memory.put(4 * np.arange(terms)),
        rows.WEIGHTS: memory.put(np.zeros((terms, 64), np.uint32)),
        rows.GAIN: memory.put(np.full(16, -1, np.float32)),
        rows.OFFSET: memory.put(np.zeros(16, np.int32)),
    }
    row = rowed(memory, fields, [(rows.STEP_STORE, 0, 0, place, 0, 0, 16)])
    kernels().run(row.ctypes.data, 1)
    assert np.all(tiled_reference.peek(place, np.float32, 16) == 32 * terms)


@pytest.mark.parametrize(("channels", "size"), [(32, 5), (96, 4), (160, 3)])
def test_row_is_a_convolution_of_signs(memory, channels, size):
    """3x3, zeros around the image: the offset's class takes back what the border's -1 add."""
    random = np.random.default_rng(channels)
    image = random.choice([-1, 1], (size, size, channels))
    weights = random.choice([-1, 1], (channels, 3, 3, channels))
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    expected = np.array(
        [
            [np.einsum("ijc,oijc->o", padded[y : y + 3, x : x + 3], weights) for x in range(size)]
            for y in range(size)
        ]
    )

    def words(signs: np.ndarray) -> np.ndarray:
        return np.packbits(signs > 0, axis=-1, bitorder="little").view(np.uint32)

    pixel, lanes = channels // 8, -(-channels // 64) * 64
    packed = np.zeros((lanes, 9 * channels // 32), np.uint32)
    packed[:channels] = words(weights).reshape(channels, -1)
    blocks = np.ascontiguousarray(packed.reshape(-1, 64, packed.shape[1]).transpose(0, 2, 1))
    offset = np.zeros((size, size, lanes), np.int32)
    outside = np.pad(np.zeros((size, size), int), 1, constant_values=1)
    for y in range(size):
        for x in range(size):
            lost = np.einsum("ij,oijc->o", outside[y : y + 3, x : x + 3], weights)
            offset[y, x, :channels] = (9 * channels + lost) // 2
    place = memory.put(np.zeros((size, size, channels), np.float32))
    offsets = [(i * (size + 2) + j) * pixel + 4 * k for i in range(3) for j in range(3)
               for k in range(channels // 32)]  # fmt: skip
    fields = {
        rows.OPCODE: rows.POPCOUNT,
        rows.INPUT: memory.put(words(np.pad(image, ((1, 1), (1, 1), (0, 0)), constant_values=-1))),
        rows.INPUT_ROW: (size + 2) * pixel,
        rows.INPUT_PIXEL: pixel,
        rows.HEIGHT: size,
        rows.OUT_WIDTH: size,
        rows.GROUP_CHANNELS: channels,
        rows.TERMS: len(offsets),
        rows.OFFSETS: memory.put(np.array(offsets, np.int64)),
        rows.WEIGHTS: memory.put(blocks),
        rows.BLOCK_STEP: blocks[0].nbytes,
        rows.GAIN: memory.put(np.full(lanes, 2, np.float32)),
        rows.OFFSET: memory.put(offset),
        rows.CLASS_ROW: memory.put(np.arange(size) * size * lanes * 4),
        rows.CLASS_COLUMN: memory.put(np.arange(size) * lanes * 4),
    }
    step = (rows.STEP_STORE, 0, 0, place, size * channels * 4, channels * 4, channels)
    kernels().run(rowed(memory, fields, [step]).ctypes.data, 1)
    found = tiled_reference.peek(place, np.float32, size * size * channels)
    assert np.array_equal(found.reshape(expected.shape), expected)
