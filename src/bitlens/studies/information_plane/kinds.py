"""What is varied: weights x activations x batch norm, the surrogate of the sign, and CMIM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of net.

    Attributes:
        name: as it appears in tables and files.
        weights: "binary" (signs of latent weights, all layers) or "float".
        activation: of the hidden layers.
        surrogate: backward rule of a sign activation.
        norm: batch norm before every non-linearity and after the last layer; without it binary sums
            are divided by the root of their number and thresholds are learned.
        spread: start float weights from deviation 1/sqrt(inputs), which keeps the scale of the
            activations from layer to layer, and thresholds from 0, instead of both from the usual
            uniform(-1/sqrt(inputs), 1/sqrt(inputs)).
        cmim: weight of the contrastive term between a layer's input and its signs; 0 leaves it out.
    """

    name: str
    weights: Literal["binary", "float"]
    activation: Literal["sign", "tanh", "relu"]
    surrogate: Literal["ste", "approx", "swish"] = "ste"
    norm: bool = True
    spread: bool = False
    cmim: float = 0.0

    @property
    def binary(self) -> bool:
        """Whether weights and activations are both signs."""
        return self.weights == "binary" and self.activation == "sign"


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(name="dnn-tanh", weights="float", activation="tanh", norm=False),
        Kind(name="dnn-tanh-spread", weights="float", activation="tanh", norm=False, spread=True),
        Kind(name="dnn-relu", weights="float", activation="relu", norm=False),
        Kind(name="bnn-ste", weights="binary", activation="sign"),
        Kind(name="bnn-approx", weights="binary", activation="sign", surrogate="approx"),
        Kind(name="bnn-swish", weights="binary", activation="sign", surrogate="swish"),
        Kind(name="w32a32-bn", weights="float", activation="tanh"),
        Kind(name="w32a1-bn", weights="float", activation="sign"),
        Kind(name="w1a32-bn", weights="binary", activation="tanh"),
        Kind(name="w32a1", weights="float", activation="sign", norm=False),
        Kind(name="w1a32", weights="binary", activation="tanh", norm=False),
        Kind(name="w1a1", weights="binary", activation="sign", norm=False),
        Kind(name="bnn-ste-cmim", weights="binary", activation="sign", cmim=0.03),
        Kind(name="bnn-ste-cmim-strong", weights="binary", activation="sign", cmim=1.0),
    )
}
"""Five kinds as the literature has them, the tanh net from a larger start, the cells of the factorial
that are not among those (dnn-tanh is its W32 A32 cell without norm, bnn-ste its W1 A1 cell with norm), and
CMIM at the weight that our own sweep chose and at one where the term weighs as much as the task."""

FACTORIAL: dict[tuple[str, str, bool], str] = {
    (weights, "sign" if activation == "sign" else "tanh", norm): name
    for name, (weights, activation, norm) in {
        "dnn-tanh": ("float", "tanh", False),
        "w32a32-bn": ("float", "tanh", True),
        "w32a1": ("float", "sign", False),
        "w32a1-bn": ("float", "sign", True),
        "w1a32": ("binary", "tanh", False),
        "w1a32-bn": ("binary", "tanh", True),
        "w1a1": ("binary", "sign", False),
        "bnn-ste": ("binary", "sign", True),
    }.items()
}
"""(weights, activation, norm) -> the kind in that cell."""

SURROGATES = ("bnn-ste", "bnn-approx", "bnn-swish")
