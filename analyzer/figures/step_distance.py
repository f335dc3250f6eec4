"""How far each layer moved from one checkpoint to the next."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.layer_figure import layer_figure
from analyzer.figures.layers import Panel
from analyzer.figures.registry import figure
from analyzer.model.run import Tables


@figure(
    order=20,
    title="How far each layer moved, step by step",
    how_to_read=(
        "Each value is the Frobenius norm of the change of a layer's weights since the checkpoint before. "
        "Bigger layers move further because they have more weights, so compare a layer with itself over time."
    ),
)
def step_distance(tables: Tables) -> Figure | None:
    """Draw ‖W_t − W_{t−1}‖_F of each weight matrix, and the mean over them."""
    panel = Panel("step_distance", "Step distance ‖Wₜ − Wₜ₋₁‖", "Frobenius norm, in weight units", "positive")
    return layer_figure(tables, [panel], with_mean=True, gaps=True)
