"""What ships of a trained net: its packed file's bytes, and its time for an image beside its float twin's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bitlens.engine.bench.bench import PACKED, random_image
from bitlens.engine.bench.peers import MissingPackage, Peer, prepare
from bitlens.engine.bench.timing import CLOCKS, Timing, compare, interleave
from bitlens.engine.freeze.pack import pack
from bitlens.engine.graph import Graph
from bitlens.engine.run.session import load
from bitlens.training.build import load_run_net
from bitlens.training.feed import Feed
from bitlens.training.packing_images import calibration_images, compared_images

IMAGES = 256
"""Held-out images on which every sign of the packed net is compared with torch's."""

PEERS = ("torch", "onnxruntime")
"""Engines that run the float twin in float32; one whose package is missing is left out."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """A packed net.

    Attributes:
        file_bytes: of the `.bits` file.
        signs: codes that were compared with torch's; all of them are equal.
        kernel: instructions its kernels use.
        timings: of `packed` and of each peer that is installed, one image on one thread in
            processor time; ratios are to the packed net in the same round.
        versions: of the peers' packages.
    """

    file_bytes: int
    signs: int
    kernel: str
    timings: Mapping[str, Timing]
    versions: Mapping[str, str]


def footprint(run: Path, feed: Feed, rounds: int) -> Footprint:
    """Pack the net of a finished run, check it against torch, and time it.

    Args:
        run: folder of the run.
        feed: images of the run's recipe.
        rounds: turns of every engine.

    Raises:
        BitlensError: the run is not finished, or its net cannot be packed exactly.
    """
    data = feed.data
    packed = pack(
        load_run_net(run, data, torch.device("cpu")).eval(),
        compared_images(feed, IMAGES),
        calibration_images(feed),
        mean=data.mean,
        std=data.std,
        labels=data.classes,
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.bits"
        packed.save(path)
        session, image = load(path), random_image(packed.graph, 1)
        candidates: dict[str, Callable[[], object]] = {PACKED: lambda: session(image)}
        peers = _peers(packed.graph)
        candidates |= {name: peer.run for name, peer in peers.items()}
        taken = interleave(candidates, rounds, clock=CLOCKS["cpu"])
        return Footprint(
            file_bytes=path.stat().st_size,
            signs=packed.verification.codes,
            kernel=session.kernel,
            timings={name: compare(seconds, taken[PACKED]) for name, seconds in taken.items()},
            versions={name: peer.version for name, peer in peers.items()},
        )


def _peers(graph: Graph) -> dict[str, Peer]:
    found = {}
    for name in PEERS:
        try:
            found[name] = prepare(name, graph, 1)
        except MissingPackage:
            continue
    return found
