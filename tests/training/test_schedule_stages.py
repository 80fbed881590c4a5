"""Stages, learning rates and parameter groups against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bitlens.errors import BitlensError
from bitlens.methods import bireal
from bitlens.methods.contract import THREE_STEP, Stage
from bitlens.models import create
from bitlens.models.layers import binary_layers
from bitlens.objectives.cmim import CMIM
from bitlens.tasks.classify import ClassifyTask
from bitlens.training.recipe import Recipe
from bitlens.training.schedule import (
    begin_momentum,
    learning_rate,
    make_optimizer,
    plan_stages,
    set_learning_rate,
    set_precision,
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

    @settings(deadline=None)
    @given(epochs=st.integers(3, 999))
    def test_three_stages_cover_every_epoch_once_in_near_equal_parts(self, epochs: int) -> None:
        stages = plan_stages(Recipe(plan="three-step", epochs=epochs))
        covered = [epoch for s in stages for epoch in range(s.first, s.last + 1)]
        assert covered == list(range(1, epochs + 1))
        lengths = [s.epochs for s in stages]
        assert max(lengths) - min(lengths) <= 1 and min(lengths) == epochs // 3

    def test_real_to_binarys_order(self) -> None:
        stages = plan_stages(Recipe(plan="three-step", epochs=3, weight_decay=0.3))
        assert [(s.binary_weights, s.binary_activations) for s in stages] == [
            *((False, False), (False, True), (True, True))
        ]
        assert [s.weight_decay for s in stages] == [1e-5, 1e-5, 0.0]

    @pytest.mark.parametrize(("method", "same"), [("reactnet", "two-step"), ("bireal", "one-step")])
    def test_own_is_the_methods_plan(self, method: str, same: str) -> None:
        own = plan_stages(Recipe(plan="own", method=method, epochs=7, weight_decay=0.2))
        assert own == plan_stages(Recipe(plan=same, method=method, epochs=7, weight_decay=0.2))

    @pytest.mark.parametrize(
        ("plan", "changes", "said"),
        [
            ((), {}, r"shares of its plan are \[\]"),
            ((Stage(share=0.5), Stage(share=0.4)), {}, r"\[0.5, 0.4\]; they must .* sum to 1"),
            ((Stage(share=0.0), Stage(share=1.0)), {}, "must be positive"),
            ((Stage(share=1.0, binary_weights=False),), {}, "ends with real weights"),
            ((Stage(share=1.0, binary_activations=False),), {}, "the last stage must make both"),
            (THREE_STEP, {"epochs": 2}, "plan='own' has 3 stages and needs at least 3 epochs"),
            (THREE_STEP, {"epochs": 9, "warmup": 3.0}, "warmup=3.0 leaves nothing of 3 epochs"),
            (
                THREE_STEP,
                {"objective": "cmim", "weight": 0.1},
                "stage 1 of plan='own' takes no signs",
            ),
        ],
    )
    def test_own_plans_that_are_refused(
        self,
        monkeypatch: pytest.MonkeyPatch,
        plan: tuple[Stage, ...],
        changes: dict,
        said: str,
    ) -> None:
        monkeypatch.setattr(bireal, "MINE", replace(bireal.BIREAL, plan=plan), raising=False)
        recipe = Recipe(plan="own", method="bitlens.methods.bireal:MINE", **changes)
        with pytest.raises(BitlensError, match=said):
            plan_stages(recipe)

    def test_switching_precision(self) -> None:
        net = create("mlp", method="bireal", classes=3, channels=1, image_size=4)
        layer = next(iter(binary_layers(net).values()))
        images = torch.randn(5, 1, 4, 4)
        outputs = []
        for weights, activations in ((True, True), (False, True), (False, False), (True, True)):
            set_precision(net, binary_weights=weights, binary_activations=activations)
            assert (layer.binary_weights, layer.binary_activations) == (weights, activations)
            outputs.append(net(images))
        first, second, third, again = outputs
        assert torch.equal(first, again)
        assert not torch.equal(first, second) and not torch.equal(second, third)


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


def decay_by_parameter(optimizer: torch.optim.Optimizer) -> dict[nn.Parameter, float]:
    groups = optimizer.param_groups
    return {p: group["weight_decay"] for group in groups for p in group["params"]}


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

    def test_the_method_may_decay_latent_weights_in_its_own_way(
        self, task: ClassifyTask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        layers = binary_layers(task.net).values()
        for layer in layers:
            monkeypatch.setattr(layer, "latent_decay", 0.5)
        optimizer = make_optimizer(Recipe(), task, 0.03)
        decays = decay_by_parameter(optimizer)
        assert {decays[layer.weight] for layer in layers} == {0.5}
        assert decays[task.net.stem.weight] == decays[task.net.head.weight] == 0.03
        assert decays[task.net.stem_norm.weight] == decays[task.net.head.bias] == 0.0

    def test_what_a_binarizer_owns_does_not_decay_whatever_its_shape(
        self, task: ClassifyTask
    ) -> None:
        layer = next(iter(binary_layers(task.net).values()))
        parts = [layer.weight_binarizer, layer.activation, nn.Identity()]
        layer.output = parts[2]
        for part in parts:
            part.matrix = nn.Parameter(torch.ones(2, 3))
        decays = decay_by_parameter(make_optimizer(Recipe(), task, 0.03))
        assert [decays[part.matrix] for part in parts] == [0.0] * 3
        assert decays[layer.weight] == 0.03

    def test_multiples_of_the_learning_rate(
        self, task: ClassifyTask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        layer = next(iter(binary_layers(task.net).values()))
        binarizer = layer.weight_binarizer
        binarizer.slow, binarizer.usual = (nn.Parameter(torch.ones(2, 2)) for _ in range(2))
        monkeypatch.setattr(binarizer, "learning_rates", lambda: {"slow": 0.125})
        optimizer = make_optimizer(Recipe(optimizer="sgd", momentum=0.0, lr=0.5), task, 0.03)
        assert {g["lr"] for g in optimizer.param_groups} == {0.5, 0.0625}, (
            "at once, not from step 2"
        )
        state = optimizer.state_dict()
        again = make_optimizer(Recipe(optimizer="sgd", momentum=0.0, lr=0.5), task, 0.03)
        again.load_state_dict(state)
        for parameter in task.parameters():
            parameter.grad = torch.ones_like(parameter)
        set_learning_rate(again, 0.25)
        again.step()
        torch.testing.assert_close(binarizer.slow, torch.full((2, 2), 1 - 0.25 / 8))
        torch.testing.assert_close(binarizer.usual, torch.full((2, 2), 1 - 0.25))

    @pytest.mark.parametrize("momentum", [0.0, 0.75])
    def test_a_parameter_that_joins_late(self, momentum: float) -> None:
        """Torch's fused SGD fails on it; its loop over single tensors does not."""
        recipe = Recipe(optimizer="sgd", momentum=momentum, lr=0.1)
        mine, theirs = (nn.ParameterList([torch.ones(3), torch.ones(3)]) for _ in range(2))
        ours = make_optimizer(recipe, mine, 0.0)
        plain = torch.optim.SGD(
            theirs.parameters(), 0.1, momentum, nesterov=momentum > 0, foreach=False
        )
        for step in range(5):
            for pair in (mine, theirs):
                pair[0].grad = torch.full((3,), 1.0 + step)
                pair[1].grad = torch.full((3,), 2.0) if step in (2, 4) else None
            begin_momentum(ours)
            ours.step()
            plain.step()
        assert torch.equal(mine[0], theirs[0]) and torch.equal(mine[1], theirs[1])

    def test_a_rate_for_what_is_not_there(
        self, task: ClassifyTask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        layer = next(iter(binary_layers(task.net).values()))
        monkeypatch.setattr(layer.weight_binarizer, "learning_rates", lambda: {"alpha": 2.0})
        with pytest.raises(
            BitlensError, match=r"'reactnet': .* 'alpha', but .* parameters are none"
        ):
            make_optimizer(Recipe(), task, 0.0)

    @pytest.mark.parametrize("latent_decay", [None, 0.25])
    def test_what_decays_like_a_latent_weight(self, latent_decay: float | None) -> None:
        net = create("resnet8-bireal-poolpad", method="rbnn", classes=3, channels=3, image_size=8)
        for layer in binary_layers(net).values():
            layer.latent_decay = latent_decay
        decays = decay_by_parameter(make_optimizer(Recipe(), net, 0.03))
        expected = 0.03 if latent_decay is None else latent_decay
        for layer in binary_layers(net).values():
            own = dict(layer.weight_binarizer.named_parameters())
            assert decays[own["angle"]] == decays[layer.weight] == expected
            assert decays[own["scale"]] == 0.0

    def test_a_decay_and_a_rate_for_one_parameter(
        self, task: ClassifyTask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        binarizer = next(iter(binary_layers(task.net).values())).weight_binarizer
        binarizer.slow = nn.Parameter(torch.ones(2))
        monkeypatch.setattr(binarizer, "learning_rates", lambda: {"slow": 0.125})
        monkeypatch.setattr(binarizer, "decaying", lambda: ("slow",))
        (group,) = make_optimizer(Recipe(), task, 0.03).param_groups[2:]
        assert (group["weight_decay"], group["lr_multiple"]) == (0.03, 0.125)
        assert [p is binarizer.slow for p in group["params"]] == [True]
        monkeypatch.setattr(binarizer, "decaying", lambda: ("gone",))
        with pytest.raises(BitlensError, match=r"weight decay is set for 'gone', but .* are slow"):
            make_optimizer(Recipe(), task, 0.0)

    def test_a_lazy_parameter_is_named(self) -> None:
        net = nn.Sequential(nn.Linear(3, 4), nn.LazyLinear(2))
        with pytest.raises(BitlensError, match=r"'1.weight' is lazy .* one forward pass first"):
            make_optimizer(Recipe(), net, 0.0)
        net(torch.ones(1, 3))
        make_optimizer(Recipe(), net, 0.0)

    def test_without_a_methods_wishes_there_are_two_groups(self, task: ClassifyTask) -> None:
        """A checkpoint written before there were others still fits."""
        matrices, rest = make_optimizer(Recipe(), task, 0.03).param_groups
        assert all(p.dim() > 1 for p in matrices["params"])
        assert all(p.dim() <= 1 for p in rest["params"])
        kept = {id(p) for p in task.parameters() if p.requires_grad}
        assert {id(p) for p in matrices["params"] + rest["params"]} == kept

    def test_a_net_without_vectors_or_without_matrices(self) -> None:
        for net in (nn.Linear(3, 2, bias=False), nn.BatchNorm1d(3)):
            optimizer = make_optimizer(Recipe(), net, 0.1)
            net(torch.randn(4, 3)).square().sum().backward()
            optimizer.step()
