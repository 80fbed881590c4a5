"""The classification task against its formula, and evaluation against counting."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.objectives.term import Term
from bitlens.tasks.classify import ClassifyTask, evaluate


class Constant(nn.Module):
    """An objective that reports what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Parameter(torch.tensor(3.0))

    def forward(self, *, labels: Tensor, indices: Tensor) -> Term:
        self.seen = (labels, indices)
        return Term(loss=self.head * 2)


def batch(n: int = 12, classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    images = torch.randn(n, 5, generator=source)
    return images, torch.randint(classes, (n,), generator=source), torch.arange(n) + 100


def test_the_loss_is_the_weighted_sum() -> None:
    net, objective = nn.Linear(5, 4), Constant()
    task = ClassifyTask(net, objective, weight=0.25, hard_labels=0.5, label_smoothing=0.1)
    images, labels, indices = batch()
    output = task(images, labels, indices)
    log_p = F.log_softmax(net(images), 1)
    by_hand = -(0.9 * log_p[torch.arange(12), labels] + 0.1 * log_p.mean(1)).mean()
    torch.testing.assert_close(output.task_loss, by_hand)
    torch.testing.assert_close(output.loss, 0.5 * by_hand + 0.25 * 6.0)
    assert torch.equal(output.outputs, net(images))
    assert output.score == (net(images).argmax(1) == labels).sum() / 12
    assert objective.seen[0] is labels and objective.seen[1] is indices


def test_heads_are_among_the_parameters_and_get_a_gradient() -> None:
    task = ClassifyTask(nn.Linear(5, 4), Constant(), weight=0.25)
    task(*batch()).loss.backward()
    gradients = {name: p.grad for name, p in task.named_parameters()}
    assert set(gradients) == {"net.weight", "net.bias", "objective.head"}
    assert gradients["objective.head"] == pytest.approx(0.5)


def test_without_an_objective() -> None:
    task = ClassifyTask(nn.Linear(5, 4), None, weight=0.0)
    output = task(*batch())
    assert output.term is None
    assert torch.equal(output.loss, output.task_loss)


@pytest.mark.parametrize("sizes", [[12], [5, 5, 2], [1] * 12])
def test_evaluation_counts_every_image_once(sizes: list[int]) -> None:
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    images, labels, _ = batch()
    parts = zip(images.split(sizes), labels.split(sizes), strict=True)
    net.train()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    accuracy, loss = evaluate(net, parts)
    assert net.training and net[1].training
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    net.eval()
    logits = net(images)
    assert accuracy == pytest.approx((logits.argmax(1) == labels).sum().item() / 12)
    assert loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-6)


def test_evaluation_gives_back_the_mode_when_the_net_fails() -> None:
    net = nn.Linear(5, 4)
    net.train()
    with pytest.raises(RuntimeError):
        evaluate(net, [(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))])
    assert net.training


def test_evaluation_builds_no_graph() -> None:
    seen = []

    class Net(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(torch.is_grad_enabled())
            return super().forward(x)

    evaluate(Net(5, 4), [batch()[:2]])
    assert seen == [False]
