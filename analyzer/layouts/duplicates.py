"""Resolve checkpoints that claim the same place in a run: keep one if they are identical, drop all otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzer.errors import CheckpointError
from analyzer.layouts.stems import is_selected
from analyzer.model.run import Checkpoint, Finding, Part, TensorInfo
from analyzer.sources import open_source
from analyzer.tensors.kinds import stored_parts

BLOCK = 1 << 20


def without_duplicates(checkpoints: Sequence[Checkpoint], findings: list[Finding]) -> list[Checkpoint]:
    """Keep one of the checkpoints that claim the same place if weights and scores are identical; else drop them all.

    A best or last checkpoint that differs is dropped alone: its name says that it was selected among the others.
    Appends a finding for each place that is claimed more than once.
    """
    claims: dict[tuple[float | None, int | None], list[Checkpoint]] = {}
    # A checkpoint without an epoch may belong to any epoch that has its step.
    of_any_epoch = {one.step for one in checkpoints if one.epoch is None and one.step is not None}
    for checkpoint in checkpoints:
        known = checkpoint.epoch is not None or checkpoint.step is not None
        epoch = None if checkpoint.step in of_any_epoch else checkpoint.epoch
        place = (epoch, checkpoint.step) if known else (None, -1 - len(claims))
        claims.setdefault(place, []).append(checkpoint)
    kept = []
    for (epoch, step), group in claims.items():
        if len(group) == 1:
            kept.append(group[0])
            continue
        names = tuple(checkpoint.name for checkpoint in group)
        claimed = " and ".join(
            f"{word} {value:g}" for word, value in (("epoch", epoch), ("step", step)) if value is not None
        )
        if all(_same_state(group[0], other) for other in group[1:]):
            stand_in = min(group, key=_preference)
            kept.append(stand_in)
            sentence = f"{', '.join(names)} contain the same bytes for {claimed}; only {stand_in.name} is used."
            findings.append(Finding("duplicate_files", "notice", sentence, checkpoints=names))
        elif len(own := [one for one in group if not is_selected(one.name)]) == 1:
            kept.append(own[0])
            others = ", ".join(name for name in names if name != own[0].name)
            sentence = (
                f"{own[0].name} is used for {claimed}, which is also claimed by {others}, with other weights or "
                "scores; left out. A best or last checkpoint may contain averaged weights."
            )
            findings.append(Finding("contradicting_copy", "warning", sentence, checkpoints=names))
        else:
            sentence = (
                f"{', '.join(names)} all claim {claimed} but differ, so none of them is used. "
                "Move the ones that do not belong to this run out of the folder."
            )
            findings.append(Finding("contradicting_files", "serious", sentence, checkpoints=names))
    return kept


def _preference(checkpoint: Checkpoint) -> tuple[bool, bool]:
    """Return a sort key: a numbered name such as ``epoch_12`` comes before ``best``, ``last`` and ``final``."""
    return is_selected(checkpoint.name), not any(character.isdecimal() for character in checkpoint.name)


def _same_state(first: Checkpoint, second: Checkpoint) -> bool:
    """Check whether scores and tensors of two checkpoints agree byte by byte; other content of their files may differ.

    Checkpoints with unreadable bytes count as different.
    """
    if first.scores != second.scores or first.tensors.keys() != second.tensors.keys():
        return False
    pairs = [(info, second.tensors[name]) for name, info in first.tensors.items()]
    if not all(_described(a) == _described(b) for a, b in pairs):
        return False
    try:
        return all(
            _same_bytes(part, twin)
            for info, other in pairs
            for part, twin in zip(stored_parts(info), stored_parts(other), strict=True)
        )
    except CheckpointError:
        return False


def _described(info: TensorInfo) -> tuple[object, ...]:
    """Return everything that describes a tensor except the positions of its bytes."""
    ranges = [(part.length, part.start, part.shape, part.strides, part.inflated) for part in stored_parts(info)]
    scale = info.product.scale if info.product else None
    return info.dtype, info.shape, info.big_endian, info.unsupported, scale, ranges


def _same_bytes(first: Part, second: Part) -> bool:
    with open_source(first.path) as a, open_source(second.path) as b:
        return all(
            a.read(first.offset + at, length) == b.read(second.offset + at, length)
            for at, length in _blocks(first.length)
        )


def _blocks(total: int) -> Iterator[tuple[int, int]]:
    return ((at, min(BLOCK, total - at)) for at in range(0, total, BLOCK))
