"""The rules of docs/architecture.md, checked on the imports: what may import what, and what must not be loaded."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from builders import CHECKOUT, random_walk, save_weights, weightlapse_metadata

LOCAL = ("analyzer", "trainer")


@dataclass(frozen=True)
class Import:
    """One imported module (for ``from a import b``: ``a`` and ``a.b``) and where."""

    name: str
    line: int
    in_function: bool
    for_types_only: bool

    def within(self, *modules: str) -> bool:
        return any(self.name == module or self.name.startswith(f"{module}.") for module in modules)


def imports_of(source: str, module: str, is_package: bool = False) -> list[Import]:
    """Every import in a module's text, relative ones made absolute."""
    found: list[Import] = []

    def visit(node: ast.AST, in_function: bool, for_types: bool) -> None:
        names = imported(node, module.split("."), is_package)
        found.extend(Import(name, getattr(node, "lineno", 0), in_function, for_types) for name in names)
        inside = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        types = (
            ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING") if isinstance(node, ast.If) else False
        )
        for child in ast.iter_child_nodes(node):
            visit(child, inside, for_types or (types and child not in node.orelse))  # type: ignore[attr-defined]

    visit(ast.parse(source), False, False)
    return found


def imported(node: ast.AST, module: list[str], is_package: bool) -> list[str]:
    """The modules that one statement or call imports."""
    match node:
        case ast.Import(names):
            return [alias.name for alias in names]
        case ast.ImportFrom(base, names, level):
            package = module[: len(module) - level + is_package] if level else []
            whole = ".".join([*package, *([base] if base else [])])
            return [whole, *(f"{whole}.{alias.name}" for alias in names)]
        case ast.Call(function, [ast.Constant(str(name)), *_]):
            return [name] if ast.unparse(function) in ("__import__", "importlib.import_module") else []
    return []


def modules_below(*folders: str) -> Iterator[tuple[str, list[Import]]]:
    """(module name, imports) of every file of packages, folders or single files in the checkout."""
    for folder in folders:
        top = CHECKOUT / folder
        files = sorted(top.rglob("*.py")) if top.is_dir() else [top.with_suffix(".py")]
        assert files, folder
        for file in files:
            parts = file.relative_to(CHECKOUT).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            module = ".".join(parts[:-1] if is_package else parts)
            yield module, imports_of(file.read_text(encoding="utf-8"), module, is_package)


def forbidden(folder: str, *modules: str) -> list[str]:
    """Where something below ``folder`` imports one of ``modules``."""
    return [
        f"{module}:{one.line} imports {one.name}"
        for module, imports in modules_below(folder)
        for one in imports
        if one.within(*modules)
    ]


def test_the_reader_of_imports_sees_them_all() -> None:
    source = """
import analyzer.store
from analyzer import layouts
from .. import formats
from . import needs
from ..statistics import pearson
def f():
    import torch
    importlib.import_module("scipy")
if TYPE_CHECKING:
    import numpy
"""
    found = imports_of(source, "analyzer.metrics.motion")
    names = {one.name for one in found}
    assert {"analyzer.store", "analyzer.layouts", "analyzer.formats", "analyzer.metrics.needs"} <= names
    assert {"analyzer.statistics.pearson", "analyzer.statistics", "torch", "scipy", "numpy"} <= names
    assert {one.name for one in found if one.in_function} == {"torch", "scipy"}
    assert {one.name for one in found if one.for_types_only} == {"numpy"}
    assert imports_of("from . import run", "analyzer.metrics", is_package=True)[1].name == "analyzer.metrics.run"
    assert not Import("analyzer.runs", 1, False, False).within("analyzer.model.run")


# From the ground up: each package may import those before it, none after it. docs/architecture.md draws this order.
ORDER = (
    *("errors", "model", "sources", "numerics", "tensors", "formats", "layouts", "metrics", "statistics", "store"),
    *("engine", "findings", "auditing", "figures", "comparing", "report", "workflow", "cli", "__init__", "__main__"),
)


def package_of(module: str) -> str:
    """``engine`` for ``analyzer.engine.walk``; ``__init__`` for ``analyzer`` itself."""
    return [*module.split("."), "__init__"][1]


def test_every_package_has_a_place_in_the_order() -> None:
    assert {package_of(module) for module, _ in modules_below("analyzer")} == set(ORDER)


@pytest.mark.parametrize("package", ORDER)
def test_no_package_imports_one_above_it(package: str) -> None:
    above = ORDER[ORDER.index(package) + 1 :]
    found = [
        f"{module}:{one.line} imports {one.name}"
        for module, imports in modules_below("analyzer")
        if package_of(module) == package
        for one in imports
        if one.within("analyzer") and one.name != "analyzer" and package_of(one.name) in above
    ]
    assert found == []


def test_at_most_five_modules_stand_loose() -> None:
    assert len(list((CHECKOUT / "analyzer").glob("*.py"))) <= 5


def test_model_and_errors_import_nothing_local() -> None:
    assert forbidden("analyzer/errors", *LOCAL) == []
    for module, imports in modules_below("analyzer/model"):
        assert [one.name for one in imports if one.within(*LOCAL) and not one.within("analyzer.model")] == [], module


def test_comparing_touches_no_store_and_no_files() -> None:
    assert forbidden("analyzer/comparing", "analyzer.store", "pathlib", "sqlite3") == []


