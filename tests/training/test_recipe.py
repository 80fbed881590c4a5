"""Recipes refuse nonsense, survive JSON, and have a digest that misses nothing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitlens.errors import BitlensError
from bitlens.objectives.config import PRESETS, CMIMConfig
from bitlens.tasks.config import DenseConfig
from bitlens.training.recipe import Recipe, differences

CMIM = Recipe(objective="cmim", weight=0.1, teacher="demo-float")
BOTH = replace(CMIM, distill="distribution", distill_weight=0.3)
SEGMENT = Recipe(task="segment-depth", data="nyudv2-13", objective="cmim", weight=0.1)
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
    "start": "elsewhere/last.safetensors",
    "objective": "none",
    "weight": 0.2,
    "distill": "attention",
    "distill_weight": 0.7,
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


OTHER_DENSE_CMIM = {"pairs": "region", "anchors": 512}
OTHER_DENSE = {
    "depth_loss": "berhu",
    "depth_weight": 0.5,
    "balance": "uncertainty",
    "bottleneck": 0.001,
}


def test_the_lists_above_cover_every_field() -> None:
    assert {*OTHER, "name", "task", "cmim", "dense"} == {f.name for f in fields(Recipe)}
    assert {*OTHER_CMIM, *OTHER_DENSE_CMIM} == {f.name for f in fields(CMIMConfig)}
    assert set(OTHER_DENSE) == {f.name for f in fields(DenseConfig)}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"method": "bireel"}, "unknown method 'bireel'; did you mean bireal"),
        ({"objective": "cmmi"}, "unknown objective 'cmmi'; did you mean cmim"),
        ({"plan": "four-step"}, "unknown plan 'four-step'; did you mean one-step"),
        ({"distill": "logitkd"}, "unknown distill 'logitkd'; did you mean logit-kd"),
        ({"objective": "logit-kd", "teacher": "t"}, "set by distill and .*: distill='logit-kd'"),
        ({"distill_weight": -1.0}, "distill_weight=-1.0; it must be finite and not negative"),
        ({"distill_weight": 0.5}, "distill_weight=0.5 but distill='none'"),
        ({"start": 3}, "start=3 should be of type str"),
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
        ({"distill": "attention"}, "distill='attention' learns from a float teacher; set teacher="),
        (
            {"objective": "cmim", "weight": 1.0, "cmim": PRESETS["crd"]},
            "'cmim' learns from a float teacher",
        ),
        ({"objective": "cmim", "weight": 1.0, "method": "float"}, "no binary activations"),
        ({"plan": "two-step", "method": "float"}, "plan='two-step' needs a binarization method"),
        ({"plan": "own", "method": "float"}, "plan='own' needs a binarization method"),
        ({"plan": "two-step", "epochs": 1}, "at least 2 epochs"),
        ({"plan": "three-step", "epochs": 2}, "has 3 stages and needs at least 3 epochs"),
        ({"plan": "two-step", "epochs": 5, "warmup": 2.0}, "leaves nothing of 2 epochs"),
        ({"plan": "three-step", "epochs": 8, "warmup": 2.0}, "leaves nothing of 2 epochs"),
        (
            {"plan": "three-step", "objective": "cmim", "weight": 0.1},
            "stage 1 of plan='three-step' takes no signs; use plan='two-step'",
        ),
        ({"hard_labels": 0.0}, "hard_labels=0 and no objective: there is nothing to learn from"),
        ({"name": ""}, "it names a folder"),
        ({"name": "../up"}, "it names a folder"),
        ({"name": "a/b"}, "it names a folder"),
        ({"epochs": "3"}, "epochs='3' should be of type int"),
        ({"epochs": True}, "epochs=True should be of type int"),
        ({"lr": "fast"}, "lr='fast' should be of type float"),
        ({"cmim": {}}, "should be of type"),
        ({"dense": {}}, "should be of type"),
        ({"task": "segmnt"}, "unknown task 'segmnt'; did you mean segment"),
        ({"dense": DenseConfig(depth_weight=2)}, "dense settings belong to the tasks segment"),
        ({"cmim": PRESETS["dense"]}, "cmim.pairs='region' is for the dense tasks"),
        (
            {"task": "depth", "distill": "logit-kd", "distill_weight": 1.0, "teacher": "t"},
            "task='depth' learns from no teacher: distill='logit-kd'",
        ),
        (
            {"task": "segment", "dense": DenseConfig(balance="uncertainty")},
            "balance='uncertainty' weighs two losses, and task='segment' has one",
        ),
        (
            {"task": "depth", "dense": DenseConfig(depth_weight=7)},
            "depth_weight=7.0 weighs two losses, and task='depth' has one",
        ),
        (
            {"task": "segment", "dense": DenseConfig(depth_loss="silog")},
            "depth_loss='silog', but task='segment' tells no depth",
        ),
        (
            {
                "task": "segment-depth",
                "dense": DenseConfig(depth_weight=9, balance="uncertainty"),
            },
            "depth_weight=9.0, but balance='uncertainty' learns the weights",
        ),
        (
            {"task": "segment-depth", "dense": DenseConfig(depth_weight=0)},
            "depth_weight=0 leaves the depth head untrained; use task='segment'",
        ),
        (
            {
                "task": "segment",
                **{"objective": "cmim", "weight": 0.1, "cmim": CMIMConfig(exclude="class")},
            },
            "exclude='class' needs one class per image, and task='segment' has none",
        ),
        ({"task": "depth", "label_smoothing": 0.1}, "label_smoothing=0.1 is of classes"),
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
        task="segment" if preset == "dense" else "classify",
        cmim=PRESETS[preset],
    )
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    assert again.digest == recipe.digest
    assert differences(recipe, again) == []


@pytest.mark.parametrize("field", sorted(OTHER))
def test_every_field_changes_the_digest_and_is_named_as_a_difference(field: str) -> None:
    plain = replace(BOTH, weight=0.0)
    changed = replace(plain, **{field: OTHER[field]})
    assert changed.digest != plain.digest
    assert differences(plain, changed) == [
        f"{field}: {getattr(plain, field)!r} -> {OTHER[field]!r}"
    ]


@pytest.mark.parametrize("field", sorted(OTHER_CMIM))
def test_every_cmim_setting_changes_the_digest_and_is_named(field: str) -> None:
    changed = replace(CMIM, cmim=replace(CMIM.cmim, **{field: OTHER_CMIM[field]}))
    assert changed.digest != CMIM.digest
    before = getattr(CMIM.cmim, field)
    assert differences(CMIM, changed) == [f"cmim.{field}: {before!r} -> {OTHER_CMIM[field]!r}"]


@pytest.mark.parametrize("field", sorted(OTHER_DENSE_CMIM))
def test_every_dense_cmim_setting_changes_the_digest_and_is_named(field: str) -> None:
    changed = replace(SEGMENT, cmim=replace(SEGMENT.cmim, **{field: OTHER_DENSE_CMIM[field]}))
    assert changed.digest != SEGMENT.digest
    before = getattr(SEGMENT.cmim, field)
    assert differences(SEGMENT, changed) == [
        f"cmim.{field}: {before!r} -> {OTHER_DENSE_CMIM[field]!r}"
    ]


@pytest.mark.parametrize("field", sorted(OTHER_DENSE))
def test_every_dense_setting_changes_the_digest_and_is_named(field: str) -> None:
    changed = replace(SEGMENT, dense=replace(SEGMENT.dense, **{field: OTHER_DENSE[field]}))
    assert changed.digest != SEGMENT.digest
    before = getattr(SEGMENT.dense, field)
    assert differences(SEGMENT, changed) == [f"dense.{field}: {before!r} -> {OTHER_DENSE[field]!r}"]


def test_every_task_has_a_digest_of_its_own() -> None:
    tasks = ("classify", "segment", "depth", "segment-depth")
    assert len({Recipe(task=task).digest for task in tasks}) == 4


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
        (lambda r: r | {"schema": 4}, "schema 4, this bitlens reads 1 to 3"),
        (lambda r: {k: v for k, v in r.items() if k != "task"}, "'task' is missing"),
        (lambda r: r | {"dense": {}}, "dense setting 'balance' is missing"),
        (lambda r: {k: v for k, v in r.items() if k != "start"}, "'start' is missing"),
        (
            lambda r: r | {"schema": 1, "objective": ["x"]},
            r"objective=\['x'\] should be of type str",
        ),
        (lambda r: {k: v for k, v in r.items() if k != "schema"}, "schema None"),
        (lambda r: r | {"epochz": 3}, "unknown recipe field 'epochz'; did you mean epochs"),
        (lambda r: r | {"cmim": r["cmim"] | {"temprature": 1}}, "unknown CMIM setting"),
        (lambda r: {k: v for k, v in r.items() if k != "lr"}, "recipe field 'lr' is missing"),
        (lambda r: {k: v for k, v in r.items() if k != "cmim"}, "'cmim' is missing"),
        (lambda r: r | {"cmim": {}}, "CMIM setting 'anchors' is missing"),
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


def test_a_teacher_may_come_with_cmim() -> None:
    """With a contrast inside the net, the teacher is the distillation's."""
    assert BOTH.needs_teacher and BOTH.cmim.partner == "latent"
    assert not replace(BOTH, distill="none", distill_weight=0.0).needs_teacher
    assert replace(BOTH, hard_labels=0.0, weight=0.0).hard_labels == 0.0


