"""Infer from the statuses of metrics which states of a tensor are finite, where their elements were not counted."""

from __future__ import annotations

from collections.abc import Collection

from analyzer.model.tables import Tables

PROOF = frozenset({"ok", "below_precision", "precision_limited", "singular"})  # of a value, or that W has a spectrum
FAMILIES = frozenset({"motion", "size", "spectrum", "tail", "random_matrix", "subspace", "update", "pruning"})
# Defined for NaN as well, or, of a path, 0 at its start whatever the weights are.
NO_PROOF = frozenset({"changed_fraction", "nonfinite_count", "unmoved_row_count", "path_length"})


def finite_states(tables: Tables, tensors: Collection[str]) -> dict[tuple[str, int], bool]:
    """Return whether the state of each of these tensors is finite, by tensor and position, where something tells it.

    A metric that has a value proves that the state, and the one that it is compared with, are finite. Of the others,
    those with a metric of status ``nonfinite`` are not.
    """
    positions = {row.name: position for position, row in enumerate(tables.checkpoints)}
    found: dict[tuple[str, int], bool] = {}
    for (scope, tensor, metric), curve in tables.curves.items():
        if scope != "tensor" or tensor not in tensors or metric in NO_PROOF:
            continue
        row = tables.metrics.get(metric)
        if row is None or row.family not in FAMILIES:  # a metric of the user's own may be defined for NaN
            continue
        for position, (status, reference) in enumerate(zip(curve.statuses, curve.references, strict=True)):
            if status in PROOF:
                found[tensor, position] = True
                found[tensor, positions.get(reference or "", position)] = True
            elif status == "nonfinite":
                found.setdefault((tensor, position), False)
    return found
