"""The figure that each finding refers to shows it: the finding's number, its checkpoints, and its tensors."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from figure_parts import DRAW, texts
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from planted_runs import RUNS

from analyzer.findings.rules import FILE_RULES, RULES
from analyzer.model.run import Finding
from analyzer.model.tables import Tables

# Rules whose findings no figure can show, and why.
WITHOUT_FIGURE = {
    "wrong_order": "is about names and epochs of files, which no figure draws",
    "tensors_changed": "is about names, shapes and types of tensors",
    "unsupported_tensors": "is about tensors that are not measured",
    "unscaled_float8": "is about the type of storage",
    "packed_weights": "is about tensors that are not measured",
    "constant_infinities": "is about elements that are left out of what is measured",
    "single_checkpoint": "says that nothing moves in a single checkpoint",
    "no_scores": "says that there is nothing to draw",
    "unplaced_copy": "is about a file that is left out",
    "unplaced_file": "is about a file that is left out",
}
WITHOUT_TIME = {"compression_preview"}  # figures of the last checkpoint
FEW = 5  # tensors; of more, the first is looked for


@pytest.fixture(scope="module")
def measured_run(tmp_path_factory):
    @cache
    def tables(plant) -> Tables:
        return plant().tables(Path(tmp_path_factory.mktemp("planted")))

    return tables


def test_every_rule_has_a_planted_run_or_a_reason_for_no_figure():
    rules = {*RULES, *FILE_RULES}
    assert rules == {*RUNS, *WITHOUT_FIGURE}
    assert not RUNS.keys() & WITHOUT_FIGURE.keys()


@pytest.mark.parametrize("rule", RUNS)
def test_the_figure_shows_what_the_rule_reports(rule, measured_run):
    tables = measured_run(RUNS[rule])
    of_rule = [(number, one) for number, one in enumerate(tables.findings, 1) if one.rule == rule]
    assert of_rule, [one.rule for one in tables.findings]
    for number, finding in of_rule:
        assert finding.figure in DRAW
        figure = DRAW[finding.figure](tables)
        assert figure is not None
        marks = figure.findobj(lambda artist, number=number: artist.get_gid() == f"finding-{number}")
        assert str(number) in {one.get_text() for one in marks if hasattr(one, "get_text")}
        if finding.figure not in WITHOUT_TIME:
            assert_place(tables, finding, marks)
        assert_tensors(finding, figure, marks)


def assert_place(tables: Tables, finding: Finding, marks: list[Artist]) -> None:
    """Check that the marks reach from the first to the last checkpoint of a finding."""
    places = {row.name: float(place) for row, place in zip(tables.checkpoints, tables.axis, strict=True)}
    named = [places[name] for name in finding.checkpoints] or list(places.values())
    ends = np.array([end for mark in marks for end in ends_of(mark)])
    assert ends.min() == pytest.approx(min(named), abs=0.5)
    assert ends.max() == pytest.approx(max(named), abs=0.5)


def ends_of(mark: Artist) -> list[float]:
    """Return where a line or a rectangle begins and ends on the horizontal axis of a panel."""
    if not isinstance(mark.axes, Axes):
        return []
    if isinstance(mark, Line2D) and mark.get_transform() != mark.axes.get_yaxis_transform():
        return [float(x) for x in mark.get_xdata()]
    if isinstance(mark, Rectangle):
        return [mark.get_x(), mark.get_x() + mark.get_width()]
    return []


def assert_tensors(finding: Finding, figure: Figure, marks: list[Artist]) -> None:
    """Check that the figure names the tensors of a finding, or frames their rows."""
    named = finding.tensors if len(finding.tensors) <= FEW else finding.tensors[:1]
    is_framed = any(isinstance(mark, Rectangle) and mark.get_height() < 1.5 for mark in marks)
    shown = texts(figure)
    assert is_framed or all(any(name in text for text in shown) for name in named)
