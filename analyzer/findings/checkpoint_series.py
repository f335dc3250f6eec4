"""Rules about the series of checkpoints, from headers, names and scores alone: gaps, order, changed tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise

from analyzer.findings.histories import NO_ELEMENTS, is_constant
from analyzer.findings.rules import Draft, file_rule
from analyzer.findings.wording import agree, plural
from analyzer.model.names import listed
from analyzer.model.run import Checkpoint, Severity
from analyzer.model.tables import Tables

MOST_CHANGES = 5  # of shape or dtype, in one sentence
WHOLE = 1e-3  # how far from a whole number of usual spacings a gap may be; logs round epochs


@file_rule("step_distance")
def missing_checkpoint(tables: Tables) -> Iterator[Draft]:
    """Places where the usual distance between neighbors is exceeded: in whole epochs, else in steps or fractions.

    Places of files that were refused are left out: their own finding says that they are missing.

    Source: the most common spacing, if more than half of all are as long: a spacing that is uneven throughout (powers
    of two, say) is a schedule and not a gap.
    """
    checkpoints = tables.source.checkpoints
    whole = all(one.epoch is not None and float(one.epoch).is_integer() for one in checkpoints)
    for unit in ("epoch", "step") if whole else ("step", "epoch"):
        places = [getattr(checkpoint, unit) for checkpoint in checkpoints]
        if len(places) < 3 or any(place is None for place in places):
            continue
        # Rounded, for fractional epochs: 0.3 - 0.2 and 0.2 - 0.1 differ in the last bit.
        spacings = [round(b - a, 6) for a, b in pairwise(places)]
        usual = min(Counter(spacings).most_common(), key=lambda item: (-item[1], item[0]))[0]
        if usual <= 0 or Counter(spacings)[usual] * 2 <= len(spacings):
            continue
        for (a, b), spacing in zip(pairwise(checkpoints), spacings, strict=True):
            skipped = round(spacing / usual) - 1
            missing = skipped - _refused_between(tables, unit, getattr(a, unit), usual, skipped)
            if missing > 0 and abs(spacing / usual - skipped - 1) < WHOLE:
                yield Draft(
                    "warning",
                    f"{plural(missing, 'checkpoint')} {agree(missing, 'is', 'are')} missing between {unit}s "
                    f"{getattr(a, unit):g} and {getattr(b, unit):g}; what is measured there covers "
                    f"{unit}s {getattr(a, unit):g} → {getattr(b, unit):g}.",
                    checkpoints=(a.name, b.name),
                    evidence={"unit": unit, "usual_spacing": usual, "spacing": spacing},
                )
        return


def _refused_between(tables: Tables, unit: str, start: float, usual: float, skipped: int) -> int:
    """Count the refused files at the ``skipped`` places that follow ``start`` at the usual spacing."""
    refused = {one.evidence.get(unit) for one in tables.source.findings if one.rule == "refused_file"}
    places = {float(place) for place in refused if isinstance(place, (int, float))}
    offsets = {(place - start) / usual for place in places}
    return sum(0 < round(one) <= skipped and abs(one - round(one)) < WHOLE for one in offsets)


@file_rule()
def wrong_order(tables: Tables) -> Iterator[Draft]:
    """Epochs that decrease while steps increase.

    Source: no training counts epochs backwards.
    """
    for a, b in pairwise(tables.source.checkpoints):
        if a.epoch is not None and b.epoch is not None and b.epoch < a.epoch:
            yield Draft(
                "serious",
                f"By {tables.source.ordered_by}, {listed([b.name])} comes after {listed([a.name])}, but its epoch "
                f"{b.epoch:g} is before {a.epoch:g}. Two runs may be mixed in this folder.",
                checkpoints=(a.name, b.name),
            )


@file_rule()
def tensors_changed(tables: Tables) -> Iterator[Draft]:
    """Tensors that appear, disappear, or change shape or dtype from one checkpoint to the next.

    One that equals another tensor wherever both are stored is a tied duplicate that some savers leave out.

    Source: comparison of the headers, and of the hashes for duplicates; no threshold. gemma_pytorch#8 has an `lm_head`
    in the files of one saver only.
    """
    duplicates = _tied_duplicates(tables)
    reported = _reported_as_tied(tables)
    if unreported := {name: twin for name, twin in duplicates.items() if name not in reported}:
        names = list(unreported)
        verb, those = agree(len(names), "is", "are"), agree(len(names), "it equals", "they equal")
        duplicate = agree(len(names), "as a tied duplicate", "as tied duplicates")
        yield Draft(
            "info",
            f"{listed(names)} {verb} not stored in every checkpoint, {duplicate}: where stored, {those} "
            f"{listed(list(dict.fromkeys(unreported.values())))}, which all checkpoints have.",
            names,
            evidence={"same_as": dict(unreported)},
        )
    for a, b in pairwise(tables.source.checkpoints):
        if a.tensors is b.tensors:
            continue
        gone = [name for name in a.tensors if name not in b.tensors and name not in duplicates]
        new = [name for name in b.tensors if name not in a.tensors and name not in duplicates]
        for names, verb in ((gone, "lacks"), (new, "adds")):
            if names:
                yield Draft(
                    "warning", f"{listed([b.name])} {verb} {listed(names)}.", names, checkpoints=(a.name, b.name)
                )
        for field in ("shape", "dtype"):
            changed: dict[tuple[object, object], list[str]] = {}
            for name, info in b.tensors.items():
                if name in a.tensors and (was := getattr(a.tensors[name], field)) != (now := getattr(info, field)):
                    changed.setdefault((was, now), []).append(name)
            if changed:
                names = [name for alike in changed.values() for name in alike]
                yield Draft("warning", f"{_changes(field, a, b, changed)}.", names, checkpoints=(a.name, b.name))


def _tied_duplicates(tables: Tables) -> dict[str, str]:
    """Return the tensors that some checkpoints lack and that equal one that all have wherever they are stored."""
    checkpoints = tables.source.checkpoints
    common = set.intersection(*(set(one.tensors) for one in checkpoints)) if checkpoints else set()
    twins: dict[str, set[str]] = {}
    for position, checkpoint in enumerate(checkpoints):
        partial = [name for name in checkpoint.tensors if name not in common]
        same = _by_content(tables, position, common) if partial else {}
        for name in partial:
            found = {twin for key in _contents(tables, position, name) for twin in same.get(key, ())}
            twins[name] = found & twins.get(name, found)
    return {name: min(found) for name, found in twins.items() if found}


def _by_content(tables: Tables, position: int, names: Collection[str]) -> dict[object, list[str]]:
    found: dict[object, list[str]] = {}
    for name in names:
        for key in _contents(tables, position, name):
            found.setdefault(key, []).append(name)
    return found


def _contents(tables: Tables, position: int, name: str) -> Iterator[object]:
    """Yield what identifies the content of a tensor: its bytes' places, and their hash if it says anything."""
    checkpoint = tables.source.checkpoints[position]
    info = checkpoint.tensors[name]
    if info.parts and info.parts[0].length:
        yield info.parts, info.shape, info.dtype
    digest = tables.elements.get(checkpoint.name, {}).get(name, NO_ELEMENTS).digest
    if digest and not is_constant(tables, name, position):
        yield digest, info.shape, info.dtype


