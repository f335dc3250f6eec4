"""Select the weight curves and scores of a run that are correlated: layers, blocks, and the whole network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from analyzer.model.run import FloatArray
from analyzer.model.score_names import leading
from analyzer.model.tables import Curve, Tables

PICTURED = "step_distance"  # the metric of the classic picture
MOST_PAIRS = 1_000_000  # tensors' curves times scores: 30 s to correlate, 70 s more to write the six rows of each
FIRST_METRICS = ("step_distance", "condition_number")
_SLICE = re.compile(r"\[[0-9]+\]$")


class WeightCurve(NamedTuple):
    """One metric of a tensor, a block or the whole network, shape (checkpoints,).

    ``references`` names the checkpoint that each checkpoint is compared with, None where there is none.
    """

    scope: str
    tensor: str
    metric: str
    values: FloatArray
    references: tuple[str | None, ...]

    @property
    def of_intervals(self) -> bool:
        """Whether it describes intervals between checkpoints, not states or distances from the first checkpoint."""
        return len(set(self.references) - {None}) > 1


def weight_curves(tables: Tables, scores: int) -> tuple[list[WeightCurve], tuple[str, ...]]:
    """Return the curves of tensors, of all parameters and of the mean over matrices, then the means over each block.

    The matrices of a stack (``tensor[e]``) count in their block and in the mean, but not by themselves: there are too
    many.

    Args:
        tables: the tables of one run.
        scores: the number of scores.

    Returns:
        The curves, and the metrics whose tensors are left out because they exceed :data:`MOST_PAIRS` with that many
        scores. Step distance and condition number come first, then the metrics that fit, in the order of the tables.
    """
    every = [
        WeightCurve(scope, tensor, metric, curve.values, curve.references)
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
    """Return the block that a tensor belongs to: its name up to the first number, None if it contains none.

    ``model.layers.3.mlp.up_proj.weight`` is in ``model.layers.3``, a transformer block; ``layer1.0.conv1.weight`` is
    in ``layer1.0``.
    """
    path = tensor.split(".")[:-1]
    for position, part in enumerate(path):
        if part.isascii() and part.isdecimal():
            return ".".join(path[: position + 1])
    return None


def _block_means(tables: Tables) -> Iterator[WeightCurve]:
    """Yield the arithmetic mean over the matrices of each block of two or more, as scope ``mean`` does over all."""
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
            yield WeightCurve("block", block, metric, values, references)


def ordered_scalars(scalars: Mapping[str, FloatArray]) -> list[str]:
    """Return the names of all scores: accuracies and losses first, then the others in their given order."""
    return list(dict.fromkeys([*leading(scalars), *scalars]))


def compared_positions(references: Sequence[str | None], positions: Mapping[str, int]) -> tuple[int | None, ...]:
    """Return the position in the run of the checkpoint that each row is compared with."""
    return tuple(None if reference is None else positions[reference] for reference in references)


def score_changes(scores: FloatArray, compared: Sequence[int | None]) -> FloatArray:
    """Return the change (..., checkpoints) of scores since the checkpoint that each row is compared with.

    The change is NaN where there is no such checkpoint.
    """
    known = [position for position, earlier in enumerate(compared) if earlier is not None]
    earlier = [position for position in compared if position is not None]
    result = np.full(scores.shape, np.nan)
    result[..., known] = scores[..., known] - scores[..., earlier]
    return result
