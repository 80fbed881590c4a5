from __future__ import annotations

import datasets
import huggingface_hub
import numpy as np
import pytest
from datasets.packaged_modules.parquet.parquet import Parquet

from bitlens.data import hub, load
from bitlens.errors import BitlensError


@pytest.fixture
def unreachable(monkeypatch):
    """The hub does not answer; no test asks it in earnest."""

    def no_answer(self, repository, **options):
        raise ConnectionError(f"no route to {repository}")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", no_answer)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)


@pytest.fixture
def published(monkeypatch):
    """Puts splits on a hub that answers; returns the calls that were made."""
    splits = datasets.DatasetDict()
    calls: list[tuple] = []

    def load_dataset(repository, config, cache_dir):
        calls.append((repository, config, datasets.config.HF_HUB_OFFLINE))
        return splits

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return splits, calls


@pytest.fixture
def split(tmp_path, random_images, write_parquet, own_caches):
    def make(labels, seed=0, names=("cat", "dog")):
        images = random_images(len(labels), seed=seed)
        path = write_parquet(tmp_path / f"{seed}.parquet", images, labels, names=names)
        return datasets.Dataset.from_parquet(str(path), cache_dir=str(own_caches))

    return make


def cache_on_disk(own_caches, tmp_path, random_images, write_parquet) -> np.ndarray:
    """Puts the set me/tiny into the cache of `datasets`, as a download would."""
    images = random_images(10)
    files = {
        "train": [str(write_parquet(tmp_path / "train.parquet", images[:6], [0, 1] * 3))],
        "test": [str(write_parquet(tmp_path / "test.parquet", images[6:], [0, 1] * 2))],
    }
    builder = Parquet(
        cache_dir=str(own_caches / "datasets"),
        dataset_name="tiny",
        hash="0123456789abcdef",
        data_files=files,
    )
    builder.download_and_prepare()
    # Only files that lie on the hub may be given with the name of a repository, so the folders get
    # the names that a download of me/tiny has.
    made = own_caches / "datasets" / "tiny"
    next(made.glob("default-*")).rename(made / "default")
    made.rename(own_caches / "datasets" / "me___tiny")
    return images


def test_comes_from_the_cache_when_the_hub_does_not_answer(
    unreachable, own_caches, tmp_path, random_images, write_parquet
):
    images = cache_on_disk(own_caches, tmp_path, random_images, write_parquet)
    data = load("hub:me/tiny")
    np.testing.assert_array_equal(data.train.images.permute(0, 2, 3, 1).numpy(), images[:6])
    np.testing.assert_array_equal(data.test.images.permute(0, 2, 3, 1).numpy(), images[6:])
    assert data.classes == ("cat", "dog")
    assert datasets.config.HF_HUB_OFFLINE is False


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "cifar100"])
def test_an_absent_set_says_where_it_was_looked_for(unreachable, monkeypatch, tmp_path, name):
    monkeypatch.delenv("BITLENS_DATA", raising=False)
    with pytest.raises(BitlensError, match=r"\$BITLENS_DATA is not set.*no route to.*Set BITLENS"):
        load(name)
    monkeypatch.setenv("BITLENS_DATA", str(tmp_path))
    with pytest.raises(BitlensError, match="go online once") as caught:
        load(name)
    assert str(tmp_path / name) in str(caught.value)
    if name == "fashion-mnist":
        assert "apt install dataset-fashion-mnist" in str(caught.value)


def test_offline_mode_asks_nobody(monkeypatch):
    def must_not(self, *given, **options):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", must_not)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv("BITLENS_DATA", raising=False)
    with pytest.raises(hub.Unreachable, match="HF_HUB_OFFLINE"):
        load("hub:me/absent")
    with pytest.raises(BitlensError, match="HF_HUB_OFFLINE"):
        load("cifar10")


def test_reads_a_published_set(published, split):
    splits, calls = published
    splits["train"] = split([0, 1] * 5)
    splits["test"] = split([1, 0], seed=1)
    data = load("hub:me/set:large")
    assert calls == [("me/set", "large", False)]
    assert (len(data.train), len(data.test), data.note) == (10, 2, "")
    assert data.name == "hub:me/set:large"


def test_a_test_split_without_labels_is_passed_over(published, split):
    splits, _ = published
    splits["train"] = split([0, 1] * 5)
    splits["test"] = split([-1, -1, -1], seed=1)
    splits["validation"] = split([1, 0], seed=2)
    data = load("hub:me/set")
    assert data.test.labels.tolist() == [1, 0]
    assert data.note == "the test split has no labels; tested on the validation split"


def test_a_train_split_alone_is_split(published, split):
    splits, _ = published
    splits["train"] = split([0, 1] * 10)
    data = load("hub:me/set")
    assert (len(data.train), len(data.test)) == (16, 4)
    assert "80 %" in data.note


def test_bad_sets(published, split):
    splits, _ = published
    splits["test"] = split([0, 1])
    with pytest.raises(BitlensError, match="no train split, only test"):
        load("hub:me/set")
    splits["train"] = split([0, 1, 7], seed=1)
    with pytest.raises(BitlensError, match="hub:me/set train row 2: label 7"):
        load("hub:me/set")


def test_errors_of_the_hub_are_told(published, monkeypatch):
    def broken(repository, config, cache_dir):
        raise ValueError("Config name is missing")

    monkeypatch.setattr(datasets, "load_dataset", broken)
    with pytest.raises(BitlensError, match="hub:me/set cannot be loaded: Config name is missing"):
        load("hub:me/set")


def test_a_name_that_cannot_be(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    with pytest.raises(BitlensError, match="is no name of a data set"):
        load("hub:not a name/at all")
