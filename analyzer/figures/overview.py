"""The first picture of a report: the scores and all weight matrices on one time axis, with the findings marked."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.catalog import REPORT
from analyzer.figures.drawing.checkpoint_axis import checkpoint_axis
from analyzer.figures.drawing.layer_table import Panel, layer_names
from analyzer.figures.drawing.overview_of_few import draw_few
from analyzer.figures.drawing.overview_of_many import draw_many
from analyzer.model.tables import Tables

_MOST_LAYERS = 8  # that have a panel each
_MATRICES = (
    Panel("relative_step_distance", "", "", "positive"),
    Panel("frobenius_norm", "", "", "positive"),
    Panel("condition_number", "", "", "log"),
)


def _matrices(tables: Tables) -> str:
    """Explain the lower panels."""
    if len(layer_names(tables, _MATRICES)) > _MOST_LAYERS:
        return (
            "Each matrix is a row, colored by its ratio to the median of its peers, so that one that behaves "
            "differently stands out."
        )
    if not tables.spectra:
        return "Each matrix has a line of its own color."
    return (
        "Every singular value of a matrix is a line, colored if it is larger than noise alone would make it; of a "
        "large matrix the lines are the largest ones, and the bands cover the others."
    )


@REPORT.figure(
    order=5,
    title="The run at a glance",
    how_to_read=(
        "The scores, how far the weights moved from checkpoint to checkpoint, and the weight matrices themselves, all "
        "over the same time; the numbers are those of the findings above."
    ),
    how_to_read_this=_matrices,
)
def overview(tables: Tables) -> Figure | None:
    """Draw the run on a sheet that fits a screen, None if there are fewer than two checkpoints or no numbers."""
    names = layer_names(tables, _MATRICES)
    if len(tables.checkpoints) < 2:
        return None
    axis = checkpoint_axis(tables)
    return draw_few(tables, axis, names) if len(names) <= _MOST_LAYERS else draw_many(tables, axis, names)
