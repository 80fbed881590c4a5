"""The plane: right numbers, read in evaluation mode, and no trace left in the net."""

from __future__ import annotations

import copy
import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import bitlens
from bitlens.errors import BitlensError
from bitlens.information.plane import InformationPlane
from bitlens.information.steps import LogSteps
from bitlens.methods.contract import Progress, Sign
from bitlens.report.plane import read_plane


def binary_net(seed: int = 0) -> nn.Sequential:
    """8 -> 12 -> 6 -> 5 -> 3 with norms; two binary layers, so two signs of 12 and 6 units."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        *(nn.Linear(8, 12), nn.BatchNorm1d(12), nn.Hardtanh()),
        *(nn.Linear(12, 6), nn.BatchNorm1d(6), nn.Hardtanh()),
        *(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Hardtanh(), nn.Linear(5, 3)),
    )
    return bitlens.binarize(net, "bnn")


@pytest.fixture
def probe() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    x = torch.randn(300, 8, generator=source) * 2 + 1
    return x, (x[:, 0] > 1).long() + (x[:, 1] > 2).long()


def entropy(values: list[Any]) -> float:
    total = len(values)
    return -sum(k / total * math.log2(k / total) for k in Counter(values).values())


def brute_force(codes: Tensor, labels: Tensor) -> tuple[float, float]:
    """H(T) and I(T;Y) in bits, by counting tuples."""
    rows = [tuple(row) for row in codes.flatten(1).tolist()]
    y = labels.tolist()
    joint = entropy(list(zip(rows, y, strict=True)))
    return entropy(rows), entropy(rows) + entropy(y) - joint


def train(net: nn.Module, x: Tensor, y: Tensor, steps: int) -> None:
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for step in range(steps):
        rows = slice(32 * step % 256, 32 * step % 256 + 32)
        loss = F.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_every_number_equals_counting_with_the_batch_s_own_statistics(probe) -> None:
    """In training mode a copy normalises with the whole probe, which is what the plane must use."""
    x, y = probe
    net = binary_net()
    train(net, x, y, 20)
    row = InformationPlane(net, (x, y), schedule=[20]).measure(20)
    twin = copy.deepcopy(net).train()
    seen: list[Tensor] = []
    for module in twin.modules():
        if isinstance(module, Sign):
            module.register_forward_hook(lambda m, i, output: seen.append(output))
    logits = twin(x)
    assert list(row["layers"]) == ["3", "6", "prediction"]
    for name, codes in zip(row["layers"], [*seen, logits.argmax(1, keepdim=True)], strict=True):
        reading = row["layers"][name]
        h, i = brute_force(codes, y)
        assert reading["entropy"] == pytest.approx(h, abs=1e-9), name
        assert reading["information"] == pytest.approx(i, abs=1e-9), name
        assert 0.1 < h < math.log2(300)
    assert [row["layers"][n]["units"] for n in row["layers"]] == [12, 6, 1]
    assert row["layers"]["prediction"]["levels"] == 3


def test_a_whole_input_space_is_exact() -> None:
    """x in {-1,+1}^4 passes as it is, and y = x0 x1: 4 bits, 1 bit; units 2 and 3 know nothing."""
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4).repeat(2, 1)
    y = (corners[:, 0] * corners[:, 1] > 0).long()
    net = nn.Sequential(nn.Identity(), nn.Tanh(), nn.Linear(4, 2, bias=False), nn.Hardtanh())
    with torch.no_grad():
        net[2].weight.copy_(torch.tensor([[1.0, 1, 0, 0], [0, 0, 1.0, 0.5]]))
    plane = InformationPlane(net, corners, y, schedule=[0], population=True)
    layers = plane.measure(0)["layers"]
    assert (layers["1"]["entropy"], layers["1"]["information"]) == pytest.approx((4.0, 1.0))
    # Unit 0 is the sign of x0 + x1, with 0 as +1: P(+) = 3/4; given y = 0 it is +, given y = 1 a coin.
    h = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert layers["3"]["entropy"] == pytest.approx(h + 1)
    assert layers["3"]["information"] == pytest.approx(h - 0.5)
    assert layers["1"]["reading"] == "population"


def test_labels_may_be_minus_and_plus_one(probe) -> None:
    x, y = probe
    net = binary_net()
    signs, classes = (
        InformationPlane(net, (x, labels), schedule=[0]).measure(0)["layers"]
        for labels in ((y > 0) * 2 - 1, (y > 0).to(torch.uint8))
    )
    assert signs == classes


class Restless(nn.Module):
    """Writes into a buffer and replaces another one whenever it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("written", torch.zeros(3))
        self.register_buffer("replaced", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.written += 1
        self.replaced = self.replaced + 1
        return x


def test_measuring_leaves_no_trace(probe) -> None:
    x, y = probe
    net = nn.Sequential(*binary_net().children(), Restless())
    bitlens.set_progress(net, 0.25)
    progress = Progress()
    progress.attach(net)
    progress.set(net, 0.25)
    train(net, x, y, 5)
    net[1].eval()
    modes = [m.training for m in net.modules()]
    buffers = dict(net.named_buffers())
    state = {name: value.clone() for name, value in net.state_dict().items()}
    momenta = [m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm1d)]
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())
    random = torch.get_rng_state()
    loader = DataLoader(TensorDataset(x, y), batch_size=100)
    plane = InformationPlane(net, loader, schedule=[0, 1])
    plane.measure(0), plane.measure(1)
    assert torch.equal(torch.get_rng_state(), random)
    assert [m.training for m in net.modules()] == modes
    assert momenta == [m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm1d)]
    after = dict(net.named_buffers())
    assert all(after[name] is buffer for name, buffer in buffers.items())
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert progress.value == 0.25
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())
    assert all(p.grad is not None for p in net.parameters())


