"""Read-outs and estimators for real-valued layers, one a file; the files import torch, this one does not."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from bitlens.errors import unknown

_HERE = "bitlens.information.estimators"

ESTIMATORS: dict[str, str] = {
    "one-bit": f"{_HERE}.one_bit:one_bit",
    "bins": f"{_HERE}.binning:bin_codes",
    "width": f"{_HERE}.binning:width_codes",
    "kde": f"{_HERE}.kde:kde_bounds",
    "kde-signs": f"{_HERE}.kde:kde_bounds_of_signs",
    "ksg": f"{_HERE}.ksg:ksg_information",
    "ross": f"{_HERE}.ksg:ross_information",
    "critic-labels": f"{_HERE}.critic:bound_label_information",
    "critic-pairs": f"{_HERE}.critic:bound_pair_information",
}
"""Name -> "module:callable". The first three return codes, the others bits or bounds in bits."""


def get(name: str) -> Callable[..., Any]:
    """Import an estimator by its name.

    Raises:
        BitlensError: there is no estimator of that name.
    """
    if name not in ESTIMATORS:
        raise unknown("estimator", name, ESTIMATORS)
    module, _, attribute = ESTIMATORS[name].partition(":")
    return getattr(import_module(module), attribute)
