"""Reading plane.jsonl: what is right comes back unchanged, what is wrong is named with its line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bitlens.errors import BitlensError
from bitlens.report.plane import read_plane
from bitlens.report.runs import read_run


@pytest.fixture
def two_layers(plane_tools: SimpleNamespace) -> dict[int, dict]:
    reading = plane_tools.reading
    return {
        0: {"a": reading(9.5, 0.5, "unreliable"), "b": reading(3.0, 0.1)},
        7: {"a": reading(9.99, 1.9, "saturated"), "b": reading(2.5, 1.0, entropy_nsb=2.6)},
    }


def edit(file: Path, line: int, **fields: Any) -> None:
    """Change layer b's reading in a line, counted from 1."""
    lines = file.read_text(encoding="utf-8").splitlines()
    content = json.loads(lines[line - 1])
    content["layers"]["b"] |= fields
    lines[line - 1] = json.dumps(content)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_plane_comes_back_as_it_was_written(
    plane_tools: SimpleNamespace, two_layers: dict[int, dict], tmp_path: Path
) -> None:
    plane = read_plane(plane_tools.plane(tmp_path, two_layers))
    assert plane is not None
    assert (plane.layers, plane.steps, plane.samples, plane.torn) == (
        ("a", "b"),
        [0, 7],
        1024,
        False,
    )
    assert plane.probe["digest"] == "d1"
    assert plane.readouts == {"a": "signs", "b": "signs"}
    assert plane.readings("b") == [two_layers[0]["b"], two_layers[7]["b"]]
    assert plane.values("b", "entropy_nsb") == [None, 2.6]


def test_a_run_without_a_plane_has_none(run_folder: Any, tmp_path: Path) -> None:
    assert read_run(run_folder()).plane is None
    assert read_plane(tmp_path / "plane.jsonl") is None


@pytest.mark.parametrize("content", ["", "\n", '{"schema": 1, "pro'])
def test_a_file_without_a_whole_first_line_is_no_plane_yet(content: str, tmp_path: Path) -> None:
    file = tmp_path / "plane.jsonl"
    file.write_text(content, encoding="utf-8")
    assert read_plane(file) is None


def test_a_torn_last_line_is_forgiven_and_told(
    plane_tools: SimpleNamespace, two_layers: dict[int, dict], tmp_path: Path
) -> None:
    plane = read_plane(
        plane_tools.plane(tmp_path, two_layers, torn='{"schema": 1, "step": 20, "la')
    )
    assert plane is not None
    assert (plane.steps, plane.torn) == ([0, 7], True)


def test_a_resumed_run_counts_the_later_row_and_a_second_equal_header(
    plane_tools: SimpleNamespace, two_layers: dict[int, dict], tmp_path: Path
) -> None:
    file = plane_tools.plane(tmp_path, two_layers)
    first, _, again = file.read_text(encoding="utf-8").splitlines()
    row = json.loads(again)
    row["layers"]["b"]["information"] = 0.75
    with file.open("a", encoding="utf-8") as stream:
        stream.write(f"{first}\n{json.dumps(row)}\n")
    plane = read_plane(file)
    assert plane is not None
    assert plane.values("b", "information") == [0.1, 0.75]


