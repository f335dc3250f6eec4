"""Which rows a tensor should have, and a digest of what their values depend on: the stored bytes and the code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

from analyzer.metrics.registry import Metric
from analyzer.model.observed import BEFORE_PREVIOUS, CURRENT, INITIAL, PREVIOUS, ROLES, Role
from analyzer.model.run import Checkpoint, Run, TensorInfo
from analyzer.numerics.sketches import SketchKey
from analyzer.tensors.kinds import kind, matrices, stored_parts


def expected_bases(run: Run, name: str, metrics: Sequence[Metric]) -> Iterator[tuple[int, str, str]]:
    """Yield every row that a tensor should have: (checkpoint position, metric, digest of what its value depends on)."""
    bases = Bases(run.checkpoints, name)
    for position, roles in places(run.checkpoints, name):
        present = applicable(metrics, run.checkpoints[position].tensors.get(name), roles)
        for metric, basis in bases.of(present, roles).items():
            yield position, metric, basis


def places(checkpoints: Sequence[Checkpoint], name: str) -> Iterator[tuple[int, dict[Role, int]]]:
    """Yield each position from the tensor's first appearance on, with the positions of its other states by role."""
    earlier: list[int] = []  # positions that have the tensor
    for position, checkpoint in enumerate(checkpoints):
        present = name in checkpoint.tensors
        if present or earlier:
            roles = {CURRENT: position, INITIAL: earlier[0] if earlier else position}
            roles |= dict(zip((PREVIOUS, BEFORE_PREVIOUS), reversed(earlier[-2:]), strict=False))
            yield position, roles
        if present:
            earlier.append(position)


def applicable(metrics: Sequence[Metric], info: TensorInfo | None, roles: Mapping[Role, int]) -> list[Metric]:
    """Return the metrics that have a row: there is none for the first step, a vector's spectrum or an empty tensor.

    Nor is there one of a metric that is not defined for a tensor's role in the network.

    If the checkpoint lacks the tensor (``info`` is None), rows with the status ``missing`` mark the gap.
    """
    is_empty = info is not None and kind(info) == "empty"
    has_matrix = info is not None and bool(matrices(info))
    return [
        metric
        for metric in metrics
        if metric.roles <= roles.keys()
        and (has_matrix if metric.matrix_only else not is_empty)
        and (info is None or metric.concerns(info.name))
    ]


class Bases:
    """Digests of everything that the values of one tensor depend on: the metric's code and the stored bytes."""

    def __init__(self, checkpoints: Sequence[Checkpoint], name: str) -> None:
        self._checkpoints, self._name = checkpoints, name
        self._identities: dict[int, str] = {}
        self.key = SketchKey.of(name, len(checkpoints[0].tensors))

    def of(self, metrics: Sequence[Metric], roles: Mapping[Role, int]) -> dict[str, str]:
        """Return the digest for each metric by name: of the metric, and of the state in each role it depends on."""
        digests: dict[frozenset[Role], str] = {}
        for used in {metric.roles for metric in metrics}:
            states = [f"{role}:{self.identity(roles[role])}" for role in ROLES if role in used]
            digests[used] = sha256("|".join(states).encode()).hexdigest()[:16]
        return {
            metric.row.name: digests[metric.roles]
            + metric.digest
            + (f"k{self.key.buckets}" if metric.is_sketch else "")
            for metric in metrics
        }

    def identity(self, position: int) -> str:
        """Return what identifies the tensor's stored bytes at one checkpoint without reading them, and its step."""
        if position not in self._identities:
            checkpoint = self._checkpoints[position]
            files = [(stamp.size, stamp.modified_ns, stamp.etag) for stamp in checkpoint.files]
            where = _where(checkpoint, checkpoint.tensors.get(self._name))
            self._identities[position] = f"{checkpoint.name}:{files}:{where}:{checkpoint.step}"
        return self._identities[position]


def _where(checkpoint: Checkpoint, info: TensorInfo | None) -> str:
    """Return where a tensor's bytes are, independent of the names of the files."""
    if info is None:
        return ""
    numbers = {stamp.path: number for number, stamp in enumerate(checkpoint.files)}
    parts = [
        (numbers.get(part.path), part.offset, part.length, part.start, part.shape, part.strides, part.inflated)
        for part in stored_parts(info)
    ]
    return f"{info.dtype}{info.shape}{'big-endian' if info.big_endian else ''}{parts}"
