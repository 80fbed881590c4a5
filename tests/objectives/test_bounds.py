"""The two losses against per-anchor loops and closed forms, and the known values of their start."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bitlens.objectives.bounds import ceiling, info_nce, nce
from bitlens.objectives.config import PRESETS, CMIMConfig
from bitlens.objectives.contrast import Contrast, Contrasted
from bitlens.objectives.negatives import BankNegatives, Batch
from bitlens.recipes import RECIPES

IMAGES = 50_000
WIDTH = 128


def looped_info_nce(positive: Tensor, candidates: Tensor, negative: Tensor) -> Tensor:
    """One anchor at a time, one exponential at a time."""
    losses = []
    for i in range(len(positive)):
        total = positive[i].exp()
        for j in range(candidates.shape[1]):
            if negative[i, j]:
                total = total + candidates[i, j].exp()
        losses.append(-(positive[i].exp() / total).log())
    return torch.stack(losses)


def looped_nce(positive: Tensor, candidates: Tensor, negative: Tensor, log_z: Tensor) -> Tensor:
    """One anchor at a time, the binary cross-entropy of every pair written out."""
    losses = []
    for i in range(len(positive)):
        chance = int(negative[i].sum()) * log_z.exp()
        loss = -(positive[i].exp() / (positive[i].exp() + chance)).log()
        for j in range(candidates.shape[1]):
            if negative[i, j]:
                loss = loss - (1 - candidates[i, j].exp() / (candidates[i, j].exp() + chance)).log()
        losses.append(loss)
    return torch.stack(losses)


def random_scores(seed: int, anchors: int, keys: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores in float64, a mask that leaves every anchor at least one negative, and log Z."""
    source = torch.Generator().manual_seed(seed)
    positive = 3 * torch.randn(anchors, generator=source, dtype=torch.float64)
    candidates = 3 * torch.randn(anchors, keys, generator=source, dtype=torch.float64)
    negative = torch.rand(anchors, keys, generator=source) < 0.6
    negative[:, int(torch.randint(0, keys, (), generator=source))] = True
    log_z = torch.randn((), generator=source, dtype=torch.float64)
    return positive, candidates, negative, log_z


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), anchors=st.integers(1, 5), keys=st.integers(1, 7))
def test_losses_equal_the_loops(seed: int, anchors: int, keys: int) -> None:
    positive, candidates, negative, log_z = random_scores(seed, anchors, keys)
    torch.testing.assert_close(
        info_nce(positive, candidates, negative),
        looped_info_nce(positive, candidates, negative),
        rtol=1e-10,
        atol=1e-10,
    )
    torch.testing.assert_close(
        nce(positive, candidates, negative, log_z),
        looped_nce(positive, candidates, negative, log_z),
        rtol=1e-7,  # softplus turns linear above 20, an error of 2e-9 a pair
        atol=1e-7,
    )


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_gradients_equal_autograd_through_the_loops(seed: int) -> None:
    given_scores = random_scores(seed, 4, 6)
    negative = given_scores[2]

    def gradients(loss: str, looped: bool) -> tuple[Tensor, ...]:
        positive, candidates, _, log_z = (x.clone() for x in given_scores)
        leaves = [x.requires_grad_() for x in (positive, candidates, log_z)]
        if loss == "infonce":
            function = looped_info_nce if looped else info_nce
            value, leaves = function(positive, candidates, negative), leaves[:2]
        else:
            function = looped_nce if looped else nce
            value = function(positive, candidates, negative, log_z)
        return torch.autograd.grad(value.sum(), leaves)

    for loss in ("infonce", "nce"):
        for ours, theirs in zip(gradients(loss, False), gradients(loss, True), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_scores_that_are_no_negatives_do_not_matter_at_all() -> None:
    positive, candidates, negative, log_z = random_scores(0, 5, 9)
    changed = torch.where(negative, candidates, torch.full_like(candidates, 1e4))
    assert not negative.all()
    assert torch.equal(
        info_nce(positive, candidates, negative), info_nce(positive, changed, negative)
    )
    assert torch.equal(
        nce(positive, candidates, negative, log_z), nce(positive, changed, negative, log_z)
    )


def test_every_anchor_counts_its_own_negatives() -> None:
    """Two anchors in one call with 1 and 3 negatives lose what each loses alone."""
    positive, candidates = torch.tensor([0.3, -0.2]), torch.tensor([[1.0, 2, 3], [0.5, 0, -1]])
    negative = torch.tensor([[False, True, False], [True, True, True]])
    log_z = torch.tensor(0.4)
    both = nce(positive, candidates, negative, log_z)
    first = nce(positive[:1], candidates[:1, 1:2], negative[:1, 1:2], log_z)
    second = nce(positive[1:], candidates[1:], negative[1:], log_z)
    torch.testing.assert_close(both, torch.cat([first, second]))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    sharpness=st.floats(0.0, 30.0),
    loss=st.sampled_from(["infonce", "nce"]),
)
def test_bound_never_exceeds_the_ceiling(seed: int, sharpness: float, loss: str) -> None:
    """log(N + 1) for InfoNCE; log N and the one nat that NCE loses to its negatives for NCE."""
    positive, candidates, negative, log_z = random_scores(seed, 4, 8)
    positive, candidates = positive * sharpness, candidates * sharpness
    counts = negative.sum(1)
    if loss == "infonce":
        losses, most = info_nce(positive, candidates, negative), (counts + 1).double().log()
    else:
        losses = nce(positive, candidates, negative, log_z)
        most = counts.double().log() + (counts + 1) * torch.log1p(1 / counts.double())
    top = ceiling(counts, loss=loss).double()
    torch.testing.assert_close(top, most, rtol=1e-6, atol=1e-6)
    assert bool((top - losses <= most + 1e-6).all())


