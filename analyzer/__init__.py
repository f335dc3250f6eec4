"""weightlapse: find out what happened to the weights, from the checkpoints that a training run left behind.

    folder ──layouts──▶ Run ──audit──▶ findings about files
                         │
                     formats: where each tensor's bytes are ──sources──▶ arrays
                         │
                       engine: one walk per tensor (W_0, W_{t-1}, W_t) ──metrics──▶ store (SQLite)
                                                                                      │
                         report ◀── figures, pages ◀── findings, statistics ◀── tables ┘

>>> import analyzer
>>> run = analyzer.open_run("checkpoints/demo")
>>> measurements = analyzer.measure(run, store="demo.sqlite")
>>> measurements.series("fc1.weight", "condition_number")
>>> analyzer.write_report(measurements, "reports/demo")  # returns the findings, the most serious first
"""

from __future__ import annotations

import warnings
from os import PathLike
from typing import TYPE_CHECKING, Any

from analyzer.errors import WeightlapseError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analyzer.metrics.registry import metric
    from analyzer.model.comparison import Comparison
    from analyzer.model.run import Finding, Run, Value
    from analyzer.report.measurements import Measurements

__all__ = [
    "Value",
    "WeightlapseError",
    "audit",
    "compare",
    "measure",
    "metric",
    "open_measurements",
    "open_run",
    "open_runs",
    "write_report",
]


def __getattr__(name: str) -> Any:
    # Imported when first asked for: `weightlapse --help` must not wait for numpy.
    if name == "metric":
        import analyzer.metrics  # the built-in ones first, so that names cannot be taken from them

        return analyzer.metrics.metric
    if name == "Value":
        from analyzer.model.run import Value

        return Value
    raise AttributeError(f"module 'analyzer' has no attribute {name!r}")


def open_runs(
    path: str | PathLike[str],
    layout: str | None = None,
    tensors: Iterable[str] = (),
    scalars: str | PathLike[str] | None = None,
    files: Iterable[str] = (),
) -> list[Run]:
    """Open the run in a folder, or the runs in the folders below it; a folder that cannot be used is a warning.

    Args:
        path: a run's folder, a folder of runs, or a URL of one.
        layout: the name of a layout, where the folder could be several things.
        tensors: patterns of tensor names, such as ``"layers.*.weight"``; only matching tensors are looked at.
        scalars: a table, event file or MLflow run with scores by epoch or step.
        files: patterns of names, such as ``"*_net_G_A.pth"``; only matching files and folders are checkpoints.

    Raises:
        NoCheckpointsError: nothing was recognized.
        LayoutError: two layouts match equally well.
        ArgumentError: a pattern matches no tensor.
        CheckpointError: the file of scores cannot be used.
    """
    from analyzer import layouts

    table = None if scalars is None else str(scalars)
    found = layouts.open_runs([str(path)], layout, tuple(tensors), table, tuple(files))
    for finding in found.refused:
        warnings.warn(finding.sentence, stacklevel=2)
    return found.runs


def open_run(
    path: str | PathLike[str],
    layout: str | None = None,
    tensors: Iterable[str] = (),
    scalars: str | PathLike[str] | None = None,
    files: Iterable[str] = (),
) -> Run:
    """Open the one run in a folder; see :func:`open_runs`.

    Raises:
        LayoutError: the folder contains several runs, which are named.
    """
    from analyzer.errors import LayoutError

    runs = open_runs(path, layout, tensors, scalars, files)
    if len(runs) > 1:
        is_one_folder = len({run.path for run in runs}) < len(runs)
        names = ", ".join(run.name if is_one_folder else run.path for run in runs)
        raise LayoutError(f"{path}: contains several runs ({names}); open one of them, or all with open_runs")
    return runs[0]


def audit(run: Run, jobs: int | None = None) -> list[Finding]:
    """Return what is worth knowing about a run's files before anything is measured, the most serious first.

    Every byte is read once, ``jobs`` checkpoints at a time (by default as many as there are cores).
    """
    from analyzer import workflow

    return list(workflow.audit(run, jobs).findings)


