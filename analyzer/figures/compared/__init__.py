"""Figures of several runs together, in reading order: pure functions of a comparison."""

from __future__ import annotations

from analyzer.figures.compared.accuracy_along_path import accuracy_along_path
from analyzer.figures.compared.compared_motion import compared_motion
from analyzer.figures.compared.compared_scores import compared_scores
from analyzer.figures.compared.compared_shape import compared_shape
from analyzer.figures.compared.final_values import final_values
from analyzer.figures.compared.registry import ComparedFigure

COMPARED: tuple[ComparedFigure, ...] = (
    final_values,
    compared_scores,
    compared_motion,
    compared_shape,
    accuracy_along_path,
)

__all__ = ["COMPARED", "ComparedFigure"]