FAMILIES = ("metrics", "statistics", "figures")


@pytest.mark.parametrize("one", FAMILIES)
@pytest.mark.parametrize("other", FAMILIES)
def test_metrics_statistics_and_figures_never_import_each_other(one: str, other: str) -> None:
    if one != other:
        assert forbidden(f"analyzer/{one}", f"analyzer.{other}") == []


def test_the_report_knows_no_layout_and_no_format() -> None:
    for module in ("report", "figures", "findings", "statistics", "comparing"):
        assert forbidden(f"analyzer/{module}", "analyzer.layouts", "analyzer.formats", "analyzer.sources") == []


def test_trainer_and_analyzer_never_import_each_other() -> None:
    assert forbidden("analyzer", "trainer") == []
    assert forbidden("trainer", "analyzer") == []


def test_formats_know_no_layout() -> None:
    assert forbidden("analyzer/formats", "analyzer.layouts", "analyzer.auditing", "analyzer.engine.walk") == []


def test_metrics_and_figures_touch_no_files() -> None:
    for family in ("metrics", "figures", "statistics"):
        files = ("analyzer.layouts", "analyzer.formats", "analyzer.sources", "analyzer.store")
        assert forbidden(f"analyzer/{family}", *files, "sqlite3") == []


def test_only_the_ends_wire_things_together() -> None:
    ends = ("analyzer", "analyzer.workflow", "analyzer.__main__")
    for module, imports in modules_below("analyzer"):
        if module not in ends and not module.startswith(("analyzer.cli", "analyzer.layouts")):
            assert [one.name for one in imports if one.within("analyzer.layouts", "analyzer.workflow")] == [], module


@pytest.mark.parametrize("library", ["torch", "torchvision"])
def test_torch_is_never_imported_by_a_module_of_the_analyzer(library: str) -> None:
    for module, imports in modules_below("analyzer"):
        assert [one for one in imports if one.within(library) and not one.in_function] == [], module
    users = {module for module, imports in modules_below("analyzer") if any(one.within(library) for one in imports)}
    assert len(users) <= 1


def test_matplotlib_is_imported_only_under_figures() -> None:
    for module, imports in modules_below("analyzer"):
        if module.partition(".")[2].partition(".")[0] != "figures":
            assert [one for one in imports if one.within("matplotlib", "mpl_toolkits") and not one.for_types_only] == []


# ------------------------------------------------------------------------------------------------ as it runs


def python(*arguments: str, cwd: Path = CHECKOUT, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=check
    )


HEAVY = ("torch", "matplotlib", "scipy", "numpy", "ml_dtypes", "safetensors", "fsspec", "pandas")


def test_import_analyzer_is_light() -> None:
    script = f"import sys, analyzer, analyzer.cli; print([name for name in {HEAVY} if name in sys.modules])"
    assert python("-c", script).stdout == "[]\n"


@pytest.mark.parametrize("arguments", [["--help"], ["report", "--help"], ["--version"]])
def test_help_is_light(arguments: list[str]) -> None:
    script = (
        "import sys; sys.argv = ['weightlapse', *sys.argv[1:]]\n"
        "from analyzer.cli import main\n"
        "try: main()\n"
        f"finally: print([name for name in {HEAVY} if name in sys.modules])"
    )
    lines = python("-c", script, *arguments).stdout.splitlines()
    assert lines[0].startswith(("Usage: weightlapse", "weightlapse"))
    assert lines[-1] == "[]"


def test_measuring_loads_no_matplotlib_and_nothing_loads_torch(tmp_path: Path) -> None:
    folder = tiny_run(tmp_path)
    script = (
        "import sys, analyzer\n"
        "measurements = analyzer.measure(analyzer.open_run(sys.argv[1]), sys.argv[2])\n"
        "print([name for name in ('torch', 'matplotlib', 'pandas') if name in sys.modules])\n"
        "analyzer.write_report(measurements, sys.argv[3])\n"
        "print([name for name in ('torch', 'pandas', 'matplotlib.pyplot') if name in sys.modules])\n"
    )
    printed = python("-c", script, str(folder), str(tmp_path / "store.sqlite"), str(tmp_path / "report")).stdout
    assert printed == "[]\n[]\n"


def tiny_run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    for epoch, weights in enumerate(random_walk(4)):
        save_weights(folder / f"epoch_{epoch}.safetensors", weights, weightlapse_metadata(epoch))
    return folder


def test_the_analyzer_works_where_torch_is_not_installed(tmp_path: Path) -> None:
    """An entry of None in sys.modules makes ``import torch`` raise, as a missing package does."""
    script = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'transformers', 'pandas'): sys.modules[name] = None\n"
        "try: import torch\n"
        "except ImportError: pass\n"
        "else: raise SystemExit('torch is there')\n"
        "sys.argv = ['weightlapse', *sys.argv[1:]]\n"
        "from analyzer.cli import main\n"
        "main()\n"
    )
    out = tmp_path / "report"
    ended = python("-c", script, "report", str(tiny_run(tmp_path)), "--out", str(out), cwd=tmp_path, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert (out / "index.html").is_file()
    rows = (out / "data" / "measurements.csv").read_text(encoding="utf-8").splitlines()
    assert sum(",condition_number," in row and ",ok," in row for row in rows) >= 8
    assert not [row for row in rows if ",error," in row]
