"""HTML from data: every text is escaped unless it is marked as markup already."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go


class Html(str):
    """Text that is markup already; anything else is escaped on its way into the page."""


def markup(value: object) -> Html:
    """`value` as markup: Html as it is, anything else as escaped text."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def tag(name: str, *content: object, classes: str = "") -> Html:
    """One element with its content."""
    attribute = f' class="{escape(classes)}"' if classes else ""
    return Html(f"<{name}{attribute}>{join(content)}</{name}>")


def join(parts: Iterable[object]) -> Html:
    """The parts one after another."""
    return Html("".join(markup(part) for part in parts))


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Iterable[int] = (),
    row_classes: Sequence[str] = (),
    foot: Sequence[object] | None = None,
) -> Html:
    """A table that scrolls sideways on a narrow screen.

    Args:
        head: column titles.
        rows: cells.
        numbers: positions of the columns that are set flush right.
        row_classes: a class per row, where given.
        foot: the cells of a totals row.
    """
    right = set(numbers)
    body = []
    for position, row in enumerate(rows):
        classes = row_classes[position] if position < len(row_classes) else ""
        body.append(tag("tr", *_cells("td", row, right), classes=classes))
    parts = [tag("thead", tag("tr", *_cells("th", head, right))), tag("tbody", *body)]
    if foot is not None:
        parts.append(tag("tfoot", tag("tr", *_cells("td", foot, right))))
    return tag("div", tag("table", *parts), classes="scroll")


def details(summary: object, *content: object) -> Html:
    """A part that is folded until it is asked for."""
    return tag("details", tag("summary", summary), *content)


def section(anchor: str, title: str, *content: object) -> Html:
    """A section with a heading that the menu can point to."""
    body = join((tag("h2", title), *content))
    return Html(f'<section id="{escape(anchor)}">{body}</section>')


def plot(figure: go.Figure | None, title: str, caption: str, source: str) -> Html:
    """A figure with its title, how to read it, and what its numbers were measured on."""
    if figure is None:
        return Html("")
    height = int(figure.to_dict()["layout"]["height"])
    holder = Html(
        f'<div class="plot" role="img" aria-label="{escape(title)}" '
        f'style="height:{height}px"></div>'
        f'<script type="application/json">{inert_json(figure)}</script>'
    )
    told = tag("figcaption", caption, " ", tag("span", source, classes="source"))
    return tag("figure", tag("h3", title), holder, told)


def inert_json(figure: go.Figure) -> str:
    """The figure as JSON that no HTML parser can mistake for markup."""
    text = json.dumps(json.loads(figure.to_json()), ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def pretty_json(content: Any) -> Html:
    """Data as an indented block."""
    return tag("pre", json.dumps(content, indent=2, ensure_ascii=False, sort_keys=False))


def _cells(kind: str, cells: Sequence[object], right: set[int]) -> list[Html]:
    return [
        tag(kind, cell, classes="number" if position in right else "")
        for position, cell in enumerate(cells)
    ]
