"""Steps of another length from some place on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from curve_tables import tables_of
from planted import checked, tables_with

from analyzer.findings.step_changes import step_length_changes
from analyzer.model.run import PRODUCT
from analyzer.model.tables import Tables

N = 31
LAYERS = {"a": 1.0, "b": 0.5, "c": 0.25}


def steps_of(rates, factors=None, axis=None, noise=0.05, seed=0) -> Tables:
    """Return tables of three layers whose steps follow the rates, each times its own factors (by layer)."""
    generator = np.random.default_rng(seed)
    rows = {}
    for name, size in LAYERS.items():
        own = np.asarray((factors or {}).get(name, 1.0))
        values = size * np.asarray(rates, float) * own * np.exp(noise * generator.standard_normal(len(rates)))
        rows["tensor", name, "step_distance"] = values
    rows["total", "", "step_distance"] = np.sqrt(np.sum([row**2 for row in rows.values()], axis=0))
    tables = tables_of(rows, {"x": np.zeros(len(rates))})
    return tables if axis is None else replace(tables, axis=np.array(axis, float))


def changes(tables: Tables):
    return checked(list(step_length_changes(tables)))


def from_place(place, factor, before=1.0):
    return np.where(np.arange(N) < place, before, before * factor)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("place", [6, 15, 25])
@pytest.mark.parametrize(("factor", "severity"), [(2.5, "notice"), (21, "warning"), (135, "warning")])
def test_a_rise_that_stays_has_its_place(place, factor, severity, seed):
    (one,) = changes(steps_of(from_place(place, factor) * 0.98 ** np.arange(N), seed=seed))
    assert one.severity == (severity if place > 10 else "notice")  # a warm-up may end so early
    assert one.evidence["since"] == [f"c{place}"] and one.checkpoints == (f"c{place - 1}", f"c{place}")
    assert one.evidence["ratio"][0] == pytest.approx(factor, rel=0.25)
    start = f"Something changed in the training after epoch {place - 1}: from there on, the steps of the weights are "
    assert one.sentence.startswith(start) and "times as long. A higher learning rate, " in one.sentence


@pytest.mark.parametrize("place", [6, 15, 25])
def test_a_fall_of_all_layers_alike_is_information(place):
    (one,) = changes(steps_of(from_place(place, 0.1)))
    assert (one.severity, one.evidence["since"]) == ("info", [f"c{place}"])
    assert "times shorter at epoch" in one.sentence and "in all layers alike" in one.sentence


@pytest.mark.parametrize(("place", "total"), [(8, 1.0), (16, 0.8), (24, 0.1)])
def test_layers_whose_shares_change_are_another_optimizer_even_if_the_total_hardly_changes(place, total):
    factors = {"a": from_place(place, 0.5), "c": from_place(place, 2.2)}
    (one,) = changes(steps_of(from_place(place, total), factors))
    assert (one.severity, one.evidence["since"]) == ("notice", [f"c{place}"])
    shares = one.evidence["compared_with_median"]
    assert shares == pytest.approx({"a": 0.5, "b": 1.0, "c": 2.2}, rel=0.15)
    compared = (
        f"those of c are {shares['c']:.1f} times as long and those of a are {1 / shares['a']:.1f} times as short. "
    )
    assert f"compared with the median layer, {compared}Probably the optimizer was exchanged there" in one.sentence
    assert one.evidence["tensors"] == ["a", "b", "c"]


@pytest.mark.parametrize(("before", "is_said"), [(1.0, True), (1.7, False)])
def test_a_smaller_change_of_shares_must_stand_out_from_those_around_it(before, is_said):
    place = 15
    shares = from_place(place, 1.9)
    shares[place - 6] = before
    for seed in range(5):
        assert bool(changes(steps_of(np.ones(N), {"c": shares}, noise=0.01, seed=seed))) == is_said


@pytest.mark.parametrize("jumping", ["bias", "all"])
def test_steps_after_a_tensor_that_jumped_are_no_other_optimizer(jumping):
    place = 15
    spike = np.where(np.arange(N) == place, 50.0, 1.0)
    tables = steps_of(from_place(place, 3.0), dict.fromkeys(LAYERS, spike) if jumping == "all" else None)
    bias = replace(tables.tensors[0], name="bias", kind="vector", matrix_shape=None)
    curve = replace(tables.curves["tensor", "a", "step_distance"], tensor="bias", values=spike)
    tables = replace(
        tables,
        tensors=(*tables.tensors, bias),
        curves={**tables.curves, ("tensor", "bias", "step_distance"): curve},
    )
    assert len(changes(tables)) == (0 if jumping == "bias" else 1)


@pytest.mark.parametrize(("epochs", "is_said"), [(4, False), (5, False), (12, True)])
def test_a_layer_that_is_ahead_for_a_few_epochs_is_no_other_optimizer(epochs, is_said):
    place = 12
    ahead = np.where((np.arange(N) >= place) & (np.arange(N) < place + epochs), 2.4, 1.0)
    found = changes(steps_of(np.ones(N), {"c": ahead}, noise=0.02))
    assert bool([one for one in found if f"c{place}" in one.evidence["since"]]) == is_said


def test_the_update_of_an_adapter_has_no_share_of_the_motion():
    place = 15
    tables = tables_with(
        {
            ("a", "step_distance"): np.ones(N),
            ("b", "step_distance"): from_place(place, 5),
            ("total", "step_distance"): np.ones(N),
        },
    )
    curves = dict(tables.curves)
    curves["total", "", "step_distance"] = curves.pop(("tensor", "total", "step_distance"))
    rows = tuple(replace(row, rule=PRODUCT) for row in tables.tensors)
    assert changes(replace(tables, curves=curves, tensors=rows)) == []
    assert len(changes(replace(tables, curves=curves))) == 1


@pytest.mark.parametrize(
    "rates",
    [
        np.linspace(0.01, 1, N),  # warm-up
        0.8 ** np.arange(N),  # exponential decay
        1 + np.cos(np.pi * np.arange(N) / N),
        1 / (1 + np.arange(N)),
        np.where(np.arange(N) == 15, 20, 1),  # motion_spike
        np.where(np.abs(np.arange(N) - 15) < 2, 1.6, 1),
    ],
    ids=["warm-up", "decay", "cosine", "saturation", "spike", "bump"],
)
def test_gradual_changes_and_single_steps_are_none(rates):
    for seed in range(5):
        assert changes(steps_of(rates, seed=seed)) == []


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("gaps", ["one long", "long from 15 on", "short from 15 on", "doubling"])
def test_gaps_between_checkpoints_are_no_change(gaps, exponent):
    lengths = np.ones(N)
    lengths[15] = 12 if gaps == "one long" else 1
    if gaps != "one long":
        lengths[15:] = {"long from 15 on": 10, "short from 15 on": 0.1, "doubling": 1}[gaps]
    if gaps == "doubling":
        lengths = 1.3 ** np.arange(N)
    tables = steps_of(lengths**exponent, axis=np.cumsum(lengths) - lengths[0])
    assert changes(tables) == []


def test_a_change_at_uneven_spacing_is_found_beyond_what_the_gaps_explain():
    lengths = np.tile([1.0, 3.0, 2.0], 11)[:N]
    rates = from_place(16, 20) * np.sqrt(lengths)
    (one,) = changes(steps_of(rates, axis=np.cumsum(lengths) - lengths[0]))
    assert one.evidence["since"] == ["c16"] and one.severity == "notice"
    assert 20 / 3 < one.evidence["ratio"][0] < 20  # the least that no exponent explains


def test_a_schedule_that_restarts_is_information_however_often():
    share = np.arange(N) / 10 % 1
    rates = (1 + np.cos(np.pi * share)) / 2 + 0.01
    (one,) = changes(steps_of(rates))
    assert one.severity == "info" and one.evidence["since"] == ["c10", "c20"]
    assert "as with a schedule that restarts" in one.sentence


def test_a_rise_beyond_all_steps_before_is_no_restart_though_it_wears_off():
    rates = np.where(np.arange(N) < 15, 1, 1 + 9 * np.exp(-(np.arange(N) - 15) / 4.0))
    (one,) = changes(steps_of(rates))
    assert one.severity == "warning" and one.evidence["since"] == ["c15"]


def test_a_gap_in_the_values_and_too_few_steps_are_not_judged():
    rates = from_place(15, 20)
    rates[14:16] = np.nan
    (one,) = changes(steps_of(rates))
    assert one.evidence["since"] == ["c14"]  # the first step that is not known to be short
    assert changes(steps_of(from_place(4, 20)[:8])) == []
    assert changes(tables_with({"rms": [1.0] * 9})) == []


def test_a_change_where_the_task_changes_is_reported_once():
    tables = steps_of(from_place(15, 20))
    scores = {
        "train_accuracy": np.where(np.arange(N) == 15, 0.6, 0.95),
        "test_accuracy": np.where(np.arange(N) < 15, 0.95, 0.0),
    }
    assert changes(replace(tables, scalars=scores)) == []


@pytest.mark.parametrize("seed", range(5))
def test_noisy_steps_are_no_change(seed):
    generator = np.random.default_rng(seed)
    drift = np.exp(np.cumsum(0.5 * generator.standard_normal(200)))
    tables = tables_of({("total", "", "step_distance"): drift}, {"x": np.zeros(200)})
    # A walk whose steps change by half at each of 200 places: changes are the jumps beyond what neighbors do.
    assert sum(len(one.evidence["ratio"]) for one in changes(tables)) <= 6


def test_a_spike_beside_a_change_neither_hides_it_nor_moves_its_place():
    rates = from_place(15, 3.0)
    rates[15] = 40
    (one,) = changes(steps_of(rates))
    assert one.evidence["since"] == ["c15"] and one.severity == "notice"
    assert one.evidence["ratio"][0] == pytest.approx(3, rel=0.2)


def test_the_last_restart_of_several_may_be_under_way_at_the_end():
    share = np.arange(26) / 10 % 1
    (one,) = changes(steps_of((1 + np.cos(np.pi * share)) / 2 + 0.01))
    assert one.severity == "info" and one.evidence["since"] == ["c10", "c20"]
