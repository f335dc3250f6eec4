"""Tables as files: compressed where they would be large, and which correlations they list."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from builders import random_walk
from commands import read_csv, weightlapse
from curve_tables import tables_of

from analyzer.model.tables import is_tested
from analyzer.report import csv_tables
from analyzer.report.csv_tables import as_lines, table_file, with_header
from analyzer.statistics.correlating import SIGNIFICANT, STRONGEST, Correlations

ROWS = [("a", 0.1, None), ("=b", 2.0, "x,y")] * 3000
PLAIN = with_header("name,value,text", ROWS)


@pytest.mark.parametrize(("most", "name"), [(len(PLAIN), "t.csv"), (len(PLAIN) - 1, "t.csv.gz"), (20, "t.csv.gz")])
def test_a_table_is_compressed_if_it_were_larger_than_the_limit(
    most: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_tables, "MOST_BYTES", most)
    path, data = table_file("t", ("name,value,text", as_lines(ROWS)))
    assert path == name
    assert (gzip.decompress(data) if name.endswith("gz") else data) == PLAIN
    assert data == table_file("t", ("name,value,text", as_lines(ROWS)))[1]
    if name.endswith("gz"):
        assert data[3] == 0 and data[4:8] == bytes(4)  # neither a name nor a time


def test_page_and_manifest_name_a_compressed_table_and_the_other_file_is_removed(
    make_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analyzer.report.writer.draw_figures", lambda *_: [])
    out = tmp_path / "report"
    assert weightlapse("report", make_run(random_walk(4)), "--out", out).code == 0
    plain = (out / "data/measurements.csv").read_bytes()
    (out / "data/mine.csv").write_text("not ours")
    monkeypatch.setattr(csv_tables, "MOST_BYTES", 5000)
    assert weightlapse("report", out).code == 0
    assert gzip.decompress((out / "data/measurements.csv.gz").read_bytes()) == plain
    assert not (out / "data/measurements.csv").exists() and (out / "data/mine.csv").exists()
    assert '"data/measurements.csv.gz"' in (out / "manifest.json").read_text()
    for page in ("index.html", "layers/001.html"):
        text = (out / page).read_text(encoding="utf-8")
        assert 'data/measurements.csv.gz"' in text and 'data/measurements.csv"' not in text
    assert 'href="data/checkpoints.csv"' in (out / "index.html").read_text(encoding="utf-8")
    monkeypatch.setattr(csv_tables, "MOST_BYTES", 50_000_000)
    assert weightlapse("report", out).code == 0
    assert not (out / "data/measurements.csv.gz").exists()


def test_the_lines_of_measurements_are_those_of_their_rows(make_run, tmp_path: Path) -> None:
    from analyzer.report.reading import read_tables
    from analyzer.store.store import open_store

    assert weightlapse("measure", make_run(random_walk(4)), "--store", tmp_path / "s.sqlite").code == 0
    with open_store(str(tmp_path / "s.sqlite")) as store:
        tables = read_tables(store, "run")
        _, lines = csv_tables.tables_of(store, [tables])["measurements"]
        assert "".join(lines) == "".join(as_lines(csv_tables.rows("measurements", store, [tables])))


def many(count: int, related: int = 0):
    """Tables of a run with many layers, some of which change with the score."""
    rng = np.random.default_rng(0)
    score = np.cumsum(rng.standard_normal(60))
    curves = {
        ("tensor", f"layer{number}", "rms"): 50 + np.cumsum(rng.standard_normal(60)) + 9 * score * (number < related)
        for number in range(count)
    }
    curves["mean", "", "rms"] = 50 + np.cumsum(rng.standard_normal(60))
    return tables_of(curves, {"accuracy": score})


def test_leading_correlations_are_the_means_the_significant_and_the_strongest() -> None:
    found = Correlations(many(40, related=15))
    rows, every = list(found.leading("rms")), found["rms"]
    assert rows and [row for row in every if row in rows] == rows
    named = {row.tensor for row in rows}
    significant = {row.tensor for row in every if row.q_value is not None and row.q_value <= SIGNIFICANT}
    assert len(significant) > STRONGEST and significant <= named and "" in named
    assert len(named) < 25
    for tensor in named:  # all variants of a pair
        assert [row for row in rows if row.tensor == tensor] == [row for row in every if row.tensor == tensor]


def test_the_strongest_are_listed_though_none_is_significant_and_few_are_all_listed() -> None:
    found = Correlations(many(40))
    listed = {row.tensor for row in found.leading("rms")} - {""}
    strength = {
        row.tensor: abs(row.coefficient)
        for row in sorted(found["rms"], key=lambda row: abs(row.coefficient or 0))
        if is_tested(row) and row.scope == "tensor" and row.coefficient is not None
    }
    assert len(listed) >= STRONGEST
    assert set(sorted(strength, key=lambda name: strength[name])[-STRONGEST:]) <= listed
    few = Correlations(many(STRONGEST))
    assert tuple(few.leading("rms")) == few["rms"]


def test_all_correlations_are_listed_on_request(make_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analyzer.report.writer.draw_figures", lambda *_: [])
    monkeypatch.setattr("analyzer.statistics.correlating.STRONGEST", 1)
    out = tmp_path / "report"
    folder = make_run(random_walk(30))
    counts, pages, explored = [], [], []
    for options in ((), ("--all-correlations",)):
        assert weightlapse("report", folder, "--out", out, *options).code == 0
        rows = read_csv(out / "data/correlations.csv")
        counts.append(len(rows))
        explored.append({row["metric"] for row in rows if row["lag"] != "0"})
        pages.append("--all-correlations" in (out / "index.html").read_text(encoding="utf-8"))
    assert counts[0] < counts[1] and pages == [True, False]
    assert explored[0] == {"step_distance", "condition_number"} < explored[1]
    outcome = weightlapse("report", folder, "--single-file", "--all-correlations")
    assert outcome.code == 2 and "--all-correlations" in outcome.err
