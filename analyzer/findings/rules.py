"""The registry of rules; a rule is validated when it is declared, so that an error names the function at fault."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

from analyzer.model.run import Finding
from analyzer.model.tables import Tables

Rule = Callable[[Tables], Iterator[Finding]]
SEVERITIES = ("serious", "warning", "notice", "info")
GROUNDS = ("Source:", "Measured here:")

_FILE_RULES: dict[str, Rule] = {}
_RULES: dict[str, Rule] = {}


def registered() -> dict[str, Rule]:
    """Return the rules about measurements by name, in the order of their declaration."""
    return dict(_RULES)


def registered_for_files() -> dict[str, Rule]:
    """Return the rules about files by name, in the order of their declaration."""
    return dict(_FILE_RULES)


def rule(function: Rule) -> Rule:
    """Register a pure function of one run's tables as a rule about measurements; its findings have its name.

    The docstring says what the rule looks at and justifies its threshold, in a paragraph that begins with "Source:" (a
    paper and its section) or "Measured here:" (an observation and the runs it was made on).

    Raises:
        ValueError: the name is taken, the signature differs, or the docstring gives no grounds.
    """
    _check(function)
    _RULES[function.__name__] = function
    return function


def file_rule(function: Rule) -> Rule:
    """Register a rule about files in the same way: it needs no measurement, so the audit applies it, too.

    Raises:
        ValueError: as for :func:`rule`.
    """
    _check(function)
    _FILE_RULES[function.__name__] = function
    return function


def _check(function: Rule) -> None:
    name = function.__name__
    where = f"rule {function.__module__}.{name}"
    if name in _RULES or name in _FILE_RULES:
        raise ValueError(f"{where}: a rule of this name already exists; rename the function")
    if list(inspect.signature(function).parameters) != ["tables"]:
        raise ValueError(f"{where}: must take exactly one argument, named tables")
    if not any(word in (function.__doc__ or "") for word in GROUNDS):
        raise ValueError(f"{where}: justify the threshold in its docstring, after {' or '.join(GROUNDS)}")