def test_data_that_draw_from_global_generators_leave_no_trace(probe) -> None:
    class Drawing(Dataset[tuple[Tensor, Tensor]]):
        def __len__(self) -> int:
            return len(probe[0])

        def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
            random.random(), np.random.rand(), torch.rand(1)
            return probe[0][place], probe[1][place]

    def states() -> list[Any]:
        numpys = np.random.get_state()
        return [random.getstate(), numpys[1].tolist(), numpys[2], torch.get_rng_state().tolist()]

    net = binary_net()
    before = states()
    InformationPlane(net, Drawing(), schedule=[0]).measure(0)
    assert states() == before


def test_an_error_leaves_no_trace_either(probe) -> None:
    x, y = probe
    net = binary_net().train()
    plane = InformationPlane(net, (x, y), schedule=[0])
    x[5] = 7.0
    state = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(BitlensError, match="changed between two passes"):
        plane.measure(0)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(m.training for m in net.modules())


def test_a_watched_training_ends_with_the_same_bits(probe) -> None:
    x, y = probe
    ends = []
    for watched in (False, True):
        net = nn.Sequential(*binary_net(), nn.Dropout(0.2))
        torch.manual_seed(5)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        plane = InformationPlane(net, (x, y), steps=12, schedule=LogSteps(6))

        def steps(net: nn.Module = net, optimizer: torch.optim.Optimizer = optimizer) -> None:
            for _ in range(12):
                optimizer.zero_grad()
                F.cross_entropy(net(x[:64]), y[:64]).backward()
                optimizer.step()

        if watched:
            with plane.watch(optimizer) as seen:
                steps()
            assert seen is plane
            assert [row["step"] for row in plane.rows] == list(LogSteps(6).steps(12))
        else:
            steps()
        ends.append(net.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_watching_closes_with_the_last_step_taken(probe) -> None:
    net = binary_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    plane = InformationPlane(net, probe, steps=100, schedule=[0, 2, 5, 100])
    with plane.watch(optimizer):
        for _ in range(7):
            optimizer.step()
    assert [row["step"] for row in plane.rows] == [0, 2, 5, 7]
    with pytest.raises(ZeroDivisionError), plane.watch(optimizer, done=8):
        raise ZeroDivisionError
    optimizer.step()
    assert [row["step"] for row in plane.rows] == [0, 2, 5, 7]
    with plane.watch(optimizer, done=98):
        optimizer.step(), optimizer.step()
    assert [row["step"] for row in plane.rows] == [0, 2, 5, 7, 100]
    assert plane.rows[-1]["epoch"] == 1.0


def test_only_scheduled_steps_are_measured_and_only_forward(probe) -> None:
    plane = InformationPlane(binary_net(), probe, schedule=[1, 3], steps_per_epoch=2)
    assert plane.step(0) is None and plane.step(2) is None
    assert plane.step(3)["epoch"] == 1.5
    with pytest.raises(BitlensError, match="step 1 after step 3"):
        plane.step(1)
    with pytest.raises(BitlensError, match="needs steps="):
        InformationPlane(binary_net(), probe)
    with pytest.raises(BitlensError, match="give steps, 0 or more"):
        InformationPlane(binary_net(), probe, schedule=[])


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"schedule": (k for k in range(3))}, "schedule=<generator .*; give steps, 0 or more"),
        ({"schedule": [0, 1.5]}, r"schedule=\[0, 1.5\]; give steps"),
        ({"schedule": [-1]}, r"schedule=\[-1\]; give steps"),
        ({"schedule": 5}, "schedule=5; give steps"),
        ({"schedule": "012"}, "schedule='012'; give steps"),
        ({"schedule": np.arange(0)}, "schedule=array.*; give steps"),
        ({"layers": 3}, "layers=3; give names"),
        ({"batch_size": -3}, "batch_size=-3; give a whole number, 1 or more"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
        ({"steps_per_epoch": -3}, "steps_per_epoch=-3; give a whole number, 1 or more"),
        ({"steps": 10.5}, "steps=10.5; give a whole number, 0 or more"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_impossible_arguments_are_named(probe, wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(BitlensError, match=why):
        InformationPlane(binary_net(), probe, **{"schedule": [0], **wrong})


def test_schedules_may_be_arrays(probe) -> None:
    plane = InformationPlane(binary_net(), probe, schedule=np.array([5, 0, 5]))
    assert plane.schedule == (0, 5)
    row = plane.measure(np.int64(5))
    assert json.loads(json.dumps(row))["step"] == 5
    with pytest.raises(BitlensError, match=r"step=6.5; give a whole number"):
        plane.measure(6.5)


def test_watching_is_taken_up_again_after_an_exception(probe) -> None:
    optimizer = torch.optim.SGD(binary_net().parameters(), lr=0.0)
    plane = InformationPlane(binary_net(), probe, schedule=[0, 2, 5])
    with pytest.raises(ZeroDivisionError), plane.watch(optimizer):
        optimizer.step(), optimizer.step()
        raise ZeroDivisionError
    with (
        pytest.raises(BitlensError, match=r"step 0 after step 2; .*watch\(optimizer, done=2\)"),
        plane.watch(optimizer),
    ):
        raise AssertionError("the block must not begin")
    with plane.watch(optimizer, done=2):
        for _ in range(3):
            optimizer.step()
    assert [row["step"] for row in plane.rows] == [0, 2, 5]
    with plane.watch(optimizer, done=5):
        pass
    assert [row["step"] for row in plane.rows] == [0, 2, 5]


def test_batches_and_kinds_of_probes_make_no_difference(probe) -> None:
    x, y = probe
    net = binary_net().double()
    x = x.double()
    data = TensorDataset(x, y)
    none = (x[:0], y[:0])
    pairs = [none, (x[:130], y[:130]), none, (x[130:], y[130:]), none]
    kinds = [((x, y), 300), ((x, y), 7), (data, 300), (DataLoader(data, 64), 50), (pairs, 300)]
    planes = [InformationPlane(net, kind, schedule=[0], batch_size=size) for kind, size in kinds]
    planes.append(InformationPlane(net, x, y, schedule=[0]))
    rows = [plane.measure(0)["layers"] for plane in planes]
    assert all(row == rows[0] for row in rows)
    assert all(plane.header == planes[0].header for plane in planes)


def test_wrapped_models_are_looked_through(probe) -> None:
    net = binary_net()
    compiled = torch.compile(net, backend="eager")
    plain, wrapped = (InformationPlane(n, probe, schedule=[0]) for n in (net, compiled))
    assert wrapped.net is net
    assert wrapped.measure(0)["layers"] == plain.measure(0)["layers"]


def test_compiled_parts_are_read_under_their_own_names(probe) -> None:
    net = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
    plain = InformationPlane(net, probe, schedule=[0], layers="1,2,3").measure(0)
    for place in (1, 2):
        net[place] = torch.compile(net[place], backend="eager")
    # Compiled before a hook is there, a part goes on without it.
    with torch.no_grad():
        net(probe[0])
    plane = InformationPlane(net, probe, schedule=[0], layers="1,2,3")
    row = plane.measure(0)
    assert row["layers"] == plain["layers"]
    assert plane.layers == ["1", "2", "3", "prediction"]
    assert InformationPlane(net, probe, schedule=[0]).layers == ["1", "3", "prediction"]


def test_a_layer_that_is_no_longer_run_is_named(probe) -> None:
    net = binary_net()
    plane = InformationPlane(net, probe, schedule=[0, 1])
    plane.measure(0)
    net[6].activation = copy.deepcopy(net[6].activation)
    with pytest.raises(BitlensError, match="step 1: layer '6' was not reached by any forward"):
        plane.measure(1)


def test_frozen_norms_are_read_as_training_computes_with_them(probe) -> None:
    x, y = probe
    net = binary_net()
    train(net, x, y, 3)
    net[4].eval()
    plane = InformationPlane(net, probe, schedule=[0, 1])
    layers = plane.measure(0)["layers"]
    # A copy whose other norms take the probe's own statistics, as training would.
    twin, seen = copy.deepcopy(net), []
    assert twin.training and not twin[4].training
    twin[6].activation.sign.register_forward_hook(lambda m, i, output: seen.append(output))
    twin(x)
    assert layers["6"]["entropy"] == pytest.approx(brute_force(seen[0], y)[0], abs=1e-9)
    net.eval()
    assert plane.measure(1)["layers"]["6"]["entropy"] != layers["6"]["entropy"]


def test_the_file_is_what_the_report_reads(probe, tmp_path: Path) -> None:
    plane = InformationPlane(binary_net(), probe, steps=4, split="all")
    for step in range(5):
        plane.step(step)
    plane.save(tmp_path / "plane.jsonl")
    header, *rows = map(json.loads, (tmp_path / "plane.jsonl").read_text().splitlines())
    assert header == plane.header and rows == plane.rows
    assert header["readouts"] == {"3": "signs", "6": "signs", "prediction": "prediction"}
    assert header["probe"]["samples"] == 300 and header["probe"]["classes"] == 3
    read = read_plane(tmp_path / "plane.jsonl")
    assert read is not None and read.steps == [0, 1, 2, 3, 4] and not read.torn
    with pytest.raises(BitlensError, match="could not write"):
        plane.save(tmp_path / "none" / "plane.jsonl")


class TestBadProbes:
    @pytest.mark.parametrize(
        ("make", "why"),
        [
            (lambda x, y: x, "labels are missing"),
            (lambda x, y: (x, y.float()), "labels are torch.float32"),
            (lambda x, y: (x, y[:-1]), r"labels of shape \(299,\)"),
            (lambda x, y: (x, y[:, None]), r"labels of shape \(300, 1\)"),
            (lambda x, y: (x[0, 0], y[0]), r"labels of shape \(\)"),
            (lambda x, y: (x, y.where(y != 2, -100)), r"labels of a batch are -100.*keep = labels"),
            (lambda x, y: [(x[:0], y[:0])], "no samples"),
            (lambda x, y: (x[:31], y[:31]), "31 samples of 3 classes"),
            (lambda x, y: (x[:40], torch.arange(40)), "40 samples of 40 classes"),
            (lambda x, y: (x, y * 0), "all 300 samples have label 0"),
            (lambda x, y: ((x, y) for _ in range(1)), "only once"),
            (lambda x, y: [], "no samples"),
            (lambda x, y: [x], r"a batch is a Tensor\(\)"),
            (lambda x, y: [(x, y, y)], r"a batch is a tuple\(Tensor, Tensor, Tensor\)"),
            (lambda x, y: 5, "int gives no batches"),
        ],
    )
    def test_is_refused_with_the_reason(self, probe, make, why: str) -> None:
        with pytest.raises(BitlensError, match=why):
            InformationPlane(binary_net(), make(*probe), schedule=[0])

    def test_labels_twice(self, probe) -> None:
        with pytest.raises(BitlensError, match="goes with a tensor of inputs"):
            InformationPlane(binary_net(), probe, probe[1], schedule=[0])

    def test_shuffled(self, probe) -> None:
        loader = DataLoader(TensorDataset(*probe), batch_size=100, shuffle=True)
        with pytest.raises(BitlensError, match="order changed between two passes"):
            InformationPlane(binary_net(), loader, schedule=[0])

    @pytest.mark.parametrize("part", [0, 1])
    def test_changed_later(self, probe, part: int) -> None:
        plane = InformationPlane(binary_net(), probe, schedule=[0, 1])
        plane.measure(0)
        probe[part][[3, 7]] = probe[part][[7, 3]] + 1
        with pytest.raises(BitlensError, match="plane, step 1: probe: its samples"):
            plane.measure(1)


class TestNetsThatCannotBeRead:
    def test_nan_names_layer_and_step(self, probe) -> None:
        net = binary_net()
        plane = InformationPlane(net, probe, schedule=[0, 9])
        plane.measure(0)
        net[4].weight.data[2] = float("nan")
        with pytest.raises(BitlensError, match=r"plane, step 9: layer '6': .* NaN"):
            plane.measure(9)

    def test_nan_in_the_output(self, probe) -> None:
        net = binary_net()
        net[-1].weight.data[0, 0] = float("nan")
        with pytest.raises(BitlensError, match=r"step 4: layer 'prediction'.* NaN"):
            InformationPlane(net, probe, schedule=[4]).measure(4)

    def test_statistics_of_the_batch(self, probe) -> None:
        net = binary_net()
        net[4] = nn.BatchNorm1d(6, track_running_stats=False)
        with pytest.raises(BitlensError, match="layer '6' sees a sample differently alone"):
            InformationPlane(net, probe, schedule=[0]).measure(0)

    def test_chance(self, probe) -> None:
        class Noisy(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return F.dropout(x, 0.3, training=True)

        net = nn.Sequential(nn.Linear(8, 8), Noisy(), nn.Tanh(), nn.Linear(8, 3))
        with pytest.raises(BitlensError, match="layer '2' sees a sample differently"):
            InformationPlane(net, probe, schedule=[0]).measure(0)

    def test_rounding_at_a_threshold_is_no_dependence(self, probe) -> None:
        """A unit at exactly 0 falls either way with the batch size; what follows differs much."""

        class Rounding(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x + (1e-7 if len(x) > 100 else -1e-7)

        x, y = probe
        x[:8:2, 0] = 0.0
        net = nn.Sequential(Rounding(), nn.Tanh(), Hard(), nn.Linear(8, 3), nn.Tanh())
        row = InformationPlane(net, (x, y), schedule=[0], layers="1,4").measure(0)
        assert list(row["layers"]) == ["1", "4", "prediction"]

    @pytest.mark.parametrize(
        ("output", "why"),
        [
            (lambda x: x[:, 0, None, None].expand(-1, 2, 2), r"puts out \(8, 2, 2\)"),
            (lambda x: (x,), "puts out tuple"),
            (lambda x: x[:-1], r"puts out \(7, 8\)"),
        ],
    )
    def test_outputs_that_are_no_decision(self, probe, output, why: str) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.act = nn.Tanh()

            def forward(self, x: Tensor) -> Any:
                return output(self.act(x))

        x, y = probe
        with pytest.raises(BitlensError, match=why):
            InformationPlane(Net(), (x, y), schedule=[0])


class Hard(nn.Module):
    """A sign that is no `Sign`."""

    def forward(self, x: Tensor) -> Tensor:
        return (x >= 0).to(x.dtype) * 2 - 1


def test_a_net_may_decide_for_classes_that_the_probe_has_not(probe) -> None:
    x, y = probe
    net = nn.Sequential(nn.Tanh(), nn.Linear(8, 40))
    plane = InformationPlane(net, (x, (y > 0).long()), schedule=[0])
    reading = plane.measure(0)["layers"]["prediction"]
    assert (reading["levels"], reading["classes"]) == (40, 2)
    assert 1.5 < reading["entropy"] == pytest.approx(brute_force(net(x).argmax(1)[:, None], y)[0])


def test_batches_of_one_are_as_good(probe) -> None:
    x, y = (part[:40] for part in probe)
    net = nn.Sequential(nn.Linear(8, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).double()
    singles = [(x[k : k + 1].double(), y[k : k + 1]) for k in range(40)]
    rows = [
        InformationPlane(net, source, schedule=[0]).measure(0)["layers"]
        for source in (singles, (x.double(), y))
    ]
    assert rows[0] == rows[1]


def test_one_logit_is_decided_by_its_sign(probe) -> None:
    x, y = probe
    net = nn.Sequential(nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0))
    y = (y > 0).long()
    reading = InformationPlane(net, (x, y), schedule=[0]).measure(0)["layers"]["prediction"]
    h, i = brute_force((net(x)[:, None] >= 0), y)
    assert (reading["entropy"], reading["information"]) == pytest.approx((h, i))
