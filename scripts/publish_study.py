"""Put the outcome of a study folder where the docs look for it.

    python scripts/publish_study.py runs/information-plane

copies verdicts.csv and paths.csv to results/information_plane_*.csv and the figures to
docs/information_plane_study/, then writes the tables of the docs anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    tier = json.loads((folder / "study.json").read_text())["tier"]
    if tier != "full" or not (folder / "figures").is_dir():
        parser.error(f"{folder} holds the outcome of tier {tier!r}; the docs show the full one")
    for name in ("verdicts", "paths"):
        shutil.copyfile(folder / f"{name}.csv", ROOT / "results" / f"information_plane_{name}.csv")
    pictures = ROOT / "docs" / "information_plane_study"
    shutil.rmtree(pictures, ignore_errors=True)
    shutil.copytree(folder / "figures", pictures)
    return subprocess.call([sys.executable, str(ROOT / "scripts" / "update_tables.py")])


if __name__ == "__main__":
    sys.exit(main())
