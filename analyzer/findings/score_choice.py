"""Choose the scores that rules compare with the weights; accuracies are converted to percentage points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analyzer.findings.curves import sane
from analyzer.model.score_names import accuracies, is_held_out, is_training, losses
from analyzer.model.tables import Tables

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

LARGEST_SHARE = 1.0  # an accuracy above it is in percent
FEWEST_CHECKPOINTS = 6  # with a score, for a trend


@dataclass(frozen=True, slots=True)
class Score:
    """A score under its name in the run; ``values`` is (checkpoints,), with accuracies in percentage points."""

    name: str
    values: FloatArray

    @property
    def words(self) -> str:
        """The name as words."""
        return self.name.replace("_", " ")


def accuracy(tables: Tables, *, trained: bool) -> Score | None:
    """Return the accuracy on the training data, or on other data.

    Returns:
        None if the run has no such accuracy, or if its values are neither shares nor percentages.
    """
    score = _first(tables, [name for name in accuracies(tables.scalars) if is_training(name) == trained])
    if score is None:
        return None
    known = score.values[np.isfinite(score.values)]
    if known.min() < 0 or known.max() > 100 * LARGEST_SHARE:
        return None
    return Score(score.name, score.values * (100 if known.max() <= LARGEST_SHARE else 1))


def loss(tables: Tables, *, trained: bool) -> Score | None:
    """Return the loss on the training data, or on held-out data; None if the run has none."""
    is_such = is_training if trained else is_held_out
    return _first(tables, [name for name in losses(tables.scalars) if is_such(name)])


def minimized(tables: Tables) -> Score | None:
    """Return the loss that training minimizes: the training loss, or one with no data set in its name."""
    return _first(tables, [name for name in losses(tables.scalars) if not is_held_out(name)])


def _first(tables: Tables, names: list[str]) -> Score | None:
    for name in names:
        values = tables.scalars[name]
        if sane(values).any():
            return Score(name, np.where(sane(values), values, np.nan))
    return None
