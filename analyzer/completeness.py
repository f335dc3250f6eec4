"""Whether measuring was finished: what is under way is noted in the store, and struck out at its end."""

from __future__ import annotations

from collections.abc import Iterable
from shlex import quote

from analyzer.metrics import METRICS, Metric
from analyzer.names import listed
from analyzer.run import Finding, Tables, TensorRow
from analyzer.store import Reader


def unfinished(store: Reader, tables: Tables) -> list[Finding]:
    """What is to be said where measuring was begun and not finished; nothing where it was.

    Args:
        store: what the tables were read from.
        tables: one run.
    """
    begun = store.begun(tables.run)
    if not begun:
        return []
    asked = [METRICS[name] for name in METRICS if any(name in one.metrics for one in begun)]
    stacks = {row.name for row in tables.tensors if row.kind == "stack"}
    lacking: dict[str, bool] = {}  # by tensor, a stack together with its matrices
    for row in tables.tensors:
        stack = row.name.rpartition("[")[0]
        expected = [metric.row.name for metric in asked if _has_rows(metric, row, is_expert=stack in stacks)]
        if expected:
            name = stack if stack in stacks else row.name
            lacking[name] = lacking.get(name, False) or _lacks(tables, row.name, expected)
    absent = [name for name, is_lacking in lacking.items() if is_lacking]
    measured, of = len(lacking) - len(absent), len(lacking)
    rows = f"rows of {listed(absent, most=3)} are absent" if absent else "rows of some checkpoints may be absent"
    sentence = (
        f"Measuring was not finished: {measured} of {of} tensors have all that was asked for at the last checkpoint, "
        f"{rows}. To finish it, with the options of the first time: "
        f"weightlapse measure {quote(store.about(tables.run)['path'])} --store {quote(store.path)}"
    )
    evidence = {"measured": measured, "of": of, "tensors": absent}
    return [Finding("unfinished_measuring", "serious", sentence, evidence=evidence)]


def _has_rows(metric: Metric, row: TensorRow, *, is_expert: bool) -> bool:
    """Whether such a tensor has rows of a metric wherever it is compared with two earlier states."""
    if row.kind == "empty":
        return False
    return row.kind == "matrix" if metric.matrix_only else not is_expert


def _lacks(tables: Tables, tensor: str, metrics: Iterable[str]) -> bool:
    """Whether the last checkpoint has no row of a metric that the tensor has elsewhere, or of any."""
    curves = [tables.curves.get(("tensor", tensor, metric)) for metric in metrics]
    return not any(curves) or any(curve is not None and curve.statuses[-1] is None for curve in curves)
