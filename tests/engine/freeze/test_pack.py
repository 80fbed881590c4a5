"""`bitlens.pack`: from a net to a file that answers like it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bitlens
from bitlens import BitlensError, binarize
from bitlens.engine.file.header import from_json, to_json
from bitlens.engine.freeze.pack import Packed, pack
from bitlens.engine.freeze.pixels import image_bytes, normalised
from bitlens.engine.reference import run as reference
from bitlens.models.dense import create_dense
from bitlens.models.layers import binary_layers

MEAN, STD = (0.45, 0.5, 0.4), (0.25, 0.2, 0.3)


def images(n: int = 4) -> Tensor:
    random = np.random.default_rng(0)
    return normalised(random.integers(0, 256, (n, 12, 12, 3), dtype=np.uint8), MEAN, STD)


def small_net(method: str = "reactnet") -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 20, 3, padding=1), nn.BatchNorm2d(20), nn.PReLU(20)),
        nn.Sequential(nn.Conv2d(20, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)),
    )
    return binarize(net, method, keep_float=("0", "3"))


@pytest.fixture(scope="module")
def packed() -> Packed:
    return pack(small_net(), images(), mean=MEAN, std=STD, labels=("a", "b", "c", "d"))


def test_every_sign_was_compared(packed: Packed) -> None:
    found = packed.verification
    assert (found.images, found.layers, found.differing) == (4, 2, 0)
    assert found.codes == 4 * 6 * 6 * (8 + 20)
    verified = packed.graph.meta["verified"]
    assert isinstance(verified, dict) and verified["codes"] == found.codes


def test_the_file_answers_as_the_net(packed: Packed, tmp_path: Path) -> None:
    packed.save(tmp_path / "net.bits")
    session = bitlens.load(tmp_path / "net.bits")
    x = images()
    rows = image_bytes(x, MEAN, STD)
    scores = session(rows.transpose(0, 3, 1, 2))
    assert np.array_equal(scores, session(x.numpy()))
    expected = reference.run(packed.graph, rows)[packed.graph.output][:, 0, 0]
    assert np.array_equal(scores, expected)
    net = small_net().eval()
    with torch.no_grad():
        assert np.abs(net(x).numpy() - scores).max() == pytest.approx(packed.verification.largest)


def test_the_signs_in_the_file_are_the_layers_own(packed: Packed, tmp_path: Path) -> None:
    packed.save(tmp_path / "net.bits")
    found = bitlens.signs(tmp_path / "net.bits")
    layers = binary_layers(small_net())
    assert set(found) == set(layers)
    for name, layer in layers.items():
        assert np.array_equal(found[name], layer.signs().numpy())


def test_the_table_says_what_each_layer_is_and_why(packed: Packed) -> None:
    rows = {row.name: row for row in packed.table.rows}
    assert {name: row.bits for name, row in rows.items()} == {
        "0.0": 8,
        "0.0.fine": 8,
        "1.0": 1,
        "2.0": 1,
        "3.2": 8,
    }
    assert rows["1.0"].why == "binary (reactnet)"
    assert rows["0.0"].why == "kept float (reads the image)"
    assert rows["0.0.fine"].why == "second term of 0.0"
    assert rows["3.2"].why == "kept float (gives the answer)"
    assert rows["1.0"].float_bytes == 4 * (8 * 20 * 9 + 20)  # weights and bias
    assert "binary (reactnet)" in str(packed.table)
    assert packed.graph.meta["method"] == "reactnet"


def test_the_memory_format_of_net_and_images_does_not_matter(packed: Packed) -> None:
    net = small_net().to(memory_format=torch.channels_last)
    x = images().to(memory_format=torch.channels_last)
    found = pack(net, x, mean=torch.tensor(MEAN), std=torch.tensor(STD))
    rows = image_bytes(images(), MEAN, STD)
    ours, theirs = (reference.run(graph, rows) for graph in (found.graph, packed.graph))
    # Torch takes the mean of |w| in the order of memory, so a scale may differ in its last bit.
    assert np.allclose(ours[found.graph.output], theirs[packed.graph.output], atol=1e-6)


def test_float_layers_on_request() -> None:
    found = pack(small_net(), images(), mean=MEAN, std=STD, float32=True)
    assert {row.name: row.bits for row in found.table.rows}["0.0"] == 32
    assert found.verification.largest < 1e-5 and found.verification.top1_changes == 0
    assert found.graph.values[found.graph.input].kind == "float"


def test_calibration_images_give_the_ranges() -> None:
    x = images()
    step = {}
    for name, batches in (("own", None), ("wide", [x, 8 * x[:1]])):
        graph = pack(small_net("bireal"), x, batches).graph
        quantized = [s for node in graph.nodes for s in node.steps if s.op == "quantize"]
        step[name] = quantized[0].scale
    assert step["wide"] < step["own"]


def test_a_net_without_mean_and_std_takes_floats() -> None:
    x = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    found = pack(small_net("bnn"), x)
    assert found.graph.mean is None and found.graph.values["image"].kind == "float"
    assert found.verification.images == 2


def test_strict_names_the_layer_that_is_not_1_bit() -> None:
    net = small_net()
    pack(net, images(), mean=MEAN, std=STD, strict=True)
    binary_layers(net)["1.0"].binary_weights = False
    with pytest.raises(BitlensError, match=r"layer '1\.0'.*stage one of a two-step plan"):
        pack(net, images(), mean=MEAN, std=STD, strict=True)
    rows = {row.name: row for row in pack(net, images(), mean=MEAN, std=STD).table.rows}
    assert (rows["1.0"].bits, rows["1.0"].why) == (8, "real weights: stage one of a two-step plan")


class Detour(nn.Module):
    """A net with a layer that its answer does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.unused = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x))


