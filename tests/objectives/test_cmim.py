"""CMIM on real nets: one forward pass, trained heads, routed gradients, and what it refuses."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bitlens
from bitlens.errors import BitlensError
from bitlens.methods.contract import Sign
from bitlens.models import create
from bitlens.models.layers import binary_layers
from bitlens.objectives.cmim import CMIM
from bitlens.objectives.config import PRESETS, CMIMConfig

IMAGES = 40
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 3, 3])
INDICES = torch.tensor([3, 39, 0, 8, 12, 21, 5, 30])
INFONCE: dict[str, Any] = {"loss": "infonce", "temperature": 0.2, "width": 64, "beta": 1.0}


def make_net(
    method: str = "bireal", seed: int = 0, model: str = "resnet8-bireal-poolpad"
) -> nn.Module:
    return create(model, method=method, classes=4, channels=3, image_size=8, seed=seed)


def draw_images(count: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def with_teacher(net: nn.Module, preset: str, **settings: Any) -> CMIM:
    given: dict[str, Any] = {"negatives": 16, "teacher": make_net("float", seed=7)}
    return CMIM(net, preset, dataset_size=IMAGES, **(given | settings))


def signs_of(net: nn.Module) -> list[Sign]:
    return [m for m in net.modules() if isinstance(m, Sign)]


def captured_forward(net: nn.Module, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(a_F, a_B) of each sign, seen by hooks of the test's own."""
    seen: list[tuple[Tensor, Tensor]] = []
    handles = [
        sign.register_forward_hook(lambda _, x, y: seen.append((x[0], y))) for sign in signs_of(net)
    ]
    net(images)
    for handle in handles:
        handle.remove()
    return seen


def gradients(loss: Tensor, net: nn.Module) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
    return [
        torch.zeros_like(p) if g is None else g
        for g, p in zip(found, net.parameters(), strict=True)
    ]


def assert_same_tensors(ours: list[Tensor], theirs: list[Tensor], **tolerance: float) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


