"""Scores that were logged as NaN or infinite: which, how often, and from where on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite, isnan

from analyzer.model.names import listed
from analyzer.model.run import Finding

MOST_SAID = 5


def nonfinite_scores(path: str, unit: str, table: Mapping[tuple[str, float], Mapping[str, float]]) -> Iterator[Finding]:
    """One finding about all scores of a file that are not finite somewhere; a warning where one of them stays so.

    Args:
        path: the file.
        unit: what the places in it count, step or epoch.
        table: scores by (unit, n).
    """
    logged: dict[str, list[tuple[float, float]]] = {}
    for (_, position), scores in sorted(table.items()):
        for name, value in scores.items():
            logged.setdefault(name, []).append((position, value))
    bad = {name: values for name, values in logged.items() if not all(isfinite(value) for _, value in values)}
    if not bad:
        return
    said: dict[str, list[str]] = {}
    for name, values in bad.items():
        said.setdefault(_description(unit, values), []).append(name)
    phrases = [f"{listed(names)}: {what}" for what, names in list(said.items())[:MOST_SAID]]
    more = f"; and {len(said) - MOST_SAID} more" if len(said) > MOST_SAID else ""
    yield Finding(
        "scores_not_finite",
        "warning" if any(map(_stays, bad.values())) else "notice",
        f"{path}: {'; '.join(phrases)}{more}. These values are left out.",
        evidence={"unit": unit, "scores": {name: _counts(values) for name, values in bad.items()}},
    )


def _description(unit: str, values: Sequence[tuple[float, float]]) -> str:
    kinds = {"NaN" if isnan(value) else "infinite" for _, value in values if not isfinite(value)}
    count, total, first = _counts(values).values()
    place = f"from {unit} {first:g} on" if _stays(values) else f"first at {unit} {first:g}, but not throughout"
    return f"{' or '.join(sorted(kinds))} {place} ({count} of {total} values)"


def _counts(values: Sequence[tuple[float, float]]) -> dict[str, float]:
    places = [position for position, value in values if not isfinite(value)]
    return {"not_finite": len(places), "values": len(values), "first": places[0]}


def _stays(values: Sequence[tuple[float, float]]) -> bool:
    """Whether no finite value comes after the first that is none; a writer may put NaN where it measured nothing."""
    finite = [isfinite(value) for _, value in values]
    return not any(finite[finite.index(False) :])
