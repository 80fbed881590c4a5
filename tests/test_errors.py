"""What a user reads after a slip of the finger."""

from __future__ import annotations

from bitlens.errors import BitlensError, near, unknown

METHODS = ["bnn", "xnor", "dorefa", "bireal", "irnet", "reactnet"]


def test_near_names_come_best_first_whatever_their_case() -> None:
    assert near("BIREEL", METHODS)[0] == "bireal"
    assert near("reactnet", ["ReActNet", "react"])[0] == "ReActNet"
    assert set(near("layer1.conv", ["layer1.conv1", "layer1.conv2", "head"])) == {
        "layer1.conv1",
        "layer1.conv2",
    }


def test_near_is_empty_when_nothing_is_close() -> None:
    assert near("qqqq", METHODS) == []
    assert near("anything", []) == []
    assert near("", METHODS) == []


def test_the_beginning_of_a_long_name_is_near() -> None:
    nets = ["mlp", "reactnet-a", "resnet20-bireal-poolpad", "resnet8-bireal-poolpad", "vgg-small"]
    assert near("resnet8", nets)[0] == "resnet8-bireal-poolpad"
    assert near("vgg", nets)[0] == "vgg-small"
    assert near("react", ["reactnet-a", "react"])[0] == "react"


def test_near_gives_at_most_as_many_as_asked() -> None:
    names = [f"stage{i}" for i in range(9)]
    assert len(near("stage", names)) == 3
    assert len(near("stage", names, most=5)) == 5


def test_an_unknown_name_suggests_near_ones() -> None:
    error = unknown("method", "irnt", METHODS)
    assert isinstance(error, BitlensError)
    assert str(error).startswith("unknown method 'irnt'; did you mean irnet")


def test_an_unknown_name_lists_all_when_none_is_near() -> None:
    assert str(unknown("method", "qqqq", METHODS)) == (
        "unknown method 'qqqq'; choose from: bireal, bnn, dorefa, irnet, reactnet, xnor"
    )
