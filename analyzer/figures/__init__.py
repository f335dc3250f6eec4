"""One file per figure: a pure function of :class:`analyzer.model.run.Tables`, registered by decoration.

A figure returns None where the run has nothing for it to show. matplotlib is imported inside the package's
modules only, never by ``import analyzer``. Every module of this package is imported here, so adding a figure
is adding a file.
"""

from __future__ import annotations

import importlib
import pkgutil

from analyzer.figures.registry import FigureSpec, figure, registered
from analyzer.figures.rendering import render

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

FIGURES: tuple[FigureSpec, ...] = registered()

__all__ = ["FIGURES", "FigureSpec", "figure", "render"]
