"""A recipe: everything that decides a run's numbers, as one frozen dataclass. No torch here."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args, get_type_hints

from bitlens.errors import BitlensError, unknown
from bitlens.methods import check_name
from bitlens.models import FLOAT
from bitlens.objectives import DISTILLATIONS, OBJECTIVES
from bitlens.objectives.config import CMIMConfig
from bitlens.training.schema import SCHEMA, as_schema_1, from_schema_1

_STAGES: dict[str, int] = {"one-step": 1, "two-step": 2, "three-step": 3}
"""Number of stages of the plans that do not depend on the method."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run.

    Attributes:
        name: label of the variant in tables and folders.
        seed: source of every random stream of the run.
        data: data set: a name, parquet:PATH, folder:PATH or hub:NAME.
        image_size: side in pixels to resize to; 0 keeps the data's own.
        train_images: use only about this many training images, the same share of every class, in
            whole images; 0 uses all.
        validation: share of the training images held out for validation; 0 evaluates on test.
        augment: training augmentation: none, flip, crop, flip-crop or resized-crop.
        model: net, see `bitlens list models`; the shortcut kind is part of the name.
        method: binarization method, or "float" for the float twin.
        plan: "one-step"; "two-step" (real weights first, then 1-bit weights); "three-step" (all real
            with clipped activations, then binary activations, then both); "own" (the method's paper's).
        start: weights to begin with, every tensor of the net: the folder of a finished run or a
            .safetensors file; empty draws them from the seed.
        objective: loss beside the task's: none or cmim.
        weight: of the objective.
        distill: what is learned from the float teacher besides: none, logit-kd, distribution or
            attention.
        distill_weight: of that.
        hard_labels: weight of the task's own loss (ReActNet's distribution loss uses 0).
        teacher: float teacher: a recipe name (trained first, same seed) or a run folder.
        cmim: settings of the contrastive objective.
        epochs: passes over the training images, all stages together.
        batch_size: over all processes; a last incomplete batch is left out.
        optimizer: adam (AdamW form) or sgd (Nesterov momentum).
        lr: peak learning rate.
        momentum: of sgd.
        weight_decay: on weights of convolutions and linear layers only.
        schedule: learning rate after warm-up: linear or cosine to zero, or constant.
        warmup: epochs of linear warm-up.
        label_smoothing: of the task's cross-entropy.
    """

    name: str = "run"
    seed: int = 0
    data: str = "fashion-mnist-mini"
    image_size: int = 0
    train_images: int = 0
    validation: float = 0.0
    augment: str = "flip-crop"
    model: str = "resnet8-bireal-poolpad"
    method: str = "bireal"
    plan: Literal["one-step", "two-step", "three-step", "own"] = "one-step"
    start: str = ""
    objective: str = "none"
    weight: float = 0.0
    distill: str = "none"
    distill_weight: float = 0.0
    hard_labels: float = 1.0
    teacher: str = ""
    cmim: CMIMConfig = field(default_factory=CMIMConfig)
    epochs: int = 10
    batch_size: int = 128
    optimizer: Literal["adam", "sgd"] = "adam"
    lr: float = 2e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = 0.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        for record in (self, self.cmim):
            _check_types(type(record), vars(record), "recipe")
        _spell_floats(self)
        object.__setattr__(self, "cmim", replace(self.cmim))
        _spell_floats(self.cmim)
        if not self.name or self.name.startswith(".") or set(self.name) & set("/\\\n"):
            raise BitlensError(
                f"recipe: name={self.name!r}; it names a folder: not empty, no slash, no leading dot"
            )
        check_name(self.method, also=(FLOAT,))
        if self.objective in DISTILLATIONS and self.objective != "none":
            raise BitlensError(
                f"recipe: objective={self.objective!r}; what is learned from a teacher is set by distill "
                f"and distill_weight: distill={self.objective!r}"
            )
        for name, known in (("objective", OBJECTIVES), ("distill", DISTILLATIONS)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        self._check_numbers()
        self._check_losses()
        if self.plan != "one-step" and self.method == FLOAT:
            raise BitlensError(f"recipe: plan={self.plan!r} needs a binarization method")
        if self.plan in _STAGES:
            check_plan(
                self,
                stages=_STAGES[self.plan],
                shortest=self.epochs // _STAGES[self.plan],
                real_activations=1 if self.plan == "three-step" else None,
            )

    def _check_numbers(self) -> None:
        for name, low in (("epochs", 1), ("batch_size", 2), ("train_images", 0), ("image_size", 0)):
            if getattr(self, name) < low:
                raise BitlensError(
                    f"recipe: {name}={getattr(self, name)}; it must be at least {low}"
                )
        for name in ("weight", "distill_weight", "hard_labels", "weight_decay", "warmup"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BitlensError(
                    f"recipe: {name}={getattr(self, name)}; it must be finite and not negative"
                )
        if not 0 < self.lr < math.inf:
            raise BitlensError(f"recipe: lr={self.lr}; it must be finite and positive")
        for name in ("validation", "momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise BitlensError(f"recipe: {name}={getattr(self, name)}; it must lie in [0, 1)")

    def _check_losses(self) -> None:
        for what, name in (("objective", "weight"), ("distill", "distill_weight")):
            if getattr(self, what) == "none" and getattr(self, name):
                raise BitlensError(
                    f"recipe: {name}={getattr(self, name)} but {what}='none'; name one or drop the weight"
                )
        if self.needs_teacher and not self.teacher:
            asks = (
                f"distill={self.distill!r}"
                if self.distill != "none"
                else f"objective {self.objective!r}"
            )
            raise BitlensError(
                f"recipe: {asks} learns from a float teacher; set teacher= to a recipe name or a run "
                "folder"
            )
        if self.objective == "cmim" and self.cmim.partner == "latent" and self.method == FLOAT:
            raise BitlensError(
                "recipe: a float net has no binary activations to contrast; use a method"
            )
        if self.hard_labels == 0 and self.weight == 0 and self.distill_weight == 0:
            raise BitlensError(
                "recipe: hard_labels=0 and no objective: there is nothing to learn from"
            )

    @property
    def needs_teacher(self) -> bool:
        """Whether the objective or the distillation looks at a float teacher."""
        return self.distill != "none" or (
            self.objective == "cmim" and self.cmim.partner == "teacher"
        )

    def to_json(self) -> dict[str, Any]:
        """JSON-ready fields with the schema version."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, record: dict[str, Any], *, source: str = "recipe.json") -> Recipe:
        """Inverse of `to_json`; reads schema 1 too.

        Raises:
            BitlensError: another schema version, an unknown or missing field; names `source`.
        """
        if not isinstance(record, dict):
            raise BitlensError(f"{source}: holds {type(record).__name__}, not a recipe's fields")
        version = record.get("schema")
        if version == 1:
            record = from_schema_1(record)
        elif version != SCHEMA:
            raise BitlensError(f"{source}: schema {version!r}, this bitlens reads 1 to {SCHEMA}")
        outer = {key: value for key, value in record.items() if key not in ("schema", "cmim")}
        inner = record.get("cmim")
        if not isinstance(inner, dict):
            raise BitlensError(f"{source}: field 'cmim' is missing or not a set of fields")
        for kind, given, known in (
            ("recipe field", outer, {f.name for f in fields(cls)} - {"cmim"}),
            ("CMIM setting", inner, {f.name for f in fields(CMIMConfig)}),
        ):
            for name in given:
                if name not in known:
                    raise BitlensError(f"{source}: {unknown(kind, name, known)}")
            if missing := sorted(known - set(given)):
                raise BitlensError(f"{source}: {kind} {missing[0]!r} is missing")
        _check_types(CMIMConfig, inner, f"{source}, cmim")
        try:
            return cls(**outer, cmim=CMIMConfig(**inner))
        except BitlensError as error:
            raise BitlensError(f"{source}: {error}") from error

    @property
    def digest(self) -> str:
        """Twelve hex digits that change with anything but the name.

        Written in the oldest schema that can say it: a recipe's digest outlives new fields.
        """
        record = self.to_json()
        content = as_schema_1(record) or record
        del content["name"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def with_seed(self, seed: int) -> Recipe:
        """The same recipe from another seed."""
        return replace(self, seed=seed)


def check_plan(recipe: Recipe, *, stages: int, shortest: int, real_activations: int | None) -> None:
    """Refuse a plan that the rest of the recipe leaves no room for.

    Args:
        recipe: whose plan it is.
        stages: their number.
        shortest: epochs of the shortest one.
        real_activations: number of the first stage whose activations are not binary, if any.

    Raises:
        BitlensError: too few epochs, a warm-up as long as a stage, or CMIM without codes to contrast.
    """
    if recipe.epochs < stages:
        raise BitlensError(
            f"recipe: plan={recipe.plan!r} has {stages} stages and needs at least {stages} epochs"
        )
    if recipe.warmup >= shortest:
        raise BitlensError(f"recipe: warmup={recipe.warmup} leaves nothing of {shortest} epochs")
    contrasts = recipe.objective == "cmim" and recipe.cmim.partner == "latent"
    if contrasts and real_activations is not None:
        raise BitlensError(
            f"recipe: objective='cmim' contrasts activations with their signs, and stage "
            f"{real_activations} of plan={recipe.plan!r} takes no signs; use plan='two-step', or train "
            "with that plan first, without an objective, and go on from its folder (start=)"
        )


def _check_types(kind: type, values: Mapping[str, Any], where: str) -> None:
    """Refuse a value of another type than the field's: JSON and Python callers check nothing."""
    for name, hint in get_type_hints(kind).items():
        value, choices = values[name], get_args(hint)
        if choices:
            if value not in choices:
                raise BitlensError(f"{where}: {unknown(name, str(value), choices)}")
            continue
        accepted = (int, float) if hint is float else hint
        if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
            raise BitlensError(f"{where}: {name}={value!r} should be of type {hint.__name__}")


def _spell_floats(record: Recipe | CMIMConfig) -> None:
    """Turn 1 into 1.0 where a float belongs: equal recipes have equal digests."""
    for name, hint in get_type_hints(type(record)).items():
        if hint is float:
            object.__setattr__(record, name, float(getattr(record, name)))


def differences(a: Recipe, b: Recipe) -> list[str]:
    """Fields in which two recipes differ, as "field: a -> b", the name left out."""
    left, right = asdict(a), asdict(b)
    inner = {f"cmim.{k}": (v, right["cmim"][k]) for k, v in left.pop("cmim").items()}
    pairs = {key: (value, right[key]) for key, value in left.items() if key != "name"} | inner
    return [f"{key}: {x!r} -> {y!r}" for key, (x, y) in pairs.items() if x != y]
