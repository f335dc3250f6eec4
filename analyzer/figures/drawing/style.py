"""The look of figures: sizes, colors and line styles. Only this module changes matplotlib's settings."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes

FONT = "DejaVu Sans"  # comes with matplotlib, so widths are the same everywhere
TITLE_SIZE, LABEL_SIZE, SMALL_SIZE = 12.0, 9.0, 8.0  # points; nothing is smaller
INK, SOFT_INK, GRID, NO_VALUE = "#222222", "#595959", "#e4e4e4", "#d9d9d9"
LINE_WIDTH = 1.3


@dataclass(frozen=True, slots=True)
class Look:
    """The look that distinguishes a line from the others, also in gray print and for color-blind readers."""

    color: str
    dash: str | tuple[int, tuple[float, ...]]
    marker: str
    width: float = LINE_WIDTH


_DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.5, 1.2)),
    (0, (6, 1.5, 1.5, 1.5)),
)
# Okabe and Ito (2008) without yellow, which is too faint on white; then dark colors of Paul Tol's muted set.
_COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288", "#882255",
    "#777722", "#44AA99",
)  # fmt: skip
_MARKERS = "os^DvP<>ph"
LOOKS: tuple[Look, ...] = tuple(
    Look(color, _DASHES[index % len(_DASHES)], marker)
    for index, (color, marker) in enumerate(zip(_COLORS, _MARKERS, strict=True))
)
GAP_MARKER = "o"  # drawn hollow, unlike any layer's marker: a step over missing checkpoints
MEAN_LOOK = Look("#000000", "-", "o", 2.6)

_SETTINGS: dict[Any, Any] = {
    "font.family": ["sans-serif"],
    "font.sans-serif": [FONT, "Bitstream Vera Sans", "Verdana", "sans-serif"],  # an SVG repeats them at each text
    "text.parse_math": False,  # names come from checkpoints: a "$" in them is a dollar sign
    "axes.unicode_minus": True,
    "figure.facecolor": "white",
    "path.simplify": True,
    # Text stays text in SVG: it can be searched, copied and read aloud, and files are a third smaller. If DejaVu Sans
    # is missing, the next fonts of the list are no wider (Verdana is as wide), so nothing collides. The PNG looks the
    # same everywhere.
    "svg.fonttype": "none",
    "svg.hashsalt": "weightlapse",  # ids derive from content, not from a random number
    "hatch.linewidth": 0.6,
}
_DEFAULTS: dict[Any, Any] = {key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith("backend")}
_lock = threading.RLock()


def _renew_lock() -> None:
    """Let a forked process draw although a thread that it does not have was drawing when it was forked."""
    global _lock  # noqa: PLW0603 - a lock cannot be set free by another thread
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def house_style() -> Iterator[None]:
    """Draw with our settings regardless of the user's matplotlibrc, and restore matplotlib's settings afterwards.

    These settings are global, so only one thread at a time may draw.
    """
    with _lock, mpl.rc_context({**_DEFAULTS, **_SETTINGS}):
        yield


def plain_axes(axes: Axes, *, grid: bool) -> None:
    """Remove what carries no data: the box, minor ticks, heavy lines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=SOFT_INK, linewidth=0.8)
    axes.tick_params(which="major", labelsize=SMALL_SIZE, color=SOFT_INK, labelcolor=INK, length=3, width=0.8, pad=2.5)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(visible=True, color=GRID, linewidth=0.7)
