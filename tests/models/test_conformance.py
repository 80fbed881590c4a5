"""The clauses of the contract against methods that break one promise each, on purpose."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitlens import BitlensError
from bitlens.bits import hard_tanh, sign, sign_values
from bitlens.methods import get
from bitlens.methods.bireal import MeanMagnitudeWeight
from bitlens.methods.contract import (
    TWO_STEP,
    ActivationBinarizer,
    Progress,
    Sign,
    Stage,
    WeightBinarizer,
    per_filter,
    scaled_sign,
)
from bitlens.models.conformance.check import CLAUSES, check, promise
from bitlens.models.conformance.specimen import KINDS

BIREAL = get("bireal")


class Learned(WeightBinarizer):
    """s_c sgn(W), s learned; right in every respect, and what the broken ones below start from."""

    def __init__(self, latent: Tensor, progress: Progress) -> None:
        super().__init__()
        self.progress = progress
        self.scale = nn.Parameter(torch.full((latent.shape[0],), 2.0))

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return sign_values(weight.detach()), self.scale.detach()

    def forward(self, weight: Tensor) -> Tensor:
        return sign(weight, hard_tanh) * per_filter(self.scale, weight)

    def relaxed(self, weight: Tensor) -> Tensor:
        return weight * per_filter(self.scale, weight)


class ZeroIsZero(MeanMagnitudeWeight):
    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return weight.detach().sign(), super().decompose(weight)[1]

    def forward(self, weight: Tensor) -> Tensor:
        return scaled_sign(weight, *self.decompose(weight), hard_tanh)


class ScaleShape(MeanMagnitudeWeight):
    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        signs, scale = super().decompose(weight)
        return signs, scale.view(-1, 1)


class ScaleWithGradient(Learned):
    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return sign_values(weight.detach()), self.scale


class OffsetIgnored(Learned):
    def offset(self, weight: Tensor) -> Tensor:
        return weight.detach().flatten(1).mean(1)


class Inexact(Learned):
    def forward(self, weight: Tensor) -> Tensor:
        exact = sign_values(weight.detach()) * per_filter(self.scale, weight)
        return exact + (weight - weight.detach()) * 1.1 + 1e-12


class WrongPrecision(Learned):
    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return sign_values(weight.detach()), self.scale.detach().double()


class NaNBecomesMinusOne(Learned):
    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(weight.detach() >= 0, 1.0, -1.0).to(weight), self.scale.detach()

    def forward(self, weight: Tensor) -> Tensor:
        signs, _ = self.decompose(weight)
        ones = torch.ones_like(self.scale.detach())
        return scaled_sign(weight, signs, ones, hard_tanh) * per_filter(self.scale, weight)


class Magnitude(Learned):
    def forward(self, weight: Tensor) -> Tensor:
        return sign(weight, hard_tanh) * per_filter(self.scale.abs(), weight)


class EvaluationScale(Learned):
    """Two views agree in each mode, but the modes differ."""

    def _factor(self) -> float:
        return 1.0 if self.training else 2.0

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return sign_values(weight.detach()), self.scale.detach() * self._factor()

    def forward(self, weight: Tensor) -> Tensor:
        return super().forward(weight) * self._factor()


class NoGradient(Learned):
    def forward(self, weight: Tensor) -> Tensor:
        return sign(weight, lambda grad, x: grad * 0) * per_filter(self.scale, weight)


class DeadParameter(Learned):
    def __init__(self, latent: Tensor, progress: Progress) -> None:
        super().__init__(latent, progress)
        self.unused = nn.Parameter(torch.ones(2))


class RootMeanSquare(WeightBinarizer):
    """sqrt(mean W^2) sgn(W): the root has no derivative at zero."""

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return sign_values(weight.detach()), self._scale(weight.detach())

    def forward(self, weight: Tensor) -> Tensor:
        return sign(weight, hard_tanh) * per_filter(self._scale(weight), weight)

    def _scale(self, weight: Tensor) -> Tensor:
        return weight.flatten(1).square().mean(1).sqrt()


class TimeSeed(Learned):
    """Noise on the scale while training, drawn from torch's own stream."""

    def forward(self, weight: Tensor) -> Tensor:
        made = super().forward(weight)
        if self.training and self.progress.value < 1:
            made = made * (1 + 0.01 * torch.rand(()))
        return made


