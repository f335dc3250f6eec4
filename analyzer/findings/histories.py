"""The stored elements of each tensor over a run: what the rules about copies, NaN and standstills compare."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from analyzer.model.tables import StoredElements, Tables, TensorRow, is_expert

NARROW = ("bfloat16", "float16", "float8")  # whose rounding may hide a tensor's steps altogether
NO_ELEMENTS = StoredElements()


@dataclass(frozen=True, slots=True)
class History:
    """The stored elements of one tensor at each checkpoint; ``places`` are positions in the run."""

    tensor: TensorRow
    places: tuple[int, ...]
    elements: tuple[StoredElements, ...]

    def bad_places(self) -> list[int]:
        """Return the positions at which elements are NaN or infinite."""
        return [place for place, one in zip(self.places, self.elements, strict=True) if one.has_nonfinite]


def histories(tables: Tables, kinds: Collection[str]) -> Iterator[History]:
    """Yield the history of every stored tensor of these kinds, in network order."""
    by_position = [tables.elements.get(row.name, {}) for row in tables.checkpoints]
    for row in tables.tensors:
        if row.kind in kinds and not is_expert(row):
            known = [(place, held[row.name]) for place, held in enumerate(by_position) if row.name in held]
            if known:
                yield History(row, *(tuple(column) for column in zip(*known, strict=True)))


def complete_digests(tables: Tables) -> list[Mapping[str, str]]:
    """Return the hashes of each checkpoint's tensors, empty where one that could be read is not known.

    Empty, too, where a tensor has NaN or none is finite: such a network stays as it is without being a copy, because
    its gradients are NaN as well. None at all for a run of which only some tensors were selected, because the others
    may differ.
    """
    found: list[Mapping[str, str]] = []
    for checkpoint in () if tables.source.is_partial else tables.source.checkpoints:
        held = tables.elements.get(checkpoint.name, {})
        readable = [name for name, info in checkpoint.tensors.items() if not info.unsupported and 0 not in info.shape]
        digests = {name: digest for name in readable if (digest := held.get(name, NO_ELEMENTS).digest)}
        is_lost = any(held[name].may_have_nan for name in digests) or all(held[name].has_nonfinite for name in digests)
        found.append(digests if len(digests) == len(readable) and not is_lost else {})
    return found


def lost_since(tables: Tables) -> int:
    """Return the position from which on every checkpoint has NaN somewhere, len(checkpoints) if the last has none."""
    first = len(tables.checkpoints)
    while first and any(one.may_have_nan for one in _held(tables, first - 1).values()):
        first -= 1
    return first


def _held(tables: Tables, place: int) -> Mapping[str, StoredElements]:
    return tables.elements.get(tables.checkpoints[place].name, {})


def is_constant(tables: Tables, tensor: str, place: int) -> bool:
    """Check whether all elements of a tensor are known to be equal at a checkpoint, such as zeros at the start."""
    held = _held(tables, place).get(tensor, NO_ELEMENTS)
    if held.is_constant is not None:
        return held.is_constant
    largest, mean = (_value(tables, tensor, metric, place) for metric in ("max_absolute", "mean_absolute"))
    return largest is not None and (largest == 0 or largest == mean)


def is_zero(tables: Tables, tensor: str, place: int) -> bool:
    """Check whether a tensor stored as a product is known to be zero throughout at a checkpoint."""
    held = _held(tables, place).get(tensor, NO_ELEMENTS)
    return bool(held.zero_factors) or _value(tables, tensor, "max_absolute", place) == 0


def _value(tables: Tables, tensor: str, metric: str, place: int) -> float | None:
    """Return what was measured of a tensor at a checkpoint, if it was."""
    curve = tables.curves.get(("tensor", tensor, metric))
    return float(curve.values[place]) if curve is not None and curve.statuses[place] == "ok" else None
