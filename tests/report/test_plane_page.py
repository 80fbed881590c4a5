"""The section of the plane on the page, its tables, its warnings and its line in the terminal."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from html import escape
from pathlib import Path
from types import SimpleNamespace

import pytest

from bitlens.report.notes import warnings
from bitlens.report.page import compose
from bitlens.report.plane_section import plane_section
from bitlens.report.plane_tables import final_table, flag_shares
from bitlens.report.runs import Comparison
from bitlens.report.standings import gather
from bitlens.report.terminal import plane_line

Write = Callable[..., Path]
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;{x}"


@pytest.fixture
def compared(comparison_folder: Write, plane_tools: SimpleNamespace) -> Comparison:
    folder = comparison_folder(
        {"plain": {0: 0.7, 1: 0.8}, "cmim": {0: 0.71, 1: 0.82}}, plain={"objective": "none"}
    )
    for name, shift in (("plain", 0.0), ("cmim", -0.5)):
        for seed in (0, 1):
            rows = plane_tools.paths(8, seed, first_saturated=2)
            for layers in rows.values():
                for layer in list(layers)[2:]:
                    layers[layer]["entropy"] += shift * (1 + 0.2 * seed)
            plane_tools.plane(folder / name / f"seed{seed}", rows)
    return gather([folder])


def cells(markup: str) -> list[list[str]]:
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", markup)
    return [
        [re.sub("<[^>]*>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", r)]
        for r in rows
    ]


def test_a_report_without_planes_has_no_section(run_folder: Write) -> None:
    comparison = gather([run_folder()])
    assert plane_section(comparison) == ""
    page = compose(comparison)
    assert "Information plane" not in page.split("<script>")[0]
    assert 'href="#plane"' not in page


def test_the_section_says_what_was_measured(compared: Comparison) -> None:
    page = compose(compared).split("<script>")[0]
    assert 'href="#plane"' in page
    assert '<section id="plane">' in page
    assert "n = 2 seeds, N = 1,024 samples, test split" in page
    assert "Read-out: signs. Exact on these N samples; as an estimate" in page
    assert page.count('class="plane-bar"') == 1


def test_population_exact_planes_are_called_so(
    run_folder: Write, plane_tools: SimpleNamespace
) -> None:
    folder, rows = run_folder(), plane_tools.paths(2)
    for layers in rows.values():
        for reading in layers.values():
            reading["reading"] = "population"
    plane_tools.plane(folder, rows)
    told = plane_section(gather([folder]))
    assert "The samples are all inputs there are" in told
    assert "Exact on these N samples" not in told


def test_the_bar_offers_steps_seeds_and_layers(compared: Comparison) -> None:
    section = plane_section(compared)
    steps = re.search(r'data-steps="([^"]*)"', section)
    assert steps is not None
    assert json.loads(steps[1]) == [0, 1, 3, 10, 30, 100, 300, 1000]
    assert re.findall(r'data-layer="([^"]*)"', section) == [f"l{i}" for i in range(8)]
    assert re.findall(r"<option value=\"(\w+)\"", section) == [
        "sample",
        "estimate",
        "mean",
        "0",
        "1",
    ]
    assert 'min="0" max="7" value="7"' in section


def test_final_differences_are_paired_by_seed(compared: Comparison) -> None:
    rows = {(row[0], row[1]): row[2:] for row in cells(final_table(compared)) if row}
    last = [run.plane.values("l4", "entropy")[-1] for run in compared.variants["cmim"] if run.plane]
    assert rows["l4", "cmim"][1].startswith(f"{sum(last) / 2:.2f} ± ")
    # Differences -.5 and -.6: mean -.55, half width 12.706 * .0707 / sqrt 2 = .635.
    assert rows["l4", "cmim"][2] == "-0.55 (-1.19 .. +0.09)"
    assert rows["l4", "plain"][2] == "baseline"
    assert rows["l4", "cmim"][4] == "0.00 (0.00 .. 0.00)"


def test_saturated_layers_get_no_difference_and_are_folded(compared: Comparison) -> None:
    markup = final_table(compared)
    open_part, folded = markup.split("<details>")
    assert "2 layers saturated at the end in every variant" in folded
    assert "l0" not in open_part
    rows = {(row[0], row[1]): row[2:] for row in cells(folded) if row}
    assert rows["l0", "cmim"] == ["100 % saturated", *["at its ceiling", "-"] * 2]


@pytest.mark.parametrize(
    ("probe", "told"), [({"digest": "d2"}, "other probe"), ({"split": "train"}, "other probe")]
)
def test_planes_of_different_samples_are_not_subtracted(
    compared: Comparison, plane_tools: SimpleNamespace, probe: dict[str, str], told: str
) -> None:
    for run in compared.variants["cmim"]:
        plane_tools.plane(run.path, plane_tools.paths(8, first_saturated=2), **probe)
    again = gather([compared.runs[0].path.parents[1]])
    rows = {(row[0], row[1]): row[2:] for row in cells(final_table(again)) if row}
    assert rows["l4", "cmim"][2] == told
    assert any("measured on different samples" in note for note in warnings(again))


def test_shares_by_flag(run_folder: Write, plane_tools: SimpleNamespace) -> None:
    folder, reading = run_folder(), plane_tools.reading
    flags = ["saturated", "unreliable", "corrected", "reliable", "reliable"]
    rows = {step: {"a": reading(5, 1, flag)} for step, flag in enumerate(flags)}
    plane_tools.plane(folder, rows)
    shares = flag_shares(gather([folder]).runs, "a")
    assert shares == {"reliable": 0.4, "corrected": 0.2, "unreliable": 0.2, "saturated": 0.2}


def test_saturated_layers_are_a_reason_for_care(compared: Comparison) -> None:
    notes = [note for note in warnings(compared) if "saturated" in note]
    assert [note.split(":")[0] for note in notes] == ["plain", "cmim"]
    assert "2 of 8 layers are saturated at every measured step (l0, l1)" in notes[0]
    assert "nothing about the net" in notes[0]


def test_unreliable_missing_and_torn_are_told(
    run_folder: Write, plane_tools: SimpleNamespace
) -> None:
    folders = [run_folder("a", seed=0), run_folder("b", seed=1)]
    rows = {step: {"a": plane_tools.reading(8, 1, "unreliable")} for step in range(3)}
    plane_tools.plane(folders[0], rows, torn='{"st')
    missing, torn, weak = warnings(gather(folders))
    assert "no information plane was measured for seed 1" in missing
    assert "seed 0: the last line of plane.jsonl is cut off" in torn
    assert "most points of a are saturated or unreliable" in weak


def test_sound_planes_give_no_warning(run_folder: Write, plane_tools: SimpleNamespace) -> None:
    folder = run_folder()
    plane_tools.plane(folder, plane_tools.paths(4))
    assert warnings(gather([folder])) == []


def test_hostile_names_stay_text(run_folder: Write, plane_tools: SimpleNamespace) -> None:
    folder = run_folder()
    rows = {
        step: {HOSTILE: layers["l0"], "b": layers["l1"]}
        for step, layers in plane_tools.paths(2).items()
    }
    plane_tools.plane(folder, rows, split=HOSTILE)
    section = plane_section(gather([folder]))
    assert "<img" not in section
    assert "<script>" not in section
    assert escape(HOSTILE) in section
    figures = [json.loads(t) for t in re.findall(r'json">(.*?)</script>', section)]
    labels = [t["meta"]["label"] for t in figures[0]["data"] if "label" in t.get("meta", {})]
    assert labels == [escape(HOSTILE), "b"]


def test_no_torch_is_loaded_for_it(
    run_folder: Write, plane_tools: SimpleNamespace, tmp_path: Path
) -> None:
    folder = run_folder()
    plane_tools.plane(folder, plane_tools.paths(4))
    code = "import sys; from pathlib import Path; from bitlens.report.page import write_report;"
    code += f"write_report([Path({str(folder)!r})], Path({str(tmp_path / 'r.html')!r}));"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "r.html").is_file()


def test_an_empty_plane_is_no_plane(run_folder: Write, plane_tools: SimpleNamespace) -> None:
    folder = run_folder()
    file = plane_tools.plane(folder, plane_tools.paths(2))
    file.write_text(file.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    assert plane_section(gather([folder])) == ""


def test_one_step_is_a_plane_without_phases(
    run_folder: Write, plane_tools: SimpleNamespace
) -> None:
    folder = run_folder()
    plane_tools.plane(folder, {0: plane_tools.paths(4)[0]})
    section = plane_section(gather([folder]))
    assert "Where the layers end" in section
    assert "Fit and compression" not in section


def test_the_terminal_line(plane_tools: SimpleNamespace) -> None:
    layers = {
        "stem": plane_tools.reading(10.0, 2.0, "saturated"),
        "l2": plane_tools.reading(9.06, 1.849, "unreliable"),
        "prediction": plane_tools.reading(1.9, 1.6),
    }
    assert plane_line({"step": 120, "layers": layers}) == (
        "plane @120  stem 10.0/2.00 (saturated)  l2 9.1/1.85 (unreliable)  prediction 1.9/1.60 bits"
    )
