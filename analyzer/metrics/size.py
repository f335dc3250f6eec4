"""How large the elements of a tensor are, and how many of them are zero, NaN or infinite."""

from __future__ import annotations

from math import sqrt

from analyzer.metrics.registry import metric
from analyzer.model.observed import DeadLines, ElementSummary, FinitenessCount, InnerProducts

TEXTBOOK = "Golub & Van Loan, Matrix Computations, 4th ed., sec. 2.3"
COUNT = "a count of elements"


@metric(family="size", unit="weight units", definition="‖W_t‖_F", source=TEXTBOOK)
def frobenius_norm(weights: InnerProducts) -> float:
    """Return the root of the summed squares."""
    return sqrt(weights.current)


@metric(family="size", unit="weight units", definition="mean of |w|", source="arithmetic mean")
def mean_absolute(elements: ElementSummary) -> float:
    """Return the mean magnitude of an element."""
    return elements.absolute / elements.count


@metric(family="size", unit="weight units", definition="√(mean of w²)", source="root mean square")
def rms(elements: ElementSummary) -> float:
    """Return the root mean square of the elements."""
    return sqrt(elements.squares / elements.count)


@metric(family="size", unit="weight units", definition="max |w|", source="largest magnitude")
def max_absolute(elements: ElementSummary) -> float:
    """Return the largest magnitude of an element."""
    return elements.largest


@metric(family="size", unit="share of elements", definition="share of elements that are exactly 0", source=COUNT)
def zero_fraction(elements: ElementSummary) -> float:
    """Return the share of exact zeros, including negative zero."""
    return elements.zeros / elements.count


@metric(
    family="size",
    unit="share of elements",
    definition="share of elements with |w| < 10⁻³ · rms of their tensor, or 0; 1 for a zero tensor",
    source=COUNT,
    version=2,
)
def near_zero_fraction(elements: ElementSummary) -> float:
    """Return the share of elements that are negligible in their tensor; 1 for the zero tensor."""
    return elements.near_zeros / elements.count


@metric(family="size", unit="rows", definition="number of rows that are entirely 0", source="a count of rows")
def dead_row_count(dead_lines: DeadLines) -> float:
    """Return the number of outputs that are switched off."""
    return float(dead_lines.rows)


@metric(family="size", unit="columns", definition="number of columns that are entirely 0", source="a count of columns")
def dead_column_count(dead_lines: DeadLines) -> float:
    """Return the number of inputs that are ignored."""
    return float(dead_lines.columns)


@metric(
    family="size",
    unit="rows",
    definition="number of rows of an embedding or head (by its name) whose stored bits are those in W_0",
    source="Land & Bartolo, Fishing for Magikarp: automatically detecting under-trained tokens (EMNLP 2024)",
)
def unmoved_row_count(unmoved_rows: int) -> float:
    """Return the number of tokens (or classes) that training did not touch."""
    return float(unmoved_rows)


@metric(family="size", unit="elements", definition="number of elements that are NaN or infinite", source=COUNT)
def nonfinite_count(finiteness: FinitenessCount) -> float:
    """Return the number of NaN and Inf; the only metric with a value in their presence, besides changed_fraction."""
    return float(finiteness.nonfinite)
