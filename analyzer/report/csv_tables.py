"""Format a report's CSV tables and the export: 17 significant digits, an empty field where there is no number."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, islice
from operator import attrgetter
from typing import Any

from analyzer.model.tables import Tables
from analyzer.report.relations import MOST_RELATED, RELATED_METRICS
from analyzer.statistics.correlating import Correlations
from analyzer.store.reader import Reader

HEADERS: Mapping[str, str] = {
    "measurements": "run,checkpoint,epoch,step,scope,tensor,metric,value,bound,status,reference",
    "checkpoints": "run,checkpoint,epoch,step,train_accuracy,test_accuracy,train_loss,test_loss,path,bytes",
    "scalars": "run,checkpoint,epoch,step,scalar,value",
    "tensors": "run,tensor,module,kind,role,depth,shape,matrix_shape,rule,dtype",
    "metrics": "metric,family,unit,definition,source,version",
    "correlations": "run,scope,tensor,metric,scalar,transform,lag,method,coefficient,low,high,n,n_effective,p_value,"
    "q_value,power_05,power_07,status",
}
LEADING_SCORES = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")
MOST_BYTES = 50_000_000  # of a table that is not compressed
COMPRESSION = 4  # more takes twice the time for 2 % of the size
Row = tuple[Any, ...]
Table = tuple[str, Iterator[str]]  # header and lines
NEEDS_QUOTES = re.compile(r'[",\r\n]')


def tables_of(store: Reader, runs: Sequence[Tables], all_correlations: bool = False) -> dict[str, Table]:
    """Return the header and the lines of each table of a report, by name.

    Args:
        store: the store that the runs were read from.
        runs: their tables, with statistics.
        all_correlations: whether to list all correlations; by default those that matter.
    """
    lines = {name: as_lines(rows(name, store, runs)) for name in HEADERS}
    lines["measurements"] = (line for tables in runs for line in _measurement_lines(store, tables))
    if not all_correlations:
        lines["correlations"] = as_lines((tables.run, *row) for tables in runs for row in _leading_correlations(tables))
    return {name: (_header(name, runs), lines[name]) for name in HEADERS}


def _header(name: str, runs: Sequence[Tables]) -> str:
    return f"{HEADERS[name]},tokens" if name == "checkpoints" and _count_tokens(runs) else HEADERS[name]


def _count_tokens(runs: Iterable[Tables]) -> bool:
    """Check whether any run knows how many tokens its training had seen: only then is there such a column."""
    return any(row.tokens is not None for tables in runs for row in tables.checkpoints)


def rows(name: str, store: Reader, runs: Sequence[Tables]) -> Iterator[Row]:
    """Return the rows of the table ``name`` (a key of :data:`HEADERS`) as Python objects, None for no value."""
    if name == "metrics":
        fields = attrgetter("name", "family", "unit", "definition", "source", "version")
        return map(fields, store.metrics().values())
    table = {
        "measurements": lambda tables: _measurements(store, tables),
        "checkpoints": lambda tables: _checkpoints(tables, _count_tokens(runs)),
        "scalars": _scalars,
        "tensors": _tensors,
        "correlations": _correlations,
    }[name]
    return ((tables.run, *row) for tables in runs for row in table(tables))


def export_table(store: Reader, runs: Sequence[Tables], kind: str) -> bytes:
    """Return the table ``measurements`` of some runs.

    Args:
        store: the store that they were read from.
        runs: their tables.
        kind: ``csv``, as in the report folder, or ``json``: a list of objects with the same keys.
    """
    header, content = HEADERS["measurements"], rows("measurements", store, runs)
    if kind == "csv":
        return with_header(header, content)
    records = [dict(zip(header.split(","), row, strict=True)) for row in content]
    return (json.dumps(records, indent=0, allow_nan=False) + "\n").encode()


def as_lines(content: Iterable[Row]) -> Iterator[str]:
    """Yield rows as lines of CSV; text that a spreadsheet would take for a formula gets a leading apostrophe."""
    text = lru_cache(maxsize=1 << 16)(_text_field)  # names and statuses repeat
    for row in content:
        fields = ["" if value is None else number(value) if isinstance(value, float) else text(value) for value in row]
        yield f"{','.join(fields)}\n"


def with_header(header: str, content: Iterable[Row]) -> bytes:
    """Return a table as CSV."""
    table = io.BytesIO()  # a list of millions of lines would take several times the memory
    table.write(header.encode() + b"\n")
    table.writelines(_encoded(line) for line in as_lines(content))
    return table.getvalue()


def table_file(name: str, table: Table) -> tuple[str, bytes]:
    """Return the name and the content of a table's file: CSV, compressed if it were larger than 50 MB."""
    header, lines = table
    plain = io.BytesIO()
    plain.write(header.encode() + b"\n")
    for line in lines:
        plain.write(_encoded(line))
        if plain.tell() > MOST_BYTES:
            break
    else:
        return f"{name}.csv", plain.getvalue()
    compressed = io.BytesIO()
    with gzip.GzipFile("", "wb", COMPRESSION, compressed, mtime=0) as file:  # no name and no time: the same bytes again
        file.write(plain.getbuffer())
        plain = io.BytesIO()
        for some in iter(lambda: "".join(islice(lines, 10_000)), ""):
            file.write(_encoded(some))
    return f"{name}.csv.gz", compressed.getvalue()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text_field(value: Any) -> str:
    cell = _cell(value)
    # The csv module leaves a lone carriage return bare, which its own reader takes for the end of the row.
    return '"' + cell.replace('"', '""') + '"' if NEEDS_QUOTES.search(cell) else cell


