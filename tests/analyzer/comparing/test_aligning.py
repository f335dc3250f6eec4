"""The common axis, where runs end, and means over runs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from compared_runs import stored_run

from analyzer.comparing import compare_runs
from analyzer.comparing.aligning import _is_end, common_axis, ends, in_common, mean_of


def places(*runs):
    return [np.array(run, dtype=float) for run in runs]


@pytest.mark.parametrize(
    ("last", "runs", "is_end"),
    [
        (5, [(0, 5), (0, 5)], True),
        (5, [(0, 5), (0, 10)], True),  # the end of the shortest
        (5, [(0, 5, 10), (0, 5, 10)], True),  # exactly half of the shortest
        (4.99, [(0, 4.99, 10), (0, 4.99, 10)], False),  # before half of the shortest
        (5, [(0, 5, 10), (0, 5, 40)], True),  # only the shortest counts
        (5, [(5, 8), (0, 5)], False),  # where one of them begins
        (5, [(5,), (0, 5)], True),  # a single checkpoint is beginning and end
    ],
)
def test_a_place_can_stand_for_the_end(last, runs, is_end):
    assert _is_end(last, places(*runs)) == is_end


def test_places_in_common_are_those_of_all_runs_rising():
    assert in_common(places((0, 1, 2, 3, 4), (1, 2, 4), (4, 2, 7))).tolist() == [2, 4]
    assert in_common(places((3, 5))).tolist() == [3, 5]
    assert in_common(places((0, 1), (2, 3))).tolist() == []


def with_steps(run, steps):
    rows = tuple(dataclasses.replace(row, step=step) for row, step in zip(run.tables.checkpoints, steps, strict=True))
    return dataclasses.replace(run, tables=dataclasses.replace(run.tables, checkpoints=rows))


def test_steps_in_common_go_before_epochs_that_are_merely_known():
    first = with_steps(stored_run("a", epochs=(0, 1, 2)), (0, 10, 20))
    second = with_steps(stored_run("b", seed=1, epochs=(0, 1.5, 3)), (0, 10, 20))
    label, where, common = common_axis([first, second])
    assert (label, common.tolist()) == ("step", [0, 10, 20])
    assert where["b"].tolist() == [0, 10, 20]
    label, where, common = common_axis([first, with_steps(second, (0, 11, 21))])
    assert (label, common.tolist()) == ("epoch", [])
    assert ends(label, where, common) == {"a": 2, "b": 3}


def test_tokens_in_common_go_before_the_order():
    def counted(run, tokens):
        rows = (
            dataclasses.replace(row, epoch=None, step=None, tokens=count)
            for row, count in zip(run.tables.checkpoints, tokens, strict=True)
        )
        return dataclasses.replace(run, tables=dataclasses.replace(run.tables, checkpoints=tuple(rows)))

    runs = [counted(stored_run("a", epochs=(0, 1, 2)), (0, 2 * 10**9, 4 * 10**9))]
    runs.append(counted(stored_run("b", seed=1, epochs=(0, 1, 2)), (0, 3 * 10**9, 4 * 10**9)))
    label, where, common = common_axis(runs)
    assert (label, where["b"].tolist(), common.tolist()) == ("billion tokens", [0, 3, 4], [0, 4])


def test_two_places_in_common_are_enough_and_one_is_not():
    run = stored_run("a", epochs=(0, 4))
    assert common_axis([run, stored_run("b", epochs=(0, 4, 5))])[2].tolist() == [0, 4]
    longer = [stored_run("a", epochs=(0, 3, 5)), stored_run("b", epochs=(0, 4, 5))]
    assert common_axis(longer)[2].tolist() == [0, 5]
    assert common_axis([run, stored_run("b", epochs=(1, 4, 5))])[2].tolist() == []
    assert common_axis([stored_run("a", epochs=(4,)), stored_run("b", epochs=(1, 4, 5))])[2].tolist() == [4]


@pytest.mark.parametrize("epochs", [(0, 2, 2), (0, 2, 1)])
def test_epochs_that_do_not_rise_are_no_axis(epochs):
    run = with_steps(stored_run("a", epochs=(0, 1, 2)), (0, 10, 20))
    rows = tuple(
        dataclasses.replace(row, epoch=epoch) for row, epoch in zip(run.tables.checkpoints, epochs, strict=True)
    )
    odd = dataclasses.replace(run, name="odd", tables=dataclasses.replace(run.tables, checkpoints=rows))
    assert common_axis([run, odd])[0] == "step"


def test_runs_that_are_matched_in_order_end_at_their_own_last_checkpoints():
    where = {"a": np.arange(3.0), "b": np.arange(5.0)}
    assert ends("checkpoint (in order)", where, np.arange(3.0)) == {"a": 2, "b": 4}
    assert ends("epoch", where, np.arange(3.0)) == {"a": 2, "b": 2}
    assert ends("epoch", where, np.array([1.0])) == {"a": 1, "b": 1}
    assert ends("epoch", where, np.zeros(0)) == {"a": 2, "b": 4}


def test_means_are_geometric_for_ratios():
    rows = np.array([[1.0, 2.0, 0.0], [4.0, 2.0, 5.0]])
    assert mean_of(rows, ratio=False).tolist() == [2.5, 2.0, 2.5]
    assert mean_of(rows, ratio=True) == pytest.approx([2.0, 2.0, 0.0])


def two_seeds(**second):
    return [stored_run("x-seed1"), stored_run("x-seed2", seed=1, **second)]


def bands_of(runs, quantity):
    return {band.along: band for band in compare_runs(runs).bands if band.quantity == quantity}


def set_curve(run, key, **changes):
    run.tables.curves[key] = dataclasses.replace(run.tables.curves[key], **changes)


def test_what_no_run_measured_is_no_gap_and_what_one_lacks_is():
    """Spectra at every second checkpoint, as --spectra-every leaves them, and one more that a single run lacks."""
    runs = two_seeds()
    key = ("mean", "", "effective_rank")
    for run, missing in zip(runs, ({1, 3, 5}, {1, 3, 5, 8}), strict=True):
        values = run.tables.curves[key].values.copy()
        values[list(missing)] = np.nan
        statuses = tuple("missing" if place in missing else "ok" for place in range(13))
        set_curve(run, key, values=values, statuses=statuses)
        run.tables.scalars["test_accuracy"][[1, 3]] = np.nan
    band = bands_of(runs, "effective_rank")["epoch"]
    assert band.positions.tolist() == [0, 2, 4, 6, 7, 8, 9, 10, 11, 12]
    assert np.flatnonzero(np.isnan(band.mean)).tolist() == [5]
    score = bands_of(runs, "test_accuracy")["epoch"]
    assert score.positions.tolist() == list(range(13))
    assert np.flatnonzero(np.isnan(score.low)).tolist() == [1, 3]


def test_the_path_ends_where_the_shortest_of_the_group_ends():
    runs = two_seeds(distance=9.0)
    paths = [run.tables.curves["total", "", "path_length"].values for run in runs]
    assert paths[0][-1] < paths[1][-1]
    bands = bands_of(runs, "test_accuracy")
    assert bands["path_length"].positions[[0, -1]].tolist() == [0, paths[0][-1]]
    rows = [
        np.interp(bands["path_length"].positions, path, run.tables.scalars["test_accuracy"])
        for path, run in zip(paths, runs, strict=True)
    ]
    assert bands["path_length"].mean == pytest.approx(np.mean(rows, axis=0))
    assert set(bands_of(runs, "path_length")) == {"epoch"}  # not over itself


def test_after_a_step_of_unknown_length_there_is_no_path():
    runs = two_seeds()
    key = ("total", "", "path_length")
    path = runs[0].tables.curves[key].values.copy()
    path[3:] = np.nan
    set_curve(runs[0], key, values=path)
    assert bands_of(runs, "test_accuracy")["path_length"].positions[-1] == path[2]
    path = path.copy()
    path[2] = np.nan
    set_curve(runs[0], key, values=path)
    assert bands_of(runs, "test_accuracy")["path_length"].positions[-1] == path[1]
    path = path.copy()
    path[1] = np.nan
    set_curve(runs[0], key, values=path)
    assert set(bands_of(runs, "test_accuracy")) == {"epoch"}  # one point is no path
