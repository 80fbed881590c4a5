"""How much of the study is run: smoke, short, full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from bitlens.errors import unknown
from bitlens.studies.information_plane.kinds import KINDS, SURROGATES
from bitlens.studies.information_plane.trial import Trial

WIDE, NARROW = (64, 16, 12, 8, 6), (10, 7, 5, 4, 3)
HIDDEN: dict[str, tuple[int, ...]] = {
    "digits": (64, 12, 8, 7, 6),
    "fashion-mnist": (128, 12, 10, 8),
    "cifar10": (128, 11, 10, 8),
}
PHOTO_KINDS = ("dnn-tanh", "w32a32-bn", "bnn-ste")
LITERATURE = (1024, 20, 20, 20)
TIERS = {
    "smoke": "the rule, tanh and sign nets, 2 seeds, 100 epochs: a minute",
    "short": "the rule and digits, all kinds, 5 seeds: ten minutes",
    "full": "all tasks and kinds, up to 10 seeds, and 406 binary nets of many shapes: hours",
}


def trials(tier: str) -> list[Trial]:
    """The trials of `tier`; those that the first claims rest on come first.

    Raises:
        BitlensError: no such tier.
    """
    if tier not in TIERS:
        raise unknown("tier", tier, TIERS)
    if tier == "smoke":
        return [trial("rule", WIDE, kind, 2, epochs=100) for kind in ("dnn-tanh", "bnn-ste")]
    seeds = 5 if tier == "short" else 10
    plain = [kind.name for kind in KINDS.values() if not kind.cmim]
    rule = [trial("rule", WIDE, kind, seeds) for kind in KINDS]
    rule += [trial("rule", NARROW, kind, seeds) for kind in plain]
    digits = [trial("digits", HIDDEN["digits"], kind, seeds) for kind in KINDS]
    if tier == "short":
        return rule + digits
    fashion = [trial("fashion-mnist", HIDDEN["fashion-mnist"], kind, 5) for kind in KINDS]
    photos = [trial("cifar10", HIDDEN["cifar10"], kind, 3) for kind in PHOTO_KINDS]
    wide = [trial("fashion-mnist", LITERATURE, kind, 1) for kind in ("dnn-tanh", "bnn-ste")]
    return [*rule, *digits, *fashion, *population(), *photos, *wide]


def trial(
    task: str,
    hidden: Sequence[int],
    kind: str,
    seeds: int,
    *,
    epochs: int | None = None,
    weight_decay: float = 0.0,
    first: int = 0,
    matched: bool = True,
) -> Trial:
    """A trial with the study's settings for its task and kind."""
    if task == "rule":
        lr, batch, usual = 4e-3, 256, 400
    else:
        usual = 200 if task == "digits" else 30
        lr, batch = (1e-3 if _real(kind) else 2e-3), 128
    return Trial(
        task=task,
        hidden=tuple(hidden),
        kind=kind,
        seeds=tuple(range(first, first + seeds)),
        epochs=epochs or usual,
        batch=batch,
        lr=lr,
        weight_decay=weight_decay,
        matched=matched,
    )


def _real(kind: str) -> bool:
    return KINDS[kind].weights == "float" and KINDS[kind].activation != "sign"


def population() -> Iterator[Trial]:
    """Binary nets of many shapes, surrogates and decays, for compression against generalisation.

    108 on the rule, 108 on digits and 81 on the small Fashion-MNIST, seeds 100 to 102; the rest of the
    study adds 109.
    """
    shapes = {
        "rule": (WIDE, NARROW, (32, 12, 8, 6), (16, 8, 8, 8)),
        "digits": (HIDDEN["digits"], (32, 10, 8, 7), (128, 9, 8, 7), (16, 8, 8, 8)),
        "fashion-mnist-mini": ((64, 9, 8, 7), (128, 9, 8, 7), (32, 9, 9, 9)),
    }
    for task, hidden in shapes.items():
        for shape, kind, decay in product(hidden, SURROGATES, (0.0, 0.1, 1.0)):
            yield trial(task, shape, kind, 3, weight_decay=decay, first=100, matched=False)
