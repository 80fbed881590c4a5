"""Every rule of a packed graph, broken once."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitlens.engine.errors import BitsFileError, shown
from bitlens.engine.file.format import decode, encode
from bitlens.engine.file.header import from_json, to_json
from bitlens.engine.file.validate import check
from bitlens.engine.graph import Graph, Node, Step, Value, Window

HOSTILE = Path(__file__).parents[3] / "benchmarks" / "hostile_files.py"
SAMPLE: Graph = runpy.run_path(str(HOSTILE))["sample_graph"]()

Change = Callable[[], Graph]


def node(name: str, **fields: Any) -> Graph:
    """The sample with some fields of one node changed."""
    nodes = tuple(replace(n, **fields) if n.name == name else n for n in SAMPLE.nodes)
    return replace(SAMPLE, nodes=nodes)


def window(name: str, **fields: Any) -> Graph:
    old = next(n for n in SAMPLE.nodes if n.name == name)
    return node(name, window=replace(old.window, **fields))


def attributes(name: str, **fields: Any) -> Graph:
    old = next(n for n in SAMPLE.nodes if n.name == name)
    found = {k: v for k, v in {**old.attributes, **fields}.items() if v is not ...}
    return node(name, attributes=found)


def step(name: str, index: int, **fields: Any) -> Graph:
    steps = list(next(n for n in SAMPLE.nodes if n.name == name).steps)
    steps[index] = replace(steps[index], **fields)
    return node(name, steps=tuple(steps))


def tensor(name: str, array: Any) -> Graph:
    return replace(SAMPLE, tensors={**SAMPLE.tensors, name: array})


def number(name: str, value: float) -> Graph:
    """The sample with the last number of a tensor changed."""
    array = SAMPLE.tensors[name].copy()
    array.reshape(-1)[-1] = value
    return tensor(name, array)


def without(name: str) -> Graph:
    return replace(SAMPLE, tensors={k: v for k, v in SAMPLE.tensors.items() if k != name})


def value(name: str, **fields: Any) -> Graph:
    changed = replace(SAMPLE.values[name], **fields)
    return replace(SAMPLE, values={**SAMPLE.values, name: changed})


def beyond_channels() -> Graph:
    words = SAMPLE.tensors["block.w"].copy()
    words[0, 0, 0] |= np.uint32(1 << 4)
    return tensor("block.w", words)


def beyond_filters() -> Graph:
    words = SAMPLE.tensors["unit.w"].copy()
    words[0, 0, 5] = 1
    return tensor("unit.w", words)


def swapped() -> Graph:
    nodes = list(SAMPLE.nodes)
    nodes[0], nodes[1] = nodes[1], nodes[0]
    return replace(SAMPLE, nodes=tuple(nodes))


RULES: dict[str, tuple[Change, str]] = {
    "no nodes": (lambda: replace(SAMPLE, nodes=()), "1 to 4096 nodes, this one 0"),
    "no input": (lambda: replace(SAMPLE, input="none"), "input: there is no value 'none'"),
    "codes in": (lambda: value("image", kind="codes"), "neither u8 nor float"),
    "flat in": (lambda: value("image", shape=(8, 0, 3)), r"input, shape: \(8, 0, 3\) is not height"),
    "huge in": (lambda: value("image", shape=(65536, 65536, 3)), "input, shape"),
    "float size": (lambda: value("image", shape=(8.0, 8, 3)), "input, shape"),
    "mean alone": (lambda: replace(SAMPLE, std=None), "one is given without the other"),
    "mean short": (lambda: replace(SAMPLE, mean=(0.5, 0.5)), r"mean: .* each of 3 channels"),
    "std zero": (lambda: replace(SAMPLE, std=(1.0, 0.0, 1.0)), "std: .* is not positive"),
    "std nan": (lambda: replace(SAMPLE, std=(1.0, float("nan"), 1.0)), "std: "),
    "labels": (lambda: replace(SAMPLE, labels=("a",)), "1 names for an answer of 4 channels"),
    "rank": (lambda: replace(SAMPLE, output_rank=3), "neither 2 nor 4"),
    "rank 2": (lambda: replace(SAMPLE, output="f12", labels=()), r"2 does not fit .*\(6, 6, 10\)"),
    "output": (lambda: replace(SAMPLE, output="none"), "output: 'none' is no float value"),
    "input out": (lambda: replace(SAMPLE, output="image"), "output: 'image' is no float"),
    "codes out": (lambda: replace(SAMPLE, output="c0"), "output: 'c0' is no float value"),
    "order": (swapped, r"node 0 'block.conv', inputs: no value 'c0' is made before"),
    "unknown op": (lambda: node("flat", op="pickle"), "'flat', op: 'pickle' is no operation"),
    "unread value": (
        lambda: replace(SAMPLE, values={**SAMPLE.values, "x": SAMPLE.values["f0"]}),
        "value 'x' is made by no node",
    ),
    "wrong value": (lambda: value("f0", kind="u8"), "'f0' should be float"),
    "lost value": (
        lambda: replace(SAMPLE, values={k: v for k, v in SAMPLE.values.items() if k != "f3"}),
        "'f3' should be float",
    ),
    "twice": (lambda: step("mean", 0, value="f3"), "value 'f3' is made twice"),
    "over the image": (lambda: step("mean", 0, value="image"), "value 'image' is made twice"),
    "cycle": (lambda: step("block.conv", 2, value="f1"), "no value 'f1' is made before it"),
    "two inputs": (lambda: node("flat", inputs=("f13", "f13")), "flatten takes one, not 2"),
    "no inputs": (lambda: node("flat", inputs=()), "flatten takes one, not 0"),
    "no parts": (lambda: node("joined", inputs=()), "concat takes one, not 0"),
    "kind": (lambda: node("flat", inputs=("c1",)), "'c1' is codes; flatten takes float"),
    "bytes for floats": (lambda: node("bytes", inputs=("f10",)), "int8_conv takes u8"),
    "shape": (lambda: node("flat", shape=(1, 1, 41)), r"\(1, 1, 41\); its input makes it \(1, 1, 40\)"),
    "rows": (lambda: node("stem", shape=(9, 8, 8)), "window and input make 8 rows"),
    "columns": (lambda: node("stem", shape=(8, 7, 8)), "window and input make 8 columns"),
    "list shape": (lambda: node("stem", shape=[8, 8, 8]), "shape: "),
    "kernel": (lambda: window("stem", kernel=(0, 3)), r"window, kernel: \(0, 3\) is not 2 integers"),
    "stride": (lambda: window("stem", stride=(1, True)), "window, stride"),
    "dilation": (lambda: window("stem", dilation=(1, 1.0)), "window, dilation"),
    "pads": (lambda: window("stem", pads=(-1, 1, 1, 1)), "window, pads"),
    "three pads": (lambda: window("stem", pads=(1, 1, 1)), "window, pads"),
    "huge pads": (lambda: window("stem", pads=(60_000,) * 4), "is too large"),
    "outside": (lambda: window("largest", pads=(2, 0, 0, 0)), "make 5 rows"),
    "empty pool": (
        lambda: replace(
            window("small", pads=(3, 0, 0, 0)),
            nodes=tuple(
                replace(
                    n,
                    shape=(3, 2, 10),
                    window=Window(kernel=(3, 3), stride=(3, 3), pads=(3, 0, 0, 0)),
                )
                if n.name == "small"
                else n
                for n in SAMPLE.nodes
            ),
        ),
        "'small', window: one lies outside the image altogether",
    ),
    "groups": (lambda: node("block.conv", groups=3), "groups: 3 does not divide 8 input"),
    "no groups": (lambda: node("block.conv", groups=0), "groups: 0"),
    "half groups": (lambda: node("block.conv", groups=2.0), "groups: 2.0"),
    "pad": (lambda: node("block.conv", pad=2), r"pad and unit: \(2, False\)"),
    "true pad": (lambda: node("block.conv", pad=True), "pad and unit"),
    "unit": (lambda: node("block.conv", unit=1), "pad and unit"),
    "pad of floats": (lambda: node("head", pad=1), "pad and unit: float_conv has none"),
    "window of none": (lambda: node("flat", window=Window(kernel=(2, 2))), "window: flatten has"),
    "groups of none": (lambda: node("flat", groups=2), "groups: flatten has none"),
    "weights of none": (lambda: node("flat", weights="head.w"), "weights: flatten has none"),
    "no weights": (lambda: node("head", weights=None), "weights: float_conv needs them"),
    "no scale": (lambda: node("stem", scale=None), "scale: int8_conv needs one"),
    "scale of none": (lambda: node("head", scale="head.b"), "scale: float_conv has none"),
    "attributes": (lambda: node("flat", attributes={"a": 1}), "flatten takes no 'a'"),
    "lost weights": (lambda: without("head.w"), "weights: there is no tensor 'head.w'"),
    "lost constant": (lambda: without("head.b"), "step 0 'add', a: there is no tensor 'head.b'"),
    "unused": (lambda: tensor("more", np.zeros(3, np.int8)), "tensor 'more' is used by no node"),
    "weights type": (
        lambda: tensor("stem.w", SAMPLE.tensors["stem.w"].astype(np.uint8)),
        r"'stem.w' is uint8 \(8, 3, 3, 3\), it should be int8",
    ),
    "weights shape": (
        lambda: tensor("block.w", SAMPLE.tensors["block.w"][:1]),
        r"uint32 \(1, 9, 64\), it should be uint32 \(2, 9, 64\)",
    ),
    "rows shape": (lambda: tensor("rows", SAMPLE.tensors["rows"][..., 0]), "'turned', weights"),
    "beyond channels": (beyond_channels, "'block.conv', weights: bits beyond the channels"),
    "beyond filters": (beyond_filters, "'unit', weights: bits beyond the channels"),
    "beyond rows": (lambda: number("rows", 1 << 10), "'turned', weights: bits beyond"),
    "nan weight": (lambda: number("head.w", np.nan), "'head', weights: a number is not finite"),
    "inf scale": (lambda: number("stem.scale", np.inf), "scale: a number is not finite"),
    "nan zero": (lambda: number("stem.zero", np.nan), "zero: a number is not within 65536"),
    "far zero": (lambda: number("stem.zero", 1e6), "zero: a number is not within 65536"),
    "inf slope": (lambda: number("block.slope", np.inf), "'prelu', a: a number is not finite"),
    "nan shift": (lambda: number("stem.b", np.nan), "'multiply_add', b: a number is not finite"),
    "nan threshold": (lambda: number("stem.t", np.nan), "'sign', a: a threshold is NaN"),
    "flip": (lambda: number("flip", 2), "'sign', b: a number is neither 0 nor 1"),
    "steps of none": (lambda: node("flat", steps=(Step(op="store", value="x"),)), "flatten has none"),
    "no output": (lambda: node("flat", output=None), "output: it makes no value"),
    "output of steps": (lambda: node("head", output="x"), "writes by its steps alone"),
    "no sink": (lambda: node("head", steps=()), "none of them writes"),
    "many steps": (
        lambda: node("head", steps=SAMPLE.nodes[-1].steps[:1] * 64 + SAMPLE.nodes[-1].steps[1:]),
        "65; at most 64",
    ),
    "unknown step": (lambda: step("head", 0, op="halt"), "step 0 'halt', op: it is no step"),
    "no a": (lambda: step("head", 0, a=None), "'add', a: it is missing"),
    "no value": (lambda: step("head", 1, value=None), "writes a value|value: it is missing"),
    "no operand": (lambda: step("gated", 0, value=None), "'multiply_value', value: it is missing"),
    "b of add": (lambda: step("head", 0, b="head.b"), "b: it takes none"),
    "low of add": (lambda: step("head", 0, low=0.0), "low: it takes none"),
    "nan low": (lambda: step("gated", 1, low=float("nan")), "are no interval"),
    "low above high": (lambda: step("gated", 1, low=2.0), "are no interval"),
    "quantize scale": (lambda: step("gated", 2, scale=-1.0), "scale: -1.0 is no positive number"),
    "quantize inf": (lambda: step("gated", 2, scale=float("inf")), "scale: inf is no positive"),
    "quantize zero": (lambda: step("gated", 2, zero=256), "zero: 256 is no byte"),
    "operand shape": (lambda: step("gated", 0, value="f7"), r"takes a float of \(6, 6, 10\)"),
    "operand kind": (lambda: step("block.conv", 2, value="c0"), "'c0' is codes"),
    "count": (lambda: attributes("mean", count="all"), "count: 'all' is not inside, padded"),
    "count zero": (lambda: attributes("mean", count=0, padding=...), "count: 0"),
    "no padding": (lambda: attributes("mean", padding=...), "padding: it goes with"),
    "padding": (lambda: attributes("mean", padding=(1, -1)), r"padding: \(1, -1\) is not"),
    "concat sizes": (lambda: node("joined", inputs=("f2", "f1")), "heights and widths differ"),
    "pad mode": (lambda: attributes("border", mode="mirror"), "mode: 'mirror' is none of"),
    "pad reflect": (lambda: attributes("border", mode="reflect", pads=(4, 0, 1, 1)), "too wide"),
    "pad sizes": (lambda: attributes("border", pads=(1, 0, 1, "1")), "are no sizes"),
    "pad value": (lambda: attributes("border", value=float("nan")), "value: nan is no number"),
    "pad null": (lambda: attributes("border", pads=None), "pads: it is null; leave it out"),
    "value null": (lambda: attributes("border", value=None), "value: it is null"),
    "mode null": (lambda: attributes("border", mode=None), "mode: it is null"),
    "slice null": (lambda: attributes("part", rows=None), "rows: it is null"),
    "alpha null": (lambda: attributes("gate", alpha=None), "alpha: it is null"),
    "form null": (lambda: attributes("gate", approximate=None), "approximate: it is null"),
    "padding null": (lambda: attributes("mean", count=3, padding=None), "padding: it is null"),
    "corners null": (lambda: attributes("larger", align_corners=None), "corners: it is null"),
    "slice": (lambda: attributes("part", rows=(0, 7, 2)), "rows: .* start, stop and step within 6"),
    "slice step": (lambda: attributes("part", rows=(0, 6, 0)), "rows: "),
    "slice back": (lambda: attributes("part", rows=(5, 0, -1)), "rows: "),
    "resize mode": (lambda: attributes("larger", mode="cubic"), "neither nearest nor bilinear"),
    "corners": (lambda: attributes("larger", align_corners=1), "align_corners: 1"),
    "resize scale": (lambda: attributes("larger", scale=(20.0, 1.5)), "does not make"),
    "resize tiny": (lambda: attributes("larger", scale=(1e-300, 1.5)), "does not make"),
    "function": (lambda: attributes("gate", function="eval"), "function: 'eval' is none of"),
    "alpha": (lambda: attributes("gate", alpha=1.0), "alpha: 1.0 does not fit sigmoid"),
    "approximate": (lambda: attributes("gate", approximate="tanh"), "does not fit sigmoid"),
}  # fmt: skip


def test_the_sample_keeps_all_rules() -> None:
    check(SAMPLE)


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_is_named(rule: str) -> None:
    change, message = RULES[rule]
    with pytest.raises(BitsFileError, match=message):
        check(change())
    with pytest.raises(BitsFileError, match=message):
        encode(change())


@pytest.mark.parametrize("seed", range(25))
def test_random_nets_keep_all_rules_and_survive_a_file(
    seed: int, random_net: Callable[..., Graph]
) -> None:
    graph = random_net(seed, 8)
    used = {name for n in graph.nodes for name in _tensors(n)}
    graph = replace(graph, tensors={k: v for k, v in graph.tensors.items() if k in used})
    check(graph)
    back = decode(encode(graph))
    assert back.values == graph.values
    assert to_json(decode(encode(back))) == to_json(back)


def _tensors(n: Node) -> set[str | None]:
    return {n.weights, n.scale, n.zero, *(s.a for s in n.steps), *(s.b for s in n.steps)}


def one_conv(k: int, channels: int, weights: Any) -> Graph:
    conv = Node(
        name="conv",
        op="int8_conv",
        inputs=("x",),
        shape=(1, 1, 1),
        window=Window(kernel=(k, k)),
        weights="w",
        scale="s",
        zero="z",
        steps=(Step(op="store", value="y"),),
    )
    return Graph(
        nodes=(conv,),
        values={
            "x": Value(name="x", kind="u8", shape=(k, k, channels)),
            "y": Value(name="y", kind="float", shape=(1, 1, 1)),
        },
        tensors={
            "w": weights,
            "s": np.ones(1, np.float32),
            "z": np.zeros(channels, np.float32),
        },
        input="x",
        output="y",
        output_rank=4,
    )


def test_integer_sums_that_do_not_fit() -> None:
    weights = np.full((1, 40, 40, 64), 90, np.int8)
    with pytest.raises(BitsFileError, match="do not fit 32 bits"):
        check(one_conv(40, 64, weights))
    check(one_conv(40, 64, weights // 2))


def test_work_without_end() -> None:
    side = 2048
    copies = 80
    step_ = Step(op="store", value="f0")
    convs = [
        Node(
            name=f"conv{i}",
            op="float_conv",
            inputs=("x",),
            shape=(1025, 1025, 1),
            window=Window(kernel=(1024, 1024)),
            weights="w",
            steps=(replace(step_, value=f"f{i}"),),
        )
        for i in range(copies)
    ]
    values = {"x": Value(name="x", kind="float", shape=(side, side, 1))}
    for i in range(copies):
        values[f"f{i}"] = Value(name=f"f{i}", kind="float", shape=(1025, 1025, 1))
    graph = Graph(
        nodes=tuple(convs),
        values=values,
        tensors={"w": np.zeros((1, 1024, 1024, 1), np.float32)},
        input="x",
        output="f0",
        output_rank=4,
    )
    with pytest.raises(BitsFileError, match=r"node 7 'conv7': one image takes \d+ operations"):
        check(graph)


FIELDS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no nodes": (lambda d: d.pop("nodes"), "the graph has no field 'nodes'"),
    "unknown": (lambda d: d.update(extra=1), "the graph has an unknown field 'extra'"),
    "node": (lambda d: d["nodes"].__setitem__(0, 5), "node 0: 5 is not a JSON object"),
    "node field": (
        lambda d: d["nodes"][0].update(eval="x"),
        "node 0 'stem' has an unknown field 'eval'",
    ),
    "no op": (lambda d: d["nodes"][1].pop("op"), "node 1 'block.conv' has no field 'op'"),
    "name": (lambda d: d["nodes"][1].update(name=""), "node 1 '', name: '' is not a name"),
    "shape": (lambda d: d["nodes"][0].update(shape=[1, 2]), "shape: .* is not a list of 3"),
    "number": (lambda d: d["nodes"][0].update(groups=1.0), "groups: 1.0 is not an integer"),
    "true": (lambda d: d["nodes"][0].update(groups=True), "groups: True is not an integer"),
    "large": (lambda d: d["nodes"][0].update(groups=10**40), "is not an integer"),
    "flag": (lambda d: d["nodes"][1].update(unit=1), "unit: 1 is not true or false"),
    "steps": (lambda d: d["nodes"][0].update(steps={}), "steps: {} is not a list"),
    "step": (lambda d: d["nodes"][0]["steps"][0].update(low="x"), "low: 'x' is not a number"),
    "window": (
        lambda d: d["nodes"][0]["window"].update(kernel=3),
        "window, kernel: 3 is not a list",
    ),
    "kind": (lambda d: d["input"].update(kind="f64"), "kind: 'f64' is not one of codes"),
    "mean": (lambda d: d.update(mean=[1, "a", 2]), "mean: 'a' is not a number"),
    "labels": (lambda d: d.update(labels=[1]), "labels: 1 is not a string"),
    "meta": (lambda d: d.update(meta=[]), r"meta: \[\] is not a JSON object"),
    "attributes": (lambda d: d["nodes"][4].update(attributes=None), "attributes: None is not"),
    "twice": (
        lambda d: d["nodes"].append(d["nodes"][0]),
        "value 'f0' is made twice",
    ),
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_the_wrong_type_is_named(field: str) -> None:
    change, message = FIELDS[field]
    data = to_json(SAMPLE)
    change(data)
    with pytest.raises(BitsFileError, match=message):
        from_json(data, SAMPLE.tensors)


def test_a_long_value_is_cut_in_messages() -> None:
    assert len(shown("x" * 10_000)) < 100
    assert len(shown([[list(range(999))] * 99])) < 500
    assert len(shown(10**3000)) < 100
