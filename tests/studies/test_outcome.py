"""From a real study, as small as it gets, to its rows, verdicts, figures and page."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from bitlens.errors import BitlensError
from bitlens.studies.information_plane import measure, saturation
from bitlens.studies.information_plane import outcome as room
from bitlens.studies.information_plane.claims import judge
from bitlens.studies.information_plane.figures.every import FIGURES
from bitlens.studies.information_plane.figures.evidence import Figure
from bitlens.studies.information_plane.kinds import KINDS
from bitlens.studies.information_plane.outcome import Outcome, write_outcome
from bitlens.studies.information_plane.page import Work, compose
from bitlens.studies.information_plane.paths import trajectories
from bitlens.studies.information_plane.saturation import judge_saturation
from bitlens.studies.information_plane.stack import StackedNet
from bitlens.studies.information_plane.standing import count_verdicts, tasks_of
from bitlens.studies.information_plane.store import Store
from bitlens.studies.information_plane.tasks import load_task
from bitlens.studies.information_plane.tiers import WIDE, trial
from bitlens.studies.information_plane.trial import run_trial
from bitlens.studies.information_plane.verdict import STATEMENTS, Verdict

TRIALS = [
    trial("rule", WIDE, "dnn-tanh", 2, epochs=1),
    trial("rule", WIDE, "bnn-ste", 2, epochs=2, matched=False),
    trial("rule", (8, 4), "bnn-ste", 2, epochs=1, first=100, matched=False),
]


def row(claim: str = "C1", task: str = "rule 4-3", verdict: str = "holds") -> Verdict:
    return Verdict(
        claim=claim,
        statement=STATEMENTS[claim],
        task=task,
        about="kind <b>",
        n=2,
        statistic="median rho",
        value=0.5,
        verdict=verdict,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    store = Store(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "KERNEL_SAMPLES", 100)
        for one in TRIALS:
            store.write(one, run_trial(one), {"seconds": 1.5, "torch": "2.x", "bitlens": "0.x"})
    return folder


@pytest.fixture(scope="module")
def quick_saturation() -> list[Verdict]:
    return judge_saturation({"rule"})


@pytest.fixture(scope="module")
def outcome(folder: Path) -> Outcome:
    return write_outcome(folder, TRIALS)


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_paths_have_a_row_a_layer_net_and_readout(folder: Path, outcome: Outcome) -> None:
    rows = table(outcome.paths)
    counts = Counter((r["kind"], r["hidden"]) for r in rows)
    assert counts == {
        ("dnn-tanh", "64-16-12-8-6"): 2 * (5 * 4 + 1),
        ("bnn-ste", "64-16-12-8-6"): 2 * (5 + 1),
        ("bnn-ste", "8-4"): 2 * (2 + 1),
    }
    known = [t.path for t in trajectories(Store(folder), TRIALS)]
    written = [float(r["entropy_last"]) for r in rows]
    assert written == pytest.approx([path.entropy_last for path in known], rel=1e-5)
    assert {"commit", "torch", "cpu", "threads"} <= set(rows[0])
    assert {r["overlap"] for r, path in zip(rows, known, strict=True) if path.overlap is None} == {
        ""
    }


def test_verdicts_are_those_of_the_claims_and_of_saturation_in_their_order(
    folder: Path, outcome: Outcome
) -> None:
    rows = table(outcome.verdicts)
    judged = judge(t.path for t in trajectories(Store(folder), TRIALS))
    expected = Counter((v.claim, v.task, v.about, v.verdict) for v in judged)
    found = Counter((r["claim"], r["task"], r["about"], r["verdict"]) for r in rows)
    assert sum((found - expected).values()) == 4
    assert {key[0] for key in found - expected} == {"C9"}
    places = [list(STATEMENTS).index(r["claim"]) for r in rows]
    assert places == sorted(places)


def test_figures_lie_beside_the_page_and_in_it(folder: Path, outcome: Outcome) -> None:
    page = outcome.page.read_text(encoding="utf-8")
    written = {path.stem: path.read_text() for path in (folder / "figures").iterdir()}
    # Overlap, coupling and the like need no more than these; tau and the eight cells do, or go without.
    assert {"planes", "timing", "coupling", "overlap", "regime", "estimators"} <= set(written)
    for svg in written.values():
        ElementTree.fromstring(svg)
        assert svg in page
    assert len(re.findall("<svg ", page)) == len(written)
    left_out = len(FIGURES) - len(written)
    assert page.count("left out.") == left_out


def test_the_page_is_complete_in_itself_and_says_what_was_done(outcome: Outcome) -> None:
    page = outcome.page.read_text(encoding="utf-8")
    assert "<script" not in page
    assert set(re.findall(r"https?://[^\"' )]+", page)) <= {"http://www.w3.org/2000/svg"}
    assert "6 nets in 3 trials" in page and "4.5 s" in page and "torch 2.x" in page
    assert set(re.findall(r'id="(\w+)"', page)) >= set(re.findall(r'href="#(\w+)"', page))
    for claim in {r["claim"] for r in table(outcome.verdicts)}:
        assert STATEMENTS[claim].replace("<", "&lt;").replace(">", "&gt;") in page
    assert outcome.nets == 6


def test_the_table_fits_a_terminal(outcome: Outcome) -> None:
    screen = Console(width=100, file=io.StringIO())
    screen.print(outcome.table)
    assert isinstance(screen.file, io.StringIO)
    shown = screen.file.getvalue()
    assert max(map(len, shown.splitlines())) <= 100
    assert {r["claim"] for r in table(outcome.verdicts)} <= set(shown.split())


def test_writing_again_gives_the_same_bytes_and_leaves_nothing_behind(
    folder: Path, outcome: Outcome
) -> None:
    files = [outcome.page, outcome.paths, outcome.verdicts]
    before = [path.read_bytes() for path in files]
    write_outcome(folder, TRIALS)
    assert [path.read_bytes() for path in files] == before
    assert not list(folder.rglob(".*.tmp"))


def test_figures_of_an_earlier_larger_study_go(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_saturation: list[Verdict]
) -> None:
    monkeypatch.setattr(room, "judge_saturation", lambda tasks: quick_saturation)
    store, other = Store(folder), Store(tmp_path)
    other.write(TRIALS[1], _rows(store, 1), {"seconds": 1.0})
    (tmp_path / "figures").mkdir()
    stale = tmp_path / "figures" / "estimators.svg"
    stale.write_text("old")
    found = write_outcome(tmp_path, TRIALS[1:2])
    assert not stale.exists()
    assert "needs float nets" in found.page.read_text().lower()


def _rows(store: Store, number: int) -> list[dict[str, object]]:
    columns = store.read(TRIALS[number])
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_a_missing_trial_is_named_and_nothing_written(folder: Path, tmp_path: Path) -> None:
    Store(tmp_path).write(TRIALS[1], _rows(Store(folder), 1), {"seconds": 1.0})
    with pytest.raises(BitlensError, match=r"dnn-tanh.*has not been run"):
        write_outcome(tmp_path, TRIALS)
    assert not (tmp_path / "index.html").exists() and not (tmp_path / "paths.csv").exists()


def test_counts_pool_shapes_and_keep_an_order() -> None:
    rows = [
        row(verdict="differs"),
        row(verdict="undecided"),
        row(task="rule 5-4", verdict="fails"),
        row(),
        row(task="all tasks"),
        row(task="digits 3-2"),
        row(),
    ]
    counts = count_verdicts(rows)
    assert list(counts["C1", "rule"].items()) == [
        ("holds", 2),
        ("fails", 1),
        ("undecided", 1),
        ("differs", 1),
    ]
    assert counts["C1", "all tasks"] == {"holds": 1}
    assert tasks_of(rows) == ["rule", "digits", "all tasks"]


def test_a_page_escapes_what_is_not_markup_and_tells_what_is_missing() -> None:
    work = Work(
        trials=1, nets=1, paths=1, seconds=2.0, versions={}, tasks={"rule": (1, ["bnn-ste"])}
    )
    missing = Figure(name="planes", title="Planes & more", svg=None, caption="Needs nets.")
    page = compose(work, [row()], [missing])
    assert "kind &lt;b&gt;" in page and "kind <b>" not in page
    assert "Planes &amp; more: </strong>left out. Needs nets." in page
    assert "No data for C2, C3, C4, C5, C6, C7, C8, C9, C10" in page


def test_saturation_rows_say_what_counting_codes_says(quick_saturation: list[Verdict]) -> None:
    task = load_task("fashion-mnist-mini")
    net = StackedNet(KINDS["bnn-ste"], (task.inputs, 1024, 20, 20, 20, 10), (0,))
    sums = task.probe[0].numpy() @ np.where(net.weights[0].detach().numpy()[0] >= 0, 1, -1)
    codes = np.packbits(sums >= sums.mean(0), axis=1)
    assert len(np.unique(codes, axis=0)) == len(codes) == 10_000
    assert [v.verdict for v in quick_saturation] == ["holds"] * 4
    assert {v.task for v in quick_saturation} == {"fashion-mnist-mini 1024-20-20-20"}
    assert all(v.value is not None and abs(v.value) < 1e-9 for v in quick_saturation)
    assert sum("shuffled" in v.about for v in quick_saturation) == 2


def test_a_narrow_layer_is_not_saturated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saturation, "LITERATURE", (4, 3))
    rows = judge_saturation(())
    assert [v.verdict for v in rows] == ["fails"] * 4
    # Four bits can hold no more than four of log2 10,000 bits.
    assert all(v.value is not None and v.value >= np.log2(10_000) - 4 - 1e-9 for v in rows)


def test_saturation_looks_at_the_larger_set_where_the_study_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = load_task("fashion-mnist-mini")
    asked: list[str] = []

    def load(name: str) -> object:
        asked.append(name)
        part = (small.probe[0][:200], small.probe[1][:200])
        return replace(small, name=name, probe=part)

    monkeypatch.setattr(saturation, "load_task", load)
    assert judge_saturation({"rule", "fashion-mnist"})[0].task.startswith("fashion-mnist 1024")
    assert asked == ["fashion-mnist"]
