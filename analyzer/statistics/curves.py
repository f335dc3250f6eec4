"""Which curves and scores of a run are set against each other: layers, blocks, and the whole network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.model.run import Curve, Tables
from analyzer.model.score_names import leading

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

MOST_PAIRS = 1_000_000  # of tensors' curves and scores: 30 s to relate, 70 s more to write their six rows each
FIRST_METRICS = ("step_distance", "condition_number")
_SLICE = re.compile(r"\[[0-9]+\]$")


class Series(NamedTuple):
    """A weight curve (checkpoints,), and for each checkpoint which one it is compared with."""

    scope: str
    tensor: str
    metric: str
    values: FloatArray
    references: tuple[str | None, ...]

    @property
    def of_intervals(self) -> bool:
        """Whether it tells of what lies between two checkpoints, not of each one or of its distance from the first."""
        return len(set(self.references) - {None}) > 1


def weight_series(tables: Tables, scores: int) -> tuple[list[Series], tuple[str, ...]]:
    """The curves of tensors, of all parameters and of the mean over matrices, then the means over each block.

    The matrices of a stack (``tensor[e]``) count in their block and in the mean, but not alone: there are too many.

    Returns:
        The series, and the metrics whose tensors are left out, being more than :data:`MOST_PAIRS` with so many scores.
        Step distance and condition number are kept first, then in the order of the tables whatever there is room for.
    """
    every = [
        Series(scope, tensor, metric, curve.values, curve.references)
        for (scope, tensor, metric), curve in tables.curves.items()
        if not (scope == "tensor" and _SLICE.search(tensor))
    ]
    counts = Counter(one.metric for one in every if one.scope == "tensor")
    left_out, room = [], MOST_PAIRS
    for metric in sorted(counts, key=lambda name: name not in FIRST_METRICS):
        if counts[metric] * scores <= room:
            room -= counts[metric] * scores
        else:
            left_out.append(metric)
    kept = [one for one in every if one.scope != "tensor" or one.metric not in left_out]
    return [*kept, *_block_means(tables)], tuple(left_out)


def block_of(tensor: str) -> str | None:
    """The block that a tensor belongs to by its name: the path up to the first number, None where it has none.

    ``model.layers.3.mlp.up_proj.weight`` is in ``model.layers.3``, a transformer block; ``layer1.0.conv1.weight`` in
    ``layer1.0``.
    """
    path = tensor.split(".")[:-1]
    for place, part in enumerate(path):
        if part.isascii() and part.isdecimal():
            return ".".join(path[: place + 1])
    return None


def _block_means(tables: Tables) -> Iterator[Series]:
    """The arithmetic mean over the matrices of each block of two or more, as scope ``mean`` has it over all of them."""
    matrices = {row.name for row in tables.tensors if row.kind in ("matrix", "stack")}
    members: dict[tuple[str, str], list[Curve]] = {}
    for (scope, tensor, metric), curve in tables.curves.items():
        block = block_of(tensor) if scope == "tensor" and tensor in matrices else None
        if block is not None:
            members.setdefault((block, metric), []).append(curve)
    for (block, metric), curves in members.items():
        if len(curves) > 1:
            values = np.mean([curve.values for curve in curves], axis=0)
            references = curves[0].references
            if any(curve.references != references for curve in curves):
                columns = zip(*(curve.references for curve in curves), strict=True)
                references = tuple(column[0] if len(set(column)) == 1 else None for column in columns)
            yield Series("block", block, metric, values, references)


def ordered_scalars(scalars: Mapping[str, FloatArray]) -> list[str]:
    """The names of all scores: accuracies and losses first, then the others as they come."""
    return list(dict.fromkeys([*leading(scalars), *scalars]))


def compared_positions(references: Sequence[str | None], positions: Mapping[str, int]) -> tuple[int | None, ...]:
    """Where in the run the checkpoint stands that each row compares with."""
    return tuple(None if reference is None else positions[reference] for reference in references)


def score_changes(scores: FloatArray, compared: Sequence[int | None]) -> FloatArray:
    """The change (..., checkpoints) of scores since the checkpoint that each row compares with; NaN without one."""
    known = [position for position, earlier in enumerate(compared) if earlier is not None]
    earlier = [position for position in compared if position is not None]
    result = np.full(scores.shape, np.nan)
    result[..., known] = scores[..., known] - scores[..., earlier]
    return result
