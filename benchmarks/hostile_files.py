"""Damages a small `.bits` file in thousands of ways and counts what reading it does.

    python benchmarks/hostile_files.py --count 20000

Every damaged file must either be refused with `BitsFileError`, or be a graph that the slow reference runs.
Files are damaged as raw bytes, in the safetensors header, in the JSON of the graph and in the tensors; in
all but the first the digest is made anew, so that it is not the digest that finds the damage. The accepted
ones also go through a `Session` in a process of its own, and its codes are compared with the reference's.
"""

from __future__ import annotations

import argparse
import copy
import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bitlens.engine.errors import BitsFileError
from bitlens.engine.file.format import decode, digest, encode
from bitlens.engine.file.header import made_values
from bitlens.engine.graph import Graph, Node, Step, Value, Window
from bitlens.engine.reference.run import run
from bitlens.engine.words import pack_blocks, pack_rows

Draw = np.random.Generator


def sample_graph() -> Graph:
    """A graph of all operations and steps, small enough to be damaged a thousand times a second."""
    draw = np.random.default_rng(0)
    tensors: dict[str, Any] = {}

    def floats(name: str, *shape: int) -> str:
        tensors[name] = draw.normal(size=shape).astype(np.float32)
        return name

    def signs(name: str, *shape: int, groups: int = 1) -> str:
        tensors[name] = pack_blocks(draw.choice([-1, 1], shape), groups)
        return name

    def bytes_of(name: str, *shape: int) -> str:
        tensors[name] = draw.integers(-127, 128, shape).astype(np.int8)
        return name

    def step(op: Any, **fields: Any) -> Step:
        return Step(op=op, **fields)

    tensors["rows"] = pack_rows(draw.choice([-1, 1], (10, 10, 1, 1)))
    tensors["flip"] = np.arange(8, dtype=np.uint8) % 2
    small = Window(kernel=(3, 3), pads=(1, 1, 1, 1))
    halve = Window(kernel=(2, 2), stride=(2, 2))
    nodes = (
        Node(
            name="stem",
            op="int8_conv",
            inputs=("image",),
            shape=(8, 8, 8),
            window=small,
            weights=bytes_of("stem.w", 8, 3, 3, 3),
            scale=floats("stem.scale", 8),
            zero=floats("stem.zero", 3),
            steps=(
                step("multiply_add", a=floats("stem.a", 8), b=floats("stem.b", 8)),
                step("store", value="f0"),
                step("sign", value="c0", a=floats("stem.t", 8), b="flip"),
            ),
        ),
        Node(
            name="block.conv",
            op="binary_conv",
            inputs=("c0",),
            shape=(8, 8, 8),
            window=small,
            groups=2,
            pad=-1,
            weights=signs("block.w", 8, 4, 3, 3, groups=2),
            steps=(
                step("multiply", a=floats("block.scale", 8)),
                step("add", a=floats("block.shift", 8)),
                step("add_value", value="f0"),
                step("prelu", a=floats("block.slope", 8)),
                step("store", value="f1"),
                step("sign", value="c1", a=floats("block.t", 8)),
            ),
        ),
        Node(
            name="unit",
            op="binary_conv",
            inputs=("c1",),
            shape=(4, 4, 5),
            window=Window(kernel=(2, 3), stride=(2, 2), dilation=(1, 1), pads=(0, 1, 0, 1)),
            unit=True,
            weights=signs("unit.w", 5, 8, 2, 3),
            steps=(step("store", value="f2"),),
        ),
        Node(
            name="largest",
            op="max_pool",
            inputs=("f1",),
            shape=(4, 4, 8),
            window=halve,
            steps=(step("store", value="f3"),),
        ),
        Node(
            name="mean",
            op="avg_pool",
            inputs=("f1",),
            shape=(4, 4, 8),
            window=Window(kernel=(3, 3), stride=(2, 2), pads=(1, 1, 0, 0)),
            attributes={"count": "padded", "padding": (1, 1)},
            steps=(step("store", value="f4"),),
        ),
        Node(name="joined", op="concat", inputs=("f2", "f3"), output="f5", shape=(4, 4, 13)),
        Node(
            name="border",
            op="pad",
            inputs=("f5",),
            output="f6",
            shape=(6, 5, 14),
            attributes={"pads": (1, 0, 1, 1), "channels": (1, 0), "value": 0.5},
        ),
        Node(
            name="part",
            op="slice",
            inputs=("f6",),
            output="f7",
            shape=(3, 4, 10),
            attributes={"rows": (0, 6, 2), "columns": (1, 5, 1), "channels": (2, 12, 1)},
        ),
        Node(
            name="larger",
            op="resize",
            inputs=("f7",),
            output="f8",
            shape=(6, 6, 10),
            attributes={"mode": "bilinear", "align_corners": False, "scale": (2.0, 1.5)},
        ),
        Node(
            name="gate",
            op="unary",
            inputs=("f8",),
            output="f9",
            shape=(6, 6, 10),
            attributes={"function": "sigmoid"},
        ),
        Node(
            name="gated",
            op="elementwise",
            inputs=("f8",),
            shape=(6, 6, 10),
            steps=(
                step("multiply_value", value="f9"),
                step("clamp", low=-1.0, high=1.5),
                step("quantize", value="q0", scale=100.0, zero=100),
                step("store", value="f10"),
            ),
        ),
        Node(
            name="turned",
            op="sign_conv",
            inputs=("f10",),
            shape=(6, 6, 10),
            weights="rows",
            steps=(step("store", value="f11"),),
        ),
        Node(
            name="bytes",
            op="int8_conv",
            inputs=("q0",),
            shape=(6, 6, 10),
            weights=bytes_of("bytes.w", 10, 1, 1, 10),
            scale=floats("bytes.scale", 10),
            zero=floats("bytes.zero", 10),
            steps=(step("add_value", value="f11"), step("store", value="f12")),
        ),
        Node(
            name="small",
            op="max_pool",
            inputs=("f12",),
            shape=(2, 2, 10),
            window=Window(kernel=(3, 3), stride=(3, 3)),
            steps=(step("store", value="f13"),),
        ),
        Node(name="flat", op="flatten", inputs=("f13",), output="f14", shape=(1, 1, 40)),
        Node(
            name="head",
            op="float_conv",
            inputs=("f14",),
            shape=(1, 1, 4),
            weights=floats("head.w", 4, 1, 1, 40),
            steps=(step("add", a=floats("head.b", 4)), step("store", value="logits")),
        ),
    )
    image = Value(name="image", kind="u8", shape=(8, 8, 3))
    values = {value.name: value for node in nodes for value in made_values(node)}
    return Graph(
        nodes=nodes,
        values={"image": image, **values},
        tensors=tensors,
        input="image",
        output="logits",
        output_rank=2,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.2, 0.3),
        labels=("cat", "dog", "ant", "bee"),
        meta={"method": "cmim"},
    )


