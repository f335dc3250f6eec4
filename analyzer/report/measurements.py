"""Give access from Python to what was measured of one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analyzer.errors import StoreError, WeightlapseError
from analyzer.store.store import open_store

if TYPE_CHECKING:
    import pandas

    from analyzer.model.run import Finding, FloatArray
    from analyzer.model.tables import Curve


@dataclass(frozen=True, slots=True)
class Measurements:
    """The measurements of one run in a store; each call reads the file."""

    path: str
    run: str

    def series(self, tensor: str, metric: str) -> Curve:
        """Return one metric of one tensor over all checkpoints: float64 values (checkpoints,) with statuses.

        ``"mean"`` and ``"total"`` in place of a tensor give the mean over weight matrices and all parameters together.

        Raises:
            StoreError: no such tensor or metric was measured.
        """
        scope, name = (tensor, "") if tensor in ("mean", "total") else ("tensor", tensor)
        with open_store(self.path) as store:
            for curve in store.curves(self.run, scope, metric, name):
                return curve
        raise StoreError(f"{self.path}: contains no {metric!r} of {tensor!r} in run {self.run!r}")

    def spectra(self, tensor: str) -> dict[str, FloatArray]:
        """Return the float64 singular values, falling, shape (min(rows, columns),), by checkpoint name.

        Raises:
            StoreError: no spectrum of this tensor was measured.
        """
        with open_store(self.path) as store:
            spectra = store.spectra(self.run, tensor)
        if not spectra:
            raise StoreError(f"{self.path}: contains no spectra of {tensor!r} in run {self.run!r}")
        return spectra

    def findings(self) -> list[Finding]:
        """Return what the files and the measurements say, the most serious first."""
        from analyzer.report.reading import read_run

        with open_store(self.path) as store:
            return list(read_run(store, self.run).findings)

    def rows(self) -> list[dict[str, Any]]:
        """Return every measurement as a dictionary with the columns of ``measurements.csv`` but epoch and step."""
        with open_store(self.path) as store:
            return [row._asdict() for row in store.measurements(self.run)]

    def to_pandas(self) -> pandas.DataFrame:
        """Return every measurement as a data frame, with the columns of ``measurements.csv`` (needs pandas)."""
        try:
            import pandas
        except ModuleNotFoundError:
            raise WeightlapseError("to_pandas() needs pandas: pip install 'weightlapse[pandas]'") from None

        from analyzer.report import csv_tables as tabular
        from analyzer.report.reading import read_tables

        with open_store(self.path) as store:
            content = list(tabular.rows("measurements", store, [read_tables(store, self.run)]))
        return pandas.DataFrame(content, columns=tabular.HEADERS["measurements"].split(","))
