"""Gathering folders into variants, and where each of them stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bitlens.errors import BitlensError
from bitlens.report.standings import gather, provenance, standings

Write = Callable[..., Path]


def test_standings_pair_by_seed(comparison_folder: Write) -> None:
    folder = comparison_folder(
        {"plain": {0: 0.70, 1: 0.80, 2: 0.90}, "cmim": {2: 0.91, 0: 0.71, 5: 0.1}}
    )
    plain, cmim = standings(gather([folder]))
    assert plain.difference is None
    assert plain.sentence is None
    assert plain.accuracy is not None
    assert plain.accuracy.mean == pytest.approx(0.8)
    assert cmim.accuracy is not None
    assert cmim.accuracy.n == 3
    assert cmim.difference is not None
    assert (cmim.difference.n, cmim.difference.mean) == (2, pytest.approx(0.01))


def test_unfinished_runs_count_in_no_number(comparison_folder: Write) -> None:
    folder = comparison_folder(
        {"plain": {0: 0.7, 1: 0.8}, "cmim": {0: 0.7, 1: 0.8}}, cmim={"done": 2}
    )
    cmim = standings(gather([folder]))[1]
    assert cmim.accuracy is None
    assert cmim.seconds is None
    assert cmim.difference is None
    assert cmim.sentence is not None
    assert "no seed has finished in both" in cmim.sentence


def test_single_runs_form_variants_by_name(run_folder: Write) -> None:
    folders = [
        run_folder("a0", name="plain", seed=0),
        run_folder("a1", name="plain", seed=1),
        run_folder("b0", name="cmim", seed=0),
    ]
    comparison = gather(folders, baseline="cmim")
    assert {name: len(runs) for name, runs in comparison.variants.items()} == {
        "plain": 2,
        "cmim": 1,
    }
    assert comparison.baseline == "cmim"
    assert gather(folders).baseline == "plain"


def test_one_name_with_two_recipes_is_told_apart_by_folder(run_folder: Write) -> None:
    folders = [run_folder("low", recipe={"lr": 0.001}), run_folder("high", recipe={"lr": 0.01})]
    assert list(gather(folders).variants) == ["demo-cmim (low)", "demo-cmim (high)"]


def test_a_run_beside_a_comparison_does_not_join_its_variant(
    run_folder: Write, comparison_folder: Write
) -> None:
    comparison = comparison_folder({"plain": {0: 0.7}})
    extra = run_folder("extra", name="plain", seed=1)
    assert list(gather([comparison, extra]).variants) == ["plain", "plain (extra)"]


def test_the_same_folder_twice_counts_once(run_folder: Write) -> None:
    folder = run_folder()
    assert len(gather([folder, folder]).runs) == 1


def test_the_same_recipe_and_seed_in_two_folders_is_refused(run_folder: Write) -> None:
    with pytest.raises(BitlensError, match="two runs of 'demo-cmim' have seed 0"):
        gather([run_folder("a"), run_folder("b")])


def test_gather_refuses_nothing_and_an_unknown_baseline(run_folder: Write) -> None:
    with pytest.raises(BitlensError, match="no run folder given"):
        gather([])
    with pytest.raises(BitlensError, match="unknown baseline 'demo-cmin'; did you mean demo-cmim"):
        gather([run_folder()], baseline="demo-cmin")


def test_provenance_names_seeds_epochs_data_and_split(comparison_folder: Write) -> None:
    folder = comparison_folder({"plain": {0: 0.7, 1: 0.8}, "cmim": {5: 0.7}}, cmim={"epochs": 3})
    plain, cmim = gather([folder]).variants.values()
    assert provenance(plain) == "n = 2 seeds, 6 epochs, fashion-mnist-mini, test split"
    assert provenance(cmim, (), split=None) == "n = 1 seed, 3 epochs, fashion-mnist-mini"
    assert provenance(plain, cmim).startswith("n = 1 to 2 seeds, 3 to 6 epochs, ")
    assert provenance([]) == "n = 0 runs"
