"""Draw the weight curve of results/cmim_tune_fashion.csv as docs/weight_curve.svg.

Paired difference to the plain method in points against the weight of the objective, mean over seeds
with its 95 % interval, one line a loss. Plain SVG, so the picture in the docs is made by this file alone.
"""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

from bitlens.report.statistics import PairedDifference, paired_difference

ROOT = Path(__file__).parents[1]
LINES = {
    "infonce": ("InfoNCE, temperature 0.2", "#0072B2", r"infonce-w([\d.]+)"),
    "infonce-t1": (
        "InfoNCE, temperature 1",
        "#009E73",
        r"infonce-t1-w([\d.]+)|infonce-w([\d.]+)-t1",
    ),
    "paper": ("NCE, temperature 0.1 (preset paper)", "#D55E00", r"paper-w([\d.]+)"),
}
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 420, 70, 40, 20, 60
LOW, HIGH, LEAST, MOST = -4.0, 2.5, 8e-4, 0.4


def curve(rows: list[dict[str, str]], pattern: str, column: str) -> dict[float, PairedDifference]:
    """Weight -> paired difference of the variants whose whole name fits `pattern`."""
    values: dict[str, dict[int, float]] = {}
    for row in rows:
        values.setdefault(row["variant"], {})[int(row["seed"])] = float(row[column])
    plain = values[rows[0]["variant"]]
    found = {}
    for name, by_seed in values.items():
        if match := re.fullmatch(pattern, name):
            weight = float(next(group for group in match.groups() if group))
            found[weight] = paired_difference(by_seed, plain)
    return dict(sorted(found.items()))


def x_of(weight: float) -> float:
    share = math.log(weight / LEAST) / math.log(MOST / LEAST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def y_of(points: float) -> float:
    clipped = min(max(points, LOW), HIGH)
    return TOP + (HIGH - clipped) / (HIGH - LOW) * (HEIGHT - TOP - BOTTOM)


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def text(x: float, y: float, content: str, extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {extra}>{content}</text>'


def draw(rows: list[dict[str, str]], column: str) -> str:
    """The whole picture as SVG text."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for points in range(math.ceil(LOW), math.floor(HIGH) + 1):
        style = 'stroke="#444" stroke-width="1.5"' if points == 0 else 'stroke="#ddd"'
        parts.append(line(LEFT, y_of(points), WIDTH - RIGHT, y_of(points), style))
        parts.append(text(LEFT - 10, y_of(points) + 4, f"{points:+d}", 'text-anchor="end"'))
    for weight in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3):
        parts.append(
            text(x_of(weight), HEIGHT - BOTTOM + 20, f"{weight:g}", 'text-anchor="middle"')
        )
    for shift, (label, color, pattern) in enumerate(LINES.values()):
        offset = 5 * (shift - 1)
        points = curve(rows, pattern, column)
        path = " ".join(
            f"{x_of(w) + offset:.1f},{y_of(100 * d.mean):.1f}" for w, d in points.items()
        )
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        for weight, found in points.items():
            x = x_of(weight) + offset
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y_of(100 * found.mean):.1f}" r="4" fill="{color}"/>'
            )
            if found.low is not None and found.high is not None:
                ends = y_of(100 * found.low), y_of(100 * found.high)
                parts.append(line(x, ends[0], x, ends[1], f'stroke="{color}" stroke-width="1.5"'))
        y = HEIGHT - BOTTOM - 14 - 18 * (len(LINES) - 1 - shift)
        parts.append(line(LEFT + 12, y - 4, LEFT + 36, y - 4, f'stroke="{color}" stroke-width="3"'))
        parts.append(text(LEFT + 44, y, label))
    split = column.removesuffix("_accuracy")
    parts.append(
        text(LEFT, 22, f"paired difference to the plain method, {split} accuracy, points (95 % CI)")
    )
    parts.append(text(WIDTH - RIGHT, HEIGHT - 14, "weight of the objective", 'text-anchor="end"'))
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    with (ROOT / "results" / "cmim_tune_fashion.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    (ROOT / "docs" / "weight_curve.svg").write_text(draw(rows, "validation_accuracy"))


if __name__ == "__main__":
    main()
