"""Put the checkpoints of a run in order: by their metadata, else by their names, else by their age."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from analyzer.errors import CheckpointError, NoCheckpointsError, NotACheckpointError
from analyzer.layouts.duplicates import without_duplicates
from analyzer.layouts.grouping import Group
from analyzer.layouts.naming import number_key, place_in_name, run_name, tokens_in_name
from analyzer.layouts.renaming import tied_weights, without_wrappers
from analyzer.layouts.scores.units import with_places_said
from analyzer.layouts.stems import order_keys, stems
from analyzer.layouts.weights.adapters import assumed_scales
from analyzer.layouts.weights.quantized import with_codes
from analyzer.model.names import is_text, listed, printable
from analyzer.model.run import Checkpoint, Finding, Run
from analyzer.sources import Entry, file_name, folder_name, list_folder
from analyzer.tensors.kinds import matrices

ItemT = TypeVar("ItemT")

TABLE_SUFFIXES = (".csv", ".jsonl")  # of files that may contain scores
_NUMBER = re.compile(r"[0-9]+")
_WITHIN_EPOCHS = "epoch and the step within it"
_MOST_REASONS = 5  # why a folder cannot be used, in one message


@dataclass(frozen=True)
class CheckpointSeries:
    """The checkpoints that a layout found, in no particular order, and findings about files that cannot be used.

    ``source_of_order`` names where epochs and steps come from. ``branch`` names one of several branches in a folder;
    each of them is a run. ``score_files`` are the names of the files beside the checkpoints that were searched for
    scores, whether they exist or not. ``unplaced`` are checkpoints without a place. ``is_numbered`` says that a number
    in a name is a place.
    """

    checkpoints: list[Checkpoint]
    source_of_order: str
    findings: list[Finding] = field(default_factory=list)
    branch: str = ""
    score_files: tuple[str, ...] = ()
    unplaced: list[Checkpoint] = field(default_factory=list)
    is_numbered: bool = True


def series_of(groups: Sequence[Group], common: CheckpointSeries) -> list[CheckpointSeries]:
    """Return a series for each group, each a run of its own if there are several.

    Args:
        groups: the checkpoints.
        common: what all series share; its findings go to the first.
    """
    if len(groups) > 1:
        names = [one.name for one in groups]
        described = [f"{name} ({len(one.members)})" for name, one in zip(names, groups, strict=True)]
        sentence = f"The checkpoints of this folder belong to {len(groups)} series, each a run: {listed(described)}."
        common.findings.append(Finding("several_series", "info", sentence, evidence={"series": names}))
    counted = Counter(one.name for one in groups)
    return [
        replace(
            common,
            checkpoints=one.members,
            findings=common.findings if number == 0 else [],
            branch=(one.name if counted[one.name] == 1 else f"{one.name}-{number + 1}") if len(groups) > 1 else "",
            unplaced=one.unplaced,
            is_numbered=one.is_numbered,
        )
        for number, one in enumerate(groups)
    ] or [common]


def collect(entries: Iterable[Entry], read_one: Callable[[Entry], ItemT]) -> tuple[list[ItemT], list[Finding]]:
    """Read each entry; return the results, and a finding for each entry that cannot be read."""
    read, findings, others = [], [], []
    for entry in entries:
        try:
            read.append(read_one(entry))
        except NotACheckpointError:
            others.append(entry.name)
        except CheckpointError as error:
            findings.append(_rejected_file(entry.path, str(error)))
    return read, [*findings, *not_checkpoints(others)]


def not_checkpoints(names: Sequence[str]) -> list[Finding]:
    """Return a finding about files beside the checkpoints that are something else; none if there are no names."""
    if not names:
        return []
    sentence = f"{listed(list(names))}: no checkpoints, but the state of an optimizer or of the training; left out."
    return [Finding("not_checkpoints", "notice", sentence, evidence={"files": [printable(one) for one in names]})]


def _rejected_file(path: str, reason: str) -> Finding:
    """Return the finding about a file that should be a checkpoint and cannot be used."""
    sentence = reason if path in reason else f"{path}: {reason}"
    epoch, step = place_in_name(file_name(path))
    evidence = {"file": printable(file_name(path)), "epoch": epoch, "step": step}
    return Finding("refused_file", "serious", sentence if is_text(sentence) else printable(sentence), evidence=evidence)


def assemble(folder: str, layout: str, series: CheckpointSeries) -> Run:
    """Order the checkpoints of a series, drop exact duplicates, and make a run of the rest.

    Raises:
        CheckpointError: the folder's name is not text, or the folder cannot be listed.
        NoCheckpointsError: no checkpoint can be used.
    """
    if not is_text(folder_name(folder)) or not is_text(folder):
        raise CheckpointError(f"{folder}: its name is not UTF-8 text, so it cannot be stored; rename the folder")
    findings = list(series.findings)
    checkpoints = without_wrappers(_with_text_names([*series.checkpoints, *series.unplaced], findings), findings)
    checkpoints = [replace(one, tensors=with_codes(one.tensors)) for one in _unambiguous(checkpoints, findings)]
    known = {one.name for one in _placed(series)}
    unplaced = tuple(one for one in checkpoints if one.name not in known)
    checkpoints = [one for one in checkpoints if one.name in known]
    checkpoints, ordered_by = _ordered(_with_numbers_as_steps(checkpoints, series), series)
    checkpoints = _with_tokens(without_duplicates(checkpoints, findings))
    if ordered_by.startswith(_WITHIN_EPOCHS):
        checkpoints = [replace(one, step=None) for one in checkpoints]
        sentence = "Steps restart in each epoch, so they only order the checkpoints within an epoch."
        findings.append(Finding("steps_within_epochs", "info", sentence))
    findings.extend([*tied_weights(checkpoints), *assumed_scales(checkpoints)])
    if not checkpoints:
        raise NoCheckpointsError(f"{folder}: none of its checkpoints can be used: {_reasons(folder, findings)}")
    if ordered_by == "modification time" and len(checkpoints) > 1:
        sentence = (
            "The checkpoints carry no epoch, step or number, so they are ordered by modification time; a copied file "
            "may be out of place. Put a number in their names to fix the order."
        )
        findings.append(Finding("order_by_age", "warning", sentence))
    ordered_by, findings = with_places_said(ordered_by, findings)
    return Run(
        name=f"{run_name(folder)}/{series.branch}" if series.branch else run_name(folder),
        path=folder,
        layout=layout,
        ordered_by=ordered_by,
        checkpoints=tuple(checkpoints),
        findings=tuple(findings),
        score_files=series.score_files,
        unplaced=unplaced,
        unread_tables=_unread_tables(folder, series.score_files),
    )


def _unread_tables(folder: str, score_files: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the tables in a run's folder that were not searched for scores."""
    return tuple(
        entry.name
        for entry in list_folder(folder)
        if entry.is_file and entry.name.endswith(TABLE_SUFFIXES) and entry.name not in score_files
    )


