"""The figures that show a few quantities: each is drawn as it is declared, with its quantities."""

from __future__ import annotations

import pytest
from compared_runs import two_groups
from figure_parts import DRAW_COMPARED, texts

from analyzer.comparing import compare_runs
from analyzer.figures.compared.by_quantity import QUANTITY_FIGURES

QUANTITIES = {
    "compared_scores": ["test_accuracy", "test_loss"],
    "compared_motion": ["initial_distance", "relative_initial_distance", "path_length"],
    "compared_shape": ["condition_number", "effective_rank", "stable_rank"],
    "accuracy_along_path": ["test_accuracy", "condition_number"],
}


@pytest.mark.parametrize("declared", QUANTITY_FIGURES, ids=lambda declared: declared.name)
def test_a_declaration_is_drawn_as_it_says(declared):
    comparison = compare_runs(two_groups(2))
    shown = texts(DRAW_COMPARED[declared.name](comparison))
    assert declared.title in shown
    titles = [quantity.title for quantity in comparison.quantities if quantity.name in QUANTITIES[declared.name]]
    assert titles and all(any(text.startswith(title) for text in shown) for title in titles)
