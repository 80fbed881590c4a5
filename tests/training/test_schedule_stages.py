"""Stages, learning rates and parameter groups against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bitlens.models import create
from bitlens.models.layers import binary_layers
from bitlens.objectives.cmim import CMIM
from bitlens.tasks.classify import ClassifyTask
from bitlens.training.recipe import Recipe
from bitlens.training.schedule import (
    learning_rate,
    make_optimizer,
    plan_stages,
    set_binary_weights,
)


class TestStages:
    @settings(deadline=None)
    @given(epochs=st.integers(2, 999))
    def test_two_stages_cover_every_epoch_once_and_halve_them(self, epochs: int) -> None:
        first, second = plan_stages(Recipe(plan="two-step", epochs=epochs))
        covered = [*range(first.first, first.last + 1), *range(second.first, second.last + 1)]
        assert covered == list(range(1, epochs + 1))
        assert 0 <= first.epochs - second.epochs <= 1
        assert (first.number, second.number) == (1, 2)

    @pytest.mark.parametrize(
        ("epochs", "split"), [(2, (1, 1)), (3, (2, 1)), (5, (3, 2)), (7, (4, 3))]
    )
    def test_an_odd_epoch_goes_to_the_first_stage(
        self, epochs: int, split: tuple[int, int]
    ) -> None:
        stages = plan_stages(Recipe(plan="two-step", epochs=epochs))
        assert tuple(stage.epochs for stage in stages) == split

    @pytest.mark.parametrize("epochs", [1, 2, 7])
    def test_one_stage_is_everything(self, epochs: int) -> None:
        (stage,) = plan_stages(Recipe(epochs=epochs, weight_decay=0.3))
        assert (stage.first, stage.last, stage.epochs) == (1, epochs, epochs)
        assert stage.binary_weights and stage.weight_decay == 0.3

    def test_weights_and_decay_of_reactnets_plan(self) -> None:
        first, second = plan_stages(Recipe(plan="two-step", epochs=4, weight_decay=0.3))
        assert (first.binary_weights, second.binary_weights) == (False, True)
        assert (first.weight_decay, second.weight_decay) == (1e-5, 0.0)

    def test_switching_weights(self) -> None:
        net = create("mlp", method="bireal", classes=3, channels=1, image_size=4)
        layer = next(iter(binary_layers(net).values()))
        images = torch.randn(5, 1, 4, 4)
        outputs = []
        for binary in (True, False, True):
            set_binary_weights(net, binary)
            assert layer.binary_weights is binary
            outputs.append(net(images))
        assert torch.equal(outputs[0], outputs[2]) and not torch.equal(outputs[0], outputs[1])


class TestLearningRate:
    @pytest.mark.parametrize(
        ("schedule", "quarter", "middle"),
        [
            ("linear", 0.75, 0.5),
            ("cosine", (1 + math.cos(math.pi / 4)) / 2, 0.5),
            ("constant", 1, 1),
        ],
    )
    def test_closed_forms(self, schedule: str, quarter: float, middle: float) -> None:
        recipe = Recipe(lr=0.2, schedule=schedule)
        assert learning_rate(recipe, 0, 100, 0) == pytest.approx(0.2)
        assert learning_rate(recipe, 25, 100, 0) == pytest.approx(0.2 * quarter)
        assert learning_rate(recipe, 50, 100, 0) == pytest.approx(0.2 * middle)
        end = learning_rate(recipe, 100, 100, 0)
        assert end == pytest.approx(0.2 if schedule == "constant" else 0.0, abs=1e-12)

    @pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
    def test_warm_up_rises_in_equal_steps_and_the_decay_starts_after_it(
        self, schedule: str
    ) -> None:
        """The program's cosine was created with a negative epoch and ran wrong after the warm-up."""
        recipe = Recipe(lr=0.2, schedule=schedule, epochs=9, warmup=1.0)
        rates = [learning_rate(recipe, step, 110, 10) for step in range(110)]
        assert rates[:10] == pytest.approx([0.02 * (i + 1) for i in range(10)])
        plain = [learning_rate(recipe, step, 100, 0) for step in range(100)]
        assert rates[10:] == pytest.approx(plain)

    @settings(deadline=None)
    @given(
        steps=st.integers(1, 300),
        share=st.floats(0, 1),
        schedule=st.sampled_from(["linear", "cosine"]),
    )
    def test_positive_below_the_peak_and_falling_after_warm_up(
        self, steps: int, share: float, schedule: str
    ) -> None:
        warmup = int(share * steps)
        recipe = Recipe(lr=0.1, schedule=schedule)
        rates = [learning_rate(recipe, step, steps, warmup) for step in range(steps)]
        assert all(0 < rate < 0.1 + 1e-12 for rate in rates)
        assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
        assert rates[:warmup] == sorted(rates[:warmup])


