"""Tables: what figures, findings, statistics and pages are made from, and the rows of a report's CSV files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from analyzer.model.network import depth_of, role_of
from analyzer.model.notebook import counted, html_table
from analyzer.model.run import EXPERT, Finding, FloatArray, Run, Status
from analyzer.model.spectra import SpectrumThroughTime
from analyzer.model.trajectory import NO_TRAJECTORY, Trajectory

TOKENS = "billion tokens"
UNITS = ("epoch", "step", TOKENS)  # of an axis that measures training; the first that all checkpoints have is used


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """One row of ``checkpoints.csv``, without the scores."""

    name: str
    epoch: float | None
    step: int | None
    path: str
    bytes: int
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TensorRow:
    """One row of ``tensors.csv``.

    ``kind`` is ``matrix``, ``vector``, ``scalar``, ``buffer``, ``empty`` or ``unsupported``; ``matrix_shape``
    is (rows, columns) after ``rule`` was applied, or None where the tensor has no spectrum.
    """

    name: str
    module: str
    kind: str
    shape: tuple[int, ...]
    matrix_shape: tuple[int, int] | None
    rule: str
    dtype: str

    @property
    def role(self) -> str:
        """Return the role of the tensor in the network; see :func:`analyzer.model.network.role_of`."""
        return role_of(self.name)

    @property
    def depth(self) -> int | None:
        """The number of its block, None if it is in none: see :func:`analyzer.model.network.depth_of`."""
        return depth_of(self.name)


def is_expert(row: TensorRow) -> bool:
    """Check whether a row is one matrix of a stack of experts rather than a stored tensor."""
    return row.rule.startswith(EXPERT)


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One row of ``metrics.csv``."""

    name: str
    family: str
    unit: str
    definition: str
    source: str
    version: int


@dataclass(frozen=True, slots=True, repr=False)
class Curve:
    """One metric of one tensor (or aggregate) over all checkpoints of a run.

    ``values`` has shape (checkpoints,), float64, NaN where there is no value; ``statuses`` and ``references``
    run alongside, None where the metric has no row for that checkpoint. ``axis`` (checkpoints,) places the checkpoints,
    in the unit ``axis_label``; it is empty for a curve that was not read from a store.
    """

    scope: str
    tensor: str
    metric: str
    values: FloatArray
    statuses: tuple[Status | None, ...]
    references: tuple[str | None, ...]
    axis: FloatArray = field(default_factory=lambda: np.empty(0))
    axis_label: str = ""

    def __repr__(self) -> str:
        known = [float(value) for value in self.values if value == value]
        extent = f", from {known[0]:.6g} to {known[-1]:.6g}" if known else ""
        of = f"{self.metric!r} of {self.tensor or self.scope!r}"
        return f"<Curve {of}: {counted(len(known), 'value')} at {counted(len(self.values), 'checkpoint')}{extent}>"

    def _repr_html_(self) -> str:
        places = self.axis if len(self.axis) else np.arange(len(self.values))
        rows = [
            (float(place), None if value != value else float(value), status)
            for place, value, status in zip(places, self.values, self.statuses, strict=True)
        ]
        return html_table(repr(self)[1:-1], (self.axis_label or "checkpoint", "value", "status"), rows)


@dataclass(frozen=True, slots=True)
class Correlation:
    """One row of ``correlations.csv``; docs/metrics.md, "Statistics of curves", defines the fields.

    ``autocorrelations`` are the lag-1 autocorrelations r₁ (score) and r₂ (metric) that ``n_effective`` rests on; they
    are shown with it, but are not columns of the table. ``power_05`` and ``power_07`` are the probabilities that a
    correlation of 0.5 or 0.7 would have had a p-value below 5 %; there are none without a p-value.
    """

    scope: str
    tensor: str
    metric: str
    scalar: str
    transform: str
    lag: int
    method: str
    coefficient: float | None
    low: float | None
    high: float | None
    n: int
    n_effective: float | None
    p_value: float | None
    q_value: float | None
    status: Status
    autocorrelations: tuple[float, float] | None = None
    power_05: float | None = None
    power_07: float | None = None


REMOVED = " removed"  # the end of the transform of a pair whose trend is removed


def is_tested(row: Correlation) -> bool:
    """Return whether a row is of a stationary pair at lag 0; such rows have a p-value given enough checkpoints."""
    return row.lag == 0 and row.transform.endswith(REMOVED)


