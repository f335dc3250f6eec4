"""What rows there are of a tensor, and what their values rest on: the bytes and the code, as a digest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

from analyzer.engine.holding import ROLES
from analyzer.metrics.registry import Metric
from analyzer.model.run import Checkpoint, Run, TensorInfo
from analyzer.tensors.kinds import kind, matrices, stored_parts


def expected_bases(run: Run, name: str, metrics: Sequence[Metric]) -> Iterator[tuple[int, str, str]]:
    """Every row that there should be of a tensor: (checkpoint position, metric, what its value rests on)."""
    bases = Bases(run.checkpoints, name)
    for position, roles in places(run.checkpoints, name):
        its_metrics = applicable(metrics, run.checkpoints[position].tensors.get(name), roles)
        for metric, basis in bases.of(its_metrics, roles).items():
            yield position, metric, basis


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
    """Digests of all that the values of one tensor depend on: the metric's code and the bytes."""

    def __init__(self, checkpoints: Sequence[Checkpoint], name: str) -> None:
        self._checkpoints, self._name = checkpoints, name
        self._identities: dict[int, str] = {}

    def of(self, metrics: Sequence[Metric], roles: Mapping[str, int]) -> dict[str, str]:
        """What a value of each metric rests on, by its name: the metric, and the state in each role it looks at."""
        digests: dict[frozenset[str], str] = {}
        for looked_at in {metric.roles for metric in metrics}:
            states = [f"{role}:{self.identity(roles[role])}" for role in ROLES if role in looked_at]
            digests[looked_at] = sha256("|".join(states).encode()).hexdigest()[:16]
        return {metric.row.name: digests[metric.roles] + metric.digest for metric in metrics}

    def identity(self, position: int) -> str:
        """The stored bytes of the tensor at one checkpoint, as far as that is known without reading them."""
        if position not in self._identities:
            checkpoint = self._checkpoints[position]
            files = [(stamp.size, stamp.modified_ns, stamp.etag) for stamp in checkpoint.files]
            where = _where(checkpoint, checkpoint.tensors.get(self._name))
            self._identities[position] = f"{checkpoint.name}:{files}:{where}:{checkpoint.step}"
        return self._identities[position]


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
