"""Folders whose names state the step or epoch, each with the weights of one checkpoint.

Pythia (``step1000``), OLMo (``stage1-step1000-tokens5B``), torchtitan (``step-1000``) and accelerate's examples
(``epoch_1``) use this layout. OLMo's ingredients start from the same state and are averaged in the end: they are
branches, so each is a separate run. So is a stage whose steps restart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

from analyzer.layouts.folder_series import checkpoint_in, first_with_weights, folders_named, read_folders
from analyzer.layouts.naming import place_in_name, place_of
from analyzer.layouts.ordering import CheckpointSeries
from analyzer.layouts.scores.locating import SCORE_FILES
from analyzer.layouts.scores.merging import with_folder_scores
from analyzer.model.names import listed
from analyzer.model.run import Checkpoint, Finding
from analyzer.sources import Entry

NAME = "folders"
SPECIFICITY = 50
LOOKS_LIKE = "stepN/, step-N/ or epoch_N/ folders with the weights of one checkpoint each: Pythia, OLMo, torchtitan"

_BRANCH = re.compile(r"(?:stage(?P<stage>[0-9]{1,9})-)?(?:ingredient(?P<ingredient>[0-9]{1,9})-)?step.*")


def recognize(folder: str) -> str | None:
    """Return why the folder is a series of checkpoint folders, or None."""
    return first_with_weights(_candidates(folder))


def read(folder: str) -> list[CheckpointSeries]:
    """Read every folder whose name states its place; each branch becomes a series."""
    checkpoints, findings = read_folders(folder, _candidates(folder), partial(checkpoint_in, place_of=place_of))
    branches = dict(_branches(with_folder_scores(folder, checkpoints, findings)))
    if len(branches) > 1:
        sentence = f"{listed(list(branches))} are separate branches (or stages whose steps restart); each is a run."
        findings.append(Finding("several_branches", "info", sentence, evidence={"branches": list(branches)}))
    return [
        CheckpointSeries(
            checkpoints=branch,
            source_of_order="the folders' names",
            findings=findings if number == 0 else [],
            branch=name if len(branches) > 1 else "",
            score_files=SCORE_FILES,
        )
        for number, (name, branch) in enumerate(branches.items() or {"": checkpoints}.items())
    ]


def _candidates(folder: str) -> list[Entry]:
    return folders_named(folder, lambda name: not name.startswith(".") and place_in_name(name) != (None, None))


def _branch_key(checkpoint: Checkpoint) -> tuple[int, int]:
    """Return (ingredient, stage) from a checkpoint's name, 0 for what the name does not state."""
    match = _BRANCH.fullmatch(checkpoint.name)
    return (int(match["ingredient"] or 0), int(match["stage"] or 0)) if match else (0, 0)


def _branches(checkpoints: Sequence[Checkpoint]) -> Iterator[tuple[str, list[Checkpoint]]]:
    """Yield each branch by name, first those without an ingredient; stages with continuing steps form one branch."""
    branch: list[Checkpoint] = []
    name = ""
    for (ingredient, stage), group in groupby(sorted(checkpoints, key=_branch_key), key=_branch_key):
        members = list(group)
        if branch and (ingredient or _last_step(branch) >= _first_step(members)):
            yield name, branch
            branch = []
        if not branch:
            name = "-".join([f"stage{stage}"] * bool(stage) + [f"ingredient{ingredient}"] * bool(ingredient)) or "trunk"
        branch = branch + members
    if branch:
        yield name, branch


def _first_step(checkpoints: Sequence[Checkpoint]) -> int:
    return min((one.step for one in checkpoints if one.step is not None), default=0)


def _last_step(checkpoints: Sequence[Checkpoint]) -> int:
    return max((one.step for one in checkpoints if one.step is not None), default=0)
