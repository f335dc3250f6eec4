"""A drawn figure as bytes: the same figure always gives the same bytes."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

from analyzer.figures.style import house_style

PNG_DPI = 150


def render(drawn: Figure) -> tuple[bytes, bytes]:
    """Give the figure as PNG (150 dpi) and as SVG, neither with a date or a writer's name in it."""
    png, svg = io.BytesIO(), io.BytesIO()
    with house_style():
        drawn.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        drawn.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return png.getvalue(), svg.getvalue()
