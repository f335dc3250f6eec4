"""Format an audit as text for people and as JSON for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from analyzer.auditing import Audit
from analyzer.model.describing import finding_record
from analyzer.model.names import printable
from analyzer.model.run import NEED_ATTENTION, Checkpoint, Finding, Run
from analyzer.model.score_names import leading
from analyzer.model.sizes import size_text
from analyzer.tensors.kinds import is_readable, size_of, stored_parts

SCHEMA_VERSION = 2
ROWS_SHOWN = 12
FINDINGS_SHOWN = 12
MOST_SCORES = 3
LONGEST_HEADING = 40  # characters of a score's name
DTYPES_SHOWN = 2
PLACES = ("epoch", "step", "tokens")
HEADER_BYTES = 1000  # of names, shapes and alignment in a file, and for each tensor in it
HASH_SHOWN = 10  # hexadecimal digits

# What to do about a serious defect; the verdict names each once.
REMEDIES = {
    "refused_file": "copy or convert the rejected files again, or move them away",
    "refused_run": "look at the folders that could not be used",
    "contradicting_files": "move the files that do not belong to this run out of the folder",
    "ambiguous_name": "rename the tensors of equal name",
    "wrong_order": "separate the runs that are mixed here",
    "unreadable_tensor": "copy the unreadable files again",
    "nonfinite_weights": "use only checkpoints without NaN and Inf",
    "same_weights": "copy the checkpoint that was overwritten again from its origin, or remove the duplicate",
    "weights_stand_still": "find out why the saved weights never change, such as a learning rate of 0",
    "zero_update": "train the adapter again with its parameters in the optimizer",
    "part_of_another_checkpoint": "get the checkpoint that has part of another one again from its origin",
}


def as_json_object(audits: Sequence[Audit], refused: Sequence[Finding] = ()) -> dict[str, Any]:
    """Return audits as a JSON object.

    Args:
        audits: one for each run.
        refused: a finding for each folder that could not be used.

    Returns:
        ``schema_version`` (2) and ``runs``, each with ``run``, ``path``, ``layout``, ``ordered_by``; ``verdict``
        (``serious`` and ``warnings``: how many of those not accepted, ``accepted``: how many are, ``sentence``);
        ``checkpoints`` in order, each with ``checkpoint``, ``path``, ``epoch``, ``step``, ``tokens`` (null where
        unknown), ``scores``, ``tensors`` and ``bytes`` (how many), ``dtypes`` (bytes by stored dtype) and ``hash``
        (blake3 over the tensors' names and elements, null where not all were read); ``findings``, the most serious
        first, each with ``rule``, ``severity`` (serious, warning, notice, info),
        ``sentence``, ``tensor``, ``checkpoints``, ``evidence`` and ``accepted`` (whether the user accepted it).
        ``refused``: such findings about folders that could not be used, which belong to no run.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "runs": [_run_object(one) for one in audits],
        "refused": [finding_record(finding) for finding in refused],
    }


def _run_object(audit: Audit) -> dict[str, Any]:
    run = audit.run
    return {
        "run": run.name,
        "path": run.path,
        "layout": run.layout,
        "ordered_by": run.ordered_by,
        "verdict": {
            **_counts(audit.counted),
            "accepted": len(audit.accepted),
            "sentence": _verdict(audit),
        },
        "checkpoints": [
            {
                "checkpoint": checkpoint.name,
                "path": checkpoint.path,
                "epoch": checkpoint.epoch,
                "step": checkpoint.step,
                "tokens": checkpoint.tokens,
                "scores": dict(checkpoint.scores),
                "tensors": len(checkpoint.tensors),
                "bytes": sum(stamp.size for stamp in checkpoint.files),
                "dtypes": _dtypes(checkpoint),
                "hash": audit.digest(checkpoint),
            }
            for checkpoint in run.checkpoints
        ],
        "findings": [
            {**finding_record(finding), "accepted": position in audit.accepted}
            for position, finding in enumerate(audit.findings)
        ],
    }


def _dtypes(checkpoint: Checkpoint) -> dict[str, int]:
    """Return the bytes by stored dtype, the most first."""
    sizes: Counter[str] = Counter()
    for info in checkpoint.tensors.values():
        for stored in (info.product.left, info.product.right) if info.product else (info,):
            sizes[stored.dtype] += size_of(stored)
    return dict(sizes.most_common())


def as_text(audits: Sequence[Audit], refused: Sequence[Finding] = ()) -> str:
    """Return one screen of text for each run: its checkpoints (without the middle of a long series) and a verdict.

    Folders that could not be used (``refused``) have a block of their own at the end.
    """
    return "\n\n".join([*map(_run_text, audits), *([_refused_text(refused)] if refused else [])])


def _refused_text(refused: Sequence[Finding]) -> str:
    heading = f"Rejected: {len(refused)} run{'s' if len(refused) != 1 else ''} that cannot be used"
    return "\n".join([heading, "", *_sentences(refused), _verdict_on_defects(refused)])


def _sentences(findings: Sequence[Finding]) -> list[str]:
    shown = [f"{finding.severity.upper()}: {printable(finding.sentence)}" for finding in findings[:FINDINGS_SHOWN]]
    more = len(findings) - len(shown)
    return [*shown, *([f"… and {more} more, no more serious than these (--json lists all)"] if more else [])]


