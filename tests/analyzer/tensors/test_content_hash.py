"""The hash of a checkpoint's content against its definition, written out again here."""

from __future__ import annotations

from dataclasses import replace

from blake3 import blake3

from analyzer.model.run import Checkpoint, TensorInfo
from analyzer.model.tables import StoredElements
from analyzer.tensors.content_hash import content_hash

A, B = TensorInfo("a", "float32", (2, 2), ()), TensorInfo("b", "float32", (2,), ())
CHECKPOINT = Checkpoint("c", "", 0.0, None, {}, {"b": B, "a": A}, ())
ELEMENTS = {"a": StoredElements("11" * 16), "b": StoredElements("00" * 16)}


def test_it_is_that_of_the_sorted_lines_of_hash_and_name():
    lines = f"{'00' * 16} b\n{'11' * 16} a"
    assert content_hash(CHECKPOINT, ELEMENTS) == blake3(lines.encode()).hexdigest(length=16)


def test_names_and_contents_both_count():
    renamed = replace(CHECKPOINT, tensors={"b": B, "c": replace(A, name="c")})
    assert content_hash(renamed, {"c": ELEMENTS["a"], "b": ELEMENTS["b"]}) != content_hash(CHECKPOINT, ELEMENTS)
    swapped = {"a": ELEMENTS["b"], "b": ELEMENTS["a"]}
    assert content_hash(CHECKPOINT, swapped) != content_hash(CHECKPOINT, ELEMENTS)


def test_there_is_none_where_a_readable_tensor_was_not_read():
    assert content_hash(CHECKPOINT, {"a": ELEMENTS["a"]}) is None
    assert content_hash(CHECKPOINT, {**ELEMENTS, "b": StoredElements()}) is None
    assert content_hash(replace(CHECKPOINT, tensors={}), {}) is None


def test_a_tensor_that_cannot_be_read_does_not_count():
    packed = replace(B, name="p", unsupported="elements are packed")
    with_packed = replace(CHECKPOINT, tensors={**CHECKPOINT.tensors, "p": packed})
    assert content_hash(with_packed, ELEMENTS) == content_hash(CHECKPOINT, ELEMENTS)
