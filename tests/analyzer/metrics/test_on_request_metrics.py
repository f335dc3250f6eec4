"""The families on request, measured through the engine and by themselves, beside plain numpy in float64."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from fractions import Fraction
from math import ceil, erf, exp, pi, sqrt

import ml_dtypes
import numpy as np
import pytest
from builders import save_weights, weightlapse_metadata
from commands import measured, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from analyzer.metrics import METRICS, pruning, select_metrics, subspace, update
from analyzer.model.observed import InnerProducts, LeadingSubspaces, MagnitudeShares, StepSpectrum
from analyzer.model.run import Value
from analyzer.numerics import elementwise, magnitudes, subspaces
from analyzer.numerics.magnitudes import largest_half, magnitude_shares
from analyzer.numerics.singular_values import difference_values
from analyzer.numerics.subspaces import leading_subspaces

FAMILIES = ("subspace", "update", "pruning")
OVERLAPS = ("overlap_previous", "overlap_initial")
UPDATES = ("update_stable_rank", "update_effective_rank")
SHARES = ("magnitude_share_10", "magnitude_share_50", "magnitude_share_90")
SHAPES = {
    "conv.weight": (12, 2, 3, 3),
    "wide.weight": (10, 40),
    "tall.weight": (40, 11),
    "square.weight": (16, 16),
    "mlp.experts.weight": (3, 14, 10),
    "small.weight": (8, 30),
    "fc.bias": (11,),
    "scale": (),
}
DTYPES = {"float32": np.float32, "float64": np.float64, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
EPOCHS = 4


@pytest.fixture(autouse=True, scope="module")
def one_thread_for_small_matrices():
    with threadpool_limits(1):
        yield


def random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def written(folder, states):
    for epoch, weights in enumerate(states):
        save_weights(folder / f"epoch_{epoch}.safetensors", weights, weightlapse_metadata(epoch))
    return folder


@pytest.fixture(scope="module", params=DTYPES)
def oracle(request, tmp_path_factory):
    """(measured rows, states in float64 as matrices by name) of one run."""
    dtype = DTYPES[request.param]
    weights = {name: random(n, *shape) for n, (name, shape) in enumerate(SHAPES.items())}
    states = []
    for epoch in range(EPOCHS):
        states.append({name: np.asarray(array).astype(dtype) for name, array in weights.items()})
        weights = {name: array + 0.2 * random(50 + epoch, *array.shape) for name, array in weights.items()}
    states[3]["tall.weight"] = states[2]["tall.weight"].copy()
    folder = written(tmp_path_factory.mktemp("on_request") / "run", states)
    return rows_of(measured(folder, metrics=FAMILIES)), [as_matrices(state) for state in states]


def as_matrices(state):
    result = {}
    for name, array in state.items():
        wide = array.astype(np.float64)
        if "experts" in name:
            result |= {f"{name}[{e}]": wide[e] for e in range(len(wide))}
        elif wide.ndim > 1:
            result[name] = wide.reshape(len(wide), -1)
    return result


def assert_row(rows, epoch, name, metric, expected):
    row = rows[f"epoch_{epoch}.safetensors", "tensor", name, metric]
    if expected is None:
        assert (row["value"], row["status"]) == (None, "undefined"), (epoch, name, metric)
    else:
        assert row["value"] == pytest.approx(expected, rel=1e-9), (epoch, name, metric)
    return row


def test_nothing_else_is_measured_and_none_of_it_by_default(oracle):
    rows, states = oracle
    names = {metric.row.name for metric in select_metrics(FAMILIES)}
    assert names == {*OVERLAPS, *UPDATES, *SHARES, "mask_churn", "update_spectral_norm"}
    assert {metric for *_, metric in rows} == names
    assert {tensor for _, scope, tensor, _ in rows if scope == "tensor"} == set(states[0])
    assert not names & {metric.row.name for metric in select_metrics()}


def test_a_metric_of_the_step_has_no_row_at_the_first_checkpoint(oracle):
    rows, _ = oracle
    first = {metric for checkpoint, _, _, metric in rows if checkpoint == "epoch_0.safetensors"}
    assert first == {"overlap_initial", *SHARES}
    row = rows["epoch_3.safetensors", "tensor", "square.weight", "overlap_initial"]
    assert row["reference"] == "epoch_0.safetensors"
    row = rows["epoch_3.safetensors", "tensor", "square.weight", "overlap_previous"]
    assert row["reference"] == "epoch_2.safetensors"


# -------------------------------------------------------------------------------------------------- subspaces


def expected_overlap(one, other, k=8):
    """Mean squared cosine of the principal angles, by numpy's SVD twice; None where the subspaces do not separate."""
    if min(one.shape) <= k:
        return None
    cosines = []
    (u, s, vt), (p, q, rt) = (np.linalg.svd(matrix) for matrix in (one, other))
    if min((s[k - 1] - s[k]) / s[k - 1], (q[k - 1] - q[k]) / q[k - 1]) < 1e-3:
        return None
    for a, b in ((u[:, :k], p[:, :k]), (vt[:k].T, rt[:k].T)):
        cosines.extend(np.linalg.svd(a.T @ b, compute_uv=False))
    return np.mean(np.square(cosines))


