"""Settings of dense prediction. No torch here: recipes read this."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

from bitlens.errors import BitlensError, unknown

TASKS: dict[str, str] = {
    "classify": "one class per image",
    "segment": "one class per pixel",
    "depth": "the distance in metres of every pixel",
    "segment-depth": "both, from one net with two heads",
}


@dataclass(frozen=True, kw_only=True)
class DenseConfig:
    """Every choice of a dense task.

    Attributes:
        depth_loss: "l1" or "berhu" of the error in metres, "silog" of the error of logarithms.
        depth_weight: of the depth loss where a class is predicted too.
        balance: "fixed" adds the two losses with that weight; "uncertainty" learns a variance for each
            (Kendall et al., CVPR 2018).
        bottleneck: beta of a Gaussian information bottleneck behind the encoder; 0 builds none.
    """

    depth_loss: Literal["l1", "berhu", "silog"] = "l1"
    depth_weight: float = 1.0
    balance: Literal["fixed", "uncertainty"] = "fixed"
    bottleneck: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that no task can be built from."""
        for name, hint in get_type_hints(DenseConfig).items():
            value, choices = getattr(self, name), get_args(hint)
            if choices and value not in choices:
                raise unknown(name, str(value), choices)
        for name in ("depth_weight", "bottleneck"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BitlensError(
                    f"dense: {name}={getattr(self, name)}; it must be finite and not negative"
                )
