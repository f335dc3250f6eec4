"""Whether a store holds all rows of what was measured of a run: interrupted measuring leaves some of them out.

Whatever is asked for is measured at the last checkpoint, and what takes no spectrum at each one from a tensor's first
on, so the rows themselves tell where some are absent. Families that were never asked for have no rows at all, and
``--spectra-every`` spares the last checkpoint: neither counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from shlex import quote

from analyzer.metrics import METRICS, Metric
from analyzer.names import listed
from analyzer.run import Curve, Finding, Tables, TensorRow
from analyzer.store import Reader

Curves = Mapping[str, Curve]  # of one tensor, by metric


def unfinished(store: Reader, tables: Tables) -> list[Finding]:
    """What is to be said where measuring was not finished; nothing where it was.

    Args:
        store: what the tables were read from.
        tables: one run.
    """
    curves: dict[str, dict[str, Curve]] = {}
    for (scope, tensor, metric), curve in tables.curves.items():
        if scope == "tensor":
            curves.setdefault(tensor, {})[metric] = curve
    asked = [METRICS[name] for name in {name for its in curves.values() for name in its} & METRICS.keys()]
    stacks = {row.name for row in tables.tensors if row.kind == "stack"}
    complete: dict[str, bool] = {}  # by tensor, a stack together with its matrices
    for row in tables.tensors:
        stack = row.name.rpartition("[")[0]
        if expected := [metric for metric in asked if _has_rows(metric, row, is_expert=stack in stacks)]:
            name = stack if stack in stacks else row.name
            complete[name] = complete.get(name, True) and _are_complete(curves.get(row.name, {}), expected, tables)
    if all(complete.values()):
        return []
    lacking = [name for name, is_complete in complete.items() if not is_complete]
    measured, of = len(complete) - len(lacking), len(complete)
    sentence = (
        f"Measuring is not complete: {measured} of {of} tensors are measured to the end, rows of "
        f"{listed(lacking, most=3)} are absent. To finish it, with the options of the first time: "
        f"weightlapse measure {quote(store.about(tables.run)['path'])} --store {quote(store.path)}"
    )
    evidence = {"measured": measured, "of": of, "tensors": lacking}
    return [Finding("unfinished_measuring", "serious", sentence, evidence=evidence)]


def _has_rows(metric: Metric, row: TensorRow, *, is_expert: bool) -> bool:
    """Whether such a tensor should have rows of a metric; what needs two steps comes along with what needs one."""
    if row.kind == "empty" or "before_previous" in metric.roles:
        return False
    return row.kind == "matrix" if metric.matrix_only else not is_expert


def _are_complete(curves: Curves, expected: Collection[Metric], tables: Tables) -> bool:
    """Whether a tensor has the rows that it should have, from its first checkpoint to the run's last."""
    rows = [place for curve in curves.values() for place, status in enumerate(curve.statuses) if status is not None]
    if not rows:
        return False
    is_gone = any(curve.statuses[-1] == "missing" for curve in curves.values())
    places = {row.name: place for place, row in enumerate(tables.checkpoints)}
    for metric in expected:
        start = min(rows) + ("previous" in metric.roles)
        if start == len(places) or (metric.matrix_only and is_gone):
            continue
        if (curve := curves.get(metric.row.name)) is None or curve.statuses[-1] is None:
            return False
        if not metric.matrix_only and None in curve.statuses[start:]:
            return False
        compared = {places[name] for name in curve.references if name in places}
        if metric.reference == "initial" and not metric.matrix_only and any(place < start for place in compared):
            return False  # the tensor is in an earlier checkpoint, which has no rows of it
    return True
