"""Split the checkpoints of one folder into series: files of one stem are one series, and a lone name has no place.

Two networks that were trained together, the folds of a validation or an average beside the weights have checkpoints in
one folder. Put in one line, distances would be measured between different networks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analyzer.layouts.naming import place_in_name
from analyzer.layouts.stems import identities, is_average, is_selected, label, stems
from analyzer.model.run import Checkpoint

_ALIKE = 0.5  # share of tensor shapes that two states of one network have in common, also after a new head


@dataclass(frozen=True, slots=True)
class ReadCheckpoint:
    """A checkpoint, and whether its content states its place (rather than its name alone)."""

    checkpoint: Checkpoint
    has_own_place: bool


@dataclass(frozen=True, slots=True)
class Group:
    """The checkpoints of one series, and those that resemble it but have no place in it.

    ``name`` is that of the run, if there are several; ``is_numbered`` says that the numbers in the names are places.
    """

    name: str
    members: list[Checkpoint]
    unplaced: list[Checkpoint] = field(default_factory=list)
    is_numbered: bool = True


def group(found: Sequence[ReadCheckpoint]) -> list[Group]:
    """Return the series among some checkpoints; every checkpoint is in exactly one of them."""
    by_name = {one.checkpoint.name: one for one in found}
    by_stem = stems(by_name)
    series = {stem: names for stem, names in by_stem.items() if len(names) > 1}
    series = {stem: names for stem, names in series.items() if not is_selected(stem)} or series
    if not series:
        return _lone(list(found))
    groups = _joined(
        [Group(label(stem), [by_name[name].checkpoint for name in names]) for stem, names in series.items()], by_name
    )
    placed = {name for names in series.values() for name in names}
    for stem, names in by_stem.items():
        for name in names:
            if name not in placed:
                _add(groups, stem, by_name[name])
    return groups


def _joined(groups: Sequence[Group], found: Mapping[str, ReadCheckpoint]) -> list[Group]:
    """Join series of one label whose files state different places, as fairseq's of epochs and of updates do.

    They are kept apart if a place is stated twice, or if a name alone gives a place.
    """
    joined: list[Group] = []
    for one in groups:
        known = next((other for other in joined if _continues(other, one, found)), None)
        if known is None:
            joined.append(one)
        else:
            known.members.extend(one.members)
    return joined


def _continues(first: Group, second: Group, found: Mapping[str, ReadCheckpoint]) -> bool:
    members = [*first.members, *second.members]
    places = {(one.epoch, one.step) for one in members}
    if first.name != second.name or len(places) < len(members):
        return False
    return all(found[one.name].has_own_place for one in members) and _are_alike(first.members[0], second.members[0])


def _add(groups: list[Group], stem: str, lone: ReadCheckpoint) -> None:
    """Add a lone checkpoint to the series that it belongs to, or to the one that it resembles, without a place."""
    alike = [one for one in groups if _are_alike(one.members[0], lone.checkpoint)]
    named = [one for one in alike if _words(one.name) <= _words(label(stem))]
    closest = max(named or alike or groups, key=lambda one: len(_words(one.name) & _words(label(stem))))
    belongs = len(alike) == 1 or len(named) == 1
    if belongs and lone.has_own_place and not is_average(stem):
        closest.members.append(lone.checkpoint)
    else:
        closest.unplaced.append(lone.checkpoint)


def _words(name: str) -> set[str]:
    return set(name.replace("-", "_").replace(".", "_").split("_")) - {"numbered", ""}


def _lone(found: list[ReadCheckpoint]) -> list[Group]:
    """Return groups of checkpoints whose names have nothing in common: one for each network.

    The numbers in such names are no places, only what the content or a keyword states.
    """
    networks: list[list[ReadCheckpoint]] = []
    for one in found:
        known = next((group for group in networks if _may_be_one_network(group, one)), None)
        networks.append([one]) if known is None else known.append(one)
    return [_of_network(network) for network in networks]


def _may_be_one_network(known: Sequence[ReadCheckpoint], one: ReadCheckpoint) -> bool:
    """Check whether a checkpoint may be a state of a network: not if their names state different folds or seeds."""
    kind, numbers = identities(one.checkpoint.name)
    others = [identities(other.checkpoint.name) for other in known]
    is_another = any(other_kind == kind and other != numbers for other_kind, other in others)
    return not is_another and _are_alike(known[0].checkpoint, one.checkpoint)


def _of_network(found: list[ReadCheckpoint]) -> Group:
    (stem, *_) = stems([one.checkpoint.name for one in found])
    placed = [one.checkpoint for one in found if one.has_own_place or _is_placed_by_name(one.checkpoint)]
    members = placed or [one.checkpoint for one in found]
    names = {one.name for one in members}
    unplaced = [one.checkpoint for one in found if one.checkpoint.name not in names]
    return Group(label(stem), members, unplaced, is_numbered=len(found) == 1)


def _is_placed_by_name(checkpoint: Checkpoint) -> bool:
    return place_in_name(checkpoint.name) != (None, None) and not is_average(checkpoint.name)


def _are_alike(first: Checkpoint, second: Checkpoint) -> bool:
    """Check whether two checkpoints may be states of one network, judged by the shapes of their tensors."""
    shapes, others = (Counter(info.shape for info in one.tensors.values()) for one in (first, second))
    return (shapes & others).total() >= _ALIKE * max(shapes.total(), others.total())
