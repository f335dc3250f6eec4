"""How far each layer is from where it started."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.layer_figure import layer_figure
from analyzer.figures.layers import Panel
from analyzer.figures.registry import figure
from analyzer.model.run import Tables


@figure(
    order=50,
    title="How far each layer is from where it started",
    how_to_read=(
        "Each value is the Frobenius norm of the difference between a layer's weights and those of the "
        "first checkpoint found. A curve that flattens belongs to a layer that has settled, or that wanders "
        "around at the same distance."
    ),
)
def initial_distance(tables: Tables) -> Figure | None:
    """Draw ‖W_t − W_0‖_F of each weight matrix; nothing of a single checkpoint, which is W_0."""
    if len(tables.checkpoints) < 2:
        return None
    panel = Panel(
        "initial_distance", "Distance from the start ‖Wₜ − W₀‖", "Frobenius norm, in weight units", "positive"
    )
    return layer_figure(tables, [panel])
