"""`python -m bitlens` is `bitlens`."""

from __future__ import annotations

import sys

from bitlens.cli import main

if __name__ == "__main__":
    sys.exit(main())
