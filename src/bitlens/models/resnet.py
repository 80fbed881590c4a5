"""Residual nets of the binary papers, told apart by what their papers leave unsaid.

Papers print "ResNet-18, 1W1A" over nets that differ in the span of the shortcut (every convolution
or a pair), in what the shortcut does where the shape changes, in whether a 1x1 convolution there
is binary, in the non-linearity after the stem and in a batch norm before the classifier. A
`ResNetPlan` holds exactly these choices, and `bitlens.models.nets` names each combination in use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from bitlens.errors import BitlensError
from bitlens.models.blocks import (
    FloatNet,
    Nonlinearity,
    PairUnit,
    PooledProjection,
    PoolPad,
    ShortcutFactory,
    SingleUnit,
    SlicePad,
    StridedProjection,
    check_sizes,
    conv,
    scale_width,
)
from bitlens.models.gated import BNextUnit, RealToBinaryUnit

Unit = SingleUnit | PairUnit | RealToBinaryUnit | BNextUnit
"""A residual unit: one or two convolutions and their shortcut."""


@dataclass(frozen=True, kw_only=True)
class ResNetPlan:
    """The choices that make one residual net.

    Attributes:
        base: channels of the stem and of the first stage; each later stage has twice as many.
        convs: 3x3 convolutions in each stage, the stem and the shortcuts not counted.
        span: convolutions under one shortcut, 1 (Bi-Real) or 2 (He et al.).
        shortcut: what a shortcut is where the shape changes, and the identity elsewhere.
            `"poolpad"` and `"slicepad"` have no weights; `"fp1x1"` and `"bin1x1"` hold a 1x1
            convolution that stays float or becomes binary, which strides itself under span 2 and
            follows an average pooling under span 1.
        stem: `"small"` is 3x3 at stride 1, `"large"` 7x7 at stride 2 with 3x3 max pooling.
        stem_act: whether a non-linearity follows the stem's batch norm.
        head_norm: whether the pooled features pass a batch norm before the classifier.
        unit: `"plain"`, or a unit of span 1 whose convolution a gate scales: `"r2b"`, `"bnext"`.
    """

    base: int
    convs: tuple[int, ...]
    span: Literal[1, 2]
    shortcut: Literal["poolpad", "slicepad", "fp1x1", "bin1x1"]
    stem: Literal["small", "large"]
    stem_act: bool
    head_norm: bool
    unit: Literal["plain", "r2b", "bnext"] = "plain"

    def __post_init__(self) -> None:
        """Refuse stages that cannot be cut into units, and gated units over two convolutions."""
        if self.unit != "plain" and self.span != 1:
            raise BitlensError(
                f"a unit of kind {self.unit!r} has a shortcut over one convolution, but span is {self.span}"
            )
        if not self.convs or any(convs < 1 or convs % self.span for convs in self.convs):
            raise BitlensError(
                f"convs is {self.convs}, but every stage needs a positive multiple of the span "
                f"{self.span}"
            )

    @property
    def shortcut_factory(self) -> ShortcutFactory:
        """Builds the shortcut of a unit that changes the shape."""
        if self.shortcut == "poolpad":
            return PoolPad
        if self.shortcut == "slicepad":
            return SlicePad
        return PooledProjection if self.span == 1 else StridedProjection

    @property
    def unit_factory(self) -> type[Unit]:
        """Builds a unit."""
        if self.unit == "plain":
            return SingleUnit if self.span == 1 else PairUnit
        return RealToBinaryUnit if self.unit == "r2b" else BNextUnit

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the units that end a pair of convolutions, or a stage."""
        return tuple(
            f"stages.{stage}.{place}"
            for stage, convs in enumerate(self.convs)
            for place in range(convs // self.span)
            if (place + 1) * self.span % 2 == 0 or place + 1 == convs // self.span
        )

    @property
    def stride(self) -> int:
        """Pixels of the image's side to one pixel of the last map's."""
        return 2 ** (len(self.convs) - 1) * (4 if self.stem == "large" else 1)


class ResidualTrunk(FloatNet):
    """Stem and stages of residual units; what a net does with their maps is its own.

    Attributes:
        widths: channels of the stages' maps.
    """

    def __init__(
        self,
        plan: ResNetPlan,
        *,
        base: int,
        channels: int,
        nonlinearity: Nonlinearity,
        dilate_last: bool = False,
    ) -> None:
        super().__init__()
        large = plan.stem == "large"
        self.stem = conv(channels, base, 7, 2) if large else conv(channels, base, 3)
        self.stem_norm = nn.BatchNorm2d(base)
        self.stem_act = nonlinearity(base) if plan.stem_act else nn.Identity()
        self.stem_pool = nn.MaxPool2d(3, 2, padding=1) if large else nn.Identity()
        self.widths = tuple(base * 2**stage for stage in range(len(plan.convs)))
        last = len(self.widths) - 1
        self.stages = nn.Sequential(
            *(
                (_dilated_stage if dilate_last and stage == last else _stage)(
                    plan, stage, self.widths[max(stage - 1, 0)], c_out, nonlinearity
                )
                for stage, c_out in enumerate(self.widths)
            )
        )
        projections = ("*.shortcut.conv",) if plan.shortcut == "fp1x1" else ()
        gates = () if plan.unit == "plain" else ("*.gate.*",)
        self.keep_float = ("stem", *projections, *gates)
        self.blocks = plan.blocks

    def stem_map(self, x: Tensor) -> Tensor:
        """What the first stage reads of images `(n, channels, h, w)`."""
        return self.stem_pool(self.stem_act(self.stem_norm(self.stem(x))))


class ResNet(ResidualTrunk):
    """Stem, stages of residual units, global average pooling, linear classifier."""

    def __init__(
        self,
        plan: ResNetPlan,
        *,
        base: int,
        classes: int,
        channels: int,
        nonlinearity: Nonlinearity,
    ) -> None:
        super().__init__(plan, base=base, channels=channels, nonlinearity=nonlinearity)
        width = self.widths[-1]
        self.head_norm = nn.BatchNorm1d(width) if plan.head_norm else nn.Identity()
        self.head = nn.Linear(width, classes)
        self.keep_float = (*self.keep_float, "head")

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(n, classes)` of images `(n, channels, h, w)`."""
        return self.head(self.head_norm(self.stages(self.stem_map(x)).mean(dim=(2, 3))))


def _stage(
    plan: ResNetPlan, index: int, c_in: int, c_out: int, nonlinearity: Nonlinearity
) -> nn.Sequential:
    unit = plan.unit_factory
    return nn.Sequential(
        *(
            unit(
                c_in if place == 0 else c_out,
                c_out,
                stride=2 if index > 0 and place == 0 else 1,
                shortcut=plan.shortcut_factory,
                nonlinearity=nonlinearity,
            )
            for place in range(plan.convs[index] // plan.span)
        )
    )


def _dilated_stage(
    plan: ResNetPlan, index: int, c_in: int, c_out: int, nonlinearity: Nonlinearity
) -> nn.Sequential:
    """The stage with its stride taken out: every convolution still meets the pixels it met."""
    if plan.unit_factory is not SingleUnit:
        raise BitlensError(
            "only a stage of plain units over one convolution can be dilated, but the plan has "
            f"unit={plan.unit!r} and span={plan.span}"
        )
    return nn.Sequential(
        *(
            SingleUnit(
                c_in if place == 0 else c_out,
                c_out,
                stride=1,
                dilation=1 if place == 0 else 2,
                shortcut=plan.shortcut_factory,
                nonlinearity=nonlinearity,
            )
            for place in range(plan.convs[index])
        )
    )


def resnet(
    plan: ResNetPlan,
    *,
    classes: int,
    channels: int,
    image_size: int,
    nonlinearity: Nonlinearity,
    width: float = 1.0,
) -> ResNet:
    """The float residual net of `plan`; `width` scales the channels of every stage.

    Images may be larger than `image_size` when the net runs: it is only checked against the
    strides, so that the last map holds at least one full pixel.

    Raises:
        BitlensError: no class or channel, an image smaller than the net's total stride, or a width
            that leaves no channel.
    """
    net = f"a ResNet with a {plan.stem} stem and {len(plan.convs)} stages"
    check_sizes(
        net, classes=classes, channels=channels, image_size=image_size, smallest=plan.stride
    )
    return ResNet(
        plan,
        base=scale_width(plan.base, width),
        classes=classes,
        channels=channels,
        nonlinearity=nonlinearity,
    )
