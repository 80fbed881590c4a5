from __future__ import annotations

import numpy as np
import torch

from bitlens.data import moments


def test_equals_numpy_in_double(monkeypatch):
    # Small parts, so that several are added up.
    monkeypatch.setattr(moments, "_CHUNK", 100)
    images = torch.randint(0, 256, (37, 3, 6, 5), dtype=torch.uint8)
    mean, std = moments.channel_moments(images)
    wide = images.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(mean, wide.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, wide.std((0, 2, 3)), rtol=1e-12)


def test_a_constant_channel_has_no_spread():
    images = torch.full((4, 1, 3, 3), 51, dtype=torch.uint8)
    mean, std = moments.channel_moments(images)
    assert mean == (0.2,)
    assert std == (0.0,)
