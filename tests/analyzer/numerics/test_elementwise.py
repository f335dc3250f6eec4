"""Sums over elements, beside exactly rounded ones."""

from __future__ import annotations

import threading
from dataclasses import asdict, astuple
from math import fsum, isnan, nan, sqrt

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.engine.observing import Observer
from analyzer.engine.states import Loaded
from analyzer.metrics.needs import NEEDS
from analyzer.model.observed import ChangedBits, DeadLines, FinitenessCount, Interval, Role, SignFlips
from analyzer.model.run import TensorInfo
from analyzer.numerics import blocks, elementwise, sums
from analyzer.numerics.blocks import CHUNK, Chunk
from analyzer.numerics.rounding import EPSILON, ROUNDING_DISPLACEMENT, unit_roundoff
from analyzer.numerics.sums import (
    NO_COUNTS,
    ChunkBuffers,
    Counts,
    Rows,
    Tally,
    consecutive_sums,
    fill_signs,
    near_zero_threshold,
)

ELEMENTS, FINITENESS = NEEDS["elements"], NEEDS["finiteness"]
ALL = Counts.ELEMENTS | Counts.SIGN_FLIPS | Counts.CHANGED_BITS
SIZES = [1, 2, 7, 1000, (1 << 14) - 1, 1 << 14, (1 << 14) + 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 3 * (1 << 16) + 5]
DTYPES = [np.float16, np.float32, np.float64, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]


def inner_products(current, previous=None, before_previous=None, initial=None):
    return elementwise.element_sums(current, previous, before_previous, initial).products


def flips(current, previous):
    return elementwise.element_sums(current, previous, counts=Counts.SIGN_FLIPS).flips


def summary_of(w):
    """The need ``elements`` of a tensor, as the engine computes it."""
    return ELEMENTS.compute(observer_of(w, {ELEMENTS}), None)


def observer_of(w, needs):
    info = TensorInfo("w", "float64", w.shape, ())
    return Observer(info, {Role.CURRENT: Loaded(w, "")}, Interval(None), frozenset(needs), {})


def dot(a: np.ndarray, b: np.ndarray) -> float:
    """Σ a·b, rounded once: float64 products of float32-sized integers are summed exactly."""
    return fsum((a.astype(np.longdouble) * b.astype(np.longdouble)).tolist())


def states(count: int, size: int, dtype, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed + size)
    walk = np.cumsum(generator.standard_normal((count, size)) * ([[1.0]] + [[0.05]] * (count - 1)), axis=0)
    return [one.astype(dtype) for one in walk]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_inner_products_are_those_of_exact_summation(size, dtype):
    if size > 70000 and dtype is not np.float32:
        pytest.skip("one dtype is enough for many blocks")
    w, p, q, i = states(4, size, dtype)[::-1]
    result = inner_products(w, p, q, i)
    W, P, Q, I = (one.astype(np.float64) for one in (w, p, q, i))  # noqa: E741
    expected = {
        "current": (W, W),
        "previous": (P, P),
        "initial": (I, I),
        "step": (W - P, W - P),
        "earlier_step": (P - Q, P - Q),
        "step_earlier_step": (W - P, P - Q),
        "step_previous": (W - P, P),
        "drift": (W - I, W - I),
        "current_initial": (W, I),
    }
    assert result.count == size
    for name, (a, b) in expected.items():
        scale = dot(np.abs(a), np.abs(b))  # a sum with cancellation is exact relative to its terms
        assert abs(getattr(result, name) - dot(a, b)) <= 1e-12 * scale, name


def test_small_steps_of_large_weights_keep_their_digits():
    previous = np.full(100_003, 1000.0, dtype=np.float32)
    current = np.nextafter(previous, np.float32(2000))
    step = np.float64(current[0]) - 1000.0
    result = inner_products(current, previous)
    assert result.step == pytest.approx(100_003 * step**2, rel=1e-13)


@pytest.mark.parametrize("ratio", [1e-12, 1e-6, 1e6, 1e12])
def test_a_jump_in_size_leaves_every_product_its_digits(ratio):
    w, p, q, i = states(4, 5000, np.float64)
    p, q, i = p * ratio, q * ratio, i * ratio
    result = inner_products(w, p, q, i)
    assert result.current == pytest.approx(dot(w, w), rel=1e-12)
    assert result.previous == pytest.approx(dot(p, p), rel=1e-12)
    assert result.initial == pytest.approx(dot(i, i), rel=1e-12)
    assert result.step == pytest.approx(dot(w - p, w - p), rel=1e-12)
    assert result.earlier_step == pytest.approx(dot(p - q, p - q), rel=1e-12)


