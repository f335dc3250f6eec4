"""The list of figures, and what registration refuses."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import analyzer.figures
from analyzer.figures import FIGURES, figure, registry

READING_ORDER = [
    "accuracy",
    "step_distance",
    "condition_number",
    "accuracy_change",
    "initial_distance",
    "rank",
    "conditioning_and_sparsity",
    "subspace_overlap",
    "update_rank",
    "pruning_mask",
    "own_metrics",
]


def test_figures_come_in_reading_order():
    assert [spec.name for spec in FIGURES] == READING_ORDER
    assert all(spec.title and spec.how_to_read and callable(spec.draw) for spec in FIGURES)


def test_every_module_with_a_figure_is_listed():
    listed = {spec.name for spec in FIGURES}
    for module in pkgutil.iter_modules(analyzer.figures.__path__):
        loaded = importlib.import_module(f"analyzer.figures.{module.name}")
        assert hasattr(getattr(loaded, module.name, None), "__wrapped__") == (module.name in listed)


def make(name="example", module="somewhere.example", **changes):
    def function(tables):
        return None

    function.__name__, function.__module__ = name, module
    return figure(**{"order": 999, "title": "An example", "how_to_read": "Look at it.", **changes})(function)


@pytest.fixture(autouse=True)
def own_list(monkeypatch):
    monkeypatch.setattr(registry, "_SPECS", dict(registry._SPECS))


def test_a_good_one_is_accepted():
    make()
    assert registry.registered()[-1].name == "example"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"module": "somewhere.other"}, "module's name"),
        ({"title": ""}, "title"),
        ({"title": "Ends."}, "title"),
        ({"how_to_read": ""}, "sentences"),
        ({"how_to_read": "no full stop"}, "sentences"),
        ({"how_to_read": "One. Two. Three."}, "sentences"),
        ({"order": 10}, "taken by the figure accuracy"),
        ({"name": "rank", "module": "x.rank"}, "already"),
    ],
)
def test_a_bad_one_is_refused_by_name(changes, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        make(**changes)
    assert changes.get("name", "example") in str(caught.value)


def test_a_figure_takes_the_tables_alone():
    def example(tables, more):
        return None

    example.__module__ = "somewhere.example"
    with pytest.raises(ValueError, match="exactly one argument"):
        figure(order=999, title="An example", how_to_read="Look at it.")(example)


def test_pyplot_is_never_loaded():
    code = "import sys, analyzer.figures; sys.exit('matplotlib.pyplot' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
