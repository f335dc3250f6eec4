"""Whether steps count through the run or restart in each epoch."""

from __future__ import annotations

import pytest

from analyzer.layouts.ordering import CheckpointSeries, assemble
from analyzer.model.run import Checkpoint, FileStamp, TensorInfo

W = {"w": TensorInfo("w", "float32", (2, 2), ())}


@pytest.mark.parametrize(
    ("steps", "restarts"),
    [
        ([(10, 20), (10, 20), (10, 20)], True),
        ([(10, 20), (10, 20), (10,)], True),  # the last epoch may be unfinished
        ([(10, 20), (10, 20), (10, 20, 30)], False),
        ([(10, 20), (10, 30), (10, 20)], False),
        ([(10, 20), (30, 40), (50, 60)], False),
        ([(10, 20)], False),
    ],
)
def test_steps_restart_only_if_every_epoch_has_the_same(tmp_path, steps, restarts):
    checkpoints = [
        Checkpoint(
            f"{epoch}-{step}", f"{epoch}-{step}", float(epoch), step, {}, W, (FileStamp(f"{epoch}{step}", 1, 1),)
        )
        for epoch, of_epoch in enumerate(steps)
        for step in of_epoch
    ]
    run = assemble(str(tmp_path), "weightlapse", CheckpointSeries(checkpoints, "the files' metadata", []))
    assert ("steps_within_epochs" in {finding.rule for finding in run.findings}) is restarts
    order = [(one.name) for one in run.checkpoints]
    by_epoch = [one.name for one in checkpoints]
    by_step = [one.name for one in sorted(checkpoints, key=lambda one: (one.step, one.name))]
    assert order == (by_epoch if restarts else by_step)