class TestOnePass:
    def test_one_forward_pass_a_step(self) -> None:
        """The program ran the binary net twice a step, so its statistics moved twice."""
        net = make_net()
        cmim = CMIM(net)
        calls: list[nn.Module] = []
        for module in net.modules():
            if module is net or isinstance(module, Sign):
                module.register_forward_hook(lambda m, _, __: calls.append(m))
        for step in range(3):
            net(draw_images(seed=step))
            cmim().loss.backward()
        assert len(calls) == 3 * (1 + len(signs_of(net)))
        counts = {
            int(m.num_batches_tracked) for m in net.modules() if isinstance(m, nn.BatchNorm2d)
        }
        assert counts == {3}

    def test_pairs_come_from_that_pass(self) -> None:
        """Loss against a direct computation from activations caught by other hooks."""
        net = make_net()
        cmim = CMIM(net, **INFONCE)
        seen = captured_forward(net, draw_images())
        term = cmim()
        losses = []
        for (a_f, a_b), contrast in zip(seen, cmim.contrasts, strict=True):
            u = F.normalize(contrast.u_head.project(a_b.mean((2, 3))), dim=1)
            v = F.normalize(contrast.v_head.project(a_f.mean((2, 3))), dim=1)
            scores, own = u @ v.T / 0.2, torch.arange(len(u))
            losses.append((F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2)
        torch.testing.assert_close(term.loss, torch.stack(losses).mean())
        assert float(term.bound) == pytest.approx(
            float(torch.tensor(8.0).log() - term.loss.detach()), abs=1e-5
        )
        assert term.ceiling == pytest.approx(float(torch.tensor(8.0).log()))
        assert list(term.layers) == list(binary_layers(net))

    def test_no_third_level_reaches_the_contrast(self) -> None:
        """The program's sign(0) = 0 made codes ternary; here an all-zero map pools to +1."""
        layer = bitlens.binarize(nn.Conv2d(2, 3, 3), "bireal", keep_float=())
        cmim = CMIM(layer)
        layer(torch.zeros(4, 2, 5, 5, requires_grad=True))
        ((binary, real, _),) = cmim._features()
        assert torch.equal(binary, torch.ones(4, 2)) and torch.equal(real, torch.zeros(4, 2))

    def test_nothing_is_rebuilt_between_steps(self) -> None:
        """The program made its objective anew every epoch; here heads and memory only evolve."""
        net = make_net()
        cmim = CMIM(net, source="bank", negatives=16, dataset_size=IMAGES, layers="last")
        before = [id(p) for p in [*cmim.parameters(), *cmim.buffers()]]
        for step in range(3):
            net(draw_images(seed=step))
            cmim(indices=INDICES)
            assert int(cmim.contrasts[0].u_keys.step) == step + 1
        assert [id(p) for p in [*cmim.parameters(), *cmim.buffers()]] == before


class TestHeads:
    def test_heads_are_parameters_and_learn(self) -> None:
        """The program's optimizer never held the heads: they stayed random projections."""
        net = make_net()
        cmim = CMIM(net)
        heads = {n: p for n, p in cmim.named_parameters() if "_head." in n}
        assert len(heads) == 4 * len(binary_layers(net))
        before = {n: p.detach().clone() for n, p in heads.items()}
        optimizer = torch.optim.SGD(cmim.parameters(), lr=0.1)
        net(draw_images())
        cmim().loss.backward()
        optimizer.step()
        assert all(not torch.equal(before[n], p) for n, p in heads.items())

    def test_training_heads_raises_the_bound(self) -> None:
        net = make_net()
        cmim = CMIM(net, **INFONCE)
        optimizer = torch.optim.Adam(cmim.parameters(), lr=1e-2)
        images, bounds = draw_images(32), []
        for _ in range(15):
            net(images)
            term = cmim()
            optimizer.zero_grad()
            term.loss.backward()
            optimizer.step()
            bounds.append(float(term.bound))
        assert bounds[-1] > bounds[0] + 0.3

    def test_released_preset_freezes_the_heads(self) -> None:
        cmim = with_teacher(make_net(), "released")
        assert not any(p.requires_grad for p in cmim.parameters())

    def test_half_with_the_teacher_as_anchor_has_something_to_learn(self) -> None:
        """In the program that half was constant: neither teacher nor its head was trained."""
        net = make_net()
        cmim = with_teacher(net, "crd")
        net(draw_images())
        cmim(labels=LABELS, indices=INDICES).loss.backward()
        gradient = cmim.contrasts[0].v_head.project.weight.grad
        assert gradient is not None and float(gradient.abs().max()) > 0

    def test_both_directions_of_the_latent_contrast_reach_the_net(self) -> None:
        """No half of the default loss is constant in the binary net."""
        net = make_net()
        cmim = CMIM(net, layers="last")
        (contrast,) = cmim.contrasts
        sides: list[Tensor] = []
        score = contrast._side
        contrast._side = lambda *a: (sides.append(score(*a).loss), score(*a))[1]
        net(draw_images())
        cmim()
        for loss in sides:
            found = torch.autograd.grad(
                loss, list(net.parameters()), retain_graph=True, allow_unused=True
            )
            assert any(g is not None and float(g.abs().max()) > 0 for g in found)
        assert len(sides) == 2

    def test_learned_critic(self) -> None:
        names = {
            n for n, p in CMIM(make_net(), learn_critic=True).named_parameters() if p.requires_grad
        }
        assert any(n.endswith("log_z") for n in names) and any("temperature" in n for n in names)
        names = {n for n, p in CMIM(make_net()).named_parameters() if p.requires_grad}
        assert all("_head." in n for n in names)


class TestTeacher:
    @pytest.mark.parametrize("preset", ["released", "crd"])
    def test_teacher_stays_as_it_was(self, preset: str) -> None:
        """The program left the teacher training: statistics drifted, gradients piled up."""
        net = make_net()
        cmim = with_teacher(net, preset)
        teacher = cmim.teacher
        assert teacher is not None
        before = copy.deepcopy(teacher.state_dict())
        cmim.train()
        for step in range(2):
            net(draw_images(seed=step))
            cmim(labels=LABELS, indices=INDICES).loss.backward()
        assert not any(m.training for m in teacher.modules())
        assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())
        assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())

    def test_teacher_is_neither_saved_nor_trained(self) -> None:
        cmim = with_teacher(make_net(), "crd")
        teacher = cmim.teacher
        assert teacher is not None
        own = {id(p) for p in cmim.parameters()}
        assert not any(id(p) in own for p in teacher.parameters())
        assert not any("teacher" in name or "stem" in name for name in cmim.state_dict())

    def test_feature_is_the_input_of_the_last_linear_layer(self) -> None:
        net = make_net()
        cmim = with_teacher(net, "crd")
        teacher = cmim.teacher
        assert teacher is not None
        images, seen = draw_images(), []
        handles = [
            n.head.register_forward_pre_hook(lambda _, x: seen.append(x[0])) for n in (net, teacher)
        ]
        net(images)
        ((u, v, _),) = cmim._features()
        for handle in handles:
            handle.remove()
        assert torch.equal(u, seen[0]) and torch.equal(v, seen[1]) and not v.requires_grad

    def test_what_a_teacher_needs(self) -> None:
        net = make_net()
        with pytest.raises(BitlensError, match=r"pass teacher="):
            CMIM(net, "crd", dataset_size=IMAGES)
        with pytest.raises(BitlensError, match=r"partner='latent'"):
            CMIM(net, teacher=make_net("float"))
        with pytest.raises(BitlensError, match=r"layers='all' with a teacher"):
            with_teacher(net, "crd", layers="all")
        with pytest.raises(BitlensError, match=r"pass dataset_size"):
            CMIM(net, "crd", teacher=make_net("float"))


