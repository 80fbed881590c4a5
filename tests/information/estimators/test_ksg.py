"""Neighbour estimates against closed forms, scikit-learn where it is installed, and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import digamma

from bitlens.errors import BitlensError
from bitlens.information.estimators.ksg import ksg_information, ross_information


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal_pairs(
    samples: int, r: float, d: int, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = draw(seed)
    x = torch.randn(samples, d, generator=generator, dtype=torch.float64)
    noise = torch.randn(samples, d, generator=generator, dtype=torch.float64)
    return x, r * x + math.sqrt(1 - r * r) * noise


@pytest.mark.parametrize("r", [0.0, 0.5, 0.75, 0.9, 0.99])
def test_ksg_on_normal_pairs(r: float) -> None:
    found = ksg_information(*normal_pairs(1500, r, 1))
    assert found == pytest.approx(-0.5 * math.log2(1 - r * r), abs=0.09)


def test_ksg_on_two_normal_pairs() -> None:
    found = ksg_information(*normal_pairs(1500, 0.5, 2))
    assert found == pytest.approx(2 * 0.207519, abs=0.09)


@pytest.mark.parametrize(("e", "nats"), [(0.1, 1.70944), (0.75, 0.33333)])
def test_ksg_on_additive_uniform_noise(e: float, nats: float) -> None:
    generator = draw()
    x = torch.rand(1500, 1, generator=generator, dtype=torch.float64)
    y = x + e * (2 * torch.rand(1500, 1, generator=generator, dtype=torch.float64) - 1)
    # The sharp edges of the density cost some .06 bit at e = .1, on top of a standard deviation of .03.
    assert ksg_information(x, y) == pytest.approx(nats / math.log(2), abs=0.15)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_ksg_by_loops(k: int) -> None:
    x, y = normal_pairs(60, 0.7, 2)
    a, b, n = x.numpy(), y.numpy(), 60
    total = 0.0
    for i in range(n):
        in_x = [np.abs(a[i] - a[j]).max() for j in range(n) if j != i]
        in_y = [np.abs(b[i] - b[j]).max() for j in range(n) if j != i]
        reach = sorted(max(p, q) for p, q in zip(in_x, in_y, strict=True))[k - 1]
        total += digamma(sum(p < reach for p in in_x) + 1) + digamma(
            sum(q < reach for q in in_y) + 1
        )
    wanted = (digamma(k) + digamma(n) - total / n) / math.log(2)
    assert ksg_information(x, y, k=k, chunk=17) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(("m", "bits"), [(2, 0.5), (5, 1.521928), (10, 2.421928)])
def test_ross_on_a_uniform_integer_in_uniform_noise(m: int, bits: float) -> None:
    generator = draw()
    labels = torch.randint(0, m, (1500,), generator=generator)
    t = labels[:, None] + 2 * torch.rand(1500, 1, generator=generator, dtype=torch.float64)
    assert ross_information(t, labels) == pytest.approx(bits, abs=0.09)


@pytest.mark.parametrize(
    ("mu", "bits"), [(0.5, 0.160747), (1, 0.485944), (2, 0.912822), (3, 0.994447)]
)
def test_ross_on_a_sign_in_normal_noise(mu: float, bits: float) -> None:
    generator = draw()
    labels = torch.randint(0, 2, (1500,), generator=generator)
    t = (mu * (2 * labels - 1))[:, None] + torch.randn(1500, 1, generator=generator)
    assert ross_information(t, labels) == pytest.approx(bits, abs=0.07)


def test_ross_equals_scikit_learn() -> None:
    selection = pytest.importorskip("sklearn.feature_selection")
    generator = draw(3)
    # Classes of very different sizes: one smaller than k + 1, one of a single sample.
    labels = torch.tensor([0] * 300 + [1] * 90 + [2] * 3 + [7])
    t = labels[:, None] + torch.randn(394, 1, generator=generator, dtype=torch.float64)
    for k in (1, 3, 5):
        theirs = selection.mutual_info_classif(
            t.numpy(), labels.numpy(), n_neighbors=k, random_state=0
        )[0]
        # Their tree squares distances, which moves a neighbour across its own radius now and then.
        assert ross_information(t, labels, k=k, chunk=100) == pytest.approx(
            theirs / math.log(2), abs=1e-3
        )


@pytest.mark.parametrize("k", [1, 3, 6])
def test_ross_by_loops(k: int) -> None:
    generator = draw(4)
    labels = torch.tensor([0] * 30 + [1] * 20 + [2] * 3 + [7])
    t = labels[:, None] + torch.randn(54, 2, generator=generator, dtype=torch.float64)
    rows, names = t.numpy()[:53], labels.numpy()[:53]
    total = 0.0
    for i in range(53):
        apart = {j: np.abs(rows[i] - rows[j]).max() for j in range(53) if j != i}
        same = sorted(d for j, d in apart.items() if names[j] == names[i])
        near = min(k, len(same))
        total += digamma(near) - digamma(len(same) + 1)
        total -= digamma(sum(d <= same[near - 1] for d in apart.values()))
    wanted = (digamma(53) + total / 53) / math.log(2)
    assert ross_information(t, labels, k=k, chunk=20) == pytest.approx(wanted, abs=1e-12)


def test_ross_stays_near_the_entropy_of_the_labels() -> None:
    labels = torch.arange(600) % 4
    t = 100.0 * labels[:, None] + torch.rand(600, 3, generator=draw(), dtype=torch.float64)
    assert ross_information(t, labels) == pytest.approx(2, abs=0.02)


def test_constant_units_change_nothing() -> None:
    x, y = normal_pairs(300, 0.7, 1)
    padded = torch.cat([x, torch.full_like(x, 4.0)], dim=1)
    assert ksg_information(padded, y) == ksg_information(x, y)


@pytest.mark.parametrize(
    "values",
    [
        torch.randn(300, 64, generator=draw()).sign(),
        torch.randn(300, 1, generator=draw()).sign(),
        torch.randn(300, 2, generator=draw()).relu(),
        torch.cat(
            [torch.rand(300, 1, generator=draw()), torch.randn(300, 1, generator=draw()).round()], 1
        ),
    ],
    ids=["wide signs", "one sign", "ReLU", "one discrete unit"],
)
def test_binary_and_discrete_values_are_refused(values: torch.Tensor) -> None:
    other = torch.rand(300, 1, generator=draw(1))
    for estimate in (
        lambda: ksg_information(values, other),
        lambda: ksg_information(other, values),
        lambda: ross_information(values, torch.arange(300) % 3),
    ):
        with pytest.raises(BitlensError, match=r"continuous values\. Read binary"):
            estimate()


def test_errors() -> None:
    t = torch.rand(50, 2, generator=draw())
    with pytest.raises(BitlensError, match="k=0"):
        ksg_information(t, t + 1, k=0)
    with pytest.raises(BitlensError, match="needs 7"):
        ksg_information(t[:6], t[:6], k=5)
    with pytest.raises(BitlensError, match="no class has two"):
        ross_information(t, torch.arange(50))
    with pytest.raises(BitlensError, match="chunk=0"):
        ross_information(t, torch.arange(50) % 2, chunk=0)
