"""The loop: train one recipe into one run folder, resumably and bit for bit reproducibly."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bitlens.data.dense.scenes import SceneSet
from bitlens.errors import BitlensError
from bitlens.models.convert import set_progress
from bitlens.models.layers import after_step, before_step
from bitlens.models.recalibrate import recalibrate
from bitlens.models.summary import summary
from bitlens.objectives.gather import world
from bitlens.tasks.step import StepOutput
from bitlens.training.averages import Averages
from bitlens.training.build import FindTeacher, build_task, load_start, start_at_mean_depth
from bitlens.training.checkpoint import load_checkpoint, save_checkpoint
from bitlens.training.diagnostics import (
    CodeStatistics,
    blame_non_finite,
    constant_codes,
    flip_rates,
    weight_signs,
)
from bitlens.training.display import Display, Silent
from bitlens.training.distributed import may_rest, parallelize, process_group
from bitlens.training.feed import Batch, Images, make_feed
from bitlens.training.files import SCHEMA, write_json
from bitlens.training.plane import RunPlane, remembered
from bitlens.training.plane_settings import PlaneSettings
from bitlens.training.recipe import Recipe
from bitlens.training.run import RunFolder, environment, load_weights, read_json
from bitlens.training.schedule import (
    StagePlan,
    begin_momentum,
    learning_rate,
    make_optimizer,
    plan_stages,
    set_learning_rate,
    set_precision,
)
from bitlens.training.streams import Streams


def no_teacher(recipe: Recipe) -> Path:
    """Take the recipe's `teacher` as the folder of a finished run."""
    return Path(recipe.teacher)


def fit(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    find_teacher: FindTeacher = no_teacher,
    display: Display | None = None,
    plane: PlaneSettings | None = None,
) -> dict[str, Any]:
    """Train `recipe` in `folder` and return its summary.

    With `resume`, an interrupted run continues from its last finished epoch and ends with the very
    bits an uninterrupted run would have had (same machine, same number of threads); a finished run
    returns its summary at once. Under torchrun every process calls this and process 0 writes.

    With `plane` the information plane is measured into plane.jsonl, which changes nothing else of the
    run; a run that is resumed goes on with the settings it began with.

    Raises:
        BitlensError: bad recipe, data or folder, another recipe's run in `folder`, a damaged
            checkpoint, a loss that is not finite, or a plane other than the one that was begun.
    """
    place = torch.device(device)
    with process_group(place):
        run = _Run(recipe, RunFolder(folder), place, find_teacher, display or Silent(), plane)
        return run.go(resume)