class File:
    """A `.bits` file taken apart: the table of tensors, the bitlens header, and the tensors' bytes."""

    def __init__(self, data: bytes) -> None:
        length = int.from_bytes(data[:8], "little")
        self.table: dict[str, Any] = json.loads(data[8 : 8 + length])
        self.header: dict[str, Any] = json.loads(self.table.pop("__metadata__")["bitlens"])
        self.data = bytearray(data[8 + length :])

    def join(self) -> bytes:
        """The file put together, with a digest that fits."""
        text = json.dumps(self.header, separators=(",", ":"))
        sealed = digest(text, self.table, [self.data])
        head = {"__metadata__": {"bitlens": text, "sha256": sealed}, **self.table}
        packed = json.dumps(head, separators=(",", ":")).encode()
        packed += b" " * (-(8 + len(packed)) % 64)
        return len(packed).to_bytes(8, "little") + packed + bytes(self.data)


def damage_bytes(original: bytes, draw: Draw) -> bytes:
    """Flip, cut, insert, repeat or overwrite bytes, or nest deeply; half of the time near the start."""
    data = bytearray(original)
    far = len(data) if draw.random() < 0.5 else min(len(data), 200)
    at, size = int(draw.integers(far)), int(draw.integers(1, 64))
    match draw.integers(8):
        case 7:
            at = min(at, 8 + int.from_bytes(data[:8], "little"))
            deep = (b"[" if at % 2 else b'{"a":') * int(draw.integers(20_000))
            data[at:at] = deep
            data[:8] = (int.from_bytes(data[:8], "little") + len(deep)).to_bytes(8, "little")
        case 0:
            data[at] ^= 1 << int(draw.integers(8))
        case 1:
            del data[at:]
        case 2:
            del data[at : at + size]
        case 3:
            data[at:at] = draw.bytes(size)
        case 4:
            data[at : at + size] = bytes(size)
        case 5:
            data[at:at] = data[at : at + size]
        case _:
            data[:8] = int(draw.integers(0, 2**63)).to_bytes(8, "little")
    return bytes(data)


ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 7, 64, 255, 256, 65535, 65536, 2**24, 2**31, 2**53, 2**63,
    10**400, -(2**70), 0.5, -1.5, 1e308, 1e-320, "inf", "-inf", "nan", "", "x", "image", "logits",
    "f0", "c0", "q0", "store", "sign", "float_conv", "constant", "circular", "é" * 40, "n" * 5000,
    [], {}, [1], [1, 1], [0, 0, 0], [1, 1, 1], [65536, 65536, 4096], [[[]]], {"op": "store"},
)  # fmt: skip
"""What a field may turn into."""