@pytest.mark.parametrize("negatives", [1, 7, 255, 4096])
def test_a_blind_critic_bounds_zero(negatives: int) -> None:
    """All scores equal: L = ln(N+1) + N ln(1+1/N), 9.318 for N = 4096, and a bound of exactly 0."""
    scores = torch.full((1, negatives), 0.7, dtype=torch.float64)
    mask = torch.ones_like(scores, dtype=torch.bool)
    counts = mask.sum(1)
    loss = float(nce(scores[:, 0], scores, mask, scores[0, 0]))
    assert loss == pytest.approx(
        math.log(negatives + 1) + negatives * math.log1p(1 / negatives), abs=1e-9
    )
    if negatives == 4096:
        assert loss == pytest.approx(9.318, abs=1e-3)
    assert float(ceiling(counts, loss="nce")) == pytest.approx(loss, rel=1e-6)
    contrast = float(info_nce(scores[:, 0], scores, mask))
    assert float(ceiling(counts, loss="infonce")) == pytest.approx(contrast, rel=1e-6)


def test_best_critic_of_a_known_joint_reaches_the_information_up_to_the_known_slack() -> None:
    """Exact expectations over a 3 x 3 joint: I - bound = N E[f(1 + r/N)] - N f(1 + 1/N), f = x ln x.

    The slack is never negative, which is why the bound is one, and vanishes as N grows.
    """
    joint = torch.tensor([[0.2, 0.05, 0.05], [0.02, 0.3, 0.03], [0.15, 0.1, 0.1]]).double()
    product = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    ratio = joint / product
    information = float((joint * ratio.log()).sum())
    slacks = []
    for negatives in (1, 4, 64, 1024):
        posterior = ratio / (ratio + negatives)
        loss = -(joint * posterior.log()).sum()
        loss = float(loss - negatives * (product * (1 - posterior).log()).sum())
        bound = float(ceiling(torch.tensor(negatives), loss="nce")) - loss
        x, x0 = 1 + ratio / negatives, 1 + 1 / negatives
        slack = negatives * (float((product * x * x.log()).sum()) - x0 * math.log(x0))
        assert information - bound == pytest.approx(slack, abs=2e-5)
        slacks.append(slack)
    assert slacks == sorted(slacks, reverse=True)
    assert 0 <= slacks[-1] < 1e-3


def start_of(negatives: int, temperature: float, anchors: int) -> tuple[Contrasted, Contrast]:
    """The first step of the released settings on unit anchors and a bank nobody has written to.

    Identity heads, so the anchors are exactly the random unit vectors given.
    """
    config = CMIMConfig(
        source="bank", negatives=negatives, temperature=temperature, width=WIDTH, loss="nce"
    )
    contrast = Contrast(WIDTH, WIDTH, config, dataset_size=IMAGES, seed=5)
    with torch.no_grad():
        for head in (contrast.u_head, contrast.v_head):
            torch.nn.init.eye_(head.project.weight)
            torch.nn.init.zeros_(head.project.bias)
    source = torch.Generator().manual_seed(9)
    u, v = (torch.randn(anchors, WIDTH, generator=source) for _ in range(2))
    indices = torch.randperm(IMAGES, generator=source)[:anchors]
    batch = Batch(labels=None, indices=indices, all_labels=None, all_indices=indices)
    with torch.no_grad():
        return contrast(u, v, batch), contrast


