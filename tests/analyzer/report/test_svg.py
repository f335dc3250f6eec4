"""Charts as SVG: lines, gaps, lone values, marks, and axes with round numbers."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from analyzer.report.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, Interval, Line, draw, tick_text, ticks


def chart(values, **options):
    return Chart("what is seen", np.arange(float(len(values))), "epoch", [Line(np.array(values, float))], **options)


def line_of(svg):
    return re.search(r'class="line-1" d="([^"]*)"', svg)[1]


def points(path):
    """The stretches of a path as absolute points."""
    found = []
    for stretch in path.split("M")[1:]:
        start, _, steps = stretch.replace("h0", "").partition("l")
        at = np.array([int(n) for n in start.split()])
        moves = np.array([int(n) for n in re.findall(r"-?\d+", steps)]).reshape(-1, 2)
        found.append(np.cumsum([at, *moves], axis=0))
    return found


def test_a_line_goes_from_its_lowest_to_its_highest_value_across_the_frame():
    (line,) = points(line_of(draw(chart([1, 3, 2]))))
    assert line[:, 0].tolist() == [LEFT, (LEFT + WIDTH - RIGHT) // 2, WIDTH - RIGHT]
    height = HEIGHT - TOP - BOTTOM
    assert HEIGHT - BOTTOM - line[0, 1] == pytest.approx(0.04 / 1.08 * height, abs=2)
    assert line[1, 1] - TOP == pytest.approx(0.04 / 1.08 * height, abs=2)
    assert line[2, 1] == pytest.approx((line[0, 1] + line[1, 1]) / 2, abs=1)


def test_a_gap_parts_a_line_and_a_lone_value_is_a_dot():
    path = line_of(draw(chart([1, 2, np.nan, 2, np.nan, 3, 4])))
    assert [len(stretch) for stretch in points(path)] == [2, 1, 2]
    assert path.count("h0") == 1


def test_powers_of_ten_are_evenly_apart_on_a_log_axis_and_zero_makes_it_linear():
    (line,) = points(line_of(draw(chart([1, 10, 100], log=True))))
    assert line[0, 1] - line[1, 1] == pytest.approx(line[1, 1] - line[2, 1], abs=1)
    (line,) = points(line_of(draw(chart([0, 10, 100], log=True))))
    assert line[1, 1] - line[2, 1] > 5 * (line[0, 1] - line[1, 1])


@pytest.mark.parametrize("values", [[], [np.nan, np.nan]])
def test_there_is_no_chart_without_a_value(values):
    assert draw(Chart("", np.arange(2.0), "epoch", [Line(np.array(v, float)) for v in [values] if v])) is None


@pytest.mark.parametrize("values", [[5.0], [0.0, 0.0], [1e300, 1e300], [3e-12, 3e-12], [-1.0, -2.0]])
@pytest.mark.parametrize("log", [False, True])
def test_few_and_constant_values_are_drawn(values, log):
    for number in re.findall(r"-?\d+", line_of(draw(chart(values, log=log)))):
        assert abs(int(number)) <= WIDTH


def test_marks_carry_the_number_of_their_finding_at_their_place():
    marks = (Interval(3, "serious", 2, 4), Interval(7, "notice", 8, 8), Interval(9, "info", 0, 10))
    svg = ElementTree.fromstring(draw(chart(range(11), marks=marks)))
    found = {group.find("text").text: group for group in svg.iter("g")}
    assert {number: group.get("class") for number, group in found.items()} == {
        "3": "mark serious", "7": "mark notice", "9": "mark info",
    }  # fmt: skip
    band = found["3"].find("rect")
    assert int(band.get("x")) == round(LEFT + 0.2 * (WIDTH - LEFT - RIGHT))
    assert int(band.get("width")) == round(0.2 * (WIDTH - LEFT - RIGHT))
    assert found["7"].find("rect") is None  # a single checkpoint is a line
    assert found["9"].find("rect") is None  # all of the run: shading it would say nothing


def test_names_are_escaped_and_long_runs_thinned():
    values = np.sin(np.arange(5000.0))
    svg = draw(Chart('<b>"', np.arange(5000.0), "<i>", [Line(values)]))
    assert "<b>" not in svg and "<i>" not in svg
    (line,) = points(line_of(svg))
    assert len(line) == 300 and (line[0, 0], line[-1, 0]) == (LEFT, WIDTH - RIGHT)


@pytest.mark.parametrize(
    ("low", "high", "log", "expected"),
    [
        (0, 50, False, [0, 20, 40]),
        (3.2, 3.9, False, [3.2, 3.4, 3.6, 3.8]),
        (0.5, 2000, True, [1, 10, 100, 1000]),
        (4, 30, True, [5, 10, 20]),
        (3.1, 3.3, True, [3.1, 3.15, 3.2, 3.25, 3.3]),
    ],
)
def test_ticks_are_round_numbers(low, high, log, expected):
    assert ticks(low, high, log) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "text"), [(0.05, "0.05"), (5000, "5000"), (20000, "20000"), (1e-5, "1e−5"), (-2.5, "−2.5"), (1e9, "1e9")]
)
def test_ticks_are_written_shortly(value, text):
    assert tick_text(value) == text
