"""Figures are drawn several at a time, and nobody can tell from the result."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from dataclasses import replace

import pytest
from figure_tables import make_tables

from analyzer.errors import WeightlapseError
from analyzer.figures import FIGURES, FigureSpec, render, render_png
from analyzer.report import drawing, writer

CHOSEN = FIGURES[:4]


@pytest.fixture(autouse=True)
def three_cores(monkeypatch):
    monkeypatch.setattr(drawing, "available_cores", lambda: 3)


def spec(name, draw):
    return FigureSpec(name, name, "Read it.", 1, draw, remark=lambda _: f"so {name}")


def late(tables):
    time.sleep(0.5)
    return CHOSEN[0].draw(tables)


def test_files_are_those_of_one_figure_after_the_other():
    tables, files = make_tables(4), {}
    drawn = writer.draw_figures(CHOSEN, tables, "", files.__setitem__)
    expected = {}
    for one in CHOSEN:
        if (figure := one.draw(tables)) is not None:
            expected |= dict(zip((f"figures/{one.name}.png", f"figures/{one.name}.svg"), render(figure), strict=True))
            expected[f"figures/{one.name}-narrow.png"] = render_png(one.draw_narrow(tables))
    assert files == expected and len(files) > 2
    assert [f"{one.path}.svg" for one in drawn] == [path for path in expected if path.endswith("svg")]


def test_figures_come_in_reading_order_whichever_is_ready_first():
    specs = [spec("late", late), spec("none", lambda _: None), spec("soon", CHOSEN[0].draw)]
    written = []
    drawn = writer.draw_figures(specs, make_tables(4), "its/", lambda path, _: written.append(path))
    assert [(one.name, one.path, one.remark) for one in drawn] == [
        ("late", "figures/its/late", "so late"),
        ("soon", "figures/its/soon", "so soon"),
    ]
    suffixes = (".png", ".svg", "-narrow.png")
    assert set(written) == {f"figures/its/{name}{suffix}" for name in ("late", "soon") for suffix in suffixes}


@pytest.mark.parametrize("reason", ["drawing", "writing"])
def test_no_process_is_left_where_drawing_or_writing_fails(reason):
    def fail(*_):
        raise WeightlapseError(f"{reason} failed")

    specs = [spec("late", late), spec("other", fail if reason == "drawing" else CHOSEN[0].draw)]
    with pytest.raises(WeightlapseError, match=reason):
        writer.draw_figures(specs, make_tables(4), "", fail if reason == "writing" else lambda *_: None)
    assert multiprocessing.active_children() == []


@pytest.mark.skipif(sys.platform != "linux", reason="without fork everything is drawn in this process")
def test_several_processes_draw(monkeypatch):
    monkeypatch.setattr("threading.active_count", lambda: 1)  # the workers of pytest have a thread of their own
    specs = [replace(spec(name, late), remark=lambda _: str(os.getpid())) for name in ("a", "b")]
    who = {one.remark for one in writer.draw_figures(specs, make_tables(4), "", lambda *_: None)}
    assert len(who) == 2 and str(os.getpid()) not in who
