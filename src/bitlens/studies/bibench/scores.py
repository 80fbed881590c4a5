"""From pairs of nets and their rows to one score per variant and track, over seeds."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from bitlens.errors import BitlensError
from bitlens.report.statistics import summarize
from bitlens.studies.bibench import tracks
from bitlens.studies.bibench.evidence import Evidence, common_seeds, corruption_ratios, task_names
from bitlens.studies.bibench.score_names import SCORES
from bitlens.studies.bibench.twins import Pair, Trained


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number about one variant; a ratio to the float twin.

    Attributes:
        variant, method, objective: of the runs.
        track: of BiBench's six.
        score: its name, a key of `score_names.SCORES`.
        mean: over seeds, or the value itself where seeds play no part.
        sd: sample deviation over seeds; None for one seed or none.
        n: seeds; 0 where they play no part.
        over: what it was measured on.
    """

    variant: str
    method: str
    objective: str
    track: str
    score: str
    mean: float
    sd: float | None
    n: int
    over: str


def score(evidence: Evidence) -> list[Score]:
    """Every score that the evidence allows, variant by variant."""
    variants = dict.fromkeys(pair.variant for pair in evidence.pairs)
    judged = (
        _Judged(evidence, [pair for pair in evidence.pairs if pair.variant == variant])
        for variant in variants
    )
    return [one for variant in judged for one in variant.scores()]


class _Judged:
    """One variant: its pairs, all of them and by seed."""

    def __init__(self, evidence: Evidence, pairs: Sequence[Pair]) -> None:
        self.evidence, self.pairs = evidence, pairs
        self.cells = list({pair.cell: pair for pair in pairs}.values())
        self.by_seed = [[p for p in pairs if p.seed == seed] for seed in common_seeds(pairs)]

    def scores(self) -> Iterator[Score]:
        """All scores, in the order of `SCORES`."""
        yield from self._accuracies()
        yield from self._training()
        yield from self._complexity()
        yield from self._hardware()

    def _accuracies(self) -> Iterator[Score]:
        names = task_names(pair.cell.task for pair in self.pairs)
        nets = _joined(pair.cell.model for pair in self.pairs)
        tasks = [tracks.learning(_ratios(own, _task)) for own in self.by_seed]
        yield from self._made("OM_task", tasks, ", ".join(names.values()))
        if "," in nets:
            arches = [tracks.architecture(_ratios(own, _net)) for own in self.by_seed]
            yield from self._made("OM_arch", arches, nets)
        over = ", ".join(
            f"{self.evidence.images[task]:,} images of {name}" for task, name in names.items()
        )
        for name, clean in (("OM_corr", False), ("OM_corr_clean", True)):
            found = [
                tracks.robustness(corruption_ratios(self.evidence, own, clean=clean))
                for own in self.by_seed
            ]
            yield from self._made(name, found, over)

    def _training(self) -> Iterator[Score]:
        paired = [self._timed(pair) is not None for pair in self.pairs]
        over = "step times of the runs"
        if any(paired):
            over = "steps timed side by side" + ("" if all(paired) else f", else {over}")
        times = [_mean(self._timed(p) or _time(p) for p in own) for own in self.by_seed]
        spreads = [_sensitivity(own) for own in self.by_seed]
        both = [
            None if time is None else tracks.joined(time, spread)
            for time, spread in zip(times, spreads, strict=True)
        ]
        settings = len({pair.cell.setting for pair in self.pairs})
        alone = all(spread is None for spread in spreads)
        yield from self._made("T_ratio", times, over, seeded=not all(paired))
        yield from self._made("std_ratio", spreads, f"{settings} settings")
        over += "; the time alone" if alone else f"; {settings} settings"
        yield from self._made("OM_train", both, over, seeded=not (alone and all(paired)))

    def _complexity(self) -> Iterator[Score]:
        sizes, operations = [], []
        for pair in self.cells:
            binary, real = (
                self.evidence.complexity[net.digest] for net in (pair.binary, pair.twin)
            )
            sizes.append(
                tracks.size_ratio(
                    parameters_fp=real.parameters,
                    parameters_bin=binary.parameters,
                    binary=binary.binary,
                )
            )
            operations.append(
                tracks.operation_ratio(ops_fp=real.ops, flops_rest=binary.flops, bops=binary.bops)
            )
        over = _joined(pair.cell.model for pair in self.pairs)
        yield from self._both("r_ops", operations, "r_size", sizes, "OM_comp", over)

    def _hardware(self) -> Iterator[Score]:
        costs = [cost for pair in self.cells if (cost := self.evidence.cost(pair)) is not None]
        times = [cost.latency for cost in costs if cost.latency is not None]
        files = [cost.file for cost in costs if cost.file is not None]
        if times and files:
            plain = self.pairs[0].binary.recipe.objective == "none"
            over = f"packed nets{'' if plain else ' of the plain runs'}, one image on one thread"
            yield from self._both("r_t", times, "r_s", files, "OM_hw", over)

    def _both(
        self, a: str, first: Sequence[float], b: str, second: Sequence[float], whole: str, over: str
    ) -> Iterator[Score]:
        """Two means and what joins them, none of which depends on the seed."""
        x, y = tracks.mean(first), tracks.mean(second)
        for name, value in ((a, x), (b, y), (whole, tracks.joined(x, y))):
            yield from self._made(name, [value], over, seeded=False)

    def _made(
        self, name: str, values: Sequence[float | None], over: str, *, seeded: bool = True
    ) -> Iterator[Score]:
        known = [value for value in values if value is not None]
        if not known:
            return
        told = summarize(known)
        recipe = self.pairs[0].binary.recipe
        yield Score(
            variant=self.pairs[0].variant,
            method=recipe.method,
            objective=recipe.objective,
            track=SCORES[name][0],
            score=name,
            mean=told.mean,
            sd=told.sd if seeded else None,
            n=told.n if seeded else 0,
            over=over,
        )

    def _timed(self, pair: Pair) -> float | None:
        cost = self.evidence.cost(pair)
        return None if cost is None else cost.step.get(pair.binary.recipe.objective)


def _task(pair: Pair) -> Hashable:
    return pair.cell.task


def _net(pair: Pair) -> Hashable:
    return pair.cell.model


def _ratios(
    pairs: Sequence[Pair], group: Callable[[Pair], Hashable]
) -> dict[Hashable, list[float]]:
    """A_bin / A_fp on all test images, in groups."""
    ratios: dict[Hashable, list[float]] = {}
    for pair in pairs:
        ratios.setdefault(group(pair), []).append(_tested(pair.binary) / _tested(pair.twin))
    return ratios


def _sensitivity(pairs: Sequence[Pair]) -> float | None:
    """Mean over data sets and nets that were trained in several settings; None where none was."""
    groups: dict[Hashable, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.cell.task, pair.cell.model), []).append(pair)
    return _mean(
        tracks.sensitivity([_tested(p.binary) for p in own], [_tested(p.twin) for p in own])
        for own in groups.values()
        if len(own) > 1
    )


def _tested(net: Trained) -> float:
    found = net.run.test_accuracy
    if not found:
        raise BitlensError(f"{net.run.path}: no test accuracy above zero to compare")
    return found


def _time(pair: Pair) -> float | None:
    own, real = pair.binary.run.measured("step_ms"), pair.twin.run.measured("step_ms")
    return real / own if own and real else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return tracks.mean(known) if known else None


def _joined(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))
