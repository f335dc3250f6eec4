"""Runs of ``transformers.Trainer``: one that it really wrote, and odd ones written by hand."""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import random_walk, save_weights

import analyzer
from analyzer.auditing import audit_headers
from analyzer.errors import NoCheckpointsError
from analyzer.model.run import Finding, Run

SHAPES = {"wte.weight": (8, 4), "lm_head.weight": (8, 4)}
Write = Callable[..., Path]


def scores(run: Run, name: str) -> list[float | None]:
    return [checkpoint.scores.get(name) for checkpoint in run.checkpoints]


def steps(run: Run) -> list[int | None]:
    return [checkpoint.step for checkpoint in run.checkpoints]


def found(run: Run, rule: str) -> list[Finding]:
    return [finding for finding in run.findings if finding.rule == rule]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write checkpoints of the given steps; each state holds the log up to its own step, as the Trainer's does."""

    def make(
        at: list[int], log: list[Mapping[str, Any]] | None = None, steps_per_epoch: int = 10, name: str = "output"
    ) -> Path:
        for step, weights in zip(at, random_walk(len(at), SHAPES), strict=True):
            checkpoint = tmp_path / name / f"checkpoint-{step}"
            save_weights(checkpoint / "model.safetensors", weights, {"format": "pt"})
            history = [entry for entry in log or [] if entry.get("step", 0) <= step]
            state = {"epoch": step / steps_per_epoch, "global_step": step, "log_history": history}
            (checkpoint / "trainer_state.json").write_text(json.dumps(state))
            (checkpoint / "optimizer.pt").write_bytes(b"\x80\x04 not read")
        return tmp_path / name

    return make


LOG = [
    {"epoch": 1.0, "step": 10, "loss": 2.5, "grad_norm": 1.0, "learning_rate": 1e-3},
    {"epoch": 1.0, "step": 10, "eval_loss": 2.25, "eval_accuracy": 0.25, "eval_runtime": 0.5}
    | {"eval_samples_per_second": 100.0, "eval_steps_per_second": 10.0, "eval_model_preparation_time": 0.1},
    {"epoch": 2.0, "step": 20, "loss": 2.0},
    {"epoch": 2.0, "step": 20, "eval_loss": 1.75, "eval_accuracy": 0.5, "eval_runtime": 0.5},
    {"epoch": 3.0, "step": 30, "loss": 1.5},
    {"epoch": 3.0, "step": 30, "eval_loss": 1.25, "eval_accuracy": 0.75},
    {"epoch": 3.0, "step": 30, "train_runtime": 9.0, "train_loss": 2.0, "total_flos": 1.0},
]


# ------------------------------------------------------------------------------------------------ a real one


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve steps of a tiny GPT-2 in bfloat16, saved every second step, evaluated every fourth."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("accelerate")
    transformers = pytest.importorskip("transformers")
    transformers.set_seed(0)
    config = transformers.GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    model = transformers.GPT2LMHeadModel(config).to(torch.bfloat16)
    tokens = [{"input_ids": row, "labels": row} for row in torch.randint(0, 16, (8, 8))]
    folder = tmp_path_factory.mktemp("huggingface") / "tiny gpt2"
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=12,
        per_device_train_batch_size=4,
        save_strategy="steps",
        save_steps=2,
        eval_strategy="steps",
        eval_steps=4,
        logging_steps=1,
        learning_rate=0.05,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own
        trainer = transformers.Trainer(
            model=model,
            args=arguments,
            train_dataset=tokens,
            eval_dataset=tokens[:4],
            compute_metrics=lambda prediction: {"accuracy": float(np.mean(prediction.label_ids == 3))},
        )
        trainer.train()
    return folder


def test_a_run_of_transformers_is_recognised_and_ordered(trained: Path) -> None:
    run = analyzer.open_run(trained)
    assert (run.name, run.layout) == ("tiny gpt2", "huggingface")
    assert [checkpoint.name for checkpoint in run.checkpoints] == [f"checkpoint-{step}" for step in range(2, 13, 2)]
    assert steps(run) == [2, 4, 6, 8, 10, 12]
    assert [checkpoint.epoch for checkpoint in run.checkpoints] == [1, 2, 3, 4, 5, 6]
    assert not [finding for finding in audit_headers(run).findings if finding.severity in ("serious", "warning")]


