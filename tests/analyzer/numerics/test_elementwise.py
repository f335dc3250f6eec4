"""Sums over elements, beside exactly rounded ones."""

from __future__ import annotations

import threading
from dataclasses import astuple
from math import fsum, isnan

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.engine.observing import Observer
from analyzer.engine.states import Loaded
from analyzer.metrics.needs import NEEDS
from analyzer.model.observed import FinitenessCount, Interval, Role
from analyzer.model.run import TensorInfo
from analyzer.numerics import elementwise
from analyzer.numerics.blocks import CHUNK, Chunk
from analyzer.numerics.rounding import unit_roundoff
from analyzer.numerics.sums import NO_COUNTS, Counts, Tally, consecutive_sums

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
    assert summary.near_zeros == np.count_nonzero(np.abs(W) < 1e-3 * rms)


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