def _reasons(folder: str, findings: Sequence[Finding]) -> str:
    """Join the sentences of findings, with paths relative to the folder; files with the same reason are grouped."""
    files: dict[str, list[str]] = {}
    for finding in findings:
        sentence = re.sub(rf"{re.escape(folder)}[/\\\\]", "", finding.sentence).rstrip(".")
        name, colon, reason = sentence.partition(": ")
        files.setdefault(reason if colon else sentence, []).append(name if colon else "")
    phrases = []
    for reason, names in list(files.items())[:_MOST_REASONS]:
        name = names[0] if len(names) == 1 else f"{len(names)} of them, such as {names[0]}"
        phrases.append(f"{name}: {reason}" if names[0] else reason)
    if more := len(files) - len(phrases):
        phrases.append(f"and {more} more reasons")
    return "; ".join(phrases)


def _with_text_names(checkpoints: list[Checkpoint], findings: list[Finding]) -> list[Checkpoint]:
    """Return the checkpoints whose paths can be stored as text; report the others."""
    named = [checkpoint for checkpoint in checkpoints if is_text(checkpoint.path)]
    findings.extend(
        _rejected_file(checkpoint.path, "its name is not UTF-8 text, so it cannot be stored; rename it")
        for checkpoint in checkpoints
        if not is_text(checkpoint.path)
    )
    return named


def _unambiguous(checkpoints: list[Checkpoint], findings: list[Finding]) -> list[Checkpoint]:
    """Drop tensors that have the name of an expert of a stack: their rows would have the same name."""
    kept: list[Checkpoint] = []
    ambiguous: dict[str, None] = {}  # an ordered set
    for checkpoint in checkpoints:
        experts = _experts(checkpoint)
        ambiguous |= dict.fromkeys(name for name in checkpoint.tensors if name in experts)
        tensors = {name: info for name, info in checkpoint.tensors.items() if name not in experts}
        kept.append(replace(checkpoint, tensors=tensors) if experts else checkpoint)
    if ambiguous:
        sentence = f"{listed(list(ambiguous))}: left out, because an expert in a stack of tensors has the same name."
        findings.append(Finding("ambiguous_name", "serious", sentence, evidence={"tensors": list(ambiguous)}))
    return kept


