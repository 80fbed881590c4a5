"""Named recipes: Python values, every field overridable on the command line. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bitlens.errors import unknown
from bitlens.methods import METHODS
from bitlens.models import FLOAT
from bitlens.objectives.config import PRESETS
from bitlens.training.recipe import Recipe

_DEMO = Recipe(
    name="demo-plain",
    data="fashion-mnist-mini",
    model="resnet8-bireal-poolpad",
    method="bireal",
    epochs=6,
)
_FASHION = replace(_DEMO, name="fashion-plain", data="fashion-mnist", epochs=2)
_CIFAR10 = replace(_FASHION, name="cifar10-plain", data="cifar10", train_images=12500)
_RESNET20 = Recipe(
    name="resnet20-cifar10",
    data="cifar10",
    model="resnet20-bireal-poolpad",
    method="irnet",
    optimizer="sgd",
    lr=0.1,
    weight_decay=1e-4,
    schedule="cosine",
    epochs=400,
)
_TABLE = Recipe(
    name="fashion-table",
    data="fashion-mnist",
    model="resnet8-bireal-poolpad",
    epochs=1,
    batch_size=64,
    lr=5e-3,
)
"""The budget of the method table; the learning rate was chosen for bireal, irnet and bnn together on
held-out training images (0.001, 0.002 and 0.005 tried)."""

SUITES: dict[str, dict[str, Recipe]] = {
    "methods": {
        "fashion-mnist": _TABLE,
        "cifar10": replace(
            _TABLE, name="cifar10-table", data="cifar10", train_images=12500, epochs=2
        ),
        "fashion-mnist-mini": replace(_TABLE, name="mini-table", data="fashion-mnist-mini"),
    },
}
"""What `compare --suite` can run: suite -> data set -> the recipe all its variants share."""


def suite(name: str, data: str, methods: Sequence[str] = tuple(METHODS)) -> list[Recipe]:
    """The variants of a suite on one data set: the float net, then each method plain and with CMIM.

    Raises:
        BitlensError: no such suite, or the suite has no budget for that data set.
    """
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    if data not in SUITES[name]:
        raise unknown("data set of the suite", data, SUITES[name])
    shared = SUITES[name][data]
    variants = [replace(shared, name=FLOAT, method=FLOAT)]
    for method in methods:
        plain = replace(shared, name=method.replace(":", "."), method=method)
        piled = replace(plain, objective="cmim", weight=0.03, cmim=PRESETS["tuned"])
        variants += [plain, replace(piled, name=f"{plain.name}-cmim")]
    return variants


def _family(plain: Recipe) -> list[Recipe]:
    """The plain method, its float twin, CMIM in its settings, and the controls with a teacher."""
    stem = plain.name.removesuffix("-plain")
    twin = f"{stem}-float"

    def variant(
        name: str, objective: str, weight: float, preset: str = "paper", teacher: str = ""
    ) -> Recipe:
        return replace(
            plain,
            name=f"{stem}-{name}",
            objective=objective,
            weight=weight,
            cmim=PRESETS[preset],
            teacher=teacher,
        )

    return [
        plain,
        replace(plain, name=twin, method="float"),
        variant("paper", "cmim", 0.003, "paper"),
        variant("cmim", "cmim", 0.03, "tuned"),
        variant("released", "cmim", 6.4, "released", twin),
        variant("crd", "cmim", 0.5, "crd", twin),
        replace(
            plain, name=f"{stem}-logit-kd", distill="logit-kd", distill_weight=1.0, teacher=twin
        ),
    ]


_SEGMENT = Recipe(
    name="nyudv2-segment-plain",
    task="segment",
    data="nyudv2-13",
    image_size=96,
    augment="scale-crop",
    model="dense-resnet18-bireal-half",
    method="reactnet",
    epochs=15,
    batch_size=16,
    lr=1.5e-3,
    schedule="cosine",
)
"""On a fifth of the training scenes held out, over 6 epochs, 0.002 was best for the binary net and 0.001
for its float twin (0.001, 0.002 and 0.005 tried); what all share lies between. CMIM's weight was chosen there
too (0.01, 0.03, 0.1)."""


def _dense_family(plain: Recipe) -> list[Recipe]:
    """The plain method, its float twin, and CMIM over regions of the maps."""
    stem = plain.name.removesuffix("-plain")
    return [
        plain,
        replace(plain, name=f"{stem}-float", method="float"),
        replace(plain, name=f"{stem}-cmim", objective="cmim", weight=0.01, cmim=PRESETS["dense"]),
    ]


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in [
        *_family(_DEMO),
        *_family(_FASHION),
        *_family(_CIFAR10),
        *_dense_family(_SEGMENT),
        *_dense_family(replace(_SEGMENT, name="nyudv2-depth-plain", task="depth")),
        *_dense_family(replace(_SEGMENT, name="nyudv2-both-plain", task="segment-depth")),
        _RESNET20,
        replace(
            _RESNET20,
            name="resnet20-cifar10-cmim",
            objective="cmim",
            weight=0.03,
            cmim=PRESETS["tuned"],
        ),
    ]
}


def recipe(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        BitlensError: no such recipe; the near names are suggested.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]
