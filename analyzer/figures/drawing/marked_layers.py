"""Show in the lines and the key of a figure which layers have findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from analyzer.figures.drawing.finding_marks import Mark
from analyzer.figures.drawing.labels import short_labels, text_width
from analyzer.figures.drawing.style import LOOKS, Look

_BOLD, _FADED = 2.2, "#a6a6a6"  # the width of a line with a finding, the color of one without
_MOST_IN_COLOR = 6  # lines; of more, those without a finding are gray
_FEW, _MOST_LISTED = 5, 3  # tensors, findings


def numbers_of(marks: Iterable[Mark], tensor: str) -> list[int]:
    """Return the numbers of the findings about a tensor."""
    return sorted({mark.number for mark in marks if mark.is_about(tensor)})


def few_named(marks: Iterable[Mark]) -> frozenset[str]:
    """Return the tensors of findings about a few, which a figure of weight matrices also draws if they are vectors."""
    return frozenset(name for mark in marks if len(mark.tensors) <= _FEW for name in mark.tensors)


def key_names(names: Sequence[str], marks: Sequence[Mark], width: float) -> tuple[list[str], str]:
    """Return short names that also tell the findings about each tensor, and a note on what all names lack.

    Args:
        names: the tensors.
        marks: the findings.
        width: points for a name.
    """
    about = [numbers_of(marks, name) for name in names]
    suffixes = [f" (finding {_listed(numbers)})" if numbers else "" for numbers in about]
    suffixes = [
        suffix if text_width(suffix) < width / 2 else f" ({len(of)} findings)"
        for suffix, of in zip(suffixes, about, strict=True)
    ]
    labels, left_out = short_labels(names, width - max(map(text_width, suffixes), default=0.0))
    return [label + suffix for label, suffix in zip(labels, suffixes, strict=True)], left_out


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:_MOST_LISTED])) + (", …" if len(numbers) > _MOST_LISTED else "")


def emphasized(names: Sequence[str], marks: Sequence[Mark]) -> list[Look]:
    """Return a look for each layer: those with a finding are bold, and the others gray if there are many.

    Args:
        names: at most as many tensors as there are looks.
        marks: the findings.
    """
    is_marked = [bool(numbers_of(marks, name)) for name in names]
    looks = list(LOOKS[: len(names)])
    if not any(is_marked) or all(is_marked):
        return looks
    fades = len(names) > _MOST_IN_COLOR
    return [
        replace(look, width=_BOLD) if marked else replace(look, color=_FADED) if fades else look
        for look, marked in zip(looks, is_marked, strict=True)
    ]
