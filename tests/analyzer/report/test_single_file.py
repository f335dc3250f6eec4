"""The report as one file: everything inside, the same from Python and the command line; files of others stay."""

from __future__ import annotations

import re

import pytest
from builders import random_walk
from commands import measured, weightlapse

import analyzer
from analyzer.errors import ReportError


def test_the_file_has_everything_inside_and_is_the_same_from_python(make_run, tmp_path):
    store = tmp_path / "s.sqlite"
    measurements = measured(make_run(random_walk(4)), store)
    outcome = weightlapse("report", store, "--single-file", "--out", tmp_path / "one.html")
    assert (outcome.code, outcome.out) == (0, f"{tmp_path / 'one.html'}\n"), outcome.err
    text = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:href|src|srcset)="(?!#|data:image/png;base64,)', text)
    assert 2 * text.count("<figure") == text.count("data:image/png;base64,") > 6  # wide and narrow
    assert re.search(r"Content-Security-Policy\" content=\"default-src &#39;none&#39;", text)
    assert len(text) < 8e6
    analyzer.write_report(measurements, tmp_path / "two.html", single_file=True)
    assert (tmp_path / "two.html").read_text(encoding="utf-8") == text


def test_its_measurements_stay_for_a_report(make_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(random_walk(3))
    assert weightlapse("report", "run", "--single-file").out == "reports/run.html\n"
    assert (tmp_path / "reports/run/measurements.sqlite").is_file()
    assert not (tmp_path / "reports/run/index.html").exists()
    assert weightlapse("report", "run").code == 0


def test_only_a_file_of_our_own_is_replaced(make_run, tmp_path):
    measurements = measured(make_run(random_walk(3)), tmp_path / "s.sqlite")
    file = tmp_path / "mine.html"
    file.write_text("precious")
    with pytest.raises(ReportError, match=r"mine\.html: is not weightlapse's"):
        analyzer.write_report(measurements, file, single_file=True)
    assert file.read_text() == "precious"
    analyzer.write_report(measurements, file, force=True, single_file=True)
    analyzer.write_report(measurements, file, single_file=True)
    with pytest.raises(ReportError, match="is a folder"):
        analyzer.write_report(measurements, tmp_path, single_file=True)
