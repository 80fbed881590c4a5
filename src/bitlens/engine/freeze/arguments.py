"""What `pack` is given, checked before any work: one sentence and the way out for each mistake."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitlens.engine.file.header import is_line
from bitlens.errors import BitlensError

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation, one number a channel."""


def check_model(model: Any) -> None:
    """Refuse what is no plain torch module.

    Raises:
        BitlensError: always for functions, state dicts and ScriptModules.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise BitlensError(
            "pack: model is a ScriptModule, which torch.export cannot read; give the nn.Module that it "
            "was made from"
        )
    if isinstance(model, dict):
        raise BitlensError(
            "pack: model is a dict; build the net, net.load_state_dict(...), and give the net"
        )
    if not isinstance(model, nn.Module):
        raise BitlensError(f"pack: model is a {type(model).__name__}; give an nn.Module")


def check_example(example: Any) -> Tensor:
    """The example, float32 (n, c, h, w) on the CPU.

    Raises:
        BitlensError: it is another thing, or has values that are not finite.
    """
    if not isinstance(example, Tensor):
        raise BitlensError(
            f"pack: example is a {type(example).__name__}; give a tensor of images (n, c, h, w)"
        )
    if example.dim() != 4 or len(example) == 0 or example.dtype != torch.float32:
        raise BitlensError(
            f"pack: example is {example.dtype} {tuple(example.shape)}; give float32 images "
            "(n, c, h, w) as the net takes them"
        )
    if not example.isfinite().all():
        raise BitlensError("pack: example has values that are not finite")
    return example.detach().cpu().contiguous()


def check_calibration(calibration: Any, images: Tensor) -> list[Tensor]:
    """The calibration batches as a list; one tensor is one batch, None is the example.

    Raises:
        BitlensError: an empty list, pairs of images and labels, or a batch unlike the example.
    """
    if calibration is None:
        return [images]
    if isinstance(calibration, Tensor):
        calibration = [calibration]
    if not isinstance(calibration, Iterable) or isinstance(calibration, str | bytes | dict):
        raise BitlensError(
            f"pack: calibration is a {type(calibration).__name__}; give a list of batches of images"
        )
    batches = list(calibration)
    if not batches:
        raise BitlensError(
            "pack: calibration is empty; give batches of images, or None to calibrate on the example"
        )
    for number, batch in enumerate(batches):
        _check_batch(f"calibration[{number}]", batch, images)
    return batches


def _check_batch(name: str, batch: Any, images: Tensor) -> None:
    shape = tuple(images.shape[1:])
    wanted = f"give float32 images (n, {', '.join(map(str, shape))}) like the example's"
    if isinstance(batch, tuple | list):
        raise BitlensError(
            f"pack: {name} is a {type(batch).__name__}, not images alone; from a loader of images and "
            "labels take calibration=[x for x, _ in loader]"
        )
    if not isinstance(batch, Tensor):
        raise BitlensError(f"pack: {name} is a {type(batch).__name__}; {wanted}")
    if batch.dtype != torch.float32 or batch.dim() != 4 or tuple(batch.shape[1:]) != shape:
        raise BitlensError(f"pack: {name} is {batch.dtype} {tuple(batch.shape)}; {wanted}")
    if len(batch) == 0:
        raise BitlensError(f"pack: {name} holds no image; leave it out")
    if not batch.isfinite().all():
        raise BitlensError(f"pack: {name} has values that are not finite")


def check_normalisation(mean: Any, std: Any, channels: int) -> Normalisation | None:
    """Mean and standard deviation as floats; None where neither is given.

    Raises:
        BitlensError: only one of them, another number of entries, or entries that mean nothing.
    """
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise BitlensError("pack: give mean and std together, or neither")
    found = _numbers("mean", mean, channels), _numbers("std", std, channels)
    if min(found[1]) <= 0:
        raise BitlensError(f"pack: std={found[1]}; every entry must be positive")
    return found


def _numbers(name: str, given: Any, channels: int) -> tuple[float, ...]:
    try:
        if isinstance(given, str | bytes):
            raise ValueError
        numbers = tuple(float(n) for n in np.ravel(np.asarray(given, np.float64)))
    except (TypeError, ValueError):
        raise BitlensError(
            f"pack: {name}={given!r}; give one finite number for each of {channels} channels"
        ) from None
    if len(numbers) != channels or not all(isfinite(n) for n in numbers):
        raise BitlensError(
            f"pack: {name}={numbers}; give one finite number for each of {channels} channels"
        )
    return numbers


def check_labels(labels: Any) -> tuple[str, ...]:
    """Class names as a tuple; empty for None.

    Raises:
        BitlensError: one string, or entries that are no strings or cannot be shown in a line.
    """
    if labels is None:
        return ()
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise BitlensError(f"pack: labels={labels!r}; give a list with one string a class, or None")
    names: Sequence[Any] = tuple(labels)
    for number, name in enumerate(names):
        if not isinstance(name, str):
            raise BitlensError(
                f"pack: labels[{number}] is {name!r}; labels are strings, "
                "e.g. labels=[str(label) for label in labels]"
            )
        if not is_line(name):
            raise BitlensError(
                f"pack: labels[{number}] is {name!r}; a label has no control characters and no lone "
                "surrogates"
            )
    return tuple(names)
