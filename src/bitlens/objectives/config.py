"""Settings of the contrastive objective and its named presets. No torch here: recipes read this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

from bitlens.errors import BitlensError, unknown


@dataclass(frozen=True, kw_only=True)
class CMIMConfig:
    """Every choice of the CMIM term that papers and code leave open.

    Attributes:
        partner: what is paired with the binary side: the latent activations of the same forward
            pass, or a float teacher's feature at the same place.
        layers: "all", "last", or comma-separated names or globs of binary layers.
        pairs: what one sample is. "image": the whole map, its cells side by side in one row.
            "region": each cell of the pool x pool grid, or each position of a map that is smaller;
            "location": single positions drawn from the maps. Both have the channels as features, and
            what stands against a sample is every other one, of the same image too. A linear layer has
            no map: its samples are images.
        anchors: the most samples of a layer and step, over all processes together; drawn uniformly,
            without replacement, where there are more. Unused for "image".
        pool: features are average-pooled to a pool x pool grid; 1 is global average pooling. Unused
            for "location".
        head: "linear", or "mlp" with one hidden layer of the same width.
        train_heads: False freezes the random projections, as the released code does by omission.
        width: dimension of the embedding (L2-normalised).
        loss: "nce" (binary classification, summed over negatives) or "infonce" (softmax).
        temperature: divides the cosine score.
        learn_critic: make temperature and the NCE normaliser trainable.
        source: negatives from the batch, a first-in-first-out queue, or a bank with a row per image.
        negatives: length of the queue, or rows drawn from the bank per step; unused for the batch.
        momentum: of the bank's rows.
        exclude: what may not be a negative: the same instance (image, or image and place; in a queue
            also the one of an earlier epoch, known by the data-set indices), or every image of the
            same class.
        grad: which side's activations receive the gradient.
        beta: layer k of K has weight beta^-(K-1-k); 1 is flat, above 1 favours late layers.
    """

    partner: Literal["latent", "teacher"] = "latent"
    layers: str = "all"
    pairs: Literal["image", "region", "location"] = "image"
    anchors: int = 1024
    pool: int = 1
    head: Literal["linear", "mlp"] = "linear"
    train_heads: bool = True
    width: int = 128
    loss: Literal["nce", "infonce"] = "nce"
    temperature: float = 0.1
    learn_critic: bool = False
    source: Literal["batch", "queue", "bank"] = "batch"
    negatives: int = 4096
    momentum: float = 0.5
    exclude: Literal["instance", "class"] = "instance"
    grad: Literal["both", "binary-only", "float-only"] = "both"
    beta: float = 1.0

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(CMIMConfig).items():
            choices = get_args(hint)
            if choices and getattr(self, name) not in choices:
                raise unknown(f"cmim {name}", str(getattr(self, name)), choices)
        if not isinstance(self.layers, str):
            raise BitlensError(
                f"cmim: layers={self.layers!r}; write one string with commas between the names"
            )
        for name, low in (("pool", 1), ("width", 1), ("negatives", 1), ("anchors", 2)):
            if getattr(self, name) < low:
                raise BitlensError(f"cmim: {name}={getattr(self, name)}; it must be at least {low}")
        if not self.temperature > 0:
            raise BitlensError(f"cmim: temperature={self.temperature}; it must be positive")
        if not self.beta > 0:
            raise BitlensError(f"cmim: beta={self.beta}; it must be positive (1 is flat)")
        if not 0 <= self.momentum < 1:
            raise BitlensError(f"cmim: momentum={self.momentum}; it must lie in [0, 1)")
        if self.pairs != "image":
            self._check_dense()

    def _check_dense(self) -> None:
        """Refuse what knows images alone."""
        for name, value, why, way in (
            ("partner", "teacher", "a teacher's last feature has no places", "partner='latent'"),
            ("source", "bank", "a bank has a row per image", "source='batch' or 'queue'"),
            ("exclude", "class", "places have no class of their own", "exclude='instance'"),
        ):
            if getattr(self, name) == value:
                raise BitlensError(
                    f"cmim: pairs={self.pairs!r} with {name}={value!r}: {why}; use {way}, or "
                    "pairs='image'"
                )


PRESETS: dict[str, CMIMConfig] = {
    "paper": CMIMConfig(beta=2.0),
    "tuned": CMIMConfig(loss="infonce", temperature=1.0, width=64),
    "dense": CMIMConfig(
        loss="infonce", temperature=1.0, width=64, pairs="region", pool=4, anchors=256
    ),
    "released": CMIMConfig(
        partner="teacher", layers="last", train_heads=False, source="bank", exclude="class"
    ),
    "crd": CMIMConfig(partner="teacher", layers="last", source="bank", exclude="class"),
}
"""Named settings. `paper`: same forward pass, every binary layer, trained heads, in-batch NCE (the
layer base 2 is the one of the authors' sibling paper, the original value is not known to us). `tuned`:
the setting our own validation sweeps chose, for classification. `dense`: the same with a sample for each
cell of a 4 x 4 grid, for segmentation and depth; no sweep chose it. `released`: what the authors' program
computes - a float teacher, the last feature, frozen random heads, a bank of stale keys, other classes as
negatives - with its crashes and leaks repaired. `crd`: the same with trained heads (Tian et al., ICLR
2020)."""
