"""Pickles are read, never obeyed: the interpreter against the library's, and against what would run or eat memory."""

from __future__ import annotations

import json
import math
import os
import pickle
import pickletools
import random
import subprocess
import sys
import time
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import STRESS, SUPPORT, full_count
from formats_testing import CHECKOUT, PICKLE_TOKENS, hostile_bodies, mutated
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.errors import CheckpointError
from analyzer.formats import pickle_trees, pickles
from analyzer.formats.pickle_trees import DEEPEST, Unknown, tree
from analyzer.formats.pickles import interpret

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def read(data: bytes) -> object:
    return tree("file", interpret("file", data, {}), len(data))


def assert_refused(data: bytes, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(data)
    assert str(caught.value).startswith("file: ")
    for word in words:
        assert word in str(caught.value)


# ------------------------------------------------------------------------------------------------ sound pickles

TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats(allow_nan=False) | TEXT
KEYS = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.lists(inner, max_size=5).map(tuple) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    """Equal in value and in type, all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(x, y) for x, y in zip(a.values(), b.values(), strict=True))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b) and (not isinstance(a, float) or math.copysign(1, a) == math.copysign(1, b))


@settings(deadline=None, max_examples=full_count(5000, 300))
@given(VALUES, st.sampled_from(PROTOCOLS))
def test_plain_values_are_read_as_the_library_reads_them(value: Any, protocol: int) -> None:
    assert same(read(pickle.dumps(value, protocol)), value)
    assert same(read(pickletools.optimize(pickle.dumps(value, protocol))), value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_like_a_plain_value_becomes_one(protocol: int) -> None:
    value = {"ordered": OrderedDict(a=1, b=2), "set": {5}, "frozen": frozenset([6])}
    assert read(pickle.dumps(value, protocol)) == {"ordered": {"a": 1, "b": 2}, "set": [5], "frozen": [6]}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("number", [np.float64(0.1), np.float32(0.25), np.int64(-7), np.float16(1.5), np.bool_(True)])
def test_numbers_of_numpy(number: Any, protocol: int) -> None:
    assert same(read(pickle.dumps(number, protocol)), number.item())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_no_plain_value_is_a_name(protocol: int) -> None:
    assert isinstance(read(pickle.dumps(b"bytes", protocol)), Unknown)
    assert isinstance(read(pickle.dumps(1j, protocol)), Unknown)
    assert isinstance(read(pickle.dumps(np.zeros(3), protocol)), Unknown)
    assert read(pickle.dumps(Path, protocol)) == Unknown("pathlib.Path")
    assert read(pickle.dumps(Example(), protocol)) == Unknown(f"{Example.__module__}.Example")


class Example:
    def __init__(self) -> None:
        self.value = {"a": [1, 2]}


def test_keys_that_cannot_be_hashed_safely_do_not_take_each_other_s_place() -> None:
    value = read(pickle.dumps({(0, 1): "a", (1, 2): "b", b"c": "c", 2**70: "d", "e": "e"}))
    assert isinstance(value, dict)
    assert list(value.values()) == ["a", "b", "c", "d", "e"]
    assert all(isinstance(key, Unknown) for key in list(value)[:4])


@pytest.mark.parametrize("text", [r"S'a\x41\n\'\\'", "S'plain'", 'S"q\'"', r"S'\xc3\xa9'", r"S'\xff'"])
def test_text_of_protocol_0(text: str) -> None:
    data = text.encode() + b"\n."
    expected = pickle.loads(data, encoding="bytes")
    try:
        assert read(data) == expected.decode()
    except UnicodeDecodeError:
        assert read(data) == expected.decode("latin-1")


@pytest.mark.parametrize("text", ["é\\n", "\\", "\U0001f600", "a\nb\r\x00\x1a", "中"])
def test_unicode_of_protocol_0(text: str) -> None:
    assert read(pickle.dumps(text, 0)) == text


def test_every_opcode_is_known() -> None:
    known = {code for code in range(256) if pickles._OPERATIONS[code]} | {ord(".")}
    assert known == {ord(opcode.code) for opcode in pickletools.opcodes}


# ------------------------------------------------------------------------------------------------ damaged ones

UNSOUND = {
    "empty": b"",
    "no end": b"N",
    "nothing on the stack": b".",
    "unknown opcode": b"\xf0.",
    "bytes after the end": b"N.N",
    "a newer protocol": b"\x80\x06N.",
    "text that breaks off": b"X\x05\x00\x00\x00abc.",
    "4 GB of text": b"X\xff\xff\xff\xffabc.",
    "2**63 bytes": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "a frame too long": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",
    "a number of 2 GB": b"\x8b\xff\xff\xff\x7fabc.",
    "a number of 5000 digits": b"L" + b"9" * 5000 + b"L\n.",
    "not UTF-8": b"X\x01\x00\x00\x00\xff.",
    "a lone surrogate": b"X\x03\x00\x00\x00\xed\xa0\x80.",
    "a lone surrogate, protocol 0": b"V\\ud800\n.",
    "a character beyond Unicode": b"V\\U00110000\n.",
    "an unknown escape": b"S'\\q'\n.",
    "a string without quotes": b"Sabc\n.",
    "not kept": b"h\x00.",
    "kept from nothing": b"q\x00N.",
    "no mark": b"t.",
    "no mark to pop": b"1.",
    "a tuple of too little": b"N\x86.",
    "an item for None": b"NNa.",
    "an item for a tuple": b")Na.",
    "a key for a list": b"]NNs.",
    "a key without a value": b"}(Nu.",
    "a call of None": b"N)R.",
    "a call of text": b"U\x01a)R.",
    "a call of a list": b"])R.",
    "a call without arguments": b"cos\nsystem\nNR.",
    "a global of numbers": b"K\x01K\x02\x93.",
    "a state for nothing": b"Nb.",
    "too many arguments": b"ccollections\nOrderedDict\n]]]\x87R.",
    "a dictionary of no pairs": b"ccollections\nOrderedDict\n]K\x01a\x85R.",
    "a line without end": b"cos",
}


@pytest.mark.parametrize("data", UNSOUND.values(), ids=UNSOUND.keys())
def test_fault_04_not_sound(data: bytes) -> None:
    assert_refused(data, "its pickle is invalid")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_fault_04_cut_anywhere(protocol: int) -> None:
    whole = pickle.dumps({"a": [1, 2.5, "text", (None, True)], "b": {"c": 2**70}, "d": Example()}, protocol)
    for length in range(len(whole)):
        assert_refused(whole[:length])
    read(whole)


# ------------------------------------------------------------------------------------------------ hostile ones


@pytest.mark.parametrize("name", hostile_bodies(Path("canary")).keys())
def test_fault_21_nothing_runs(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    body = hostile_bodies(canary)[name]
    value = read(b"]" + body + b"a.")
    assert isinstance(value, list)
    assert len(value) == 1
    assert isinstance(value[0], (Unknown, dict, list)), value
    assert not canary.exists()


def test_fault_21_the_bodies_are_hostile_indeed(tmp_path: Path) -> None:
    """The library's unpickler does create the canary: else the test above would say nothing."""
    canaries = {name: tmp_path / f"canary{number}" for number, name in enumerate(hostile_bodies(tmp_path))}
    bodies = [hostile_bodies(canary)[name] + b"." for name, canary in canaries.items()]
    script = (
        "import contextlib, copyreg, json, pickle, subprocess, sys, formats_testing\n"
        "copyreg.add_extension('os', 'system', 0xEE)\n"
        "for body in json.load(sys.stdin):\n"
        "    with contextlib.suppress(Exception):\n"
        "        made = pickle.loads(bytes.fromhex(body))\n"
        "        if isinstance(made, subprocess.Popen): made.wait()\n"
    )
    path = os.pathsep.join([str(CHECKOUT), str(SUPPORT)])
    command = [sys.executable, "-c", script]
    text = json.dumps([body.hex() for body in bodies])
    subprocess.run(command, input=text, text=True, check=True, timeout=60, env={**os.environ, "PYTHONPATH": path})
    harmless = [name for name, canary in canaries.items() if not canary.exists()]
    assert len(harmless) <= 10, harmless  # those that need torch, or only keep what another would call


@pytest.mark.parametrize(
    "opening", [b"]", b"(", b"}U\x01a", b"]\x94", b")"], ids=["list", "mark", "dict", "memo", "tuple"]
)
def test_fault_03_nested_100_000_deep(opening: bytes) -> None:
    depth = 100_000
    closing = {b"]": b"a", b"(": b"t", b"}U\x01a": b"s", b"]\x94": b"a", b")": b"\x85"}[opening]
    if opening == b")":
        data = opening + closing * depth + b"."
    elif opening == b"(":
        data = opening * depth + closing * depth + b"."
    else:
        last = b"N" + closing if opening == b"}U\x01a" else b""
        data = opening * depth + last + closing * (depth - 1) + b"."
    value, levels = read(data), 0
    while isinstance(value, (list, tuple, dict)) and value:
        value, levels = (next(iter(value.values())) if isinstance(value, dict) else value[0]), levels + 1
    assert levels == DEEPEST
    assert value == Unknown("nested too deeply")


def test_fault_03_deep_by_way_of_what_was_read_before() -> None:
    """Each list holds the one before at a depth of 60: the sum may not go deeper than allowed."""
    data = b"(]q\x00"
    for number in range(1, 200):
        data += b"]" * 60 + b"h" + bytes([number - 1]) + b"a" * 60 + b"q" + bytes([number])
    value = read(data + b"l.")

    def height(value: Any) -> int:
        return 1 + max(map(height, value), default=0) if isinstance(value, list) else 0

    assert height(value) <= DEEPEST + 1


def test_fault_21_a_container_inside_itself() -> None:
    items: list[Any] = [1]
    items.append(items)
    items.append(({"again": items},))
    inside = Unknown("a container inside itself")
    assert read(pickle.dumps(items)) == [1, inside, ({"again": inside},)]


def test_fault_22_shared_lists_that_double(monkeypatch: pytest.MonkeyPatch) -> None:
    laughs = b"]" + b"".join(b"q%c0](h%ch%ce" % (n, n, n) for n in range(60)) + b"."
    assert_refused(laughs, "more than")
    value: Any = "x"
    for _ in range(10):
        value = [value, value]
    monkeypatch.setattr(pickle_trees, "MOST_VALUES", 3000)
    assert read(pickle.dumps(value)) == value
    monkeypatch.setattr(pickle_trees, "MOST_VALUES", 2000)
    assert_refused(pickle.dumps(value), "2000")


def test_fault_22_a_place_in_the_memo_allocates_nothing() -> None:
    tracemalloc.start()
    assert read(b"Nr\xff\xff\xff\x7f0Nr\xff\xff\xff\xff0Np9999999999\n.") is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


BOMBS = {
    "lists": b"]",
    "dictionaries": b"}",
    "dictionaries with an item": b"}NNs",
    "marks": b"(",
    "numbers": b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    "floats": b"G?\xf0\x00\x00\x00\x00\x00\x01",
    "tuples": b"N\x85",
    "names": b"ca\nb\n",
    "text": b"U\x01a",
    "wide text": b"X\x08\x00\x00\x00abcd\xf0\x9f\x98\x80",
    "empty text": b"V\n",
    "copies": b"2",
    "calls": b"ccollections\ndefaultdict\n)R",
    "dictionaries from a list": b"ccollections\nOrderedDict\nh\x00\x85R",
    "bytes from text": b"c_codecs\nencode\nh\x01X\x06\x00\x00\x00latin1\x86R",
    "extensions": b"\x82\x01",
}


@pytest.mark.parametrize("name", BOMBS)
def test_fault_22_memory_is_counted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long row of one opcode: refused once it takes too much, and what it takes is not underestimated grossly."""
    limit = 4 << 20
    monkeypatch.setattr(pickles, "MEMORY_LIMIT", limit)
    count = 600_000
    start = b"](" + b"(NNt" * 1000 + b"eq\x00" + b"X\x10\x27\x00\x00" + b"a" * 10_000 + b"q\x01"
    tracemalloc.start()
    assert_refused(start + BOMBS[name] * count + b".", "take more than 4 MiB")
    peak = tracemalloc.get_traced_memory()[1] - 2 * count * len(BOMBS[name])
    tracemalloc.stop()
    assert peak < 2 * limit


def test_fault_22_memo_bombs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "MEMORY_LIMIT", 20 << 20)
    assert_refused(b"N" + b"\x94" * 1_000_000 + b".", "take more than 20 MiB")


def test_a_large_state_dict_is_far_from_the_limit() -> None:
    value = {f"layers.{number}.weight": [number, 0.5, (1, 2)] for number in range(100_000)}
    started = time.process_time()
    assert same(read(pickle.dumps(value, 2)), value)
    assert time.process_time() - started < 30


def test_integers_that_are_too_long_are_names() -> None:
    assert read(pickle.dumps(2**600, 2)) == Unknown("an integer too long")
    assert read(pickle.dumps(-(2**500), 2)) == -(2**500)


def test_names_are_cut() -> None:
    value = read(b"c" + b"a" * 10_000 + b"\n" + b"b" * 10_000 + b"\n.")
    assert isinstance(value, Unknown)
    assert len(value.name) == pickles.LONGEST_NAME


# ------------------------------------------------------------------------------------------------ mutants


@pytest.mark.parametrize("seed", range(10 if STRESS else 1))
def test_fault_45_mutants(seed: int) -> None:
    generator = random.Random(seed)
    value = {"a": [1, 2.5, "text", (None, True)], "b": OrderedDict(c=2**70, d=b"x"), "e": Example(), "f": np.float64(2)}
    sound = [pickle.dumps(value, protocol) for protocol in PROTOCOLS]
    accepted = 0
    for _ in range(full_count(10_000, 3_000)):
        try:
            read(mutated(generator.choice(sound), generator, PICKLE_TOKENS))
            accepted += 1
        except CheckpointError:
            pass
    assert accepted > 100
