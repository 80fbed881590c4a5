"""Which images are trained on, in which order, and which ones are only looked at."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from bitlens.errors import BitlensError
from bitlens.training.feed import Feed
from bitlens.training.recipe import Recipe
from bitlens.training.streams import Streams

CPU = torch.device("cpu")


def images_of(split) -> list[bytes]:
    return [image.numpy().tobytes() for image in split.images]


def test_an_epoch_shows_every_image_once_and_drops_the_rest(quick) -> None:
    feed = Feed(quick(batch_size=50), CPU)
    batches = list(feed.epoch(Streams(0)))
    assert feed.steps == len(batches) == 4
    indices = torch.cat([b.indices for b in batches])
    assert len(indices) == 200 and len(indices.unique()) == 200
    for batch in batches:
        assert torch.equal(batch.truth, feed.train.labels[batch.indices])
        pixels = feed.train.images[batch.indices].double() / 255
        mean, std = feed.data.mean[0], feed.data.std[0]
        torch.testing.assert_close(batch.images.double(), (pixels - mean) / std, atol=1e-5, rtol=0)


def test_order_and_augmentation_follow_the_seed_alone(quick) -> None:
    feed = Feed(quick(augment="flip-crop"), CPU)
    torch.manual_seed(1)
    a = list(feed.epoch(Streams(0)))
    torch.manual_seed(2)
    b = list(feed.epoch(Streams(0)))
    c = list(feed.epoch(Streams(1)))
    assert all(torch.equal(x.images, y.images) for x, y in zip(a, b, strict=True))
    assert any(not torch.equal(x.indices, y.indices) for x, y in zip(a, c, strict=True))


def test_calibration_images_are_training_images_and_always_the_same(quick) -> None:
    feed = Feed(quick(validation=0.25), CPU)
    batches = feed.calibration()
    assert sum(map(len, batches)) == len(feed.train) == 180
    again = Feed(quick(validation=0.25), CPU).calibration()
    assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))
    seen = {image.numpy().tobytes() for batch in batches for image in batch}
    trained = {i.numpy().tobytes() for i in feed._normalized(feed.train.images)}
    assert seen == trained, "and none of those held out"


def test_two_epochs_differ(quick) -> None:
    feed, streams = Feed(quick(), CPU), Streams(0)
    first, second = list(feed.epoch(streams)), list(feed.epoch(streams))
    assert not torch.equal(first[0].indices, second[0].indices)


def test_without_validation_the_test_set_is_evaluated(quick) -> None:
    feed = Feed(quick(), CPU)
    assert feed.eval_split == "test"
    assert len(feed.train) == 240 and len(feed.held) == len(feed.test) == 80
    labels = torch.cat([labels for _, labels in feed.evaluation(feed.test)])
    assert torch.equal(labels, feed.test.labels)


def test_validation_is_disjoint_balanced_and_the_same_for_every_seed(quick) -> None:
    feeds = [Feed(quick(validation=0.25, seed=seed), CPU) for seed in (0, 1)]
    for feed in feeds:
        assert feed.eval_split == "validation"
        assert Counter(feed.held.labels.tolist()) == {k: 15 for k in range(4)}
        assert Counter(feed.train.labels.tolist()) == {k: 45 for k in range(4)}
        everything = Counter(images_of(feed.data.train))
        assert Counter(images_of(feed.train)) + Counter(images_of(feed.held)) == everything
        assert not set(images_of(feed.held)) & set(images_of(feed.train))
        assert images_of(feed.test) == images_of(feed.data.test)
    assert images_of(feeds[0].held) == images_of(feeds[1].held)


def test_fewer_images_are_balanced_and_the_same_for_every_seed(quick) -> None:
    feeds = [Feed(quick(train_images=40, seed=seed), CPU) for seed in (0, 5)]
    assert Counter(feeds[0].train.labels.tolist()) == {k: 10 for k in range(4)}
    assert images_of(feeds[0].train) == images_of(feeds[1].train)
    both = Feed(quick(train_images=40, validation=0.2, batch_size=16), CPU)
    assert Counter(both.held.labels.tolist()) == {k: 2 for k in range(4)}
    used = set(images_of(both.train)) | set(images_of(both.held))
    assert used == set(images_of(feeds[0].train))


def test_all_images_by_number(quick) -> None:
    assert len(Feed(quick(train_images=240), CPU).train) == 240


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"augment": "flipp"}, "unknown augmentation 'flipp'; did you mean flip"),
        ({"data": "fashon-mnist"}, "unknown data set 'fashon-mnist'; did you mean fashion-mnist"),
        ({"train_images": 241}, "train_images=241, but there are 240 images of 4 classes"),
        ({"train_images": 3}, "give a number from 4 to 240, or 0 for all"),
        ({"batch_size": 241}, "batch_size=241 exceeds the 240 training images"),
        ({"batch_size": 200, "validation": 0.25}, "exceeds the 180 training images"),
        ({"validation": 0.001}, "leaves none"),
    ],
)
def test_what_the_feed_refuses(quick, wrong: dict, said: str) -> None:
    recipe: Recipe = replace(quick(), **wrong)
    with pytest.raises(BitlensError, match=said):
        Feed(recipe, CPU)
