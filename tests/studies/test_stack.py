from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.information.codes import Codes, hash_signs
from bitlens.information.measure import entropy
from bitlens.models.convert import binarize
from bitlens.models.layers import BinaryLinear
from bitlens.objectives.bounds import info_nce
from bitlens.studies.information_plane.contrast import TUNED, StackedContrast
from bitlens.studies.information_plane.kinds import KINDS
from bitlens.studies.information_plane.stack import StackedNet

WIDTHS = (12, 9, 5, 3)
SEEDS = (4, 1, 7)


def batch(nets: int = 3, size: int = 32) -> Tensor:
    return torch.randn(nets, size, WIDTHS[0], generator=torch.Generator().manual_seed(0))


def activation(kind: str) -> nn.Module:
    return {"tanh": nn.Tanh(), "relu": nn.ReLU()}[KINDS[kind].activation]


@pytest.mark.parametrize("kind", ["dnn-tanh", "dnn-tanh-spread", "dnn-relu", "w32a32-bn"])
def test_a_float_net_of_the_stack_is_the_sequential_net(kind: str) -> None:
    stack = StackedNet(KINDS[kind], WIDTHS, SEEDS)
    x = batch()
    logits, _ = stack(x)
    for net in range(3):
        layers: list[nn.Module] = []
        for depth, (a, b) in enumerate(itertools.pairwise(WIDTHS)):
            linear = nn.Linear(a, b)
            linear.weight.data = stack.weights[depth].data[net].T.clone()
            linear.bias.data = stack.shifts[depth].data[net, 0].clone()
            layers.append(linear)
            if KINDS[kind].norm:
                linear.bias.data.zero_()
                layers.append(nn.BatchNorm1d(b))
            if depth < 2:
                layers.append(activation(kind))
        alone = nn.Sequential(*layers).train()
        assert torch.allclose(alone(x[net]), logits[net], atol=1e-5)


def test_a_binary_net_of_the_stack_is_made_of_this_packages_layers() -> None:
    stack = StackedNet(KINDS["bnn-ste"], WIDTHS, SEEDS)
    x, labels = batch(), torch.arange(32) % 3
    torch.stack([F.cross_entropy(logits, labels) for logits in stack(x)[0]]).sum().backward()
    for net in range(3):
        layers: list[nn.Module] = []
        for depth, (a, b) in enumerate(itertools.pairwise(WIDTHS)):
            linear = nn.Linear(a, b, bias=False)
            linear.weight.data = stack.weights[depth].data[net].T.clone()
            layers += [linear, nn.BatchNorm1d(b, eps=1e-5 * a)]
        float_net = nn.Sequential(*layers)
        binary = binarize(float_net, "bnn", keep_float=["0"])
        # The first layer reads real inputs, so only its weights are signs.
        first = nn.Linear(WIDTHS[0], WIDTHS[1], bias=False)
        first.weight.data = stack.weights[0].data[net].T.sign()
        binary[0] = first
        assert isinstance(binary[2], BinaryLinear) and isinstance(binary[4], BinaryLinear)
        binary.train()
        logits = binary(x[net])
        assert torch.allclose(logits, stack(x)[0][net], atol=1e-4)
        F.cross_entropy(logits, labels).backward()
        found, expected = stack.weights[1].grad[net].T, binary[2].weight.grad
        assert expected.abs().max() > 0
        assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", list(KINDS))
