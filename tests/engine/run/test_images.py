"""Images that are no plain arrays of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bitlens.engine.graph import Graph, Node, Step, Value
from bitlens.engine.run.session import Session
from bitlens.errors import BitlensError

ZEROS = torch.zeros(1, 3, 4, 5)


def identity() -> Graph:
    return Graph(
        nodes=(
            Node(
                name="same",
                op="elementwise",
                inputs=("x",),
                shape=(4, 5, 3),
                steps=(Step(op="store", value="y"),),
            ),
        ),
        values={name: Value(name=name, kind="float", shape=(4, 5, 3)) for name in ("x", "y")},
        tensors={},
        input="x",
        output="y",
        output_rank=4,
    )


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (ZEROS.to_sparse(), r"layout torch.sparse_coo.*to_dense"),
        (ZEROS.to("meta"), r"lie on meta"),
        (ZEROS.to(torch.float8_e4m3fn), r"images are float8_e4m3fn.*images\.float"),
        (ZEROS.half(), r"images are float16"),
        (ZEROS.bool(), r"images are bool"),
        (np.ma.zeros((1, 3, 4, 5), np.float32), r"a masked array.*filled\(0\)"),
        (np.zeros((1, 3, 4, 5), object), r"images are object"),
        (np.zeros((1, 3, 4, 5), ">f4"), r"images are >f4"),
        (None, r"images are a NoneType"),
    ],
)
def test_what_holds_no_plain_numbers_is_refused(images: Any, message: str) -> None:
    with pytest.raises(BitlensError, match=message):
        Session(identity())(images)


def test_a_tensor_without_storage_is_refused() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        fake = mode.from_tensor(ZEROS)
        with pytest.raises(BitlensError, match=r"without numbers to read"):
            Session(identity())(fake)


def test_a_parameter_is_its_numbers() -> None:
    images = torch.nn.Parameter(torch.arange(60.0).reshape(1, 3, 4, 5))
    answer = Session(identity())(images)
    assert torch.equal(answer, images.detach()) and not answer.requires_grad