class TestGradientRouting:
    @pytest.mark.parametrize("grad", ["both", "binary-only", "float-only"])
    def test_against_detaching_by_hand(self, grad: str) -> None:
        net = make_net()
        cmim = CMIM(net, grad=grad, **INFONCE)
        seen = captured_forward(net, draw_images())
        ours = gradients(cmim().loss, net)
        losses = []
        for (a_f, a_b), contrast in zip(
            captured_forward(net, draw_images()), cmim.contrasts, strict=True
        ):
            a_f = a_f.detach() if grad == "binary-only" else a_f
            a_b = a_b.detach() if grad == "float-only" else a_b
            u = F.normalize(contrast.u_head.project(a_b.mean((2, 3))), dim=1)
            v = F.normalize(contrast.v_head.project(a_f.mean((2, 3))), dim=1)
            scores, own = u @ v.T / 0.2, torch.arange(len(u))
            losses.append((F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2)
        assert len(seen) == len(losses)
        assert_same_tensors(ours, gradients(torch.stack(losses).mean(), net), rtol=1e-3, atol=1e-6)

    def test_the_three_routes_add_up(self) -> None:
        def route(grad: str) -> list[Tensor]:
            net = make_net()
            cmim = CMIM(net, grad=grad)
            net(draw_images())
            return gradients(cmim().loss, net)

        both, binary, real = (route(g) for g in ("both", "binary-only", "float-only"))
        assert max(float(g.abs().max()) for g in binary) > 1e-6
        assert max(float(g.abs().max()) for g in real) > 1e-6
        assert_same_tensors(
            both, [b + r for b, r in zip(binary, real, strict=True)], rtol=1e-3, atol=1e-6
        )

    @pytest.mark.parametrize("grad", ["binary-only", "float-only"])
    def test_heads_learn_on_both_sides_whatever_the_route(self, grad: str) -> None:
        net = make_net()
        cmim = CMIM(net, grad=grad)
        net(draw_images())
        cmim().loss.backward()
        assert all(p.grad is not None for n, p in cmim.named_parameters() if "_head." in n)

    @pytest.mark.parametrize("pool", [1, 2])
    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    def test_pooling_has_the_gradient_of_the_built_in(
        self, pool: int, layout: torch.memory_format
    ) -> None:
        from bitlens.objectives.heads import pool_features

        x = torch.randn(3, 5, 8, 6, dtype=torch.float64).contiguous(memory_format=layout)
        x.requires_grad_()
        ours, theirs = pool_features(x, pool), F.adaptive_avg_pool2d(x, pool).flatten(1)
        torch.testing.assert_close(ours, theirs)
        weight = torch.randn_like(ours)
        torch.testing.assert_close(
            torch.autograd.grad(ours, x, weight)[0], torch.autograd.grad(theirs, x, weight)[0]
        )


class TestLayers:
    def test_choices(self) -> None:
        net = make_net()
        names = list(binary_layers(net))
        assert CMIM(net).names == names
        assert CMIM(net, layers="last").names == names[-1:]
        assert CMIM(net, layers=f"{names[3]}, {names[1]}").names == [names[1], names[3]]
        assert CMIM(net, layers="stages.1").names == [n for n in names if n.startswith("stages.1.")]
        assert CMIM(net, layers="*.1.conv").names == [n for n in names if n.endswith(".1.conv")]

    def test_unknown_names(self) -> None:
        net = make_net()
        with pytest.raises(
            BitlensError, match=r"'stages\.0\.0\.cnov'.*did you mean stages\.0\.0\.conv"
        ):
            CMIM(net, layers="stages.0.0.cnov")
        with pytest.raises(BitlensError, match="names nothing"):
            CMIM(net, layers=",")
        with pytest.raises(BitlensError, match="one string"):
            CMIM(net, layers=["stages.0"])
        with pytest.raises(BitlensError, match="no binary layer"):
            CMIM(make_net("float"))

    @pytest.mark.parametrize("beta", [1.0, 2.0, 0.5])
    def test_layer_weights_by_hand(self, beta: float) -> None:
        net = make_net()
        cmim = CMIM(net, beta=beta, loss="infonce")
        depth = len(cmim.names)
        raw = [1 / beta ** (depth - 1 - k) for k in range(depth)]
        expected = [w / sum(raw) for w in raw]
        assert cmim.layer_weights == pytest.approx(expected)
        net(draw_images())
        term = cmim()
        bounds = [float(b) for b in term.layers.values()]
        assert float(term.bound) == pytest.approx(
            sum(w * b for w, b in zip(expected, bounds, strict=True)), abs=1e-5
        )

    def test_shared_binarizers_give_one_tap(self) -> None:
        net = create("reactnet-a", method="reactnet", classes=4, channels=3, image_size=16)
        distinct = {id(layer.activation) for layer in binary_layers(net).values()}
        names = CMIM(net).names
        assert len(names) == len(distinct) < len(binary_layers(net))
        assert any(n.endswith(".left") for n in names) and not any(
            n.endswith(".right") for n in names
        )


class TestStates:
    def test_calls_out_of_turn(self) -> None:
        net = make_net()
        cmim = CMIM(net)
        with pytest.raises(BitlensError, match=r"no activations of layer 'stages"):
            cmim()
        net(draw_images())
        cmim()
        with pytest.raises(BitlensError, match=r"one call a forward pass"):
            cmim()

    @pytest.mark.parametrize("kind", ["eval", "no_grad"])
    def test_passes_that_do_not_train_are_not_recorded(self, kind: str) -> None:
        net = make_net()
        cmim = CMIM(net)
        net(draw_images())
        net.train(kind != "eval")
        with torch.set_grad_enabled(kind != "no_grad"):
            net(draw_images())
        with pytest.raises(BitlensError, match=r"in training mode, with gradients"):
            cmim()

    def test_labels_and_indices_are_asked_for(self) -> None:
        net = make_net()
        cmim = CMIM(net, exclude="class")
        net(draw_images())
        with pytest.raises(BitlensError, match=r"labels=\.\.\."):
            cmim(indices=INDICES)
        cmim = CMIM(net, source="bank", dataset_size=IMAGES)
        net(draw_images())
        with pytest.raises(BitlensError, match=r"indices=\.\.\."):
            cmim(labels=LABELS)

    def test_class_exclusion_without_any_other_class(self) -> None:
        net = make_net()
        cmim = CMIM(net, exclude="class")
        net(draw_images())
        with pytest.raises(BitlensError, match=r"no negative.*exclude='class'"):
            cmim(labels=torch.zeros(8, dtype=torch.int64))

    @pytest.mark.parametrize("loss", ["nce", "infonce"])
    def test_batch_of_one(self, loss: str) -> None:
        """The program squeezed the score tensor and broke on one image; a bank has no such trouble."""
        net = bitlens.binarize(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)), keep_float=())
        banked = CMIM(net, loss=loss, source="bank", negatives=16, dataset_size=IMAGES)
        alone = CMIM(net, loss=loss)
        net(draw_images(1))
        term = banked(indices=INDICES[:1])
        assert term.loss.shape == () and bool(term.loss.isfinite())
        term.loss.backward()
        with pytest.raises(BitlensError, match=r"batch of 1 has no negative"):
            alone()

    @pytest.mark.parametrize(
        ("settings", "valid"),
        [
            ({}, True),
            ({"loss": "infonce"}, True),
            ({"exclude": "class"}, False),
            ({"source": "queue"}, False),
            ({"source": "bank", "dataset_size": IMAGES}, False),
        ],
    )
    def test_valid_only_for_fresh_negatives_of_all_classes(
        self, settings: dict[str, Any], valid: bool
    ) -> None:
        net = make_net()
        cmim = CMIM(net, **settings)
        net(draw_images())
        assert cmim(labels=LABELS, indices=INDICES).valid is valid

    def test_evaluation_mode_leaves_the_memory_alone(self) -> None:
        net = make_net()
        cmim = CMIM(net, source="bank", negatives=16, dataset_size=IMAGES).eval()
        net(draw_images())
        before = copy.deepcopy(cmim.contrasts[0].u_keys.state_dict())
        cmim(indices=INDICES)
        after = cmim.contrasts[0].u_keys.state_dict()
        assert all(torch.equal(before[k], after[k]) for k in before)


