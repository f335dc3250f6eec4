"""The first picture of a report: the scores and all weight matrices on one time axis, with the findings marked."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.catalog import REPORT
from analyzer.figures.drawing.checkpoint_axis import checkpoint_axis
from analyzer.figures.drawing.layer_table import Panel, layer_names
from analyzer.figures.drawing.overview_of_few import draw_few
from analyzer.figures.drawing.overview_of_many import draw_many
from analyzer.figures.drawing.overview_panels import overview_marks
from analyzer.model.tables import Tables

_MOST_LAYERS = 8  # that have a panel each
_MATRICES = (
    Panel("relative_step_distance", "", "", "positive"),
    Panel("frobenius_norm", "", "", "positive"),
    Panel("condition_number", "", "", "log"),
)


def _how_to_read_this(tables: Tables) -> str:
    """Explain the panels of matrices, and the numbers of findings if there are any."""
    names = layer_names(tables, _MATRICES)
    numbers = " The numbers in colored boxes are those of the findings above." if overview_marks(tables, names) else ""
    if len(names) > _MOST_LAYERS:
        return (
            "Each matrix is a row, colored by its ratio to the median of its peers, so that one that behaves "
            f"differently stands out.{numbers}"
        )
    if not tables.spectra:
        return f"Each matrix has a line of its own color.{numbers}"
    are_large = any(spectrum.quantiles.size for spectrum in tables.spectra.values())
    which = "Each of the largest singular values" if are_large else "Every singular value"
    bands = "; bands cover the others" if are_large else ""
    return f"{which} of a matrix is a line, colored if it is larger than noise alone would make it{bands}.{numbers}"


@REPORT.figure(
    order=5,
    title="The run at a glance",
    how_to_read=(
        "The scores, how far the weights moved from checkpoint to checkpoint, and the weight matrices themselves, all "
        "over the same time."
    ),
    how_to_read_this=_how_to_read_this,
)
def overview(tables: Tables) -> Figure | None:
    """Draw the run on a sheet that fits a screen, None if there are fewer than two checkpoints or no numbers."""
    names = layer_names(tables, _MATRICES)
    if len(tables.checkpoints) < 2:
        return None
    axis = checkpoint_axis(tables)
    return draw_few(tables, axis, names) if len(names) <= _MOST_LAYERS else draw_many(tables, axis, names)
