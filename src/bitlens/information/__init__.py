"""Mutual information of a net's layers with its input and with the labels, in bits.

The names below load on first use; those that read arrays only need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bitlens.information.codes import CodeAccumulator as CodeAccumulator
    from bitlens.information.codes import Codes as Codes
    from bitlens.information.measure import entropy as entropy
    from bitlens.information.mutual import mutual_information as mutual_information
    from bitlens.information.phases import measure_phases as measure_phases
    from bitlens.information.plane import InformationPlane as InformationPlane
    from bitlens.information.reading import Reading as Reading
    from bitlens.information.reading import read_codes as read_codes
    from bitlens.information.steps import LogSteps as LogSteps

_PLACES = {
    "CodeAccumulator": "codes",
    "Codes": "codes",
    "InformationPlane": "plane",
    "LogSteps": "steps",
    "Reading": "reading",
    "entropy": "measure",
    "measure_phases": "phases",
    "mutual_information": "mutual",
    "read_codes": "reading",
}

__all__ = [
    "CodeAccumulator",
    "Codes",
    "InformationPlane",
    "LogSteps",
    "Reading",
    "entropy",
    "measure_phases",
    "mutual_information",
    "read_codes",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'bitlens.information' has no attribute {name!r}")
    return getattr(import_module(f"bitlens.information.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
