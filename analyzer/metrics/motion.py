"""How far a tensor moved since the previous checkpoint and since the first.

All metrics follow from a few inner products. W_{t−1} is the previous available checkpoint, W_0 the first one.
"""

from __future__ import annotations

from functools import partial
from math import atan2, sqrt

from analyzer.metrics.registry import metric
from analyzer.model.observed import ChangedBits, InnerProducts, Interval, SignFlips
from analyzer.model.run import UNDEFINED, Value

motion_metric = partial(metric, family="motion")
step_metric = partial(motion_metric, version=2)  # of the precise displacement by rounding
TEXTBOOK = "Golub & Van Loan, Matrix Computations, 4th ed., sec. 2.3"
PRECISION_MARGIN = 6.0  # a step below six times the storage rounding may be rounding (docs/metrics.md)


def of_step(value: float | None, step: InnerProducts) -> Value:
    """Return a value with the status of a step metric; ``undefined`` if it is None."""
    if value is None:
        return UNDEFINED
    hidden = step.step < PRECISION_MARGIN**2 * step.rounding
    return Value(value, "below_precision" if hidden else "ok")


@step_metric(unit="weight units", definition="‖Δ_t‖_F, the Frobenius norm of W_t − W_{t−1}", source=TEXTBOOK)
def step_distance(step: InnerProducts) -> Value:
    """Return ‖W_t − W_{t−1}‖_F."""
    return of_step(sqrt(step.step), step)


@step_metric(unit="1", definition="‖Δ_t‖_F / ‖W_{t−1}‖_F", source=TEXTBOOK)
def relative_step_distance(step: InnerProducts) -> Value:
    """Return the step relative to W_{t−1}; undefined if W_{t−1} is zero."""
    if step.previous == 0:
        return UNDEFINED
    return of_step(sqrt(step.step / step.previous), step)


@step_metric(
    unit="weight units per step",
    definition="‖Δ_t‖_F / (step_t − step_{t−1})",
    source="distance per optimization step, which makes unevenly spaced checkpoints comparable",
)
def distance_rate(step: InnerProducts, interval: Interval) -> Value:
    """Return the step distance per optimization step; undefined if the run does not record its steps."""
    if not interval.steps or interval.steps < 0:
        return UNDEFINED
    return of_step(sqrt(step.step) / interval.steps, step)


@motion_metric(unit="weight units", definition="‖W_t − W_0‖_F", source=TEXTBOOK)
def initial_distance(drift: InnerProducts) -> float:
    """Return the distance from the first available checkpoint."""
    return sqrt(drift.drift)


@motion_metric(
    unit="1", definition="⟨W_t, W_0⟩ / (‖W_t‖_F ‖W_0‖_F)", source="cosine similarity, all elements as one vector"
)
def initial_cosine(drift: InnerProducts) -> Value:
    """Return the cosine between W_t and W_0; undefined if one of them is zero."""
    return _cosine(drift.current_initial, drift.current, drift.initial)


@step_metric(
    unit="1",
    definition="⟨Δ_t, Δ_{t−1}⟩ / (‖Δ_t‖_F ‖Δ_{t−1}‖_F): above 0 the motion continues, below 0 it oscillates",
    source="cosine similarity of consecutive updates",
)
def update_cosine(consecutive_steps: InnerProducts) -> Value:
    """Return the cosine between this step and the one before; undefined if one of them is zero."""
    products = consecutive_steps
    cosine = _cosine(products.step_earlier_step, products.step, products.earlier_step)
    hidden = min(products.step, products.earlier_step) < PRECISION_MARGIN**2 * products.rounding
    return Value(cosine.value, "below_precision") if hidden and cosine.value is not None else cosine


def _cosine(product: float, first: float, second: float) -> Value:
    if first == 0 or second == 0:
        return UNDEFINED
    return Value(max(-1.0, min(1.0, product / sqrt(first) / sqrt(second))))


@step_metric(
    unit="radians",
    definition="angle between W_t and W_{t−1}, by atan2 of the part of W_t orthogonal to W_{t−1}",
    source="Kahan, How futile are mindless assessments of roundoff (2006), sec. 12: arccos loses small angles",
)
def rotation(step: InnerProducts) -> Value:
    """Return how far the weights turned; undefined if W_t or W_{t−1} is zero."""
    if step.previous == 0 or step.current == 0:
        return UNDEFINED
    length = sqrt(step.previous)
    along = step.step_previous / length  # the part of Δ along W_{t−1}
    across = sqrt(max(0.0, step.step - along * along))
    return of_step(atan2(across, length + along), step)


@step_metric(unit="weight units", definition="‖W_t‖_F − ‖W_{t−1}‖_F", source=TEXTBOOK)
def norm_change(step: InnerProducts) -> Value:
    """Return the growth of the norm; the difference of squares over the sum of norms keeps small changes exact."""
    total = sqrt(step.current) + sqrt(step.previous)
    if total == 0:
        return Value(0.0)
    return of_step((2 * step.step_previous + step.step) / total, step)


@motion_metric(
    unit="share of elements",
    definition="share of elements whose stored bits differ from those in W_{t−1}",
    source="exact comparison of the stored bytes",
)
def changed_fraction(changed_bits: ChangedBits) -> float:
    """Return the share of changed elements; exactly 0 for a frozen tensor."""
    return changed_bits.changed / changed_bits.count


@motion_metric(
    unit="share of elements",
    definition="share of elements whose sign is opposite to that in W_{t−1} (zero has no sign)",
    source="Zhou et al., Deconstructing Lottery Tickets (NeurIPS 2019), on signs",
)
def sign_flip_fraction(sign_flips: SignFlips) -> float:
    """Return the share of elements that crossed zero."""
    return sign_flips.flipped / sign_flips.count
