"""The run folder: made once, locked by one, never half of anything."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import bitlens
from bitlens.errors import BitlensError
from bitlens.models import create
from bitlens.training.recipe import Recipe
from bitlens.training.run import RunFolder, environment, load_weights, read_json


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "deep" / "run")


def test_create_writes_the_recipe_once(run: RunFolder) -> None:
    recipe = Recipe(name="mine", epochs=3)
    with run.locked():
        run.create(recipe)
    assert run.recipe() == recipe
    assert not run.complete
    with pytest.raises(BitlensError, match="already holds a run; continue it with --resume"):
        run.create(recipe)
    run.check_same(recipe.with_seed(0))
    with pytest.raises(BitlensError, match=r"epochs: 3 -> 4; lr: 0.002 -> 0.1") as caught:
        run.check_same(Recipe(name="other", epochs=4, lr=0.1))
    assert str(run.path) in str(caught.value)


def test_no_run_and_a_damaged_one(run: RunFolder) -> None:
    with pytest.raises(BitlensError, match=r"holds no run \(recipe.json is missing\)"):
        run.recipe()
    run.path.mkdir(parents=True)
    run.recipe_file.write_text('{"schema": 1,\n "name": ')
    with pytest.raises(BitlensError, match=r"recipe.json, line 2: damaged JSON"):
        run.recipe()
    run.recipe_file.write_bytes(b'{"\xff\xfe')
    with pytest.raises(BitlensError, match=r"recipe.json: not text \(byte 2\)"):
        run.recipe()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("hello")
    with (
        pytest.raises(BitlensError, match=r"cannot use .*run as a run folder: File exists"),
        RunFolder(tmp_path / "run").locked(),
    ):
        pass
    assert (tmp_path / "run").read_text() == "hello"


def test_one_process_at_a_time(run: RunFolder) -> None:
    with run.locked():
        with (
            pytest.raises(BitlensError, match="another process is training in") as caught,
            RunFolder(run.path).locked(),
        ):
            pass
        assert str(run.path) in str(caught.value)
    with RunFolder(run.path).locked():
        pass


def test_a_killed_process_leaves_no_lock_and_no_rubbish(run: RunFolder) -> None:
    program = (
        "import sys, os, signal; from pathlib import Path; "
        "from bitlens.training.run import RunFolder; run = RunFolder(Path(sys.argv[1]))\n"
        "with run.locked():\n"
        "    (run.path / '.state.pt.01234567.tmp').write_text('half'); print('locked', flush=True)\n"
        "    sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(run.path)],
        env={**os.environ, "PYTHONPATH": str(Path(bitlens.__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None and child.stdin is not None
    assert child.stdout.readline() == "locked\n"
    with pytest.raises(BitlensError, match="another process"), run.locked():
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    child.stdin.close()
    with run.locked():
        assert [p.name for p in run.path.iterdir()] == [".lock"]


def test_metrics_rewind_to_what_the_checkpoint_covers(run: RunFolder) -> None:
    with run.locked():
        for epoch in (1, 2, 3):
            run.append_metrics({"epoch": epoch, "x": None})
        with run.metrics_file.open("a") as file:
            file.write('{"epoch": 4, "x"')
        run.rewind_metrics(2)
        assert run.metrics() == [{"epoch": 1, "x": None}, {"epoch": 2, "x": None}]
        run.append_metrics({"epoch": 3, "x": 1})
        assert [row["epoch"] for row in run.metrics()] == [1, 2, 3]
        run.rewind_metrics(0)
        assert run.metrics() == []


@pytest.mark.parametrize(
    "content", ["", '{"epoch": 1}\n', '{"epoch": 1}\n{"epo\n{"epoch": 3}\n', '{"epoch": 2}\n3\n']
)
def test_metrics_that_lack_a_covered_epoch_are_refused_and_kept(
    run: RunFolder, content: str
) -> None:
    run.path.mkdir(parents=True)
    run.metrics_file.write_text(content)
    with pytest.raises(BitlensError, match=r"metrics.jsonl, line \d: damaged or missing"):
        run.rewind_metrics(2)
    assert run.metrics_file.read_text() == content


@pytest.mark.parametrize("model", ["mlp", "resnet20-normal-slicepad", "resnet18-normal-bin1x1"])
def test_weights_round_trip(run: RunFolder, model: str) -> None:
    run.path.mkdir(parents=True)
    kind = {"method": "reactnet", "classes": 3, "channels": 1, "image_size": 16}
    net, other = create(model, seed=1, **kind), create(model, seed=2, **kind)
    net.to(memory_format=torch.channels_last)
    run.save_weights(run.last_file, net)
    load_weights(run.last_file, other)
    expected = net.state_dict()
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert os.listdir(run.path) == ["last.safetensors"]


def test_others_may_read_the_weights(run: RunFolder) -> None:
    run.path.mkdir(parents=True)
    run.save_weights(run.last_file, nn.Linear(2, 2))
    run.recipe_file.write_text("{}")
    modes = {stat.S_IMODE(file.stat().st_mode) for file in run.path.iterdir()}
    assert len(modes) == 1, "no file is more private than the rest"


def test_weights_that_do_not_fit(run: RunFolder) -> None:
    run.path.mkdir(parents=True)
    run.save_weights(run.last_file, nn.Linear(2, 2))
    with pytest.raises(BitlensError, match="cannot load these weights into the net"):
        load_weights(run.last_file, nn.Linear(3, 2))
    with pytest.raises(BitlensError, match="cannot load"):
        load_weights(run.last_file, nn.Sequential(nn.Linear(2, 2)))
    run.last_file.write_bytes(run.last_file.read_bytes()[:-3])
    with pytest.raises(BitlensError, match="cannot load"):
        load_weights(run.last_file, nn.Linear(2, 2))
    with pytest.raises(BitlensError, match="cannot load"):
        load_weights(run.path / "none.safetensors", nn.Linear(2, 2))


def test_weights_that_do_not_fit_are_named_and_leave_the_net_alone(run: RunFolder) -> None:
    run.path.mkdir(parents=True)
    run.save_weights(run.last_file, nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
    net = nn.Sequential(nn.Linear(2, 4), nn.Identity(), nn.PReLU(3))
    before = [p.clone() for p in net.parameters()]
    with pytest.raises(BitlensError) as caught:
        load_weights(run.last_file, net)
    assert str(caught.value) == (
        f"{run.last_file}: cannot load these weights into the net; tensors 1 missing: 2.weight; "
        "5 unexpected: 1.bias, 1.num_batches_tracked, 1.running_mean and 2 more; 2 of another shape: "
        "0.weight 3x2 instead of 4x2, 0.bias 3 instead of 4"
    )
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_an_optional_tensor_may_be_absent_and_no_other(run: RunFolder) -> None:
    run.path.mkdir(parents=True)
    run.save_weights(run.last_file, nn.Linear(2, 2, bias=False))
    net = nn.Linear(2, 2)
    bias = net.bias.detach().clone()
    load_weights(run.last_file, net, optional=("bias",))
    assert torch.equal(net.bias, bias)
    with pytest.raises(BitlensError, match="1 missing: bias"):
        load_weights(run.last_file, net, optional=("weight",))


def test_read_json_names_what_it_could_not_read(tmp_path: Path) -> None:
    with pytest.raises(BitlensError, match=r"cannot read .*none.json: No such file"):
        read_json(tmp_path / "none.json")


def test_the_environment_is_plain_and_complete() -> None:
    found = environment(torch.device("cpu"), 1)
    assert json.loads(json.dumps(found)) == found
    assert list(found) == [
        *("bitlens", "commit", "python", "torch", "cpu"),
        *("threads", "processes", "device", "started"),
    ]
    assert (found["bitlens"], found["torch"]) == (bitlens.__version__, torch.__version__)
    assert (found["threads"], found["processes"], found["device"]) == (1, 1, "cpu")
    assert found["started"].endswith("+00:00")


def test_the_commit_is_that_of_the_code_that_was_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment(torch.device("cpu"), 1)["commit"]

    def moved(*given: object, **more: object) -> None:
        raise AssertionError("asked while runs go on")

    monkeypatch.setattr("bitlens.training.run.subprocess.run", moved)
    assert environment(torch.device("cpu"), 1)["commit"] == before
