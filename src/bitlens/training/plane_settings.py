"""What `bitlens train --plane` measures. No torch here; not part of the recipe, as it changes no weight."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from bitlens.errors import BitlensError, unknown

SHARE = 0.25
"""Samples of all points together, as a share of the images that training sees: a sample is measured in
about half the time that training on one takes, so measuring adds about a tenth to a training of several
epochs."""
FEWEST = 2000
"""Samples that are measured in any case, where there are so many; a short training pays more for them."""


@dataclass(frozen=True, kw_only=True)
class PlaneSettings:
    """The information plane of a run.

    Attributes:
        samples: of the probe, at most; 0 takes as many as add about a tenth to the time of a training
            of several epochs, and at least 2,000, so that a shorter training pays more.
        points: of the logarithmic schedule, see `bitlens.information.steps.LogSteps`.
        layers: names or globs, a comma between them; empty takes every binary layer's code (in a
            float net every activation function's).
        split: where the samples come from: the training images (not augmented) or the test images.
    """

    samples: int = 0
    points: int = 70
    layers: str = ""
    split: Literal["train", "test"] = "train"

    def __post_init__(self) -> None:
        for name, low in (("samples", 0), ("points", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise BitlensError(f"plane: {name}={value!r}; it must be a whole number >= {low}")
        if not isinstance(self.layers, str):
            raise BitlensError(
                f"plane: layers={self.layers!r}; give names with commas between them"
            )
        if self.split not in ("train", "test"):
            raise unknown("plane split", str(self.split), ("train", "test"))

    def probe_size(self, available: int, *, seen: int, points: int) -> int:
        """Samples to measure of `available`, in a training that sees `seen` images.

        Args:
            available: images of the split.
            seen: images of all steps together.
            points: steps that are measured.
        """
        wanted = self.samples or max(FEWEST, round(SHARE * seen / points))
        return min(wanted, available)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Any, *, source: str) -> PlaneSettings:
        """Inverse of `to_json`.

        Raises:
            BitlensError: other fields or impossible values; names `source`.
        """
        if not isinstance(record, dict) or set(record) != set(asdict(cls())):
            raise BitlensError(f"{source}: 'settings' should hold {', '.join(asdict(cls()))}")
        try:
            return cls(**record)
        except BitlensError as error:
            raise BitlensError(f"{source}: {error}") from error