def test_overlaps_are_the_principal_angles_of_numpys_singular_vectors(oracle):
    rows, states = oracle
    defined = 0
    for epoch in range(EPOCHS):
        for name, matrix in states[epoch].items():
            expected = expected_overlap(matrix, states[0][name])
            assert_row(rows, epoch, name, "overlap_initial", expected)
            defined += expected is not None
            if epoch:
                assert_row(rows, epoch, name, "overlap_previous", expected_overlap(matrix, states[epoch - 1][name]))
    assert defined >= 20


def test_with_no_more_than_eight_singular_values_there_is_no_subspace(oracle):
    rows, _ = oracle
    assert_row(rows, 2, "small.weight", "overlap_previous", None)


def orthogonal(seed, rows, columns):
    return np.linalg.qr(random(seed, rows, columns))[0]


def planted(values, m, n, seed=0):
    return orthogonal(seed, m, len(values)) * values @ orthogonal(seed + 1, n, len(values)).T


def distance(basis, other):
    """Sine of the largest angle between two subspaces of the same dimension."""
    return np.linalg.norm(other - basis @ (basis.T @ other), 2)


@pytest.mark.parametrize("shape", [(30, 12), (300, 120), (120, 300), (128, 128)], ids=str)
@pytest.mark.parametrize("eighth", [0.5, 1e-2, 1e-4, 1e-7])
@pytest.mark.parametrize("scale", [1.0, 1e-180])
def test_leading_subspaces_are_those_that_were_planted(shape, eighth, scale):
    """A graded spectrum: the Gram matrix alone would lose the eighth direction from 1e-4 on."""
    n = min(shape)
    values = np.concatenate([np.geomspace(1, eighth, 8), eighth * 0.998 * np.geomspace(1, 1e-3, n - 8)])
    matrix = planted(values, *shape) * scale
    found = leading_subspaces(matrix, 8)
    left, right = orthogonal(0, shape[0], n)[:, :8], orthogonal(1, shape[1], n)[:, :8]
    tolerance = 1e-12 / eighth + 1e-9
    assert distance(found.left, left) < tolerance
    assert distance(found.right, right) < tolerance
    assert found.gap == pytest.approx(0.002, rel=1e-9 / eighth)
    for basis in (found.left, found.right):
        assert np.abs(basis.T @ basis - np.eye(8)).max() < 1e-13


@pytest.mark.parametrize("gap", [0.9e-3, 1.1e-3])
def test_subspaces_that_do_not_separate_are_undefined(gap):
    values = np.concatenate([np.linspace(3, 1, 8), (1 - gap) * np.linspace(1, 0.2, 22)])
    one, other = leading_subspaces(planted(values, 40, 30), 8), leading_subspaces(random(9, 40, 30), 8)
    for pair in ((one, other), (other, one), (one, one)):
        assert subspace.overlap_previous(*pair).status == ("undefined" if gap < 1e-3 else "ok")


def test_a_matrix_of_lower_rank_has_no_eight_directions():
    matrix = planted(np.arange(1.0, 6.0), 40, 30)
    assert leading_subspaces(matrix, 8).gap == 0
    assert leading_subspaces(np.zeros((40, 30)), 8).gap == 0
    exact = leading_subspaces(planted(np.arange(1.0, 9.0), 40, 30), 8)
    assert exact.gap == pytest.approx(1)
    assert subspace.overlap_initial(exact, exact) == Value(pytest.approx(1, abs=1e-14), "ok")


