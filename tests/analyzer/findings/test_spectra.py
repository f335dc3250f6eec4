"""Condition numbers, ranks, outliers and power-law tails."""

from __future__ import annotations

import numpy as np
import pytest
from builders import full_count, random_walk
from planted import SHAPES, finding_of, found_in, name, only, tables_with

from analyzer.findings.spectra import (
    alpha_out_of_range,
    condition_number_explodes,
    noise_soft_rank,
    outliers_leave_bulk,
    random_condition_bound,
    rank_collapses,
)
from analyzer.findings.wording import number
from analyzer.metrics.random_matrix import mp_outlier_count, mp_soft_rank
from analyzer.model.observed import Spectrum
from analyzer.model.tables import CheckpointRow, Curve, Tables, TensorRow


def test_a_condition_number_beyond_chance(tmp_path):
    states = random_walk(10, SHAPES)
    for epoch, weights in enumerate(states):
        left, sizes, right = np.linalg.svd(weights["fc1.weight"], full_matrices=False)
        sizes[-1] /= 4.0**epoch
        weights["fc1.weight"] = (left * sizes @ right).astype(np.float32)
    one = only(found_in(tmp_path, states), "condition_number_explodes")
    assert (one.severity, one.tensor, one.figure) == ("warning", "fc1.weight", "condition_number")
    assert one.checkpoints == name(2, 9)
    median = np.linalg.cond(states[8]["fc1.weight"])  # of the last three, so it is not the one at the last checkpoint
    assert f" to about {number(median)}; it first reached ten times its first value at epoch 2." in one.sentence


def test_square_random_matrices_do_not_alarm(tmp_path):
    """Their condition numbers wander by factors of ten all by themselves."""
    shapes = {f"layers.{n}.weight": (12, 12) for n in range(60)}
    generator = np.random.default_rng(0)
    states = [{key: generator.standard_normal(shape) for key, shape in shapes.items()} for _ in range(6)]
    conditions = np.array([[np.linalg.cond(array) for array in weights.values()] for weights in states])
    assert (np.median(conditions[-3:], axis=0) > 10 * conditions[0]).any()  # the factor alone would alarm
    findings = found_in(tmp_path, [{k: a.astype(np.float32) for k, a in w.items()} for w in states])
    assert "condition_number_explodes" not in {one.rule for one in findings}


@pytest.mark.parametrize("shape", [(12, 12), (14, 12), (30, 12), (12, 60)])
def test_the_bound_on_random_condition_numbers_holds(shape):
    conditions = np.linalg.cond(np.random.default_rng(3).standard_normal((full_count(20000, 4000), *shape)))
    bound = random_condition_bound(*shape)
    assert np.mean(conditions > bound) <= 1e-3 + 2e-3
    assert bound < 1000 * np.median(conditions)  # and it is no empty bound


def test_a_collapsing_rank(tmp_path):
    states = random_walk(10, SHAPES)
    for epoch, weights in enumerate(states):
        left, sizes, right = np.linalg.svd(weights["fc2.weight"], full_matrices=False)
        weights["fc2.weight"] = (left * sizes ** (1 + epoch) @ right / sizes[0] ** epoch).astype(np.float32)
    findings = found_in(tmp_path, states)
    one = only(findings, "rank_collapses")
    assert (one.tensor, one.figure) == ("fc2.weight", "rank")
    assert one.severity == "notice" and 0.2 < one.evidence["left"]["fc2.weight"] <= 0.5


def test_outliers_leave_the_bulk_and_when(tmp_path):
    shapes = {"wide.weight": (60, 80), "other.weight": (60, 80)}
    states = random_walk(10, shapes)
    generator = np.random.default_rng(4)
    direction = np.outer(generator.standard_normal(60), generator.standard_normal(80)) / np.sqrt(60 * 80)
    for epoch, weights in enumerate(states[4:], start=1):
        weights["wide.weight"] += (25 * epoch * direction).astype(np.float32)
    one = only(found_in(tmp_path, states), "outliers_leave_bulk")
    assert (one.severity, one.tensor, one.checkpoints[0]) == ("info", "wide.weight", "epoch_4.safetensors")
    assert "1 layer has " in one.sentence and "from epoch 4 on; 1 of its 60 is outside at epoch 9" in one.sentence


def spectra_in_tables(runs_of_layers):
    """Tables of the random-matrix numbers of some layers: ``[layer][checkpoint]`` is a matrix."""
    curves, tensors = {}, []
    for n, states in enumerate(runs_of_layers):
        shape, count = states[0].shape, len(states)
        spectra = [Spectrum(np.linalg.svd(one, compute_uv=False), *shape, noise=0.0) for one in states]
        tensors.append(TensorRow(f"w{n}", "", "matrix", shape, shape, "", "float32"))
        for metric in (mp_outlier_count, mp_soft_rank):
            values = np.array([metric(spectrum).value for spectrum in spectra])
            key = ("tensor", f"w{n}", metric.__name__)
            curves[key] = Curve(*key, values, ("ok",) * count, (None,) * count)
    rows = tuple(CheckpointRow(f"c{position}", float(position), position, "", 1) for position in range(count))
    return Tables("run", np.arange(float(count)), "epoch", rows, tuple(tensors), {}, {}, curves, {}, (), ())


