"""What an error of writing a file says."""

from __future__ import annotations

import errno
import os

import pytest

from analyzer.errors import ReportError
from analyzer.store.files import write_whole


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Make room there, or choose another place."),
        (errno.EROFS, "Make it writable, or choose another place."),
        (errno.EIO, "Choose another place."),
    ],
)
def test_an_error_of_writing_names_path_cause_and_remedy(tmp_path, monkeypatch, number, remedy):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    path = tmp_path / "index.html"
    with pytest.raises(ReportError) as raised:
        write_whole(path, b"new")
    assert str(raised.value) == f"{path}: cannot be written: {os.strerror(number)}. {remedy}"
    assert list(tmp_path.iterdir()) == []