def test_another_probe_in_one_file_is_refused(
    plane_tools: SimpleNamespace, two_layers: dict[int, dict], tmp_path: Path
) -> None:
    file = plane_tools.plane(tmp_path, two_layers)
    first = json.loads(file.read_text(encoding="utf-8").splitlines()[0])
    first["probe"]["digest"] = "d2"
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(first) + "\n")
    with pytest.raises(BitlensError, match=r"plane\.jsonl, line 4: 'probe' is not what the first"):
        read_plane(file)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"entropy": 10.01}, r"entropy is 10\.01 bits, outside 0 \.\. 10,"),
        ({"units": 2}, r"entropy is 2\.5 bits, outside 0 \.\. 2,"),
        ({"information": 2.5}, r"information is 2\.5 bits, outside 0 \.\. 2, the labels' entropy"),
        ({"entropy": 0.5}, r"information is 1 bits, outside 0 \.\. 0\.5, the layer's entropy"),
        ({"information": -0.1}, r"outside 0 \.\. 2"),
        ({"entropy": math.nan}, "entropy is nan; a finite number"),
        ({"entropy_cwj": math.inf}, "entropy_cwj is inf; a finite number"),
        ({"entropy": None}, "'entropy' should be of type float, not None"),
        ({"permutation_z": "high"}, "'permutation_z' should be of type float"),
        ({"levels": 0}, "levels is 0, at least 1"),
        ({"flag": "relaible"}, r"unknown flag in .* 'relaible'; did you mean reliable"),
        ({"reading": "exact"}, "unknown reading in"),
        ({"samples": 512}, "measured on 512 samples, the probe has 1024"),
    ],
)
def test_a_damaged_reading_is_named_with_file_line_and_layer(
    plane_tools: SimpleNamespace,
    two_layers: dict[int, dict],
    tmp_path: Path,
    fields: dict[str, Any],
    told: str,
) -> None:
    file = plane_tools.plane(tmp_path, two_layers)
    edit(file, 3, **fields)
    with pytest.raises(BitlensError, match=told) as caught:
        read_plane(file)
    assert "plane.jsonl, line 3" in str(caught.value)
    assert "b" in str(caught.value)


def test_rounding_past_a_ceiling_is_no_damage(
    plane_tools: SimpleNamespace, two_layers: dict[int, dict], tmp_path: Path
) -> None:
    two_layers[0]["a"] |= {"entropy": 10 + 1e-12, "information": 2 + 1e-12, "flag": "saturated"}
    two_layers[0]["b"] |= {"information": -1e-15}
    plane = read_plane(plane_tools.plane(tmp_path, two_layers))
    assert plane is not None
    assert plane.steps == [0, 7]


def test_lines_are_counted_as_an_editor_counts_them(
    plane_tools: SimpleNamespace, two_layers: dict[int, dict], tmp_path: Path
) -> None:
    file = plane_tools.plane(tmp_path, two_layers)
    lines = file.read_text(encoding="utf-8").splitlines()
    lines[2] = lines[2].replace('"step": 7', '"step": -7')
    file.write_text("\n\n".join(lines), encoding="utf-8")
    with pytest.raises(BitlensError, match=r"line 5: step is -7"):
        read_plane(file)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[]", "line 2: should be an object"),
        ('{"schema": 1, "step": 3}', "line 2 has no 'epoch'"),
        (
            '{"step": 3, "epoch": 0, "layers": {"a": {}, "b": {}, "c": {}}}',
            "unknown layer in .*'c'",
        ),
        ('{"step": 3, "epoch": 0, "layers": {"a": {}}}', "line 2, a has no 'units'"),
        ('{"step": 3, "epo', "damaged JSON in .*line 2"),
    ],
)
def test_a_damaged_line_in_the_middle(
    plane_tools: SimpleNamespace,
    two_layers: dict[int, dict],
    tmp_path: Path,
    line: str,
    told: str,
) -> None:
    file = plane_tools.plane(tmp_path, two_layers)
    lines = file.read_text(encoding="utf-8").splitlines()
    lines[1] = line
    file.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(BitlensError, match=told):
        read_plane(file)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"layers": []}, "should name layers once each"),
        ({"layers": ["a", "a"]}, "should name layers once each"),
        ({"readouts": {"a": "signs"}}, "readouts has no 'b'"),
        ({"probe": {"split": "test", "samples": 0}}, "samples is 0"),
        ({"probe": {"samples": 9}}, "probe has no 'split'"),
        ({"schema": 99}, "upgrade bitlens"),
    ],
)
def test_a_damaged_header(
    plane_tools: SimpleNamespace,
    two_layers: dict[int, dict],
    tmp_path: Path,
    fields: dict[str, Any],
    told: str,
) -> None:
    file = plane_tools.plane(tmp_path, two_layers)
    lines = file.read_text(encoding="utf-8").splitlines()
    lines[0] = json.dumps(json.loads(lines[0]) | fields)
    file.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(BitlensError, match=told):
        read_plane(file)
