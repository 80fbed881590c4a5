"""Binary encoder and decoder with one answer for every 4x4 pixels.

The encoder is a residual net's stem and stages as `bitlens.models.resnet` builds them, its last stage
dilated instead of strided, so that the coarsest map has a 16th of the image's side. The decoder goes
back to a quarter, adding the maps of the stages. Float are only the stem, the shortcuts' 1x1
convolutions in the encoder, the bottleneck and the heads.

A bottleneck bounds what the coarsest map tells of the image. The added maps go around it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.errors import BitlensError
from bitlens.models.blocks import Nonlinearity, check_sizes
from bitlens.models.dense import DenseFacts
from bitlens.models.dense.bottleneck import GaussianBottleneck
from bitlens.models.dense.decoder import DecoderStage
from bitlens.models.resnet import ResidualTrunk, ResNetPlan


class DenseNet(ResidualTrunk):
    """Images of any size to one tensor of all heads' outputs at a quarter of the size.

    Attributes:
        heads: channels of each task's outputs, in the order of the output channels.
        output_stride: pixels of the image's side to one of the output's.
        total_stride: pixels of the image's side to one of the coarsest map's.
    """

    output_stride = 4

    def __init__(
        self,
        plan: ResNetPlan,
        *,
        heads: Mapping[str, int],
        channels: int,
        bottleneck: float,
        nonlinearity: Nonlinearity,
    ) -> None:
        super().__init__(
            plan, base=plan.base, channels=channels, nonlinearity=nonlinearity, dilate_last=True
        )
        self.heads = dict(heads)
        self.total_stride = plan.stride // 2
        finest, *finer, _ = self.widths
        self.decoder = nn.ModuleList()
        wide, at = self.widths[-1], self.total_stride
        for stage, width in reversed(list(enumerate((finest, *finer)))):
            stride = self.output_stride * 2**stage
            self.decoder.append(
                DecoderStage(wide, width, scale=at // stride, nonlinearity=nonlinearity)
            )
            wide, at = width, stride
        self.head = nn.ModuleDict({task: nn.Conv2d(finest, n, 1) for task, n in heads.items()})
        self.keep_float = (*self.keep_float, "head")
        self.blocks = (*self.blocks, *(f"decoder.{stage}" for stage in range(len(self.decoder))))
        self.bottleneck: nn.Module = nn.Identity()
        if bottleneck:
            # Last, so that the other layers draw what they draw without it.
            self.bottleneck = GaussianBottleneck(self.widths[-1], beta=bottleneck)
            self.keep_float = (*self.keep_float, "bottleneck")

    def forward(self, x: Tensor) -> Tensor:
        """`(n, channels, h, w)` -> `(n, outputs, ceil(h / 4), ceil(w / 4))`.

        Images whose sides the total stride does not divide are padded at the right and at the bottom
        with their last column and row, and the outputs are cropped.
        """
        height, width = x.shape[-2:]
        x = self.stem_map(self._padded(x))
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        x = self.bottleneck(x)
        for stage, skip in zip(self.decoder, skips[-2::-1], strict=True):
            x = stage(x, skip)
        outputs = [head(x) for head in self.head.values()]
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)
        return x[:, :, : -(-height // self.output_stride), : -(-width // self.output_stride)]

    def _padded(self, x: Tensor) -> Tensor:
        missing = [-side % self.total_stride for side in x.shape[-2:]]
        return F.pad(x, (0, missing[1], 0, missing[0]), mode="replicate") if any(missing) else x


def dense_net(
    facts: DenseFacts,
    *,
    heads: Mapping[str, int],
    channels: int,
    image_size: tuple[int, int],
    bottleneck: float,
    nonlinearity: Nonlinearity,
) -> DenseNet:
    """The float dense net of `facts`.

    Raises:
        BitlensError: no head, a head without channels, no image channel, an image smaller than the
            net's total stride, or a negative bottleneck.
    """
    plan = ResNetPlan(
        base=facts.base,
        convs=facts.convs,
        span=1,
        shortcut="fp1x1",
        stem="large",
        stem_act=False,
        head_norm=False,
    )
    if not heads:
        raise BitlensError("heads is empty, but a dense net needs at least one, such as segment=13")
    for task, outputs in heads.items():
        if outputs < 1:
            raise BitlensError(f"head {task!r} has {outputs} outputs; it needs at least 1")
    check_sizes(
        f"a dense net with a {plan.stem} stem and {len(plan.convs)} stages",
        classes=sum(heads.values()),
        channels=channels,
        image_size=min(image_size),
        smallest=plan.stride // 2,
    )
    return DenseNet(
        plan, heads=heads, channels=channels, bottleneck=bottleneck, nonlinearity=nonlinearity
    )
