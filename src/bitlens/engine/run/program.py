"""The program of one net: tables of integers, the constants they point at, and the size of the arena.

Tables are built with addresses counted from the beginning of the arena; `bind` moves them to where an
arena is. So every thread has its own arena and tables, and all share the weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bitlens.engine.kernels import rows as r
from bitlens.engine.run.layout import aligned
from bitlens.engine.run.memory import ALIGNMENT, InArena, Place
from bitlens.errors import BitlensError

Array = npt.NDArray[Any]
Table = npt.NDArray[np.int64]


class InSteps(int):
    """A row of the table of steps, in place of its address."""


def address(array: Array) -> int:
    """Address of an array's first element."""
    return int(array.__array_interface__["data"][0])


@dataclass(frozen=True, kw_only=True)
class Part:
    """The rows of the program that one node became."""

    name: str
    op: str
    first: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Program:
    """A net ready to run.

    Attributes:
        rows: int64 (rows, WIDTH); the first copies the image in, the last the answer out.
        steps: int64 (steps, STEP_WIDTH).
        in_arena: which cells of `rows` and of `steps` count from the arena.
        parts: which rows are whose.
        homes: where each value lies, those that are never written left out.
        arena: bytes of the arena.
        weights: bytes of weights and constants.
        kept: arrays that the tables point at.
    """

    rows: Table
    steps: Table
    in_arena: tuple[Array, Array]
    parts: tuple[Part, ...]
    homes: Mapping[str, Place]
    arena: int
    weights: int
    kept: tuple[Array, ...]

    def bind(self) -> Bound:
        """Give the program an arena of its own, all zeros.

        Raises:
            BitlensError: there is no memory for it.
        """
        try:
            memory = np.zeros(self.arena + ALIGNMENT, np.uint8)
        except MemoryError:
            raise BitlensError(
                f"no memory for the values of an image, {self.arena / 1e6:.0f} MB a thread; use fewer "
                "threads or a smaller net"
            ) from None
        start = -address(memory) % ALIGNMENT
        arena = memory[start : start + self.arena]
        rows, steps = self.rows.copy(), self.steps.copy()
        rows[self.in_arena[0]] += address(arena)
        steps[self.in_arena[1]] += address(arena)
        tiled = np.isin(rows[:, r.OPCODE], r.TILED_OPCODES)
        rows[tiled, r.STEPS] = address(steps) + 8 * r.STEP_WIDTH * rows[tiled, r.STEPS]
        return Bound(rows=rows, steps=steps, arena=arena)


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A program's tables at the addresses of one arena."""

    rows: Table
    steps: Table
    arena: npt.NDArray[np.uint8]


@dataclass(kw_only=True)
class Builder:
    """Collects rows, steps and constants."""

    rows: list[dict[int, int]] = field(default_factory=list)
    steps: list[dict[int, int]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    kept: dict[int, Array] = field(default_factory=dict)
    known: dict[bytes, int] = field(default_factory=dict)

    def row(self, fields: dict[int, int]) -> None:
        """Append a row; addresses in the arena come as `InArena`."""
        self.rows.append(fields)

    def keep(self, array: Array) -> int:
        """Address of an array that lives as long as the program."""
        self.kept[address(array)] = array
        return address(array)

    def constant(self, array: Array) -> int:
        """Address of a small array; equal ones are kept once."""
        array = np.ascontiguousarray(array)
        hashed = hashlib.sha256(array.dtype.str.encode())
        # An array gives its bytes, but no checker knows.
        plain: Any = array
        hashed.update(plain)
        key = hashed.digest()
        if key not in self.known:
            self.known[key] = self.keep(aligned(array))
        return self.known[key]

    def end_part(self, name: str, op: str) -> None:
        """Everything since the last part belongs to a node."""
        first = self.parts[-1].stop if self.parts else 0
        self.parts.append(Part(name=name, op=op, first=first, stop=len(self.rows)))

    def finish(self, homes: Mapping[str, Place], arena: int) -> Program:
        """The program of all that was collected."""
        rows, rows_in_arena = _table(self.rows, r.WIDTH)
        steps, steps_in_arena = _table(self.steps, r.STEP_WIDTH)
        return Program(
            rows=rows,
            steps=steps,
            in_arena=(rows_in_arena, steps_in_arena),
            parts=tuple(self.parts),
            homes=homes,
            arena=arena,
            weights=sum(array.nbytes for array in self.kept.values()),
            kept=tuple(self.kept.values()),
        )


def _table(lines: list[dict[int, int]], width: int) -> tuple[Table, Array]:
    table = np.zeros((len(lines), width), np.int64)
    marks = np.zeros((len(lines), width), bool)
    for i, line in enumerate(lines):
        for column, value in line.items():
            table[i, column] = value
            marks[i, column] = isinstance(value, InArena)
    return table, marks
