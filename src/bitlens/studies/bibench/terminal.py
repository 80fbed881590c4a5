"""The scores for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bitlens.report.quantities import ABSENT, number
from bitlens.studies.bibench.page import by_variant
from bitlens.studies.bibench.score_names import SCORES
from bitlens.studies.bibench.scores import Score

_SHOWN = ("OM_task", "OM_arch", "OM_corr", "OM_corr_clean", "OM_train", "OM_comp", "OM_hw")


def score_table(scores: Iterable[Score]) -> Table:
    """One line a variant: its overall scores, means over seeds."""
    found = by_variant(scores)
    names = [name for name in SCORES if name in _SHOWN and any(name in f for f in found.values())]
    made = Table(title="Ratios to the float twin", box=SIMPLE_HEAD, title_justify="left")
    made.add_column("variant", no_wrap=True)
    for name in ("seeds", *names):
        made.add_column(name, justify="right", no_wrap=True)
    for variant, own in found.items():
        seeds = max(one.n for one in own.values())
        cells = (number(own[name].mean) if name in own else ABSENT for name in names)
        made.add_row(Text(variant), str(seeds), *cells)
    return made
