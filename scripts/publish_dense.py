"""Put what finished comparisons of dense prediction show where the docs look for it.

    python scripts/publish_dense.py runs/nyudv2-segment runs/nyudv2-depth runs/nyudv2-both

Writes results/dense_runs.csv, results/dense_summary.csv and the pictures docs/dense_*, then the tables of
the docs anew. The page of the study stays in --out. The data of the runs must be there: constants are judged
on it, and the nets predict some of its scenes.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
from pathlib import Path

from PIL import Image

from bitlens.errors import BitlensError
from bitlens.studies.dense.study import Outcome, run_study
from bitlens.training.files import write_bytes

ROOT = Path(__file__).parents[1]
LARGEST = 400_000
"""Bytes that a picture of the docs may have."""

QUALITIES = range(92, 40, -4)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--scenes", type=int, default=4, help="test scenes on the pictures")
    parser.add_argument("--out", type=Path, default=Path("runs/dense"), help="folder of the study")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder with results and docs")
    given = parser.parse_args()
    try:
        outcome = run_study(given.folders, given.out, scenes=given.scenes)
        written = publish(outcome, given.root)
    except BitlensError as error:
        parser.error(str(error))
    sys.stdout.write("".join(f"{path}\n" for path in written))
    if given.root.resolve() != ROOT:
        return 0
    return subprocess.call([sys.executable, str(ROOT / "scripts" / "update_tables.py")])


def publish(outcome: Outcome, root: Path) -> list[Path]:
    """Copy both tables and the sheets; sheets of an older publication that are no longer made are removed."""
    written = [root / "results" / "dense_runs.csv", root / "results" / "dense_summary.csv"]
    for source, target in zip((outcome.runs, outcome.summary), written, strict=True):
        write_bytes(target, source.read_bytes())
    docs = root / "docs"
    made = {}
    for source in outcome.sheets:
        content, ending = small(Image.open(source))
        made[docs / f"dense_{source.stem}{ending}"] = content
    for stale in {*docs.glob("dense_*.png"), *docs.glob("dense_*.jpg")} - {*made}:
        stale.unlink()
    for target, content in made.items():
        write_bytes(target, content)
    return [*written, *made]


def small(sheet: Image.Image) -> tuple[bytes, str]:
    """The sheet in at most `LARGEST` bytes and the ending of its name: as PNG, else as the best JPEG."""
    forms = [(".png", {"format": "PNG", "optimize": True})]
    forms += [(".jpg", {"format": "JPEG", "quality": quality}) for quality in QUALITIES]
    for ending, form in forms:
        made = io.BytesIO()
        sheet.convert("RGB").save(made, subsampling=0, **form)
        if made.tell() <= LARGEST:
            return made.getvalue(), ending
    raise BitlensError(
        f"a sheet of {sheet.width}x{sheet.height} pixels is too large; show fewer scenes"
    )


if __name__ == "__main__":
    sys.exit(main())
