"""Sentences about what happened to the weights, each with its evidence.

A rule is a pure function of one run's tables, registered by decoration; its docstring tells why its threshold is what
it is. Every module of this package is imported here, so adding a rule is writing a function. A rule says one thing
about all layers that it holds for, and rests on numbers with the status ``ok`` alone unless it is about the others.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

from analyzer.findings.faults import Problem, not_measured
from analyzer.findings.registry import registered
from analyzer.run import Finding, Tables

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

SEVERITIES = ("serious", "warning", "notice", "info")


def find(tables: Tables, problems: Sequence[Problem]) -> list[Finding]:
    """What the measurements say, the most serious first.

    Args:
        tables: one run.
        problems: (checkpoint, tensor, metric, reason) of whatever could not be measured.
    """
    found = list(not_measured(problems))
    for rule in registered().values():
        found.extend(rule(tables))
    return by_severity(found)


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """The most serious first; otherwise in the order given."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


__all__ = ["SEVERITIES", "by_severity", "find"]
