"""The findings for a terminal: every net beside the best constant."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bitlens.report.quantities import ABSENT
from bitlens.studies.dense.findings import Finding
from bitlens.studies.dense.metrics import METRICS
from bitlens.studies.dense.page import headlines


def finding_table(findings: Sequence[Finding]) -> Table:
    """One line a variant and headline metric: mean, distance to the best constant, what CMIM adds."""
    made = Table(title="On the test split", box=SIMPLE_HEAD, title_justify="left")
    for name in ("task", "metric", "variant"):
        made.add_column(name, no_wrap=True)
    for name in ("n", "mean", "constant", "better by", "of float", "CMIM adds", "verdict"):
        made.add_column(name, justify="right", no_wrap=True)
    for one in headlines(findings):
        metric = METRICS[one.metric]
        share = ABSENT if one.share.mean is None else f"{100 * one.share.mean:.1f} %"
        made.add_row(
            one.task,
            metric.title,
            Text(one.variant),
            str(one.n),
            metric.written(one.mean),
            metric.written(one.constant),
            metric.written(one.above, signed=True),
            share,
            metric.written(one.gain.mean, signed=True),
            one.verdict or ABSENT,
        )
    return made
