"""Every figure of the Markdown stands where it belongs; what is missing is a dash, not a number."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bitlens.studies.method_table.page import figures_page, full_page, outcome, short_page
from bitlens.studies.method_table.rows import aggregate

Row = dict[str, str]


def cells(page: str, method: str) -> list[list[str]]:
    """Cells of all lines of a method, its name left out."""
    lines = [line for line in page.splitlines() if line.startswith(f"| `{method}` |")]
    return [[cell.strip() for cell in line.strip("|").split("|")][1:] for line in lines]


def headers(page: str) -> list[list[str]]:
    lines = [line for line in page.splitlines() if line.startswith("| method |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture
def costs(cost: Callable[..., Row]) -> list[Row]:
    nothing = ("file_bytes", "packed_ms", "torch_ratio", "torch_low", "torch_high", "rounds")
    empty = dict.fromkeys((*nothing, "onnxruntime_ratio", "kernel"), "")
    runtime = cost("irnet", deploy="runtime", why_runtime="a mean is subtracted", **empty)
    return [cost("bnn"), runtime]


def test_both_tables_of_a_data_set(some_runs: list[Row], costs: list[Row]) -> None:
    page = full_page(aggregate(some_runs, costs)["cifar10"])
    assert page.startswith(
        "cifar10: resnet8-bireal-poolpad, 2 epochs of 12,500 images, test split, 1 thread of some CPU, "
        "device cpu, torch 2.13.0+cpu, bitlens at abc123def\n"
    )
    first, second = headers(page)
    assert first[1:3] == ["n", "accuracy, %"] and second[0] == "method"
    assert second[2] == "step with CMIM, float = 1 (95 % CI)"
    accuracy, shipped = cells(page, "bnn")
    assert accuracy == ["3", "38.00 ± 1.00", "39.00 ± 0.50", "+1.00 (-0.24 .. +2.24)", "-", "-"]
    assert len(accuracy) + 1 == len(first) and len(shipped) + 1 == len(second)
    assert shipped == [
        *("1.19 (1.10 .. 1.21)", "1.36 (1.29 .. 1.42)", "static", "30,076", "10.0x", "0.035"),
        *("15.71 (15.55 .. 15.90)", "4.96 (4.89 .. 4.98)"),
    ]
    assert cells(page, "float") == [["3", "46.00 ± 0.50", "-", "-", "+8.00 (+6.76 .. +9.24)", "-"]]
    assert "float32" in page and "301,672 bytes" in page and "15 and 40 rounds" in page


def test_a_runtime_method_has_its_reason_and_no_file(
    some_runs: list[Row], costs: list[Row]
) -> None:
    page = full_page(aggregate(some_runs, costs)["cifar10"])
    accuracy, shipped = cells(page, "irnet")
    assert accuracy[0] == "3 / 2" and "ResNet-20 86.5" in accuracy[-1]
    assert shipped[2:] == ["runtime", "-", "-", "-", "-", "-"]
    assert "`irnet` is not packed: a mean is subtracted." in page
    short = short_page(aggregate(some_runs, costs))
    assert cells(short, "irnet")[0][-3:] == ["1.19", "runtime", "runtime"]


def test_a_difference_over_fewer_seeds_says_so(some_runs: list[Row], costs: list[Row]) -> None:
    tables = aggregate(some_runs, costs)
    (first, _), (short,) = (
        cells(page, "irnet") for page in (full_page(tables["cifar10"]), short_page(tables))
    )
    assert first[3].endswith(", n = 2)") and short[1] == first[3]
    assert "n =" not in first[4], "all three plain seeds have a bnn run"
    assert "n =" not in cells(full_page(tables["cifar10"]), "bnn")[0][3]


def test_rows_of_several_commits_name_them_all(
    some_runs: list[Row], cost: Callable[..., Row]
) -> None:
    some_runs[0]["commit"] = "fed321cba"
    costs = [cost("bnn", commit="c0ffee000"), cost("irnet", commit="c0ffee001+")]
    page = full_page(aggregate(some_runs, costs)["cifar10"])
    assert "bitlens at abc123def, fed321cba\n" in page
    assert "bitlens at c0ffee000, c0ffee001+." in page


def test_figures_keep_the_digits_they_were_printed_with() -> None:
    page = figures_page()
    assert "ResNet-34 65.10 |" in page and "ResNet-18 61.40;" in page


def test_runs_without_costs_make_no_half_table(some_runs: list[Row]) -> None:
    page = full_page(aggregate(some_runs, [])["cifar10"])
    assert len(headers(page)) == 1 and "None" not in page
    assert cells(short_page(aggregate(some_runs, [])), "bnn")[0][-3:] == ["-", "-", "-"]


def test_the_short_table_joins_data_sets(
    some_runs: list[Row], costs: list[Row], run: Callable[..., Row]
) -> None:
    other = [run("xnor", 0, 0.81, data="fashion-mnist", epochs="1")]
    page = short_page(aggregate([*other, *some_runs], costs))
    (head,) = headers(page)
    assert head[1] == "fashion-mnist, %" and head[3] == "cifar10, %"
    assert cells(page, "xnor") == [["81.00", "-", "-", "-", "-", "-", "-"]]
    assert cells(page, "bnn") == [
        [
            *("-", "-", "38.00 ± 1.00", "+1.00 (-0.24 .. +2.24)"),
            *("1.19", "30,076 (10.0x)", "0.035 (5.0x)"),
        ]
    ]
    assert cells(page, "float")[0][-3:] == ["1", "301,672", "-"]


def test_published_figures_stand_only_where_their_data_does(
    some_runs: list[Row], run: Callable[..., Row]
) -> None:
    fashion = [run("irnet", 0, 0.8, data="fashion-mnist")]
    page = full_page(aggregate(fashion, [])["fashion-mnist"])
    assert "published" not in page and "86.5" not in page
    more = [*some_runs, run("bireal", 0, 0.4)]
    (bireal,) = cells(full_page(aggregate(more, [])["cifar10"]), "bireal")
    assert bireal[-1] == "on ImageNet: ResNet-18 56.4; ResNet-34 62.2"
    assert "| `irnet` | cifar10 | ResNet-20 86.5; " in figures_page()


def test_the_sentence_counts_what_intervals_tell(run: Callable[..., Row]) -> None:
    def pair(method: str, gains: tuple[float, ...]) -> list[Row]:
        made = [run(method, seed, 0.4) for seed in range(3)]
        return made + [run(method, s, 0.4 + gain, "cmim") for s, gain in enumerate(gains)]

    runs = [
        *pair("bnn", (0.02, 0.021, 0.019)),
        *pair("irnet", (-0.02, -0.021, -0.019)),
        *pair("xnor", (-0.02, 0.02, 0.01)),
        *pair("recu", (0.01,)),
    ]
    said = outcome(aggregate(runs, [])["cifar10"])
    assert said.startswith(
        "With CMIM 1 of 3 methods on cifar10 are better, 1 worse, and 1 show no difference. Against"
    )
    assert outcome(aggregate([run("bnn", 0, 0.3)], [])["cifar10"]) == ""
