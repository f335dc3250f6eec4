"""Sentences about what happened to the weights, each with its evidence.

A rule is a pure function of one run's tables, registered by decoration; its docstring tells why its threshold is what
it is. Every module of this package is imported here, so adding a rule is writing a function. A rule says one thing
about all layers that it holds for, and rests on numbers with the status ``ok`` alone unless it is about the others.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from itertools import chain

from analyzer.findings.events import EVENTS, beside
from analyzer.findings.faults import not_measured
from analyzer.findings.registry import SEVERITIES, registered, registered_for_files
from analyzer.model.run import Finding, Tables

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def find_in_files(tables: Tables) -> list[Finding]:
    """Return what the files of a run say by themselves, the most serious first.

    The findings that opening the run produced (rejected files, duplicates, unfinished runs) are among them.
    """
    found = (rule(tables) for rule in registered_for_files().values())
    return by_severity([*tables.source.findings, *not_measured(tables.problems), *chain.from_iterable(found)])


def find(tables: Tables) -> list[Finding]:
    """Return everything that the files and the measurements of a run say, the most serious first."""
    rules = registered()
    events: list[Finding] = []
    for name in EVENTS:
        events += beside(events, name, rules[name], tables)
    others = [beside(events, name, rule, tables) for name, rule in rules.items() if name not in EVENTS]
    return by_severity([*find_in_files(tables), *events, *chain.from_iterable(others)])


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings sorted by severity, the most serious first; otherwise in the order given."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


__all__ = ["SEVERITIES", "by_severity", "find", "find_in_files"]
