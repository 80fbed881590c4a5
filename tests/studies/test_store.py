from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitlens.errors import BitlensError
from bitlens.studies.information_plane import study as module
from bitlens.studies.information_plane.store import Store
from bitlens.studies.information_plane.study import run_study
from bitlens.studies.information_plane.tiers import trial
from bitlens.studies.information_plane.trial import Trial, run_trial

TRIALS = [trial("rule", (6, 4), kind, 2, epochs=1) for kind in ("bnn-ste", "dnn-tanh")]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "trials", lambda tier: TRIALS)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    store, rows = Store(tmp_path), run_trial(TRIALS[1])
    assert not store.holds(TRIALS[1])
    store.write(TRIALS[1], rows, {"seconds": 1.5})
    columns = store.read(TRIALS[1])
    assert store.holds(TRIALS[1]) and store.made(TRIALS[1]) == {"seconds": 1.5}
    assert columns["entropy"] == [row["entropy"] for row in rows]
    assert columns["permutation_z"] == [row.get("permutation_z") for row in rows]
    assert [p.name for p in (tmp_path / "trials").iterdir()] == [f"{TRIALS[1].name}.parquet"]


def test_another_trial_of_the_same_name_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(TRIALS[0], run_trial(TRIALS[0]), {})
    with pytest.raises(BitlensError, match=r"other settings \(epochs, lr\)"):
        store.holds(replace(TRIALS[0], epochs=2, lr=0.5))


def test_a_damaged_or_missing_file_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(BitlensError, match="has not been run"):
        store.read(TRIALS[0])
    store.trials_folder.mkdir()
    store.path(TRIALS[0]).write_bytes(b"PAR1 and then nothing")
    with pytest.raises(BitlensError, match=r"bnn-ste.*damaged"):
        store.holds(TRIALS[0])


@pytest.mark.usefixtures("tiny")
def test_a_study_continues_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def stopping(one: Trial, tell: Any) -> list[dict[str, Any]]:
        ran.append(one.name)
        if len(ran) == 2:
            raise KeyboardInterrupt
        return run_trial(one, tell)

    monkeypatch.setattr(module, "run_trial", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_study("smoke", tmp_path)
    assert run_study("smoke", tmp_path) == TRIALS
    assert run_study("smoke", tmp_path) == TRIALS
    assert ran == [TRIALS[0].name, TRIALS[1].name, TRIALS[1].name]
    made = Store(tmp_path).made(TRIALS[0])
    assert made["seconds"] > 0 and made["torch"]


@pytest.mark.usefixtures("tiny")
def test_progress_counts_all_trials_of_the_tier(tmp_path: Path) -> None:
    Store(tmp_path).write(TRIALS[0], run_trial(TRIALS[0]), {})
    told: list[tuple[str, int, int]] = []
    steps: list[tuple[int, int]] = []

    def make(one: Trial, number: int, total: int) -> Any:
        told.append((one.kind, number, total))
        return lambda step, last: steps.append((step, last))

    run_study("smoke", tmp_path, make_tell=make)
    assert told == [("dnn-tanh", 2, 2)]
    assert steps[0] == (1, 12) and steps[-1] == (12, 12)


def test_two_processes_give_the_numbers_of_one(tmp_path: Path) -> None:
    pair = [trial("rule", (6, 4), kind, 1, epochs=1) for kind in ("bnn-ste", "w1a1")]
    from bitlens.training.workers import finished, workers

    for jobs in (1, 2):
        calls = [(one, tmp_path / str(jobs), module.silent, 1, 2) for one in pair]
        with workers(jobs) as pool:
            assert list(finished(pool, module._run, calls)) == [None, None]
    for one in pair:
        first, second = (Store(tmp_path / str(jobs)).read(one) for jobs in (1, 2))
        assert first == second
