"""What the figures show: the numbers and nothing else, marks for what has no number, gaps, order, remarks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from figure_tables import change_pair, make_tables, with_curve, with_marks
from legibility import drawn_texts
from matplotlib.image import AxesImage

from analyzer.figures import FIGURES
from analyzer.figures.colour_scale import colour_scale
from analyzer.figures.heat_cells import cells
from analyzer.figures.horizontal import horizontal, steps_over_gaps
from analyzer.figures.layers import MARKS, ZERO_MARKER, Panel, layer_names
from analyzer.figures.style import GAP_MARKER, LOOKS

DRAW = {spec.name: spec.draw for spec in FIGURES}


def texts(figure):
    return [text.get_text() for text, _ in drawn_texts(figure)]


def series(axes):
    """Give the lines of a panel that are drawn in data coordinates."""
    return [line for line in axes.get_lines() if line.get_transform() == axes.transData]


def marks(axes, marker):
    return [line for line in axes.get_lines() if line.get_marker() == marker and line.get_transform() != axes.transData]


def test_a_singular_matrix_is_marked_and_has_no_number():
    tables = with_marks(make_tables(4))
    axes = DRAW["condition_number"](tables).axes[0]
    assert axes.get_yscale() == "log"
    fc1 = series(axes)[0].get_ydata()
    assert np.isnan(fc1[3:9]).all()
    assert np.isfinite(fc1[9:]).all()
    (singular,) = marks(axes, "x")
    assert list(singular.get_xdata()) == [3, 4, 5, 6, 7, 8]
    assert all(0.8 < y < 1 for y in singular.get_ydata())  # shares of the panel's height
    assert marks(axes, MARKS["nonfinite"][0]) and marks(axes, MARKS["undefined"][0])
    shown = texts(DRAW["condition_number"](tables))
    assert any(text.startswith("singular:") for text in shown)
    assert not any(text.startswith("singular:") for text in texts(DRAW["condition_number"](make_tables(4))))


def test_no_mark_is_taken_for_another_or_for_a_layer():
    marks_of_status = [*(marker for marker, _ in MARKS.values()), ZERO_MARKER]
    assert len(set(marks_of_status)) == len(marks_of_status)
    assert not {look.marker.lower() for look in LOOKS} & set(marks_of_status)
    assert not {"+", "_"} & set(marks_of_status)  # the plus of a layer, and dashes
    figure = DRAW["step_distance"](make_tables(10, missing=(17, 18)))
    hollow = [line for line in series(figure.axes[0]) if line.get_markerfacecolor() == "white"]
    assert {line.get_marker() for line in hollow} == {GAP_MARKER} and len(hollow) == 11


def test_only_singular_matrices_still_give_a_figure():
    tables = make_tables(1)

    def edit(values, statuses):
        values[:] = np.nan
        statuses[:] = ["singular"] * len(values)

    axes = DRAW["condition_number"](with_curve(tables, "out.weight", "condition_number", edit)).axes[0]
    assert len(marks(axes, "x")[0].get_xdata()) == 51
    assert not any(np.isfinite(line.get_ydata()).any() for line in series(axes))


def test_marks_keep_clear_of_the_lines():
    axes = DRAW["condition_number"](with_marks(make_tables(4))).axes[0]
    highest = max(np.nanmax(line.get_ydata()) for line in series(axes) if len(line.get_ydata()))
    top = axes.transAxes.inverted().transform(axes.transData.transform((0, highest)))[1]
    assert top < min(y for marker, _ in MARKS.values() for line in marks(axes, marker) for y in line.get_ydata())


def test_a_heat_map_leaves_cells_without_a_number_empty():
    tables = with_marks(make_tables(12))
    figure = DRAW["condition_number"](tables)
    image = max((axes.images[0] for axes in figure.axes if axes.images), key=lambda i: i.get_array().shape[0])
    assert isinstance(image, AxesImage)
    alpha = image.get_array()[..., 3]
    assert alpha.shape == (12, 51)
    assert list(np.flatnonzero(alpha[0] == 0)) == [3, 4, 5, 6, 7, 8]
    assert list(np.flatnonzero(alpha[-1] == 0)) == [30, 31, 32, 33, 34]
    assert any(text.startswith("hatched:") for text in texts(figure))


def test_steps_over_gaps_are_hollow_and_explained():
    tables = make_tables(4, missing=(17, 18))
    figure = DRAW["step_distance"](tables)
    hollow = [line for line in series(figure.axes[0]) if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 5  # four layers and their mean
    assert all(list(line.get_xdata()) == [19] for line in hollow)
    assert any(text.startswith("hollow:") for text in texts(figure))
    assert not any(text.startswith("hollow:") for text in texts(DRAW["step_distance"](make_tables(4))))
    assert any(text.startswith("hollow:") for text in texts(DRAW["step_distance"](make_tables(12, missing=(17,)))))


def test_what_counts_as_a_gap():
    tables = make_tables(4, 6, missing=(3,))  # epochs 0 1 2 4 5 6
    axis = horizontal(tables)
    references = tables.curves["tensor", "fc1.weight", "step_distance"].references
    assert list(steps_over_gaps(axis, tables, references)) == [False, False, False, True, False, False]
    skipping = (*references[:4], references[1], references[5])
    assert steps_over_gaps(axis, tables, skipping)[4]
    growing = horizontal(make_tables(4, 6, axis=[0, 1, 2, 4, 8, 16]))
    assert not steps_over_gaps(growing, tables, references).any()  # no usual spacing, so no gap
    edges, columns = cells(axis)
    assert columns == [0, 1, 2, -1, 3, 4, 5]
    assert list(edges) == [-0.5, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5]


def test_cells_of_uneven_steps_touch():
    edges, columns = cells(horizontal(make_tables(4, 5, axis=[0, 1, 2, 4, 8])))
    assert columns == [0, 1, 2, 3, 4]
    assert list(edges) == [-0.5, 0.5, 1.5, 3, 6, 10]


def test_only_weight_matrices_in_network_order():
    tables = make_tables(["z.weight", "a.weight", "m.weight"])
    panel = Panel("zero_fraction", "", "", "linear")
    assert layer_names(tables, [panel]) == ("z.weight", "a.weight", "m.weight")  # and not z.bias
    key = ("tensor", "z.weight[1]", "zero_fraction")
    stack = dataclasses.replace(tables.curves["tensor", "z.weight", "zero_fraction"], tensor="z.weight[1]")
    more = dataclasses.replace(tables, curves={**tables.curves, key: stack})
    assert layer_names(more, [panel]) == ("z.weight", "z.weight[1]", "a.weight", "m.weight")


def test_the_spike_of_one_checkpoint_among_a_thousand_is_seen():
    tables = make_tables(12, 1999)

    def edit(values, statuses):
        values[777] = 1e9

    figure = DRAW["condition_number"](
        with_curve(tables, "model.layers.0.self_attn.q_proj.weight", "condition_number", edit)
    )
    image = max((axes.images[0] for axes in figure.axes if axes.images), key=lambda i: i.get_array().shape[0])
    brightest = colour_scale(np.array([1.0, 1e9]), "log").colours(np.array([1e9]))[0]
    assert (image.get_array()[0] == brightest).all(axis=-1).any()
    assert any("each cell shows the largest" in text for text in texts(figure))


def test_zeros_on_a_log_scale_are_marked():
    tables = make_tables(4)

    def edit(values, statuses):
        values[5:8] = 0

    def widen(values, statuses):
        values[1] = 1e6

    tables = with_curve(with_curve(tables, "fc1.weight", "step_distance", edit), "fc2.weight", "step_distance", widen)
    figure = DRAW["step_distance"](tables)
    assert figure.axes[0].get_yscale() == "log"
    assert list(marks(figure.axes[0], ZERO_MARKER)[0].get_xdata()) == [5, 6, 7]
    assert any(text.startswith("exactly 0") for text in texts(figure))


def test_values_limited_by_precision_are_counted():
    tables = make_tables(4)

    def edit(values, statuses):
        statuses[:7] = ["precision_limited"] * 7

    shown = texts(DRAW["condition_number"](with_curve(tables, "fc1.weight", "condition_number", edit)))
    assert "7 of 204 values are limited by the precision in which the weights are stored" in shown


def test_a_layer_that_stands_still_is_not_said_to_be_limited_by_precision():
    tables = make_tables(4)

    def frozen(values, statuses):
        values[1:] = 0.0
        statuses[1:] = ["below_precision"] * 50

    def slow(values, statuses):
        statuses[1:4] = ["below_precision"] * 3

    still = with_curve(tables, "fc1.weight", "step_distance", frozen)
    assert not any("limited by the precision" in text for text in texts(DRAW["step_distance"](still)))
    both = with_curve(still, "fc2.weight", "step_distance", slow)
    assert any(text.startswith("3 of 200 values are limited") for text in texts(DRAW["step_distance"](both)))


def test_more_metrics_of_ones_own_than_fit_are_counted():
    shown = texts(DRAW["own_metrics"](make_tables(4)))
    assert "first_direction_share (share of ‖W‖²)" in shown
    assert "2 more are in measurements.csv" in shown
    tables = make_tables(4)
    built_in = {name: row for name, row in tables.metrics.items() if row.family != "mine"}
    assert DRAW["own_metrics"](dataclasses.replace(tables, metrics=built_in)) is None


def test_accuracy_without_test_scores_or_losses():
    tables = make_tables(4)
    alone = dataclasses.replace(tables, scalars={"train_accuracy": tables.scalars["train_accuracy"]})
    assert "Loss" not in texts(DRAW["accuracy"](alone))
    percent = dataclasses.replace(tables, scalars={"eval_accuracy": 100 * tables.scalars["test_accuracy"]})
    assert "Accuracy (per cent)" in texts(DRAW["accuracy"](percent))
    other = {"eval_f1": tables.scalars["test_accuracy"], "loss": tables.scalars["test_loss"]}
    assert {"eval f1", "loss"} <= set(texts(DRAW["accuracy"](dataclasses.replace(tables, scalars=other))))
    rate = dataclasses.replace(tables, scalars={"learning_rate": np.ones(51)})
    assert DRAW["accuracy"](rate) is None


def test_r_and_n_are_written_in_the_figure():
    tables = make_tables(4)
    pair = tables.change_pairs[1]
    shown = texts(DRAW["accuracy_change"](tables))
    assert f"r = {pair.coefficient:.2f}, n = 50 (a description only)" in shown
    assert any("no p-value" in text for text in shown)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {},
            "test accuracy: r = −0.22 (95 % interval −0.43 to 0.08), n = 45, effective 42 (r₁ = −0.30, r₂ = −0.13), "
            "p = 0.49",
        ),
        (
            {"low": None, "high": None, "p_value": None, "n_effective": 6.2, "n": 12, "status": "too_few"},
            "test accuracy: r = −0.22, n = 12, effective 6 (r₁ = −0.30, r₂ = −0.13): too few for a p-value",
        ),
        (
            {"coefficient": None, "n": 4, "status": "too_few"},
            "test accuracy: no coefficient, n = 4 (too few checkpoints)",
        ),
        (
            {"coefficient": None, "n": 45, "status": "undefined"},
            "test accuracy: no coefficient, n = 45 (one of the two is constant)",
        ),
    ],
)
def test_what_is_left_without_drift_is_told_with_its_uncertainty_or_why_not(changes, said):
    tables = make_tables(4)
    pair = tables.change_pairs[1]
    pair = dataclasses.replace(pair, stationary=dataclasses.replace(pair.stationary, **changes))
    shown = texts(DRAW["accuracy_change"](dataclasses.replace(tables, change_pairs=(pair,))))
    assert said in shown
    assert any(text.startswith("Without the drift") for text in shown)


@pytest.mark.parametrize("score", [[0.25, 0.5, 0.75, 1.0], [np.nan, np.nan, 0.1, 0.3]])
def test_a_score_without_an_r_is_said_to_have_none_rather_than_drawn(score):
    pair = change_pair("val_acc", np.arange(4.0), np.array(score), np.array([np.nan, 1, 2, 4]))
    tables = make_tables(4)
    assert DRAW["accuracy_change"](dataclasses.replace(tables, change_pairs=(pair,))) is None
    shown = texts(DRAW["accuracy_change"](dataclasses.replace(tables, change_pairs=(*tables.change_pairs, pair))))
    assert any(text.startswith("val acc: no r (too few changes, or") for text in shown)
    assert not any(text.startswith("val acc: change") for text in shown)


def test_run_and_axis_are_named():
    shown = texts(DRAW["rank"](make_tables(4, run="my run", axis_label="step")))
    assert {"my run", "step", "Effective and stable rank of each layer"} <= set(shown)


@pytest.mark.parametrize("layers", [4, 40])
def test_a_panel_of_zeros_says_so_instead_of_looking_empty(layers):
    said = texts(DRAW["conditioning_and_sparsity"](make_tables(layers)))
    assert [text for text in said if "0 everywhere" in text] == ["Weights that are zero: 0 everywhere, not drawn"]
    assert not any("share of all" in text for text in said)


def test_zeros_alone_are_still_a_figure():
    tables = make_tables(4)
    for row in tables.tensors:
        if row.kind == "matrix":
            tables = with_curve(tables, row.name, "step_distance", lambda values, statuses: values[1:].fill(0.0))
    assert series(DRAW["step_distance"](tables).axes[0])
