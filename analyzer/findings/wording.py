"""Turn numbers, places and layers into words."""

from __future__ import annotations

from collections.abc import Sequence

from analyzer.model.describing import place_text
from analyzer.model.names import listed, printable
from analyzer.model.network import block_label
from analyzer.model.tables import TOKENS, UNITS, Tables

MOST_NAMED = 3  # layers named in a sentence; the evidence names all of them
MOST_PLACES = 6  # in a sentence
MINUS = "\N{MINUS SIGN}"


def place(tables: Tables, position: int) -> str:
    """Return ``epoch 7``, ``step 700``, ``epoch 6.383 (step 300)`` or ``105 billion tokens``.

    If nothing tells how much training came before the checkpoint, return its name.
    """
    if tables.axis_label not in UNITS:
        return listed([tables.checkpoints[position].name])
    value, step = float(tables.axis[position]), tables.checkpoints[position].step
    exactly = "" if value.is_integer() or step is None else f" (step {step})"
    return f"{place_text(tables.axis_label, _short(value))}{exactly}"


def with_name(tables: Tables, position: int) -> str:
    """Return a checkpoint to go to: ``epoch 5 (epoch_005.safetensors)``, or its name alone."""
    name, where = listed([tables.checkpoints[position].name]), place(tables, position)
    return name if name == where else f"{where} ({name})"


def places(tables: Tables, positions: Sequence[int], most: int = MOST_PLACES) -> str:
    """Return ``epoch 7``, ``epochs 16 and 23`` or ``steps 5, 8 and 2 more``; names if nothing else orders the run."""
    if len(positions) == 1:
        return place(tables, positions[0])
    if tables.axis_label not in UNITS:
        return listed([tables.checkpoints[position].name for position in positions], most)
    numbers = listed([_short(float(tables.axis[position])) for position in positions], most)
    return place_text(tables.axis_label if tables.axis_label == TOKENS else f"{tables.axis_label}s", numbers)


def span(tables: Tables, first: int, last: int) -> str:
    """Return ``epoch 12 to 50``, to follow "from"; checkpoint names if no unit of training orders the run."""
    if tables.axis_label in UNITS:
        both = f"{_short(float(tables.axis[first]))} to {_short(float(tables.axis[last]))}"
        return place_text(tables.axis_label, both)
    return f"{place(tables, first)} to {place(tables, last)}"


def _short(value: float) -> str:
    """Format whole epochs and steps in full, others with at most four significant digits: 0.851, 6.383."""
    if value.is_integer() or value >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}" if value < 1 else f"{value:.4g}"


def unit(tables: Tables) -> str:
    """Return the unit that rates are per: ``epoch``, ``step``, ``billion tokens`` or ``checkpoint``."""
    return tables.axis_label if tables.axis_label in UNITS else "checkpoint"


def layers(names: Sequence[str], of: int | None = None) -> str:
    """Return ``fc1.weight``, ``all 8 tensors``, or a few names and the number of the others.

    A layer of a known role in a block is also named as the figures label it: ``h.3.attn.wq.weight (block 3 q)``.

    Args:
        names: the tensors to name.
        of: how many tensors there are in all.
    """
    if of is not None and len(names) == of > 1:
        return f"all {of} tensors"
    return listed([*map(_labeled, names[:MOST_NAMED]), *names[MOST_NAMED:]], MOST_NAMED, limit=0)


def _labeled(name: str) -> str:
    label = block_label(name)
    return f"{printable(name, 80)} ({label})" if label else printable(name, 80)


def number(value: float) -> str:
    """Format a number with three significant digits, thousands in full: 0.00412, −16.6, 1230."""
    text = f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
    return MINUS + text[1:] if text.startswith("-") else text


def percent(share: float) -> str:
    """Format a share as a percentage with two significant digits: 0.0031 %, 84 %."""
    text = f"{100 * share:.0f} %" if abs(share) >= 0.1 else f"{100 * share:.2g} %"
    return text.replace("-", MINUS, 1) if share < 0 else text


def times(ratio: float) -> str:
    """Format a ratio with two significant digits: 2.5 times, 200 times."""
    return f"{ratio:.1f} times" if ratio < 10 else f"{float(f'{ratio:.2g}'):.10g} times"


def plural(count: int, word: str) -> str:
    """Return ``1 step``, ``3 steps``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def agree(count: int, one: str, several: str) -> str:
    """Return the form of a word that goes with a count: "is" with 1, "are" with others."""
    return one if count == 1 else several


def capitalized(text: str) -> str:
    """Return a text that begins a sentence with its first letter in upper case; all others stay."""
    return text[:1].upper() + text[1:]
