"""Checkpoints that were left out because nothing tells their place: whether anything is lost with them."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.auditing.contents import Contents
from analyzer.model.names import listed
from analyzer.model.run import Checkpoint, Finding, Run
from analyzer.tensors.loading import is_readable


def look_at(run: Run, contents: Contents | None) -> Iterator[Finding]:
    """Each of them; one that is a copy of a checkpoint of the series, as ``best`` and ``final`` often are, as such."""
    for one in run.unplaced:
        name, twin = listed([one.name]), _twin(run, one, contents) if contents else None
        if twin:
            sentence = (
                f"{name} has no place in the run and is left out. It holds exactly the weights of {listed([twin])}, so "
                "nothing is lost."
            )
            yield Finding("unplaced_copy", "notice", sentence, checkpoints=(one.name, twin))
        elif contents is None:
            sentence = (
                f"{name} has neither epoch nor step nor a number in its name, as the others have, so its place in the "
                "run is unknown and it is left out. weightlapse audit tells whether it is a copy of one of them."
            )
            yield Finding("unplaced_file", "notice", sentence, checkpoints=(one.name,))
        else:
            sentence = (
                f"{name} has neither epoch nor step nor a number in its name, as the others have, so "
                "its place in the run is unknown and it is left out. Put its epoch or step into its name to have it in."
            )
            yield Finding("unplaced_file", "warning", sentence, checkpoints=(one.name,))


def _twin(run: Run, unplaced: Checkpoint, contents: Contents) -> str | None:
    """The checkpoint of the series that holds the same weights."""
    held = contents.unplaced.get(unplaced.name)
    if not held or len(held) < sum(map(is_readable, unplaced.tensors.values())):
        return None
    return next((one.name for one in run.checkpoints if contents.tensors[one.name] == held), None)
