"""The layer table against numbers counted by hand."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from bitlens import BitlensError, binarize, pack, summary
from bitlens.models import create
from bitlens.models.layers import binary_layers
from bitlens.models.summary import Summary


def row(table: Summary, name: str):
    (found,) = [row for row in table.rows if row.name == name]
    return found


def test_a_residual_net_has_the_costs_counted_by_hand() -> None:
    net = create("resnet8-bireal-poolpad", method="bireal", classes=10, channels=3, image_size=32)
    table = summary(net, torch.randn(2, 3, 32, 32))
    convs = [(16, 16, 32), (16, 16, 32), (16, 32, 16), (32, 32, 16), (32, 64, 8), (64, 64, 8)]
    assert [r.macs for r in table.binary] == [9 * i * o * side**2 for i, o, side in convs]
    assert [r.bytes_latent for r in table.binary] == [4 * 9 * i * o for i, o, _ in convs]
    words = [-(-9 * i // 32) for i, _, _ in convs]
    assert words == [5, 5, 5, 9, 9, 18]
    packed = [4 * o * (count + 1) for count, (_, o, _) in zip(words, convs, strict=True)]
    assert [r.bytes_packed for r in table.binary] == packed
    stem, head = row(table, "stem"), row(table, "head")
    assert (stem.macs, stem.bytes_packed, stem.why) == (27 * 16 * 1024, 4 * 432, "kept float")
    assert (head.macs, head.bytes_packed) == (640, 4 * 650)
    norms = 2 * (16 + 16 + 16 + 32 + 32 + 64 + 64 + 64)
    assert table.other_parameters == norms
    assert table.bytes_packed == 4 * (432 + 650 + norms) + sum(packed)
    assert table.bytes_latent == 4 * sum(p.numel() for p in net.parameters())
    assert table.parameters == sum(p.numel() for p in net.parameters())


class Mixed(nn.Module):
    """One layer of every kind, and none of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.grouped = nn.Conv2d(6, 12, (3, 1), stride=2, groups=3, bias=True)
        self.up = nn.ConvTranspose2d(12, 5, 2, stride=2)
        self.line = nn.Conv1d(5, 4, 3)
        self.tokens = nn.Linear(4, 7)
        self.memory = nn.LSTM(7, 3, batch_first=True)
        self.normed = parametrizations.weight_norm(nn.Linear(3, 3))
        self.norm = nn.LayerNorm(3)
        self.free = nn.Parameter(torch.zeros(2, 3))
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).movedim(-1, 1)
        x = self.line(self.up(self.grouped(x)).flatten(2))
        x = self.memory(self.tokens(x.mT))[0]
        return self.head(self.norm(self.normed(x)).mean(1))


def test_every_weighted_layer_appears_once_with_its_reason() -> None:
    net = binarize(Mixed(), keep_float=("head",))
    table = summary(net)
    assert [(r.name, r.kind, r.bits, r.why) for r in table.rows] == [
        ("embed", "embedding", 32, "no binary Embedding"),
        ("grouped", "conv 3x1 grouped", 1, "binary (bireal)"),
        ("up", "conv 2x2", 32, "no binary ConvTranspose2d"),
        ("line", "conv 3", 32, "no binary Conv1d"),
        ("tokens", "linear", 1, "binary (bireal)"),
        ("memory", "lstm", 32, "no binary LSTM"),
        (
            "normed",
            "linear",
            32,
            "its weight is computed from other tensors (parametrized or pruned)",
        ),
        ("head", "linear", 32, "kept float"),
    ]
    assert all(r.macs is None for r in table.rows)
    assert row(table, "embed").shape == (11, 6)
    assert row(table, "memory").bytes_latent == 4 * (4 * 3 * (7 + 3) + 2 * 12)
    assert row(table, "normed").bytes_latent == 4 * (3 * 3 + 3 + 3)
    assert table.other_parameters == 2 * 3 + 2 * 3
    assert table.parameters == sum(p.numel() for p in net.parameters())


