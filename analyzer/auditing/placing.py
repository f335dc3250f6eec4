"""Find out in which of two checkpoints a tensor that both have is in its place, by the distances around it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analyzer.engine.states import Loaded, read_states
from analyzer.findings.partial_copies import judged, shared_parts
from analyzer.model.run import Checkpoint, TensorInfo
from analyzer.model.tables import Tables
from analyzer.tensors.kinds import is_readable, size_of

MOST_PARTS = 20  # that are looked at, so that the time stays far below that of reading the run

Matrix = npt.NDArray[np.float64]


def find_fits(tables: Tables) -> dict[tuple[str, str], bool]:
    """Return for each suspected (checkpoint, tensor) whether the tensor lies between those of the neighbors.

    It does if the tensor before is closer to it than to the tensor after. Nothing is returned for the first and the
    last checkpoint, which have one neighbor, and for what cannot be read or changes its shape.
    """
    found: dict[tuple[str, str], bool] = {}
    for part in shared_parts(tables)[:MOST_PARTS]:
        for name in judged(part):
            for place, outer, inner in (
                (part.first, part.first - 1, part.first + 1),
                (part.second, part.second + 1, part.second - 1),
            ):
                if 0 <= outer < len(tables.checkpoints):
                    fits = _is_between(tables, name, place, outer, inner)
                    if fits is not None:
                        found[tables.checkpoints[place].name, name] = fits
    return found


def _is_between(tables: Tables, name: str, place: int, outer: int, inner: int) -> bool | None:
    """Check whether a tensor is closer to its outer neighbor than its inner neighbor is; None if unknown."""
    here, before, after = (_elements(tables.source.checkpoints[spot], name) for spot in (place, outer, inner))
    if here is None or before is None or after is None or not here.shape == before.shape == after.shape:
        return None
    own, across = float(np.linalg.norm(here - before)), float(np.linalg.norm(after - before))
    return own < across if np.isfinite(own) and np.isfinite(across) and own != across else None


def _elements(checkpoint: Checkpoint, name: str) -> Matrix | None:
    info = checkpoint.tensors.get(name)
    if info is None or not is_readable(info):
        return None
    return _loaded(checkpoint, info)


def _loaded(checkpoint: Checkpoint, info: TensorInfo) -> Matrix | None:
    result: Matrix | None = None
    for _, state in read_states(checkpoint, [info], [np.empty(size_of(info), np.uint8)]):
        result = state.array.astype(np.float64).reshape(-1) if isinstance(state, Loaded) else None
    return result
