"""Write the folder of a report or a comparison: tables, figures, summary, a page that reads without JavaScript.

The manifest is removed first and written last: a folder without it is unfinished.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyzer.report.claiming import MANIFEST, OUR_NAMES, Kind
from analyzer.report.csv_tables import Row, with_header
from analyzer.report.page import FigureOnPage, stylesheet
from analyzer.store.files import flush_folder, report_errors, sweep, write_whole

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
class FigureSet:
    """Figures that are drawn from the same content; ``prefix`` may name a folder below ``figures/``."""

    figures: Sequence[FigureSpec[Any]]
    content: object
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Folder:
    """The contents of a report folder before they are written.

    ``tables`` maps a name to its header and rows; ``page`` renders the page from what was drawn of each figure set;
    ``runs`` are (name, path) and ``inputs`` describe the checkpoints, both for the manifest.
    """

    kind: Kind
    tables: Mapping[str, tuple[str, Iterable[Row]]]
    figures: Sequence[FigureSet]
    summary: Mapping[str, Any]
    page: Callable[[Sequence[Sequence[FigureOnPage]]], bytes]
    runs: Sequence[tuple[str, str]]
    inputs: Sequence[Mapping[str, Any]]


def write_folder(folder: Folder, out: Path, provenance: Provenance) -> None:
    """Write a folder that was claimed before.

    Raises:
        ReportError: a file cannot be written; what was there before is unchanged.
    """
    started = time.perf_counter()
    with report_errors(out):
        (out / MANIFEST).unlink(missing_ok=True)
        for below in (out / "figures", out / "data"):
            below.mkdir(exist_ok=True)
            sweep(below)
        sweep(out, below=False)
    for name, (header, rows) in folder.tables.items():
        write_whole(out / "data" / f"{name}.csv", with_header(header, rows))
    drawn = [draw_figures(one.figures, one.content, out, one.prefix) for one in folder.figures]
    write_whole(out / "summary.json", _json(folder.summary))
    write_whole(out / "report.css", stylesheet())
    write_whole(out / "index.html", folder.page(drawn))
    seconds = {**provenance.seconds, "draw": round(time.perf_counter() - started, 3)}
    with report_errors(out):
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "kind": folder.kind,
            "runs": [list(run) for run in folder.runs],
            **environment(),
            "arguments": dict(provenance.arguments),
            "seconds": seconds,
            "inputs": list(folder.inputs),
            "files": _files(out),
        }
        for below in (out / "figures", out / "data", out):
            flush_folder(below)
        write_whole(out / MANIFEST, _json(manifest))
        flush_folder(out)


def draw_figures(figures: Sequence[FigureSpec[Any]], content: object, out: Path, prefix: str) -> list[FigureOnPage]:
    """Draw each figure that has something to show.

    Args:
        figures: in reading order.
        content: the tables or comparison that they are drawn from.
        out: the report folder, which contains a folder for figures.
        prefix: of their file names; it may name a folder, which is created.

    Raises:
        ReportError: a file cannot be written.
    """
    from analyzer.figures import render

    with report_errors(out / "figures"):
        (out / "figures" / prefix).mkdir(exist_ok=True)
    drawn = []
    for spec in figures:
        place = f"figures/{prefix}{spec.name}"
        png, svg = out / f"{place}.png", out / f"{place}.svg"
        figure = spec.draw(content)
        if figure is None:
            with report_errors(png):
                for stale in (png, svg):
                    stale.unlink(missing_ok=True)  # our own, of an earlier report
            continue
        for path, data in zip((png, svg), render(figure), strict=True):
            write_whole(path, data)
        drawn.append(FigureOnPage(spec.name, spec.title, spec.how_to_read, place))
    return drawn


def _files(out: Path) -> list[str]:
    """Return the paths of our files, relative to the folder."""
    written = (path for name in OUR_NAMES for path in [out / name, *(out / name).rglob("*")])
    return sorted(path.relative_to(out).as_posix() for path in written if path.is_file() and path.suffix != ".tmp")


def environment() -> dict[str, Any]:
    """Return what a report was made with: versions, BLAS, machine."""
    return {
        "weightlapse": _version("weightlapse"),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "blas": _blas(),
        "machine": {"system": platform.system(), "release": platform.release(), "processor": platform.machine()},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


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