SOURCES: list[dict[str, Any]] = [
    {"source": "batch"},
    {"source": "queue", "negatives": 20},
    {"source": "bank", "negatives": 16, "dataset_size": IMAGES},
    {"source": "bank", "negatives": 16, "dataset_size": IMAGES, "exclude": "class"},
    {"source": "batch", "learn_critic": True},
]


def losses_of(net: nn.Module, cmim: CMIM, steps: range) -> list[float]:
    trained = [p for p in [*net.parameters(), *cmim.parameters()] if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.05)
    losses = []
    for step in steps:
        net(draw_images(seed=step))
        loss = cmim(labels=LABELS, indices=(INDICES + step) % IMAGES).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


class TestSaving:
    @pytest.mark.parametrize("settings", SOURCES)
    def test_a_restored_objective_continues_with_the_same_losses(
        self, settings: dict[str, Any]
    ) -> None:
        """The program saved neither heads nor memory nor Z, so no run could be continued."""
        net = make_net()
        cmim = CMIM(net, **settings)
        losses_of(net, cmim, range(3))
        saved = copy.deepcopy((net.state_dict(), cmim.state_dict()))
        expected = losses_of(net, cmim, range(3, 6))
        other = make_net(seed=5)
        again = CMIM(other, seed=0, **settings)
        other.load_state_dict(saved[0])
        again.load_state_dict(saved[1])
        assert losses_of(other, again, range(3, 6)) == expected

    def test_normaliser_is_set_once_and_saved(self) -> None:
        net = make_net()
        cmim = CMIM(net, layers="last")
        assert not bool(cmim.state_dict()["contrasts.0.started"].any())
        losses_of(net, cmim, range(1))
        first = cmim.state_dict()["contrasts.0.log_z"].clone()
        losses_of(net, cmim, range(1, 3))
        assert torch.equal(cmim.state_dict()["contrasts.0.log_z"], first)
        assert bool(cmim.state_dict()["contrasts.0.started"].all())

    def test_normaliser_is_the_mean_over_the_negatives_of_the_first_batch(self) -> None:
        net = make_net()
        cmim = CMIM(net, layers="last", exclude="class")
        net(draw_images())
        (contrast,) = cmim.contrasts
        ((u, v, _),) = cmim._features()
        u, v = (
            F.normalize(h.project(x), dim=1)
            for h, x in ((contrast.u_head, u), (contrast.v_head, v))
        )
        scores = (u @ v.T / 0.1).exp().detach()
        kept = [scores[i, j] for i in range(8) for j in range(8) if LABELS[i] != LABELS[j]]
        net(draw_images())
        cmim(labels=LABELS)
        mean = float(torch.stack(kept).mean().log())
        assert contrast.log_z.tolist() == pytest.approx([mean, mean], abs=1e-3)

    @pytest.mark.parametrize("loss", ["nce", "infonce"])
    def test_a_cold_temperature_does_not_overflow(self, loss: str) -> None:
        """exp(1 / 0.005) is beyond float32; nothing may exponentiate a score by itself."""
        net = make_net()
        cmim = CMIM(net, loss=loss, temperature=0.005)
        losses = losses_of(net, cmim, range(2))
        assert all(0 <= loss < 1e4 for loss in losses)

    def test_same_seed_same_losses_and_global_randomness_untouched(self) -> None:
        torch.manual_seed(11)
        expected = torch.rand(3)
        torch.manual_seed(11)
        runs = []
        for seed in (0, 0, 1):
            net = make_net()
            cmim = CMIM(net, seed=seed, source="bank", negatives=16, dataset_size=IMAGES)
            runs.append(losses_of(net, cmim, range(2)))
        assert runs[0] == runs[1] != runs[2]
        assert torch.equal(torch.rand(3), expected)

    def test_dropping_the_objective_leaves_the_net_as_it_was(self) -> None:
        net = make_net()
        keys = list(net.state_dict())
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()]
        cmim = CMIM(net)
        kd = bitlens.LogitKD(net, make_net("float"))
        losses_of(net, cmim, range(1))
        assert list(net.state_dict()) == keys
        del cmim, kd
        gc.collect()
        assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()] == hooks
        net(draw_images()).sum().backward()

    def test_a_deep_copy_of_net_and_objective_is_independent(self) -> None:
        net = make_net()
        cmim = CMIM(net, loss="infonce")
        other, again = copy.deepcopy((net, cmim))
        net(draw_images(seed=0))
        other(draw_images(seed=1))
        mine, copied = cmim(), again()
        assert not torch.equal(mine.loss, copied.loss)
        net(draw_images(seed=1))
        assert torch.equal(cmim().loss, copied.loss)


