"""Format the numbers, names and positions in the sentences of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from analyzer.comparing.aligning import IN_ORDER
from analyzer.model.comparison import Comparison
from analyzer.model.describing import place_text
from analyzer.model.names import listed, printable
from analyzer.model.tables import TOKENS

MOST_LISTED = 4


def both(first: str, second: str) -> str:
    """Join the names of two groups or runs with "and"."""
    return f"{printable(first, 60)} and {printable(second, 60)}"


def first_few(texts: Sequence[str], separator: str) -> str:
    """Join the first :data:`MOST_LISTED` texts, with the count of the others."""
    more = f" and {len(texts) - MOST_LISTED} more" if len(texts) > MOST_LISTED else ""
    return f"{separator.join(texts[:MOST_LISTED])}{more}"


def number(value: float) -> str:
    """Format three significant digits, including trailing zeros; thousands are written out."""
    if value == 0 or 1000 <= abs(value) < 1e6:
        return f"{value:.0f}".replace("-", "−")
    return f"{value:#.3g}".rstrip(".").replace("-", "−")


def coefficient(value: float | None) -> str:
    """Format a correlation coefficient."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def probability(value: float | None) -> str:
    """Format two significant digits."""
    return "–" if value is None else f"{value:.2g}"


def place(comparison: Comparison, where: float) -> str:
    """Name a position on the common axis: ``epoch 50``, ``105 billion tokens``, ``checkpoint 7``."""
    if comparison.axis_label == IN_ORDER:
        return f"checkpoint {where + 1:.10g}"
    return place_text(comparison.axis_label, f"{where:.10g}")


def at_end(comparison: Comparison) -> str:
    """Name the position of the final values.

    For example ``at epoch 50``, or ``at each run’s last checkpoint (step 300 to step 1185)``.
    """
    first, last = (place(comparison, end(comparison.ends.values())) for end in (min, max))
    return f"at {first}" if first == last else f"at each run’s last checkpoint ({first} to {last})"


def continuing_runs(comparison: Comparison) -> list[str]:
    """Return the runs that continue beyond the position of their final values."""
    return [run for run, places in comparison.places.items() if places[-1] > comparison.ends[run]]


def different_ends(comparison: Comparison) -> str:
    """Return a sentence on where each run ends, and where they are compared, if that differs; else an empty text."""
    runs_at: dict[float, list[str]] = {}
    for run, places in comparison.places.items():
        runs_at.setdefault(float(places[-1]), []).append(run)
    if len(runs_at) == 1:
        return ""
    ordered = sorted(runs_at.items())
    ends = "; ".join(
        f"{listed(runs, MOST_LISTED)} at {place(comparison, where)}" for where, runs in ordered[:MOST_LISTED]
    )
    more = f"; {len(ordered) - MOST_LISTED} more up to {place(comparison, ordered[-1][0])}"
    sentence = f"The runs end at different places: {ends}{more if len(ordered) > MOST_LISTED else ''}."
    if not continuing_runs(comparison):
        return sentence
    unit = "number of tokens" if comparison.axis_label == TOKENS else comparison.axis_label
    return f"{sentence} They are compared {at_end(comparison)}, the last {unit} that all of them have."


def shared_tensors(comparison: Comparison) -> str:
    """State how many tensors all runs have in common, by name and shape; empty if all runs have the same tensors."""
    tensors = [frozenset((row.name, row.shape) for row in run.tables.tensors) for run in comparison.runs]
    if len(set(tensors)) == 1:
        return ""
    counts = sorted({len(one) for one in tensors})
    of = str(counts[0]) if len(counts) == 1 else f"{counts[0]} {'and' if len(tensors) == 2 else 'to'} {counts[-1]}"
    return f"The runs share {len(frozenset.intersection(*tensors))} of {of} tensors (by name and shape)"
