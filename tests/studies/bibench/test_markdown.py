"""The table of scores for pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitlens.errors import BitlensError
from bitlens.studies.bibench.markdown import scores_table

HEAD = "variant,method,objective,track,score,mean,sd,n,over\n"


def test_before_there_are_scores_the_page_says_so(tmp_path: Path) -> None:
    said = scores_table(tmp_path / "scores.csv")
    assert "|" not in said and said.endswith("\n")


def test_a_row_per_variant_in_fixed_columns(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(
        HEAD
        + "bnn,bnn,none,complexity,r_size,18.8828,,0,resnet\n"
        + 'bnn,bnn,none,learning task,OM_task,0.83,0.0123,3,"cifar10, digits"\n'
        + "irnet,irnet,none,learning task,OM_task,0.9,,1,cifar10\n"
    )
    lines = scores_table(path).splitlines()
    assert lines[0] == "| variant | seeds | OM_task | r_size |"
    assert lines[2] == "| bnn | 3 | 0.830 ± 0.012 | 18.883 |"
    assert lines[3] == "| irnet | 1 | 0.900 | - |"
    assert lines[5] == "OM_task: cifar10, digits / cifar10; r_size: resnet."
    assert lines[-1] == f"`{tmp_path.name}/scores.csv`"
    assert scores_table(path, "OM_task").splitlines()[0] == "| variant | seeds | OM_task |"


def test_an_unknown_score_is_refused_before_anything_is_published(tmp_path: Path) -> None:
    with pytest.raises(BitlensError, match="unknown score 'OM_tsk'"):
        scores_table(tmp_path / "scores.csv", "OM_tsk")
