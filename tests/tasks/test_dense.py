"""The dense task: its loss, its gradients, its evaluation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bitlens.data.dense.scenes import VOID, Truth
from bitlens.errors import BitlensError
from bitlens.tasks.config import DenseConfig
from bitlens.tasks.dense import DenseTask
from bitlens.tasks.resize import upsample_outputs
from bitlens.training.schedule import parameter_groups

BOTH = {"segment": 4, "depth": 1}
METRICS = {
    "segment": {"miou", "pixel_accuracy", "class_accuracy"},
    "depth": {"rmse", "abs_rel", "log10", "delta1", "delta2", "delta3"},
}


class Net(nn.Module):
    """Any size of image to a quarter of it, rounded up."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, outputs, 4, 4)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, images: Tensor) -> Tensor:
        down, right = -images.shape[2] % 4, -images.shape[3] % 4
        return self.norm(self.conv(F.pad(images, (0, right, 0, down), mode="replicate")))


def scenes(n: int = 3, size: tuple[int, int] = (10, 14), truth: tuple[int, int] | None = None,
           seed: int = 0) -> tuple[Tensor, Truth]:  # fmt: skip
    source = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 3, *size, generator=source)
    shape = (n, *(truth or size))
    mask = torch.randint(4, shape, generator=source)
    depth = 0.5 + 4 * torch.rand(shape, generator=source)
    mask[torch.rand(shape, generator=source) < 0.3] = VOID
    depth[torch.rand(shape, generator=source) < 0.3] = 0
    return images, Truth(mask, depth)


def build(heads: dict[str, int] = BOTH, crop: Any = None, **config: Any) -> DenseTask:
    torch.manual_seed(0)
    return DenseTask(Net(sum(heads.values())), heads=heads, config=DenseConfig(**config), crop=crop)


def step(task: DenseTask, images: Tensor, truth: Truth) -> Any:
    return task(images, truth, torch.arange(len(images)))


def test_the_loss_is_the_weighted_sum_over_known_pixels() -> None:
    task = build(depth_weight=0.3)
    images, truth = scenes()
    output = step(task, images, truth)
    pixels = upsample_outputs(task.net(images), (10, 14))
    entropy = F.cross_entropy(pixels[:, :4], truth.mask, ignore_index=VOID)
    known = truth.depth > 0
    metres = (pixels[:, 4].exp() - truth.depth).abs()[known].mean()
    torch.testing.assert_close(output.loss, entropy + 0.3 * metres)
    right = (pixels[:, :4].argmax(1) == truth.mask)[truth.mask != VOID].float().mean()
    assert output.score.item() == pytest.approx(right.item())
    assert output.outputs.shape == (3, 5, 3, 4) and not output.score.requires_grad


def test_depth_alone_is_not_weighted_and_scored_by_delta1() -> None:
    task = build({"depth": 1}, depth_weight=0.3)
    images, truth = scenes()
    output = step(task, images, Truth(None, truth.depth))
    said = upsample_outputs(output.outputs, (10, 14))[:, 0].exp()
    known = truth.depth > 0
    torch.testing.assert_close(output.loss, (said - truth.depth).abs()[known].mean())
    ratio = torch.maximum(said / truth.depth, truth.depth / said)[known]
    assert output.score.item() == pytest.approx((ratio < 1.25).float().mean().item())
    assert task.headline == "delta1"


def test_classes_alone_with_smoothing() -> None:
    net = Net(4)
    config = DenseConfig()
    task = DenseTask(net, heads={"segment": 4}, config=config, label_smoothing=0.2)
    images, truth = scenes()
    output = step(task, images, Truth(truth.mask, None))
    pixels = upsample_outputs(output.outputs, (10, 14))
    expected = F.cross_entropy(pixels, truth.mask, ignore_index=VOID, label_smoothing=0.2)
    torch.testing.assert_close(output.loss, expected)
    assert task.headline == "miou"


