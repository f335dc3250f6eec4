"""Report scores that were logged as NaN or infinite: which ones, how often, and since when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite, isnan

from analyzer.model.names import listed
from analyzer.model.run import Finding

MOST_PHRASES = 5


def nonfinite_scores(path: str, unit: str, table: Mapping[tuple[str, float], Mapping[str, float]]) -> Iterator[Finding]:
    """Yield one finding about all scores of a file with non-finite values; a warning if one never recovers.

    Args:
        path: the file.
        unit: the unit of its rows, step or epoch.
        table: scores by (unit, n).
    """
    logged: dict[str, list[tuple[float, float]]] = {}
    for (_, position), scores in sorted(table.items()):
        for name, value in scores.items():
            logged.setdefault(name, []).append((position, value))
    bad = {name: values for name, values in logged.items() if not all(isfinite(value) for _, value in values)}
    if not bad:
        return
    described: dict[str, list[str]] = {}
    for name, values in bad.items():
        described.setdefault(_description(unit, values), []).append(name)
    phrases = [f"{listed(names)}: {what}" for what, names in list(described.items())[:MOST_PHRASES]]
    more = f"; and {len(described) - MOST_PHRASES} more" if len(described) > MOST_PHRASES else ""
    yield Finding(
        "scores_not_finite",
        "warning" if any(map(_never_recovers, bad.values())) else "notice",
        f"{path}: {'; '.join(phrases)}{more}. These values are left out.",
        evidence={"unit": unit, "scores": {name: _counts(values) for name, values in bad.items()}},
        figure="accuracy",
    )


def _description(unit: str, values: Sequence[tuple[float, float]]) -> str:
    kinds = {"NaN" if isnan(value) else "infinite" for _, value in values if not isfinite(value)}
    count, total, first = _counts(values).values()
    lasts = _never_recovers(values)
    place = f"from {unit} {first:g} on" if lasts else f"first at {unit} {first:g}, finite again later"
    return f"{' or '.join(sorted(kinds))} {place} ({count} of {total} values)"


def _counts(values: Sequence[tuple[float, float]]) -> dict[str, float]:
    places = [position for position, value in values if not isfinite(value)]
    return {"not_finite": len(places), "values": len(values), "first": places[0]}


def _never_recovers(values: Sequence[tuple[float, float]]) -> bool:
    """Check whether no finite value follows the first non-finite one; some writers put NaN where nothing was measured.

    Args:
        values: (position, value), in order; at least one value is not finite.
    """
    finite = [isfinite(value) for _, value in values]
    return not any(finite[finite.index(False) :])
