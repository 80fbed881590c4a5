"""Bad input gives one clear sentence and exit code 2: no traceback, no half-made folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitlens.training.recipe import SCHEMA

CASES = {
    "command": (["trian"], "unknown command 'trian'; did you mean train"),
    "recipe": (["train", "demo-cmmi"], "unknown recipe 'demo-cmmi'; did you mean demo-cmim"),
    "no recipe": (["train"], "train: name a recipe before the options (bitlens list recipes)"),
    "options first": (["train", "--epochs", "2", "demo-plain"], "name a recipe before the options"),
    "two recipes": (["train", "demo-plain", "demo-cmim"], "one recipe at a time"),
    "resume what": (["train", "--resume"], "--resume without a recipe needs --out"),
    "method": (
        ["train", "demo-plain", "--method", "bireel"],
        "unknown method 'bireel'; did you mean bireal",
    ),
    "model": (["train", "demo-plain", "--model", "resnet9"], "unknown model 'resnet9'; did you"),
    "data": (
        ["train", "demo-plain", "--data", "cifr10"],
        "unknown data set 'cifr10'; did you mean cifar10",
    ),
    "objective": (
        ["train", "demo-plain", "--objective", "cmmi"],
        "unknown objective 'cmmi'; did you mean cmim",
    ),
    "augment": (
        ["train", "demo-plain", "--augment", "flipcrop"],
        "unknown augmentation 'flipcrop'; did you mean flip-crop",
    ),
    "teacher": (
        ["train", "demo-crd", "--teacher", "demo-flaot"],
        "unknown teacher (neither a recipe nor a folder) 'demo-flaot'; did you mean demo-float",
    ),
    "value": (["train", "demo-plain", "--lr", "-1"], "lr=-1.0; it must be finite and positive"),
    "cmim": (["train", "demo-cmim", "--cmim.temperature", "0"], "temperature=0.0; it must be pos"),
    "layers": (
        ["train", "demo-cmim", "--cmim.layers", "stages.9"],
        "layers='stages.9' matches no binary layer",
    ),
    "too small": (
        ["train", "demo-plain", "--model", "vgg-small", "--image-size", "4"],
        "image_size",
    ),
    "too many": (["train", "demo-plain", "--train-images", "99999"], "there are 10000 images"),
    "batch": (["train", "demo-plain", "--batch-size", "20000"], "exceeds the 10000 training"),
    "threads": (["train", "demo-plain", "--threads", "-1"], "threads=-1; give at least 1"),
    "device": (["train", "demo-plain", "--device", "gpu"], "device='gpu'; write cpu, cuda, cuda:N"),
    "no file": (["train", "demo-plain", "--data", "parquet:none.parquet"], "none.parquet"),
    "no folder": (["train", "demo-plain", "--data", "folder:none"], "none is not a folder"),
    "no path": (["train", "demo-plain", "--data", "parquet:"], "lacks what comes after the colon"),
    "seeds": (["compare", "demo-plain", "--seeds", "0"], "seeds=0; at least one seed"),
    "compare option": (
        ["compare", "demo-plain", "--sedes", "3"],
        "unknown option '--sedes'; did you mean --seeds",
    ),
    "compare cmim": (["compare", "demo-cmim", "--cmim.bta=3"], "did you mean --cmim.beta"),
    "shared seed": (["compare", "demo-plain", "--seed", "3"], "--seed cannot be shared"),
    "shared name": (["compare", "demo-plain", "--name=x"], "--name cannot be shared"),
    "baseline": (
        ["compare", "demo-plain", "--baseline", "demo-float"],
        "baseline 'demo-float' is not among the variants demo-plain",
    ),
    "jobs": (["compare", "demo-plain", "--jobs", "-1"], "jobs=-1; at least one process"),
    "no variants": (["compare", "--seeds", "2"], "compare: name a recipe before the options"),
    "plane samples": (
        ["train", "demo-plain", "--plane", "--plane-samples", "-5"],
        "plane: samples=-5; it must be a whole number >= 0",
    ),
    "plane points": (
        ["compare", "demo-plain", "--plane", "--plane-points", "0"],
        "plane: points=0; it must be a whole number >= 1",
    ),
    "plane without plane": (
        ["train", "demo-plain", "--plane-layers", "stem"],
        "--plane-... options need --plane too",
    ),
    "compare plane": (["compare", "demo-plain", "--plane-point=3"], "did you mean --plane-points"),
    "info what": (["info"], "name one run folder or one model"),
    "info model": (["info", "resnet8-bireal-poolpda"], "did you mean resnet8-bireal-poolpad"),
    "info method": (["info", "mlp", "--method", "bnnn"], "unknown method 'bnnn'; did you mean bnn"),
    "info sizes": (["info", "mlp", "--channels", "0"], "channels=0, image_size=32; both must be"),
    "info classes": (["info", "mlp", "--classes", "1"], "classes=1; a classifier needs at least 2"),
    "report what": (["report"], "report: name at least one run or comparison folder"),
    "report": (["report", "nonsense"], "nonsense is not a run folder: no such folder"),
    "list what": (["list"], "usage: bitlens list recipes|"),
    "list": (["list", "recipies"], "unknown list 'recipies'; did you mean recipes"),
    "doctor": (["doctor", "now"], "unknown method 'now'"),
}


def refused(said, message: str) -> None:
    assert said.code == 2, said
    assert said.err.startswith("bitlens: ") and said.err.count("\n") == 1, "one line"
    assert message in said.err
    assert "Traceback" not in said.err + said.out


@pytest.mark.parametrize("name", CASES)
def test_bad_input(say, tmp_path: Path, name: str) -> None:
    arguments, message = CASES[name]
    refused(say(*arguments), message)
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "demo-plain", "--epcohs", "3"], ["--epcohs", "--epochs"]),
        (["train", "demo-plain", "--epochs", "three"], ["--epochs", "three"]),
        (["train", "demo-plain", "--plan", "four-step"], ["four-step", "two-step"]),
        (["train", "demo-cmim", "--cmim.los", "nce"], ["--cmim.los", "--cmim.loss"]),
        (["train", "demo-plain", "--plane-split", "both"], ["both", "train", "test"]),
        (["info", "mlp", "--metod", "bnn"], ["--metod", "--method"]),
        (["report", "x", "--outt", "y"], ["--outt", "--out"]),
    ],
)
def test_options_that_do_not_exist(say, tmp_path: Path, arguments: list[str], said: list) -> None:
    done = say(*arguments)
    assert done.code == 2
    assert "Traceback" not in done.err
    for part in said:
        assert part in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_is_not_there(say) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    refused(
        say("train", "demo-plain", "--device", "cuda"), "device='cuda' cannot be used here: Torch"
    )


def pictures(folder: Path, classes: tuple[str, ...] = ("a", "b"), size: int = 8) -> Path:
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in classes:
            (folder / split / name).mkdir(parents=True)
            for k in range(6):
                image = Image.fromarray(draw.integers(0, 256, (size, size), dtype=np.uint8))
                image.save(folder / split / name / f"{k}.png")
    return folder


class TestDamagedData:
    @pytest.fixture
    def train(self, say, tmp_path: Path) -> Callable[[str], None]:
        def refuse(data: str, message: str, *more: str) -> None:
            options = ("--data", data, "--model", "mlp", "--batch-size", "4", "--out", "o", *more)
            refused(say("train", "demo-plain", *options), message)
            assert not (tmp_path / "o").exists()

        return refuse

    def test_empty_folder(self, train, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        train("folder:empty", "needs the folders train/ and test/")
        train("parquet:empty", "empty")

    def test_one_class(self, train, tmp_path: Path) -> None:
        pictures(tmp_path / "one", ("a",))
        train("folder:one", "one class only (a)")

    def test_unreadable_image(self, train, tmp_path: Path) -> None:
        pictures(tmp_path / "bad")
        (tmp_path / "bad" / "train" / "b" / "3.png").write_bytes(b"not an image")
        train("folder:bad", "bad/train/b/3.png: the image cannot be read")

    def test_mixed_sizes(self, train, tmp_path: Path) -> None:
        folder = pictures(tmp_path / "mixed")
        Image.new("L", (9, 9)).save(folder / "train" / "b" / "0.png")
        train("folder:mixed", "give image_size")

    def test_truncated_parquet(self, train, tiny_data: str, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(tiny_data.removeprefix("parquet:"), tmp_path / "cut"))
        file = next(folder.glob("train-*"))
        file.write_bytes(file.read_bytes()[:-100])
        train("parquet:cut", file.name)

    def test_label_out_of_range(self, train, tmp_path: Path) -> None:
        import io

        import pyarrow as pa
        import pyarrow.parquet as pq

        buffer = io.BytesIO()
        Image.new("L", (8, 8)).save(buffer, "PNG")
        cell = {"bytes": buffer.getvalue(), "path": None}
        (tmp_path / "labels").mkdir()
        for split, labels in (("train", [0, 1, 1, 0]), ("test", [0, 2])):
            table = pa.table({"image": [cell] * len(labels), "label": labels})
            pq.write_table(table, tmp_path / "labels" / f"{split}-0.parquet")
        train("parquet:labels", "label 2 is out of range, there are 2 classes")


class TestDamagedRuns:
    @pytest.fixture
    def run(self, say, quick_options: list[str], tmp_path: Path) -> Path:
        assert say("train", "demo-plain", *quick_options, "--out", "run").code == 0
        (tmp_path / "run" / "summary.json").unlink()
        return tmp_path / "run"

    def resume(self, say, quick_options: list[str]):
        return say("train", "demo-plain", *quick_options, "--out", "run", "--resume")

    def test_recipe(self, say, quick_options: list[str], run: Path) -> None:
        (run / "recipe.json").write_text('{"schema": 1,')
        for said in (
            self.resume(say, quick_options),
            say("train", "--resume", "--out", "run"),
            say("report", "run"),
            say("info", "run"),
        ):
            refused(said, "recipe.json, line 1")

    def test_recipe_of_another_version(self, say, run: Path) -> None:
        path = run / "recipe.json"
        path.write_text(path.read_text().replace(f'"schema": {SCHEMA}', '"schema": 99'))
        refused(say("train", "--resume", "--out", "run"), "recipe.json: schema 99, this bitlens")

    def test_checkpoint(self, say, quick_options: list[str], run: Path) -> None:
        content = (run / "state.pt").read_bytes()
        (run / "state.pt").write_bytes(content[:-1])
        refused(self.resume(say, quick_options), "state.pt: the checkpoint is damaged")
        (run / "state.pt").write_bytes(b"PK" + content)
        refused(self.resume(say, quick_options), "state.pt: not a bitlens checkpoint")

    def test_metrics(self, say, quick_options: list[str], run: Path) -> None:
        (run / "metrics.jsonl").write_text("{}\n{}\n")
        refused(self.resume(say, quick_options), "metrics.jsonl, line 1")
        refused(say("report", "run"), "metrics.jsonl")

    def test_another_recipe(self, say, quick_options: list[str], run: Path) -> None:
        said = say("train", "demo-cmim", *quick_options, "--out", "run", "--resume")
        refused(said, "objective: 'none' -> 'cmim'")
        assert "weight: 0.0 -> " in said.err and "cmim.loss: " in said.err

    def test_without_resume(self, say, quick_options: list[str], run: Path) -> None:
        said = say("train", "demo-plain", *quick_options, "--out", "run")
        refused(said, "run already holds a run; continue it with --resume or choose another folder")


def test_out_is_a_file(say, quick_options: list[str], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    refused(
        say("train", "demo-plain", *quick_options, "--out", "taken"),
        "cannot use taken as a run folder: File exists",
    )
    assert (tmp_path / "taken").read_text() == "mine"


def test_report_and_info_of_a_folder_that_is_no_run(say, tmp_path: Path) -> None:
    (tmp_path / "stuff").mkdir()
    refused(say("report", "stuff"), "stuff is not a run folder: no recipe.json")
    refused(say("info", "stuff"), "stuff is a folder without layers.json; not a run")
    refused(say("train", "--resume", "--out", "stuff"), "stuff holds no run")
