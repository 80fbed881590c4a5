"""Versions of recipe.json. No torch here.

Schema 1 had no `start`, no `distill` and two plans; what is learned from a teacher's outputs was an
objective in it.
"""

from __future__ import annotations

from typing import Any

SCHEMA = 2
"""Version of recipe.json that is written."""

_TAUGHT = ("logit-kd", "distribution")
"""What schema 1 called an objective and schema 2 calls a distillation."""


def from_schema_1(record: dict[str, Any]) -> dict[str, Any]:
    """The same recipe in schema 2."""
    new: dict[str, Any] = {"start": "", "distill": "none", "distill_weight": 0.0, **record}
    new["schema"] = SCHEMA
    if new.get("objective") in _TAUGHT and "weight" in new:
        new |= {"distill": new["objective"], "distill_weight": new["weight"]}
        new |= {"objective": "none", "weight": 0.0}
    return new


def as_schema_1(record: dict[str, Any]) -> dict[str, Any] | None:
    """The inverse of `from_schema_1`; None for what schema 1 cannot say."""
    old = dict(record)
    start, distill, weight = (old.pop(name) for name in ("start", "distill", "distill_weight"))
    if start or old["plan"] not in ("one-step", "two-step"):
        return None
    if distill != "none":
        if old["objective"] != "none" or distill not in _TAUGHT:
            return None
        old |= {"objective": distill, "weight": weight}
    return old | {"schema": 1}
