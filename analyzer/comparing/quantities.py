"""Select the quantities that are compared: scores, and a few numbers about the weights of the whole network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analyzer.model.comparison import Course, Quantity, StoredRun
from analyzer.model.run import STATUSES_WITH_VALUE, Status
from analyzer.model.tables import Curve, Tables
from analyzer.statistics.curves import ordered_scalars

MOST_SCORES = 6
AS_RECORDED = "as recorded"  # the unit of a score is unknown
ALL, MEAN, GEOMETRIC = "all parameters", "mean over matrices", "geometric mean over matrices"
WEIGHTS = (
    Quantity("initial_distance", "Distance from the start ‖W−W₀‖", "weight units", ALL, "positive", True, False),
    Quantity("relative_initial_distance", "Relative distance ‖W−W₀‖ / ‖W₀‖", "a ratio", ALL, "positive", True, False),
    Quantity("path_length", "Path length Σ‖ΔW‖", "weight units", ALL, "positive", True, False),
    Quantity("condition_number", "Condition number κ", "a ratio", GEOMETRIC, "log", True, False),
    Quantity("effective_rank", "Effective rank", "directions", MEAN, "linear", False, False),
    Quantity("stable_rank", "Stable rank", "directions", MEAN, "linear", False, False),
    Quantity("frobenius_norm", "Norm ‖W‖", "weight units", ALL, "positive", True, False),
)


def quantities(runs: Sequence[StoredRun]) -> tuple[Quantity, ...]:
    """Return the leading scores, then the weight metrics, as far as at least one run has them."""
    scalars = {name: values for run in runs for name, values in run.tables.scalars.items()}
    scores = [
        Quantity(name, name.replace("_", " ").capitalize(), AS_RECORDED, "score", "linear", False, True)
        for name in ordered_scalars(scalars)[:MOST_SCORES]
    ]
    weights = [one for one in WEIGHTS if any(np.isfinite(_weights(run.tables, one).values).any() for run in runs)]
    return (*scores, *weights)


def courses(runs: Sequence[StoredRun], chosen: Sequence[Quantity]) -> dict[tuple[str, str], Course]:
    """Return each quantity of each run at its checkpoints, keyed by (run, quantity)."""
    return {
        (run.name, one.name): _score(run.tables, one.name) if one.is_score else _weights(run.tables, one)
        for run in runs
        for one in chosen
    }


def _score(tables: Tables, name: str) -> Course:
    values = tables.scalars.get(name, np.full(len(tables.checkpoints), np.nan))
    known = np.isfinite(values)
    statuses: list[Status] = ["ok" if is_known else "missing" for is_known in known]
    return Course(np.where(known, values, np.nan), tuple(statuses))


def _weights(tables: Tables, quantity: Quantity) -> Course:
    if quantity.name == "relative_initial_distance":
        return _relative(tables)
    if quantity.scope == GEOMETRIC:
        return _geometric_mean(tables, quantity.name)
    scope = "total" if quantity.scope == ALL else "mean"
    return _course(tables.curves.get((scope, "", quantity.name)), len(tables.checkpoints))


def _course(curve: Curve | None, checkpoints: int) -> Course:
    if curve is None:
        return _without(checkpoints, "missing")
    statuses: list[Status] = [status or "missing" for status in curve.statuses]
    return Course(curve.values, tuple(statuses))


def _without(checkpoints: int, status: Status) -> Course:
    return Course(np.full(checkpoints, np.nan), (status,) * checkpoints)


def _relative(tables: Tables) -> Course:
    """Return distances from the first checkpoint relative to its norm."""
    count = len(tables.checkpoints)
    distance = _course(tables.curves.get(("total", "", "initial_distance")), count)
    norm = _course(tables.curves.get(("total", "", "frobenius_norm")), count)
    if not count or not norm.values[0] > 0:
        return _without(count, "undefined")
    return Course(distance.values / norm.values[0], distance.statuses)


def _geometric_mean(tables: Tables, metric: str) -> Course:
    """Return the geometric mean over weight matrices, which a single matrix with a very large κ does not dominate.

    If one matrix has no value, the mean has none either and takes that status.
    """
    matrices = {row.name for row in tables.tensors if row.kind in ("matrix", "stack")}
    found = [
        curve
        for (scope, tensor, name), curve in tables.curves.items()
        if scope == "tensor" and name == metric and (tensor in matrices or tensor.rpartition("[")[0] in matrices)
    ]
    count = len(tables.checkpoints)
    if not found:
        return _course(None, count)
    values = np.stack([curve.values for curve in found])
    mean = np.exp(np.log(np.where(values > 0, values, np.nan)).mean(axis=0))
    return Course(mean, tuple(_worst(column) for column in zip(*(curve.statuses for curve in found), strict=True)))


def _worst(statuses: Sequence[Status | None]) -> Status:
    """Return the first status without a value, else the first that is not ``ok``, else ``ok``."""
    known: list[Status] = [status or "missing" for status in statuses]
    without = [status for status in known if status not in STATUSES_WITH_VALUE]
    limited = [status for status in known if status != "ok"]
    return (without or limited or known)[0]


def by_name(quantities: Sequence[Quantity]) -> Mapping[str, Quantity]:
    """Return the quantities by name."""
    return {one.name: one for one in quantities}
