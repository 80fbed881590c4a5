"""How large a packed graph may be, and what counts as an integer or a number in it."""

from __future__ import annotations

from numbers import Integral, Real

NODE_LIMIT = 4096
"""Most nodes of a graph."""

STEP_LIMIT = 64
"""Most steps of a node."""

SIDE_LIMIT = 1 << 16
"""Largest height, width, kernel, stride, dilation or padding."""

VALUE_LIMIT = 1 << 28
"""Most numbers of one value, its border included: a gibibyte of floats."""

WORK_LIMIT = 1 << 43
"""Most multiply-accumulates and other operations for one image: minutes of work."""

EXACT = 1 << 24
"""Largest integer up to which float32 holds all of them."""


def is_whole(value: object, least: int, most: int = 1 << 40) -> bool:
    """Whether it is an integer from `least` to `most`."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        return False
    return least <= int(value) <= most


def are_whole(values: object, count: int, least: int, most: int = SIDE_LIMIT) -> bool:
    """Whether they are `count` integers from `least` to `most`, in a tuple or list."""
    return (
        isinstance(values, tuple | list)
        and len(values) == count
        and all(is_whole(value, least, most) for value in values)
    )


def is_number(value: object) -> bool:
    """Whether it is a finite number that float32 can hold."""
    return isinstance(value, Real) and not isinstance(value, bool) and abs(float(value)) < 3.4e38
