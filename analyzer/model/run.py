"""Plain, immutable data that flows through the analyzer; what occurs by the million is a named tuple.

A layout turns a folder into a :class:`Run`; the engine turns a run into :class:`Measurement` rows in a store;
figures and the report are drawn from :class:`Tables`, which are read back from the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from analyzer.model.notebook import counted, html_table

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    import numpy.typing as npt

# In quotes: numpy is not loaded for the help of the command line.
Array: TypeAlias = "npt.NDArray[Any]"
BoolArray: TypeAlias = "npt.NDArray[np.bool_]"
ByteArray: TypeAlias = "npt.NDArray[np.uint8]"
FloatArray: TypeAlias = "npt.NDArray[np.float64]"
IntArray: TypeAlias = "npt.NDArray[np.integer[Any]]"

# The worst first: what is computed from several values has the worst of their statuses.
Status = Literal[
    "nonfinite",
    "error",
    "missing",
    "unsupported",
    "not_converged",
    "singular",
    "too_few",
    "undefined",
    "below_precision",
    "precision_limited",
    "ok",
]
EXPERT = "expert "  # begins the rule of one matrix of a stack
PRODUCT = "scale · B · A"  # the rule of a matrix that is stored as two factors
STATUSES_WITH_VALUE: frozenset[Status] = frozenset({"ok", "below_precision", "precision_limited"})

Severity = Literal["info", "notice", "warning", "serious"]
NEED_ATTENTION: frozenset[Severity] = frozenset({"warning", "serious"})


@dataclass(frozen=True, slots=True)
class Checksum:
    """The checksum that an archive keeps of an entry, whose ``length`` bytes begin at ``offset`` in the file.

    ``crc32`` is that of the inflated bytes where they are ``deflated``. It continues from ``seed``, the CRC-32 of the
    entry's bytes before ``offset``.
    """

    entry: str
    offset: int
    length: int
    crc32: int
    seed: int = 0
    deflated: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A range of bytes in a file that contains a tensor, or a box of it.

    ``start`` and ``shape`` place the box in the tensor, None for all of it. ``strides`` (in elements, the first at
    ``offset``) describe the order of the box's elements, None for row-major. Where ``inflated`` is given, the range is
    a raw deflate stream, and (skip, take) select from what it inflates to. ``checksum`` is that of the archive entry
    that contains the range, None where there is none.
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
    """Where a tensor's bytes are and how they are to be read.

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
    """``scale`` · left · right, of shapes (rows, r) and (r, columns), its elements in row-major order.

    ``is_scale_assumed`` says that the checkpoint does not state the scale, so that it was taken to be 1.
    """

    left: TensorInfo
    right: TensorInfo
    scale: float
    is_scale_assumed: bool = False


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


@dataclass(frozen=True, slots=True, repr=False)
class Checkpoint:
    """One saved state of the weights: ``name`` is its file's or folder's name, unique within the run.

    ``tokens`` is how many the training had seen. ``settings`` are the training's, as far as the checkpoint itself tells
    them; values are JSON.
    """

    name: str
    path: str
    epoch: float | None
    step: int | None
    scores: Mapping[str, float]
    tensors: Mapping[str, TensorInfo]
    files: tuple[FileStamp, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    tokens: int | None = None

    def __repr__(self) -> str:
        return (
            f"<Checkpoint {self.name!r}: epoch {self.epoch}, step {self.step}, {counted(len(self.tensors), 'tensor')}>"
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence about a run with the evidence for it.

    ``checkpoints`` are single ones if ``apart``; otherwise the finding is about all from the first to the last of them.
    """

    rule: str
    severity: Severity
    sentence: str
    tensor: str | None = None
    checkpoints: tuple[str, ...] = ()
    evidence: Mapping[str, object] = field(default_factory=dict)
    figure: str | None = None
    apart: bool = False

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names of the tensors that the finding is about."""
        named = self.evidence.get("tensors")
        if isinstance(named, list) and all(isinstance(name, str) for name in named):
            return tuple(named)
        return () if self.tensor is None else (self.tensor,)


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """An ordered series of checkpoints, and what was noticed while it was put in order.

    ``score_files`` are the names of the files that are searched for scores; ``unread_tables`` are tables in the same
    folder that are not. ``unplaced`` are checkpoints that were left out because nothing tells their place.
    ``is_partial`` marks a run of which only some tensors were selected.
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
    is_partial: bool = False

    def __repr__(self) -> str:
        tensors = {name for one in self.checkpoints for name in one.tensors}
        held = f"{counted(len(self.checkpoints), 'checkpoint')}, {counted(len(tensors), 'tensor')}"
        return f"<Run {self.name!r}: {held}, read as {self.layout}, ordered by {self.ordered_by}>"

    def _repr_html_(self) -> str:
        scores = sorted({name for one in self.checkpoints for name in one.scores})
        rows = [(one.name, one.epoch, one.step, *map(one.scores.get, scores)) for one in self.checkpoints]
        return html_table(repr(self)[1:-1], ("checkpoint", "epoch", "step", *scores), rows)


class Value(NamedTuple):
    """A metric's result. ``value`` is None unless the status is one of :data:`STATUSES_WITH_VALUE`.

    ``bound`` bounds the relative error where it is more than plain rounding.
    """

    value: float | None
    status: Status = "ok"
    bound: float | None = None


UNDEFINED = Value(None, "undefined")


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
