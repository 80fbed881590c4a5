"""I(T;Y) against channels with known answers, other implementations and what must not change it."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from bitlens.errors import BitlensError
from bitlens.information.codes import CodeAccumulator, Codes, hash_rows, hash_signs, pack_rows
from bitlens.information.contingency import Contingency, tabulate
from bitlens.information.counts import Fingerprint
from bitlens.information.entropies import ESTIMATORS
from bitlens.information.measure import entropy
from bitlens.information.mutual import mutual_information, permutation_z, plugin_information

Bits = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int64]
seeds = st.integers(0, 2**32 - 1)


def h(p: float) -> float:
    return 0.0 if p in (0, 1) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def of_table(joint: npt.ArrayLike) -> float:
    """Plug-in information of a table of counts, codes by labels, however large the counts."""
    counts = np.asarray(joint)
    code, label = np.nonzero(counts)
    return plugin_information(
        Contingency(
            codes=counts.sum(1),
            labels=counts.sum(0),
            cells=counts[code, label],
            cell_code=code,
            cell_label=label,
        )
    )


def spread(joint: npt.ArrayLike) -> tuple[Labels, Labels]:
    """Codes and labels of a table of counts, one entry a sample, in random order."""
    counts = np.asarray(joint)
    code, label = np.nonzero(counts)
    order = np.random.default_rng(0).permutation(counts.sum())
    times = counts[code, label]
    return np.repeat(code, times)[order], np.repeat(label, times)[order]


def words(units: int) -> Bits:
    """(2^D, D) all words of D bits."""
    return ((np.arange(1 << units)[:, None] >> np.arange(units)) & 1).astype(bool)


def counted(codes: list[object], labels: list[int]) -> float:
    """I(T;Y) from dictionaries."""
    total = len(labels)
    both, one, other = Counter(zip(codes, labels, strict=True)), Counter(codes), Counter(labels)
    return sum(
        n / total * math.log2(n * total / (one[code] * other[label]))
        for (code, label), n in both.items()
    )


def random_sample(seed: int) -> tuple[Bits, Labels]:
    """A few rows with repeats, of one to three words' width, and a few labels."""
    draw = np.random.default_rng(seed)
    samples, units = int(draw.integers(1, 60)), int(draw.integers(1, 140))
    pool = draw.random((int(draw.integers(1, 30)), units)) < draw.random()
    labels = draw.integers(0, draw.integers(1, 6), samples)
    return pool[draw.integers(0, len(pool), samples)], labels


