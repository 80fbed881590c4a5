"""Stores of keys against brute force: who is a negative, what is remembered, what is drawn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bitlens.errors import BitlensError
from bitlens.objectives.negatives import (
    BankNegatives,
    Batch,
    BatchNegatives,
    Keys,
    QueueNegatives,
)

WIDTH = 4


def step(labels: Any = None, indices: Any = None) -> Batch:
    labels = None if labels is None else torch.as_tensor(labels)
    indices = None if indices is None else torch.as_tensor(indices)
    return Batch.over_ranks(labels, indices)


def unit_keys(count: int, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, WIDTH, generator=source), dim=1)


def make_bank(images: int = 10, **settings: Any) -> BankNegatives:
    given = {"width": WIDTH, "draws": 6, "momentum": 0.5, "exclude": "instance", "seed": 3}
    return BankNegatives(images, **(given | settings))


class TestBatch:
    def test_others_are_negatives_and_the_own_key_is_the_positive(self) -> None:
        keys = unit_keys(5)
        found = BatchNegatives("instance")(keys, step())
        assert torch.equal(found.positives, keys) and torch.equal(found.candidates, keys)
        assert torch.equal(found.negative, ~torch.eye(5, dtype=torch.bool))

    @settings(max_examples=30, deadline=None)
    @given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=8))
    def test_class_exclusion_by_brute_force(self, labels: list[int]) -> None:
        found = BatchNegatives("class")(unit_keys(len(labels)), step(labels))
        expected = [[a != b for b in labels] for a in labels]
        assert found.negative.tolist() == expected

    def test_instance_exclusion_keeps_other_images_of_the_class(self) -> None:
        """Guards against the program's own filter: it drew negatives from other classes only."""
        found = BatchNegatives("instance")(unit_keys(3), step([7, 7, 7]))
        assert int(found.negative.sum()) == 6

    def test_missing_labels(self) -> None:
        with pytest.raises(BitlensError, match=r"labels.*cmim\(labels=\.\.\.\)"):
            BatchNegatives("class")(unit_keys(3), step())


class TestQueue:
    def test_content_is_first_in_first_out_through_filling_and_wrapping(self) -> None:
        """Against a plain list cut to its last seven entries, with batches of changing size."""
        queue, expected, seen = QueueNegatives(7, WIDTH, "class"), [], []
        for number, size in enumerate([2, 2, 2, 3, 1, 9, 4, 7, 5]):
            keys, labels = unit_keys(size, seed=number), torch.arange(size) + 10 * number
            queue.update(keys, step(labels))
            expected = (expected + [row.tolist() for row in keys])[-7:]
            seen = (seen + labels.tolist())[-7:]
            held = int(queue.filled)
            assert held == len(expected)
            assert queue.queue[:held].tolist() == expected
            assert queue.owners[:held].tolist() == seen

    def test_empty_queue_contrasts_the_batch_with_itself(self) -> None:
        keys = unit_keys(3)
        found = QueueNegatives(5, WIDTH, "instance")(keys, step())
        assert torch.equal(found.negative, ~torch.eye(3, dtype=torch.bool))

    def test_keys_of_the_queue_get_no_gradient_and_the_positive_does(self) -> None:
        queue = QueueNegatives(5, WIDTH, "instance")
        queue.update(unit_keys(2), step())
        keys = unit_keys(3, seed=1).requires_grad_()
        found = queue(keys, step())
        assert found.positives.requires_grad and not found.candidates.requires_grad
        assert found.candidates.shape == (2, WIDTH) and bool(found.negative.all())

    def test_an_update_does_not_change_keys_in_use(self) -> None:
        queue = QueueNegatives(2, WIDTH, "instance")
        queue.update(unit_keys(2), step())
        found = queue(unit_keys(2, seed=1), step())
        before = found.candidates.clone()
        queue.update(unit_keys(2, seed=2), step())
        assert torch.equal(found.candidates, before)

    def test_class_exclusion_by_brute_force(self) -> None:
        queue = QueueNegatives(6, WIDTH, "class")
        queue.update(unit_keys(6), step([0, 1, 2, 0, 1, 2]))
        found = queue(unit_keys(2), step([1, 5]))
        assert found.negative.tolist() == [[x != 1 for x in (0, 1, 2, 0, 1, 2)], [True] * 6]

    def test_an_image_met_again_in_the_next_epoch_is_no_negative_of_itself(self) -> None:
        queue = QueueNegatives(6, WIDTH, "instance")
        queue.update(unit_keys(3), step(indices=[8, 4, 2]))
        found = queue(unit_keys(2), step(indices=[4, 5]))
        assert found.negative.tolist() == [[True, False, True], [True, True, True]]

    def test_a_queue_filled_without_indices_accepts_everything(self) -> None:
        queue = QueueNegatives(6, WIDTH, "instance")
        queue.update(unit_keys(3), step())
        assert bool(queue(unit_keys(2), step(indices=[0, 1])).negative.all())


