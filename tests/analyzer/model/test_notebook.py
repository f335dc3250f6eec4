"""What the Python API shows of itself: one line each, and in a notebook a small table without markup from names."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.model.notebook import MOST_ROWS, counted, html_table, suggestion
from analyzer.model.run import Checkpoint, Run, TensorInfo
from analyzer.model.tables import Curve

HOSTILE = "<script>alert('x')</script>"


def checkpoint(number: int, **scores: float) -> Checkpoint:
    info = TensorInfo("w", "float32", (2,), ())
    return Checkpoint(f"epoch_{number}", "", float(number), None, scores, {"w": info}, ())


def test_a_long_table_shows_its_first_and_last_rows():
    text = html_table("numbers", ("n",), [(n,) for n in range(1000)])
    assert text.count("<tr>") == MOST_ROWS + 2 and "… 990 more …" in text
    assert "<td>4</td>" in text and "<td>5</td>" not in text and "<td>995</td>" in text


def test_nothing_in_a_table_becomes_markup():
    text = html_table(HOSTILE, (HOSTILE,), [(HOSTILE, None, 0.123456789)])
    assert "<script" not in text and text.count("&lt;script&gt;") == 3
    assert "<td>–</td>" in text and "<td>0.123457</td>" in text


@pytest.mark.parametrize(("number", "text"), [(0, "0 tensors"), (1, "1 tensor"), (2, "2 tensors")])
def test_numbers_agree_with_their_nouns(number, text):
    assert counted(number, "tensor") == text


def test_a_mistyped_name_is_answered_with_the_nearest_ones():
    known = ["condition_number", "step_distance", "stable_rank"]
    assert suggestion("condition_numbr", known) == "did you mean 'condition_number'?"
    assert suggestion("zzz", known) == "there are condition_number, step_distance and stable_rank"
    assert suggestion("zzz", []) == "there are none"


def test_a_run_and_its_checkpoints_are_one_line_each_however_long_the_run_is():
    run = Run("demo", "runs/demo", "weightlapse", "epoch", tuple(checkpoint(n, accuracy=n / 500) for n in range(500)))
    assert repr(run) == "<Run 'demo': 500 checkpoints, 1 tensor, read as weightlapse, ordered by epoch>"
    assert repr(run.checkpoints[7]) == "<Checkpoint 'epoch_7': epoch 7.0, step None, 1 tensor>"
    page = run._repr_html_()
    assert "<th>accuracy</th>" in page and "<td>0.998</td>" in page and len(page) < 2000


def test_a_curve_tells_its_values_and_shows_them_on_its_axis():
    values, statuses = np.array([1.5, np.nan, 3.0]), ("ok", "singular", "ok")
    curve = Curve(
        "tensor", "w", "condition_number", values, statuses, (None,) * 3, np.array([0.0, 10.0, 20.0]), "epoch"
    )
    assert repr(curve) == "<Curve 'condition_number' of 'w': 2 values at 3 checkpoints, from 1.5 to 3>"
    page = curve._repr_html_()
    assert "<th>epoch</th>" in page and "<td>10</td><td>–</td><td>singular</td>" in page


def test_a_curve_without_values_or_axis_is_shown_by_position():
    curve = Curve("mean", "", "alpha", np.full(2, np.nan), (None, None), (None, None))
    assert repr(curve) == "<Curve 'alpha' of 'mean': 0 values at 2 checkpoints>"
    assert "<td>1</td><td>–</td><td>–</td>" in curve._repr_html_()
