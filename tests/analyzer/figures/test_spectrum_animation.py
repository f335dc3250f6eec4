"""The animation of a spectrum: frames, size, and the same bytes each time."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
from figure_tables import make_tables
from PIL import Image

from analyzer.figures.spectrum_animation import spectrum_animation


def frames(data: bytes) -> list[np.ndarray]:
    image = Image.open(io.BytesIO(data))
    found = []
    for index in range(image.n_frames):
        image.seek(index)
        found.append(np.asarray(image.convert("RGB")))
    return found


def test_there_is_a_frame_for_each_checkpoint_and_it_changes():
    found = frames(spectrum_animation(make_tables(2, 7), "fc1.weight"))
    assert len(found) == 7
    assert found[0].shape == (360, 640, 3)
    assert all((first != second).any() for first, second in pairwise(found))


def test_a_long_run_has_at_most_150_frames_below_2_mb():
    data = spectrum_animation(make_tables(1, 200), "out.weight")
    assert Image.open(io.BytesIO(data)).n_frames == 150
    assert len(data) < 2e6


def test_the_same_tables_give_the_same_bytes():
    tables = make_tables(1, 5)
    assert spectrum_animation(tables, "out.weight") == spectrum_animation(tables, "out.weight")
