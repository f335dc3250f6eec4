"""Sentences about what happened to the weights, each with its evidence. Rules state their threshold and its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from analyzer.names import listed, printable
from analyzer.run import Curve, Finding, Tables

SEVERITIES = ("serious", "warning", "notice", "info")


def find(tables: Tables, problems: Sequence[tuple[str, str, str, str]]) -> list[Finding]:
    """What the measurements say.

    Args:
        tables: one run.
        problems: (checkpoint, tensor, metric, reason) of whatever could not be measured.
    """
    found = [*_failed(problems), *_nonfinite(tables), *_singular(tables), *_frozen(tables), *_hidden(tables)]
    return by_severity(found)


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """The most serious first; otherwise in the order given."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def _failed(problems: Sequence[tuple[str, str, str, str]]) -> Iterator[Finding]:
    """One sentence for each reason why something could not be measured."""
    by_reason: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for checkpoint, tensor, metric, reason in problems:
        by_reason.setdefault((metric, reason), []).append((checkpoint, tensor))
    for (metric, reason), places in by_reason.items():
        tensors = list(dict.fromkeys(tensor for _, tensor in places))
        checkpoints = tuple(dict.fromkeys(checkpoint for checkpoint, _ in places))
        what = f"{metric} of {listed(tensors)}" if metric else listed(tensors)
        yield Finding(
            "not_measured",
            "serious",
            f"{what} could not be measured in {listed(checkpoints)}: {printable(reason)}",
            tensor=tensors[0] if len(tensors) == 1 else None,
            checkpoints=checkpoints,
            evidence={"metric": metric or "all", "tensors": tensors, "reason": reason},
        )


def _nonfinite(tables: Tables) -> Iterator[Finding]:
    """NaN or Inf anywhere: nothing that is computed from such a tensor means anything."""
    for curve in _curves(tables, "nonfinite_count"):
        where = [position for position, count in enumerate(curve.values) if count > 0]
        if where:
            first = tables.checkpoints[where[0]].name
            yield Finding(
                "nonfinite_weights",
                "serious",
                f"{listed([curve.tensor])} holds {curve.values[where[0]]:.0f} NaN or infinite elements in "
                f"{printable(first)}"
                + (f" and such elements in {len(where) - 1} later checkpoints." if len(where) > 1 else " only.")
                + " Look at the learning rate, the loss scale and the data of the steps before it.",
                tensor=curve.tensor,
                checkpoints=tuple(tables.checkpoints[position].name for position in where),
                evidence={"count": float(curve.values[where[0]])},
                figure="step_distance",
            )


def _singular(tables: Tables) -> Iterator[Finding]:
    """Matrices whose smallest singular value is nothing but rounding: no condition number exists."""
    for curve in _curves(tables, "condition_number"):
        where = [position for position, status in enumerate(curve.statuses) if status == "singular"]
        if where:
            names = tuple(tables.checkpoints[position].name for position in where)
            yield Finding(
                "singular_matrix",
                "notice",
                f"{listed([curve.tensor])} is singular in {listed(names)}: some directions are lost entirely, and the "
                "condition number does not exist. Dead rows or columns are a common cause.",
                tensor=curve.tensor,
                checkpoints=names,
                evidence={"checkpoints": len(names)},
                figure="condition_number",
            )


def _frozen(tables: Tables) -> Iterator[Finding]:
    """Tensors whose stored bits did not change at all over one or more intervals (no threshold: exactly equal)."""
    for curve in _curves(tables, "changed_fraction"):
        changes = curve.values[np.isfinite(curve.values)]
        still = [position for position, value in enumerate(curve.values) if value == 0]
        if not still:
            continue
        start = curve.references[still[0]]
        end = tables.checkpoints[still[-1]].name
        always = len(still) == len(changes)
        yield Finding(
            "frozen_tensor",
            "notice",
            f"{listed([curve.tensor])} did not change in a single bit "
            + (
                f"from {printable(str(start))} to {printable(end)}, the whole run: it was frozen or left out of the "
                "optimiser."
                if always
                else f"in {len(still)} of {len(changes)} intervals, the first of them from {printable(str(start))} on."
            ),
            tensor=curve.tensor,
            checkpoints=tuple(tables.checkpoints[position].name for position in still),
            evidence={"intervals": len(still), "of": len(changes)},
            figure="step_distance",
        )


def _hidden(tables: Tables) -> Iterator[Finding]:
    """Motion below six times the displacement that storage rounding alone brings about (METRICS "Storage rounding")."""
    hidden = []
    for curve in _curves(tables, "step_distance"):
        count = sum(
            status == "below_precision" and bool(value > 0)
            for status, value in zip(curve.statuses, curve.values, strict=True)
        )
        if count:
            hidden.append((curve.tensor, count))
    if hidden:
        names = [name for name, _ in hidden]
        yield Finding(
            "motion_below_precision",
            "notice",
            f"Some steps of {listed(names)} are smaller than what rounding to the stored precision can show. Their "
            "numbers are those of the stored weights; store finer weights to see the true ones.",
            tensor=names[0] if len(names) == 1 else None,
            evidence={"steps": dict(hidden)},
            figure="step_distance",
        )


def _curves(tables: Tables, metric: str) -> Iterator[Curve]:
    return (curve for (scope, _, name), curve in tables.curves.items() if scope == "tensor" and name == metric)