CHANNELS = {
    "bsc .01": ([[99, 1], [1, 99]], 0.919207),
    "bsc .05": ([[95, 5], [5, 95]], 0.713603),
    "bsc .1": ([[9, 1], [1, 9]], 0.531004),
    "bsc .11": ([[89, 11], [11, 89]], 0.500084),
    "bsc .25": ([[3, 1], [1, 3]], 0.188722),
    "bsc .5": ([[2, 2], [2, 2]], 0.0),
    "erasure .3": ([[7, 0], [3, 3], [0, 7]], 0.7),
    "z .1": ([[10, 1], [0, 9]], 0.758277),
    "z .5": ([[2, 1], [0, 1]], 0.311278),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_with_fair_inputs(name: str) -> None:
    joint, known = CHANNELS[name]
    assert mutual_information(*spread(joint)) == pytest.approx(known, abs=1e-6)
    assert of_table(joint) == pytest.approx(known, abs=1e-6)


@pytest.mark.parametrize(
    ("error", "known"), [(0, 3.321928), (10, 2.53594), (20, 1.966015), (50, 0.736966), (90, 0)]
)
def test_a_symmetric_channel_of_ten_labels(error: int, known: float) -> None:
    # 9 (100 - e) samples keep the label, e go to each of the other nine.
    joint = np.full((10, 10), error) + (9 * (100 - error) - error) * np.eye(10, dtype=np.int64)
    assert mutual_information(*spread(joint)) == pytest.approx(known, abs=1e-6)


@pytest.mark.parametrize(
    ("copies", "known"), [(1, 0.531004), (2, 0.742086), (3, 0.862418), (5, 0.956909), (9, 0.9954)]
)
def test_redundant_units_hold_less_than_their_sum(copies: int, known: float) -> None:
    """A fair label, repeated through a channel that flips one bit in ten."""
    on = words(copies).sum(1)
    weights = [[9 ** (copies - k) * 1, 9**k] for k in on.tolist()]
    assert of_table(weights) == pytest.approx(known, abs=1e-6)
    if copies > 1:
        assert known < copies * 0.531004


def test_independent_copies_of_a_channel_add_up() -> None:
    one = np.array([[9, 1], [1, 9]])
    assert of_table(np.kron(np.kron(one, one), one)) == pytest.approx(3 * 0.531004, abs=3e-6)


@pytest.mark.parametrize("units", [2, 3, 6, 10])
def test_parity_needs_every_unit(units: int) -> None:
    bits = words(units)
    parity = bits.sum(1) % 2
    assert mutual_information(bits, parity) == pytest.approx(1)
    for left_out in range(units):
        rest = np.delete(bits, left_out, axis=1)
        assert mutual_information(rest, parity) == pytest.approx(0, abs=1e-12)


def test_majority_of_three() -> None:
    bits = words(3)
    majority = (bits.sum(1) >= 2).astype(int)
    for units, known in ((1, 0.188722), (2, 0.5), (3, 1.0)):
        assert mutual_information(bits[:, :units], majority) == pytest.approx(known, abs=1e-6)


def test_a_constant_layer_and_one_that_tells_inputs_apart() -> None:
    labels = np.arange(64) % 5
    assert mutual_information(np.zeros((64, 9), bool), labels) == pytest.approx(0, abs=1e-12)
    bits = words(6)
    assert entropy(Codes(hash_rows(pack_rows(bits)), 6)) == pytest.approx(6)
    of_labels = entropy(np.bincount(labels))
    assert mutual_information(bits, labels) == pytest.approx(of_labels)


@pytest.mark.parametrize(
    ("r", "known"),
    [(0.25, 0.018747), (0.5, 0.081704), (0.75, 0.221896), (0.9, 0.406497), (0.99, 0.735)],
)
def test_signs_of_correlated_normals(r: float, known: float) -> None:
    draw, samples = np.random.default_rng(round(100 * r)), 60_000
    x, noise = draw.normal(size=(2, samples))
    y = r * x + math.sqrt(1 - r * r) * noise
    value = mutual_information((x >= 0)[:, None], (y >= 0).astype(int))
    # Standard deviation of the pointwise information: log2 of 2 P(agree) or 2 P(differ).
    agree = 1 - math.acos(r) / math.pi
    assert known == pytest.approx(1 - h(agree), abs=1e-6)
    spread_of_terms = math.sqrt(agree * (1 - agree)) * abs(math.log2(agree / (1 - agree)))
    assert value == pytest.approx(known, abs=4 * spread_of_terms / math.sqrt(samples))


def test_product_codes_converge_to_their_enumerated_information() -> None:
    draw, units, classes, samples = np.random.default_rng(3), 6, 10, 40_000
    theta = 0.5 + 0.2 * draw.choice([-1.0, 1.0], (classes, units))
    table = np.where(words(units)[:, None, :], theta, 1 - theta).prod(2) / classes
    p = table.sum(1)
    truth = -(p @ np.log2(p)) - sum(h(q) for q in theta.reshape(-1)) / classes
    labels = draw.integers(0, classes, samples)
    bits = draw.random((samples, units)) < theta[labels]
    corrected = mutual_information(bits, labels, "chao-wang-jost")
    plain = mutual_information(bits, labels)
    bias = (classes - 1) * ((1 << units) - 1) / (2 * samples * math.log(2))
    assert corrected == pytest.approx(truth, abs=0.02)
    assert plain - corrected == pytest.approx(bias, rel=0.2)


def test_random_codes_tell_any_labels() -> None:
    """The pitfall: once every code is new the plug-in is H(Y), for random labels too."""
    draw = np.random.default_rng(0)
    bits, labels = draw.random((3000, 100)) < 0.5, draw.integers(0, 10, 3000)
    assert mutual_information(bits, labels) == pytest.approx(entropy(np.bincount(labels)))
    z, mean, sd = permutation_z(bits, labels)
    assert (z, sd) == (0, 0)
    assert mean == pytest.approx(entropy(np.bincount(labels)))


@given(seed=seeds)
@settings(max_examples=150, deadline=None)
def test_other_implementations_agree(seed: int) -> None:
    bits, labels = random_sample(seed)
    codes = Codes(hash_rows(pack_rows(bits)), bits.shape[1])
    value = mutual_information(codes, labels)
    by_hand = counted([row.tobytes() for row in bits], labels.tolist())
    assert value == pytest.approx(by_hand, abs=1e-12)
    assert value == pytest.approx(mutual_info_score(codes.ids(), labels) / math.log(2), abs=1e-12)


@given(seed=seeds)
@settings(max_examples=150, deadline=None)
def test_every_way_to_give_codes_gives_one_answer(seed: int) -> None:
    bits, labels = random_sample(seed)
    packed = pack_rows(bits)
    signs = torch.from_numpy(np.where(bits, 1.0, -1.0))
    ways = (
        bits,
        hash_rows(packed),
        hash_rows(packed, 128),
        Codes(hash_rows(packed, 128), bits.shape[1]),
        Codes(hash_signs(signs), bits.shape[1]),
        Codes(hash_rows(packed), bits.shape[1]).ids() - 3,
    )
    values = [mutual_information(codes, labels) for codes in ways]
    assert values == pytest.approx([values[0]] * len(ways), abs=1e-12)


@given(seed=seeds)
@settings(max_examples=150, deadline=None)
def test_what_must_not_matter_does_not(seed: int) -> None:
    bits, labels = random_sample(seed)
    draw = np.random.default_rng(seed)
    samples, units = bits.shape
    order, flips = draw.permutation(samples), draw.random(units) < 0.5
    doubled = np.concatenate([bits, bits[:, draw.integers(0, units, 3)]], axis=1)
    constant = np.concatenate(
        [bits, np.ones((samples, 2), bool), np.zeros((samples, 1), bool)], axis=1
    )
    renamed = draw.choice(10_000, 6, replace=False)[labels] - 5_000
    variants = [
        (bits[:, draw.permutation(units)], labels),
        (bits ^ flips, labels),
        (doubled, labels),
        (constant, labels),
        (bits[order], labels[order]),
        (bits, renamed),
        (bits, labels.astype(np.uint8)),
    ]
    value, whole = (
        mutual_information(bits, labels),
        entropy(np.unique(bits, axis=0, return_counts=True)[1]),
    )
    for changed, names in variants:
        assert mutual_information(changed, names) == pytest.approx(value, abs=1e-12)
        codes = Codes(hash_rows(pack_rows(changed)), changed.shape[1])
        assert entropy(codes) == pytest.approx(whole, abs=1e-12)


@given(seed=seeds)
@settings(max_examples=100, deadline=None)
def test_information_is_bounded_and_the_chain_rule_holds(seed: int) -> None:
    bits, labels = random_sample(seed)
    table = tabulate(bits, labels)
    of_codes, of_labels = entropy(table.codes), entropy(table.labels)
    value = mutual_information(bits, labels)
    assert -1e-12 <= value <= min(of_codes, of_labels) + 1e-12
    inside = sum(
        n / len(labels) * entropy(one)
        for n, one in zip(table.labels, table.per_label(), strict=True)
    )
    assert entropy(table.cells) == pytest.approx(of_labels + inside, abs=1e-12)
    assert value == pytest.approx(of_codes - inside, abs=1e-12)


@given(seed=seeds)
@settings(max_examples=80, deadline=None)
def test_later_layers_never_know_more(seed: int) -> None:
    draw = np.random.default_rng(seed)
    layer, labels = random_sample(seed)
    known, size = math.inf, math.inf
    for units in (9, 5, 3, 1):
        value = mutual_information(layer, labels)
        entropy_now = entropy(Codes(hash_rows(pack_rows(layer)), layer.shape[1]))
        assert value <= known + 1e-12
        assert entropy_now <= size + 1e-12
        known, size = value, entropy_now
        weights = draw.choice([-1.0, 1.0], (layer.shape[1], units))
        layer = np.where(layer, 1.0, -1.0) @ weights >= 0


@given(seed=seeds)
@settings(max_examples=80, deadline=None)
def test_any_split_and_merge_of_the_stream_gives_the_same(seed: int) -> None:
    bits, labels = random_sample(seed)
    draw = np.random.default_rng(seed)
    signs, samples = torch.from_numpy(np.where(bits, 1.0, -1.0)), len(labels)
    parts = [CodeAccumulator() for _ in range(3)]
    order = draw.permutation(samples)
    start = 0
    while start < samples:
        stop = start + int(draw.integers(1, 9))
        places = torch.from_numpy(order[start:stop])
        parts[draw.integers(0, 3)].update(signs[places], places)
        start = stop
    whole = CodeAccumulator()
    for part in draw.permutation(3):
        whole.merge(CodeAccumulator.from_state(parts[part].state()))
    streamed = whole.result()
    assert np.array_equal(streamed.hashes, hash_signs(signs))
    assert mutual_information(streamed, labels) == mutual_information(bits, labels)


@given(seed=seeds)
@settings(max_examples=60, deadline=None)
def test_a_table_counts_every_pair(seed: int) -> None:
    bits, labels = random_sample(seed)
    codes = Codes(hash_rows(pack_rows(bits)), bits.shape[1]).ids()
    table = tabulate(codes, labels)
    dense = contingency_matrix(codes, labels)
    assert table.samples == len(labels)
    made = np.zeros((len(table.codes), len(table.labels)), np.int64)
    made[table.cell_code, table.cell_label] = table.cells
    assert sorted(map(tuple, made.tolist())) == sorted(map(tuple, dense.tolist()))
    assert made.sum(1).tolist() == table.codes.tolist()
    for label, one in enumerate(table.per_label()):
        expected = Fingerprint.of(dense[:, label])
        assert one.times.tolist() == expected.times.tolist()
        assert one.how_many.tolist() == expected.how_many.tolist()


def test_hashes_that_differ_in_their_top_bits_only_stay_apart() -> None:
    # The label takes the place of the top bits; a table that lost codes that way must not come out.
    codes = np.arange(16, dtype=np.uint64) << np.uint64(60)
    labels = np.arange(16) % 9
    assert len(tabulate(codes, labels).codes) == 16
    assert mutual_information(codes, labels) == pytest.approx(entropy(np.bincount(labels)))


def test_integer_codes_may_be_any_integers() -> None:
    codes = np.array([np.iinfo(np.int64).min, -1, 0, np.iinfo(np.int64).max] * 4)
    labels = np.repeat(np.arange(4), 4)
    assert mutual_information(codes, labels) == pytest.approx(0, abs=1e-12)
    assert mutual_information(codes.reshape(4, 4).T.reshape(-1), labels) == pytest.approx(2)


def test_one_label_of_many_may_be_missing() -> None:
    assert mutual_information(np.array([1, 1, 2, 2]), np.array([0, 0, 7, 7])) == pytest.approx(1)


@pytest.mark.parametrize("method", sorted(set(ESTIMATORS) - {"plugin", "renyi2"}))
def test_other_methods_are_differences_of_their_entropies(method: str) -> None:
    draw = np.random.default_rng(5)
    codes, labels = draw.integers(0, 40, 600), draw.integers(0, 3, 600)
    inside = sum(
        (labels == y).mean() * entropy(np.bincount(codes[labels == y]), method, 64)
        for y in range(3)
    )
    expected = entropy(np.bincount(codes), method, 64) - inside
    assert mutual_information(codes, labels, method, 64) == pytest.approx(expected, abs=1e-12)


def test_the_support_of_codes_is_known() -> None:
    draw = np.random.default_rng(6)
    bits, labels = draw.random((300, 7)) < 0.5, draw.integers(0, 2, 300)
    codes = Codes(hash_rows(pack_rows(bits)), 7)
    assert mutual_information(codes, labels, "nsb") == mutual_information(bits, labels, "nsb", 128)
    with pytest.raises(BitlensError, match="number of possible codes"):
        mutual_information(bits, labels, "nsb")


@pytest.mark.parametrize("classes", [2, 10, 200])
def test_shuffled_labels_give_the_expected_information(classes: int) -> None:
    draw = np.random.default_rng(classes)
    codes, labels = draw.integers(0, 60, 500), draw.integers(0, classes, 500)
    table = contingency_matrix(codes, labels, sparse=True).astype(np.int64)
    expected = expected_mutual_information(table, 500) / math.log(2)
    _, mean, sd = permutation_z(codes, labels, permutations=200)
    assert mean == pytest.approx(expected, abs=4 * sd / math.sqrt(200))


def test_shuffles_spread_as_plain_shuffling_does() -> None:
    draw = np.random.default_rng(8)
    codes, labels = draw.integers(0, 30, 300), draw.integers(0, 3, 300)
    plain = [mutual_info_score(codes, draw.permutation(labels)) / math.log(2) for _ in range(150)]
    _, mean, sd = permutation_z(codes, labels, permutations=150)
    assert mean == pytest.approx(np.mean(plain), abs=4 * sd * math.sqrt(2 / 150))
    assert sd == pytest.approx(np.std(plain, ddof=1), rel=0.35)


def test_labels_that_matter_stand_out() -> None:
    draw = np.random.default_rng(9)
    labels = draw.integers(0, 4, 400)
    codes = np.where(draw.random(400) < 0.8, labels, draw.integers(0, 4, 400))
    assert permutation_z(codes, labels)[0] > 20
    chance = [permutation_z(draw.integers(0, 9, 400), labels, seed=k)[0] for k in range(40)]
    assert abs(np.mean(chance)) < 0.8


def test_a_seed_fixes_the_shuffles() -> None:
    draw = np.random.default_rng(10)
    codes, labels = draw.integers(0, 30, 300), draw.integers(0, 3, 300)
    assert permutation_z(codes, labels, seed=4) == permutation_z(codes, labels, seed=4)
    assert permutation_z(codes, labels, seed=4) != permutation_z(codes, labels, seed=5)


def test_labels_of_a_constant_layer_do_not_stand_out() -> None:
    z, mean, sd = permutation_z(np.zeros(6, int), np.arange(6) % 2)
    assert (z, sd) == (0, 0)
    assert mean == pytest.approx(0, abs=1e-12)


ABSURD = [
    (np.arange(3), np.arange(4), "3 samples, labels 4"),
    (np.arange(3), np.array([0.0, 1.0, 2.0]), "type float64 .*must be integers"),
    (np.arange(3), np.array([0.0, np.nan, 2.0]), "such as nan"),
    (np.arange(3), np.zeros((3, 1), int), r"shape \(3, 1\)"),
    (np.arange(0), np.arange(0), "empty"),
    (np.zeros(3), np.arange(3), "type float64; give Codes"),
    (np.zeros((3, 4), int), np.arange(3), r"shape \(3, 4\)"),
    (np.zeros((3, 2, 2), bool), np.arange(3), r"shape \(3, 2, 2\)"),
]


@pytest.mark.parametrize(("codes", "labels", "message"), ABSURD, ids=[case[2] for case in ABSURD])
def test_absurd_input_is_refused(
    codes: npt.NDArray[np.generic], labels: npt.NDArray[np.generic], message: str
) -> None:
    with pytest.raises(BitlensError, match=message):
        mutual_information(codes, labels)


def test_methods_and_permutations_are_checked() -> None:
    with pytest.raises(BitlensError, match="bounds nothing"):
        mutual_information(np.arange(3), np.arange(3), "renyi2")
    with pytest.raises(BitlensError, match="unknown entropy estimator"):
        mutual_information(np.arange(3), np.arange(3), "exact")
    with pytest.raises(BitlensError, match="permutations=1"):
        permutation_z(np.arange(3), np.arange(3), permutations=1)
