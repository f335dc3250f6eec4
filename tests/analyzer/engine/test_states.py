"""States that were summarized and not kept cannot pass for data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import random_walk, save_weights
from commands import measured, rows_of

from analyzer.metrics import METRICS
from analyzer.metrics.needs import NEEDS, ServedBy
from analyzer.metrics.registry import metric


@pytest.fixture
def register_as_before():
    before = dict(METRICS)
    yield
    METRICS.clear()
    METRICS.update(before)


@pytest.mark.parametrize("role", ["current", "previous", "initial"])
def test_a_need_that_is_wrongly_served_by_sums_gives_an_error_and_no_number(
    tmp_path, monkeypatch, register_as_before, role
):
    monkeypatch.setitem(NEEDS, role, replace(NEEDS[role], served_by=ServedBy.SUMS))

    def largest(array):
        return float(np.abs(array).max())

    namespace: dict[str, object] = {"largest": largest}
    exec(f"def largest_magnitude({role}): return largest({role})", namespace)
    metric(family="mine", unit="1", definition="max |w|", source="me")(namespace["largest_magnitude"])
    for epoch, weights in enumerate(random_walk(4)):
        save_weights(tmp_path / f"run/epoch_{epoch}.safetensors", weights)
    rows = rows_of(measured(tmp_path / "run", metrics=["largest_magnitude", "frobenius_norm"]))
    mine = [row for (_, scope, _, name), row in rows.items() if (scope, name) == ("tensor", "largest_magnitude")]
    assert mine
    assert {(row["value"], row["status"]) for row in mine} == {(None, "error")}
    others = [row for (_, scope, _, name), row in rows.items() if (scope, name) == ("tensor", "frobenius_norm")]
    assert {row["status"] for row in others} == {"ok"}
