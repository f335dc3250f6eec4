"""Quantized weights, whose codes are no numbers to measure."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from builders import save_weights
from commands import measured
from planted import checked, only, tables_with

import analyzer
from analyzer.findings.quantization import updates_lost_in_rounding
from analyzer.findings.steps import motion_below_precision

GENERATOR = np.random.default_rng(0)
STATE = np.frombuffer(b'{"quant_type": "nf4"}', np.uint8)


def codes(shape, dtype):
    return GENERATOR.integers(0, 100, shape).astype(dtype)


def floats(*shape):
    return GENERATOR.standard_normal(shape).astype(np.float32)


def nf4(dtype):
    return {
        "fc.weight": codes((128, 1), np.uint8) if dtype == np.uint8 else codes((64, 4), np.uint8).view(dtype),
        "fc.weight.absmax": floats(4),
        "fc.weight.quant_map": floats(16),
        "fc.weight.quant_state.bitsandbytes__nf4": STATE,
    }


CASES = {
    "NF4 (bitsandbytes)": nf4(np.uint8),
    "LLM.int8 (bitsandbytes)": {"fc.weight": codes((8, 8), np.int8), "fc.SCB": floats(8)},
    "GPTQ": {
        "fc.qweight": codes((4, 8), np.int32),
        "fc.qzeros": codes((2, 1), np.int32),
        "fc.scales": floats(2, 8).astype(np.float16),
        "fc.g_idx": codes((32,), np.int32),
    },
    "AWQ": {"fc.qweight": codes((32, 1), np.int32), "fc.qzeros": codes((2, 1), np.int32), "fc.scales": floats(2, 8)},
    "compressed-tensors": {"fc.weight_packed": codes((8, 2), np.int32), "fc.weight_scale": floats(8, 1)},
    "MXFP4": {"mlp.gate_blocks": codes((2, 8, 2, 16), np.uint8), "mlp.gate_scales": codes((2, 8, 2), np.uint8)},
}


def written(folder, weights):
    for step in (1, 2):
        save_weights(folder / f"step{step}/model.safetensors", {**weights, "norm.weight": floats(32)})
    return analyzer.open_run(folder)


@pytest.mark.parametrize("kind", CASES)
def test_packed_matrices_are_named_with_format_and_remedy(tmp_path, kind):
    one = only(checked(analyzer.audit(written(tmp_path, CASES[kind]))), "packed_weights")
    assert one.severity == "warning" and one.evidence["format"] == kind
    assert one.sentence.startswith(f"1 matrix ({next(iter(CASES[kind]))}) is packed as {kind} and not measured")
    assert "To measure the weights, " in one.sentence


@pytest.mark.parametrize("dtype", [np.uint8, ml_dtypes.bfloat16, np.float16, np.float32])
def test_codes_in_a_dtype_of_numbers_are_not_measured(tmp_path, dtype):
    """As bnb_4bit_quant_storage stores them for FSDP."""
    run = written(tmp_path / "run", nf4(dtype))
    only(analyzer.audit(run), "packed_weights")
    rows = [row for row in measured(tmp_path / "run").rows() if row["tensor"] == "fc.weight"]
    statuses = {row["metric"]: row["status"] for row in rows}
    assert {statuses.get(metric, "none") for metric in ("frobenius_norm", "step_distance", "condition_number")} <= {
        "unsupported",
        "none",
    }


def test_plain_weights_and_integer_buffers_are_not_packed(tmp_path):
    weights = {"fc.weight": floats(8, 8), "ids": codes((4, 4), np.int64), "fc.scales": floats(2)}
    assert "packed_weights" not in {one.rule for one in analyzer.audit(written(tmp_path, weights))}


LENGTHS = [0, 110, 52, 33, 28, 25, 18, 14, 12, 11, 9, 9]  # of steps, in rounding displacements
COPY = [0, 0.98, 0.97, 0.95, 0.95, 0.94, 0.92, 0.91, 0.9, 0.89, 0.86, 0.85]  # as p_optswitch rounded to bfloat16
# Shares of the expected changes: of p_dead_units, rounded to bfloat16, whose dead units drift on by their momentum ...
DYING = [1.0] * 8 + [0.79, 0.49, 0.39] + [0.37] * 14
FADING = np.linspace(1.0, 0.35, 25).tolist()  # ... and where steps shrink
ITSELF = [0, 0.84, 0.8, 0.75, 0.69, 0.62, 0.57, 0.5, 0.45, 0.4, 0.34, 0.27]  # as h_purebf16


@pytest.mark.parametrize(
    ("changed", "dtype", "is_lost"),
    [
        (ITSELF, "bfloat16", True),
        (COPY, "bfloat16", False),
        (ITSELF, "float32", False),
        ([0.4 * share for share in COPY], "bfloat16", False),  # six tenths never get a gradient
        ([share * (1 if at < 6 else 0.4) for at, share in enumerate(COPY)], "bfloat16", False),  # units died at once
    ],
)
def test_training_in_a_narrow_dtype_is_told_from_a_rounded_copy(changed, dtype, is_lost):
    norm = 7.0
    tables = tables_with(
        {
            "step_distance": [0.42466 * 2**-8 * norm * length for length in LENGTHS],
            "frobenius_norm": [norm] * len(LENGTHS),
            "zero_fraction": [0.0] * len(LENGTHS),
            "changed_fraction": changed,
        },
        dtype=dtype,
    )
    found = list(updates_lost_in_rounding(tables))
    assert [(one.severity, one.tensor) for one in found] == ([("notice", "w")] if is_lost else [])
    hidden = replace(tables.curves["tensor", "w", "step_distance"], statuses=("ok", *["below_precision"] * 11))
    below = motion_below_precision(replace(tables, curves={**tables.curves, ("tensor", "w", "step_distance"): hidden}))
    assert ["finer files" in one.sentence for one in below] == [dtype == "bfloat16" and not is_lost]


@pytest.mark.parametrize(("shares", "is_lost"), [(DYING, False), (FADING, True)])
def test_units_that_die_within_three_intervals_are_no_lost_updates(shares, is_lost):
    count = len(shares) + 1
    tables = tables_with(
        {
            "step_distance": [0.42466 * 2**-8 * 1000] * count,  # so long that every element changes
            "frobenius_norm": [1.0] * count,
            "zero_fraction": [0.0] * count,
            "changed_fraction": [0.0, *shares],
        },
        dtype="bfloat16",
    )
    assert bool(list(updates_lost_in_rounding(tables))) == is_lost
