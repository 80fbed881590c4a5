"""A reading says what its parts say, in plain values, for every odd sample too."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.errors import BitlensError
from bitlens.information.codes import Codes, hash_rows, pack_rows
from bitlens.information.measure import entropy
from bitlens.information.mutual import mutual_information, permutation_z
from bitlens.information.reading import Reading, read_codes

FIELDS = (
    "units", "levels", "samples", "classes", "distinct", "entropy", "information", "entropy_cwj",
    "information_cwj", "entropy_nsb", "information_nsb", "entropy_low", "entropy_high",
    "information_low", "information_high", "collision_entropy", "log2_samples", "label_entropy",
    "singleton_share", "doubling_gain", "permutation_z", "reading", "flag",
)  # fmt: skip


def sample(
    samples: int, units: int, classes: int, seed: int = 0, p: float = 0.5
) -> tuple[Codes, np.ndarray]:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, samples)
    bits = draw.random((samples, units)) < np.where(labels[:, None] % 2, p, 0.5)
    return Codes(hash_rows(pack_rows(bits)), units), labels


def test_a_reading_is_made_of_its_measures() -> None:
    codes, labels = sample(2000, 7, 3, p=0.3)
    counts = np.unique(codes.hashes, return_counts=True)[1]
    reading = read_codes(codes, labels, seed=3)
    assert (reading.units, reading.levels, reading.samples, reading.classes) == (7, 2, 2000, 3)
    assert reading.distinct == len(counts)
    assert reading.entropy == entropy(counts)
    assert reading.information == mutual_information(codes, labels)
    for name, method in (("cwj", "chao-wang-jost"), ("nsb", "nsb")):
        assert getattr(reading, f"entropy_{name}") == pytest.approx(entropy(counts, method, 128))
        expected = mutual_information(codes, labels, method)
        assert getattr(reading, f"information_{name}") == pytest.approx(expected, abs=1e-9)
    assert reading.collision_entropy == entropy(counts, "renyi2")
    assert reading.log2_samples == math.log2(2000)
    assert reading.label_entropy == entropy(np.bincount(labels))
    assert reading.singleton_share == (counts == 1).sum() / 2000
    assert reading.doubling_gain == pytest.approx(entropy(counts, "half-sample") - entropy(counts))
    information_gain = mutual_information(codes, labels, "half-sample") - reading.information
    assert reading.information_gain_doubling == pytest.approx(information_gain, abs=1e-9)
    assert reading.permutation_z == permutation_z(codes, labels, seed=3)[0]
    assert reading.reading == "sample"


def test_all_that_others_rely_on_is_there() -> None:
    assert set(FIELDS) <= {field.name for field in dataclasses.fields(Reading)}


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_any_sample_gives_plain_values_in_order(seed: int) -> None:
    draw = np.random.default_rng(seed)
    units = int(draw.choice([1, 2, 5, 12, 64, 1023, 1024, 1500]))
    samples = int(draw.integers(1, 80))
    pool = draw.random((int(draw.integers(1, 80)), units)) < draw.random()
    labels = draw.integers(0, draw.integers(1, 5), samples)
    codes = Codes(hash_rows(pack_rows(pool[draw.integers(0, len(pool), samples)])), units)
    reading = read_codes(codes, labels, permutations=int(draw.choice([0, 3])))
    assert json.loads(json.dumps(reading.as_dict(), allow_nan=False)) == reading.as_dict()
    assert 0 <= reading.entropy_low <= reading.entropy_high <= units
    ceiling = min(units, math.log2(reading.classes))
    assert 0 <= reading.information_low <= reading.information_high <= ceiling
    assert 0 <= reading.entropy <= reading.log2_samples + 1e-9
    assert 0 <= reading.information <= min(reading.entropy, reading.label_entropy) + 1e-9


def test_twelve_fair_bits_and_ten_labels_are_corrected() -> None:
    codes, labels = sample(60_000, 12, 10)
    reading = read_codes(codes, labels, permutations=0)
    assert reading.flag == "corrected"
    assert reading.information > 0.4
    assert reading.information_low == 0
    assert reading.information_high < 0.05
    assert reading.entropy_low < 12 <= reading.entropy_high


def test_few_units_are_reliable_as_they_are() -> None:
    codes, labels = sample(20_000, 4, 2, p=0.2)
    reading = read_codes(codes, labels)
    assert reading.flag == "reliable"
    assert reading.information == pytest.approx(reading.information_cwj, abs=0.003)
    assert reading.permutation_z is not None
    assert reading.permutation_z > 100


def test_a_wide_layer_is_saturated_and_says_nothing_of_the_population() -> None:
    codes, labels = sample(1000, 200, 10)
    reading = read_codes(codes, labels)
    assert reading.flag == "saturated"
    assert reading.entropy == pytest.approx(math.log2(1000))
    assert reading.information == pytest.approx(reading.label_entropy)
    assert (reading.entropy_nsb, reading.information_nsb, reading.collision_entropy) == (
        None,
        None,
        None,
    )
    assert reading.permutation_z == 0
    assert (reading.entropy_low, reading.entropy_high) == (reading.entropy, 200)
    assert (reading.information_low, reading.information_high) == (0, math.log2(10))


def test_between_the_two_a_reading_is_unreliable() -> None:
    codes, labels = sample(1000, 11, 2)
    assert read_codes(codes, labels, permutations=0).flag == "unreliable"


def test_a_whole_population_is_read_as_it_is() -> None:
    words = (np.arange(4096)[:, None] >> np.arange(12)) & 1
    labels = (words.sum(1) > 6).astype(int)
    codes = Codes(hash_rows(pack_rows(words[:, :5])), 5)
    reading = read_codes(codes, labels, population=True)
    assert (reading.reading, reading.flag) == ("population", "reliable")
    assert reading.entropy_low == reading.entropy == reading.entropy_high == pytest.approx(5)
    assert reading.information_low == reading.information == reading.information_high
    whole = Codes(hash_rows(pack_rows(words)), 12)
    assert read_codes(whole, labels, population=True).flag == "saturated"


def test_a_wide_layer_with_few_codes_has_an_infinite_support() -> None:
    draw = np.random.default_rng(0)
    pool = draw.random((5, 1500)) < 0.5
    labels = draw.integers(0, 2, 3000)
    codes = Codes(hash_rows(pack_rows(pool[draw.integers(0, 5, 3000)])), 1500)
    reading = read_codes(codes, labels)
    assert reading.flag == "reliable"
    assert reading.entropy_nsb == pytest.approx(math.log2(5), abs=0.02)


def test_a_label_that_occurs_once_does_not_spoil_the_rest() -> None:
    codes, labels = sample(4000, 4, 2)
    labels[0] = 9
    reading = read_codes(codes, labels)
    assert (reading.classes, reading.flag) == (3, "reliable")
    assert reading.information_nsb is not None


def test_more_levels_mean_more_room() -> None:
    draw = np.random.default_rng(0)
    codes = Codes(draw.integers(0, 30, 3000).astype(np.uint64), 1, levels=30)
    reading = read_codes(codes, draw.integers(0, 2, 3000))
    assert reading.levels == 30
    assert reading.entropy_high <= math.log2(30) + 1e-12
    assert reading.entropy_nsb == pytest.approx(math.log2(30), abs=0.01)


def test_no_permutations_no_z() -> None:
    codes, labels = sample(100, 3, 2)
    assert read_codes(codes, labels, permutations=0).permutation_z is None
    with pytest.raises(BitlensError, match="permutations=1"):
        read_codes(codes, labels, permutations=1)


def test_a_reading_is_the_same_every_time() -> None:
    codes, labels = sample(500, 8, 3)
    assert read_codes(codes, labels) == read_codes(codes, labels)


def test_codes_must_know_their_width() -> None:
    with pytest.raises(BitlensError, match="not ndarray"):
        read_codes(np.arange(4), np.arange(4))
    with pytest.raises(BitlensError, match="labels 3"):
        read_codes(Codes(np.arange(4, dtype=np.uint64), 2), np.arange(3))


def test_readers_of_readings_need_no_torch() -> None:
    modules = ("reading", "trust", "mutual", "measure", "interval", "contingency", "entropies.nsb")
    names = ", ".join(f"bitlens.information.{module}" for module in modules)
    check = f"import sys, {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