def measure(
    run: Run,
    store: str | PathLike[str],
    metrics: Iterable[str] | None = None,
    jobs: int | None = None,
    spectra_every: int = 1,
    device: str = "cpu",
    max_memory: int | None = None,
) -> Measurements:
    """Measure a run, as far as the store does not know it already.

    Args:
        run: from :func:`open_run`.
        store: the SQLite file to keep the measurements in; created where it does not exist.
        metrics: families or single metrics by name; by default all but those on request.
        jobs: tasks at a time; by default as many as there are cores.
        spectra_every: leave out the spectra of all but every N-th checkpoint, the first and the last.
        device: ``cpu``, or ``cuda`` for spectra from a GPU.
        max_memory: bytes; fewer tasks run at a time to stay below.

    Raises:
        DeviceError: the device is not available.
        MetricError: an unknown family.
        StoreError: the store is damaged, of an unknown version, or cannot be written.
        WeightlapseError: not even one task fits into ``max_memory``.
    """
    from analyzer import workflow
    from analyzer.engine.update import MeasureRequest
    from analyzer.metrics import select_metrics
    from analyzer.report.measurements import Measurements

    request = MeasureRequest(select_metrics(metrics), spectra_every, jobs, max_memory, device)
    workflow.measure([run], str(store), request)
    return Measurements(str(store), run.name)


def open_measurements(path: str | PathLike[str], run: str | None = None) -> Measurements:
    """Open what was measured earlier.

    Args:
        path: a store, or a report folder, which contains one.
        run: the name of one of several runs in the store.

    Raises:
        StoreError: the store cannot be read, contains no such run, or contains several runs and none was named.
    """
    from analyzer import workflow
    from analyzer.errors import StoreError
    from analyzer.model.notebook import suggestion
    from analyzer.report.measurements import Measurements
    from analyzer.store.store import open_store

    store = str(workflow.stored_in(str(path)) or path)
    with open_store(store) as opened:
        names = opened.runs()
    if run is None and len(names) != 1:
        raise StoreError(f"{store}: contains {len(names)} runs ({', '.join(names)}); name one of them")
    if run is not None and run not in names:
        raise StoreError(f"{store}: contains no run {run!r}; {suggestion(run, names)}")
    return Measurements(store, run or names[0])


def write_report(
    measurements: Measurements | Iterable[Measurements] | str | PathLike[str],
    out: str | PathLike[str],
    force: bool = False,
    *,
    single_file: bool = False,
    explore: bool = True,
    animate: Iterable[str] = (),
    all_correlations: bool = False,
) -> list[Finding]:
    """Write the report of one run, or of several runs in one store, and return the findings.

    Args:
        measurements: from :func:`measure` or :func:`open_measurements`; the path of a store or of a report folder
            stands for all runs in it.
        out: the report folder, or the HTML file.
        force: write over the report of other runs, or beside foreign files.
        single_file: write one HTML file to mail: the first page with its figures, without pages of layers.
        explore: write the interactive page into the folder, too.
        animate: patterns of names, such as ``"fc*.weight"``, of layers whose singular values are animated on their
            pages; not for a single file.
        all_correlations: list all correlations in ``data/correlations.csv``, rather than those that matter; a single
            file has no tables.

    Raises:
        ReportError: the folder contains something else, or cannot be written.
        ArgumentError: a pattern matches no layer.
        StoreError: the runs are in different stores, or one of them cannot be read.
    """
    from analyzer import workflow
    from analyzer.errors import StoreError
    from analyzer.report.measurements import Measurements
    from analyzer.report.writer import ReportOptions

    only: set[str] | None = None
    if isinstance(measurements, str | PathLike):
        store = str(workflow.stored_in(str(measurements)) or measurements)
    else:
        chosen = [measurements] if isinstance(measurements, Measurements) else list(measurements)
        paths = sorted({one.path for one in chosen})
        if len(paths) != 1:
            named = ", ".join(paths) or "no store"
            raise StoreError(f"{named}: the runs of a report must be in one store; measure them into one")
        store, only = paths[0], {one.run for one in chosen}
    if single_file:
        found = workflow.report_file(store, str(out), force=force, only=only)
    else:
        options = ReportOptions(explore, tuple(animate), all_correlations)
        found = workflow.report(store, str(out), force=force, only=only, options=options)
    return [finding for findings in found.values() for finding in findings]


def compare(
    stores: Iterable[str | PathLike[str]], out: str | PathLike[str] | None = None, force: bool = False
) -> Comparison:
    """Compare the runs of some stores, and write the folder of the comparison.

    Args:
        stores: the SQLite files that :func:`measure` filled, or report folders, with two or more runs in all.
        out: where to write the comparison; without it nothing is written.
        force: write over another comparison, or beside foreign files.

    Raises:
        ReportError: the folder contains something else, or cannot be written.
        StoreError: a store cannot be read.
        ArgumentError: there are fewer than two runs.
    """
    from analyzer import workflow

    return workflow.compare([str(store) for store in stores], None if out is None else str(out), force=force)
