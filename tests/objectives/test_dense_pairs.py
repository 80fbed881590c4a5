"""Dense pairs against double loops: regions and locations, batch and queue, gradients and resuming."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitlens
from bitlens.methods.contract import Sign
from bitlens.models import create
from bitlens.objectives.cmim import CMIM
from bitlens.objectives.config import PRESETS
from bitlens.objectives.contrast import Contrast
from bitlens.objectives.negatives import Batch, BatchNegatives
from bitlens.objectives.samples import _Locations

GRID, HEIGHT, WIDTH = 2, 4, 6
# A temperature whose logarithm is exact in float32, like everything else here in float64.
INFONCE: dict[str, Any] = {"loss": "infonce", "temperature": 1.0, "width": 8, "beta": 1.0}
NCE: dict[str, Any] = INFONCE | {"loss": "nce"}
REGION: dict[str, Any] = {"pairs": "region", "pool": GRID}
LOCATION: dict[str, Any] = {"pairs": "location", "anchors": 17}
KINDS = [REGION, REGION | {"anchors": 7}, LOCATION]
IDS = ["region", "drawn-region", "location"]


def make_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 3, padding=1)
    )
    return bitlens.binarize(net, "bireal", keep_float=()).double()


def draw_images(count: int = 3, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    shape = (count, 3, HEIGHT, WIDTH)
    return torch.randn(shape, generator=source, dtype=torch.float64).requires_grad_()


def make_cmim(net: nn.Module, **settings: Any) -> CMIM:
    return CMIM(net, **({"seed": 3} | settings)).double()


def captured_forward(net: nn.Module, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(a_F, a_B) of each sign, seen by hooks of the test's own."""
    seen: list[tuple[Tensor, Tensor]] = []
    handles = [
        sign.register_forward_hook(lambda _, x, y: seen.append((x[0], y)))
        for sign in net.modules()
        if isinstance(sign, Sign)
    ]
    net(images)
    for handle in handles:
        handle.remove()
    return seen


def places(cmim: CMIM, layer: int, images: int) -> list[tuple[int, int]]:
    """(image, cell) of this step's anchors of a layer, from the numbers that were drawn."""
    cells = GRID**2 if cmim.config.pairs == "region" else HEIGHT * WIDTH
    assert cmim.draw is not None
    drawn = cmim.draw(layer, images, cells, torch.device("cpu"))
    return [divmod(number, cells) for number in drawn.everywhere.tolist()]


