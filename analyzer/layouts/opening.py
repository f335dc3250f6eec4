"""Open the runs in several folders, with some of their tensors only or with scores from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from analyzer.errors import WeightlapseError
from analyzer.layouts.scores.merging import with_scores
from analyzer.layouts.search import FoundRuns, find_runs
from analyzer.layouts.selection import with_tensors


def open_runs(
    paths: Sequence[str],
    layout: str | None = None,
    tensors: Sequence[str] = (),
    scalars: str | None = None,
    files: Sequence[str] = (),
) -> FoundRuns:
    """Open the runs in some folders, and the folders below them.

    Args:
        paths: folders or URLs of runs, or of folders of runs.
        layout: the name of a layout, where a folder could be several things.
        tensors: patterns of tensor names; only matching tensors are looked at.
        scalars: a file with scores by epoch or step, added to what the runs have themselves.
        files: patterns of names; only matching files and folders are checkpoints.

    Raises:
        NoCheckpointsError: nothing was recognized.
        LayoutError: two layouts match equally well.
        ArgumentError: a pattern matches no tensor.
        CheckpointError: the file of scores cannot be used.
        WeightlapseError: two runs have the same name.
    """
    found = [find_runs(path, layout, files) for path in paths]
    runs = [run for one in found for run in one.runs]
    if tensors:
        runs = [with_tensors(run, tensors) for run in runs]
    if scalars:
        runs = [with_scores(run, scalars) for run in runs]
    if len({run.name for run in runs}) < len(runs):
        names = ", ".join(f"{run.name} ({run.path})" for run in runs)
        raise WeightlapseError(f"two of the runs have the same name: {names}; rename a folder, or report them apart")
    return FoundRuns(runs, [finding for one in found for finding in one.refused])
