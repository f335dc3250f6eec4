"""Spectra through time as ridges: which layers, which checkpoints, and the law of noise beside them."""

from __future__ import annotations

import dataclasses

import numpy as np
from figure_parts import DRAW, texts
from figure_tables import make_tables
from legibility import problems

from analyzer.model.run import Finding
from analyzer.model.spectra import spectrum_through_time


def draw(tables):
    return DRAW["spectrum_through_time"](tables)


def test_each_layer_has_a_panel_and_the_first_and_last_checkpoint_a_ridge():
    figure = draw(make_tables(4))
    assert {"fc1", "fc2", "fc3", "out", "0", "50"} <= set(texts(figure))
    assert problems(figure) == []


def test_of_many_layers_those_of_findings_come_first():
    tables = make_tables(60)
    shown = texts(draw(tables))
    block = next(block for block in range(10) if f"block {block} up" not in shown)
    name = f"model.layers.{block}.mlp.up_proj.weight"
    found = Finding("a", "warning", "A.", tensor=name, checkpoints=(tables.checkpoints[30].name,), figure="rank")
    shown = texts(draw(dataclasses.replace(tables, findings=(found,))))
    assert f"block {block} up" in shown
    assert any(text.startswith("12 of 60 layers") for text in shown)


def test_values_beyond_the_noise_are_strokes():
    values = np.array([5.0, 4.0, *np.linspace(1.8, 0.2, 30)])
    tables = make_tables(1, 2)
    spectrum = spectrum_through_time("out.weight", [values, values], np.full(2, 2.0))
    axes = draw(dataclasses.replace(tables, spectra={"out.weight": spectrum})).axes[0]
    strokes = [line for line in axes.get_lines() if line.get_marker() == "|"]
    assert [list(line.get_xdata()) for line in strokes] == [[5.0, 4.0]] * 2


def test_too_few_singular_values_have_no_density():
    tables = make_tables(1, 2)
    spectrum = spectrum_through_time("out.weight", [np.array([2.0, 1.0])] * 2, np.full(2, np.nan))
    assert draw(dataclasses.replace(tables, spectra={"out.weight": spectrum})) is None
