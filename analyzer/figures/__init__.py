"""The figures of a report, and in :mod:`analyzer.figures.compared` those of a comparison of runs.

A figure is a pure function of :class:`.model.tables.Tables`. It has a file of its own or, if it only shows metrics
by layer, a declaration in ``by_layer.py``. It returns None if the run has nothing to show. Every module of this package
is imported here, so a new file is enough to add a figure. matplotlib is imported only in this package, and
``import analyzer`` does not load it.
"""

from __future__ import annotations

import importlib
import pkgutil

from analyzer.figures.catalog import REPORT, FigureSpec
from analyzer.figures.drawing.sheet import render, render_png
from analyzer.model.tables import Tables

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

FIGURES: tuple[FigureSpec[Tables], ...] = REPORT.figures

__all__ = ["FIGURES", "FigureSpec", "render", "render_png"]
