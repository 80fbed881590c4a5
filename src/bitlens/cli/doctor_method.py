"""`bitlens doctor METHOD`: every clause of the contract, and a packed net."""

from __future__ import annotations

from itertools import groupby

import torch
from torch import Tensor, nn

from bitlens import BitlensError, binarize, pack, set_progress
from bitlens.methods import get
from bitlens.methods.contract import Method, own_nonlinearity
from bitlens.models.conformance.check import Outcome, check
from bitlens.models.conformance.specimen import KINDS, Kind, take_step
from bitlens.models.layers import binary_layers

LAYERS: dict[Kind, tuple[str, ...]] = {"convolution": ("3", "6"), "linear": ("11",)}
"""Layers of the packed net that the method makes binary."""


def examine(name: str) -> list[str]:
    """Print one line per clause and say which failed.

    Raises:
        BitlensError: no such method.
    """
    method = get(name)
    print(f"{name}: {method.title} ({method.paper}), {method.deploy}")
    failed, refused = list[str](), set[Kind]()
    for clause, group in groupby(check(method, name), key=lambda outcome: outcome.clause):
        outcomes = list(group)
        if clause == "served":
            refused = {outcome.kind for outcome in outcomes}
        elif any(outcome.error for outcome in outcomes):
            failed.append(clause)
        for line in _lines(clause, outcomes):
            print(line)
    if refused == set(KINDS):
        return ["served"]
    try:
        print(f"ok      {'packing':<18} {_packing(method, name, refused)}")
    except Exception as error:  # a stranger's code may fail in any way
        kind = "" if isinstance(error, BitlensError) else f"{type(error).__name__}: "
        failed.append("packing")
        print(f"FAILED  {'packing':<18} {kind}{error}")
    return failed


def _lines(clause: str, outcomes: list[Outcome]) -> list[str]:
    bad = [outcome for outcome in outcomes if outcome.error]
    if not bad:
        return [f"ok      {clause:<18} {outcomes[0].promise}"]
    if clause == "served":
        return [f"refused {outcome.kind:<18} {outcome.error}" for outcome in bad]
    said = (str(outcome.error).removeprefix(f"{clause}, ") for outcome in bad)
    return [f"FAILED  {clause:<18} {text}" for text in said]


def _packing(method: Method, name: str, refused: set[Kind]) -> str:
    """Pack a small net after a few steps of training, every second learned scale negated."""
    kept = tuple(layer for kind in refused for layer in LAYERS[kind])
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        images = torch.randn(16, 3, 12, 12)
        net = binarize(_net(method), name, keep_float=("0", "12", *kept))
        _train(net, images)
    for layer in binary_layers(net).values():
        for parameter in layer.weight_binarizer.parameters():
            if parameter.numel() == layer.weight.shape[0]:
                parameter.data.view(-1)[::2].neg_()
    if method.deploy == "static":
        return str(pack(net, images[:4]).verification)
    try:
        pack(net, images[:4])
    except BitlensError as error:
        if method.why_runtime in str(error):
            return f"refused, as a runtime method is: {method.why_runtime}"
        raise
    raise BitlensError("a runtime method was packed")


def _net(method: Method) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), own_nonlinearity(method, 8)),
        *(nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)),
        *(own_nonlinearity(method, 12), nn.Conv2d(12, 8, 1), nn.BatchNorm2d(8), nn.Hardtanh()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6), nn.Linear(6, 4)),
    )


def _train(net: nn.Module, images: Tensor, *, steps: int = 4) -> None:
    with torch.no_grad():
        net(images)  # gives lazy parameters their shape
    labels = torch.arange(len(images)) % 4
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for step in range(steps):
        set_progress(net, step / (steps - 1))
        take_step(net, optimizer, images, labels)