def test_a_contrast_with_a_teacher_needs_no_codes() -> None:
    recipe = Recipe(
        plan="three-step", objective="cmim", weight=1.0, cmim=PRESETS["crd"], teacher="t"
    )
    assert recipe.plan == "three-step"


def schema_1(**changes: Any) -> dict[str, Any]:
    """A recipe.json as it was written before there was `start` and `distill`."""
    cmim = {
        **{"partner": "latent", "layers": "all", "pool": 1, "head": "linear", "train_heads": True},
        **{"width": 128, "loss": "nce", "temperature": 0.1, "learn_critic": False},
        **{"source": "batch", "negatives": 4096, "momentum": 0.5, "exclude": "instance"},
        **{"grad": "both", "beta": 1.0},
    }
    return {
        **{"schema": 1, "name": "run", "seed": 0, "data": "fashion-mnist-mini", "image_size": 0},
        **{"train_images": 0, "validation": 0.0, "augment": "flip-crop"},
        **{"model": "resnet8-bireal-poolpad", "method": "bireal", "plan": "one-step"},
        **{"objective": "none", "weight": 0.0, "hard_labels": 1.0, "teacher": "", "cmim": cmim},
        **{"epochs": 10, "batch_size": 128, "optimizer": "adam", "lr": 0.002, "momentum": 0.9},
        **{"weight_decay": 0.0, "schedule": "linear", "warmup": 0.0, "label_smoothing": 0.0},
    } | changes


