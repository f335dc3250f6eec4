"""Every figure at every size: nothing overlaps, nothing is cut off, and the bytes are always the same."""

from __future__ import annotations

import dataclasses
import threading
import time
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from builders import full_count
from figure_tables import BLOCK, make_tables, with_marks
from legibility import HOSTILE, drawn_texts, problems

from analyzer.figures import FIGURES, render
from analyzer.figures.drawing.sheet import NARROW_WIDTH, is_narrow
from analyzer.model.tables import Tables


@pytest.fixture(params=[spec.name for spec in FIGURES])
def spec(request):
    return next(spec for spec in FIGURES if spec.name == request.param)


SIZES = full_count(
    [(1, False), (4, False), (4, True), (10, True), (11, True), (60, False), (60, True), (300, False), (300, True)],
    [(1, False), (4, True), (11, True), (300, True)],
)
# Figures that draw more than curves and scores, and figures that are left out where there is nothing to see.
OWN_VALUES = (
    *("accuracy_change", "correlation_matrix", "spectrum_through_time", "checkpoint_distances", "path"),
    "compression_preview",
)
SELDOM = ("sparsity", "dead_rows_and_columns")
FEW_AND_MANY = pytest.mark.parametrize("layers", [4, 12])  # lines and heat maps


@pytest.mark.parametrize(("layers", "marked"), SIZES)
def test_every_size_is_legible(spec, layers, marked):
    tables = make_tables(layers, missing=(17,) if marked else ())
    figure = spec.draw(with_marks(tables) if marked else tables)
    assert problems(figure) == []


@pytest.mark.parametrize("layers", full_count([1, 4, 10, 11, 60, 300], [4, 11, 300]))
def test_every_figure_is_legible_on_a_narrow_screen(spec, layers):
    figure = spec.draw_narrow(with_marks(make_tables(layers, missing=(17,))))
    assert figure.get_size_inches()[0] == NARROW_WIDTH
    assert problems(figure) == []
    assert not is_narrow()


@pytest.mark.parametrize("checkpoints", full_count([1, 2, 3, 1000], [1, 2]))
@FEW_AND_MANY
def test_every_length_is_legible(spec, checkpoints, layers):
    figure = spec.draw(make_tables(layers, checkpoints))
    needs = {"overview": 2, "step_distance": 2, "update_rank": 2, "initial_distance": 2, "accuracy_change": 3}
    needs |= {"checkpoint_distances": 3, "path": 3, "dead_rows_and_columns": 2, "changed_fraction": 2}
    needs |= {"rotation_and_growth": 2, "update_cosine": 2}  # checkpoints
    if checkpoints < needs.get(spec.name, 1):
        assert figure is None
    else:
        assert problems(figure) == []


@pytest.mark.parametrize("factor", full_count([1e20, 1e-30, 1e300, 1e-310], [1e300]))
@FEW_AND_MANY
def test_huge_and_tiny_values(spec, factor, layers):
    tables = make_tables(layers)
    curves = {key: dataclasses.replace(c, values=c.values * factor) for key, c in tables.curves.items()}
    scalars = {name: values * factor for name, values in tables.scalars.items()}
    figure = spec.draw(dataclasses.replace(tables, curves=curves, scalars=scalars))
    if figure is None:
        assert spec.name in SELDOM and factor < 1
    else:
        assert problems(figure) == []


@pytest.mark.parametrize("value", full_count([0.0, 123456.789, -2.5, np.inf, np.nan], [0.0, np.nan]))
@FEW_AND_MANY
def test_constant_and_absent_values(spec, value, layers):
    tables = make_tables(layers)
    curves = {key: dataclasses.replace(c, values=np.full(51, value)) for key, c in tables.curves.items()}
    scalars = {name: np.full(51, value) for name in tables.scalars}
    figure = spec.draw(dataclasses.replace(tables, curves=curves, scalars=scalars, spectra={}))
    if spec.name in OWN_VALUES:
        return
    if figure is None:
        assert not np.isfinite(value) or (spec.name in SELDOM and value <= 0)
    else:
        assert np.isfinite(value)
        assert problems(figure) == []


@pytest.mark.parametrize("span", full_count([1e-9, 1e-3, 0.3, 3.0], [1e-9]))
@FEW_AND_MANY
def test_narrow_spans(spec, span, layers):
    tables = make_tables(layers)
    ramp = 41.7 * (1 + np.linspace(0, span, 51))
    curves = {key: dataclasses.replace(c, values=ramp) for key, c in tables.curves.items()}
    figure = spec.draw(dataclasses.replace(tables, curves=curves, scalars=dict.fromkeys(tables.scalars, ramp)))
    assert problems(figure) == []


