"""Every need as a row of a table, and what each computes from a tensor that only answers what it is asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analyzer.metrics import needs
from analyzer.metrics.needs import LEADING, NEEDS, Need, ServedBy, counts_of
from analyzer.model.observed import (
    ChangedBits,
    DeadLines,
    ElementSummary,
    FinitenessCount,
    InnerProducts,
    Interval,
    MatrixView,
    Role,
    SignFlips,
    StepSpectrum,
)
from analyzer.numerics import elementwise
from analyzer.numerics.magnitudes import magnitude_shares
from analyzer.numerics.power_law import fit_power_law
from analyzer.numerics.singular_values import difference_values, spectrum
from analyzer.numerics.subspaces import leading_subspaces
from analyzer.numerics.sums import NO_COUNTS, Counts

CURRENT, PREVIOUS, EARLIER, INITIAL = Role.CURRENT, Role.PREVIOUS, Role.BEFORE_PREVIOUS, Role.INITIAL
ALL = Counts.ELEMENTS | Counts.SIGN_FLIPS | Counts.CHANGED_BITS
SUMS, BLOCKS, GRAM, WHOLE = ServedBy.SUMS, ServedBy.BLOCKS, ServedBy.GRAM, ServedBy.WHOLE
# name: roles, served by, class of sums, and the flags that are set
TABLE = {
    "current": ({CURRENT}, WHOLE, None, set()),
    "previous": ({PREVIOUS}, WHOLE, None, set()),
    "initial": ({INITIAL}, WHOLE, None, set()),
    "matrix": ({CURRENT}, WHOLE, None, {"matrix_only"}),
    "weights": ({CURRENT}, SUMS, InnerProducts, set()),
    "step": ({CURRENT, PREVIOUS}, SUMS, InnerProducts, set()),
    "consecutive_steps": ({CURRENT, PREVIOUS, EARLIER}, SUMS, InnerProducts, set()),
    "step_sketch": ({CURRENT, PREVIOUS}, SUMS, None, set()),
    "drift": ({CURRENT, INITIAL}, SUMS, InnerProducts, set()),
    "interval": ({CURRENT, PREVIOUS}, SUMS, None, {"of_checkpoints"}),
    "elements": ({CURRENT}, SUMS, ElementSummary, set()),
    "finiteness": ({CURRENT}, SUMS, FinitenessCount, {"any_bits"}),
    "changed_bits": ({CURRENT, PREVIOUS}, SUMS, ChangedBits, {"any_bits", "any_dtype"}),
    "sign_flips": ({CURRENT, PREVIOUS}, SUMS, SignFlips, set()),
    "unmoved_rows": ({CURRENT, INITIAL}, SUMS, None, {"matrix_only", "any_bits"}),
    "dead_lines": ({CURRENT}, BLOCKS, DeadLines, {"matrix_only"}),
    "spectrum": ({CURRENT}, GRAM, None, {"matrix_only", "decomposes"}),
    "singular_values": ({CURRENT}, GRAM, None, {"matrix_only", "decomposes"}),
    "power_law": ({CURRENT}, GRAM, None, {"matrix_only", "decomposes"}),
    "previous_matrix": ({PREVIOUS}, WHOLE, None, {"matrix_only"}),
    "matrix_step": ({CURRENT, PREVIOUS}, WHOLE, None, {"matrix_only"}),
    "step_spectrum": ({CURRENT, PREVIOUS}, WHOLE, None, {"matrix_only", "decomposes"}),
    "leading_subspaces": ({CURRENT}, WHOLE, None, {"matrix_only", "decomposes"}),
    "previous_subspaces": ({PREVIOUS}, WHOLE, None, {"matrix_only", "decomposes"}),
    "initial_subspaces": ({INITIAL}, WHOLE, None, {"matrix_only", "decomposes"}),
    "magnitude_shares": ({CURRENT}, WHOLE, None, {"matrix_only"}),
}
FLAGS = ("of_checkpoints", "matrix_only", "any_bits", "any_dtype", "decomposes")
COUNTED = {
    "elements": Counts.ELEMENTS,
    "sign_flips": Counts.SIGN_FLIPS,
    "changed_bits": Counts.CHANGED_BITS,
}


def test_the_table_is_complete():
    assert list(NEEDS) == list(TABLE)
    assert (NEEDS["spectrum"], NEEDS["dead_lines"]) == (needs.SPECTRUM, needs.DEAD_LINES)
    assert NEEDS["step_sketch"] is needs.STEP_SKETCH
    assert LEADING == 8


@pytest.mark.parametrize("name", TABLE)
def test_a_need_is_declared_as_the_table_says(name):
    roles, served_by, sums, flags = TABLE[name]
    need = NEEDS[name]
    assert (need.name, need.roles, need.served_by, need.sums) == (name, roles, served_by, sums)
    assert {flag for flag in FLAGS if getattr(need, flag)} == flags
    assert need.counts == COUNTED.get(name, NO_COUNTS)
    assert need.imports == (("scipy.linalg",) if "subspaces" in name else ())
    assert need.is_additive == (sums is not None or name == "interval")
    assert need.is_spectral == (served_by is GRAM)
    assert need.tensor_roles == ({"embedding", "head"} if name == "unmoved_rows" else frozenset())
    assert need.meaning.strip()


def test_a_need_is_by_default_of_whole_states_and_nothing_else():
    need = Need("n", frozenset(), "m", lambda observed, view: None)
    assert (need.served_by, need.sums, need.counts, need.imports) == (WHOLE, None, NO_COUNTS, ())
    assert not any(getattr(need, flag) for flag in FLAGS)
    assert not need.is_additive and not need.is_spectral


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        ([], NO_COUNTS),
        (["weights", "spectrum"], NO_COUNTS),
        (["elements"], Counts.ELEMENTS),
        (["weights", "sign_flips", "elements", "elements"], Counts.ELEMENTS | Counts.SIGN_FLIPS),
        (list(TABLE), ALL),
    ],
)
def test_the_counts_of_several_needs_are_those_of_each(names, counts):
    assert counts_of(NEEDS[name] for name in names) == counts


SHAPE = (12, 10)
STATES = {
    role: np.random.default_rng(number).standard_normal((2, *SHAPE)).astype(np.float32)
    for number, role in enumerate(Role)
}
WHOLE_VIEW, EXPERT_VIEW = MatrixView("w", None, SHAPE), MatrixView("w[1]", 1, SHAPE)


class Tensor:
    """What the engine provides: states of a stack of two matrices (or of the first alone), by their views."""

    interval = Interval(7)
    is_floating = True

    def __init__(self, states=STATES, counts=ALL, sums=None):
        self.states, self.counts, self.given = states, counts, sums

    def array(self, role):
        return self.states[role]

    def matrix(self, role, view):
        return self.states[role][view.index or 0]

    def sums(self):
        if self.given is None:
            self.given = elementwise.element_sums(*(self.states[role][0] for role in Role), self.counts)
        return self.given

    def spectrum(self, view):
        return spectrum(self.matrix(CURRENT, view))

    def need(self, need, view):
        return need.compute(self, view)

    def of_state(self, role, view, function):
        return function(self.matrix(role, view))


def computed(name, tensor=None, view=None):
    return NEEDS[name].compute(tensor or Tensor(), view)


@pytest.mark.parametrize("view", [WHOLE_VIEW, EXPERT_VIEW], ids=str)
def test_needs_of_a_matrix_are_of_its_state(view):
    w, p, i = (STATES[role][view.index or 0] for role in (CURRENT, PREVIOUS, INITIAL))
    for name, state in (("matrix", w), ("previous_matrix", p)):
        np.testing.assert_array_equal(computed(name, view=view), state)
    np.testing.assert_array_equal(computed("spectrum", view=view).values, spectrum(w).values)
    np.testing.assert_array_equal(computed("singular_values", view=view), spectrum(w).values)
    assert computed("power_law", view=view) == fit_power_law(spectrum(w))
    assert computed("magnitude_shares", view=view) == magnitude_shares(w)
    step = computed("step_spectrum", view=view)
    assert isinstance(step, StepSpectrum)
    np.testing.assert_array_equal(step.values, difference_values(w, p))
    for name, state in (("leading_subspaces", w), ("previous_subspaces", p), ("initial_subspaces", i)):
        found, expected = computed(name, view=view), leading_subspaces(state, 8)
        np.testing.assert_array_equal(found.left, expected.left)
        assert (found.gap, found.rounding) == (expected.gap, expected.rounding)


def test_needs_of_a_tensor_are_its_states_and_its_sums():
    tensor = Tensor()
    for name, role in (("current", CURRENT), ("previous", PREVIOUS), ("initial", INITIAL)):
        assert computed(name, tensor) is STATES[role]
    for name in ("weights", "step", "consecutive_steps", "drift"):
        assert computed(name, tensor) is tensor.sums().products
    assert computed("interval", tensor) == Interval(7)
    assert computed("sign_flips", tensor) is tensor.sums().flips


def test_the_step_of_the_whole_tensor_is_already_known_and_that_of_an_expert_is_not():
    tensor = Tensor()
    assert computed("matrix_step", tensor, WHOLE_VIEW) is tensor.sums().products
    found = computed("matrix_step", tensor, EXPERT_VIEW)
    expected = elementwise.element_sums(STATES[CURRENT][1], STATES[PREVIOUS][1]).products
    assert (found.step, found.current, found.previous) == (expected.step, expected.current, expected.previous)


def test_a_summary_of_elements_counts_near_zeros_again_only_if_they_are_not_known():
    sums = Tensor().sums()
    known = replace(sums, zeros=3, near_zeros=5)
    expected = ElementSummary(120, sums.absolute, sums.largest, 3, 5, sums.products.current)
    assert computed("elements", Tensor(sums=known)) == expected
    assert computed("elements", Tensor(sums=replace(known, near_zeros=0))).near_zeros == 0
    unknown = Tensor({CURRENT: np.array([1.0, 1e-4, 1e-5, 0.5])}, sums=replace(known, near_zeros=None))
    near_zeros = elementwise.count_near_zeros(unknown.array(CURRENT), sums.products.current)
    assert near_zeros == 2
    assert computed("elements", unknown) == replace(expected, near_zeros=2)


def test_elements_are_looked_at_for_nan_only_if_their_squares_are_not_finite():
    bad = {CURRENT: np.array([np.nan, np.inf, 1.0])}
    sums = Tensor().sums()
    assert computed("finiteness", Tensor(bad, sums=sums)) == FinitenessCount(120, 0, 0)
    for square in (np.nan, np.inf):
        worse = replace(sums, products=replace(sums.products, current=square))
        assert computed("finiteness", Tensor(bad, sums=worse)) == FinitenessCount(120, 2, 1)


def test_changed_bits_are_counted_again_if_no_walk_counted_them():
    tensor = Tensor({CURRENT: np.array([1, 2, 3, 4]), PREVIOUS: np.array([1, 0, 3, 0])}, sums=Tensor().sums())
    assert computed("changed_bits", tensor) == ChangedBits(120, 120)
    tensor.is_floating = False
    assert computed("changed_bits", tensor) == ChangedBits(4, 2)
    tensor.is_floating, tensor.given = True, replace(tensor.given, changed=None)
    assert computed("changed_bits", tensor) == ChangedBits(4, 2)


@pytest.mark.parametrize(
    ("view", "zeros", "counts", "is_looked_at"),
    [
        (WHOLE_VIEW, 9, ALL, False),
        (WHOLE_VIEW, 10, ALL, True),  # a column of ten, or ten in a row
        (WHOLE_VIEW, 9, Counts.SIGN_FLIPS, True),
        (EXPERT_VIEW, 9, ALL, True),
    ],
)
def test_lines_are_looked_at_only_if_there_are_zeros_enough_for_one(view, zeros, counts, is_looked_at):
    dead = np.ones((2, *SHAPE), np.float32)
    dead[:, 0] = dead[:, :, :3] = 0
    tensor = Tensor({CURRENT: dead}, counts, replace(Tensor().sums(), zeros=zeros))
    assert computed("dead_lines", tensor, view) == (DeadLines(1, 3) if is_looked_at else DeadLines(0, 0))
