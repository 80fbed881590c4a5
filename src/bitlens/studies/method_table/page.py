"""The method table as Markdown: both halves of one data set, a short form of all, published figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from bitlens.models import FLOAT
from bitlens.report.quantities import ABSENT, plural
from bitlens.report.statistics import PairedDifference, Summary, spell
from bitlens.studies.method_table.published import IMAGENET, PUBLISHED, Published, published
from bitlens.studies.method_table.rows import PLAIN_STE, DataTable, MethodRow

PEERS = {"torch": "torch", "onnxruntime": "ONNX Runtime"}
"""Engines that run the float twin, as they are called on the page."""

Tables = Mapping[str, DataTable]


def full_page(table: DataTable) -> str:
    """Both tables of one data set with what was measured and what the intervals allow."""
    parts = [
        setting(table),
        accuracy_table(table),
        outcome(table),
        cost_table(table),
        *_notes(table.rows),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def short_page(tables: Tables) -> str:
    """One table of all data sets; size, step and latency are of the one with the most costs known."""
    costed = max(
        tables.values(), key=lambda table: sum(row.costs is not None for row in table.rows)
    )
    head = ["method"]
    for data in tables:
        head += [f"{data}, %", "CMIM adds, points (95 % CI)"]
    head += ["step, float = 1", "file, bytes", "latency, ms of processor time"]
    names = dict.fromkeys(row.method for table in tables.values() for row in table.rows)
    rows = [_short_row(name, tables, costed) for name in names]
    about = [setting(table) for table in tables.values()]
    lines = [outcome(table) for table in tables.values()]
    shown = (
        f"Step, file and latency: {costed.data}. In brackets: how many times smaller than the float net, "
        "and faster than the float twin in its faster engine."
    )
    return "\n\n".join([*about, _markdown(head, rows), shown, *filter(None, lines)]) + "\n"


def figures_page() -> str:
    """The published figures: method, data set, net, top-1, where it was read."""
    head = ["method", "data set", "net and top-1, %", "read in"]
    rows = [
        [f"`{method}`", data, _figures(list(found)), source]
        for (method, data, source), found in groupby(
            PUBLISHED, lambda p: (p.method, p.data, p.source)
        )
    ]
    return _markdown(head, rows) + "\n"


def setting(table: DataTable) -> str:
    """What all runs of a table share, in one line."""
    shared = table.budget
    return (
        f"{table.data}: {shared['model']}, {plural(int(shared['epochs']), 'epoch')} of "
        f"{int(shared['train_images']):,} images, {shared['eval_split']} split, {shared['threads']} "
        f"thread of {shared['cpu']}, device {shared['device']}, torch {shared['torch']}, bitlens at "
        f"{shared['commit'] or 'an unknown commit'}"
    )


def outcome(table: DataTable) -> str:
    """How many methods gain and lose by CMIM, and against plain signs, as far as intervals tell."""
    sentences = []
    for what, found in (
        ("With CMIM", [row.gain for row in table.methods]),
        (f"Against `{PLAIN_STE}`", [row.against_bnn for row in table.methods]),
    ):
        judged = [d for d in found if d is not None and d.low is not None and d.high is not None]
        if not judged:
            continue
        better = sum(d.low > 0 for d in judged if d.low is not None)
        worse = sum(d.high < 0 for d in judged if d.high is not None)
        sentences.append(
            f"{what} {better} of {plural(len(judged), 'method')} on {table.data} are better, {worse} "
            f"worse, and {len(judged) - better - worse} show no difference"
        )
    return ". ".join(sentences) + "." if sentences else ""


def accuracy_table(table: DataTable) -> str:
    """Accuracy of every method, the gain from CMIM, the distance to plain signs, published figures."""
    head = ["method", "n", "accuracy, %", "with CMIM, %", "CMIM adds, points (95 % CI)"]
    head += [f"minus {PLAIN_STE}, points (95 % CI)"]
    known = any(figure.data == table.data for figure in PUBLISHED)
    rows = []
    for row in table.rows:
        cells = [_name(row), _counts(row), accuracy(row.accuracy), accuracy(row.accuracy_cmim)]
        shown = len(row.plain)
        cells += [difference(row.gain, shown), difference(row.against_bnn, shown)]
        rows.append([*cells, _published_cell(row.method, table.data)] if known else cells)
    return _markdown([*head, "published, %"] if known else head, rows)


def cost_table(table: DataTable) -> str:
    """Training step, packed file and latency of every method; empty where nothing was measured."""
    measured = [row for row in table.methods if row.costs is not None]
    if not measured:
        return ""
    peers = [peer for peer in PEERS if any(row.number(f"{peer}_ratio") for row in measured)]
    head = ["method", "step, float = 1 (95 % CI)", "step with CMIM, float = 1 (95 % CI)"]
    head += ["deploys", "file, bytes"]
    head += ["smaller than float", "latency, ms of processor time"]
    head += [f"float twin in {PEERS[peer]}, times slower (95 % CI)" for peer in peers]
    rows = []
    for row in measured:
        cells = row.costs or {}
        rows.append(
            [
                _name(row),
                _ratio(row, "step"),
                _ratio(row, "cmim_step"),
                cells["deploy"],
                _whole(row.number("file_bytes")),
                _times(row.smaller),
                _milliseconds(row),
                *(_ratio(row, peer) for peer in peers),
            ]
        )
    return _markdown(head, rows) + "\n\n" + _measured(measured)


def accuracy(found: Summary | None) -> str:
    """Mean and standard deviation in percent: "81.23 ± 0.41"."""
    if found is None:
        return ABSENT
    spread = "" if found.sd is None else f" ± {100 * found.sd:.2f}"
    return f"{100 * found.mean:.2f}{spread}"


def difference(found: PairedDifference | None, shown: int | None = None) -> str:
    """Mean and interval in points: "+0.66 (+0.12 .. +1.20)", with n where it is not the one `shown`."""
    if found is None:
        return ABSENT
    mean, low, high = spell(found)
    if low == ABSENT:
        return f"{mean} (n = {found.n})"
    few = "" if shown in (None, found.n) else f", n = {found.n}"
    return f"{mean} ({low} .. {high}{few})"


def _short_row(method: str, tables: Tables, costed: DataTable) -> list[str]:
    cells = [f"`{method}`"]
    found = {data: _find(table, method) for data, table in tables.items()}
    for row in found.values():
        cells += _short_accuracy(row)
    own = found[costed.data]
    if own is None:
        return [*cells, ABSENT, ABSENT, ABSENT]
    step, size, smaller = own.number("step_ratio"), own.number("file_bytes"), own.smaller
    faster = [r for peer in PEERS if (r := own.number(f"{peer}_ratio")) is not None]
    if method == FLOAT:
        sizes = dict.fromkeys(
            _whole(row.number("float_bytes")) for row in costed.methods if row.costs
        )
        return [*cells, "1", ", ".join(sizes) or ABSENT, ABSENT]
    cells.append(f"{step:.2f}" if step else ABSENT)
    cells.append(f"{size:,.0f} ({_times(smaller)})" if size else _why_not(own))
    cells.append(f"{_milliseconds(own)} ({_times(min(faster))})" if faster else _why_not(own))
    return cells


def _short_accuracy(row: MethodRow | None) -> list[str]:
    if row is None:
        return [ABSENT, ABSENT]
    return [accuracy(row.accuracy), difference(row.gain, len(row.plain))]


def _find(table: DataTable, method: str) -> MethodRow | None:
    return next((row for row in table.rows if row.method == method), None)


def _why_not(row: MethodRow) -> str:
    """What stands in place of a figure of the packed net."""
    return "runtime" if row.costs and row.costs["deploy"] == "runtime" else ABSENT


def _name(row: MethodRow) -> str:
    return f"`{row.method}`"


def _counts(row: MethodRow) -> str:
    counts = [len(row.plain), len(row.cmim)] if row.method != FLOAT else [len(row.plain)]
    return " / ".join(map(str, dict.fromkeys(counts)))


def _published_cell(method: str, data: str) -> str:
    """On this data set; for a method without a figure there, on ImageNet, by name."""
    if own := published(method, data):
        return _figures(own)
    elsewhere = published(method, IMAGENET)
    return f"on ImageNet: {_figures(elsewhere)}" if elsewhere else ABSENT


def _figures(found: Sequence[Published]) -> str:
    return "; ".join(f"{p.net} {p.top1}" for p in found)


def _ratio(row: MethodRow, name: str) -> str:
    ratio, low, high = (row.number(f"{name}_{part}") for part in ("ratio", "low", "high"))
    return ABSENT if ratio is None else f"{ratio:.2f} ({low:.2f} .. {high:.2f})"


def _whole(value: float | None) -> str:
    return ABSENT if value is None else f"{value:,.0f}"


def _times(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1f}x"


def _milliseconds(row: MethodRow) -> str:
    value = row.number("packed_ms")
    return ABSENT if value is None else f"{value:.3f}"


def _measured(rows: Sequence[MethodRow]) -> str:
    """Where and how the costs were taken, as their rows tell."""

    def all_of(column: str) -> str:
        return ", ".join(
            dict.fromkeys(cell for row in rows if row.costs and (cell := row.costs[column]))
        )

    floats = ", ".join(dict.fromkeys(_whole(row.number("float_bytes")) for row in rows))
    loads = [load for row in rows if (load := row.number("load")) is not None]
    busy = f"; load average {min(loads):.1f} to {max(loads):.1f}" if loads else ""
    return (
        f"The float net has {floats} bytes in float32. Processor time of one thread of {all_of('cpu')}, "
        f"packed kernels {all_of('kernel') or ABSENT}, torch {all_of('torch')}, ONNX Runtime "
        f"{all_of('onnxruntime') or ABSENT}; medians over {all_of('step_rounds')} and "
        f"{all_of('rounds') or ABSENT} rounds of one process, which the intervals cover and nothing else"
        f"{busy}; bitlens at {all_of('commit') or 'an unknown commit'}."
    )


def _notes(rows: Iterable[MethodRow]) -> list[str]:
    """Why a method has no packed file."""
    reasons = [
        f"`{row.method}` is not packed: {row.costs['why_runtime']}."
        for row in rows
        if row.costs and row.costs["deploy"] == "runtime"
    ]
    return [" ".join(reasons)] if reasons else []


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)
