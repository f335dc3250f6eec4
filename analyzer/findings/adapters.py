"""Report adapters that change nothing: updates stored as a product, one factor of which is zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzer.findings.histories import NO_ELEMENTS, is_zero
from analyzer.findings.rules import Draft, file_rule
from analyzer.findings.wording import MOST_NAMED, agree
from analyzer.model.names import listed
from analyzer.model.run import PRODUCT
from analyzer.model.tables import Tables

ENDINGS = ("weight", "default")  # of a factor's name, after the part that tells which factor it is


@file_rule("step_distance")
def zero_update(tables: Tables) -> Iterator[Draft]:
    """Updates ΔW of an adapter that are zero in every checkpoint, or all of them in several: nothing was learned.

    Zero in the first checkpoint alone is normal.

    Source: PEFT initializes B with zeros (peft/tuners/lora/layer.py, `reset_lora_parameters`), so that ΔW is zero until
    it is trained; peft#793 and unsloth#2486 are adapters that never were.
    """
    zero = {name: places for name, places in _zero_places(tables).items() if places}
    every = {row.name for row in tables.tensors if row.rule == PRODUCT}
    always = [name for name, places in zero.items() if len(places) == _stored(tables, name)]
    if len(tables.checkpoints) < 2 or not zero:
        return
    if always:
        factors = _factors(tables, always)
        of_all = len(always) == len(every)
        which = "ΔW" if of_all else f"ΔW of {listed(always, MOST_NAMED)} ({len(always)} of {len(every)} modules)"
        meaning = (
            "the adapter changes nothing, nothing was learned" if of_all else "nothing was learned in these modules"
        )
        yield Draft(
            "serious" if of_all else "warning",
            f"{which} is zero in every checkpoint{_because(tables, always, factors)}: {meaning}. Check that the "
            "parameters of the adapter require gradients and are passed to the optimizer.",
            tensors=always,
            places=range(len(tables.checkpoints)),
            evidence={"zero_factors": factors},
        )
        return
    places = sorted(set.intersection(*map(set, zero.values()))) if len(zero) == len(every) else []
    if places not in ([], [0]):
        names = [tables.checkpoints[place].name for place in places]
        yield Draft(
            "warning",
            f"ΔW is zero in {listed(names)}: the adapter changes nothing there, because it was not trained yet or was "
            "reset.",
            tensors=list(zero),
            places=places,
            apart=True,
        )


def is_untrained(tables: Tables, tensors: Sequence[str], place: int) -> bool:
    """Check whether a checkpoint has nothing but updates that are zero, which are alike without being copies."""
    updates = {row.name for row in tables.tensors if row.rule == PRODUCT}
    return bool(tensors) and all(name in updates and is_zero(tables, name, place) for name in tensors)


def always_zero(tables: Tables) -> set[str]:
    """Return the updates that are zero in every checkpoint."""
    return {name for name, places in _zero_places(tables).items() if places and len(places) == _stored(tables, name)}


def _zero_places(tables: Tables) -> dict[str, list[int]]:
    """Return the positions at which each update is zero."""
    every = range(len(tables.checkpoints))
    names = [row.name for row in tables.tensors if row.rule == PRODUCT]
    return {name: [place for place in every if is_zero(tables, name, place)] for name in names}


def _stored(tables: Tables, name: str) -> int:
    """Return how many checkpoints have a tensor."""
    return sum(name in one.tensors for one in tables.source.checkpoints)


def _because(tables: Tables, names: Sequence[str], factors: Sequence[str]) -> str:
    """Return which factor is the reason, where that is known: " because lora_B is zero everywhere (lora_A is not)"."""
    if not factors:
        return ""
    stored: dict[str, None] = {}  # an ordered set
    for checkpoint in tables.source.checkpoints:
        products = (checkpoint.tensors[name].product for name in names if name in checkpoint.tensors)
        stored |= {factor.name: None for one in products if one for factor in (one.left, one.right)}
    zero = list(dict.fromkeys(map(_short, factors)))
    others = list(dict.fromkeys(_short(name) for name in stored if name not in factors))
    verb, other_verb = (agree(len(one), "is", "are") for one in (zero, others))
    contrast = f" ({listed(others, MOST_NAMED)} {other_verb} not)" if others and not set(others) & set(zero) else ""
    return f" because {listed(zero, MOST_NAMED)} {verb} zero everywhere{contrast}"


def _short(factor: str) -> str:
    """Return the part of a factor's name that tells which one it is: ``lora_B`` of ``h.0.attn.lora_B.weight``."""
    parts = [part for part in factor.split(".") if part not in ENDINGS]
    return parts[-1] if parts else factor


def _factors(tables: Tables, names: Sequence[str]) -> list[str]:
    """Return the stored names of the factors that are zero in every checkpoint, where they are known."""
    zero = []
    for name in names:
        held = [tables.elements.get(one.name, {}).get(name) for one in tables.checkpoints]
        known = [set((one or NO_ELEMENTS).zero_factors) for one in held if one is not None]
        zero += sorted(set.intersection(*known)) if known else []
    return zero
