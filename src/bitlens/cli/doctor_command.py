"""`bitlens doctor [METHOD]`: does this installation, or a method, compute what it should?"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bitlens.errors import BitlensError
from bitlens.methods import check_name


def _versions() -> str:
    import numpy
    import torch

    import bitlens

    python = sys.version.split()[0]
    libraries = f"torch {torch.__version__}, numpy {numpy.__version__}"
    return f"bitlens {bitlens.__version__}, python {python}, {libraries}"


def _processor() -> str:
    import torch

    from bitlens.training.run import cpu_name

    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        flags = ""
    wanted = ("avx2", "avx512f", "avx512_vpopcntdq", "avx512_vnni", "asimd")
    found = [flag for flag in wanted if f" {flag}" in flags]
    vectors = " ".join(found) or "no listed vector extension"
    return f"{cpu_name()}, {torch.get_num_threads()} threads, {vectors}"


def _kernel() -> str:
    from bitlens.engine.kernels.isa import host

    return host().description.removeprefix("kernel: ")


def _accelerator() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return "none; training runs on the CPU"


def _signs() -> str:
    import torch

    from bitlens.bits import pack, sign_values, xnor_dot

    got = sign_values(torch.tensor([0.0, -0.0, 1e-45, -1e-45, float("nan")])).tolist()
    if got[:4] != [1.0, 1.0, 1.0, -1.0] or got[4] == got[4]:
        raise BitlensError(f"sign of (0, -0, tiny, -tiny, nan) is {got}")
    a, b = (
        sign_values(torch.randn(1000, generator=torch.Generator().manual_seed(s))) for s in (1, 2)
    )
    if int(xnor_dot(pack(a), pack(b), 1000)) != int((a * b).sum()):
        raise BitlensError("the xnor-popcount dot product differs from the float one")
    return "sign(0) = +1, NaN stays NaN, xnor-popcount equals the float product"


def _data() -> str:
    from bitlens.data import load

    begun = time.perf_counter()
    data = load("fashion-mnist-mini")
    seconds = time.perf_counter() - begun
    return f"fashion-mnist-mini: {len(data.train)} + {len(data.test)} images in {seconds:.1f} s"


def _training() -> str:
    import torch
    import torch.nn.functional as F

    from bitlens.models import create
    from bitlens.models.convert import set_progress
    from bitlens.objectives.cmim import CMIM

    net = create("resnet8-bireal-poolpad", method="reactnet", classes=10, channels=1, image_size=28)
    set_progress(net, 0.5)
    cmim = CMIM(net)
    source = torch.Generator().manual_seed(0)
    images = torch.randn(32, 1, 28, 28, generator=source)
    labels = torch.randint(10, (32,), generator=source)
    (F.cross_entropy(net(images), labels) + cmim(labels=labels).loss).backward()
    dead = [
        n
        for n, p in [*net.named_parameters(), *cmim.named_parameters()]
        if p.requires_grad and p.grad is None
    ]
    if dead:
        raise BitlensError(f"no gradient reaches {', '.join(dead)}")
    return "one CMIM step: a gradient in every parameter, heads included"


CHECKS: dict[str, Callable[[], str]] = {
    "versions": _versions,
    "processor": _processor,
    "kernel": _kernel,
    "accelerator": _accelerator,
    "signs": _signs,
    "data": _data,
    "training": _training,
}


USAGE = """\
usage: bitlens doctor            check this installation and machine
       bitlens doctor METHOD     check a binarization method against the contract: a name that
                                 `bitlens list methods` shows, or module:ATTRIBUTE for one of your own"""


def run(arguments: Sequence[str]) -> None:
    """Run every check; a failed one is an error after all have been shown."""
    if set(arguments) & {"-h", "--help"}:
        print(USAGE)
        return
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        raise BitlensError(f"doctor: {' '.join(arguments)!r}; give one method, or nothing")
    if arguments:
        check_name(arguments[0])
        from bitlens.cli.doctor_method import examine

        failed = examine(arguments[0])
    else:
        failed = [name for name, check in CHECKS.items() if not _holds(name, check)]
    if failed:
        subject = f" {arguments[0]}:" if arguments else ""
        raise BitlensError(f"doctor:{subject} {', '.join(failed)} failed")


def _holds(name: str, check: Callable[[], str]) -> bool:
    try:
        print(f"ok      {name:<12} {check()}")
    except BitlensError as error:
        print(f"FAILED  {name:<12} {error}")
        return False
    return True
