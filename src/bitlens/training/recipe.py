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
from bitlens.tasks.config import TASKS, DenseConfig
from bitlens.training.schema import SCHEMA, oldest, upgrade

_STAGES: dict[str, int] = {"one-step": 1, "two-step": 2, "three-step": 3}
"""Number of stages of the plans that do not depend on the method."""

_NESTED = ("cmim", "dense")
"""Fields that hold settings of their own."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run.

    Attributes:
        name: label of the variant in tables and folders.
        seed: source of every random stream of the run.
        task: classify (a class per image), segment (a class per pixel), depth (metres per pixel) or
            segment-depth (both).
        data: data set: a name, parquet:PATH, folder:PATH or hub:NAME; for the dense tasks nyudv2,
            nyudv2-13, mat:PATH, scenes:PATH, parquet:PATH or hub:NAME.
        image_size: side in pixels to resize to, the shorter one of a dense task; 0 keeps the data's own.
        train_images: use only about this many training images, the same share of every class where
            images have one, in whole images; 0 uses all.
        validation: share of the training images held out for validation; 0 evaluates on test.
        augment: training augmentation: none, flip, crop, flip-crop or resized-crop; of a dense task
            none, flip, scale-crop or scale-crop-color.
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
        dense: settings of the dense tasks.
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
    task: str = "classify"
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
    dense: DenseConfig = field(default_factory=DenseConfig)
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
        _check_types(Recipe, vars(self), "recipe")
        _spell_floats(self)
        for name in _NESTED:
            settings = getattr(self, name)
            _check_types(type(settings), vars(settings), "recipe")
            object.__setattr__(self, name, replace(settings))
            _spell_floats(getattr(self, name))
        if not self.name or self.name.startswith(".") or set(self.name) & set("/\\\n"):
            raise BitlensError(
                f"recipe: name={self.name!r}; it names a folder: not empty, no slash, no leading dot"
            )
        check_name(self.method, also=(FLOAT,))
        if self.task not in TASKS:
            raise unknown("task", self.task, TASKS)
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
        self._check_task()
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

    def _check_task(self) -> None:
        """Refuse what a task has no use for: it would be ignored without a word."""
        if self.task == "classify":
            if self.dense != DenseConfig():
                raise BitlensError(
                    "recipe: dense settings belong to the tasks segment, depth and segment-depth; set task="
                )
            if self.cmim.pairs != "image":
                raise BitlensError(
                    f"recipe: cmim.pairs={self.cmim.pairs!r} is for the dense tasks; set task=, or keep "
                    "pairs='image' with cmim.pool"
                )
            return
        if self.needs_teacher:
            raise BitlensError(
                f"recipe: task={self.task!r} learns from no teacher: distill={self.distill!r}, "
                f"cmim.partner={self.cmim.partner!r}; use distill='none' and partner='latent'"
            )
        if self.cmim.exclude == "class" and self.objective == "cmim":
            raise BitlensError(
                f"recipe: cmim.exclude='class' needs one class per image, and task={self.task!r} has none; "
                "use exclude='instance'"
            )
        plain = DenseConfig()
        for name in ("balance", "depth_weight"):
            if self.task != "segment-depth" and getattr(self.dense, name) != getattr(plain, name):
                raise BitlensError(
                    f"recipe: dense.{name}={getattr(self.dense, name)!r} weighs two losses, and "
                    f"task={self.task!r} has one"
                )
        if self.task == "segment" and self.dense.depth_loss != plain.depth_loss:
            raise BitlensError(
                f"recipe: dense.depth_loss={self.dense.depth_loss!r}, but task='segment' tells no depth"
            )
        if self.dense.balance == "uncertainty" and self.dense.depth_weight != plain.depth_weight:
            raise BitlensError(
                f"recipe: dense.depth_weight={self.dense.depth_weight}, but balance='uncertainty' learns "
                "the weights; drop one of the two"
            )
        if self.task == "segment-depth" and self.dense.depth_weight == 0:
            raise BitlensError(
                "recipe: dense.depth_weight=0 leaves the depth head untrained; use task='segment'"
            )
        if self.task == "depth" and self.label_smoothing:
            raise BitlensError(
                f"recipe: label_smoothing={self.label_smoothing} is of classes, and task='depth' has none"
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
        """Inverse of `to_json`; reads older schemas too.

        Raises:
            BitlensError: another schema version, an unknown or missing field; names `source`.
        """
        if not isinstance(record, dict):
            raise BitlensError(f"{source}: holds {type(record).__name__}, not a recipe's fields")
        if record.get("schema") not in range(1, SCHEMA + 1):
            raise BitlensError(
                f"{source}: schema {record.get('schema')!r}, this bitlens reads 1 to {SCHEMA}"
            )
        record = upgrade(record)
        outer = {key: value for key, value in record.items() if key not in ("schema", *_NESTED)}
        for name in _NESTED:
            if not isinstance(record.get(name), dict):
                raise BitlensError(f"{source}: field {name!r} is missing or not a set of fields")
        inner, dense = record["cmim"], record["dense"]
        for kind, given, known in (
            ("recipe field", outer, {f.name for f in fields(cls)} - set(_NESTED)),
            ("CMIM setting", inner, {f.name for f in fields(CMIMConfig)}),
            ("dense setting", dense, {f.name for f in fields(DenseConfig)}),
        ):
            for name in given:
                if name not in known:
                    raise BitlensError(f"{source}: {unknown(kind, name, known)}")
            if missing := sorted(known - set(given)):
                raise BitlensError(f"{source}: {kind} {missing[0]!r} is missing")
        _check_types(CMIMConfig, inner, f"{source}, cmim")
        _check_types(DenseConfig, dense, f"{source}, dense")
        try:
            return cls(**outer, cmim=CMIMConfig(**inner), dense=DenseConfig(**dense))
        except BitlensError as error:
            raise BitlensError(f"{source}: {error}") from error

    @property
    def digest(self) -> str:
        """Twelve hex digits that change with anything but the name.

        Written in the oldest schema that can say it: a recipe's digest outlives new fields.
        """
        content = {key: value for key, value in oldest(self.to_json()).items() if key != "name"}
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


def _spell_floats(record: Recipe | CMIMConfig | DenseConfig) -> None:
    """Turn 1 into 1.0 where a float belongs: equal recipes have equal digests."""
    for name, hint in get_type_hints(type(record)).items():
        if hint is float:
            object.__setattr__(record, name, float(getattr(record, name)))


def differences(a: Recipe, b: Recipe) -> list[str]:
    """Fields in which two recipes differ, as "field: a -> b", the name left out."""
    left, right = asdict(a), asdict(b)
    inner = {
        f"{name}.{k}": (v, right[name][k]) for name in _NESTED for k, v in left.pop(name).items()
    }
    pairs = {key: (value, right[key]) for key, value in left.items() if key != "name"} | inner
    return [f"{key}: {x!r} -> {y!r}" for key, (x, y) in pairs.items() if x != y]
