"""Which layers a report animates."""

from __future__ import annotations

import pytest
from figure_tables import make_tables

from analyzer.errors import ArgumentError
from analyzer.report.run_report import to_animate


def test_patterns_choose_layers_of_all_runs():
    runs = [make_tables(4, 3, run="one"), make_tables(4, 3, run="two")]
    chosen = to_animate(runs, ["fc[12].weight"])
    assert chosen == {(run, layer) for run in ("one", "two") for layer in ("fc1.weight", "fc2.weight")}
    assert to_animate(runs, []) == set()


def test_a_pattern_without_a_layer_is_an_error_that_names_the_layers():
    with pytest.raises(ArgumentError, match=r"--animate conv\*.*fc1\.weight"):
        to_animate([make_tables(4, 3)], ["fc1.weight", "conv*"])


def test_a_single_spectrum_cannot_be_animated():
    with pytest.raises(ArgumentError, match="two or more spectra"):
        to_animate([make_tables(4, 1)], ["fc1.weight"])
