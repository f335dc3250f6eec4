"""The pages of layers: their findings, neighbors, curves and numbers, many in little time and space."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import numpy as np
from curve_tables import tables_of

from analyzer.model.run import Finding
from analyzer.model.spectra import spectrum_through_time
from analyzer.model.tables import MetricRow, Tables, TensorRow
from analyzer.report.layer_pages import FirstPage, layer_pages
from analyzer.report.layers import layers_of

METRICS = ("relative_step_distance", "condition_number", "effective_rank", "stable_rank", "frobenius_norm",
           "initial_distance", "alpha", "zero_fraction")  # fmt: skip


def network(blocks: int, checkpoints: int) -> Tables:
    """Blocks with two matrices of 48 singular values each and a bias, followed by a head."""
    generator = np.random.default_rng(0)
    names = [f"layers.{n}.self_attn.{role}_proj.weight" for n in range(blocks) for role in "qk"] + ["lm_head.weight"]
    curves = {("tensor", name, metric): 1 + generator.random(checkpoints) for name in names for metric in METRICS}
    biases = [name.replace("weight", "bias") for name in names]
    curves |= {("tensor", name, "frobenius_norm"): generator.random(checkpoints) for name in biases}
    tables = tables_of(curves, {"loss": np.ones(checkpoints)})
    tensors = tuple(
        TensorRow(row.name, row.name.rpartition(".")[0], "vector" if "bias" in row.name else "matrix", (48, 48),
                  None if "bias" in row.name else (48, 48), "linear", "float32")
        for row in tables.tensors
    )  # fmt: skip
    spectra = {
        name: spectrum_through_time(
            name, list(np.sort(generator.random((checkpoints, 48)))[:, ::-1]), np.full(checkpoints, 0.9)
        )
        for name in names
    }
    metrics = {name: MetricRow(name, "size", "1", "", "", 1) for name in METRICS}
    findings = (
        Finding("a", "serious", "The head is odd.", "lm_head.weight", ("c2", "c3"), figure="condition_number"),
        Finding("b", "notice", "A bias is odd.", evidence={"tensors": ["layers.1.self_attn.q_proj.bias"]}),
    )
    return replace(tables, tensors=tensors, spectra=spectra, metrics=metrics, findings=findings)


def pages_of(tables: Tables, folder: str = "layers/") -> dict[str, str]:
    return {path: content.decode() for path, content in layer_pages(tables, folder, "measurements.csv")}


def row_of(page: str, name: str) -> list[str]:
    (row,) = re.findall(rf'<tr><th scope="row">{name}</th>(.*?)</tr>', page, re.DOTALL)
    return [re.sub("<[^>]*>", "", cell).strip() for cell in re.findall("<td.*?>(.*?)</td>", row, re.DOTALL)]


def test_each_matrix_has_a_page_numbered_in_the_order_of_the_network():
    pages = pages_of(network(2, 4), "layers/02-b/")
    assert list(pages) == [f"layers/02-b/00{n}.html" for n in range(1, 6)]
    assert "<h1>layers.1.self_attn.q_proj.weight</h1>" in pages["layers/02-b/003.html"]
    assert 'href="../../report.css"' in pages["layers/02-b/003.html"]


def test_a_page_leads_to_its_neighbors_in_the_network_in_its_role_and_in_its_block():
    page = pages_of(network(3, 4))["layers/003.html"]
    assert row_of(page, "network") == ["← layers.0.self_attn.k_proj.weight", "layers.1.self_attn.k_proj.weight →"]
    assert row_of(page, "role q") == ["← layers.0.self_attn.q_proj.weight", "layers.2.self_attn.q_proj.weight →"]
    assert row_of(page, "block 1") == ["–", "layers.1.self_attn.k_proj.weight →"]


def test_findings_are_on_the_pages_of_their_layers_with_their_numbers_and_marked_in_the_curves():
    pages = pages_of(network(2, 6))
    assert [path for path, page in pages.items() if "The head is odd." in page] == ["layers/005.html"]
    assert [path for path, page in pages.items() if "A bias is odd." in page] == ["layers/003.html"]
    head = pages["layers/005.html"]
    assert '<a class="badge" href="../index.html#run-1-finding-1">1</a>' in head
    assert head.count('<svg class="chart"') == 8
    assert head.count('<g class="mark serious">') == 2  # in the spectrum and in κ, which show what it is about
    assert "mark" not in "".join(re.findall('class="([^"]*)"', pages["layers/001.html"]))


def test_a_finding_about_what_no_chart_shows_is_marked_in_all_of_them():
    tables = network(2, 6)
    about = replace(tables.findings[0], figure="accuracy")
    head = pages_of(replace(tables, findings=(about, *tables.findings[1:])))["layers/005.html"]
    assert head.count('<g class="mark serious">') == head.count('<svg class="chart"') == 8


def test_a_finding_links_to_its_figure_on_the_first_page():
    first = FirstPage("run-2", {"condition_number": 7})
    pages = layer_pages(network(2, 6), "layers/02-b/", "measurements.csv", first)
    head = dict(pages)["layers/02-b/005.html"].decode()
    assert '<a href="../../index.html#run-2-condition_number">Figure 7</a>' in head
    assert "Figure" not in pages_of(network(2, 6))["layers/005.html"]


def test_a_finding_about_the_bias_of_an_unnamed_module_is_of_no_layer():
    tables = network(1, 3)
    tensors = tuple(replace(row, module="") for row in tables.tensors)
    assert [layer.findings for layer in layers_of(replace(tables, tensors=tensors))][:2] == [(), ()]


def test_numbers_tell_where_a_metric_was_lowest_and_highest_and_what_has_no_value():
    tables = network(1, 5)
    key = ("tensor", "lm_head.weight", "condition_number")
    curve = replace(
        tables.curves[key], values=np.array([5.0, 2, np.nan, 9, 7]), statuses=("ok", "ok", "singular", "ok", "ok")
    )
    page = pages_of(replace(tables, curves={**tables.curves, key: curve}))["layers/003.html"]
    assert row_of(page, "condition number") == ["1", "5", "2", "1", "9", "3", "7", "singular at 1"]
    assert 'aria-label="Condition number κ (σ₁/σₙ, a ratio): Condition number κ goes from 5 at epoch 0 to 7 at' in page


def test_values_beyond_the_edge_are_apart_and_all_are_drawn_where_there_are_few():
    page = pages_of(network(1, 5))["layers/001.html"]
    assert page.count('<path class="value in"') == 41 + 1  # of 48, and one in the key
    assert 1 < page.count('<path class="value out"') < 20
    assert page.count('<path class="edge"') == 1 + 1


def test_three_hundred_pages_take_little_time_and_space():
    tables = network(150, 150)
    started = time.process_time()
    pages = pages_of(tables)
    assert len(pages) == 301
    assert time.process_time() - started < 30  # 7 s on one core of a laptop
    assert sum(map(len, pages.values())) < 25e6