def test_neighbours_in_the_stack_do_not_matter(kind: str) -> None:
    together = StackedNet(KINDS[kind], WIDTHS, SEEDS)
    alone = StackedNet(KINDS[kind], WIDTHS, SEEDS[1:2])
    x = batch()
    for net, inputs in ((together, x), (alone, x[1:2])):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        for _ in range(3):
            optimizer.zero_grad()
            net(inputs)[0].square().mean((1, 2)).sum().backward()
            optimizer.step()
            net.clamp_latent()
    for a, b in zip(together.parameters(), alone.parameters(), strict=True):
        assert torch.allclose(a[1], b[0], atol=1e-5)


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_parameter_learns(kind: str) -> None:
    stack = StackedNet(KINDS[kind], WIDTHS, SEEDS)
    logits, layers = stack(batch())
    F.cross_entropy(logits.flatten(0, 1), torch.arange(96) % 3).backward()
    for parameter in stack.parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0
    assert [layer.output.shape[2] for layer in layers] == [9, 5]
    if KINDS[kind].activation == "sign":
        assert set(layers[0].output.unique().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("kind", ["bnn-ste", "w32a32-bn"])
def test_the_probe_settles_norms_exactly(kind: str) -> None:
    stack = StackedNet(KINDS[kind], WIDTHS, SEEDS)
    for gain, shift in zip(stack.gains, stack.shifts, strict=True):
        gain.data.uniform_(0.5, 2.0)
        shift.data.uniform_(-1.0, 1.0)
    x = batch(1, 500)[0]
    layers, (logits, again) = stack.probe(1, x, (x,))
    assert torch.equal(logits, again)
    for depth, layer in enumerate(layers):
        assert torch.allclose(layer.latent.mean(0), stack.shifts[depth][1, 0], atol=1e-4)
        deviation = layer.latent.std(0, correction=0)
        assert torch.allclose(deviation, stack.gains[depth][1, 0], rtol=1e-2)


def test_in_a_deterministic_chain_information_about_the_input_only_shrinks() -> None:
    stack = StackedNet(KINDS["bnn-ste"], (12, 20, 8, 6, 4, 2), SEEDS)
    x = batch(1, 2000)[0].sign()
    layers, _ = stack.probe(0, x)
    found = [
        entropy(np.bincount(Codes(hash_signs(layer.latent), layer.latent.shape[1]).ids()))
        for layer in layers
    ]
    assert found == sorted(found, reverse=True)
    assert found[-1] < found[0]


def test_latent_weights_of_signs_stay_where_their_gradient_lives() -> None:
    binary, real = (StackedNet(KINDS[k], WIDTHS, SEEDS) for k in ("w1a32", "dnn-tanh"))
    for net in (binary, real):
        net.weights[0].data.fill_(3.0)
        net.clamp_latent()
    assert binary.weights[0].max() == 1.0 and real.weights[0].max() == 3.0


def test_the_usual_start_is_that_of_a_linear_layer_and_the_spread_one_is_larger() -> None:
    usual = StackedNet(KINDS["dnn-tanh"], (400, 300, 2), (0,))
    spread = StackedNet(KINDS["dnn-tanh-spread"], (400, 300, 2), (0,))
    torch.manual_seed(0)
    linear = nn.Linear(400, 300)
    assert usual.weights[0].std().item() == pytest.approx(linear.weight.std().item(), rel=0.02)
    assert usual.shifts[0].abs().max().item() == pytest.approx(1 / 20, rel=0.05)
    # A normal cut at two deviations keeps .88 of its deviation.
    assert spread.weights[0].std().item() == pytest.approx(0.88 / 20, rel=0.02)
    assert spread.shifts[0].abs().max() == 0


def test_the_contrast_is_info_nce_between_latent_activations_and_signs() -> None:
    stack = StackedNet(KINDS["bnn-ste-cmim"], WIDTHS, SEEDS)
    contrast = StackedContrast(WIDTHS[1:-1], SEEDS)
    _, layers = stack(batch())
    found = contrast(layers)
    for net in range(3):
        per_layer = []
        for layer, heads in zip(layers, contrast.heads, strict=True):
            a = F.normalize(layer.latent[net] @ heads[net, 0], dim=1)
            b = F.normalize(layer.output[net] @ heads[net, 1], dim=1)
            scores = a @ b.T / TUNED.temperature
            others = ~torch.eye(len(a), dtype=torch.bool)
            sides = [info_nce(scores.diagonal(), s, others).mean() for s in (scores, scores.T)]
            per_layer.append((sides[0] + sides[1]) / 2)
        assert found[net].item() == pytest.approx(sum(per_layer).item() / 2, rel=1e-5)
    # A blind critic has log 32; untrained heads are close to one.
    assert torch.allclose(found, torch.full((3,), math.log(32)), atol=0.1)
    found.sum().backward()
    assert all(head.grad.abs().sum() > 0 for head in contrast.heads)
