"""Runs with something wrong in them, and the same numbers however the work is cut."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from builders import random_walk, save_weights, weightlapse_metadata
from commands import everything, measured, read_csv, rows_of, weightlapse

import analyzer
from analyzer import open_runs
from analyzer.engine import planning, walk
from analyzer.engine.states import read_states
from analyzer.errors import CheckpointError
from analyzer.store.store import open_store


def written(folder: Path, states, epochs=None) -> Path:
    for epoch, weights in zip(epochs or range(len(states)), states, strict=True):
        save_weights(folder / f"epoch_{epoch:04d}.safetensors", weights, weightlapse_metadata(epoch))
    return folder


def row(rows, epoch, metric, tensor="fc1.weight", scope="tensor"):
    return rows.get((f"epoch_{epoch:04d}.safetensors", scope, tensor, metric))


def status(rows, epoch, metric, tensor="fc1.weight", scope="tensor"):
    found = row(rows, epoch, metric, tensor, scope)
    if found is None:
        return None
    assert (found["value"] is not None) == (found["status"] in ("ok", "below_precision", "precision_limited"))
    return found["status"]


# ----------------------------------------------------------------------------- the numbers of real kinds of runs


def assert_agrees_with_numpy(folder: Path, tmp_path: Path, weight_files: list[Path]) -> None:
    from safetensors.numpy import load_file

    out = tmp_path / "rows.csv"
    store = tmp_path / "s.sqlite"
    assert weightlapse("measure", folder, "--store", store).code == 0
    assert weightlapse("export", store, "--format", "csv", "--out", out).code == 0
    rows = {(one["checkpoint"], one["scope"], one["tensor"], one["metric"]): one for one in read_csv(out)}
    states = [{name: array.astype(np.float64) for name, array in load_file(path).items()} for path in weight_files]
    names = list(dict.fromkeys(key[0] for key in rows))
    assert len(names) == len(weight_files)
    kappas = steps = 0
    for t, (checkpoint, state) in enumerate(zip(names, states, strict=True)):
        for name, array in state.items():
            if array.ndim > 1 and min(array.shape) > 1:
                s = np.linalg.svd(array, compute_uv=False)
                value = float(rows[checkpoint, "tensor", name, "condition_number"]["value"])
                assert value == pytest.approx(s[0] / s[-1], rel=1e-9), (checkpoint, name)
                kappas += 1
            if t:
                value = float(rows[checkpoint, "tensor", name, "step_distance"]["value"])
                assert value == pytest.approx(np.linalg.norm(array - states[t - 1][name]), rel=1e-9), (checkpoint, name)
                steps += 1
    assert kappas >= len(names) and steps >= len(names) - 1


def test_a_run_like_the_trainers_agrees_with_numpy(make_run, tmp_path):
    folder = make_run(random_walk(6))
    assert_agrees_with_numpy(folder, tmp_path, sorted(folder.glob("*.safetensors")))


def test_a_plain_folder_of_epochs_agrees_with_numpy_in_the_order_of_its_numbers(make_plain_run, tmp_path):
    folder = make_plain_run(random_walk(12, dtype=np.float64))
    assert (folder / "epoch_10.safetensors").exists()
    files = sorted(folder.glob("*.safetensors"), key=lambda path: int(path.stem[6:]))
    assert_agrees_with_numpy(folder, tmp_path, files)


def test_a_run_that_transformers_trainer_wrote_agrees_with_numpy(tmp_path, monkeypatch):
    pytest.importorskip("accelerate")
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    monkeypatch.setenv("WANDB_DISABLED", "true")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=8, num_labels=2,
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config)
    tokens = torch.randint(0, 30, (24, 6), generator=torch.Generator().manual_seed(1))
    data = [{"input_ids": row, "labels": row[0] % 2} for row in tokens]
    arguments = transformers.TrainingArguments(
        str(tmp_path / "run"), max_steps=3, save_steps=1, eval_steps=1, eval_strategy="steps", logging_steps=1,
        per_device_train_batch_size=8, use_cpu=True, report_to=[], disable_tqdm=True, learning_rate=1e-2,
        dataloader_pin_memory=False,
    )  # fmt: skip
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' and torch's own
        transformers.Trainer(model, arguments, train_dataset=data, eval_dataset=data[:8]).train()
    folders = [tmp_path / f"run/checkpoint-{step}" for step in (1, 2, 3)]
    assert_agrees_with_numpy(tmp_path / "run", tmp_path, [folder / "model.safetensors" for folder in folders])
    (run,) = open_runs(tmp_path / "run")
    state = json.loads((folders[-1] / "trainer_state.json").read_text())
    losses = {entry["step"]: entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry}
    assert [one.scores["eval_loss"] for one in run.checkpoints] == [losses[step] for step in (1, 2, 3)]


# ----------------------------------------------------------------------------------------------- row 39: NaN, Inf


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_fault_39_a_bad_weight_flags_its_layer_and_checkpoint_and_the_next_step(tmp_path, bad):
    states = random_walk(6)
    states[2]["fc1.weight"][3, 4:6] = bad
    folder = written(tmp_path / "run", states)
    store = tmp_path / "s.sqlite"
    outcome = weightlapse("measure", folder, "--store", store)
    assert outcome.code == 3
    assert "NaN or infinite weights at epoch 2 only in fc1.weight (2 elements at first)" in outcome.err
    rows = rows_of(measured(folder, store))

    assert [row(rows, t, "nonfinite_count")["value"] for t in range(6)] == [0, 0, 2, 0, 0, 0]
    assert row(rows, 2, "nonfinite_count", "", "total")["value"] == 2
    for metric in ("frobenius_norm", "rms", "max_absolute", "zero_fraction", "spectral_norm", "condition_number",
                   "initial_distance", "effective_rank"):  # fmt: skip
        assert [status(rows, t, metric) for t in (1, 2, 3)] == ["ok", "nonfinite", "ok"], metric
    for metric in ("step_distance", "relative_step_distance", "rotation", "norm_change", "sign_flip_fraction"):
        assert [status(rows, t, metric) for t in (1, 2, 3, 4)] == ["ok", "nonfinite", "nonfinite", "ok"], metric
    assert [status(rows, t, "update_cosine") for t in (2, 3, 4, 5)] == ["nonfinite"] * 3 + ["ok"]
    assert [status(rows, t, "changed_fraction") for t in (1, 2, 3)] == ["ok"] * 3
    # a path through it has no length any more
    assert [status(rows, t, "path_length") for t in range(6)] == ["ok", "ok", *["nonfinite"] * 4]
    # every other layer is numeric everywhere, and sums that contain the layer are flagged, not silently short
    assert {status(rows, t, metric, tensor) for (_, _, tensor, metric) in rows for t in range(2, 6)
            if tensor in ("out.weight", "out.bias", "fc1.bias") and metric != "tortuosity"} <= {"ok", None}  # fmt: skip
    for scope in ("total", "mean"):
        assert [status(rows, t, "step_distance", "", scope) for t in (1, 2, 3, 4)] == [
            "ok", "nonfinite", "nonfinite", "ok",
        ]  # fmt: skip
    expected = np.linalg.norm(states[2]["out.weight"].astype(float) - states[1]["out.weight"])
    assert row(rows, 2, "step_distance", "out.weight")["value"] == pytest.approx(expected)


def test_fault_39_a_bad_first_checkpoint_leaves_the_steps_numeric(tmp_path):
    states = random_walk(4)
    states[0]["fc1.bias"][0] = np.nan
    rows = rows_of(measured(written(tmp_path / "run", states)))
    assert [status(rows, t, "initial_distance", "fc1.bias") for t in range(4)] == ["nonfinite"] * 4
    assert [status(rows, t, "step_distance", "fc1.bias") for t in (1, 2, 3)] == ["nonfinite", "ok", "ok"]


# ----------------------------------------------------------------------- rows 40, 42: zero, rank-deficient, extreme


def test_fault_40_a_zero_matrix_has_distances_but_no_condition_number(tmp_path):
    states = random_walk(3)
    states[1]["fc1.weight"][:] = 0
    rows = rows_of(measured(written(tmp_path / "run", states)))
    first = np.linalg.norm(states[0]["fc1.weight"].astype(float))
    assert row(rows, 1, "step_distance")["value"] == pytest.approx(first)
    for metric in ("condition_number", "smallest_singular_value", "stable_rank", "effective_rank",
                   "participation_ratio", "energy_rank_90"):  # fmt: skip
        assert status(rows, 1, metric) == "undefined", metric
    assert [row(rows, 1, metric)["value"] for metric in ("spectral_norm", "nuclear_norm", "numerical_rank")] == [0] * 3
    assert row(rows, 1, "dead_row_count")["value"] == 12
    assert status(rows, 1, "condition_number", "", "mean") == "undefined"
    assert status(rows, 2, "condition_number", "", "mean") == "ok"


@pytest.mark.parametrize("shape", [(8, 8), (20, 8), (8, 20)])
def test_fault_40_a_rank_deficient_matrix_is_singular(tmp_path, shape):
    generator = np.random.default_rng(0)
    product = generator.integers(-3, 4, (shape[0], 3)) @ generator.integers(-3, 4, (3, shape[1]))
    rows = rows_of(measured(written(tmp_path / "run", [{"fc1.weight": product.astype(np.float32)}])))
    assert status(rows, 0, "condition_number") == status(rows, 0, "smallest_singular_value") == "singular"
    assert row(rows, 0, "numerical_rank")["value"] == np.linalg.matrix_rank(product)


@pytest.mark.parametrize("size", [1e20, 1e-30, 1e-42, 3e37])
def test_fault_42_extreme_weights_give_finite_correct_numbers(tmp_path, size):
    generator = np.random.default_rng(1)
    first = (generator.standard_normal((6, 9)) * size).astype(np.float32)
    second = (first.astype(np.float64) + 0.1 * size * generator.standard_normal((6, 9))).astype(np.float32)
    assert np.isfinite(second).all() and second.any()
    rows = rows_of(measured(written(tmp_path / "run", [{"fc1.weight": first}, {"fc1.weight": second}])))
    a, b = (one.astype(np.longdouble) for one in (first, second))
    for metric, value in {
        "step_distance": np.sqrt(((b - a) ** 2).sum()),
        "frobenius_norm": np.sqrt((b**2).sum()),
        "relative_step_distance": np.sqrt(((b - a) ** 2).sum() / (a**2).sum()),
        "initial_cosine": (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()),
        "rms": np.sqrt((b**2).mean()),
        "max_absolute": np.abs(b).max(),
    }.items():
        assert row(rows, 1, metric)["value"] == pytest.approx(float(value), rel=1e-12), metric
    scaled = (b / np.abs(b).max()).astype(np.float64)
    s = np.linalg.svd(scaled, compute_uv=False)
    assert row(rows, 1, "condition_number")["value"] == pytest.approx(s[0] / s[-1], rel=1e-9)
    assert row(rows, 1, "spectral_norm")["value"] == pytest.approx(s[0] * float(np.abs(b).max()), rel=1e-9)
    assert row(rows, 1, "stable_rank")["value"] == pytest.approx((s**2).sum() / s[0] ** 2, rel=1e-9)


# ------------------------------------------------------------------------- rows 38, 35, 9: what comes, goes, is empty


def test_fault_38_a_layer_that_goes_and_comes_back_is_a_gap_with_the_true_reference(tmp_path):
    states = random_walk(6)
    for t in (2, 3):
        del states[t]["fc1.weight"]
    folder = written(tmp_path / "run", states)
    rows = rows_of(measured(folder))
    for metric in ("step_distance", "frobenius_norm", "initial_distance", "changed_fraction", "path_length"):
        assert [status(rows, t, metric) for t in (1, 2, 3, 4)] == ["ok", "missing", "missing", "ok"], metric
    assert status(rows, 2, "condition_number") is None or status(rows, 2, "condition_number") == "missing"
    back = row(rows, 4, "step_distance")
    assert back["reference"] == "epoch_0001.safetensors"
    jump = np.linalg.norm(states[4]["fc1.weight"].astype(float) - states[1]["fc1.weight"])
    assert back["value"] == pytest.approx(jump)
    assert row(rows, 4, "distance_rate")["value"] == pytest.approx(jump / 300)
    # together with layers that compare with epoch 3 it makes no total and no mean with one reference
    assert status(rows, 2, "step_distance", "", "total") == "missing"
    assert status(rows, 4, "step_distance", "", "total") == "undefined"
    assert status(rows, 5, "step_distance", "", "total") == "ok"
    assert status(rows, 2, "step_distance", "", "mean") == "missing"


def test_fault_38_a_layer_that_appears_late_has_a_first_state_of_its_own(tmp_path):
    states = random_walk(5)
    for t in (0, 1):
        del states[t]["out.bias"]
    rows = rows_of(measured(written(tmp_path / "run", states)))
    assert [status(rows, t, "frobenius_norm", "out.bias") for t in range(4)] == [None, None, "ok", "ok"]
    assert [status(rows, t, "step_distance", "out.bias") for t in range(4)] == [None, None, None, "ok"]
    assert row(rows, 4, "initial_distance", "out.bias")["reference"] == "epoch_0002.safetensors"
    others = [name for name in states[0] if name != "out.bias"]
    moved = sqrt_of_squares(states[2][name].astype(float) - states[1][name] for name in others)
    assert row(rows, 2, "step_distance", "", "total")["value"] == pytest.approx(moved)
    assert status(rows, 4, "initial_distance", "", "total") == "undefined"


def sqrt_of_squares(arrays):
    return np.sqrt(sum((array**2).sum() for array in arrays))


@pytest.mark.parametrize(
    "shapes", [((5, 1), (5,)), ((5,), (5, 1)), ((1, 4), (5, 4)), ((4, 5), (5, 4)), ((20,), (4, 5))]
)
def test_fault_38_a_changed_shape_is_undefined_not_broadcast(tmp_path, shapes):
    generator = np.random.default_rng(0)
    states = random_walk(4)
    for t in range(4):
        states[t]["fc1.weight"] = generator.standard_normal(shapes[t > 1]).astype(np.float32)
    rows = rows_of(measured(written(tmp_path / "run", states)))
    for metric in ("step_distance", "rotation", "changed_fraction", "sign_flip_fraction"):
        assert [status(rows, t, metric) for t in (1, 2, 3)] == ["ok", "undefined", "ok"], metric
    assert [status(rows, t, "initial_distance") for t in range(4)] == ["ok", "ok", "undefined", "undefined"]
    assert [status(rows, t, "frobenius_norm") for t in range(4)] == ["ok"] * 4
    assert [status(rows, t, "step_distance", "", "total") for t in (1, 2, 3)] == ["ok", "undefined", "ok"]


def test_fault_38_a_changed_dtype_still_has_a_distance(tmp_path):
    states = random_walk(3)
    states[2]["fc1.weight"] = states[2]["fc1.weight"].astype(np.float16)
    rows = rows_of(measured(written(tmp_path / "run", states)))
    step = np.linalg.norm(states[2]["fc1.weight"].astype(float) - states[1]["fc1.weight"])
    assert row(rows, 2, "step_distance")["value"] == pytest.approx(step)
    assert status(rows, 2, "changed_fraction") == "undefined"  # bits of two kinds do not compare


def test_fault_35_a_missing_epoch_makes_a_step_that_names_its_true_reference(tmp_path):
    states = random_walk(6)
    folder = written(tmp_path / "run", [states[t] for t in (0, 1, 2, 4, 5)], [0, 1, 2, 4, 5])
    out, store = tmp_path / "rows.csv", tmp_path / "s.sqlite"
    outcome = weightlapse("measure", folder, "--store", store)
    assert outcome.code == 0
    assert "missing" in outcome.err and "2 → 4" in outcome.err
    weightlapse("export", store, "--format", "csv", "--out", out)
    rows = [one for one in read_csv(out) if (one["epoch"], one["metric"]) == ("4", "step_distance")]
    assert {one["reference"] for one in rows} == {"epoch_0002.safetensors"}
    (mine,) = (one for one in rows if one["tensor"] == "fc1.weight")
    step = np.linalg.norm(states[4]["fc1.weight"].astype(float) - states[2]["fc1.weight"])
    assert float(mine["value"]) == pytest.approx(step)


@pytest.mark.parametrize("shape", [(0, 5), (0,), (3, 0, 2)])
def test_fault_9_an_empty_tensor_is_listed_and_has_no_rows(tmp_path, shape):
    states = random_walk(3)
    for state in states:
        state["empty"] = np.zeros(shape, np.float32)
    folder = written(tmp_path / "run", states)
    measurements = measured(folder)
    rows = rows_of(measurements)
    assert not [key for key in rows if key[2] == "empty"]
    assert {one["status"] for one in rows.values() if one["metric"] == "step_distance"} == {"ok"}
    with open_store(measurements.path) as store:
        assert {one.name: one.kind for one in store.tensors("run")}["empty"] == "empty"


def test_fault_9_a_tensor_that_becomes_empty_is_a_gap(tmp_path):
    states = random_walk(4)
    states[2]["out.bias"] = np.zeros((0,), np.float32)
    rows = rows_of(measured(written(tmp_path / "run", states)))
    assert status(rows, 1, "step_distance", "out.bias") == "ok"
    assert status(rows, 2, "step_distance", "out.bias") in (None, "undefined")
    assert status(rows, 2, "condition_number") == status(rows, 3, "step_distance") == "ok"


def test_fault_9_a_huge_empty_shape_allocates_nothing(tmp_path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]}}).encode()
    for epoch in range(2):
        path = tmp_path / f"run/epoch_{epoch}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(struct.pack("<Q", len(header)) + header)
    assert weightlapse("measure", tmp_path / "run", "--store", tmp_path / "s.sqlite").code == 0


def test_integers_have_only_their_changed_fraction(tmp_path):
    states = random_walk(3)
    for t, state in enumerate(states):
        state["steps"] = np.arange(t, t + 4, dtype=np.int64)
        state["mask"] = np.array([True, t == 1])
    rows = rows_of(measured(written(tmp_path / "run", states)))
    for tensor, changes in (("steps", [1.0, 1.0]), ("mask", [0.5, 0.5])):
        assert [row(rows, t, "changed_fraction", tensor)["value"] for t in (1, 2)] == changes
        assert status(rows, 1, "step_distance", tensor) == status(rows, 1, "frobenius_norm", tensor) == "unsupported"
    assert status(rows, 1, "step_distance", "", "total") == "ok"


def test_a_file_that_is_damaged_after_it_was_indexed_makes_error_rows_and_the_rest_goes_on(make_run, tmp_path):
    """The header is sound, the data is cut off only when the engine comes to read it."""
    folder = make_run(random_walk(4))
    run = analyzer.open_run(folder)
    path = folder / "epoch_0002.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    rows = rows_of(analyzer.measure(run, tmp_path / "s.sqlite", jobs=1))
    assert [status(rows, t, "frobenius_norm") for t in range(4)] == ["ok", "ok", "error", "ok"]
    # Falling back on an earlier checkpoint would depend on where the walk was cut; the next run leaves the file out.
    assert status(rows, 3, "step_distance") == "error"
    assert row(rows, 3, "step_distance")["reference"] == "epoch_0002.safetensors"
    assert status(rows, 2, "step_distance", "", "total") == "error"


def test_what_rests_on_a_checkpoint_that_could_not_be_read_is_measured_again(make_run, tmp_path, monkeypatch):
    """The file itself is unchanged, as after a network file system's hiccup."""
    run, store = open_runs(make_run(random_walk(5)))[0], tmp_path / "s.sqlite"

    def unreadable(checkpoint, infos, memories):
        for number, state in read_states(checkpoint, infos, memories):
            is_affected = checkpoint.name == "epoch_0002.safetensors"
            yield number, CheckpointError("timed out") if is_affected else state

    with monkeypatch.context() as patch:
        patch.setattr(walk, "summarize_through_time", lambda *_: None)
        patch.setattr(walk, "read_states", unreadable)
        rows = rows_of(analyzer.measure(run, store, metrics=["motion", "size"], jobs=1))
    assert [status(rows, t, "frobenius_norm") for t in range(5)] == ["ok", "ok", "error", "ok", "ok"]
    assert [status(rows, t, "step_distance") for t in range(1, 5)] == ["ok", "error", "error", "ok"]
    again = rows_of(analyzer.measure(run, store, metrics=["motion", "size"], jobs=1))
    assert again == rows_of(analyzer.measure(run, tmp_path / "whole.sqlite", metrics=["motion", "size"], jobs=1))
    assert status(again, 3, "step_distance") == status(again, 4, "update_cosine") == "ok"


