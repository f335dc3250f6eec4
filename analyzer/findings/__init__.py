"""Rules that report what happened to the weights, in sentences with their evidence.

A rule is a pure function of one run's tables, registered by a decorator; its docstring justifies its threshold. This
package imports all of its modules, so adding a rule means writing a function. A rule makes one finding for all layers
that it applies to, and rests only on numbers with the status ``ok`` unless it is about the others.
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

# Findings of equal severity are listed in the order in which their rules were declared, so it is fixed here and does
# not depend on file names. Modules that are not named follow.
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
    """Sort findings by severity, most serious first; equals keep their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


__all__ = ["SEVERITIES", "by_severity", "find"]
