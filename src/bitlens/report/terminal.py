"""Tables for the terminal: the layers of a net, the variants of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bitlens.report.progress import Progress
from bitlens.report.quantities import ABSENT, amount, duration, percent, plural, ratio, size, total
from bitlens.report.runs import Comparison
from bitlens.report.standings import Standing, provenance, standings
from bitlens.report.statistics import Summary, spell

__all__ = ["Progress", "comparison_table", "layer_table", "plane_line"]


def layer_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Every layer with its bits, the reason, MACs and bytes, and the totals below.

    Args:
        rows: the content of layers.json.
    """
    latent = sum(row["bytes_latent"] for row in rows)
    packed = sum(row["bytes_packed"] for row in rows)
    binary = sum(row["bits"] == 1 for row in rows)
    # Neither vertical rules nor wide gaps: the table of a ResNet fits 80 columns.
    table = Table(
        title=f"{binary} of {plural(len(rows), 'layer')} in 1 bit",
        show_footer=True,
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("layer", "total", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("bits", no_wrap=True)
    table.add_column("why")
    macs = amount(total(row.get("macs") for row in rows))
    table.add_column("MACs", macs, justify="right", no_wrap=True)
    table.add_column("latent", size(latent), justify="right", no_wrap=True)
    table.add_column("packed", size(packed), justify="right", no_wrap=True)
    table.add_column("ratio", ratio(latent, packed), justify="right", no_wrap=True)
    for row in rows:
        one_bit = row["bits"] == 1
        table.add_row(
            Text(row["name"]),
            Text(row["kind"]),
            Text("1-bit", style="bold green") if one_bit else Text("float", style="yellow"),
            Text(row["why"]),
            amount(row.get("macs")),
            size(row["bytes_latent"]),
            size(row["bytes_packed"]),
            ratio(row["bytes_latent"], row["bytes_packed"]),
        )
    return table


def comparison_table(comparison: Comparison) -> Table:
    """One row per variant: accuracy, paired difference with its interval, time, unfinished runs."""
    table = Table(
        title=Text(f"compared with {comparison.baseline}"),
        caption=Text(provenance(*comparison.variants.values())),
    )
    table.add_column("variant", no_wrap=True)
    table.add_column("n", justify="right")
    table.add_column(f"test {comparison.metric}", justify="right", no_wrap=True)
    table.add_column("difference, 95 % CI (points)", justify="right")
    table.add_column("time per run", justify="right", no_wrap=True)
    table.add_column("unfinished", justify="right")
    for standing in standings(comparison):
        runs = comparison.variants[standing.variant]
        waiting = sum(not run.complete for run in runs) + len(comparison.absent[standing.variant])
        table.add_row(
            Text(standing.variant),
            str(standing.accuracy.n if standing.accuracy else 0),
            spread(standing.accuracy),
            Text(difference_text(standing, comparison.baseline)),
            duration(standing.seconds.mean if standing.seconds else None),
            str(waiting) if waiting else ABSENT,
        )
    return table


def spread(accuracy: Summary | None) -> str:
    """Mean and standard deviation of accuracies as percent: "81.23 ± 0.41 %"."""
    if accuracy is None:
        return ABSENT
    if accuracy.sd is None:
        return percent(accuracy.mean)
    return f"{100 * accuracy.mean:.2f} ± {percent(accuracy.sd)}"


def difference_text(standing: Standing, baseline: str) -> str:
    """The paired difference as one cell: "+0.66 (+0.12 .. +1.20)"."""
    if standing.variant == baseline:
        return "baseline"
    if standing.difference is None:
        return "no common seed"
    mean, low, high = spell(standing.difference)
    return f"{mean} (no interval)" if low == ABSENT else f"{mean} ({low} .. {high})"


def plane_line(row: Mapping[str, Any]) -> str:
    """One measured step of the information plane: "plane @120  l2 9.1/2.20  l3 2.9/1.63 bits".

    Each layer with I(X;T) / I(T;Y) on the probe's samples, and its flag where they say nothing about
    the net ("saturated") or too little about the data's distribution ("unreliable").

    Args:
        row: one row of plane.jsonl, not its first line.
    """
    parts = [f"plane @{row['step']}"]
    for layer, reading in row["layers"].items():
        part = f"{layer} {reading['entropy']:.1f}/{reading['information']:.2f}"
        if reading["flag"] in ("saturated", "unreliable"):
            part += f" ({reading['flag']})"
        parts.append(part)
    return "  ".join(parts) + " bits"
