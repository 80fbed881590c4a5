"""Distillation losses against their formulas in numpy, and the teacher's isolation."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import bitlens
from bitlens.errors import BitlensError
from bitlens.objectives.distill import Distribution, LogitKD


def make_net(classes: int = 5, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, classes))


def log_softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = x - x.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(7, 6, generator=torch.Generator().manual_seed(4))


def both_logits(
    net: nn.Module, teacher: nn.Module, images: torch.Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    student = copy.deepcopy(net)(images)
    return student.detach().double().numpy(), teacher(images).detach().double().numpy()


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.5])
def test_logit_kd_is_scaled_kl_divergence(images: torch.Tensor, temperature: float) -> None:
    net, teacher = make_net(), make_net(seed=1)
    objective = LogitKD(net, teacher, temperature=temperature)
    student, target = both_logits(net, teacher, images)
    net(images)
    log_p, log_q = log_softmax(target / temperature), log_softmax(student / temperature)
    expected = temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(1).mean()
    assert float(objective().loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_logit_kd_has_temperature_two(images: torch.Tensor) -> None:
    assert LogitKD(make_net(), make_net(seed=1)).temperature == 2.0


def test_distribution_is_soft_cross_entropy(images: torch.Tensor) -> None:
    net, teacher = make_net(), make_net(seed=1)
    objective = Distribution(net, teacher)
    student, target = both_logits(net, teacher, images)
    net(images)
    expected = -(np.exp(log_softmax(target)) * log_softmax(student)).sum(1).mean()
    assert float(objective().loss.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("make", [LogitKD, Distribution])
class TestBoth:
    def test_teacher_is_frozen_and_untouched(
        self, make: type[LogitKD], images: torch.Tensor
    ) -> None:
        net, teacher = make_net(), make_net(seed=1)
        before = copy.deepcopy(teacher.state_dict())
        objective = make(net, teacher).train()
        net(images)
        objective().loss.backward()
        assert not teacher.training
        assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
        assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())
        assert all(p.grad is not None for p in net.parameters())
        assert not list(objective.parameters()) and not objective.state_dict()

    def test_gradient_vanishes_where_the_student_agrees(
        self, make: type[LogitKD], images: torch.Tensor
    ) -> None:
        net = make_net().eval()
        teacher = copy.deepcopy(net)
        objective = make(net, teacher)
        for module in net.modules():
            module.training = not isinstance(module, nn.BatchNorm1d)
        logits = net(images)
        (gradient,) = torch.autograd.grad(objective().loss, logits)
        assert float(gradient.abs().max()) < 1e-7

    def test_classes_must_agree(self, make: type[LogitKD], images: torch.Tensor) -> None:
        net = make_net(classes=4)
        objective = make(net, make_net(classes=5))
        net(images)
        with pytest.raises(BitlensError, match=r"\(7, 5\).*\(7, 4\).*same classes"):
            objective()

    def test_a_call_needs_a_forward_pass(self, make: type[LogitKD], images: torch.Tensor) -> None:
        net = make_net()
        objective = make(net, make_net(seed=1))
        with pytest.raises(BitlensError, match="no forward pass recorded"):
            objective()
        net(images)
        objective()
        with pytest.raises(BitlensError, match="no forward pass recorded"):
            objective()


def test_temperature_must_be_positive() -> None:
    with pytest.raises(BitlensError, match=r"temperature=0\.0"):
        LogitKD(make_net(), make_net(), temperature=0.0)


def test_names_at_the_top() -> None:
    assert bitlens.LogitKD is LogitKD and bitlens.Distribution is Distribution
