"""Folders whose names tell the step or epoch, each with the weights of one checkpoint.

So Pythia (``step1000``), OLMo (``stage1-step1000-tokens5B``), torchtitan (``step-1000``) and accelerate's examples
(``epoch_1``) are arranged. OLMo's ingredients start from the same state and are averaged in the end: they are branches,
so each of them is a run of its own. So is a stage whose steps are counted anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

from analyzer.layouts.file_series import scores_beside
from analyzer.layouts.folder_series import checkpoint_in, first_with_weights, folders_named, read_folders
from analyzer.layouts.ordering import Series, merge_scores, place_in_name, place_of
from analyzer.layouts.scores.sidecars import SCORE_FILES
from analyzer.model.names import listed
from analyzer.model.run import Checkpoint, Finding
from analyzer.sources import Entry

NAME = "folders"
SPECIFICITY = 50
LOOKS_LIKE = "stepN/, step-N/ or epoch_N/ folders, each with the weights of one checkpoint, as Pythia, OLMo, torchtitan"

_LINE = re.compile(r"(?:stage(?P<stage>[0-9]{1,9})-)?(?:ingredient(?P<ingredient>[0-9]{1,9})-)?step.*")


def recognise(folder: str) -> str | None:
    """Why the folder is a series of checkpoint folders, or None."""
    return first_with_weights(_candidates(folder))


def read(folder: str) -> list[Series]:
    """Every folder whose name tells its place, in as many runs as there are lines."""
    checkpoints, findings = read_folders(folder, _candidates(folder), partial(checkpoint_in, place_of=place_of))
    lines = dict(_lines(merge_scores(checkpoints, scores_beside(folder, findings))))
    if len(lines) > 1:
        sentence = f"{listed(list(lines))} are lines of their own (branches, or steps counted anew), each a run."
        findings.append(Finding("several_lines", "info", sentence, evidence={"lines": list(lines)}))
    return [
        Series(line, "the folders' names", findings if number == 0 else [], name if len(lines) > 1 else "", SCORE_FILES)
        for number, (name, line) in enumerate(lines.items() or {"": checkpoints}.items())
    ]


def _candidates(folder: str) -> list[Entry]:
    return folders_named(folder, lambda name: not name.startswith(".") and place_in_name(name) != (None, None))


def _line(checkpoint: Checkpoint) -> tuple[int, int]:
    """(ingredient, stage), 0 where the name tells none."""
    match = _LINE.fullmatch(checkpoint.name)
    return (int(match["ingredient"] or 0), int(match["stage"] or 0)) if match else (0, 0)


def _lines(checkpoints: Sequence[Checkpoint]) -> Iterator[tuple[str, list[Checkpoint]]]:
    """Each line by name: what carries no ingredient first, stage after stage as long as the steps go on."""
    line: list[Checkpoint] = []
    name = ""
    for (ingredient, stage), group in groupby(sorted(checkpoints, key=_line), key=_line):
        members = list(group)
        if line and (ingredient or _last_step(line) >= _first_step(members)):
            yield name, line
            line = []
        if not line:
            name = "-".join([f"stage{stage}"] * bool(stage) + [f"ingredient{ingredient}"] * bool(ingredient)) or "trunk"
        line = line + members
    if line:
        yield name, line


def _first_step(checkpoints: Sequence[Checkpoint]) -> int:
    return min((one.step for one in checkpoints if one.step is not None), default=0)


def _last_step(checkpoints: Sequence[Checkpoint]) -> int:
    return max((one.step for one in checkpoints if one.step is not None), default=0)
