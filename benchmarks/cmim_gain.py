"""Does CMIM help? Paired seeds, one budget, the weight curve tuned on a validation split.

    python benchmarks/cmim_gain.py tune  --data fashion-mnist --out runs/tune
    python benchmarks/cmim_gain.py test  --data fashion-mnist --out runs/test-fashion --seeds 5
    python benchmarks/cmim_gain.py test  --data cifar10       --out runs/test-cifar10 --seeds 5

`tune` holds out a quarter of the training images and never looks at the test set for a choice. `test`
trains on all of them and reports the test set. Both resume, and copy their rows into results/.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from bitlens.objectives.config import CMIMConfig
from bitlens.recipes import RECIPES
from bitlens.training.compare import compare
from bitlens.training.comparison_table import write_tables
from bitlens.training.recipe import Recipe

LATENT = CMIMConfig(loss="infonce", temperature=0.2, width=64)
WEIGHTS = (0.003, 0.01, 0.03, 0.1, 0.3)


def latent(plain: Recipe, name: str, weight: float, **settings: object) -> Recipe:
    cmim = replace(LATENT, **settings)
    return replace(plain, name=name, objective="cmim", weight=weight, cmim=cmim)


def tuning(plain: Recipe) -> list[Recipe]:
    """The weight curve of both losses, then one change at a time at weight 0.03."""
    curve = [latent(plain, f"infonce-w{w}", w) for w in WEIGHTS]
    paper = RECIPES["fashion-paper"].cmim
    curve += [
        replace(plain, name=f"paper-w{w}", objective="cmim", weight=w, cmim=paper)
        for w in (0.001, 0.003, 0.01, 0.03)
    ]
    axes: dict[str, dict[str, object]] = {
        "class": {"exclude": "class"},
        "last": {"layers": "last"},
        "binary-only": {"grad": "binary-only"},
        "float-only": {"grad": "float-only"},
        "t0.1": {"temperature": 0.1},
        "t0.5": {"temperature": 0.5},
        "t1": {"temperature": 1.0},
        "mlp": {"head": "mlp"},
        "queue": {"source": "queue", "negatives": 2048},
        "pool2": {"pool": 2},
        "beta2": {"beta": 2.0},
        "beta0.5": {"beta": 0.5},
    }
    curve += [latent(plain, f"infonce-t1-w{w}", w, temperature=1.0) for w in (0.01, 0.1, 0.3)]
    return [
        *curve,
        *(latent(plain, f"infonce-w0.03-{name}", 0.03, **kw) for name, kw in axes.items()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("stage", choices=("tune", "test"))
    parser.add_argument("--data", choices=("fashion-mnist", "cifar10"), default="fashion-mnist")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="train just these variants; the table keeps all")
    options = parser.parse_args()
    stem = "fashion" if options.data == "fashion-mnist" else "cifar10"
    family = [
        RECIPES[f"{stem}-{n}"]
        for n in ("plain", "float", "paper", "cmim", "released", "crd", "logit-kd")
    ]
    family = [replace(recipe, epochs=options.epochs) for recipe in family]
    plain = family[0]
    if options.stage == "tune":
        held = replace(plain, validation=0.25)
        family = [held, *tuning(held)]
    torch.set_num_threads(options.jobs)
    compare(
        [r for r in family if not options.only or r.name in options.only],
        range(options.seeds),
        options.out,
        baseline=plain.name,
        resolve=RECIPES.get,
        jobs=options.jobs,
    )
    write_tables(options.out, [recipe.name for recipe in family], (), plain.name)
    table = options.out / "comparison.csv"
    Path("results").mkdir(exist_ok=True)
    shutil.copy(table, Path("results") / f"cmim_{options.stage}_{stem}.csv")


if __name__ == "__main__":
    main()
