"""One row of what the study says, and the ten claims in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the runs say about one claim on one task.

    Attributes:
        claim: "C1" to "C10".
        statement: the claim, in words.
        task: where it was tested; shape of the net where it matters.
        about: layer, kinds or read-out the row is about.
        n: runs or paths behind it.
        statistic: what was computed, named.
        value: its value.
        low: lower end of the 95 % interval, None where there is none.
        high: its upper end.
        p: p-value, adjusted by Holm's method over the rows of one task and shape; None without a test.
        verdict: "holds", "fails" or "undecided"; for what is only reported, what was seen.
        note: why undecided, or what to know.
    """

    claim: str
    statement: str
    task: str
    about: str
    n: int
    statistic: str
    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    verdict: str
    note: str = ""


STATEMENTS = {
    "C1": "A tanh net without norm fits and compresses separately: O < .2 and rho > 0",
    "C2": "A binary net fits and compresses at once: O > .2 and rho < 0",
    "C3": "rho of the binary net is below that of the tanh net",
    "C4": "The three surrogates agree: O within .2 of each other, same sign of rho",
    "C5": "Read by signs, with norm, all four weight and activation cells have rho < 0",
    "C6": "What decides is how spread out the code is at step 0",
    "C7": "Compression late in training is frequent",
    "C8": "Compressed codes do not consistently generalise better",
    "C9": "A layer of 1,024 units is saturated at step 0, whatever the labels",
    "C10": "A binary net too narrow to fit may show no overlap, but rho stays below 0",
}
