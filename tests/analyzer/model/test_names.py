"""Names come from files that anyone may have written: ordered as people count, and harmless on a screen."""

from __future__ import annotations

import unicodedata
from hashlib import sha256
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.model.names import is_text, listed, natural_key, printable, slug

HOSTILE = [
    "<script>alert(1)</script>",
    "\"quoted\" 'twice'",
    "two\nlines\r\n",
    "\x1b[31mred\x1b[0m\x9b1m",
    "\u202egnp.exe\u2066",
    "\u2028line\u2029paragraph\x85",
    "nul\x00",
    "zero\u200bwidth\ufeff",
    "lone\udcffbyte",
    "tab\tbed",
]


def test_numbers_in_names_count() -> None:
    in_order = ["epoch_2", "epoch_10", "epoch_100", "layers.2.weight", "layers.10.bias", "layers.10.weight"]
    for shuffled in permutations(in_order):
        assert sorted(shuffled, key=natural_key) == in_order


def test_numbers_at_the_start_and_words_can_be_compared() -> None:
    assert sorted(["10.w", "b.w", "2.w", "", "b", "b.2"], key=natural_key) == ["", "b", "b.2", "b.w", "2.w", "10.w"]


@given(st.text(), st.integers(0, 10**17), st.integers(0, 10**17), st.text())
def test_the_larger_number_comes_later(before: str, first: int, second: int, after: str) -> None:
    before, after = before.rstrip("0123456789"), after.lstrip("0123456789")
    keys = [natural_key(f"{before}{number}{after}") for number in (first, second)]
    assert (keys[0] < keys[1]) == (first < second)


@given(st.lists(st.text(alphabet="ab1290._-²٣", max_size=30)))
def test_any_names_can_be_ordered(names: list[str]) -> None:
    ordered = sorted(names, key=natural_key)
    assert sorted(ordered, key=natural_key) == ordered
    assert sorted(ordered) == sorted(names)


@pytest.mark.parametrize("name", HOSTILE)
def test_fault_15_nothing_that_steers_a_terminal_is_printed(name: str) -> None:
    shown = printable(name)
    assert all(character == " " or unicodedata.category(character)[0] not in "CZ" for character in shown)
    shown.encode("utf-8")


@given(st.text(alphabet=st.characters()))  # lone surrogates included
def test_fault_15_any_name_is_one_harmless_line(name: str) -> None:
    shown = printable(name)
    assert len(shown.splitlines()) <= 1
    assert not set(shown) & set("\x00\x07\x08\x1b\x7f\x9b\u200e\u200f\u202a\u202e\u2066\u2069")
    shown.encode("utf-8")


def test_escapes_are_visible() -> None:
    assert printable("a\nb\x1b[0m\u202e\U000e0001\udcff") == "a\\nb\\x1b[0m\\u202e\\U000e0001\\udcff"
    assert printable("fc1.weight – größe 重み") == "fc1.weight – größe 重み"


@given(st.text(alphabet=st.characters()), st.integers(1, 50))
def test_a_limit_is_kept(name: str, limit: int) -> None:
    shown = printable(name, limit)
    assert len(shown) <= limit
    whole = printable(name)
    if len(whole) <= limit:
        assert shown == whole
    else:
        assert shown.count("…") >= 1
        start, _, _ = shown.partition("…")
        assert whole.startswith(start)


def test_long_lists_say_how_many_more() -> None:
    assert listed(["a", "b"]) == "a and b"
    assert listed([str(number) for number in range(5)]) == "0, 1, 2, 3 and 4"
    assert listed([str(number) for number in range(9)]) == "0, 1, 2, 3, 4 and 4 more"
    assert "\n" not in listed(["a\nb"])
    assert len(listed(["x" * 300])) == 80


@given(st.text(alphabet=st.characters()))
def test_fault_16_a_slug_never_leaves_its_folder(name: str) -> None:
    safe = slug(name)
    assert all(c in "._-" or unicodedata.category(c)[0] in "LM" or unicodedata.category(c) == "Nd" for c in safe)
    assert safe.strip(".-") == safe
    assert len(safe.encode()) <= 80
    assert unicodedata.is_normalized("NFC", safe) and slug(safe) == safe


