"""Figures of several runs: legible at every size, silent about nothing, the same bytes each time."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree

import numpy as np
import pytest
from compared_runs import stored_run, two_groups
from legibility import HOSTILE, drawn_texts, problems

from analyzer.comparing import compare_runs
from analyzer.figures import render
from analyzer.figures.compared import COMPARED


@pytest.fixture(params=[spec.name for spec in COMPARED])
def spec(request):
    return next(spec for spec in COMPARED if spec.name == request.param)


def lone_runs(count, **its):
    return [stored_run(f"run {chr(97 + i)}{'x' * i}", seed=i, **its) for i in range(count)]


def seeds(count):
    return [stored_run(f"run-seed{i}", seed=i) for i in range(count)]


CASES = {
    "two runs": lone_runs(2),
    "three seeds": seeds(3),
    "forty seeds": seeds(40),
    "ten groups": lone_runs(10),
    "thirty groups": lone_runs(30),
    "two groups of six": two_groups(6, distance=9.0),
    "one checkpoint": lone_runs(3, epochs=(0,)),
    "two checkpoints": lone_runs(3, epochs=(0, 1)),
    "a thousand": lone_runs(2, epochs=tuple(range(1000))),
    "all the same": [dataclasses.replace(run, name=f"run {i}") for i, run in enumerate(lone_runs(1) * 3)],
    "huge": lone_runs(3, distance=1e120, condition=1e80),
    "one far away": [*lone_runs(2), stored_run("far", seed=9, distance=1e3)],
    "tiny": lone_runs(3, distance=1e-120, condition=1e-13),
}


@pytest.mark.parametrize("case", CASES)
def test_every_case_is_legible(spec, case):
    figure = spec.draw(compare_runs(CASES[case]))
    if figure is None:
        assert case == "one checkpoint" and spec.name in {"accuracy_along_path"}
    else:
        assert problems(figure) == []


def test_hostile_names(spec):
    figure = spec.draw(compare_runs([stored_run(name, seed=i) for i, name in enumerate(HOSTILE)]))
    assert problems(figure) == []
    _, svg = render(figure)
    root = ElementTree.fromstring(svg)
    assert not any(element.tag.endswith("script") or "onload" in element.attrib for element in root.iter())
    assert all(ord(c) >= 0x20 for text, _ in drawn_texts(figure) for c in text.get_text())


def test_the_same_runs_give_the_same_bytes(spec):
    assert render(spec.draw(compare_runs(two_groups(3)))) == render(spec.draw(compare_runs(two_groups(3))))


def test_nothing_to_show_is_no_figure(spec):
    runs = two_groups(2)
    for run in runs:
        run.tables.curves.clear()
        run.tables.scalars.clear()
    assert spec.draw(compare_runs(runs)) is None


def test_a_band_reaches_from_the_least_to_the_largest_run_and_a_lone_run_has_none():
    spec = next(spec for spec in COMPARED if spec.name == "compared_motion")
    runs = two_groups(6, distance=9.0)
    figure = spec.draw(compare_runs(runs))
    ends = [run.tables.curves["total", "", "initial_distance"].values[-1] for run in runs[:6]]
    (first, _) = figure.axes[0].collections
    heights = [y for x, y in first.get_paths()[0].vertices if x == 12]
    assert (min(heights), max(heights)) == pytest.approx((min(ends), max(ends)))
    assert not spec.draw(compare_runs(lone_runs(3))).axes[0].collections


def test_only_ten_groups_are_drawn_and_the_figure_says_so():
    spec = next(spec for spec in COMPARED if spec.name == "compared_scores")
    texts = [text.get_text() for text, _ in drawn_texts(spec.draw(compare_runs(lone_runs(30))))]
    assert "only the first 10 of 30 are drawn; groups.csv has all" in texts


def test_fault_14_a_missing_score_is_a_gap_in_the_line():
    spec = next(spec for spec in COMPARED if spec.name == "compared_scores")
    runs = lone_runs(2)
    runs[0].tables.scalars["test_accuracy"][5] = np.nan
    line = spec.draw(compare_runs(runs)).axes[0].lines[0]
    assert np.isnan(line.get_ydata()[5]) and np.isfinite(np.delete(line.get_ydata(), 5)).all()


def test_every_figure_has_a_title_and_says_how_it_is_read():
    assert len({spec.name for spec in COMPARED}) == len(COMPARED)
    for spec in COMPARED:
        assert 0 < len(spec.title) <= 60 and not spec.title.endswith(".")
        assert spec.how_to_read.endswith(".")


def test_bands_and_means_are_spoken_of_only_where_there_are_any():
    for runs, said in ((lone_runs(3), False), (two_groups(2), True)):
        told = " ".join(spec.of(compare_runs(runs)).how_to_read for spec in COMPARED)
        assert ("bands lie apart" in told) == ("upright stroke" in told) == said


@pytest.mark.parametrize(("far", "log"), [(5.0, False), (1e4, True)])
def test_one_run_that_went_much_further_takes_no_room_from_the_others(far, log):
    comparison = compare_runs([*lone_runs(2), stored_run("far", seed=9, distance=far)])
    motion = next(spec for spec in COMPARED if spec.name == "compared_motion").draw(comparison)
    assert [axes.get_yscale() for axes in motion.axes[:3]] == ["log" if log else "linear"] * 3
    told = [text.get_text() for text, _ in drawn_texts(motion)]
    assert any("cannot show values of exactly 0" in text for text in told) == log
    ends = next(spec for spec in COMPARED if spec.name == "final_values").draw(comparison)
    (distance,) = (axes for axes in ends.axes if any(t.get_text().startswith("Distance") for t in axes.texts))
    assert distance.get_xscale() == ("log" if log else "linear")
