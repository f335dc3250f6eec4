"""Plain tensors taken piece by piece through time, so that the processor's cache holds a piece of all their states.

A piece of W_t needs only the same piece of W_{t−1}, W_{t−2} and W_0. To walk each piece through the checkpoints before
the next one is read widens and subtracts everything once, and saves the trips to main memory that whole tensors take.
What is held beside the sums depends on what is needed: nothing; the slab that the piece belongs to, until it has gone
into a tall matrix's Gram matrix; or the whole state, where there is room for those of all the checkpoints.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from math import isfinite, prod
from zlib import crc32

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from analyzer.engine.holding import DECOMPOSED, Hold
from analyzer.engine.states import State, Taken, gone
from analyzer.model.observed import DeadLines
from analyzer.model.run import Checkpoint, FileStamp, TensorInfo
from analyzer.numerics.blocks import PIECE, Piece, pieces_between, slab_of
from analyzer.numerics.elementwise import live_lines
from analyzer.numerics.gram import Gram
from analyzer.numerics.rounding import unit_roundoff
from analyzer.numerics.singular_values import spectrum_of_blocks
from analyzer.numerics.sums import LEAST_SQUARE, Array, Room, Rows, Sums, Tally, consecutive_sums, fill_signs
from analyzer.sources import Source, open_source
from analyzer.tensors.checksums import is_of_all, require
from analyzer.tensors.kinds import numpy_dtype
from analyzer.tensors.loading import as_tensor

Memory = npt.NDArray[np.uint8]


def walk_through_time(
    infos: Sequence[TensorInfo],
    checkpoints: Sequence[Checkpoint],
    needs: Sequence[Collection[str]],
    roles: Sequence[Collection[str]],
    hold: Hold,
    memory: Sequence[Memory],
) -> list[State] | None:
    """The states of one tensor at consecutive checkpoints, with their sums.

    Args:
        infos: the tensor at each checkpoint, all of one shape and one floating-point dtype.
        checkpoints: these checkpoints.
        needs: what is needed of each, out of :data:`.holding.PIECEWISE_NEEDS`; nothing of those that others
            only look at.
        roles: in which roles each looks at others: the first one as W_0, the one before it and the one before that.
        hold: ``nothing`` serves :data:`.holding.SUMMED_NEEDS`. ``slab`` serves also the others, of a tall
            matrix, but no spectra of float64, whose range would need scaling before it is known. ``whole`` leaves the
            states in ``memory``.
        memory: for each checkpoint of which something is needed, bytes for what is held of it.

    Returns:
        the same bits as :func:`.elementwise.walk_sums` gives for whole tensors; None where the elements have to
        be looked at once more: one is NaN or infinite, squares may have vanished, or too many elements may be near zero
        to be kept until the threshold is known and no state is held as a whole.

    Raises:
        CheckpointError: a file cannot be read or changed meanwhile.
        numpy.linalg.LinAlgError: LAPACK did not converge.
    """
    size, slab = prod(infos[0].shape), slab_of(infos[0].shape)
    slots = iter(memory)
    all_roles = frozenset[str]().union(*roles)
    with ExitStack() as stack, np.errstate(invalid="ignore", over="ignore"):
        sources = [
            stack.enter_context(open_source(info.parts[0].path, _stamp_of(checkpoint, info)))
            for info, checkpoint in zip(infos, checkpoints, strict=True)
        ]
        walks = [
            # Of a state that others only look at, sums are wanted of W_0, and of W_{t−1} of one whose rows are wanted.
            _Walk(info, source, number, wanted, number == 0 or any(needs[number : number + 2]), hold, slots)
            for number, (info, source, wanted) in enumerate(zip(infos, sources, needs, strict=True))
        ]
        for start in range(0, size, slab):
            end = min(start + slab, size)
            if not _walk_slab(walks, start, end, all_roles):
                return None
            for walk in walks:
                walk.end_slab(end - start)
        sums = consecutive_sums([walk.tally for walk in walks])
        if not all(walk.can_tell(one) for walk, one in zip(walks, sums, strict=True)):
            return None
        states: list[State] = []
        for walk, one, its_roles in zip(walks, sums, roles, strict=True):
            states.append(walk.state(one.seen_from(its_roles), states[-1] if states else None))
        for source, walk in zip(sources, walks, strict=True):
            source.verify_unchanged()
            walk.verify_checksum()
    return states


def _walk_slab(walks: Sequence[_Walk], start: int, end: int, roles: Collection[str]) -> bool:
    """Every piece of a slab through all checkpoints; False where the elements have to be looked at once more."""
    with_signs = any(walk.tally.count_flips for walk in walks)
    dtype = walks[0].dtype
    unsigned = np.dtype(f"u{dtype.itemsize}")
    passing = np.empty((2, PIECE), dtype)  # pieces of states that are not held: of W_t and of W_{t−1} in turn
    for piece in pieces_between(start, end):
        previous_bits = None
        for number, walk in enumerate(walks):
            stored = walk.read(piece, start, passing[number % 2])
            bits = stored.view(unsigned)
            rows = _rows(piece, stored, number, roles, with_signs)
            if walk.is_added:
                walk.tally.add(rows, bits, previous_bits)
                if not isfinite(walk.tally.current):
                    return False
            previous_bits = bits
    return all(walk.tally.near_zeros.room >= 0 for walk in walks if walk.must_count_near_zeros)


def _rows(piece: Piece, stored: Array, number: int, roles: Collection[str], with_signs: bool) -> Rows:
    """The rows of the ``number``-th checkpoint that the roles ask for; those of the one before it are still there."""
    room = Room(piece, is_odd=number % 2 == 1)
    room.current[:] = stored
    rows = Rows(room, room.current)
    if with_signs:
        fill_signs(stored, room.current, room.signs)
    if number and "previous" in roles:
        rows.previous, rows.step = room.previous, np.subtract(room.current, room.previous, out=room.step)
        rows.earlier_step = room.earlier_step if number > 1 else None
    if "initial" in roles:
        rows.initial = room.initial
        if number == 0:
            room.initial[:] = room.current
            room.drift[:] = 0.0
            rows.drift = room.drift
        elif number == 1 and rows.step is not None:  # the first step is the first drift
            rows.drift = rows.step
        else:
            rows.drift = np.subtract(room.current, room.initial, out=room.drift)
    return rows


class _Walk:
    """What is held of one checkpoint while the pieces go by."""

    def __init__(
        self,
        info: TensorInfo,
        source: Source,
        number: int,
        needs: Collection[str],
        is_added: bool,
        hold: Hold,
        slots: Iterator[Memory],
    ) -> None:
        self.info, self.source, self.dtype = info, source, numpy_dtype(info.dtype)
        self.hold, self.memory = hold, next(slots) if needs and hold != "nothing" else None
        self.tally = Tally(prod(info.shape), self.dtype, self.dtype if number else None, needs)
        self.must_count_near_zeros = self.tally.summarise and hold != "whole"  # no state is there to do it afterwards
        self.is_wanted, self.is_added = bool(needs), is_added
        self.digest = blake3()
        part = info.parts[0]
        self.checksum = part.checksum if is_of_all(part) else None
        self.crc32 = self.checksum.seed if self.checksum else 0
        self.lines = _Lines(self) if hold == "slab" and "dead_lines" in needs else None
        self.gram = None
        if hold == "slab" and DECOMPOSED & set(needs):
            self.gram = Gram(np.empty((self.columns, self.columns)))

    @property
    def columns(self) -> int:
        """Columns of the matrix."""
        return prod(self.info.shape[1:])

    def read(self, piece: Piece, start: int, passing: Array) -> Array:
        """The piece's elements as they are stored, (length,): where they are held, or else in ``passing``."""
        stored = passing[: piece.length]
        if self.memory is not None:
            first = (piece.start - (start if self.hold == "slab" else 0)) * self.dtype.itemsize
            stored = self.memory[first : first + stored.nbytes].view(self.dtype)
        data = stored.view(np.uint8).data
        self.source.read_into(self.info.parts[0].offset + piece.start * self.dtype.itemsize, data)
        if self.is_wanted:
            self.digest.update(data)
        if self.checksum:
            self.crc32 = crc32(data, self.crc32)
        return stored

    def verify_checksum(self) -> None:
        """Raise a CheckpointError where the pieces that went by are not what was written."""
        if self.checksum:
            require(self.source.path, self.checksum, self.crc32)

    def end_slab(self, length: int) -> None:
        """Take in a slab as rows of a matrix."""
        if self.memory is None or not (self.lines or self.gram):
            return
        rows = self.memory[: length * self.dtype.itemsize].view(self.dtype).reshape(-1, self.columns)
        if self.lines:
            self.lines.add(rows)
        if self.gram:
            self.gram.add(rows)

    def can_tell(self, sums: Sums) -> bool:
        """Whether the sums say all that is wanted of them: no square has vanished, and what is near zero is counted."""
        least = LEAST_SQUARE if self.dtype == np.float64 else 0.0
        counted = sums.near_zeros is not None or not self.must_count_near_zeros
        return not self.is_added or (sums.products.current >= least and counted)

    def state(self, sums: Sums, previous: State | None) -> State:
        """The state with all that was taken of it; the Gram matrix is given up, unused where W_{t−1} is the same."""
        content = self.digest.hexdigest(length=16) if self.is_wanted else ""
        if self.hold == "whole" and self.memory is not None:
            return State(as_tensor(self.info, self.memory), content, taken=Taken(sums))
        of_matrix: dict[str, object] = {}
        if self.lines:
            of_matrix["dead_lines"] = self.lines.dead()
        known = previous.taken.of_matrix if previous and previous.taken and previous.content == content else {}
        if self.gram and "spectrum" in known:
            of_matrix["spectrum"], self.gram = known["spectrum"], None
        elif self.gram:
            total, self.gram = self.gram.matrix, None
            rows, roundoff = self.info.shape[0], unit_roundoff(self.dtype)
            of_matrix["spectrum"] = spectrum_of_blocks(total, self._slabs_anew, rows, roundoff)
        return gone(self.info, content, Taken(sums, of_matrix))

    def _slabs_anew(self) -> Iterator[Array]:
        """The matrix read once more, slab by slab: for singular values that the Gram matrix does not hold."""
        size, slab = prod(self.info.shape), slab_of(self.info.shape)
        memory = np.empty(slab, self.dtype)
        for start in range(0, size, slab):
            flat = memory[: min(slab, size - start)]
            self.source.read_into(self.info.parts[0].offset + start * self.dtype.itemsize, flat.view(np.uint8).data)
            yield flat.reshape(-1, self.columns)


class _Lines:
    """Counts the rows and columns of a matrix that are entirely zero, slab by slab."""

    def __init__(self, walk: _Walk) -> None:
        self.tally, self.zeros_before = walk.tally, 0
        self.dead_rows, self.live_columns = 0, np.zeros(walk.columns, dtype=bool)

    def add(self, rows: Array) -> None:
        """Take in a slab, (rows, columns), whose elements went into the tally already."""
        zeros = self.tally.zeros - self.zeros_before if self.tally.summarise else rows.size
        self.zeros_before = self.tally.zeros
        if zeros < min(rows.shape):  # too few for a row or a column of them
            self.live_columns[:] = True
            return
        live_rows, live_columns = live_lines(rows)
        self.dead_rows += len(rows) - live_rows
        self.live_columns |= live_columns

    def dead(self) -> DeadLines:
        """What was counted."""
        return DeadLines(self.dead_rows, self.live_columns.size - int(np.count_nonzero(self.live_columns)))


def _stamp_of(checkpoint: Checkpoint, info: TensorInfo) -> FileStamp | None:
    """What the checkpoint's file that holds a plain tensor was like when it was indexed."""
    return next((stamp for stamp in checkpoint.files if stamp.path == info.parts[0].path), None)