@pytest.mark.parametrize(("layers", "shape"), [(12, (128, 256)), (60, (50, 50)), (30, (12, 12))])
def test_noise_has_no_outliers_in_more_than_one_of_twenty_runs(layers, shape):
    """However many layers it has; checkpoints depend on each other, as each is the one before and a small step."""
    generator, runs = np.random.default_rng(0), full_count(200, 40)
    told = 0
    for _ in range(runs):
        starts = generator.standard_normal((layers, *shape))
        steps = 0.05 * generator.standard_normal((4, layers, *shape))
        walks = np.concatenate((starts[None], starts + np.cumsum(steps, axis=0)))
        told += bool(list(outliers_leave_bulk(spectra_in_tables(walks.swapaxes(0, 1)))))
    assert told <= runs / 20


def test_an_outlier_is_found_among_many_layers_of_noise():
    generator = np.random.default_rng(1)
    walks = np.repeat(generator.standard_normal((12, 1, 128, 256)), 6, axis=1)
    spike = np.outer(generator.standard_normal(128), generator.standard_normal(256)) / np.sqrt(128 * 256)
    walks[3, 2:] += 1.5 * (np.sqrt(128) + np.sqrt(256)) * spike
    (one,) = outliers_leave_bulk(spectra_in_tables(walks))
    assert one.evidence["outliers"] == {"w3": 1} and one.evidence["since"] == {"w3": "c2"}
    assert "1 layer has " in one.sentence and "learned" not in one.sentence


@pytest.mark.parametrize(("alpha", "said"), [(1.5, "below 2"), (3.0, None), (12.0, "above 6")])
def test_power_law_exponents_outside_2_to_6(tmp_path, alpha, said):
    generator = np.random.default_rng(5)
    eigenvalues = (1 - (np.arange(150) + 0.5) / 150) ** (-1 / (alpha - 1))
    left, right = (np.linalg.qr(generator.standard_normal((n, 150)))[0] for n in (150, 160))
    states = [{"w": (left * np.sqrt(eigenvalues) @ right.T * (1 + 0.001 * t)).astype(np.float32)} for t in range(3)]
    findings = [one for one in found_in(tmp_path, states) if one.rule == "alpha_out_of_range"]
    assert [one.evidence["alpha"]["w"] for one in findings] == ([pytest.approx(alpha, rel=0.1)] if said else [])
    assert all(said in one.sentence and "KS distance" in one.sentence for one in findings)


# ------------------------------------------------------------------------------------------------- edges of rules


def test_the_bound_on_random_condition_numbers_is_that_of_the_theorem():
    assert random_condition_bound(10, 10) == pytest.approx(10 * 6.414 / (1e-3 * np.sqrt(2 * np.pi)))
    assert random_condition_bound(10, 11) == pytest.approx(11 / 2 * 6.414 / np.sqrt(1e-3 * np.sqrt(2 * np.pi)))
    assert random_condition_bound(1000, 10) == pytest.approx(1000)  # the theorem holds from x = 991 on


@pytest.mark.parametrize(
    ("first", "last", "severity"),
    [
        (2.0, 2.0, None),
        (1000.0, 9999.0, None),
        (1000.0, 10_000.0, "notice"),
        (1000.0, 99_999.0, "notice"),
        (1000.0, 100_000.0, "warning"),
        (0.0, 100_000.0, None),
    ],
)
def test_a_condition_number_explodes_tenfold_and_a_hundredfold_is_a_warning(first, last, severity):
    one = finding_of(condition_number_explodes, tables_with({"condition_number": [first, last, last, last]}))
    assert (one.severity if one else None) == severity


def test_a_condition_number_must_exceed_that_of_a_random_matrix():
    bound = random_condition_bound(64, 96)
    for last in (bound, np.nextafter(bound, np.inf)):
        one = finding_of(condition_number_explodes, tables_with({"condition_number": [1, last, last, last]}))
        assert (one is not None) == (last > bound)


def test_a_condition_number_explodes_at_the_place_where_it_reaches_ten_times():
    rows = {(key, "condition_number"): [1000, 9999, 10_000, 20_000, 20_000, 20_000] for key in "ab"}
    one = finding_of(condition_number_explodes, tables_with(rows))
    assert one.checkpoints == ("c2", "c5") and "at epoch 2; so does that of a. Some directions" in one.sentence
    one = finding_of(condition_number_explodes, tables_with({"condition_number": [1000, *[10_000] * 4]}))
    assert "at epoch 1. Some directions" in one.sentence


