"""The figures of a comparison of several runs: pure functions of :class:`analyzer.model.comparison.Comparison`.

Every module of this package is imported here, so a new file is enough to add a figure.
"""

from __future__ import annotations

import importlib
import pkgutil

from analyzer.figures.catalog import COMPARISON, FigureSpec
from analyzer.model.comparison import Comparison

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

COMPARED: tuple[FigureSpec[Comparison], ...] = COMPARISON.figures

__all__ = ["COMPARED"]
