"""The command line run in this process: what it printed and how it ended."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import analyzer
from analyzer import cli
from analyzer.model.run import Measurement
from analyzer.report.measurements import Measurements
from analyzer.store.store import open_store


@dataclass(frozen=True)
class Outcome:
    """Exit code, standard output (bytes) and standard error (text) of one command."""

    code: int
    stdout: bytes
    err: str

    @property
    def out(self) -> str:
        return self.stdout.decode()


def weightlapse(*arguments: object) -> Outcome:
    """Run ``weightlapse ARGUMENT...`` and give back how it ended."""
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch.object(sys, "argv", ["weightlapse", *map(str, arguments)]),
    ):
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
    out.flush()
    err.flush()
    assert isinstance(code, int)
    return Outcome(code, out.buffer.getvalue(), err.buffer.getvalue().decode())


def measured(
    folder: Path, store: Path | None = None, metrics: Iterable[str] | None = None, jobs: int = 1
) -> Measurements:
    """A run measured into a store, by default ``FOLDER.sqlite`` beside it."""
    return analyzer.measure(analyzer.open_run(folder), store or folder.with_suffix(".sqlite"), metrics, jobs)


def everything(measurements: Measurements) -> tuple[list[Measurement], dict[tuple[str, str], bytes], object]:
    """Every row, the bytes of every spectrum by tensor and checkpoint, and what else is stored of the tensors."""
    with open_store(measurements.path) as store:
        spectra = {
            (one.name, name): values.tobytes()
            for one in store.tensors(measurements.run)
            for name, values in store.spectra(measurements.run, one.name).items()
        }
        sums = {one.name: repr(store.sums(measurements.run, one.name)) for one in store.checkpoints(measurements.run)}
        sketches = [
            (checkpoint, tensor, reference, sketch and (sketch.buckets, sketch.first, sketch.numbers.tobytes()))
            for checkpoint, tensor, reference, sketch in store.sketches(measurements.run)
        ]
        beside = store.contents(measurements.run), sums, store.problems(measurements.run), sketches
        return list(store.measurements(measurements.run)), spectra, beside


Key = tuple[str, str, str, str]


def rows_of(measurements: Measurements) -> dict[Key, dict[str, object]]:
    """Every row by (checkpoint, scope, tensor, metric)."""
    rows = measurements.rows()
    keyed = {(row["checkpoint"], row["scope"], row["tensor"], row["metric"]): row for row in rows}
    assert len(keyed) == len(rows)
    return keyed


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))
