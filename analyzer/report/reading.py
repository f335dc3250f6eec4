"""Read a run from a store as tables, and complete them with findings and statistics.

Findings are computed whenever a store is read, statistics when a report is made, so that a better rule reaches a store
that was filled earlier.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from operator import itemgetter

import numpy as np

from analyzer.errors import StoreError
from analyzer.findings import by_severity, find
from analyzer.findings.curves import PARAMETERS
from analyzer.model.describing import describe
from analyzer.model.names import listed
from analyzer.model.run import Finding, FloatArray
from analyzer.model.spectra import SpectrumThroughTime, spectrum_through_time
from analyzer.model.tables import StoredElements, Tables
from analyzer.model.trajectory import NO_TRAJECTORY, Trajectory, trajectory_of
from analyzer.report.completeness import unfinished
from analyzer.report.finite_states import finite_states
from analyzer.statistics.change_pairs import change_pairs
from analyzer.statistics.correlating import Correlations
from analyzer.statistics.curves import PICTURED
from analyzer.store.reader import Reader


def read_run(store: Reader, run: str, path: str | None = None) -> Tables:
    """Return what was measured of a run, with its findings, the most serious first.

    Args:
        store: an open store.
        run: the run's name.
        path: the store in which unfinished measuring is to be continued; by default this one.

    Raises:
        StoreError: the store contains no such run.
    """
    tables = read_tables(store, run)
    found = [*unfinished(store, tables, path or store.path), *_vanished(store, tables), *find(tables)]
    return replace(tables, findings=tuple(by_severity(found)))


def reported_runs(store: Reader, only: Collection[str] | None = None) -> list[str]:
    """Return the names of the runs in a store, or of those of ``only`` that are there.

    Raises:
        StoreError: there is none.
    """
    if not (names := [name for name in store.runs() if only is None or name in only]):
        raise StoreError(f"{store.path}: contains no run to report; measure one first")
    return names


def read_report(store: Reader, names: Iterable[str], path: str | None = None) -> list[Tables]:
    """Return all that the report draws of some runs; arguments as in :func:`read_run`."""
    return [with_spectra(store, with_statistics(read_run(store, name, path))) for name in names]


def read_tables(store: Reader, run: str) -> Tables:
    """Return what was measured of a run, without findings and statistics.

    Raises:
        StoreError: the store contains no such run.
    """
    curves = {(curve.scope, curve.tensor, curve.metric): curve for curve in store.curves(run)}
    tables = replace(describe(store.run(run), store.tensors(run), {}), metrics=store.metrics(), curves=curves)
    elements, trajectory = _elements(store, tables), _trajectory(store, tables)
    return replace(tables, elements=elements, problems=tuple(store.problems(run)), trajectory=trajectory)


def with_statistics(tables: Tables) -> Tables:
    """Return the tables with the correlations between curves and scores."""
    found = Correlations(tables)
    pairs = change_pairs(tables, found.get(PICTURED, ()))
    return replace(tables, correlations=found, change_pairs=pairs, uncorrelated=found.left_out)


def with_spectra(store: Reader, tables: Tables) -> Tables:
    """Return the tables with the singular values of each matrix, read and condensed one matrix after the other."""
    unknown = np.full(len(tables.checkpoints), np.nan)
    found: dict[str, SpectrumThroughTime] = {}
    for row in tables.tensors:
        if row.matrix_shape is None:
            continue
        spectra = store.spectra(tables.run, row.name)
        if spectra:
            curve = tables.curves.get(("tensor", row.name, "mp_edge"))
            edge = unknown if curve is None else curve.values
            in_order = [spectra.get(checkpoint.name) for checkpoint in tables.checkpoints]
            found[row.name] = spectrum_through_time(row.name, in_order, edge)
    return replace(tables, spectra=found)


def _elements(store: Reader, tables: Tables) -> dict[str, dict[str, StoredElements]]:
    """Return what is known of the stored elements: their hashes, and how many are not finite, or whether some are."""
    counts = {
        tensor: curve
        for (scope, tensor, metric), curve in tables.curves.items()
        if scope == "tensor" and metric == "nonfinite_count"
    }
    nan_counts = store.nan_counts(tables.run)
    positions = {row.name: position for position, row in enumerate(tables.checkpoints)}
    finite = finite_states(tables, {row.name for row in tables.tensors} - counts.keys())
    elements: dict[str, dict[str, StoredElements]] = {}
    for checkpoint, digests in store.contents(tables.run).items():
        position, nan = positions[checkpoint], nan_counts.get(checkpoint, {})
        held = elements.setdefault(checkpoint, {})
        for tensor, digest in digests.items():
            curve = counts.get(tensor)
            known = curve is not None and curve.statuses[position] == "ok"
            nonfinite = int(curve.values[position]) if curve is not None and known else None
            held[tensor] = StoredElements(
                digest,
                nonfinite,
                nan.get(tensor, 0) if nonfinite is not None else None,
                is_finite=finite.get((tensor, position)),
            )
    return elements


def _trajectory(store: Reader, tables: Tables) -> Trajectory:
    """Return the path of all parameters together, from the sketches of their steps.

    A checkpoint has a step if its parameters are those of one earlier checkpoint, and each has a sketch from there on.
    """
    parameters = {row.name for row in tables.tensors if row.kind in PARAMETERS}
    held = {one.name: parameters & one.tensors.keys() for one in tables.source.checkpoints}
    positions = {row.name: position for position, row in enumerate(tables.checkpoints)}
    steps: list[tuple[int, FloatArray] | None] = [None] * len(positions)
    buckets = 0
    for checkpoint, rows in groupby(store.sketches(tables.run), key=itemgetter(0)):
        known = [(start, sketch) for _, tensor, start, sketch in rows if sketch and tensor in parameters]
        starts = {start for start, _ in known}
        if len(known) < len(held[checkpoint]) or len(starts) != 1 or not starts <= held.keys():
            continue
        buckets = buckets or known[0][1].buckets
        if held[(start := starts.pop())] == held[checkpoint] and {sketch.buckets for _, sketch in known} == {buckets}:
            total = np.zeros(buckets)
            for _, sketch in known:
                sketch.add_to(total)
            steps[positions[checkpoint]] = positions[start], total
    return trajectory_of(steps, buckets) if buckets else NO_TRAJECTORY


def _vanished(store: Reader, tables: Tables) -> Iterator[Finding]:
    """Report checkpoints that were measured once and are no longer in the folder: their measurements were dropped."""
    names = store.vanished(tables.run)
    if not names:
        return
    verb = "was" if len(names) == 1 else "were"
    yield Finding(
        "vanished_checkpoints",
        "warning",
        f"{listed(names)} {verb} measured earlier and {'is' if len(names) == 1 else 'are'} no longer in the folder; "
        "the measurements were dropped, so steps and distances from the start may refer to other checkpoints than "
        "before.",
        checkpoints=tuple(names),
    )
