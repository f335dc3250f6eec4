"""What rows there are of a tensor, and what their values rest on: the bytes and the code, as a digest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

from analyzer.holding import ROLES
from analyzer.metrics.registry import Metric
from analyzer.run import Checkpoint, Run, TensorInfo
from analyzer.tensors import kind, matrices, stored_parts


def expected_bases(run: Run, name: str, metrics: Sequence[Metric]) -> Iterator[tuple[int, str, str]]:
    """Every row that there should be of a tensor: (checkpoint position, metric, what its value rests on)."""
    for position, roles in places(run.checkpoints, name):
        bases = Bases(run.checkpoints, name, roles)
        for metric in applicable(metrics, run.checkpoints[position].tensors.get(name), roles):
            yield position, metric.row.name, bases.of(metric)


def places(checkpoints: Sequence[Checkpoint], name: str) -> Iterator[tuple[int, dict[str, int]]]:
    """Each checkpoint from the tensor's first appearance on, with the checkpoints that play a part for it, by role."""
    earlier: list[int] = []  # those that have the tensor
    for position, checkpoint in enumerate(checkpoints):
        present = name in checkpoint.tensors
        if present or earlier:
            roles = {"current": position, "initial": earlier[0] if earlier else position}
            roles |= dict(zip(("previous", "before_previous"), reversed(earlier[-2:]), strict=False))
            yield position, roles
        if present:
            earlier.append(position)


def applicable(metrics: Sequence[Metric], info: TensorInfo | None, roles: Mapping[str, int]) -> list[Metric]:
    """The metrics that have a row at all: a first step, a vector's spectrum, or an empty tensor's size have none.

    Where the tensor is gone (``info`` is None), rows with the status ``missing`` mark the gap.
    """
    is_empty = info is not None and kind(info) == "empty"
    has_matrix = info is not None and bool(matrices(info))
    return [
        metric
        for metric in metrics
        if metric.roles <= roles.keys() and (has_matrix if metric.matrix_only else not is_empty)
    ]


class Bases:
    """Digests of all that the values of one tensor at one checkpoint depend on: the metric's code and the bytes."""

    def __init__(self, checkpoints: Sequence[Checkpoint], name: str, roles: Mapping[str, int]) -> None:
        self._states = {role: _identity(checkpoints[position], name) for role, position in roles.items()}
        self._digests: dict[frozenset[str], str] = {}

    def of(self, metric: Metric) -> str:
        """What a value of this metric rests on: the metric, and the state in each role that it looks at."""
        if metric.roles not in self._digests:
            states = [f"{role}:{self._states[role]}" for role in ROLES if role in metric.roles]
            self._digests[metric.roles] = sha256("|".join(states).encode()).hexdigest()[:16]
        return f"{self._digests[metric.roles]}{metric.digest}"


def _identity(checkpoint: Checkpoint, name: str) -> str:
    """The stored bytes of one tensor at one checkpoint, as far as that is known without reading them."""
    info = checkpoint.tensors.get(name)
    files = [(stamp.size, stamp.modified_ns, stamp.etag) for stamp in checkpoint.files]
    return f"{checkpoint.name}:{files}:{_where(checkpoint, info)}:{checkpoint.step}"


def _where(checkpoint: Checkpoint, info: TensorInfo | None) -> str:
    """Where a tensor's bytes lie, whatever the files are called."""
    if info is None:
        return ""
    numbers = {stamp.path: number for number, stamp in enumerate(checkpoint.files)}
    parts = [
        (numbers.get(part.path), part.offset, part.length, part.start, part.shape, part.strides, part.inflated)
        for part in stored_parts(info)
    ]
    return f"{info.dtype}{info.shape}{'big-endian' if info.big_endian else ''}{parts}"
