"""Answer where runs with the same initial weights diverge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzer.comparing.answers.wording import MOST_LISTED, both, first_few, number, place
from analyzer.model.comparison import Comparison, Divergence, TensorDivergence
from analyzer.model.names import listed, printable
from analyzer.model.run import Finding


def shared_starts(comparison: Comparison) -> Iterator[Finding]:
    """Yield one answer for all pairs of runs that diverge at the same position in the same tensors."""
    groups: dict[tuple[float | None, float, tuple[str, ...]], list[Divergence]] = {}
    for pair in comparison.divergences:
        tensors = tuple(tensor.tensor for tensor in pair.tensors if tensor.place == pair.place is not None)
        groups.setdefault((pair.place, pair.end, tensors), []).append(pair)
    for (where, end, tensors), pairs in list(groups.items())[:MOST_LISTED]:
        evidence = {
            "place": where,
            "tensors": list(tensors),
            "pairs": [[pair.first, pair.second, pair.at_least, pair.at_most] for pair in pairs],
        }
        yield Finding(
            "divergence",
            "warning" if where is None else "info",
            _identical(comparison, pairs) if where is None else _diverging(comparison, pairs, tensors, where, end),
            tensor=tensors[0] if len(tensors) == 1 else None,
            evidence=evidence,
            figure="compared_motion",
        )


def _each(pairs: Sequence[Divergence]) -> str:
    names = [both(pair.first, pair.second) for pair in pairs]
    return f"Each of {len(names)} pairs of runs ({first_few(names, '; ')})"


def _identical(comparison: Comparison, pairs: Sequence[Divergence]) -> str:
    single = len(pairs) == 1
    subject = f"{both(pairs[0].first, pairs[0].second)} have" if single else f"{_each(pairs)} has"
    group_of = {run: group.name for group in comparison.groups for run in group.runs}
    counted_once = all(group_of[pair.first] == group_of[pair.second] for pair in pairs)
    counted = "they count as one run" if counted_once else "this is one run under two names, counted in both groups"
    return f"{subject} the same bytes at every checkpoint that both have: {counted}."


def _diverging(
    comparison: Comparison, pairs: Sequence[Divergence], tensors: Sequence[str], where: float, end: float
) -> str:
    single = len(pairs) == 1
    subject = f"{both(pairs[0].first, pairs[0].second)} share their" if single else f"{_each(pairs)} shares its"
    verb = "diverge" if single else "diverges"
    every = len(tensors) == len(pairs[0].tensors) > 1
    layers = f"all {len(tensors)} tensors" if every else listed(tensors, MOST_LISTED)
    firsts = [next(tensor for tensor in pair.tensors if tensor.tensor == tensors[0]) for pair in pairs]
    return (
        f"{subject} initial weights and {verb} at {place(comparison, where)}, in {layers}"
        f"{_distance(firsts, f'the distance of {printable(tensors[0], 80)} is then')}"
        f"{_distance(pairs, f'that of all weights at {place(comparison, end)} is')}."
    )


def _distance(bounds: Sequence[Divergence | TensorDivergence], subject: str) -> str:
    """Return the bounds that contain the distances of all pairs; empty unless all of them are known."""
    low = [one.at_least for one in bounds if one.at_least is not None]
    high = [one.at_most for one in bounds if one.at_most is not None]
    if not len(low) == len(high) == len(bounds):
        return ""
    return f"; {subject} between {number(min(low))} and {number(max(high))} of ‖W₀‖"
