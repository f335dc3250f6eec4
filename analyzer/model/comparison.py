"""Plain data of a comparison of several runs: frozen dataclasses without logic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from analyzer.model.notebook import counted, html_table
from analyzer.model.run import Finding, FloatArray, Status
from analyzer.model.tables import Tables


@dataclass(frozen=True, slots=True, repr=False)
class StoredRun:
    """A run as read from its store.

    ``name`` is unique in the comparison; ``source`` is the path of the store. ``contents`` maps checkpoint -> tensor ->
    fingerprint of its bytes. ``settings`` are those of the training, as JSON, as far as the checkpoints record them.
    """

    name: str
    source: str
    path: str
    tables: Tables
    contents: Mapping[str, Mapping[str, str]]
    settings: Mapping[str, str]

    def __repr__(self) -> str:
        return f"<StoredRun {self.name!r} of {self.source}: {counted(len(self.tables.checkpoints), 'checkpoint')}>"


@dataclass(frozen=True, slots=True)
class Group:
    """The names of runs that differ only in their seed.

    ``independent`` are the runs that count in statistics: of runs with the same bytes throughout, only the first.
    """

    name: str
    runs: tuple[str, ...]
    independent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A quantity that is compared across runs: a score, or one number about the weights of the whole network.

    ``scope`` names what it is computed over; ``scale`` is as in :class:`analyzer.figures.drawing.layer_table.Panel`.
    If ``ratio``, values are averaged and compared as logarithms: means are geometric, differences are ratios.
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
    """The mean of a group's runs, and the smallest and the largest value among them, all of shape (positions,).

    ``along`` names the unit of ``positions``: the common axis, or ``path_length``. A position at which one of the ``n``
    runs has no value is NaN, because the mean of the others would jump there.
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
    """One final value of a run, at ``checkpoint``; ``difference`` is relative to the same value of the first run."""

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

    ``difference`` is ``second_mean`` − ``first_mean``, or their ratio, as ``form`` says. ``low`` and ``high`` are its
    95 % interval; both the interval and ``p_value`` need six runs in each group.
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
    """Where one tensor of two runs that start with the same bytes first differs.

    ``place`` is the position on the common axis, None if the tensor has the same bytes throughout. ``at_least`` and
    ``at_most`` bound its distance between the two runs, in units of ‖W_0‖: by the triangle inequality, from both runs'
    distances to the shared weights. They are None where these are unknown.
    """

    tensor: str
    place: float | None
    at_least: float | None
    at_most: float | None


@dataclass(frozen=True, slots=True)
class Divergence:
    """Two runs whose tensors all have the same bytes at ``start``, their first common position.

    ``place`` is the first position on the common axis where a tensor differs, None if none ever does; ``tensors`` are
    in network order. ``at_least`` and ``at_most`` bound the distance of all weights at ``end``, the last common
    position, in units of ‖W_0‖.
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
    """A swap test over ``runs`` runs: of one group, or of all groups if ``group`` is None."""

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


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """Everything that the pages of a comparison are made from.

    ``axis_label`` names the axis on which runs are aligned. ``places`` maps a run to the positions of its checkpoints
    on the axis, shape (checkpoints,). ``common`` are the positions that all runs have, empty if they are too few to
    align by. ``ends`` maps a run to the position of its final values. ``courses`` is keyed by (run, quantity).
    ``grouped_by`` describes how the groups were formed, ``notes`` the limits of the comparison. ``answers`` are
    findings, one per question, which its rule names.
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

    def __repr__(self) -> str:
        held = f"{counted(len(self.runs), 'run')} in {counted(len(self.groups), 'group')}"
        return f"<Comparison of {held}: {counted(len(self.answers), 'answer')}>"

    def _repr_html_(self) -> str:
        group_of = {run: group.name for group in self.groups for run in group.runs}
        rows = [(run.name, group_of.get(run.name), len(run.tables.checkpoints), run.source) for run in self.runs]
        return html_table(repr(self)[1:-1], ("run", "group", "checkpoints", "store"), rows)
