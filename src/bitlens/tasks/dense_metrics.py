"""Metrics of dense predictions over all known pixels of a set, gathered over processes.

Every pixel counts once, whatever image or batch it was in. Pixels without truth count nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from bitlens.data.dense.scenes import VOID, Truth
from bitlens.tasks.known import depths_of, masks_of

LOWER_IS_BETTER = frozenset({"rmse", "abs_rel", "log10"})
"""The metrics that measure errors; of the others more is better."""


class SegmentationMetrics:
    """Metrics of predicted classes, all from one confusion matrix.

    A class that is neither in the truth nor in the predictions of the whole set is left out of `miou`; one
    that is predicted but never there counts with 0. `class_accuracy` is the mean recall of the classes in
    the truth. All are shares in [0, 1], and NaN where no pixel is known.
    """

    def __init__(self, classes: int, device: torch.device | str = "cpu") -> None:
        self.confusion = MulticlassConfusionMatrix(classes, validate_args=False).to(device)

    def update(self, predicted: Tensor, mask: Tensor) -> None:
        """Count pixels: int64 classes and truth (`VOID` where there is none), of one shape."""
        known = mask != VOID
        self.confusion.update(predicted[known], mask[known])

    def compute(self) -> dict[str, float]:
        """`miou`, `pixel_accuracy` and `class_accuracy`."""
        counts = self.confusion.compute().double()
        right, true, said = counts.diagonal(), counts.sum(1), counts.sum(0)
        union = true + said - right
        return {
            "miou": float((right / union)[union > 0].mean()),
            "pixel_accuracy": float(right.sum() / true.sum()),
            "class_accuracy": float((right / true)[true > 0].mean()),
        }


class DepthMetrics:
    """Metrics of predicted depth against true depth, both in metres.

    With d predicted and t true: `rmse`, the root of mean (d - t)^2 in metres; `abs_rel`, mean |d - t| / t;
    `log10`, mean |log10 d - log10 t|; `delta1` to `delta3`, the share of pixels with
    max(d / t, t / d) < 1.25^k. All are NaN where no pixel is known.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        names = ("rmse", "abs_rel", "log10", "delta1", "delta2", "delta3")
        # A NaN must show, and 1e8 pixels are more than single precision can count.
        self.means = {
            name: MeanMetric(nan_strategy="disable").to(device).set_dtype(torch.float64)
            for name in names
        }

    def update(self, predicted: Tensor, depth: Tensor) -> None:
        """Add pixels: positive metres and truth (0 where it is unknown), of one shape."""
        known = depth > 0
        said, true = predicted[known].double(), depth[known].double()
        ratio = torch.maximum(said / true, true / said)
        error = (said - true).abs()
        self.means["rmse"].update(error.square())
        self.means["abs_rel"].update(error / true)
        self.means["log10"].update((said.log10() - true.log10()).abs())
        for k in (1, 2, 3):
            self.means[f"delta{k}"].update(ratio < 1.25**k)

    def compute(self) -> dict[str, float]:
        """Every metric by name."""
        found = {name: float(mean.compute()) for name, mean in self.means.items()}
        return found | {"rmse": found["rmse"] ** 0.5}


class DenseMetrics:
    """The metrics of the heads that a net has.

    Args:
        heads: channels of each head: "segment" with one for each class, "depth", or both.
        device: of what is compared.
    """

    def __init__(self, heads: Mapping[str, int], device: torch.device | str = "cpu") -> None:
        self.segmentation = (
            SegmentationMetrics(heads["segment"], device) if "segment" in heads else None
        )
        self.depth = DepthMetrics(device) if "depth" in heads else None

    def update(
        self, truth: Truth, *, classes: Tensor | None = None, depth: Tensor | None = None
    ) -> None:
        """Add images.

        Args:
            truth: (b, H, W), with what the heads predict.
            classes: (b, H, W) predicted int64 classes; asked for by a head "segment".
            depth: (b, H, W) predicted metres; asked for by a head "depth".

        Raises:
            BitlensError: the scenes have no truth of a head.
        """
        if self.segmentation is not None:
            assert classes is not None
            self.segmentation.update(classes, masks_of(truth))
        if self.depth is not None:
            assert depth is not None
            self.depth.update(depth, depths_of(truth))

    def compute(self) -> dict[str, float]:
        """Every metric by name."""
        parts = [part for part in (self.segmentation, self.depth) if part is not None]
        return {name: value for part in parts for name, value in part.compute().items()}
