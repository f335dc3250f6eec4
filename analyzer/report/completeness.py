"""Find out whether measuring was finished: the store notes what was begun, until it is finished."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from shlex import quote

from analyzer.metrics import METRICS, Metric, select_metrics
from analyzer.model.names import listed
from analyzer.model.run import Finding
from analyzer.model.tables import Tables, TensorRow
from analyzer.store.reader import Reader

UNFINISHED = "unfinished_measuring"  # the finding's rule


def unfinished(store: Reader, tables: Tables, path: str) -> list[Finding]:
    """Report measuring that was begun and not finished; return nothing where it was finished.

    Args:
        store: what the tables were read from.
        tables: one run.
        path: the store in which it is to be finished; for a copy, the one that was copied.
    """
    begun = store.begun(tables.run)
    if not begun:
        return []
    if shards := [one.shard for one in begun if one.shard]:
        sentence = (
            f"This is a part of the measurements (shard {', '.join(shards)}): totals and means are absent. To join the "
            "stores of all shards: weightlapse merge STORE... --store FILE"
        )
        return [Finding(UNFINISHED, "serious", sentence, evidence={"shards": shards})]
    names = dict.fromkeys(name for one in begun for name in one.metrics)
    absent, of = _lacking(tables, [METRICS[name] for name in names if name in METRICS])
    what = f"{of - len(absent)} of {of} tensors have all that was asked for at the last checkpoint, " if of else ""
    rows = f"rows of {listed(absent, most=3)} are absent" if absent else "rows of some checkpoints may be absent"
    sentence = (
        f"Measuring was not finished: {what}{rows}. To finish it, with the options of the first time: "
        f"weightlapse measure {quote(tables.source.path)} --store {quote(path)}{_selection(names)}"
    )
    evidence = {"measured": of - len(absent), "of": of, "tensors": absent}
    return [Finding(UNFINISHED, "serious", sentence, evidence=evidence)]


def _selection(names: Collection[str]) -> str:
    """Return the option that selects these metrics, by family where possible; empty for the default ones."""
    if {metric.row.name for metric in select_metrics()} == set(names):
        return ""
    families: dict[str, set[str]] = {}
    for metric in METRICS.values():
        families.setdefault(metric.row.family, set()).add(metric.row.name)
    whole = {family for family, its in families.items() if its <= set(names)}
    single = [name for name in names if name not in METRICS or METRICS[name].row.family not in whole]
    return f" --metrics {quote(','.join([*sorted(whole), *single]))}"


def _lacking(tables: Tables, asked: Sequence[Metric]) -> tuple[list[str], int]:
    """Return the tensors that lack rows of these metrics (a stack with its matrices), and how many there are."""
    stacks = {row.name for row in tables.tensors if row.kind == "stack"}
    lacking: dict[str, bool] = {}
    for row in tables.tensors:
        stack = row.name.rpartition("[")[0]
        expected = [metric.row.name for metric in asked if _has_rows(metric, row, is_expert=stack in stacks)]
        if expected:
            name = stack if stack in stacks else row.name
            lacking[name] = lacking.get(name, False) or _lacks(tables, row.name, expected)
    return [name for name, is_lacking in lacking.items() if is_lacking], len(lacking)


def _has_rows(metric: Metric, row: TensorRow, *, is_expert: bool) -> bool:
    """Check whether such a tensor has rows of a metric wherever it is compared with two earlier states."""
    if row.kind == "empty":
        return False
    return metric.concerns(row.name) and (row.kind == "matrix" if metric.matrix_only else not is_expert)


def _lacks(tables: Tables, tensor: str, metrics: Iterable[str]) -> bool:
    """Check whether the last checkpoint lacks a row of a metric that the tensor has elsewhere, or of all."""
    curves = [tables.curves.get(("tensor", tensor, metric)) for metric in metrics]
    return not any(curves) or any(curve is not None and curve.statuses[-1] is None for curve in curves)
