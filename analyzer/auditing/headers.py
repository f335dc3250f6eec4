"""What headers and names alone say of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from analyzer.model.names import listed
from analyzer.model.run import Checkpoint, Finding, Run

MOST_CHANGES = 5  # of shape or dtype, in one sentence
WHOLE = 1e-3  # how far from a whole number of usual spacings a gap may be; logs round epochs


def look_at(run: Run) -> Iterator[Finding]:
    """Everything that can be told without reading an element."""
    yield from _gaps(run)
    yield from _disorder(run)
    yield from _changed_tensors(run)
    yield from _unmeasured(run)
    yield from _too_few(run)


def _too_few(run: Run) -> Iterator[Finding]:
    if len(run.checkpoints) == 1:
        yield Finding(
            "single_checkpoint",
            "notice",
            f"{listed([run.checkpoints[0].name])} is the only checkpoint, so there is no motion to measure.",
            checkpoints=(run.checkpoints[0].name,),
        )


def _gaps(run: Run) -> Iterator[Finding]:
    """Places where the usual distance between neighbours is exceeded: in whole epochs, else in steps or fractions."""
    whole = all(checkpoint.epoch is not None and float(checkpoint.epoch).is_integer() for checkpoint in run.checkpoints)
    for unit in ("epoch", "step") if whole else ("step", "epoch"):
        places = [getattr(checkpoint, unit) for checkpoint in run.checkpoints]
        if len(places) < 3 or any(place is None for place in places):
            continue
        # Rounded, for fractional epochs: 0.3 - 0.2 and 0.2 - 0.1 differ in the last bit.
        spacings = [round(b - a, 6) for a, b in pairwise(places)]
        usual = min(Counter(spacings).most_common(), key=lambda item: (-item[1], item[0]))[0]
        # Spacing that is uneven throughout (say, powers of two) is a schedule, not a gap.
        if usual <= 0 or Counter(spacings)[usual] * 2 <= len(spacings):
            continue
        for (a, b), spacing in zip(pairwise(run.checkpoints), spacings, strict=True):
            missing = round(spacing / usual) - 1
            if missing > 0 and abs(spacing / usual - missing - 1) < WHOLE:
                yield Finding(
                    "missing_checkpoint",
                    "warning",
                    f"{missing} checkpoint{'s are' if missing > 1 else ' is'} missing between {unit} "
                    f"{getattr(a, unit):g} and {unit} {getattr(b, unit):g}; what is measured there spans "
                    f"{unit}s {getattr(a, unit):g} → {getattr(b, unit):g}.",
                    checkpoints=(a.name, b.name),
                    evidence={"unit": unit, "usual_spacing": usual, "spacing": spacing},
                    figure="step_distance",
                )
        return


def _disorder(run: Run) -> Iterator[Finding]:
    """Epochs that run against steps."""
    for a, b in pairwise(run.checkpoints):
        if a.epoch is not None and b.epoch is not None and b.epoch < a.epoch:
            yield Finding(
                "wrong_order",
                "serious",
                f"By {run.ordered_by}, {listed([b.name])} comes after {listed([a.name])}, but its epoch {b.epoch:g} is "
                f"before {a.epoch:g}. Two runs may be mixed in this folder.",
                checkpoints=(a.name, b.name),
            )


def _changed_tensors(run: Run) -> Iterator[Finding]:
    """Tensors that come, go, or change shape or dtype from one checkpoint to the next."""
    for a, b in pairwise(run.checkpoints):
        gone = [name for name in a.tensors if name not in b.tensors]
        come = [name for name in b.tensors if name not in a.tensors]
        for names, verb in ((gone, "has no"), (come, "newly has")):
            if names:
                yield _event("tensors_changed", a, b, f"{listed([b.name])} {verb} {listed(names)}", names)
        for field in ("shape", "dtype"):
            changed: dict[tuple[object, object], list[str]] = {}
            for name, info in b.tensors.items():
                if name in a.tensors and (was := getattr(a.tensors[name], field)) != (now := getattr(info, field)):
                    changed.setdefault((was, now), []).append(name)
            if changed:
                names = [name for alike in changed.values() for name in alike]
                yield _event("tensors_changed", a, b, _changes(field, a, b, changed), names)


def _changes(field: str, a: Checkpoint, b: Checkpoint, changed: Mapping[tuple[object, object], Sequence[str]]) -> str:
    """What became of a field of some tensors, those with the same change together."""
    (first, alike), *others = list(changed.items())[:MOST_CHANGES]
    said = [f"{listed(alike)}: {field} {first[0]} in {listed([a.name])} becomes {first[1]} in {listed([b.name])}"]
    said.extend(f"{listed(names)}: {was} becomes {now}" for (was, now), names in others)
    more = sum(map(len, list(changed.values())[MOST_CHANGES:]))
    return "; ".join([*said, *([f"and the {field} of {more} more tensor{'s' if more > 1 else ''}"] if more else [])])


def _event(rule: str, a: Checkpoint, b: Checkpoint, sentence: str, names: list[str]) -> Finding:
    return Finding(
        rule,
        "warning",
        sentence + ".",
        tensor=names[0] if len(names) == 1 else None,
        checkpoints=(a.name, b.name),
        evidence={"tensors": names},
    )


def _unmeasured(run: Run) -> Iterator[Finding]:
    reasons: dict[str, dict[str, None]] = {}  # names as a set in order
    for checkpoint in run.checkpoints:
        for name, info in checkpoint.tensors.items():
            if info.unsupported:
                reasons.setdefault(info.unsupported, {})[name] = None
    for reason, names in ((reason, list(known)) for reason, known in reasons.items()):
        yield Finding(
            "unsupported_tensors",
            "warning",
            f"{listed(names)}: not measured, {reason}.",
            evidence={"tensors": names},
        )
    fp8 = sorted({info.dtype for one in run.checkpoints for info in one.tensors.values() if "float8" in info.dtype})
    if fp8:
        yield Finding(
            "unscaled_float8",
            "warning",
            f"Some tensors are stored as {', '.join(fp8)}: such weights usually have scale tensors beside them, which "
            "are not applied. Ratios such as the condition number hold only within one scale.",
        )