class TestKindsOfNets:
    @pytest.mark.parametrize("method", ["bnn", "xnor", "dorefa", "bireal", "irnet", "reactnet"])
    @pytest.mark.parametrize("preset", ["paper", "tuned"])
    def test_every_method(self, method: str, preset: str) -> None:
        net = make_net(method)
        cmim = CMIM(net, preset, pool=1)
        assert all(loss == loss and loss > 0 for loss in losses_of(net, cmim, range(2)))

    def test_linear_nets(self) -> None:
        net = create("mlp", method="bnn", classes=4, channels=3, image_size=8)
        cmim = CMIM(net, pool=2)
        net(draw_images())
        assert bool(cmim().loss.isfinite())

    def test_vectors_at_several_positions_are_one_image(self) -> None:
        """A linear layer over tokens: five positions of eight images are eight pairs, not forty."""
        net = bitlens.binarize(nn.Sequential(nn.Linear(6, 7), nn.Linear(7, 3)), keep_float=())
        cmim = CMIM(net)
        tokens = torch.randn(8, 5, 6, requires_grad=True)
        seen = captured_forward(net, tokens)
        for (u, v, _), (a_f, a_b) in zip(cmim._features(), seen, strict=True):
            torch.testing.assert_close(u, a_b.view(8, 5, -1).mean(1))
            torch.testing.assert_close(v, a_f.view(8, 5, -1).mean(1))

    def test_double_precision(self) -> None:
        net = make_net().double()
        cmim = CMIM(net).double()
        net(draw_images().double())
        loss = cmim().loss
        assert loss.dtype == torch.float64
        loss.backward()
        mixed = CMIM(net)
        net(draw_images().double())
        torch.testing.assert_close(mixed().loss.double(), loss.detach(), rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("settings", SOURCES[:3])
    def test_autocast_leaves_the_contrast_in_full_precision(self, settings: dict[str, Any]) -> None:
        def loss_of(inside: bool) -> Tensor:
            net = make_net()
            cmim = CMIM(net, **settings)
            for step in range(2):
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    net(draw_images(seed=step))
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=inside):
                    loss = cmim(indices=INDICES).loss
            loss.backward()
            assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in net.parameters())
            return loss.detach()

        assert loss_of(True).dtype == torch.float32
        assert torch.equal(loss_of(True), loss_of(False))

    def test_map_smaller_than_the_grid(self) -> None:
        net = make_net()
        cmim = CMIM(net, pool=5)
        with pytest.raises(BitlensError, match=r"pool=5 on a 4x4 map"):
            net(draw_images())
            cmim()


