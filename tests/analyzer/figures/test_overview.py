"""The overview: what it draws of few and of many layers, and what it marks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from figure_parts import DRAW, data_lines, texts
from figure_tables import make_tables
from legibility import problems
from matplotlib.collections import LineCollection

from analyzer.figures import FIGURES
from analyzer.model.run import Finding

MANY = 96


def draw(tables):
    return DRAW["overview"](tables)


def panel(figure, start):
    """Return the panel whose name begins so."""
    return next(axes for axes in figure.axes if any(text.get_text().startswith(start) for text in axes.texts))


def gids(figure):
    return {artist.get_gid() for artist in figure.findobj() if artist.get_gid()}


def test_few_layers_show_every_singular_value():
    tables = make_tables(4)
    figure = draw(tables)
    shown = texts(figure)
    assert {"fc1: its 64 singular values", "out: its 64 singular values"} <= set(shown)
    assert {"train", "test"} <= set(shown)
    plain, outside = (one for one in panel(figure, "fc1: its").collections if isinstance(one, LineCollection))
    np.testing.assert_allclose(plain.get_segments()[0][:, 1], tables.spectra["fc1.weight"].leading[:, 0])
    assert len(plain.get_segments()) == 64
    edge = tables.spectra["fc1.weight"].edge
    above = (tables.spectra["fc1.weight"].leading > edge[:, None]).any(axis=0).sum()
    assert len(outside.get_segments()) == above > 0


def test_errors_are_what_is_missing_to_all_correct():
    tables = make_tables(4)
    axes = panel(draw(tables), "errors in %")
    (test,) = (line for line in data_lines(axes) if np.isfinite(line.get_ydata()).all() and len(line.get_xdata()) == 51)
    np.testing.assert_allclose(test.get_ydata(), 100 * (1 - tables.scalars["test_accuracy"]))
    percent = dataclasses.replace(tables, scalars={"val_accuracy": 100 * tables.scalars["test_accuracy"]})
    axes = panel(draw(percent), "errors in %")
    np.testing.assert_allclose(data_lines(axes)[0].get_ydata(), 100 * (1 - tables.scalars["test_accuracy"]))
    assert "val" in texts(draw(percent))


def test_losses_stand_in_for_accuracies():
    tables = make_tables(4)
    losses = {name: values for name, values in tables.scalars.items() if "loss" in name}
    assert panel(draw(dataclasses.replace(tables, scalars=losses)), "loss")
    without = draw(dataclasses.replace(tables, scalars={}))
    assert not any(text.startswith(("loss", "errors")) for text in texts(without))


@pytest.mark.parametrize("layers", [4, MANY])
def test_it_fits_a_screen(layers):
    figure = draw(make_tables(layers))
    width, height = figure.get_size_inches()
    assert width == 12
    assert height <= 5
    assert problems(figure) == []


def test_many_layers_are_compared_with_their_peers():
    tables = make_tables(MANY)
    name = "model.layers.5.self_attn.q_proj.weight"
    curves = dict(tables.curves)
    for tensor in [row.name for row in tables.tensors if row.kind == "matrix"]:
        curve = curves["tensor", tensor, "frobenius_norm"]
        factor = 2.0 if tensor == name else 1.0
        curves["tensor", tensor, "frobenius_norm"] = dataclasses.replace(curve, values=np.full(51, 3.0 * factor))
    figure = draw(dataclasses.replace(tables, curves=curves))
    (image,) = panel(figure, "query: norm").get_images()
    colors = np.asarray(image.get_array())[..., :3]
    rows = colors.reshape(16, -1, 3)
    assert (rows[5] != rows[4]).any()
    assert (rows[4] == rows[6]).all() and rows[4].min() > 240  # as its peers: white
    assert rows[5][0][0] > rows[5][0][2]  # more than its peers: red


def test_findings_are_marked_by_number_unless_they_are_only_information():
    tables = make_tables(4)
    checkpoints = tuple(row.name for row in tables.checkpoints)
    findings = (
        Finding("a", "warning", "A.", tensor="fc2.weight", checkpoints=checkpoints[10:20], figure="rank"),
        Finding("b", "info", "B.", tensor="fc1.weight", checkpoints=checkpoints[5:6], figure="rank"),
        Finding("c", "notice", "C.", checkpoints=checkpoints, figure="accuracy"),
    )
    figure = draw(dataclasses.replace(tables, findings=findings))
    assert gids(figure) == {"finding-1"}
    assert any(artist.get_gid() for artist in panel(figure, "fc2: its").findobj())
    assert not any(artist.get_gid() for artist in panel(figure, "fc1: its").findobj())
    assert problems(figure) == []


def test_findings_frame_the_rows_of_many_layers():
    tables = make_tables(MANY)
    name = "model.layers.5.self_attn.q_proj.weight"
    found = Finding("a", "warning", "A.", tensor=name, checkpoints=(tables.checkpoints[30].name,), figure="rank")
    figure = draw(dataclasses.replace(tables, findings=(found,)))
    assert any(artist.get_gid() == "finding-1" for artist in panel(figure, "query: norm").patches)
    assert not any(artist.get_gid() == "finding-1" for artist in panel(figure, "key: norm").patches)
    assert problems(figure) == []


def test_names_without_roles_share_one_tile():
    shown = texts(draw(make_tables([f"{index}.weight" for index in range(0, 60, 2)])))
    assert {"all weight matrices: norm", "all weight matrices: motion", "0.weight"} <= set(shown)


def test_one_checkpoint_has_no_overview():
    assert draw(make_tables(4, 1)) is None


def test_without_spectra_the_lines_remain():
    tables = dataclasses.replace(make_tables(4), spectra={})
    figure = draw(tables)
    assert problems(figure) == []
    assert any(text.startswith("moved per epoch") for text in texts(figure))


def test_the_caption_describes_only_what_is_drawn():
    (spec,) = (spec for spec in FIGURES if spec.name == "overview")
    few, many = make_tables(4), make_tables(60)
    assert "singular value of a matrix is a line" in spec.caption(few) and "row" not in spec.caption(few)
    assert "Each matrix is a row" in spec.caption(many) and "singular" not in spec.caption(many)
    finding = Finding("r", "warning", "Odd.", few.tensors[0].name, (few.checkpoints[3].name,))
    assert "numbers" not in spec.caption(few)
    assert "numbers" in spec.caption(dataclasses.replace(few, findings=(finding,)))
