"""Read one source of scores: a table, an event file, or a folder of metrics."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite

from analyzer.errors import CheckpointError
from analyzer.layouts.scores.event_files import event_rows, is_event_file
from analyzer.layouts.scores.mlflow import METRICS, is_mlflow_run, metric_rows
from analyzer.layouts.scores.rows import read_json as read_json  # the name by which other packages know it
from analyzer.layouts.scores.rows import read_rows
from analyzer.layouts.scores.tables import ScoreTable, score_table
from analyzer.layouts.scores.writers import counts_epochs_from_one
from analyzer.model.run import Checkpoint, Finding
from analyzer.sources import folder_name, is_folder


def read_scores(path: str, findings: list[Finding] | None = None) -> ScoreTable:
    """Read scores from a file whose rows state their step or epoch, or from the metrics of an MLflow run.

    Args:
        path: a table (CSV, JSON lines, a JSON list or object), an event file, or a folder of MLflow.
        findings: receives findings about rows and cells that are left out and scores that are not finite.

    Returns:
        the rows as :func:`analyzer.layouts.scores.tables.score_table` returns them; empty if there are none.

    Raises:
        CheckpointError: the file cannot be read, is not a table of scores, no row states its place, or there are too
            many scores.
    """
    if is_folder(path):
        return read_metrics_folder(path, findings)
    if is_event_file(path.rpartition("/")[2]):
        table = score_table(path, event_rows(path, findings), findings)
        table.counts_calls = True
        return table
    table = score_table(path, read_rows(path), findings)
    names = {name: None for scores in table.values() for name in scores}  # an ordered set
    if table and not names:
        raise CheckpointError(
            f"{path}: is not a table of scores: none of its columns has a number, besides those of steps or epochs"
        )
    epochs = [place for unit, place in table if unit == "epoch"]
    table.epochs_from_one = bool(epochs) and min(epochs) == 1 and counts_epochs_from_one(names)
    return table


def read_metrics_folder(path: str, findings: list[Finding] | None = None) -> ScoreTable:
    """Read the metrics of an MLflow run.

    Raises:
        CheckpointError: the folder is not an MLflow run, or a file in it cannot be read.
    """
    if folder_name(path) != METRICS and not is_mlflow_run(path):
        raise CheckpointError(
            f"{path}: is a folder, but not a run of MLflow (mlruns/EXPERIMENT/RUN with meta.yaml and metrics). Name a "
            "file of scores"
        )
    noticed: list[Finding] = []
    table = score_table(path, metric_rows(path, noticed), noticed)
    table.counts_calls = True
    if findings is not None:
        findings.extend(noticed)
    return table


def latest_scores(
    placed: Sequence[tuple[Checkpoint, int | None]],
    log: Mapping[tuple[str, float], Mapping[str, float]],
    findings: list[Finding],
) -> list[Checkpoint]:
    """Return each checkpoint with the scores that the log has at its step, or last had before it.

    A score whose latest value is not finite is left out; an earlier finite value does not replace it.

    Args:
        placed: the checkpoints, each with its step in the log's count.
        log: scores by ("step", n).
        findings: receives a finding if a score is from an earlier step.
    """
    known = _latest(log, {place for _, place in placed if place is not None})
    scored: list[Checkpoint] = []
    late: list[tuple[str, str]] = []
    for checkpoint, place in placed:
        entries = known[place].items() if place is not None else ()
        latest = {name: (step, value) for name, (step, value) in entries if isfinite(value)}
        scored.append(replace(checkpoint, scores={name: value for name, (_, value) in latest.items()}))
        late.extend(
            (checkpoint.name, f"{name} in {checkpoint.name} is from step {step:g}")
            for name, (step, _) in sorted(latest.items())
            if step != place
        )
    if late:
        names = tuple(dict.fromkeys(name for name, _ in late))
        sentence = (
            f"The log has no entry at the exact step of {len(names)} of {len(placed)} checkpoints; "
            f"the last entry before it is used (for example, {late[0][1]})."
        )
        findings.append(Finding("score_from_earlier_step", "notice", sentence, checkpoints=names))
    return scored


def _latest(
    log: Mapping[tuple[str, float], Mapping[str, float]], places: set[int]
) -> dict[int, dict[str, tuple[float, float]]]:
    """Return for each place the last value of each score up to it, as (step, value)."""
    waiting = deque(sorted((step, scores) for (_, step), scores in log.items()))
    latest: dict[str, tuple[float, float]] = {}
    known = {}
    for place in sorted(places):
        while waiting and waiting[0][0] <= place:
            step, scores = waiting.popleft()
            latest.update({name: (step, value) for name, value in scores.items()})
        known[place] = dict(latest)
    return known
