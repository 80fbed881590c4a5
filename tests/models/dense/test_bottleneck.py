"""The Gaussian bottleneck against torch's own distributions and numbers worked out by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from bitlens import BitlensError, binarize, penalty, set_progress
from bitlens.models.dense.bottleneck import START, WARM_UP, GaussianBottleneck, divergence
from bitlens.models.layers import binary_layers


def bottleneck(*, beta: float = 0.5, channels: int = 4, seed: int = 0) -> GaussianBottleneck:
    torch.manual_seed(seed)
    return GaussianBottleneck(channels, beta=beta)


def constant(mean: float, log_variance: float, *, beta: float = 1.0) -> GaussianBottleneck:
    """A bottleneck whose distribution is the same everywhere."""
    layer = bottleneck(beta=beta, channels=8)
    for conv, value in ((layer.mean, mean), (layer.log_variance.conv, log_variance)):
        nn.init.zeros_(conv.weight)
        assert conv.bias is not None
        nn.init.constant_(conv.bias, value)
    return layer


@given(
    st.lists(st.tuples(st.floats(-3, 3), st.floats(-6, 3)), min_size=1, max_size=6),
)
@settings(max_examples=50, deadline=None)
def test_the_divergence_is_that_of_torchs_distributions(pairs: list[tuple[float, float]]) -> None:
    mean, log_variance = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    drawn = Normal(mean, (log_variance / 2).exp())
    expected = kl_divergence(drawn, Normal(torch.zeros(()), torch.ones(()))).mean()
    assert divergence(mean, log_variance).item() == pytest.approx(expected.item(), abs=1e-9)


def test_known_divergences_in_nats() -> None:
    zero = torch.zeros(2, 3, 1, 1)
    assert divergence(zero, zero).item() == 0
    assert divergence(zero + 2, zero).item() == pytest.approx(2.0)
    # sigma = 1/2: (1/4 - 1 + 2 ln 2) / 2
    assert divergence(zero, zero - 2 * math.log(2)).item() == pytest.approx(math.log(2) - 0.375)


def test_the_divergence_is_the_expected_log_ratio_of_its_own_draws() -> None:
    layer = constant(0.7, math.log(0.3))
    z = layer(torch.zeros(4, 8, 50, 50)).detach()
    ratio = Normal(0.7, math.sqrt(0.3)).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    found = penalty(layer)
    assert found is not None
    spread = ratio.std().item() / math.sqrt(ratio.numel())
    assert abs(found.item() - ratio.mean().item()) < 5 * spread


def test_training_draws_and_evaluation_takes_the_mean() -> None:
    layer = constant(0.7, math.log(0.09))
    x = torch.randn(4, 8, 50, 50)
    z = layer(x).detach()
    error = 0.3 / math.sqrt(z.numel())
    assert abs(z.mean().item() - 0.7) < 5 * error
    assert z.std().item() == pytest.approx(0.3, rel=0.01)
    assert torch.equal(layer.eval()(x), torch.full_like(x, 0.7))


def test_an_untrained_bottleneck_adds_little_noise() -> None:
    layer, x = bottleneck(channels=16), torch.randn(2, 16, 8, 8)
    noise = (layer(x) - layer.mean(x)).std().item()
    assert 0.5 < noise / math.exp(START / 2) < 2


def test_the_penalty_is_warmed_up() -> None:
    layer = constant(2.0, 0.0, beta=0.5)
    x = torch.zeros(1, 8, 2, 2)
    for t, expected in ((0.0, 0.0), (WARM_UP / 2, 0.5), (WARM_UP, 1.0), (0.9, 1.0), (1.0, 1.0)):
        set_progress(layer, t)
        layer(x)
        found = penalty(layer)
        assert found is not None and found.item() == pytest.approx(expected)


def test_there_is_a_penalty_only_behind_a_training_pass() -> None:
    layer, x = bottleneck(), torch.randn(1, 4, 2, 2)
    assert penalty(layer) is None
    layer.eval()(x)
    assert penalty(layer) is None
    layer.train()(x)
    assert penalty(layer) is not None
    assert penalty(layer.eval()) is None


def test_the_penalty_reaches_the_encoder_and_both_convolutions() -> None:
    layer, x = bottleneck(), torch.randn(2, 4, 3, 3, requires_grad=True)
    layer(x)
    found = penalty(layer)
    assert found is not None
    found.backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_penalty_is_taken_in_full_precision_under_autocast() -> None:
    layer, x = bottleneck(), torch.randn(2, 4, 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = layer(x)
    found = penalty(layer)
    assert z.dtype == torch.bfloat16 and z.isfinite().all()
    assert found is not None and found.dtype == torch.float32


def test_draws_follow_progress_and_the_seed() -> None:
    layer, x = bottleneck(), torch.zeros(2, 4, 3, 3)
    other = bottleneck(seed=1)
    other.load_state_dict({**layer.state_dict(), "seed": other.seed})

    def draw(of: GaussianBottleneck, t: float) -> Tensor:
        set_progress(of, t)
        return of(x).detach()

    first = draw(layer, 0.25)
    assert not torch.equal(first, draw(layer, 0.5))
    assert torch.equal(first, draw(layer, 0.25))
    assert not torch.equal(first, draw(other, 0.25))


def test_two_passes_in_one_step_draw_twice() -> None:
    layer, x = bottleneck(), torch.zeros(2, 4, 3, 3)
    first, second = layer(x).detach(), layer(x).detach()
    assert not torch.equal(first, second)
    set_progress(layer, 0.5)
    third = layer(x).detach()
    assert not torch.equal(third, second)


def test_a_resumed_run_goes_on_with_the_same_draws() -> None:
    x = torch.zeros(2, 4, 3, 3)

    def steps(layer: GaussianBottleneck, first: int, last: int) -> list[Tensor]:
        drawn = []
        for step in range(first, last):
            set_progress(layer, step / 5)
            drawn += [layer(x).detach(), layer(x).detach()]
        return drawn

    whole = steps(bottleneck(), 0, 6)
    halfway = bottleneck()
    steps(halfway, 0, 3)
    resumed = bottleneck(seed=9)
    resumed.load_state_dict(halfway.state_dict())
    assert all(map(torch.equal, whole[6:], steps(resumed, 3, 6)))


def test_progress_is_saved_with_the_net() -> None:
    layer, again = constant(2.0, 0.0), constant(2.0, 0.0)
    set_progress(layer, WARM_UP / 4)
    again.load_state_dict(layer.state_dict())
    again(torch.zeros(1, 8, 2, 2))
    found = penalty(again)
    assert found is not None and found.item() == pytest.approx(0.5)


def test_the_global_generator_is_left_alone() -> None:
    layer = bottleneck()
    torch.manual_seed(3)
    expected = torch.randn(3)
    torch.manual_seed(3)
    layer(torch.zeros(1, 4, 2, 2))
    assert torch.equal(torch.randn(3), expected)


def test_a_copy_made_behind_a_training_pass_has_a_progress_of_its_own() -> None:
    layer, x = bottleneck(), torch.randn(1, 4, 2, 2)
    layer(x)
    twin = copy.deepcopy(layer)
    assert penalty(twin) is None and penalty(layer) is not None
    set_progress(twin, 0.0)
    twin(x)
    layer(x)
    zero, full = penalty(twin), penalty(layer)
    assert zero is not None and full is not None and zero.item() == 0 < full.item()


def test_penalties_of_layers_and_of_the_bottleneck_add_up() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        GaussianBottleneck(4, beta=0.5),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 2, 1),
    )
    binarize(net, "biper", keep_float=("0", "1", "3"))
    set_progress(net, 0.5)
    net(torch.randn(2, 3, 5, 5))
    (layer,) = binary_layers(net).values()
    squeezed = net[1]
    assert isinstance(squeezed, GaussianBottleneck)
    own, information, both = layer.penalty(), squeezed.penalty(), penalty(net)
    assert own is not None and information is not None and both is not None
    assert own.item() > 0 and both.dim() == 0
    assert both.item() == pytest.approx(own.item() + information.item(), rel=1e-6)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.inf, math.nan])
def test_impossible_weights_are_refused(beta: float) -> None:
    with pytest.raises(BitlensError, match="bottleneck="):
        GaussianBottleneck(4, beta=beta)
