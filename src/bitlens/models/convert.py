"""`binarize`: turn the Conv2d and Linear layers of any torch net into binary ones, in place."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from bitlens.errors import BitlensError, near, unknown
from bitlens.methods import get
from bitlens.methods.contract import Method, Progress, is_own_nonlinearity
from bitlens.models.layers import BinaryConv2d, BinaryLayer, BinaryLinear


def matches(name: str, pattern: str) -> bool:
    """Whether the module `name` is `pattern`, lies inside it, or fits it as a glob."""
    return name == pattern or name.startswith(f"{pattern}.") or fnmatchcase(name, pattern)


def binarize(
    module: nn.Module,
    method: str = "bireal",
    *,
    keep_float: tuple[str, ...] | None = None,
    pad: Literal[0, 1, -1] | None = None,
    relu: Literal["hardtanh", "keep"] = "hardtanh",
) -> nn.Module:
    """Make the Conv2d and Linear layers of `module` binary: 1-bit weights and 1-bit inputs.

    The net is changed in place and returned (a bare layer is returned as a new module). Layers whose
    weights are used by other code than their own forward (subclasses, parametrized or pruned layers,
    weights tied to another module, members of nn.MultiheadAttention and nn.TransformerEncoderLayer)
    stay float; `bitlens.summary` lists every layer with the reason. Hooks on a layer that becomes
    binary do not move to its successor: register them afterwards. What lies inside a method's own
    non-linearity (`create` puts it there) stays as the method made it.

    Args:
        module: any torch net.
        method: a name of `bitlens.methods.METHODS`.
        keep_float: names of modules to leave float: exact names, prefixes ("stem" covers "stem.conv")
            or globs ("*.downsample.*"). None keeps the first and the last layer float, as nearly all
            papers do (of one or two layers, none); () keeps none.
        pad: what a padded position contributes, 0, +1 or -1; None takes the method's own.
        relu: a sign behind a ReLU is always +1, so ReLU and ReLU6 modules become Hardtanh; "keep"
            leaves them alone.

    Raises:
        BitlensError: unknown method, `pad` or `relu`, a `keep_float` pattern that matches nothing, a
            net with no layer to binarize, a net that is already binary, or an uninitialised lazy layer.
    """
    chosen = get(method)
    if pad not in (None, 0, 1, -1):
        raise BitlensError(
            f"binarize: pad={pad!r}; a padded position is 0, 1 or -1 (None: the method's)"
        )
    if relu not in ("hardtanh", "keep"):
        raise unknown("relu", str(relu), ("hardtanh", "keep"))
    if any(isinstance(m, BinaryLayer) for m in module.modules()):
        raise BitlensError("binarize: the net already has binary layers; start from the float net")
    layers = dict(_candidates(module))
    kept = _kept(module, layers, keep_float)
    if not layers:
        raise BitlensError(f"binarize: no Conv2d or Linear layer to make binary{_reasons(module)}")
    swapped = {name: layer for name, layer in layers.items() if name not in kept}
    if not swapped:
        raise BitlensError(
            f"binarize: no Conv2d or Linear layer left to make binary (kept float: {sorted(kept)}); "
            "pass a smaller keep_float"
        )
    progress = Progress()
    module = _swap(module, swapped, chosen, method, progress, chosen.pad if pad is None else pad)
    if relu == "hardtanh":
        _replace_relu(module)
    _share_activations(module)
    progress.attach(module)
    return module


def _reasons(module: nn.Module) -> str:
    named = ((name, float_reason(module, name, layer)) for name, layer in module.named_modules())
    found = [f"{name or '(net)'}: {reason}" for name, reason in named if reason]
    return f" ({'; '.join(found[:3])})" if found else ""


def set_progress(net: nn.Module, t: float) -> None:
    """Tell every schedule inside a binarized net that training is at `t` in [0, 1].

    A float net has no schedule and is left alone.
    """
    for module in net.modules():
        progress = module.__dict__.get(Progress.HOLDER)
        if progress is not None:
            progress.set(module, t)


_WITHOUT_BINARY = (
    nn.modules.conv._ConvNd,
    nn.Bilinear,
    nn.Embedding,
    nn.EmbeddingBag,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.MultiheadAttention,
)


def _candidates(module: nn.Module) -> Iterator[tuple[str, nn.Conv2d | nn.Linear]]:
    for name, layer in module.named_modules():
        if float_reason(module, name, layer) is None and isinstance(layer, nn.Conv2d | nn.Linear):
            if isinstance(layer.weight, nn.UninitializedParameter):
                raise BitlensError(
                    f"binarize: layer {name!r} is lazy and has no weight yet; run one forward pass first"
                )
            yield name, layer


def float_reason(root: nn.Module, name: str, layer: nn.Module) -> str | None:
    """Why `binarize` cannot make a weighted layer binary; None when it can (or there is no weight)."""
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        return f"no binary {type(layer).__name__}" if isinstance(layer, _WITHOUT_BINARY) else None
    if _of_method(root, name):
        return "it belongs to the method's own non-linearity or binarizer"
    parent = root.get_submodule(name.rpartition(".")[0])
    # In evaluation an encoder layer may read the weights of its linear layers past their forward.
    for reader in (nn.MultiheadAttention, nn.TransformerEncoderLayer):
        if isinstance(parent, reader):
            return f"its weight is used inside {reader.__name__}"
    if is_parametrized(layer) or "weight" not in layer._parameters:
        return "its weight is computed from other tensors (parametrized or pruned)"
    if type(layer) not in (nn.Conv2d, nn.Linear, nn.LazyConv2d, nn.LazyLinear):
        return f"{type(layer).__name__} uses its weight in its own way"
    for other_name, other in root.named_modules():
        if other is not layer and any(p is layer.weight for p in other._parameters.values()):
            return f"its weight is shared with {other_name!r}"
    return None


def _of_method(root: nn.Module, name: str) -> bool:
    """Whether a module is a method's non-linearity, or lies inside one or inside a binary layer."""
    path = [root]
    for part in name.split(".") if name else ():
        path.append(path[-1].get_submodule(part))
    inside_layer = any(isinstance(module, BinaryLayer) for module in path[:-1])
    return inside_layer or any(is_own_nonlinearity(module) for module in path)


