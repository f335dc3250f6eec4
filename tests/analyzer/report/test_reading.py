"""Reading spectra from a store: those of the checkpoints, in their places, with the edge of the noise."""

from __future__ import annotations

import numpy as np

import analyzer
from analyzer.report.reading import read_tables, with_spectra
from analyzer.store.store import open_store


def test_spectra_are_those_of_the_weights(make_run, tmp_path):
    rng = np.random.default_rng(0)
    states = [{"fc.weight": rng.standard_normal((6, 9)), "fc.bias": np.ones(6)} for _ in range(3)]
    states[1]["fc.weight"][0, 0] = np.nan
    run = analyzer.open_run(make_run(states))
    path = str(tmp_path / "store.sqlite")
    analyzer.measure(run, store=path)
    with open_store(path) as store:
        tables = read_tables(store, run.name)
        assert not tables.spectra  # only reports show them
        found = with_spectra(store, tables).spectra
    assert set(found) == {"fc.weight"}
    spectrum = found["fc.weight"]
    for place in (0, 2):
        expected = np.linalg.svd(states[place]["fc.weight"], compute_uv=False)
        np.testing.assert_allclose(spectrum.leading[place], expected, rtol=1e-9)
    assert np.isnan(spectrum.leading[1]).all()
    assert np.isfinite(spectrum.edge).tolist() == [True, False, True]
    np.testing.assert_array_equal(spectrum.edge, tables.curves["tensor", "fc.weight", "mp_edge"].values)
