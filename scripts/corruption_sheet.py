"""Draw docs/bibench/corruptions.svg: one photograph under the fifteen corruptions.

    python scripts/corruption_sheet.py

The photograph is the one of a temple that scikit-learn ships (danielbuechele, CC BY 2.0), its middle at 32
by 32 pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from bitlens.data.pixels import fit
from bitlens.studies.bibench.figures.sheet import draw_sheet

PLACE = Path(__file__).parents[1] / "docs" / "bibench" / "corruptions.svg"
SIDE = 32


def main() -> None:
    whole = Image.fromarray(load_sample_image("china.jpg")).crop((100, 0, 527, 427))
    pixels = np.asarray(fit(whole, SIDE, SIDE))
    PLACE.parent.mkdir(exist_ok=True)
    PLACE.write_text(draw_sheet(torch.from_numpy(pixels.transpose(2, 0, 1).copy())))


if __name__ == "__main__":
    main()
