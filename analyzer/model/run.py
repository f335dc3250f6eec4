"""What flows through the analyzer: plain data without logic, never changed; what comes by the million, as named tuples.

A layout turns a folder into a :class:`Run`; the engine turns a run into :class:`Measurement` rows in a store;
figures and the report are drawn from :class:`Tables`, which are read back from the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

Status = Literal[
    "ok",
    "below_precision",
    "precision_limited",
    "singular",
    "undefined",
    "nonfinite",
    "missing",
    "too_few",
    "unsupported",
    "not_converged",
    "error",
]
PRODUCT = "scale · B · A"  # the rule of a matrix that is stored as two factors
STATUSES_WITH_VALUE: frozenset[Status] = frozenset({"ok", "below_precision", "precision_limited"})

Severity = Literal["info", "notice", "warning", "serious"]
NEED_ATTENTION: frozenset[Severity] = frozenset({"warning", "serious"})


@dataclass(frozen=True, slots=True)
class Checksum:
    """What an archive's directory says of an entry's bytes, ``length`` in the file from ``offset`` on.

    ``crc32`` is that of what they inflate to where they are ``deflated``; it is begun with ``seed``, the CRC-32 of
    those of the entry's bytes that stand before ``offset``.
    """

    entry: str
    offset: int
    length: int
    crc32: int
    seed: int = 0
    deflated: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A range of bytes in a file that holds a tensor, or a box of it.

    ``start`` and ``shape`` place the box in the tensor, None for the whole of it. ``strides`` (in elements, the first
    at ``offset``) tell how the box lies in the range, None for row-major. Where ``inflated`` is given, the range is a
    raw deflate stream, and (skip, take) are the bytes of what it inflates to. ``checksum`` is that of the archive's
    entry that the range lies in, None where there is none.
    """

    path: str
    offset: int
    length: int
    start: tuple[int, ...] | None = None
    shape: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None
    inflated: tuple[int, int] | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies and how its bytes are to be read.

    ``dtype`` is a numpy (or ml-dtypes) name such as ``float32`` or ``bfloat16``; ``big_endian`` says that elements are
    stored the other way round. ``unsupported`` gives the reason why a tensor is listed but not measured. A tensor with
    a ``product`` has no parts of its own: it is the product of two that are stored, as an adapter's update is.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]
    unsupported: str | None = None
    big_endian: bool = False
    product: Product | None = None


@dataclass(frozen=True, slots=True)
class Product:
    """``scale`` · left · right, of shapes (rows, r) and (r, columns), its elements in row-major order."""

    left: TensorInfo
    right: TensorInfo
    scale: float


@dataclass(frozen=True, slots=True)
class FileStamp:
    """A file as it was when it was indexed: enough to notice that it was replaced.

    ``modified_ns`` is 0 where a server does not tell; ``etag`` is a server's mark of the content, empty where there is
    none.
    """

    path: str
    size: int
    modified_ns: int
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One saved state of the weights: ``name`` is its file's or folder's name, unique within the run.

    ``settings`` are the training's, as far as the checkpoint itself tells them; values are JSON.
    """

    name: str
    path: str
    epoch: float | None
    step: int | None
    scores: Mapping[str, float]
    tensors: Mapping[str, TensorInfo]
    files: tuple[FileStamp, ...]
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence about a run with the evidence for it."""

    rule: str
    severity: Severity
    sentence: str
    tensor: str | None = None
    checkpoints: tuple[str, ...] = ()
    evidence: Mapping[str, object] = field(default_factory=dict)
    figure: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """An ordered series of checkpoints, and what was noticed while it was put in order.

    ``score_files`` are the names of the files beside the checkpoints that were searched for scores, whether they exist
    or not. ``unplaced`` are checkpoints that were left out because nothing states their place. ``unread_tables`` are
    the names of .csv and .jsonl files beside the checkpoints that were not read for scores.
    """

    name: str
    path: str
    layout: str
    ordered_by: str
    checkpoints: tuple[Checkpoint, ...]
    findings: tuple[Finding, ...] = ()
    score_files: tuple[str, ...] = ()
    unplaced: tuple[Checkpoint, ...] = ()
    unread_tables: tuple[str, ...] = ()


class Value(NamedTuple):
    """A metric's result. ``value`` is None unless the status is one of :data:`STATUSES_WITH_VALUE`.

    ``bound`` bounds the relative error where it is more than plain rounding.
    """

    value: float | None
    status: Status = "ok"
    bound: float | None = None


class Measurement(NamedTuple):
    """One row of ``measurements.csv``; ``reference`` names the checkpoint that the row compares with."""

    checkpoint: str
    scope: str
    tensor: str
    metric: str
    value: float | None
    bound: float | None
    status: Status
    reference: str | None


# ------------------------------------------------------------------------ tables: what figures are drawn from


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """One row of ``checkpoints.csv``, without the scores."""

    name: str
    epoch: float | None
    step: int | None
    path: str
    bytes: int


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


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One row of ``metrics.csv``."""

    name: str
    family: str
    unit: str
    definition: str
    source: str
    version: int


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric of one tensor (or aggregate) over all checkpoints of a run.

    ``values`` has shape (checkpoints,), float64, NaN where there is no value; ``statuses`` and ``references``
    run alongside, None where the metric has no row for that checkpoint.
    """

    scope: str
    tensor: str
    metric: str
    values: FloatArray
    statuses: tuple[Status | None, ...]
    references: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Correlation:
    """One row of ``correlations.csv``; METRICS "Statistics of curves" defines the fields.

    ``autocorrelations`` are the lag-1 autocorrelations r₁ (score) and r₂ (metric) that ``n_effective`` rests on; they
    are shown beside it, but are no columns of the table.
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


@dataclass(frozen=True, slots=True)
class ChangePair:
    """The classic picture for one scalar: z-scored accuracy differences beside z-scored mean step distances.

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
class Tables:
    """All that a figure may draw of one run: plain arrays, read from the store.

    ``axis`` (checkpoints,) places each checkpoint on the horizontal axis that ``axis_label`` names (epoch, step or
    position). ``scalars`` maps a score's name to its values, shape (checkpoints,), NaN where absent. ``curves`` is
    keyed by (scope, tensor, metric); for the scopes ``total`` and ``mean`` the tensor is the empty string.
    ``correlations`` maps a metric to its rows; of the metrics ``uncorrelated`` the tensors were too many to be related.
    ``explained`` are tensors of which nothing more is to be said, and which are counted nevertheless.
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
