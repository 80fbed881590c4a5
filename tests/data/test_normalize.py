from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.data.moments import channel_moments
from bitlens.data.normalize import normalize


@settings(max_examples=25, deadline=None)
@given(
    c=st.sampled_from([1, 3]),
    mean=st.floats(0, 1),
    std=st.floats(0.05, 1),
    seed=st.integers(0, 1000),
)
def test_equals_the_formula_in_double(c, mean, std, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (2, c, 5, 4), dtype=torch.uint8, generator=generator)
    means = [mean * (k + 1) / 3 for k in range(c)]
    stds = [std / (k + 1) for k in range(c)]
    out = normalize(images, means, stds)
    wide = images.double() / 255
    expected = (wide - torch.tensor(means).double()[:, None, None]) / torch.tensor(stds).double()[
        :, None, None
    ]
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=2e-5)


def test_is_channels_last_and_takes_tensors():
    images = torch.randint(0, 256, (4, 3, 8, 6), dtype=torch.uint8)
    before = images.clone()
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5, 0.6])
    out = normalize(images, mean, std)
    assert out.shape == images.shape
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(out, normalize(images, mean.tolist(), std.tolist()))
    assert torch.equal(images, before)


def test_train_pixels_come_out_standard():
    images = torch.randint(20, 200, (64, 3, 8, 8), dtype=torch.uint8)
    mean, std = channel_moments(images)
    out = normalize(images, mean, std).double()
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-5, rtol=0)
    flat = out.transpose(0, 1).flatten(1)
    torch.testing.assert_close(flat.std(1, correction=0), torch.ones(3).double(), atol=1e-5, rtol=0)
