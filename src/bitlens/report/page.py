"""The report: one HTML page, complete in itself, from any number of run folders.

Everything the page needs is inside it. Its content security policy lets only the two scripts
written here run, known by their digests, and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from plotly.offline import get_plotlyjs

from bitlens.errors import BitlensError
from bitlens.report.markup import Html, join, markup
from bitlens.report.notes import warnings
from bitlens.report.runs import Comparison
from bitlens.report.sections import body
from bitlens.report.standings import gather

FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
<script>{plotly}</script>
<script>{drawing}</script>
</body>
</html>
"""


def write_report(folders: Sequence[Path], out: Path, baseline: str | None = None) -> Path:
    """Write the report of run and comparison folders to `out` and return its path.

    The file appears whole or not at all: an older report stays until the new one is complete.

    Args:
        folders: run folders, comparison folders, or both.
        out: the HTML file to write; missing parent folders are made.
        baseline: the variant the others are compared with; by default the first comparison's,
            else the first variant.

    Raises:
        BitlensError: when a folder cannot be read, the baseline is unknown, or `out` cannot be
            written.
    """
    page = compose(gather(folders, baseline))
    out = Path(out)
    if out.is_dir():
        raise BitlensError(f"cannot write the report to {out}: it is a folder; name a file in it")
    draft = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(page, encoding="utf-8", newline="\n")
        os.replace(draft, out)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise BitlensError(f"cannot write the report to {out}: {error.strerror}") from error
    return out


def compose(comparison: Comparison) -> str:
    """The whole page as text."""
    plotly, drawing = _script(get_plotlyjs()), _script(_asset("page.js"))
    allowed = " ".join(_digest(script) for script in (plotly, drawing))
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    names = ", ".join(comparison.variants)
    return FRAME.format(
        policy=policy,
        title=markup(f"{names} - bitlens report"),
        style=_asset("page.css"),
        body=join((body(comparison, warnings(comparison)),)),
        plotly=plotly,
        drawing=drawing,
    )


def _asset(name: str) -> str:
    return resources.files("bitlens.report").joinpath(name).read_text(encoding="utf-8")


def _script(source: str) -> Html:
    """A script as the browser will see it: line ends are normalized before digests are taken."""
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    if "</script" in source.lower() or "<!--" in source:
        raise BitlensError("the plotly library holds an end-of-script mark; install another plotly")
    return Html(source)


def _digest(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
