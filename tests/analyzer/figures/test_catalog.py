"""The catalog of figures: the order of both lists, and what is rejected when a figure is added."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest
from compared_runs import lone_runs, two_groups

import analyzer.figures
import analyzer.figures.compared
from analyzer.comparing import compare_runs
from analyzer.figures import FIGURES, FigureSpec
from analyzer.figures.by_layer import LAYER_FIGURES
from analyzer.figures.catalog import COMPARISON, REPORT
from analyzer.figures.compared import COMPARED
from analyzer.figures.compared.by_quantity import QUANTITY_FIGURES

READING_ORDER = [
    "overview",
    "accuracy",
    "step_distance",
    "condition_number",
    "accuracy_change",
    "correlation_matrix",
    "initial_distance",
    "checkpoint_distances",
    "path",
    "norm",
    "rank",
    "alpha",
    "spectrum_through_time",
    "outliers",
    "sparsity",
    "dead_rows_and_columns",
    "rotation_and_growth",
    "update_cosine",
    "changed_fraction",
    "subspace_overlap",
    "update_rank",
    "compression_preview",
    "pruning_mask",
    "own_metrics",
]
READING_ORDER_COMPARED = [
    "final_values",
    "compared_scores",
    "compared_motion",
    "compared_shape",
    "accuracy_along_path",
]
CATALOGS = {"report": REPORT, "comparison": COMPARISON}


def test_figures_come_in_reading_order():
    assert [spec.name for spec in FIGURES] == READING_ORDER
    assert [spec.name for spec in COMPARED] == READING_ORDER_COMPARED
    assert all(spec.title and spec.how_to_read and callable(spec.draw) for spec in (*FIGURES, *COMPARED))


@pytest.mark.parametrize(
    ("package", "specs", "declared"),
    [(analyzer.figures, FIGURES, LAYER_FIGURES), (analyzer.figures.compared, COMPARED, QUANTITY_FIGURES)],
)
def test_every_figure_has_a_module_of_its_name_or_a_declaration(package, specs, declared):
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    with_own_module = {spec.name for spec in specs} - {each.name for each in declared}
    assert with_own_module <= modules
    for name in modules:
        own = getattr(importlib.import_module(f"{package.__name__}.{name}"), name, None)
        assert isinstance(own, FigureSpec) == (name in with_own_module)


@pytest.mark.parametrize(("runs", "expected"), [(lone_runs(3), False), (two_groups(2), True)])
def test_captions_mention_bands_and_means_only_if_a_group_has_several_runs(runs, expected):
    captions = " ".join(spec.for_comparison(compare_runs(runs)).how_to_read for spec in COMPARED)
    assert ("two bands" in captions) == ("vertical line" in captions) == expected


def make(kind="report", name="example", module="somewhere.example", **changes):
    def function(content):
        return None

    function.__name__, function.__module__ = name, module
    declaration = {"order": 999, "title": "An example", "how_to_read": "Look at it.", **changes}
    return CATALOGS[kind].figure(**declaration)(function)


@pytest.fixture(autouse=True)
def own_lists(monkeypatch):
    for catalog in CATALOGS.values():
        monkeypatch.setattr(catalog, "_specs", dict(catalog._specs))


@pytest.mark.parametrize("kind", CATALOGS)
def test_a_valid_figure_is_added_to_its_list(kind):
    added = make(kind)
    assert added.name == "example"
    assert CATALOGS[kind].figures[-1] is added
    (other,) = (catalog for other, catalog in CATALOGS.items() if other != kind)
    assert "example" not in {spec.name for spec in other.figures}


@pytest.mark.parametrize("kind", CATALOGS)
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"module": "somewhere.other"}, "module's name"),
        ({"title": ""}, "title"),
        ({"title": "Ends."}, "title"),
        ({"title": "x" * 61}, "title"),
        ({"how_to_read": ""}, "sentences"),
        ({"how_to_read": "no full stop"}, "sentences"),
        ({"how_to_read": "One. Two. Three."}, "sentences"),
        ({"order": 10}, "order 10 is taken by the figure"),
    ],
)
def test_an_invalid_figure_is_rejected_by_name(kind, changes, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        make(kind, **changes)
    assert "example" in str(caught.value)


@pytest.mark.parametrize(("kind", "taken"), [("report", "rank"), ("comparison", "compared_motion")])
def test_a_name_that_is_taken_is_rejected(kind, taken):
    with pytest.raises(ValueError, match=f"{taken}: this name is registered already"):
        make(kind, name=taken, module=f"x.{taken}")


def test_sentences_on_groups_are_checked_too():
    with pytest.raises(ValueError, match="how_to_read_groups"):
        make("comparison", how_to_read_groups="no full stop")


@pytest.mark.parametrize("catalog", CATALOGS.values(), ids=CATALOGS)
def test_a_figure_takes_one_argument(catalog):
    def example(content, more):
        return None

    example.__module__ = "somewhere.example"
    with pytest.raises(ValueError, match="exactly one argument"):
        catalog.figure(order=999, title="An example", how_to_read="Look at it.")(example)


def test_pyplot_is_never_loaded():
    code = "import sys, analyzer.figures; sys.exit('matplotlib.pyplot' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