def feature(pairs: str, maps: Tensor, image: int, cell: int) -> Tensor:
    """One sample, cut out of the maps by hand."""
    if pairs == "location":
        y, x = divmod(cell, WIDTH)
        return maps[image, :, y, x]
    y, x = divmod(cell, GRID)
    rows = slice(y * HEIGHT // GRID, (y + 1) * HEIGHT // GRID)
    columns = slice(x * WIDTH // GRID, (x + 1) * WIDTH // GRID)
    return maps[image, :, rows, columns].mean((1, 2))


def embedded(cmim: CMIM, layer: int, side: str, maps: Tensor, where: list[Any]) -> Tensor:
    head = getattr(cmim.contrasts[layer], f"{side}_head").project
    rows = [head(feature(cmim.config.pairs, maps, *place)) for place in where]
    return torch.stack([row / row.square().sum().sqrt() for row in rows])


def looped(
    scores: Tensor, positives: Tensor, allowed: list[list[bool]], loss: str
) -> Iterator[Tensor]:
    """The loss of one anchor after the other, one exponential at a time."""
    pairs = [(i, j) for i, row in enumerate(allowed) for j, may in enumerate(row) if may]
    z = sum(scores[i, j].exp() for i, j in pairs).detach() / len(pairs)
    for i, positive in enumerate(positives):
        negatives = [scores[i, j].exp() for j, may in enumerate(allowed[i]) if may]
        if loss == "infonce":
            yield -(positive.exp() / (positive.exp() + sum(negatives))).log()
        else:
            chance = len(negatives) * z
            terms = [-(1 - s / (s + chance)).log() for s in negatives]
            yield sum(terms) - (positive.exp() / (positive.exp() + chance)).log()


def looped_loss(cmim: CMIM, seen: list[tuple[Tensor, Tensor]], images: int) -> Tensor:
    """Both directions of every layer with the batch's own samples as negatives."""
    losses = []
    for layer, (a_f, a_b) in enumerate(seen):
        where = places(cmim, layer, images)
        u = embedded(cmim, layer, "u", a_b, where)
        v = embedded(cmim, layer, "v", a_f, where)
        others = [[a != b for b in where] for a in where]
        for anchors, keys in ((u, v), (v, u)):
            scores = anchors @ keys.T
            side = list(looped(scores, scores.diagonal(), others, cmim.config.loss))
            losses.append(torch.stack(side).mean())
    return torch.stack(losses).mean()


def _fifths() -> list[slice]:
    """Columns of six that belong to each of five cells."""
    return [slice(6 * k // 5, -(-6 * (k + 1) // 5)) for k in range(5)]


class TestLoops:
    @pytest.mark.parametrize("loss", [INFONCE, NCE], ids=["infonce", "nce"])
    @pytest.mark.parametrize("kind", KINDS, ids=IDS)
    def test_loss_equals_the_double_loop(self, kind: dict[str, Any], loss: dict[str, Any]) -> None:
        net = make_net()
        cmim = make_cmim(net, **kind, **loss)
        for step in range(2 if loss is INFONCE else 1):  # Z of NCE stays that of the first step
            seen = captured_forward(net, draw_images(seed=step))
            expected = looped_loss(cmim, seen, images=3)
            term = cmim()
            torch.testing.assert_close(term.loss, expected, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("kind", KINDS, ids=IDS)
    def test_ceiling_counts_the_negatives_there_are(self, kind: dict[str, Any]) -> None:
        net = make_net()
        cmim = make_cmim(net, **kind, **INFONCE)
        net(draw_images())
        term = cmim()
        anchors = {"region": 3 * GRID**2, "location": 17}[kind["pairs"]]
        anchors = min(anchors, kind.get("anchors", anchors))
        assert term.ceiling == pytest.approx(math.log(anchors), abs=1e-6)
        assert float(term.bound) == pytest.approx(term.ceiling - float(term.loss.detach()))

    @pytest.mark.parametrize("kind", KINDS, ids=IDS)
    def test_queue_equals_the_double_loop(self, kind: dict[str, Any]) -> None:
        """Images 4 and 5 come back, so the queue holds keys of their own places and of others."""
        net = make_net()
        cmim = make_cmim(net, layers="last", source="queue", negatives=30, **kind, **INFONCE)
        held: dict[str, list[tuple[Tensor, tuple[int, int]]]] = {"u": [], "v": []}
        met = 0
        for step, indices in enumerate([[4, 5, 6], [9, 4, 5], [5, 0, 4], [4, 5, 6]]):
            a_f, a_b = captured_forward(net, draw_images(seed=step))[-1]
            where = places(cmim, 0, 3)
            known = [(indices[image], cell) for image, cell in where]
            points = {"u": embedded(cmim, 0, "u", a_b, where)}
            points["v"] = embedded(cmim, 0, "v", a_f, where)
            sides = []
            for anchor, key in (("u", "v"), ("v", "u")):
                stored = held[key] or list(zip(points[key], known, strict=True))
                scores = points[anchor] @ torch.stack([k for k, _ in stored]).T
                positives = (points[anchor] * points[key]).sum(1)
                allowed = [[own != other for _, other in stored] for own in known]
                met += sum(own == other for own in known for _, other in held[key])
                sides.append(torch.stack(list(looped(scores, positives, allowed, "infonce"))))
            term = cmim(indices=torch.tensor(indices))
            expected = torch.stack([side.mean() for side in sides]).mean()
            torch.testing.assert_close(term.loss, expected, rtol=1e-9, atol=1e-9)
            for side in held:
                fresh = zip(points[side].detach(), known, strict=True)
                held[side] = (held[side] + list(fresh))[-30:]
        assert met > 0, "no place came back: nothing was tested"

    def test_queue_bars_the_own_place_and_nothing_else_of_the_image(self) -> None:
        net = make_net()
        cmim = make_cmim(net, layers="last", source="queue", negatives=50, **REGION)
        net(draw_images(2))
        cmim(indices=torch.tensor([8, 3]))
        owners = cmim.contrasts[0].v_keys.owners
        assert len(set(owners[:8].tolist())) == 8 and owners[8:].unique().tolist() == [-1]
        net(draw_images(2))
        masks: list[Tensor] = []
        store = cmim.contrasts[0].v_keys
        handle = store.register_forward_hook(lambda _, __, keys: masks.append(keys.negative))
        cmim(indices=torch.tensor([3, 5]))
        handle.remove()
        expected = torch.ones(8, 8, dtype=torch.bool)
        for cell in range(4):
            expected[cell, 4 + cell] = False  # image 3 was the second of the step before
        assert torch.equal(masks[0], expected)


class TestSpecialCases:
    def test_one_region_an_image_is_the_image(self) -> None:
        """Same anchors and same heads, so the same numbers, gradients too."""

        def result(pairs: str) -> tuple[list[Tensor], CMIM]:
            net = create(
                "resnet8-bireal-poolpad", method="bireal", classes=4, channels=3, image_size=8
            )
            cmim = CMIM(net, "tuned", pairs=pairs, pool=1, seed=5)
            net(torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
            term = cmim()
            trained = [p for p in [*net.parameters(), *cmim.parameters()] if p.requires_grad]
            found = torch.autograd.grad(term.loss, trained, allow_unused=True)
            return [term.loss, term.bound, *(g for g in found if g is not None)], cmim

        (ours, region), (theirs, image) = result("region"), result("image")
        assert len(ours) == len(theirs) > 20
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        assert set(region.state_dict()) - set(image.state_dict()) == {"draw.step"}

    def test_linear_layers_are_images(self) -> None:
        net = create("mlp", method="bnn", classes=4, channels=3, image_size=8)
        x = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        losses = []
        for pairs in ("image", "region", "location"):
            cmim = CMIM(net, "tuned", pairs=pairs, pool=2)
            net(x)
            losses.append(cmim().loss.detach())
        assert torch.equal(losses[0], losses[1]) and torch.equal(losses[0], losses[2])

    def test_linear_layers_over_rows_and_columns_are_images(self) -> None:
        net = bitlens.binarize(nn.Sequential(nn.Linear(6, 7)), keep_float=())
        cmim = CMIM(net, layers="all")
        tokens = torch.randn(4, 5, 6, 6, requires_grad=True)
        ((_, a_b),) = captured_forward(net, tokens)
        ((u, _, _),) = cmim._features()
        torch.testing.assert_close(u, a_b.view(4, 30, 6).mean(1))

    def test_a_map_smaller_than_the_grid_has_a_sample_for_each_position(self) -> None:
        """Maps of 4 x 6 on a grid of 5: four rows and five columns."""
        net = make_net()
        cmim = make_cmim(net, **(REGION | INFONCE | {"pool": 5}))
        _, (_, a_b) = captured_forward(net, draw_images(2))
        _, (u, _, _) = cmim._features()
        expected = [a_b[i, :, y, s] for i in range(2) for y in range(4) for s in _fifths()]
        torch.testing.assert_close(u, torch.stack([cell.mean(1) for cell in expected]))

    def test_one_image_has_negatives_of_its_own(self) -> None:
        net = make_net()
        cmim = make_cmim(net, **REGION, **INFONCE)
        net(draw_images(1))
        term = cmim()
        assert term.ceiling == pytest.approx(math.log(GRID**2))

    def test_preset(self) -> None:
        preset = PRESETS["dense"]
        assert (preset.pairs, preset.pool, preset.loss) == ("region", 4, PRESETS["tuned"].loss)
        net = make_net()
        cmim = CMIM(net, "dense").double()
        net(draw_images(2))
        assert cmim().ceiling == pytest.approx(math.log(2 * 16), abs=1e-6)

    @pytest.mark.parametrize(
        ("settings", "valid"),
        [
            (LOCATION | INFONCE, True),
            (LOCATION | NCE, False),
            (REGION | INFONCE, False),
            (LOCATION | INFONCE | {"source": "queue"}, False),
        ],
    )
    def test_what_is_a_bound(self, settings: dict[str, Any], valid: bool) -> None:
        net = make_net()
        cmim = make_cmim(net, **settings)
        net(draw_images())
        assert cmim().valid is valid


class TestCost:
    @pytest.mark.parametrize("kind", [REGION, LOCATION], ids=["region", "location"])
    @pytest.mark.parametrize("anchors", [2, 5, 11])
    def test_no_matrix_is_larger_than_the_anchors(self, kind: dict[str, Any], anchors: int) -> None:
        net = make_net()
        cmim = make_cmim(net, **(kind | INFONCE | {"anchors": anchors}))
        shapes: list[tuple[int, int]] = []
        for module in cmim.modules():
            if isinstance(module, BatchNegatives):
                module.register_forward_hook(
                    lambda _, given, keys: shapes.append((len(given[0]), len(keys.candidates)))
                )
        net(draw_images(9))
        cmim()
        assert shapes == [(anchors, anchors)] * 4

    def test_the_matrix_of_1024_anchors_is_kept_once_a_side(self) -> None:
        """Twice the loss of a layer keeps twice a matrix for the backward pass, not eight times."""
        contrast = Contrast(4, 4, PRESETS["dense"], seed=0)
        u, v = torch.randn(2, 1024, 4, generator=torch.Generator().manual_seed(0))
        batch = Batch(labels=None, indices=None, all_labels=None, all_indices=None, counts=(1024,))
        kept: dict[int, int] = {}

        def keep(x: Tensor) -> Tensor:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            contrast(u, v, batch)
        matrix = 4 * 1024**2
        assert sum(size >= matrix for size in kept.values()) == 2

    def test_both_sides_of_a_layer_are_taken_at_the_same_places(self) -> None:
        net = make_net()
        cmim = make_cmim(net, **LOCATION)
        net(draw_images())
        for u, v, _ in cmim._features():
            assert torch.equal(u, torch.where(v >= 0, 1.0, -1.0).to(u.dtype))

    def test_layers_and_steps_draw_anew_and_evaluation_does_not_count(self) -> None:
        net = make_net()
        cmim = make_cmim(net, **LOCATION)
        first, second = places(cmim, 0, 3), places(cmim, 1, 3)
        assert first != second and first == places(cmim, 0, 3)
        net(draw_images())
        cmim.eval()()
        assert places(cmim, 0, 3) == first
        cmim.train()
        net(draw_images())
        cmim()
        assert places(cmim, 0, 3) != first


class TestGradients:
    @pytest.mark.parametrize("grad", ["both", "binary-only", "float-only"])
    @pytest.mark.parametrize("kind", KINDS, ids=IDS)
    def test_routes_against_detaching_by_hand(self, kind: dict[str, Any], grad: str) -> None:
        net = make_net()
        cmim = make_cmim(net, grad=grad, **kind, **INFONCE)
        images = draw_images()
        watched = [images, *(p for p in net.parameters())]
        net(images)
        ours = torch.autograd.grad(cmim.eval()().loss, watched, allow_unused=True)
        seen = [
            (f.detach() if grad == "binary-only" else f, b.detach() if grad == "float-only" else b)
            for f, b in captured_forward(net, images)
        ]
        loss = looped_loss(cmim, seen, 3)
        theirs = torch.autograd.grad(loss, watched, allow_unused=True)
        assert float(ours[0].abs().max()) > 1e-6
        for a, b in zip(ours, theirs, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-10)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    def test_locations_have_the_gradient_of_the_built_in(
        self, layout: torch.memory_format, dtype: torch.dtype
    ) -> None:
        x = torch.randn(3, 5, 4, 6).to(dtype).contiguous(memory_format=layout).requires_grad_()
        where = torch.tensor([0, 5, 23, 24, 50, 71])
        rows = _Locations.apply(x, where)
        expected = x.permute(0, 2, 3, 1).reshape(-1, 5)[where]
        assert rows.dtype == torch.promote_types(dtype, torch.float32)
        assert torch.equal(rows, expected.to(rows.dtype))
        weight = torch.randn_like(rows)
        (ours,) = torch.autograd.grad(rows, x, weight)
        (theirs,) = torch.autograd.grad(expected, x, weight.to(dtype))
        assert torch.equal(ours, theirs) and ours.is_contiguous(memory_format=layout)


def losses_of(net: nn.Module, cmim: CMIM, steps: range) -> list[float]:
    optimizer = torch.optim.SGD([*net.parameters(), *cmim.parameters()], lr=0.05)
    losses = []
    for step in steps:
        net(draw_images(seed=step))
        loss = cmim(indices=torch.tensor([step % 3, 7, 9])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


class TestSaving:
    @pytest.mark.parametrize("source", ["batch", "queue"])
    @pytest.mark.parametrize("kind", KINDS[1:], ids=IDS[1:])
    def test_a_restored_objective_continues_with_the_same_draws(
        self, kind: dict[str, Any], source: str
    ) -> None:
        settings = kind | INFONCE | {"source": source, "negatives": 25}
        net = make_net()
        cmim = make_cmim(net, **settings)
        losses_of(net, cmim, range(3))
        saved = copy.deepcopy((net.state_dict(), cmim.state_dict()))
        expected = losses_of(net, cmim, range(3, 6))
        other = make_net(seed=5)
        again = make_cmim(other, **settings)
        losses_of(other, again, range(1))
        other.load_state_dict(saved[0])
        again.load_state_dict(saved[1])
        assert losses_of(other, again, range(3, 6)) == expected

    def test_draws_follow_the_seed_and_leave_global_randomness_alone(self) -> None:
        torch.manual_seed(11)
        expected = torch.rand(3)
        runs = []
        for seed in (0, 0, 1):
            net = make_net()
            torch.manual_seed(11)
            runs.append(losses_of(net, make_cmim(net, seed=seed, **LOCATION), range(2)))
        assert runs[0] == runs[1] != runs[2]
        assert torch.equal(torch.rand(3), expected)

    def test_a_deep_copy_draws_for_itself(self) -> None:
        net = make_net()
        cmim = make_cmim(net, **LOCATION)
        other, again = copy.deepcopy((net, cmim))
        expected = losses_of(net, cmim, range(3))
        assert losses_of(other, again, range(3)) == expected

    def test_autocast_and_half_precision_maps(self) -> None:
        net = make_net().float()
        cmim = CMIM(net, **LOCATION, **INFONCE)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            net(draw_images().detach().float())
        loss = cmim().loss
        assert loss.dtype == torch.float32
        loss.backward()
        assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in net.parameters())


def test_the_block_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cmim.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    torch.manual_seed(0)
    exec(compile(block, "cmim.md", "exec"), {})
    assert capsys.readouterr().out.endswith("of at most 4.85 nats\n")