class CountsPasses(Learned):
    def __init__(self, latent: Tensor, progress: Progress) -> None:
        super().__init__(latent, progress)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, weight: Tensor) -> Tensor:
        self.get_buffer("passes").add_(1)
        return super().forward(weight)


class HiddenState(Learned):
    """A factor that grows with the steps and lives in Python alone."""

    factor = 1.0

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return sign_values(weight.detach()), self.scale.detach() * self.factor

    def forward(self, weight: Tensor) -> Tensor:
        return sign(weight, hard_tanh) * per_filter(self.scale * self.factor, weight)

    def after_step(self, weight: nn.Parameter) -> None:
        self.factor += 0.01


class HiddenMomentum(Learned):
    """Outputs are those of the saved tensors; only the next step is another one."""

    last = 0.0

    def before_step(self, weight: nn.Parameter) -> None:
        assert weight.grad is not None
        weight.grad.add_(self.last)
        self.last = float(weight.grad.mean())


class PerFilterPenalty(Learned):
    def penalty(self, weight: Tensor) -> Tensor:
        return weight.flatten(1).square().mean(1)


class HookDivides(Learned):
    @torch.no_grad()
    def after_step(self, weight: nn.Parameter) -> None:
        weight.div_(weight - weight)


class ClosedOver(Learned):
    """The schedule sits in a closure, which a deep copy shares with the original."""

    def __init__(self, latent: Tensor, progress: Progress) -> None:
        super().__init__(latent, progress)
        self.surrogate = lambda grad, x: hard_tanh(grad, x) * (1 + progress.value)

    def forward(self, weight: Tensor) -> Tensor:
        return sign(weight, self.surrogate) * per_filter(self.scale, weight)


class Refuses(Learned):
    def __init__(self, latent: Tensor, progress: Progress) -> None:
        if latent.dim() == 2:
            raise BitlensError("a linear layer has no kernel")
        super().__init__(latent, progress)


class Activation(ActivationBinarizer):
    def __init__(self, channels: int, progress: Progress) -> None:
        super().__init__(hard_tanh)


class HostNumber(Activation):
    """A number taken to the host inside the forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum().item() < 1e9 else super().forward(x * 2)


class InexactCodes(Activation):
    """Off by a last bit where x and its sign lie on different sides of zero."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.sign(x + 0.3) - x).detach()


class ThreeLevels(Activation):
    def forward(self, x: Tensor) -> Tensor:
        return self.sign(x) * (x.abs() > 1e-3)


class NaNCodes(Activation):
    def forward(self, x: Tensor) -> Tensor:
        return self.sign(x.nan_to_num(-1.0))


class BatchThreshold(Activation):
    def forward(self, x: Tensor) -> Tensor:
        return self.sign(x - x.mean())


class PixelThreshold(Activation):
    def forward(self, x: Tensor) -> Tensor:
        return self.sign(x - x.flatten(1).amax(1).view(-1, *[1] * (x.dim() - 1)) / 4)


class TwoSigns(Activation):
    def forward(self, x: Tensor) -> Tensor:
        return self.sign(self.sign(x) * 0.5)


class OtherCodes(Activation):
    def forward(self, x: Tensor) -> Tensor:
        return -self.sign(x)


class ZeroSign(Sign):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - (x == 0).to(x))


class ZeroIsMinusOne(Activation):
    def __init__(self, channels: int, progress: Progress) -> None:
        super().__init__(channels, progress)
        self.sign = ZeroSign(hard_tanh)


class ColumnScale(nn.Module):
    """The output's places count differently, which is no number per channel."""

    def __init__(self, latent: Tensor) -> None:
        super().__init__()

    def forward(self, output: Tensor) -> Tensor:
        return output * torch.arange(1, output.shape[-1] + 1).to(output)


class Gate(nn.Module):
    """The output is weighed by its own image's mean."""

    def __init__(self, latent: Tensor) -> None:
        super().__init__()

    def forward(self, output: Tensor) -> Tensor:
        mean = output.flatten(1).mean(1)
        return output * mean.sigmoid().view(-1, *[1] * (output.dim() - 1))


