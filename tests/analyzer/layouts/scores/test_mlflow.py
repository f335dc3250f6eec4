"""Metrics in MLflow's file store."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import random_walk, save_weights

import analyzer
from analyzer.errors import CheckpointError
from analyzer.layouts.scores.merging import with_scores


def stored(folder: Path, **metrics: str) -> Path:
    """Write a run of the file store with the given lines; two underscores in a name make a folder."""
    (folder / "metrics").mkdir(parents=True)
    (folder / "meta.yaml").write_text("run_id: 1\n")
    for name, lines in metrics.items():
        path = folder / "metrics" / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(lines)
    return folder


LINES = "1700000000000 0.5 10\n1700000000001 0.25 20\n"


def test_checkpoints_among_the_artifacts_get_the_metrics_of_their_run(tmp_path: Path) -> None:
    run_folder = stored(tmp_path / "mlruns" / "0" / "abc", loss=LINES, val__acc=LINES, system__cpu="1 99 10\n")
    for step, weights in zip((10, 20), random_walk(2), strict=True):
        save_weights(run_folder / "artifacts" / "checkpoints" / f"step_{step}.safetensors", weights)
    run = analyzer.open_run(run_folder / "artifacts" / "checkpoints")
    assert [one.scores for one in run.checkpoints] == [{"loss": 0.5, "val/acc": 0.5}, {"loss": 0.25, "val/acc": 0.25}]
    assert "Scores come from" in run.findings[0].sentence and "abc/metrics" in run.findings[0].sentence


@pytest.mark.parametrize("below", ["", "metrics"])
def test_a_run_of_mlflow_that_is_named(tmp_path: Path, below: str) -> None:
    run_folder = stored(tmp_path / "mlruns" / "0" / "abc", loss=LINES + "1 2\n1 x 20\n1 nan 30 dataset digest\n")
    for step, weights in zip((10, 20), random_walk(2), strict=True):
        save_weights(tmp_path / "run" / f"step_{step}.safetensors", weights)
    run = with_scores(analyzer.open_run(tmp_path / "run"), str(run_folder / below))
    assert [one.scores for one in run.checkpoints] == [{"loss": 0.5}, {"loss": 0.25}]
    assert "2 of 5 lines have no value or no step and are left out: loss." in run.findings[0].sentence
    with pytest.raises(CheckpointError, match="is a folder, but not a run of MLflow"):
        with_scores(run, str(tmp_path))
