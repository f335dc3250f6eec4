"""What the Python API gives access to: names, curves with their axis, spectra; and its answers to wrong names."""

from __future__ import annotations

import re

import numpy as np
import pytest
from builders import random_walk
from commands import measured

import analyzer
from analyzer.errors import StoreError

FAMILIES = ("motion", "size", "spectrum")


@pytest.fixture
def store(make_run, tmp_path):
    measured(make_run(random_walk(4)), tmp_path / "s.sqlite", FAMILIES)
    return tmp_path / "s.sqlite"


@pytest.fixture
def measurements(store):
    return analyzer.open_measurements(store)


def test_names_of_tensors_metrics_and_scores_are_listed(measurements):
    assert measurements.tensors == [row["tensor"] for row in first_rows(measurements)]
    assert {"condition_number", "step_distance"} < set(measurements.metrics)
    assert measurements.metrics == sorted({row["metric"] for row in measurements.rows()})
    curve = measurements.series(measurements.tensors[0], "step_distance")
    for values in measurements.scores.values():
        assert values.shape == curve.values.shape and values.dtype == np.float64


def first_rows(measurements):
    seen = {row["tensor"]: row for row in measurements.rows() if row["scope"] == "tensor"}
    return list(seen.values())


def test_a_curve_carries_its_axis(measurements):
    curve = measurements.series("mean", "condition_number")
    assert curve.axis.tolist() == [0, 1, 2, 3] and curve.axis_label == "epoch"


def test_a_mistyped_name_suggests_the_right_one(measurements):
    tensor = next(name for name in measurements.tensors if name.endswith("weight"))
    with pytest.raises(StoreError, match="contains no metric 'condition_numbr'; did you mean 'condition_number'"):
        measurements.series(tensor, "condition_numbr")
    with pytest.raises(StoreError, match=re.escape(f"did you mean {tensor!r}")):
        measurements.series(tensor.upper().replace("WEIGHT", "weight"), "condition_number")
    with pytest.raises(StoreError, match="it was not measured of this tensor"):
        measurements.series(tensor.replace("weight", "bias"), "condition_number")
    with pytest.raises(StoreError, match=re.escape(f"no spectra of 'fc1.weigth'; did you mean {tensor!r}")):
        measurements.spectra("fc1.weigth")


def test_a_report_folder_stands_for_its_store(store, measurements, tmp_path):
    analyzer.write_report(measurements, tmp_path / "report")
    again = analyzer.open_measurements(tmp_path / "report")
    assert again.rows() == measurements.rows()
    analyzer.write_report(store, tmp_path / "from-path")
    page = (tmp_path / "report" / "index.html").read_bytes()
    assert (tmp_path / "from-path" / "index.html").read_bytes() == page


def test_a_run_that_the_store_lacks_is_an_error_at_once(store):
    with pytest.raises(StoreError, match="contains no run 'runn'; did you mean 'run'"):
        analyzer.open_measurements(store, "runn")


def test_measurements_show_what_they_contain(measurements):
    assert repr(measurements) == f"<Measurements of 'run' in {measurements.path}>"
    page = measurements._repr_html_()
    assert "<td>checkpoints</td><td>4: epoch 0 to 3</td>" in page and "condition_number" in page


def test_a_comparison_is_one_line_and_a_table_of_its_runs(make_run, tmp_path):
    for seed, name in enumerate(("a", "b")):
        measured(make_run(random_walk(4, seed=seed), name), tmp_path / f"{name}.sqlite", FAMILIES)
    comparison = analyzer.compare([tmp_path / "a.sqlite", tmp_path / "b.sqlite"])
    assert repr(comparison).startswith("<Comparison of 2 runs in ") and len(repr(comparison)) < 200
    assert repr(comparison.runs[0].tables).startswith("<Tables of 'a': 4 checkpoints, ")
    assert comparison._repr_html_().count("<tr>") == 3


def test_a_metric_of_chosen_tensors_is_plotted(measurements):
    figure = measurements.plot("condition_number", tensors="fc*")
    texts = {text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text"))}
    assert "condition number" in texts
    lines = [line for axes in figure.axes for line in axes.lines if len(line.get_xdata()) == 4]
    expected = measurements.series("fc1.weight", "condition_number").values
    assert any(np.allclose(line.get_ydata(), expected) for line in lines)


def test_what_cannot_be_plotted_is_named(measurements):
    with pytest.raises(StoreError, match="no metric 'condition'"):
        measurements.plot("condition")
    with pytest.raises(StoreError, match=r"no 'condition_number' of a tensor like 'zzz\*'"):
        measurements.plot("condition_number", tensors="zzz*")