def or_none(value: float) -> float | None:
    """Return a plain number, None for NaN."""
    return None if value != value else float(value)


def number(value: float) -> str:
    """Format a number with 17 significant digits, which restore exactly the same float64."""
    return f"{value:.17g}"


def _cell(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return json.dumps(value)
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _measurements(store: Reader, tables: Tables) -> Iterator[Row]:
    places = {row.name: (row.epoch, row.step) for row in tables.checkpoints}
    for checkpoint, scope, tensor, metric, value, bound, status, reference in store.measurements(tables.run):
        yield (checkpoint, *places[checkpoint], scope, tensor, metric, value, bound, status, reference)


def _measurement_lines(store: Reader, tables: Tables) -> Iterator[str]:
    """Yield the lines of the table ``measurements``: what many of them share is formatted once."""
    places = {row.name: (row.epoch, row.step) for row in tables.checkpoints}
    joined = lru_cache(maxsize=1 << 20)(lambda *fields: next(as_lines([fields]))[:-1])
    for checkpoint, stored in store.rows_by_checkpoint(tables.run):
        start = joined(tables.run, checkpoint, *places[checkpoint])
        for series, value, bound, status, reference in stored:
            figures = f"{'' if value is None else number(value)},{'' if bound is None else number(bound)}"
            yield f"{start},{joined(*series[1:])},{figures},{joined(status, reference)}\n"


def _checkpoints(tables: Tables, with_tokens: bool) -> Iterator[Row]:
    for position, row in enumerate(tables.checkpoints):
        scores = [_score(tables, name, position) for name in LEADING_SCORES]
        tokens = (row.tokens,) if with_tokens else ()
        yield (row.name, row.epoch, row.step, *scores, row.path, row.bytes, *tokens)


def _scalars(tables: Tables) -> Iterator[Row]:
    for position, row in enumerate(tables.checkpoints):
        for name in tables.scalars:
            if (value := _score(tables, name, position)) is not None:
                yield (row.name, row.epoch, row.step, name, value)


def _score(tables: Tables, name: str, position: int) -> float | None:
    values = tables.scalars.get(name)
    return None if values is None else or_none(values[position])


def _tensors(tables: Tables) -> Iterator[Row]:
    fields = ("name", *HEADERS["tensors"].split(",")[2:])
    return map(attrgetter(*fields), tables.tensors)


def _correlations(tables: Tables) -> Iterator[Row]:
    return map(attrgetter(*HEADERS["correlations"].split(",")[1:]), chain.from_iterable(tables.correlations.values()))


def _leading_correlations(tables: Tables) -> Iterator[Row]:
    """Yield the rows of the table ``correlations`` that matter; without statistics there are none.

    Those that the page shows are among them. Lags are explored for the metrics that it shows only.
    """
    shown = {metric: MOST_RELATED for metric, _ in RELATED_METRICS}
    found = tables.correlations
    if not isinstance(found, Correlations):
        return
    fields = attrgetter(*HEADERS["correlations"].split(",")[1:])
    for metric in found:
        yield from (fields(row) for row in found.leading(metric, shown.get(metric)) if row.lag == 0 or metric in shown)
