"""The registry of rules, and the drafts of findings that they yield.

A rule is validated when it is declared, so that an error names the function at fault.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, wraps

from analyzer.model.run import Finding, Severity
from analyzer.model.tables import Tables

SEVERITIES = ("serious", "warning", "notice", "info")
GROUNDS = ("Source:", "Measured here:")


@dataclass(frozen=True, slots=True)
class Draft:
    """A finding as a rule yields it; the rule's decorator adds its name and its figure.

    The evidence names all ``tensors``. The checkpoints are given by name, or by their positions in the run; unless they
    are single ones (``apart``), they stand for all from the first to the last. ``figure`` replaces that of the rule.
    """

    severity: Severity
    sentence: str
    tensors: Sequence[str] = ()
    places: Iterable[int] = ()
    checkpoints: tuple[str, ...] = ()
    evidence: Mapping[str, object] = field(default_factory=dict)
    apart: bool = False
    figure: str | None = None


Rule = Callable[[Tables], Iterator[Finding]]
Drafting = Callable[[Tables], Iterator[Draft]]

# By name, in the order of their declaration.
FILE_RULES: dict[str, Rule] = {}
RULES: dict[str, Rule] = {}


def rule(figure: str | None = None) -> Callable[[Drafting], Rule]:
    """Register a pure function of one run's tables as a rule about measurements; its findings have its name.

    The docstring says what the rule looks at and justifies its threshold, in a paragraph that begins with "Source:" (a
    paper and its section) or "Measured here:" (an observation and the runs it was made on).

    Args:
        figure: the name of the figure that shows what the rule reports.

    Raises:
        ValueError: the name is taken, the signature differs, or the docstring gives no grounds.
    """
    return partial(_register, RULES, figure)


def file_rule(figure: str | None = None) -> Callable[[Drafting], Rule]:
    """Register a rule about files in the same way: it needs no measurement, so the audit applies it, too.

    Raises:
        ValueError: as for :func:`rule`.
    """
    return partial(_register, FILE_RULES, figure)


def _register(rules: dict[str, Rule], figure: str | None, function: Drafting) -> Rule:
    name = function.__name__
    where = f"rule {function.__module__}.{name}"
    if name in RULES or name in FILE_RULES:
        raise ValueError(f"{where}: a rule of this name already exists; rename the function")
    if list(inspect.signature(function).parameters) != ["tables"]:
        raise ValueError(f"{where}: must take exactly one argument, named tables")
    # python -OO takes the docstrings away.
    if sys.flags.optimize < 2 and not any(word in (function.__doc__ or "") for word in GROUNDS):
        raise ValueError(f"{where}: justify the threshold in its docstring, after {' or '.join(GROUNDS)}")

    @wraps(function)
    def findings(tables: Tables) -> Iterator[Finding]:
        for draft in function(tables):
            yield Finding(
                name,
                draft.severity,
                draft.sentence,
                tensor=draft.tensors[0] if len(draft.tensors) == 1 else None,
                checkpoints=(*draft.checkpoints, *(tables.checkpoints[int(place)].name for place in draft.places)),
                evidence={**({"tensors": list(draft.tensors)} if draft.tensors else {}), **draft.evidence},
                figure=draft.figure or figure,
                apart=draft.apart,
            )

    rules[name] = findings
    return findings