# -------------------------------------------------------------------------------------------- any way to cut the work


@pytest.fixture(scope="module")
def wide_run(tmp_path_factory):
    shapes = {f"layer{i}.{part}": (9 + i, 14) if part == "weight" else (9 + i,)
              for i in range(12) for part in ("weight", "bias")}  # fmt: skip
    shapes["big.weight"] = (300, 280)
    states = random_walk(7, shapes)
    del states[3]["layer2.weight"]
    states[4]["layer3.weight"][0, 0] = np.nan
    return written(tmp_path_factory.mktemp("wide") / "run", states)


def test_any_number_of_jobs_gives_the_same_bits(wide_run, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "BUNDLE_BYTES", 2000)
    first = everything(measured(wide_run, tmp_path / "1.sqlite", jobs=1))
    assert len(first[0]) > 3000
    for jobs in (2, 4):
        assert everything(measured(wide_run, tmp_path / f"{jobs}.sqlite", jobs=jobs)) == first


def test_any_bundling_gives_the_same_bits(wide_run, tmp_path, monkeypatch):
    first = everything(measured(wide_run, tmp_path / "a.sqlite"))
    for size in (1, 3000):
        monkeypatch.setattr(planning, "BUNDLE_BYTES", size)
        assert everything(measured(wide_run, tmp_path / f"{size}.sqlite", jobs=2)) == first


