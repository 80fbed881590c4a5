"""A checkpoint is what was saved, or it is refused."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.errors import BitlensError
from bitlens.training.checkpoint import MAGIC, load_checkpoint, save_checkpoint


def state() -> dict[str, Any]:
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "best": 0.5,
        "recipe": "abc",
        "task": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "streams": {"order": torch.Generator().get_state()},
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "state.pt"
    save_checkpoint(path, state())
    return path


def sealed(payload: bytes) -> bytes:
    """Any payload with a correct checksum."""
    return MAGIC + hashlib.sha256(payload).digest() + payload


def test_round_trip(tmp_path: Path) -> None:
    before = state()
    save_checkpoint(tmp_path / "state.pt", before)
    after = load_checkpoint(tmp_path / "state.pt")
    assert after["schema"] == 1
    assert (after["epoch"], after["best"], after["recipe"]) == (3, 0.5, "abc")
    for name, tensor in before["task"].items():
        assert torch.equal(after["task"][name], tensor)
    assert torch.equal(after["streams"]["order"], before["streams"]["order"])
    for key, values in before["optimizer"]["state"].items():
        for name, value in values.items():
            assert torch.equal(after["optimizer"]["state"][key][name], value)
    assert after["optimizer"]["param_groups"] == before["optimizer"]["param_groups"]


def refuses(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(BitlensError) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_cut_off_anywhere(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    lengths = {*range(0, 60), *range(60, len(content), 97), len(content) - 1}
    for length in lengths:
        message = refuses(tmp_path / "cut.pt", content[:length])
        assert "not a bitlens checkpoint" in message or "damaged" in message


def test_any_flipped_bit(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    for position in {*range(0, 60), *range(60, len(content), 61), len(content) - 1}:
        flipped = bytearray(content)
        flipped[position] ^= 1 << (position % 8)
        message = refuses(tmp_path / "flipped.pt", bytes(flipped))
        assert "not a bitlens checkpoint" in message or "damaged" in message


def test_a_longer_file_is_damaged_too(saved: Path, tmp_path: Path) -> None:
    assert "damaged" in refuses(tmp_path / "long.pt", saved.read_bytes() + b"\0")


def test_other_files_are_not_checkpoints(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"schema": 1}, buffer)
    assert "not a bitlens checkpoint" in refuses(tmp_path / "plain.pt", buffer.getvalue())
    assert "not a bitlens checkpoint" in refuses(tmp_path / "empty.pt", b"")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(BitlensError, match=r"nothing\.pt: cannot read the checkpoint: No such"):
        load_checkpoint(tmp_path / "nothing.pt")
    with pytest.raises(BitlensError, match="cannot read the checkpoint: Is a directory"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [{"schema": 2}, {"epoch": 1}, [1, 2], 3])
def test_another_schema(tmp_path: Path, content: Any) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    assert "this bitlens reads 1" in refuses(tmp_path / "other.pt", sealed(buffer.getvalue()))


class Evil:
    """Unpickling it would make a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_payload_does_not_run(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "owned"
    buffer = io.BytesIO()
    torch.save({"schema": 1, "x": Evil(mark)}, buffer, _use_new_zipfile_serialization=zipped)
    message = refuses(tmp_path / "evil.pt", sealed(buffer.getvalue()))
    assert "something other than plain tensors" in message
    refuses(tmp_path / "evil.pt", sealed(pickle.dumps({"schema": 1, "x": Evil(mark)})))
    assert not mark.exists()
    pickle.loads(pickle.dumps(Evil(mark)))
    assert mark.exists(), "the trap works, so the above means something"


@settings(max_examples=150)
@given(payload=st.binary(max_size=60) | st.binary(max_size=40).map(lambda b: b"\x80\x02" + b))
def test_nonsense_with_a_correct_checksum_is_refused(
    payload: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    refuses(tmp_path_factory.getbasetemp() / "nonsense.pt", sealed(payload))
