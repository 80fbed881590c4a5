"""Every layer of one net of a stack, read in every way that fits its activations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bitlens.information.codes import Codes, hash_signs
from bitlens.information.estimators.binning import bin_codes, width_codes
from bitlens.information.estimators.kde import kde_bounds
from bitlens.information.layers import PREDICTION, SIGNS
from bitlens.information.reading import read_codes
from bitlens.studies.information_plane.kinds import Kind
from bitlens.studies.information_plane.stack import Layer
from bitlens.studies.information_plane.tasks import Task

BINS = 30
WIDTH = 0.5
VARIANCE = 0.1
KERNEL_SAMPLES = 1000
Labels = npt.NDArray[np.int64]


def measure(
    layers: Sequence[Layer], logits: Tensor, task: Task, kind: Kind, matched: bool
) -> list[dict[str, Any]]:
    """One row per layer and read-out: the fields of a `Reading` and what only the study looks at.

    Every layer is read by its signs (the code itself of a sign layer, one bit a unit of a float one).
    With `matched`, float layers are also read by 30 bins, bins of width 0.5, and kernel densities
    of variance 0.1 on 1,000 samples; all in bits.
    """
    labels = task.probe[1].numpy()
    rows = []
    for number, layer in enumerate(layers, start=1):
        codes = Codes(hash_signs(layer.latent), layer.latent.shape[1])
        row = _row(f"L{number}", SIGNS, codes, labels, task)
        rows.append(row | _units(layer.latent >= 0, labels))
        if matched and kind.activation != "sign":
            rows += [
                _row(f"L{number}", name, other, labels, task)
                for name, other in _binned(layer.output, kind)
            ]
            rows.append(_kernel(f"L{number}", layer.output, labels))
    predicted = logits.argmax(1).numpy().astype(np.uint64)
    codes = Codes(predicted, units=1, levels=task.classes)
    rows.append(_row(PREDICTION, PREDICTION, codes, labels, task))
    return rows


def _row(layer: str, readout: str, codes: Codes, labels: Labels, task: Task) -> dict[str, Any]:
    permutations = 19 if readout in (SIGNS, PREDICTION) else 0
    reading = read_codes(codes, labels, population=task.population, permutations=permutations)
    return {"layer": layer, "readout": readout, **reading.as_dict()}


def _binned(output: Tensor, kind: Kind) -> Iterator[tuple[str, Codes]]:
    low, high = (-1.0, 1.0) if kind.activation == "tanh" else (0.0, max(output.max().item(), 1e-6))
    yield f"{BINS} bins", bin_codes(output, bins=BINS, low=low, high=high)
    yield f"width {WIDTH}", width_codes(output, width=WIDTH)


def _kernel(layer: str, output: Tensor, labels: Labels) -> dict[str, Any]:
    chosen = np.random.default_rng(0).permutation(len(labels))[:KERNEL_SAMPLES]
    found = kde_bounds(output[torch.from_numpy(chosen)], labels[chosen], noise=VARIANCE)
    return {
        "layer": layer,
        "readout": "kernel",
        "units": output.shape[1],
        "samples": len(chosen),
        "entropy": found.input_high,
        "information": found.label_kl,
        "log2_samples": found.ceiling,
        "flag": "saturated" if found.saturated else "corrected",
        "reading": "sample",
    }


def _units(bits: Tensor, labels: Labels) -> dict[str, float]:
    """What single units know, summed, and the share of units that are within 10 % of balance."""
    classes = torch.from_numpy(np.eye(labels.max() + 1, dtype=np.float32)[labels])
    joint = (classes.T @ bits.float()).double() / len(labels)
    shares = classes.double().mean(0)[:, None]
    on = joint.sum(0)
    entropy = _entropy(torch.stack([on, 1 - on])).sum()
    remaining = _entropy(torch.stack([joint, shares - joint])).sum() - len(on) * _entropy(shares)
    balanced = ((on - 0.5).abs() <= 0.1).double().mean()
    return {
        "unit_information": float(entropy - remaining.sum()),
        "unit_entropy": float(entropy),
        "balanced_units": float(balanced),
    }


def _entropy(p: Tensor) -> Tensor:
    return -torch.special.xlogy(p, p).sum(0) / np.log(2)
