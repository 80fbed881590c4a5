"""CMIM: maximise the mutual information of binary and full-precision activations.

For every chosen layer the pair (a_F, a_B = sgn(a_F)) of one and the same forward pass is pooled,
embedded by trainable heads and contrasted: same image is a positive, different images are negatives.
For dense prediction the samples are regions or locations of the maps instead (`pairs`). The loss is a
contrastive lower bound on I(a_B; a_F), to be added to the task's loss with a weight.

Source: Shang, Xu, Zong, Nie, Yan, "Network Binarization via Contrastive Learning", ECCV 2022
(arXiv 2207.02970). `preset="released"` follows the authors' published program instead, which contrasts
the last feature with that of a separately trained float teacher; see `bitlens.objectives.config`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.errors import BitlensError, unknown
from bitlens.objectives.anchors import AnchorDraw, Anchors
from bitlens.objectives.config import PRESETS, CMIMConfig
from bitlens.objectives.contrast import Contrast
from bitlens.objectives.negatives import Batch
from bitlens.objectives.samples import samples_of
from bitlens.objectives.taps import NetTap, SignTaps, last_linear
from bitlens.objectives.teacher import Teacher
from bitlens.objectives.term import Term


class CMIM(nn.Module):
    """Contrastive MI maximisation on a binarized net, for any training loop.

    Build it after `binarize`, hand its parameters to the optimizer together with the net's, and call
    it once after each training forward; it makes no forward pass of the net itself.

    Args:
        net: binarized net (for `partner="teacher"`, any net with a final linear layer).
        preset: a key of `PRESETS`, the settings to start from.
        teacher: float net, for `partner="teacher"`; frozen and kept in evaluation mode.
        dataset_size: number of training images, for `source="bank"`.
        seed: of the heads, the bank and all draws.
        **overrides: fields of `CMIMConfig` that differ from the preset.

    Raises:
        BitlensError: unknown preset or field, no binary layer, a layer name that matches nothing, or a
            missing teacher or dataset size.
    """

    def __init__(
        self,
        net: nn.Module,
        preset: str = "paper",
        *,
        teacher: nn.Module | None = None,
        dataset_size: int | None = None,
        seed: int = 0,
        **overrides: Any,
    ) -> None:
        super().__init__()
        self._build(net, configure(preset, overrides), teacher, dataset_size, seed)

    @classmethod
    def from_config(
        cls,
        net: nn.Module,
        config: CMIMConfig,
        *,
        teacher: nn.Module | None = None,
        dataset_size: int | None = None,
        seed: int = 0,
    ) -> CMIM:
        """The same from a complete `CMIMConfig` instead of a preset and overrides."""
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made._build(net, config, teacher, dataset_size, seed)
        return made

    def _build(
        self,
        net: nn.Module,
        config: CMIMConfig,
        teacher: nn.Module | None,
        dataset_size: int | None,
        seed: int,
    ) -> None:
        self.config = config
        # Registered for dense pairs alone: an objective of images has no state of a draw.
        self.draw = None if config.pairs == "image" else AnchorDraw(config.anchors, seed)
        if config.partner == "teacher" and teacher is None:
            raise BitlensError("cmim: partner='teacher' contrasts with a float net; pass teacher=")
        if config.partner == "latent" and teacher is not None:
            raise BitlensError("cmim: a teacher was given but partner='latent' never looks at it")
        if teacher is None:
            taps = SignTaps(net, config.layers, samples_of(config, self.draw))
            self.names = taps.names
            pairs = [(k, k) for k in taps.features]
            self._taps: SignTaps | NetTap = taps
        else:
            if config.layers != "last":
                raise BitlensError(
                    f"cmim: layers={config.layers!r} with a teacher; only the last feature is paired "
                    "with a teacher, use layers='last'"
                )
            self.names = ["feature"]
            pairs = [(last_linear(net).in_features, last_linear(teacher).in_features)]
            self._taps = NetTap(net)
        self._teacher = None if teacher is None else Teacher(teacher)
        self.contrasts = nn.ModuleList(
            Contrast(ku, kv, config, dataset_size=dataset_size, seed=(seed * 1009 + 3 * k) % 2**62)
            for k, (ku, kv) in enumerate(pairs)
        )
        depth = len(self.names)
        weights = [config.beta ** -(depth - 1 - k) for k in range(depth)]
        self.layer_weights = [weight / sum(weights) for weight in weights]
        self.to(next(net.parameters()).device)

    @property
    def teacher(self) -> nn.Module | None:
        """The float partner; not a submodule, so it is neither trained nor saved with the heads."""
        return None if self._teacher is None else self._teacher.net

    def forward(self, *, labels: Tensor | None = None, indices: Tensor | None = None) -> Term:
        """Loss and MI bound of the last training forward of the net.

        Args:
            labels: (n,) classes, needed for `exclude="class"`.
            indices: (n,) positions in the training set, needed for `source="bank"`; a queue that
                reaches into the epoch before recognises a sample by them.

        Raises:
            BitlensError: no forward pass since the last call, or labels or indices missing.
        """
        batch = Batch.over_ranks(labels, indices)
        done = [
            contrast(u, v, batch if anchors is None else anchors.batch(batch))
            for contrast, (u, v, anchors) in zip(self.contrasts, self._features(), strict=True)
        ]
        if self.draw is not None and self.training:
            self.draw.advance()
        weighted = list(zip(self.layer_weights, done, strict=True))
        return Term(
            loss=torch.stack([w * c.loss for w, c in weighted]).sum(),
            bound=torch.stack([w * c.bound for w, c in weighted]).sum(),
            ceiling=float(sum(w * c.ceiling for w, c in weighted)),
            valid=all(contrast.valid for contrast in self.contrasts),
            layers={name: c.bound for name, c in zip(self.names, done, strict=True)},
        )

    def _features(self) -> list[tuple[Tensor, Tensor, Anchors | None]]:
        """Rows of features of the binary side, of the float side, and which samples they are."""
        raw: list[tuple[Tensor, Tensor, Anchors | None]]
        if isinstance(self._taps, NetTap):
            images, _, feature = self._taps.take()
            assert self._teacher is not None
            raw = [(feature, self._teacher.feature(images), None)]
        else:
            raw = [(a_b, a_f, anchors) for a_f, a_b, anchors in self._taps.take()]
        if self.config.grad == "binary-only":
            return [(u, v.detach(), anchors) for u, v, anchors in raw]
        if self.config.grad == "float-only":
            return [(u.detach(), v, anchors) for u, v, anchors in raw]
        return raw


def configure(preset: str, overrides: dict[str, Any]) -> CMIMConfig:
    """A preset with some fields replaced; unknown names are a BitlensError with near names."""
    if preset not in PRESETS:
        raise unknown("CMIM preset", preset, PRESETS)
    known = CMIMConfig.__dataclass_fields__
    for name in overrides:
        if name not in known:
            raise unknown("CMIM setting", name, known)
    return replace(PRESETS[preset], **overrides)
