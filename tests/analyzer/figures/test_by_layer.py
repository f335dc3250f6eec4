"""The figures by layer: each is drawn as it is declared."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from figure_parts import DRAW, data_lines, marks, texts
from figure_tables import make_tables, with_curve, with_marks

from analyzer.figures.by_layer import LAYER_FIGURES
from analyzer.figures.drawing.layer_table import MARKS

PANELS = {
    "step_distance": ["Step distance ‖Wₜ − Wₜ₋₁‖"],
    "condition_number": ["Condition number κ = σ₁/σₙ"],
    "initial_distance": ["Distance from the start ‖Wₜ − W₀‖"],
    "norm": ["Norm ‖Wₜ‖"],
    "rank": ["Effective rank", "Stable rank ‖W‖²/σ₁²"],
    "alpha": ["Alpha, tail chosen by fit", "Alpha by Hill's estimator, upper half"],
    "outliers": ["Singular values above the noise", "Carried by these"],
    "sparsity": ["Weights that are zero", "Weights near zero"],
    "rotation_and_growth": ["Turned by", "Lengthened by"],
    "update_cosine": ["Cosine of consecutive steps"],
    "subspace_overlap": ["Overlap with the previous checkpoint", "Overlap with the first checkpoint"],
    "update_rank": ["Effective rank of the update", "Stable rank of the update"],
    "pruning_mask": ["Churn of the mask", "In the largest 10 %", "In the largest 50 %", "In the largest 90 %"],
    "own_metrics": ["first_direction_share", "third"],
}


@pytest.mark.parametrize("declared", LAYER_FIGURES, ids=lambda declared: declared.name)
def test_a_declaration_is_drawn_as_it_says(declared):
    figure = DRAW[declared.name](make_tables(4, missing=(17,)))
    shown = texts(figure)
    assert declared.title in shown
    for panel in PANELS[declared.name]:
        assert any(text.startswith((f"{panel} (", f"{panel}: 0 everywhere")) for text in shown)
    assert ("mean over the layers" in shown) == (declared.name == "step_distance")
    has_steps = declared.name in ("step_distance", "rotation_and_growth")
    assert any(text.startswith("hollow:") for text in shown) == has_steps


def test_distances_from_the_start_need_a_second_checkpoint():
    (declared,) = (each for each in LAYER_FIGURES if each.name == "initial_distance")
    assert declared.draw(make_tables(4, 1)) is None
    assert declared.draw(make_tables(4, 2)) is not None


@pytest.mark.parametrize(("name", "usual"), [("changed_fraction", 1), ("dead_rows_and_columns", 0)])
def test_healthy_layers_alone_are_no_figure(name, usual):
    tables = make_tables(4)
    metrics = {"changed_fraction", "dead_row_count", "dead_column_count"}
    healthy = {
        key: dataclasses.replace(curve, values=np.where(np.isnan(curve.values), np.nan, usual))
        for key, curve in tables.curves.items()
        if curve.metric in metrics
    }
    assert DRAW[name](tables) is not None
    assert DRAW[name](dataclasses.replace(tables, curves={**tables.curves, **healthy})) is None


def test_run_and_axis_are_named():
    shown = texts(DRAW["rank"](make_tables(4, run="my run", axis_label="step")))
    assert {"my run", "step", "Effective and stable rank of each layer"} <= set(shown)


def test_zeros_alone_are_still_a_figure():
    tables = make_tables(4)
    for row in tables.tensors:
        if row.kind == "matrix":
            tables = with_curve(tables, row.name, "step_distance", lambda values, statuses: values[1:].fill(0.0))
    assert data_lines(DRAW["step_distance"](tables).axes[0])


def test_a_singular_matrix_is_marked_and_has_no_number():
    tables = with_marks(make_tables(4))
    axes = DRAW["condition_number"](tables).axes[0]
    assert axes.get_yscale() == "log"
    fc1 = data_lines(axes)[0].get_ydata()
    assert np.isnan(fc1[3:9]).all()
    assert np.isfinite(fc1[9:]).all()
    (singular,) = marks(axes, "x")
    assert list(singular.get_xdata()) == [3, 4, 5, 6, 7, 8]
    assert all(0.8 < y < 1 for y in singular.get_ydata())  # shares of the panel's height
    assert marks(axes, MARKS["nonfinite"][0]) and marks(axes, MARKS["undefined"][0])
    shown = texts(DRAW["condition_number"](tables))
    assert any(text.startswith("singular:") for text in shown)
    assert not any(text.startswith("singular:") for text in texts(DRAW["condition_number"](make_tables(4))))


def test_only_singular_matrices_still_give_a_figure():
    tables = make_tables(1)

    def edit(values, statuses):
        values[:] = np.nan
        statuses[:] = ["singular"] * len(values)

    axes = DRAW["condition_number"](with_curve(tables, "out.weight", "condition_number", edit)).axes[0]
    assert len(marks(axes, "x")[0].get_xdata()) == 51
    assert not any(np.isfinite(line.get_ydata()).any() for line in data_lines(axes))


def test_more_metrics_of_ones_own_than_fit_are_counted():
    shown = texts(DRAW["own_metrics"](make_tables(4)))
    assert "first_direction_share (share of ‖W‖²)" in shown
    assert "2 more are in measurements.csv" in shown
    tables = make_tables(4)
    built_in = {name: row for name, row in tables.metrics.items() if row.family != "mine"}
    assert DRAW["own_metrics"](dataclasses.replace(tables, metrics=built_in)) is None
