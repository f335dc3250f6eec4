"""How the spectra of the groups of runs drifted."""

from __future__ import annotations

from matplotlib.figure import Figure

from analyzer.figures.compared.registry import compared_figure
from analyzer.figures.compared.strands import strands_figure
from analyzer.model.comparison import Comparison


@compared_figure(
    title="Conditioning and rank, compared",
    how_to_read=(
        "A condition number of 1 stretches all directions alike. It is averaged over the weight matrices as a "
        "logarithm, so that one badly conditioned matrix does not decide it alone; the ranks say how many directions "
        "carry the weight."
    ),
)
def compared_shape(comparison: Comparison) -> Figure | None:
    """Draw the condition number, the effective and the stable rank."""
    return strands_figure(comparison, ["condition_number", "effective_rank", "stable_rank"])
