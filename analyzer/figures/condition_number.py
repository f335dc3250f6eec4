"""How unevenly each layer stretches its input."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.layer_figure import layer_figure
from analyzer.figures.layers import Panel
from analyzer.figures.registry import figure
from analyzer.model.run import Tables

CONDITION_NUMBER = Panel("condition_number", "Condition number κ = σ₁/σₙ", "a ratio", "log")


@figure(
    order=30,
    title="Condition number of each layer",
    how_to_read=(
        "The condition number is a matrix's largest singular value over its smallest: 1 stretches all "
        "directions alike, and each power of ten makes some directions that much weaker than others. "
        "Singular matrices have no number and are only marked."
    ),
)
def condition_number(tables: Tables) -> Figure | None:
    """Draw σ₁/σₙ of each weight matrix on a log axis."""
    return layer_figure(tables, [CONDITION_NUMBER])