def test_a_gap_that_storage_rounding_can_close_is_precision_limited():
    values = np.concatenate([np.linspace(3, 1, 8), 0.998 * np.linspace(1, 0.8, 92)])
    matrix = planted(values, 100, 100)
    coarse, fine = (leading_subspaces(matrix.astype(dtype), 8) for dtype in (ml_dtypes.bfloat16, np.float32))
    # Spectral norm of what rounding adds, measured, over σ_8.
    error = np.linalg.norm(matrix.astype(ml_dtypes.bfloat16).astype(np.float64) - matrix, 2)
    assert error < coarse.rounding < 1.3 * error  # a bound
    assert fine.rounding < fine.gap
    assert subspace.overlap_previous(fine, fine).status == "ok"
    if coarse.gap >= subspace.SEPARATION:
        assert subspace.overlap_previous(coarse, fine).status == "precision_limited"
    assert coarse.gap < coarse.rounding


def test_independent_matrices_overlap_by_chance():
    bases = [leading_subspaces(random(seed, 90, 60), 8) for seed in range(30)]
    found = [subspace.overlap_previous(a, b).value for a, b in zip(bases[::2], bases[1::2], strict=True)]
    found = [one for one in found if one is not None]
    assert len(found) > 8
    assert np.mean(found) == pytest.approx((8 / 90 + 8 / 60) / 2, rel=0.1)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
@settings(max_examples=20, deadline=None)
def test_an_overlap_ignores_scale_order_and_common_rotation(seed, factor):
    values = np.concatenate([np.linspace(4, 2, 8), np.linspace(1, 0.2, 8)])
    one, other = planted(values, 25, 16, seed % 1000), planted(values, 25, 16, seed % 1000 + 7)
    turn = orthogonal(seed, 25, 25)
    base = subspace.overlap_previous(leading_subspaces(one, 8), leading_subspaces(other, 8)).value
    for a, b in ((other, one), (one * factor, other), (turn @ one, turn @ other), (one.T, other.T)):
        again = subspace.overlap_previous(leading_subspaces(a, 8), leading_subspaces(b, 8)).value
        assert again == pytest.approx(base, rel=1e-9)
    assert 0 <= base <= 1


# ------------------------------------------------------------------------------------------------ rank of the step


def expected_ranks(step):
    s = np.linalg.svd(step, compute_uv=False)
    share = s[s > 0] / s.sum()
    return {
        "update_stable_rank": np.sum(s**2) / s[0] ** 2,
        "update_effective_rank": exp(-np.sum(share * np.log(share))),
    }


def test_ranks_of_the_step_are_those_of_the_difference(oracle):
    rows, states = oracle
    for epoch in range(1, EPOCHS):
        for name, matrix in states[epoch].items():
            step = matrix - states[epoch - 1][name]
            expected = expected_ranks(step) if step.any() else dict.fromkeys(UPDATES)
            for metric in UPDATES:
                row = assert_row(rows, epoch, name, metric, expected[metric])
                assert row["status"] == ("ok" if step.any() else "undefined")


def test_a_step_within_storage_rounding_is_below_precision_and_the_spectra_stay_those_of_the_weights(tmp_path):
    start = random(1, 40, 30).astype(ml_dtypes.bfloat16)
    nudged = start.copy()
    nudged[:2] *= ml_dtypes.bfloat16(1.01)
    folder = written(tmp_path / "run", [{"fc.weight": start}, {"fc.weight": nudged}])
    rows = rows_of(measured(folder, metrics=[*FAMILIES, "spectral_norm"]))
    for metric in (*UPDATES, "mask_churn"):
        row = rows["epoch_1.safetensors", "tensor", "fc.weight", metric]
        assert row["status"] == "below_precision"
        assert row["value"] is not None
    norm = rows["epoch_1.safetensors", "tensor", "fc.weight", "spectral_norm"]["value"]
    assert norm == pytest.approx(np.linalg.norm(nudged.astype(np.float64), 2), rel=1e-12)


