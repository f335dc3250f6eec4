"""Whether a run has scores, and where they might be if it has none."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.errors import CheckpointError
from analyzer.model.names import listed
from analyzer.model.run import Finding, Run
from analyzer.sources import list_folder

TABLES = (".csv", ".jsonl")


def look_at(run: Run) -> Iterator[Finding]:
    """That no checkpoint has a score where nothing says so yet; with the tables beside them that were not taken."""
    if any(one.scores for one in run.checkpoints) or any(one.rule.startswith("scores_") for one in run.findings):
        return
    tables = _tables(run)
    beside = f" or in {' or '.join(run.score_files)} beside them" if run.score_files else ""
    is_placed = any(one.epoch is not None or one.step is not None for one in run.checkpoints)
    remedy = f" {_which(tables)} with --scalars when you measure or report." if is_placed else ""
    yield Finding(
        "no_scores",
        "notice",
        f"No scores were found in the checkpoints{beside}, so nothing is related to accuracy or loss.{remedy}",
        evidence={"tables": tables},
    )


def _which(tables: list[str]) -> str:
    if len(tables) == 1:
        return f"{listed(tables)} there was not taken: if it holds them, name it"
    if tables:
        return f"{listed(tables)} there were not taken: if one of them holds scores, name it"
    return "Name a file of them"


def _tables(run: Run) -> list[str]:
    try:
        entries = list_folder(run.path)
    except CheckpointError:  # it was there when the run was read; what it says is no matter here
        return []
    return [one.name for one in entries if one.name.endswith(TABLES) and one.name not in run.score_files]
