"""The sentence of a figure about what is remarkable in a run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from figure_tables import make_tables, with_curve

from analyzer.figures import FIGURES, remarks


def with_ends(metric, **ends):
    tables = make_tables(4)
    for name, (first, last) in ends.items():

        def edit(values, statuses, first=first, last=last):
            values[:] = np.linspace(first, last, len(values))

        tables = with_curve(tables, f"{name}.weight", metric, edit)
    return tables


CHANGED = {"fc1": (2, 4), "fc2": (10, 42), "fc3": (3, 3), "out": (5, 5)}


def test_the_largest_value_at_the_end_is_named_with_its_change():
    said = remarks.largest("condition_number", "condition number")(with_ends("condition_number", **CHANGED))
    assert said == "The largest condition number at the end is 42, of fc2.weight, 4.2 times its start."
    said = remarks.smallest("condition_number", "condition number")(with_ends("condition_number", **CHANGED))
    assert said == "The smallest condition number at the end is 3, of fc3.weight, 1 times its start."


def test_a_layer_that_departs_from_the_median_is_named():
    said = remarks.departure("stable_rank", "stable rank")(with_ends("stable_rank", **CHANGED))
    assert said == (
        "The stable rank of the median layer ends at 1.5 times its start; fc2.weight departs most, at 4.2 times its "
        "start."
    )


@pytest.mark.parametrize("spec", [spec for spec in FIGURES if spec.remark], ids=lambda spec: spec.name)
def test_every_remark_is_one_sentence_or_nothing(spec):
    said = spec.remark(make_tables(12))
    assert said.endswith(".") and "\n" not in said and said[0].isupper()
    assert spec.remark(dataclasses.replace(make_tables(4), curves={}, spectra={}, correlations={})) == ""
