"""The register of rules: checked when a rule is declared, so that a mistake names its author's function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

from analyzer.model.run import Finding, Tables

Rule = Callable[[Tables], Iterator[Finding]]
SEVERITIES = ("serious", "warning", "notice", "info")
GROUNDS = ("Source:", "Measured here:")

_RULES: dict[str, Rule] = {}


def registered() -> dict[str, Rule]:
    """All rules by name, in the order of their declaration."""
    return dict(_RULES)


def rule(function: Rule) -> Rule:
    """Register a pure function of one run's tables as a rule; its findings carry its name.

    Its docstring tells what it looks at and why the threshold is what it is, in a paragraph that begins with
    "Source:" (a paper and its section) or "Measured here:" (what was seen on which runs).

    Raises:
        ValueError: a name that is taken, another signature, or a docstring that gives no grounds.
    """
    name = function.__name__
    where = f"rule {function.__module__}.{name}"
    if name in _RULES:
        raise ValueError(f"{where}: a rule of this name exists already; rename the function")
    if list(inspect.signature(function).parameters) != ["tables"]:
        raise ValueError(f"{where}: must take exactly one argument, tables")
    if not any(word in (function.__doc__ or "") for word in GROUNDS):
        raise ValueError(f"{where}: its docstring must give its grounds, beginning with {' or '.join(GROUNDS)}")
    _RULES[name] = function
    return function
