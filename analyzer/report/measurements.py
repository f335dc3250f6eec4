"""Give access from Python to what was measured of one run."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from analyzer.errors import StoreError, WeightlapseError
from analyzer.model.describing import axis_of, describe
from analyzer.model.notebook import counted, html_table, suggestion
from analyzer.model.tables import is_expert
from analyzer.store.store import open_store

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from analyzer.model.run import Finding, FloatArray
    from analyzer.model.tables import Curve

AGGREGATES = ("mean", "total")


@dataclass(frozen=True, slots=True, repr=False)
class Measurements:
    """The measurements of one run in a store; each call reads the file."""

    path: str
    run: str

    def __repr__(self) -> str:
        return f"<Measurements of {self.run!r} in {self.path}>"

    def _repr_html_(self) -> str:
        with open_store(self.path) as store:
            checkpoints, tensors = store.checkpoints(self.run), store.tensors(self.run)
        axis, label = axis_of(checkpoints)
        rows = [
            ("checkpoints", f"{len(checkpoints)}: {label} {axis[0]:g} to {axis[-1]:g}"),
            ("tensors", counted(sum(not is_expert(row) for row in tensors), "tensor")),
            ("metrics", ", ".join(self.metrics)),
            *((name, f"{values[-1]:.6g} at the end") for name, values in self.scores.items()),
        ]
        return html_table(repr(self)[1:-1], (), rows)

    @property
    def tensors(self) -> list[str]:
        """The names of the tensors that were measured, in the order of the network."""
        with open_store(self.path) as store:
            return [row.name for row in store.tensors(self.run)]

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics that were measured."""
        with open_store(self.path) as store:
            return store.measured_metrics(self.run)

    @property
    def scores(self) -> dict[str, FloatArray]:
        """The scores by name, float64 (checkpoints,), NaN where a checkpoint has none."""
        with open_store(self.path) as store:
            return dict(describe(store.run(self.run), (), {}).scalars)

    def series(self, tensor: str, metric: str) -> Curve:
        """Return one metric of one tensor over all checkpoints: float64 values (checkpoints,) with statuses.

        ``"mean"`` and ``"total"`` in place of a tensor give the mean over weight matrices and all parameters together.

        Raises:
            StoreError: no such tensor or metric was measured; the message suggests names.
        """
        scope, name = (tensor, "") if tensor in AGGREGATES else ("tensor", tensor)
        with open_store(self.path) as store:
            for curve in store.curves(self.run, scope, metric, name):
                return curve
            known = {one.name for one in store.tensors(self.run)}
        where = f"{self.path}: run {self.run!r} contains no"
        if metric not in self.metrics:
            raise StoreError(f"{where} metric {metric!r}; {suggestion(metric, self.metrics)}")
        if name not in known and scope == "tensor":
            raise StoreError(f"{where} tensor {tensor!r}; {suggestion(tensor, [*self.tensors, *AGGREGATES])}")
        raise StoreError(f"{where} {metric!r} of {tensor!r}: it was not measured of this tensor")

    def spectra(self, tensor: str) -> dict[str, FloatArray]:
        """Return the float64 singular values, falling, shape (min(rows, columns),), by checkpoint name.

        Raises:
            StoreError: no spectrum of this tensor was measured; the message suggests names.
        """
        with open_store(self.path) as store:
            spectra = store.spectra(self.run, tensor)
            matrices = [row.name for row in store.tensors(self.run) if row.matrix_shape]
        if not spectra:
            hint = "it was not measured" if tensor in matrices else suggestion(tensor, matrices)
            raise StoreError(f"{self.path}: run {self.run!r} contains no spectra of {tensor!r}; {hint}")
        return spectra

    def findings(self) -> list[Finding]:
        """Return what the files and the measurements say, the most serious first."""
        from analyzer.report.reading import read_run

        with open_store(self.path) as store:
            return list(read_run(store, self.run).findings)

    def plot(self, metric: str, tensors: str = "*") -> Figure:
        """Return a matplotlib figure of one metric of all tensors whose names match a pattern, such as ``"fc*"``.

        A notebook shows it; ``figure.savefig(path)`` writes it.

        Raises:
            StoreError: no such metric was measured, or of no tensor with such a name; the message suggests names.
        """
        from analyzer.figures.drawing.metric_figure import metric_figure
        from analyzer.report.reading import read_tables

        with open_store(self.path) as store:
            tables = read_tables(store, self.run)
        where = f"{self.path}: run {self.run!r} contains no"
        measured = {tensor for scope, tensor, name in tables.curves if scope == "tensor" and name == metric}
        if not measured:
            raise StoreError(f"{where} metric {metric!r}; {suggestion(metric, self.metrics)}")
        known = [row.name for row in tables.tensors if row.name in measured]
        names = [name for name in known if fnmatchcase(name, tensors)]
        if not names:
            raise StoreError(f"{where} {metric!r} of a tensor like {tensors!r}; {suggestion(tensors, known)}")
        return metric_figure(tables, metric, names)

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
