"""Report tensors that a checkpoint has from another one: a shard that was copied or saved in the wrong place."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod

from analyzer.findings.curves import MATRICES, PARAMETERS
from analyzer.findings.histories import NARROW, History, complete_digests, histories, is_constant
from analyzer.findings.rules import Draft, file_rule
from analyzer.findings.wording import MOST_NAMED, agree, plural
from analyzer.model.names import listed, printable
from analyzer.model.run import Checkpoint
from analyzer.model.tables import Tables, TensorRow

_SEPARATORS = re.compile(r"[/\\]")
FEWEST_ELEMENTS = 16  # below that, rounded values may come back by themselves


@dataclass(frozen=True, slots=True)
class SharedPart:
    """Tensors that are the same at ``first`` and ``second`` (positions in the run) and differ at all ``between``."""

    first: int
    second: int
    between: tuple[int, ...]
    tensors: tuple[str, ...]


def shared_parts(tables: Tables) -> list[SharedPart]:
    """Return the tensors that come back bit by bit after they had changed, by the checkpoints that share them."""
    found: dict[tuple[int, int], list[tuple[TensorRow, tuple[int, ...]]]] = {}
    for history in histories(tables, PARAMETERS):
        if prod(history.tensor.shape) >= FEWEST_ELEMENTS:
            for first, second, between in _returns(tables, history):
                found.setdefault((first, second), []).append((history.tensor, between))
    whole = complete_digests(tables)
    parts = []
    for (first, second), held in sorted(found.items()):
        tensors = [tensor for tensor, _ in held]
        is_copy = bool(whole) and bool(whole[first]) and whole[first] == whole[second]  # same_weights reports it
        if not is_copy and any(map(_is_distinctive, tensors)):
            differing = sorted({place for _, places in held for place in places})
            parts.append(SharedPart(first, second, tuple(differing), tuple(tensor.name for tensor in tensors)))
    return parts


def _is_distinctive(tensor: TensorRow) -> bool:
    """Check whether a tensor can hardly come back by itself: a vector in coarse rounding may."""
    return tensor.kind in MATRICES or not tensor.dtype.startswith(NARROW)


def _returns(tables: Tables, history: History) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Yield (position, position where the same bits are back, positions between).

    Nothing for a tensor that alternates between a few values, as a schedule does, or for constant elements.
    """
    known = [
        (place, one.digest)
        for place, one in zip(history.places, history.elements, strict=True)
        if one.digest and not one.has_nonfinite
    ]
    spells = [(digest, [place for place, _ in group]) for digest, group in groupby(known, key=lambda item: item[1])]
    distinct = {digest for digest, _ in spells}
    if len(spells) == len(distinct) or len(spells) - len(distinct) >= len(distinct):
        return
    last: dict[str, int] = {}  # the spell in which each value was seen last
    for number, (digest, places) in enumerate(spells):
        before = last.get(digest)
        if before is not None and not is_constant(tables, history.tensor.name, places[0]):
            between = tuple(place for _, held in spells[before + 1 : number] for place in held)
            yield spells[before][1][-1], places[0], between
        last[digest] = number


@file_rule("step_distance")
def part_of_another_checkpoint(tables: Tables) -> Iterator[Draft]:
    """Tensors that equal those of a checkpoint that is no neighbor, while the checkpoints between differ.

    Which checkpoint is the wrong one follows from distances, where they are known: a tensor in its place is closer to
    the one before than the one after is. Tensors below `FEWEST_ELEMENTS` elements, constant ones and those that
    alternate between few values are left out, and so are vectors in coarse rounding by themselves.

    Source: exact comparison of the hashes, as in EleutherAI/pythia#206, where a middle step has a shard of the last.
    """
    for part in shared_parts(tables):
        wrong, other = _culprit(tables, part)
        checkpoints = tables.source.checkpoints
        held = checkpoints[part.first if wrong is None else wrong]
        named = listed(part.tensors, MOST_NAMED)
        of = f"{len(part.tensors)} of {plural(len(held.tensors), 'tensor')} ({named}{_files(held, part.tensors)})"
        names = [tables.checkpoints[place].name for place in part.between]
        those = agree(len(names), f"{listed(names)} between them differs", f"the {len(names)} between them differ")
        if wrong is None:
            first, second = (tables.checkpoints[place].name for place in (part.first, part.second))
            which = f"{listed([first])} and {listed([second])} have {of} in common"
            cause = f"one of them, {listed([first])} or {listed([second])}, has part of the other one"
        else:
            which = f"{listed([held.name])} holds {of} of {listed([tables.checkpoints[other].name])}"
            cause = "part of another checkpoint was copied or saved in its place"
        yield Draft(
            "serious",
            f"{which}, while {those}: {cause}.",
            tensors=part.tensors,
            places=(part.first, part.second),
            evidence={"wrong": None if wrong is None else tables.checkpoints[wrong].name, "between": names},
            apart=True,
        )


def _culprit(tables: Tables, part: SharedPart) -> tuple[int | None, int]:
    """Return the position of the checkpoint that has tensors of another one, None if unknown; and of the other one."""
    votes = [
        tuple(tables.fits.get((tables.checkpoints[place].name, name)) for place in (part.first, part.second))
        for name in part.tensors
    ]
    known = {vote for vote in votes if vote[0] != vote[1]}
    if known and all(vote[0] is not True and vote[1] is not False for vote in known):
        return part.first, part.second
    if known and all(vote[0] is not False and vote[1] is not True for vote in known):
        return part.second, part.first
    return None, part.first


def _files(checkpoint: Checkpoint, tensors: Collection[str]) -> str:
    """Return ": all of FILE" if the tensors are all those of one of several files of a checkpoint."""
    by_file: dict[str, set[str]] = {}
    for name, info in checkpoint.tensors.items():
        for part in info.parts:
            by_file.setdefault(part.path, set()).add(name)
    whole = [path for path, names in by_file.items() if names == set(tensors)]
    if len(by_file) < 2 or not whole:
        return ""
    return f": all of {printable(_SEPARATORS.split(whole[0])[-1])}"


def judged(part: SharedPart) -> Sequence[str]:
    """Return the tensors whose distances tell which checkpoint is the wrong one; a few are enough."""
    return part.tensors[:MOST_NAMED]