def test_the_products_of_some_states_are_those_of_all():
    """Which other sums are asked for must not change a bit of these."""
    w, p, q, i = states(4, 70_000, np.float32)
    everything = inner_products(w, p, q, i)
    assert inner_products(w, p).step == everything.step
    assert inner_products(w, None, None, i).drift == everything.drift
    assert inner_products(w, p, q).step_earlier_step == everything.step_earlier_step
    assert inner_products(w).current == pytest.approx(everything.current, rel=1e-13)


def test_nan_in_one_tensor_does_not_reach_the_next_one_through_the_buffers():
    w, p, q, i = states(4, 50_000, np.float32)
    before = elementwise.element_sums(w, p, q, i, ALL)
    bad = np.full(60_000, np.nan, dtype=np.float32)
    elementwise.element_sums(bad, bad, bad, bad, ALL)
    assert elementwise.element_sums(w, p, q, i, ALL) == before
    elementwise.element_sums(bad, bad, bad, bad)
    assert inner_products(w, p).step == before.products.step
    assert inner_products(w).current == pytest.approx(before.products.current, rel=1e-13)


def test_sums_of_consecutive_checkpoints_are_those_of_each_with_its_earlier_states():
    series = states(4, 1000, np.float32)
    expected, tallies = [], []
    for t, current in enumerate(series):
        earlier = (series[t - 1] if t > 0 else None, series[t - 2] if t > 1 else None, series[0])
        expected.append(astuple(inner_products(current, *earlier)))
        arrays, chunk = elementwise.StateArrays(current, *earlier), Chunk(0, 1000)
        tallies.append(Tally(1000, current.dtype, None, NO_COUNTS))
        tallies[-1].add(arrays.rows(chunk, False), *arrays.bits(chunk))
    found = [astuple(one.products) for one in consecutive_sums(tallies)]
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_products_with_an_absent_state_are_nan():
    (w, p) = states(2, 10, np.float32)
    alone = inner_products(w)
    assert all(
        isnan(getattr(alone, name))
        for name in ("previous", "initial", "step", "earlier_step", "step_earlier_step", "step_previous", "drift")
    )
    assert not isnan(alone.current)
    pair = inner_products(w, p)
    assert isnan(pair.earlier_step) and isnan(pair.step_earlier_step) and isnan(pair.drift)
    assert not isnan(pair.step)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 50_000, 99_999])
def test_fault_39_a_bad_element_anywhere_makes_its_sums_nonfinite_and_is_counted(bad, place):
    w, p = states(2, 100_000, np.float32)
    w[place] = bad
    result = inner_products(w, p, None, p)
    assert not np.isfinite([result.current, result.step, result.drift]).any()
    assert np.isfinite([result.previous, result.initial]).all()
    count = FINITENESS.compute(observer_of(w, {FINITENESS}), None)
    assert (count.count, count.nonfinite) == (100_000, 1)


def test_fault_39_finiteness_of_sound_weights():
    (w,) = states(1, 10, np.float32)
    assert FINITENESS.compute(observer_of(w, {FINITENESS}), None) == FinitenessCount(10, 0, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 1000, (1 << 16) + 3])
def test_element_summary_beside_numpy(size, dtype):
    (w,) = states(1, size, dtype)
    w[::7] = 0
    w[1::97] = np.asarray(-0.0, dtype=dtype)
    W = w.astype(np.float64)
    summary = summary_of(w)
    rms = np.sqrt(np.mean(W**2))
    assert summary.count == size
    assert summary.absolute == pytest.approx(fsum(np.abs(W).tolist()), rel=1e-12)
    assert summary.largest == np.abs(W).max()
    assert summary.zeros == np.count_nonzero(W == 0)
    assert summary.near_zeros == np.count_nonzero((np.abs(W) < 1e-3 * rms) | (W == 0))


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (300, 700), (70_000, 3), (3, 70_000)])
def test_dead_lines_beside_numpy(shape):
    generator = np.random.default_rng(1)
    w = generator.standard_normal(shape).astype(np.float32)
    w[generator.random(shape[0]) < 0.3] = 0
    w[:, generator.random(shape[1]) < 0.3] = -0.0
    result = elementwise.dead_lines(w)
    assert (result.rows, result.columns) == ((w == 0).all(axis=1).sum(), (w == 0).all(axis=0).sum())


