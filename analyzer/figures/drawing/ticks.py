"""Choose limits and ticks of axes: few ticks, inside the limits, with labels of at most about nine characters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray


Ticks = tuple[list[float], list[str]]

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MAX_DECIMALS = 7
_NARROW = 15  # a log axis that spans less than this factor gets finer ticks
_SMALL_FACTORS = (1.02, 1.05, 1.1, 1.2, 1.5)
_LARGEST = 1e300  # limits beyond this overflow in matplotlib's arithmetic


def linear_limits(values: FloatArray) -> tuple[float, float]:
    """Return limits around the finite values, from zero if that is near enough, so that proportions are true."""
    finite = np.clip(values[np.isfinite(values)], -_LARGEST, _LARGEST)
    if not finite.size or not np.abs(finite).max() > 1 / _LARGEST:
        return (-0.02, 1.0)
    low, high = float(finite.min()), float(finite.max())
    if 0 <= low < 0.5 * high or low == high > 0:
        return (-0.02 * high, 1.06 * high)
    span = max(high - low, 1e-4 * max(abs(low), abs(high)))  # ticks could not show a narrower span
    middle = low / 2 + high / 2
    return (middle - 0.56 * span, middle + 0.56 * span)


def log_limits(values: FloatArray) -> tuple[float, float]:
    """Return limits around the positive finite values on a log scale, (1, 10) if there are none."""
    positive = values[np.isfinite(values) & (values > 1 / _LARGEST) & (values < _LARGEST)]
    if not positive.size:
        return (1.0, 10.0)
    low, high = math.log10(positive.min()), math.log10(positive.max())
    margin = max(0.05 * (high - low), 0.03)
    return (10 ** (low - margin), 10 ** (high + margin))


def make_room(limits: tuple[float, float], below: float, above: float, *, log: bool) -> tuple[float, float]:
    """Widen limits so that the shares ``below`` and ``above`` of the axis stay free for marks at its edges."""
    low, high = (math.log10(limit) for limit in limits) if log else limits
    unit = (high - low) / (1 - below - above)
    low, high = low - below * unit, high + above * unit
    return (10**low, 10**high) if log else (low, high)


def spans_decades(values: FloatArray, decades: float = 2.0) -> bool:
    """Check whether the positive finite values span more than ``decades`` powers of ten."""
    positive = values[np.isfinite(values) & (values > 0)]
    return positive.size > 0 and bool(np.ptp(np.log10(positive)) > decades)


def is_log(scale: str, values: FloatArray, decades: float = 2.0) -> bool:
    """Check whether values have a logarithmic axis: with a ``positive`` scale if they span more than ``decades``."""
    return scale == "log" or (scale == "positive" and spans_decades(values, decades))


def linear_ticks(limits: tuple[float, float], most: int, *, integer: bool = False) -> Ticks:
    """Return at most ``most`` evenly spaced ticks within the limits, and their labels."""
    low, high = limits
    slack = 1e-9 * (high - low)
    positions: list[float] = []
    for intervals in range(most + 1, 0, -1):
        locator = MaxNLocator(nbins=intervals, steps=[1, 2, 2.5, 5, 10], integer=integer, min_n_ticks=1)
        positions = [float(p) for p in locator.tick_values(low, high) if low - slack <= p <= high + slack]
        if len(positions) <= most:
            break
    return positions, _linear_texts(positions)


def log_ticks(limits: tuple[float, float], most: int) -> Ticks:
    """Return at most ``most`` ticks: powers of ten with as many round steps between as fit, or evenly spaced ones."""
    low, high = limits
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    finest = [(1, 2, 5), (1, 3), (1,)]
    if high < _NARROW * low:  # 1-2-5 steps would leave two or three ticks
        finest = [(1, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), *finest]
    choices = [[m * 10.0**k for k in range(first, last + 1) for m in digits] for digits in finest]
    choices += [[10.0**k for k in range(first, last + 1) if k % stride == 0] for stride in (2, 3, 5, 10, 20, 50, 100)]
    fewest = 2 if high > 100 * low else 3  # over decades, two powers of ten show more than even spacing
    for choice in choices:
        inside = [p for p in choice if low <= p <= high]
        if fewest <= len(inside) <= most:
            return inside, _log_texts(inside)
    return _thinned(linear_ticks(limits, most), math.log10(high / low) / most)


def ratio_ticks(largest: float, most: int) -> Ticks:
    """Return at most ``most`` ticks of a log axis from 1/``largest`` to ``largest``: ``÷10``, ``1``, ``×10``."""
    decades = range(math.ceil(math.log10(largest)) + 1)
    choices = [*_SMALL_FACTORS, *(m * 10.0**k for k in decades for m in (1, 2, 3, 5))]
    apart = math.log10(largest) / max(1, (most - 1) // 2)
    kept: list[float] = []  # falling
    for factor in sorted((factor for factor in choices if 1 < factor <= largest), reverse=True):
        fits = not kept or math.log10(kept[-1] / factor) >= apart
        if fits and math.log10(factor) >= 0.6 * apart:
            kept.append(factor)
    texts = [f"{factor:.6g}" if factor < 1e4 else _power_text(factor) for factor in kept]
    positions = [*(1 / factor for factor in kept), 1.0, *reversed(kept)]
    return positions, [*(f"÷{text}" for text in texts), "1", *(f"×{text}" for text in reversed(texts))]


def number_text(value: float) -> str:
    """Format a number with three significant digits, thousands in full: 0.00412, 16.6, 1230, 5×10⁻⁹."""
    if value == 0 or 1e-3 <= abs(value) < 1000:
        text = f"{value:.3g}"
    else:
        text = f"{value:.0f}" if 1000 <= abs(value) < 1e6 else _power_text(value)
    return text.replace("-", "−")


def _thinned(ticks: Ticks, apart: float) -> Ticks:
    """Leave out ticks that are less than ``apart`` powers of ten above the previous one."""
    kept: list[tuple[float, str]] = []
    for position, text in zip(*ticks, strict=True):
        if position > 0 and (not kept or math.log10(position / kept[-1][0]) >= apart):
            kept.append((position, text))
    return [position for position, _ in kept], [text for _, text in kept]


def _linear_texts(values: Sequence[float]) -> list[str]:
    """Format evenly spaced numbers with enough decimals and one power of ten for all."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest == 0:
        return ["0"] * len(values)
    decimals = _decimals(values)
    exponent = 0
    if not 1e-3 <= largest < 1e6 or decimals > _MAX_DECIMALS:
        exponent = math.floor(math.log10(largest))
        values = [value / 10.0**exponent for value in values]
        decimals = _decimals(values)
    power = f"×10{str(exponent).translate(_SUPERSCRIPTS)}" if exponent else ""
    texts = [f"{value:.{decimals}f}" for value in values]
    return ["0" if float(text) == 0 else f"{text}{power}".replace("-", "−") for text in texts]


def _decimals(values: Sequence[float]) -> int:
    """Return the number of decimals that distinguishes the values, at most one more than is ever printed."""
    step = min((abs(b - a) for a, b in itertools.pairwise(values)), default=abs(values[0]))
    decimals = 0
    while decimals <= _MAX_DECIMALS and any(abs(round(v, decimals) - v) > 1e-3 * step for v in values):
        decimals += 1
    return decimals


def _log_texts(values: Sequence[float]) -> list[str]:
    if all(1e-3 <= value < 1e6 for value in values):
        return [f"{value:.6g}" for value in values]
    return [_power_text(value) for value in values]


def _power_text(value: float) -> str:
    mantissa, exponent = f"{value:.0e}".split("e")
    power = f"10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    return power if mantissa == "1" else f"{mantissa}×{power}"
