"""When to measure: steps evenly spaced on a logarithmic axis.

Binary nets do most of their fitting within the first epoch, many within the first hundred steps, so
points at epochs miss it. On a logarithmic axis the beginning gets as many points as the end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bitlens.errors import BitlensError


@dataclass(frozen=True)
class LogSteps:
    """Step 0, and `points` steps from 1 to the last in geometric progression.

    Rounded to whole steps the first ones coincide, so there are fewer points than asked for: 70 on
    3,900 steps are 61, step 0 included.
    """

    points: int = 70

    def __post_init__(self) -> None:
        if self.points < 1:
            raise BitlensError(f"LogSteps: points={self.points}; give at least 1, the last step")

    def steps(self, last: int) -> tuple[int, ...]:
        """The distinct steps of a training with `last` optimizer steps, ascending, 0 and `last` in it.

        Raises:
            BitlensError: a training without steps.
        """
        if last < 1:
            raise BitlensError(f"LogSteps: a training of {last} steps has nothing to measure")
        gaps = max(self.points - 1, 1)
        spaced = (round(math.exp(math.log(last) * (1 - k / gaps))) for k in range(self.points))
        return tuple(sorted({0, last, *spaced}))
