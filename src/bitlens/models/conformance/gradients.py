"""Clauses about gradients: they are finite, they reach everything, and vmap agrees with a loop."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from bitlens.errors import BitlensError
from bitlens.models.conformance.specimen import (
    TIMES,
    Specimen,
    binary,
    gradients,
    place,
    require,
    require_close,
    take_steps,
)
from bitlens.models.convert import set_progress


def _require_finite(name: str, gradient: Tensor, when: str) -> None:
    if not gradient.isfinite().all():
        wrong = ~gradient.isfinite()
        value = gradient[tuple(wrong.nonzero()[0].tolist())].item() if wrong.dim() else gradient
        require(False, f"the gradient of {name} is {value} {when}, {place(wrong)}")


def alive(specimen: Specimen) -> None:
    """Input and latent weight get a gradient at every t; other parameters zeros at least, never nothing."""
    for real_weights in (False, True):
        net = specimen.net()
        binary(net).binary_weights = not real_weights
        stage = ", real weights" if real_weights else ""
        # One step first: what a hook keeps for the next one may be zero until then.
        take_steps(specimen, net, torch.optim.SGD(net.parameters(), lr=0.01), range(1))
        x, touched = specimen.images(), set[str]()
        for t in TIMES:
            set_progress(net, t)
            for name, gradient in gradients(net, x).items():
                name = name.removeprefix("0.")
                if gradient is None:
                    raise BitlensError(
                        f"{name} has no path to the loss at t={t}{stage}; several processes wait for "
                        "every gradient, so add the parameter times zero where it does not act"
                    )
                _require_finite(name, gradient, f"at t={t}{stage}")
                if gradient.any():
                    touched.add(name)
                elif name in ("(input)", "weight"):
                    what = "the input" if name == "(input)" else "the latent weight"
                    raise BitlensError(f"no gradient reaches {what} at t={t}{stage}")
        names = [name for name, _ in binary(net).named_parameters()]
        dead = [name for name in names if name not in touched]
        require(real_weights or not dead, f"no gradient reaches {', '.join(dead)} at any t")


def at_zero(specimen: Specimen) -> None:
    """Zero weights and zero inputs get finite gradients and give finite outputs."""
    for what in ("weight", "input"):
        net, x = specimen.net(), specimen.images()
        with torch.no_grad():
            (binary(net).weight if what == "weight" else x).zero_()
        for t in TIMES:
            set_progress(net, t)
            require(bool(net(x).isfinite().all()), f"a {what} of zeros gives an output not finite")
            for name, gradient in gradients(net, x).items():
                if gradient is not None:
                    _require_finite(name, gradient, f"where the {what} is all zero, t={t}")


def per_image(specimen: Specimen) -> None:
    """Per-image gradients under torch.func.vmap at t = 1 equal those of a loop over the images."""
    net = specimen.net()
    parameters: dict[str, Tensor] = dict(net.named_parameters())
    buffers = dict(net.named_buffers())

    def loss(values: dict[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(net, (values, buffers), (image[None],)).square().sum()

    x = specimen.images(3)
    batched = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for index, image in enumerate(x):
        for name, gradient in grad(loss)(parameters, image).items():
            require_close(batched[name][index], gradient, f"the gradient of {name}, image {index}")
