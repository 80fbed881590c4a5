"""The bytes of a `.bits` file: a safetensors file, laid out so that a map of it serves as memory.

    8 bytes            length N of the header, little endian
    N bytes            JSON: name -> dtype, shape, place; strings under "__metadata__"; spaces at the end
    the rest           the tensors, one behind the other without gaps

Any safetensors reader takes it. Two things are more than the format asks for: the header is filled up to a
multiple of 64 bytes, and tensors whose size is a multiple of 64 bytes come first (packed weights always are),
then the others from wide to narrow numbers. So weights start on a cache line and every tensor on a multiple
of its number's size, and a map can be read in place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.errors import BitsFileError, shown

ALIGNMENT = 64
"""Bytes of a cache line and of the widest vector."""

HEADER_LIMIT = 1 << 20
"""Longest header that is read, in bytes. A thousand layers take a third of it."""

MARK_BYTES, SPARE_BYTES = 128, 2 << 20
"""What a comma or bracket of JSON may become in memory, and what any header may take. Beyond that the parsed
header must fit in four times the file, so that a small file cannot make reading allocate a lot."""

DTYPES = {"U32": "<u4", "F32": "<f4", "I8": "|i1", "U8": "|u1"}
"""Number types of a packed graph, as safetensors and as numpy call them."""

_NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
_DIMENSIONS, _LONGEST, _DEPTH = 4, 1 << 40, 32

Tensors = dict[str, npt.NDArray[Any]]


def arrange(tensors: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    """Names in the order in which the tensors lie in the file."""

    def key(name: str) -> tuple[bool, int]:
        tensor = tensors[name]
        return tensor.nbytes % ALIGNMENT != 0, -tensor.itemsize

    return sorted(tensors, key=key)


def encode(tensors: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """The file's bytes.

    Raises:
        BitsFileError: a number type that a packed graph does not know.
    """
    order = arrange(tensors)
    header: dict[str, Any] = {"__metadata__": dict(metadata)} | describe(tensors)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    data = [np.ascontiguousarray(tensors[name]).tobytes() for name in order]
    return b"".join([len(text).to_bytes(8, "little"), text, *data])


def describe(tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, dict[str, Any]]:
    """Number type, shape and place of every tensor, in the order of the file."""
    table, end = {}, 0
    for name in arrange(tensors):
        tensor = tensors[name]
        if tensor.dtype not in _NAMES:
            raise BitsFileError(
                f"tensor {shown(name)} is {tensor.dtype}; a .bits file holds {', '.join(map(str, _NAMES))}"
            )
        start, end = end, end + tensor.nbytes
        table[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    return table


def read_header(buffer: Any) -> tuple[dict[str, Any], int]:
    """The JSON header and the place where the tensors start.

    Raises:
        BitsFileError: not a safetensors file, or the file ends too early.
    """
    size = len(buffer)
    length = int.from_bytes(buffer[:8], "little")
    if size < 10 or length < 2 or buffer[8:9] != b"{" or length > 1 << 40:
        raise BitsFileError("it is not a .bits file (no safetensors header)")
    if 8 + length > size:
        raise BitsFileError(
            f"it is cut off: the header should have {length} bytes, the file has {size} in all"
        )
    if length > HEADER_LIMIT:
        raise BitsFileError(f"its header has {length} bytes; at most {HEADER_LIMIT} are read")
    text = bytes(buffer[8 : 8 + length])
    if MARK_BYTES * sum(text.count(mark) for mark in b",[{") > 4 * size + SPARE_BYTES:
        raise BitsFileError("its header has far more entries than a net in a file of its size")
    return parse_object(text, "its header"), 8 + length


def parse_object(text: str | bytes, what: str) -> dict[str, Any]:
    """A JSON object, strictly: UTF-8, no name twice, no NaN or infinity, 32 levels deep at most.

    Raises:
        BitsFileError: naming `what` and what is wrong with it.
    """
    try:
        data = json.loads(
            text.decode("utf-8") if isinstance(text, bytes) else text,
            object_pairs_hook=_once,
            parse_constant=_no_constant,
        )
    except (ValueError, RecursionError) as error:
        raise BitsFileError(f"{what} is not valid JSON: {_first_line(error)}") from None
    if not isinstance(data, dict):
        raise BitsFileError(f"{what} is not a JSON object")
    if _deeper(data, _DEPTH):
        raise BitsFileError(f"{what} nests deeper than {_DEPTH} levels")
    return data


def _deeper(data: Any, most: int) -> bool:
    level = [data]
    for _ in range(most):
        if not level:
            return False
        level = [
            part
            for holder in level
            for part in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(part, dict | list)
        ]
    return bool(level)


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0][:100]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"{shown(twice)} stands there twice")
    return data


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def map_tensors(buffer: Any, table: Mapping[str, Any], start: int) -> Tensors:
    """The tensors as read-only views of `buffer`; one that lies unaligned is copied.

    Args:
        buffer: the file's bytes or a map of it.
        table: name -> dtype, shape, data_offsets.
        start: where the tensors start.

    Raises:
        BitsFileError: a bad entry, tensors that overlap or leave gaps, or a file too short or too long.
    """
    found = {name: _entry(name, entry) for name, entry in table.items()}
    end = 0
    for name, (_, _, first, last) in sorted(found.items(), key=lambda item: item[1][2:]):
        if first != end:
            raise BitsFileError(
                f"tensor {shown(name)} starts at {first}, the one before ends at {end}"
            )
        end = last
    if start + end != len(buffer):
        word = "cut off" if start + end > len(buffer) else "too long"
        raise BitsFileError(
            f"it is {word}: it should have {start + end} bytes and has {len(buffer)}"
        )
    return {
        name: np.require(
            np.frombuffer(buffer, dtype, (last - first) // dtype.itemsize, start + first).reshape(
                shape
            ),
            requirements="A",
        )
        for name, (dtype, shape, first, last) in found.items()
    }


def _entry(name: str, entry: Any) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    where = f"tensor {shown(name)}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise BitsFileError(f"{where} has no proper entry in the header")
    code, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise BitsFileError(f"{where}, dtype: {shown(code)} is none of {', '.join(DTYPES)}")
    if not _whole(shape, 1) or len(shape) > _DIMENSIONS:
        raise BitsFileError(f"{where}, shape: {shown(shape)} is not 1 to 4 positive integers")
    if not _whole(place, 0) or len(place) != 2:
        raise BitsFileError(f"{where}, data_offsets: {shown(place)} are not two places in the file")
    dtype = np.dtype(DTYPES[code])
    count = dtype.itemsize
    for side in shape:
        count *= side
    if place[1] - place[0] != count:
        raise BitsFileError(
            f"{where} has {place[1] - place[0]} bytes; its shape needs {shown(count)}"
        )
    return dtype, tuple(shape), place[0], place[1]


def _whole(numbers: Any, least: int) -> bool:
    return (
        isinstance(numbers, list)
        and 0 < len(numbers) <= _DIMENSIONS
        and all(type(n) is int and least <= n <= _LONGEST for n in numbers)
    )