@pytest.mark.parametrize("shape", [(20, 12), (400, 90), (90, 400), (150, 150)], ids=str)
@pytest.mark.parametrize("kind", ["dense", "few rows", "few columns", "low rank", "one entry"])
def test_the_spectrum_of_a_difference_is_numpys(shape, kind):
    previous = random(2, *shape).astype(np.float32)
    step = 1e-3 * random(3, *shape)
    if kind == "few rows":
        step[5:] = 0
    if kind == "few columns":
        step[:, 5:] = 0
    if kind == "low rank":
        step = random(4, shape[0], 3) @ random(5, 3, shape[1])
        previous = np.zeros_like(previous)
    if kind == "one entry":
        step = np.zeros(shape)
        step[3, 4] = 1
    current = (previous + step).astype(np.float32)
    found = difference_values(current, previous)
    exact = np.linalg.svd(current.astype(np.float64) - previous, compute_uv=False)
    assert np.abs(found - exact).max() <= 1e-13 * exact[0]
    assert np.all(np.diff(found) <= 0)


@pytest.mark.parametrize("shape", [(20, 12), (120, 90)], ids=str)
def test_differences_too_small_or_large_to_be_squared_keep_their_spectrum(shape):
    for scale in (1e-200, 1e-308, 1e170):
        current, previous = random(6, *shape) * scale, random(7, *shape) * scale
        exact = np.linalg.svd((current - previous) / scale, compute_uv=False)
        assert difference_values(current, previous) / scale == pytest.approx(exact, rel=1e-7)


def traced(function, *arguments) -> int:
    tracemalloc.start()
    function(*arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_nothing_as_large_as_the_matrix_is_held_in_float64():
    current, previous = (random(seed, 130_000, 64).astype(np.float32) for seed in (10, 11))
    previous[:, 40:] = current[:, 40:]  # singular: the triangular factor has to decide
    whole = current.size * 8
    assert traced(difference_values, current, previous) < 0.9 * whole
    assert traced(leading_subspaces, current, 8) < 0.9 * whole  # the bases alone are an eighth of it


# ------------------------------------------------------------------------------------------------------ pruning


def largest(matrix, count):
    """The ``count`` entries of largest magnitude, the first of equals, as a set of indices."""
    flat = np.abs(matrix.ravel())
    return set(sorted(range(flat.size), key=lambda index: (-flat[index], index))[:count])


def expected_churn(current, previous):
    half = current.size // 2
    return len(largest(current, half) ^ largest(previous, half)) / current.size


def expected_share(matrix, percent):
    squares = np.sort(np.square(matrix.ravel()))[::-1]
    return squares[: ceil(Fraction(percent * matrix.size, 100))].sum() / squares.sum()


def test_pruning_metrics_are_their_definition(oracle):
    rows, states = oracle
    for epoch in range(EPOCHS):
        for name, matrix in states[epoch].items():
            for metric in SHARES:
                assert_row(rows, epoch, name, metric, expected_share(matrix, int(metric[-2:])))
            if epoch:
                churn = assert_row(rows, epoch, name, "mask_churn", expected_churn(matrix, states[epoch - 1][name]))
                still = (epoch, name) == (3, "tall.weight")
                assert churn["status"] == ("below_precision" if still else "ok")
                assert (churn["value"] == 0) == still


def churn(current, previous, dtype=np.float32) -> Value:
    current, previous = (np.asarray(one).astype(dtype) for one in (current, previous))
    return pruning.mask_churn(current, previous, elementwise.element_sums(current, previous).products)


SMALL_INTEGERS = st.integers(2, 5).flatmap(
    lambda n: st.lists(st.integers(-3, 3), min_size=6 * n, max_size=6 * n).map(lambda some: np.reshape(some, (-1, n)))
)


@given(SMALL_INTEGERS)
@settings(max_examples=100, deadline=None)
def test_of_equal_magnitudes_the_first_are_in_the_mask(both):
    current, previous = np.array_split(both, 2)
    for dtype in (np.float64, ml_dtypes.bfloat16):
        found = churn(current, previous, dtype)
        if current.any() and previous.any():
            assert found.value == expected_churn(current, previous)
        else:
            assert found == Value(None, "undefined")


def test_churn_is_nothing_for_the_same_mask_all_for_its_complement_and_half_by_chance():
    matrix = random(12, 31, 9)
    assert churn(-3 * matrix, matrix).value == 0
    order = np.argsort(np.argsort(np.abs(random(13, 30, 10)).ravel())).reshape(30, 10) + 1.0
    assert churn(301 - order, order).value == 1
    assert churn(random(14, 300, 200), random(15, 300, 200)).value == pytest.approx(0.5, abs=0.01)


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(2, 12))
@settings(max_examples=30, deadline=None)
def test_shares_grow_with_the_part_that_is_kept_and_ignore_scale(seed, rows, columns):
    matrix = random(seed, rows, columns)
    shares, tiny = (magnitude_shares(one) for one in (matrix, matrix * 1e-200))
    found = (shares.largest_10, shares.largest_50, shares.largest_90)
    assert 0.1 <= found[0] <= found[1] <= found[2] <= 1
    assert found == pytest.approx([expected_share(matrix, percent) for percent in (10, 50, 90)], rel=1e-12)
    assert (tiny.largest_10, tiny.largest_50, tiny.largest_90) == pytest.approx(found, rel=1e-9)


