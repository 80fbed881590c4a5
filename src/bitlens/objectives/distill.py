"""Distillation from a float teacher's outputs: the control for every gain with a teacher in it.

LogitKD: T^2 KL(teacher_T || student_T), T = 2 (Hinton, Vinyals, Dean, 2015).
Distribution: soft cross-entropy at T = 1, ReActNet's only target (Liu et al., ECCV 2020).
What a teacher's inner maps can teach is in `bitlens.objectives.attention`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.errors import BitlensError
from bitlens.objectives.taps import NetTap
from bitlens.objectives.teacher import Teacher
from bitlens.objectives.term import Term


class _FromTeacher(nn.Module):
    def __init__(self, net: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self._tap = NetTap(net)
        self._teacher = Teacher(teacher)

    def _logits(self) -> tuple[Tensor, Tensor]:
        images, student, _ = self._tap.take()
        teacher = self._teacher.logits(images).to(student.dtype)
        if teacher.shape != student.shape:
            raise BitlensError(
                f"distillation: the teacher gives {tuple(teacher.shape)} outputs, the net "
                f"{tuple(student.shape)}; both must have the same classes"
            )
        return student, teacher


class LogitKD(_FromTeacher):
    """Match the teacher's softened outputs.

    Args:
        net: net in training; its last forward is used, no second pass is made.
        teacher: float net with the same classes.
        temperature: T above; the loss is multiplied by T^2 so that its gradient does not shrink.
    """

    def __init__(self, net: nn.Module, teacher: nn.Module, *, temperature: float = 2.0) -> None:
        super().__init__(net, teacher)
        if not temperature > 0:
            raise BitlensError(f"logit-kd: temperature={temperature}; it must be positive")
        self.temperature = temperature

    def forward(self, *, labels: Tensor | None = None, indices: Tensor | None = None) -> Term:
        """Loss of the last training forward; labels and indices are not used."""
        student, teacher = self._logits()
        t = self.temperature
        loss = F.kl_div(
            F.log_softmax(student / t, 1),
            F.log_softmax(teacher / t, 1),
            reduction="batchmean",
            log_target=True,
        )
        return Term(loss=loss * t**2)


class Distribution(_FromTeacher):
    """Cross-entropy to the teacher's output distribution."""

    def forward(self, *, labels: Tensor | None = None, indices: Tensor | None = None) -> Term:
        """Loss of the last training forward; labels and indices are not used."""
        student, teacher = self._logits()
        return Term(loss=F.cross_entropy(student, teacher.softmax(1)))
