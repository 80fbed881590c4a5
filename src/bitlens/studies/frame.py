"""The frame of every study's page: the report's style, no scripts, nothing from the network."""

from __future__ import annotations

from importlib import resources

from bitlens.report.markup import Html, markup

FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def framed(title: str, style: str, body: Html) -> str:
    """A whole page as text.

    Args:
        title: of the study; the page's own title names bitlens too.
        style: CSS of this page, after the report's.
        body: what stands on it.
    """
    shared = resources.files("bitlens.report").joinpath("page.css").read_text(encoding="utf-8")
    return FRAME.format(title=markup(f"{title} - bitlens study"), style=shared + style, body=body)
