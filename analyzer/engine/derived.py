"""Derive from stored rows what is never measured: totals over tensors, means over matrices, paths over time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, get_args

from analyzer.metrics.needs import Need
from analyzer.metrics.registry import METRICS, Metric
from analyzer.model.observed import AdditiveSums, Interval
from analyzer.model.run import STATUSES_WITH_VALUE, Measurement, Status, Value
from analyzer.model.tables import CheckpointRow, Curve, MetricRow
from analyzer.store.store import Store

PARAMETERS = frozenset({"matrix", "stack", "vector", "scalar"})  # kinds that count in totals: no buffers, no integers

DERIVED = (
    MetricRow(
        "path_length",
        "motion",
        "weight units",
        "Σ‖Δ‖_F of the steps so far: a lower bound that grows with the density of checkpoints",
        "length of a polygonal path",
        1,
    ),
    MetricRow(
        "tortuosity",
        "motion",
        "1",
        "path_length / initial_distance, ≥ 1: a lower bound that grows with the density of checkpoints",
        "Benhamou, How to reliably estimate the tortuosity of an animal's path (2004): its inverse is straightness",
        1,
    ),
)
WORST_FIRST: tuple[Status, ...] = get_args(Status)


def derive(store: Store, run: str, metrics: Sequence[Metric]) -> None:
    """Replace the derived rows of a run.

    There is a path for each tensor; a ``total`` of all parameters together (root of summed squares, cosines from summed
    products); and a ``mean``, the arithmetic mean over weight matrices, which has a value only if every matrix has one.
    Metrics that were measured by earlier calls are included.
    """
    known = {**METRICS, **{metric.row.name: metric for metric in metrics}}.values()
    kinds = {row.name: row.kind for row in store.tensors(run)}
    matrices = {name for name, kind in kinds.items() if kind in ("matrix", "stack")}
    parameters = {name for name, kind in kinds.items() if kind in PARAMETERS}
    checkpoints = store.checkpoints(run)
    writer = store.writer(run)
    with store.transaction():
        writer.forget("mean")
        for name in (*(metric.row.name for metric in known), *(row.name for row in DERIVED)):
            writer.forget("total", name)
        for row in DERIVED:
            writer.forget("tensor", row.name)
        writer.add_measurements(_paths(store, run, "tensor", checkpoints))
        additive = [metric for metric in known if metric.is_additive]
        writer.add_measurements(_totals(store, run, additive, parameters, checkpoints))
        writer.add_measurements(_paths(store, run, "total", checkpoints))
        for name in store.metrics():
            curves = [curve for curve in store.curves(run, "tensor", name) if curve.tensor in matrices]
            writer.add_measurements(_means(checkpoints, name, curves))


def _worst(statuses: Sequence[Status]) -> Status:
    return min(statuses, key=WORST_FIRST.index)


def _paths(store: Store, run: str, scope: str, checkpoints: Sequence[CheckpointRow]) -> list[Measurement]:
    """Return path length and tortuosity of every tensor (or of all together) whose steps are known."""
    distances = {curve.tensor: curve for curve in store.curves(run, scope, "initial_distance")}
    steps = list(store.curves(run, scope, "step_distance"))
    return [row for step in steps for row in _path(checkpoints, step, distances.get(step.tensor))]


def _path(checkpoints: Sequence[CheckpointRow], step: Curve, distance: Curve | None) -> list[Measurement]:
    """Return path length and tortuosity along one curve of step distances, from the first checkpoint on."""
    rows: list[Measurement] = []
    length, status, start = 0.0, None, None
    for position, checkpoint in enumerate(checkpoints):
        if start is None:
            if distance is None or distance.statuses[position] is None:
                continue
            start, status = checkpoint.name, "ok"
        if (now := step.statuses[position]) is not None and now != "missing":
            # A step of length zero adds nothing, whatever precision it was stored in.
            if now not in STATUSES_WITH_VALUE or (now != "ok" and step.values[position] > 0):
                status = _worst([status, now])  # type: ignore[list-item]
            length += float(step.values[position])
        known = status in STATUSES_WITH_VALUE
        if now == "missing":
            path, known = Value(None, "missing"), False
        else:
            path = Value(length if known else None, status)  # type: ignore[arg-type]
        rows.append(_row(checkpoint, step, "path_length", path, start))
        net = distance.values[position] if distance is not None else float("nan")
        bent = path if not known else Value(length / net, path.status) if net > 0 else Value(None, "undefined")
        rows.append(_row(checkpoint, step, "tortuosity", bent, start))
    return rows


def _row(checkpoint: CheckpointRow, curve: Curve, metric: str, value: Value, reference: str | None) -> Measurement:
    return Measurement(
        checkpoint.name, curve.scope, curve.tensor, metric, value.value, value.bound, value.status, reference
    )


def _totals(
    store: Store,
    run: str,
    metrics: Sequence[Metric],
    parameters: Collection[str],
    checkpoints: Sequence[CheckpointRow],
) -> Iterator[Measurement]:
    """Yield each additive metric for all parameters together, at each checkpoint where any of them has a row."""
    curves = {metric.row.name: _parameter_curves(store, run, metric, parameters) for metric in metrics}
    steps = {checkpoint.name: checkpoint.step for checkpoint in checkpoints}
    for position, checkpoint in enumerate(checkpoints):
        sums = _CheckpointSums(store.sums(run, checkpoint.name))
        for metric in metrics:
            begun = [curve for first, curve in curves[metric.row.name] if first <= position]
            here = [curve for curve in begun if curve.statuses[position] is not None]
            if not here:
                continue
            references = {curve.references[position] for curve in here}
            reference = references.pop() if len(references) == 1 else None
            if references or len(here) < len(begun):
                total = Value(None, "undefined")  # the tensors do not all compare with the same checkpoint
            else:
                total = _total(sums, metric, here, position, _interval(steps, checkpoint, reference))
            row = (checkpoint.name, "total", "", metric.row.name, total.value, total.bound, total.status)
            yield Measurement(*row, reference)


def _parameter_curves(store: Store, run: str, metric: Metric, parameters: Collection[str]) -> list[tuple[int, Curve]]:
    """Return the curves of parameters (no buffers), each with the position at which it begins."""
    return [
        (next(position for position, status in enumerate(curve.statuses) if status is not None), curve)
        for curve in store.curves(run, "tensor", metric.row.name)
        if curve.tensor in parameters and any(curve.statuses)
    ]


def _interval(steps: Mapping[str, int | None], checkpoint: CheckpointRow, reference: str | None) -> Interval:
    earlier = steps.get(reference) if reference else None
    return Interval(checkpoint.step - earlier if checkpoint.step is not None and earlier is not None else None)


class _CheckpointSums:
    """Additive needs at one checkpoint, summed once for each set of tensors that is requested."""

    def __init__(self, stored: Mapping[str, Mapping[str, tuple[float, ...]]]) -> None:
        self._stored = stored
        self._totals: dict[tuple[Need, tuple[str, ...]], AdditiveSums] = {}

    def absent(self, need: Need, curves: Sequence[Curve]) -> list[Curve]:
        """Return the curves whose tensors have no such sums here."""
        return [curve for curve in curves if curve.tensor not in self._stored.get(need.name, {})]

    def total(self, need: Need, tensors: tuple[str, ...]) -> AdditiveSums:
        """Return the sums of these tensors together, as a metric receives them."""
        if (need, tensors) not in self._totals:
            assert need.sums is not None  # only additive metrics have totals
            rows = [self._stored[need.name][tensor] for tensor in tensors]
            self._totals[need, tensors] = need.sums.total(rows)
        return self._totals[need, tensors]


def _total(sums: _CheckpointSums, metric: Metric, curves: Sequence[Curve], position: int, interval: Interval) -> Value:
    """Compute a metric from summed needs; if the sums of one tensor are absent, there is a status and no value."""
    arguments: list[Any] = []
    for need in metric.needs:
        if need.of_checkpoints:
            arguments.append(interval)
            continue
        if absent := sums.absent(need, curves):
            worst = _worst([status for curve in absent if (status := curve.statuses[position]) is not None])
            return Value(None, "undefined" if worst in STATUSES_WITH_VALUE else worst)
        arguments.append(sums.total(need, tuple(curve.tensor for curve in curves)))
    result = metric.function(*arguments)
    value = result if isinstance(result, Value) else Value(float(result))
    return value if value.value is None or isfinite(value.value) else Value(None, "nonfinite")


def _means(checkpoints: Sequence[CheckpointRow], metric: str, curves: Sequence[Curve]) -> list[Measurement]:
    rows = []
    for position, checkpoint in enumerate(checkpoints):
        here = [curve for curve in curves if curve.statuses[position] is not None]
        if not here:
            continue
        status = _worst([curve.statuses[position] for curve in here])  # type: ignore[misc]
        references = {curve.references[position] for curve in here}
        value = None
        if status in STATUSES_WITH_VALUE:
            value = float(sum(float(curve.values[position]) for curve in here)) / len(here)
        reference = references.pop() if len(references) == 1 else None
        rows.append(Measurement(checkpoint.name, "mean", "", metric, value, None, status, reference))
    return rows
