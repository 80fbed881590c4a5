"""Claim C9: a wide random layer tells every sample from every other, so its information is the labels' own.

Cost: one pass of the probe through one untrained net a kind, and two readings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from bitlens.information.codes import Codes, hash_signs
from bitlens.information.layers import SIGNS
from bitlens.information.reading import Reading, read_codes
from bitlens.studies.information_plane.kinds import KINDS
from bitlens.studies.information_plane.stack import StackedNet
from bitlens.studies.information_plane.tasks import Task, load_task
from bitlens.studies.information_plane.tiers import LITERATURE
from bitlens.studies.information_plane.verdict import STATEMENTS, Verdict

TASK, SMALL_TASK = "fashion-mnist", "fashion-mnist-mini"
TOLERANCE = 0.01
SEED = 0
UNTRAINED = ("dnn-tanh", "bnn-ste")


def judge_saturation(tasks: Collection[str]) -> list[Verdict]:
    """Rows of C9: tanh and sign nets, with the labels as they are and shuffled.

    Args:
        tasks: of the study; Fashion-MNIST is looked at if it is among them, else the small one.

    Raises:
        BitlensError: the images cannot be found.
    """
    task = load_task(TASK if TASK in tasks else SMALL_TASK)
    return [row for kind in UNTRAINED for row in _rows(task, kind)]


def _rows(task: Task, kind: str) -> Iterator[Verdict]:
    net = StackedNet(KINDS[kind], (task.inputs, *LITERATURE, task.classes), (SEED,))
    latent = net.probe(0, task.probe[0])[0][0].latent
    codes, labels = Codes(hash_signs(latent), latent.shape[1]), task.probe[1].numpy()
    shuffled = np.random.default_rng(SEED).permutation(labels)
    for about, given in (("labels as they are", labels), ("labels shuffled", shuffled)):
        yield _verdict(task, f"{kind}, {SIGNS}, {about}", read_codes(codes, given, permutations=0))


def _verdict(task: Task, about: str, reading: Reading) -> Verdict:
    missing = (
        reading.log2_samples - reading.entropy,
        reading.label_entropy - reading.information,
    )
    worst = max(map(abs, missing))
    shape = "-".join(map(str, LITERATURE))
    return Verdict(
        claim="C9",
        statement=STATEMENTS["C9"],
        task=f"{task.name} {shape}",
        about=about,
        n=1,
        statistic="larger of log2 N - H(T) and H(Y) - I(T;Y), bits",
        value=worst,
        verdict="holds" if worst <= TOLERANCE else "fails",
        note=f"H(T) {reading.entropy:.4f} of {reading.log2_samples:.4f}, "
        f"I(T;Y) {reading.information:.4f} of {reading.label_entropy:.4f}, N = {reading.samples:,}",
    )
