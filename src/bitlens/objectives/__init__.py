"""Losses beside the task's own, each a module that owns its heads.

`OBJECTIVES` and `DISTILLATIONS` list the names a recipe may use for `objective` and `distill`; the leaf
modules import torch.
"""

from __future__ import annotations

OBJECTIVES: dict[str, str] = {
    "none": "the task's loss alone",
    "cmim": "contrastive mutual-information maximisation between a_F and a_B (arXiv 2207.02970)",
}

DISTILLATIONS: dict[str, str] = {
    "none": "no teacher",
    "logit-kd": "the float teacher's outputs at temperature 2 (Hinton et al., 2015)",
    "distribution": "soft cross-entropy to the float teacher's outputs, no temperature (ReActNet)",
    "attention": "where the float teacher's blocks are active in the image (Real-to-Binary)",
}
