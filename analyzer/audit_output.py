"""An audit as text for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analyzer.names import printable
from analyzer.run import Checkpoint, Finding, Run

SCHEMA_VERSION = 1
ROWS_SHOWN = 12
MOST_SCORES = 4
SCORES = ("train_accuracy", "test_accuracy", "eval_accuracy", "train_loss", "loss", "test_loss", "eval_loss")

Audited = Sequence[tuple[Run, Sequence[Finding]]]


def as_json_object(audited: Audited) -> dict[str, Any]:
    """``{"schema_version", "runs": [{"run", "path", "layout", "ordered_by", "checkpoints", "findings"}]}``."""
    return {
        "schema_version": SCHEMA_VERSION,
        "runs": [
            {
                "run": run.name,
                "path": run.path,
                "layout": run.layout,
                "ordered_by": run.ordered_by,
                "checkpoints": [_record(checkpoint) for checkpoint in run.checkpoints],
                "findings": [
                    {
                        "rule": finding.rule,
                        "severity": finding.severity,
                        "sentence": finding.sentence,
                        "tensor": finding.tensor,
                        "checkpoints": list(finding.checkpoints),
                        "evidence": dict(finding.evidence),
                    }
                    for finding in findings
                ],
            }
            for run, findings in audited
        ],
    }


def _record(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "checkpoint": checkpoint.name,
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "scores": dict(checkpoint.scores),
        "tensors": len(checkpoint.tensors),
        "bytes": sum(stamp.size for stamp in checkpoint.files),
    }


def as_text(audited: Audited) -> str:
    """One screen for each run: what it is, its checkpoints (the middle of a long series left out), and a verdict."""
    return "\n\n".join(_run_text(run, findings) for run, findings in audited)


def _run_text(run: Run, findings: Sequence[Finding]) -> str:
    lines = [
        f"{printable(run.name)}: {len(run.checkpoints)} checkpoints, read as {run.layout}, ordered by {run.ordered_by}",
        "",
        *_table(run),
        "",
        *(f"{finding.severity.upper()}: {printable(finding.sentence)}" for finding in findings),
        _verdict(findings),
    ]
    return "\n".join(lines)


def _table(run: Run) -> list[str]:
    scores = [name for name in SCORES if any(name in one.scores for one in run.checkpoints)][:MOST_SCORES]
    header = ["checkpoint", "epoch", "step", *scores, "tensors", "MB"]
    rows = [
        [
            printable(one.name, 40),
            "" if one.epoch is None else f"{one.epoch:g}",
            "" if one.step is None else str(one.step),
            *(f"{one.scores[name]:.4f}" if name in one.scores else "" for name in scores),
            str(len(one.tensors)),
            f"{sum(stamp.size for stamp in one.files) / 1e6:.1f}",
        ]
        for one in run.checkpoints
    ]
    if len(rows) > ROWS_SHOWN:
        left_out = len(rows) - ROWS_SHOWN
        dots = [f"… {left_out} more …", *[""] * (len(header) - 1)]
        rows = [*rows[: ROWS_SHOWN // 2], dots, *rows[-ROWS_SHOWN // 2 :]]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return [_aligned(row, widths) for row in [header, *rows]]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """The first cell to the left, the others to the right."""
    first, *others = (
        cell.rjust(width) if column else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def _verdict(findings: Sequence[Finding]) -> str:
    counts = {
        severity: sum(finding.severity == severity for finding in findings) for severity in ("serious", "warning")
    }
    if counts["serious"]:
        return f"Verdict: {counts['serious']} serious defect(s); see to them before trusting any number of this run."
    if counts["warning"]:
        return f"Verdict: usable, with {counts['warning']} warning(s) to keep in mind."
    return "Verdict: the headers are sound and the series is complete."
