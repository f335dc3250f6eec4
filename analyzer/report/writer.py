"""Write the folder of a report or a comparison: tables, figures, summary, a page that reads without JavaScript.

The manifest is removed first and written last: a folder without it is unfinished.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyzer.report.claiming import FOLDERS, MANIFEST, Kind, stale_files
from analyzer.report.csv_tables import Table, table_file
from analyzer.report.drawing import drawn_figures
from analyzer.report.page import FigureOnPage
from analyzer.report.rendering import package_version
from analyzer.store.files import STORE_NAME, flush_folder, report_errors, sweep, write_whole

if TYPE_CHECKING:
    from analyzer.figures import FigureSpec

SCHEMA_VERSION = 1
PACKAGES = ("numpy", "scipy", "matplotlib", "safetensors", "ml-dtypes", "jinja2", "blake3")


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a report was made: the command's arguments, and the seconds that each part took so far."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Says what a report contains beside the usual.

    Attributes:
        explore: whether to write the interactive page.
        animate: patterns of the names of matrices whose spectra are to be animated.
        all_correlations: whether the table of correlations lists all of them, rather than those that matter.
    """

    explore: bool = True
    animate: Collection[str] = ()
    all_correlations: bool = False


USUAL = ReportOptions()


@dataclass(frozen=True, slots=True)
class FigureSet:
    """Figures that are drawn from the same content; ``prefix`` may name a folder below ``figures/``."""

    figures: Sequence[FigureSpec[Any]]
    content: object
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Folder:
    """The contents of a report folder before they are written.

    ``tables`` maps a name to its header and lines. ``files`` yields (path in the folder, content) of the pages and what
    they need, given what was drawn of each figure set and the name of each table's file. ``runs`` are (name, path) and
    ``inputs`` describe the checkpoints, both for the manifest.
    """

    kind: Kind
    tables: Mapping[str, Table]
    figures: Sequence[FigureSet]
    summary: Mapping[str, Any]
    files: Callable[[Sequence[Sequence[FigureOnPage]], Mapping[str, str]], Iterable[tuple[str, bytes]]]
    runs: Sequence[tuple[str, str]]
    inputs: Sequence[Mapping[str, Any]]


def write_folder(folder: Folder, out: Path, provenance: Provenance) -> None:
    """Write a folder that was claimed before, and remove what an earlier report of ours left there.

    Raises:
        ReportError: a file cannot be written; what was there before is unchanged.
    """
    started = time.perf_counter()
    with report_errors(out):
        (out / MANIFEST).unlink(missing_ok=True)
        for below in ("data", "figures"):
            (out / below).mkdir(exist_ok=True)
        for below in FOLDERS:
            sweep(out / below)
        sweep(out, below=False)
    written: set[str] = set()

    def write(path: str, data: bytes) -> None:
        with report_errors(out / path):
            (out / path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(out / path, data)
        written.add(path)

    names = {}
    for name, table in folder.tables.items():
        names[name], content = table_file(name, table)
        write(f"data/{names[name]}", content)
    drawn = [draw_figures(one.figures, one.content, one.prefix, write) for one in folder.figures]
    write("summary.json", _json(folder.summary))
    for path, data in folder.files(drawn, names):
        write(path, data)
    figures = {spec.name for one in folder.figures for spec in one.figures}
    with report_errors(out):
        for stale in stale_files(out, written, figures, folder.tables):
            stale.unlink()
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "kind": folder.kind,
            "runs": [list(run) for run in folder.runs],
            **environment(),
            "arguments": dict(provenance.arguments),
            "seconds": {**provenance.seconds, "draw": round(time.perf_counter() - started, 3)},
            "inputs": list(folder.inputs),
            "files": sorted({*written, *([STORE_NAME] if (out / STORE_NAME).exists() else [])}),
        }
        for parent in {(out / path).parent for path in written}:
            flush_folder(parent)
        write_whole(out / MANIFEST, _json(manifest))
        flush_folder(out)


def draw_figures(
    figures: Sequence[FigureSpec[Any]], content: object, prefix: str, write: Callable[[str, bytes], None]
) -> list[FigureOnPage]:
    """Draw each figure that has something to show, and write its files.

    Args:
        figures: in reading order.
        content: the tables or comparison that they are drawn from.
        prefix: of their file names; it may name a folder.
        write: writes a file, given its path in the report folder and its content.

    Raises:
        ReportError: a file cannot be written.
    """
    drawn: dict[int, FigureOnPage] = {}
    with closing(drawn_figures(figures, content, f"figures/{prefix}", svg=True)) as results:
        for number, figure, files in results:
            for suffix, data in files.items():
                write(figure.path + suffix, data)
            drawn[number] = figure
    return [drawn[number] for number in sorted(drawn)]


def environment() -> dict[str, Any]:
    """Return what a report was made with: versions, BLAS, machine."""
    return {
        "weightlapse": package_version("weightlapse"),
        "packages": {name: package_version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "blas": _blas(),
        "machine": {"system": platform.system(), "release": platform.release(), "processor": platform.machine()},
    }


def _blas() -> list[dict[str, Any]]:
    from threadpoolctl import threadpool_info

    libraries = [
        {key: library.get(key) for key in ("internal_api", "version", "architecture")}
        for library in threadpool_info()
        if library.get("user_api") == "blas"
    ]
    return sorted(libraries, key=str)  # their own order is that of the imports


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()
