"""Looking at a net in the middle of its training without leaving a trace."""

from __future__ import annotations

import random
import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import nn


@contextmanager
def undisturbed(net: nn.Module) -> Generator[None]:
    """Evaluation mode, uncompiled and without gradients inside; afterwards all is as before, bit for bit.

    Put back are the mode of every module, every buffer (the same tensor with the same content,
    whether it was changed or replaced) and the states of the global random generators of torch, numpy
    and Python, from which datasets draw. Compiled parts run eagerly, as hooks inside them are only
    then called.
    """
    pythons, numpys = random.getstate(), np.random.get_state(legacy=False)
    modules = list(net.modules())
    modes = [module.training for module in modules]
    buffers = [dict(module._buffers) for module in modules]
    contents = [(buffer, buffer.detach().clone()) for buffer in net.buffers()]
    devices = {p.device for p in net.parameters() if p.device.type == "cuda"}
    forked = torch.random.fork_rng(sorted(d.index for d in devices))
    with forked, torch.no_grad(), _uncompiled():
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
            random.setstate(pythons)
            np.random.set_state(numpys)


def _uncompiled() -> AbstractContextManager[object]:
    # Nothing is compiled where dynamo was never imported, which alone would take seconds.
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    return torch.compiler.set_stance("force_eager")
