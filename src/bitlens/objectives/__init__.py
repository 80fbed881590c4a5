"""Losses beside the task's own, each a module that owns its heads.

`OBJECTIVES` lists the names a recipe may use; the leaf modules import torch.
"""

from __future__ import annotations

OBJECTIVES: dict[str, str] = {
    "none": "the task's loss alone",
    "cmim": "contrastive mutual-information maximisation between a_F and a_B (arXiv 2207.02970)",
    "logit-kd": "logit distillation from a float teacher, temperature 2 (Hinton et al., 2015)",
    "distribution": "soft cross-entropy to a float teacher, no temperature (ReActNet)",
}
