"""Put the runs and costs of method-suite comparisons where the docs look for them.

    python scripts/publish_methods.py runs/methods-fashion-mnist runs/methods-cifar10

FOLDER is a comparison folder, or one with several below it: methods may have been trained in different
folders. With --measure, costs that are missing are measured first, of every method whose runs of seed 0 have
finished; the others are named with the reason. Writes results/methods_runs.csv and
results/methods_costs.csv, then the tables and the picture of the docs anew. Copies of one run must agree,
and all runs of a data set must have one budget and one device, its costs one machine and torch.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from bitlens.errors import BitlensError
from bitlens.studies.method_table.cost_rows import COLUMNS as COST_COLUMNS
from bitlens.studies.method_table.measure import measure, trained_entries, unmeasurable
from bitlens.studies.method_table.merge import comparisons, merge
from bitlens.training.comparison_table import COLUMNS
from bitlens.training.files import write_rows

ROOT = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="folder of the CSVs")
    parser.add_argument("--measure", action="store_true", help="missing costs, a method at a time")
    given = parser.parse_args()
    failed = False
    try:
        if given.measure:
            failed = not all([measured(folder) for folder in comparisons(given.folders)])
        merged = merge(given.folders)
        write_rows(given.results / "methods_runs.csv", COLUMNS, merged.runs)
        write_rows(given.results / "methods_costs.csv", COST_COLUMNS, merged.costs)
    except BitlensError as error:
        parser.error(str(error))
    sys.stdout.write(
        f"{len(merged.runs)} runs, costs of {len(merged.costs)} methods and data sets\n"
    )
    if given.results.resolve() != ROOT / "results":
        return int(failed)
    updated = subprocess.call([sys.executable, str(ROOT / "scripts" / "update_tables.py")])
    return updated or int(failed)


def measured(folder: Path) -> bool:
    """Measure what is missing in a comparison and tell what cannot be; whether nothing failed."""
    for method, reason in unmeasurable(folder).items():
        sys.stdout.write(f"{folder}: cost of {method} not measured: {reason}\n")
    try:
        measure(folder, trained_entries(folder))
    except BitlensError as error:
        sys.stdout.write(f"{error}\n")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
