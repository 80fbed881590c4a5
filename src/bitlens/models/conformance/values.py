"""Clauses about values: signs, codes, the two views of a weight, and what depends on the input."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from bitlens.methods.contract import Sign, per_filter
from bitlens.models.conformance.specimen import (
    KINDS,
    TIMES,
    Specimen,
    binary,
    place,
    require,
    require_close,
    require_equal,
)
from bitlens.models.convert import set_progress
from bitlens.models.layers import BinaryLayer


def _require_signs(found: Tensor, at: Tensor, what: str, of: str) -> None:
    require(
        found.shape == at.shape,
        f"{what} has shape {tuple(found.shape)} for {of} of shape {tuple(at.shape)}",
    )
    wrong = found.abs() != 1
    if wrong.any():
        index = tuple(wrong.nonzero()[0].tolist())
        raise_for = f"{what} gives {found[index].item():.17g} at {of} {at[index].item():.6g}"
        require(False, f"{raise_for}, {place(wrong)}; signs are -1 or +1")


def weight_signs(specimen: Specimen) -> None:
    """The weight's signs are -1 or +1, for zeros too, with one finite scale per output channel."""
    for change in ("none", "two zeros", "all zero"):
        net = specimen.net()
        layer = binary(net)
        with torch.no_grad():
            if change == "two zeros":
                layer.weight.view(-1)[:2] = torch.tensor([0.0, -0.0])
            elif change == "all zero":
                layer.weight.zero_()
        for t in TIMES:
            set_progress(net, t)
            for training in (True, False):
                layer.train(training)
                signs, scale = layer.weight_binarizer.decompose(layer.weight)
                _require_signs(signs, layer.weight.detach(), "the weight binarizer", "latent")
                _require_per_channel(layer, "scale", scale)
                require(not signs.requires_grad, "decompose gives signs that carry a gradient")


def _require_per_channel(layer: BinaryLayer, name: str, values: Tensor) -> None:
    wanted = tuple(layer.weight.shape[:1])
    require(
        tuple(values.shape) == wanted,
        f"the {name} has shape {tuple(values.shape)} for a weight of shape "
        f"{tuple(layer.weight.shape)}; it is one number per output channel, {wanted}",
    )
    require(not values.requires_grad, f"the {name} carries a gradient; return it detached")
    if not values.isfinite().all():
        wrong = ~values.isfinite()
        require(False, f"the {name} is {values[wrong][0].item()} at {place(wrong)}")


def two_views(specimen: Specimen) -> None:
    """forward(w) equals signs * scale + offset bit for bit, in the latent weight's precision."""
    for dtype in (torch.float64, torch.float32):
        net = specimen.net(dtype=dtype)
        layer = binary(net)
        for t, training in ((1.0, True), *((t, False) for t in TIMES)):
            set_progress(net, t)
            layer.train(training)
            found = layer.weight_binarizer(layer.weight)
            signs, scale = layer.weight_binarizer.decompose(layer.weight)
            offset = layer.weight_binarizer.offset(layer.weight)
            expected = signs * per_filter(scale, signs)
            if offset is not None:
                _require_per_channel(layer, "offset", offset)
                expected = expected + per_filter(offset, signs)
            require(
                found.dtype == expected.dtype == dtype,
                f"a {dtype} weight becomes {found.dtype}, its parts {expected.dtype}",
            )
            mode = "training" if training else "evaluation"
            require_equal(
                found.detach(), expected, f"forward against signs * scale + offset, {mode}, t={t}"
            )


def activation_codes(specimen: Specimen) -> None:
    """The activation binarizer gives -1 or +1 in the input's shape, through its one Sign."""
    net = specimen.net()
    layer = binary(net)
    sign = layer.activation.sign
    require(
        isinstance(sign, Sign),
        f"`sign` of the activation binarizer is a {type(sign).__name__}; observers look for a Sign",
    )
    low, high = layer.activation.levels
    require(low < high, f"levels are {layer.activation.levels}; the lower comes first")
    for t, training in ((1.0, True), *((t, False) for t in TIMES)):
        set_progress(net, t)
        layer.train(training)
        for dtype in (torch.float64, torch.float32):
            x = specimen.images(dtype=dtype)
            # From thousandths to thousands: x + (s - x).detach() is off where x is large.
            x = x * 10.0 ** (torch.arange(x.numel()).view_as(x) % 7 - 3)
            seen: list[Tensor] = []
            handle = sign.register_forward_hook(
                lambda module, given, code, seen=seen: seen.append(code)
            )
            codes = layer.to(dtype).activation(x).detach()
            handle.remove()
            _require_signs(codes, x, "the activation binarizer", "input")
            require(codes.dtype == dtype, f"a {dtype} input becomes {codes.dtype} codes")
            require(
                len(seen) == 1, f"`sign` is called {len(seen)} times a pass; observers need one"
            )
            require_equal(codes, seen[0].detach(), f"the codes against those `sign` gives, t={t}")
        layer.to(torch.float64)
    zero = sign(torch.zeros(1, dtype=torch.float64))
    require(bool((zero == 1).all()), f"`sign` gives {zero.item()} at 0; it counts as +1")


def nan_stays(specimen: Specimen) -> None:
    """A NaN in the input or in a latent weight stays NaN, so that a broken net shows in the loss."""
    for training in (True, False):
        layer = binary(specimen.net()).train(training)
        x = specimen.images()
        x.view(-1)[7] = float("nan")
        code = layer.activation(x).view(-1)[7]
        require(bool(code.isnan()), f"the activation binarizer turns NaN into {code.item()}")
        with torch.no_grad():
            layer.weight.view(-1)[3] = float("nan")
            made = layer.weight_binarizer(layer.weight)[0]
        require(
            bool(made.isnan().any()),
            f"a filter with a NaN weight becomes {made.flatten()[:4].tolist()}...; keep the NaN",
        )


