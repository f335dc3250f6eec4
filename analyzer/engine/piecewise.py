"""Walk plain tensors through time chunk by chunk, so that a chunk of all their states stays in the processor's cache.

A chunk of W_t needs only the same chunk of W_{t−1}, W_{t−2} and W_0. To walk each chunk through the checkpoints before
the next one is read widens and subtracts every element once, and avoids the transfers from main memory that whole
tensors need. Only sums are kept, or one block of a tall matrix at a time until it is part of its Gram matrix.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import isfinite, prod
from zlib import crc32

import numpy as np
from blake3 import blake3

from analyzer.engine.states import Summarized
from analyzer.metrics.needs import DEAD_LINES, SPECTRUM, STEP_SKETCH, UNMOVED_ROWS, Need, counts_of
from analyzer.model.observed import INITIAL, PREVIOUS, DeadLines, Role
from analyzer.model.run import Array, ByteArray, Checkpoint, TensorInfo
from analyzer.numerics.blocks import CHUNK, Chunk, block_size, chunks_between
from analyzer.numerics.elementwise import UnmovedRows, live_lines
from analyzer.numerics.gram import Gram
from analyzer.numerics.line_norms import LineNorms
from analyzer.numerics.rounding import rounding_noise, unit_roundoff
from analyzer.numerics.singular_values import spectrum_of_blocks
from analyzer.numerics.sketches import SketchKey
from analyzer.numerics.sums import LEAST_SQUARE, ChunkBuffers, ElementSums, Rows, Tally, consecutive_sums, fill_signs
from analyzer.sources import Source, open_source
from analyzer.tensors.kinds import numpy_dtype
from analyzer.tensors.loading import is_of_all, require


@dataclass(frozen=True, slots=True)
class PlainState:
    """A tensor at one checkpoint as a plain range of a local file.

    In a sequence of them, all of one shape and floating dtype, the first is W_0, and each compares with those before.

    Attributes:
        position: its position in the run.
        info: the tensor.
        checkpoint: the checkpoint.
        needs: what is needed of it, none with ``ServedBy.WHOLE``; empty for a state that others only compare with.
        roles: the roles in which it looks at others: the first state is its W_0, the one before it its W_{t−1}, and the
            one before that its W_{t−2}.
        key: the key of the sketch of its step.
    """

    position: int
    info: TensorInfo
    checkpoint: Checkpoint
    needs: Collection[Need]
    roles: Collection[Role]
    key: SketchKey


def summarize_through_time(states: Sequence[PlainState], memory: Sequence[ByteArray]) -> list[Summarized] | None:
    """Summarize the states of one tensor at consecutive checkpoints in one walk over its chunks.

    Args:
        states: the states. Spectra are computed of tall matrices only and not of float64, whose range would require a
            scaling before it is known.
        memory: for each state with needs, memory for one block; empty if sums serve all needs.

    Returns:
        the same bits as :func:`.elementwise.element_sums` and :func:`.singular_values.spectrum` return for whole
        tensors. None if the elements have to be inspected once more: one is NaN or infinite, squares may have
        underflowed, or too many elements may be near zero to keep them until the threshold is known.

    Raises:
        CheckpointError: a file cannot be read or has changed.
        numpy.linalg.LinAlgError: LAPACK did not converge.
    """
    shape = states[0].info.shape
    size, block = prod(shape), block_size(shape)
    slots = iter(memory)
    all_roles = frozenset[Role]().union(*(state.roles for state in states))
    walks: list[_Walk] = []
    with ExitStack() as stack, np.errstate(invalid="ignore", over="ignore"):
        for number, state in enumerate(states):
            path, stamps = state.info.parts[0].path, {stamp.path: stamp for stamp in state.checkpoint.files}
            source = stack.enter_context(open_source(path, stamps.get(path)))
            # Of states that others only compare with, W_0 is summed, and W_{t−1} of a state with needs.
            is_summed = number == 0 or any(one.needs for one in states[number : number + 2])
            slot = next(slots, None) if state.needs else None
            walks.append(_Walk(state, source, number > 0, is_summed, slot))
        for start in range(0, size, block):
            end = min(start + block, size)
            if not _walk_block(walks, start, end, all_roles):
                return None
            for walk in walks:
                walk.end_block(end - start)
        sums = consecutive_sums([walk.tally for walk in walks])
        if not all(walk.is_complete(one) for walk, one in zip(walks, sums, strict=True)):
            return None
        found: list[Summarized] = []
        for walk, one, state in zip(walks, sums, states, strict=True):
            found.append(walk.summarize(one.limited_to(state.roles), found[-1] if found else None))
        for walk in walks:
            walk.verify()
    return found


def _walk_block(walks: Sequence[_Walk], start: int, end: int, roles: Collection[Role]) -> bool:
    """Walk each chunk of a block through all checkpoints; return False if elements have to be inspected once more."""
    with_signs = any(walk.tally.count_flips for walk in walks)
    dtype = walks[0].dtype
    unsigned = np.dtype(f"u{dtype.itemsize}")
    passing = np.empty((3, CHUNK), dtype)  # chunks of W_t and W_{t−1} in turn, and of W_0, if no block is kept
    for chunk in chunks_between(start, end):
        previous_bits = initial_bits = None
        for number, walk in enumerate(walks):
            stored = walk.read(chunk, start, passing[number % 2 if number else 2])
            bits = stored.view(unsigned)
            initial_bits = bits if initial_bits is None else initial_bits
            if walk.unmoved:
                walk.unmoved.add(chunk, bits, initial_bits)
            rows = _rows(chunk, stored, number, roles, with_signs)
            if walk.is_summed:
                walk.tally.add(rows, bits, previous_bits)
                if not isfinite(walk.tally.current):
                    return False
            previous_bits = bits
    return all(walk.tally.near_zeros.room >= 0 for walk in walks if walk.tally.summarize)


def _rows(chunk: Chunk, stored: Array, number: int, roles: Collection[Role], with_signs: bool) -> Rows:
    """Fill the rows of the ``number``-th checkpoint that the roles require; those of the one before are still valid."""
    buffers = ChunkBuffers(chunk, is_odd=number % 2 == 1)
    buffers.current[:] = stored
    rows = Rows(buffers, buffers.current)
    if with_signs:
        fill_signs(stored, buffers.current, buffers.signs)
    if number and PREVIOUS in roles:
        rows.previous = buffers.previous
        rows.step = np.subtract(buffers.current, buffers.previous, out=buffers.step)
        rows.earlier_step = buffers.earlier_step if number > 1 else None
    if INITIAL in roles:
        rows.initial = buffers.initial
        if number == 0:
            buffers.initial[:] = buffers.current
            buffers.drift[:] = 0.0
            rows.drift = buffers.drift
        elif number == 1 and rows.step is not None:  # the first step is the first drift
            rows.drift = rows.step
        else:
            rows.drift = np.subtract(buffers.current, buffers.initial, out=buffers.drift)
    return rows


class _Walk:
    """The partial results of one checkpoint while its chunks are read."""

    def __init__(
        self, state: PlainState, source: Source, has_previous: bool, is_summed: bool, memory: ByteArray | None
    ) -> None:
        self.info, self.source, self.memory, self.is_summed = state.info, source, memory, is_summed
        self.dtype = numpy_dtype(state.info.dtype)
        self.columns = prod(state.info.shape[1:])
        previous_dtype = self.dtype if has_previous else None
        key = state.key if STEP_SKETCH in state.needs else None
        self.tally = Tally(prod(state.info.shape), self.dtype, previous_dtype, counts_of(state.needs), key)
        self.is_wanted = bool(state.needs)
        self.digest = blake3()
        part = state.info.parts[0]
        self.checksum = part.checksum if is_of_all(part) else None
        self.crc32 = self.checksum.seed if self.checksum else 0
        self.lines = _LineCounts(self) if DEAD_LINES in state.needs else None
        self.unmoved = UnmovedRows(state.info.shape[0], self.columns) if UNMOVED_ROWS in state.needs else None
        is_spectral = any(need.is_spectral for need in state.needs)
        self.gram = Gram(np.empty((self.columns, self.columns))) if is_spectral else None
        self.norms = LineNorms(self.columns)

    def read(self, chunk: Chunk, start: int, passing: Array) -> Array:
        """Read the chunk's stored elements, (length,), into the kept block or else into ``passing``."""
        stored = passing[: chunk.length]
        if self.memory is not None:
            first = (chunk.start - start) * self.dtype.itemsize
            stored = self.memory[first : first + stored.nbytes].view(self.dtype)
        data = stored.view(np.uint8).data
        self.source.read_into(self.info.parts[0].offset + chunk.start * self.dtype.itemsize, data)
        if self.is_wanted:
            self.digest.update(data)
        if self.checksum:
            self.crc32 = crc32(data, self.crc32)
        return stored

    def verify(self) -> None:
        """Check that the file has not changed, and that the bytes read are those that were written.

        Raises:
            CheckpointError: they are not.
        """
        self.source.verify_unchanged()
        if self.checksum:
            require(self.source.path, self.checksum, self.crc32)

    def end_block(self, length: int) -> None:
        """Process a block as rows of a matrix."""
        if self.memory is None:
            return
        rows = self.memory[: length * self.dtype.itemsize].view(self.dtype).reshape(-1, self.columns)
        if self.lines:
            self.lines.add(rows)
        if self.gram:
            self.gram.add(rows)
            self.norms.add(rows)

    def is_complete(self, sums: ElementSums) -> bool:
        """Check that the sums suffice: no square underflowed, and near zeros are counted if requested."""
        least = LEAST_SQUARE if self.dtype == np.float64 else 0.0
        counted = sums.near_zeros is not None or not self.tally.summarize
        return not self.is_summed or (sums.products.current >= least and counted)

    def summarize(self, sums: ElementSums, previous: Summarized | None) -> Summarized:
        """Return the summary; the Gram matrix is freed, unused if W_{t−1} has the same bytes."""
        content = self.digest.hexdigest(length=16) if self.is_wanted else ""
        of_matrix: dict[Need, object] = {}
        if self.lines:
            of_matrix[DEAD_LINES] = self.lines.dead()
        if self.unmoved:
            of_matrix[UNMOVED_ROWS] = self.unmoved.count()
        known = previous.of_matrix if previous and previous.content == content else {}
        if self.gram and SPECTRUM in known:
            of_matrix[SPECTRUM], self.gram = known[SPECTRUM], None
        elif self.gram:
            total, self.gram = self.gram.matrix, None
            noise = rounding_noise(unit_roundoff(self.dtype), self.norms.largest())
            of_matrix[SPECTRUM] = spectrum_of_blocks(total, self._read_blocks_again, self.info.shape[0], noise)
        return Summarized(self.info.shape, self.dtype, content, sums, of_matrix)

    def _read_blocks_again(self) -> Iterator[Array]:
        """Read the matrix once more, block by block, for singular values that the Gram matrix does not determine."""
        size, block = prod(self.info.shape), block_size(self.info.shape)
        memory = np.empty(block, self.dtype)
        for start in range(0, size, block):
            flat = memory[: min(block, size - start)]
            self.source.read_into(self.info.parts[0].offset + start * self.dtype.itemsize, flat.view(np.uint8).data)
            yield flat.reshape(-1, self.columns)


class _LineCounts:
    """Counts the rows and columns of a matrix that are entirely zero, block by block."""

    def __init__(self, walk: _Walk) -> None:
        self.tally, self.zeros_before = walk.tally, 0
        self.dead_rows, self.live_columns = 0, np.zeros(walk.columns, dtype=bool)

    def add(self, rows: Array) -> None:
        """Count in a block, (rows, columns), whose elements are in the tally already."""
        zeros = self.tally.zeros - self.zeros_before if self.tally.summarize else rows.size
        self.zeros_before = self.tally.zeros
        if zeros < min(rows.shape):  # too few for a whole row or column
            self.live_columns[:] = True
            return
        live_rows, live_columns = live_lines(rows)
        self.dead_rows += len(rows) - live_rows
        self.live_columns |= live_columns

    def dead(self) -> DeadLines:
        """Return the counts."""
        return DeadLines(self.dead_rows, self.live_columns.size - int(np.count_nonzero(self.live_columns)))