class TestBank:
    def test_rows_move_by_momentum_and_return_to_unit_length(self) -> None:
        bank = make_bank(momentum=0.75)
        before, keys = bank.bank.clone(), unit_keys(2)
        bank.update(keys, step(indices=[7, 1]))
        for row, key in ((7, keys[0]), (1, keys[1])):
            mixed = 0.75 * before[row] + 0.25 * key
            torch.testing.assert_close(bank.bank[row], mixed / mixed.square().sum().sqrt())
        untouched = [i for i in range(10) if i not in (7, 1)]
        assert torch.equal(bank.bank[untouched], before[untouched])

    def test_positive_is_the_remembered_row_without_gradient(self) -> None:
        bank = make_bank()
        found = bank(unit_keys(2).requires_grad_(), step(indices=[7, 1]))
        assert torch.equal(found.positives, bank.bank[[7, 1]])
        assert not found.positives.requires_grad and not found.candidates.requires_grad

    def test_draws_have_no_duplicates_and_change_with_step_and_seed_only(self) -> None:
        def rows(bank: BankNegatives) -> list[int]:
            found = bank(unit_keys(1), step(indices=[0])).candidates
            return [int((bank.bank == row).all(1).nonzero()) for row in found]

        first, again, other = make_bank(50), make_bank(50), make_bank(50, seed=4)
        other.bank.copy_(first.bank)
        drawn = rows(first)
        assert len(set(drawn)) == 6 and drawn == rows(first) == rows(again) != rows(other)
        first.update(unit_keys(1), step(indices=[0]))
        assert rows(first) != drawn

    def test_every_row_is_drawn_equally_often(self) -> None:
        bank = make_bank(10, draws=3)
        counts = torch.zeros(10)
        for number in range(2000):
            bank.step.fill_(number)
            counts[bank._drawn(torch.device("cpu"))] += 1
        # Each row is a Bernoulli(0.3) of 2000 draws: standard deviation 20.5.
        assert bool(((counts - 600).abs() < 5 * 20.5).all())

    @settings(max_examples=20, deadline=None)
    @given(seed=st.integers(0, 999), exclude=st.sampled_from(["instance", "class"]))
    def test_exclusion_by_brute_force(self, seed: int, exclude: str) -> None:
        bank = make_bank(12, draws=8, exclude=exclude, seed=seed)
        labels = [i % 3 for i in range(12)]
        bank.update(unit_keys(12), step(labels, range(12)))
        own = [2, 5, 6]
        found = bank(unit_keys(3), step([labels[i] for i in own], own))
        drawn = [int((bank.bank == row).all(1).nonzero()) for row in found.candidates]
        for i, image in enumerate(own):
            for j, other in enumerate(drawn):
                same = labels[image] == labels[other] if exclude == "class" else image == other
                assert bool(found.negative[i, j]) is not same

    def test_more_draws_than_images_takes_every_image_once(self) -> None:
        found: Keys = make_bank(5, draws=100)(unit_keys(1), step(indices=[3]))
        assert found.candidates.shape == (5, WIDTH) and int(found.negative.sum()) == 4

    @pytest.mark.parametrize("index", [-1, 10])
    def test_index_out_of_range(self, index: int) -> None:
        with pytest.raises(BitlensError, match=rf"{index}.*outside the bank of 10 images"):
            make_bank()(unit_keys(2), step(indices=[0, index]))

    def test_missing_indices(self) -> None:
        with pytest.raises(BitlensError, match=r"cmim\(indices=\.\.\.\)"):
            make_bank()(unit_keys(2), step())
        with pytest.raises(BitlensError, match=r"cmim\(indices=\.\.\.\)"):
            make_bank().update(unit_keys(2), step())
