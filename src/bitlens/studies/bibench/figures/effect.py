"""How much of the float net's accuracy each variant keeps under each corruption, as a table of colors."""

from __future__ import annotations

from collections.abc import Mapping

from bitlens.studies.figures.svg import (
    CARD,
    INK,
    QUIET,
    SMALL,
    breadth,
    document,
    shape,
    text,
    viridis,
)

_WIDE, _HIGH, _TOP = 42, 24, 118


def draw_effect(ratios: Mapping[str, Mapping[str, float]], title: str) -> str:
    """The picture: a row per variant, a column per corruption, in each G_c.

    Args:
        ratios: variant -> corruption -> ratio.
        title: what the ratio is.
    """
    columns = list(next(iter(ratios.values())))
    left = 20 + max(breadth(name) for name in ratios)
    values = [value for row in ratios.values() for value in row.values()]
    low, high = min(values), max(values)
    parts = [text(12, 22, title, weight="600")]
    for column, name in enumerate(columns):
        x = left + (column + 0.5) * _WIDE + 4
        parts.append(_slanted(x, _TOP - 6, name))
    for row, (variant, found) in enumerate(ratios.items()):
        top = _TOP + row * _HIGH
        parts.append(text(left - 8, top + 16, variant, anchor="end"))
        for column, name in enumerate(columns):
            share = (found[name] - low) / (high - low) if high > low else 0.5
            parts.append(_cell(left + column * _WIDE, top, found[name], share))
    return document(left + len(columns) * _WIDE + 70, _TOP + len(ratios) * _HIGH + 14, title, parts)


def _cell(left: float, top: float, value: float, share: float) -> str:
    back = shape("rect", x=left, y=top, width=_WIDE - 1, height=_HIGH - 1, fill=viridis(share))
    ink = CARD if share < 0.6 else INK
    label = text(left + _WIDE / 2, top + 16, f"{value:.2f}", anchor="middle", size=SMALL, fill=ink)
    return back + label


def _slanted(x: float, y: float, name: str) -> str:
    return shape(
        "g",
        text(0, 0, name, size=SMALL, fill=QUIET),
        transform=f"translate({x:.1f} {y:.1f}) rotate(-45)",
    )
