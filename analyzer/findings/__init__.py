"""Rules that report what happened to the weights, in sentences with their evidence.

A rule is a pure function of one run's tables, registered by a decorator; its docstring justifies its threshold. This
package imports all of its modules, so adding a rule means writing a function. A rule makes one finding for all layers
that it applies to, and rests only on numbers with the status ``ok`` unless it is about the others.
"""

from __future__ import annotations

import importlib
import pkgutil
from itertools import chain

from analyzer.findings.broken_layers import not_measured
from analyzer.findings.events import EVENTS, by_severity, unexplained, without_what_nan_spoils
from analyzer.findings.rules import FILE_RULES, RULES, SEVERITIES
from analyzer.model.run import Finding
from analyzer.model.tables import Tables

# Findings of equal severity are listed in the order in which their rules were declared (what happened to the run
# before the rest: `events.HAPPENED`), so it is fixed here and does not depend on file names. Modules that are not named
# follow.
ORDER = (
    *("checkpoint_series", "stored_elements", "copies", "partial_copies", "adapters", "broken_layers", "overfitting"),
    *("scores_lost", "learning", "order_of_weights", "compression", "quantization", "steps", "step_changes", "norms"),
    *("initialization", "depth", "spectra", "peers"),
)
for _name in dict.fromkeys((*ORDER, *(_module.name for _module in pkgutil.iter_modules(__path__)))):
    importlib.import_module(f"{__name__}.{_name}")


def find_in_files(tables: Tables) -> list[Finding]:
    """Return what the files of a run say by themselves, the most serious first.

    The findings that opening the run produced (rejected files, duplicates, unfinished runs) are among them.
    """
    return by_severity(without_what_nan_spoils(tables, _of_files(tables)))


def _of_files(tables: Tables) -> list[Finding]:
    found = (rule(tables) for rule in FILE_RULES.values())
    return [*tables.source.findings, *not_measured(tables.problems), *chain.from_iterable(found)]


def find(tables: Tables) -> list[Finding]:
    """Return everything that the files and the measurements of a run say, the most serious first."""
    events: list[Finding] = []
    for name in EVENTS:
        events += unexplained(events, name, RULES[name], tables)
    others = [unexplained(events, name, rule, tables) for name, rule in RULES.items() if name not in EVENTS]
    every = [*by_severity(_of_files(tables)), *events, *chain.from_iterable(others)]
    return by_severity(without_what_nan_spoils(tables, every))


__all__ = ["SEVERITIES", "by_severity", "find", "find_in_files"]
