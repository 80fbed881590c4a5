"""Means, spreads and intervals against numbers by hand and scipy's own paired test."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import scipy.stats

from bitlens.errors import BitlensError
from bitlens.studies.method_table.rows import aggregate

Row = dict[str, str]


def test_one_row_a_method_in_the_usual_order(some_runs: list[Row]) -> None:
    (table,) = aggregate(some_runs[::-1], []).values()
    assert [row.method for row in table.rows] == ["float", "bnn", "irnet"]
    assert [row.method for row in table.methods] == ["bnn", "irnet"]
    assert table.data == "cifar10" and table.budget["epochs"] == "2"


def test_means_and_spreads_by_hand(some_runs: list[Row]) -> None:
    float_net, bnn, irnet = aggregate(some_runs, [])["cifar10"].rows
    assert bnn.accuracy and bnn.accuracy_cmim and irnet.accuracy_cmim
    assert (bnn.accuracy.n, bnn.accuracy.mean) == (3, pytest.approx(0.38))
    assert bnn.accuracy.sd == pytest.approx(0.01)
    assert bnn.accuracy_cmim.mean == pytest.approx(0.39)
    assert irnet.accuracy_cmim.n == 2
    assert float_net.accuracy_cmim is None and float_net.gain is None
    assert bnn.against_bnn is None
    # Differences 0.01, 0.015, 0.005: mean 0.01, sd 0.005, t(0.975, 2) = 4.302653.
    half = 4.302653 * 0.005 / 3**0.5
    assert bnn.gain and bnn.gain.n == 3
    assert bnn.gain.mean == pytest.approx(0.01)
    assert (bnn.gain.low, bnn.gain.high) == pytest.approx((0.01 - half, 0.01 + half), abs=1e-8)


def test_intervals_are_those_of_scipys_paired_test(some_runs: list[Row]) -> None:
    float_net, bnn, irnet = aggregate(some_runs, [])["cifar10"].rows
    for found, a, b in (
        (bnn.gain, bnn.cmim, bnn.plain),
        (irnet.gain, irnet.cmim, irnet.plain),
        (irnet.against_bnn, irnet.plain, bnn.plain),
        (float_net.against_bnn, float_net.plain, bnn.plain),
    ):
        common = sorted(a.keys() & b.keys())
        tested = scipy.stats.ttest_rel([a[s] for s in common], [b[s] for s in common])
        interval = tested.confidence_interval(0.95)
        assert found is not None and found.n == len(common)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_differences_are_taken_seed_by_seed(run: Callable[..., Row]) -> None:
    """Seeds that only one side has do not count, though they count for its mean."""
    runs = [run("bnn", 0, 0.30), run("bnn", 1, 0.50), run("irnet", 1, 0.60), run("irnet", 2, 0.10)]
    _, irnet = aggregate(runs, [])["cifar10"].rows
    assert irnet.against_bnn and (irnet.against_bnn.n, irnet.against_bnn.low) == (1, None)
    assert irnet.against_bnn.mean == pytest.approx(0.10)
    assert irnet.accuracy and irnet.accuracy.mean == pytest.approx(0.35)


def test_some_methods_alone_and_none_of_bnn(run: Callable[..., Row]) -> None:
    runs = [run("irnet", 0, 0.4), run("my.module:MINE", 0, 0.5), run("irnet", 0, 0.4, "cmim")]
    first, last = aggregate(runs, [])["cifar10"].rows
    assert (first.method, last.method) == ("irnet", "my.module:MINE")
    assert first.against_bnn is None and last.accuracy_cmim is None and last.costs is None


def test_costs_belong_to_their_data_set(
    some_runs: list[Row], cost: Callable[..., Row], run: Callable[..., Row]
) -> None:
    elsewhere = [run("bnn", 0, 0.8, data="fashion-mnist", epochs="1")]
    costs = [cost("bnn"), cost("bnn", data="fashion-mnist", file_bytes="29364")]
    tables = aggregate([*some_runs, *elsewhere], costs)
    assert list(tables) == ["cifar10", "fashion-mnist"]
    _, bnn, irnet = tables["cifar10"].rows
    assert bnn.number("file_bytes") == 30076 and irnet.number("file_bytes") is None
    assert bnn.smaller == pytest.approx(301672 / 30076)
    assert tables["fashion-mnist"].rows[0].number("file_bytes") == 29364
    assert bnn.number("why_runtime") is None


def test_budgets_are_never_mixed(run: Callable[..., Row]) -> None:
    runs = [run("bnn", 0, 0.3), run("irnet", 0, 0.4, epochs="20")]
    with pytest.raises(
        BitlensError, match="cifar10: runs of different budgets: epochs is 2 and 20"
    ):
        aggregate(runs, [])


def test_devices_are_never_mixed_and_commits_are_listed(run: Callable[..., Row]) -> None:
    runs = [run("bnn", 0, 0.3), run("irnet", 0, 0.4, commit="0ther"), run("irnet", 1, 0.4)]
    assert aggregate(runs, [])["cifar10"].budget["commit"] == "0ther, abc123def"
    with pytest.raises(BitlensError, match="device is a GPU and cpu"):
        aggregate([*runs, run("bnn", 1, 0.3, device="a GPU")], [])


def test_what_the_table_does_not_hold(run: Callable[..., Row]) -> None:
    with pytest.raises(BitlensError, match="two runs of bnn from seed 0"):
        aggregate([run("bnn", 0, 0.3), run("bnn", 0, 0.3)], [])
    with pytest.raises(BitlensError, match="objective 'crd'; the method table holds"):
        aggregate([run("bnn", 0, 0.3, "crd")], [])
