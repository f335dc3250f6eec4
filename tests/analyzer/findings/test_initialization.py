"""Matrices that begin at an unusual scale."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planted import tables_with

from analyzer.findings.initialization import unusual_initialization


@pytest.mark.parametrize(
    ("scales", "expected"),
    [
        ([0.041, 0.041, 0.041], None),  # torch's default for 196 inputs
        ([0.1, 0.1, 0.1], None),  # He
        ([0.02, 0.02, 0.02], None),  # GPT-2
        ([0.02, 0.02, 0.002], None),  # the last of a residual block
        ([0.041, 0.041, 0.0], None),
        ([1.0, 0.041, 0.041], None),  # an embedding by its scale
        ([1.0, 1.0, 1.0], "large"),
        ([0.6, 0.041, 0.041], "large"),
        ([0.001, 0.001, 0.001], "small"),
        ([1e-5, 0.041, 0.041], "small"),
    ],
)
def test_an_initialization_far_from_usual_scales_is_named(scales, expected):
    curves = {(f"w{n}.weight", "rms"): [scale] * 3 for n, scale in enumerate(scales)}
    tables = tables_with(curves, shape=(64, 196))
    found = [(one.severity, one.sentence.split("unusually ")[1][:5]) for one in unusual_initialization(tables)]
    assert found == ([] if expected is None else [("notice", expected)])
    later = replace(tables, checkpoints=tuple(replace(row, epoch=9.0, step=900) for row in tables.checkpoints))
    assert list(unusual_initialization(later)) == []


@pytest.mark.parametrize(("leaf", "is_found"), [("bias", True), ("gamma", False)])
def test_a_matrix_of_normal_numbers_with_a_bias_is_no_embedding(leaf, is_found):
    rms = {(f"{n}.weight", "rms"): [0.06] * 3 for n in range(3)} | {("3.weight", "rms"): [1.05] * 3}
    tables = tables_with({**rms, (f"3.{leaf}", "rms"): [0.1] * 3})
    tensors = (*tables.tensors[:4], replace(tables.tensors[4], kind="vector"))
    found = list(unusual_initialization(replace(tables, tensors=tensors)))
    assert [one.tensor for one in found] == ["3.weight"] * is_found
