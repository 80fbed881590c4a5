"""Run a method against every clause of the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from bitlens.errors import BitlensError
from bitlens.methods.contract import Method
from bitlens.models.conformance import gradients, state, values
from bitlens.models.conformance.specimen import KINDS, Kind, Specimen

CLAUSES: dict[str, Callable[[Specimen], None]] = {
    "declared": values.declared,
    "weight signs": values.weight_signs,
    "two views": values.two_views,
    "codes": values.activation_codes,
    "nan": values.nan_stays,
    "shapes": values.shapes,
    "two modes": values.two_modes,
    "negative scales": values.negative_scales,
    "static or runtime": values.static_or_runtime,
    "gradients": gradients.alive,
    "zeros": gradients.at_zero,
    "vmap": gradients.per_image,
    "deterministic": state.deterministic,
    "pure forward": state.forward_is_pure,
    "hooks": state.hooks_stay_finite,
    "saved": state.saved_and_loaded,
    "resumed": state.resumed,
    "copied": state.copied,
}
"""Every clause by its short name; the first line of its docstring is the promise."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one clause found in one kind of layer.

    Attributes:
        clause: its short name.
        kind: of layer.
        promise: the clause in one sentence.
        error: what breaks it, with value and shape; None where it holds.
        refused: the method refuses this kind of layer, for the reason in `error`, which it may.
    """

    clause: str
    kind: Kind
    promise: str
    error: BitlensError | None
    refused: bool = False


def promise(clause: str) -> str:
    """The clause in one sentence."""
    text = CLAUSES[clause].__doc__
    assert text is not None
    return text.splitlines()[0].strip()


def examine(clause: str, specimen: Specimen) -> None:
    """Run one clause.

    Raises:
        BitlensError: it does not hold; names the clause, the kind of layer, the value and the shape.
    """
    where = f"{clause}, {specimen.kind}"
    try:
        CLAUSES[clause](specimen)
    except BitlensError as error:
        raise BitlensError(f"{where}: {error}") from error
    except Exception as error:  # a stranger's code may fail in any way
        raise BitlensError(f"{where}: {type(error).__name__}: {error}") from error


def check(method: Method, name: str) -> Iterator[Outcome]:
    """Run `method` against every clause, in a convolution and in a linear layer.

    Args:
        method: the method to examine.
        name: what to call it in messages, such as `my.module:METHOD`.

    Yields:
        One outcome per clause and kind of layer, clause by clause in the order of `CLAUSES`; first, for
        a kind of layer that the method refuses, one alone.
    """
    served = []
    for kind in KINDS:
        specimen = Specimen(method=method, name=name, kind=kind)
        if (refusal := _refusal(specimen)) is None:
            served.append(specimen)
        else:
            said = f"A {kind} layer of even channel counts is served."
            yield Outcome(clause="served", kind=kind, promise=said, error=refusal, refused=True)
    for clause in CLAUSES:
        for specimen in served:
            error = None
            try:
                examine(clause, specimen)
            except BitlensError as found:
                error = found
            yield Outcome(clause=clause, kind=specimen.kind, promise=promise(clause), error=error)


def _refusal(specimen: Specimen) -> BitlensError | None:
    """Why the method's factories refuse the layer; failures of another kind are left to the clauses."""
    try:
        with torch.random.fork_rng(devices=[]):
            specimen.layer()
    except BitlensError as error:
        return error
    except Exception:  # it comes again, and is told, in the first clause
        return None
    return None
