"""Which runs are compared with which, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bitlens.errors import BitlensError
from bitlens.studies.bibench.twins import find_pairs


def test_pairs_share_folder_and_seed(table: Path) -> None:
    found = find_pairs([table])
    assert {(pair.variant, pair.seed) for pair in found.pairs} == {
        (name, seed) for name in ("bnn", "reactnet") for seed in (0, 1)
    }
    for pair in found.pairs:
        assert pair.twin.recipe.method == "float" and pair.binary.recipe.method == pair.variant
        assert pair.twin.run.seed == pair.binary.run.seed == pair.seed
    assert len(found.nets) == 6 and not found.left_out
    assert {pair.cell.setting for pair in found.pairs} == {"adam 0.01 linear"}


def test_unfinished_runs_are_left_out_and_told(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "table"
    shutil.copytree(table, folder)
    (folder / "bnn" / "seed1" / "summary.json").unlink()
    found = find_pairs([folder])
    assert ("bnn", 1) not in {(pair.variant, pair.seed) for pair in found.pairs}
    (told,) = found.left_out
    assert "bnn 1 of 2" in told and "reactnet" not in told
    # Without its twin a finished run has nothing to be measured against.
    (folder / "float" / "seed0" / "summary.json").unlink()
    found = find_pairs([folder])
    assert {(pair.variant, pair.seed) for pair in found.pairs} == {("reactnet", 1)}
    shutil.rmtree(folder / "float" / "seed1")
    with pytest.raises(BitlensError, match="no finished binary run has a finished float twin"):
        find_pairs([folder])


def test_the_float_variant_may_have_any_name(
    make_comparison: Callable[..., Path], tmp_path: Path
) -> None:
    variants = {"mine": {"method": "bnn"}, "real": {"method": "float"}}
    folder = make_comparison(tmp_path / "named", variants, (0,))
    (pair,) = find_pairs([folder]).pairs
    assert pair.variant == "mine" and pair.twin.recipe.name == "real"


def test_what_cannot_be_compared_is_refused(
    make_comparison: Callable[..., Path], table: Path, tmp_path: Path
) -> None:
    with pytest.raises(BitlensError, match="name at least one folder"):
        find_pairs([])
    with pytest.raises(BitlensError, match="is not a comparison"):
        find_pairs([tmp_path])
    with pytest.raises(BitlensError, match=r"bnn seed 0 on .* is there twice"):
        find_pairs([table, table])
    real = make_comparison(tmp_path / "real", {"float": {"method": "float", "epochs": 1}}, (0,))
    with pytest.raises(BitlensError, match="the comparisons hold float nets alone"):
        find_pairs([real])
    signs = make_comparison(tmp_path / "signs", {"bnn": {"method": "bnn", "epochs": 1}}, (0,))
    with pytest.raises(BitlensError, match="one float variant, found none"):
        find_pairs([signs])


def test_a_twin_is_of_the_same_net(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "table"
    shutil.copytree(table, folder)
    for seed in (0, 1):
        file = folder / "float" / f"seed{seed}" / "recipe.json"
        recipe = json.loads(file.read_text())
        file.write_text(json.dumps({**recipe, "model": "resnet8-bireal-poolpad"}))
    with pytest.raises(BitlensError, match="model='mlp', but its float twin"):
        find_pairs([folder])


def changed(folder: Path, runs: str, **fields: object) -> None:
    """Change recipes of a folder's runs."""
    for file in folder.glob(f"{runs}/recipe.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 3),
        ("batch_size", 16),
        ("train_images", 40),
        ("validation", 0.5),
        ("augment", "flip"),
    ],
)
def test_a_twin_had_the_same_training(
    table: Path, tmp_path: Path, field: str, value: object
) -> None:
    folder = Path(shutil.copytree(table, tmp_path / "table"))
    changed(folder, "float/seed*", **{field: value})
    with pytest.raises(BitlensError, match=f"{field}=.* but its float twin .* has {value!r}"):
        find_pairs([folder])


def test_seeds_of_a_variant_share_their_recipe(table: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(table, tmp_path / "table"))
    changed(folder, "bnn/seed1", lr=0.5)
    with pytest.raises(BitlensError, match=r"seed1 are of one variant .*\(lr: 0.01 -> 0.5\)"):
        find_pairs([folder])


def test_one_name_is_one_variant_in_all_comparisons(table: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(table, tmp_path / "other"))
    changed(folder, "*/seed*", lr=0.02)
    assert len(find_pairs([table, folder]).pairs) == 8, "another setting is another condition"
    changed(folder, "bnn/seed*", method="irnet")
    with pytest.raises(
        BitlensError, match=r"bnn is the name of .* differ in method; give them two"
    ):
        find_pairs([table, folder])