@pytest.fixture
def task() -> ClassifyTask:
    net = create("resnet8-bireal-poolpad", method="reactnet", classes=3, channels=3, image_size=8)
    return ClassifyTask(net, CMIM(net, learn_critic=True, head="mlp"), weight=0.1)


class TestOptimizer:
    @pytest.mark.parametrize("name", ["adam", "sgd"])
    def test_every_parameter_once_and_decay_on_matrices_only(
        self, task: ClassifyTask, name: str
    ) -> None:
        """Heads included: the program's optimizer was given the net's parameters alone."""
        optimizer = make_optimizer(Recipe(optimizer=name), task, 0.03)
        grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
        assert len(grouped) == len(set(grouped))
        assert set(grouped) == {id(p) for p in task.parameters()}
        decayed = {
            id(p)
            for group in optimizer.param_groups
            if group["weight_decay"]
            for p in group["params"]
        }
        expected = {
            id(module.weight)
            for module in task.modules()
            if isinstance(module, nn.Conv2d | nn.Linear)
            or module in binary_layers(task.net).values()
        }
        assert decayed == expected
        assert {group["weight_decay"] for group in optimizer.param_groups} == {0.03, 0.0}

    def test_frozen_parameters_stay_out(self, task: ClassifyTask) -> None:
        task.net.stem.weight.requires_grad_(False)
        optimizer = make_optimizer(Recipe(), task, 0.0)
        grouped = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert id(task.net.stem.weight) not in grouped
        assert len(grouped) == len(list(task.parameters())) - 1

    def test_kinds(self, task: ClassifyTask) -> None:
        recipe = Recipe(optimizer="sgd", momentum=0.8, lr=0.3)
        sgd = make_optimizer(recipe, task, 0.0)
        assert isinstance(sgd, torch.optim.SGD)
        assert (
            sgd.defaults["momentum"] == 0.8
            and sgd.defaults["nesterov"]
            and sgd.defaults["lr"] == 0.3
        )
        plain = make_optimizer(replace(recipe, momentum=0.0), task, 0.0)
        assert not plain.defaults["nesterov"]
        assert isinstance(make_optimizer(Recipe(), task, 0.0), torch.optim.AdamW)

    @pytest.mark.parametrize("name", ["adam", "sgd"])
    def test_steps_are_those_of_the_plain_optimizer(self, name: str) -> None:
        """On channels-last weights, against torch's loop over single tensors."""
        recipe = Recipe(optimizer=name, lr=0.05)
        tasks = []
        for _ in range(2):
            net = create(
                "resnet8-bireal-poolpad", method="bireal", classes=3, channels=3, image_size=8
            )
            net = net.to(dtype=torch.float64, memory_format=torch.channels_last)
            tasks.append(ClassifyTask(net, CMIM(net, "tuned", pool=1).double(), weight=0.1))
        ours = make_optimizer(recipe, tasks[0], 0.01)
        matrices = [p for p in tasks[1].parameters() if p.requires_grad and p.dim() > 1]
        rest = [p for p in tasks[1].parameters() if p.requires_grad and p.dim() <= 1]
        groups = [{"params": matrices, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
        if name == "adam":
            plain: torch.optim.Optimizer = torch.optim.AdamW(groups, lr=0.05, foreach=False)
        else:
            plain = torch.optim.SGD(
                groups, lr=0.05, momentum=recipe.momentum, nesterov=True, foreach=False
            )
        images = torch.randn(6, 3, 8, 8, dtype=torch.float64)
        for _ in range(2):
            for task, optimizer in zip(tasks, (ours, plain), strict=True):
                optimizer.zero_grad(set_to_none=True)
                task(images, torch.arange(6) % 3, torch.arange(6)).loss.backward()
                optimizer.step()
        for mine, theirs in zip(tasks[0].parameters(), tasks[1].parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-9)

    def test_a_net_without_vectors_or_without_matrices(self) -> None:
        for net in (nn.Linear(3, 2, bias=False), nn.BatchNorm1d(3)):
            optimizer = make_optimizer(Recipe(), net, 0.1)
            net(torch.randn(4, 3)).square().sum().backward()
            optimizer.step()
