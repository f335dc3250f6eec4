"""Turn a figure into bytes; the same figure always gives the same bytes."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

from analyzer.figures.drawing.style import house_style

PNG_DPI = 150


def render(drawn: Figure) -> tuple[bytes, bytes]:
    """Return the figure as PNG (150 dpi) and as SVG, both without a date and without the name of the software."""
    png, svg = io.BytesIO(), io.BytesIO()
    with house_style():
        drawn.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        drawn.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return png.getvalue(), svg.getvalue()
