"""Rules on the curves of healthy trainings, which `tests/benchmarks/healthy_trainings.py` made: few warnings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import CHECKOUT, STRESS
from kept_tables import kept
from planted import checked

from analyzer.findings import find
from analyzer.model.tables import Tables

CURVES = CHECKOUT / "tests" / "data" / "healthy_trainings.npz"
# (run, rule): why a warning is right although nothing was done wrong
DEFENDED: dict[tuple[str, str], str] = {}

pytestmark = pytest.mark.skipif(not STRESS, reason="only in `make stress`")


@pytest.fixture(scope="module")
def runs() -> dict[str, Tables]:
    return kept(CURVES)


def loud(tables: Tables) -> set[str]:
    return {one.rule for one in checked(find(tables)) if one.severity in ("serious", "warning")}


def test_healthy_trainings_have_at_most_the_defended_warnings(runs):
    assert len(runs) == 40 and len({name.rpartition("_")[0] for name in runs}) == 10
    warned = {(name, rule) for name, tables in runs.items() for rule in loud(tables)}
    assert warned <= DEFENDED.keys() and len(DEFENDED) <= 2


def test_a_norm_that_jumps_is_found_in_every_one_of_them(runs):
    whole = {name: tables for name, tables in runs.items() if not name.startswith("lora")}  # products may grow
    assert len(whole) == 36
    quiet = [name for name, tables in whole.items() if not loud(with_a_jump(tables))]
    assert not quiet


def test_scores_that_fall_to_chance_are_found_in_every_one_that_has_accuracies(runs):
    with_accuracy = {name: tables for name, tables in runs.items() if "test_accuracy" in tables.scalars}
    assert len(with_accuracy) >= 30
    quiet = [name for name, tables in with_accuracy.items() if not loud(with_a_collapse(tables))]
    assert not quiet


def with_a_jump(tables: Tables) -> Tables:
    """Return the tables with the first matrix seven times as large in the second half."""
    name = next(row.name for row in tables.tensors if row.kind == "matrix")
    curves = dict(tables.curves)
    for metric in ("rms", "frobenius_norm"):
        curve = curves["tensor", name, metric]
        later = np.arange(len(curve.values)) >= len(curve.values) // 2
        curves["tensor", name, metric] = replace(curve, values=np.where(later, 7 * curve.values, curve.values))
    return replace(tables, curves=curves)


def with_a_collapse(tables: Tables) -> Tables:
    """Return the tables with all accuracies at chance in the second half."""
    scalars = {
        name: np.where(np.arange(len(values)) >= len(values) // 2, 0.1, values) if "accuracy" in name else values
        for name, values in tables.scalars.items()
    }
    return replace(tables, scalars=scalars)
