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
        BitlensError: no such method, a module that is not found or fails when it is imported, or no
            `Method` there.
    """
    check_name(name)
    module, attribute = METHODS.get(name, name).split(":")
    try:
        found = getattr(import_module(module), attribute, None)
    except Exception as error:  # a stranger's module may fail in any way
        if name in METHODS or isinstance(error, BitlensError):
            raise
        raise _not_imported(name, module, error) from error
    from bitlens.methods.contract import Method

    if not isinstance(found, Method):
        what = "there is no such attribute" if found is None else f"it is a {type(found).__name__}"
        raise BitlensError(
            f"method {name!r}: {what}; give the name of a bitlens.methods.contract.Method"
        )
    return found


def _not_imported(name: str, module: str, error: Exception) -> BitlensError:
    """What to say of a module of one's own that is not there, or fails by itself."""
    first, *rest = module.split(".")
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is not None and f"{module}.".startswith(f"{missing}."):
        place = f"{first}/" if rest else f"{first}.py"
        return BitlensError(
            f"method {name!r}: cannot import {module}, it is not found; start bitlens in the folder of "
            f"{place}, or put it on PYTHONPATH"
        )
    said = " ".join(str(error).split())
    return BitlensError(
        f"method {name!r}: cannot import {module}, it fails with {type(error).__name__}: {said}"
    )
