"""The metrics of dense tasks as tables and pictures write them; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from bitlens.report.quantities import ABSENT


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a metric is written.

    Attributes:
        title: as tables name it, with its unit.
        unit: of differences; "points" are hundredths of a share.
        digits: decimals that are shown.
        error: whether less is better.
    """

    title: str
    unit: str
    digits: int
    error: bool = False

    @property
    def scale(self) -> int:
        """What stored values are multiplied with to be shown."""
        return 100 if self.unit == "points" else 1

    def written(self, value: float | None, *, signed: bool = False) -> str:
        """A stored value, or a difference of two, as it is shown; a dash where there is none."""
        if value is None:
            return ABSENT
        text = f"{self.scale * value:{'+' if signed else ''}.{self.digits}f}"
        return text[1:] if signed and float(text) == 0 else text

    def better(self, a: float, b: float) -> float:
        """How much better a is than b, in stored units; negative where it is worse."""
        return b - a if self.error else a - b


METRICS: dict[str, Metric] = {
    "miou": Metric(title="mIoU, %", unit="points", digits=2),
    "pixel_accuracy": Metric(title="pixel accuracy, %", unit="points", digits=2),
    "class_accuracy": Metric(title="class accuracy, %", unit="points", digits=2),
    "rmse": Metric(title="RMSE, m", unit="m", digits=3, error=True),
    "abs_rel": Metric(title="absRel", unit="", digits=3, error=True),
    "log10": Metric(title="log10", unit="", digits=4, error=True),
    "delta1": Metric(title="δ < 1.25, %", unit="points", digits=2),
    "delta2": Metric(title="δ < 1.25², %", unit="points", digits=2),
    "delta3": Metric(title="δ < 1.25³, %", unit="points", digits=2),
}
"""In the order of tables."""

HEADLINES = ("miou", "delta1")
"""One a head: what claims are made about. The others are shown beside them."""

TASK_TITLES = {
    "segment": "Segmentation",
    "depth": "Depth",
    "segment-depth": "Segmentation and depth from one net",
}
