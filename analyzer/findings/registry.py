"""The register of rules, checked when a rule is declared, so that a mistake names its author's function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

from analyzer.model.run import Finding, Tables

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

    Its docstring says what it looks at and why the threshold is what it is, in a paragraph that begins with
    "Source:" (a paper and its section) or "Measured here:" (what was seen on which runs).

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
        raise ValueError(f"{where}: a rule of this name exists already; rename the function")
    if list(inspect.signature(function).parameters) != ["tables"]:
        raise ValueError(f"{where}: must take exactly one argument, tables")
    if not any(word in (function.__doc__ or "") for word in GROUNDS):
        raise ValueError(f"{where}: its docstring must give its grounds, beginning with {' or '.join(GROUNDS)}")