def damage_json(data: Any, draw: Draw) -> None:
    """Change one place of JSON data: replace, delete, repeat, nudge, or copy from elsewhere."""
    places = list(_places(data))
    holder, key = places[int(draw.integers(len(places)))]
    other, its_key = places[int(draw.integers(len(places)))]
    old = holder[key]
    match draw.integers(6):
        case 0:
            holder[key] = copy.deepcopy(ODD[int(draw.integers(len(ODD)))])
        case 1:
            del holder[key]
        case 2 if isinstance(holder, list):
            holder.insert(int(draw.integers(len(holder) + 1)), copy.deepcopy(old))
        case 3 if type(old) in (int, float):
            holder[key] = old + int(draw.integers(-2, 3))
        case 4:
            deep: Any = 1
            for _ in range(int(draw.integers(1, 400))):
                deep = [deep]
            holder[key] = deep
        case _:
            holder[key] = copy.deepcopy(_alike(places, old, draw) or other[its_key])


def _alike(places: list[tuple[Any, Any]], old: Any, draw: Draw) -> Any:
    """A value of the same type from another place, which has the best chance to be accepted."""
    same = [holder[key] for holder, key in places if type(holder[key]) is type(old)]
    return same[int(draw.integers(len(same)))] if same else None


def _places(data: Any) -> Any:
    keys = list(data) if isinstance(data, dict) else range(len(data))
    for key in keys:
        yield data, key
        if isinstance(data[key], dict | list):
            yield from _places(data[key])


def damage_table(original: bytes, draw: Draw) -> bytes:
    """Change number types, shapes, places and names of tensors, under a digest that fits."""
    file = File(original)
    for _ in range(int(draw.integers(1, 3))):
        damage_json(file.table, draw)
    return file.join()


def damage_graph(original: bytes, draw: Draw) -> bytes:
    """Change fields of the graph, under a digest that fits."""
    file = File(original)
    target = file.header if draw.random() < 0.05 else file.header["graph"]
    for _ in range(int(draw.integers(1, 3))):
        damage_json(target, draw)
    return file.join()


