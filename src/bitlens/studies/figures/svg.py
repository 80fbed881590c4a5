"""Plain SVG: panels with axes, marks, legends. Every number that is drawn must be finite.

A picture has a white card of its own, so that it reads the same on a light and on a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

INK, QUIET, LINE, CARD = "#1b1f24", "#59636e", "#d8dee4", "#ffffff"
GREY = "#9aa5b1"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7a7a7a", "#000000")
"""Okabe and Ito's, which color-blind readers tell apart."""
VIRIDIS = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30")
SMALL, NORMAL = 11, 12
LEAST = 720
"""Pixels below which a picture is not squeezed: a narrow page scrolls it sideways instead."""

Point = tuple[float, float]


def number(value: float) -> str:
    """A coordinate with one decimal.

    Raises:
        ValueError: it is NaN or infinite.
    """
    if not math.isfinite(value):
        raise ValueError(f"a coordinate is {value}; leave out what has no value")
    return f"{value:.1f}".removesuffix(".0")


def shape(name: str, content: str = "", /, **attributes: object) -> str:
    """One element; `stroke_width=2` becomes `stroke-width="2"`, floats one decimal, None nothing."""
    written = "".join(
        f' {key.strip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def text(
    x: float,
    y: float,
    content: str,
    *,
    anchor: str = "start",
    size: int = NORMAL,
    fill: str = INK,
    weight: str | None = None,
    turned: bool = False,
    halo: bool = False,
) -> str:
    """Text whose baseline starts, has its middle, or ends at (x, y); `turned` reads upwards."""
    return shape(
        "text",
        escape(content),
        x=x,
        y=y,
        text_anchor=None if anchor == "start" else anchor,
        font_size=size,
        fill=fill,
        font_weight=weight,
        transform=f"rotate(-90 {number(x)} {number(y)})" if turned else None,
        paint_order="stroke" if halo else None,
        stroke=CARD if halo else None,
        stroke_width=3 if halo else None,
    )


def line(start: Point, end: Point, color: str, width: float = 1, dash: str | None = None) -> str:
    """A straight line."""
    return shape(
        "line",
        x1=start[0],
        y1=start[1],
        x2=end[0],
        y2=end[1],
        stroke=color,
        stroke_width=width,
        stroke_dasharray=dash,
    )


def polyline(
    points: Iterable[Point], color: str, width: float = 1.5, opacity: float | None = None
) -> str:
    """A line through points."""
    return shape(
        "polyline",
        points=_joined(points),
        fill="none",
        stroke=color,
        stroke_width=width,
        stroke_opacity=_fine(opacity),
        stroke_linejoin="round",
    )


def polygon(points: Iterable[Point], fill: str, opacity: float | None = None) -> str:
    """A filled outline."""
    return shape("polygon", points=_joined(points), fill=fill, fill_opacity=_fine(opacity))


def dot(
    center: Point,
    radius: float,
    color: str,
    *,
    hollow: bool = False,
    opacity: float | None = None,
    tip: str = "",
) -> str:
    """A circle; `tip` is shown where the pointer rests on it."""
    return shape(
        "circle",
        shape("title", escape(tip)) if tip else "",
        cx=center[0],
        cy=center[1],
        r=radius,
        fill=CARD if hollow else color,
        stroke=color if hollow else None,
        stroke_width=1.2 if hollow else None,
        opacity=_fine(opacity),
    )


def dots(centers: Iterable[Point], radius: float, color: str, opacity: float) -> str:
    """Many circles of one look."""
    circles = (shape("circle", cx=x, cy=y, r=radius) for x, y in centers)
    return shape("g", "".join(circles), fill=color, fill_opacity=_fine(opacity))


def viridis(share: float) -> str:
    """Dark violet at 0 to yellow green at 1, in even steps of lightness."""
    place = min(max(share, 0.0), 1.0) * (len(VIRIDIS) - 1)
    before = min(int(place), len(VIRIDIS) - 2)
    first, second = (_channels(VIRIDIS[before + more]) for more in (0, 1))
    mixed = (round(a + (place - before) * (b - a)) for a, b in zip(first, second, strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def breadth(content: str, size: int = NORMAL) -> float:
    """About how wide a text is, in pixels."""
    return 0.56 * size * len(content)


def document(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    """The whole picture as one SVG element that scales with the page."""
    card = shape("rect", width=width, height=height, rx=8, fill=CARD)
    return shape(
        "svg",
        "\n".join([shape("title", escape(title)), card, *parts]) + "\n",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        style=f"max-width: 100%; min-width: {number(min(width, LEAST))}px; height: auto",
        role="img",
        font_family="system-ui, sans-serif",
    )


def _joined(points: Iterable[Point]) -> str:
    return " ".join(f"{number(x)},{number(y)}" for x, y in points)


def _channels(color: str) -> tuple[int, ...]:
    return tuple(int(color[place : place + 2], 16) for place in (1, 3, 5))


def _fine(share: float | None) -> str | None:
    return None if share is None else f"{share:.2f}"


def _value(value: object) -> str:
    return number(value) if isinstance(value, float) else escape(str(value))