class _Run:
    """One call of `fit`: what its parts share."""

    def __init__(
        self,
        recipe: Recipe,
        run: RunFolder,
        device: torch.device,
        find_teacher: FindTeacher,
        display: Display,
        plane: PlaneSettings | None,
    ) -> None:
        self.wanted_plane = plane
        self.recipe, self.run, self.device = recipe, run, device
        self.find_teacher = find_teacher
        self.rank, self.processes = world()
        self.display: Display = display if self.rank == 0 else Silent()
        self.stages = plan_stages(recipe)

    def go(self, resume: bool) -> dict[str, Any]:
        recipe, run = self.recipe, self.run
        resumed = resume and run.recipe_file.exists()
        if resumed:
            run.check_same(recipe)
            if run.complete:
                return read_json(run.summary_file)
            self.wanted_plane = self.wanted_plane or remembered(run.plane_file)
        else:
            run.check_free()
        with ExitStack() as held:
            if resumed:
                self._lock(held)
            self._build()
            done = 0
            if resumed:
                done = self._restore()
            elif self.rank == 0:
                # Only now: whatever was wrong so far has left no folder behind.
                self._lock(held)
                run.create(recipe)
                if self.plane:
                    self.plane.start()
            return self._train(done)

    def _lock(self, held: ExitStack) -> None:
        if self.rank == 0:
            held.enter_context(self.run.locked())

    def _build(self) -> None:
        self.feed = make_feed(self.recipe, self.device)
        self.task = build_task(
            self.recipe, self.feed.data, len(self.feed.train), self.device, self.find_teacher
        )
        self.net = self.task.net
        if isinstance(self.feed.train, SceneSet) and "depth" in self.recipe.task:
            start_at_mean_depth(self.net, self.feed.train)
        if self.recipe.start and not self.run.state_file.exists():
            load_start(self.recipe.start, self.net)
        self.plane = self._make_plane()
        self.wrapped: nn.Module = parallelize(self.task, self.device, resting=may_rest(self.net))
        self.streams = Streams(self.recipe.seed)
        self.optimizer: torch.optim.Optimizer | None = None
        self.best = -1.0

    def _make_plane(self) -> RunPlane | None:
        if not self.wanted_plane:
            return None
        if self.recipe.task != "classify":
            raise BitlensError(
                f"the information plane needs one class per image, and task={self.recipe.task!r} has "
                "none; train without it"
            )
        real = [stage.number for stage in self.stages if not stage.binary_activations]
        if real:
            raise BitlensError(
                f"the information plane looks at signs, and stage {real[0]} of "
                f"plan={self.recipe.plan!r} takes none; train without it"
            )
        return RunPlane(self.net, self.feed, self.wanted_plane, self.run.plane_file)

    def _train(self, done: int) -> dict[str, Any]:
        if self.rank == 0 and done == 0:
            write_json(self.run.env_file, environment(self.device, self.processes))
        self._describe()
        if done:
            self.display.note(f"resumed after epoch {done}")
        self.display.begin(self.recipe.epochs, self.feed.steps)
        try:
            for stage in self.stages:
                if stage.last > done:
                    self._train_stage(stage, done)
        finally:
            self.display.end()
        return self._finish()

    def _restore(self) -> int:
        """Load the checkpoint, if the run got as far as writing one; the epochs it covers."""
        run = self.run
        if not run.state_file.exists():
            if self.rank == 0:
                run.rewind_metrics(0)
            if self.plane:
                self.plane.rewind(-1)
            return 0
        state = load_checkpoint(run.state_file)
        if state.get("recipe") != self.recipe.digest:
            raise BitlensError(
                f"{run.state_file}: the checkpoint belongs to recipe {state.get('recipe')}, "
                f"not {self.recipe.digest}; choose another folder"
            )
        self._note_changes()
        epoch = state["epoch"]
        stage = next(s for s in self.stages if s.first <= epoch <= s.last)
        self.optimizer = make_optimizer(self.recipe, self.task, stage.weight_decay)
        try:
            self.task.load_state_dict(state["task"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise BitlensError(
                f"{run.state_file}: the checkpoint does not fit the net: "
                f"{str(error).splitlines()[-1].strip()}"
            ) from error
        self.streams.restore(state["streams"])
        self.best = state["best"]
        if self.rank == 0:
            run.rewind_metrics(epoch)
        if self.plane:
            self.plane.rewind(epoch * self.feed.steps)
        return epoch

    def _note_changes(self) -> None:
        """Tell what differs from the environment the run was started in."""
        began, now = read_json(self.run.env_file), environment(self.device, self.processes)
        changed = [
            f"{key} {began.get(key)} -> {now[key]}"
            for key in ("threads", "processes", "torch", "cpu", "device")
            if began.get(key) != now[key]
        ]
        if changed:
            self.display.note(
                f"the run continues with {', '.join(changed)}: results may differ in the last bits"
            )

    def _describe(self) -> None:
        self.table = summary(self.net, self.feed.example())
        if self.rank == 0:
            write_json(self.run.layers_file, self.table.as_dicts())

    def _train_stage(self, stage: StagePlan, done: int) -> None:
        recipe = self.recipe
        set_precision(
            self.net,
            binary_weights=stage.binary_weights,
            binary_activations=stage.binary_activations,
        )
        if done < stage.first or self.optimizer is None:
            self.optimizer = make_optimizer(recipe, self.task, stage.weight_decay)
        steps = stage.epochs * self.feed.steps
        warmup = round(recipe.warmup * self.feed.steps)
        for epoch in range(max(stage.first, done + 1), stage.last + 1):
            begun = time.perf_counter()
            before = weight_signs(self.net)
            averages = Averages()
            self.net.train()
            for number, batch in enumerate(self.feed.epoch(self.streams)):
                step = (epoch - stage.first) * self.feed.steps + number
                rate = learning_rate(recipe, step, steps, warmup)
                set_progress(self.net, step / max(steps - 1, 1))
                taken = (epoch - 1) * self.feed.steps + number
                if taken == 0:
                    self._measure(0)
                self._step(batch, rate, averages, epoch, number + 1)
                self._measure(taken + 1)
            seconds = time.perf_counter() - begun - (self.plane.take_seconds() if self.plane else 0)
            self._end_epoch(stage, epoch, averages, before, seconds)

    def _step(self, batch: Batch, rate: float, averages: Averages, epoch: int, number: int) -> None:
        assert self.optimizer is not None
        set_learning_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        output: StepOutput = self.wrapped(batch.images, batch.truth, batch.indices)
        loss = output.loss.item()
        if not math.isfinite(loss):
            step = (epoch - 1) * self.feed.steps + number
            raise blame_non_finite(
                self.task, lambda: self.task(batch.images, batch.truth, batch.indices), epoch, step
            )
        output.loss.backward()
        before_step(self.net)
        begin_momentum(self.optimizer)
        self.optimizer.step()
        after_step(self.net)
        averages.add(output, loss, len(batch.images))
        self.display.step(
            epoch,
            number,
            averages.mean("loss") or 0.0,
            averages.mean("accuracy") or 0.0,
            averages.mean("bound"),
        )

    def _measure(self, taken: int) -> None:
        """Measure the plane after `taken` optimizer steps, if that is one of its points."""
        row = self.plane.step(taken) if self.plane else None
        if row is not None:
            self.display.plane(row)

    def _end_epoch(
        self,
        stage: StagePlan,
        epoch: int,
        averages: Averages,
        before: dict[str, torch.Tensor],
        seconds: float,
    ) -> None:
        assert self.optimizer is not None
        feed, recipe = self.feed, self.recipe
        statistics = CodeStatistics(self.net)
        with statistics.watching():
            metrics = self._evaluate(feed.held)
        loss, accuracy = metrics.pop("loss"), metrics[self.task.headline]
        if not math.isfinite(loss):
            raise blame_non_finite(self.net, self._look_at_held, epoch, epoch * feed.steps)
        total, per_layer = flip_rates(before, weight_signs(self.net))
        entropies = statistics.entropies()
        if epoch == min(s.first for s in self.stages if s.binary_activations):
            for name in constant_codes(statistics):
                self.display.note(
                    f"layer {name!r} receives one constant sign per channel: it carries no "
                    "information; a ReLU in front of a sign does this"
                )
        row = {
            "epoch": epoch,
            "stage": stage.number,
            "step": epoch * feed.steps,
            "t": (epoch - stage.first + 1) / stage.epochs,
            "lr": self.optimizer.param_groups[0]["lr"],
            **averages.record(),
            "eval_split": feed.eval_split,
            "eval_loss": loss,
            "metric": self.task.headline,
            "eval_accuracy": accuracy,
            "eval_metrics": metrics,
            "flip_rate": total,
            "flip_rate_layers": per_layer,
            "code_entropy": sum(entropies.values()) / len(entropies) if entropies else None,
            "code_entropy_layers": entropies,
            "seconds": seconds,
            "images_per_second": averages.images * self.processes / seconds,
        }
        # Only a net that is binary can be the best one: a real net's accuracy is not the packed net's.
        final = stage is self.stages[-1]
        improved = final and recipe.validation > 0 and accuracy > self.best
        self.best = max(self.best, accuracy) if final else self.best
        if self.rank == 0:
            self.run.append_metrics(row)
            self.run.save_weights(self.run.last_file, self.net)
            if improved:
                self.run.save_weights(self.run.best_file, self.net)
            # The checkpoint last: a kill before it repeats this epoch, and with it all of the above.
            save_checkpoint(
                self.run.state_file,
                {
                    "recipe": recipe.digest,
                    "epoch": epoch,
                    "best": self.best,
                    "task": self.task.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "streams": self.streams.state(),
                },
            )
        self.display.epoch(row)

    def _evaluate(self, images: Images) -> dict[str, float]:
        return self.task.evaluate(self.feed.evaluation(images))

    def _look_at_held(self) -> None:
        self.net.eval()
        for images, _ in self.feed.evaluation(self.feed.held):
            self.net(images)

    def _finish(self) -> dict[str, Any]:
        feed, recipe = self.feed, self.recipe
        set_progress(self.net, 1.0)
        before = self._evaluate(feed.test)
        calibration = feed.calibration()
        if recipe.validation and self.rank == 0:
            load_weights(self.run.best_file, self.net)
            recalibrate(self.net, calibration)
            self.run.save_weights(self.run.best_file, self.net)
            load_weights(self.run.last_file, self.net)
        recalibrate(self.net, calibration)
        metrics, headline = self._evaluate(feed.test), self.task.headline
        loss = metrics.pop("loss")
        if not math.isfinite(loss):
            epochs = recipe.epochs
            raise blame_non_finite(self.net, self._look_at_held, epochs, epochs * feed.steps)
        validation = self._evaluate(feed.held)[headline] if recipe.validation else None
        rows = self.run.metrics()
        last = rows[-1]
        seconds = sum(row["seconds"] for row in rows)
        record = {
            "schema": SCHEMA,
            "complete": True,
            "name": recipe.name,
            "seed": recipe.seed,
            "digest": recipe.digest,
            "train_images": len(feed.train),
            "test_images": len(feed.test),
            "data_note": feed.data.note,
            "metric": headline,
            "test_accuracy": metrics[headline],
            "test_metrics": metrics,
            "test_loss": loss,
            "test_accuracy_running": before[headline],
            "validation_accuracy": validation,
            "epochs": recipe.epochs,
            "seconds": seconds,
            "step_ms": 1000 * seconds / (recipe.epochs * feed.steps),
            "parameters": self.table.parameters,
            "bytes_latent": self.table.bytes_latent,
            "bytes_packed": self.table.bytes_packed,
            "bound": last["bound"],
            "ceiling": last["ceiling"],
            "bound_valid": last["bound_valid"],
        }
        if self.rank == 0:
            self.run.save_weights(self.run.last_file, self.net)
            write_json(self.run.summary_file, record)
        return record
