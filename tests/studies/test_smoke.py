"""The smallest tier, run for real: the signs of the published picture come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bitlens.studies.information_plane.paths import trajectories
from bitlens.studies.information_plane.store import Store
from bitlens.studies.information_plane.study import run_study


@pytest.mark.slow
def test_tanh_nets_expand_while_they_fit_and_binary_nets_compress(tmp_path: Path) -> None:
    trials = run_study("smoke", tmp_path)
    rho: dict[tuple[str, str], list[float]] = {}
    for trajectory in trajectories(Store(tmp_path), trials):
        path = trajectory.path
        if path.from_end == 1 and path.coupling is not None:
            rho.setdefault((path.kind, path.readout), []).append(path.coupling)
    assert np.median(rho["dnn-tanh", "30 bins"]) > 0
    assert np.median(rho["bnn-ste", "signs"]) < 0
