"""What the stored elements themselves say: unreadable, not finite, the same as before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise

from analyzer.auditing.contents import Contents
from analyzer.model.names import listed, printable
from analyzer.model.run import Finding, Run
from analyzer.tensors.kinds import kind
from analyzer.tensors.loading import is_readable

Digests = Mapping[str, Mapping[str, str]]  # checkpoint -> tensor -> hash of its elements
MATRICES = frozenset({"matrix", "stack"})
PARAMETERS = MATRICES | {"vector", "scalar"}
LONGER_THAN_CHANCE = 2  # intervals without change, after which a tensor is called frozen rather than unlucky


def look_at(run: Run, contents: Contents) -> Iterator[Finding]:
    """Everything that only reading the whole of a run can tell."""
    digests = {name: {tensor: one.digest for tensor, one in held.items()} for name, held in contents.tensors.items()}
    yield from _unreadable(contents)
    yield from _nonfinite(run, contents)
    yield from same_weights(run, digests)
    yield from _frozen(run, digests)


def _unreadable(contents: Contents) -> Iterator[Finding]:
    for checkpoint, tensors, reason in contents.unreadable:
        yield Finding(
            "unreadable_tensor",
            "serious",
            f"{listed(tensors)} cannot be read: {printable(reason)}",
            tensor=tensors[0] if len(tensors) == 1 else None,
            checkpoints=(checkpoint,),
            evidence={"tensors": list(tensors), "reason": reason},
        )


def _nonfinite(run: Run, contents: Contents) -> Iterator[Finding]:
    """NaN or Inf, said once for as long as the same tensors hold some."""
    digests = {name: {tensor: one.digest for tensor, one in held.items()} for name, held in contents.tensors.items()}
    infinite = {name for held in contents.tensors.values() for name, one in held.items() if one.nonfinite}
    with_nan = {name for held in contents.tensors.values() for name, one in held.items() if one.nan}
    masks = always_the_same(run, digests, sorted(infinite - with_nan))
    if masks:
        yield constant_infinities(run, masks)
    bad = [
        (
            one.name,
            {
                name: it.nonfinite
                for name, it in contents.tensors[one.name].items()
                if it.nonfinite and name not in masks
            },
        )
        for one in run.checkpoints
    ]
    for tensors, group in groupby(bad, key=lambda item: tuple(item[1])):
        if not tensors:
            continue
        names, counts = zip(*group, strict=True)
        first, last, count = printable(names[0]), printable(names[-1]), sum(counts[0].values())
        span = f"in {first}" if first == last else f"from {first} to {last}"
        held = (contents.tensors[name][tensor] for name in names for tensor in tensors)
        factors = list(dict.fromkeys(factor for one in held for factor in one.bad_factors))
        origin = f", for so are elements of {listed(factors)}" if factors else ""
        yield Finding(
            "nonfinite_weights",
            "serious",
            f"{listed(tensors)}: {count} element{' is' if count == 1 else 's are'} NaN or infinite {span}{origin}.",
            tensor=tensors[0] if len(tensors) == 1 else None,
            checkpoints=names,
            evidence={"elements": counts[0]},
        )


def always_the_same(run: Run, digests: Digests, names: Iterable[str]) -> list[str]:
    """Those of the tensors that every one of several checkpoints holds, bit by bit."""
    held = {name: {digests.get(one.name, {}).get(name) for one in run.checkpoints} for name in names}
    return [name for name, known in held.items() if len(run.checkpoints) > 1 and len(known) == 1 and None not in known]


def constant_infinities(run: Run, tensors: Sequence[str]) -> Finding:
    """What is to be said of infinite elements that no training made: they were there before it, and never changed."""
    return Finding(
        "constant_infinities",
        "notice",
        f"{listed(tensors)}: infinite elements, the same in every checkpoint, as in a mask of attention. They are no "
        "defect, and what would be computed with them is left out.",
        tensor=tensors[0] if len(tensors) == 1 else None,
        checkpoints=(run.checkpoints[0].name, run.checkpoints[-1].name),
        evidence={"tensors": list(tensors)},
    )


def same_weights(run: Run, digests: Digests) -> Iterator[Finding]:
    """Checkpoints that hold the very same weights, said once for all of them: neighbours, or under other names."""
    alike: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for position, one in enumerate(run.checkpoints):
        held = tuple(sorted(digests.get(one.name, {}).items()))
        if held and len(held) == sum(map(is_readable, one.tensors.values())):
            alike.setdefault(held, []).append(position)
    for positions in alike.values():
        if len(positions) == 1:
            continue
        first, *others = (run.checkpoints[position].name for position in positions)
        neighbours = positions == list(range(positions[0], positions[-1] + 1))
        if len(others) == 1:
            hold, it, reason = "holds", "it", "it was saved twice, or one was copied over the other"
        else:
            hold, it, reason = "hold", "them", "it was saved again and again, or one was copied over the others"
        before = f", the checkpoint before {it}" if neighbours else ""
        yield Finding(
            "same_weights",
            "serious",
            f"{listed(others)} {hold} exactly the weights of {listed([first])}{before}: {reason}.",
            checkpoints=(first, *others),
            evidence={"neighbours": neighbours},
        )


def _frozen(run: Run, digests: Digests) -> Iterator[Finding]:
    """Parameters whose elements stay exactly the same while others move, said once for each interval."""
    still: dict[tuple[int, int], list[str]] = {}
    steps = [
        {name for name, digest in digests[b.name].items() if digests[a.name].get(name) == digest}
        for a, b in pairwise(run.checkpoints)
    ]
    whole = [len(step) == len(digests[b.name]) for step, b in zip(steps, run.checkpoints[1:], strict=True)]
    parameters = dict.fromkeys(
        name for one in run.checkpoints for name, info in one.tensors.items() if kind(info) in PARAMETERS
    )
    matrices = {name for one in run.checkpoints for name, info in one.tensors.items() if kind(info) in MATRICES}
    for name in parameters:
        for unchanged, group in groupby(range(len(steps)), key=lambda step: name in steps[step]):
            interval = list(group)
            if unchanged and not all(whole[step] for step in interval):  # what stood still as a whole is said already
                still.setdefault((interval[0], interval[-1] + 1), []).append(name)
    last = len(run.checkpoints) - 1
    for (first, end), names in sorted(still.items()):
        throughout = (first, end) == (0, last)
        # A bias before a normalisation has no gradient: vectors alone that stand still are nothing to worry about.
        matters = any(name in matrices for name in names) and (throughout or end - first >= LONGER_THAN_CHANCE)
        a, b = run.checkpoints[first].name, run.checkpoints[end].name
        count = f"{len(names)} of {len(parameters)} parameters" if len(names) > 1 else "a parameter"
        when = "in the whole run" if throughout else f"from {printable(a)} to {printable(b)}"
        question = " Frozen on purpose, or left out of the optimizer?" if matters else ""
        yield Finding(
            "frozen_tensors",
            "warning" if matters else "notice",
            f"{listed(names)}: {count} did not change by a single bit {when}.{question}",
            tensor=names[0] if len(names) == 1 else None,
            checkpoints=(a, b),
            evidence={"tensors": names, "parameters": len(parameters)},
        )
