"""Every overall score side by side: a panel a score, a row a variant, the float net at 1."""

from __future__ import annotations

from collections.abc import Sequence

from bitlens.studies.bibench.scores import Score
from bitlens.studies.figures.panel import Panel, ticks
from bitlens.studies.figures.svg import (
    COLORS,
    INK,
    QUIET,
    SMALL,
    breadth,
    document,
    dot,
    line,
    text,
)

SHOWN = {
    "OM_task": "learning task",
    "OM_arch": "architecture",
    "OM_corr": "corruption",
    "OM_corr_clean": "corruption, rel. to clean",
    "OM_train": "training",
    "OM_comp": "complexity",
    "OM_hw": "hardware",
}
_ROW, _WIDE, _GAP, _TOP = 24, 150, 22, 62


def draw_standings(scores: Sequence[Score]) -> str:
    """The picture; scores that nobody has get no panel."""
    found = {(one.variant, one.score): one for one in scores}
    variants = list(dict.fromkeys(one.variant for one in scores))
    shown = [name for name in SHOWN if any((variant, name) in found for variant in variants)]
    left = 22 + max(breadth(name) for name in variants)
    height = _ROW * len(variants)
    parts = [
        text(left - 10, _TOP + (row + 0.5) * _ROW + 4, variant, anchor="end")
        for row, variant in enumerate(variants)
    ]
    for place, name in enumerate(shown):
        own = {variant: found.get((variant, name)) for variant in variants}
        parts.append(_panel(left + place * (_WIDE + _GAP), height, name, own))
    width = left + len(shown) * (_WIDE + _GAP)
    return document(width, _TOP + height + 32, "Scores of every variant", parts)


def _panel(left: float, height: float, name: str, scores: dict[str, Score | None]) -> str:
    known = [one for one in scores.values() if one is not None]
    ends = [1.0, *(one.mean + sign * (one.sd or 0) for one in known for sign in (-1, 1))]
    margin = 0.08 * (max(ends) - min(ends)) or 0.1
    panel = Panel(
        left=left,
        top=_TOP,
        width=_WIDE,
        height=height,
        x_range=(min(ends) - margin, max(ends) + margin),
        y_range=(len(scores), 0),
    )
    parts = [
        panel.x_axis(ticks(*panel.x_range, most=4)),
        panel.frame(),
        line((panel.x(1), panel.top), (panel.x(1), panel.bottom), INK, dash="3 3"),
        panel.title(name, SHOWN[name]),
    ]
    for row, one in enumerate(scores.values()):
        y = panel.y(row + 0.5)
        if one is None:
            parts.append(text(left + 6, y + 4, "-", size=SMALL, fill=QUIET))
            continue
        if one.sd is not None:
            ends_of = panel.x(one.mean - one.sd), panel.x(one.mean + one.sd)
            parts.append(line((ends_of[0], y), (ends_of[1], y), COLORS[0], width=2))
        told = "" if one.sd is None else f" ± {one.sd:.3f}"
        tip = f"{one.variant}: {one.mean:.3f}{told}" + (f", n = {one.n}" if one.n else "")
        parts.append(dot((panel.x(one.mean), y), 4, COLORS[0], tip=tip))
    return "".join(parts)
