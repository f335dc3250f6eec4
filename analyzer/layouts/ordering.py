"""Checkpoints put in order: by what the files say, else by their names, else by their age."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, TypeVar

from analyzer.errors import CheckpointError, NoCheckpointsError
from analyzer.layouts.duplicates import without_duplicates
from analyzer.layouts.naming import run_name
from analyzer.layouts.renaming import tied_weights, without_wrappers
from analyzer.model.names import is_text, listed, natural_key, printable
from analyzer.model.run import Checkpoint, Finding, Run
from analyzer.sources import Entry, folder_name
from analyzer.tensors.kinds import matrices

# A keyword wins over a bare number: checkpoint-230500-loss-1.2531 is step 230500. The surest keyword comes first.
# "ep" and "iter" count only where no letter stands before them: "step3" is no epoch 3.
_STEP = (r"step", r"(?<![a-z])iter(?:ation)?")
_STEP_OR_EPOCH = r"checkpoint|ckpt"
_EPOCH = (r"epoch", r"(?<![a-z])ep")
STEP_KEYS = ("step", "global_step", "iter_num", "iteration", "iter")
_NUMBER = re.compile(r"[0-9]+")
Found = TypeVar("Found")
_MOST_REASONS = 5  # why a folder cannot be used, in one message
_LARGEST_PLACE = 2**53  # counts up to here are exact as floats, and fit in any integer


@dataclass(frozen=True)
class Series:
    """What a layout found: checkpoints in no particular order, and what it could not use.

    ``branch`` names one line of several in a folder; each of them is a run. ``score_files`` are the names of the files
    beside the checkpoints that were looked into for scores, where there are any.
    """

    checkpoints: list[Checkpoint]
    source_of_order: str
    findings: list[Finding] = field(default_factory=list)
    branch: str = ""
    score_files: tuple[str, ...] = ()


def collect(entries: Iterable[Entry], read_one: Callable[[Entry], Found]) -> tuple[list[Found], list[Finding]]:
    """What is read from each entry, and a finding for each that cannot be read."""
    read, findings = [], []
    for entry in entries:
        try:
            read.append(read_one(entry))
        except CheckpointError as error:
            findings.append(refused(entry.path, str(error)))
    return read, findings


def place_in_name(name: str) -> tuple[float | None, int | None]:
    """(epoch, step) as far as keywords in a file or folder name tell them."""
    epoch, step = _number_after(_EPOCH, name), _number_after((*_STEP, _STEP_OR_EPOCH), name)
    return (None if epoch is None else float(epoch), step)


def _number_after(keywords: Sequence[str], name: str) -> int | None:
    for keyword in keywords:
        match = re.search(rf"(?:{keyword})[_=-]?([0-9]+)", name, re.IGNORECASE)
        if match and int(match[1]) <= _LARGEST_PLACE:
            return int(match[1])
    return None


def place_of(name: str, metadata: Mapping[str, str]) -> tuple[float | None, int | None]:
    """(epoch, step) as a file's metadata tells them, else its name.

    Where the metadata tells the epoch, checkpoint-3 is a count of epochs; only a number after ``step`` is one of steps.
    """
    steps = (parse_count(metadata[key]) for key in STEP_KEYS if key in metadata)
    epoch, step = parse_score(metadata.get("epoch")), next((step for step in steps if step is not None), None)
    named_epoch, named_step = place_in_name(name)
    if epoch is not None:
        named_step = _number_after(_STEP, name)
    return named_epoch if epoch is None else epoch, named_step if step is None else step


def parse_score(text: Any) -> float | None:
    """A finite number from a metadata string, a CSV cell or JSON; None (a gap, never 0) for anything else."""
    value = parse_number(text)
    return value if value is not None and isfinite(value) else None


def parse_number(text: Any) -> float | None:
    """A number as :func:`parse_score` takes it, but also one that is NaN or infinite."""
    if isinstance(text, bool) or (isinstance(text, str) and "_" in text):  # Python reads False as 0 and "1_0" as 10
        return None
    try:
        return float(text)
    except (TypeError, ValueError, OverflowError):
        return None


def parse_count(text: Any) -> int | None:
    """A whole number of steps or epochs from a metadata string; None for anything else."""
    value = parse_score(text)
    return int(value) if value is not None and value == int(value) and 0 <= value <= _LARGEST_PLACE else None


def refused(path: str, reason: str) -> Finding:
    """A file that should be a checkpoint and cannot be used."""
    sentence = reason if path in reason else f"{path}: {reason}"
    return Finding("refused_file", "serious", sentence if is_text(sentence) else printable(sentence))


def assemble(folder: str, layout: str, series: Series) -> Run:
    """Order the checkpoints of a series and drop exact duplicates.

    Raises:
        NoCheckpointsError: every file was refused.
    """
    if not is_text(folder_name(folder)) or not is_text(folder):
        raise CheckpointError(f"{folder}: its name is not UTF-8 text, so it cannot be kept; rename the folder")
    findings = list(series.findings)
    checkpoints = without_wrappers(_with_text_names(series.checkpoints, findings), findings)
    checkpoints = _unambiguous(checkpoints, findings)
    placed = _placed(checkpoints)
    in_place = set(map(id, placed))  # to compare them by their content would take long
    unplaced = tuple(one for one in checkpoints if id(one) not in in_place)
    checkpoints, ordered_by = _ordered(placed, series.source_of_order)
    checkpoints = without_duplicates(checkpoints, findings)
    if ordered_by.startswith(_WITHIN_EPOCHS):
        checkpoints = [replace(one, step=None) for one in checkpoints]
        sentence = "The steps are counted anew in each epoch, so they order the checkpoints of an epoch, no more."
        findings.append(Finding("steps_within_epochs", "info", sentence))
    findings.extend(tied_weights(checkpoints))
    if not checkpoints:
        raise NoCheckpointsError(f"{folder}: none of its checkpoints can be used: {_reasons(folder, findings)}")
    if ordered_by == "modification time" and len(checkpoints) > 1:
        findings.append(
            Finding(
                "order_by_age",
                "warning",
                "The checkpoints carry no epoch, step or number, so they are ordered by the time of their last change; "
                "a copied file may be out of place. Put a number in their names to settle it.",
            )
        )
    name = f"{run_name(folder)}/{series.branch}" if series.branch else run_name(folder)
    return Run(name, folder, layout, ordered_by, tuple(checkpoints), tuple(findings), series.score_files, unplaced)


def _reasons(folder: str, findings: Sequence[Finding]) -> str:
    """What findings say, with paths as they are in the folder; what is said of several files is said once."""
    files: dict[str, list[str]] = {}
    for finding in findings:
        sentence = re.sub(rf"{re.escape(folder)}[/\\\\]", "", finding.sentence).rstrip(".")
        name, colon, reason = sentence.partition(": ")
        files.setdefault(reason if colon else sentence, []).append(name if colon else "")
    said = []
    for reason, names in list(files.items())[:_MOST_REASONS]:
        name = names[0] if len(names) == 1 else f"{len(names)} of them, such as {names[0]}"
        said.append(f"{name}: {reason}" if names[0] else reason)
    if more := len(files) - len(said):
        said.append(f"and {more} more reasons")
    return "; ".join(said)


def _with_text_names(checkpoints: list[Checkpoint], findings: list[Finding]) -> list[Checkpoint]:
    named = [checkpoint for checkpoint in checkpoints if is_text(checkpoint.path)]
    findings.extend(
        refused(checkpoint.path, "its name is not UTF-8 text, so it cannot be kept; rename it")
        for checkpoint in checkpoints
        if not is_text(checkpoint.path)
    )
    return named


def _unambiguous(checkpoints: list[Checkpoint], findings: list[Finding]) -> list[Checkpoint]:
    """Without tensors that are named like an expert of a stack: two rows of one name could not be told apart."""
    kept: list[Checkpoint] = []
    ambiguous: dict[str, None] = {}
    for checkpoint in checkpoints:
        experts = _experts(checkpoint)
        ambiguous |= dict.fromkeys(name for name in checkpoint.tensors if name in experts)
        tensors = {name: info for name, info in checkpoint.tensors.items() if name not in experts}
        kept.append(replace(checkpoint, tensors=tensors) if experts else checkpoint)
    if ambiguous:
        sentence = f"{listed(list(ambiguous))}: left out, for an expert in a stack of tensors has the same name."
        findings.append(Finding("ambiguous_name", "serious", sentence, evidence={"tensors": list(ambiguous)}))
    return kept


def _experts(checkpoint: Checkpoint) -> set[str]:
    if not any(name.endswith("]") for name in checkpoint.tensors):
        return set()
    return {view.name for info in checkpoint.tensors.values() for view in matrices(info) if view.index is not None}


def _placed(checkpoints: list[Checkpoint]) -> list[Checkpoint]:
    """Those with an epoch, a step or a number; where none has any, all of them."""
    placed = [one for one in checkpoints if one.epoch is not None or one.step is not None or _NUMBER.search(one.name)]
    return placed or checkpoints


_WITHIN_EPOCHS = "epoch and the step within it"


def _count_within_epochs(checkpoints: list[Checkpoint]) -> bool:
    """Whether every epoch has the same steps (the last one as many as were saved): so they are no count of the run."""
    steps: dict[float, set[int]] = {}
    for one in checkpoints:
        if one.epoch is None or one.step is None:
            return False
        steps.setdefault(one.epoch, set()).add(one.step)
    *others, last = (steps[epoch] for epoch in sorted(steps))
    return bool(others) and all(one == others[0] for one in others) and last <= others[0]


def _ordered(checkpoints: list[Checkpoint], source: str) -> tuple[list[Checkpoint], str]:
    if checkpoints and _count_within_epochs(checkpoints):
        return sorted(checkpoints, key=lambda one: (one.epoch, one.step, one.name)), f"{_WITHIN_EPOCHS}, from {source}"
    if all(checkpoint.step is not None for checkpoint in checkpoints):
        return sorted(checkpoints, key=lambda one: (one.step, one.name)), f"step, from {source}"
    if all(checkpoint.epoch is not None for checkpoint in checkpoints):
        return sorted(checkpoints, key=lambda one: (one.epoch, one.name)), f"epoch, from {source}"
    if all(_NUMBER.search(checkpoint.name) for checkpoint in checkpoints):
        return sorted(checkpoints, key=lambda one: natural_key(one.name)), "the numbers in the names"
    return sorted(checkpoints, key=lambda one: (one.files[0].modified_ns, one.name)), "modification time"


def tells_of(table: Mapping[tuple[str, float], object], checkpoint: Checkpoint) -> bool:
    """Whether a table has a row of a checkpoint's step or epoch."""
    return ("step", checkpoint.step) in table or ("epoch", checkpoint.epoch) in table


def merge_scores(
    checkpoints: list[Checkpoint], table: Mapping[tuple[str, float], Mapping[str, float]]
) -> list[Checkpoint]:
    """Add finite scores from a sidecar, by ("step", n) first and ("epoch", n) second; a file's own scores win."""
    merged = []
    for checkpoint in checkpoints:
        by_step = table.get(("step", float(checkpoint.step)), {}) if checkpoint.step is not None else {}
        by_epoch = table.get(("epoch", checkpoint.epoch), {}) if checkpoint.epoch is not None else {}
        beside = {name: value for name, value in {**by_epoch, **by_step}.items() if isfinite(value)}
        merged.append(replace(checkpoint, scores={**beside, **checkpoint.scores}))
    return merged
