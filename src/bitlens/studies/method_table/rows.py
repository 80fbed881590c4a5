"""From runs and costs to one row a method and data set: means, spreads and paired intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bitlens.errors import BitlensError
from bitlens.methods import METHODS
from bitlens.models import FLOAT
from bitlens.report.statistics import PairedDifference, Summary, paired_difference, summarize

PLAIN_STE = "bnn"
"""The method all others are compared with: signs, nothing else, and the straight-through estimator."""

BUDGET = ("model", "epochs", "train_images", "eval_split", "device")
"""Columns of a run in which all runs of one data set must agree."""

MADE_WITH = ("threads", "cpu", "torch", "commit")
"""Columns of a run that tell what it was made with; several values are listed."""

Text = Mapping[str, str]
BySeed = dict[int, float]


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    """One method, or the float net, on one data set.

    Attributes:
        method: its name.
        plain: test accuracy by seed, as a fraction.
        cmim: the same with CMIM; empty for the float net.
        gain: with CMIM minus plain, over the seeds that have both; None where none has.
        against_bnn: plain minus plain `bnn` over common seeds; None for bnn itself, or where none is.
        costs: the row of costs.csv, None where nothing has been measured.
    """

    method: str
    plain: BySeed
    cmim: BySeed
    gain: PairedDifference | None
    against_bnn: PairedDifference | None
    costs: Text | None

    @property
    def accuracy(self) -> Summary | None:
        """Of the plain runs; None without any."""
        return summarize(self.plain.values()) if self.plain else None

    @property
    def accuracy_cmim(self) -> Summary | None:
        """Of the runs with CMIM; None without any."""
        return summarize(self.cmim.values()) if self.cmim else None

    def number(self, column: str) -> float | None:
        """A figure of `costs`; None where there is none."""
        cell = self.costs[column] if self.costs else ""
        return float(cell) if cell else None

    @property
    def smaller(self) -> float | None:
        """The float net's bytes by the packed file's."""
        float_bytes, file_bytes = self.number("float_bytes"), self.number("file_bytes")
        return float_bytes / file_bytes if float_bytes and file_bytes else None


@dataclass(frozen=True, kw_only=True)
class DataTable:
    """All rows of one data set, the float net first, and what their runs share."""

    data: str
    budget: Text
    rows: tuple[MethodRow, ...]

    @property
    def methods(self) -> tuple[MethodRow, ...]:
        """Rows of methods, without the float net."""
        return tuple(row for row in self.rows if row.method != FLOAT)


def aggregate(runs: Sequence[Text], costs: Sequence[Text]) -> dict[str, DataTable]:
    """One table a data set.

    Args:
        runs: rows as in comparison.csv: finished runs, plain (objective "none") and with CMIM.
        costs: rows as in costs.csv.

    Raises:
        BitlensError: two runs of one variant from one seed, runs of different budgets on one data set,
            or an objective that is neither.
    """
    tables = {}
    for data in dict.fromkeys(run["data"] for run in runs):
        own = [run for run in runs if run["data"] == data]
        accuracies = _accuracies(data, own)
        measured = {row["method"]: row for row in costs if row["data"] == data}
        tables[data] = DataTable(
            data=data,
            budget=_budget(data, own),
            rows=tuple(
                _row(method, accuracies, measured.get(method)) for method in _ordered(accuracies)
            ),
        )
    return tables


def objective_of(run: Text) -> str:
    """ "plain" or "cmim".

    Raises:
        BitlensError: the run's objective is another.
    """
    kinds = {"none": "plain", "cmim": "cmim"}
    if run["objective"] not in kinds:
        raise BitlensError(
            f"run {run['variant']} seed {run['seed']} on {run['data']}: objective "
            f"{run['objective']!r}; the method table holds plain runs and runs with CMIM"
        )
    return kinds[run["objective"]]


Accuracies = dict[str, dict[str, BySeed]]


def _accuracies(data: str, runs: Sequence[Text]) -> Accuracies:
    """Method -> "plain" or "cmim" -> seed -> test accuracy."""
    found: Accuracies = {}
    for run in runs:
        by_seed = found.setdefault(run["method"], {"plain": {}, "cmim": {}})[objective_of(run)]
        seed = int(run["seed"])
        if seed in by_seed:
            raise BitlensError(f"{data}: two runs of {run['variant']} from seed {seed}")
        by_seed[seed] = float(run["test_accuracy"])
    return found


def _budget(data: str, runs: Sequence[Text]) -> Text:
    for column in BUDGET:
        values = sorted({run[column] for run in runs})
        if len(values) > 1:
            raise BitlensError(
                f"{data}: runs of different budgets: {column} is {' and '.join(values)}; "
                "a table holds one"
            )
    return {
        column: ", ".join(sorted({run[column] for run in runs if run[column]}))
        for column in (*BUDGET, *MADE_WITH)
    }


def _ordered(accuracies: Accuracies) -> list[str]:
    """The float net, then methods as `METHODS` has them, then methods from elsewhere."""
    known = [FLOAT, *METHODS]
    return sorted(accuracies, key=lambda m: (known.index(m) if m in known else len(known), m))


def _row(method: str, accuracies: Accuracies, costs: Text | None) -> MethodRow:
    own = accuracies[method]
    reference = accuracies.get(PLAIN_STE, {}).get("plain", {})
    return MethodRow(
        method=method,
        plain=own["plain"],
        cmim=own["cmim"],
        gain=_paired(own["cmim"], own["plain"]),
        against_bnn=None if method == PLAIN_STE else _paired(own["plain"], reference),
        costs=costs,
    )


def _paired(a: BySeed, b: BySeed) -> PairedDifference | None:
    return paired_difference(a, b) if a.keys() & b.keys() else None
