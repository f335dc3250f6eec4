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

from analyzer.findings.broken_layers import Problem, not_measured
from analyzer.findings.events import EVENTS, beside
from analyzer.findings.rules import SEVERITIES, registered
from analyzer.model.run import Finding, Tables

# Rules of equal severity are listed in the order in which they are declared, so it must not depend on file names.
ORDER = ("broken_layers", "compression", "overfitting", "learning", "stored_elements", "steps", "norms", "spectra")
for _name in dict.fromkeys((*ORDER, *(_module.name for _module in pkgutil.iter_modules(__path__)))):
    importlib.import_module(f"{__name__}.{_name}")


def find(tables: Tables, problems: Sequence[Problem]) -> list[Finding]:
    """What the measurements say, the most serious first.

    Args:
        tables: one run.
        problems: (checkpoint, tensor, metric, reason) of whatever could not be measured.
    """
    rules = registered()
    events: list[Finding] = []
    for name in EVENTS:
        events += beside(events, name, rules[name], tables)
    told = [beside(events, name, rule, tables) for name, rule in rules.items() if name not in EVENTS]
    return by_severity([*not_measured(problems), *events, *chain.from_iterable(told)])


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """The most serious first; otherwise in the order given."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


__all__ = ["SEVERITIES", "by_severity", "find"]
