"""`bitlens list WHAT`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bitlens.errors import BitlensError, unknown
from bitlens.report.quantities import plural


def _recipes() -> dict[str, str]:
    from bitlens.recipes import RECIPES

    return {
        name: (f"{r.task}: " if r.task != "classify" else "")
        + f"{r.model}, {r.method}, {r.objective}"
        + (f" x {r.weight:g}" if r.weight else "")
        + (f" + {r.distill} x {r.distill_weight:g}" if r.distill != "none" else "")
        + f", {r.data}, {r.epochs} epochs"
        for name, r in RECIPES.items()
    }


def _suites() -> dict[str, str]:
    from bitlens.recipes import SUITES

    return {
        name: "the float net and every method, plain and with CMIM; --data "
        + ", ".join(
            f"{data} ({r.model}, {plural(r.epochs, 'epoch')} of "
            + (f"{r.train_images:,} images)" if r.train_images else "all images)")
            for data, r in budgets.items()
        )
        for name, budgets in SUITES.items()
    }


def _methods() -> dict[str, str]:
    from bitlens.methods import METHODS, get

    found = {name: get(name) for name in METHODS}
    return {name: f"{m.title} ({m.paper}; {m.deploy})" for name, m in found.items()}


def _models() -> dict[str, str]:
    from bitlens.models.dense import DENSE_NETS
    from bitlens.models.nets import NETS

    return {name: f"{net.about} ({net.paper})" for name, net in (NETS | DENSE_NETS).items()}


def _data() -> dict[str, str]:
    from bitlens.data import DATASETS

    return DATASETS


def _scenes() -> dict[str, str]:
    from bitlens.data import SCENES

    return SCENES


def _tasks() -> dict[str, str]:
    from bitlens.tasks.config import TASKS

    return TASKS


def _objectives() -> dict[str, str]:
    from bitlens.objectives import OBJECTIVES

    return OBJECTIVES


def _distillations() -> dict[str, str]:
    from bitlens.objectives import DISTILLATIONS

    return DISTILLATIONS


def _presets() -> dict[str, str]:
    from dataclasses import fields

    from bitlens.objectives.config import PRESETS, CMIMConfig

    return {
        name: ", ".join(
            f"{f.name}={getattr(config, f.name)}"
            for f in fields(CMIMConfig)
            if f.name != "momentum"
        )
        for name, config in PRESETS.items()
    }


LISTS: dict[str, Callable[[], dict[str, str]]] = {
    "recipes": _recipes,
    "suites": _suites,
    "methods": _methods,
    "models": _models,
    "data": _data,
    "scenes": _scenes,
    "tasks": _tasks,
    "objectives": _objectives,
    "distillations": _distillations,
    "presets": _presets,
}


def run(arguments: Sequence[str]) -> None:
    """Print names, one a line, each with what it is."""
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        usage = f"usage: bitlens list {'|'.join(LISTS)}"
        if arguments and arguments[0] in ("-h", "--help"):
            print(usage)
            return
        raise BitlensError(usage)
    if arguments[0] not in LISTS:
        raise unknown("list", arguments[0], LISTS)
    rows = LISTS[arguments[0]]()
    width = max(map(len, rows))
    for name, about in rows.items():
        print(f"{name:<{width}}  {about}")
