"""Batch norm of complex numbers, kept as real channels: real parts first, then imaginary parts.

Circular: z is taken as circular Gaussian, so one variance E|z - mu|^2 a number serves both parts, and
y = gamma (z - mu) / sqrt(var + eps) + beta with gamma real and beta complex (Li et al., "BCNN",
arXiv 2104.10044). In evaluation that is a multiply-add per real channel. Whitening: the 2x2 covariance
of (Re z, Im z) is undone by its inverse square root, then a symmetric 2x2 gamma follows (Trabelsi et
al., "Deep Complex Networks", ICLR 2018). Both start with outputs of E|y|^2 = 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bitlens.errors import BitlensError
from bitlens.models.layers import BinaryLayer


class ComplexBatchNorm2d(_BatchNorm):
    """Batch norm of `channels` / 2 complex channels, given as (n, channels, h, w).

    `running_mean` is (channels,). `running_var` holds the variances of all real parts, then of all
    imaginary parts; with `circular=False` the covariances of both follow, so it is
    (3 channels / 2,). `weight` is gamma: (channels / 2,), or (3, channels / 2) for the entries
    (Re, Re), (Im, Im) and (Re, Im). In training over several processes each uses its own statistics.

    Args:
        channels: real channels, an even number.
        circular: one variance a complex channel; False whitens.
        eps: added to the variances.
        momentum: share of a new batch in the running statistics; None averages all batches alike.
        affine: learn gamma and beta.
        track_running_stats: keep statistics for evaluation; False uses those of the batch always.

    Raises:
        BitlensError: an odd number of channels, or none.
    """

    def __init__(
        self,
        channels: int,
        *,
        circular: bool = True,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        if channels < 2 or channels % 2:
            raise BitlensError(
                f"ComplexBatchNorm2d: channels={channels}; it takes an even number of real channels, "
                "half of them imaginary parts"
            )
        self.circular = circular
        super().__init__(channels, eps, momentum, affine, track_running_stats)
        half = channels // 2
        if affine:
            self.weight = nn.Parameter(torch.empty(half if circular else (3, half)))
        if track_running_stats:
            self.running_var = torch.empty(channels if circular else 3 * half)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Statistics of uncorrelated parts of variance 1/2 each."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.running_mean.zero_()
        self.running_var.fill_(0.5)
        self.running_var[self.num_features :] = 0.0
        self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Statistics and parameters of a new norm."""
        self.reset_running_stats()
        if not self.affine:
            return
        nn.init.zeros_(self.bias)
        # Whitened parts have variance 1 each; a complex number of variance 1 has 1/2 in each.
        nn.init.constant_(self.weight, 1.0 if self.circular else 0.5**0.5)
        if not self.circular:
            nn.init.zeros_(self.weight[2:])

    def products(self, centered: Tensor) -> Tensor:
        """What `running_var` is the mean of, for centered values (n, channels, ...): (n, k, ...)."""
        squares = centered.square()
        if self.circular:
            return squares
        real, imaginary = centered.chunk(2, 1)
        return torch.cat([squares, real * imaginary], 1)

    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) -> the same shape.

        Raises:
            BitlensError: an input of another rank or other channels, or one value a channel in training.
        """
        self._check_input_dim(input)
        if not self.training and self.running_mean is not None and self.running_var is not None:
            return self._normalized(input, self.running_mean, self.running_var)
        axes = (0, 2, 3)
        count = input.numel() // input.shape[1]
        if self.training and count == 1:
            raise BitlensError(
                f"ComplexBatchNorm2d: an input of shape {tuple(input.shape)} has one value a channel, "
                "too few for a variance; use more images, or evaluation mode"
            )
        mean = input.mean(axes)
        spread = self.products(input - _over(mean)).mean(axes)
        if self.training:
            self._track(mean.detach(), spread.detach() * (count / (count - 1)))
        return self._normalized(input, mean, spread)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() != 4 or input.shape[1] != self.num_features:
            raise BitlensError(
                f"ComplexBatchNorm2d: the input has shape {tuple(input.shape)}; it takes "
                f"(n, {self.num_features}, h, w)"
            )

    def _track(self, mean: Tensor, spread: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = (
            self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        )
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(spread.to(self.running_var.dtype), share)

    def _normalized(self, x: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        if not self.circular:
            return self._whitened(x, mean, spread)
        real, imaginary = spread.chunk(2)
        variance = (real + imaginary).repeat(2)
        gamma = self.weight.repeat(2) if self.affine else None
        if not self.training and not variance.requires_grad:
            return F.batch_norm(x, mean, variance, gamma, self.bias, False, 0.0, self.eps)
        slope = torch.rsqrt(variance + self.eps)
        slope = slope if gamma is None else slope * gamma
        shift = -mean * slope if self.bias is None else self.bias - mean * slope
        return x * _over(slope) + _over(shift)

    def _whitened(self, x: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        own, crossed = _mixing(spread, self.eps, self.weight if self.affine else None)
        centered = x - _over(mean)
        real, imaginary = centered.chunk(2, 1)
        out = centered * _over(own) + torch.cat([imaginary, real], 1) * _over(crossed)
        return out + _over(self.bias) if self.affine else out

    def extra_repr(self) -> str:
        """Channels and kind, for print(net)."""
        return f"{super().extra_repr()}, circular={self.circular}"


def _over(values: Tensor) -> Tensor:
    """View (c,) so that it broadcasts over (n, c, h, w)."""
    return values.view(1, -1, 1, 1)


def _mixing(spread: Tensor, eps: float, gamma: Tensor | None) -> tuple[Tensor, Tensor]:
    """Gamma times the inverse square root of the covariance, (channels,) each.

    What a part's own value is multiplied by, and what the other part's is.
    """
    rr, ii, ri = spread.chunk(3)
    # The square root of a 2x2 matrix V is (V + s I) / t with s = sqrt(det V), t = sqrt(trace V + 2 s).
    # Of parts that are fully correlated rounding makes det V negative, however large they are against eps.
    determinant = (rr * ii - ri.square()).clamp_min(0) + eps * (rr + ii) + eps**2
    s = determinant.sqrt()
    rr, ii = rr + eps, ii + eps
    factor = 1 / (s * (rr + ii + 2 * s).sqrt())
    whiten_rr, whiten_ii, whiten_ri = (ii + s) * factor, (rr + s) * factor, -ri * factor
    if gamma is None:
        return torch.cat([whiten_rr, whiten_ii]), whiten_ri.repeat(2)
    g_rr, g_ii, g_ri = gamma
    own = torch.cat([g_rr * whiten_rr + g_ri * whiten_ri, g_ri * whiten_ri + g_ii * whiten_ii])
    crossed = torch.cat([g_rr * whiten_ri + g_ri * whiten_ii, g_ri * whiten_rr + g_ii * whiten_ri])
    return own, crossed


def complexify(net: nn.Module, *, circular: bool = True) -> nn.Module:
    """Give a float net complex batch norms, in place: every BatchNorm2d of an even channel count.

    To be called before `binarize(net, "complex")`. The new norms keep eps, momentum, device and
    precision; statistics and learned parameters start anew.

    Args:
        net: a net without binary layers.
        circular: as in `ComplexBatchNorm2d`.

    Returns:
        The net.

    Raises:
        BitlensError: the net is binary already, or has no BatchNorm2d of an even channel count.
    """
    if any(isinstance(module, BinaryLayer) for module in net.modules()):
        raise BitlensError("complexify: the net has binary layers; start from the float net")
    found = [
        (parent, name, child)
        for parent in net.modules()
        for name, child in parent.named_children()
        if type(child) is nn.BatchNorm2d and child.num_features % 2 == 0
    ]
    if not found:
        raise BitlensError(
            "complexify: the net has no BatchNorm2d of an even channel count below its top; use a net "
            "with batch norm"
        )
    made: dict[nn.BatchNorm2d, ComplexBatchNorm2d] = {}
    for parent, name, child in found:
        made.setdefault(child, _successor(child, circular))
        setattr(parent, name, made[child])
    return net


def _successor(norm: nn.BatchNorm2d, circular: bool) -> ComplexBatchNorm2d:
    new = ComplexBatchNorm2d(
        norm.num_features,
        circular=circular,
        eps=norm.eps,
        momentum=norm.momentum,
        affine=norm.affine,
        track_running_stats=norm.track_running_stats,
    )
    for tensor in (norm.weight, norm.running_mean):
        if tensor is not None:
            new.to(tensor.device, tensor.dtype)
    return new.train(norm.training)
