"""Series of folders, one per checkpoint, whatever holds the weights in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzer.layouts.weights import held_by
from analyzer.names import listed
from analyzer.run import Checkpoint, Finding


def several_weights(checkpoints: Sequence[Checkpoint]) -> Iterator[Finding]:
    """Says it where a folder holds weights more than once: the first in the order of preference is read."""
    several: dict[tuple[str, ...], list[str]] = {}
    for checkpoint in checkpoints:
        held = tuple(held_by(checkpoint.path))
        if len(held) > 1:
            several.setdefault(held, []).append(checkpoint.name)
    for (first, *others), names in several.items():
        sentence = f"{listed(names)}: hold {first} and {', '.join(others)}; {first} is read."
        yield Finding("several_weights", "notice", sentence, checkpoints=tuple(names))