def _kept(
    module: nn.Module, layers: dict[str, nn.Conv2d | nn.Linear], keep_float: tuple[str, ...] | None
) -> set[str]:
    if keep_float is None:
        return {*list(layers)[:1], *list(layers)[-1:]} if len(layers) > 2 else set()
    if isinstance(keep_float, str):
        raise BitlensError(
            f"binarize: keep_float={keep_float!r} is a string; write ({keep_float!r},)"
        )
    named = [(n, m) for n, m in module.named_modules(remove_duplicate=False) if n]
    names = [name for name, _ in named]
    kept: set[str] = set()
    for pattern in keep_float:
        if not any(matches(name, pattern) for name in names):
            close = near(pattern, names)
            hint = (
                f"did you mean {' or '.join(close)}?" if close else f"layers: {', '.join(layers)}"
            )
            raise BitlensError(
                f"binarize: keep_float pattern {pattern!r} matches no module; {hint}"
            )
        chosen = {layer for name, layer in named if matches(name, pattern)}
        kept.update(name for name, layer in layers.items() if layer in chosen)
    return kept


def _swap(
    module: nn.Module,
    swapped: dict[str, nn.Conv2d | nn.Linear],
    method: Method,
    method_name: str,
    progress: Progress,
    pad: Literal[0, 1, -1],
) -> nn.Module:
    made: dict[nn.Module, BinaryConv2d | BinaryLinear] = {}
    for name, layer in swapped.items():
        try:
            if isinstance(layer, nn.Conv2d):
                made[layer] = BinaryConv2d(layer, method, method_name, progress, pad)
            else:
                made[layer] = BinaryLinear(layer, method, method_name, progress)
        except BitlensError as error:
            raise BitlensError(
                f"binarize: method {method_name!r} cannot serve layer {name or '(net)'!r}: {error}; "
                f"name it in keep_float or choose another method"
            ) from error
    if module in made:
        return made[module]
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if child in made:
                setattr(parent, name, made[child])
    return module


def _replace_relu(module: nn.Module) -> None:
    for path, parent in list(module.named_modules()):
        if isinstance(parent, nn.TransformerEncoderLayer):
            continue  # it stays float, and noted which function it has when it was made
        for name, child in list(parent._modules.items()):
            if child is None or type(child) not in (nn.ReLU, nn.ReLU6):
                continue
            if not _of_method(module, f"{path}.{name}" if path else name):
                setattr(parent, name, nn.Hardtanh().train(child.training))


def _share_activations(module: nn.Module) -> None:
    """Give convolutions that a block declares to see one input a single activation binarizer."""
    for block in module.modules():
        for names in getattr(block, "shared_inputs", ()):
            members = (block.get_submodule(name) for name in names)
            binary = [member for member in members if isinstance(member, BinaryLayer)]
            for member in binary[1:]:
                member.activation = binary[0].activation