@pytest.mark.parametrize("dtype", [*DTYPES, np.int64, np.int8, np.bool_, np.complex64, np.complex128])
def test_changed_bits_compares_stored_bits_not_values(dtype):
    generator = np.random.default_rng(2)
    size = (1 << 16) + 11
    a = generator.integers(0, 2, size).astype(dtype)
    b = a.copy()
    places = generator.choice(size, 37, replace=False)
    raw = b.view(np.uint8).reshape(size, -1)
    raw[places, -1] ^= 1 if dtype is np.bool_ else 0x80  # often only a sign: 0 becomes -0, which equals it
    result = elementwise.changed_bits(b, a)
    assert (result.count, result.changed) == (size, 37)
    if dtype in DTYPES:
        assert elementwise.element_sums(b, a, counts=Counts.CHANGED_BITS).changed == result
    assert elementwise.changed_bits(a, a).changed == 0


def test_changed_bits_sees_nan_as_equal_to_itself_and_zero_as_different_from_minus_zero():
    a = np.array([np.nan, 0.0, 1.0, np.inf], dtype=np.float32)
    assert elementwise.changed_bits(a.copy(), a).changed == 0
    assert elementwise.changed_bits(np.array([np.nan, -0.0, 1.0, np.inf], dtype=np.float32), a).changed == 1


@given(
    st.lists(
        st.tuples(
            *[st.floats(width=32, allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 1e-45])] * 2
        ),
        min_size=1,
        max_size=50,
    )
)
@settings(max_examples=60, deadline=None)
def test_a_sign_flips_only_from_one_side_of_zero_to_the_other(pairs):
    a, b = np.array(pairs, dtype=np.float32).T
    expected = sum((x > 0 > y) or (x < 0 < y) for x, y in zip(a.tolist(), b.tolist(), strict=True))
    result = flips(np.ascontiguousarray(a), np.ascontiguousarray(b))
    assert (result.count, result.flipped) == (len(pairs), expected)


def test_all_counts_over_many_chunks_are_those_of_numpy():
    previous, current = np.random.default_rng(0).integers(-2, 3, (2, 2 * CHUNK + 5)).astype(np.float32)
    current[0] = 9
    found = elementwise.element_sums(current, previous, counts=ALL)
    assert found.zeros == np.count_nonzero(current == 0)
    assert found.flips.flipped == np.count_nonzero(current * previous < 0)
    assert found.changed.changed == np.count_nonzero(current != previous)
    assert (found.absolute, found.largest) == (np.abs(current).sum(dtype=np.float64), 9)


def test_small_elements_before_large_ones_are_near_zero_in_the_end():
    summary = summary_of(np.repeat([1e-6, 1.0], CHUNK))
    assert (summary.near_zeros, summary.zeros) == (CHUNK, 0)


def test_a_few_zeros_among_small_elements_are_counted_once():
    w = np.ones(1000)
    w[:3], w[3:5] = 0.0, 1e-6
    summary = summary_of(w)
    assert (summary.near_zeros, summary.zeros) == (5, 3)


def test_sign_flips_over_many_blocks():
    w, p = states(2, (1 << 17) + 3, np.float32)
    assert flips(w, p).flipped == np.count_nonzero(np.sign(w) * np.sign(p) < 0)


@pytest.mark.parametrize(
    ("dtype", "u"),
    [
        (np.float64, 2**-53),
        (np.float32, 2**-24),
        (np.float16, 2**-11),
        (ml_dtypes.bfloat16, 2**-8),
        (ml_dtypes.float8_e4m3fn, 2**-4),
        (ml_dtypes.float8_e5m2, 2**-3),
    ],
)
def test_unit_roundoff_is_the_largest_relative_error_of_rounding_to_nearest(dtype, u):
    assert unit_roundoff(np.dtype(dtype)) == u


def test_fault_42_extreme_float32_weights_neither_overflow_nor_vanish():
    for size in (1e20, 1e-30, 1e-45, 3e38):
        w = np.full(1000, size, dtype=np.float32)
        result = inner_products(w, -w, None, w)
        exact = float(w[0].astype(np.float64) ** 2) * 1000
        assert result.current == pytest.approx(exact, rel=1e-12)
        assert result.step == pytest.approx(4 * exact, rel=1e-12)
        assert result.drift == 0


