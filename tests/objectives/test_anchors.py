"""The draw of anchors: uniform, without replacement, shared between processes, known by image and cell."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.objectives import anchors as module
from bitlens.objectives.anchors import AnchorDraw, Anchors
from bitlens.objectives.negatives import Batch

CPU = torch.device("cpu")


@pytest.fixture
def as_rank(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Let the draw believe that it is one of several processes."""
    return lambda rank, of: monkeypatch.setattr(module, "world", lambda: (rank, of))


@settings(max_examples=40, deadline=None)
@given(most=st.integers(2, 50), images=st.integers(1, 6), cells=st.integers(1, 30))
def test_distinct_ascending_and_at_most_as_many(most: int, images: int, cells: int) -> None:
    drawn = AnchorDraw(most, seed=1)(0, images, cells, CPU)
    numbers = drawn.everywhere.tolist()
    assert numbers == sorted(set(numbers)) and len(numbers) == min(most, images * cells)
    assert 0 <= numbers[0] and numbers[-1] < images * cells
    assert drawn.whole is (images * cells <= most)
    assert drawn.here.tolist() == numbers and drawn.counts == (len(numbers),)


def test_every_place_and_every_pair_of_places_is_drawn_equally_often() -> None:
    draw, steps = AnchorDraw(3, seed=4), 3000
    counts = torch.zeros(10, 10)
    for _ in range(steps):
        numbers = draw(0, 2, 5, CPU).everywhere
        counts[numbers[:, None], numbers[None, :]] += 1
        draw.advance()
    # A place: Bernoulli(3/10); a pair: Bernoulli(3/10 * 2/9) = Bernoulli(1/15).
    for found, chance in (
        (counts.diagonal(), 3 / 10),
        (counts[~torch.eye(10, dtype=torch.bool)], 1 / 15),
    ):
        deviation = (steps * chance * (1 - chance)) ** 0.5
        assert bool(((found - steps * chance).abs() < 5 * deviation).all())


@pytest.mark.parametrize("most", [5, 12, 1000])
def test_processes_share_one_draw(as_rank: Callable[[int, int], None], most: int) -> None:
    """Three processes of two images each hold, in rank order, what one process of six draws."""
    alone = AnchorDraw(most, seed=2)(1, 6, 4, CPU)
    numbers: list[int] = []
    for rank in range(3):
        as_rank(rank, 3)
        drawn = AnchorDraw(most, seed=2)(1, 2, 4, CPU)
        assert torch.equal(drawn.everywhere, alone.everywhere)
        assert drawn.whole is alone.whole
        assert all(0 <= own < 8 for own in drawn.here.tolist())
        assert len(drawn.here) == drawn.counts[rank]
        numbers += [own + 8 * rank for own in drawn.here.tolist()]
    assert numbers == alone.everywhere.tolist()


def test_a_sample_is_known_by_image_and_cell(as_rank: Callable[[int, int], None]) -> None:
    as_rank(1, 2)
    drawn = Anchors(
        everywhere=torch.tensor([0, 4, 5, 8]), cells=3, first=6, counts=(3, 1), whole=False
    )
    images = Batch(
        labels=None,
        indices=torch.tensor([70]),
        all_labels=None,
        all_indices=torch.tensor([50, 60, 70]),
    )
    batch = drawn.batch(images)
    assert drawn.here.tolist() == [2]
    assert batch.all_indices is not None and batch.indices is not None
    places = [divmod(owner, 2**32) for owner in batch.all_indices.tolist()]
    assert places == [(50, 0), (60, 1), (60, 2), (70, 2)]
    assert [divmod(owner, 2**32) for owner in batch.indices.tolist()] == [(70, 2)]
    assert batch.counts == (3, 1)


def test_a_process_without_anchors(as_rank: Callable[[int, int], None]) -> None:
    as_rank(0, 2)
    drawn = Anchors(everywhere=torch.tensor([4, 5]), cells=4, first=0, counts=(0, 2), whole=False)
    assert drawn.here.shape == (0,)
    batch = drawn.batch(Batch.over_ranks(None, None))
    assert batch.indices is None
    assert float(batch.mean(torch.zeros(0))) == 0


def test_shares_average_to_the_mean_over_all() -> None:
    values, counts = torch.tensor([1.0, 5.0, 6.0, 10.0, 3.0]), (1, 4)
    batch = Batch(labels=None, indices=None, all_labels=None, all_indices=None, counts=counts)
    shares = [batch.mean(part) for part in values.split(list(counts))]
    assert float(torch.stack(shares).mean()) == pytest.approx(float(values.mean()))


def test_the_step_is_a_buffer_and_survives_a_move() -> None:
    draw = AnchorDraw(3, seed=0)
    draw.advance()
    draw.advance()
    assert {name: int(value) for name, value in draw.state_dict().items()} == {"step": 2}
    expected = draw(0, 4, 4, CPU).everywhere
    again = AnchorDraw(3, seed=0).double()
    again.load_state_dict(draw.state_dict(), assign=True)
    assert torch.equal(again(0, 4, 4, CPU).everywhere, expected)
    assert not torch.equal(AnchorDraw(3, seed=0)(0, 4, 4, CPU).everywhere, expected)
