"""Looking at a net in the middle of its training without leaving a trace."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def undisturbed(net: nn.Module) -> Generator[None]:
    """Evaluation mode without gradients inside; afterwards all is as before, bit for bit.

    Put back are the mode of every module, every buffer (the same tensor with the same content,
    whether it was changed or replaced) and the state of torch's random generators.
    """
    modules = list(net.modules())
    modes = [module.training for module in modules]
    buffers = [dict(module._buffers) for module in modules]
    contents = [(buffer, buffer.detach().clone()) for buffer in net.buffers()]
    devices = {p.device for p in net.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(sorted(d.index for d in devices)), torch.no_grad():
        net.eval()
        try:
            yield
        finally:
            for module, mode, named in zip(modules, modes, buffers, strict=True):
                module.training = mode
                module._buffers.update(named)
            for buffer, content in contents:
                if not torch.equal(buffer, content):
                    buffer.copy_(content)
