"""One pass of a net over the probe: every layer's codes, from all processes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from bitlens.errors import BitlensError
from bitlens.information.codes import CodeAccumulator, Codes, hash_rows, pack_rows
from bitlens.information.layers import PREDICTION, Tap, decisions, listening
from bitlens.objectives.gather import world

HASHED_AT_ONCE = 2048
"""Rows that are hashed together: on a CPU a few cost as much as a thousand."""
SAME = 1e-3
"""Relative difference that rounding may make between two batch sizes; a shift of statistics makes more."""
ALONE = 8
"""Samples that are looked at alone and within a batch."""


def collect(
    net: nn.Module,
    taps: list[Tap],
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
    choices: int,
) -> dict[str, Codes]:
    """Codes of every tap and of the prediction, in the order of execution, over all `batches`.

    Several processes take the batches in turns (whole ones, so that rounding does not depend on the
    number of processes) and exchange the codes, 8 bytes a sample and layer.

    Raises:
        BitlensError: NaN in a layer (it is named), in whichever process, or a layer that was not run.
    """
    made = {tap.name: CodeAccumulator() for tap in taps}
    made[PREDICTION] = CodeAccumulator(levels=choices)
    failure = ""
    try:
        _fill(made, net, taps, batches, device)
    except BitlensError as error:
        # The other processes wait for this one's codes; they must hear of it too.
        if world()[1] == 1:
            raise
        failure = str(error)
    collected = _exchanged(made, failure)
    for name, codes in collected.items():
        if codes.units is None:
            raise BitlensError(
                f"layer {name!r} was not reached by any forward pass over the probe, though it was when "
                "the plane was made; does the net still run this module, and not a copy of it?"
            )
    return {name: codes.result() for name, codes in collected.items()}


def check_shared(digest: str) -> None:
    """Refuse processes that hold different probes: their batches make up one set only if all hold all.

    Every process must make this call.

    Args:
        digest: of this process's whole probe.

    Raises:
        BitlensError: in every process, where the digests differ.
    """
    _, processes = world()
    if processes == 1:
        return
    everyone: list[Any] = [None] * processes
    dist.all_gather_object(everyone, digest)
    if len(set(everyone)) > 1:
        raise BitlensError(
            f"processes hold different probes (digests {', '.join(everyone)}); give every process the "
            "whole probe in the same order, not its share of it: the plane shares the work itself"
        )


def _fill(
    made: dict[str, CodeAccumulator],
    net: nn.Module,
    taps: list[Tap],
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
) -> None:
    rank, processes = world()
    places = torch.arange(0)
    packed = {tap.name: _Packed(made[tap.name]) for tap in taps}

    def add(tap: Tap, rows: Tensor) -> None:
        if bool(rows.sum().isnan()) and bool(rows.isnan().any()):
            raise BitlensError(f"layer {tap.name!r}: its activations hold NaN")
        if rows.device.type == "cpu":
            packed[tap.name].add(rows, places)
        else:
            made[tap.name].update(rows, places)

    start = 0
    with listening(net, taps, add):
        for number, (inputs, _) in enumerate(batches):
            places = torch.arange(start, start + len(inputs))
            start += len(inputs)
            if number % processes != rank:
                continue
            decided = decisions(net(inputs.to(device)))
            words = decided.cpu().numpy().astype(np.uint64)[:, None]
            made[PREDICTION].add(hash_rows(words), 1, places)
    for rows in packed.values():
        rows.flush()


class _Packed:
    """Sign bits of a layer on their way into its accumulator."""

    def __init__(self, codes: CodeAccumulator) -> None:
        self.codes = codes
        self.words: list[np.ndarray] = []
        self.places: list[Tensor] = []
        self.units = self.rows = 0

    def add(self, rows: Tensor, places: Tensor) -> None:
        # Compared before it is flattened: a map in channels_last is copied to be flattened.
        bits = (rows >= 0).flatten(1)
        if self.rows and bits.shape[1] != self.units:
            self.flush()
        self.units = bits.shape[1]
        self.words.append(pack_rows(bits.numpy()))
        self.places.append(places)
        self.rows += len(bits)
        if self.rows >= HASHED_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        if self.rows:
            self.codes.add(
                hash_rows(np.concatenate(self.words)), self.units, torch.cat(self.places)
            )
        self.words, self.places, self.rows = [], [], 0


def _exchanged(made: dict[str, CodeAccumulator], failure: str) -> dict[str, CodeAccumulator]:
    _, processes = world()
    if processes == 1:
        return made
    mine = (failure, {name: codes.state() for name, codes in made.items()})
    everyone: list[Any] = [None] * processes
    dist.all_gather_object(everyone, mine)
    for told, _ in everyone:
        if told:
            raise BitlensError(told)
    whole = {name: CodeAccumulator.from_state(state) for name, state in everyone[0][1].items()}
    for _, states in everyone[1:]:
        for name, state in states.items():
            whole[name].merge(CodeAccumulator.from_state(state))
    return whole


def check_alone(net: nn.Module, taps: list[Tap], batch: Tensor) -> None:
    """Refuse a net whose code of a sample depends on the other samples, or on chance.

    Some samples of `batch` are looked at alone and within it. A unit at its threshold may fall on the
    other side by rounding, and everything behind it then differs; such samples are left out from
    that layer on.

    Raises:
        BitlensError: names the first layer that differs, and what usually is the reason.
    """
    few = batch[: min(ALONE, len(batch) // 2)]
    within, alone = (_values(net, taps, inputs, len(few)) for inputs in (batch, few))
    kind = within[PREDICTION].dtype
    tolerance = max(SAME, 16 * torch.finfo(kind).eps) if kind.is_floating_point else SAME
    same = torch.ones(len(few), dtype=torch.bool, device=few.device)
    for name, values in within.items():
        difference = (values.float() - alone[name].float()).abs()[same]
        scale = values.float().abs()[same].mean(1, keepdim=True)
        if bool((difference > tolerance * scale).any()):
            raise BitlensError(
                f"layer {name!r} sees a sample differently alone and within a batch, also in "
                "evaluation mode; a plane needs nets without batch statistics "
                "(track_running_stats=False) and without randomness (a functional dropout) there"
            )
        same &= ((values >= 0) == (alone[name] >= 0)).all(1)


def _values(net: nn.Module, taps: list[Tap], inputs: Tensor, first: int) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}

    def keep(tap: Tap, rows: Tensor) -> None:
        seen[tap.name] = rows[:first].clone().flatten(1)

    with listening(net, taps, keep):
        output = net(inputs)
    seen[PREDICTION] = output[:first].reshape(first, -1)
    return seen
