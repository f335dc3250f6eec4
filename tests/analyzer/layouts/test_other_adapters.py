"""Adapters of sd-scripts, mlx-lm and diffusers: each update equals torch's product of the factors in float64."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import full_count
from formats_testing import mutated, only_documented_errors, write
from safetensors.torch import load_file, save_file
from stored import alarms, found, values_of

import analyzer
from analyzer.errors import CheckpointError
from analyzer.layouts.weights.checkpoint import weights_of
from analyzer.model.run import TensorInfo

State = dict[str, torch.Tensor]


def randn(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape).to(dtype)


def stored(path: Path, state: State, metadata: dict[str, str] | None = None) -> dict[str, TensorInfo]:
    path.parent.mkdir(parents=True, exist_ok=True)
    contiguous = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    if path.suffix == ".safetensors":
        save_file(contiguous, path, metadata)
    else:
        torch.save(contiguous, path)
    return dict(weights_of(str(path)).tensors)


def product(scale: float, up: torch.Tensor, down: torch.Tensor) -> np.ndarray[Any, Any]:
    """Scale · up · down of linear layers or convolutions, in float64."""
    flat = up.double().flatten(1) @ down.double().flatten(1)
    return (scale * flat).reshape(len(up), *down.shape[1:]).numpy()


def assert_update(info: TensorInfo, expected: np.ndarray[Any, Any]) -> None:
    assert info.unsupported is None
    assert info.shape == expected.shape
    np.testing.assert_allclose(values_of(info), expected, rtol=1e-12, atol=1e-12)


def pair(module: str, up: torch.Tensor, down: torch.Tensor, alpha: torch.Tensor | None = None) -> State:
    state = {f"{module}.lora_up.weight": up, f"{module}.lora_down.weight": down}
    return state if alpha is None else {**state, f"{module}.alpha": alpha}


# ------------------------------------------------------------------------------------------------ kohya


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_kohya(tmp_path: Path, suffix: str, dtype: torch.dtype) -> None:
    """Linear layers, convolutions, alphas as numbers of any kind, and none, which sd-scripts reads as alpha = r."""
    torch.manual_seed(0)
    up, down = randn(12, 4, dtype=dtype), randn(4, 20, dtype=dtype)
    wide, kernel = randn(8, 4, 1, 1, dtype=dtype), randn(4, 3, 3, 3, dtype=dtype)
    state = {
        **pair("lora_unet_to_q", up, down, torch.tensor(2.0).to(dtype)),
        **pair("lora_unet_conv", wide, kernel, torch.tensor(3)),
        **pair("lora_te_fc1", up, down),
        **pair("lora_te_fc2", up, down, torch.tensor(0.0)),
    }
    tensors = stored(tmp_path / f"style{suffix}", state)
    modules = ("lora_te_fc1", "lora_te_fc2", "lora_unet_conv", "lora_unet_to_q")
    assert list(tensors) == [f"{module}.delta_weight" for module in modules]
    assert_update(tensors["lora_unet_to_q.delta_weight"], product(0.5, up, down))
    assert_update(tensors["lora_unet_conv.delta_weight"], product(0.75, wide, kernel))
    assert_update(tensors["lora_te_fc1.delta_weight"], product(1, up, down))
    assert_update(tensors["lora_te_fc2.delta_weight"], product(1, up, down))


OTHERS: dict[str, tuple[State, str]] = {
    "LoCon in Tucker form": ({**pair("m", randn(8, 4), randn(4, 3)), "m.lora_mid.weight": randn(4, 4, 3, 3)}, "Tucker"),
    "LoHa": ({f"m.hada_w{n}_{letter}": randn(4, 4) for n in (1, 2) for letter in "ab"}, "Hadamard"),
    "LoKr": ({"m.lokr_w1": randn(2, 2), "m.lokr_w2_a": randn(4, 2), "m.lokr_w2_b": randn(2, 4)}, "Kronecker"),
    "DoRA": ({**pair("m", randn(8, 4), randn(4, 3)), "m.dora_scale": randn(1, 3)}, "DoRA rescales"),
    "DoRA of PEFT": (
        {"m.lora_A.weight": randn(2, 3), "m.lora_B.weight": randn(4, 2), "m.lora_magnitude_vector": randn(4)},
        "DoRA rescales",
    ),
    "OFT": ({"m.oft_blocks": randn(2, 4, 4)}, "rotates"),
    "a bias": ({**pair("m", randn(8, 4), randn(4, 3)), "m.lora_up.bias": randn(8)}, "bias"),
    "split factors": ({"m.lora_down.0.weight": randn(4, 3), "m.lora_up.0.weight": randn(8, 4)}, "split"),
    "half": ({"m.lora_up.weight": randn(8, 4)}, "only one of its two factors"),
    "an alpha that is a vector": (pair("m", randn(8, 4), randn(4, 3), torch.ones(3)), "alpha"),
    "an alpha that is no number": (pair("m", randn(8, 4), randn(4, 3), torch.tensor(float("inf"))), "alpha"),
    "shapes": (pair("m", randn(8, 4), randn(5, 3)), "cannot be multiplied"),
    "rank 0": (pair("m", torch.empty(8, 0), torch.empty(0, 3)), "rank is 0"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_product_is_listed_with_the_reason(tmp_path: Path, kind: str) -> None:
    state, reason = OTHERS[kind]
    tensors = stored(tmp_path / "style.safetensors", {**state, "m.alpha": state.get("m.alpha", torch.tensor(1.0))})
    assert set(tensors) <= {"m.delta_weight", "m.lora_up.bias"}
    assert reason in str(tensors["m.delta_weight"].unsupported)


def test_a_whole_model_with_its_adapter_inside_stays_as_stored(tmp_path: Path) -> None:
    state = {**pair("q", randn(8, 4), randn(4, 3)), "q.base_layer.weight": randn(8, 3), "head.weight": randn(2, 8)}
    assert set(stored(tmp_path / "model.pt", state)) == set(state)


def test_two_tensors_of_one_name_are_an_error(tmp_path: Path) -> None:
    state = {**pair("q", randn(8, 4), randn(4, 3)), "q.delta_weight": randn(2)}
    with pytest.raises(CheckpointError, match=r"would be named like the stored tensor q\.delta_weight"):
        stored(tmp_path / "style.safetensors", state)


def test_a_run_of_kohya_is_measured_like_the_products(tmp_path: Path) -> None:
    torch.manual_seed(0)
    norms = []
    for epoch in (1, 2, 3):
        up, down = randn(12, 4), randn(4, 20)
        stored(tmp_path / "run" / f"style-00000{epoch}.safetensors", pair("to_q", up, down, torch.tensor(2.0)))
        norms.append(np.linalg.norm(product(0.5, up, down)))
    run = analyzer.open_run(tmp_path / "run")
    assert not alarms(list(run.findings))
    measured = analyzer.measure(run, tmp_path / "store.sqlite")
    np.testing.assert_allclose(measured.series("to_q.delta_weight", "frobenius_norm").values, norms, rtol=1e-12)


# ------------------------------------------------------------------------------------------------ mlx


def mlx(folder: Path, state: State, **config: Any) -> dict[str, TensorInfo]:
    folder.mkdir(parents=True, exist_ok=True)
    if config:
        (folder / "adapter_config.json").write_text(json.dumps(config))
    return stored(folder / "0000100_adapters.safetensors", state)


def test_mlx(tmp_path: Path) -> None:
    """The factors are (in, r) and (r, out); an embedding's product is not transposed."""
    torch.manual_seed(0)
    a, b, rows = randn(20, 4), randn(4, 12), randn(30, 4)
    state = {
        "model.layers.0.q_proj.lora_a": a,
        "model.layers.0.q_proj.lora_b": b,
        "model.embed_tokens.lora_a": rows,
        "model.embed_tokens.lora_b": b,
    }
    tensors = mlx(tmp_path, state, fine_tune_type="lora", lora_parameters={"rank": 4, "scale": 10.0})
    assert_update(tensors["model.layers.0.q_proj.delta_weight"], 10 * (a.double() @ b.double()).T.numpy())
    assert_update(tensors["model.embed_tokens.delta_weight"], 10 * (rows.double() @ b.double()).numpy())
    save_file(load_file(tmp_path / "0000100_adapters.safetensors"), tmp_path / "adapters.safetensors")
    assert set(weights_of(str(tmp_path)).tensors) == set(tensors)
    assert {Path(stamp.path).name for stamp in weights_of(str(tmp_path)).files} == {
        "adapters.safetensors",
        "adapter_config.json",
    }


