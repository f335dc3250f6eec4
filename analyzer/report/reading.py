"""A store's content as the tables that figures and the report are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from analyzer import statistics
from analyzer.model import score_names as scores
from analyzer.model.run import CheckpointRow, Tables
from analyzer.store.reader import Reader


def read_tables(store: Reader, run: str) -> Tables:
    """What was measured of one run, and found; :func:`with_statistics` adds what follows from it.

    Raises:
        StoreError: the store holds no such run.
    """
    checkpoints = tuple(store.checkpoints(run))
    axis, label = _axis(checkpoints)
    scalars = store.scalars(run)
    known = scores.accuracies(scalars)
    held_out, trained = (
        [name for name in known if is_such(name)] for is_such in (scores.is_held_out, scores.is_training)
    )
    if held_out and trained:
        scalars.setdefault(scores.GAP, scalars[trained[0]] - scalars[held_out[0]])
    return Tables(
        run=run,
        axis=axis,
        axis_label=label,
        checkpoints=checkpoints,
        tensors=tuple(store.tensors(run)),
        metrics=store.metrics(),
        scalars=scalars,
        curves={(curve.scope, curve.tensor, curve.metric): curve for curve in store.curves(run)},
        correlations={},
        change_pairs=(),
        findings=tuple(store.findings(run)),
    )


def with_statistics(tables: Tables) -> Tables:
    """The tables with the correlations between curves and scores."""
    found = statistics.Correlations(tables)
    pairs = statistics.change_pairs(tables, found.get(statistics.PICTURED, ()))
    return replace(tables, correlations=found, change_pairs=pairs, uncorrelated=found.left_out)


def _axis(checkpoints: Sequence[CheckpointRow]) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], str]:
    """Where the checkpoints stand: by epoch where each has its own, else by step, else one after the other."""
    for label, values in (
        ("epoch", [row.epoch for row in checkpoints]),
        ("step", [row.step for row in checkpoints]),
    ):
        known = [float(value) for value in values if value is not None]
        if len(known) == len(checkpoints) and all(np.diff(known) > 0):
            return np.array(known), label
    return np.arange(len(checkpoints), dtype=np.float64), "checkpoint (in order)"
