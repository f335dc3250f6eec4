"""The register of rules, rules on whatever tables may hold, and findings on the page."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest
from builders import full_count
from curve_tables import tables_of
from planted import checked

from analyzer import findings
from analyzer.findings import wording
from analyzer.findings.rules import RULES, rule
from analyzer.model.run import Finding, Status
from analyzer.model.tables import CheckpointRow, Curve, Tables, TensorRow
from analyzer.report.csv_tables import HEADERS
from analyzer.report.page import DataFiles, FigureOnPage, render_page
from analyzer.statistics.correlating import Correlations

STATUSES: tuple[Status | None, ...] = (
    "ok", "ok", "ok", "ok", "below_precision", "precision_limited", "singular", "undefined", "nonfinite", None
)  # fmt: skip
METRICS = (
    "step_distance", "relative_step_distance", "update_cosine", "changed_fraction", "rms", "dead_row_count",
    "dead_column_count", "nonfinite_count", "condition_number", "effective_rank", "stable_rank", "mp_outlier_count",
    "alpha", "alpha_tail_count", "alpha_ks_distance", "update_effective_rank", "energy_rank_95", "mask_churn",
    "magnitude_share_50", "initial_distance", "frobenius_norm", "zero_fraction", "smallest_singular_value",
    "spectral_norm",
)  # fmt: skip
BOUNDS = {
    "update_cosine": (-1.0, 1.0),
    "changed_fraction": (0.0, 1.0),
    "zero_fraction": (0.0, 1.0),
    "condition_number": (1.0, np.inf),
}
BOUNDS |= {"zero_fraction": (0.0, 1.0)}
BOUNDS |= {metric: (0.0, 320.0) for metric in METRICS if metric.endswith("count")}
BOUNDS |= {metric: (1.0, 16.0) for metric in METRICS if "rank" in metric} | {"alpha": (1.001, 1e9)}
DATA = DataFiles({name: f"{name}.csv" for name in HEADERS}, all_correlations=False)
SCORES = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")


def test_every_rule_gives_its_grounds_and_takes_tables_alone():
    assert len(RULES) >= 20
    for name, function in RULES.items():
        assert function.__name__ == name
        grounds = inspect.getdoc(function).partition(":")[2]
        assert len(grounds) > 40, name


@pytest.mark.parametrize(
    ("function", "what"),
    [
        ("def motion_spike(tables):\n    'Source: x'", "already exists"),
        ("def new(tables, more):\n    'Source: x'", "exactly one argument"),
        ("def new(tables):\n    'because'", "justify the threshold"),
        ("def new(tables): pass", "justify the threshold"),
    ],
)
def test_a_broken_rule_is_refused_by_name(function, what):
    before = dict(RULES)
    namespace: dict[str, object] = {}
    exec(function, namespace)
    (declared,) = (value for value in namespace.values() if inspect.isfunction(value))
    with pytest.raises(ValueError, match=what) as refused:
        rule()(declared)
    assert declared.__name__ in str(refused.value)
    assert before == RULES


def odd_tables(seed: int) -> Tables:
    """Tables of any content that the store could hold: gaps, huge numbers, statuses at random, constant scores."""
    generator = np.random.default_rng(seed)
    count = int(generator.integers(1, 16))
    names = [f"epoch_{place}" for place in range(count)]
    rows = tuple(CheckpointRow(name, float(place), place, name, 1) for place, name in enumerate(names))
    kinds = generator.choice(["matrix", "vector", "stack", "scalar", "buffer"], size=5)
    tensors = tuple(
        TensorRow(f"layers.{n}.t", "", str(kind), (20, 16), (20, 16) if kind == "matrix" else None, "", "bfloat16")
        for n, kind in enumerate(kinds)
    )

    def numbers(metric: str) -> np.ndarray:
        scale = 10.0 ** generator.choice([0.0, 0.0, 0.0, -300.0, 300.0, 3.0])
        values = scale * np.exp(generator.choice([0.0, 0.1, 3.0]) * generator.standard_normal(count))
        odd = generator.random(count) < generator.choice([0.0, 0.3])
        values[odd] = generator.choice([0.0, np.nan, np.inf, -1.0, 1e-320], size=int(odd.sum()))
        if metric in SCORES:
            return values
        least, most = BOUNDS.get(metric, (0.0, np.inf))
        return np.clip(np.round(values) if metric.endswith("count") else values, least, most)

    def curve(scope: str, tensor: str, metric: str) -> Curve:
        values = numbers(metric)
        statuses = [STATUSES[n] for n in generator.integers(0, generator.choice([4, len(STATUSES)]), size=count)]
        values = np.where([one in ("ok", "below_precision", "precision_limited") for one in statuses], values, np.nan)
        references = [None if n == 0 else names[int(generator.integers(0, n))] for n in range(count)]
        return Curve(scope, tensor, metric, values, tuple(statuses), tuple(references))

    curves = {
        ("tensor", row.name, metric): curve("tensor", row.name, metric)
        for row in tensors
        for metric in METRICS
        if generator.random() < 0.9
    }
    curves["total", "", "relative_step_distance"] = curve("total", "", "relative_step_distance")
    scalars = {score: numbers(score) for score in SCORES if generator.random() < 0.8}
    axis = np.sort(generator.random(count)) if generator.random() < 0.3 else np.arange(float(count))
    label = str(generator.choice(["epoch", "step", "checkpoint (in order)"]))
    return Tables("odd", axis, label, rows, tensors, {}, scalars, curves, {}, (), ())


@pytest.mark.parametrize("part", range(4))
def test_no_rule_fails_on_odd_tables(part):
    """Nor warns of anything: warnings are errors here."""
    said = set()
    steps_of_exactly_zero = (2402, 6683)  # once "infinitely slow"
    for seed in (*range(part, full_count(8000, 400), 4), *steps_of_exactly_zero):
        said |= {one.rule for one in checked(findings.find(odd_tables(seed)))}
    assert len(said) > 8


@pytest.mark.parametrize(
    ("label", "value", "step", "expected"),
    [
        ("epoch", 0.8510638298, 40, "epoch 0.851 (step 40)"),
        ("epoch", 6.382978723, None, "epoch 6.383"),
        ("epoch", 12345.0, 40, "epoch 12345"),
        ("epoch", 12345.678, None, "epoch 12346"),
        ("step", 1234567.0, 1234567, "step 1234567"),
    ],
)
def test_places_have_no_false_digits(label, value, step, expected):
    rows = (CheckpointRow("first", 0.0, 0, "", 1), CheckpointRow("second", value, step, "", 1))
    tables = Tables("run", np.array([0.0, value]), label, rows, (), {}, {}, {}, {}, (), ())
    assert wording.place(tables, 1) == expected
    assert wording.span(tables, 0, 1) == f"{label} 0 to {expected.split()[1]}"


def test_the_page_shows_findings_at_the_top_and_beside_their_figures():
    tables = Tables(
        "run", np.arange(2.0), "epoch", tuple(CheckpointRow(name, 0, 0, "", 1) for name in "ab"), (), {}, {}, {}, {},
        (), (
            Finding("one", "warning", "Drawn <here>.", figure="step_distance"),
            Finding("two", "info", "Its figure was not drawn.", figure="rank"),
            Finding("three", "info", "It has no figure."),
        ),
    )  # fmt: skip
    about = {"layout": "l", "ordered_by": "o", "final": {"scalars": {}}}
    names = ("overview", "step_distance")
    figures = [FigureOnPage(name, "Title", "How to read.", f"figures/{name}") for name in names]
    page = render_page({"runs": [about]}, [tables], {"run": figures}, {"run": "layers/"}, DATA).decode()
    top, _, beside = page.partition('<h3 id="run-1-figures">Figures</h3>')
    assert top.count("Drawn &lt;here&gt;.") == 1 and beside.count("Drawn &lt;here&gt;.") == 1
    assert "Its figure was not drawn." in top and "Its figure was not drawn." not in beside
    assert top.count('<a href="#run-1-step_distance">Figure 2</a>') == 1
    assert "It has no figure." not in beside


@pytest.mark.parametrize("scores", [np.ones(12), 0.9 - 0.8 * 0.7 ** np.arange(12.0)], ids=["constant", "rising"])
def test_the_page_has_no_table_of_coefficients_that_do_not_exist(scores):
    generator = np.random.default_rng(0)
    curves = {("tensor", name, "step_distance"): np.exp(generator.standard_normal(12)) for name in ("a", "b")}
    tables = tables_of(curves, {"val_acc": scores})
    tables = dataclasses.replace(tables, correlations=Correlations(tables))
    about = {"layout": "l", "ordered_by": "o", "final": {"scalars": {}}}
    page = render_page({"runs": [about]}, [tables], {"run": []}, {"run": "layers/"}, DATA).decode()
    assert ("motion of the layers correlates with accuracy" in page) == (np.ptp(scores) > 0)