SCALE = {"lora_parameters": {"scale": 10.0}}
MLX: dict[str, tuple[State, dict[str, Any], str]] = {
    "no config": ({"m.lora_a": randn(5, 2), "m.lora_b": randn(2, 3)}, {}, "lora_parameters.scale"),
    "no scale": ({"m.lora_a": randn(5, 2), "m.lora_b": randn(2, 3)}, {"lora_parameters": {"rank": 2}}, "scale"),
    "experts": ({"m.lora_a": randn(4, 2, 5), "m.lora_b": randn(4, 3, 2)}, SCALE, "experts"),
    "DoRA": ({"m.lora_a": randn(5, 2), "m.lora_b": randn(2, 3), "m.m": randn(3)}, SCALE, "DoRA"),
    "ranks": ({"m.lora_a": randn(5, 2), "m.lora_b": randn(3, 3)}, SCALE, "cannot be multiplied"),
}


@pytest.mark.parametrize("kind", MLX)
def test_mlx_adapters_that_are_not_measured(tmp_path: Path, kind: str) -> None:
    state, config, reason = MLX[kind]
    tensors = mlx(tmp_path, state, **config)
    assert list(tensors) == ["m.delta_weight"]
    assert reason in str(tensors["m.delta_weight"].unsupported)


# ------------------------------------------------------------------------------------------------ diffusers

