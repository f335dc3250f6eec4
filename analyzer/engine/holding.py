"""What is held of a tensor that is taken piece by piece through time, and of how many checkpoints at a time."""

from __future__ import annotations

from collections.abc import Collection
from math import prod
from typing import Literal

from analyzer.model.run import TensorInfo
from analyzer.numerics.blocks import MOST_SLAB, slab_of
from analyzer.tensors.kinds import matrices, numpy_dtype, size_of

Hold = Literal["nothing", "slab", "whole"]

ROLES = ("current", "previous", "before_previous", "initial")
# Needs that cost a Gram matrix or more.
DECOMPOSED = frozenset(
    {
        "spectrum",
        "singular_values",
        "power_law",
        "step_spectrum",
        "leading_subspaces",
        "previous_subspaces",
        "initial_subspaces",
    }
)
# Needs that sums over the elements serve, and those that a look at each slab, or at W_t alone, serves as well.
SUMMED_NEEDS = frozenset(
    {
        "weights",
        "step",
        "consecutive_steps",
        "drift",
        "interval",
        "finiteness",
        "changed_bits",
        "sign_flips",
        "elements",
    }
)
PIECEWISE_NEEDS = SUMMED_NEEDS | {"dead_lines", "spectrum", "singular_values", "power_law"}

MOST_FILES = 128  # that are open at a time for each job, save up to three that others only look at
# Checkpoints at a time where magnitudes near zero are kept for each (at most 1/64 of the elements, in float64).
MOST_KEEPING = 16
# Checkpoints whose slabs are walked through together: the more, the more Gram matrices are held, and the longer nothing
# is kept and no progress is seen; the fewer, the more often W_0, W_{t−2} and W_{t−1} are read again.
MOST_SLABS, LEAST_SLABS = 4, 3
# What may be held of small states: no more than four slabs of a large one take, so that the length of a run with large
# tensors does not show in its memory.
HELD_BYTES = 4 * 4 * MOST_SLAB
# Tensors of a piece of float32 or more are not read beside their neighbours but alone; and if HELD_BYTES are enough for
# so many of their states, these are held as a whole. With fewer, W_0, W_{t−2} and W_{t−1} are read too often.
LEAST_ALONE, LEAST_WHOLE = 512 << 10, 5


def way_of(info: TensorInfo, needs: Collection[str], wanted: int) -> tuple[Hold, int]:
    """What to hold of a tensor, and of how many checkpoints together; 0 where the general way is to be gone.

    Args:
        info: the tensor, which is the same at all checkpoints.
        needs: what the metrics ask for, altogether.
        wanted: at how many checkpoints.
    """
    if info.unsupported or 0 in info.shape or not needs or not PIECEWISE_NEEDS.issuperset(needs):
        return "nothing", 0
    if SUMMED_NEEDS.issuperset(needs):
        return "nothing", MOST_KEEPING if "elements" in needs else MOST_FILES
    size = size_of(info)
    together = min(HELD_BYTES // size, wanted) if size >= LEAST_ALONE else 0
    if together >= min(LEAST_WHOLE, wanted):
        return "whole", together
    return "slab", _slabs_together(info, not DECOMPOSED.isdisjoint(needs), wanted)


def _slabs_together(info: TensorInfo, with_spectra: bool, wanted: int) -> int:
    """How many checkpoints' slabs, and Gram matrices, find room where four whole states would be; 0 for none."""
    rows, columns = prod(info.shape[:1]), prod(info.shape[1:])
    slab = slab_of(info.shape) * numpy_dtype(info.dtype).itemsize
    is_one_matrix = [view.shape for view in matrices(info)] == [(rows, columns)]
    if not is_one_matrix or slab == size_of(info) or (with_spectra and info.dtype == "float64"):
        return 0
    room = len(ROLES) * size_of(info) // (slab + (8 * columns**2 if with_spectra else 0))
    together = min(room, MOST_SLABS)
    return together if together >= min(LEAST_SLABS, wanted) else 0
