"""Predictors that look at no image: what a dense net has to beat, judged by the same metrics.

Every one is fitted to the known pixels of the train split alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bitlens.data.dense.scenes import MILLIMETRES, VOID, SceneData, SceneSet
from bitlens.errors import BitlensError
from bitlens.tasks.crop import Shares, crop_truth
from bitlens.tasks.dense_metrics import LOWER_IS_BETTER, DenseMetrics
from bitlens.tasks.depth import FARTHEST, NEAREST
from bitlens.tasks.known import truth_size

_AT_ONCE = 16
"""Images whose pixels are counted together: counting makes an int64 of every pixel."""


def most_frequent_class(scenes: SceneSet) -> int:
    """The class of most pixels, the first of equals.

    Raises:
        BitlensError: no pixel has a class.
    """
    counts = _histogram(scenes.masks, VOID, "class")
    return int(counts.argmax())


def median_depth(scenes: SceneSet) -> float:
    """The median of the known depths, metres: the constant of least mean error, of depth and of its log.

    The lower of the two middle ones where their number is even.

    Raises:
        BitlensError: no depth is known.
    """
    up_to = _depth_histogram(scenes).cumsum(0)
    return int((2 * up_to >= up_to[-1]).int().argmax()) / MILLIMETRES


def mean_depth(scenes: SceneSet) -> float:
    """The mean of the known depths, metres: the constant of least rmse.

    Raises:
        BitlensError: no depth is known.
    """
    counts = _depth_histogram(scenes)
    millimetres = torch.arange(len(counts), device=counts.device)
    return int((counts * millimetres).sum()) / int(counts.sum()) / MILLIMETRES


def mean_log_depth(scenes: SceneSet) -> float:
    """The mean natural logarithm of the known depths in metres: the constant of least squared error of logs.

    Raises:
        BitlensError: no depth is known.
    """
    counts = _depth_histogram(scenes)[1:].double()
    metres = torch.arange(1, len(counts) + 1, device=counts.device).double() / MILLIMETRES
    return float((counts * metres.log()).sum() / counts.sum())


def commonest_depth(scenes: SceneSet) -> float:
    """The whole millimetre that most known depths are within a factor of 1.25 of, metres: best in delta1.

    Raises:
        BitlensError: no depth is known.
    """
    counts = _depth_histogram(scenes)
    up_to = counts.cumsum(0)
    said = torch.arange(1, len(counts), device=counts.device)
    # In whole numbers, d / 1.25 < t < 1.25 d reads 4 d < 5 t and 4 t < 5 d.
    least = 4 * said // 5
    most = ((5 * said - 1) // 4).clamp(max=len(counts) - 1)
    return int(said[(up_to[most] - up_to[least]).argmax()]) / MILLIMETRES


def evaluate_constant(
    scenes: SceneSet,
    *,
    label: int | None = None,
    classes: int = 0,
    depth: float | None = None,
    crop: Shares | None = None,
) -> dict[str, float]:
    """Metrics of predicting the same for every pixel, over the known pixels inside the crop.

    Args:
        scenes: what is judged, at the size of its truth.
        label: the class; None predicts none.
        classes: number of classes, with a label.
        depth: metres, clamped to [0.1, 10] as a net's are; None predicts none.
        crop: as in `DenseTask`.

    Returns:
        The metrics of `DenseTask.evaluate` but `loss`.

    Raises:
        BitlensError: the scenes have no truth of what is predicted.
    """
    heads = {"segment": classes} if label is not None else {}
    if depth is not None:
        heads, depth = heads | {"depth": 1}, min(max(depth, NEAREST), FARTHEST)
    metrics = DenseMetrics(heads, scenes.images.device)
    for i in range(len(scenes)):
        _, truth = next(scenes.batches([torch.tensor([i])]))
        truth = crop_truth(truth, crop)
        shape, device = (1, *truth_size(truth)), scenes.images.device
        metrics.update(
            truth,
            classes=None if label is None else torch.full(shape, label, device=device),
            depth=None if depth is None else torch.full(shape, depth, device=device),
        )
    return metrics.compute()


def evaluate_constants(data: SceneData, heads: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """Metrics on the test split of every constant that suits the heads, by what it is.

    Args:
        data: constants are fitted to its train split and judged inside its crop.
        heads: of the net that is compared with them.

    Raises:
        BitlensError: nothing is known of the train split's pixels.
    """
    found = {}
    if "segment" in heads:
        found["most frequent class"] = evaluate_constant(
            data.test,
            label=most_frequent_class(data.train),
            classes=heads["segment"],
            crop=data.crop,
        )
    if "depth" in heads:
        for name, fit in _DEPTHS.items():
            found[name] = evaluate_constant(data.test, depth=fit(data.train), crop=data.crop)
    return found


def best_constants(constants: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The best value of each metric that any of `evaluate_constants` reaches."""
    best: dict[str, float] = {}
    for metrics in constants.values():
        for name, value in metrics.items():
            better = min if name in LOWER_IS_BETTER else max
            best[name] = better(best.get(name, value), value)
    return best


_DEPTHS: dict[str, Callable[[SceneSet], float]] = {
    "median depth": median_depth,
    "mean depth": mean_depth,
    "commonest depth": commonest_depth,
}


def _depth_histogram(scenes: SceneSet) -> Tensor:
    """Pixels at each whole millimetre, int64; none at 0, which is no depth."""
    return _histogram(scenes.depths, 0, "depth")


def _histogram(stored: Tensor | None, unknown: int, what: str) -> Tensor:
    """Pixels of each stored value from 0, int64, without those of the value that means unknown."""
    if stored is None:
        raise BitlensError(f"no constant {what} can be fitted: the train scenes have none")
    bins = torch.iinfo(stored.dtype).max + 1
    parts = [
        torch.bincount(images.flatten().int(), minlength=bins) for images in stored.split(_AT_ONCE)
    ]
    counts = torch.stack(parts).sum(0)
    counts[unknown] = 0
    if not counts.any():
        raise BitlensError(
            f"no constant {what} can be fitted: no pixel of the train scenes has one"
        )
    return counts