def test_a_slug_keeps_the_letters_and_digits_of_any_script() -> None:
    for name in ("größe-1", "重み", "实验٣", "веса.v2", "हिन्दी", "epoch_10"):
        assert slug(name) == name
    assert slug("cafe\u0301") == slug("café") == "café"
    assert slug("run ❤\ufe0f 2 / x²") == "run-2-x"
    assert slug("★") == ""
    one, two = slug("重" * 200 + "一"), slug("重" * 200 + "二")
    assert one != two and one.startswith("重" * 23 + "-") and len(one.encode()) == 78
    assert slug("a" * 79 + "重").startswith("a" * 71 + "-")


@pytest.mark.parametrize("name", ["con", "NUL", "aux.txt", "Com1", "lpt9.tar.gz", " prn"])
def test_a_slug_is_no_device_of_windows(name: str) -> None:
    assert slug(name) == f"run-{name.strip()}"
    assert slug("console") == "console" and slug("com10") == "com10"


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "..", ".", "", "a/b", "a\\b", "x" * 300, "nul\x00"])
def test_fault_16_names_that_would_be_paths(name: str) -> None:
    assert slug(name) not in (".", "..")
    assert "/" not in slug(name)
    assert "\\" not in slug(name)


def test_names_that_cannot_be_stored_are_known() -> None:
    assert is_text("größe 重み \U0001f600\n")
    assert is_text("")
    assert not is_text("epoch_1_\udcff.safetensors")


@pytest.mark.parametrize(
    ("limit", "shown"),
    [(10, "abcdefghij"), (9, "abcd…ghij"), (8, "abc…ghij"), (3, "a…j"), (2, "…j"), (1, "…"), (0, "abcdefghij")],
)
def test_the_middle_of_a_long_name_is_cut_out(limit: int, shown: str) -> None:
    assert printable("abcdefghij", limit) == shown


def test_how_many_names_are_listed_and_how_long_they_are_may_be_chosen() -> None:
    assert listed(["a", "b", "c"], most=2) == "a, b and 1 more"
    assert listed(["a", "b", "c"], most=3) == "a, b and c"
    assert listed([str(number) for number in range(6)]) == "0, 1, 2, 3, 4 and 1 more"
    assert listed([]) == ""
    assert listed(["x" * 300], limit=0) == "x" * 300 and listed(["abcdef"], limit=3) == "a…f"
    assert listed(["x" * 80]) == "x" * 80 and "…" in listed(["x" * 81])


def test_a_sort_key_takes_at_most_eighteen_digits_together_and_no_other_digits_than_0_to_9() -> None:
    assert natural_key("a12b") == ((0, 0, "a"), (1, 12, ""), (0, 0, "b"))
    assert natural_key("") == () and natural_key("007") == ((1, 7, ""),)
    assert natural_key("1" * 19) == ((1, int("1" * 18), ""), (1, 1, ""))
    assert natural_key("٣") == ((0, 0, "٣"),)


@pytest.mark.parametrize(
    ("character", "is_valid"), [("\ud7ff", True), ("\ud800", False), ("\udfff", False), ("\ue000", True)]
)
def test_surrogates_alone_are_no_text(character: str, is_valid: bool) -> None:
    assert is_text(f"a{character}b") is is_valid


def test_a_slug_is_cut_above_eighty_bytes() -> None:
    assert slug("a" * 80) == "a" * 80
    digits = sha256(b"a" * 81).hexdigest()[:8]
    assert slug("a" * 81) == "a" * 71 + "-" + digits
    name = "a" * 70 + "." + "b" * 20
    assert slug(name) == "a" * 70 + "-" + sha256(name.encode()).hexdigest()[:8]
    assert slug("a  b--c") == "a-b-c" and slug(".-a-.") == "a" and slug("_a_") == "_a_"


@pytest.mark.parametrize("before", ["", ".", "_", "-"])
def test_a_combining_mark_needs_a_letter_before_it(before: str) -> None:
    assert slug(f"x{before}\u0903y") == ("x\u0903y" if not before else f"x{before}-y".replace("--", "-"))
    assert slug("\u0903y") == "y"
