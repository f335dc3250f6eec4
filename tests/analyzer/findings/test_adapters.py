"""Adapters that change nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from builders import save_weights
from commands import measured
from planted import checked, only

import analyzer
from analyzer.findings import find
from analyzer.report.reading import read_tables
from analyzer.store.store import open_store

CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q", "v"], "fan_in_fan_out": False}


def write(folder, trained, modules=("h.0.q", "h.0.v")):
    """Write adapters; ``trained(step, module)`` says whether B is not zero. A changes at every step."""
    generator = np.random.default_rng(0)
    for step in range(3):
        weights = {}
        for module in modules:
            prefix = f"base_model.model.{module}"
            weights[f"{prefix}.lora_A.weight"] = generator.standard_normal((4, 32)).astype(np.float32)
            factor = generator.standard_normal((48, 4)) * trained(step, module)
            weights[f"{prefix}.lora_B.weight"] = factor.astype(np.float32)
        checkpoint = folder / f"checkpoint-{60 * step}"
        save_weights(checkpoint / "adapter_model.safetensors", weights)
        (checkpoint / "adapter_config.json").write_text(json.dumps(CONFIG))
        (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": 60 * step, "log_history": []}))
    return checked(analyzer.audit(analyzer.open_run(folder)))


def alarms(findings):
    return [one.rule for one in findings if one.severity in ("serious", "warning")]


def test_a_factor_that_stays_zero_is_the_cause_and_no_copy(tmp_path):
    findings = write(tmp_path / "run", lambda step, module: False)
    one = only(findings, "zero_update")
    assert one.severity == "serious" and alarms(findings) == ["zero_update"]
    assert "ΔW is zero in every checkpoint because lora_B is zero everywhere (lora_A is not)" in one.sentence
    assert "the adapter changes nothing, nothing was learned" in one.sentence
    assert len(one.evidence["zero_factors"]) == 2 and "overwritten" not in one.sentence
    measurements = measured(tmp_path / "run")
    with open_store(measurements.path) as store:
        drawn = checked(find(read_tables(store, "run")))
    assert only(drawn, "zero_update").severity == "serious"
    assert {"same_weights", "frozen_tensors"}.isdisjoint(one.rule for one in drawn)


def test_zero_at_the_first_checkpoint_is_how_adapters_begin(tmp_path):
    assert alarms(write(tmp_path, lambda step, module: step > 0)) == []


def test_modules_that_stay_zero_are_named(tmp_path):
    findings = write(tmp_path, lambda step, module: module == "h.0.q")
    one = only(findings, "zero_update")
    assert one.severity == "warning" and alarms(findings) == ["zero_update"]
    assert one.sentence.startswith("ΔW of h.0.v.delta_weight (1 of 2 modules) is zero in every checkpoint because ")


@pytest.mark.parametrize("steps", [(0, 1), (2,)])
def test_an_adapter_that_is_zero_at_other_times_is_named_and_no_copy(tmp_path, steps):
    findings = write(tmp_path, lambda step, module: step not in steps)
    one = only(findings, "zero_update")
    assert one.checkpoints == tuple(f"checkpoint-{60 * step}" for step in steps)
    assert one.severity == "warning" and alarms(findings) == ["zero_update"]


def test_identical_adapters_that_are_not_zero_are_still_copies(tmp_path):
    write(tmp_path, lambda step, module: True)
    source = tmp_path / "checkpoint-60/adapter_model.safetensors"
    (tmp_path / "checkpoint-120/adapter_model.safetensors").write_bytes(source.read_bytes())
    assert alarms(analyzer.audit(analyzer.open_run(tmp_path))) == ["same_weights"]
