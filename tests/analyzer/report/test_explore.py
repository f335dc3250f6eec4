"""The interactive page: its data are the store's, and names in it stay text."""

from __future__ import annotations

import json
from base64 import b64decode

import numpy as np
import pytest
from builders import random_walk
from commands import measured, weightlapse

import analyzer
from analyzer.report.explore import AGGREGATES

FILES = {"explore.html", "explore.js", "data.js", "plotly.min.js"}


@pytest.fixture
def store(make_run, tmp_path):
    measured(make_run(random_walk(4)), tmp_path / "s.sqlite", ("motion", "size", "spectrum", "random_matrix"))
    return tmp_path / "s.sqlite"


def runs_of(folder):
    text = (folder / "data.js").read_text()
    assert text.startswith("const RUNS = ") and text.endswith(";\n") and text.isascii() and "<" not in text
    return json.loads(text.removeprefix("const RUNS = ").removesuffix(";\n"))


def numbers(text, dtype="<f4"):
    return np.frombuffer(b64decode(text), dtype)


def test_the_data_of_the_page_are_the_numbers_of_the_store(store, tmp_path):
    analyzer.write_report(store, tmp_path / "out")
    (run,) = runs_of(tmp_path / "out")
    measurements = analyzer.open_measurements(store)
    names = [one["name"] for one in run["series"]]
    assert (run["axis"], run["axisLabel"]) == ([0, 1, 2, 3], "epoch")
    for metric in run["metrics"]:
        values = numbers(metric["values"]).reshape(len(names), 4)
        for name, found in zip(names[len(AGGREGATES) :], values[len(AGGREGATES) :], strict=True):
            expected = measurements.series(name, metric["name"]).values
            np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert {"condition_number", "step_distance"} <= {metric["name"] for metric in run["metrics"]}


def test_histograms_count_every_singular_value_at_every_checkpoint(store, tmp_path):
    analyzer.write_report(store, tmp_path / "out")
    (run,) = runs_of(tmp_path / "out")
    measurements = analyzer.open_measurements(store)
    for layer, spectrum in zip(run["series"][len(AGGREGATES) :], run["spectra"], strict=True):
        counts = numbers(spectrum["counts"], "<u2").reshape(4, -1)
        sizes = [len(values) for values in measurements.spectra(layer["name"]).values()]
        assert counts.sum(axis=1).tolist() == sizes
        assert len(numbers(spectrum["bins"])) == counts.shape[1] + 1


def test_every_layer_links_to_the_page_and_back(store, tmp_path):
    analyzer.write_report(store, tmp_path / "out")
    (run,) = runs_of(tmp_path / "out")
    for layer in run["series"][len(AGGREGATES) :]:
        page = (tmp_path / "out" / layer["page"]).read_text()
        assert f'href="../explore.html#layer={layer["name"]}"' in page
    assert 'href="explore.html"' in (tmp_path / "out" / "index.html").read_text()


def test_without_it_nothing_of_it_is_left_and_nothing_links_to_it(store, tmp_path):
    out = tmp_path / "out"
    assert weightlapse("report", store, "--out", out).code == 0
    assert {path.name for path in out.iterdir()} >= FILES
    assert weightlapse("report", store, "--out", out, "--no-explore").code == 0
    assert not FILES & {path.name for path in out.iterdir()}
    pages = [out / "index.html", *(out / "layers").iterdir()]
    assert len(pages) > 1 and not any("explore.html" in page.read_text() for page in pages)


def test_the_page_has_a_policy_of_its_own_and_only_files_beside_it(store, tmp_path):
    analyzer.write_report(store, tmp_path / "out")
    page = (tmp_path / "out" / "explore.html").read_text()
    assert "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:" in page
    assert "http:" not in page and "https:" not in page and "<style" not in page and "style=" not in page


def test_hostile_names_are_escaped_in_the_data(make_run, tmp_path):
    states = [{"</script><img src=x onerror=alert(1)>.weight": state["fc1.weight"]} for state in random_walk(3)]
    measured(make_run(states), tmp_path / "h.sqlite", ("motion",))
    analyzer.write_report(tmp_path / "h.sqlite", tmp_path / "out")
    (run,) = runs_of(tmp_path / "out")
    assert run["series"][-1]["name"] == "</script><img src=x onerror=alert(1)>.weight"