@pytest.mark.parametrize("axis", full_count(["steps", "log", "repeated", "unknown"], ["log", "unknown"]))
@FEW_AND_MANY
def test_other_axes(spec, axis, layers):
    places = {
        "steps": np.arange(51) * 1234567.0,
        "log": np.concatenate([[0], 2.0 ** np.arange(50)]),
        "repeated": np.repeat([1.0, 2.0, 3.0], 17),
        "unknown": np.full(51, np.nan),
    }[axis]
    figure = spec.draw(make_tables(layers, axis=places, axis_label="step " * 40))
    assert problems(figure) == []


@pytest.mark.parametrize("many", [False, True])
def test_hostile_names(spec, many):
    names = HOSTILE + [f"model.layers.{i}.{BLOCK[0]}.{'x' * 200}" for i in range(50)] if many else HOSTILE
    tables = make_tables(names, run=HOSTILE[2] + HOSTILE[4], axis_label=HOSTILE[1])
    scalars = {f"{name} accuracy": np.linspace(0, 1, 51) for name in HOSTILE}
    pairs = tuple(dataclasses.replace(tables.change_pairs[0], scalar=name) for name in HOSTILE)
    related = {
        metric: [dataclasses.replace(one, scalar=name) for name in scalars for one in rows]
        for metric, rows in tables.correlations.items()
    }
    hostile = dataclasses.replace(tables, scalars=scalars, change_pairs=pairs, correlations=related)
    assert problems(spec.draw_narrow(hostile)) == []
    figure = spec.draw(hostile)
    assert problems(figure) == []
    _, svg = render(figure)
    root = ElementTree.fromstring(svg)
    assert not any(element.tag.endswith("script") or "onload" in element.attrib for element in root.iter())
    assert all(ord(c) >= 0x20 for text, _ in drawn_texts(figure) for c in text.get_text())
    if not many and spec.name == "rank":
        shown = {text.get_text() for text, _ in drawn_texts(figure)}
        assert {"$\\\\frac{1}{", "_orig_mod.fc1.weight", "(empty name)", "\\ud800lone"} <= shown


def test_the_same_figure_gives_the_same_bytes(spec):
    first, second = (render(spec.draw(with_marks(make_tables(12)))) for _ in range(2))
    assert first == second
    assert first[0].startswith(b"\x89PNG")
    few = spec.draw(make_tables(4))
    assert render(few) == render(few)


def test_settings_of_the_user_change_nothing_and_are_left_alone(spec):
    tables = make_tables(4)
    usual = render(spec.draw(tables))
    mine = {
        "font.size": 30,
        "text.usetex": True,
        "axes.facecolor": "red",
        "svg.fonttype": "path",
        "savefig.bbox": "tight",
    }
    with mpl.rc_context(mine):
        before = dict(mpl.rcParams)
        assert render(spec.draw(tables)) == usual
        assert dict(mpl.rcParams) == before


def test_threads_may_draw_at_once():
    tables = make_tables(4, 10)
    expected = {spec.name: render(spec.draw(tables)) for spec in FIGURES}
    got = {}

    def work(spec):
        got[spec.name] = render(spec.draw(tables))

    threads = [threading.Thread(target=work, args=(spec,)) for spec in FIGURES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == expected


def test_nothing_to_show(spec):
    empty = Tables("run", np.arange(3.0), "epoch", (), (), {}, {}, {}, {}, (), ())
    assert spec.draw(empty) is None
    nowhere = dataclasses.replace(empty, axis=np.zeros(0))
    assert spec.draw(nowhere) is None


def test_no_picture_of_an_ordinary_run_takes_much_longer_than_another():
    tables = make_tables(8, 51)
    render(FIGURES[0].draw(tables))  # fonts are loaded once
    seconds = []
    for spec in FIGURES:
        began = time.process_time()
        render(spec.draw(tables))
        seconds.append(time.process_time() - began)
    assert max(seconds) < 8 * np.median(seconds)  # about 2.5 times, whatever else the machine does


def test_the_checker_catches_an_overlap_and_a_cut():
    spec = next(spec for spec in FIGURES if spec.name == "accuracy")
    figure = spec.draw(make_tables(4))
    assert problems(figure) == []
    text = next(text for text, _ in drawn_texts(figure) if text.get_text() == spec.title)
    figure.text(*text.get_position(), "on the title")
    figure.text(0.99, 0.02, "beyond the edge")
    figure.axes[0].text(0.5, 0.5, "on a panel", transform=figure.axes[0].transAxes)
    found = "\n".join(problems(figure))
    assert "'Accuracy and loss' and 'on the title' overlap" in found
    assert "'beyond the edge' is cut off" in found
    assert "'on a panel' lies on a panel" in found


def test_the_checker_catches_crowded_ticks():
    figure = next(spec for spec in FIGURES if spec.name == "rank").draw(make_tables(300))
    heat = max(figure.axes, key=lambda axes: axes.get_position().height * (axes.get_position().width > 0.1))
    heat.set_yticks(np.arange(300) + 0.5, [f"layer {i}" for i in range(300)])
    assert any("overlap" in problem for problem in problems(figure))
