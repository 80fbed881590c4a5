"""Dense nets: shapes at every size, what is binary, and that no binary convolution cuts the net in two."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens import BitlensError, binarize, summary
from bitlens.models import create
from bitlens.models.blocks import PooledProjection, SingleUnit
from bitlens.models.dense import DENSE_NETS, DenseFacts, create_dense
from bitlens.models.dense.decoder import DecoderStage, GroupMean
from bitlens.models.dense.net import DenseNet, dense_net
from bitlens.models.layers import BinaryConv2d, binary_layers
from bitlens.models.resnet import ResidualTrunk, ResNetPlan

HALF = "dense-resnet18-bireal-half"
HEADS = {"segment": 3, "depth": 1}
TINY = DenseFacts(convs=(1, 2, 1, 3), base=8, about="for tests", paper="none")


def tiny(*, method: str = "bireal", bottleneck: float = 0.0) -> DenseNet:
    """A small net in evaluation mode whose norms do something."""
    torch.manual_seed(0)
    net = dense_net(
        TINY,
        heads=HEADS,
        channels=3,
        image_size=(32, 32),
        bottleneck=bottleneck,
        nonlinearity=lambda _: nn.Identity(),
    )
    if method != "float":
        binarize(net, method, keep_float=net.keep_float)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.get_buffer("running_mean"), 0, 0.3)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return net.eval()


def make(method: str, *, name: str = HALF, **changed: Any) -> nn.Module:
    given: dict[str, Any] = {
        "heads": HEADS,
        "channels": 3,
        "image_size": (32, 48),
        "seed": 3,
    } | changed
    return create_dense(name, method=method, **given)


@pytest.mark.parametrize("size", [(16, 16), (32, 48), (33, 47), (17, 64), (64, 50), (19, 18)])
def test_the_output_is_a_quarter_of_the_image_rounded_up(size: tuple[int, int]) -> None:
    with torch.no_grad():
        out = tiny()(torch.randn(2, 3, *size))
    assert out.shape == (2, 4, (size[0] + 3) // 4, (size[1] + 3) // 4)


@pytest.mark.parametrize("size", [(33, 47), (17, 64), (64, 50), (31, 18)])
def test_an_odd_image_is_answered_as_the_image_padded_by_hand(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    rows = [min(i, size[0] - 1) for i in range(-(-size[0] // 16) * 16)]
    columns = [min(i, size[1] - 1) for i in range(-(-size[1] // 16) * 16)]
    net = tiny()
    with torch.no_grad():
        whole = net(x[:, :, rows][:, :, :, columns])
        assert torch.equal(net(x), whole[:, :, : (size[0] + 3) // 4, : (size[1] + 3) // 4])


def test_outputs_follow_the_order_of_the_heads() -> None:
    net = tiny()
    assert (net.heads, net.output_stride, net.total_stride) == (HEADS, 4, 16)
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before = net(x)
        net.get_parameter("head.depth.bias").add_(1.0)
        after = net(x)
    assert torch.equal(before[:, :3], after[:, :3])
    assert torch.allclose(before[:, 3] + 1, after[:, 3])


@pytest.mark.parametrize("method", ["bireal", "reactnet"])
def test_every_method_starts_from_the_float_twins_weights(method: str) -> None:
    twin, net = make("float", bottleneck=1e-3), make(method, bottleneck=1e-3)
    start = dict(net.named_parameters())
    for name, value in twin.named_parameters():
        assert torch.equal(start[name], value)
    assert not binary_layers(twin)
    assert all(module.training for module in net.modules())


def test_a_bottleneck_leaves_the_other_layers_draws_alone() -> None:
    plain, squeezed = make("bireal"), dict(make("bireal", bottleneck=0.01).named_parameters())
    for name, value in plain.named_parameters():
        assert torch.equal(squeezed[name], value)
    assert len(squeezed) == len(list(plain.parameters())) + 4


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(11)
    expected = torch.randn(3)
    torch.manual_seed(11)
    make("bireal", bottleneck=0.01)
    assert torch.equal(torch.randn(3), expected)


def test_only_stem_shortcuts_heads_and_bottleneck_stay_float() -> None:
    net = make("bireal", bottleneck=0.01)
    convs = {n for n, m in net.named_modules() if isinstance(m, nn.Conv2d)}
    assert convs == {
        "stem",
        *(f"stages.{stage}.0.shortcut.conv" for stage in (1, 2, 3)),
        "head.segment",
        "head.depth",
        "bottleneck.mean",
        "bottleneck.log_variance.conv",
    }
    assert set(binary_layers(net)) == {
        *(f"stages.{stage}.{place}.conv" for stage in range(4) for place in range(4)),
        *(f"decoder.{stage}.{part}.conv" for stage in range(3) for part in ("reduce", "refine")),
    }


def test_the_encoder_takes_the_weights_of_the_classifier_of_its_name() -> None:
    classifier = create(
        "resnet18-imagenet-bireal-fp1x1", method="bireal", classes=2, channels=3, image_size=32
    )
    with torch.device("meta"):
        net = dense_net(
            DENSE_NETS["dense-resnet18-bireal"],
            heads=HEADS,
            channels=3,
            image_size=(32, 32),
            bottleneck=0,
            nonlinearity=lambda _: nn.Identity(),
        )
    binarized = binarize(net, "bireal", keep_float=net.keep_float).state_dict()
    for name, value in classifier.state_dict().items():
        if name.startswith("st"):
            assert binarized[name].shape == value.shape


def test_the_last_stage_meets_the_pixels_that_its_strided_form_met() -> None:
    plan = ResNetPlan(
        base=4,
        convs=(1, 3),
        span=1,
        shortcut="slicepad",
        stem="small",
        stem_act=False,
        head_norm=False,
    )

    def trunk(*, dilate_last: bool) -> ResidualTrunk:
        torch.manual_seed(5)
        return ResidualTrunk(
            plan,
            base=plan.base,
            channels=3,
            nonlinearity=lambda _: nn.ReLU(),
            dilate_last=dilate_last,
        ).eval()

    strided, dilated = trunk(dilate_last=False), trunk(dilate_last=True)
    x = torch.randn(1, 3, 16, 20)
    with torch.no_grad():
        coarse, fine = (net.stages(net.stem_map(x)) for net in (strided, dilated))
    assert fine.shape[-2:] == (16, 20)
    assert torch.allclose(fine[:, :, ::2, ::2], coarse, atol=1e-6)


def test_only_plain_units_of_one_convolution_are_dilated() -> None:
    plan = ResNetPlan(
        base=4, convs=(2, 2), span=2, shortcut="fp1x1", stem="small", stem_act=True, head_norm=True
    )
    for refused in (plan, replace(plan, span=1, unit="r2b")):
        with pytest.raises(BitlensError, match="only a stage of plain units"):
            ResidualTrunk(
                refused, base=4, channels=3, nonlinearity=lambda _: nn.ReLU(), dilate_last=True
            )


def test_dilation_begins_behind_the_first_convolution_of_the_last_stage() -> None:
    found = {
        name: (layer.dilation, layer.padding, layer.stride)
        for name, layer in binary_layers(make("bireal")).items()
        if isinstance(layer, BinaryConv2d)
    }
    for place in range(4):
        around = (1, 1) if place == 0 else (2, 2)
        assert found.pop(f"stages.3.{place}.conv") == (around, around, (1, 1))
    assert {dilation for dilation, _, _ in found.values()} == {(1, 1)}
    assert {name for name, (_, _, stride) in found.items() if stride == (2, 2)} == {
        "stages.1.0.conv",
        "stages.2.0.conv",
    }


def silence(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return torch.zeros_like(output)


@pytest.mark.parametrize("bottleneck", [0.0, 0.01])
def test_every_binary_convolution_has_a_real_valued_bypass(bottleneck: float) -> None:
    net = tiny(bottleneck=bottleneck)
    units = {n: m for n, m in net.named_modules() if isinstance(m, SingleUnit)}
    assert {f"{name}.conv" for name in units} == set(binary_layers(net))
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for name, unit in units.items():
        unit.conv.register_forward_hook(silence)
        unit.register_forward_hook(
            lambda _, inputs, output, name=name: seen.update({name: (inputs[0], output)})
        )
    x = torch.randn(1, 3, 48, 64, requires_grad=True)
    out = net(x)
    for name, unit in units.items():
        read, wrote = seen[name]
        constant = unit.norm(torch.zeros_like(wrote))
        assert torch.equal(wrote, constant + unit.shortcut(read))
        assert isinstance(unit.shortcut, nn.Identity | PooledProjection | GroupMean)
        # No channel is without it: each still differs from place to place.
        assert (wrote.flatten(2).std(dim=2) > 1e-4).all(), name
    out.sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).float().mean() > 0.5
    with torch.no_grad():
        other = net(torch.randn(1, 3, 48, 64))
    assert ((other - out).abs() > 1e-4).float().mean() > 0.9


def test_a_group_mean_is_the_mean_of_channels_that_lie_c_out_apart() -> None:
    x = torch.randn(2, 12, 3, 5)
    expected = torch.stack([x[:, j::4].mean(dim=1) for j in range(4)], dim=1)
    assert torch.allclose(GroupMean(12, 4, 1)(x), expected, atol=1e-6)
    with pytest.raises(BitlensError, match="from 12 to 5 channels"):
        GroupMean(12, 5, 1)
    with pytest.raises(BitlensError, match="at stride 2"):
        GroupMean(12, 4, 2)


def test_a_decoder_stage_repeats_pixels_and_adds_the_skip() -> None:
    stage = DecoderStage(4, 2, scale=2, nonlinearity=lambda _: nn.Identity()).eval()
    for unit in (stage.reduce, stage.refine):
        unit.conv.register_forward_hook(silence)
    x, skip = torch.randn(1, 4, 3, 2), torch.randn(1, 2, 6, 4)
    mean = (x[:, :2] + x[:, 2:]) / 2
    expected = skip + torch.stack(
        [mean[:, :, i // 2, j // 2] for i in range(6) for j in range(4)], -1
    ).view(1, 2, 6, 4)
    with torch.no_grad():
        assert torch.allclose(stage(x, skip), expected, atol=1e-6)


def test_a_small_net_has_the_costs_counted_by_hand() -> None:
    net = tiny(bottleneck=0.01)
    table = summary(net, torch.randn(1, 3, 32, 64))
    rows = {row.name: row for row in table.rows}
    # (channels in, out, positions): maps of 8x16, 4x8, 2x4 and 2x4 pixels behind the stages.
    binary = {
        "stages.0.0": (8, 8, 128),
        "stages.1.0": (8, 16, 32),
        "stages.1.1": (16, 16, 32),
        "stages.2.0": (16, 32, 8),
        "stages.3.0": (32, 64, 8),
        "stages.3.1": (64, 64, 8),
        "stages.3.2": (64, 64, 8),
        "decoder.0.reduce": (64, 32, 8),
        "decoder.0.refine": (32, 32, 8),
        "decoder.1.reduce": (32, 16, 8),
        "decoder.1.refine": (16, 16, 32),
        "decoder.2.reduce": (16, 8, 32),
        "decoder.2.refine": (8, 8, 128),
    }
    assert {row.name for row in table.binary} == {f"{name}.conv" for name in binary}
    for name, (c_in, c_out, places) in binary.items():
        row = rows[f"{name}.conv"]
        assert (row.macs, row.bytes_latent) == (9 * c_in * c_out * places, 36 * c_in * c_out)
    real = {
        "stem": (147 * 8, 16 * 32),
        "stages.1.0.shortcut.conv": (8 * 16, 32),
        "stages.2.0.shortcut.conv": (16 * 32, 8),
        "stages.3.0.shortcut.conv": (32 * 64, 8),
        "bottleneck.mean": (64 * 64, 8),
        "head.segment": (3 * 8, 128),
        "head.depth": (8, 128),
    }
    assert {row.name for row in table.rows if row.bits == 32} == set(real)
    assert {n: rows[n].macs for n in real} == {n: w * places for n, (w, places) in real.items()}
    biases = {"bottleneck.mean": 64, "head.segment": 3, "head.depth": 1}
    assert {n: rows[n].bytes_packed for n in real} == {
        n: 4 * (w + biases.get(n, 0)) for n, (w, _) in real.items()
    }
    # The half of the bottleneck that only trains is not what ships.
    assert table.training_parameters == 64 * 64 + 64
    norms = 8 + sum(c_out for _, c_out, _ in binary.values()) + 16 + 32 + 64
    assert table.other_parameters == 2 * norms
    assert table.parameters == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("name", "layers"), [(HALF, 22), ("dense-resnet34-bireal", 38)])
def test_a_named_net_has_the_depth_and_width_of_its_name(name: str, layers: int) -> None:
    facts = DENSE_NETS[name]
    with torch.device("meta"):
        net = dense_net(
            facts,
            heads={"segment": 40},
            channels=3,
            image_size=(480, 640),
            bottleneck=0,
            nonlinearity=lambda _: nn.Identity(),
        )
        out = net.eval()(torch.empty(1, 3, 480, 640))
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convs) == layers and out.shape == (1, 40, 120, 160)
    assert convs[0].in_channels == facts.base
    assert max(conv.out_channels for conv in convs) == 8 * facts.base


def test_a_packed_net_is_to_be_a_twentieth_of_the_float_one() -> None:
    table = summary(make("bireal", name="dense-resnet18-bireal", heads={"segment": 40, "depth": 1}))
    real = sum(row.bytes_latent for row in table.rows if row.bits == 32)
    words = table.bytes_packed - real
    # int8 weights in place of float32 ones, the rest as the table counts it.
    assert words + real / 4 < table.bytes_latent / 20


def test_it_trains_from_the_first_step_to_the_stem() -> None:
    net = tiny().train()
    F.mse_loss(net(torch.randn(2, 3, 32, 32)), torch.zeros(2, 4, 8, 8)).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"name": "dense-resnet18"},
            "unknown model 'dense-resnet18'; did you mean dense-resnet18-b",
        ),
        ({"method": "ir-net"}, "unknown method 'ir-net'; did you mean irnet"),
        ({"heads": {}}, "heads is empty"),
        ({"heads": {"depth": 0}}, "head 'depth' has 0 outputs"),
        ({"channels": 0}, "channels is 0"),
        ({"image_size": (64, 15)}, "image_size is 15, but a dense net .* needs at least 16 pixels"),
        ({"bottleneck": -1.0}, "bottleneck=-1.0"),
    ],
)
def test_mistakes_are_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(BitlensError, match=message):
        make(**{"method": "bireal", **changed})


def test_names_are_known_without_torch() -> None:
    code = "import sys, bitlens.models.dense as d; d.DENSE_NETS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_layer_is_reached() -> None:
    reached: set[str] = set()
    net = tiny()
    for name, layer in net.named_modules():
        if isinstance(layer, BinaryConv2d | nn.Conv2d):
            layer.register_forward_hook(lambda *_, name=name: reached.add(name))
    with torch.no_grad():
        net(torch.randn(1, 3, 16, 16))
    assert reached == {n for n, m in net.named_modules() if isinstance(m, BinaryConv2d | nn.Conv2d)}
