"""Versions of recipe.json. No torch here.

Schema 1 had no `start`, no `distill` and two plans; what is learned from a teacher's outputs was an
objective in it. Schema 2 had one task, classification, and contrasted whole images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bitlens.tasks.config import DenseConfig

SCHEMA = 3
"""Version of recipe.json that is written."""

_TAUGHT = ("logit-kd", "distribution")
"""What schema 1 called an objective and later ones call a distillation."""

_SINCE_3: Mapping[str, Any] = {"task": "classify", "dense": asdict(DenseConfig())}
"""Fields that schema 2 had not, with what was always so."""

_CMIM_SINCE_3: Mapping[str, Any] = {"pairs": "image", "anchors": 1024}
"""The same for the settings of CMIM."""


def upgrade(record: dict[str, Any]) -> dict[str, Any]:
    """The same recipe, read from schema 1 or 2, in the schema that is written."""
    new = dict(record)
    if new.get("schema") == 1:
        new = {"start": "", "distill": "none", "distill_weight": 0.0, **new}
        if new.get("objective") in _TAUGHT and "weight" in new:
            new |= {"distill": new["objective"], "distill_weight": new["weight"]}
            new |= {"objective": "none", "weight": 0.0}
    if new.get("schema") in (1, 2):
        new = {**_SINCE_3, **new}
        if isinstance(new.get("cmim"), dict):
            new["cmim"] = {**_CMIM_SINCE_3, **new["cmim"]}
    return new | {"schema": SCHEMA}


def oldest(record: dict[str, Any]) -> dict[str, Any]:
    """The same recipe in the oldest schema that can say it: its digest outlives new fields."""
    second = _as_schema_2(record)
    return record if second is None else _as_schema_1(second) or second


def _as_schema_2(record: dict[str, Any]) -> dict[str, Any] | None:
    old, contrast = dict(record), dict(record["cmim"])
    new = {name: old.pop(name) for name in _SINCE_3}
    new_contrast = {name: contrast.pop(name) for name in _CMIM_SINCE_3}
    if new != _SINCE_3 or new_contrast != _CMIM_SINCE_3:
        return None
    return old | {"cmim": contrast, "schema": 2}


def _as_schema_1(record: dict[str, Any]) -> dict[str, Any] | None:
    old = dict(record)
    start, distill, weight = (old.pop(name) for name in ("start", "distill", "distill_weight"))
    if start or old["plan"] not in ("one-step", "two-step"):
        return None
    if distill != "none":
        if old["objective"] != "none" or distill not in _TAUGHT:
            return None
        old |= {"objective": distill, "weight": weight}
    return old | {"schema": 1}