class Narrow(nn.Module):
    def __init__(self, latent: Tensor) -> None:
        super().__init__()

    def forward(self, output: Tensor) -> Tensor:
        return output[..., :3] if output.dim() == 4 else output


@dataclass(frozen=True, kw_only=True)
class Broken:
    """What to change of Bi-Real Net, the clauses that fail, and a message of the first of them."""

    change: dict[str, Any]
    fails: tuple[str, ...]
    says: str


def weight(kind: Callable[..., WeightBinarizer], *fails: str, says: str) -> Broken:
    def build(latent: Tensor, progress: Progress) -> WeightBinarizer:
        return (
            kind()
            if issubclass(kind, MeanMagnitudeWeight | RootMeanSquare)
            else kind(latent, progress)
        )

    return Broken(change={"weight": build}, fails=fails, says=says)


def activation(kind: Callable[..., ActivationBinarizer], *fails: str, says: str) -> Broken:
    return Broken(change={"activation": kind}, fails=fails, says=says)


RUNTIME = {"deploy": "runtime", "why_runtime": "nobody knows"}

CASES: dict[str, Broken] = {
    "sign of zero": weight(
        ZeroIsZero,
        "weight signs",
        says=r"the weight binarizer gives 0 at latent 0, entry \(0, 0.*signs are -1 or \+1",
    ),
    "scale of another shape": weight(
        ScaleShape, "weight signs", says=r"the scale has shape \(6, 1\) for a weight of shape \(6, "
    ),
    "scale with a gradient": weight(
        ScaleWithGradient, "weight signs", says="the scale carries a gradient"
    ),
    "offset ignored": weight(
        OffsetIgnored,
        "two views",
        "two modes",
        "negative scales",
        says=r"forward against signs \* scale \+ offset, training, t=1.0: -?\d",
    ),
    "inexact": weight(Inexact, "two views", says=r"1\.?\d* instead of .* at entry \(0, "),
    "precision": weight(WrongPrecision, "two views", says="its parts torch.float64"),
    "NaN weight": weight(NaNBecomesMinusOne, "nan", says="filter with a NaN weight becomes"),
    "scale by magnitude": weight(
        Magnitude, "negative scales", says="evaluation against training, scales negated"
    ),
    "another scale in evaluation": weight(
        EvaluationScale, "two modes", "negative scales", says="evaluation against training at t=1"
    ),
    "no gradient": weight(NoGradient, "gradients", says="no gradient reaches the latent weight"),
    "dead parameter": weight(
        DeadParameter, "gradients", says="weight_binarizer.unused has no path to the loss at t=0.0"
    ),
    "no derivative at zero": weight(
        RootMeanSquare, "zeros", says="gradient of 0.weight is nan where the weight is all zero"
    ),
    "random": weight(
        TimeSeed,
        "deterministic",
        "saved",
        "resumed",
        "copied",
        says="a second pass at t=0.0, output: ",
    ),
    "state in forward": weight(
        CountsPasses, "vmap", "pure forward", says="in-place operation|passes"
    ),
    "hidden state": weight(
        HiddenState, "saved", "resumed", says="what decides it must be a parameter or a buffer"
    ),
    "hidden momentum": weight(
        HiddenMomentum, "resumed", says=r"0\.weight after a run continued from a file"
    ),
    "penalty of many numbers": weight(
        PerFilterPenalty, "hooks", says=r"the penalty has shape \(6,\); one number"
    ),
    "hook divides by zero": weight(
        HookDivides, "gradients", "hooks", says="no gradient reaches the latent weight at t=0"
    ),
    "number on the host": activation(HostNumber, "vmap", says=r"RuntimeError.*item"),
    "progress in a closure": weight(ClosedOver, "copied", says="in an attribute, not in a closure"),
    "half a plan": Broken(
        change={"plan": (Stage(share=0.5),)}, fails=("declared",), says="add up to 0.5"
    ),
    "last stage real": Broken(
        change={"plan": TWO_STEP[::-1]}, fails=("declared",), says="last stage of the plan is not"
    ),
    "no reason": Broken(
        change={"why_runtime": "because"}, fails=("declared",), says="the reason belongs to runtime"
    ),
    "inexact codes": activation(
        InexactCodes, "codes", says=r"activation binarizer gives -?(0\.9999|1\.0000)\d* at input"
    ),
    "three levels": activation(ThreeLevels, "codes", says="gives -?0 at input"),
    "NaN input": activation(NaNCodes, "nan", says="turns NaN into -1.0"),
    "sign of zero, activations": activation(ZeroIsMinusOne, "codes", says="`sign` gives -1.0 at 0"),
    "two signs": activation(TwoSigns, "codes", says="`sign` is called 2 times a pass"),
    "codes behind the sign": activation(
        OtherCodes, "codes", says="the codes against those `sign` gives"
    ),
    "threshold of the batch": activation(
        BatchThreshold,
        "static or runtime",
        says=r"BatchThreshold gives -?1, then -?1, for the same entry.*declare deploy='runtime'",
    ),
    "threshold of the image": activation(
        PixelThreshold, "static or runtime", says="PixelThreshold"
    ),
    "runtime in name": Broken(
        change=RUNTIME, fails=("static or runtime",), says="no code and no output moved"
    ),
    "gate": Broken(
        change={"output": Gate}, fails=("static or runtime", "shapes"), says="Gate gives"
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_broken_promise_is_found_by_its_clause(case: str) -> None:
    broken = CASES[case]
    found = [o for o in check(replace(BIREAL, **broken.change), "mine:METHOD") if o.error]
    assert {o.clause for o in found} == set(broken.fails), [str(o.error) for o in found]
    assert {o.kind for o in found} == set(KINDS)
    first = next(o for o in found if o.clause == broken.fails[0])
    with pytest.raises(BitlensError, match=broken.says):
        raise first.error
    assert str(first.error).startswith(f"{first.clause}, {first.kind}: ")


def test_a_scale_that_differs_from_place_to_place_is_not_static() -> None:
    found = [o for o in check(replace(BIREAL, output=ColumnScale), "mine:METHOD") if o.error]
    assert [(o.clause, o.kind) for o in found] == [("static or runtime", "convolution")]
    assert "ColumnScale treats places of the output differently" in str(found[0].error)
    honest = replace(BIREAL, output=ColumnScale, deploy="runtime", why_runtime="places differ")
    assert not [o for o in check(honest, "mine:METHOD") if o.error]


def test_a_changed_shape_is_told_with_both_shapes() -> None:
    found = [o for o in check(replace(BIREAL, output=Narrow), "mine:METHOD") if o.error]
    assert {(o.clause, o.kind) for o in found} >= {("shapes", "convolution")}
    told = next(str(o.error) for o in found if o.clause == "shapes")
    assert "output has shape (3, 6, 5, 3) in training, not (3, 6, 5, 5)" in told


def test_a_kind_of_layer_may_be_refused() -> None:
    outcomes = list(check(replace(BIREAL, **weight(Refuses, says="").change), "mine:METHOD"))
    (refused,) = (o for o in outcomes if o.kind == "linear")
    assert refused.refused and str(refused.error) == "a linear layer has no kernel"
    assert not any(o.error for o in outcomes if o.kind == "convolution")


def test_an_error_of_any_kind_is_an_outcome() -> None:
    outcomes = list(check(replace(BIREAL, activation=None), "mine:METHOD"))
    assert len(outcomes) == len(KINDS) * len(CLAUSES)
    assert all("TypeError: 'NoneType' object is not callable" in str(o.error) for o in outcomes)


@pytest.mark.parametrize("clause", CLAUSES)
def test_every_clause_is_one_sentence_and_broken_by_some_case(clause: str) -> None:
    said = promise(clause)
    assert said.endswith(".") and ". " not in said and "\n" not in said
    assert any(clause in case.fails for case in CASES.values())


@pytest.mark.parametrize("part", [Learned, MeanMagnitudeWeight])
def test_a_method_that_keeps_its_promises_passes(part: type) -> None:
    kept = check(replace(BIREAL, **weight(part, says="").change), "mine:METHOD")
    outcomes = list(kept)
    assert [str(o.error) for o in outcomes if o.error] == []
    assert [(o.clause, o.kind) for o in outcomes] == [(c, k) for c in CLAUSES for k in KINDS]


def test_torchs_random_state_is_left_alone() -> None:
    before = copy.deepcopy(torch.get_rng_state())
    list(check(BIREAL, "bireal"))
    assert torch.equal(torch.get_rng_state(), before)