def _run_text(audit: Audit) -> str:
    run = audit.run
    count = f"{len(run.checkpoints)} checkpoint{'s' if len(run.checkpoints) != 1 else ''}"
    lines = [
        f"{printable(run.name)}: {count}, read as {run.layout}, ordered by {printable(run.ordered_by)}",
        "",
        *_table(audit),
        "",
        *_sentences(audit.counted),
        *(
            f"ACCEPTED ({audit.findings[position].severity}): {printable(audit.findings[position].sentence)}"
            for position in sorted(audit.accepted)
        ),
        *_scope(audit),
        _verdict(audit),
    ]
    return "\n".join(lines)


def _table(audit: Audit) -> list[str]:
    checkpoints = audit.run.checkpoints
    scores = leading(dict.fromkeys(name for one in checkpoints for name in one.scores))[:MOST_SCORES]
    places = [unit for unit in PLACES if any(getattr(one, unit) is not None for one in checkpoints)]
    header = [
        "checkpoint",
        *places,
        *(printable(name, LONGEST_HEADING) for name in scores),
        "tensors",
        "dtype",
        "MB",
        *(["hash"] if audit.contents else []),
    ]
    left_out, half = len(checkpoints) - ROWS_SHOWN, ROWS_SHOWN // 2
    shown = (*checkpoints[:half], *checkpoints[-half:]) if left_out > 0 else checkpoints
    rows = [header, *(_row(audit, one, places, scores) for one in shown)]
    if left_out > 0:
        rows.insert(1 + half, [f"… {left_out} more …", *[""] * (len(header) - 1)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [_aligned(row, widths) for row in rows]


def _row(audit: Audit, checkpoint: Checkpoint, places: Sequence[str], scores: Sequence[str]) -> list[str]:
    dtypes = list(_dtypes(checkpoint))
    further = f", {len(dtypes) - DTYPES_SHOWN} more" if len(dtypes) > DTYPES_SHOWN else ""
    located = (getattr(checkpoint, unit) for unit in places)
    digest = audit.digest(checkpoint)
    return [
        printable(checkpoint.name, 40),
        *("" if place is None else str(place) if isinstance(place, int) else f"{place:g}" for place in located),
        *(f"{checkpoint.scores[name]:.4f}" if name in checkpoint.scores else "" for name in scores),
        str(len(checkpoint.tensors)),
        ", ".join(dtypes[:DTYPES_SHOWN]) + further,
        f"{sum(stamp.size for stamp in checkpoint.files) / 1e6:.3g}",
        *([digest[:HASH_SHOWN] if digest else ""] if audit.contents else []),
    ]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """Align the first cell to the left, the others to the right."""
    return "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()


def _counts(findings: Sequence[Finding]) -> dict[str, int]:
    counts = Counter(finding.severity for finding in findings)
    return {"serious": counts["serious"], "warnings": counts["warning"]}


def _verdict_on_defects(findings: Sequence[Finding], accepted: str = "") -> str:
    serious = [finding for finding in findings if finding.severity == "serious"]
    rules = dict.fromkeys(finding.rule for finding in serious)
    remedies = [REMEDIES[rule] for rule in rules if rule in REMEDIES]
    todo = f" What to do: {'; '.join(remedies)}." if remedies else ""
    return f"Verdict: not sound, {len(serious)} serious defect{'s' if len(serious) > 1 else ''}.{todo}{accepted}"


def _scope(audit: Audit) -> list[str]:
    """Say what the verdict is not about, unless it says that the files are not even sound."""
    if len(audit.run.checkpoints) == 1 or _counts(audit.counted)["serious"]:
        return []
    return ["Not checked here: whether the weights follow each other in this order. weightlapse report compares them."]


def _verdict(audit: Audit) -> str:
    """Return one sentence that a person can act on: about the files, since an audit does not compare weights."""
    serious, warnings = _counts(audit.counted).values()
    count = len(audit.accepted)
    accepted = f" {count} accepted finding{'s do' if count > 1 else ' does'} not count." if count else ""
    if serious:
        return _verdict_on_defects(audit.counted, accepted)
    if warnings:
        to_keep = f"{warnings} warning{'s' if warnings > 1 else ''} to keep in mind"
        return f"Verdict: the files are usable, with {to_keep}.{accepted}"
    if any(audit.findings[position].severity in NEED_ATTENTION for position in audit.accepted):
        return f"Verdict: the files are sound, apart from {count} accepted finding{'s' if count > 1 else ''}."
    only = len(audit.run.checkpoints) == 1
    series = ". One checkpoint; nothing to compare." if only else " and the series is complete."
    if audit.contents is None:
        return f"Verdict: the files' headers are sound{series}{accepted}"
    masks = any(finding.rule == "constant_infinities" for finding in audit.findings)
    finite = "every number but for those of constant masks is finite" if masks else "every number is finite"
    what, rest = _read(audit.run)
    return f"Verdict: the files are sound. {what} were read: {finite}{series}{rest}{accepted}"


def _read(run: Run) -> tuple[str, str]:
    """Describe the weights with their stored size, and that their files contain more where they do."""
    parts = {
        (part.path, part.offset, part.length)  # tied tensors share one
        for checkpoint in run.checkpoints
        for info in checkpoint.tensors.values()
        if is_readable(info)
        for part in stored_parts(info)
    }
    files = {stamp.path: stamp.size for checkpoint in run.checkpoints for stamp in checkpoint.files}
    weights, held = sum(length for *_, length in parts), sum(files.values())
    if held - weights <= HEADER_BYTES * (len(parts) + len(files)):
        return f"All weights ({size_text(weights)})", ""
    rest = " Whatever else the files contain, such as the state of an optimizer, was not checked."
    return f"All weights ({size_text(weights)} of {size_text(held)})", rest
