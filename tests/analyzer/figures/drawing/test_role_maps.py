"""Tiles of roles for large networks: what is in which tile, and that a figure fits a screen."""

from __future__ import annotations

import pytest
from figure_parts import DRAW, texts
from figure_tables import make_tables
from legibility import problems

from analyzer.figures.drawing.heat_sheet import MAX_HEIGHT
from analyzer.figures.drawing.role_maps import role_tiles

NAMES = [
    "model.embed_tokens.weight",
    *(f"model.layers.{block}.{part}.weight" for block in (2, 0, 1) for part in ("mlp.up_proj", "self_attn.q_proj")),
    "lm_head.weight",
]


def test_a_tile_has_the_layers_of_its_role_by_depth_and_the_last_one_the_others():
    queries, ups, others = role_tiles(NAMES)
    assert (queries.title, queries.rows, queries.depths) == ("q", (4, 6, 2), (0, 1, 2))
    assert (ups.title, ups.rows) == ("up", (3, 5, 1))
    assert (others.title, others.rows, others.depths) == ("embedding, head", (0, 7), (None, None))


@pytest.mark.parametrize("names", [["a.weight", "b.weight"], [f"part{i}.weight" for i in range(9)], []])
def test_networks_without_roles_have_no_tiles(names):
    assert role_tiles(names) == []


def test_every_layer_is_in_exactly_one_tile():
    rows = [row for tile in role_tiles(NAMES) for row in tile.rows]
    assert sorted(rows) == list(range(len(NAMES)))


def test_a_row_of_a_tile_has_the_values_of_its_layer():
    tables = make_tables(60)
    figure = DRAW["update_cosine"](tables)  # not relative: colors follow the values
    tiles = [axes for axes in figure.axes if axes.images and axes.images[0].get_array().shape[0] == 10]
    assert len(tiles) == 6
    shown = tiles[3].images[0].get_array()[7]  # the fourth role is o, in block 7
    values = tables.curves["tensor", "model.layers.7.self_attn.o_proj.weight", "update_cosine"].values
    reds = values[1:] > 0
    assert ((shown[1:, 0].astype(int) > shown[1:, 2]) == reds).all()
    assert reds.any() and not reds.all()


@pytest.mark.parametrize("name", ["step_distance", "condition_number", "rank", "alpha", "pruning_mask"])
def test_a_large_network_fits_one_screen_and_says_where_the_rest_is(name):
    figure = DRAW[name](make_tables(300, 150))
    assert figure.get_size_inches()[1] <= MAX_HEIGHT
    assert any("own page" in text for text in texts(figure))
    assert problems(figure) == []
