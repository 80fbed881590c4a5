"""Binarization methods, one paper a file.

`METHODS` maps a name to the place of its `Method` without importing torch, so that the command line
can list and check names quickly; `get(name)` imports it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from bitlens.errors import BitlensError, unknown

if TYPE_CHECKING:
    from bitlens.methods.contract import Method

METHODS: dict[str, str] = {
    "bnn": "bitlens.methods.bnn:BNN",
    "xnor": "bitlens.methods.xnor:XNOR",
    "xnorpp": "bitlens.methods.xnorpp:XNORPP",
    "dorefa": "bitlens.methods.dorefa:DOREFA",
    "bireal": "bitlens.methods.bireal:BIREAL",
    "irnet": "bitlens.methods.irnet:IRNET",
    "rbnn": "bitlens.methods.rbnn:RBNN",
    "siman": "bitlens.methods.siman:SIMAN",
    "recu": "bitlens.methods.recu:RECU",
    "reactnet": "bitlens.methods.reactnet:REACTNET",
    "rbonn": "bitlens.methods.rbonn:RBONN",
    "adabin": "bitlens.methods.adabin:ADABIN",
    "fda": "bitlens.methods.fda:FDA",
    "ovsw": "bitlens.methods.ovsw:OVSW",
    "biper": "bitlens.methods.biper:BIPER",
    "reste": "bitlens.methods.reste:RESTE",
    "dybnn": "bitlens.methods.dybnn:DYBNN",
    "subbit": "bitlens.methods.subbit:SUBBIT",
    "complex": "bitlens.methods.complex:COMPLEX",
    "vispa": "bitlens.methods.vispa:VISPA",
}


def check_name(name: str, *, also: tuple[str, ...] = ()) -> None:
    """Refuse a name that is not in `METHODS` or `also`, nor spelled `module:ATTRIBUTE`; imports nothing.

    Raises:
        BitlensError: no such method; the near names are suggested.
    """
    if name in METHODS or name in also:
        return
    module, colon, attribute = name.partition(":")
    if not colon:
        raise unknown("method", name, [*METHODS, *also])
    if not attribute.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise BitlensError(
            f"method {name!r}: a method of your own is written module:ATTRIBUTE, as in my.module:METHOD"
        )


def get(name: str) -> Method:
    """The method called `name`: a key of `METHODS`, or `module:ATTRIBUTE` for one from elsewhere.

    Raises:
        BitlensError: no such method, a module that cannot be imported, or no `Method` there.
    """
    check_name(name)
    module, attribute = METHODS.get(name, name).split(":")
    try:
        found = getattr(import_module(module), attribute, None)
    except ImportError as error:
        if name in METHODS:
            raise
        raise BitlensError(
            f"method {name!r}: cannot import {module} ({error}); run where Python finds it"
        ) from error
    from bitlens.methods.contract import Method

    if not isinstance(found, Method):
        what = "there is no such attribute" if found is None else f"it is a {type(found).__name__}"
        raise BitlensError(
            f"method {name!r}: {what}; give the name of a bitlens.methods.contract.Method"
        )
    return found
