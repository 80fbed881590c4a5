"""int8 weights and bytes, against closed forms and a convolution of real numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bitlens import BitlensError
from bitlens.engine.freeze.capture import capture
from bitlens.engine.freeze.interpret import int8_sums
from bitlens.engine.freeze.lower import Lowered, lower
from bitlens.engine.freeze.pixels import image_bytes, normalised
from bitlens.engine.freeze.quantize import affine_of, choose_range, to_bytes
from bitlens.engine.reference import run as reference

MEAN, STD = (0.45, 0.5, 0.4), (0.25, 0.2, 0.3)


@settings(deadline=None)
@given(low=st.floats(-1e6, 1e6), width=st.floats(0, 1e6))
def test_bytes_cover_the_range_and_keep_zero_exact(low: float, width: float) -> None:
    affine = affine_of(low, low + width)
    assert 0 <= affine.zero <= 255 and affine.scale > 0
    assert to_bytes(np.zeros(1, np.float32), affine)[0] == affine.zero
    ends = np.asarray([min(low, 0), max(low + width, 0)], np.float32)
    back = (to_bytes(ends, affine).astype(np.float64) - affine.zero) / float(affine.scale)
    assert np.abs(back - ends).max() <= 1.01 / float(affine.scale)


def test_bytes_by_hand() -> None:
    affine = affine_of(-1.0, 1.55)
    assert (affine.scale, affine.zero) == (np.float32(100), 100)
    x = np.asarray([-1.2, -1.0, -0.004, 0.005, 0.015, 1.55, 9.0], np.float32)
    assert to_bytes(x, affine).tolist() == [0, 0, 100, 100, 102, 255, 255]


def test_a_range_cuts_a_far_outlier_off_and_keeps_a_flat_one_whole() -> None:
    random = np.random.default_rng(0)
    flat = random.uniform(0, 1, 5000).astype(np.float32)
    assert choose_range(flat).scale == pytest.approx(255, rel=0.01)
    normal = random.normal(size=100_000).astype(np.float32)
    chosen = choose_range(normal)
    assert float(chosen.scale) > 1.1 * 255 / (normal.max() - normal.min())
    assert choose_range(np.zeros(10, np.float32)).zero == 0


def images(n: int = 3) -> torch.Tensor:
    random = np.random.default_rng(1)
    return normalised(random.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), MEAN, STD)


def lowered(net: nn.Module, x: torch.Tensor, *, by_bytes: bool = True) -> Lowered:
    normal = {"mean": MEAN, "std": STD} if by_bytes else {}
    return lower(capture(net, x), [x], **normal)


def effective_weights(found: Lowered) -> np.ndarray:
    """The weights that a stem's int8 terms amount to, in the net's units."""
    unit = 1 / (255 * np.asarray(STD))
    total = np.zeros(())
    for node in found.graph.nodes:
        assert node.op == "int8_conv" and node.inputs == ("image",)
        q = found.graph.tensors[str(node.weights)].transpose(0, 3, 1, 2).astype(np.float64)
        scale = found.graph.tensors[str(node.scale)].astype(np.float64)
        total = total + q * scale[:, None, None, None] / unit[None, :, None, None]
    return total


def test_a_stem_on_bytes_is_the_convolution_with_weights_of_two_terms() -> None:
    """No error on the input: padded positions count as 0 in the net's units, mean and std are exact."""
    net = nn.Conv2d(3, 20, 3, stride=2, padding=1)
    x = images()
    found = lowered(net, x)
    assert len(found.graph.nodes) == 2 and found.graph.values["image"].kind == "u8"
    weights = effective_weights(found)
    # Half a step of the second term, whose own step is some hundredth of the first's.
    assert np.abs(weights - net.weight.detach().numpy()).max() < 2e-5
    expected = F.conv2d(x.double(), torch.from_numpy(weights), net.bias.double(), 2, 1)
    rows = image_bytes(x, MEAN, STD)
    ours = reference.run(found.graph, rows)[found.graph.output]
    assert np.abs(ours - expected.detach().numpy().transpose(0, 2, 3, 1)).max() < 2e-5


def test_a_large_stem_has_one_term(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitlens.engine.freeze.quantize.REFINED", 16 * 20 * 27 - 1)
    net = nn.Conv2d(3, 20, 3, stride=2, padding=1)
    found = lowered(net, images())
    assert len(found.graph.nodes) == 1
    off = np.abs(effective_weights(found) - net.weight.detach().numpy()).max()
    assert 1e-4 < off < 2 * float(net.weight.detach().abs().max()) / 127


def test_the_simulation_in_torch_is_the_references_definition() -> None:
    """Groups, dilation, stride and uneven pads; equal to the last bit."""
    net = nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(3, 9, 3, 2, 0, 2, 3, bias=False))
    x = images()
    found = lowered(net, x)
    sum_of_two = found.flow.answer.op
    assert sum_of_two.kind == "add_value"
    assert [op.window.pads for op in sum_of_two.inputs] == [(2, 1, 1, 0)] * 2
    rows = image_bytes(x, MEAN, STD)
    ours = reference.run(found.graph, rows)[found.graph.output]
    fine, coarse = (int8_sums(conv, rows) for conv in sum_of_two.inputs)
    assert np.array_equal(fine + coarse, ours)


def test_inner_layers_read_bytes_of_a_calibrated_range() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 1))
    x = images()
    found = lowered(net, x)
    rows = image_bytes(x, MEAN, STD)
    values = reference.run(found.graph, rows)
    kinds = {name: value.kind for name, value in found.graph.values.items()}
    assert kinds["2.input"] == kinds["3.input"] == "u8"
    step = next(s for node in found.graph.nodes for s in node.steps if s.value == "2.input")
    assert step.zero == 0  # behind a ReLU
    with torch.no_grad():
        expected = net(x).numpy().transpose(0, 2, 3, 1)
    error = np.abs(values[found.graph.output] - expected).max()
    assert 0 < error < 0.03 * np.abs(expected).max()


def test_without_mean_and_std_the_float_input_is_quantized_by_a_node_in_front() -> None:
    net = nn.Conv2d(3, 4, 3)
    x = images()
    found = lowered(net, x, by_bytes=False)
    first, second = found.graph.nodes
    assert (first.op, second.op) == ("elementwise", "int8_conv")
    assert [s.op for s in first.steps] == ["quantize"]
    assert found.graph.values["image"].kind == "float" and found.graph.mean is None


def test_an_image_that_is_also_read_as_floats_is_made_from_the_same_bytes() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x) + x

    net, x = Skip(), images()
    found = lowered(net, x)
    rows = image_bytes(x, MEAN, STD)
    values = reference.run(found.probed, rows)
    floats = values["image.float"].transpose(0, 3, 1, 2)
    assert np.abs(floats - x.numpy()).max() < 1e-5
    with torch.no_grad():
        expected = net(x).numpy().transpose(0, 2, 3, 1)
    assert np.abs(values[found.probed.output] - expected).max() < 0.05


def test_bytes_and_their_normalisation_are_inverse() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
    assert np.array_equal(image_bytes(normalised(every, MEAN, STD), MEAN, STD), every)


def test_images_that_no_byte_makes_are_refused() -> None:
    with pytest.raises(BitlensError, match=r"are no bytes under mean"):
        image_bytes(torch.randn(1, 3, 8, 8) * 5, MEAN, STD)
