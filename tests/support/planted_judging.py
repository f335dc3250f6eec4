"""Judge what a report says of trainings in which something was planted: right rule, layer and place, or beside it."""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import torch
from commands import measured
from safetensors.torch import save_file

from analyzer.findings import find
from analyzer.model.run import Finding
from analyzer.report.reading import read_tables
from analyzer.store.store import open_store

LOUD = frozenset({"serious", "warning"})
VARIANTS = 10


@dataclass(frozen=True)
class Expectation:
    """What a right report says of one training.

    Attributes:
        rules: any of these rules is right; if there are none, a report without loud findings is right.
        tensors: the finding must name all of them, and one of them first; none if it is about no layer.
        epochs: the finding must name a checkpoint from the first to the last of these epochs; None for any.
        at: the finding must name the checkpoints of all of these epochs.
        spared: tensors that the finding must not name.
        beside: rules that may be loud as well, because they report true consequences.
    """

    rules: Collection[str]
    tensors: Collection[str] = ()
    epochs: tuple[int, int] | None = None
    at: Collection[int] = ()
    spared: Collection[str] = ()
    beside: Collection[str] = ()


@dataclass(frozen=True)
class Verdict:
    """Whether the right rule, layer and place were reported by one finding, and what is loud and beside the point."""

    rule: bool
    layer: bool
    place: bool
    wrong: Sequence[Finding]

    @property
    def is_right(self) -> bool:
        return self.rule and self.layer and self.place


Kind = Callable[[int, Path], Expectation]  # writes the variant with this seed into a folder


def judge(findings: Iterable[Finding], expected: Expectation) -> Verdict:
    """Return the verdict on the findings about one training; of several findings of a right rule the best counts."""
    findings = list(findings)
    tried = [(True, _names(one, expected), _is_there(one, expected)) for one in findings if one.rule in expected.rules]
    wrong = [
        one
        for one in findings
        if one.severity in LOUD and one.rule not in expected.rules and one.rule not in expected.beside
    ]
    if not expected.rules:
        tried = [(not wrong, not wrong, not wrong)]
    return Verdict(*max(tried, key=sum, default=(False, False, False)), wrong)


def _names(finding: Finding, expected: Expectation) -> bool:
    told = list(finding.evidence.get("tensors", []))
    if not expected.tensors:
        return True
    return bool(told) and told[0] in expected.tensors and {*expected.tensors} <= {*told} - {*expected.spared}


def _is_there(finding: Finding, expected: Expectation) -> bool:
    epochs = [epoch_in(name) for name in finding.checkpoints]
    first, last = expected.epochs or (0, inf)
    is_near = expected.epochs is None or any(first <= epoch <= last for epoch in epochs)
    return is_near and {*expected.at} <= {*epochs}


def epoch_in(name: str) -> int:
    """Return the epoch of ``epoch_012.safetensors``."""
    found = re.fullmatch(r"epoch_(\d+).*", name)
    assert found, name
    return int(found[1])


def write_training(folder: Path, states: Iterable[tuple[Mapping[str, torch.Tensor], Mapping[str, float]]]) -> None:
    """Write ``epoch_NNN.safetensors`` and ``metrics.csv`` of a training, state by state."""
    folder.mkdir(parents=True)
    rows = []
    for epoch, (state, scores) in enumerate(states):
        tensors = {name: values.detach().clone().contiguous() for name, values in state.items()}
        save_file(tensors, folder / f"epoch_{epoch:03d}.safetensors")
        rows.append({"epoch": epoch, **scores})
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def findings_about(folder: Path) -> list[Finding]:
    """Measure a training, where that has not been done yet, and return the findings."""
    store = folder.with_suffix(".sqlite")
    if not store.exists():
        measured(folder, store)
    with open_store(str(store)) as opened:
        return find(read_tables(opened, folder.name))


def main(kinds: Mapping[str, Kind], description: str | None) -> None:
    """Train ten variants of each kind, and print which were reported rightly, and every loud wrong finding."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path, help="where trainings and their stores are, or will be, written")
    parser.add_argument("--kinds", nargs="+", default=list(kinds), choices=list(kinds))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(VARIANTS)))
    parser.add_argument("--verbose", action="store_true", help="print all findings about trainings that were missed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for kind in arguments.kinds:
        verdicts = []
        for seed in arguments.seeds:
            folder = arguments.folder / f"{kind}_{seed}"
            torch.manual_seed(seed)
            expected = kinds[kind](seed, folder)
            findings = findings_about(folder)
            verdicts.append(judge(findings, expected))
            _explain(f"{kind} {seed}", verdicts[-1], findings if arguments.verbose else ())
        count, right = len(verdicts), sum(one.is_right for one in verdicts)
        rules, layers, places = (sum(getattr(one, of) for one in verdicts) for of in ("rule", "layer", "place"))
        wrong = sum(len(one.wrong) for one in verdicts)
        print(
            f"{kind:20} {right:2} of {count} (rule {rules}, layer {layers}, place {places}); {wrong} wrong", flush=True
        )


def _explain(name: str, verdict: Verdict, findings: Sequence[Finding]) -> None:
    if not verdict.is_right:
        print(f"   {name}: rule {verdict.rule}, layer {verdict.layer}, place {verdict.place}", file=sys.stderr)
        for one in findings:
            print(f"      {one.severity.upper():8} {one.rule}: {one.sentence}", file=sys.stderr)
    for one in verdict.wrong:
        print(f"   {name}: beside the point: {one.severity.upper()} {one.rule}: {one.sentence}", file=sys.stderr)