def expected_start(negatives: int, temperature: float) -> float:
    """The same in expectation: a score against the bank is normal with variance 1 / (D T^2)."""
    deviation = 1 / (WIDTH**0.5 * temperature)
    grid = np.linspace(-8, 8, 4001)
    density = np.exp(-(grid**2) / 2)
    density /= density.sum()
    odds = grid * deviation - (math.log(negatives) + deviation**2 / 2)
    attracted = (density * np.logaddexp(0, -odds)).sum()
    repelled = (density * np.logaddexp(0, odds)).sum()
    return float(attracted + negatives * repelled)


@pytest.mark.parametrize(
    ("negatives", "temperature", "published"),
    [(4096, 0.1, 9.82), (4096, 0.07, 9.98), (16384, 0.07, 11.36), (256, 0.1, 6.93)],
)
def test_start_of_the_bank(negatives: int, temperature: float, published: float) -> None:
    """`published` was simulated with one batch of about a hundred anchors, so it carries their noise."""
    anchors = 1500
    done, _ = start_of(negatives, temperature, anchors)
    deviation = 1 / (WIDTH**0.5 * temperature)
    # Two sides, independent positives; Z and the shared negatives add their own, smaller, noise.
    noise = 4 * deviation / (2 * anchors) ** 0.5 + 0.02
    expected = expected_start(negatives, temperature)
    assert float(done.loss) == pytest.approx(expected, abs=noise)
    assert published == pytest.approx(expected, abs=1.5 * deviation / 100**0.5)


def test_normaliser_of_the_bank_at_the_start() -> None:
    """Z = M exp(1 / (2 D T^2)) = 73.9 thousand for D = 128, T = 0.1 and M = 50,000, on both sides."""
    _, contrast = start_of(4096, 0.1, 1500)
    z = IMAGES * contrast.log_z.exp()
    assert math.exp(1 / (2 * WIDTH * 0.1**2)) * IMAGES == pytest.approx(73.9e3, rel=1e-3)
    assert z.tolist() == pytest.approx([73.9e3, 73.9e3], rel=0.02)


def test_released_weight_makes_the_term_start_an_order_above_the_cross_entropy() -> None:
    """3.2 times the sum of both sides is 6.4 times their mean, about 63, beside ln 100 = 4.6."""
    recipe = RECIPES["fashion-released"]
    assert recipe.cmim == PRESETS["released"]
    done, _ = start_of(recipe.cmim.negatives, recipe.cmim.temperature, 1500)
    assert recipe.weight * float(done.loss) == pytest.approx(63, abs=1.5)
    assert 2 * float(done.loss) == pytest.approx(19.65, abs=0.35)


def test_bound_says_nothing_at_the_start() -> None:
    """ln N - L is -1.4 nats; with the nat that the negatives cost it is still below zero."""
    done, _ = start_of(4096, 0.1, 1500)
    assert math.log(4096) - float(done.loss) == pytest.approx(-1.5, abs=0.2)
    assert float(done.bound) == pytest.approx(math.log(4096) + 1 - float(done.loss), abs=1e-3)
    assert float(done.bound) < 0


@pytest.mark.parametrize(("temperature", "most"), [(0.1, 0.784), (0.07, 0.994)])
def test_a_frozen_normaliser_caps_the_posterior_of_a_perfect_positive(
    temperature: float, most: float
) -> None:
    """The attraction alone of a score of 1 against N = 4096: -ln h with h = 0.784 at T = 0.1."""
    log_z = torch.tensor(1 / (2 * WIDTH * temperature**2), dtype=torch.float64)
    far = torch.full((1, 4096), -1e3, dtype=torch.float64)
    loss = nce(torch.tensor([1 / temperature]).double(), far, torch.ones_like(far).bool(), log_z)
    assert math.exp(-float(loss)) == pytest.approx(most, abs=1e-3)


def test_bank_starts_with_unit_length_on_average() -> None:
    bank = BankNegatives(20_000, WIDTH, 10, 0.5, "instance", seed=0).bank
    assert float(bank.square().sum(1).mean()) == pytest.approx(1.0, abs=0.01)
    assert float(bank.abs().max()) <= (WIDTH / 3) ** -0.5
