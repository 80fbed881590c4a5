"""Means over images, and what a step could not measure."""

from __future__ import annotations

import math

import pytest
import torch

from bitlens.objectives.term import Term
from bitlens.tasks.step import StepOutput
from bitlens.training.averages import Averages


def output(score: float, term: Term | None = None) -> StepOutput:
    nothing = torch.zeros(())
    return StepOutput(
        loss=nothing, task_loss=nothing, outputs=nothing, score=torch.tensor(score), term=term
    )


def test_steps_count_by_their_images() -> None:
    averages = Averages()
    averages.add(output(1.0), 3.0, 30)
    averages.add(output(0.5), 1.0, 10)
    record = averages.record()
    assert record["train_loss"] == pytest.approx(2.5)
    assert record["train_accuracy"] == pytest.approx(0.875)
    assert record["bound"] is record["objective_loss"] is record["bound_valid"] is None
    assert averages.images == 40


def test_a_score_of_unknown_pixels_is_left_out() -> None:
    averages = Averages()
    averages.add(output(math.nan), 1.0, 10)
    averages.add(output(0.25), 1.0, 30)
    assert averages.record()["train_accuracy"] == pytest.approx(0.25)
    alone = Averages()
    alone.add(output(math.nan), 1.0, 10)
    assert alone.record()["train_accuracy"] is None


def test_an_objective_is_told_layer_by_layer() -> None:
    averages = Averages()
    for images, bound in ((30, 1.0), (10, 3.0)):
        layers = {"a": torch.tensor(bound), "b": torch.tensor(0.0)}
        term = Term(
            **{"loss": torch.tensor(bound), "bound": torch.tensor(bound), "ceiling": 4.0},
            valid=True,
            layers=layers,
        )
        averages.add(output(0.0, term), 0.0, images)
    record = averages.record()
    assert record["bound"] == record["objective_loss"] == pytest.approx(1.5)
    assert record["bound_layers"] == {"a": pytest.approx(1.5), "b": pytest.approx(0.0)}
    assert (record["ceiling"], record["bound_valid"]) == (4.0, True)