def shapes(specimen: Specimen) -> None:
    """The layer keeps torch's output shape, in training, evaluation and a stage of real weights."""
    layer = binary(specimen.net())
    x = specimen.images(3)
    wanted = (3, 6, 5, 5) if specimen.kind == "convolution" else (3, 6)
    for stage in ("training", "evaluation", "real weights"):
        layer.train(stage == "training")
        layer.binary_weights = stage != "real weights"
        found = tuple(layer(x).shape)
        require(found == wanted, f"the layer's output has shape {found} in {stage}, not {wanted}")
    if specimen.kind == "linear":
        layer.binary_weights = True
        tokens = x.expand(2, 3, 8)
        require_equal(layer(tokens)[1], layer(x), "tokens (2, 3, 8) against rows (3, 8)")


def two_modes(specimen: Specimen) -> None:
    """At t = 1 training and evaluation compute the same output."""
    net, x = specimen.net(), specimen.images()
    layer = binary(net)
    require_close(
        layer.eval()(x).detach(), layer.train()(x).detach(), "evaluation against training at t=1"
    )


def negative_scales(specimen: Specimen) -> None:
    """With every learned number per output channel negated, both modes still compute the same."""
    net, x = specimen.net(), specimen.images()
    layer = binary(net)
    for parameter in layer.weight_binarizer.parameters():
        if parameter.numel() in (1, layer.weight.shape[0]):
            parameter.data.neg_()
    require_close(
        layer.eval()(x).detach(),
        layer.train()(x).detach(),
        "evaluation against training, scales negated",
    )


def static_or_runtime(specimen: Specimen) -> None:
    """A static method folds into one threshold per channel; one called "runtime" shows that it does not."""
    found = _needs_the_input(specimen)
    if specimen.method.deploy == "static":
        require(
            found is None,
            f"{found}; a static method's may not: declare deploy='runtime' and why_runtime",
        )
        return
    shown = found or any(_needs_the_input(replace(specimen, kind=kind)) for kind in KINDS)
    require(
        bool(shown),
        "deploy='runtime', but no code and no output moved when the other entries of the input did",
    )


def _needs_the_input(specimen: Specimen) -> str | None:
    """What cannot be folded into one threshold per channel; None for nothing."""
    layer = binary(specimen.net()).eval()
    x = specimen.images(4)
    with torch.no_grad():
        found = _follows_others(layer.activation, x)
        if found is not None or layer.output is None:
            return found
        y = torch.randn_like(layer(x))
        if specimen.kind == "convolution" and not _same_at_every_place(layer.output, y):
            return f"{type(layer.output).__name__} treats places of the output differently"
        return _follows_others(layer.output, y)


def _same_at_every_place(module: nn.Module, y: Tensor) -> bool:
    made = module(y[:, :, :1, :1].expand_as(y).contiguous())
    return bool((made == made[:, :, :1, :1]).all())


def _follows_others(module: nn.Module, x: Tensor) -> str | None:
    """Which entry of `module(x)` changes when every other entry of `x` does; None for none."""
    found = module(x).flatten()
    for others in (x * 4 + 3, x * 4 - 3, x.flip(0) / 3):
        for entry in range(0, x.numel(), 7):
            changed = others.flatten()
            changed[entry] = x.flatten()[entry]
            value = module(changed.view_as(x)).flatten()[entry]
            if value != found[entry]:
                return (
                    f"{type(module).__name__} gives {found[entry].item():.6g}, then {value.item():.6g}, "
                    f"for the same entry {entry} of an input of shape {tuple(x.shape)}"
                )
    return None


def declared(specimen: Specimen) -> None:
    """The fields of `Method` fit each other: deploy and its reason, the plan, bounds, own rates."""
    method = specimen.method
    require(method.deploy in ("static", "runtime"), f"deploy={method.deploy!r}; static or runtime")
    require(
        bool(method.why_runtime) == (method.deploy == "runtime"),
        f"deploy={method.deploy!r} with why_runtime={method.why_runtime!r}; the reason belongs to runtime",
    )
    require(method.pad in (0, 1, -1), f"pad={method.pad!r}; a padded position is 0, 1 or -1")
    require(bool(method.title and method.paper), "title and paper may not be empty")
    share = sum(stage.share for stage in method.plan)
    require(abs(share - 1) < 1e-9, f"the shares of the plan add up to {share}")
    last = method.plan[-1]
    require(
        last.binary_weights and last.binary_activations, "the last stage of the plan is not binary"
    )
    require(method.clamp is None or method.clamp > 0, f"clamp={method.clamp}; a positive bound")
    layer = binary(specimen.net())
    own = dict(layer.weight_binarizer.named_parameters())
    for name, rate in layer.weight_binarizer.learning_rates().items():
        require(name in own, f"learning_rates names {name!r}; its parameters are {sorted(own)}")
        require(0 < rate < float("inf"), f"learning_rates gives {rate} for {name!r}")
    for name in layer.weight_binarizer.decaying():
        require(name in own, f"decaying names {name!r}; its parameters are {sorted(own)}")
    affine = layer.activation.affine()
    require(
        affine is None or [part.numel() for part in affine] == [1, 1],
        "affine() gives a gain and a bias of one element each",
    )