class TestSettings:
    def test_presets_and_overrides(self) -> None:
        cmim = CMIM(make_net(), "tuned", temperature=0.3)
        assert cmim.config.temperature == 0.3 and cmim.config.loss == PRESETS["tuned"].loss
        assert CMIM.from_config(make_net(), CMIMConfig(beta=3.0)).config.beta == 3.0
        assert PRESETS["paper"].exclude == "instance" and PRESETS["paper"].train_heads

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda net: CMIM(net, "papers"), r"CMIM preset 'papers'; did you mean paper"),
            (lambda net: CMIM(net, temprature=1.0), r"'temprature'; did you mean temperature"),
            (lambda net: CMIM(net, loss="info-nce"), r"cmim loss 'info-nce'; did you mean infonce"),
            (lambda net: CMIM(net, source="bnak"), r"cmim source 'bnak'; did you mean bank"),
            (lambda net: CMIM(net, grad=None), r"cmim grad 'None'"),
            (lambda net: CMIM(net, temperature=0.0), r"temperature=0\.0"),
            (lambda net: CMIM(net, temperature=float("nan")), r"temperature=nan"),
            (lambda net: CMIM(net, momentum=1.0), r"momentum=1\.0"),
            (lambda net: CMIM(net, width=0), r"width=0"),
            (lambda net: CMIM(net, beta=-1.0), r"beta=-1\.0"),
            (lambda net: CMIM(net, source="bank"), r"pass dataset_size"),
            (lambda net: CMIM(net, anchors=1), r"anchors=1; it must be at least 2"),
            (lambda net: CMIM(net, pairs="regoin"), r"cmim pairs 'regoin'; did you mean region"),
            (
                lambda net: CMIM(net, "crd", pairs="region"),
                r"'region' with partner='teacher'.*latent",
            ),
            (
                lambda net: CMIM(net, pairs="location", source="bank"),
                r"a row per image; use .*queue",
            ),
            (
                lambda net: CMIM(net, pairs="region", exclude="class"),
                r"exclude='instance', or pairs",
            ),
        ],
    )
    def test_what_is_refused(self, call: Callable[[nn.Module], CMIM], message: str) -> None:
        with pytest.raises(BitlensError, match=message):
            call(make_net())
