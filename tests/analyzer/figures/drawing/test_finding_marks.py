"""Marks of findings: which checkpoints and layers they cover, and that their numbers can be read."""

from __future__ import annotations

import dataclasses

import pytest
from figure_tables import make_tables
from legibility import problems

from analyzer.figures.drawing.checkpoint_axis import checkpoint_axis, draw_checkpoint_axis
from analyzer.figures.drawing.finding_marks import (
    Mark,
    draw_row_marks,
    draw_time_marks,
    marks_for,
    spread,
    times_only,
)
from analyzer.figures.drawing.line_panels import finish_panel
from analyzer.figures.drawing.marked_layers import numbers_of
from analyzer.figures.drawing.sheet import new_sheet, place
from analyzer.figures.drawing.style import plain_axes
from analyzer.model.run import Finding

TABLES = make_tables(4, 20)
NAMES = [row.name for row in TABLES.tensors]


def finding(*epochs: int, figure: str = "rank", apart: bool = False, **more: object) -> Finding:
    names = tuple(f"epoch_{epoch}.safetensors" for epoch in epochs)
    return Finding("a_rule", "warning", "It is so.", checkpoints=names, figure=figure, apart=apart, **more)


def marks_of(*findings: Finding) -> tuple[Mark, ...]:
    return marks_for(dataclasses.replace(TABLES, findings=findings), "rank")


def artists(axes, number: int) -> list:
    return [one for one in axes.get_children() if one.get_gid() == f"finding-{number}"]


def test_a_mark_reaches_from_the_first_checkpoint_to_the_last():
    (mark,) = marks_of(finding(12, 3, 7))
    assert (mark.first, mark.last) == (3, 12)


def test_checkpoints_apart_are_marked_each_and_neighbors_together():
    marks = marks_of(finding(12, 3, 4, 17, apart=True))
    assert [(mark.first, mark.last) for mark in marks] == [(3, 4), (12, 12), (17, 17)]
    assert {mark.number for mark in marks} == {1}


def test_findings_keep_their_numbers_among_those_of_other_figures():
    marks = marks_of(finding(1, figure="accuracy"), finding(2), finding(3, figure="accuracy"), finding(4))
    assert [(mark.number, mark.first) for mark in marks] == [(2, 2), (4, 4)]


def test_a_finding_without_checkpoints_is_about_the_whole_run():
    (mark,) = marks_of(finding(tensor="fc1.weight"))
    assert (mark.first, mark.last, mark.tensors) == (0, 19, {"fc1.weight"})


def test_checkpoints_that_are_not_in_the_run_are_not_marked():
    assert marks_of(finding(99)) == ()
    (mark,) = marks_of(finding(99, 5))
    assert (mark.first, mark.last) == (5, 5)


def test_the_evidence_names_all_tensors():
    (mark,) = marks_of(finding(1, evidence={"tensors": ["fc1.weight", "fc2.weight"]}))
    assert mark.tensors == {"fc1.weight", "fc2.weight"}
    assert numbers_of([mark], "fc2.weight") == [1]
    assert numbers_of([mark], "fc3.weight") == []


def panel(axis):
    axes = place(new_sheet(4), 1, 1, 6, 2)
    finish_panel(axes, "The name of the panel", (0, 1), log=False)
    draw_checkpoint_axis(axes, axis)
    return axes


def test_bands_and_lines_lie_at_the_checkpoints():
    axis = checkpoint_axis(make_tables(4, 20, axis=[2.0 * step for step in range(20)], axis_label="step"))
    axes = panel(axis)
    draw_time_marks(axes, axis, [Mark(1, "warning", frozenset(), 3, 7), Mark(2, "info", frozenset(), 9, 9)])
    band, *_ = artists(axes, 1)
    assert (band.get_x(), band.get_x() + band.get_width()) == (6, 14)
    line, *_ = artists(axes, 2)
    assert list(line.get_xdata()) == [18, 18]


@pytest.mark.parametrize("count", [1, 3, 12])
def test_numbers_above_a_panel_can_be_read(count):
    axis = checkpoint_axis(TABLES)
    axes = panel(axis)
    draw_time_marks(axes, axis, [Mark(number, "notice", frozenset(), 0, 1) for number in range(1, count + 1)])
    assert problems(axes.get_figure()) == []
    assert len([one for one in axes.texts if one.get_text().isdigit()]) == count


def test_rows_are_framed_over_their_checkpoints_and_neighbors_together():
    axis = checkpoint_axis(TABLES)
    axes = place(new_sheet(4), 1, 1, 6, 2)
    axes.set_ylim(6, 0)
    draw_checkpoint_axis(axes, axis, labeled=False)
    rows = ["a", "b", "c", "d", "e", "f"]
    draw_row_marks(axes, axis, [Mark(7, "serious", frozenset(["b", "c", "f"]), 4, 6)], rows, [])
    frames = [one for one in artists(axes, 7) if hasattr(one, "get_bbox") and hasattr(one, "get_xy")]
    corners = [(one.get_x(), one.get_y(), one.get_width(), one.get_height()) for one in frames if one.get_width() > 1]
    assert corners == [pytest.approx(corner, abs=0.15) for corner in ((3.5, 1, 3, 2), (3.5, 5, 3, 1))]
    assert [one.get_text() for one in axes.texts] == ["7", "7"]


def test_a_finding_about_most_rows_marks_only_the_time():
    everything, one = Mark(1, "info", frozenset(["a", "b", "c"]), 0, 5), Mark(2, "info", frozenset(("a",)), 0, 5)
    assert times_only([everything, one], ["a", "b", "c"]) == [everything]
    axis = checkpoint_axis(TABLES)
    axes = place(new_sheet(4), 1, 1, 6, 2)
    plain_axes(axes, grid=False)
    axes.set_ylim(3, 0)
    draw_checkpoint_axis(axes, axis, labeled=False)
    draw_row_marks(axes, axis, [everything], ["a", "b", "c"], [everything])
    ends = [line.get_xdata()[0] for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert ends == [-0.5, 5.5]


def test_things_are_spread_in_order_without_overlap():
    assert spread([10, 50], [4, 4], 100) == [10, 50]
    assert spread([10, 10, 10], [4, 4, 4], 100) == [10, 14, 18]
    assert spread([0, 99], [4, 4], 100) == [2, 98]
    assert spread([99, 98], [4, 4], 100) == [98, 94]
