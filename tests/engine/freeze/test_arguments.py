"""What `pack` says to wrong arguments and to nets that cannot be packed: one sentence with a way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitlens import BitlensError, binarize
from bitlens.engine.freeze.pack import Packed, pack
from bitlens.models.layers import binary_layers

X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A small binary net with a function around it."""

    def __init__(self, way: Callable[[Any, Tensor], Any] = lambda net, x: net(x)) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = (nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 3))
        self.net = binarize(nn.Sequential(*layers), "bireal", keep_float=("0", "3"))
        self.way = way

    def forward(self, x: Tensor) -> Any:
        return self.way(self.net, x)


def packed(way: Callable[[Any, Tensor], Any]) -> Packed:
    return pack(Net(way), X)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"calibration": []}, "calibration is empty; give batches"),
        ({"calibration": [(X, torch.zeros(2))]}, r"is a tuple.*\[x for x, _ in loader\]"),
        ({"calibration": [X, X[:, :1]]}, r"calibration\[1\] is .*\(2, 1, 6, 6\); give float32"),
        ({"calibration": [X * float("nan")]}, "values that are not finite"),
        ({"calibration": [X.to(torch.uint8)]}, r"torch.uint8 .*; give float32 images \(n, 3, 6, 6"),
        ({"calibration": [X[:0]]}, r"calibration\[0\] holds no image"),
        ({"calibration": 3}, "calibration is a int"),
        ({"labels": [0, 1, 2]}, r"labels\[0\] is 0; labels are strings"),
        ({"labels": "abc"}, "labels='abc'; give a list with one string a class"),
        ({"mean": "abc", "std": "abc"}, "mean='abc'; give one finite number for each of 3"),
        ({"mean": [None] * 3, "std": [1] * 3}, "give one finite number for each of 3"),
    ],
)
def test_wrong_arguments(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BitlensError, match=message):
        pack(Net(), X, **settings)


def test_one_tensor_is_one_calibration_batch_and_none_means_no_labels() -> None:
    batch, batches = (pack(Net(), X, c, labels=None).graph for c in (3 * X, [3 * X]))
    assert batch.tensors.keys() == batches.tensors.keys() and batch.labels == ()
    assert all((batch.tensors[name] == batches.tensors[name]).all() for name in batch.tensors)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_no_net() -> None:
    for model, message in (
        (Net().state_dict(), "dict; build the net"),
        (lambda x: x, "model is a function; give an nn.Module"),
        (torch.jit.trace(nn.Conv2d(3, 4, 1), X), "model is a ScriptModule"),
    ):
        with pytest.raises(BitlensError, match=message):
            pack(model, X)


WAYS: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "dict": (lambda net, x: {"out": net(x)}, "returns a dict with 'out'; wrap it"),
    "tuple": (lambda net, x: (net(x),), "returns a tuple of 1; wrap it"),
    "none": (lambda net, x: None, "returns a NoneType; wrap it"),
    "channels": (
        lambda net, x: net(x[:, :2]),
        r"cannot run on the example \(3, 6, 6\), in 'net.0'",
    ),
    "tiny divisor": (lambda net, x: net(x / 1e-39), "divides by 1e-39, whose reciprocal"),
    "softmax": (lambda net, x: net(x).softmax(1), "return the logits"),
    "argmax": (lambda net, x: net(x).argmax(1), "return the logits"),
    "in place": (lambda net, x: net(x.mul_(2)), "changes its input in place; write x = x"),
    "where": (lambda net, x: net(torch.where(x > 0, x, -x)), "use clamp, relu"),
    "cast": (lambda net, x: net(x.double().float()), "compute in float32 throughout"),
    "layer norm": (lambda net, x: nn.functional.layer_norm(net(x), (3,)), "use nn.BatchNorm2d"),
    "overflow": (lambda net, x: net((x * 1e30) * 1e30), "makes numbers beyond float32"),
}


@pytest.mark.parametrize("name", WAYS)
def test_nets_that_cannot_be_packed(name: str) -> None:
    way, message = WAYS[name]
    before = X.clone()
    with pytest.raises(BitlensError, match=message):
        packed(way)
    assert torch.equal(X, before)


def test_two_inputs_and_one_dimension() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    with pytest.raises(BitlensError, match=r"cannot run on the example.*'y'; give images"):
        pack(Two(), X)
    with pytest.raises(BitlensError, match=r"conv1d cannot be packed; write it as an nn.Conv2d"):
        pack(nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 4, 3), nn.Flatten()), X)


def test_control_flow_by_pixels_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BitlensError, match="cannot follow the net"):
        packed(lambda net, x: net(x) if x.sum() > 0 else -net(x))
    out, err = capfd.readouterr()
    assert out == "" and err == ""


def test_autocast_around_pack_changes_nothing() -> None:
    with torch.autocast("cpu"):
        found = pack(Net(), X)
    own = pack(Net(), X)
    assert found.verification == own.verification


def test_a_mask_that_nobody_reads_may_be_infinite() -> None:
    net = Net()
    net.register_buffer("mask", torch.full((3,), -torch.inf))
    assert pack(net, X).verification.differing == 0
    net.way = lambda inner, x: inner(x) + net.mask
    with pytest.raises(BitlensError, match="constant that is not finite"):
        pack(net, X)


class Twins(nn.Module):
    """Two layers with equal weights on one input."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
        self.a, self.b = nn.Conv2d(4, 4, 3, bias=False), nn.Conv2d(4, 4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(self.a(x) + self.b(x))


def test_two_layers_with_equal_weights_on_one_input_stay_two() -> None:
    net = binarize(Twins(), "bireal", keep_float=("stem", "head"))
    net.b.load_state_dict(net.a.state_dict())
    found = pack(net, X, strict=True)
    assert {"a", "b"} <= {row.name for row in found.table.rows}
    assert {"a", "b"} == set(binary_layers(net))


def test_strict_refuses_a_net_without_binary_layers() -> None:
    net = nn.Conv2d(3, 4, 3)
    assert "no signs to compare, the net has no binary layer" in str(pack(net, X).verification)
    with pytest.raises(BitlensError, match="strict, and the net has no binary layer"):
        pack(net, X, strict=True)


def test_a_file_must_end_in_bits(tmp_path: Path) -> None:
    with pytest.raises(BitlensError, match=r"net\.txt must end in \.bits"):
        pack(nn.Conv2d(3, 4, 3), X).save(tmp_path / "net.txt")
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_calibration_and_comparison() -> None:
    told: list[tuple[int, int]] = []
    pack(Net(), X, [X, X], progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 6), (4, 6), (6, 6)]
