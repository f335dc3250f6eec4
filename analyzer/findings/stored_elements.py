"""Elements as stored: NaN and Inf, and tensors of which no bit changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.findings.curves import EVERYTHING, MATRICES, PARAMETERS, ReliableCurve, curves_of, starts, stretches
from analyzer.findings.rules import rule
from analyzer.findings.wording import finding, layers, place, plural, span
from analyzer.model.run import Finding, Tables, TensorRow

STAYED = (
    "Go back to the checkpoint before; a lower learning rate, clipped gradients, a lower loss scale or a look at the "
    "data of the steps between usually mend it."
)
SUDDENLY_FROZEN = 3  # intervals without a changed bit, up to the end, of a layer that moved before
LONGER_THAN_CHANCE = 2  # intervals, as for the audit's warning
NARROW = ("bfloat16", "float16", "float8")  # whose rounding may hide a layer's steps altogether


@dataclass(frozen=True, slots=True)
class _Spell:
    """Tensors that stood still from ``first`` to ``last``, positions among the checkpoints."""

    first: int
    last: int
    tensors: list[TensorRow]

    @property
    def has_matrix(self) -> bool:
        return any(tensor.kind in MATRICES for tensor in self.tensors)

    def matters(self, kind: str) -> bool:
        """Whether it is more than what vectors do by themselves, or a matrix by chance."""
        return self.has_matrix and (kind == "whole" or self.last - self.first >= LONGER_THAN_CHANCE)

    def weight(self, kind: str) -> tuple[bool, int, int]:
        """How much there is to tell of it."""
        return self.matters(kind), len(self.tensors), self.last - self.first


@rule
def nonfinite_weights(tables: Tables) -> Iterator[Finding]:
    """NaN or Inf: where it began, and in which tensors it came later.

    Source: IEEE 754: whatever is computed with a NaN is NaN, so one such element spoils the layer; no threshold.
    """
    begun: dict[int, list[ReliableCurve]] = {}
    every = 0
    for series in curves_of(tables, "nonfinite_count", EVERYTHING):
        every += 1
        where = np.flatnonzero(series.stored > 0)
        if len(where):
            begun.setdefault(int(series.places[where[0]]), []).append(series)
    if not begun:
        return
    first, last = min(begun), len(tables.checkpoints) - 1
    group = begun[first]
    places = sorted({int(spot) for one in group for spot in one.places[one.stored > 0]})
    if len(places) == 1:
        when = f"at {place(tables, first)}" + (" only" if first < last else "")
    elif len(places) == last - first + 1:
        when = f"from {place(tables, first)} on, to the end"
    else:
        when = f"at {place(tables, first)} and in {plural(len(places) - 1, 'later checkpoint')}"
    later = [one for start in sorted(begun) if start > first for one in begun[start]]
    spread = f"; later also in {layers([one.tensor.name for one in later])}" if later else ""
    counts = {one.tensor.name: int(one.stored[one.stored > 0][0]) for one in (*group, *later)}
    spoilt = {int(spot) for series in (*group, *later) for spot in series.places[series.stored > 0]}
    advice = STAYED if last in spoilt else _recovered(len(spoilt))
    elements = plural(sum(counts[one.tensor.name] for one in group), "element")
    yield finding(
        tables,
        "nonfinite_weights",
        "serious",
        f"NaN or infinite elements {when}, in {layers([one.tensor.name for one in group], every)} ({elements} at "
        f"first){spread}: nothing computed with such weights means anything. {advice}",
        figure="step_distance",
        tensors=list(counts),
        places=places,
        evidence={
            "count": counts,
            "since": {
                one.tensor.name: tables.checkpoints[start].name for start in sorted(begun) for one in begun[start]
            },
        },
    )


def _recovered(count: int) -> str:
    """What to do about so many spoilt checkpoints where the last one is not among them."""
    which = "file was" if count == 1 else "files were"
    return (
        f"The last checkpoint has none, so the run recovered, or the {which} damaged or saved at a bad moment: leave "
        f"{'that checkpoint' if count == 1 else 'those checkpoints'} out."
    )


@rule
def frozen_tensor(tables: Tables) -> Iterator[Finding]:
    """Tensors whose stored bits did not change at all: over the whole run, from some point on, or for a while.

    Source: exact comparison of the stored bytes: no threshold. A warning, as in the audit, where a matrix stands still
    for the whole run or for `LONGER_THAN_CHANCE` intervals; vectors alone may do so by themselves. From some point on
    to the end for `SUDDENLY_FROZEN` intervals: so looked four of four layers here once all units had died (learning
    rate 1.5). Where rounding is coarse, a pause says nothing and is left to `motion_below_precision`.
    """
    broken = {series.tensor.name: series for series in curves_of(tables, "nonfinite_count", PARAMETERS)}
    spells: dict[str, dict[tuple[int, int], _Spell]] = {"whole": {}, "sudden": {}, "pause": {}}
    every = 0
    for series in curves_of(tables, "changed_fraction", PARAMETERS):
        since = starts(tables, series)
        compared = since < series.places
        every += bool(compared.any())
        if series.tensor.name in broken:  # NaN stays NaN, which is said elsewhere
            counts = broken[series.tensor.name]
            compared &= ~np.isin(series.places, counts.places[counts.stored > 0])
        for first, last in stretches(compared & (series.stored == 0)):
            kind = "pause"
            if last - first + 1 == int(np.count_nonzero(compared)):
                kind = "whole"
            elif last == len(series.places) - 1 and last - first + 1 >= SUDDENLY_FROZEN:
                kind = "sudden" if (series.stored[:first] > 0).any() else "pause"
            if kind == "pause" and series.tensor.dtype.startswith(NARROW):
                continue
            where = (int(since[first]), int(series.places[last]))
            spells[kind].setdefault(where, _Spell(*where, [])).tensors.append(series.tensor)
    for kind, found in spells.items():
        if found:
            yield _frozen(tables, kind, list(found.values()), every)


def _frozen(tables: Tables, kind: str, spells: Sequence[_Spell], every: int) -> Finding:
    """One finding of all spells of a kind; the sentence tells the one that matters most."""
    spells = sorted(spells, key=lambda spell: spell.weight(kind), reverse=True)
    most = spells[0]
    names = [tensor.name for tensor in most.tensors]
    others = [tensor.name for spell in spells[1:] for tensor in spell.tensors]
    narrow = any(tensor.dtype.startswith(NARROW) for tensor in most.tensors)
    why = {
        "whole": "frozen on purpose, or left out of the optimiser",
        "sudden": "frozen on purpose, or its gradient became exactly zero, as when all units behind it died",
        "pause": "frozen for that time, or a checkpoint was saved twice",
    }[kind]
    if not most.has_matrix:
        why = "vectors may do so by themselves, as the bias before a normalisation does"
    if narrow:
        why += f"; in {most.tensors[0].dtype} steps may also be too small to show"
    more = f" So did {layers(list(dict.fromkeys(others)))} at other times." if others else ""
    when = f"from {span(tables, most.first, most.last)}" + (", the whole run" if kind == "whole" else "")
    return finding(
        tables,
        "frozen_tensor",
        "warning" if most.matters(kind) else "notice",
        f"{layers(names, every)} did not change in a single bit {when}: {why}.{more}",
        figure="step_distance",
        tensors=list(dict.fromkeys([*names, *others])),
        places=range(most.first, most.last + 1),
        evidence={
            "kind": kind,
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
