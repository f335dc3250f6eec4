"""Describe a run as tables, before anything is measured, and a finding as a JSON object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from analyzer.model import score_names
from analyzer.model.run import Finding, FloatArray, Run
from analyzer.model.tables import TOKENS, UNITS, CheckpointRow, StoredElements, Tables, TensorRow


def describe(run: Run, tensors: Sequence[TensorRow], elements: Mapping[str, Mapping[str, StoredElements]]) -> Tables:
    """Return the tables of a run without any measurement.

    Args:
        run: the run.
        tensors: its rows of ``tensors.csv``.
        elements: what is known of the stored elements, by checkpoint and tensor.
    """
    checkpoints = tuple(
        CheckpointRow(one.name, one.epoch, one.step, one.path, sum(stamp.size for stamp in one.files), one.tokens)
        for one in run.checkpoints
    )
    axis, label = axis_of(checkpoints)
    return Tables(
        run=run.name,
        axis=axis,
        axis_label=label,
        checkpoints=checkpoints,
        tensors=tuple(tensors),
        metrics={},
        scalars=_scalars(run),
        curves={},
        correlations={},
        change_pairs=(),
        findings=(),
        source=run,
        elements=elements,
    )


def places_in(unit: str, checkpoints: Sequence[CheckpointRow]) -> FloatArray | None:
    """Return the places of checkpoints, shape (checkpoints,), in one of :data:`UNITS`; None unless all rise."""
    if unit == TOKENS:
        values = [None if row.tokens is None else row.tokens / 1e9 for row in checkpoints]
    else:
        values = [getattr(row, unit) for row in checkpoints]
    places = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return places if np.isfinite(places).all() and (np.diff(places) > 0).all() else None


def place_text(unit: str, number: str) -> str:
    """Return ``epoch 7``, ``step 700`` or ``105 billion tokens``."""
    return f"{number} {unit}" if unit == TOKENS else f"{unit} {number}"


def finding_record(finding: Finding) -> dict[str, Any]:
    """Return a finding as a JSON object, without its figure and how it is marked there."""
    record = asdict(finding)
    del record["figure"], record["apart"]
    return record


def _scalars(run: Run) -> dict[str, FloatArray]:
    """Return each score by name, shape (checkpoints,), NaN where there is none, and the generalization gap."""
    scalars: dict[str, FloatArray] = {
        name: np.array([one.scores.get(name, np.nan) for one in run.checkpoints], dtype=np.float64)
        for name in sorted({name for one in run.checkpoints for name in one.scores})
    }
    known = score_names.accuracies(scalars)
    held_out = [name for name in known if score_names.is_held_out(name)]
    trained = [name for name in known if score_names.is_training(name)]
    if held_out and trained:
        scalars.setdefault(score_names.GAP, scalars[trained[0]] - scalars[held_out[0]])
    return scalars


def axis_of(checkpoints: Sequence[CheckpointRow]) -> tuple[FloatArray, str]:
    """Return the checkpoints' places and their unit, the first that each has its own of; else their order."""
    for label in UNITS:
        if (values := places_in(label, checkpoints)) is not None:
            return values, label
    return np.arange(len(checkpoints), dtype=np.float64), "checkpoint (in order)"
