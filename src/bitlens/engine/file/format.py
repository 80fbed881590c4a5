"""Write and read `.bits` files.

A `.bits` file is a safetensors file (`container.py`) with two strings of metadata: `bitlens`, a JSON header
of schema version, bitlens version and graph (`header.py`), and `sha256`, a digest over that header and
all tensors. Weights are tensors of their own, constants rows of stacks (`constants.py`). Signs of a binary
convolution that are smaller as a codebook and indices (`codebook.py`) are stored so; the header then says
`codebooks`, the size of the book by tensor, and schema 2. Any other file is of schema 1.

Reading maps the file: big tensors are views of the map, backed by the file and shared between processes,
and no code is ever loaded from it. As long as a graph lives, its file must not be changed in place:
`MappedFile.check` tells whether it was. `write` never does that, it puts a new file in the place of the
old one.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from bitlens import __version__
from bitlens.engine.errors import BitsFileError, shown
from bitlens.engine.file.codebook import choose, expand
from bitlens.engine.file.constants import share, stack, unstack
from bitlens.engine.file.container import (
    Tensors,
    describe,
    map_tensors,
    parse_object,
    read_header,
)
from bitlens.engine.file.container import encode as encode_container
from bitlens.engine.file.header import from_json, to_json
from bitlens.engine.file.mapped import MappedFile
from bitlens.engine.file.validate import check
from bitlens.engine.graph import SCHEMA, Graph
from bitlens.errors import BitlensError

PLAIN, CODED = 1, 2
"""Schemas of a file without codebooks, which older versions read, and of one with some."""


def write(graph: Graph, path: str | bytes | os.PathLike[str]) -> None:
    """Write a graph. The file appears whole or not at all; one that is there stays until then.

    Args:
        graph: a graph that passes `validate.check`.
        path: the file, by custom with the ending `.bits`.

    Raises:
        BitsFileError: the graph breaks a rule.
        BitlensError: the file cannot be written.
    """
    path = Path(_named(path))
    data = encode(graph)
    draft = path.parent / f".{path.name}.{secrets.token_hex(6)}.part"
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        _sync_folder(path.parent)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BitlensError(f"{path} cannot be written: {reason}") from None
    finally:
        with suppress(OSError, ValueError):
            draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """The new name reaches the disk too, where a folder can be opened for that."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read(path: str | bytes | os.PathLike[str]) -> Graph:
    """Read and check a file.

    Returns:
        The graph; its tensors are read-only and lie in a map of the file.

    Raises:
        BitsFileError: there is no such file, it is damaged, no `.bits` file, of a newer schema, or its
            graph breaks a rule. Nothing else is raised, whatever the file holds.
    """
    return open_graph(path)[0]


def open_graph(path: str | bytes | os.PathLike[str]) -> tuple[Graph, MappedFile]:
    """Read and check a file, as `read` does, and keep it open.

    Returns:
        The graph, and the file that its tensors lie in.

    Raises:
        BitsFileError: as `read`.
    """
    name = _named(path)
    try:
        file = MappedFile(name)
        return decode(file.map), file
    except BitsFileError as error:
        raise BitsFileError(f"{name}: {error}") from None


def _named(path: object) -> str:
    if isinstance(path, str | bytes | os.PathLike):
        return os.fsdecode(path)
    raise BitsFileError(f"path is {shown(path)}; give the name of a .bits file as a string or Path")


def encode(graph: Graph) -> bytes:
    """The bytes of a graph's file; equal constants are stored once.

    Raises:
        BitsFileError: the graph breaks a rule, or `meta` holds what JSON cannot.
    """
    return _smallest(graph)[0]


def measure(graph: Graph) -> tuple[int, dict[str, int]]:
    """The size of a graph's file, and what codebooks save in it.

    Returns:
        Bytes of the file; and by the name that a weight has in `constants.share(graph)`, bytes that its
        words would have taken more.

    Raises:
        BitsFileError: as `encode`.
    """
    data, saved = _smallest(graph)
    return len(data), saved


