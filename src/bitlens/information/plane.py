"""The information plane of a net in training: I(X;T) and I(T;Y) of every layer, step by step."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from bitlens.errors import BitlensError
from bitlens.information.calibrate import Sizes, moving_norms, settle
from bitlens.information.codes import Codes
from bitlens.information.collect import check_alone, check_shared, collect
from bitlens.information.layers import COMPILED, PREDICTION, choices, find_taps
from bitlens.information.probe import Probe, ProbeSource
from bitlens.information.reading import read_codes
from bitlens.information.steps import LogSteps, whole_number
from bitlens.information.undisturbed import undisturbed
from bitlens.objectives.gather import world

SCHEMA = 1
"""Version of plane.jsonl."""
CACHED = 2**20
"""Activations of the largest layer in one batch on a CPU: as many as stay in its caches."""
ON_DEVICE = 2**25
"""The same on an accelerator, whose memory they share with a training step."""
LARGEST_BATCH = 4096
USUAL = LogSteps()


class InformationPlane:
    """Measures a net at chosen steps of anyone's training loop, which it does not change by a bit.

    At each point batch-norm statistics are re-estimated on the probe (`calibrate.settle`), all layers'
    codes of the whole probe are taken in evaluation mode and read by `read_codes`; then weights,
    buffers, modes and random generators are as before. A norm in evaluation mode within a net in training
    mode is frozen and keeps its statistics. Under several processes each must make the same calls and
    hold the same whole probe; process 0 gets the rows, the others None.

    Args:
        model: the net; wrappers of DDP and torch.compile are looked through.
        probe: see `ProbeSource`. Always the same samples in the same order, in every process all of
            them.
        labels: (n,) integers, where `probe` is a tensor of inputs alone.
        steps: number of optimizer steps of the training; needed by a `LogSteps` schedule.
        layers: names or globs, see `find_taps`; the prediction is always measured too.
        schedule: `LogSteps`, or the steps themselves, in any order.
        population: the probe is the whole input space, each sample as likely as the others.
        seed: of the permutation test.
        batch_size: samples in a forward pass; by default so many that a layer fits into the cache.
        steps_per_epoch: turns steps into epochs; by default the whole training counts as one.
        split: the probe's name in the file.

    Raises:
        BitlensError: a probe or layers that cannot be read, a schedule without end, or numbers that are
            not whole or too small.

    Example:
        >>> plane = InformationPlane(net, (x, y), steps=1000)  # doctest: +SKIP
        >>> with plane.watch(optimizer):  # doctest: +SKIP
        ...     train(net, optimizer)
        >>> plane.save("plane.jsonl")  # doctest: +SKIP
    """

    def __init__(
        self,
        model: nn.Module,
        probe: ProbeSource,
        labels: torch.Tensor | None = None,
        *,
        steps: int | None = None,
        layers: str | Iterable[str] | None = None,
        schedule: LogSteps | Collection[int] = USUAL,
        population: bool = False,
        seed: int = 0,
        batch_size: int | None = None,
        steps_per_epoch: int | None = None,
        split: str = "probe",
    ) -> None:
        for name, value, least in (
            ("steps", steps, 0),
            ("batch_size", batch_size, 1),
            ("steps_per_epoch", steps_per_epoch, 1),
            ("seed", seed, 0),
        ):
            if value is not None:
                whole_number(f"plane: {name}", value, least=least)
        self.net = _unwrapped(model)
        self.device = next((p.device for p in self.net.parameters()), torch.device("cpu"))
        self.schedule = _scheduled(schedule, steps)
        self.population, self.seed, self.split = population, seed, split
        self.steps_per_epoch = steps_per_epoch or max(steps or self.schedule[-1], 1)
        self.rows: list[dict[str, Any]] = []
        """The measured points, ascending by step."""
        self._checked, self._last = False, -1
        # A DataLoader draws from torch's generator whenever it is iterated.
        with undisturbed(self.net):
            self.probe = Probe(probe, labels)
            example = self.probe.spread(min(8, self.probe.samples)).to(self.device)
            self.choices = choices(self.net(example), len(example))
            self.taps = find_taps(self.net, lambda: self.net(example), layers)
            sizes = Sizes.of(self.net, example)
            room = CACHED if self.device.type == "cpu" else ON_DEVICE
            settling = sizes.to_settle(self.probe.samples, 4 * room)
            self._calibration = self.probe.spread(settling) if settling else None
        self.batch_size = batch_size or min(max(room // sizes.activations, 16), LARGEST_BATCH)

    @property
    def layers(self) -> list[str]:
        """Names of the layers in the order of execution, the prediction last."""
        return [*(tap.name for tap in self.taps), PREDICTION]

    @property
    def header(self) -> dict[str, Any]:
        """The first line of plane.jsonl: the probe, the layers and how each is read."""
        return {
            "schema": SCHEMA,
            "probe": {
                "split": self.split,
                "samples": self.probe.samples,
                "digest": self.probe.digest,
                "classes": self.probe.classes,
            },
            "layers": self.layers,
            "readouts": {tap.name: tap.readout for tap in self.taps} | {PREDICTION: PREDICTION},
        }

    def step(self, step: int) -> dict[str, Any] | None:
        """Measure if `step`, the number of optimizer steps taken so far, is on the schedule.

        Returns:
            The row of a point that was measured now.
        """
        return self.measure(step) if step in self.schedule else None

    def measure(self, step: int) -> dict[str, Any] | None:
        """Measure now and keep the row, one line of plane.jsonl.

        Raises:
            BitlensError: NaN in a layer, a net whose code of a sample depends on other samples or on
                chance, a probe that is not what it was or differs between processes, or a step that is
                not after the last one.
        """
        step = whole_number("plane: step", step, least=0)
        if step <= self._last:
            raise self._descending(step)
        begun = time.perf_counter()
        try:
            codes = self._codes()
        except BitlensError as error:
            raise BitlensError(f"plane, step {step}: {error}") from error
        self._last = step
        if world()[0]:
            return None
        layers = {
            name: {"readout": readout, **self._reading(codes[name])}
            for name, readout in self.header["readouts"].items()
        }
        row = {
            "schema": SCHEMA,
            "step": step,
            "epoch": step / self.steps_per_epoch,
            "seconds": time.perf_counter() - begun,
            "layers": layers,
        }
        self.rows.append(row)
        return row

    def _descending(self, step: int) -> BitlensError:
        return BitlensError(
            f"plane: step {step} after step {self._last}; steps must ascend (a training that is taken up "
            f"again counts on from the steps it has taken: plane.watch(optimizer, done={self._last}))"
        )

    def _reading(self, codes: Codes) -> dict[str, Any]:
        reading = read_codes(codes, self.probe.labels, population=self.population, seed=self.seed)
        return reading.as_dict()

    def _codes(self) -> dict[str, Codes]:
        if not self._checked:
            check_shared(self.probe.digest)
        norms = moving_norms(self.net)
        with undisturbed(self.net):
            if self._calibration is not None:
                settle(self.net, self._calibration.to(self.device), norms)
            if not self._checked:
                batch = self.probe.spread(min(self.batch_size, self.probe.samples))
                check_alone(self.net, self.taps, batch.to(self.device))
                self._checked = True
            batches = self.probe.batches(self.batch_size)
            return collect(self.net, self.taps, batches, self.device, self.choices)

    @contextmanager
    def watch(
        self, optimizer: torch.optim.Optimizer, *, done: int = 0
    ) -> Generator[InformationPlane]:
        """Measure by itself whenever `optimizer` has taken a step that is on the schedule.

        Begins with step `done` (0, or where a resumed training stands), unless that is measured already,
        and, unless an exception ended the block, closes with the last step that was taken, on the
        schedule or not.

        Raises:
            BitlensError: `done` is no whole number or before the last step that was measured; later, as
                `measure`.
        """
        taken = whole_number("plane: done", done, least=0)
        if taken < self._last:
            raise self._descending(taken)
        if taken > self._last:
            self.step(taken)

        def count(*_: Any) -> None:
            nonlocal taken
            taken += 1
            if taken in self.schedule:
                self.measure(taken)

        handle = optimizer.register_step_post_hook(count)
        try:
            yield self
        finally:
            handle.remove()
        if taken != self._last:
            self.measure(taken)

    def save(self, path: str | Path) -> None:
        """Write header and rows as plane.jsonl, which `bitlens report` reads.

        Raises:
            BitlensError: the file cannot be written.
        """
        try:
            Path(path).write_text(
                "".join(json.dumps(line) + "\n" for line in (self.header, *self.rows))
            )
        except OSError as error:
            raise BitlensError(f"could not write {path}: {error.strerror}") from error


def _unwrapped(model: nn.Module) -> nn.Module:
    if isinstance(model, DistributedDataParallel | DataParallel):
        return _unwrapped(model.module)
    compiled = model._modules.get(COMPILED)
    return model if compiled is None else _unwrapped(compiled)


def _scheduled(schedule: LogSteps | Collection[int], steps: int | None) -> tuple[int, ...]:
    if not isinstance(schedule, LogSteps):
        wrong = BitlensError(
            f"plane: schedule={schedule!r}; give steps, 0 or more, as a list of whole numbers, or LogSteps"
        )
        # An iterator could be without end.
        if isinstance(schedule, Iterator | str) or not isinstance(schedule, Iterable):
            raise wrong
        try:
            chosen = {whole_number("schedule", step, least=0) for step in schedule}
        except BitlensError as error:
            raise wrong from error
        if not chosen:
            raise wrong
        return tuple(sorted(chosen))
    if steps is None:
        raise BitlensError(
            "plane: a logarithmic schedule needs steps=, the optimizer steps of the whole training; or "
            "give the steps to measure at as schedule="
        )
    return schedule.steps(steps)