def test_a_run_that_grew_has_the_same_bits_as_one_measured_at_once(wide_run, tmp_path):
    import shutil

    growing = tmp_path / "run"
    growing.mkdir()
    for path in sorted(wide_run.iterdir()):
        shutil.copy2(path, growing)
        grown = measured(growing, tmp_path / "grown.sqlite")
    at_once = everything(measured(growing, tmp_path / "once.sqlite"))
    assert everything(grown) == at_once


def test_one_run_beside_others_has_the_same_rows_as_alone(make_run, tmp_path):
    a, b = make_run(random_walk(3, seed=1), "a"), make_run(random_walk(4, seed=2), "b")
    together = tmp_path / "both.sqlite"
    measured(a, together)
    both = {name: measured(folder, together) for name, folder in (("b", b), ("a", a))}
    for name, folder in (("a", a), ("b", b)):
        alone = measured(folder, tmp_path / f"{name}.sqlite")
        assert list(everything(both[name])[0]) == list(everything(alone)[0])


@pytest.mark.parametrize("scale", [1e-170, 1e160])
def test_fault_42_float64_weights_whose_squares_float64_cannot_hold_have_a_status(make_run, tmp_path, scale):
    import analyzer

    states = [{"w": (scale * state["fc1.weight"]).astype(np.float64)} for state in random_walk(3, dtype=np.float64)]
    rows = rows_of(analyzer.measure(analyzer.open_run(make_run(states)), tmp_path / "s.sqlite"))
    for metric in ("frobenius_norm", "step_distance", "condition_number"):
        assert status(rows, 2, metric, "w") == "unsupported"
    assert row(rows, 2, "nonfinite_count", "w")["value"] == 0


