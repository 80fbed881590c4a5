"""The page: complete in itself, safe with any text, and it hides nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bitlens.errors import BitlensError
from bitlens.report.page import write_report

Write = Callable[..., Path]
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;{x}"


class Page(HTMLParser):
    """The elements, the running scripts, the figures' data and the visible text of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.figures: list[dict] = []
        self.text = ""
        self._inside = ("", {})
        self.source = file.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = (tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ("", {})

    def handle_data(self, data: str) -> None:
        tag, attributes = self._inside
        if tag == "script" and attributes.get("type") == "application/json":
            self.figures.append(json.loads(data))
        elif tag == "script":
            self.scripts.append(data)
        elif tag != "style":
            self.text += data

    def attributes(self, name: str) -> list[str]:
        return [
            value
            for _, found in self.elements
            for key, value in found.items()
            if key == name and value is not None
        ]


@pytest.fixture
def compared(comparison_folder: Write, tmp_path: Path) -> Page:
    folder = comparison_folder(
        {
            "demo-plain": {0: 0.70, 1: 0.80, 2: 0.81},
            "demo-cmim": {0: 0.712, 1: 0.811, 2: 0.823},
            "demo-float": {0: 0.9, 1: 0.91},
        },
        demo_plain={"objective": "none"},
        demo_float={"objective": "none", "method": "float"},
        announced={"demo-float": ["demo-float/seed2"]},
    )
    return Page(write_report([folder], tmp_path / "report.html"))


def test_the_page_fetches_nothing(compared: Page) -> None:
    assert not [tag for tag, _ in compared.elements if tag in ("link", "iframe", "object", "base")]
    assert compared.attributes("src") == []
    assert all(target.startswith("#") for target in compared.attributes("href"))
    policy = compared.attributes("content")[-1]
    assert policy.startswith("default-src 'none'")
    style = compared.source.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_names_exactly_the_two_scripts(compared: Page) -> None:
    assert len(compared.scripts) == 2
    policy = compared.attributes("content")[-1]
    for script in compared.scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
        assert f"'sha256-{digest}'" in policy
    assert policy.count("sha256-") == 2
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_the_menu_points_to_sections_that_exist(compared: Page) -> None:
    anchors = set(compared.attributes("id"))
    assert {target.removeprefix("#") for target in compared.attributes("href")} == anchors


def test_verdicts_numbers_and_provenance_are_told(compared: Page) -> None:
    # Differences 1.2, 1.1, 1.3 points: mean 1.2, sd 0.1, half width 4.3027 * 0.1 / sqrt(3).
    sentence = (
        "demo-cmim is better than demo-plain by 1.20 points "
        "(95 % CI +0.95 .. +1.45, n = 3 paired seeds)"
    )
    assert sentence in compared.text
    assert "n = 2 to 3 seeds, 6 epochs, fashion-mnist-mini, test split" in compared.text
    assert "77.00 ± 6.08 %" in compared.text
    assert "demo-float: not started: demo-float/seed2." in compared.text
    assert "cmim.temperature" in compared.text
    assert "AMD EPYC" in compared.text
    assert "fashion-mnist-mini101122000made for tests" in compared.text
    assert "abc1234" in compared.text


def test_layers_are_marked_and_shared_tables_are_not_repeated(compared: Page) -> None:
    assert "demo-plain, demo-cmim: 6 of 8 layers in 1 bit" in compared.text
    assert "demo-float: 0 of 8 layers in 1 bit" in compared.text
    marked = [a for tag, a in compared.elements if tag == "tr" and a.get("class") == "binary"]
    assert len(marked) == 6


def test_the_figures_data_are_in_the_page(compared: Page) -> None:
    # Intervals, dots, accuracy, loss, bound, its layers, flips, entropy, and 2 maps for 2 nets.
    assert len(compared.figures) == 12
    kinds = [trace["type"] for figure in compared.figures for trace in figure["data"]]
    assert kinds.count("heatmap") == 4
    dots = next(
        t
        for f in compared.figures
        for t in f["data"]
        if t["name"] == "demo-cmim" and t.get("customdata") == [0, 1, 2]
    )
    assert dots["x"] == [0.712, 0.811, 0.823]


def test_a_hostile_name_is_text(run_folder: Write, tmp_path: Path) -> None:
    folders = [
        run_folder("a", name=HOSTILE, recipe={"data": HOSTILE}),
        run_folder("b", name="plain", layers=("stem", HOSTILE, "head")),
    ]
    file = folders[0] / "env.json"
    file.write_text(json.dumps({"cpu": HOSTILE, HOSTILE: HOSTILE}), encoding="utf-8")
    page = Page(write_report(folders, tmp_path / "report.html", baseline="plain"))
    assert len(page.scripts) == 2
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert not [key for _, found in page.elements for key in found if key.startswith("on")]
    assert HOSTILE in page.text
    names = [trace.get("name", "") for figure in page.figures for trace in figure["data"]]
    assert not [name for name in names if "<" in name]


def test_an_unfinished_run_is_shown_as_unfinished(run_folder: Write, tmp_path: Path) -> None:
    folders = [run_folder("a", seed=0), run_folder("b", seed=1, done=2)]
    page = Page(write_report(folders, tmp_path / "report.html"))
    assert page.text.count("unfinished: 2 of 6 epochs") == 2
    assert "n = 1" in page.text
    names = [trace.get("name") for figure in page.figures for trace in figure["data"]]
    assert "demo-cmim, seed 1, unfinished" in names


def test_no_epoch_yet(run_folder: Write, tmp_path: Path) -> None:
    page = Page(write_report([run_folder(done=0)], tmp_path / "report.html"))
    assert "no run has finished, so there is no test accuracy yet" in page.text
    assert page.figures == []


def test_a_single_float_run(run_folder: Write, tmp_path: Path) -> None:
    folder = run_folder(name="twin", method="float", objective="none", accuracy=0.75)
    page = Page(write_report([folder], tmp_path / "report.html"))
    assert "twin: 75.00 % test accuracy (n = 1)" in page.text
    assert "No run here was trained with an objective that reports an MI bound." in page.text
    assert "No run here has binary layers." in page.text
    assert len(page.figures) == 2


def test_a_score_is_told_in_title_and_warning(run_folder: Write, tmp_path: Path) -> None:
    page = Page(write_report([run_folder(valid=False)], tmp_path / "report.html"))
    assert "Contrastive score, no MI bound" in page.text
    assert "Mutual information bound over epochs" not in page.text
    assert "is not a bound on mutual information" in page.text


def test_the_same_folders_give_the_same_page(run_folder: Write, tmp_path: Path) -> None:
    folder = run_folder()
    first = write_report([folder], tmp_path / "a.html").read_bytes()
    assert write_report([folder], tmp_path / "deep/er/b.html").read_bytes() == first


def test_a_failed_write_leaves_the_old_report(
    run_folder: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = run_folder(), tmp_path / "out" / "report.html"
    write_report([folder], out)
    before = out.read_bytes()

    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(BitlensError, match="Permission denied"):
        write_report([folder], out)
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]


def test_bad_targets_and_sources(run_folder: Write, tmp_path: Path) -> None:
    with pytest.raises(BitlensError, match="it is a folder"):
        write_report([run_folder()], tmp_path)
    with pytest.raises(BitlensError, match="no such folder"):
        write_report([tmp_path / "nowhere"], tmp_path / "report.html")
