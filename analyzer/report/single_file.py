"""Compose the report as one HTML file to mail: the page with its figures inside, without pages of layers and tables."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from analyzer.errors import ReportError
from analyzer.model.tables import Tables
from analyzer.report.drawing import drawn_figures
from analyzer.report.page import Embedded, FigureOnPage, render_page
from analyzer.report.rendering import asset
from analyzer.report.run_report import summarize
from analyzer.store.files import report_errors

GENERATOR = b'<meta name="generator" content="weightlapse">'
_HEAD = 4096  # bytes, in which the generator is named


def claim_file(path: Path, force: bool = False) -> None:
    """Make sure that a report may be written to a file, and create its folder.

    Raises:
        ReportError: a file of somebody else is there, and ``force`` is not given; or the folder cannot be created.
    """
    with report_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise ReportError(f"{path}: is a folder, and a single file is to be written; name a file with --out")
        if force or not path.exists():
            return
        with path.open("rb") as file:
            is_ours = GENERATOR in file.read(_HEAD)
    if not is_ours:
        raise ReportError(f"{path}: is not weightlapse's; choose another file with --out, or replace it with --force")


def single_file(runs: Sequence[Tables]) -> bytes:
    """Return the report of these runs, which have findings and statistics, as one HTML file."""
    from analyzer.figures import FIGURES

    images: dict[str, str] = {}
    figures: dict[str, list[FigureOnPage]] = {}
    for number, tables in enumerate(runs, start=1):
        drawn: dict[int, FigureOnPage] = {}
        for place, figure, files in drawn_figures(FIGURES, tables, f"{number}-", svg=False):
            drawn[place] = figure
            for suffix, data in files.items():
                images[figure.path + suffix] = f"data:image/png;base64,{b64encode(data).decode()}"
        figures[tables.run] = [drawn[place] for place in sorted(drawn)]
    style, script = asset("report.css").decode(), asset("report.js").decode()
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}"
    embedded = Embedded(style, script, policy, images)
    return render_page(summarize(runs), runs, figures, {tables.run: "" for tables in runs}, embedded=embedded)


def _hash(text: str) -> str:
    """Return the source expression of a content security policy that allows exactly this text."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
