"""Recipes refuse nonsense, survive JSON, and have a digest that misses nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitlens.errors import BitlensError
from bitlens.objectives.config import PRESETS, CMIMConfig
from bitlens.training.recipe import Recipe, differences

CMIM = Recipe(objective="cmim", weight=0.1, teacher="demo-float")
OTHER = {
    "seed": 1,
    "data": "cifar10",
    "image_size": 16,
    "train_images": 500,
    "validation": 0.2,
    "augment": "none",
    "model": "mlp",
    "method": "xnor",
    "plan": "two-step",
    "objective": "logit-kd",
    "weight": 0.2,
    "hard_labels": 0.5,
    "teacher": "elsewhere",
    "epochs": 11,
    "batch_size": 64,
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.5,
    "weight_decay": 0.1,
    "schedule": "cosine",
    "warmup": 1.0,
    "label_smoothing": 0.1,
}
OTHER_CMIM = {
    "partner": "teacher",
    "layers": "last",
    "pool": 2,
    "head": "mlp",
    "train_heads": False,
    "width": 64,
    "loss": "infonce",
    "temperature": 0.2,
    "learn_critic": True,
    "source": "queue",
    "negatives": 17,
    "momentum": 0.25,
    "exclude": "class",
    "grad": "binary-only",
    "beta": 2.0,
}


def test_the_lists_above_cover_every_field() -> None:
    assert {*OTHER, "name", "cmim"} == {f.name for f in fields(Recipe)}
    assert set(OTHER_CMIM) == {f.name for f in fields(CMIMConfig)}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"method": "bireel"}, "unknown method 'bireel'; did you mean bireal"),
        ({"objective": "cmmi"}, "unknown objective 'cmmi'; did you mean cmim"),
        ({"plan": "three-step"}, "unknown plan 'three-step'"),
        ({"optimizer": "adamw"}, "unknown optimizer 'adamw'; did you mean adam"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin'; did you mean cosine"),
        ({"epochs": 0}, "epochs=0; it must be at least 1"),
        ({"batch_size": 1}, "batch_size=1; it must be at least 2"),
        ({"train_images": -1}, "train_images=-1; it must be at least 0"),
        ({"image_size": -1}, "image_size=-1; it must be at least 0"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1; it must be finite and not negative"),
        ({"warmup": -1.0}, "warmup=-1.0; it must be finite"),
        ({"hard_labels": float("inf")}, "hard_labels=inf; it must be finite"),
        ({"weight": float("nan")}, "weight=nan; it must be finite"),
        ({"lr": 0.0}, "lr=0.0; it must be finite and positive"),
        ({"lr": float("inf")}, "lr=inf; it must be finite and positive"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"validation": 1.0}, r"validation=1.0; it must lie in \[0, 1\)"),
        ({"momentum": 1.0}, r"momentum=1.0; it must lie in \[0, 1\)"),
        ({"label_smoothing": -0.5}, r"label_smoothing=-0.5; it must lie in \[0, 1\)"),
        ({"warmup": 10.0}, "warmup=10.0 leaves nothing of 10 epochs"),
        ({"weight": 0.5}, "weight=0.5 but objective='none'"),
        ({"objective": "logit-kd", "weight": 1.0}, "learns from a float teacher; set teacher="),
        (
            {"objective": "cmim", "weight": 1.0, "cmim": PRESETS["crd"]},
            "'cmim' learns from a float teacher",
        ),
        ({"objective": "cmim", "weight": 1.0, "method": "float"}, "no binary activations"),
        ({"plan": "two-step", "method": "float"}, "plan='two-step' needs a binarization method"),
        ({"plan": "two-step", "epochs": 1}, "at least 2 epochs"),
        ({"hard_labels": 0.0}, "hard_labels=0 and no objective: there is nothing to learn from"),
        ({"name": ""}, "it names a folder"),
        ({"name": "../up"}, "it names a folder"),
        ({"name": "a/b"}, "it names a folder"),
        ({"epochs": "3"}, "epochs='3' should be of type int"),
        ({"epochs": True}, "epochs=True should be of type int"),
        ({"lr": "fast"}, "lr='fast' should be of type float"),
        ({"cmim": {}}, "should be of type"),
    ],
)
def test_what_a_recipe_refuses(wrong: dict, said: str) -> None:
    with pytest.raises(BitlensError, match=said):
        Recipe(**wrong)


@given(
    seed=st.integers(0, 2**40),
    lr=st.floats(1e-9, 1e3),
    weight=st.floats(0, 100),
    epochs=st.integers(1, 10**6),
    preset=st.sampled_from(sorted(PRESETS)),
    name=st.text("abc-_.é ", min_size=1).filter(lambda text: not text.startswith(".")),
)
def test_json_round_trip(
    seed: int, lr: float, weight: float, epochs: int, preset: str, name: str
) -> None:
    recipe = Recipe(
        name=name,
        seed=seed,
        lr=lr,
        epochs=epochs,
        objective="cmim",
        weight=weight,
        teacher="t",
        cmim=PRESETS[preset],
    )
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    assert again.digest == recipe.digest
    assert differences(recipe, again) == []


@pytest.mark.parametrize("field", sorted(OTHER))
def test_every_field_changes_the_digest_and_is_named_as_a_difference(field: str) -> None:
    changed = replace(CMIM, **{field: OTHER[field]})
    assert changed.digest != CMIM.digest
    assert differences(CMIM, changed) == [f"{field}: {getattr(CMIM, field)!r} -> {OTHER[field]!r}"]


@pytest.mark.parametrize("field", sorted(OTHER_CMIM))
def test_every_cmim_setting_changes_the_digest_and_is_named(field: str) -> None:
    changed = replace(CMIM, cmim=replace(CMIM.cmim, **{field: OTHER_CMIM[field]}))
    assert changed.digest != CMIM.digest
    before = getattr(CMIM.cmim, field)
    assert differences(CMIM, changed) == [f"cmim.{field}: {before!r} -> {OTHER_CMIM[field]!r}"]


def test_the_name_is_a_label_only() -> None:
    renamed = replace(CMIM, name="other")
    assert renamed.digest == CMIM.digest
    assert differences(CMIM, renamed) == []


def test_equal_numbers_have_equal_digests() -> None:
    whole = Recipe(lr=1, objective="cmim", weight=2, cmim=CMIMConfig(temperature=1))
    written = Recipe(lr=1.0, objective="cmim", weight=2.0, cmim=CMIMConfig(temperature=1.0))
    assert whole.digest == written.digest


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r | {"schema": 2}, "schema 2, this bitlens reads 1"),
        (lambda r: {k: v for k, v in r.items() if k != "schema"}, "schema None"),
        (lambda r: r | {"epochz": 3}, "unknown recipe field 'epochz'; did you mean epochs"),
        (lambda r: r | {"cmim": r["cmim"] | {"temprature": 1}}, "unknown CMIM setting"),
        (lambda r: {k: v for k, v in r.items() if k != "lr"}, "recipe field 'lr' is missing"),
        (lambda r: {k: v for k, v in r.items() if k != "cmim"}, "'cmim' is missing"),
        (lambda r: r | {"cmim": {}}, "CMIM setting 'beta' is missing"),
        (lambda r: r | {"cmim": r["cmim"] | {"width": "wide"}}, "width='wide' should be of type"),
        (lambda r: r | {"cmim": r["cmim"] | {"loss": "mse"}}, "loss 'mse'"),
        (lambda r: r | {"epochs": None}, "epochs=None should be of type int"),
        (lambda r: r | {"epochs": 0}, "epochs=0; it must be at least 1"),
        (lambda r: [r], "holds list"),
    ],
)
def test_damaged_json_is_refused_by_the_name_of_its_file(change, said: str) -> None:
    record = json.loads(json.dumps(Recipe().to_json()))
    with pytest.raises(BitlensError, match=said) as caught:
        Recipe.from_json(change(record), source="some/recipe.json")
    assert str(caught.value).startswith("some/recipe.json")


def test_with_seed_changes_nothing_else() -> None:
    assert differences(CMIM, CMIM.with_seed(5)) == ["seed: 0 -> 5"]
    assert asdict(CMIM.with_seed(0)) == asdict(CMIM)
