"""One-bit read-out: the signs of a real-valued layer, read in the alphabet of a binary one.

Formula: T' = sign(t), 0 counting as +1; I(X;T') = H(T'), I(T';Y) as for any codes.
Cost: O(n d / 64) after one comparison per activation. Bias: that of the plug-in on 2^d possible codes,
with every correction and flag of the binary case. Validity: T' is a function of T, so I(T';Y) <= I(T;Y):
a lower bound of what the layer knows about the label, which leaves out magnitudes. It is the fair
comparison of a float layer with a binary one; a layer behind a ReLU is all +1 and must be read before
it.
"""

from __future__ import annotations

from torch import Tensor

from bitlens.information.codes import Codes, hash_signs
from bitlens.information.estimators.checks import read_tensor


def one_bit(t: Tensor, *, bits: int = 64) -> Codes:
    """Read a layer by its signs.

    Args:
        t: (n, ...) activations; all axes but the first are units.
        bits: 64, or 128 for hashes without any chance of a collision.

    Raises:
        BitlensError: NaN or infinite activations, no units or no samples, or another number of bits.
    """
    rows = read_tensor(t)
    return Codes(hash_signs(rows, bits), rows.shape[1])
