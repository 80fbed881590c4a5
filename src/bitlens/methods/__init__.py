"""Binarization methods, one paper a file.

`METHODS` maps a name to the place of its `Method` without importing torch, so that the command line
can list and check names quickly; `get(name)` imports it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from bitlens.errors import unknown

if TYPE_CHECKING:
    from bitlens.methods.contract import Method

METHODS: dict[str, str] = {
    "bnn": "bitlens.methods.bnn:BNN",
    "xnor": "bitlens.methods.xnor:XNOR",
    "dorefa": "bitlens.methods.dorefa:DOREFA",
    "bireal": "bitlens.methods.bireal:BIREAL",
    "irnet": "bitlens.methods.irnet:IRNET",
    "reactnet": "bitlens.methods.reactnet:REACTNET",
}


def get(name: str) -> Method:
    """The method called `name`.

    Raises:
        BitlensError: no such method; the near names are suggested.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    module, attribute = METHODS[name].split(":")
    return getattr(import_module(module), attribute)
