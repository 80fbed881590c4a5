"""What all estimators share: names that import, and one way of refusing bad activations and labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bitlens.errors import BitlensError
from bitlens.information.estimators import ESTIMATORS, get

TAKES_LABELS = ("kde", "kde-signs", "ross", "critic-labels")
TAKES_PAIRS = ("ksg", "critic-pairs")


def call(name: str, t: torch.Tensor) -> Callable[[], Any]:
    estimate = get(name)
    if name in TAKES_LABELS:
        return lambda: estimate(t, torch.arange(len(t)) % 2)
    return lambda: estimate(t, t + torch.rand(t.shape)) if name in TAKES_PAIRS else estimate(t)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_name_imports_and_documents_itself(name: str) -> None:
    estimate = get(name)
    assert callable(estimate) and estimate.__doc__
    module = __import__(estimate.__module__, fromlist=["x"]).__doc__
    assert module is not None
    for word in ("Cost", "Bias", "Validity"):
        assert word in module


def test_unknown_name() -> None:
    with pytest.raises(BitlensError, match="did you mean ksg"):
        get("ksgg")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_bad_activations_are_refused(name: str) -> None:
    t = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    for value in (float("nan"), float("inf")):
        broken = t.clone()
        broken[7, 1] = value
        with pytest.raises(BitlensError, match="row 7"):
            call(name, broken)()
    with pytest.raises(BitlensError, match="a row per sample"):
        call(name, t[:, 0])()
    with pytest.raises(BitlensError, match="a row per sample"):
        call(name, t[:, :0])()
    with pytest.raises(BitlensError, match=r"a row per sample|too few"):
        call(name, t[:0])()


@pytest.mark.parametrize(
    "name", ["kde", "kde-signs", "ross", "ksg", "critic-labels", "critic-pairs"]
)
def test_too_few_samples(name: str) -> None:
    with pytest.raises(BitlensError, match="too few"):
        call(name, torch.rand(1, 3))()


@pytest.mark.parametrize("name", TAKES_LABELS)
def test_bad_labels_are_refused(name: str) -> None:
    t = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(BitlensError, match="integers"):
        get(name)(t, torch.zeros(200))
    with pytest.raises(BitlensError, match="200 samples"):
        get(name)(t, torch.zeros(199, dtype=torch.int64))


@pytest.mark.parametrize("name", TAKES_PAIRS)
def test_pairs_of_unequal_length_are_refused(name: str) -> None:
    with pytest.raises(BitlensError, match="give pairs"):
        get(name)(torch.rand(200, 3), torch.rand(199, 3))
