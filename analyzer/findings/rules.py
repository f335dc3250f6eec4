"""The registry of rules; it validates a rule when the rule is declared, so an error names the function at fault."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

from analyzer.model.run import Finding, Tables

Rule = Callable[[Tables], Iterator[Finding]]
SEVERITIES = ("serious", "warning", "notice", "info")
GROUNDS = ("Source:", "Measured here:")

_RULES: dict[str, Rule] = {}


def registered() -> dict[str, Rule]:
    """Return all rules by name, in the order of their declaration."""
    return dict(_RULES)


def rule(function: Rule) -> Rule:
    """Register a pure function of one run's tables as a rule; its findings carry its name.

    The docstring says what the rule looks at and justifies its threshold, in a paragraph that begins with "Source:" (a
    paper and its section) or "Measured here:" (an observation and the runs it was made on).

    Raises:
        ValueError: if the name is taken, the signature differs, or the docstring does not justify the threshold.
    """
    name = function.__name__
    where = f"rule {function.__module__}.{name}"
    if name in _RULES:
        raise ValueError(f"{where}: a rule of this name already exists; rename the function")
    if list(inspect.signature(function).parameters) != ["tables"]:
        raise ValueError(f"{where}: must take exactly one argument, named tables")
    if not any(word in (function.__doc__ or "") for word in GROUNDS):
        raise ValueError(f"{where}: justify the threshold in its docstring, after {' or '.join(GROUNDS)}")
    _RULES[name] = function
    return function
