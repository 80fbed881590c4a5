"""Every net by name. The kind of shortcut is part of the name, because papers differ silently.

A name reads `depth[-imagenet]-span-shortcut`:

* span: `bireal` has a shortcut over every 3x3 convolution, `normal` over each pair; `r2b` and `bnext`
  have one over every convolution, whose output a small float gate scales from image to image;
* shortcut where the shape changes: `poolpad` averages 2x2 and pads zero channels, `slicepad` takes
  every second pixel and pads zero channels, `fp1x1` has a float 1x1 convolution (with stride in a
  `normal` net, after average pooling in a `bireal` one), `bin1x1` a binary 1x1 convolution.

Accuracies on two of these are not comparable, even where two papers print the same net's name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from bitlens.models.blocks import FloatNet, Nonlinearity
from bitlens.models.mlp import mlp
from bitlens.models.mobilenet import reactnet_a
from bitlens.models.resnet import ResNetPlan, resnet
from bitlens.models.vgg import vgg_small


class Build(Protocol):
    """Builds one float net, drawing its initial weights from torch's global generator."""

    def __call__(
        self,
        *,
        classes: int,
        channels: int,
        image_size: int,
        nonlinearity: Nonlinearity,
        width: float = 1.0,
    ) -> FloatNet:
        """The net for square images `(n, channels, image_size, image_size)`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Net:
    """One named net.

    Attributes:
        build: makes it.
        about: its structure in one line.
        paper: who uses it.
    """

    build: Build
    about: str
    paper: str


_RESNET20_BIREAL_SLICEPAD = ResNetPlan(
    base=16,
    convs=(6, 6, 6),
    span=1,
    shortcut="slicepad",
    stem="small",
    stem_act=True,
    head_norm=True,
)
_RESNET20_BIREAL_POOLPAD = replace(_RESNET20_BIREAL_SLICEPAD, shortcut="poolpad")
_RESNET8_BIREAL_POOLPAD = replace(_RESNET20_BIREAL_POOLPAD, convs=(2, 2, 2))
_RESNET8_R2B_POOLPAD = replace(_RESNET8_BIREAL_POOLPAD, unit="r2b")
_RESNET20_R2B_POOLPAD = replace(_RESNET20_BIREAL_POOLPAD, unit="r2b")
_RESNET8_BNEXT_POOLPAD = replace(_RESNET8_BIREAL_POOLPAD, unit="bnext")
_RESNET20_BNEXT_POOLPAD = replace(_RESNET20_BIREAL_POOLPAD, unit="bnext")
_RESNET20_NORMAL_SLICEPAD = replace(_RESNET20_BIREAL_SLICEPAD, span=2)

_RESNET18_NORMAL_FP1X1 = ResNetPlan(
    base=64,
    convs=(4, 4, 4, 4),
    span=2,
    shortcut="fp1x1",
    stem="small",
    stem_act=False,
    head_norm=True,
)
_RESNET18_NORMAL_BIN1X1 = replace(_RESNET18_NORMAL_FP1X1, shortcut="bin1x1")
_RESNET18_NORMAL_POOLPAD = replace(_RESNET18_NORMAL_FP1X1, shortcut="poolpad")
_RESNET18_BIREAL_FP1X1 = replace(_RESNET18_NORMAL_FP1X1, span=1, head_norm=False)

_RESNET18_IMAGENET_BIREAL_FP1X1 = replace(_RESNET18_BIREAL_FP1X1, stem="large")
_RESNET34_IMAGENET_BIREAL_FP1X1 = replace(_RESNET18_IMAGENET_BIREAL_FP1X1, convs=(6, 8, 12, 6))
_RESNET18_IMAGENET_NORMAL_FP1X1 = replace(_RESNET18_IMAGENET_BIREAL_FP1X1, span=2, stem_act=True)

NETS: dict[str, Net] = {
    "mlp": Net(
        build=mlp,
        about="three hidden layers of 256 units with batch norm; the first and the head float",
        paper="after BinaryNet (2016), smaller",
    ),
    "vgg-small": Net(
        build=vgg_small,
        about="128-128M-256-256M-512-512M, pooling before batch norm; no shortcut",
        paper="IR-Net (CVPR 2020) and successors",
    ),
    "resnet8-bireal-poolpad": Net(
        build=partial(resnet, _RESNET8_BIREAL_POOLPAD),
        about="16-32-64, two 3x3 convolutions a stage; shortcut over each, pooled and zero-padded",
        paper="none: a short resnet20-bireal-poolpad for quick runs",
    ),
    "resnet20-bireal-poolpad": Net(
        build=partial(resnet, _RESNET20_BIREAL_POOLPAD),
        about="16-32-64, six 3x3 convolutions a stage; shortcut over each, pooled and zero-padded",
        paper="ReCU (ICCV 2021), OvSW (ECCV 2024)",
    ),
    "resnet20-bireal-slicepad": Net(
        build=partial(resnet, _RESNET20_BIREAL_SLICEPAD),
        about="16-32-64, six 3x3 convolutions a stage; shortcut over each, sliced and zero-padded",
        paper="IR-Net (CVPR 2020), AdaBin (ECCV 2022)",
    ),
    "resnet8-r2b-poolpad": Net(
        build=partial(resnet, _RESNET8_R2B_POOLPAD),
        about="as resnet8-bireal-poolpad, the norm in front and each convolution scaled by a gate",
        paper="none: a short resnet20-r2b-poolpad for quick runs",
    ),
    "resnet20-r2b-poolpad": Net(
        build=partial(resnet, _RESNET20_R2B_POOLPAD),
        about="as resnet20-bireal-poolpad, the norm in front and each convolution scaled by a gate",
        paper="the unit of Real-to-Binary (ICLR 2020)",
    ),
    "resnet8-bnext-poolpad": Net(
        build=partial(resnet, _RESNET8_BNEXT_POOLPAD),
        about="as resnet8-bireal-poolpad, each unit with a second norm after a gate",
        paper="none: a short resnet20-bnext-poolpad for quick runs",
    ),
    "resnet20-bnext-poolpad": Net(
        build=partial(resnet, _RESNET20_BNEXT_POOLPAD),
        about="as resnet20-bireal-poolpad, each unit with a second norm after a gate",
        paper="the 3x3 unit of BNext (TMLR 2023)",
    ),
    "resnet20-normal-slicepad": Net(
        build=partial(resnet, _RESNET20_NORMAL_SLICEPAD),
        about="16-32-64, six 3x3 convolutions a stage; shortcut over pairs, sliced and zero-padded",
        paper="RBNN (NeurIPS 2020); option A of ResNet (CVPR 2016)",
    ),
    "resnet18-normal-fp1x1": Net(
        build=partial(resnet, _RESNET18_NORMAL_FP1X1),
        about="64 to 512 on a 3x3 stem; shortcut over pairs, float 1x1 convolution with stride",
        paper="IR-Net (CVPR 2020), AdaBin (ECCV 2022), ReSTE (ICCV 2023)",
    ),
    "resnet18-normal-bin1x1": Net(
        build=partial(resnet, _RESNET18_NORMAL_BIN1X1),
        about="64 to 512 on a 3x3 stem; shortcut over pairs, binary 1x1 convolution with stride",
        paper="RBNN (NeurIPS 2020), SiMaN (TPAMI 2022), CMIM (ECCV 2022)",
    ),
    "resnet18-normal-poolpad": Net(
        build=partial(resnet, _RESNET18_NORMAL_POOLPAD),
        about="64 to 512 on a 3x3 stem; shortcut over pairs, pooled and zero-padded",
        paper="ReCU (ICCV 2021), BiPer (CVPR 2024)",
    ),
    "resnet18-bireal-fp1x1": Net(
        build=partial(resnet, _RESNET18_BIREAL_FP1X1),
        about="64 to 512 on a 3x3 stem; shortcut over each, pooled float 1x1 convolution",
        paper="the units of Bi-Real Net (ECCV 2018) and ReActNet (ECCV 2020) on a CIFAR stem",
    ),
    "resnet18-imagenet-bireal-fp1x1": Net(
        build=partial(resnet, _RESNET18_IMAGENET_BIREAL_FP1X1),
        about="64 to 512 on a 7x7 stem; shortcut over each, pooled float 1x1 convolution",
        paper="Bi-Real Net (ECCV 2018), ReActNet (ECCV 2020)",
    ),
    "resnet34-imagenet-bireal-fp1x1": Net(
        build=partial(resnet, _RESNET34_IMAGENET_BIREAL_FP1X1),
        about="as resnet18-imagenet-bireal-fp1x1, with 6, 8, 12 and 6 convolutions a stage",
        paper="Bi-Real Net (ECCV 2018)",
    ),
    "resnet18-imagenet-normal-fp1x1": Net(
        build=partial(resnet, _RESNET18_IMAGENET_NORMAL_FP1X1),
        about="64 to 512 on a 7x7 stem; shortcut over pairs, float 1x1 convolution with stride",
        paper="ResNet (CVPR 2016), option B",
    ),
    "reactnet-a": Net(
        build=reactnet_a,
        about="13 blocks of a 3x3 and one or two 1x1 convolutions, 32 to 1024; no projection",
        paper="ReActNet (ECCV 2020)",
    ),
}