def test_scores_of_transformers(trained: Path) -> None:
    run = analyzer.open_run(trained)
    log = json.loads((trained / "checkpoint-12" / "trainer_state.json").read_text())["log_history"]
    logged = {(entry["step"], name): value for entry in log for name, value in entry.items()}
    assert scores(run, "loss") == [logged[step, "loss"] for step in (2, 4, 6, 8, 10, 12)]
    for name in ("eval_loss", "eval_accuracy"):
        assert scores(run, name) == [None, *(logged[step, name] for step in (4, 4, 8, 8, 12))]
    assert {name for one in run.checkpoints for name in one.scores} == {"loss", "eval_loss", "eval_accuracy"}
    assert {"eval_runtime", "eval_samples_per_second"} <= {name for _, name in logged}
    (said,) = found(run, "score_from_earlier_step")
    assert (said.severity, said.checkpoints) == ("notice", ("checkpoint-6", "checkpoint-10"))


def test_the_numbers_of_transformers_in_bfloat16(trained: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    run = analyzer.open_run(trained)
    states = [load_file(trained / name.name / "model.safetensors") for name in run.checkpoints]
    name = "transformer.h.0.mlp.c_fc.weight"
    assert states[0][name].dtype == torch.bfloat16
    assert set(run.checkpoints[0].tensors) == set(states[0])
    assert run.checkpoints[0].tensors[name].dtype == "bfloat16"
    wide = [state[name].to(torch.float64).numpy() for state in states]
    measurements = analyzer.measure(run, tmp_path / "store.sqlite")
    distances = measurements.series(name, "step_distance").values
    assert np.isnan(distances[0])
    expected = [np.linalg.norm(later - earlier) for earlier, later in pairwise(wide)]
    np.testing.assert_allclose(distances[1:], expected, rtol=1e-9)
    values = [np.linalg.svd(matrix, compute_uv=False) for matrix in wide]
    conditions = measurements.series(name, "condition_number").values
    np.testing.assert_allclose(conditions, [one[0] / one[-1] for one in values], rtol=1e-9)


def resaved(trained: Path, folder: Path, how: str) -> Path:
    """The same run with its weights in shards, as transformers writes them, or in torch files, as it did before."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    for checkpoint in trained.glob("checkpoint-*"):
        other = folder / checkpoint.name
        other.mkdir(parents=True)
        for name in ("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
            shutil.copy(checkpoint / name, other)
        model = transformers.GPT2LMHeadModel.from_pretrained(checkpoint, dtype=torch.bfloat16)
        if how == "shards":
            model.save_pretrained(other, max_shard_size="1KB")
            assert len(list(other.glob("model-*.safetensors"))) > 1
        else:
            state = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
            torch.save(state, other / "pytorch_model.bin")
    return folder


@pytest.mark.parametrize("how", ["shards", "torch files"])
def test_sharded_runs_and_torch_files_give_the_same_numbers(trained: Path, tmp_path: Path, how: str) -> None:
    folder = resaved(trained, tmp_path / "tiny gpt2", how)
    run, other = analyzer.open_run(trained), analyzer.open_run(folder)
    assert (other.layout, other.name, steps(other)) == ("huggingface", run.name, steps(run))
    assert [one.scores for one in other.checkpoints] == [one.scores for one in run.checkpoints]
    assert not [finding for finding in audit_headers(other).findings if finding.severity in ("serious", "warning")]
    families = ["motion", "size", "spectrum"]
    whole = analyzer.measure(run, tmp_path / "whole.sqlite", families).rows()
    assert len(whole) > 1000
    again = analyzer.measure(other, tmp_path / "other.sqlite", families).rows()
    if how == "torch files":  # their order is the model's, and a sum in another order has other last bits
        whole, again = ([row for row in rows if row["scope"] == "tensor"] for rows in (whole, again))
    assert sorted(map(str, again)) == sorted(map(str, whole))


# ------------------------------------------------------------------------------------------------ by hand


def test_steps_are_ordered_as_numbers(write: Write) -> None:
    run = analyzer.open_run(write([9, 10, 100, 20]))
    assert steps(run) == [9, 10, 20, 100]
    assert run.findings == ()
    assert not any(checkpoint.scores for checkpoint in run.checkpoints)  # an empty log


def test_scores_come_from_the_newest_log(write: Write) -> None:
    run = analyzer.open_run(write([10, 20, 30], LOG))
    assert scores(run, "loss") == [2.5, 2.0, 1.5]
    assert scores(run, "eval_accuracy") == [0.25, 0.5, 0.75]
    assert {name for one in run.checkpoints for name in one.scores} == {"loss", "eval_loss", "eval_accuracy"}
    assert run.findings == ()


def test_a_missing_score_is_that_of_the_last_step_before_and_is_said_once(write: Write) -> None:
    run = analyzer.open_run(write([5, 15, 20, 25, 35], LOG))
    assert scores(run, "eval_loss") == [None, 2.25, 1.75, 1.75, 1.25]
    (said,) = found(run, "score_from_earlier_step")
    assert said.checkpoints == ("checkpoint-15", "checkpoint-25", "checkpoint-35")
    assert "3 of 5 checkpoints" in said.sentence
    assert "in checkpoint-15 is from step 10" in said.sentence


@pytest.mark.parametrize("name", ["checkpoint-20", "final"])
def test_a_single_checkpoint_tells_its_own_place_and_scores(write: Write, name: str) -> None:
    folder = write([10, 20, 30], LOG)
    run = analyzer.open_run((folder / "checkpoint-20").rename(folder / name))
    assert (run.name, run.layout, [one.name for one in run.checkpoints]) == (name, "huggingface", [name])
    assert [(one.epoch, one.step) for one in run.checkpoints] == [(2.0, 20)]
    assert (scores(run, "loss"), scores(run, "eval_accuracy")) == ([2.0], [0.5])
    assert run.findings == ()


def test_no_score_comes_from_the_future(write: Write) -> None:
    run = analyzer.open_run(write([5, 9], LOG[:2]))
    assert [dict(checkpoint.scores) for checkpoint in run.checkpoints] == [{}, {}]


def with_state(folder: Path, step: int, text: str | bytes) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / f"checkpoint-{step}" / "trainer_state.json").write_bytes(data)


def test_fault_14_scores_and_epochs_that_are_no_numbers(write: Write) -> None:
    folder = write([10, 20, 30, 40])
    history = (
        '[{"step": 10, "loss": NaN, "eval_f1": 0.5}, {"step": 20, "loss": Infinity}, {"step": 20, "eval_f1": "high"},'
        ' {"step": 30, "loss": 1e999, "eval_f1": null}, {"step": "NaN", "loss": 7}, {"loss": 7},'
        ' {"step": true, "loss": 7},'
        ' {"step": 40, "loss": false, "eval_f1": [1]}, null, 3, "text", [1]]'
    )
    with_state(folder, 40, f'{{"epoch": NaN, "log_history": {history}}}')
    with_state(folder, 20, '{"epoch": "1e999"}')
    with_state(folder, 10, '{"epoch": false}')
    run = analyzer.open_run(folder)
    assert [checkpoint.epoch for checkpoint in run.checkpoints] == [None, None, 3.0, None]
    assert scores(run, "loss") == [None] * 4
    assert scores(run, "eval_f1") == [0.5] * 4  # of step 10, which is said
    assert found(run, "score_from_earlier_step")


def test_fault_14_no_earlier_score_takes_the_place_of_one_that_is_nan(write: Write) -> None:
    folder = write([10, 20, 30])
    history = '{"step": 10, "loss": 2.5}, {"step": 20, "loss": NaN}, {"step": 25, "loss": NaN}'
    with_state(folder, 30, f'{{"log_history": [{history}]}}')
    run = analyzer.open_run(folder)
    assert scores(run, "loss") == [2.5, None, None]
    (said,) = run.findings
    assert said.severity == "warning"
    assert "checkpoint-30/trainer_state.json: loss: NaN from step 20 on (2 of 3 values)" in said.sentence


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', b"\xff\xfe", "[" * 100_000, '{"log_history": 3}'])
def test_a_state_that_is_not_sound_costs_the_scores_at_most(write: Write, text: str | bytes) -> None:
    folder = write([10, 20, 30], LOG)
    with_state(folder, 20, text)
    run = analyzer.open_run(folder)
    assert steps(run) == [10, 20, 30]
    assert scores(run, "loss") == [2.5, 2.0, 1.5]
    with_state(folder, 30, text)
    run = analyzer.open_run(folder)
    assert steps(run) == [10, 20, 30]
    if text not in ("[]", "null", '"text"', '{"log_history": 3}'):
        assert found(run, "scores_unreadable")
        assert scores(run, "loss") == [2.5, 2.5, 2.5]


def test_a_state_that_is_missing(write: Write) -> None:
    folder = write([10, 20, 30], LOG)
    (folder / "checkpoint-30" / "trainer_state.json").unlink()
    run = analyzer.open_run(folder)
    assert steps(run) == [10, 20, 30]
    assert scores(run, "loss") == [2.5, 2.0, 2.0]
    assert len(found(run, "scores_unreadable")) == 1


@pytest.mark.parametrize("missing", ["model.safetensors", "its end"])
def test_fault_25_a_checkpoint_that_is_being_written(write: Write, missing: str) -> None:
    folder = write([10, 20, 30], LOG)
    path = folder / "checkpoint-30" / "model.safetensors"
    if missing == "its end":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        path.unlink()
    run = analyzer.open_run(folder)
    assert steps(run) == [10, 20]
    assert scores(run, "eval_accuracy") == [0.25, 0.5]
    (refused,) = found(run, "refused_file")
    assert refused.severity == "serious"
    assert str(folder / "checkpoint-30") in refused.sentence


def test_all_checkpoints_unusable(write: Write) -> None:
    folder = write([10, 20])
    for step in (10, 20):
        (folder / f"checkpoint-{step}" / "model.safetensors").unlink()
    with pytest.raises(NoCheckpointsError, match="2 of them, such as checkpoint-10: contains no weights"):
        analyzer.open_run(folder)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")
def test_fault_19_strange_things_in_checkpoint_folders(write: Write) -> None:
    folder = write([10, 20, 30, 40, 50], LOG)
    for step, name in ((20, "model.safetensors"), (30, "model.safetensors"), (40, "trainer_state.json")):
        (folder / f"checkpoint-{step}" / name).unlink()
    os.mkfifo(folder / "checkpoint-20" / "model.safetensors")
    (folder / "checkpoint-30" / "model.safetensors").symlink_to("model.safetensors")
    os.mkfifo(folder / "checkpoint-40" / "trainer_state.json")
    (folder / "checkpoint-50" / "trainer_state.json").unlink()
    (folder / "checkpoint-50" / "trainer_state.json").mkdir()
    (folder / "checkpoint-60").symlink_to("checkpoint-60")
    (folder / "checkpoint-70").write_text("a file where a folder belongs")
    run = analyzer.open_run(folder)
    assert steps(run) == [10, 40, 50]
    assert len(found(run, "refused_file")) == 2
    assert scores(run, "loss") == [2.5, 2.5, 2.5]  # from the only log that can be read


def test_fault_36_one_step_twice(write: Write) -> None:
    folder = write([10, 20, 30])
    other = folder / "checkpoint-020"
    save_weights(other / "model.safetensors", random_walk(1, SHAPES, seed=1)[0])
    (other / "trainer_state.json").write_text('{"epoch": 2.0}')
    run = analyzer.open_run(folder)
    assert steps(run) == [10, 30]
    assert found(run, "contradicting_files")[0].checkpoints == ("checkpoint-020", "checkpoint-20")


def test_a_folder_of_trainer_runs(write: Write, tmp_path: Path) -> None:
    write([10, 20], LOG, name="sweep/b")
    write([10], LOG, name="sweep/a")
    (tmp_path / "sweep" / "a" / "runs" / "events").mkdir(parents=True)
    assert [(run.name, len(run.checkpoints)) for run in analyzer.open_runs(tmp_path / "sweep")] == [("a", 1), ("b", 2)]


def test_a_long_log_of_many_checkpoints_is_read_quickly(write: Write) -> None:
    at = list(range(10, 10_001, 10))
    folder = write(at[:-1])
    last = (
        write(at[-1:], [{"step": step, "loss": 1 / step} for step in range(1, 10_001)], name="last")
        / "checkpoint-10000"
    )
    last.rename(folder / "checkpoint-10000")
    started = time.process_time()
    run = analyzer.open_run(folder)
    assert time.process_time() - started < 20
    assert scores(run, "loss") == [1 / step for step in at]
