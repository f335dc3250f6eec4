"""The path of the weights in its two principal directions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from figure_parts import DRAW, texts
from figure_tables import make_tables

from analyzer.model.run import Finding
from analyzer.model.trajectory import trajectory_of


def tables_on(path: np.ndarray, breaks: tuple[int, ...] = ()):
    """Return the tables of a run whose weights are at the rows of ``path``, without the steps into ``breaks``."""
    steps = [None, *enumerate(np.diff(path, axis=0))]
    for place in breaks:
        steps[place] = None
    return dataclasses.replace(make_tables(4, len(path)), trajectory=trajectory_of(steps, path.shape[1]))


def points(figure) -> np.ndarray:
    (found,) = [np.asarray(one.get_offsets()) for axes in figure.axes for one in axes.collections]
    return found


def test_a_path_in_a_plane_keeps_all_its_distances():
    generator = np.random.default_rng(0)
    plane = np.linalg.qr(generator.standard_normal((40, 2)))[0]
    path = np.cumsum(generator.standard_normal((15, 2)), axis=0) @ plane.T
    figure = DRAW["path"](tables_on(path))
    shown = points(figure)
    for first, second in ((0, 14), (3, 9), (7, 8)):
        true = np.linalg.norm(path[first] - path[second])
        assert np.linalg.norm(shown[first] - shown[second]) == pytest.approx(true)
    assert shown[-1, 0] > shown[0, 0]
    shares = [float(text.split("(")[1].split(" %")[0]) for text in texts(figure) if "of the variance" in text]
    assert len(shares) == 2 and sum(shares) == pytest.approx(100, abs=1) and shares[0] > shares[1]


def test_checkpoints_of_findings_are_named_with_their_number():
    names = tuple(f"epoch_{epoch}.safetensors" for epoch in (3, 9))
    finding = Finding("r", "warning", "It is so.", checkpoints=names, figure="checkpoint_distances", apart=True)
    tables = dataclasses.replace(make_tables(4, 20), findings=(finding,))
    figure = DRAW["path"](tables)
    assert {"1: epoch 3", "1: epoch 9", "epoch 0", "epoch 19"} <= set(texts(figure))


def test_checkpoints_that_cannot_be_compared_are_left_out_and_counted():
    path = np.cumsum(np.random.default_rng(0).standard_normal((12, 30)), axis=0)
    figure = DRAW["path"](tables_on(path, breaks=(4,)))
    assert len(points(figure)) == 8
    assert any(text.startswith("4 checkpoints cannot be compared") for text in texts(figure))


def test_weights_that_never_move_have_no_path():
    assert DRAW["path"](tables_on(np.ones((8, 30)))) is None
