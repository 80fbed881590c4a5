"""What trained nets say of test scenes, at the size of the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bitlens.data.dense.scenes import SceneData, Truth
from bitlens.data.normalize import normalize
from bitlens.errors import BitlensError
from bitlens.studies.bibench.twins import Trained
from bitlens.tasks.crop import Shares, crop_truth, crop_window
from bitlens.tasks.dense_metrics import DenseMetrics
from bitlens.tasks.depth import to_metres
from bitlens.tasks.known import truth_size
from bitlens.tasks.resize import upsample_outputs
from bitlens.training.build import heads_of, load_run_net


@dataclass(frozen=True, kw_only=True, eq=False)
class Maps:
    """What is known, or said, of one scene: classes uint8 and metres float32, (H, W) each, or None."""

    classes: npt.NDArray[np.uint8] | None
    metres: npt.NDArray[np.float32] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A test scene.

    Attributes:
        number: its place in the test split, from 0.
        image: uint8 (h, w, c), as the nets see it.
        truth: what is known of it.
    """

    number: int
    image: npt.NDArray[np.uint8]
    truth: Maps


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a net says of a scene, and its metrics on that scene alone, inside the judged part."""

    maps: Maps
    metrics: Mapping[str, float]


def spaced(total: int, wanted: int) -> Tensor:
    """Places of `wanted` of `total` scenes, evenly spaced, each in the middle of its part.

    Raises:
        BitlensError: fewer than one is wanted.
    """
    if wanted < 1:
        raise BitlensError(f"study dense: scenes={wanted}; show at least 1")
    count = min(total, wanted)
    return (2 * torch.arange(count) + 1) * total // (2 * count)


def take_scenes(data: SceneData, places: Tensor) -> list[Scene]:
    """The test scenes at `places`."""
    found = []
    for number in places.tolist():
        images, truth = next(data.test.batches([torch.tensor([number])]))
        found.append(
            Scene(
                number=number,
                image=images[0].permute(1, 2, 0).cpu().numpy(),
                truth=Maps(
                    classes=None if truth.mask is None else _bytes(truth.mask),
                    metres=None if truth.depth is None else truth.depth[0].cpu().numpy(),
                ),
            )
        )
    return found


def answers(
    trained: Trained, data: SceneData, places: Tensor, device: torch.device
) -> list[Answer]:
    """What the net of a finished run says of the test scenes at `places`."""
    net = load_run_net(trained.run.path, data, device).eval()
    heads = heads_of(trained.recipe, data)
    return [_answer(net, heads, data, place, device) for place in places.split(1)]


@torch.no_grad()
def _answer(
    net: nn.Module, heads: dict[str, int], data: SceneData, place: Tensor, device: torch.device
) -> Answer:
    stored, truth = next(data.test.batches([place]))
    images = normalize(stored.to(device), data.mean, data.std)
    pixels = upsample_outputs(net(images), data.image_size, truth_size(truth)).cpu()
    said = dict(zip(heads, pixels.split(list(heads.values()), dim=1), strict=True))
    classes = said["segment"].argmax(1) if "segment" in said else None
    metres = to_metres(said["depth"][:, 0]) if "depth" in said else None
    return Answer(
        maps=Maps(
            classes=None if classes is None else _bytes(classes),
            metres=None if metres is None else metres[0].numpy(),
        ),
        metrics=_judged(heads, truth, classes, metres, data.crop),
    )


def _judged(
    heads: dict[str, int],
    truth: Truth,
    classes: Tensor | None,
    metres: Tensor | None,
    crop: Shares | None,
) -> dict[str, float]:
    window = (slice(None), *crop_window(crop, truth_size(truth)))
    metrics = DenseMetrics(heads)
    metrics.update(
        crop_truth(truth, crop),
        classes=None if classes is None else classes[window],
        depth=None if metres is None else metres[window],
    )
    return metrics.compute()


def _bytes(classes: Tensor) -> npt.NDArray[np.uint8]:
    return classes[0].to(torch.uint8).cpu().numpy()
