"""Tall matrices with their spectra: taken slab by slab through time, so that no state of them is ever held as a whole.

A slab is some rows; its part of W_t needs only the same rows of W_{t−1}, W_{t−2} and W_0. What is held of a checkpoint
from slab to slab are its sums and its Gram matrix, which for a tall matrix is far smaller than the matrix.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from math import isfinite, prod

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from analyzer.cutting import pieces, slab_of
from analyzer.decomposition import Gram, spectrum_of_blocks
from analyzer.elementwise import live_lines
from analyzer.metrics.needs import DeadLines
from analyzer.pieces import SUMMED_NEEDS, stamp_of
from analyzer.planning import DECOMPOSED
from analyzer.run import Checkpoint, TensorInfo
from analyzer.sources import Source, open_source
from analyzer.states import State, Taken, gone
from analyzer.tallies import Array, States, Tally, consecutive_sums
from analyzer.tensors import numpy_dtype, unit_roundoff

SLAB_NEEDS = SUMMED_NEEDS | {"elements", "dead_lines", "spectrum", "singular_values", "power_law"}
SLABS_HELD = 4  # of W_t, W_{t−1}, W_{t−2} and W_0


def walk_slabs(
    infos: Sequence[TensorInfo],
    checkpoints: Sequence[Checkpoint],
    needs: Sequence[Collection[str]],
    memory: Sequence[npt.NDArray[np.uint8]],
) -> list[State] | None:
    """The states of one tall matrix at consecutive checkpoints, the first of which is W_0 of all, as sums and spectra.

    Args:
        infos: the tensor at each checkpoint, all of one shape and one floating-point dtype but float64, whose range
            would need scaling before it is known.
        checkpoints: these checkpoints.
        needs: what is needed of each checkpoint, out of :data:`SLAB_NEEDS`; nothing of those that others only look at.
        memory: :data:`SLABS_HELD` buffers of bytes, each as long as a slab.

    Returns:
        the same bits as whole tensors give; None where an element is NaN or infinite, or where too many elements may
        be near zero to be kept: these have to be counted in a second walk.

    Raises:
        CheckpointError: a file cannot be read or changed meanwhile.
        numpy.linalg.LinAlgError: LAPACK did not converge.
    """
    dtype, size, slab = numpy_dtype(infos[0].dtype), prod(infos[0].shape), slab_of(infos[0].shape)
    with ExitStack() as stack, np.errstate(invalid="ignore", over="ignore"):
        sources = [
            stack.enter_context(open_source(info.parts[0].path, stamp_of(checkpoint, info)))
            for info, checkpoint in zip(infos, checkpoints, strict=True)
        ]
        walks = [
            _Walk(info, source, wanted, has_previous=number > 0)
            for number, (info, source, wanted) in enumerate(zip(infos, sources, needs, strict=True))
        ]
        for start in range(0, size, slab):
            length = min(slab, size - start)
            held: list[Array] = []
            for number, walk in enumerate(walks):
                slot = memory[1 + number % (SLABS_HELD - 1) if number else 0]
                held.append(slot[: length * dtype.itemsize].view(dtype))
                walk.add(start, _states(held, number, needs))
                if not isfinite(walk.tally.current):
                    return None
        sums = consecutive_sums([walk.tally for walk in walks])
        if any("elements" in wanted and one.near_zeros is None for one, wanted in zip(sums, needs, strict=True)):
            return None
        found = [
            gone(info, walk.content(), Taken(one, walk.of_matrix()))
            for info, walk, one in zip(infos, walks, sums, strict=True)
        ]
        for source in sources:
            source.verify_unchanged()
    return found


def _states(held: Sequence[Array], number: int, needs: Sequence[Collection[str]]) -> States:
    """A slab's states as the checkpoint looks at them, or as far as a later one needs its own sums: ‖W‖² and ‖Δ‖²."""
    is_wanted = bool(needs[number])
    next_is_wanted = any(needs[number + 1 : number + 2])
    previous = held[number - 1] if number and (is_wanted or next_is_wanted) else None
    before_previous = held[number - 2] if number > 1 and is_wanted else None
    return States(held[number], previous, before_previous, held[0] if is_wanted else None)


class _Walk:
    """What is held of one checkpoint from slab to slab."""

    def __init__(self, info: TensorInfo, source: Source, needs: Collection[str], has_previous: bool) -> None:
        self.source, self.offset = source, info.parts[0].offset
        self.dtype, self.shape = numpy_dtype(info.dtype), (info.shape[0], prod(info.shape[1:]))
        self.tally = Tally(prod(self.shape), self.dtype, self.dtype if has_previous else None, needs)
        self.digest = blake3() if needs else None
        self.gram = Gram(np.empty((self.shape[1], self.shape[1]))) if DECOMPOSED & set(needs) else None
        self.dead_rows, self.live_columns = 0, np.zeros(self.shape[1], dtype=bool)
        self.count_dead_lines = "dead_lines" in needs

    def add(self, start: int, states: States) -> None:
        """Read a slab from its first element on into ``states.current``, and take it in."""
        zeros = self.tally.zeros
        for piece in pieces(states.current.size, states.current.size):
            data = piece.of(states.current).view(np.uint8).data
            self.source.read_into(self.offset + (start + piece.start) * self.dtype.itemsize, data)
            if self.digest:
                self.digest.update(data)
            self.tally.add(states.rows(piece, self.tally.count_flips), *states.stored(piece))
        rows = states.current.reshape(-1, self.shape[1])
        if self.count_dead_lines:
            self._count_lines(rows, self.tally.zeros - zeros if self.tally.summarise else rows.size)
        if self.gram:
            self.gram.add(rows)

    def _count_lines(self, rows: Array, zeros: int) -> None:
        if zeros < min(rows.shape):  # too few for a row or a column of them
            self.live_columns[:] = True
            return
        live_rows, live_columns = live_lines(rows)
        self.dead_rows += len(rows) - live_rows
        self.live_columns |= live_columns

    def content(self) -> str:
        """The hash of the bytes that went by, where the state itself is wanted."""
        return self.digest.hexdigest(length=16) if self.digest else ""

    def of_matrix(self) -> dict[str, object]:
        """What is wanted of the matrix besides sums over its elements; the Gram matrix is given up."""
        found: dict[str, object] = {}
        if self.count_dead_lines:
            dead_columns = self.shape[1] - int(np.count_nonzero(self.live_columns))
            found["dead_lines"] = DeadLines(self.dead_rows, dead_columns)
        if self.gram:
            total, self.gram = self.gram.matrix, None
            roundoff = unit_roundoff(self.dtype)
            found["spectrum"] = spectrum_of_blocks(total, self._slabs_anew, self.shape[0], roundoff)
        return found

    def _slabs_anew(self) -> Iterator[Array]:
        """The matrix read once more, slab by slab: for singular values that the Gram matrix does not hold."""
        slab = slab_of(self.shape)
        memory = np.empty(slab, self.dtype)
        for start in range(0, prod(self.shape), slab):
            flat = memory[: min(slab, prod(self.shape) - start)]
            self.source.read_into(self.offset + start * self.dtype.itemsize, flat.view(np.uint8).data)
            yield flat.reshape(-1, self.shape[1])