def test_shares_of_normal_weights_are_those_of_the_normal_distribution():
    shares = magnitude_shares(random(16, 1000, 800).astype(np.float32))
    for part, q in (("largest_10", 1.6448536), ("largest_50", 0.6744898), ("largest_90", 0.1256613)):
        expected = 2 * q * exp(-q * q / 2) / sqrt(2 * pi) + 1 - erf(q / sqrt(2))
        assert getattr(shares, part) == pytest.approx(expected, rel=0.01)


def test_a_zero_matrix_has_no_shares_and_no_churn(tmp_path):
    states = [{"fc.weight": np.zeros((4, 6), np.float32)} for _ in range(2)]
    rows = rows_of(measured(written(tmp_path / "run", states), metrics=["pruning", *UPDATES]))
    assert {(row["value"], row["status"]) for row in rows.values()} == {(None, "undefined")}


def test_a_matrix_of_equal_magnitudes_shares_its_energy_evenly():
    shares = magnitude_shares(np.where(random(17, 20, 10) > 0, 2.0, -2.0).astype(ml_dtypes.float8_e4m3fn))
    assert (shares.largest_10, shares.largest_50, shares.largest_90) == pytest.approx((0.1, 0.5, 0.9), rel=1e-14)


def test_a_nonfinite_or_reshaped_state_has_a_status_and_no_value(tmp_path):
    good = random(18, 12, 10).astype(np.float32)
    bad = good.copy()
    bad[3, 4] = np.nan
    states = [{"fc.weight": good}, {"fc.weight": bad}, {"fc.weight": random(19, 10, 12).astype(np.float32)}]
    rows = rows_of(measured(written(tmp_path / "run", states), metrics=FAMILIES))
    for metric in METRICS:
        if METRICS[metric].row.family in FAMILIES:
            found = [rows.get((f"epoch_{t}.safetensors", "tensor", "fc.weight", metric)) for t in (1, 2)]
            alone = metric in SHARES
            expected = ["nonfinite", "ok" if alone else "undefined"]
            assert [row["status"] for row in found] == expected, metric


def test_each_expert_is_judged_by_its_own_step(tmp_path):
    start = random(20, 3, 14, 10).astype(np.float32)
    moved = start.copy()
    moved[1] += random(21, 14, 10).astype(np.float32)
    moved[2] = 0
    states = [{"mlp.experts.weight": start}, {"mlp.experts.weight": moved}]
    rows = rows_of(measured(written(tmp_path / "run", states), metrics=FAMILIES))
    found = [rows["epoch_1.safetensors", "tensor", f"mlp.experts.weight[{e}]", "mask_churn"] for e in range(3)]
    assert [row["status"] for row in found] == ["below_precision", "ok", "undefined"]
    assert found[1]["value"] == expected_churn(moved[1], start[1])


# ------------------------------------------------------------------------------------- every boundary and constant

UNDEFINED = Value(None, "undefined")


def bases(gap, rounding=0.0, left=(0, 1), right=(0, 1)):
    """Coordinate axes of a matrix of 5 rows and 4 columns, in columns."""
    return LeadingSubspaces(np.eye(5)[:, list(left)], np.eye(4)[:, list(right)], gap, rounding)