def _smallest(graph: Graph) -> tuple[bytes, dict[str, int]]:
    check(graph)
    graph, tensors = stack(share(graph))
    plain = _file(graph, tensors, {})
    coded = choose(graph.nodes, graph.values, tensors)
    smaller = {name: part.words for name, part in coded.items()}
    books = {name: part.book for name, part in coded.items()}
    found = _file(graph, tensors | smaller, books) if coded else plain
    if len(found) >= len(plain):
        return plain, {}
    return found, {name: tensors[name].nbytes - words.nbytes for name, words in smaller.items()}


def _file(graph: Graph, tensors: Tensors, books: Mapping[str, int]) -> bytes:
    """The bytes of a graph whose tensors lie as given, `books` of them as codebooks."""
    header: dict[str, Any] = {"schema": CODED if books else PLAIN, "bitlens": __version__}
    try:
        header |= (
            {"codebooks": books, "graph": to_json(graph)} if books else {"graph": to_json(graph)}
        )
        text = json.dumps(header, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BitsFileError(f"the graph cannot be written as JSON: {error}") from None
    parse_object(text, "its JSON header")
    table = describe(tensors)
    data = (tensors[name].tobytes() for name in table)
    metadata = {"bitlens": text, "sha256": digest(text, table, data)}
    return encode_container(tensors, metadata)


def digest(text: str, table: Mapping[str, Any], data: Iterable[Any]) -> str:
    """What `sha256` holds: the digest of three things, one behind the other.

    Args:
        text: the JSON header `bitlens`, as it stands in the file.
        table: the safetensors header without its metadata; taken as JSON with sorted names, no spaces.
        data: all bytes behind the header, in pieces.
    """
    places = json.dumps(table, sort_keys=True, separators=(",", ":"))
    hashed = hashlib.sha256(f"{text}\n{places}\n".encode(errors="surrogatepass"))
    for piece in data:
        hashed.update(piece)
    return hashed.hexdigest()


def decode(buffer: Any) -> Graph:
    """The graph in a file's bytes, or in a map of it; its tensors are views of `buffer`.

    Raises:
        BitsFileError: as `read` does.
    """
    table, start = read_header(buffer)
    text, sealed = _metadata(table.pop("__metadata__", None))
    header = parse_object(text, "its bitlens header")
    _check_schema(header)
    stored = map_tensors(buffer, table, start)
    with memoryview(buffer) as view, view[start:] as data:
        if digest(text, table, [data]) != sealed:
            raise BitsFileError("it is damaged: its digest does not match; copy or pack it again")
    graph = from_json(header["graph"], {})
    stored = expand(_books(header), graph.nodes, graph.values, stored)
    graph = replace(graph, tensors=unstack(graph.nodes, stored))
    check(graph)
    return graph


def _metadata(found: Any) -> tuple[str, str]:
    if not isinstance(found, dict) or not isinstance(found.get("bitlens"), str):
        raise BitsFileError(
            "it is a safetensors file, but not of bitlens; `bitlens.pack` makes a .bits file of a trained net"
        )
    sealed = found.get("sha256")
    if not isinstance(sealed, str):
        raise BitsFileError("it is damaged: it has no digest")
    return found["bitlens"], sealed


def _check_schema(header: dict[str, Any]) -> None:
    schema = header.get("schema")
    if type(schema) is not int or schema < 1:
        raise BitsFileError(f"it has no schema version ({shown(schema)})")
    if schema > SCHEMA:
        raise BitsFileError(
            f"it is of schema {shown(schema)}, written by bitlens {shown(header.get('bitlens'))}; "
            f"this is bitlens {__version__}, which reads schema {SCHEMA}: install a newer bitlens"
        )
    if (schema >= CODED) != ("codebooks" in header):
        raise BitsFileError(f"it is of schema {schema}, and codebooks belong to schema {CODED}")
    if not isinstance(header.get("graph"), dict):
        raise BitsFileError("its bitlens header has no graph")


def _books(header: dict[str, Any]) -> dict[str, Any]:
    books = header.get("codebooks", {})
    if not isinstance(books, dict):
        raise BitsFileError(f"codebooks: {shown(books)} is not a JSON object")
    return books
