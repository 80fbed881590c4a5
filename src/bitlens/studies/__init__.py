"""Whole experiments with a question, a design fixed before looking, and a page of answers.

`STUDIES` maps a name to the place of its runner; torch is imported by the runner.
"""

from __future__ import annotations

STUDIES: dict[str, str] = {
    "information-plane": "bitlens.studies.information_plane.study:run_study",
    "bibench": "bitlens.studies.bibench.study:run_study",
    "dense": "bitlens.studies.dense.study:run_study",
}
