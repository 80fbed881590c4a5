"""The scores: names, tracks and what each is; needs no torch."""

from __future__ import annotations

SCORES: dict[str, tuple[str, str]] = {
    "OM_task": ("learning task", "accuracy on all test images, over data sets"),
    "OM_arch": ("architecture", "the same, over nets"),
    "OM_corr": ("corruption", "accuracy under 15 corruptions of every data set, binary / float"),
    "OM_corr_clean": ("corruption", "the same, each relative to its own clean accuracy"),
    "T_ratio": ("training", "time of a training step, float / binary"),
    "std_ratio": ("training", "deviation over training settings, float / binary"),
    "OM_train": ("training", "both, or the time alone where there is one setting"),
    "r_size": ("complexity", "bits of all parameters that ship, float / binary"),
    "r_ops": ("complexity", "operations, float / binary"),
    "OM_comp": ("complexity", "both"),
    "r_t": ("hardware", "latency in processor time, float / binary"),
    "r_s": ("hardware", "float32 bytes of the float net / bytes of the packed file"),
    "OM_hw": ("hardware", "both"),
}
"""Every score with its track and what it is, in the order of tables."""