@pytest.mark.parametrize("heads", [{"segment": 4}, {"depth": 1}, BOTH])
@pytest.mark.parametrize("balance", ["fixed", "uncertainty"])
def test_nothing_known_trains_nothing(heads: dict[str, int], balance: str) -> None:
    task = build(heads, balance=balance)
    images, truth = scenes()
    nothing = Truth(torch.full_like(truth.mask, VOID), torch.zeros_like(truth.depth))
    output = step(task, images, nothing)
    output.loss.backward()
    assert output.loss.item() == 0 and output.score.isnan()
    for name, parameter in task.named_parameters():
        assert parameter.grad is not None and not parameter.grad.any(), name


@given(seed=st.integers(0, 999), depth_loss=st.sampled_from(["l1", "berhu", "silog"]))
@settings(max_examples=15, deadline=None)
def test_gradients_of_outputs_under_unknown_pixels_are_zero(seed: int, depth_loss: str) -> None:
    """The left half of the scene is unknown; outputs that reach only there get nothing."""
    task = build(depth_loss=depth_loss)
    _, truth = scenes(1, (16, 32), seed=seed)
    truth.mask[:, :, :16], truth.depth[:, :, :16] = VOID, 0
    outputs = torch.randn(1, 5, 4, 8, generator=torch.Generator().manual_seed(seed))
    found = []
    for left in (outputs[..., :3], torch.full((1, 5, 4, 3), 50.0)):
        said = torch.cat([left, outputs[..., 3:]], 3).requires_grad_()
        loss = task.task_loss(said, truth)
        (gradient,) = torch.autograd.grad(loss, said)
        assert not gradient[..., :3].any() and gradient[..., 3:].any()
        found.append((loss.detach(), gradient, task.score(said.detach(), truth)))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


def test_learned_variances_are_optimized_without_decay() -> None:
    task = build(balance="uncertainty")
    names = {id(p): name for name, p in task.named_parameters()}
    groups = parameter_groups(task, 0.1)
    decay = {names[id(p)]: g["weight_decay"] for g in groups for p in g["params"]}
    assert decay["balance.log_variances.segment"] == decay["balance.log_variances.depth"] == 0
    optimizer = torch.optim.SGD(groups, lr=0.1)
    step(task, *scenes()).loss.backward()
    optimizer.step()
    assert all(s.item() != 0 for s in task.balance.log_variances.values())
    assert "balance.log_variances.depth" in task.state_dict()


@pytest.mark.parametrize("heads", [{"segment": 4}, {"depth": 1}])
def test_one_head_has_nothing_to_balance(heads: dict[str, int]) -> None:
    names = {name for name, _ in build(heads, balance="uncertainty").named_parameters()}
    assert all(name.startswith("net.") for name in names)


