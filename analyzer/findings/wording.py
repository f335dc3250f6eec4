"""How numbers, places and layers become words, and words a finding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from analyzer.model.names import listed
from analyzer.model.run import Finding, Severity, Tables

MOST_NAMED = 3  # layers named in a sentence; the evidence names all of them


def place(tables: Tables, position: int) -> str:
    """``epoch 7``, ``step 700``, ``epoch 6.383 (step 300)``, or the checkpoint's name where neither orders the run."""
    if tables.axis_label not in ("epoch", "step"):
        return listed([tables.checkpoints[position].name])
    value, step = float(tables.axis[position]), tables.checkpoints[position].step
    exactly = "" if value.is_integer() or step is None else f" (step {step})"
    return f"{tables.axis_label} {_short(value)}{exactly}"


def span(tables: Tables, first: int, last: int) -> str:
    """``epoch 12 to 50``, to follow "from"; names where neither epochs nor steps order the run."""
    if tables.axis_label in ("epoch", "step"):
        return f"{tables.axis_label} {_short(float(tables.axis[first]))} to {_short(float(tables.axis[last]))}"
    return f"{place(tables, first)} to {place(tables, last)}"


def _short(value: float) -> str:
    """Whole epochs and steps as they are, others with four significant digits at most: 0.851, 6.383."""
    if value.is_integer() or value >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}" if value < 1 else f"{value:.4g}"


def unit(tables: Tables) -> str:
    """What rates are per."""
    return tables.axis_label if tables.axis_label in ("epoch", "step") else "checkpoint"


def layers(names: Sequence[str], of: int | None = None) -> str:
    """``fc1.weight``, ``all 8 tensors``, or a few names and how many more; ``of`` is how many there are."""
    if of is not None and len(names) == of > 1:
        return f"all {of} tensors"
    return listed(names, most=MOST_NAMED)


def number(value: float) -> str:
    """Three significant digits, thousands written out: 0.00412, 16.6, 1230."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def percent(share: float) -> str:
    """A share as per cent with two significant digits: 0.0031 %, 84 %."""
    return f"{100 * share:.0f} %" if abs(share) >= 0.1 else f"{100 * share:.2g} %"


def times(ratio: float) -> str:
    """``twice``-like factors without false digits: 2.5 times, 200 times."""
    return f"{ratio:.1f} times" if ratio < 10 else f"{float(f'{ratio:.2g}'):.10g} times"


def plural(count: int, word: str) -> str:
    """``1 step``, ``3 steps``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def finding(
    tables: Tables,
    rule: str,
    severity: Severity,
    sentence: str,
    *,
    figure: str | None,
    tensors: Sequence[str] = (),
    places: Iterable[int] = (),
    evidence: Mapping[str, object] | None = None,
) -> Finding:
    """A finding about some tensors at some positions; its evidence names all of the tensors."""
    return Finding(
        rule,
        severity,
        sentence,
        tensor=tensors[0] if len(tensors) == 1 else None,
        checkpoints=tuple(tables.checkpoints[int(position)].name for position in places),
        evidence={**({"tensors": list(tensors)} if tensors else {}), **(evidence or {})},
        figure=figure,
    )