@dataclass(frozen=True, slots=True)
class ChangePair:
    """The classic picture for one scalar: z-scored accuracy differences and z-scored mean step distances.

    ``positions`` (n,) are places on the run's axis; ``score_change`` and ``weight_change`` (n,) are z-scores.
    ``coefficient`` is Pearson's r of the two, a description only, None where ``status`` is not ``ok``.
    ``stationary`` is the row that may carry a p-value: the same two as differences without trend.
    """

    scalar: str
    positions: FloatArray
    score_change: FloatArray
    weight_change: FloatArray
    coefficient: float | None
    n: int
    status: Status
    stationary: Correlation | None = None


@dataclass(frozen=True, slots=True)
class StoredElements:
    """The facts about a tensor's stored elements at one checkpoint, None where unknown.

    ``digest`` is the hash of their bytes, ``nonfinite`` how many are NaN or infinite, and ``nan`` how many of these are
    NaN. ``is_finite`` says whether all are finite where they were not counted. ``is_constant`` says that all elements
    are equal. Of a tensor that is stored as a product, ``bad_factors`` are
    the factors that are not finite themselves, ``zero_factors`` those that are zero throughout.
    """

    digest: str | None = None
    nonfinite: int | None = None
    nan: int | None = None
    bad_factors: tuple[str, ...] = ()
    is_constant: bool | None = None
    zero_factors: tuple[str, ...] = ()
    is_finite: bool | None = None

    @property
    def has_nonfinite(self) -> bool:
        """Check whether some element is known to be NaN or infinite."""
        return bool(self.nonfinite) or self.is_finite is False

    @property
    def may_have_nan(self) -> bool:
        """Check whether some element is NaN, or not finite and perhaps NaN."""
        return bool(self.nan) or (self.nan is None and self.has_nonfinite)


Problem = tuple[str, str, str, str]  # (checkpoint, tensor, metric, reason); no metric: the tensor cannot be read
NO_RUN = Run("", "", "", "", ())


@dataclass(frozen=True, slots=True, repr=False)
class Tables:
    """All that a figure may draw of one run: plain arrays, read from the store.

    ``axis`` (checkpoints,) places each checkpoint on the horizontal axis that ``axis_label`` names (one of
    :data:`UNITS`, or the order). ``scalars`` maps a score's name to its values, shape (checkpoints,), NaN where absent.
    ``curves`` is keyed by (scope, tensor, metric); the tensor is empty for the scopes ``total`` and ``mean``.
    ``correlations`` maps a metric to its rows; of the metrics ``uncorrelated`` the tensors were too many to be related.
    ``explained`` are tensors of which nothing more is to be said, and which are counted nevertheless.

    ``source`` is the run as it was opened; from a store it lacks where the tensors' bytes are. ``elements`` maps
    checkpoint -> tensor -> what is known of the stored elements. ``twins`` maps a checkpoint without a place to the one
    that has the same weights, or to None; it is None itself where they were not compared. ``fits`` says of a suspected
    (checkpoint, tensor) whether the tensor lies between those of the neighboring checkpoints, where that was measured.
    ``trajectory`` is empty if no steps were sketched. ``spectra`` maps a matrix to its singular values; it is empty
    where no report is made.
    """

    run: str
    axis: FloatArray
    axis_label: str
    checkpoints: tuple[CheckpointRow, ...]
    tensors: tuple[TensorRow, ...]
    metrics: Mapping[str, MetricRow]
    scalars: Mapping[str, FloatArray]
    curves: Mapping[tuple[str, str, str], Curve]
    correlations: Mapping[str, Sequence[Correlation]]
    change_pairs: tuple[ChangePair, ...]
    findings: tuple[Finding, ...]
    uncorrelated: tuple[str, ...] = ()
    explained: tuple[TensorRow, ...] = ()
    source: Run = NO_RUN
    elements: Mapping[str, Mapping[str, StoredElements]] = field(default_factory=dict)
    twins: Mapping[str, str | None] | None = None
    problems: tuple[Problem, ...] = ()
    fits: Mapping[tuple[str, str], bool] = field(default_factory=dict)
    trajectory: Trajectory = NO_TRAJECTORY
    spectra: Mapping[str, SpectrumThroughTime] = field(default_factory=dict)

    def __repr__(self) -> str:
        held = f"{counted(len(self.checkpoints), 'checkpoint')}, {counted(len(self.curves), 'curve')}"
        return f"<Tables of {self.run!r}: {held}, {counted(len(self.findings), 'finding')}>"
