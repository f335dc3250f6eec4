"""Notes on what limits a comparison: how runs are matched, runs that count once, gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analyzer.comparing.aligning import IN_ORDER
from analyzer.comparing.answers.wording import different_ends, shared_tensors
from analyzer.model.comparison import Comparison
from analyzer.model.names import listed
from analyzer.model.tables import TOKENS

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray


def notes(comparison: Comparison) -> tuple[str, ...]:
    """Return one sentence for each limit of the comparison."""
    shared = shared_tensors(comparison)
    found = [f"{shared}, so the sizes of their motion and of their spectra are not comparable."] if shared else []
    if comparison.axis_label == IN_ORDER:
        found.append(
            "Neither epochs, steps nor tokens are known in all runs, so checkpoints are matched in order, which does "
            "not reflect how long a run was trained; final values are from each run’s last checkpoint."
        )
    elif not len(comparison.common):
        shared_places = "numbers of tokens" if comparison.axis_label == TOKENS else f"{comparison.axis_label}s"
        found.append(
            f"The runs have too few {shared_places} in common: each curve is drawn at its own, and final "
            "values are from each run’s last checkpoint, so the trainings may differ in length."
        )
    if ends := different_ends(comparison):
        found.append(ends)
    gapped = [name for name, places in comparison.places.items() if np.setdiff1d(_expected(comparison), places).size]
    if gapped:
        found.append(
            f"{listed(gapped)} {'lacks' if len(gapped) == 1 else 'lack'} checkpoints that other runs have: a path "
            "length across a gap is too small, and the swap test uses the checkpoints that all runs have."
        )
    copies = [run for group in comparison.groups for run in group.runs if run not in group.independent]
    if copies:
        found.append(f"{listed(copies)}: identical bytes throughout to an earlier run, so not counted again.")
    return tuple(found)


def _expected(comparison: Comparison) -> FloatArray:
    """Return every position up to the last common one that any run has."""
    every = np.unique(np.concatenate(list(comparison.places.values())))
    return np.asarray(every[every <= max(comparison.common, default=-np.inf)])