@pytest.mark.parametrize(
    ("metric", "first", "last", "severity"),
    [
        ("effective_rank", 40, 20, "notice"),
        ("effective_rank", 40, 20.1, None),
        ("effective_rank", 40, 8, "warning"),
        ("effective_rank", 40, 8.1, "notice"),
        ("stable_rank", 40, 2, "notice"),
        ("stable_rank", 40, 2.01, None),
        ("stable_rank", 16, 1.6, "notice"),
        ("stable_rank", 16, 1.61, None),
    ],
)
def test_a_rank_collapses_to_half_or_to_one_direction(metric, first, last, severity):
    one = finding_of(rank_collapses, tables_with({metric: [first, first, last, last, last]}))
    assert (one.severity if one else None) == severity
    assert one is None or one.checkpoints == ("c2", "c4")


def outliers(counts, soft, shape=(64, 96)):
    return finding_of(outliers_leave_bulk, tables_with({"mp_outlier_count": counts, "mp_soft_rank": soft}, shape=shape))


@pytest.mark.parametrize(
    ("counts", "shape", "reported"),
    [
        ([0, 0, 1, 1, 1], (50, 80), True),
        ([0, 0, 0, 1, 1], (50, 80), False),  # two checkpoints at the end are too few
        ([0, 1, 1], (50, 80), False),  # three in all have no beginning
        ([0, 1, 1, 1], (50, 80), True),
        ([0, 1, 1, 1], (49, 80), False),  # below n = 50 it takes two
        ([0, 2, 2, 2], (49, 80), True),
        ([4, 9, 9, 9], (50, 80), True),  # 4 + 1 + 2√4
        ([4, 8, 8, 8], (50, 80), False),
    ],
)
def test_outliers_must_last_for_three_checkpoints_and_exceed_the_scatter_of_a_count(counts, shape, reported):
    assert (outliers(counts, [0.1] * len(counts), shape) is not None) == reported


def test_an_outlier_must_be_further_out_than_noise_in_one_of_twenty_runs():
    limit = noise_soft_rank(64, 96, 0.05)
    assert outliers([0, 1, 1, 1], [1, limit, limit, limit]) is None
    below = np.nextafter(limit, 0)
    assert outliers([0, 1, 1, 1], [1, below, below, below]) is not None
    assert outliers([0, 1, 1, 1], [1, below, below, limit]) is None


def test_a_layer_with_three_numbers_is_not_among_those_that_noise_is_reckoned_for():
    below = np.nextafter(noise_soft_rank(64, 96, 0.05), 0)
    rows = {("a", "mp_outlier_count"): [0, 1, 1, 1], ("a", "mp_soft_rank"): [1, below, below, below]}
    rows |= {("b", "mp_outlier_count"): [np.nan, 0, 0, 0], ("b", "mp_soft_rank"): [np.nan, 1, 1, 1]}
    assert finding_of(outliers_leave_bulk, tables_with(rows)).tensor == "a"
    rows |= {("b", "mp_outlier_count"): [0, 0, 0, 0]}
    assert finding_of(outliers_leave_bulk, tables_with(rows)) is None


@pytest.mark.parametrize(
    ("alpha", "count", "distance", "side"),
    [
        (1.5, 50, 0.1, "below 2"),
        (1.5, 49, 0.1, None),
        (1.5, 50, 0.101, None),
        (1.875, 196, 0.05, None),  # exactly two standard errors below 2
        (1.874, 196, 0.05, "below 2"),
        (7.0, 144, 0.05, None),  # exactly two above 6
        (7.01, 144, 0.05, "above 6"),
    ],
)
def test_an_exponent_must_be_two_standard_errors_outside_on_a_good_tail(alpha, count, distance, side):
    rows = {"alpha": [3, alpha], "alpha_tail_count": [100, count], "alpha_ks_distance": [0.05, distance]}
    one = finding_of(alpha_out_of_range, tables_with(rows))
    assert (one is not None) == (side is not None) and (one is None or f"ends {side} (" in one.sentence)


def test_more_layers_with_such_an_exponent_are_counted():
    rows = {(key, "alpha"): [1.5] for key in "ab"} | {(key, "alpha_tail_count"): [100] for key in "ab"}
    rows |= {(key, "alpha_ks_distance"): [0.05] for key in "ab"}
    one = finding_of(alpha_out_of_range, tables_with(rows))
    assert "of a ends below 2 (alpha 1.5, on 100 eigenvalues, KS distance 0.05), and of 1 more layer:" in one.sentence
    alone = finding_of(alpha_out_of_range, tables_with({key[1]: row for key, row in rows.items()}))
    assert "of w ends below 2 (alpha 1.5, on 100 eigenvalues, KS distance 0.05): a very heavy tail" in alone.sentence
