"""What a split of scenes refuses to hold."""

from __future__ import annotations

import pytest
import torch

from bitlens.data.dense.scenes import SceneSet, Truth

IMAGES = torch.zeros(2, 3, 4, 6, dtype=torch.uint8)
MASKS = torch.zeros(2, 4, 6, dtype=torch.uint8)
DEPTHS = torch.zeros(2, 4, 6, dtype=torch.int16)


@pytest.mark.parametrize(
    ("images", "masks", "depths", "said"),
    [
        (IMAGES.float(), MASKS, None, r"images must be uint8 \(n, c, h, w\), got torch.float32"),
        (IMAGES[0], MASKS, None, r"images must be uint8 .* \(3, 4, 6\)"),
        (IMAGES, None, None, "scenes need masks, depths or both"),
        (IMAGES, MASKS.long(), None, r"masks must be torch.uint8 \(2, H, W\), got torch.int64"),
        (IMAGES, MASKS[:1], None, r"masks must be .* \(1, 4, 6\)"),
        (
            IMAGES,
            MASKS,
            DEPTHS.float(),
            r"depths must be torch.int16 \(2, H, W\), got torch.float32",
        ),
        (IMAGES, None, DEPTHS[..., None], r"depths must be .* \(2, 4, 6, 1\)"),
        (IMAGES, MASKS, DEPTHS[:, 1:], "masks and depths must be of one size"),
    ],
)
def test_splits_of_another_form_are_refused(images, masks, depths, said):
    with pytest.raises(ValueError, match=said):
        SceneSet(images, masks, depths)


def test_sizes_are_those_of_what_is_known():
    assert SceneSet(IMAGES, None, DEPTHS[:, 1:]).truth_size == (3, 6)
    assert SceneSet(IMAGES, MASKS, None).truth_size == (4, 6)
    assert Truth(None, DEPTHS.float()).known.shape == Truth(MASKS.long(), None).known.shape
    assert len(Truth(None, DEPTHS[:1].float())) == 1