def _reported_as_tied(tables: Tables) -> set[str]:
    """Return the tensors that the finding made on opening the run reports as one tensor under several names."""
    groups = (one.evidence.get("tensors") for one in tables.source.findings if one.rule == "tied_weights")
    return {name for group in groups if isinstance(group, list) for names in group for name in names}


def _changes(field: str, a: Checkpoint, b: Checkpoint, changed: Mapping[tuple[object, object], Sequence[str]]) -> str:
    """Describe how a field of some tensors changed, those with the same change together."""
    (first, alike), *others = list(changed.items())[:MOST_CHANGES]
    parts = [f"{listed(alike)}: {field} {first[0]} in {listed([a.name])} becomes {first[1]} in {listed([b.name])}"]
    parts.extend(f"{listed(names)}: {was} becomes {now}" for (was, now), names in others)
    more = sum(map(len, list(changed.values())[MOST_CHANGES:]))
    return "; ".join([*parts, *([f"and the {field} of {plural(more, 'more tensor')}"] if more else [])])


@file_rule()
def unsupported_tensors(tables: Tables) -> Iterator[Draft]:
    """Tensors that are listed and not measured, with the reason that the format gave.

    Source: docs/formats.md.
    """
    reasons: dict[str, dict[str, None]] = {}  # names as a set in order
    for checkpoint in tables.source.checkpoints:
        for name, info in checkpoint.tensors.items():
            if info.unsupported:
                reasons.setdefault(info.unsupported, {})[name] = None
    for reason, names in ((reason, list(known)) for reason, known in reasons.items()):
        yield Draft("warning", f"{listed(names)}: not measured, {reason}.", evidence={"tensors": names})


