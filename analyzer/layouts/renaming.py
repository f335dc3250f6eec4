"""Strip wrapper prefixes from tensor names so that they match between checkpoints; find tied weights.

Names are never guessed: tensors are matched by name alone, and every renaming is reported.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from analyzer.model.names import listed, printable
from analyzer.model.run import Checkpoint, Finding, TensorInfo

# DataParallel, torch.compile, FSDP and activation checkpointing wrap a module in another one, under such an attribute.
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


def without_wrappers(checkpoints: Sequence[Checkpoint], findings: list[Finding]) -> list[Checkpoint]:
    """Return the checkpoints with wrapper prefixes stripped from all names, and report it in one finding.

    If two names in one checkpoint would become equal, all names of the run stay unchanged, which is reported too.
    """
    renamed = {
        name: short
        for checkpoint in checkpoints
        for name in checkpoint.tensors
        if (short := _WRAPPERS.sub("", name)) != name
    }
    if not renamed:
        return list(checkpoints)
    for checkpoint in checkpoints:
        counts = Counter(renamed.get(name, name) for name in checkpoint.tensors)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            sentence = (
                f"Without wrapper prefixes (module., _orig_mod. and the like), two tensors of "
                f"{printable(checkpoint.name)} would be {listed(twice)}, so all names stay as stored."
            )
            findings.append(Finding("names_kept", "notice", sentence, checkpoints=(checkpoint.name,)))
            return list(checkpoints)
    example, short = next(iter(renamed.items()))
    sentence = (
        f"Wrapper prefixes were stripped from {len(renamed)} tensor names: "
        f"{printable(example, 120)} is listed as {printable(short, 120)}."
    )
    findings.append(Finding("names_unwrapped", "info", sentence, evidence={"tensors": len(renamed)}))
    return [replace(checkpoint, tensors=_renamed(checkpoint.tensors, renamed)) for checkpoint in checkpoints]


def _renamed(tensors: Mapping[str, TensorInfo], renamed: Mapping[str, str]) -> dict[str, TensorInfo]:
    return {
        (short := renamed.get(name, name)): info if short == name else replace(info, name=short)
        for name, info in tensors.items()
    }


def tied_weights(checkpoints: Sequence[Checkpoint]) -> Iterator[Finding]:
    """Report tensors that share their bytes with another one, also if not every checkpoint stores all their names."""
    groups: dict[tuple[str, ...], None] = {}  # an ordered set
    where: list[str] = []
    for checkpoint in checkpoints:
        sharing = dict.fromkeys(_sharing(checkpoint))
        groups |= sharing
        where += [checkpoint.name] * bool(sharing)
    if not groups:
        return
    described = [" = ".join(printable(name, 80) for name in names) for names in groups]
    sentence = (
        f"One tensor under several names, measured under each name and counted once per name in totals: "
        f"{'; '.join(described[:3])}{f' and {len(described) - 3} more' if len(described) > 3 else ''}."
    )
    absent = [name for names in groups for name in names if any(name not in one.tensors for one in checkpoints)]
    if absent:
        sentence += f" {listed(absent)}: not stored in every checkpoint, as a duplicate of another name."
    evidence = {"tensors": [list(names) for names in groups]}
    yield Finding("tied_weights", "info", sentence, checkpoints=tuple(where), evidence=evidence)


def _sharing(checkpoint: Checkpoint) -> Iterator[tuple[str, ...]]:
    """Yield groups of names whose tensors are the same bytes, read the same way."""
    by_bytes: dict[object, list[str]] = {}
    for name, info in checkpoint.tensors.items():
        if info.parts and 0 not in info.shape:
            by_bytes.setdefault((info.parts, info.shape, info.dtype), []).append(name)
    return (tuple(names) for names in by_bytes.values() if len(names) > 1)
