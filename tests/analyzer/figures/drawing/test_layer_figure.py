"""The choice between lines and heat maps, and panels that would be empty."""

from __future__ import annotations

import pytest
from figure_parts import DRAW, texts
from figure_tables import make_tables


@pytest.mark.parametrize("layers", [4, 40])
def test_a_panel_of_zeros_says_so_instead_of_looking_empty(layers):
    said = texts(DRAW["sparsity"](make_tables(layers)))
    assert [text for text in said if "0 everywhere" in text] == ["Weights that are zero: 0 everywhere, not drawn"]
    assert not any("share of all" in text for text in said)
