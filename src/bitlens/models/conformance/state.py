"""Clauses about state: nothing but weights, buffers and t decides, and all of it survives a file."""

from __future__ import annotations

import copy

import safetensors.torch
import torch
from torch import Tensor, nn

from bitlens.methods.contract import Progress
from bitlens.models.conformance.specimen import (
    STEPS,
    TIMES,
    Specimen,
    binary,
    gradients,
    place,
    require,
    require_close,
    require_equal,
    take_steps,
)
from bitlens.models.convert import set_progress


def deterministic(specimen: Specimen) -> None:
    """Two equal nets agree bit for bit at every t, however often and whenever they are asked."""
    twins = [specimen.net(), specimen.net()]
    x = specimen.images()
    for t in TIMES:
        results = []
        for number, net in enumerate((*twins, twins[0])):
            set_progress(net, t)
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(number)
                found = {"(output)": net.train()(x).detach(), **gradients(net, x)}
                with torch.no_grad():
                    found["(evaluation)"] = net.eval()(x)
            net.train()
            results.append({k: v for k, v in found.items() if v is not None})
        for other in results[1:]:
            for name, value in results[0].items():
                require_equal(other[name], value, f"a second pass at t={t}, {name.strip('()')}")


def forward_is_pure(specimen: Specimen) -> None:
    """A forward and backward pass changes no parameter and no buffer; hooks may."""
    net, x = specimen.net(), specimen.images()
    for t in TIMES:
        set_progress(net, t)
        before = {name: value.clone() for name, value in net.state_dict().items()}
        gradients(net.train(), x)
        net.eval()(x)
        for name, value in net.state_dict().items():
            require_equal(value, before[name], f"{name} after a pass at t={t}")


def saved_and_loaded(specimen: Specimen) -> None:
    """A net filled from another's saved tensors computes the same bits, progress included."""
    saved, loaded = specimen.net(), specimen.net(seed=9)
    optimizer = torch.optim.SGD(saved.parameters(), lr=0.05)
    take_steps(specimen, saved, optimizer, range(3))
    set_progress(saved, 0.25)
    loaded.load_state_dict(_through_a_file(saved))
    ours, theirs = binary(saved).__dict__, binary(loaded).__dict__
    found = theirs[Progress.HOLDER].value
    require(found == ours[Progress.HOLDER].value, f"progress is {found} after loading, not 0.25")
    x = specimen.images()
    for training in (True, False):
        mode = "training" if training else "evaluation"
        require_equal(
            loaded.train(training)(x).detach(),
            saved.train(training)(x).detach(),
            f"the output after loading, {mode}; what decides it must be a parameter or a buffer",
        )
    expected = gradients(saved.train(), x)
    for name, gradient in gradients(loaded.train(), x).items():
        other = expected[name]
        require((gradient is None) == (other is None), f"the gradient of {name} after loading")
        if gradient is not None and other is not None:
            require_equal(gradient, other, f"the gradient of {name} after loading")


def _through_a_file(net: nn.Module) -> dict[str, Tensor]:
    """The state as the bytes of a file give it back."""
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    empty = [name for name, value in state.items() if value.numel() == 0]
    require(not empty, f"the state holds empty tensors: {', '.join(empty)}")
    try:
        return safetensors.torch.load(safetensors.torch.save(state))
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        require(False, f"the state cannot be saved: {first}")
        raise


def resumed(specimen: Specimen) -> None:
    """Half the steps, a file, a fresh net and the other half are all steps, bit for bit."""
    whole = specimen.net()
    optimizer = torch.optim.Adam(whole.parameters(), lr=0.02)
    first = specimen.net()
    before = torch.optim.Adam(first.parameters(), lr=0.02)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        take_steps(specimen, whole, optimizer, range(STEPS))
        torch.default_generator.manual_seed(2)
        take_steps(specimen, first, before, range(STEPS // 2))
        second = specimen.net(seed=9)
        after = torch.optim.Adam(second.parameters(), lr=0.02)
        second.load_state_dict(_through_a_file(first))
        after.load_state_dict(copy.deepcopy(before.state_dict()))
        torch.default_generator.manual_seed(3)
        take_steps(specimen, second, after, range(STEPS // 2, STEPS))
    found = second.state_dict()
    for name, value in whole.state_dict().items():
        require_equal(found[name], value, f"{name} after a run continued from a file")


def hooks_stay_finite(specimen: Specimen) -> None:
    """Steps with penalty, before_step and after_step keep loss and state finite."""
    net = specimen.net()
    layer = binary(net)
    added = layer.penalty()
    if added is not None:
        require(added.numel() == 1, f"the penalty has shape {tuple(added.shape)}; one number")
        require(added.requires_grad, "the penalty carries no gradient")
    losses = take_steps(specimen, net, torch.optim.SGD(net.parameters(), lr=0.05), range(STEPS))
    finite = torch.tensor(losses).isfinite()
    require(bool(finite.all()), f"the losses of {STEPS} steps are {losses}")
    for name, value in net.state_dict().items():
        wrong = ~value.isfinite()
        if wrong.any():
            require(False, f"{name} is not finite after {STEPS} steps at {place(wrong)}")
    if layer.clamp is not None:
        largest = float(layer.weight.detach().abs().max())
        require(largest <= layer.clamp, f"a latent weight is {largest}, beyond clamp={layer.clamp}")


def copied(specimen: Specimen) -> None:
    """A deep copy follows its own weights and its own progress."""
    net, x = specimen.net(), specimen.images()
    set_progress(net, 0.25)
    twin = copy.deepcopy(net)
    before = gradients(twin, x)
    set_progress(net, 0.75)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.neg_()
    for name, gradient in gradients(twin, x).items():
        expected = before[name]
        if gradient is not None and expected is not None:
            require_close(
                gradient,
                expected,
                f"the gradient of {name} in a copy, after the original moved on; hold the Progress "
                "in an attribute, not in a closure",
            )