NAMES = {
    "unet.mid.attn.to_q.lora_A.weight": "unet.mid.attn.to_q.lora_B.weight",
    "unet.mid.attn.to_k.lora.down.weight": "unet.mid.attn.to_k.lora.up.weight",
    "unet.mid.attn.processor.to_out_lora.down.weight": "unet.mid.attn.processor.to_out_lora.up.weight",
    "text_encoder.q_proj.lora_linear_layer.down.weight": "text_encoder.q_proj.lora_linear_layer.up.weight",
}
MODULES = ("text_encoder.q_proj", "unet.mid.attn.to_k", "unet.mid.attn.to_out.0", "unet.mid.attn.to_q")


def test_names_of_diffusers_without_a_scale(tmp_path: Path) -> None:
    """The scale is 1 then, as diffusers loads it, which a finding says."""
    torch.manual_seed(0)
    up, down = randn(12, 4), randn(4, 20)
    state = {**dict.fromkeys(NAMES, down), **dict.fromkeys(NAMES.values(), up)}
    for step in (8, 16):
        stored(
            tmp_path / f"checkpoint-{step}" / "pytorch_lora_weights.safetensors",
            {k: v * step for k, v in state.items()},
        )
    run = analyzer.open_run(tmp_path)
    tensors = run.checkpoints[0].tensors
    assert tuple(tensors) == tuple(f"{module}.delta_weight" for module in MODULES)
    for info in tensors.values():
        assert_update(info, product(64, up, down))
    (notice,) = found(run, "adapter_scale_assumed")
    assert notice.severity == "notice"
    assert "adapters of 4 modules" in notice.sentence


def test_scales_in_the_metadata_of_diffusers_and_in_alphas(tmp_path: Path) -> None:
    """A configuration for each component, with patterns; the component without one has an alpha."""
    torch.manual_seed(0)
    up, down = randn(12, 4), randn(4, 20)
    config = {"unet.r": 4, "unet.lora_alpha": 8, "unet.alpha_pattern": {"to_k": 2}, "unet.target_modules": ["to_q"]}
    state = {
        **dict.fromkeys(NAMES, down),
        **dict.fromkeys(NAMES.values(), up),
        "text_encoder.q_proj.alpha": torch.tensor(12.0),
    }
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(config)}
    tensors = stored(tmp_path / "pytorch_lora_weights.safetensors", state, metadata)
    assert len(tensors) == len(MODULES)
    for module, scale in zip(MODULES, (3, 0.5, 2, 2), strict=True):
        assert_update(tensors[f"{module}.delta_weight"], product(scale, up, down))
    single = {"to_q.lora_A.weight": down, "to_q.lora_B.weight": up}
    metadata = {"lora_adapter_metadata": json.dumps({"r": 4, "lora_alpha": 4, "use_rslora": True})}
    tensors = stored(tmp_path / "one" / "pytorch_lora_weights.safetensors", single, metadata)
    assert_update(tensors["to_q.delta_weight"], product(2, up, down))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"unet.lora_alpha": 8, "lora_alpha": [1]}'])
def test_metadata_that_is_not_sound(tmp_path: Path, text: str) -> None:
    state = {"to_q.lora_A.weight": randn(4, 20), "to_q.lora_B.weight": randn(12, 4)}
    (info,) = stored(tmp_path / "a.safetensors", state, {"lora_adapter_metadata": text}).values()
    assert info.unsupported or (info.product and info.product.scale == 1)


def test_the_configuration_of_peft_beside_a_file_of_any_name(tmp_path: Path) -> None:
    """torchtune's names, too; the number of a file says its epoch, so a folder of them is a run."""
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 16}))
    up, down = randn(12, 4), randn(4, 20)
    tensors = stored(tmp_path / "adapter_0.pt", {"layers.0.q.lora_a.weight": down, "layers.0.q.lora_b.weight": up})
    assert_update(tensors["layers.0.q.delta_weight"], product(4, up, down))


def test_mutants_cause_only_documented_errors(tmp_path: Path) -> None:
    state = {
        **pair("a", randn(8, 4), randn(4, 3), torch.tensor(2.0)),
        "unet.q.lora_A.weight": randn(2, 3),
        "unet.q.lora_B.weight": randn(4, 2),
        "m.lora_a": randn(3, 2),
        "m.lora_b": randn(2, 3),
        "h.hada_w1_a": randn(2, 2),
        "m.alpha": torch.tensor(1.0),
    }
    config = json.dumps({"unet.lora_alpha": 8, "unet.r": 2})
    stored(tmp_path / "a.safetensors", state, {"lora_adapter_metadata": config})
    whole = (tmp_path / "a.safetensors").read_bytes()
    generator = random.Random(0)
    tokens = (
        b".lora_up.weight",
        b".lora_A.weight",
        b".alpha",
        b'"F16"',
        b'"I64"',
        b"[]",
        b"[0,3]",
        b"[2,2,2]",
        b"null",
    )
    accepted = 0
    for _ in range(full_count(100_000, 300)):
        path = write(tmp_path / "b.safetensors", mutated(whole, generator, tokens))
        accepted += only_documented_errors(lambda path=path: weights_of(path).tensors)  # type: ignore[misc]
    assert accepted
