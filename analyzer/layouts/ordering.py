"""Checkpoints put in order: by what the files say, else by their names, else by their age."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from analyzer.errors import CheckpointError, NoCheckpointsError
from analyzer.names import natural_key
from analyzer.run import Checkpoint, Finding, Run
from analyzer.sources import LocalSource, folder_name

# A keyword wins over a bare number: checkpoint-230500-loss-1.2531 is step 230500.
_STEP = re.compile(r"(?:global[_-]?step|step|iter(?:ation)?|checkpoint|ckpt)[_=-]?(\d+)", re.IGNORECASE)
_EPOCH = re.compile(r"(?:epoch|ep)[_=-]?(\d+)", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Series:
    """What a layout found: checkpoints in no particular order, and what it could not use."""

    checkpoints: list[Checkpoint]
    source_of_order: str
    findings: list[Finding] = field(default_factory=list)


def place_in_name(name: str) -> tuple[float | None, int | None]:
    """(epoch, step) as far as keywords in a file or folder name tell them."""
    epoch, step = _EPOCH.search(name), _STEP.search(name)
    return (float(epoch[1]) if epoch else None, int(step[1]) if step else None)


def parse_score(text: Any) -> float | None:
    """A finite number from a metadata string or a CSV cell; None (a gap, never 0) for anything else."""
    try:
        value = float(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if abs(value) < float("inf") else None  # NaN compares false


def parse_count(text: Any) -> int | None:
    """A whole number of steps or epochs from a metadata string; None for anything else."""
    value = parse_score(text)
    return int(value) if value is not None and value == int(value) and value >= 0 else None


def refused(path: str, reason: str) -> Finding:
    """A file that should be a checkpoint and cannot be used."""
    return Finding("refused_file", "serious", reason if path in reason else f"{path}: {reason}")


def assemble(folder: str, layout: str, series: Series) -> Run:
    """Order the checkpoints of a series and drop exact duplicates.

    Raises:
        NoCheckpointsError: every file was refused.

    """
    findings = list(series.findings)
    checkpoints, ordered_by = _ordered(series)
    checkpoints = _without_duplicates(checkpoints, findings)
    if not checkpoints:
        reasons = "\n  ".join(finding.sentence for finding in findings)
        raise NoCheckpointsError(f"{folder}: none of its checkpoints can be used:\n  {reasons}")
    if ordered_by == "modification time":
        findings.append(
            Finding(
                "order_by_age",
                "warning",
                "The checkpoints carry no epoch, step or number, so they are ordered by the time of their last change; "
                "a copied file may be out of place. Put a number in their names to settle it.",
            )
        )
    return Run(folder_name(folder), folder, layout, ordered_by, tuple(checkpoints), tuple(findings))


def _ordered(series: Series) -> tuple[list[Checkpoint], str]:
    checkpoints = series.checkpoints
    if all(checkpoint.step is not None for checkpoint in checkpoints):
        return sorted(checkpoints, key=lambda one: (one.step, one.name)), f"step, from {series.source_of_order}"
    if all(checkpoint.epoch is not None for checkpoint in checkpoints):
        return sorted(checkpoints, key=lambda one: (one.epoch, one.name)), f"epoch, from {series.source_of_order}"
    if all(_NUMBER.search(checkpoint.name) for checkpoint in checkpoints):
        return sorted(checkpoints, key=lambda one: natural_key(one.name)), "the numbers in the names"
    return sorted(checkpoints, key=lambda one: (one.files[0].modified_ns, one.name)), "modification time"


def _without_duplicates(checkpoints: list[Checkpoint], findings: list[Finding]) -> list[Checkpoint]:
    """Of checkpoints that claim the same place keep one if their bytes are identical, else refuse them all."""
    claims: dict[tuple[float | None, int | None], list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        known = checkpoint.epoch is not None or checkpoint.step is not None
        place = (checkpoint.epoch, checkpoint.step) if known else (None, -1 - len(claims))
        claims.setdefault(place, []).append(checkpoint)
    kept = []
    for (epoch, step), group in claims.items():
        if len(group) == 1:
            kept.append(group[0])
            continue
        names = tuple(checkpoint.name for checkpoint in group)
        claimed = " and ".join(
            f"{word} {value:g}" for word, value in (("epoch", epoch), ("step", step)) if value is not None
        )
        if _identical(group):
            kept.append(group[0])
            sentence = f"{', '.join(names)} are byte-identical files of {claimed}; {names[0]} stands for them."
            findings.append(Finding("duplicate_files", "notice", sentence, checkpoints=names))
        else:
            sentence = (
                f"{', '.join(names)} all claim {claimed} but differ, so none of them is used. "
                "Move the ones that do not belong to this run out of the folder."
            )
            findings.append(Finding("contradicting_files", "serious", sentence, checkpoints=names))
    return kept


def _identical(group: list[Checkpoint]) -> bool:
    first, *others = (checkpoint.files for checkpoint in group)
    return all(
        len(first) == len(other)
        and all(_same_bytes(a.path, b.path, a.size, b.size) for a, b in zip(first, other, strict=True))
        for other in others
    )


def _same_bytes(first: str, second: str, first_size: int, second_size: int, block: int = 1 << 20) -> bool:
    if first_size != second_size:
        return False
    try:
        with LocalSource(first) as a, LocalSource(second) as b:
            return all(
                a.read(offset, min(block, first_size - offset)) == b.read(offset, min(block, first_size - offset))
                for offset in range(0, first_size, block)
            )
    except CheckpointError:
        return False


def merge_scores(
    checkpoints: list[Checkpoint], table: Mapping[tuple[str, float], Mapping[str, float]]
) -> list[Checkpoint]:
    """Add scores from a sidecar, looked up by ("step", n) first and ("epoch", n) second; a file's own scores win."""
    merged = []
    for checkpoint in checkpoints:
        by_step = table.get(("step", float(checkpoint.step)), {}) if checkpoint.step is not None else {}
        by_epoch = table.get(("epoch", checkpoint.epoch), {}) if checkpoint.epoch is not None else {}
        merged.append(replace(checkpoint, scores={**by_epoch, **by_step, **checkpoint.scores}))
    return merged
