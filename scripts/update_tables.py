"""Write the tables of README and docs from results/*.csv, so that no figure is typed by hand.

    python scripts/update_tables.py           rewrite what stands between the markers
    python scripts/update_tables.py --check   fail when a page and its CSV disagree

A page asks for a table and ends it with `<!-- end -->`:

    <!-- table: results/NAME.csv COLUMN BASELINE -->    a comparison; COLUMN is test_accuracy or
                                                        validation_accuracy
    <!-- rows: results/NAME.csv COLUMN ... -->          these columns as they are; COLUMN=VALUE keeps the
                                                        rows with that value instead of showing it
    <!-- verdicts: results/NAME.csv CLAIM -->           what a study says about one claim
    <!-- paired: results/NAME.csv KIND BASELINE READOUT --> what a kind of net changes in the deepest hidden
                                                        layer and in accuracy, seed by seed
    <!-- coverage: results/NAME.csv SHARE -->           how often intervals hold the truth, by flag, in
                                                        cells where SHARE of the draws have the flag
    <!-- bibench: results/SCORES.csv SCORE ... --> BiBench's scores, a row per variant
    <!-- dense: results/SUMMARY.csv FORM ... --> dense prediction; FORM is full TASK, costs, short, setting or
                                                        pictures TASK (links to the sheets in docs)
    <!-- methods: results/RUNS.csv results/COSTS.csv FORM ... --> the method table; FORM is full DATA, short,
                                                        figure PICTURE (a link to it), or published; a
                                                        sentence while there are no runs

The picture of the method table is drawn anew too.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from pathlib import Path

from bitlens.report.statistics import paired_difference, spell, summarize
from bitlens.studies.bibench.markdown import scores_table
from bitlens.studies.dense.markdown import dense_tables
from bitlens.studies.method_table.figure import draw
from bitlens.studies.method_table.page import figures_page, full_page, short_page
from bitlens.studies.method_table.rows import DataTable, aggregate

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
METHOD_TABLE = (ROOT / "results" / "methods_runs.csv", ROOT / "results" / "methods_costs.csv")
PICTURE = ROOT / "docs" / "method_table.svg"
MARKER = re.compile(
    r"(<!-- (table|rows|verdicts|coverage|paired|methods|bibench|dense): (\S+) ([^\n]+) -->\n)"
    r".*?(<!-- end -->)",
    re.DOTALL,
)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def rows(path: Path, *columns: str) -> str:
    """Markdown rows of the named columns; a column written as NAME=VALUE filters instead."""
    wanted = dict(column.split("=") for column in columns if "=" in column)
    shown = [column for column in columns if "=" not in column]
    lines = [
        "| " + " | ".join(name.replace("_", " ") for name in shown) + " |",
        "|" + "---|" * len(shown),
    ]
    for row in read(path):
        if all(row[name] == value for name, value in wanted.items()):
            lines.append("| " + " | ".join(row[name] for name in shown) + " |")
    return "\n".join(lines) + f"\n\n`{path.relative_to(ROOT)}`\n"


def verdicts(path: Path, claim: str) -> str:
    """Markdown rows of one claim: where, what, value with its interval, verdict."""
    found = [row for row in read(path) if row["claim"] == claim]
    if not found:
        sys.exit(f"{path} has no row of claim {claim}")
    lines = [
        f"**{claim}. {found[0]['statement']}.**",
        "",
        f"| where | what | n | {found[0]['statistic']} (95 % CI) | p | verdict | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found:
        value = f"{float(row['value']):+.2f}" if row["value"] else "-"
        if row["low"]:
            value += f" ({float(row['low']):+.2f} .. {float(row['high']):+.2f})"
        if row["statistic"] != found[0]["statistic"]:
            value = f"{row['statistic']} {value}"
        p = f"{float(row['p']):.2g}" if row["p"] else ""
        cells = (row["task"], row["about"], row["n"], value, p, row["verdict"], row["note"])
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def coverage(path: Path, share: str) -> str:
    """Markdown rows: a flag, its cells, and mean and worst coverage of both intervals."""
    found = read(path)
    lines = [
        f"{sum(int(row['flag_draws']) for row in found):,} draws of codes whose informations are known, "
        f"{int(found[0]['draws'])} a cell; `{path.relative_to(ROOT)}`",
        "",
        "| flag | cells | H(T): mean coverage, % | worst cell | I(T;Y): mean coverage, % | worst cell |",
        "|---|---|---|---|---|---|",
    ]
    for flag in ("reliable", "corrected", "unreliable"):
        cells = [
            row
            for row in found
            if row["flag"] == flag and int(row["flag_draws"]) >= float(share) * int(row["draws"])
        ]
        shown = []
        for name in ("entropy_coverage", "information_coverage"):
            values = [100 * float(row[name]) for row in cells]
            shown += [f"{sum(values) / len(values):.1f}", f"{min(values):.0f}"]
        lines.append(f"| {flag} | {len(cells)} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


PAIRED = {
    "entropy_last": "final I(X;T), bits",
    "information_last": "final I(T;Y), bits",
    "compression": "compression C, bits",
    "coupling": "rho",
    "test_accuracy": "test accuracy",
}


def paired(path: Path, kind: str, baseline: str, readout: str) -> str:
    """Markdown rows: task and shape, then baseline mean and paired difference of each quantity."""
    found: dict[tuple[str, str], dict[str, dict[int, dict[str, str]]]] = {}
    for row in read(path):
        if row["from_end"] == "1" and row["readout"] == readout and int(row["seed"]) < 100:
            place = found.setdefault((row["task"], row["hidden"]), {})
            place.setdefault(row["kind"], {})[int(row["seed"])] = row
    lines = [
        f"Mean of {baseline}: then {kind} minus {baseline}, paired by seed (95 % t-interval); deepest "
        f"hidden layer, {readout}.",
        "",
        "| task, hidden units | n | " + " | ".join(PAIRED.values()) + " |",
        "|---|---|" + "---|" * len(PAIRED),
    ]
    for (task, hidden), kinds in found.items():
        if kind not in kinds or baseline not in kinds:
            continue
        cells = []
        count = len(kinds[kind].keys() & kinds[baseline].keys())
        for name in PAIRED:
            a, b = (
                {seed: float(row[name]) for seed, row in kinds[one].items() if row[name]}
                for one in (kind, baseline)
            )
            common = a.keys() & b.keys()
            if not common:
                cells.append("-")
                continue
            change = paired_difference({s: a[s] for s in common}, {s: b[s] for s in common})
            mean = sum(b[s] for s in common) / len(common)
            interval = "" if change.low is None else f" ({change.low:+.3f} .. {change.high:+.3f})"
            few = "" if len(common) == count else f", n = {len(common)}"
            cells.append(f"{mean:.3f}: {change.mean:+.3f}{interval}{few}")
        lines.append(f"| {task} {hidden} | {count} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def table(path: Path, column: str, baseline: str) -> str:
    """Markdown rows: variant, n, accuracy mean ± sd, paired difference, and what was measured inside.

    Bound and code entropy are means over seeds of the last epoch's.
    """
    runs = read(path)
    values: dict[str, dict[int, float]] = {}
    for row in runs:
        values.setdefault(row["variant"], {})[int(row["seed"])] = float(row[column])
    first = runs[0]
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
        own = [row for row in runs if row["variant"] == name]
        inside = " | ".join(average(own, key) for key in ("bound", "code_entropy"))
        lines.append(f"| {name} | {found.n} | {100 * found.mean:.2f}{spread} | {cell} | {inside} |")
    return "\n".join(lines) + "\n"


def method_tables(runs: Path, costs: Path) -> dict[str, DataTable]:
    """The method table by data set; empty while nothing has been published."""
    if not runs.exists():
        return {}
    return aggregate(read(runs), read(costs) if costs.exists() else [])


def methods(path: Path, costs: str, form: str, *about: str) -> str:
    """The method table in one of its forms."""
    tables = method_tables(path, ROOT / costs)
    if form == "published":
        return figures_page()
    if form == "full":
        (data,) = about
        return (
            full_page(tables[data]) if data in tables else f"No runs on {data} are published yet.\n"
        )
    if not tables:
        return "" if form == "figure" else "No runs of the method table are published yet.\n"
    if form == "figure":
        (picture,) = about
        return f"![Test accuracy of every method, plain and with CMIM, seed by seed]({picture})\n"
    if form != "short":
        sys.exit(f"methods: no form {form}")
    return short_page(tables)


def dense(path: Path, form: str, *about: str) -> str:
    """The study of dense prediction in one of its forms."""
    if form != "pictures":
        return dense_tables(path, form, *about)
    (task,) = about
    stems = (f"dense_{task}", f"dense_{task}_classes", f"dense_{task}_depth")
    names = [f"{stem}.{ending}" for stem in stems for ending in ("png", "jpg")]
    alt = "Test scenes: image, truth, float, binary, binary with CMIM, errors"
    links = [f"![{alt}]({name})\n" for name in names if (ROOT / "docs" / name).exists()]
    return "\n".join(links)


def average(runs: list[dict[str, str]], key: str) -> str:
    """Mean of a column over the runs that have it, or a dash."""
    found = [float(row[key]) for row in runs if row[key]]
    return f"{sum(found) / len(found):.3f}" if found else "-"


def rewritten(text: str) -> str:
    """The page with every marked table made anew."""
    writers = {
        "table": table,
        "rows": rows,
        "verdicts": verdicts,
        "coverage": coverage,
        "paired": paired,
        "methods": methods,
        "bibench": scores_table,
        "dense": dense,
    }
    return MARKER.sub(
        lambda m: m[1] + writers[m[2]](ROOT / m[3], *m[4].split()) + m[5],
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
    tables = method_tables(*METHOD_TABLE)
    if tables and (not PICTURE.exists() or PICTURE.read_text() != draw(tables)):
        stale.append(PICTURE.name)
        if not check:
            PICTURE.write_text(draw(tables))
    if stale:
        sys.stdout.write(f"{'stale' if check else 'rewritten'}: {', '.join(stale)}\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