def damage_tensors(original: bytes, draw: Draw) -> bytes:
    """Overwrite numbers of tensors by NaN, infinity or anything, under a digest that fits."""
    file = File(original)
    odd = (b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\xff\xff\xff\xff", bytes(4), draw.bytes(4))
    for _ in range(int(draw.integers(1, 6))):
        at = _number(file, draw)
        file.data[at : at + 4] = odd[int(draw.integers(len(odd)))]
    return file.join()


def _number(file: File, draw: Draw, dtype: str | None = None) -> int:
    """Where a random number of a random tensor starts."""
    entries = [e for e in file.table.values() if dtype in (None, e["dtype"])]
    start, end = entries[int(draw.integers(len(entries)))]["data_offsets"]
    return start + int(draw.integers((end - start) // 4)) * 4


def damage_sense(original: bytes, draw: Draw) -> bytes:
    """Change what the graph computes so that it mostly stays a graph: steps, modes, bounds, numbers."""
    file = File(original)
    nodes = file.header["graph"]["nodes"]
    for _ in range(int(draw.integers(1, 5))):
        node = nodes[int(draw.integers(len(nodes)))]
        if steps := node.get("steps"):
            _change_steps(steps, nodes, draw)
        if node["op"] == "binary_conv":
            node["pad"], node["unit"] = int(draw.integers(-1, 2)), bool(draw.integers(2))
        attributes = node.get("attributes", {})
        if "count" in attributes:
            attributes.pop("padding", None)
            attributes["count"] = ("inside", int(draw.integers(1, 9)))[int(draw.integers(2))]
        elif "function" in attributes:
            attributes["function"] = ("abs", "gelu", "elu", "hardswish")[int(draw.integers(4))]
        elif "value" in attributes:
            attributes["value"] = ("inf", "-inf", 1e30, -1)[int(draw.integers(4))]
        elif attributes.get("mode") == "bilinear":
            attributes["mode"] = ("nearest", "bilinear")[int(draw.integers(2))]
            attributes.pop("scale", None)
    at = _number(file, draw, "F32")
    file.data[at : at + 4] = np.float32(draw.normal() * 10.0 ** draw.integers(-30, 30)).tobytes()
    return file.join()


def _change_steps(steps: list[Any], nodes: list[Any], draw: Draw) -> None:
    first, second = (int(i) for i in draw.integers(len(steps), size=2))
    match draw.integers(4):
        case 0:
            steps[first], steps[second] = steps[second], steps[first]
        case 1 if len(steps) > 1:
            del steps[first]
        case 2:
            donors = [step for node in nodes for step in node.get("steps", ())]
            copied = dict(donors[int(draw.integers(len(donors)))])
            if copied["op"] in ("store", "sign", "quantize"):
                copied["value"] += f"-{int(draw.integers(1 << 30))}"
            steps.insert(first, copied)
        case _:
            ends = sorted(float(end) for end in draw.normal(size=2))
            steps.insert(first, {"op": "clamp", "low": ends[0], "high": ends[1]})


LEVELS: dict[str, Callable[[bytes, Draw], bytes]] = {
    "bytes": damage_bytes,
    "table": damage_table,
    "graph": damage_graph,
    "tensors": damage_tensors,
    "sense": damage_sense,
}


def judge(data: bytes) -> tuple[str, Graph | None]:
    """What reading comes to: `refused`, or `accepted` and the graph."""
    try:
        return "accepted", decode(data)
    except BitsFileError:
        return "refused", None


def image_for(graph: Graph, draw: Draw) -> Any:
    """One random image as the graph takes it."""
    taken = graph.values[graph.input]
    shape = (1, *taken.shape)
    if taken.kind == "u8":
        return draw.integers(0, 256, shape, np.uint8)
    return draw.normal(size=shape).astype(np.float32)


def small(graph: Graph) -> bool:
    """Whether the slow reference runs it in no time."""
    return sum(int(np.prod(value.shape)) for value in graph.values.values()) < 1 << 20


def runs(graph: Graph, draw: Draw) -> None:
    """Run the reference and compare what it makes with what the graph declares.

    Raises:
        AssertionError: a value of another shape.
    """
    made = run(graph, image_for(graph, draw))
    for name, value in graph.values.items():
        assert made[name].shape == (1, *value.shape), name


def exact_values(graph: Graph) -> set[str]:
    """Values that every engine computes to the last bit: no open order of summation before them."""
    found = {graph.input}
    for node in graph.nodes:
        open_order = node.op in ("float_conv", "sign_conv", "unary", "resize")
        if not open_order and found.issuperset(node.reads):
            found.update(node.outputs)
    return found


def work(paths: list[str]) -> None:
    """Run graphs through sessions and print one line each; this process may die."""
    from bitlens.engine.run.session import Session

    for path in paths:
        graph, image = pickle.loads(Path(path).read_bytes())
        expected = run(graph, image)
        try:
            made = Session(graph, threads=1).trace(image, layout="nhwc")
        except Exception as error:
            print("raised", type(error).__name__, str(error)[:200].replace("\n", " "), flush=True)
            continue
        wrong = [n for n in exact_values(graph) if not np.array_equal(made[n], expected[n], True)]
        ops = sorted(f"{n.op}:{o}" for n in graph.nodes for o in n.outputs if o in wrong)
        print(f"differs in {ops[0]}" if wrong else "equal", flush=True)


def through_sessions(accepted: list[tuple[Graph, Any]], kept: Path) -> Counter[str]:
    """Run accepted graphs in processes of their own; a process that dies is counted and replaced.

    Graphs that do not come out equal are kept in the folder `kept`.
    """
    told: Counter[str] = Counter()
    paths = []
    for index, (graph, image) in enumerate(accepted):
        paths.append(kept / f"{index:05}.graph")
        tensors = {name: np.array(tensor) for name, tensor in graph.tensors.items()}
        plain = Graph(**{**graph.__dict__, "tensors": tensors})
        paths[-1].write_bytes(pickle.dumps((plain, image)))
    while paths:
        command = [sys.executable, __file__, "--worker", *map(str, paths[:100])]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
        lines = [line for line in ended.stdout.splitlines() if line.split()[0] in OUTCOMES]
        if len(lines) < len(paths[:100]):
            last = ended.stderr.strip().splitlines()
            lines.append(f"died with {ended.returncode}: {last[-1] if last else ''}")
        for path, line in zip(paths, lines, strict=False):
            told[line] += 1
            if line == "equal":
                path.unlink()
        paths = paths[len(lines) :]
    return told


OUTCOMES = ("equal", "differs", "raised")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sessions", type=int, default=200, help="accepted graphs to run")
    parser.add_argument("--worker", nargs="+", default=(), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker)
        return
    original, told, slowest = encode(sample_graph()), Counter(), 0.0
    accepted: list[tuple[Graph, Any]] = []
    names = list(LEVELS)
    for index in range(options.count):
        level = names[index % len(names)]
        draw = np.random.default_rng((options.seed, index))
        data = LEVELS[level](original, draw)
        start = time.thread_time()
        outcome, graph = judge(data)
        slowest = max(slowest, time.thread_time() - start)
        told[f"{level}: {outcome}"] += 1
        if graph is not None and small(graph):
            runs(graph, draw)
            accepted.append((graph, image_for(graph, draw)))
    print(
        f"{options.count} files of about {len(original)} bytes, slowest read {slowest * 1e3:.1f} ms of a core"
    )
    for name, count in sorted(told.items()):
        print(f"{count:7} {name}")
    chosen = accepted[:: max(1, len(accepted) // max(options.sessions, 1))][: options.sessions]
    if chosen:
        kept = Path(tempfile.mkdtemp(prefix="hostile-"))
        told = through_sessions(chosen, kept)
        print(f"{len(chosen)} accepted graphs in a session; those not equal are in {kept}:")
        for name, count in told.most_common():
            print(f"{count:7} {name}")


if __name__ == "__main__":
    main()