@file_rule()
def unscaled_float8(tables: Tables) -> Iterator[Draft]:
    """Weights in float8, which are stored with scales of their own that are not applied.

    Source: docs/formats.md, on float8.
    """
    found = {info.dtype for one in tables.source.checkpoints for info in one.tensors.values()}
    if dtypes := sorted(dtype for dtype in found if "float8" in dtype):
        yield Draft(
            "warning",
            f"Some tensors are stored as {', '.join(dtypes)}: such weights usually come with scale tensors, which are "
            "not applied. Ratios such as the condition number are valid only within one scale.",
        )


@file_rule()
def single_checkpoint(tables: Tables) -> Iterator[Draft]:
    """A run of one checkpoint, in which nothing can have moved.

    Source: a distance needs two checkpoints.
    """
    if len(tables.source.checkpoints) == 1:
        (only,) = tables.source.checkpoints
        yield Draft(
            "notice",
            f"{listed([only.name])} is the only checkpoint, so there is no motion to measure.",
            checkpoints=(only.name,),
        )


@file_rule()
def no_scores(tables: Tables) -> Iterator[Draft]:
    """No checkpoint has a score, and no other finding says so; with the tables in the folder that were not read.

    Source: every relation to accuracy or loss needs scores.
    """
    run = tables.source
    if any(one.scores for one in run.checkpoints) or any(one.rule.startswith("scores_") for one in run.findings):
        return
    searched = f" or in {listed(run.score_files, 3)} in their folder" if run.score_files else ""
    has_places = any(one.epoch is not None or one.step is not None for one in run.checkpoints)
    remedy = f" {_which(run.unread_tables)} with --scalars when you measure or report." if has_places else ""
    yield Draft(
        "notice",
        f"No scores were found in the checkpoints{searched}, so nothing is related to accuracy or loss.{remedy}",
        evidence={"tables": list(run.unread_tables)},
    )


def _which(unread: Sequence[str]) -> str:
    if unread:
        which = agree(len(unread), "was not read: if it", "were not read: if one of them")
        return f"{listed(unread)} in the folder {which} contains scores, name it"
    return "Name a file of scores"


@file_rule()
def unplaced_copy(tables: Tables) -> Iterator[Draft]:
    """Checkpoints without a place in the run that are copies of one that has a place, as ``best`` often is.

    Source: exact comparison of the hashes of all tensors.
    """
    for name, twin in (tables.twins or {}).items():
        if twin is not None:
            yield Draft(
                "notice",
                f"{listed([name])} has no place in the run and is left out. It contains exactly the weights of "
                f"{listed([twin])}, so nothing is lost.",
                checkpoints=(name, twin),
            )


@file_rule()
def unplaced_file(tables: Tables) -> Iterator[Draft]:
    """Checkpoints without a place in the run that are not known to be copies.

    Source: a checkpoint is never placed by guessing.
    """
    twins = tables.twins or {}
    severity: Severity = "notice" if tables.twins is None else "warning"
    remedy = "Put its epoch or step into its name, as the others have it, to include it; an average has no place."
    if tables.twins is None:
        remedy = "weightlapse audit finds out whether it is a copy of one of them."
    for name in (one.name for one in tables.source.unplaced):
        if twins.get(name) is None:
            yield Draft(
                severity,
                f"{listed([name])} is not named like the others, and its content states no epoch or step that would "
                f"place it among them, so it is left out. {remedy}",
                checkpoints=(name,),
            )