def test_multiplications_of_every_kind_of_layer() -> None:
    net = binarize(Mixed(), keep_float=("head",))
    table = summary(net, torch.zeros(3, 7, 4, dtype=torch.long))
    # embed 7x4x6 -> grouped: rows (7 - 3) // 2 + 1 = 3, columns (4 - 1) // 2 + 1 = 2
    assert row(table, "grouped").macs == 3 * 2 * 12 * (6 // 3) * 3
    assert row(table, "up").macs == 3 * 2 * 12 * 5 * 2 * 2
    positions = 6 * 4 - 2
    assert row(table, "line").macs == positions * 5 * 4 * 3
    assert row(table, "tokens").macs == positions * 4 * 7
    assert row(table, "normed").macs == positions * 3 * 3
    assert row(table, "head").macs == 3 * 2
    assert row(table, "memory").macs is None
    assert row(table, "embed").macs is None


class Folded(nn.Module):
    """Moves positions into the batch axis and calls one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4)
        self.alias = self.mix

    def forward(self, x: Tensor) -> Tensor:
        return self.alias(self.mix(x.flatten(0, 1)))


def test_macs_are_per_image_and_a_shared_layer_weighs_once() -> None:
    net = binarize(Folded())
    table = summary(net, torch.randn(2, 6, 4))
    assert [r.name for r in table.rows] == ["mix"]
    assert table.rows[0].macs == 2 * 6 * 16
    assert table.rows[0].bytes_latent == table.bytes_latent == 4 * 20
    assert table.bytes_packed == 4 * (4 + 4 + 4)


def test_a_tied_tensor_weighs_once() -> None:
    net = nn.ModuleDict({"embed": nn.Embedding(9, 4), "head": nn.Linear(4, 9)})
    net["head"].weight = net["embed"].weight
    table = summary(net)
    assert [r.bytes_latent for r in table.rows] == [4 * 36, 4 * 9]
    assert table.parameters == 45


def test_thresholds_and_slopes_count_as_other_parameters() -> None:
    layer = binarize(nn.Conv2d(5, 4, 3, bias=False), "reactnet")
    table = summary(layer)
    assert table.rows[0].name == "(net)"
    assert table.other_parameters == 5
    assert table.bytes_packed == 4 * (4 * 2 + 4) + 4 * 5


TRAINED = ("vispa", "recu", "biper", "siman", "fda", "rbnn", "subbit", "adabin", "irnet")


@pytest.mark.parametrize("method", TRAINED)
def test_what_only_trains_is_in_no_size(method: str) -> None:
    sizes = {"classes": 10, "channels": 3, "image_size": 32}
    plain = summary(create("resnet8-bireal-poolpad", method="bireal", **sizes))
    net = create("resnet8-bireal-poolpad", method=method, **sizes)
    table = summary(net)
    assert [r.bytes_latent for r in table.rows] == [r.bytes_latent for r in plain.rows]
    offset = 4 if method == "adabin" else 0
    assert [r.bytes_packed for r in table.rows] == [
        r.bytes_packed + offset * r.shape[0] * (r.bits == 1) for r in plain.rows
    ]
    everything = sum(p.numel() for p in net.parameters())
    learned = {
        id(p): p.numel()
        for layer in binary_layers(net).values()
        for p in layer.weight_binarizer.parameters()
    }
    if method == "fda":
        assert table.training_parameters > sum(learned.values()) > 0
        assert table.shipped_parameters == plain.shipped_parameters
    else:
        assert table.training_parameters == sum(learned.values())
    assert table.parameters == everything
    assert table.shipped_parameters == everything - table.training_parameters
    assert table.bytes_latent == 4 * table.shipped_parameters
    assert ("never shipped" in str(table)) == (table.training_parameters > 0)
    if method in ("vispa", "recu", "biper", "siman", "fda", "rbnn"):
        assert table.bytes_packed == plain.bytes_packed and table.training_parameters > 0


def test_a_packed_net_is_compared_with_the_net_that_ships() -> None:
    sizes = {"classes": 10, "channels": 3, "image_size": 8, "seed": 0}
    claims = [
        pack(net, torch.randn(2, 3, 8, 8)).table.float_bytes
        for method in ("vispa", "bireal")
        for net in [create("resnet8-bireal-poolpad", method=method, **sizes)]
    ]
    assert claims[0] == claims[1]


def test_the_printed_table_holds_every_row_and_the_totals() -> None:
    net = create("mlp", method="bnn", classes=10, channels=1, image_size=28)
    table = summary(net, torch.randn(1, 1, 28, 28))
    lines = str(table).splitlines()
    for printed, r in zip(lines[1:], table.rows, strict=False):
        cells = printed.split()
        assert cells[0] == r.name
        numbers = [f"{n:,}" for n in (r.macs, r.bytes_latent, r.bytes_packed)]
        assert cells[-3:] == numbers
    assert len(lines) == len(table.rows) + 3
    assert lines[-1].split()[0] == "total"
    assert lines[-1].split()[-2:] == [f"{table.bytes_latent:,}", f"{table.bytes_packed:,}"]
    assert f"{table.bytes_latent / table.bytes_packed:.1f}x smaller" in lines[-1]


def test_rows_are_ready_for_json() -> None:
    table = summary(binarize(nn.Conv2d(2, 3, (1, 3))), torch.randn(1, 2, 4, 4))
    assert json.loads(json.dumps(table.as_dicts())) == [
        {
            "name": "(net)",
            "kind": "conv 1x3",
            "shape": [3, 2, 1, 3],
            "bits": 1,
            "why": "binary (bireal)",
            "macs": 4 * 2 * 18,
            "bytes_latent": 4 * 21,
            "bytes_packed": 4 * (3 + 3 + 3),
        }
    ]


class Modes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix = nn.BatchNorm1d(4), nn.Linear(4, 4)
        self.seen: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(any(module.training for module in self.modules()))
        return self.mix(self.norm(x))


@pytest.mark.parametrize("width", [4, 5])
def test_the_example_runs_in_evaluation_mode_and_leaves_no_trace(width: int) -> None:
    net = Modes().train()
    net.norm.eval()
    before = [module.training for module in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    if width == 4:
        summary(net, torch.randn(3, 4))
    else:
        with pytest.raises(RuntimeError):
            summary(net, torch.randn(3, 5))
    assert net.seen == [False]
    assert [module.training for module in net.modules()] == before
    assert not any(module._forward_hooks for module in net.modules())
    assert all(torch.equal(net.state_dict()[name], value) for name, value in state.items())


def test_a_lazy_layer_is_refused_until_an_example_gives_it_a_weight() -> None:
    net = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(BitlensError, match="layer '0' is lazy"):
        summary(net)
    assert summary(net, torch.randn(2, 5)).rows[0].macs == 15
