"""What one image costs a net: OPs as the literature counts them, and products shared below one bit.

Bi-Real Net and ReActNet quote OPs = FLOPs + BOPs / 64, where a FLOP is a float and a BOP a 1-bit
multiply-accumulate of a convolution or linear layer (a 64-bit word holds 64 of the latter); norms,
activations and additions do not enter. Sub-bit Neural Networks (Wang et al., ICCV 2021) store each
3x3 kernel as an index into a codebook of 2^tau patterns of the layer. The products of an input
channel with the patterns are then made once, and every output channel looks one up and adds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from bitlens.errors import BitlensError
from bitlens.models.layers import BinaryConv2d, BinaryLayer, binary_layers
from bitlens.models.summary import summary

KERNEL = 9
"""Weights of a 3x3 kernel."""


@dataclass(frozen=True, kw_only=True)
class LayerOperations:
    """One layer: multiply-accumulates of one image, and whether they are 1-bit."""

    name: str
    binary: bool
    macs: int


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Multiply-accumulates of one image.

    Attributes:
        flops: those with a real weight or a real input.
        bops: those with 1-bit weights and 1-bit inputs.
        layers: every layer, in registration order.
    """

    flops: int
    bops: int
    layers: tuple[LayerOperations, ...]

    @property
    def ops(self) -> float:
        """OPs = FLOPs + BOPs / 64."""
        return self.flops + self.bops / 64


def operations(net: nn.Module, example: Tensor) -> Operations:
    """Count the operations of one image, layer by layer, in a forward pass in evaluation mode.

    A binary layer in a stage of real weights or real activations counts as float. A layer whose own
    forward nothing calls (inside nn.MultiheadAttention, say) counts nothing.

    Args:
        net: any torch net, binarized or not; left as it is.
        example: one batch of inputs, the batch first.

    Raises:
        BitlensError: a lazy layer that has seen no input yet.
        Exception: whatever the net raises when `example` does not fit it.
    """
    found = tuple(
        LayerOperations(
            name=row.name,
            binary=_is_binary(net if row.name == "(net)" else net.get_submodule(row.name)),
            macs=row.macs or 0,
        )
        for row in summary(net, example).rows
    )
    return Operations(
        flops=sum(layer.macs for layer in found if not layer.binary),
        bops=sum(layer.macs for layer in found if layer.binary),
        layers=found,
    )


def _is_binary(layer: nn.Module) -> bool:
    return isinstance(layer, BinaryLayer) and layer.binary_weights and layer.binary_activations


@dataclass(frozen=True, kw_only=True)
class SubBitLayer:
    """A binary layer whose 3x3 kernels are indices into a codebook; any other stays as it is.

    Attributes:
        name: of the module.
        bops: 1-bit operations of one image.
        index_bits: of the indices, or of the plain signs.
        codebook_bits: of the codebook, 0 without one.
    """

    name: str
    bops: int
    index_bits: int
    codebook_bits: int


@dataclass(frozen=True, kw_only=True)
class SubBit:
    """What the binary layers of a net cost with codebooks of 2^tau patterns."""

    layers: tuple[SubBitLayer, ...]

    @property
    def bops(self) -> int:
        """1-bit operations of one image."""
        return sum(layer.bops for layer in self.layers)

    @property
    def index_bits(self) -> int:
        """Bits of all indices; the storage that the paper prints."""
        return sum(layer.index_bits for layer in self.layers)

    @property
    def codebook_bits(self) -> int:
        """Bits of all codebooks."""
        return sum(layer.codebook_bits for layer in self.layers)


def sub_bit(net: nn.Module, example: Tensor, *, tau: int) -> SubBit:
    """Operations and storage of a net whose 3x3 kernels are indices of `tau` bits.

    Per layer H W Ci min(9 Co, 9 2^tau + Co / 2) operations and Co Ci tau + 9 2^tau bits; in groups,
    Co is what one input channel meets. With tau = 9 every pattern is its own index and no codebook is
    kept. The half operation a lookup is our reading of the paper's four published totals.

    Args:
        net: a binarized net of any method; its weights do not matter.
        example: one batch of inputs, the batch first.
        tau: index bits of a 3x3 kernel, 1 to 9.

    Raises:
        BitlensError: `tau` out of range.
    """
    if not 1 <= tau <= KERNEL:
        raise BitlensError(f"sub_bit: tau={tau}; an index of a 3x3 kernel has 1 to {KERNEL} bits")
    macs = {layer.name: layer.macs for layer in operations(net, example).layers if layer.binary}
    return SubBit(layers=tuple(_sub_bit_layers(net, macs, tau)))


def _sub_bit_layers(net: nn.Module, macs: dict[str, int], tau: int) -> Iterator[SubBitLayer]:
    for name, layer in binary_layers(net).items():
        name = name or "(net)"
        if name not in macs:
            continue
        if not isinstance(layer, BinaryConv2d) or layer.kernel_size != (3, 3) or tau == KERNEL:
            yield SubBitLayer(
                name=name, bops=macs[name], index_bits=layer.weight.numel(), codebook_bits=0
            )
            continue
        outputs = layer.out_channels // layer.groups
        planes = macs[name] // (KERNEL * outputs)
        doubled = min(2 * KERNEL * outputs, 2 * KERNEL * 2**tau + outputs)
        yield SubBitLayer(
            name=name,
            bops=planes * doubled // 2,
            index_bits=layer.weight.numel() // KERNEL * tau,
            codebook_bits=KERNEL * 2**tau,
        )
