"""Every named recipe can be built, and the families differ only in what their names say."""

from __future__ import annotations

import json

import pytest

from bitlens.data import DATASETS, SCENES
from bitlens.errors import BitlensError
from bitlens.methods import METHODS
from bitlens.models.dense import DENSE_NETS
from bitlens.models.nets import NETS
from bitlens.objectives.config import PRESETS
from bitlens.recipes import RECIPES, SUITES, recipe, suite
from bitlens.training.recipe import Recipe, differences

FAMILIES = ("demo", "fashion", "cifar10")
DENSE_FAMILIES = ("nyudv2-segment", "nyudv2-depth", "nyudv2-both")


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_names_resolve(name: str) -> None:
    made = RECIPES[name]
    assert made.name == name and recipe(name) is made
    nets, sets = (NETS, DATASETS) if made.task == "classify" else (DENSE_NETS, SCENES)
    assert made.model in nets and made.data in sets
    assert made.seed == 0 and made.validation == 0.0
    if made.teacher:
        teacher = RECIPES[made.teacher]
        assert teacher.method == "float" and not teacher.needs_teacher
        assert teacher.data == made.data
    assert Recipe.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize("stem", DENSE_FAMILIES)
def test_a_dense_family_is_a_controlled_comparison(stem: str) -> None:
    plain, others = RECIPES[f"{stem}-plain"], {"float": {"method"}}
    others["cmim"] = {"objective", "weight", "cmim"}
    for name, allowed in others.items():
        changed = differences(plain, RECIPES[f"{stem}-{name}"])
        assert {entry.split(":")[0].split(".")[0] for entry in changed} == allowed


@pytest.mark.parametrize("stem", FAMILIES)
def test_a_family_is_a_controlled_comparison(stem: str) -> None:
    plain = RECIPES[f"{stem}-plain"]
    allowed = {
        "float": {"method"},
        "paper": {"objective", "weight", "cmim"},
        "cmim": {"objective", "weight", "cmim"},
        "released": {"objective", "weight", "cmim", "teacher"},
        "crd": {"objective", "weight", "cmim", "teacher"},
        "logit-kd": {"distill", "distill_weight", "teacher"},
    }
    for name, fields in allowed.items():
        changed = differences(plain, RECIPES[f"{stem}-{name}"])
        assert {text.partition(":")[0].partition(".")[0] for text in changed} <= fields, name
        assert changed, f"{stem}-{name} is the plain recipe under another name"


def test_families_share_their_settings() -> None:
    for other in FAMILIES[1:]:
        for name in ("cmim", "paper", "released", "crd"):
            a, b = RECIPES[f"demo-{name}"], RECIPES[f"{other}-{name}"]
            assert (a.cmim, a.weight) == (b.cmim, b.weight)


def test_no_two_recipes_are_the_same() -> None:
    digests = {made.digest: name for name, made in RECIPES.items()}
    assert len(digests) == len(RECIPES)


def test_an_unknown_recipe_suggests_near_ones() -> None:
    with pytest.raises(BitlensError, match="unknown recipe 'demo-cmmi'; did you mean demo-cmim"):
        recipe("demo-cmmi")


@pytest.mark.parametrize("data", SUITES["methods"])
def test_a_suite_differs_in_method_and_cmim_alone(data: str) -> None:
    recipes = suite("methods", data, ["bnn", "bireal"])
    assert [r.name for r in recipes] == ["float", "bnn", "bnn-cmim", "bireal", "bireal-cmim"]
    shared = SUITES["methods"][data]
    for made in recipes:
        changed = {text.partition(":")[0].partition(".")[0] for text in differences(shared, made)}
        assert changed <= {"method", "objective", "weight", "cmim"}
        assert made.data == data and made.seed == 0
        if made.name.endswith("-cmim"):
            assert (made.objective, made.weight, made.cmim) == ("cmim", 0.03, PRESETS["tuned"])
        else:
            assert (made.objective, made.weight) == ("none", 0.0)


def test_a_suite_has_every_method_by_default() -> None:
    names = [r.name for r in suite("methods", "cifar10")]
    assert len(names) == 1 + 2 * len(METHODS) == len(set(names))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("metods", "cifar10"), "unknown suite 'metods'; did you mean methods"),
        (("methods", "cifr10"), "unknown data set of the suite 'cifr10'; did you mean cifar10"),
        (("methods", "cifar10", ["bnnn"]), "unknown method 'bnnn'; did you mean bnn"),
    ],
)
def test_what_a_suite_does_not_have(arguments: tuple, message: str) -> None:
    with pytest.raises(BitlensError, match=message):
        suite(*arguments)
