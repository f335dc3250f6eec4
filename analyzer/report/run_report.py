"""Compose the report of one or several runs from their tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any

from analyzer.errors import ArgumentError
from analyzer.model.describing import finding_record
from analyzer.model.names import listed, slug
from analyzer.model.score_names import best_place
from analyzer.model.tables import Tables, is_expert, is_tested
from analyzer.report import csv_tables
from analyzer.report.explore import explore_files
from analyzer.report.layer_pages import FirstPage, layer_pages
from analyzer.report.layers import layers_of
from analyzer.report.page import DataFiles, FigureOnPage, render_page
from analyzer.report.rendering import asset
from analyzer.report.writer import FigureSet, Folder, ReportOptions
from analyzer.store.reader import Reader
from analyzer.tensors.content_hash import content_hash

ANIMATION = "spectrum_through_time"  # the figure that an animation goes with
FINAL_METRICS = ("step_distance", "initial_distance", "condition_number", "effective_rank", "stable_rank")


def report_folder(store: Reader, runs: Sequence[Tables], options: ReportOptions) -> Folder:
    """Return what the report of these runs is to contain.

    Args:
        store: the store that the runs were read from.
        runs: their tables, with findings and statistics.
        options: what else it is to contain.

    Raises:
        ArgumentError: a pattern of ``options.animate`` matches no matrix that can be animated.
    """
    from analyzer.figures import FIGURES

    summary = summarize(runs)
    chosen = to_animate(runs, options.animate)
    return Folder(
        kind="report",
        tables=csv_tables.tables_of(store, runs, options.all_correlations),
        figures=[FigureSet(FIGURES, tables, _prefix(tables, runs)) for tables in runs],
        summary=summary,
        files=lambda drawn, names: _files(
            summary, runs, drawn, chosen, DataFiles(names, options.all_correlations), explore=options.explore
        ),
        runs=[(tables.run, tables.source.path) for tables in runs],
        inputs=[record for tables in runs for record in _inputs(tables)],
    )


def _files(
    summary: Mapping[str, Any],
    runs: Sequence[Tables],
    drawn: Sequence[Sequence[FigureOnPage]],
    animated: Collection[tuple[str, str]],
    data: DataFiles,
    *,
    explore: bool,
) -> Iterator[tuple[str, bytes]]:
    """Yield (path, content) of the pages and animations, given what was drawn of each run and the tables' files."""
    from analyzer.figures.spectrum_animation import spectrum_animation

    yield "report.css", asset("report.css")
    yield "report.js", asset("report.js")
    folders = {tables.run: f"layers/{_prefix(tables, runs)}" for tables in runs}
    for number, (tables, its) in enumerate(zip(runs, drawn, strict=True), start=1):
        animations = {}
        for layer in layers_of(tables):
            if (tables.run, layer.row.name) in animated:
                animations[layer.row.name] = f"figures/{_prefix(tables, runs)}{ANIMATION}-{layer.number:03d}.gif"
                yield animations[layer.row.name], spectrum_animation(tables, layer.row.name)
        measurements = data.names["measurements"]
        first_page = FirstPage(f"run-{number}", {one.name: place for place, one in enumerate(its, start=1)})
        yield from layer_pages(tables, folders[tables.run], measurements, first_page, animations, explore=explore)
    if explore:
        yield from explore_files(runs, folders)
    figures = {tables.run: its for tables, its in zip(runs, drawn, strict=True)}
    yield "index.html", render_page(summary, runs, figures, folders, data, explore=explore)


def to_animate(runs: Sequence[Tables], patterns: Collection[str]) -> set[tuple[str, str]]:
    """Return (run, matrix) of all layers that match a pattern (``*``, ``?``, ``[abc]``) and have spectra to animate.

    Raises:
        ArgumentError: a pattern matches none.
    """
    layers = [
        (tables.run, layer.row.name)
        for tables in runs
        for layer in layers_of(tables)
        if layer.row.name in tables.spectra and tables.spectra[layer.row.name].counts.any(axis=1).sum() > 1
    ]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for _, name in layers):
            known = listed(list(dict.fromkeys(name for _, name in layers))) or "none"
            raise ArgumentError(
                f"--animate {pattern}: no layer with two or more spectra has such a name; there is {known}"
            )
    return {(run, name) for run, name in layers if any(fnmatchcase(name, pattern) for pattern in patterns)}


def _prefix(tables: Tables, runs: Sequence[Tables]) -> str:
    """Return the folder of a run's figures, and of its layers: none of their own unless there are several runs."""
    if len(runs) == 1:
        return ""
    number = [one.run for one in runs].index(tables.run) + 1
    return f"{number:02d}-{slug(tables.run)}".rstrip("-") + "/"


def _inputs(tables: Tables) -> list[dict[str, Any]]:
    """Return each checkpoint's files, and the hash of its content, however it is stored."""
    return [
        {
            "run": tables.run,
            "checkpoint": one.name,
            "files": [{"path": stamp.path, "bytes": stamp.size} for stamp in one.files],
            "content": content_hash(one, tables.elements.get(one.name, {})),
        }
        for one in tables.source.checkpoints
    ]


def summarize(runs: Sequence[Tables]) -> dict[str, Any]:
    """Return the content of ``summary.json``."""
    return {
        "schema_version": 1,
        "runs": [
            {
                "run": tables.run,
                "path": tables.source.path,
                "layout": tables.source.layout,
                "ordered_by": tables.source.ordered_by,
                "checkpoints": len(tables.checkpoints),
                "tensors": sum(not is_expert(row) for row in tables.tensors),
                "final": _final_values(tables),
                "best": _best_scores(tables),
                "correlations": _tested(tables),
                "uncorrelated": list(tables.uncorrelated),
            }
            for tables in runs
        ],
        "findings": [
            {"run": tables.run, **finding_record(finding), "figure": finding.figure}
            for tables in runs
            for finding in tables.findings
        ],
    }


def _final_values(tables: Tables) -> dict[str, Any]:
    last = tables.checkpoints[-1]
    result: dict[str, Any] = {
        "checkpoint": last.name,
        "epoch": last.epoch,
        "step": last.step,
        "scalars": {name: float(values[-1]) for name, values in tables.scalars.items() if values[-1] == values[-1]},
    }
    for scope in ("total", "mean"):
        result[scope] = {
            metric: {"value": csv_tables.or_none(curve.values[-1]), "status": curve.statuses[-1]}
            for metric in FINAL_METRICS
            if (curve := tables.curves.get((scope, "", metric))) is not None and curve.statuses[-1] is not None
        }
    return result


def _best_scores(tables: Tables) -> dict[str, dict[str, Any]]:
    """Return the best value of each score whose direction is known, and where the run first reached it."""
    best = {name: best_place(name, values) for name, values in tables.scalars.items()}
    return {
        name: {"value": float(tables.scalars[name][at]), "checkpoint": row.name, "epoch": row.epoch, "step": row.step}
        for name, at in best.items()
        if at is not None and (row := tables.checkpoints[at])
    }


def _tested(tables: Tables) -> list[dict[str, Any]]:
    """Return what was tested of the whole network: mean step distance and condition number against every score."""
    return [
        asdict(one)
        for metric in ("step_distance", "condition_number")
        for one in tables.correlations.get(metric, ())
        if one.scope == "mean" and is_tested(one)
    ]
