"""Folders of ``.npz`` files as numpy writes them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from builders import random_walk
from stored import alarms, assert_same_weights, found, names, places

import analyzer


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_a_series_of_npz_files(tmp_path: Path, write: object) -> None:
    states = random_walk(12)
    for epoch, weights in enumerate(states):
        write(tmp_path / f"epoch_{epoch}.npz", **weights)  # type: ignore[operator]
    (tmp_path / "metrics.csv").write_text("epoch,test_accuracy\n0,0.1\n11,0.9\n")
    run = analyzer.open_run(tmp_path)
    assert (run.layout, places(run)) == ("numpy", [(epoch, None) for epoch in range(12)])
    for checkpoint, weights in zip(run.checkpoints, states, strict=True):
        assert_same_weights(checkpoint, dict(weights))
    assert run.checkpoints[11].scores == {"test_accuracy": 0.9}
    assert not alarms(analyzer.audit(run))
    measured = analyzer.measure(run, tmp_path / "store.sqlite", ["motion"])
    steps = measured.series("fc1.weight", "step_distance").values[1:]
    expected = [
        np.linalg.norm(after["fc1.weight"].astype(float) - before["fc1.weight"].astype(float))
        for before, after in pairwise(states)
    ]
    np.testing.assert_allclose(steps, expected, rtol=1e-12)


def test_fault_01_a_damaged_file_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    for epoch, weights in enumerate(random_walk(3)):
        np.savez(tmp_path / f"epoch_{epoch}.npz", **weights)
    whole = (tmp_path / "epoch_1.npz").read_bytes()
    (tmp_path / "epoch_1.npz").write_bytes(whole[:-30])
    run = analyzer.open_run(tmp_path)
    assert names(run) == ["epoch_0.npz", "epoch_2.npz"]
    assert "epoch_1.npz" in found(run, "refused_file")[0].sentence
