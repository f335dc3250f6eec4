"""The figures that show a fixed list of quantities: each is drawn as it is declared."""

from __future__ import annotations

import pytest
from compared_runs import two_groups
from figure_parts import DRAW_COMPARED, texts

from analyzer.comparing import compare_runs
from analyzer.figures.compared.by_quantity import QUANTITY_FIGURES


@pytest.mark.parametrize("declared", QUANTITY_FIGURES, ids=lambda declared: declared.name)
def test_a_declaration_is_drawn_as_it_says(declared):
    comparison = compare_runs(two_groups(2))
    shown = texts(DRAW_COMPARED[declared.name](comparison))
    assert declared.title in shown
    titles = [quantity.title for quantity in comparison.quantities if quantity.name in declared.quantities]
    assert titles and all(any(text.startswith(title) for text in shown) for title in titles)
