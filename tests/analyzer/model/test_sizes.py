"""Sizes as people write and read them."""

from __future__ import annotations

import pytest

from analyzer.model.sizes import parse_size, size_text


@pytest.mark.parametrize(
    ("text", "size"),
    [("4", 4), ("4B", 4), ("500MB", 500_000_000), ("1.5 GB", 1_500_000_000), ("2GiB", 2 << 30), ("3t", 3 * 10**12)],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "4 apples", "1e999GB", "nanMB"])
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write 500MB, 4GB or 2GiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1 kB"), (23_100, "23.1 kB"), (999_600, "1 MB"),
        (264_000_000, "264 MB"), (1_600_000_000, "1.6 GB"), (5 * 10**15, "5000 TB"),
    ],
)  # fmt: skip
def test_a_size_is_told_in_the_unit_that_fits(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("7 B", 7), ("2b", 2), ("1k", 1000), ("1kB", 1000), ("1KiB", 1024), ("1M", 10**6), ("1MiB", 1 << 20),
        ("1G", 10**9), ("3 gb", 3 * 10**9), ("1GiB", 1 << 30), ("1TB", 10**12), ("1TiB", 1 << 40), ("1.9", 1),
        ("1e3", 1000),
    ],
)  # fmt: skip
def test_every_unit_is_known(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (2, "2 bytes"), (999_499, "999 kB"), (999_500, "1 MB"), (1_234_000, "1.23 MB"), (999_499_999, "999 MB"),
        (999_500_000, "1 GB"), (999_499_999_999, "999 GB"), (999_500_000_000, "1 TB"), (10**12, "1 TB"),
        (999 * 10**12, "999 TB"), (999_500 * 10**9, "1000 TB"),
    ],
)  # fmt: skip
def test_three_digits_are_rounded_before_the_unit_is_chosen(size: int, text: str) -> None:
    assert size_text(size) == text
