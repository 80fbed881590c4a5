"""Attention matching: a net's blocks look at the places of the image where a float teacher's do.

For every block the attention map of an image is Q = sum over channels of the squared output, flattened
and divided by its L2 norm. The loss is the sum over blocks of |Q_student - Q_teacher|^2, averaged over
the batch; between 0 and 2 per block, as no entry of Q is negative.

Source: Martinez, Yang, Bulat, Tzimiropoulos, "Training Binary Neural Networks with Real-to-Binary
Convolutions", ICLR 2020, after Zagoruyko, Komodakis, ICLR 2017.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.errors import BitlensError, unknown
from bitlens.objectives.taps import NetTap
from bitlens.objectives.teacher import Teacher
from bitlens.objectives.term import Term


class AttentionMatching(nn.Module):
    """Match the spatial attention of a float teacher, block by block.

    Args:
        net: net in training; its last forward is used, no second pass is made.
        teacher: float net whose blocks give maps of the same height and width; the number of channels
            may differ.
        blocks: names of the modules, the same in both nets, whose outputs (n, c, h, w) are matched;
            None for the blocks that the net itself names (`FloatNet.blocks`).

    Raises:
        BitlensError: no blocks, or a name that one of the nets does not have.
    """

    def __init__(
        self, net: nn.Module, teacher: nn.Module, *, blocks: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        self.blocks = tuple(getattr(net, "blocks", ()) if blocks is None else blocks)
        if not self.blocks:
            raise BitlensError(
                "attention: the net names no blocks whose maps could be matched; use a residual net, or "
                "pass blocks="
            )
        self._tap = NetTap(net)
        self._student = _Maps(net, self.blocks, "net", training=True)
        self._teacher = Teacher(teacher)
        self._target = _Maps(teacher, self.blocks, "teacher", training=False)

    def forward(self, *, labels: Tensor | None = None, indices: Tensor | None = None) -> Term:
        """Loss of the last training forward; labels and indices are not used."""
        images, _, _ = self._tap.take()
        student = self._student.take()
        self._teacher.logits(images)
        parts = [
            _distance(name, own, other)
            for name, own, other in zip(self.blocks, student, self._target.take(), strict=True)
        ]
        return Term(loss=torch.stack(parts).sum())


def attention(activation: Tensor) -> Tensor:
    """Normalised attention map (n, h * w) of an activation (n, c, h, w); all zero where that is."""
    return F.normalize(activation.square().sum(1).flatten(1), dim=1)


def _distance(name: str, student: Tensor, teacher: Tensor) -> Tensor:
    if student.shape[2:] != teacher.shape[2:]:
        raise BitlensError(
            f"attention: block {name!r} gives maps of {_size(student)} in the net and {_size(teacher)} "
            "in the teacher; both must have the same size"
        )
    gap = attention(student) - attention(teacher).to(student.dtype)
    return gap.square().sum(1).mean()


def _size(activation: Tensor) -> str:
    return "x".join(str(side) for side in activation.shape[2:]) or "one value"


class _Maps:
    """Outputs of named modules in the last forward pass.

    Of a net in training only passes with gradients count, so that an evaluation leaves nothing.
    """

    def __init__(self, net: nn.Module, names: Sequence[str], what: str, *, training: bool) -> None:
        modules = dict(net.named_modules())
        for name in names:
            if name not in modules:
                raise unknown(f"attention block (in the {what})", name, modules)
        self._names = names
        self._seen: dict[str, Tensor] = {}
        handles = [
            modules[name].register_forward_hook(_Keep(name, self._seen, training)) for name in names
        ]
        weakref.finalize(self, lambda: [handle.remove() for handle in handles])

    def take(self) -> list[Tensor]:
        """The outputs by the order of the names; forgets them."""
        taken = [self._seen[name] for name in self._names]
        self._seen.clear()
        return taken


class _Keep:
    """Hook that keeps a module's output under its name."""

    def __init__(self, name: str, seen: dict[str, Tensor], training: bool) -> None:
        self.name, self.seen, self.training = name, seen, training

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not self.training or (module.training and torch.is_grad_enabled()):
            self.seen[self.name] = output
