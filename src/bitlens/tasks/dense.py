"""Dense prediction: a class, a depth or both for every pixel, from one net."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import SumMetric

from bitlens.data.dense.scenes import Truth
from bitlens.errors import BitlensError
from bitlens.tasks.balance import FixedBalance, UncertaintyBalance
from bitlens.tasks.config import DenseConfig
from bitlens.tasks.crop import Shares, check_crop, crop_truth, crop_window
from bitlens.tasks.dense_metrics import DenseMetrics
from bitlens.tasks.depth import depth_loss, depth_score, to_metres
from bitlens.tasks.known import depths_of, masks_of, truth_size
from bitlens.tasks.pooled import PixelSum, largest, largest_of_all
from bitlens.tasks.resize import upsample_outputs
from bitlens.tasks.segment import segment_loss, segment_score
from bitlens.tasks.step import Task


class DenseTask(Task):
    """Segmentation, depth, or both with a balance of their losses.

    The net gives (n, channels, ceil(h / 4), ceil(w / 4)): the heads' channels in order, class logits for
    "segment" and one channel of log-depth for "depth". Losses are means over the known pixels of all
    processes' batches, at the size of the truth; a batch without any adds 0 and no gradient.

    Args:
        heads: channels of each head, in order: "segment" with one for each class, "depth" with 1, or both.
        config: of losses and balance; what balances matters only where there are two heads.
        crop: part of the truth that `evaluate` judges; None for everything.
        label_smoothing: of the classes' cross-entropy, in training and in `evaluate`'s loss.

    The rest as in `Task`.

    Raises:
        BitlensError: fewer than two classes to tell apart.
        ValueError: heads or a crop that no task can be built from.
    """

    def __init__(
        self,
        net: nn.Module,
        objective: nn.Module | None = None,
        *,
        heads: Mapping[str, int],
        config: DenseConfig,
        crop: Shares | None = None,
        label_smoothing: float = 0.0,
        **parts: Any,
    ) -> None:
        super().__init__(net, objective, **parts)
        _check_heads(heads)
        if crop is not None:
            check_crop(crop)
        self.heads, self.crop = dict(heads), crop
        self.config, self.label_smoothing = config, label_smoothing
        self.headline = "miou" if "segment" in heads else "delta1"
        self.balance = _balance(tuple(heads), config)

    def task_loss(self, outputs: Tensor, truth: Truth) -> Tensor:
        """The balanced losses of outputs (n, channels, ceil(h / 4), ceil(w / 4)); truth is (n, h, w)."""
        losses = self._losses(self._pixels(outputs, truth_size(truth)), truth, largest_of_all)
        return self.balance({head: loss.across_processes() for head, loss in losses.items()})

    def score(self, outputs: Tensor, truth: Truth) -> Tensor:
        """Pixel accuracy where classes are predicted, else the share of depths within a factor of 1.25."""
        pixels = self._pixels(outputs, truth_size(truth))
        if "segment" in pixels:
            return segment_score(pixels["segment"], masks_of(truth))
        return depth_score(pixels["depth"][:, 0], depths_of(truth))

    @torch.no_grad()
    def evaluate(self, batches: Iterable[tuple[Tensor, Truth]]) -> dict[str, float]:
        """Metrics at the size of the truth, over all known pixels inside the crop of all images.

        No number depends on how images are batched: `loss` balances the heads' means over these pixels,
        with the threshold of "berhu" that of each image. A head of which no pixel is known adds 0 to it.

        Args:
            batches: (images float (n, c, h, w), their truth (n, H, W)).

        Returns:
            `loss`; with classes `miou`, `pixel_accuracy`, `class_accuracy`; with depth `rmse`, `abs_rel`,
            `log10`, `delta1`, `delta2`, `delta3`. Metrics are NaN where no pixel is known.
        """
        device = next(self.net.parameters()).device
        metrics = DenseMetrics(self.heads, device)
        sums = {head: _LossSum(device) for head in self.heads}
        was_training = self.net.training
        self.net.eval()
        try:
            for images, truth in batches:
                size, outputs = (images.shape[2], images.shape[3]), self.net(images)
                # One by one: logits at full size are the largest tensors of all.
                for i in range(len(images)):
                    one = slice(i, i + 1)
                    pixels = self._pixels(outputs[one], size, truth_size(truth))
                    self._judge(pixels, truth[one], metrics, sums)
        finally:
            self.net.train(was_training)
        loss = self.balance({head: found.compute() for head, found in sums.items()})
        return {"loss": float(loss), **metrics.compute()}

    def _judge(
        self,
        pixels: Mapping[str, Tensor],
        truth: Truth,
        metrics: DenseMetrics,
        sums: Mapping[str, _LossSum],
    ) -> None:
        window = crop_window(self.crop, truth_size(truth))
        pixels = {head: said[(..., *window)] for head, said in pixels.items()}
        truth = crop_truth(truth, self.crop)
        for head, loss in self._losses(pixels, truth, largest).items():
            sums[head].update(loss)
        segment, depth = pixels.get("segment"), pixels.get("depth")
        metrics.update(
            truth,
            classes=None if segment is None else segment.argmax(1),
            depth=None if depth is None else to_metres(depth[:, 0]),
        )

    def _pixels(
        self, outputs: Tensor, size_of_image: tuple[int, int], size: tuple[int, int] | None = None
    ) -> dict[str, Tensor]:
        """What each head says of each pixel, (n, its channels, H, W)."""
        pixels = upsample_outputs(outputs, size_of_image, size)
        parts = pixels.split(list(self.heads.values()), dim=1)
        return dict(zip(self.heads, parts, strict=True))

    def _losses(
        self, pixels: Mapping[str, Tensor], truth: Truth, widest: Callable[[Tensor], Tensor]
    ) -> dict[str, PixelSum]:
        losses = {}
        for head, said in pixels.items():
            if head == "segment":
                mask = masks_of(truth)
                losses[head] = segment_loss(said, mask, label_smoothing=self.label_smoothing)
            else:
                depth = depths_of(truth)
                losses[head] = depth_loss(self.config.depth_loss, said[:, 0], depth, largest=widest)
        return losses


class _LossSum:
    """A head's loss over all images and, once computed, all processes."""

    def __init__(self, device: torch.device) -> None:
        self.sum, self.count = (
            SumMetric(nan_strategy="disable").to(device).set_dtype(torch.float64) for _ in range(2)
        )

    def update(self, loss: PixelSum) -> None:
        self.sum.update(loss.sum)
        self.count.update(loss.count)

    def compute(self) -> PixelSum:
        return PixelSum(sum=self.sum.compute(), count=self.count.compute())


def _check_heads(heads: Mapping[str, int]) -> None:
    if not heads or not heads.keys() <= {"segment", "depth"} or heads.get("depth", 1) != 1:
        raise ValueError(
            f"heads={dict(heads)}; they are 'segment', with one channel for each class, and 'depth', with 1"
        )
    if (classes := heads.get("segment", 2)) < 2:
        raise BitlensError(
            f"classes: {classes}; segmentation needs masks of at least 2 classes beside void"
        )


def _balance(heads: tuple[str, ...], config: DenseConfig) -> FixedBalance | UncertaintyBalance:
    if len(heads) == 1:
        return FixedBalance({heads[0]: 1.0})
    if config.balance == "uncertainty":
        return UncertaintyBalance(heads, regressions={"depth"})
    return FixedBalance({"segment": 1.0, "depth": config.depth_weight})
