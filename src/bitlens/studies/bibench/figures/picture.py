"""What a picture of the study is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An SVG with the name of its file, its title and how to read it."""

    name: str
    title: str
    svg: str
    caption: str
