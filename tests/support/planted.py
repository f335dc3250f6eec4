"""Write and measure runs in which something was planted, and return the findings."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from builders import save_weights, weightlapse_metadata
from commands import measured
from curve_tables import tables_of

from analyzer.figures import FIGURES
from analyzer.findings import SEVERITIES, find
from analyzer.model.run import Finding
from analyzer.model.tables import Tables
from analyzer.report.reading import read_tables, with_spectra
from analyzer.store.store import open_store

ALL_FAMILIES = ("motion", "size", "spectrum", "tail", "random_matrix", "subspace", "update", "pruning")
FIGURE_NAMES = {None, *(spec.name for spec in FIGURES)}
ONE_OF_MANY = re.compile(r"(?<![\d.])1 (other |more )?(layer|tensor|row|column|checkpoint|step|element|point)s\b")
SHAPES = {"fc1.weight": (40, 30), "fc1.bias": (40,), "fc2.weight": (24, 40), "out.weight": (10, 24)}
LONGEST = 700  # characters

TRAINED_SHAPES = {"fc1.weight": (20, 30), "fc2.weight": (12, 20), "out.weight": (10, 12)}
EPOCHS = 40
TIME = np.arange(EPOCHS)
LEARNED = 1 - 0.9 * np.exp(-TIME / 3)
FALLING_LOSS = 2.3 * np.exp(-TIME / 6)
DECAYING = 0.1 * np.exp(-TIME / 2) + 2e-4
STEADY = np.full(EPOCHS, 0.01)


def tables_in(
    folder: Path,
    states: Sequence[Mapping[str, np.ndarray]],
    metrics: Iterable[str] | None = None,
    scores: Sequence[Mapping[str, str | None]] | None = None,
) -> Tables:
    """Write and measure a run, and return its tables with the findings.

    ``scores`` change the metadata of each checkpoint; a state without tensors is a checkpoint that is missing.
    """
    for epoch, weights in enumerate(states):
        metadata = weightlapse_metadata(epoch, **(scores[epoch] if scores else {}))
        if weights:
            save_weights(folder / f"run/epoch_{epoch}.safetensors", weights, metadata)
    return read(measured(folder / "run", metrics=metrics).path)


def read(path: Path) -> Tables:
    """Return the tables of the run in a store, with the findings."""
    with open_store(path) as store:
        tables = with_spectra(store, read_tables(store, "run"))
    return dataclasses.replace(tables, findings=tuple(find(tables)))


def found_in(
    folder: Path,
    states: Sequence[Mapping[str, np.ndarray]],
    metrics: Iterable[str] | None = None,
    scores: Sequence[Mapping[str, str | None]] | None = None,
) -> list[Finding]:
    """Write and measure a run, and return its findings; see :func:`tables_in`."""
    found = tables_in(folder, states, metrics, scores).findings
    return checked([one for one in found if one.rule != "unusual_initialization"])  # these walks begin with N(0, 1)


def checked(findings: list[Finding]) -> list[Finding]:
    """Return the same findings, after checking the form of each."""
    assert [SEVERITIES.index(one.severity) for one in findings] == sorted(
        SEVERITIES.index(one.severity) for one in findings
    )
    for one in findings:
        json.dumps(dict(one.evidence), allow_nan=False)
        assert one.sentence.isprintable() and one.sentence.endswith("."), one.sentence
        assert len(one.sentence) < LONGEST, one.sentence
        assert "nan" not in one.sentence.lower().replace("nan or infinite", ""), one.sentence
        assert not ONE_OF_MANY.search(one.sentence), one.sentence
        assert one.figure in FIGURE_NAMES
    return findings


def only(findings: Iterable[Finding], rule: str) -> Finding:
    """Return the only finding of a rule."""
    (one,) = (finding for finding in findings if finding.rule == rule)
    return one


def alarming(findings: Iterable[Finding]) -> list[str]:
    """Return the rules of the findings that are more than information."""
    return [finding.rule for finding in findings if finding.severity != "info"]


def name(*epochs):
    """Return the names of the checkpoints of these epochs."""
    return tuple(f"epoch_{epoch}.safetensors" for epoch in epochs)


def drawn_out(states, tensor, step):
    """Return the states with a tensor that takes ``step(epoch) -> array`` into each epoch instead."""
    weights = states[0][tensor].astype(np.float64)
    for epoch in range(1, len(states)):
        weights = weights + step(epoch)
        states[epoch][tensor] = weights.astype(states[0][tensor].dtype)
    return states


def blown_up(states, tensor, epoch, factor):
    """Add a matrix of rank one, ``factor`` times as large as the tensor, from an epoch on."""
    generator = np.random.default_rng(3)
    first = states[0][tensor]
    outer = np.outer(*(generator.standard_normal(side) for side in first.shape))
    for weights in states[epoch:]:
        weights[tensor] = weights[tensor] + (factor * outer).astype(np.float32)
    return states


def walk(rates):
    """Return weights that move by ``rates[epoch]`` of their norm into each epoch, always in the same direction."""
    generator = np.random.default_rng(0)
    weights = {key: generator.standard_normal(shape) for key, shape in TRAINED_SHAPES.items()}
    ways = {key: generator.standard_normal(shape) for key, shape in TRAINED_SHAPES.items()}
    states = []
    for rate in rates:
        weights = {key: array + rate * ways[key] for key, array in weights.items()}
        states.append({key: array.astype(np.float32) for key, array in weights.items()})
    return states


def given_scores(**series):
    """Return the metadata of each checkpoint with these scores; NaN means that a checkpoint has none."""
    rows = zip(*series.values(), strict=True)
    return [
        {key: None if np.isnan(one) else repr(float(one)) for key, one in zip(series, row, strict=True)} for row in rows
    ]


def found_with(tmp_path, rates, **series):
    """Return the findings for a walk whose scores are those of a healthy run, except for the given ones."""
    given = {"train_accuracy": LEARNED, "test_accuracy": LEARNED * 0.97, "train_loss": FALLING_LOSS}
    return found_in(tmp_path, walk(rates), scores=given_scores(**{**given, "test_loss": FALLING_LOSS + 0.1, **series}))


def tables_with(
    curves: Mapping[str | tuple[str, str], Sequence[float]],
    scores: Mapping[str, Sequence[float]] | None = None,
    axis: Sequence[float] | None = None,
    **tensor,
) -> Tables:
    """Return tables of nothing but the given curves, by metric of the tensor ``w`` or by (tensor, metric).

    Curves of intervals have no value at the first checkpoint. ``tensor`` changes fields of all tensors, of which the
    matrix shape is 64 x 96 otherwise.
    """
    named = {("tensor", *(("w", key) if isinstance(key, str) else key)): row for key, row in curves.items()}
    count = len(next(iter([*(scores or {}).values(), *named.values()])))
    tables = tables_of(named, {key: np.array(row, float) for key, row in (scores or {"no score": [0] * count}).items()})
    shape = tensor.pop("shape", (64, 96))
    tensors = tuple(dataclasses.replace(row, shape=shape, matrix_shape=shape, **tensor) for row in tables.tensors)
    return dataclasses.replace(tables, tensors=tensors, axis=tables.axis if axis is None else np.array(axis, float))


def finding_of(rule, tables: Tables) -> Finding | None:
    """Return what a rule finds, after checking the form of it; None if it finds nothing."""
    findings = checked(list(rule(tables)))
    assert len(findings) <= 1
    return findings[0] if findings else None
