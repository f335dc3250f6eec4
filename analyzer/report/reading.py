"""Read a run from a store as tables, and complete them with findings and statistics.

Findings are computed whenever a store is read, statistics when a report is made, so that a better rule reaches a store
that was filled earlier.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from analyzer.findings import by_severity, find
from analyzer.model.describing import describe
from analyzer.model.names import listed
from analyzer.model.run import Finding
from analyzer.model.tables import StoredElements, Tables
from analyzer.report.completeness import unfinished
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


def read_tables(store: Reader, run: str) -> Tables:
    """Return what was measured of a run, without findings and statistics.

    Raises:
        StoreError: the store contains no such run.
    """
    curves = {(curve.scope, curve.tensor, curve.metric): curve for curve in store.curves(run)}
    tables = replace(describe(store.run(run), store.tensors(run), {}), metrics=store.metrics(), curves=curves)
    return replace(tables, elements=_elements(store, tables), problems=tuple(store.problems(run)))


def with_statistics(tables: Tables) -> Tables:
    """Return the tables with the correlations between curves and scores."""
    found = Correlations(tables)
    pairs = change_pairs(tables, found.get(PICTURED, ()))
    return replace(tables, correlations=found, change_pairs=pairs, uncorrelated=found.left_out)


def _elements(store: Reader, tables: Tables) -> dict[str, dict[str, StoredElements]]:
    """Return what is known of the stored elements: their hashes, and how many are not finite."""
    counts = {
        tensor: curve
        for (scope, tensor, metric), curve in tables.curves.items()
        if scope == "tensor" and metric == "nonfinite_count"
    }
    nan_counts = store.nan_counts(tables.run)
    positions = {row.name: position for position, row in enumerate(tables.checkpoints)}
    elements: dict[str, dict[str, StoredElements]] = {}
    for checkpoint, digests in store.contents(tables.run).items():
        position, nan = positions[checkpoint], nan_counts.get(checkpoint, {})
        held = elements.setdefault(checkpoint, {})
        for tensor, digest in digests.items():
            curve = counts.get(tensor)
            known = curve is not None and curve.statuses[position] == "ok"
            nonfinite = int(curve.values[position]) if curve is not None and known else None
            held[tensor] = StoredElements(digest, nonfinite, nan.get(tensor, 0) if nonfinite is not None else None)
    return elements


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
        figure="step_distance",
    )
