"""Choose the scores that rules compare with the weights; accuracies are converted to percentage points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analyzer.findings.curves import sane
from analyzer.model.score_names import accuracies, is_held_out, is_training, losses
from analyzer.model.tables import Tables

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

LARGEST_SHARE = 1.0  # an accuracy that is mostly above it is in percent
ROUNDING = 1e-3  # percentage points beyond 0 and 100 %
SLIGHTLY = 1.0  # percentage points beyond 0 and 100 % that are no warning
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
    """Return the accuracy on the training data, or on other data, without values that no accuracy can have.

    Returns:
        None if the run has no such accuracy.
    """
    score = _first(tables, [name for name in accuracies(tables.scalars) if is_training(name) == trained])
    if score is None:
        return None
    points = score.values * (1 if is_percentage(tables, score.name) else 100)
    points = np.where(_is_possible(points), points, np.nan)
    return Score(score.name, points) if np.isfinite(points).any() else None


def impossible(tables: Tables) -> dict[str, npt.NDArray[np.intp]]:
    """Return by accuracy the positions of the values that are below 0 or above 100 %, if there are any."""
    found = {}
    for name in accuracies(tables.scalars):
        values = tables.scalars[name]
        points = values * (1 if is_percentage(tables, name) else 100)
        places = np.flatnonzero(np.isfinite(values) & ~_is_possible(points))
        if len(places):
            found[name] = places
    return found


def is_slight(tables: Tables, name: str, places: npt.NDArray[np.intp]) -> bool:
    """Check whether an accuracy is below 0 or above 100 % by less than `SLIGHTLY` at all of these positions."""
    points = tables.scalars[name][places] * (1 if is_percentage(tables, name) else 100)
    return bool(((points > -SLIGHTLY) & (points < 100 + SLIGHTLY)).all())


def is_percentage(tables: Tables, name: str) -> bool:
    """Check whether an accuracy is recorded in percent: most of its values are above 1, or it goes with one like that.

    A network at chance may have less than 1 % correct, so another accuracy in percent decides, unless the two begin
    with a ratio of about 100.
    """
    own = tables.scalars[name]
    if _mostly_above_one(own):
        return True
    for other in accuracies(tables.scalars):
        percentages = tables.scalars[other]
        if _mostly_above_one(percentages):
            common = np.flatnonzero(sane(own) & sane(percentages))
            first = int(common[0]) if len(common) else 0
            return not 50 * abs(own[first]) < abs(percentages[first]) < 200 * abs(own[first])
    return False


def _mostly_above_one(values: FloatArray) -> bool:
    known = values[np.isfinite(values)]
    return bool(len(known)) and bool(np.median(known) > LARGEST_SHARE)


def _is_possible(points: FloatArray) -> npt.NDArray[np.bool_]:
    """Return a mask of the accuracies (in percentage points) from 0 to 100, with some room for rounding."""
    possible: npt.NDArray[np.bool_] = (points >= -ROUNDING) & (points <= 100 + ROUNDING)
    return possible


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
