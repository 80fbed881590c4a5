"""From a folder of images and masks to a small file that segments: `python segment_and_pack.py FOLDER`.

FOLDER holds train/images, train/masks, test/images and test/masks; docs/dense.md has the formats.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import bitlens
from bitlens.data.dense.pictures import save_mask
from bitlens.models.summary import summary
from bitlens.training.build import load_run_net
from bitlens.training.feed import make_feed
from bitlens.training.fit import fit
from bitlens.training.packing_images import calibration_images, compared_images
from bitlens.training.recipe import Recipe


def main(scenes: str, out: Path = Path("runs/segment"), epochs: int = 20) -> "dict[str, float]":
    recipe = Recipe(
        task="segment",
        data=f"scenes:{scenes}",
        augment="scale-crop",
        model="dense-resnet18-bireal-half",
        method="reactnet",
        epochs=epochs,
        batch_size=4,
    )
    metrics = fit(recipe, out)["test_metrics"]
    print(", ".join(f"{name} {value:.3f}" for name, value in metrics.items()))

    feed = make_feed(recipe, torch.device("cpu"))
    net = load_run_net(out, feed.data, torch.device("cpu")).eval()
    packed = bitlens.pack(
        net,
        compared_images(feed, 8),
        calibration_images(feed),
        mean=feed.data.mean,
        std=feed.data.std,
        labels=feed.data.classes,
    )
    print(packed.verification)
    packed.save(out / "model.bits")

    session = bitlens.load(out / "model.bits")  # needs no torch from here on
    image = feed.data.test.images[:1].numpy()
    classes = session(image)[0].argmax(0).astype("uint8")  # at a quarter of the size
    mask = Image.fromarray(classes).resize(image.shape[:1:-1], Image.Resampling.NEAREST)
    save_mask(np.asarray(mask), out / "mask.png")
    print(f"{(out / 'model.bits').stat().st_size:,} of {summary(net).bytes_latent:,} bytes")
    return metrics


if __name__ == "__main__":
    main(sys.argv[1])
