"""When to measure: steps evenly spaced on a logarithmic axis.

Binary nets do most of their fitting within the first epoch, many within the first hundred steps, so
points at epochs miss it. On a logarithmic axis the beginning gets as many points as the end.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

from bitlens.errors import BitlensError


def whole_number(name: str, value: Any, *, least: int) -> int:
    """`value` as an int; numpy's integers are taken too.

    Raises:
        BitlensError: another kind of value, or one below `least`; names it after `name`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise BitlensError(f"{name}={value!r}; give a whole number, {least} or more")
    return number


@dataclass(frozen=True)
class LogSteps:
    """Step 0, and `points` steps from 1 to the last in geometric progression.

    Rounded to whole steps the first ones coincide, so there are fewer points than asked for: 70 on
    3,900 steps are 61, step 0 included.
    """

    points: int = 70

    def __post_init__(self) -> None:
        whole_number("LogSteps: points", self.points, least=1)

    def steps(self, last: int) -> tuple[int, ...]:
        """The distinct steps of a training with `last` optimizer steps, ascending, 0 and `last` in it.

        Raises:
            BitlensError: a training without steps, or with half ones.
        """
        last = whole_number("LogSteps: a training's steps", last, least=1)
        gaps = max(self.points - 1, 1)
        spaced = (round(math.exp(math.log(last) * (1 - k / gaps))) for k in range(self.points))
        return tuple(sorted({0, last, *spaced}))
