"""What to write instead of the operators that people meet most among those that cannot be packed."""

from __future__ import annotations

_LOGITS = "return the logits and let the caller take it: the largest logit is the class"
_NORM = "use nn.BatchNorm2d, which is a constant multiply-add in evaluation mode"
_CHOICE = "use clamp, relu, leaky_relu or nn.PReLU, which choose by sign"
FLOAT32 = "compute in float32 throughout: no autocast, half(), double() or to(dtype) in forward"

_WAYS: dict[str, str] = {
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax", "argmax"), _LOGITS),
    **dict.fromkeys(("topk", "max", "logsumexp"), _LOGITS),
    **dict.fromkeys(("group_norm", "native_group_norm", "instance_norm"), _NORM),
    **dict.fromkeys(("layer_norm", "native_layer_norm"), _NORM),
    **dict.fromkeys(("where", "gt", "ge", "lt", "le", "eq", "ne", "maximum", "minimum"), _CHOICE),
    **dict.fromkeys(("_to_copy", "to", "type_as", "_assert_tensor_metadata"), FLOAT32),
    **dict.fromkeys(("conv1d", "conv3d"), "write it as an nn.Conv2d, e.g. with a kernel of (1, k)"),
    "conv_transpose2d": "use F.interpolate and an nn.Conv2d",
    "selu": "use nn.ELU or nn.PReLU",
    "index": "use slices, or reorder the channels of the images before the net",
}

GENERAL = (
    "use convolutions, linear layers, batch norm, poolings and element by element functions, or pack the "
    "part of the net that does"
)
"""For every other operator."""


def way_out(operator: str) -> str:
    """Advice for an operator by its torch name, such as "aten.softmax.int"."""
    parts = operator.split(".")
    return _WAYS.get(parts[1] if len(parts) > 1 else operator, GENERAL)
