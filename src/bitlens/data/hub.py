"""Image classification sets of the Hugging Face hub, through `datasets`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import datasets.config
import datasets.exceptions
import huggingface_hub.errors
from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError

from bitlens.data.arrow_cache import with_arrow_cache
from bitlens.data.assemble import assemble
from bitlens.data.images import ImageData
from bitlens.data.rows import Rows, read_rows
from bitlens.data.single import split_single
from bitlens.errors import BitlensError

_TEST_SPLITS = ("test", "validation", "valid", "val")
_PROBE_SECONDS = 10
_SINGLE_NOTE = "one split: 80 % train and 20 % test, class-balanced, drawn with seed 0"


class Unreachable(BitlensError):
    """The hub does not answer, or is switched off, and the set is not in its cache."""


def load(
    target: str, *, image_size: int | None = None, memory_limit: int, name: str | None = None
) -> ImageData:
    """Read `NAME` or `NAME:CONFIG`, from the cache of `datasets` when the hub cannot be reached.

    The test split is `test`, else `validation`; a test split published without labels (all
    negative) is passed over, and the note says so. A set with a train split alone is split 80 to
    20, seeded and class-balanced.

    Raises:
        Unreachable: the hub cannot be reached, quickly, and the set is not in the cache.
        BitlensError: no such set, no train split, or bad rows; see `read_rows` and `assemble`.
    """
    repository, _, config = target.partition(":")
    splits = load_splits(repository, config or None)
    if "train" not in splits:
        held = ", ".join(map(str, splits)) or "none"
        raise BitlensError(f"hub:{target} has no train split, only {held}")
    train = _rows(splits, "train", target)
    notes: list[str] = []
    test = _pick_test(splits, target, notes)
    if test is None:
        train, test = split_single(train)
        notes.append(_SINGLE_NOTE)
    return assemble(
        name or f"hub:{target}",
        train,
        test,
        image_size=image_size,
        memory_limit=memory_limit,
        notes=notes,
    )


def _pick_test(splits: datasets.DatasetDict, target: str, notes: list[str]) -> Rows | None:
    for split in _TEST_SPLITS:
        if split not in splits:
            continue
        if _unlabeled(splits[split]):
            notes.append(f"the {split} split has no labels")
            continue
        if split != "test":
            notes.append(f"tested on the {split} split")
        return _rows(splits, split, target)
    return None


def _unlabeled(dataset: datasets.Dataset) -> bool:
    for column in ("label", "fine_label", "labels"):
        if column in dataset.column_names:
            return all(label == -1 for label in dataset.unique(column))
    return False


def _rows(splits: datasets.DatasetDict, split: str, target: str) -> Rows:
    dataset = splits[split]
    files = tuple(Path(file["filename"]) for file in dataset.cache_files)
    source = f"hub:{target} {split}"
    return read_rows(dataset, where=lambda row: f"{source} row {row}", files=files, source=source)


def load_splits(repository: str, config: str | None) -> datasets.DatasetDict:
    """The splits of a set, from the cache of `datasets` when the hub cannot be reached.

    Raises:
        Unreachable: the hub cannot be reached, quickly, and the set is not in the cache.
        BitlensError: there is no such set, or it cannot be loaded.
    """
    why = _unreachable(repository)
    try:
        if why is None:
            return _load_dataset(repository, config)
        with _offline():
            return _load_dataset(repository, config)
    except (ConnectionError, FileNotFoundError) as missing:
        if why is None:
            raise BitlensError(f"hub:{repository} cannot be loaded: {missing}") from missing
        raise Unreachable(
            f"the Hugging Face hub cannot be reached for {repository} ({why}) and its local "
            "cache does not hold it"
        ) from missing
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as bad:
        raise BitlensError(f"hub:{repository} cannot be loaded: {bad}") from bad


def _load_dataset(repository: str, config: str | None) -> datasets.DatasetDict:
    return with_arrow_cache(
        lambda folder: datasets.load_dataset(repository, config, cache_dir=folder)
    )


def _unreachable(repository: str) -> str | None:
    """Why the hub cannot be asked for `repository`, None when it answers.

    `datasets` itself asks five times with growing pauses, half a minute in all.
    """
    if datasets.config.HF_HUB_OFFLINE:
        return "offline mode is on, HF_HUB_OFFLINE or HF_DATASETS_OFFLINE"
    try:
        huggingface_hub.HfApi().dataset_info(repository, timeout=_PROBE_SECONDS)
    except OfflineModeIsEnabled:
        return "offline mode is on, HF_HUB_OFFLINE"
    except RepositoryNotFoundError as why:
        raise BitlensError(
            f"the Hugging Face hub has no data set {repository!r}, or not for you; log in with "
            "`hf auth login` when it is private"
        ) from why
    except huggingface_hub.errors.HFValidationError as why:
        raise BitlensError(f"{repository!r} is no name of a data set on the hub: {why}") from why
    except Exception as why:  # the HTTP library under huggingface_hub differs between versions
        return str(why) or type(why).__name__
    return None


@contextmanager
def _offline() -> Generator[None]:
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
