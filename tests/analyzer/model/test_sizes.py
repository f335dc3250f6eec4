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