def test_a_frozen_matrix_is_decomposed_once_and_has_the_same_rows_as_ever(make_run, tmp_path, monkeypatch):
    from analyzer.engine import observing

    states = random_walk(6, {"frozen.weight": (30, 20), "learns.weight": (30, 20), "thaws.weight": (30, 20)})
    for state in states:
        state["frozen.weight"] = states[0]["frozen.weight"]
    for state in states[:3]:
        state["thaws.weight"] = states[2]["thaws.weight"]
    folder = make_run(states)
    with monkeypatch.context() as patch:
        patch.setattr(observing.Observer, "observed", lambda self: observing.Observed(self.state, None, {}))
        expected = everything(measured(folder, tmp_path / "often.sqlite"))
    decomposed = []
    plain = observing.spectrum
    monkeypatch.setattr(observing, "spectrum", lambda matrix: decomposed.append(1) or plain(matrix))
    assert everything(measured(folder, tmp_path / "once.sqlite")) == expected
    assert len(decomposed) == 1 + 6 + 4


def test_the_same_bytes_as_another_type_are_another_matrix(tmp_path):
    bits = np.random.default_rng(0).standard_normal((30, 20)).astype(np.float16)
    twice = {"w": bits}, {"w": bits.view(ml_dtypes.bfloat16)}
    rows = rows_of(measured(written(tmp_path / "run", [dict(one) for one in twice])))
    norms = [row(rows, epoch, "spectral_norm", "w")["value"] for epoch in (0, 1)]
    true = [np.linalg.norm(one["w"].astype(np.float64), 2) for one in twice]
    assert norms == pytest.approx(true, rel=1e-9)