@pytest.mark.parametrize("overlap", [subspace.overlap_previous, subspace.overlap_initial])
@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (bases(0.5), bases(0.5), Value(1.0, "ok")),
        (bases(0.5), bases(0.5, right=(0, 2)), Value(0.75, "ok")),
        (bases(0.5), bases(0.5, left=(3, 2)), Value(0.5, "ok")),
        (bases(0.5), bases(0.5, left=(1, 4), right=(1, 0)), Value(0.75, "ok")),
        (bases(0.5), bases(0.5, left=(2, 4), right=(2, 3)), Value(0.0, "ok")),
        (bases(1e-3), bases(1e-3), Value(1.0, "ok")),
        (bases(0.999e-3), bases(0.5), UNDEFINED),
        (bases(0.5), bases(0.999e-3), UNDEFINED),
        (None, bases(0.5), UNDEFINED),
        (bases(0.5), None, UNDEFINED),
        (None, None, UNDEFINED),
        (bases(0.5, 0.5), bases(0.25, 0.25), Value(1.0, "ok")),
        (bases(0.5, 0.51), bases(0.5), Value(1.0, "precision_limited")),
        (bases(0.5), bases(0.5, 0.51), Value(1.0, "precision_limited")),
    ],
)
def test_what_two_subspaces_give(overlap, one, other, expected):
    assert overlap(one, other) == expected


def test_an_overlap_is_not_above_one():
    wide = LeadingSubspaces(np.eye(5)[:, :2] * 1.001, np.eye(4)[:, :2] * 1.001, 0.5, 0.0)
    assert subspace.overlap_previous(wide, wide) == Value(1.0, "ok")


@pytest.mark.parametrize(("shape", "exists"), [((9, 30), True), ((30, 9), True), ((8, 30), False), ((30, 8), False)])
def test_there_must_be_more_singular_values_than_directions(shape, exists):
    assert (leading_subspaces(random(1, *shape), 8) is not None) == exists


def diagonal(values, rows, columns):
    matrix = np.zeros((rows, columns))
    np.fill_diagonal(matrix, values)
    return matrix


@pytest.mark.parametrize(("rows", "columns"), [(6, 4), (4, 6), (5, 5)])
def test_the_subspaces_of_a_diagonal_matrix_are_its_first_axes(rows, columns):
    values = np.r_[4.0, 3.0, 2.0, np.full(min(rows, columns) - 3, 1.0)]
    for dtype in (np.float32, np.float64):
        found = leading_subspaces(diagonal(values, rows, columns).astype(dtype), 2)
        for basis, size in ((found.left, rows), (found.right, columns)):
            np.testing.assert_allclose(np.abs(basis), np.eye(size)[:, :2], atol=1e-14)
        assert found.gap == pytest.approx(1 / 3, rel=1e-13)
        u = 2**-24 if dtype is np.float32 else 2**-53
        noise = 0.424661 * u * (4 + 4)  # the largest row and column
        assert found.rounding == pytest.approx(noise / 3, rel=1e-6)


def test_left_and_right_of_a_square_matrix_are_not_exchanged():
    matrix = np.zeros((3, 3))
    matrix[0, 2] = 5
    found = leading_subspaces(matrix, 1)
    assert np.abs(found.left).ravel().tolist() == [1, 0, 0]
    assert np.abs(found.right).ravel().tolist() == [0, 0, 1]
    assert found.gap == pytest.approx(1)


@pytest.mark.parametrize(("second", "factored"), [(1 / 499, 0), (1 / 501, 1)])
def test_directions_below_a_five_hundredth_come_from_the_triangular_factor(second, factored, monkeypatch):
    calls, plain = [], subspaces.triangular_factor
    monkeypatch.setattr(subspaces, "triangular_factor", lambda *some: calls.append(some[1]) or plain(*some))
    found = leading_subspaces(diagonal([1.0, second, second / 2], 5, 3), 2)
    assert calls == [3] * factored
    assert found.gap == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize(("rows", "columns"), [(100, 3), (3, 100)])
def test_a_last_direction_of_rounding_size_has_no_gap(rows, columns):
    for multiple, gap in ((99, 0.0), (101, 1.0)):
        found = leading_subspaces(diagonal([1.0, multiple * 2**-52, 0.0], rows, columns), 2)
        assert found.gap == gap
        assert (found.rounding == 0) == (gap == 0)
        assert (found.left.shape, found.right.shape) == ((rows, 2), (columns, 2))


