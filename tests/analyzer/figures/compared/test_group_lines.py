"""Groups of runs as lines: bands, gaps, and what is left out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from compared_runs import lone_runs, stored_run, two_groups
from figure_parts import DRAW_COMPARED, texts

from analyzer.comparing import compare_runs


def test_a_band_covers_the_range_of_the_runs_and_a_single_run_has_none():
    runs = two_groups(6, distance=9.0)
    figure = DRAW_COMPARED["compared_motion"](compare_runs(runs))
    ends = [run.tables.curves["total", "", "initial_distance"].values[-1] for run in runs[:6]]
    (first, _) = figure.axes[0].collections
    heights = [y for x, y in first.get_paths()[0].vertices if x == 12]
    assert (min(heights), max(heights)) == pytest.approx((min(ends), max(ends)))
    assert not DRAW_COMPARED["compared_motion"](compare_runs(lone_runs(3))).axes[0].collections


def test_only_ten_groups_are_drawn_and_a_note_says_so():
    shown = texts(DRAW_COMPARED["compared_scores"](compare_runs(lone_runs(30))))
    assert "only the first 10 of 30 groups are drawn; groups.csv has all of them" in shown


def test_fault_14_a_missing_score_is_a_gap_in_the_line():
    runs = lone_runs(2)
    runs[0].tables.scalars["test_accuracy"][5] = np.nan
    line = DRAW_COMPARED["compared_scores"](compare_runs(runs)).axes[0].lines[0]
    assert np.isnan(line.get_ydata()[5]) and np.isfinite(np.delete(line.get_ydata(), 5)).all()


def test_a_line_that_a_nan_ends_has_a_cross_there_and_the_key_names_the_run():
    runs = two_groups(3)
    curve = runs[1].tables.curves["total", "", "initial_distance"]
    curve.values[8:] = np.nan
    runs[1].tables.curves["total", "", "initial_distance"] = dataclasses.replace(
        curve, statuses=("ok",) * 8 + ("nonfinite",) * 5
    )
    figure = DRAW_COMPARED["compared_motion"](compare_runs(runs))
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert [line.get_xdata()[0] for line in crosses] == [7]
    assert f"the line ends: after this, {runs[1].name} has no value" in texts(figure)
    whole = DRAW_COMPARED["compared_motion"](compare_runs(two_groups(3)))
    assert not any("the line ends" in text for text in texts(whole))


@pytest.mark.parametrize(("far", "log"), [(5.0, False), (1e4, True)])
def test_one_distant_run_leaves_room_for_the_others(far, log):
    comparison = compare_runs([*lone_runs(2), stored_run("far", seed=9, distance=far)])
    motion = DRAW_COMPARED["compared_motion"](comparison)
    assert [axes.get_yscale() for axes in motion.axes[:3]] == ["log" if log else "linear"] * 3
    assert any("cannot show values of exactly 0" in text for text in texts(motion)) == log