@pytest.mark.parametrize("metrics", [["motion"], ["motion", "size"]])
def test_float64_zeros_and_weights_whose_squares_vanish_are_told_apart_whatever_is_wanted(tmp_path, metrics):
    """Piece by piece, too, where the elements are gone when their sum of squares turns out to be too small."""
    states = [
        {"zero": np.zeros((9, 9)), "tiny": np.full((9, 9), 1e-170 * (epoch + 1)), "plain": np.full((9, 9), epoch + 1.0)}
        for epoch in range(3)
    ]
    rows = rows_of(measured(written(tmp_path / "run", states), metrics=metrics))
    for epoch in (1, 2):
        assert row(rows, epoch, "step_distance", "zero")["value"] == 0
        assert status(rows, epoch, "step_distance", "tiny") == "unsupported"
        assert row(rows, epoch, "step_distance", "plain")["value"] == pytest.approx(9)


def test_a_plain_matrix_does_not_inherit_the_spectrum_of_a_product_with_the_same_bytes():
    from analyzer.engine.observing import Observer
    from analyzer.engine.states import Loaded
    from analyzer.metrics.needs import SPECTRUM
    from analyzer.model.observed import Interval, Role
    from analyzer.model.run import TensorInfo
    from analyzer.tensors.low_rank import Factors

    generator = np.random.default_rng(0)
    left, right = generator.standard_normal((12, 3)), generator.standard_normal((3, 10))
    info = TensorInfo("w", "float64", (12, 10), ())
    wanted = frozenset({SPECTRUM})
    product = Loaded(left @ right, "same", Factors(left, right, 1.0, 2**-24))
    before = Observer(info, {Role.CURRENT: product}, Interval(None), wanted, {})
    assert len(before.need(SPECTRUM, before.views[0]).values) == 3
    plain = Loaded(left @ right, "same")
    states = {Role.CURRENT: plain, Role.PREVIOUS: product}
    after = Observer(info, states, Interval(1), wanted, {Role.PREVIOUS: before.observed()})
    assert len(after.need(SPECTRUM, after.views[0]).values) == 10
