"""Plain data of a comparison of several runs: frozen dataclasses without logic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from analyzer.model.run import Finding, Status, Tables

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as its store has it.

    ``name`` is unique in the comparison; ``source`` is the store's path. ``contents`` maps checkpoint -> tensor ->
    fingerprint of its bytes; ``settings`` are the training's, as JSON, as far as the checkpoints tell them.
    """

    name: str
    source: str
    path: str
    tables: Tables
    contents: Mapping[str, Mapping[str, str]]
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ in nothing but the seed, by name.

    ``independent`` are those that count in statistics: of runs with the same bytes throughout, the first one.
    """

    name: str
    runs: tuple[str, ...]
    independent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is followed through all runs: a score, or one number for the weights of the whole network.

    ``scope`` says what it is taken over; ``scale`` is as in :class:`analyzer.figures.layers.Panel`. Where ``ratio``,
    values are averaged and compared as logarithms: means are geometric, differences are ratios.
    """

    name: str
    title: str
    unit: str
    scope: str
    scale: Literal["linear", "log", "positive"]
    ratio: bool
    is_score: bool


@dataclass(frozen=True, slots=True)
class Course:
    """One quantity of one run at each of its checkpoints: values (checkpoints,), NaN without one, and statuses."""

    values: FloatArray
    statuses: tuple[Status, ...]


@dataclass(frozen=True, slots=True)
class Band:
    """The mean of a group's runs, and the least and the largest value among them, all of shape (positions,).

    ``along`` names what ``positions`` count: the common axis, or ``path_length``. A place at which one of the ``n``
    runs has no value is NaN: the mean of the others would jump there.
    """

    group: str
    quantity: str
    along: str
    positions: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    n: int


@dataclass(frozen=True, slots=True)
class FinalValue:
    """One number of a run at ``checkpoint``, where it ended; ``difference`` is to the same of the first run."""

    run: str
    group: str
    checkpoint: str
    scope: str
    tensor: str
    quantity: str
    value: float | None
    status: Status
    difference: float | None


@dataclass(frozen=True, slots=True)
class GroupDifference:
    """How ``second`` differs from ``first`` in a quantity at the end.

    ``difference`` is ``second_mean`` − ``first_mean``, or their ratio where ``form`` says so; ``low`` and ``high``
    are its 95 % interval, from six runs in each group on, as is ``p_value``.
    """

    quantity: str
    first: str
    second: str
    first_n: int
    second_n: int
    first_mean: float | None
    second_mean: float | None
    form: Literal["difference", "ratio"]
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    q_value: float | None
    status: Status


@dataclass(frozen=True, slots=True)
class TensorDivergence:
    """Where one tensor of two runs that start with the same bytes first has other bytes.

    ``place`` is where on the common axis, None where it has the same bytes throughout. Its distance in the two runs,
    in units of ‖W_0‖, lies between ``at_least`` and ``at_most``: by the triangle inequality, from both runs' distances
    to the weights that they share. None where those are not known.
    """

    tensor: str
    place: float | None
    at_least: float | None
    at_most: float | None


@dataclass(frozen=True, slots=True)
class Divergence:
    """Two runs that share their initial weights, all tensors with the same bytes at ``start``, the first place of both.

    ``place`` is the first place on the common axis where a tensor differs, None where none ever does; ``tensors`` are
    in network order. ``at_least`` and ``at_most`` bound the distance of all weights at ``end``, the last place that
    both have, in units of ‖W_0‖.
    """

    first: str
    second: str
    start: float
    place: float | None
    end: float
    tensors: tuple[TensorDivergence, ...]
    at_least: float | None
    at_most: float | None


@dataclass(frozen=True, slots=True)
class SwapRow:
    """A swap test over ``runs`` runs: of one group, or of all where ``group`` is None."""

    group: str | None
    score: str
    quantity: str
    coefficient: float | None
    unmatched: float | None
    rank: int | None
    arrangements: int
    p_value: float | None
    q_value: float | None
    runs: int
    n: int
    status: Status


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that the pages of a comparison are made from.

    ``axis_label`` names the axis on which runs are aligned; ``places`` gives each run's checkpoints on it, shape
    (checkpoints,); ``common`` those that all runs have, none where they are too few to align runs by. ``ends`` are the
    places, one of each run, of its final values. ``courses`` is keyed by (run, quantity). ``grouped_by`` says what the
    groups rest on, ``notes`` what a reader must know of this comparison. ``answers`` are findings, each about one
    question that its rule names.
    """

    runs: tuple[StoredRun, ...]
    groups: tuple[Group, ...]
    grouped_by: str
    axis_label: str
    places: Mapping[str, FloatArray]
    common: FloatArray
    ends: Mapping[str, float]
    quantities: tuple[Quantity, ...]
    courses: Mapping[tuple[str, str], Course]
    bands: tuple[Band, ...] = ()
    finals: tuple[FinalValue, ...] = ()
    differences: tuple[GroupDifference, ...] = ()
    divergences: tuple[Divergence, ...] = ()
    swaps: tuple[SwapRow, ...] = ()
    notes: tuple[str, ...] = ()
    answers: tuple[Finding, ...] = ()
