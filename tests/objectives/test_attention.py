"""Attention matching against its formula in numpy, and the isolation of its teacher."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from bitlens.errors import BitlensError
from bitlens.models import create
from bitlens.objectives.attention import AttentionMatching, attention

NET = "resnet8-bireal-poolpad"


def net(model: str = NET, *, method: str = "float", seed: int = 0, size: int = 16) -> nn.Module:
    return create(model, method=method, classes=4, channels=3, image_size=size, seed=seed)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(4))


def outputs(module: nn.Module, images: torch.Tensor, names: tuple[str, ...]) -> list[NDArray]:
    seen: dict[str, NDArray] = {}
    for name in names:
        module.get_submodule(name).register_forward_hook(
            lambda _, given, out, name=name: seen.update({name: out.detach().double().numpy()})
        )
    module(images)
    return [seen[name] for name in names]


def by_hand(student: list[NDArray], teacher: list[NDArray]) -> float:
    """One image, one block, one pixel after the other."""
    total = 0.0
    for own, other in zip(student, teacher, strict=True):
        for a, b in zip(own, other, strict=True):
            maps = []
            for activation in (a, b):
                q = np.array(
                    [
                        sum(channel[i, j] ** 2 for channel in activation)
                        for i in range(activation.shape[1])
                        for j in range(activation.shape[2])
                    ]
                )
                maps.append(q / np.sqrt((q**2).sum()))
            total += ((maps[0] - maps[1]) ** 2).sum() / len(own)
    return total


@pytest.mark.parametrize("method", ["float", "bireal"])
def test_the_loss_is_its_formula(images: torch.Tensor, method: str) -> None:
    student, teacher = net(method=method), net(seed=1)
    twins = copy.deepcopy(student), copy.deepcopy(teacher).eval()
    objective = AttentionMatching(student, teacher)
    assert objective.blocks == ("stages.0.1", "stages.1.1", "stages.2.1")
    student(images)
    loss = float(objective().loss.detach())
    expected = by_hand(*(outputs(twin, images, objective.blocks) for twin in twins))
    assert loss == pytest.approx(expected, rel=1e-5)
    assert 0 < loss < 2 * 3


def test_an_activation_of_nothing_has_no_attention() -> None:
    maps = attention(torch.stack([torch.zeros(3, 2, 2), torch.ones(3, 2, 2)]))
    assert maps.tolist() == [[0.0] * 4, [0.5] * 4]


def test_the_same_net_loses_nothing_and_scale_does_not_matter(images: torch.Tensor) -> None:
    student = net()
    teacher = copy.deepcopy(student)
    for module in student.modules():
        module.training = not isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d)
    objective = AttentionMatching(student, teacher)
    student(images)
    assert float(objective().loss.detach()) == pytest.approx(0, abs=1e-10)
    a = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(attention(a), attention(7 * a))


def test_teachers_with_other_channels_and_units(images: torch.Tensor) -> None:
    """Real-to-Binary's first teacher is a plain residual net."""
    student, teacher = net("resnet8-r2b-poolpad", method="bireal"), net()
    objective = AttentionMatching(student, teacher)
    student(images)
    objective().loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    for name, parameter in student.named_parameters():
        assert (parameter.grad is None) == name.startswith("head"), name
    assert not list(objective.parameters()) and not objective.state_dict()
    assert not teacher.training
    wide = nn.Sequential(nn.Conv2d(3, 9, 3), nn.Flatten(), nn.Linear(9, 2))
    thin = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2, 2))
    objective = AttentionMatching(thin, wide, blocks=("0",))
    thin(images[:, :, :3, :3])
    assert objective().loss.item() == pytest.approx(0), "of one pixel every map is the same"


def test_an_evaluation_between_leaves_nothing(images: torch.Tensor) -> None:
    student = net(method="bireal")
    objective = AttentionMatching(student, net(seed=1))
    student(images)
    expected = objective().loss
    student(images[:2])
    student.eval()
    with torch.no_grad():
        student(images[:3])
    student.train()
    student(images)
    torch.testing.assert_close(objective().loss, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(BitlensError, match="no forward pass recorded"):
        objective()


def test_what_cannot_be_matched(images: torch.Tensor) -> None:
    mlp = create("mlp", method="bireal", classes=4, channels=3, image_size=16)
    with pytest.raises(BitlensError, match="names no blocks whose maps could be matched"):
        AttentionMatching(mlp, net())
    with pytest.raises(BitlensError, match=r"block \(in the teacher\) 'stages.0.1'"):
        AttentionMatching(net(), mlp)
    with pytest.raises(BitlensError, match=r"block \(in the net\) 'stages.0.9'; did you mean"):
        AttentionMatching(net(), net(seed=1), blocks=("stages.0.9",))
    student = net("resnet8-bireal-poolpad")
    other = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(192, 4))
    holder = nn.Sequential()
    holder.add_module("stages", nn.Sequential(nn.Sequential(nn.Identity(), other[0])))
    holder.add_module("flat", nn.Flatten())
    holder.add_module("head", nn.Linear(192, 4))
    objective = AttentionMatching(student, holder, blocks=("stages.0.1",))
    student(images)
    with pytest.raises(BitlensError, match="16x16 in the net and 8x8 in the teacher"):
        objective()