SCHEMA_1 = {
    "plain": ({}, {}, "fa6282901ed0"),
    "two-step": ({"plan": "two-step"}, {"plan": "two-step"}, "c5efb4571ba4"),
    "cmim": ({"objective": "cmim", "weight": 0.1}, {"objective": "cmim", "weight": 0.1}, ""),
    "kd": (
        {"objective": "logit-kd", "weight": 1.0, "teacher": "x"},
        {"distill": "logit-kd", "distill_weight": 1.0, "teacher": "x"},
        "5621d6b5743d",
    ),
    "soft": (
        {"objective": "distribution", "weight": 0.0, "teacher": "x"},
        {"distill": "distribution", "distill_weight": 0.0, "teacher": "x"},
        "",
    ),
}
"""Fields as written, fields as read, and the digest that schema 1 gave (recorded from its program)."""


@pytest.mark.parametrize("case", SCHEMA_1)
def test_schema_1_is_read_and_keeps_its_digest(case: str) -> None:
    written, read, digest = SCHEMA_1[case]
    recipe = Recipe.from_json(schema_1(**written))
    assert recipe == Recipe(**read)
    assert recipe.to_json()["schema"] == 3
    content = {key: value for key, value in schema_1(**written).items() if key != "name"}
    text = json.dumps(content, sort_keys=True).encode()
    assert recipe.digest == hashlib.sha256(text).hexdigest()[:12]
    assert digest in ("", recipe.digest)


def test_schema_2_is_read_and_keeps_its_digest() -> None:
    written = schema_1() | {"schema": 2, "plan": "own", "epochs": 30, "start": "a"}
    written |= {"distill": "attention", "distill_weight": 0.5, "teacher": "x"}
    recipe = Recipe.from_json(written)
    assert recipe == Recipe(
        plan="own", epochs=30, start="a", distill="attention", distill_weight=0.5, teacher="x"
    )
    content = {key: value for key, value in written.items() if key != "name"}
    text = json.dumps(content, sort_keys=True).encode()
    assert recipe.digest == hashlib.sha256(text).hexdigest()[:12]


def test_what_schema_1_cannot_say_has_a_digest_of_its_own() -> None:
    plain = Recipe(teacher="x", epochs=30)
    recipes = [
        plain,
        replace(plain, start="a"),
        replace(plain, plan="three-step"),
        replace(plain, plan="own"),
        replace(plain, distill="attention"),
        replace(plain, distill="logit-kd"),
        replace(plain, distill="logit-kd", objective="cmim"),
        replace(plain, objective="cmim"),
    ]
    assert len({recipe.digest for recipe in recipes}) == len(recipes)
