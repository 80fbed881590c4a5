"""From measured points to one row per path: a layer of one net, in one read-out, through training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from bitlens.information.layers import PREDICTION, SIGNS
from bitlens.information.phases import Phases, late_drawdown, late_fall, measure_phases
from bitlens.studies.information_plane.kinds import KINDS
from bitlens.studies.information_plane.measure import BINS
from bitlens.studies.information_plane.store import Columns, Store
from bitlens.studies.information_plane.trial import Trial

Array = npt.NDArray[np.float64]
AS_BINNED = f"{BINS} bins"
MOVING = "bins follow the range of each checkpoint"


@dataclass(frozen=True, kw_only=True)
class Path:
    """One path in the plane and what its statistics are. Information and entropy in bits.

    Attributes:
        task, hidden, kind, weight_decay, seed: the net; `hidden` as "64-16-12-8-6".
        layer, depth: "L1" and 1 for the first hidden layer; "prediction" is the last.
        from_end: 1 for the deepest hidden layer, 2 for the one before, 0 for the prediction.
        readout: how the layer was read.
        fit, compression, kappa, rise, overlap, coupling, lag, phi: see `bitlens.information.phases`.
        why_not: why overlap and coupling are not defined; empty when they are.
        entropy_first, entropy_half_fit, entropy_last: H(T) at step 0, at half of the fit, at the end.
        entropy_corrected, information_corrected: Chao-Wang-Jost at the end; None where the probe is the
            whole input space and the plug-in exact.
        entropy_last, information_last: plug-in at the end; information_first at step 0.
        half_width: of the interval of H(T), median over the path.
        late_drawdown, late_fall: largest drawdown, and net fall, of H(T) within the last half of log
            steps.
        balanced_first: share of units within 10 % of balance at step 0.
        saturated: share of the points that are saturated.
        flag_last: flag of the last point.
        train_accuracy, test_accuracy, test_loss: of the net at the end.
    """

    task: str
    hidden: str
    kind: str
    weight_decay: float
    seed: int
    layer: str
    depth: int
    from_end: int
    readout: str
    fit: float
    compression: float
    kappa: float
    rise: float
    overlap: float | None
    coupling: float | None
    lag: float | None
    phi: float | None
    why_not: str
    entropy_first: float
    entropy_half_fit: float
    entropy_last: float
    entropy_corrected: float | None
    information_first: float
    information_last: float
    information_corrected: float | None
    half_width: float
    late_drawdown: float
    late_fall: float
    balanced_first: float | None
    saturated: float
    flag_last: str
    train_accuracy: float
    test_accuracy: float
    test_loss: float

    def as_dict(self) -> dict[str, object]:
        """Field by field, for a table."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """The points of one path in order of steps, (n,) each, and its curves."""

    path: Path
    phases: Phases
    steps: Array
    entropy: Array
    information: Array
    saturated: npt.NDArray[np.bool_]
    log2_samples: float
    label_entropy: float


def trajectories(store: Store, trials: Iterable[Trial]) -> Iterator[Trajectory]:
    """Every path of finished trials.

    Raises:
        BitlensError: a trial has not been run, or its file is damaged.
    """
    for trial in trials:
        yield from _of_trial(trial, store.read(trial))


def _of_trial(trial: Trial, columns: Columns) -> Iterator[Trajectory]:
    places: dict[tuple[int, str, str], list[int]] = {}
    keys = zip(columns["seed"], columns["layer"], columns["readout"], strict=True)
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    for (seed, layer, readout), rows in places.items():
        rows.sort(key=lambda row: columns["step"][row])
        yield _trajectory(trial, seed, layer, readout, columns, rows)


def _trajectory(
    trial: Trial, seed: int, layer: str, readout: str, columns: Columns, rows: list[int]
) -> Trajectory:
    def take(name: str) -> Array:
        return np.array([columns[name][row] for row in rows], dtype=np.float64)

    def last(name: str) -> float | None:
        return columns[name][rows[-1]]

    steps, entropy, information = take("step"), take("entropy"), take("information")
    saturated = np.array([columns["flag"][row] == "saturated" for row in rows])
    half_x, half_y = (
        np.nan_to_num((take(f"{name}_high") - take(f"{name}_low")) / 2)
        for name in ("entropy", "information")
    )
    phases = measure_phases(
        steps, entropy, information, half_x=half_x, half_y=half_y, saturated=saturated
    )
    exact = columns["reading"][rows[0]] == "population"
    depth = len(trial.hidden) + 1 if layer == PREDICTION else int(layer.removeprefix("L"))
    fitted = np.searchsorted(np.cumsum(phases.fit), 0.5)
    # Bins on the range of each checkpoint are not the same bins, so a path through them has no phases.
    moving = KINDS[trial.kind].activation == "relu" and readout == AS_BINNED
    why_not = MOVING if moving else phases.why_not
    path = Path(
        task=trial.task,
        hidden="-".join(map(str, trial.hidden)),
        kind=trial.kind,
        weight_decay=trial.weight_decay,
        seed=seed,
        layer=layer,
        depth=depth,
        from_end=len(trial.hidden) + 1 - depth,
        readout=readout,
        fit=phases.F,
        compression=phases.C,
        kappa=phases.kappa,
        rise=phases.rise,
        overlap=None if moving else phases.overlap,
        coupling=None if moving else phases.coupling,
        lag=None if moving else phases.lag,
        phi=None if moving else phases.phi,
        why_not=why_not or "",
        entropy_first=entropy[0],
        entropy_half_fit=entropy[min(fitted, len(entropy) - 1)],
        entropy_last=entropy[-1],
        entropy_corrected=None if exact else last("entropy_cwj"),
        information_first=information[0],
        information_last=information[-1],
        information_corrected=None if exact else last("information_cwj"),
        half_width=float(np.median(half_x)),
        late_drawdown=late_drawdown(steps, entropy, saturated),
        late_fall=late_fall(steps, entropy, saturated),
        balanced_first=columns["balanced_units"][rows[0]] if readout == SIGNS else None,
        saturated=float(saturated.mean()),
        flag_last=columns["flag"][rows[-1]],
        train_accuracy=float(take("train_accuracy")[-1]),
        test_accuracy=float(take("test_accuracy")[-1]),
        test_loss=float(take("test_loss")[-1]),
    )
    return Trajectory(
        path=path,
        phases=phases,
        steps=steps,
        entropy=entropy,
        information=information,
        saturated=saturated,
        log2_samples=float(take("log2_samples")[0]),
        label_entropy=float(np.nan_to_num(take("label_entropy")[0])),
    )
