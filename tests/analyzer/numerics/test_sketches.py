"""Sketches of steps: what they are, and how well they tell distances."""

from __future__ import annotations

from hashlib import sha256, shake_256

import numpy as np
import pytest

from analyzer.model.trajectory import StepSketch
from analyzer.numerics.elementwise import element_sums
from analyzer.numerics.sketches import Sketcher, SketchKey

NAMES = ("w", "layers.0.weight", "ü")


CHUNK = 1 << 17
BITS = "".join(f"{byte:08b}" for byte in shake_256(b"weightlapse").digest(12_000))


def reference(name: str, step: np.ndarray, buckets: int, chunk: int = CHUNK) -> np.ndarray:
    """The sketch by its definition, element by element; shares no code with ours."""
    digest = sha256(name.encode()).digest()
    first = int.from_bytes(digest[:8], "little") % buckets
    offset = int.from_bytes(digest[8:16], "little") % 65521
    element = np.arange(step.size)
    number, within = element // chunk, element % chunk
    place = (offset + number * 40503) % 65521 + within // buckets * (buckets // 8) + within % buckets
    signs = 1 - 2 * np.array(list(map(int, BITS)))[place]
    sums = np.zeros(buckets)
    np.add.at(sums, (first + element) % buckets, signs * step)
    return sums


def sketched(name: str, step: np.ndarray, tensors: int, chunk: int = CHUNK) -> np.ndarray:
    sketcher = Sketcher(SketchKey.of(name, tensors))
    for start in range(0, step.size, chunk):
        sketcher.add(step[start : start + chunk])
    sketch = sketcher.sketch()
    total = np.zeros(sketch.buckets)
    sketch.add_to(total)
    return total


@pytest.mark.parametrize(
    ("tensors", "buckets"), [(1, 4099), (32, 4099), (33, 1031), (128, 1031), (129, 257), (10**6, 257)]
)
def test_the_number_of_buckets_follows_the_number_of_tensors(tensors, buckets):
    assert SketchKey.of("w", tensors).buckets == buckets
    assert all(buckets % divisor for divisor in range(2, buckets))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("tensors", "buckets"), [(1, 4099), (100, 1031), (500, 257)])
@pytest.mark.parametrize("size", [1, 256, 5000, 300_000])
def test_it_is_what_its_definition_says(name, tensors, buckets, size):
    step = np.random.default_rng(size).standard_normal(size)
    np.testing.assert_allclose(sketched(name, step, tensors), reference(name, step, buckets), rtol=0, atol=1e-11)


@pytest.mark.parametrize("chunk", [777, 4099, 100_000])
def test_chunks_of_other_lengths_go_by_the_same_definition(chunk):
    step = np.random.default_rng(1).standard_normal(300_000)
    np.testing.assert_allclose(sketched("w", step, 1, chunk), reference("w", step, 4099, chunk), rtol=0, atol=1e-11)


def test_a_short_tensor_keeps_no_more_numbers_than_elements():
    step = np.arange(1.0, 6.0)
    sketcher = Sketcher(SketchKey(4099, 4097, 0))
    sketcher.add(step)
    sketch = sketcher.sketch()
    np.testing.assert_array_equal(np.abs(sketch.numbers), step)
    total = np.zeros(4099)
    sketch.add_to(total)
    assert np.flatnonzero(total).tolist() == [0, 1, 2, 4097, 4098]  # the buckets are a circle


def test_the_sums_of_a_walk_have_the_sketch_of_the_step():
    generator = np.random.default_rng(3)
    before, now = generator.standard_normal((2, 700, 300)).astype(np.float32)
    found = element_sums(now, before, key=SketchKey.of("w", 1)).sketch
    assert isinstance(found, StepSketch)
    total = np.zeros(4099)
    found.add_to(total)
    expected = reference("w", now.reshape(-1).astype(np.float64) - before.reshape(-1), 4099)
    np.testing.assert_allclose(total, expected, rtol=0, atol=1e-11)
    assert element_sums(now, before).sketch is None
    assert element_sums(now, key=SketchKey.of("w", 1)).sketch is None


def relative_error(steps: dict[str, np.ndarray], tensors: int) -> float:
    total = sum(sketched(name, step, tensors) for name, step in steps.items())
    exact = sum(float(step @ step) for step in steps.values())
    return float(total @ total) / exact - 1


@pytest.mark.parametrize("tensors", [32, 128, 1000])
def test_tensors_that_move_alike_do_not_add_up_as_one(tensors):
    """Twins with one set of signs would read √2 times too far, and scalars in one bucket would read anything."""
    generator = np.random.default_rng(4)
    buckets = SketchKey.of("w", tensors).buckets
    bound = 6 * np.sqrt(2 / buckets)  # of a squared norm
    twin = generator.standard_normal(20_000)
    assert abs(relative_error({f"layer.{number}": twin for number in range(tensors)}, tensors)) < bound
    scalars = {f"layer.{number}.scale": np.ones(1) for number in range(tensors)}
    assert abs(relative_error(scalars, tensors)) < max(bound, 6 * np.sqrt(2 / tensors))
    assert abs(relative_error({"w": np.ones(500_000)}, tensors)) < 3 * bound  # all elements move alike
    rows = np.zeros((1000, 257))
    rows[:, 3] = 1.0  # one column
    assert abs(relative_error({"w": rows.reshape(-1)}, tensors)) < bound * (3 if buckets == 257 else 1)
