"""weightlapse: what happened to the weights, from the checkpoints that a training run left behind.

    folder ──layouts──▶ Run ──audit──▶ Run + findings
                          │
                      formats: where each tensor's bytes lie ──sources──▶ arrays
                          │
                        engine: one stream per tensor (W_0, W_{t-1}, W_t) ──metrics──▶ measurements ──▶ store (SQLite)
                                                                                            │
                                             report ◀── figures ◀── findings ◀── statistics ◀┘

>>> import analyzer
>>> run = analyzer.open_run("checkpoints/demo")
>>> measurements = analyzer.measure(run, store="demo.sqlite")
>>> measurements.series("fc1.weight", "condition_number")
>>> analyzer.write_report(measurements, "reports/demo")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyzer.errors import WeightlapseError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

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


def open_runs(path: str | PathLike[str], layout: str | None = None) -> list[Run]:
    """The run in a folder, or the runs in the folders below it.

    Args:
        path: a run's folder, or a folder of runs.
        layout: the name of a layout, where the folder could be several things.

    Raises:
        NoCheckpointsError: nothing was recognised.
        LayoutError: two layouts match equally well.
    """
    from analyzer.layouts import open_runs

    return open_runs(str(path), layout)


def open_run(path: str | PathLike[str], layout: str | None = None) -> Run:
    """The one run in a folder; see :func:`open_runs`.

    Raises:
        LayoutError: the folder holds several runs, which are named.
    """
    from analyzer.errors import LayoutError

    runs = open_runs(path, layout)
    if len(runs) > 1:
        raise LayoutError(f"{path}: holds several runs ({', '.join(run.path for run in runs)}); open one of them")
    return runs[0]


def audit(run: Run, jobs: int | None = None) -> list[Finding]:
    """What is worth knowing about a run's files before anything is measured, the most serious first.

    Everything is read once, ``jobs`` checkpoints at a time (by default as many as there are cores).
    """
    from analyzer.auditing import audit
    from analyzer.auditing.contents import read_contents

    return audit(run, read_contents(run, jobs))


def measure(
    run: Run,
    store: str | PathLike[str],
    metrics: Iterable[str] | None = None,
    jobs: int | None = None,
    spectra_every: int = 1,
    device: str = "cpu",
) -> Measurements:
    """Measure a run, as far as the store does not know it already.

    Args:
        run: from :func:`open_run`.
        store: the SQLite file to keep the measurements in; made where it does not exist.
        metrics: families or single metrics by name; by default all but those on request.
        jobs: threads; by default as many as the process may use.
        spectra_every: leave out the spectra of all but every N-th checkpoint, the first and the last.
        device: ``cpu``, or ``cuda`` for spectra from a graphics card.

    Raises:
        DeviceError: the device is not to be had.
        MetricError: an unknown family.
        StoreError: the store is damaged, of another version, or cannot be written.
    """
    from analyzer.engine.update import MeasureRequest, bring_up_to_date
    from analyzer.metrics import select_metrics
    from analyzer.report.measurements import Measurements
    from analyzer.store.store import open_store

    chosen = select_metrics(metrics)
    with open_store(str(store), create=True) as opened:
        request = MeasureRequest(chosen, spectra_every, jobs, device=device)
        bring_up_to_date(opened, run, request)
        with opened.transaction():
            opened.finish(run.name, request.asked)
    return Measurements(str(store), run.name)


def open_measurements(store: str | PathLike[str], run: str | None = None) -> Measurements:
    """What was measured earlier, from a store; ``run`` names one of several.

    Raises:
        StoreError: the store cannot be read, or holds several runs and none was named.
    """
    from analyzer.errors import StoreError
    from analyzer.report.measurements import Measurements
    from analyzer.store.store import open_store

    with open_store(str(store)) as opened:
        names = opened.runs()
    if run is None and len(names) != 1:
        raise StoreError(f"{store}: holds {len(names)} runs ({', '.join(names)}); name one of them")
    return Measurements(str(store), run or names[0])


def write_report(measurements: Measurements, out: str | PathLike[str], force: bool = False) -> None:
    """Write the report folder of one run; ``force`` replaces the report of another run.

    Raises:
        ReportError: the folder holds something else, or cannot be written.
    """
    from analyzer.workflow import report_store

    report_store(measurements.path, str(out), force=force, only=[measurements.run])


def compare(
    stores: Iterable[str | PathLike[str]], out: str | PathLike[str] | None = None, force: bool = False
) -> Comparison:
    """Set the runs of some stores beside each other, and write the folder of the comparison.

    Args:
        stores: the SQLite files that :func:`measure` filled, or report folders, with two or more runs in all.
        out: where to write the comparison; without it nothing is written.
        force: write over another comparison, or beside other files.

    Raises:
        ReportError: the folder holds something else, or cannot be written.
        StoreError: a store cannot be read, or there are fewer than two runs.
    """
    from analyzer.comparing import compare_runs
    from analyzer.report.comparison import compare_stores, read_runs

    paths = [str(store) for store in stores]
    return compare_runs(read_runs(paths)) if out is None else compare_stores(paths, str(out), force=force)
