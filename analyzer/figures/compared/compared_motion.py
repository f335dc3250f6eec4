"""How far the weights of the groups of runs moved."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.compared.registry import compared_figure
from analyzer.figures.compared.strands import strands_figure
from analyzer.model.comparison import Comparison


@compared_figure(
    title="How far the weights moved, compared",
    how_to_read=(
        "Distance is counted in a straight line from the first checkpoint, also as a share of the norm of the weights "
        "there; path length adds up every step. A path that goes on while the distance does not is wandering."
    ),
)
def compared_motion(comparison: Comparison) -> Figure | None:
    """Draw ‖W − W₀‖, the same in units of ‖W₀‖, and the path length."""
    return strands_figure(comparison, ["initial_distance", "relative_initial_distance", "path_length"])
