"""The choice between lines and heat maps, and panels that would be empty."""

from __future__ import annotations

import pytest
from figure_parts import DRAW, texts
from figure_tables import make_tables, with_curve


@pytest.mark.parametrize("layers", [4, 40])
def test_a_panel_of_zeros_says_so_instead_of_looking_empty(layers):
    said = texts(DRAW["sparsity"](make_tables(layers)))
    assert [text for text in said if "0 everywhere" in text] == ["Weights that are zero: 0 everywhere, not drawn"]
    assert not any("share of all" in text for text in said)


def test_noise_is_no_figure():
    tables = make_tables(4)
    for row in tables.tensors[:4]:
        tables = with_curve(tables, row.name, "near_zero_fraction", lambda values, statuses: values.fill(0.00625))
    assert DRAW["sparsity"](tables) is None  # one near-zero entry of 160
    pruned = with_curve(tables, "fc1.weight", "zero_fraction", lambda values, statuses: values.fill(0.3))
    assert "Weights near zero: at most 0.62 %, not drawn" in texts(DRAW["sparsity"](pruned))
