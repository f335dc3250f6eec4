"""Adapters as PEFT saves them: their update is the one that PEFT itself would merge."""

from __future__ import annotations

import json
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import random_walk, save_weights
from safetensors.torch import load_file
from stored import values_of

import analyzer
from analyzer.errors import CheckpointError
from analyzer.findings import find
from analyzer.layouts.weights.checkpoint import weights_of
from analyzer.model.run import TensorInfo
from analyzer.report.reading import read_tables
from analyzer.store.store import open_store

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the library's own
    import peft
    import transformers


class Network(torch.nn.Module):
    """One of each kind of module that LoRA can be put on."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(11, 6)
        self.inner = torch.nn.ModuleDict({"up": torch.nn.Linear(6, 10), "down": torch.nn.Linear(10, 6, bias=False)})
        self.transposed = transformers.pytorch_utils.Conv1D(7, 6)
        self.convolution = torch.nn.Conv2d(3, 8, (3, 2))
        self.pointwise = torch.nn.Conv2d(3, 8, 1)
        self.head = torch.nn.Linear(6, 2)


def adapted(folder: Path, dtype: Any = torch.float32, **options: Any) -> Any:
    """A model with an adapter of random factors, saved; B is zero in a fresh one."""
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, lora_alpha=6, **{"target_modules": ["up", "down"], **options})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(Network(), config)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter)
        model.to(dtype).save_pretrained(folder)
    return model


def updates(model: Any) -> dict[str, Any]:
    """What PEFT itself says that the adapter adds to each weight."""
    modules = {name: one for name, one in model.base_model.model.named_modules() if hasattr(one, "get_delta_weight")}
    return {f"{name}.delta_weight": one.get_delta_weight("default").detach() for name, one in modules.items()}


def of_folder(folder: Path) -> dict[str, TensorInfo]:
    return dict(weights_of(str(folder)).tensors)


KINDS: dict[str, dict[str, Any]] = {
    "linear": {},
    "rsLoRA": {"use_rslora": True},
    "patterns": {"rank_pattern": {"up": 2, r"inner\.down": 3}, "alpha_pattern": {"inner.down": 5, "p": 9}},
    "choices": {"alpha_pattern": {r"^up": 2, r".*\.(left|up)": 5, r"inne[p-s]\.\w+": 9}},
    "embedding": {"target_modules": ["embedding", "up"]},
    "transposed": {"target_modules": ["transposed"], "fan_in_fan_out": True},
    "convolutions": {"target_modules": ["convolution", "pointwise"]},
    "everything": {"target_modules": ["embedding", "up", "down", "convolution"], "modules_to_save": ["head"]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_update_is_that_of_peft(tmp_path: Path, kind: str) -> None:
    model = adapted(tmp_path, **KINDS[kind])
    tensors = of_folder(tmp_path)
    expected = updates(model)
    assert expected
    assert {name for name in tensors if name.endswith(".delta_weight")} == set(expected)
    for name, update in expected.items():
        info = tensors[name]
        assert (info.unsupported, info.name, info.parts) == (None, name, ())
        assert info.shape == tuple(update.shape)
        np.testing.assert_allclose(values_of(info), update.to(torch.float64).numpy(), rtol=0, atol=2e-5)


def test_what_else_the_adapter_stores_is_there_as_it_is(tmp_path: Path) -> None:
    adapted(tmp_path, **KINDS["everything"])
    tensors = of_folder(tmp_path)
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert {name for name in tensors if "delta" not in name} == {"head.weight", "head.bias"}
    np.testing.assert_array_equal(values_of(tensors["head.weight"]), stored["base_model.model.head.weight"])


def test_bfloat16_and_torch_files(tmp_path: Path) -> None:
    model = adapted(tmp_path, torch.bfloat16)
    state = load_file(tmp_path / "adapter_model.safetensors")
    as_stored = {name: values_of(info) for name, info in of_folder(tmp_path).items()}
    (tmp_path / "adapter_model.safetensors").unlink()
    torch.save(state, tmp_path / "adapter_model.bin")
    tensors = of_folder(tmp_path)
    assert {info.product.left.dtype for info in tensors.values() if info.product} == {"bfloat16"}
    for name, info in tensors.items():
        np.testing.assert_array_equal(values_of(info), as_stored[name])
        np.testing.assert_allclose(
            values_of(info), updates(model)[name].to(torch.float64).numpy(), rtol=0.01, atol=0.05
        )


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"use_dora": True}, "DoRA rescales"),
        ({"lora_bias": True}, "changes more than the weight"),
        ({"target_modules": ["grouped"]}, "cannot be multiplied"),
    ],
)
def test_other_variants_are_listed_with_the_reason(
    tmp_path: Path, options: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Network.__init__

    def with_groups(self: Network) -> None:
        plain(self)
        self.grouped = torch.nn.Conv2d(4, 8, 3, groups=2)

    monkeypatch.setattr(Network, "__init__", with_groups)
    adapted(tmp_path, **options)
    tensors = of_folder(tmp_path)
    assert tensors
    for name, info in tensors.items():
        assert name.endswith((".delta_weight", "lora_B.bias"))
        if name.endswith(".delta_weight"):
            assert info.unsupported
            assert reason in info.unsupported


def test_other_kinds_of_adapters_are_refused(tmp_path: Path) -> None:
    model = peft.get_peft_model(Network(), peft.IA3Config(target_modules=["up"], feedforward_modules=["up"]))
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"adapter_config\.json: adapters of the kind 'IA3' are not supported"):
        weights_of(str(tmp_path))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"peft_type": ["LORA"]}', '{"peft_type": "LORA", "lora_alpha": "x"}']
)
def test_a_config_that_is_not_sound(tmp_path: Path, text: str) -> None:
    adapted(tmp_path)
    (tmp_path / "adapter_config.json").write_text(text)
    if "lora_alpha" in text:
        assert {info.unsupported for info in of_folder(tmp_path).values()} == {
            "adapter_config.json does not state the scale: it has no lora_alpha, or patterns that are not supported"
        }
    else:
        with pytest.raises(CheckpointError, match=r"adapter_config\.json"):
            weights_of(str(tmp_path))


def test_an_adapter_without_its_config(tmp_path: Path) -> None:
    adapted(tmp_path)
    (tmp_path / "adapter_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"adapter_config\.json"):
        weights_of(str(tmp_path))


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+" * 20 + "$",
        "((((",
        "(.*.*.*)*x",
        "(inne|inn.)" * 60 + "x",
        "[z-a]",
        ".*" * 30,
        "a{9999}",
    ],
)
def test_a_pattern_that_could_keep_us_busy_is_not_read_and_costs_only_what_it_could_mean(
    tmp_path: Path, pattern: str
) -> None:
    adapted(tmp_path)
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"alpha_pattern": {"down": 3, pattern: 5}}))
    tensors = of_folder(tmp_path)
    product = tensors["inner.down.delta_weight"].product
    assert product and product.scale == 3 / 4
    assert "patterns that are not supported" in str(tensors["inner.up.delta_weight"].unsupported)


def test_a_hostile_name_keeps_nobody_busy(tmp_path: Path) -> None:
    adapted(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alpha_pattern": {r".*e.*x": 5}}))
    name = "e." * 500 + "z"  # nearly as long as a name may be
    factors = {f"{name}.lora_A.weight": np.ones((1, 3)), f"{name}.lora_B.weight": np.ones((3, 1))}
    save_weights(tmp_path / "adapter_model.safetensors", factors)
    assert "patterns that are not supported" in str(of_folder(tmp_path)[f"{name}.delta_weight"].unsupported)


def test_fault_22_factors_whose_product_is_beyond_all_measure(tmp_path: Path) -> None:
    adapted(tmp_path)
    factors = {
        "up.lora_A.weight": np.ones((1, 1 << 16), np.int8),
        "up.lora_B.weight": np.ones(((1 << 15) + 1, 1), np.int8),
    }
    save_weights(tmp_path / "adapter_model.safetensors", factors)
    assert "has more than 2147483648 elements" in str(of_folder(tmp_path)["up.delta_weight"].unsupported)


def test_half_an_adapter(tmp_path: Path) -> None:
    adapted(tmp_path)
    state = load_file(tmp_path / "adapter_model.safetensors")
    kept = {name: value.numpy() for name, value in state.items() if not name.endswith("up.lora_B.weight")}
    save_weights(tmp_path / "adapter_model.safetensors", kept)
    tensors = of_folder(tmp_path)
    assert tensors["inner.down.delta_weight"].product
    assert "only one of its two factors" in str(tensors["inner.up.delta_weight"].unsupported)


def test_a_trainers_adapters_are_a_run_of_the_trainer(tmp_path: Path) -> None:
    for step in (10, 20):
        adapted(tmp_path / f"checkpoint-{step}")
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text('{"epoch": 1.0, "log_history": []}')
    run = analyzer.open_run(tmp_path)
    assert (run.layout, [one.step for one in run.checkpoints]) == ("huggingface", [10, 20])
    assert list(run.checkpoints[0].tensors) == ["inner.down.delta_weight", "inner.up.delta_weight"]


def test_the_same_adapter_twice_is_told_by_its_factors(tmp_path: Path) -> None:
    for name in ("checkpoint-10", "checkpoint-010"):
        adapted(tmp_path / name)
        (tmp_path / name / "trainer_state.json").write_text('{"epoch": 1.0}')
    run = analyzer.open_run(tmp_path)
    assert [finding.rule for finding in run.findings] == ["duplicate_files"]
    save_weights(tmp_path / "checkpoint-30" / "model.safetensors", random_walk(1)[0])
    (tmp_path / "checkpoint-30" / "trainer_state.json").write_text('{"epoch": 3.0}')
    state = load_file(tmp_path / "checkpoint-10" / "adapter_model.safetensors")
    changed = {name: value.numpy() * (2 if "lora_A" in name else 1) for name, value in state.items()}
    save_weights(tmp_path / "checkpoint-010" / "adapter_model.safetensors", changed)
    run = analyzer.open_run(tmp_path)
    assert [finding.rule for finding in run.findings] == ["contradicting_files"]


# ------------------------------------------------------------------------------------------------ what is measured


@pytest.fixture
def adapter_run(tmp_path: Path) -> tuple[Path, list[dict[str, np.ndarray]]]:
    """Three checkpoints of an adapter on its way, and the updates that PEFT would merge, in float64."""
    model = adapted(tmp_path / "fresh", target_modules=["up", "down", "convolution"])
    expected = []
    for step in (10, 20, 30):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter += 0.1 * torch.randn_like(parameter)
        model.save_pretrained(tmp_path / "run" / f"step_{step}")
        expected.append({name: update.to(torch.float64).numpy() for name, update in updates(model.double()).items()})
        model.float()
    return tmp_path / "run", expected


def test_motion_is_that_of_the_products(adapter_run: tuple[Path, list[dict[str, np.ndarray]]], tmp_path: Path) -> None:
    folder, expected = adapter_run
    run = analyzer.open_run(folder)
    assert not [finding for finding in analyzer.audit(run) if finding.severity in ("warning", "serious")]
    measured = analyzer.measure(run, tmp_path / "store.sqlite")
    assert not [row for row in measured.rows() if row["status"] == "error"]
    for name in expected[0]:
        norms = [np.linalg.norm(state[name]) for state in expected]
        np.testing.assert_allclose(measured.series(name, "frobenius_norm").values, norms, rtol=1e-6)
        steps = [np.linalg.norm(b[name] - a[name]) for a, b in pairwise(expected)]
        np.testing.assert_allclose(measured.series(name, "step_distance").values[1:], steps, rtol=1e-6)


def test_spectra_have_as_many_values_as_the_rank(
    adapter_run: tuple[Path, list[dict[str, np.ndarray]]], tmp_path: Path
) -> None:
    """The others are zero by construction: they make no condition number infinite and no bulk of noise."""
    folder, expected = adapter_run
    measured = analyzer.measure(analyzer.open_run(folder), tmp_path / "store.sqlite")
    for name, update in expected[1].items():
        values = np.linalg.svd(update.reshape(len(update), -1), compute_uv=False)[:4]
        np.testing.assert_allclose(measured.spectra(name)["step_20"], values, rtol=1e-6)
        rows = {
            row["metric"]: row for row in measured.rows() if (row["tensor"], row["checkpoint"]) == (name, "step_20")
        }
        assert rows["condition_number"]["value"] == pytest.approx(values[0] / values[3], rel=1e-6)
        assert rows["condition_number"]["status"] == "ok"
        assert rows["numerical_rank"]["value"] == 4
        assert rows["mp_edge"]["status"] == "undefined"


def test_a_fresh_adapter_changes_nothing_yet(tmp_path: Path) -> None:
    """B begins as zero, so ΔW does: what is relative to it is undefined, never infinite."""
    for step in (0, 1):
        model = peft.get_peft_model(Network(), peft.LoraConfig(r=2, target_modules=["up"]))
        if step:
            torch.nn.init.normal_(model.base_model.model.inner["up"].lora_B["default"].weight)
        model.save_pretrained(tmp_path / "run" / f"step_{step}")
    measured = analyzer.measure(analyzer.open_run(tmp_path / "run"), tmp_path / "store.sqlite")
    rows = {(row["checkpoint"], row["metric"]): row for row in measured.rows() if row["tensor"]}
    assert rows["step_0", "frobenius_norm"]["value"] == 0
    assert rows["step_0", "condition_number"]["status"] == "undefined"
    assert rows["step_1", "relative_step_distance"]["status"] == "undefined"
    norm = rows["step_1", "frobenius_norm"]["value"]
    assert rows["step_1", "step_distance"]["value"] == pytest.approx(norm, rel=1e-14)
    assert norm > 0


def test_an_adapter_that_shrinks_while_it_is_measured_is_an_error_and_no_number(tmp_path: Path) -> None:
    for step in (1, 2):
        adapted(tmp_path / "run" / f"step_{step}")
    run = analyzer.open_run(tmp_path / "run")
    path = tmp_path / "run" / "step_2" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-64])
    rows = analyzer.measure(run, tmp_path / "store.sqlite").rows()
    assert {row["status"] for row in rows if row["checkpoint"] == "step_2" and row["scope"] == "tensor"} == {"error"}


def test_the_audit_reads_products_as_well(adapter_run: tuple[Path, list[dict[str, np.ndarray]]]) -> None:
    """A factor that is not a number makes its product none, which the audit finds without measuring."""
    folder, _ = adapter_run
    path = folder / "step_20" / "adapter_model.safetensors"
    state = {name: value.numpy().copy() for name, value in load_file(path).items()}
    state["base_model.model.inner.up.lora_A.weight"][0, 0] = np.nan
    save_weights(path, state)
    (alarm,) = [one for one in analyzer.audit(analyzer.open_run(folder)) if one.severity in ("warning", "serious")]
    assert "inner.up.delta_weight" in alarm.sentence
    assert alarm.checkpoints == ("step_20",)


# ------------------------------------------------------------------------------------------------------ what is found


def adapter(folder: Path, states: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """What is found in a run of one adapted layer whose factors A and B are these."""
    for step, state in enumerate(states):
        at = folder / f"step_{step}"
        save_weights(
            at / "adapter_model.safetensors",
            {f"base_model.model.up.lora_{key}.weight": array.astype(np.float32) for key, array in state.items()},
        )
        (at / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 8}')
    measurements = analyzer.measure(analyzer.open_run(folder), folder.with_suffix(".sqlite"))
    with open_store(measurements.path) as store:
        findings = find(read_tables(store, folder.name))
    return {one.rule: one for one in findings}


@pytest.mark.parametrize("sizes", [(1, 0.9, 0.8, 0.01), (1, 0.9, 0.8, 0.7)])
def test_a_cut_of_an_adapter_is_one_of_its_own_rank(tmp_path: Path, sizes: tuple[float, ...]) -> None:
    generator = np.random.default_rng(0)
    left, right = (np.linalg.qr(generator.standard_normal((side, 4)))[0] for side in (32, 48))
    states = [{"B": left * np.array(sizes) * (1 + step / 10), "A": right.T} for step in range(4)]
    found = adapter(tmp_path / "run", states)
    if sizes[-1] > 0.1:
        assert "could_be_cut_in_rank" not in found
    else:
        assert "rank 3 of 4" in found["could_be_cut_in_rank"].sentence
        assert "25 % fewer parameters" in found["could_be_cut_in_rank"].sentence


def test_an_adapter_that_grows_from_zero_does_not_explode(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    b, a = generator.standard_normal((32, 4)), generator.standard_normal((4, 48))
    states = [{"B": b * size, "A": a} for size in (0, 0.01, 0.05, 0.2, 0.5, 1, 1.2)]
    assert not [one for one in adapter(tmp_path / "run", states).values() if one.severity in ("warning", "serious")]
