"""bitlens: train, understand and ship binary neural networks.

The names below load on first use, so that `import bitlens` stays fast and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bitlens.errors import BitlensError

if TYPE_CHECKING:
    from bitlens.engine.freeze.pack import pack as pack
    from bitlens.engine.run.session import Session as Session
    from bitlens.engine.run.session import load as load
    from bitlens.engine.signs import signs as signs
    from bitlens.models.convert import binarize as binarize
    from bitlens.models.convert import set_progress as set_progress
    from bitlens.models.layers import after_step as after_step
    from bitlens.models.layers import before_step as before_step
    from bitlens.models.layers import penalty as penalty
    from bitlens.models.recalibrate import recalibrate as recalibrate
    from bitlens.models.summary import Summary as Summary
    from bitlens.models.summary import summary as summary
    from bitlens.objectives.attention import AttentionMatching as AttentionMatching
    from bitlens.objectives.cmim import CMIM as CMIM
    from bitlens.objectives.distill import Distribution as Distribution
    from bitlens.objectives.distill import LogitKD as LogitKD

__version__ = "0.1.0"

_PLACES = {
    "AttentionMatching": "bitlens.objectives.attention",
    "CMIM": "bitlens.objectives.cmim",
    "Distribution": "bitlens.objectives.distill",
    "LogitKD": "bitlens.objectives.distill",
    "Session": "bitlens.engine.run.session",
    "Summary": "bitlens.models.summary",
    "after_step": "bitlens.models.layers",
    "before_step": "bitlens.models.layers",
    "binarize": "bitlens.models.convert",
    "load": "bitlens.engine.run.session",
    "pack": "bitlens.engine.freeze.pack",
    "penalty": "bitlens.models.layers",
    "recalibrate": "bitlens.models.recalibrate",
    "set_progress": "bitlens.models.convert",
    "signs": "bitlens.engine.signs",
    "summary": "bitlens.models.summary",
}

__all__ = [
    "CMIM",
    "AttentionMatching",
    "BitlensError",
    "Distribution",
    "LogitKD",
    "Session",
    "Summary",
    "after_step",
    "before_step",
    "binarize",
    "load",
    "pack",
    "penalty",
    "recalibrate",
    "set_progress",
    "signs",
    "summary",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'bitlens' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
