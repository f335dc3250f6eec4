"""Choose the correlations that the page of a report shows."""

from __future__ import annotations

from typing import Any

from analyzer.model.score_names import accuracies, losses
from analyzer.model.tables import Correlation, Tables, is_tested

RELATED_METRICS = (("step_distance", "Step distance"), ("condition_number", "Condition number"))
MOST_RELATED = 10


def relations(tables: Tables) -> list[dict[str, Any]]:
    """Return the correlations of the mean and of the strongest layers with the score that matters most.

    The rows of a table are (raw curves, Pearson and Spearman without the trend).
    """
    score = next(iter([*accuracies(tables.scalars), *losses(tables.scalars)]), None)
    found = []
    for metric, title in RELATED_METRICS:
        of_tensor: dict[tuple[str, str], dict[tuple[bool, str], Correlation]] = {}
        for one in tables.correlations.get(metric, ()):
            if (one.scalar, one.lag) == (score, 0) and one.scope in ("mean", "tensor"):
                # The rows of a pair are in this order: raw, differences, without trend.
                of_tensor.setdefault((one.scope, one.tensor), {}).setdefault((is_tested(one), one.method), one)
        rows = [
            (its[False, "pearson"], its[True, "pearson"], its[True, "spearman"])
            for its in of_tensor.values()
            if its.keys() >= {(False, "pearson"), (True, "pearson"), (True, "spearman")}
        ]
        layers = sorted((row for row in rows if row[0].scope == "tensor"), key=_strength, reverse=True)
        means = [row for row in rows if row[0].scope == "mean"]
        if score and any(one.coefficient is not None for row in rows for one in row):
            shown = [*means, *layers[:MOST_RELATED]]
            found.append({"title": title, "score": score, "rows": shown, "layers": len(layers)})
    return found


def _strength(row: tuple[Correlation, Correlation, Correlation]) -> tuple[float, float]:
    """Return a sort key: by the coefficient without trend, and where there is none, by the raw one."""
    as_it_is, tested, _ = row
    return abs(tested.coefficient or 0.0), abs(as_it_is.coefficient or 0.0)
