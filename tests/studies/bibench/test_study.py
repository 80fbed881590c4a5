"""The whole study on a table of little nets: rows, resuming, and scores against their definition."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from bitlens.data import load
from bitlens.data.corruptions.table import CORRUPTIONS, corrupt
from bitlens.data.normalize import normalize
from bitlens.errors import BitlensError
from bitlens.models.operations import operations
from bitlens.models.summary import summary
from bitlens.studies.bibench import evaluate
from bitlens.studies.bibench.study import Options, run_study
from bitlens.studies.method_table.cost_rows import COLUMNS, write_costs
from bitlens.training.build import load_run_net
from bitlens.training.run import RunFolder

VERSIONS = 1 + 15 * 5


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def judged(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("judged") / "out"
    run_study([table], out, Options(images=40))
    return out


def test_every_net_meets_every_version(judged: Path, table: Path) -> None:
    rows = read(judged / "bibench.csv")
    assert len(rows) == 3 * 2 * VERSIONS
    assert len({(r["run"], r["corruption"], r["severity"]) for r in rows}) == len(rows)
    assert {row["images"] for row in rows} == {"40"}
    assert {row["corruption"] for row in rows} == {"clean", *CORRUPTIONS}
    assert {row["run"] for row in rows} == {
        f"table/{name}/seed{seed}" for name in ("float", "bnn", "reactnet") for seed in (0, 1)
    }


def test_a_row_is_the_accuracy_on_corrupted_images(judged: Path, table: Path) -> None:
    run = RunFolder(table / "bnn" / "seed1")
    data = load(run.recipe().data)
    net = load_run_net(run.path, data, torch.device("cpu")).eval()
    # Every second of the 80 test images.
    images, labels = data.test.images[::2], data.test.labels[::2]
    shown = normalize(corrupt(images, "pixelate", 2, seed=0), data.mean, data.std)
    with torch.no_grad():
        right = float((net(shown).argmax(1) == labels).double().mean())
    wanted = ("table/bnn/seed1", "pixelate", "2")
    (row,) = [
        r
        for r in read(judged / "bibench.csv")
        if (r["run"], r["corruption"], r["severity"]) == wanted
    ]
    assert float(row["accuracy"]) == pytest.approx(right, abs=1e-6)


def test_scores_follow_from_the_rows(judged: Path, table: Path) -> None:
    accuracy: dict[tuple[str, str, str], list[float]] = {}
    for row in read(judged / "bibench.csv"):
        key = (row["variant"], row["seed"], row["corruption"])
        accuracy.setdefault(key, []).append(float(row["accuracy"]))
    scores = {(s["variant"], s["score"]): s for s in read(judged / "scores.csv")}
    for variant in ("bnn", "reactnet"):
        plain, relative, tasks, times = [], [], [], []
        for seed in "01":
            ratios = np.array(
                [
                    sum(accuracy[variant, seed, c]) / sum(accuracy["float", seed, c])
                    for c in CORRUPTIONS
                ]
            )
            clean = accuracy[variant, seed, "clean"][0] / accuracy["float", seed, "clean"][0]
            plain.append(math.sqrt(np.mean(ratios**2)))
            relative.append(math.sqrt(np.mean((ratios / clean) ** 2)))
            own, real = (
                json.loads((table / name / f"seed{seed}" / "summary.json").read_text())
                for name in (variant, "float")
            )
            tasks.append(own["test_accuracy"] / real["test_accuracy"])
            times.append(real["step_ms"] / own["step_ms"])
        for name, values in (
            ("OM_corr", plain),
            ("OM_corr_clean", relative),
            ("OM_task", tasks),
            ("OM_train", times),
        ):
            row = scores[variant, name]
            assert float(row["mean"]) == pytest.approx(np.mean(values), rel=1e-5)
            assert float(row["sd"]) == pytest.approx(np.std(values, ddof=1), rel=1e-4, abs=1e-9)
            assert row["n"] == "2"


def test_complexity_counts_the_nets(judged: Path, table: Path) -> None:
    nets = {}
    for name in ("float", "reactnet"):
        run = RunFolder(table / name / "seed0")
        data = load(run.recipe().data)
        nets[name] = load_run_net(run.path, data, torch.device("cpu"))
    signs = sum(math.prod(row.shape) for row in summary(nets["reactnet"]).binary)
    all_of = {
        name: sum(parameter.numel() for parameter in net.parameters()) for name, net in nets.items()
    }
    assert 0 < signs < all_of["reactnet"]
    size = 32 * all_of["float"] / (32 * (all_of["reactnet"] - signs) + signs)
    example = torch.zeros(1, 1, 8, 8)
    done = {name: operations(net, example) for name, net in nets.items()}
    assert done["reactnet"].bops > 0 and done["float"].bops == 0
    faster = done["float"].flops / (done["reactnet"].flops + done["reactnet"].bops / 64)
    scores = {s["score"]: s for s in read(judged / "scores.csv") if s["variant"] == "reactnet"}
    assert float(scores["r_size"]["mean"]) == pytest.approx(size, rel=1e-5)
    assert float(scores["r_ops"]["mean"]) == pytest.approx(faster, rel=1e-5)
    joined = math.sqrt((size**2 + faster**2) / 2)
    assert float(scores["OM_comp"]["mean"]) == pytest.approx(joined, rel=1e-5)
    assert scores["r_size"]["sd"] == "" and scores["r_size"]["n"] == "0"


def test_what_cannot_be_said_is_left_out_and_told(judged: Path) -> None:
    names = {score["score"] for score in read(judged / "scores.csv")}
    assert not names & {"OM_arch", "std_ratio", "OM_hw", "r_t", "r_s"}
    for page in ("scores.md", "index.html"):
        told = (judged / page).read_text()
        assert "Architecture (OM_arch)" in told and "Hardware (OM_hw)" in told
        assert "one setting" in told


def test_the_page_stands_alone(judged: Path) -> None:
    page = (judged / "index.html").read_text()
    assert "<script" not in page and 'http-equiv="Content-Security-Policy"' in page
    assert "reactnet" in page and str(judged) not in page
    for figure in ("scores", "corruption", "corruption_clean", "corruptions"):
        ElementTree.parse(judged / "figures" / f"{figure}.svg")


def test_nothing_is_measured_twice(
    judged: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(judged, out)

    def refuse(*arguments: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(evaluate, "evaluate", refuse)
    monkeypatch.setattr(evaluate, "corrupt", refuse)
    before = (out / "bibench.csv").read_bytes()
    run_study([table], out, Options(images=40))
    assert (out / "bibench.csv").read_bytes() == before
    assert (out / "scores.csv").read_bytes() == (judged / "scores.csv").read_bytes()


def test_an_interrupted_study_continues_where_it_was(
    judged: Path, table: Path, tmp_path: Path
) -> None:
    out, told = tmp_path / "out", []

    def stop(done: int, total: int, what: str) -> None:
        if done == 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study([table], out, Options(images=40), stop)
    assert len(read(out / "bibench.csv")) == 100 and not (out / "scores.csv").exists()
    # As a killed process leaves it: the last line is cut off.
    whole = (out / "bibench.csv").read_bytes()
    (out / "bibench.csv").write_bytes(whole[:-7])
    run_study([table], out, Options(images=40), lambda *step: told.append(step))
    assert told[0][:2] == (0, 6 * VERSIONS - 99)
    assert told[-1][:2] == (6 * VERSIONS - 99,) * 2
    assert sorted((out / "bibench.csv").read_text().splitlines()) == sorted(
        (judged / "bibench.csv").read_text().splitlines()
    )
    assert (out / "scores.csv").read_bytes() == (judged / "scores.csv").read_bytes()


def test_a_net_trained_again_is_judged_again(
    judged: Path, table: Path, tmp_path: Path, quick: Options
) -> None:
    changed, out = tmp_path / "table", tmp_path / "out"
    shutil.copytree(table, changed)
    shutil.copytree(judged, out)
    shutil.copyfile(
        changed / "bnn" / "seed0" / "last.safetensors",
        changed / "bnn" / "seed1" / "last.safetensors",
    )
    counts = []
    run_study([changed], out, quick, lambda done, total, what: counts.append(total))
    assert counts[0] == VERSIONS


def test_other_images_and_draws_are_other_measurements(
    judged: Path, table: Path, tmp_path: Path
) -> None:
    out, counts = tmp_path / "out", []
    shutil.copytree(judged, out)
    run_study(
        [table],
        out,
        Options(images=10**6, draw=1),
        lambda done, total, what: counts.append(total),
    )
    assert counts[0] == 6 * VERSIONS
    rows = read(out / "bibench.csv")
    # The 40 images of draw 0 stay; where more are asked for than there are, all are taken.
    assert {(row["draw"], row["images"]) for row in rows} == {("0", "40"), ("1", "80")}
    # Then the clean images are the test split, which training judged too.
    for row in rows:
        if row["draw"] == "1" and row["corruption"] == "clean":
            wanted = accuracy_of(table.parent / row["run"])
            assert float(row["accuracy"]) == pytest.approx(wanted, abs=1e-6)


def test_damage_is_explained(judged: Path, table: Path, tmp_path: Path, quick: Options) -> None:
    out = tmp_path / "out"
    shutil.copytree(judged, out)
    lines = (out / "bibench.csv").read_text().splitlines()
    lines[4] = lines[4].replace("0.", "zero", 1)
    (out / "bibench.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(BitlensError, match=r"bibench\.csv, line 5: damaged"):
        run_study([table], out, quick)
    (out / "bibench.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BitlensError, match="not written by this bitlens"):
        run_study([table], out, quick)
    with pytest.raises(BitlensError, match="images=0"):
        run_study([table], tmp_path / "other", Options(images=0))


def test_two_settings_tell_sensitivity(
    make_comparison: Callable[..., Path], judged: Path, table: Path, tmp_path: Path, quick: Options
) -> None:
    slow = {name: {"method": name, "lr": 0.0001} for name in ("float", "bnn")}
    other = make_comparison(tmp_path / "slow", slow, (0, 1))
    shutil.copytree(judged, tmp_path / "out")
    outcome = run_study([table, other], tmp_path / "out", quick)
    scores = {(s.variant, s.score): s for s in outcome.scores}
    spreads = []
    for seed in (0, 1):
        own, real = (
            [accuracy_of(folder / name / f"seed{seed}") for folder in (table, other)]
            for name in ("bnn", "float")
        )
        assert own[0] != own[1]
        spreads.append(np.std(real, ddof=1) / np.std(own, ddof=1))
    assert scores["bnn", "std_ratio"].mean == pytest.approx(np.mean(spreads))
    assert ("reactnet", "std_ratio") not in scores
    assert any("reactnet was trained under 1 of 2" in told for told in outcome.left_out)
    # The task score is over both settings: the mean of their ratios, as there is one data set.
    tasks = [
        np.mean(
            [
                accuracy_of(f / "bnn" / f"seed{s}") / accuracy_of(f / "float" / f"seed{s}")
                for f in (table, other)
            ]
        )
        for s in (0, 1)
    ]
    assert scores["bnn", "OM_task"].mean == pytest.approx(np.mean(tasks))


def test_two_nets_tell_architecture(
    make_comparison: Callable[..., Path], judged: Path, table: Path, tmp_path: Path, quick: Options
) -> None:
    net = "resnet8-bireal-poolpad"
    variants = {name: {"method": name, "model": net, "epochs": 1} for name in ("float", "bnn")}
    other = make_comparison(tmp_path / "resnet", variants, (0,))
    shutil.copytree(judged, tmp_path / "out")
    outcome = run_study([table, other], tmp_path / "out", quick)
    (score,) = [s for s in outcome.scores if (s.variant, s.score) == ("bnn", "OM_arch")]
    ratios = [
        accuracy_of(f / "bnn" / "seed0") / accuracy_of(f / "float" / "seed0")
        for f in (table, other)
    ]
    assert score.mean == pytest.approx(math.sqrt((ratios[0] ** 2 + ratios[1] ** 2) / 2))
    # Seed 1 was trained on one of the nets only.
    assert score.n == 1 and score.sd is None and score.over == f"mlp, {net}"
    assert any("bnn: only the seeds" in told and "1 of 2" in told for told in outcome.left_out)


def accuracy_of(run: Path) -> float:
    return json.loads((run / "summary.json").read_text())["test_accuracy"]


def test_costs_of_a_comparison_bring_hardware_and_paired_times(
    judged: Path, table: Path, tmp_path: Path, quick: Options
) -> None:
    folder, out = tmp_path / "table", tmp_path / "out"
    shutil.copytree(table, folder)
    shutil.copytree(judged, out)
    given = {
        "method": "bnn", "step_ratio": "1.25", "cmim_step_ratio": "1.6", "float_bytes": "9000",
        "file_bytes": "1000", "torch_ratio": "14", "onnxruntime_ratio": "12",
    }  # fmt: skip
    write_costs(folder, {"bnn": {name: given.get(name, "") for name in COLUMNS}})
    outcome = run_study([folder], out, quick)
    scores = {(s.variant, s.score): s for s in outcome.scores}
    assert scores["bnn", "T_ratio"].mean == pytest.approx(0.8)
    assert scores["bnn", "T_ratio"].sd is None and scores["bnn", "T_ratio"].n == 0
    assert scores["bnn", "r_t"].mean == 12 and scores["bnn", "r_s"].mean == 9
    assert scores["bnn", "OM_hw"].mean == pytest.approx(math.sqrt((144 + 81) / 2))
    assert scores["bnn", "r_t"].over == "packed nets, one image on one thread"
    assert scores["reactnet", "T_ratio"].over == "step times of the runs"
    assert any("Hardware (OM_hw) of reactnet" in told for told in outcome.left_out)
