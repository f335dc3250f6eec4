"""Where tensors are cut into blocks, and blocks into chunks: every boundary as a number."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.numerics.blocks import CHUNK, Chunk, block_rows, block_size, chunks, chunks_between


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        (1, 1 << 20),
        (2, 1 << 19),
        (100, 10485),  # 2^20 elements
        (418, 2508),  # 6 · 418² is less than 2^20
        (419, 2514),  # and 6 · 419² is more
        (500, 3000),  # six times as many rows as columns
        (724, 4344),
        (725, 4338),  # 3 · 2^20 elements
        (768, 4096),
        (1773, 1774),
        (1774, 1774),  # as many rows as columns
        (5000, 5000),
    ],
)
def test_a_block_has_six_times_as_many_rows_as_columns_within_limits(columns, rows):
    assert block_rows(columns) == rows


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((), 1),
        ((0,), 0),
        ((3 << 20,), 3 << 20),
        ((7, 3), 21),
        ((3, 7), 21),
        ((4, 4), 16),
        ((2, 3 << 20), 6 << 20),
        ((2 << 20, 1), 1 << 20),
        ((1 << 20, 2), 1 << 20),
        ((10486, 4, 25), 10485 * 100),
        ((10485, 4, 25), 10485 * 100),
        ((10484, 4, 25), 10484 * 100),
        ((1774, 1773), 1774 * 1773),
    ],
)
def test_only_a_tall_matrix_is_cut_into_blocks_of_whole_rows(shape, size):
    assert block_size(shape) == size


def test_a_chunk_is_a_range_of_the_flat_array():
    flat = np.arange(10)
    np.testing.assert_array_equal(Chunk(3, 4).of(flat), [3, 4, 5, 6])
    np.testing.assert_array_equal(Chunk(0, 1).of(flat), [0])


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 0, []),
        (5, 6, [(5, 1)]),
        (0, 131072, [(0, 131072)]),
        (0, 131073, [(0, 131072), (131072, 1)]),
        (7, 7 + 3 * 131072 - 1, [(7, 131072), (131079, 131072), (262151, 131071)]),
    ],
)
def test_a_block_is_cut_into_chunks_of_131072_elements_and_a_rest(start, end, expected):
    assert CHUNK == 131072
    assert [(one.start, one.length) for one in chunks_between(start, end)] == expected


@pytest.mark.parametrize(
    ("size", "block", "expected"),
    [
        (0, 5, []),
        (10, 10, [(0, 10)]),
        (10, 4, [(0, 4), (4, 4), (8, 2)]),
        (8, 4, [(0, 4), (4, 4)]),
        (
            400_003,
            200_000,
            [(0, 131072), (131072, 68928), (200_000, 131072), (331072, 68928), (400_000, 3)],
        ),
    ],
)
def test_a_tensor_is_cut_block_by_block(size, block, expected):
    assert [(one.start, one.length) for one in chunks(size, block)] == expected
