"""Rules about the stored elements themselves: NaN and Inf, and tensors that never change.

They rest on each tensor's hash and its count of non-finite elements, which the audit reads from the files and a report
takes from the store, so that both say the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from analyzer.findings.adapters import always_zero
from analyzer.findings.curves import EVERYTHING, MATRICES, PARAMETERS, stretches
from analyzer.findings.histories import NARROW, History, complete_digests, histories, lost_since
from analyzer.findings.rules import Draft, file_rule
from analyzer.findings.wording import agree, layers, place, plural, span, with_name
from analyzer.model.names import listed
from analyzer.model.tables import Tables, TensorRow

SUDDENLY_FROZEN = 3  # intervals without a changed bit, up to the end, of a tensor that moved before
CAUSES = {
    "whole": "frozen on purpose, or left out of the optimizer",
    "sudden": "frozen on purpose, or the gradient became exactly zero, as when all units behind it died",
    "pause": "frozen for that time, or part of a checkpoint was saved twice",
}
CAUSES_FOR_ALL = {  # parameters together
    "whole": "a learning rate of 0, or parameters left out of the optimizer",
    "sudden": "a schedule that ended, a learning rate of 0, or a gradient that became exactly zero, as when all units "
    "died",
    "pause": "a learning rate of 0 for that time, or part of a checkpoint was saved twice",
}
LONGER_THAN_CHANCE = 2  # intervals without a change, from which on a matrix is called frozen rather than unlucky


def _constant_masks(tables: Tables) -> list[str]:
    """Return the tensors with infinite elements, none of them NaN, that are the same bit by bit at every checkpoint."""
    masks = []
    for history in histories(tables, EVERYTHING):
        digests = {one.digest for one in history.elements}
        is_constant = len(history.places) == len(tables.checkpoints) > 1 and len(digests) == 1 and None not in digests
        if is_constant and history.elements[0].has_nonfinite and not history.elements[0].nan:
            masks.append(history.tensor.name)
    return masks


@file_rule()
def constant_infinities(tables: Tables) -> Iterator[Draft]:
    """Infinite elements that no training produced: they were there at the start, and never changed.

    Source: attention masks are stored with -inf as buffers by many implementations.
    """
    if names := _constant_masks(tables):
        yield Draft(
            "notice",
            f"{listed(names)}: infinite elements, identical in every checkpoint, as in an attention mask. This is no "
            "defect; metrics that would need these elements are left out.",
            tensors=names,
            places=[0, len(tables.checkpoints) - 1],
        )


@file_rule("step_distance")
def nonfinite_weights(tables: Tables) -> Iterator[Draft]:
    """NaN or Inf: where it began, and which tensors it reached later.

    Where the elements were not counted (metrics without the size family), a matrix counts as not finite if it has no
    metric with a value that says otherwise.

    Source: IEEE 754: whatever is computed with a NaN is NaN, so one such element spoils the layer; no threshold.
    """
    masks = set(_constant_masks(tables))
    every = list(histories(tables, EVERYTHING))
    bad = [one for one in every if one.tensor.name not in masks and one.bad_places()]
    if not bad:
        return
    begun: dict[int, list[History]] = {}
    for history in bad:
        begun.setdefault(history.bad_places()[0], []).append(history)
    first, last = min(begun), len(tables.checkpoints) - 1
    group = begun[first]
    later = [one for start in sorted(begun) if start > first for one in begun[start]]
    places = sorted({spot for one in group for spot in one.bad_places()})
    spoilt = {spot for one in bad for spot in one.bad_places()}
    counts = {one.tensor.name: _first_count(one) for one in (*group, *later)}
    spread = f"; later also in {layers([one.tensor.name for one in later])}" if later else ""
    factors = list(dict.fromkeys(factor for one in bad for it in one.elements for factor in it.bad_factors))
    origin = f", because {listed(factors)} {agree(len(factors), 'is', 'are')} not finite either" if factors else ""
    count = sum(counts[one.tensor.name] or 0 for one in group)
    elements = f" ({plural(count, 'element')} at first{origin})" if count else ""
    yield Draft(
        "serious",
        f"NaN or infinite weights {_when(tables, places, last)} in "
        f"{layers([one.tensor.name for one in group], len(every))}{elements}{spread}. "
        "Everything computed from them is meaningless. "
        f"{_advice(tables, spoilt)}",
        tensors=list(counts),
        places=places,
        evidence={
            "count": {name: count for name, count in counts.items() if count is not None},
            "since": {
                one.tensor.name: tables.checkpoints[start].name for start in sorted(begun) for one in begun[start]
            },
        },
        apart=True,
    )


def _first_count(history: History) -> int | None:
    """Return how many elements were not finite at first; None if they were not counted."""
    return next(one.nonfinite for one in history.elements if one.has_nonfinite)


def _when(tables: Tables, places: Sequence[int], last: int) -> str:
    first = places[0]
    if len(places) == 1:
        return f"at {place(tables, first)}" + (" only" if first < last else "")
    if len(places) == last - first + 1:
        return f"from {place(tables, first)} to the end"
    return f"at {place(tables, first)} and in {plural(len(places) - 1, 'later checkpoint')}"


def _advice(tables: Tables, spoilt: Collection[int]) -> str:
    """Return what to do about NaN or Inf in the checkpoints at these positions."""
    last = len(tables.checkpoints) - 1
    if last in spoilt:
        finite = [position for position in range(last) if position not in spoilt]
        back = f"Go back to {with_name(tables, finite[-1])}, the last finite one." if finite else "Train again."
        return (
            f"{back} A lower learning rate, gradient clipping, a lower loss scale or a look at the data of the steps "
            "between usually solves this."
        )
    which, those = (
        agree(len(spoilt), "file was", "files were"),
        agree(len(spoilt), "that checkpoint", "those checkpoints"),
    )
    return f"The last checkpoint is finite: the run recovered, or the {which} damaged. Leave {those} out."


@dataclass(frozen=True, slots=True)
class _Spell:
    """Tensors that did not change from ``first`` to ``last``, positions among the checkpoints."""

    first: int
    last: int
    tensors: list[TensorRow]

    @property
    def has_matrix(self) -> bool:
        return any(tensor.kind in MATRICES for tensor in self.tensors)

    def matters(self, kind: str) -> bool:
        """Check whether it is more than what vectors do by themselves, or a matrix by chance."""
        return self.has_matrix and (kind == "whole" or self.last - self.first >= LONGER_THAN_CHANCE)

    def weight(self, kind: str) -> tuple[bool, int, int]:
        """Return a sort key: the spell that is most worth reporting has the largest."""
        return self.matters(kind), len(self.tensors), self.last - self.first


@file_rule("step_distance")
def frozen_tensors(tables: Tables) -> Iterator[Draft]:
    """Parameters whose stored bits did not change: over the whole run, from some point on, or for a while.

    Source: exact comparison of the hashes of the stored bytes: no threshold. A warning where a matrix does not change
    over the whole run or for `LONGER_THAN_CHANCE` intervals; vectors alone may do so by themselves. From some point on
    to the end for `SUDDENLY_FROZEN` intervals: this happened in four of four layers here once all units had died
    (learning rate 1.5). In a dtype with coarse rounding a pause means nothing. Intervals in which nothing at all
    changed are copies or a standstill (`copies.py`); a network with NaN up to the end is reported by
    `nonfinite_weights` and updates that stay zero by `zero_update`. A cause is named only if it can hold for all: where
    no parameter at all changes, as when only the statistics of a normalization do, it is not one layer that is frozen.
    A matrix that stands still while its own bias moves has inputs that are zero for all data: the units before it died.
    """
    pairs = pairwise(complete_digests(tables))
    copies = {(at, at + 1) for at, (a, b) in enumerate(pairs) if a and a == b}  # no tensor changed
    spells: dict[str, dict[tuple[int, int], _Spell]] = {"whole": {}, "sudden": {}, "pause": {}}
    every, explained, lost = 0, always_zero(tables), lost_since(tables)
    for history in (one for one in histories(tables, PARAMETERS) if one.tensor.name not in explained):
        known = [(at, one) for at, one in zip(history.places, history.elements, strict=True) if at < lost]
        intervals = list(pairwise(known))
        every += bool(intervals)
        finite = np.array([not (a.has_nonfinite or b.has_nonfinite) for (_, a), (_, b) in intervals], dtype=bool)
        same = np.array([a.digest == b.digest is not None for (_, a), (_, b) in intervals], dtype=bool)
        for first, last in stretches(finite & same):
            spans = [(intervals[at][0][0], intervals[at][1][0]) for at in range(first, last + 1)]
            kind = _kind_of(same, finite, first, last)
            if copies.issuperset(spans) or (kind == "pause" and history.tensor.dtype.startswith(NARROW)):
                continue
            where = (spans[0][0], spans[-1][1])
            spells[kind].setdefault(where, _Spell(*where, [])).tensors.append(history.tensor)
    for kind, found in spells.items():
        if found:
            yield _frozen(tables, kind, list(found.values()), every)


def _kind_of(same: np.ndarray, finite: np.ndarray, first: int, last: int) -> str:
    """Return which kind of spell the intervals ``first`` to ``last`` of a tensor are."""
    if last - first + 1 == int(np.count_nonzero(finite)):
        return "whole"
    lasts = last == len(same) - 1 and last - first + 1 >= SUDDENLY_FROZEN
    return "sudden" if lasts and not same[:first].all() else "pause"


def _starved(tables: Tables, spells: Sequence[_Spell]) -> list[str]:
    """Return the matrices that stand still up to the end while their own bias moves in every interval."""
    digests = {
        one.tensor.name: dict(zip(one.places, one.elements, strict=True)) for one in histories(tables, PARAMETERS)
    }
    starved = []
    for spell in spells:
        for name in (one.name for one in spell.tensors if one.kind in MATRICES and one.name.endswith("weight")):
            bias = digests.get(name.removesuffix("weight") + "bias", {})
            states = [bias[at].digest for at in range(spell.first, spell.last + 1) if at in bias]
            if len(states) > 1 and None not in states and all(a != b for a, b in pairwise(states)):
                starved.append(name)
    return starved


def _frozen(tables: Tables, kind: str, spells: Sequence[_Spell], every: int) -> Draft:
    """Report all spells of a kind; the sentence describes the one that matters most."""
    spells = sorted(spells, key=lambda spell: spell.weight(kind), reverse=True)
    most = spells[0]
    names = [tensor.name for tensor in most.tensors]
    others = [tensor.name for spell in spells[1:] for tensor in spell.tensors]
    why = (CAUSES_FOR_ALL if len(names) == every > 1 else CAUSES)[kind]
    if kind == "sudden" and (starved := _starved(tables, spells)):
        its, moves = agree(len(starved), "its", "their"), agree(len(starved), "bias moves", "biases move")
        why = (
            f"all units that feed {layers(starved)} died, so {its} inputs are zero for all data and only {its} {moves}"
        )
    if not most.has_matrix:
        why = "vectors may do so by themselves, as the bias before a normalization layer does"
    if any(tensor.dtype.startswith(NARROW) for tensor in most.tensors):
        why += f"; in {most.tensors[0].dtype} steps may also be too small to show"
    more = f" Nor did {layers(list(dict.fromkeys(others)))} at other times." if others else ""
    when = f"from {span(tables, most.first, most.last)}" + (", the whole run" if kind == "whole" else "")
    return Draft(
        "warning" if most.matters(kind) else "notice",
        f"{layers(names, every)} did not change by a single bit {when}: {why}.{more}",
        tensors=list(dict.fromkeys([*names, *others])),
        places=range(most.first, most.last + 1),
        evidence={
            "kind": kind,
            "parameters": every,
            "spells": [
                {
                    "from": tables.checkpoints[spell.first].name,
                    "to": tables.checkpoints[spell.last].name,
                    "tensors": [tensor.name for tensor in spell.tensors],
                }
                for spell in spells
            ],
        },
    )