def test_strict_names_a_layer_that_is_not_used() -> None:
    net = binarize(Detour(), "bireal")
    pack(net, images(2))
    with pytest.raises(BitlensError, match=r"'unused'.*nothing in the net's answer depends on it"):
        pack(net, images(2), strict=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": MEAN}, "mean and std together"),
        ({"mean": (0.5,), "std": STD}, r"mean=\(0\.5,\); give one finite number for each of 3"),
        ({"mean": MEAN, "std": (0.1, 0.0, 0.1)}, "every entry must be positive"),
        ({"mean": (0.9,) * 3, "std": (2.0,) * 3}, "are no bytes under mean"),
        ({"labels": ("a", "b")}, "2 labels for a net with 4 outputs"),
    ],
)
def test_arguments_that_do_not_fit_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BitlensError, match=message):
        pack(small_net("bireal"), images(), **settings)


def test_the_example_must_be_finite_images() -> None:
    x = images()
    x[0, 0, 0, 0] = float("nan")
    with pytest.raises(BitlensError, match="not finite"):
        pack(small_net("bireal"), x)
    with pytest.raises(BitlensError, match="example is a ndarray"):
        pack(small_net("bireal"), images().numpy())  # pyrefly: ignore[bad-argument-type]


def test_weights_tied_to_another_layer_stay_real() -> None:
    net = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(4)))
    net[2].weight = net[1].weight
    net = binarize(net, "bireal", keep_float=("0",))
    found = pack(net, images(2))
    assert {row.name: row.bits for row in found.table.rows} == {"0": 8, "1": 8, "2": 8, "3": 1}
    assert "shared" in next(row.why for row in found.table.rows if row.name == "1")


def test_a_net_of_one_layer() -> None:
    found = pack(binarize(nn.Conv2d(3, 4, 3), "bireal", keep_float=()), images(2), strict=True)
    row = found.table.rows[-1]
    assert (row.name, row.bits, row.why) == ("(net)", 1, "binary (bireal)")
    real = pack(nn.Conv2d(3, 4, 3), images(2)).table.rows
    assert [(row.name, row.bits) for row in real] == [("(net)", 8)]


@pytest.mark.parametrize("label", ["a\ud800", "two\nlines", "\x1b[31mred", "nul\0"])
def test_labels_that_no_line_shows(packed: Packed, label: str) -> None:
    with pytest.raises(BitlensError, match=r"labels\[1\] is .* no control characters"):
        pack(small_net(), images(), mean=MEAN, std=STD, labels=("a", label, "c", "d"))
    told = to_json(packed.graph) | {"labels": ["a", label, "c", "d"]}
    with pytest.raises(BitlensError, match=r"labels: .* is not a line of text"):
        from_json(told, packed.graph.tensors)


def dense_pack(heads: dict[str, int]) -> Packed:
    net = create_dense(
        "dense-resnet18-bireal-half", method="bireal", heads=heads, channels=3, image_size=(32, 32)
    )
    random = np.random.default_rng(0)
    x = normalised(random.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8), MEAN, STD)
    return pack(net.eval(), x, mean=MEAN, std=STD)


def test_dense_nets_of_other_heads_have_no_heads_in_their_file() -> None:
    packed = dense_pack({"normals": 3})
    assert "heads" not in packed.graph.meta
    assert "predictions identical: " in str(packed.verification)


def test_nets_of_two_heads_have_both_compared() -> None:
    found = dense_pack({"segment": 3, "depth": 1}).verification
    assert found.identical == found.answers == 2 * 8 * 8
    assert "; classes and depths identical: 128 of 128; " in str(found)
    assert " classes change, answers by at most " in str(found)