def test_two_heads_learn_a_scene() -> None:
    """Left is class 1 at 1 metre, right class 2 at 4: what the images show."""
    images = torch.zeros(4, 3, 8, 16)
    images[..., 8:] = 1
    images += 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(4, 8, 16, dtype=torch.int64)
    mask[..., 8:] = 2
    truth = Truth(mask, 1.0 + 3.0 * (mask == 2))
    task = build(balance="uncertainty", depth_loss="berhu")
    optimizer = torch.optim.Adam(task.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        step(task, images, truth).loss.backward()
        optimizer.step()
    found = task.evaluate([(images, truth)])
    assert found["pixel_accuracy"] > 0.9 and found["rmse"] < 1.0 and found["delta1"] > 0.7


@pytest.mark.parametrize("heads", [{"segment": 4}, {"depth": 1}, BOTH])
def test_evaluation_names_what_applies(heads: dict[str, int]) -> None:
    found = build(heads).evaluate([scenes()])
    assert set(found) == {"loss"}.union(*(METRICS[head] for head in heads))


@pytest.mark.parametrize("depth_loss", ["l1", "berhu", "silog"])
def test_evaluation_does_not_depend_on_batches(depth_loss: str) -> None:
    task = build(depth_loss=depth_loss, crop=(0.1, 0.9, 0.2, 1.0))
    images, truth = scenes(5, truth=(21, 25))
    state = {name: value.clone() for name, value in task.state_dict().items()}
    task.train()
    found = [
        task.evaluate((images[i], truth[i]) for i in torch.arange(5).split(size))
        for size in (5, 2, 1)
    ]
    assert task.net.training and task.net.norm.training
    assert found[1] == pytest.approx(found[0], rel=1e-5)
    assert found[2] == pytest.approx(found[0], rel=1e-5)
    assert all(torch.equal(value, state[name]) for name, value in task.state_dict().items())


def test_evaluation_at_the_truths_size_inside_the_crop() -> None:
    task = build(crop=(0.1, 0.9, 0.2, 1.0))
    images, truth = scenes(2, truth=(20, 30))
    found = task.evaluate([(images, truth)])
    task.net.eval()
    pixels = upsample_outputs(task.net(images), (10, 14), (20, 30))[:, :, 2:18, 6:]
    mask, depth = truth.mask[:, 2:18, 6:], truth.depth[:, 2:18, 6:]
    known, measured = mask != VOID, depth > 0
    right = (pixels[:, :4].argmax(1) == mask)[known].double().mean()
    said, true = pixels[:, 4].exp().clamp(0.1, 10)[measured], depth[measured]
    loss = F.cross_entropy(pixels[:, :4], mask, ignore_index=VOID)
    loss = loss + (pixels[:, 4].exp() - depth).abs()[measured].mean()
    assert found["pixel_accuracy"] == pytest.approx(right.item())
    assert found["rmse"] == pytest.approx((said - true).square().mean().sqrt().item(), rel=1e-5)
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_truth_outside_the_crop_changes_nothing() -> None:
    task = build(crop=(0.25, 0.75, 0.25, 0.75))
    images, truth = scenes(2, (16, 16))
    other = Truth((truth.mask + 1) % 4, truth.depth + 1)
    inside = (slice(None), slice(4, 12), slice(4, 12))
    other.mask[inside], other.depth[inside] = truth.mask[inside], truth.depth[inside]
    assert task.evaluate([(images, truth)]) == task.evaluate([(images, other)])


def test_perfect_outputs_are_perfect() -> None:
    class Answer(Net):
        def forward(self, images: Tensor) -> Tensor:
            return answer

    answer = torch.zeros(1, 5, 2, 2)
    answer[:, 2], answer[:, 4] = 100.0, math.log(3.0)
    task = DenseTask(Answer(5), heads=BOTH, config=DenseConfig())
    truth = Truth(torch.full((1, 8, 8), 2), torch.full((1, 8, 8), 3.0))
    found = task.evaluate([(torch.zeros(1, 3, 8, 8), truth)])
    errors = {"loss", "rmse", "abs_rel", "log10"}
    assert found == pytest.approx({name: float(name not in errors) for name in found}, abs=1e-5)


def test_nan_outputs_show() -> None:
    task = build()
    images, truth = scenes()
    images[1, 0, 5, 5] = math.nan
    assert step(task, images, truth).loss.isnan()
    task = build()
    found = task.evaluate([(images, truth)])
    assert math.isnan(found["loss"]) and math.isnan(found["rmse"])


def test_evaluation_gives_back_the_mode_when_the_net_fails() -> None:
    task = build()
    with pytest.raises(RuntimeError):
        task.evaluate([(torch.zeros(2, 7, 8, 8), scenes()[1])])
    assert task.net.training


def test_no_known_pixels_evaluate_to_nan_metrics() -> None:
    images, truth = scenes()
    nothing = Truth(torch.full_like(truth.mask, VOID), torch.zeros_like(truth.depth))
    found = build().evaluate([(images, nothing)])
    assert found.pop("loss") == 0
    assert all(math.isnan(value) for value in found.values())


def test_missing_truth_is_told() -> None:
    images, truth = scenes()
    with pytest.raises(BitlensError, match="no depths"):
        step(build(), images, Truth(truth.mask, None))
    with pytest.raises(BitlensError, match="no masks"):
        step(build(), images, Truth(None, truth.depth))


@pytest.mark.parametrize(
    ("heads", "error"),
    [
        ({}, ValueError), ({"normals": 3}, ValueError), ({"depth": 2}, ValueError),
        ({"segment": 1}, BitlensError),
    ],
)  # fmt: skip
def test_impossible_heads_are_refused(heads: dict[str, int], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"heads=|classes"):
        DenseTask(Net(4), heads=heads, config=DenseConfig())


def test_impossible_crops_are_refused() -> None:
    with pytest.raises(ValueError, match="crop="):
        build(crop=(0.5, 0.4, 0, 1))
