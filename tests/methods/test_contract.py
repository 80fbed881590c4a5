"""What every entry of METHODS must do, on a convolution and on a linear layer.

The promises themselves are the clauses of `bitlens.models.conformance`, which anybody's method can be run
against; here every method of the package meets them, and some facts are checked against truth that is
computed otherwise. What is special about a method stands in one of the tables below, with the reason.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens import after_step, before_step, binarize, penalty, set_progress
from bitlens.errors import BitlensError
from bitlens.methods import METHODS, get
from bitlens.methods.contract import WeightBinarizer
from bitlens.models.conformance.check import CLAUSES, examine
from bitlens.models.conformance.specimen import KINDS, Kind, Specimen, binary
from bitlens.models.layers import BinaryConv2d, BinaryLinear, binary_layers

THRESHOLDS = {"dorefa": 0.5}
"""Where a fresh activation binarizer turns; everywhere else at 0."""

ALL_ZERO_FILTERS = {
    "complex": "an imaginary part enters with both signs, so its zeros give +1 and -1",
    "siman": "half of a filter is -1 whatever its magnitudes",
    "subbit": "a kernel of zeros takes the first code of the layer's book",
}
"""Methods that do not turn a weight of zeros into +1 everywhere."""

OWN_REAL_STAGE = {
    "biper": "the sine of the latent weight, scaled",
    "complex": "the complex weight that the latent one stands for",
    "fda": "the latent weight; its adapter takes part with gradient zero",
    "rbnn": "the rotated weight, scaled",
    "rbonn": "the latent weight; its parameters take part with gradient zero",
    "recu": "the clamped weight, scaled",
    "siman": "the magnitudes about their middle, scaled",
    "subbit": "the latent weight; its codebook takes part with gradient zero",
    "vispa": "a draw of the weight's distribution",
}
"""Methods whose real-weight stage computes with something of their own."""

every = pytest.mark.parametrize("method", METHODS)
both = pytest.mark.parametrize("kind", KINDS)


def specimen(method: str, kind: Kind) -> Specimen:
    return Specimen(method=get(method), name=method, kind=kind)


@every
@both
@pytest.mark.parametrize("clause", CLAUSES)
def test_clause(method: str, kind: Kind, clause: str) -> None:
    examine(clause, specimen(method, kind))


@every
@both
def test_a_code_is_plus_one_where_the_signs_input_is_not_negative(method: str, kind: Kind) -> None:
    given = specimen(method, kind)
    layer = binary(given.net())
    seen: list[Tensor] = []
    layer.activation.sign.register_forward_pre_hook(lambda module, inputs: seen.extend(inputs))
    codes = layer.activation(given.images())
    assert torch.equal(codes, torch.where(seen[0] >= 0, 1.0, -1.0).double())
    assert 0.1 < (codes == 1).double().mean() < 0.9
    assert set(layer._codes(given.images()).unique().tolist()) == set(layer.activation.levels)


@every
@both
def test_a_fresh_threshold_counts_as_plus_one(method: str, kind: Kind) -> None:
    shape = (2, 4, 3, 3) if kind == "convolution" else (2, 4)
    for training in (True, False):
        layer = binarize(nn.Conv2d(4, 4, 1) if kind == "convolution" else nn.Linear(4, 4), method)
        assert isinstance(layer, BinaryConv2d | BinaryLinear)
        layer.train(training)(torch.zeros(shape))
        at = torch.full(shape, THRESHOLDS.get(method, 0.0))
        assert (layer.activation(at) == 1).all()
        if get(method).deploy == "static":
            assert (layer.activation(at - 1e-6) == -1).all()


@every
@both
def test_a_zero_weight_counts_as_plus_one(method: str, kind: Kind) -> None:
    layer = binary(specimen(method, kind).net())
    with torch.no_grad():
        layer.weight.zero_()
    signs, scale = layer.weight_binarizer.decompose(layer.weight)
    assert scale.isfinite().all()
    assert (signs == 1).all() != (method in ALL_ZERO_FILTERS)
    assert torch.equal(layer.signs(), signs)


def input_gradient(layer: nn.Module, x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(layer(leaf).square().sum(), leaf)[0]


@every
@both
def test_the_input_has_the_same_gradient_in_training_and_evaluation(
    method: str, kind: Kind
) -> None:
    given = specimen(method, kind)
    net, x = given.net(), given.images()
    training, evaluation = (input_gradient(net.train(mode), x) for mode in (True, False))
    torch.testing.assert_close(training, evaluation)


@every
def test_evaluation_gives_the_latent_weight_no_gradient(method: str) -> None:
    given = specimen(method, "linear")
    net = given.net().eval()
    net(given.images()).sum().backward()
    assert binary(net).weight.grad is None


@every
@both
def test_accumulators_in_evaluation_are_exact_integers(method: str, kind: Kind) -> None:
    convolution = kind == "convolution"
    source = nn.Conv2d(64, 24, 3, padding=1) if convolution else nn.Linear(778, 24)
    layer = binarize(source, method)
    assert isinstance(layer, BinaryConv2d | BinaryLinear)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn((2, 64, 9, 9) if convolution else (5, 778), generator=generator) + 0.2
    layer.eval()(x)
    with torch.no_grad():
        for parameter in (*layer.weight_binarizer.parameters(), *layer.activation.parameters()):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    name = "conv2d" if convolution else "linear"
    patched, seen = getattr(F, name), list[Tensor]()

    def record(*arguments: object) -> Tensor:
        seen.append(patched(*arguments))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        codes = layer._codes(x)
        patch.setattr(F, name, record)
        output = layer(x)
    # A hyper-network's own linear layers are products of real numbers.
    seen = [product for product in seen if product.shape == output.shape]
    signs, scale = layer.weight_binarizer.decompose(layer.weight)
    offset = layer.weight_binarizer.offset(layer.weight)

    def product(weight: Tensor) -> Tensor:
        exact = (codes.long(), weight.long())
        return F.conv2d(*exact, padding=1) if convolution else F.linear(*exact)

    def across(values: Tensor) -> Tensor:
        return values.view(1, -1, 1, 1) if convolution else values

    expected = [product(signs), product(torch.ones_like(signs))][: 1 + (offset is not None)]
    assert len(seen) == len(expected)
    for found, exact in zip(seen, expected, strict=True):
        assert torch.equal(found.double(), exact.double())
    made = expected[0].double() * across(scale)
    if offset is not None:
        made = made + expected[1].double() * across(offset)
    affine = layer.activation.affine()
    if affine is not None:
        values = signs * scale.view(-1, *[1] * (signs.dim() - 1))
        total = values.flatten(1).sum(1) + (0 if offset is None else signs[0].numel() * offset)
        made = made * affine[0] + across(total * affine[1])
    with torch.no_grad():
        made = made if layer.output is None else layer.output(made.float())
        made = made if layer.bias is None else made + across(layer.bias)
        torch.testing.assert_close(output, made.float(), rtol=1e-5, atol=1e-4)


@every
@both
def test_a_stage_of_real_weights_computes_with_the_relaxed_weight(method: str, kind: Kind) -> None:
    given = specimen(method, kind)
    layer = binary(given.net())
    layer.binary_weights = False
    x = given.images()
    codes, weight = layer._codes(x), layer.weight_binarizer.relaxed(layer.weight)
    if type(layer.weight_binarizer).relaxed is WeightBinarizer.relaxed:
        assert weight is layer.weight and method not in OWN_REAL_STAGE
    else:
        assert weight.shape == layer.weight.shape and method in OWN_REAL_STAGE
    affine = layer.activation.affine()
    if kind == "convolution":
        if affine is not None:
            codes = F.pad(codes, (1, 1, 1, 1)) * affine[0] + affine[1]
        low, _ = layer.activation.levels
        assert low in (-1.0, 0.0), "a padded zero is the method's own padding"
        made = F.conv2d(codes, weight, padding=0 if affine is not None else 1)
    else:
        made = F.linear(codes if affine is None else codes * affine[0] + affine[1], weight)
    made = made if layer.output is None else layer.output(made)
    assert layer.bias is not None
    made = made + (layer.bias.view(-1, 1, 1) if kind == "convolution" else layer.bias)
    for training in (True, False):
        torch.testing.assert_close(layer.train(training)(x), made)


@every
def test_a_net_learns_which_side_of_a_line_a_point_lies_on(method: str) -> None:
    source = torch.Generator().manual_seed(4)
    x = torch.randn(256, 8, generator=source, dtype=torch.float64)
    labels = (x[:, 0] + 0.7 * x[:, 3] > 0).long()
    layer = specimen(method, "linear").net(seed=5)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(5)
        net = nn.Sequential(layer, nn.Linear(6, 2).double())
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    losses = []
    for step in range(150):
        set_progress(net, step / 149)
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 150)
        loss = F.cross_entropy(net(x), labels)
        losses.append(loss.item())
        if (added := penalty(net)) is not None:
            loss = loss + added
        optimizer.zero_grad()
        loss.backward()
        before_step(net)
        optimizer.step()
        after_step(net)
    assert losses[-1] < 0.55 < losses[0], losses


@every
def test_channels_that_a_method_cannot_serve_are_refused_by_name(method: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 7, 3))
    try:
        layers = binary_layers(binarize(net, method, keep_float=()))
    except BitlensError as error:
        assert f"method {method!r} cannot serve layer '0'" in str(error)
        assert "name it in keep_float or choose another method" in str(error)
        assert method in ("complex",)
    else:
        assert list(layers) == ["0", "2"]
        found = net(torch.randn(2, 3, 9, 9))
        assert found.shape == (2, 7, 5, 5) and found.isfinite().all()


@pytest.mark.parametrize("t", [-0.1, 1.1, float("nan")])
def test_progress_outside_its_range_is_refused(t: float) -> None:
    with pytest.raises(ValueError, match="lies outside"):
        set_progress(specimen("irnet", "linear").net(), t)


def test_an_unknown_method_suggests_a_near_one() -> None:
    with pytest.raises(BitlensError, match="unknown method 'reaktnet'; did you mean reactnet"):
        get("reaktnet")
