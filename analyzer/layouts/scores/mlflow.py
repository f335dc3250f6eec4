"""Read the metrics of a run in MLflow's file store.

``mlruns/EXPERIMENT/RUN/metrics/NAME`` has a line for each value: time in milliseconds, value, step (mlflow 2 and 3,
``mlflow/store/tracking/file_store.py``). A name with slashes is a path of folders. No package is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.layouts.naming import parse_count, parse_number
from analyzer.layouts.scores.locating import folder_above
from analyzer.model.names import listed
from analyzer.model.run import Finding
from analyzer.sources import folder_name, is_file, is_folder, join, list_folder, read_text

METRICS = "metrics"
MOST_FILES = 10_000
LARGEST_FILE = 64 << 20
DEEPEST_NAME = 6  # parts of a name
_DESCRIPTION = "meta.yaml"
_OF_THE_MACHINE = "system"  # use of the processor and the like, by the number of the sample


def is_mlflow_run(folder: str) -> bool:
    """Check whether a folder is a run of a file store."""
    return is_file(join(folder, _DESCRIPTION)) and is_folder(join(folder, METRICS))


def run_above(folder: str) -> str | None:
    """Return the MLflow run whose ``artifacts`` (or ``checkpoints``, as Lightning names them) contain a folder."""
    for _ in range(DEEPEST_NAME):
        above = folder_above(folder)
        if above is None:
            return None
        if folder_name(folder) in ("artifacts", "checkpoints") and is_mlflow_run(above):
            return above
        folder = above
    return None


def metric_rows(folder: str, findings: list[Finding]) -> list[dict[str, Any]]:
    """Return a row for each step with all metrics of a run; lines that cannot be placed become a finding.

    Args:
        folder: the run's folder, or ``metrics`` in it.
        findings: receives the finding.

    Raises:
        CheckpointError: a file cannot be read, or there are too many.
    """
    metrics = folder if folder_name(folder) == METRICS else join(folder, METRICS)
    rows: dict[int, dict[str, Any]] = {}
    lines = 0
    bad: dict[str, int] = {}
    for number, (name, path) in enumerate(_files(metrics, "", 0)):
        if number == MOST_FILES:
            raise CheckpointError(f"{metrics}: has more than {MOST_FILES} metrics; move some of them elsewhere")
        for line in read_text(path, LARGEST_FILE).splitlines():
            lines += 1
            _, value, step = [*line.split(), "", "", ""][:3]
            place, score = parse_count(step), parse_number(value)
            if place is None or score is None:
                bad[name] = bad.get(name, 0) + 1
            else:
                rows.setdefault(place, {"step": place})[name] = score
    if bad:
        sentence = (
            f"{metrics}: {sum(bad.values())} of {lines} lines have no value or no step and are left out: "
            f"{listed(list(bad))}."
        )
        findings.append(Finding("scores_without_place", "warning", sentence))
    return [rows[step] for step in sorted(rows)]


def _files(folder: str, above: str, depth: int) -> Iterator[tuple[str, str]]:
    for entry in list_folder(folder):
        if entry.is_file:
            yield above + entry.name, entry.path
        elif entry.is_folder and not entry.is_link and depth < DEEPEST_NAME and above + entry.name != _OF_THE_MACHINE:
            yield from _files(entry.path, f"{above}{entry.name}/", depth + 1)