def _experts(checkpoint: Checkpoint) -> set[str]:
    """Return the names under which the experts of stacked tensors are measured."""
    if not any(name.endswith("]") for name in checkpoint.tensors):
        return set()
    return {view.name for info in checkpoint.tensors.values() for view in matrices(info) if view.index is not None}


def _placed(series: CheckpointSeries) -> list[Checkpoint]:
    """Return the checkpoints with an epoch, a step or a number in the name; all of them if none has any."""
    numbered = [
        one
        for one in series.checkpoints
        if one.epoch is not None or one.step is not None or (series.is_numbered and _NUMBER.search(one.name))
    ]
    return numbered or series.checkpoints


def _ordered(checkpoints: list[Checkpoint], series: CheckpointSeries) -> tuple[list[Checkpoint], str]:
    """Sort checkpoints; return them with a phrase that says what they are ordered by."""
    source = series.source_of_order
    if checkpoints and _steps_restart(checkpoints):
        return sorted(checkpoints, key=lambda one: (one.epoch, one.step, one.name)), f"{_WITHIN_EPOCHS}, from {source}"
    if all(checkpoint.step is not None for checkpoint in checkpoints):
        return sorted(checkpoints, key=lambda one: (one.step, one.name)), f"step, from {source}"
    if all(checkpoint.epoch is not None for checkpoint in checkpoints):
        return sorted(checkpoints, key=lambda one: (one.epoch, one.name)), f"epoch, from {source}"
    if series.is_numbered and (keys := _keys_of_names(checkpoints)) is not None:
        return sorted(checkpoints, key=lambda one: keys[one.name]), "the numbers in the names"
    return sorted(checkpoints, key=lambda one: (one.files[0].modified_ns, one.name)), "modification time"


def _with_numbers_as_steps(checkpoints: list[Checkpoint], series: CheckpointSeries) -> list[Checkpoint]:
    """Return the checkpoints with the numbers in their names as steps, if only these tell those of an epoch apart.

    VITS saves several checkpoints in an epoch, G_1000.pth and G_2000.pth.
    """
    epochs = [one.epoch for one in checkpoints]
    is_unclear = None not in epochs and len(set(epochs)) < len(epochs) and all(one.step is None for one in checkpoints)
    keys = order_keys([one.name for one in checkpoints]) if is_unclear and series.is_numbered else None
    if keys is None or any(len(key[0]) != 1 or key[0][0][0] for key in keys.values()):
        return checkpoints
    ordered = sorted(checkpoints, key=lambda one: keys[one.name])
    steps = [keys[one.name][0][0][1] for one in ordered]
    rising = [one.epoch or 0.0 for one in ordered]
    if rising != sorted(rising) or len(set(steps)) < len(steps) or any(step != int(step) for step in steps):
        return checkpoints
    return [replace(one, step=int(step)) for one, step in zip(ordered, steps, strict=True)]


def _with_tokens(checkpoints: list[Checkpoint]) -> list[Checkpoint]:
    """Return the checkpoints with the tokens in their names, if these rise along the run: a model's size does not."""
    counts = [tokens_in_name(one.name) for one in checkpoints]
    known = [count for count in counts if count is not None]
    if len(known) < len(counts) or known != sorted(known) or len(set(known)) < 2:
        return checkpoints
    return [replace(one, tokens=count) for one, count in zip(checkpoints, counts, strict=True)]


def _keys_of_names(checkpoints: Sequence[Checkpoint]) -> Mapping[str, Any] | None:
    """Return sort keys by the numbers in the names; None if the names have none, or none that is a place."""
    names = [one.name for one in checkpoints]
    if len(stems(names)) == 1:
        return order_keys(names)
    return {name: number_key(name) for name in names} if all(_NUMBER.search(name) for name in names) else None


def _steps_restart(checkpoints: list[Checkpoint]) -> bool:
    """Check whether every epoch has the same steps (the last may have fewer), so that steps do not count the run."""
    steps: dict[float, set[int]] = {}
    for one in checkpoints:
        if one.epoch is None or one.step is None:
            return False
        steps.setdefault(one.epoch, set()).add(one.step)
    *others, last = (steps[epoch] for epoch in sorted(steps))
    return bool(others) and all(one == others[0] for one in others) and last <= others[0]
