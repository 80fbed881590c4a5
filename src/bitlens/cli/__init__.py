"""The command line: `bitlens COMMAND ...`. Torch is imported by the commands that need it."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from bitlens.errors import BitlensError, unknown

COMMANDS: dict[str, str] = {
    "train": "train one recipe into a run folder; --resume continues it",
    "compare": "train several recipes from the same seeds and compare them",
    "report": "write one HTML page from run or comparison folders",
    "pack": "write a trained run as one small .bits file, checked against torch",
    "predict": "classify image files with a .bits file",
    "bench": "time a .bits file beside other inference engines",
    "list": "list recipes, suites, methods, models, data, objectives or presets",
    "info": "show the layers of a run, a model or a .bits file: 1-bit or not, and why",
    "study": "run a whole experiment and judge its claims (information-plane, bibench)",
    "doctor": "check this installation and machine, or a method: bitlens doctor my.module:METHOD",
}

EXAMPLES = """\
examples:
  bitlens train demo-cmim --out runs/first
  bitlens train demo-cmim --method reactnet --weight 0.05 --cmim.temperature 0.1 --out runs/mine
  bitlens compare demo-plain demo-cmim demo-float --seeds 5 --out runs/demo
  bitlens compare --suite methods --data fashion-mnist --out runs/methods
  bitlens report runs/demo --out runs/demo/report.html
  bitlens pack runs/first
  bitlens predict runs/first shirt.png boot.jpg
  bitlens bench runs/first --peers torch,int8
  bitlens list recipes"""


def usage() -> str:
    """The text of `bitlens --help`."""
    lines = [f"  {name:<9}{about}" for name, about in COMMANDS.items()]
    return "\n".join(
        [
            "bitlens trains, explains and ships binary neural networks.",
            "",
            "usage: bitlens COMMAND [options]      (bitlens COMMAND --help tells the options)",
            "",
            *lines,
            "",
            EXAMPLES,
        ]
    )


INTERRUPTED = {
    "train": "stopped; finished epochs are kept, the same command with --resume continues",
    "compare": "stopped; finished runs and epochs are kept, the same command continues",
    "study": "stopped; finished trials are kept, the same command continues",
}
"""What to do after Ctrl-C, by command; the others have nothing to continue."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 2 bad input, 130 stopped by the user."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _find_modules_here()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        _run(given)
        sys.stdout.flush()
    except BitlensError as error:
        print(f"bitlens: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nbitlens: {INTERRUPTED.get(given[0], 'stopped')}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output is gone (`bitlens list recipes | head`); leave quietly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _find_modules_here() -> None:
    """Let `module:ATTRIBUTE` name a file in the current folder, as `python -m` would.

    Last on the path, so that no file there can stand in for a library; not at all where Python was told
    to keep the folder out.
    """
    if not sys.flags.safe_path and not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())


def _run(given: Sequence[str]) -> None:
    if not given or given[0] in ("-h", "--help", "help"):
        print(usage())
    elif given[0] in ("-V", "--version"):
        print(import_module("bitlens").__version__)
    elif given[0] not in COMMANDS:
        raise unknown("command", given[0], COMMANDS)
    else:
        signal.signal(signal.SIGTERM, _terminate)
        import_module(f"bitlens.cli.{given[0]}_command").run(given[1:])


def _terminate(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