@pytest.mark.parametrize(
    ("size", "ends"), [(1, (1, 1, 1)), (2, (1, 1, 2)), (10, (1, 5, 9)), (11, (2, 6, 10)), (20, (2, 10, 18))]
)
def test_the_parts_of_a_matrix_are_rounded_up(size, ends):
    values = np.random.default_rng(size).permutation(np.arange(1.0, size + 1))
    matrix = (values * (-1) ** np.arange(size)).reshape(1, size)
    for dtype in (np.float16, np.float32, np.float64):
        stored = matrix.astype(dtype)
        shares = magnitude_shares(stored)
        np.testing.assert_array_equal(stored, matrix)  # not taken by magnitude in place
        squares = np.arange(size, 0, -1) ** 2.0
        expected = [squares[:end].sum() / squares.sum() for end in ends]
        assert (shares.largest_10, shares.largest_50, shares.largest_90) == pytest.approx(expected, rel=1e-14)


def test_shares_over_several_blocks_of_squares():
    assert magnitudes.SQUARED_AT_A_TIME == 1 << 16
    matrix = np.r_[np.full(200_000, 1.0), np.full(200_000, -2.0)].reshape(1000, 400).astype(np.float32)
    shares = magnitude_shares(matrix)
    found = (shares.largest_10, shares.largest_50, shares.largest_90)
    assert found == pytest.approx((0.16, 0.8, 0.96), rel=1e-14)


def test_the_zero_matrix_has_no_shares_and_a_single_entry_has_them_all():
    assert magnitude_shares(np.zeros((2, 3), np.float32)) is None
    single = np.zeros((2, 3))
    single[1, 1] = -1e-300
    assert magnitude_shares(single) == MagnitudeShares(1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("entries", "mask"),
    [
        ([1, -2], [0, 1]),
        ([3, 1, -2], [1, 0, 0]),
        ([1, 1, 1, 1], [1, 1, 0, 0]),
        ([1, -1, 2, 1, 1], [1, 0, 1, 0, 0]),
        ([0, 0, 0, 5], [1, 0, 0, 1]),
        ([1, 2, 3, -4, 5, -6], [0, 0, 0, 1, 1, 1]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_the_larger_half_is_rounded_down_and_holds_the_first_of_equals(entries, mask, dtype):
    stored = np.array([entries]).astype(dtype)
    assert largest_half(stored).astype(int).tolist() == mask
    assert stored.ravel().tolist() == entries


PRODUCTS = InnerProducts(4, 30.0, 20.0, 1.0, 36.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("products", "expected"),
    [
        (PRODUCTS, Value(0.5, "ok")),
        (replace(PRODUCTS, rounding=1.001), Value(0.5, "below_precision")),
        (replace(PRODUCTS, current=0.0), UNDEFINED),
        (replace(PRODUCTS, previous=0.0), UNDEFINED),
    ],
)
def test_the_churn_has_the_status_of_the_step(products, expected):
    current, previous = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, -5.0], [3.0, 4.0]])
    assert pruning.mask_churn(current, previous, products) == expected


def test_the_metrics_of_shares_are_the_fields():
    shares = MagnitudeShares(0.2, 0.6, 0.95)
    assert [METRICS[name].function(shares) for name in SHARES] == [Value(0.2), Value(0.6), Value(0.95)]
    assert [METRICS[name].function(None) for name in SHARES] == [UNDEFINED] * 3
    assert ["10 %" in METRICS[name].row.definition for name in SHARES] == [True, False, False]
    assert ["90 %" in METRICS[name].row.definition for name in SHARES] == [False, False, True]


@pytest.mark.parametrize(("rounding", "status"), [(0.0, "ok"), (1.0, "ok"), (1.001, "below_precision")])
def test_norm_and_ranks_of_a_step_are_those_of_its_spectrum_with_the_status_of_the_step(rounding, status):
    products = replace(PRODUCTS, rounding=rounding)
    step = StepSpectrum(np.array([4.0, 2.0, 1.0, 1.0]))
    assert update.update_spectral_norm(step, products) == Value(4.0, status)
    assert update.update_stable_rank(step, products) == Value(22 / 16, status)
    assert update.update_effective_rank(step, products) == Value(pytest.approx(2**1.75, rel=1e-14), status)
    still = StepSpectrum(np.zeros(4))
    assert update.update_spectral_norm(still, replace(products, step=0.0)) == Value(
        0.0, "below_precision" if rounding else "ok"
    )
    assert update.update_stable_rank(still, products) == update.update_effective_rank(still, products) == UNDEFINED


def test_eight_directions_are_compared_that_are_separated_by_a_thousandth():
    assert (subspace.LEADING, subspace.SEPARATION) == (8, 1e-3)
