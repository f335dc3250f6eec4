"""Runs in which something was planted, measured, and what was found in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from builders import save_weights, weightlapse_metadata
from commands import measured

from analyzer.figures import FIGURES
from analyzer.findings import SEVERITIES, find
from analyzer.model.run import Finding
from analyzer.report.reading import read_tables
from analyzer.store.store import open_store

ALL_FAMILIES = ("motion", "size", "spectrum", "tail", "random_matrix", "subspace", "update", "pruning")
FIGURE_NAMES = {None, *(spec.name for spec in FIGURES)}
ONE_OF_MANY = re.compile(r"(?<![\d.])1 (other |more )?(layer|tensor|row|column|checkpoint|step|element|point)s\b")
SHAPES = {"fc1.weight": (40, 30), "fc1.bias": (40,), "fc2.weight": (24, 40), "out.weight": (10, 24)}
LONGEST = 700  # characters


def found_in(
    folder: Path,
    states: Sequence[Mapping[str, np.ndarray]],
    metrics: Iterable[str] | None = None,
    scores: Sequence[Mapping[str, str | None]] | None = None,
) -> list[Finding]:
    """Write a run, measure it, and give its findings; ``scores`` change the metadata of each checkpoint."""
    for epoch, weights in enumerate(states):
        metadata = weightlapse_metadata(epoch, **(scores[epoch] if scores else {}))
        save_weights(folder / f"run/epoch_{epoch}.safetensors", weights, metadata)
    measurements = measured(folder / "run", metrics=metrics)
    with open_store(measurements.path) as store:
        return checked(find(read_tables(store, "run"), store.problems("run")))


def checked(findings: list[Finding]) -> list[Finding]:
    """The same findings, each of which keeps to the form."""
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
    """The one finding of a rule."""
    (one,) = (finding for finding in findings if finding.rule == rule)
    return one


def alarming(findings: Iterable[Finding]) -> list[str]:
    """The rules of what is more than information."""
    return [finding.rule for finding in findings if finding.severity != "info"]


def name(*epochs):
    return tuple(f"epoch_{epoch}.safetensors" for epoch in epochs)


def drawn_out(states, tensor, step):
    """The states with a tensor that takes ``step(epoch) -> array`` into each epoch instead."""
    weights = states[0][tensor].astype(np.float64)
    for epoch in range(1, len(states)):
        weights = weights + step(epoch)
        states[epoch][tensor] = weights.astype(states[0][tensor].dtype)
    return states


def blown_up(states, tensor, epoch, factor):
    """The states with a matrix of rank one, ``factor`` times as large as the tensor, added from an epoch on."""
    generator = np.random.default_rng(3)
    first = states[0][tensor]
    outer = np.outer(*(generator.standard_normal(side) for side in first.shape))
    for weights in states[epoch:]:
        weights[tensor] = weights[tensor] + (factor * outer).astype(np.float32)
    return states
