"""Write the tables of README and docs from results/*.csv, so that no figure is typed by hand.

    python scripts/update_tables.py           rewrite what stands between the markers
    python scripts/update_tables.py --check   fail when a page and its CSV disagree

A page asks for a table with `<!-- table: results/NAME.csv COLUMN BASELINE -->` and ends it with
`<!-- end -->`; COLUMN is test_accuracy or validation_accuracy.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from pathlib import Path

from bitlens.report.statistics import paired_difference, spell, summarize

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "cmim.md")
MARKER = re.compile(r"(<!-- table: (\S+) (\S+) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(path: Path, column: str, baseline: str) -> str:
    """Markdown rows: variant, n, accuracy mean ± sd, paired difference, and what was measured inside.

    Bound and code entropy are means over seeds of the last epoch's.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    values: dict[str, dict[int, float]] = {}
    for row in rows:
        values.setdefault(row["variant"], {})[int(row["seed"])] = float(row[column])
    first = rows[0]
    split = column.removesuffix("_accuracy")
    lines = [
        f"{first['data']}, {first['model']}, {first['method']}, {first['epochs']} epochs of "
        f"{int(first['train_images']):,} images, {split} split, {first['threads']} thread of "
        f"{first['cpu']}, torch {first['torch']}; `{path.relative_to(ROOT)}`",
        "",
        f"| variant | n | {split} accuracy, % | paired difference to {baseline}, points (95 % CI) "
        "| bound or score, nats | code entropy, bits |",
        "|---|---|---|---|---|---|",
    ]
    for name, by_seed in values.items():
        found = summarize(by_seed.values())
        spread = "" if found.sd is None else f" ± {100 * found.sd:.2f}"
        cell = "-"
        if name != baseline:
            mean, low, high = spell(paired_difference(by_seed, values[baseline]), "points")
            cell = mean if low is None else f"{mean} ({low} .. {high})"
        own = [row for row in rows if row["variant"] == name]
        inside = " | ".join(average(own, key) for key in ("bound", "code_entropy"))
        lines.append(f"| {name} | {found.n} | {100 * found.mean:.2f}{spread} | {cell} | {inside} |")
    return "\n".join(lines) + "\n"


def average(rows: list[dict[str, str]], key: str) -> str:
    """Mean of a column over the rows that have it, or a dash."""
    found = [float(row[key]) for row in rows if row[key]]
    return f"{sum(found) / len(found):.3f}" if found else "-"


def rewritten(text: str) -> str:
    """The page with every marked table made anew."""
    return MARKER.sub(
        lambda m: m[1] + table(ROOT / m[2], m[3], m[4]) + m[5],
        text,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for page in PAGES:
        text = page.read_text()
        wanted = rewritten(text)
        if wanted != text:
            stale.append(page.name)
            if not check:
                page.write_text(wanted)
    if stale:
        sys.stdout.write(f"{'stale' if check else 'rewritten'}: {', '.join(stale)}\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