def test_threads_do_not_share_their_buffers():
    w, p, q, i = states(4, 200_000, np.float32)
    alone = inner_products(w, p, q, i)
    other = inner_products(i, q, p, w)
    wrong: list[object] = []

    def work(arrays, expected):
        wrong.extend(arrays for _ in range(30) if inner_products(*arrays) != expected)

    threads = [
        threading.Thread(target=work, args=arguments) for arguments in (((w, p, q, i), alone), ((i, q, p, w), other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_elements_whose_squares_vanish_are_near_zero_beside_others():
    w = np.ones(3 * CHUNK)
    w[:CHUNK] = 1e-170
    summary = summary_of(w)
    assert (summary.near_zeros, summary.zeros) == (CHUNK, 0)


# ------------------------------------------------------------------------------- every constant, term and boundary


def test_the_constants_of_rounding_and_of_near_zeros():
    """The displacement: a uniform error of up to u, over a significand with density 1/(m·ln 2) on [1, 2]."""
    assert EPSILON == 2**-52
    assert pytest.approx(0.4246609, abs=5e-8) == ROUNDING_DISPLACEMENT
    assert (sums.NEAR_ZERO, sums.LEAST_SQUARE, sums.KEPT_MARGIN, sums.MOST_KEPT) == (1e-3, 1e-280, 4.0, 1 / 64)


def test_all_sums_of_a_few_elements_as_numbers():
    w, p, q, i = (np.array(one, dtype=np.float32) for one in ([3, -4], [1, 2], [0, -1], [-2, 5]))
    products = inner_products(w, p, q, i)
    assert asdict(products) == {
        "count": 2,
        "current": 25,
        "previous": 5,
        "initial": 29,
        "step": 40,
        "earlier_step": 10,
        "step_earlier_step": -16,
        "step_previous": -10,
        "drift": 106,
        "current_initial": -26,
        "rounding": (0.42466090014400953 * 2**-24) ** 2 * 25,
    }


def test_nothing_is_counted_unless_it_is_asked_for():
    w, p = np.array([0.0, 1.0, -2.0]), np.array([1.0, -1.0, -2.0])
    plain = elementwise.element_sums(w, p)
    assert (plain.absolute, plain.largest, plain.zeros, plain.flips, plain.changed) == (0, 0, 0, None, None)
    assert plain.near_zeros is None
    sizes = elementwise.element_sums(w, p, counts=Counts.ELEMENTS)
    assert (sizes.absolute, sizes.largest, sizes.zeros, sizes.near_zeros) == (3, 2, 1, 1)
    assert (sizes.flips, sizes.changed) == (None, None)
    signs = elementwise.element_sums(w, p, counts=Counts.SIGN_FLIPS)
    assert (signs.zeros, signs.flips, signs.changed) == (0, SignFlips(3, 1), None)
    bits = elementwise.element_sums(w, p, counts=Counts.CHANGED_BITS)
    assert (bits.zeros, bits.flips, bits.changed) == (0, None, ChangedBits(3, 2))
    both = elementwise.element_sums(w, p, counts=ALL)
    assert (both.zeros, both.near_zeros, both.flips, both.changed) == (1, 1, SignFlips(3, 1), ChangedBits(3, 2))


def test_without_a_previous_state_nothing_is_compared_with_it():
    w, q = np.array([0.0, 3.0], dtype=np.float32), np.array([5.0, 7.0], dtype=np.float32)
    found = elementwise.element_sums(w, None, q, counts=ALL)
    assert (found.flips, found.changed, found.zeros) == (None, None, 1)
    assert all(isnan(getattr(found.products, name)) for name in ("step", "earlier_step", "step_earlier_step"))


def test_a_previous_state_of_another_dtype_has_signs_and_steps_but_no_bits_to_compare():
    w, p = np.array([-2.0, 3.0], dtype=np.float32), np.array([1.0, 3.0])
    found = elementwise.element_sums(w, p, counts=ALL)
    assert (found.flips, found.changed, found.products.step) == (SignFlips(2, 1), None, 9)


@pytest.mark.parametrize(
    ("role", "name"),
    [(Role.PREVIOUS, "previous"), (Role.INITIAL, "initial"), (Role.BEFORE_PREVIOUS, "earlier_step")],
)
def test_a_sum_of_squares_that_is_known_is_taken_as_it_is(role, name):
    w, p, q, i = (np.array(one) for one in ([3.0, -4.0], [1.0, 2.0], [0.0, -1.0], [-2.0, 5.0]))
    plain = asdict(inner_products(w, p, q, i))
    known = asdict(elementwise.element_sums(w, p, q, i, known={role: 28.0}).products)
    expected = plain | {name: 28.0}
    if role is Role.INITIAL:
        expected["current_initial"] = (25 + 28 - 106) / 2
    assert known == expected


@pytest.mark.parametrize("is_odd", [False, True])
def test_the_rows_of_a_chunk_do_not_overlap_and_the_products_are_those_of_the_named_ones(is_odd):
    buffers = ChunkBuffers(Chunk(10, 5), is_odd)
    names = ("current", "previous", "step", "earlier_step", "drift", "initial", "scratch")
    vectors = dict(zip(names, np.random.default_rng(0).integers(-9, 10, (7, 5)).astype(np.float64), strict=True))
    for name in names:
        getattr(buffers, name)[:] = vectors[name]
    buffers.signs[:], buffers.previous_signs[:], buffers.flags[:] = [[True], [False]], [[False], [True]], True
    for name in names:
        np.testing.assert_array_equal(getattr(buffers, name), vectors[name])
    assert (buffers.signs[0].all(), buffers.signs[1].any()) == (True, False)
    assert (buffers.previous_signs[0].any(), buffers.previous_signs[1].all()) == (False, True)
    step, earlier = vectors["step"], vectors["earlier_step"]
    assert buffers.step_products() == (step @ vectors["previous"], step @ step, step @ earlier)
    assert buffers.earlier_squares() == earlier @ earlier


def test_at_the_next_checkpoint_the_current_rows_are_the_previous_ones():
    even, odd = ChunkBuffers(Chunk(0, 4)), ChunkBuffers(Chunk(0, 4), is_odd=True)
    assert (even.is_odd, odd.is_odd) == (False, True)
    for now, then in ((even, odd), (odd, even)):
        for name, later in (("current", "previous"), ("step", "earlier_step"), ("signs", "previous_signs")):
            assert np.shares_memory(getattr(now, name), getattr(then, later))
            assert getattr(now, name).shape == getattr(then, later).shape
        assert np.shares_memory(now.initial, then.initial)
        assert not np.shares_memory(now.signs, now.previous_signs)


def test_the_squares_of_a_chunk_are_those_of_the_state_in_the_role():
    buffers = ChunkBuffers(Chunk(0, 2))
    rows = Rows(buffers, buffers.current)
    for role in (Role.PREVIOUS, Role.INITIAL, Role.BEFORE_PREVIOUS):
        assert isnan(rows.squares(role))
    buffers.previous[:], buffers.initial[:], buffers.earlier_step[:] = [1, 2], [3, 4], [5, 6]
    rows.previous, rows.initial, rows.earlier_step = buffers.previous, buffers.initial, buffers.earlier_step
    squares = [rows.squares(role) for role in (Role.PREVIOUS, Role.INITIAL, Role.BEFORE_PREVIOUS)]
    assert squares == [5, 25, 61]


@pytest.mark.parametrize("dtype", DTYPES)
def test_signs_are_below_and_above_zero(dtype):
    stored = np.array([-2, -0.0, 0.0, 3, np.nan]).astype(dtype)
    signs = fill_signs(stored, stored.astype(np.float64), np.ones((2, 5), dtype=bool))
    np.testing.assert_array_equal(signs, [[1, 0, 0, 0, 0], [0, 0, 0, 1, 0]])


@pytest.mark.parametrize(
    ("role", "missing"),
    [
        (Role.PREVIOUS, {"previous", "step", "step_previous"}),
        (Role.INITIAL, {"initial", "drift", "current_initial"}),
        (Role.BEFORE_PREVIOUS, {"earlier_step", "step_earlier_step"}),
    ],
)
def test_sums_limited_to_some_states_lack_those_of_the_others(role, missing):
    every = (Role.PREVIOUS, Role.INITIAL, Role.BEFORE_PREVIOUS)
    whole = elementwise.element_sums(*states(4, 10, np.float64), counts=ALL)
    assert whole.limited_to(every) == whole
    part = whole.limited_to([one for one in every if one is not role])
    for name, value in asdict(part.products).items():
        assert isnan(value) if name in missing else value == getattr(whole.products, name)
    assert (part.absolute, part.largest, part.near_zeros) == (whole.absolute, whole.largest, whole.near_zeros)


def test_the_first_of_consecutive_checkpoints_is_the_initial_one_of_all():
    tallies = [Tally(1, np.dtype(np.float64), None, NO_COUNTS) for _ in range(3)]
    for tally, current, step in zip(tallies, (4.0, 9.0, 25.0), (nan, 1.0, 16.0), strict=True):
        tally.current, tally.step = current, step
    found = [one.products for one in consecutive_sums(tallies)]
    assert [one.initial for one in found] == [4, 4, 4]
    assert [one.previous for one in found[1:]] == [4, 9]
    assert isnan(found[0].previous) and isnan(found[0].earlier_step) and isnan(found[1].earlier_step)
    assert found[2].earlier_step == 1
    assert consecutive_sums([]) == []


@pytest.mark.parametrize(("squared", "size", "threshold"), [(0.0, 3, 0.0), (4.0, 4, 1e-3), (36.0, 4, 3e-3)])
def test_the_threshold_is_a_thousandth_of_the_root_mean_square(squared, size, threshold):
    assert near_zero_threshold(squared, size) == pytest.approx(threshold, rel=1e-15)


def test_an_element_at_the_threshold_is_not_near_zero():
    w = np.array([1.0, -1.0, 0.999, -0.999, 0.0, -5.0, 5.0, 1.001])
    assert elementwise.count_near_zeros(w.reshape(2, 4), 8e6) == 3
    assert elementwise.count_near_zeros(w, 0.0) == 1  # the zero
    many = np.full(2 * CHUNK + 1, 0.5, dtype=np.float32)
    assert elementwise.count_near_zeros(many, 1e6 * many.size) == many.size


@pytest.mark.parametrize(("small", "zeros", "kept"), [(10, 0, True), (11, 0, False), (10, 20, True), (0, 640, True)])
def test_one_in_64_elements_may_be_small_besides_the_zeros(small, zeros, kept):
    w = np.ones(640)
    w[:small], w[small : small + zeros] = 1e-6, 0
    found = elementwise.element_sums(w, counts=ALL)
    if zeros == 640:
        assert (found.near_zeros, found.zeros) == (640, 640)
    else:
        assert found.near_zeros == (small + zeros if kept else None)
        assert found.zeros == zeros
        assert summary_of(w).near_zeros == small + zeros


@pytest.mark.parametrize(("later", "kept"), [(3.9, True), (4.1, False)])
def test_magnitudes_below_four_times_the_first_threshold_are_kept(later, kept):
    """Of two chunks, the second determines the rms of both, ``later`` times that of the first."""
    w = np.ones(2 * CHUNK, dtype=np.float64)
    w[CHUNK:] = sqrt(2 * later**2 - 1)
    w[-3:] = 1e-3 * (later - 0.05)
    found = elementwise.element_sums(w, counts=Counts.ELEMENTS)
    assert found.near_zeros == (3 if kept else None)
    assert summary_of(w).near_zeros == 3


def near_zeros_of(size, chunks):
    kept = sums._NearZeros(size)
    for magnitudes in chunks:
        magnitudes = np.array(magnitudes)
        kept.add(magnitudes, float(magnitudes @ magnitudes), np.zeros(magnitudes.size, dtype=bool))
    return kept


def test_small_magnitudes_are_kept_until_the_threshold_is_known():
    kept = near_zeros_of(192, [[1.0, 1.0, 1e-3], [4.0, 1e-3, 2e-3], [0.0, 1e-3, 3.9e-3]])
    assert kept.room == -1  # 3 of 192 may be kept
    assert kept.kept == []
    assert kept.below(1e-9) is None
    kept = near_zeros_of(256, [[1.0, 1.0, 1.0], [4.0, 1e-3, 2e-3], [0.0, 1e-3, 3.9e-3]])
    assert (kept.room, kept.bound) == (0, 4e-3)
    assert [kept.below(threshold) for threshold in (0.0, 1e-3, 1.1e-3, 2e-3, 3e-3, 4e-3)] == [0, 0, 2, 2, 3, 4]
    assert kept.below(np.nextafter(4e-3, 1)) is None


def test_a_first_chunk_of_zeros_has_no_bound_and_one_whose_squares_vanish_ends_the_keeping():
    kept = near_zeros_of(256, [[0.0, 0.0], [1.0, 1.0], [1e-4, 1.0]])
    assert (kept.room, kept.bound, kept.below(1e-3)) == (3, 4e-3, 1)
    assert near_zeros_of(256, [[0.0, 1e-200]]).below(0.0) is None
    assert near_zeros_of(256, []).below(0.0) == 0


def test_magnitudes_at_the_bound_are_not_kept():
    assert near_zeros_of(256, [[1.0, 1.0], [4e-3, 4e-3], [np.nextafter(4e-3, 0), 1.0]]).room == 3


def test_nonfinite_elements_are_counted_in_every_chunk():
    w = np.ones((3, CHUNK), dtype=np.float16)
    w[0, 0], w[1, 5], w[2, 6], w[2, -1] = np.nan, np.inf, -np.inf, np.nan
    assert elementwise.count_nonfinite(w) == (4, 2)
    assert elementwise.count_nonfinite(w[1:2]) == (1, 0)


@pytest.mark.parametrize("dtype", [np.int8, np.complex64, np.complex128])
def test_changed_bits_are_counted_in_every_chunk_and_in_either_half(dtype):
    a = np.zeros((3, CHUNK), dtype=dtype)
    b = a.copy()
    b[0, 0], b[1, 7], b[2, -1] = 1, 1, (1 if dtype is np.int8 else 1j)
    assert elementwise.changed_bits(b, a) == ChangedBits(3 * CHUNK, 3)
    b[1, 8] = 1 if dtype is np.int8 else 1 + 1j  # both halves are one element
    assert elementwise.changed_bits(b, a) == ChangedBits(3 * CHUNK, 4)


@pytest.mark.parametrize("columns", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1])
def test_dead_lines_of_few_long_rows_and_of_many_short_ones(columns):
    matrix = np.zeros((3, columns) if columns > 2 else (CHUNK + 3, columns), dtype=np.int8)
    rows = len(matrix)
    assert elementwise.dead_lines(matrix) == DeadLines(rows, columns)
    matrix[0, 0] = matrix[-1, 0] = 1
    assert elementwise.dead_lines(matrix) == DeadLines(rows - 2, columns - 1)
    live_rows, live_columns = elementwise.live_lines(matrix)
    assert (live_rows, live_columns.shape, live_columns.nonzero()[0].tolist()) == (2, (columns,), [0])


def test_states_are_flat_rows_and_their_bits_unsigned_integers():
    current, previous = np.array([[1.0, -2.0]], dtype=np.float32), np.array([[3.0, 0.0]], dtype=np.float32)
    arrays = elementwise.StateArrays(current, previous, None, None)
    now, before = arrays.bits(Chunk(1, 1))
    assert (now.dtype, before.dtype, now.tolist(), before.tolist()) == (np.uint32, np.uint32, [0xC0000000], [0])
    other = elementwise.StateArrays(current, previous.astype(np.float64), None, None)
    assert other.bits(Chunk(0, 2))[1] is None
    assert elementwise.StateArrays(current, None, None, None).bits(Chunk(0, 2))[1] is None
    rows = arrays.rows(Chunk(1, 1), with_signs=True)
    assert (rows.current.tolist(), rows.previous.tolist(), rows.step.tolist()) == ([-2], [0], [-2])
    assert (rows.initial, rows.earlier_step, rows.drift) == (None, None, None)
    assert rows.buffers.signs.tolist() == [[True], [False]]
    assert rows.buffers.previous_signs.tolist() == [[False], [False]]


@pytest.mark.parametrize("chunk", [1, 3, 64, 1 << 17])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
def test_unmoved_rows_are_those_with_the_same_bytes(dtype, chunk, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK", chunk)
    initial = np.random.default_rng(0).standard_normal((11, 5)).astype(dtype)
    current = initial.copy()
    assert elementwise.unmoved_rows(current, initial) == 11
    current[0, 0], current[4, 2], current[4, 3], current[10, 4] = 9, 9, 9, 9
    assert elementwise.unmoved_rows(current, initial) == 8
    initial[7, 1], current[7, 1] = 0.0, -0.0
    assert elementwise.unmoved_rows(current, initial) == 7


def test_without_an_earlier_state_no_changed_bits_are_counted():
    """None == np.dtype(np.float64) is true in numpy."""
    for dtype in (np.float32, np.float64):
        assert not sums.Tally(3, np.dtype(dtype), None, ALL).count_changed
        assert sums.Tally(3, np.dtype(dtype), np.dtype(dtype), ALL).count_changed
