"""Make the interactive page: ``explore.html`` with its script, plotly's, and the data of all runs beside it.

Values are packed as little-endian float32 in base64: a tenth of JSON's size for a large run, and seven digits are more
than a screen shows. The exact ones are in the CSV files.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from analyzer.model.names import printable
from analyzer.model.run import STATUSES_WITH_VALUE
from analyzer.model.tables import Curve, Tables
from analyzer.report.layers import Layer, layers_of
from analyzer.report.rendering import asset, place_number, rendered

AGGREGATES = (("mean", "mean over the weight matrices"), ("total", "all parameters together"))
MOST_COUNTED = np.iinfo(np.uint16).max  # singular values in a bin of a histogram


def explore_files(runs: Sequence[Tables], folders: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield (path in the report, content) of the page and of all that it loads.

    Args:
        runs: their tables.
        folders: run name -> folder of the pages of its layers.
    """
    names = ", ".join(printable(tables.run, 60) for tables in runs)
    yield "explore.html", rendered("explore.html", names=names)
    yield "explore.js", asset("explore.js")
    yield "plotly.min.js", files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    content = [_run(tables, folders[tables.run]) for tables in runs]
    # ASCII, and no "<": the file is harmless wherever it is loaded or pasted.
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    yield "data.js", f"const RUNS = {text};\n".encode()


def _run(tables: Tables, folder: str) -> dict[str, Any]:
    """Return a run as plain data: axis, scores, layers, findings, and the packed curves and histograms."""
    layers = layers_of(tables)
    metrics = _metrics(tables, layers)
    return {
        "name": printable(tables.run, 80),
        "axis": tables.axis.tolist(),
        "axisLabel": tables.axis_label,
        "places": [place_number(place) for place in tables.axis],
        "scores": {printable(name, 80): _packed(values) for name, values in tables.scalars.items()},
        "series": [
            *({"name": title, "role": "", "depth": None, "page": None} for _, title in AGGREGATES),
            *(
                {
                    "name": printable(layer.row.name, 120),
                    "role": layer.role,
                    "depth": layer.row.depth,
                    "page": f"{folder}{layer.file}",
                }
                for layer in layers
            ),
        ],
        "metrics": metrics,
        "spectra": _spectra(tables, layers),
        "findings": _findings(tables, layers),
    }


def _metrics(tables: Tables, layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """Return each metric of a layer with its values (series, checkpoints): the aggregates, then the layers."""
    keys = [*((scope, "") for scope, _ in AGGREGATES), *(("tensor", layer.row.name) for layer in layers)]
    found = []
    for row in tables.metrics.values():
        curves = [tables.curves.get((scope, tensor, row.name)) for scope, tensor in keys]
        values = np.stack([_drawable(curve, len(tables.axis)) for curve in curves])
        if np.isfinite(values).any():
            found.append(
                {
                    "name": printable(row.name, 80),
                    "family": printable(row.family, 40),
                    "unit": printable(row.unit, 80),
                    "definition": printable(row.definition, 600),
                    "values": _packed(values),
                }
            )
    return found


def _drawable(curve: Curve | None, count: int) -> np.ndarray:
    """Return the values of a curve (checkpoints,), NaN where there is none."""
    if curve is None:
        return np.full(count, np.nan)
    has_value = [status in STATUSES_WITH_VALUE for status in curve.statuses]
    return np.where(has_value, curve.values, np.nan)


def _spectra(tables: Tables, layers: Sequence[Layer]) -> list[dict[str, Any] | None]:
    """Return, for each layer, the histogram of its singular values at each checkpoint, None without a spectrum."""
    found: list[dict[str, Any] | None] = []
    for layer in layers:
        spectrum = tables.spectra.get(layer.row.name)
        if spectrum is None or not spectrum.bins.size:
            found.append(None)
            continue
        counts = np.minimum(spectrum.counts, MOST_COUNTED).astype("<u2")
        found.append(
            {
                "bins": _packed(spectrum.bins),
                "counts": b64encode(counts.tobytes()).decode(),
                "edge": _packed(spectrum.edge),
            }
        )
    return found


def _findings(tables: Tables, layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """Return each finding with its layers, as positions among the series, and the part of the axis that it names."""
    positions = {row.name: position for position, row in enumerate(tables.checkpoints)}
    found = []
    for number, finding in enumerate(tables.findings, start=1):
        places = [positions[name] for name in finding.checkpoints if name in positions]
        found.append(
            {
                "number": number,
                "severity": finding.severity,
                "sentence": printable(finding.sentence),
                "series": [len(AGGREGATES) + layer.number - 1 for layer in layers if number in layer.findings],
                "from": min(places, default=None),
                "to": max(places, default=None),
            }
        )
    return found


def _packed(values: np.ndarray) -> str:
    """Return numbers as base64 of little-endian float32; what float32 cannot hold is NaN."""
    with np.errstate(over="ignore"):
        narrow = np.asarray(values, dtype=np.float64).astype("<f4")
    narrow[~np.isfinite(narrow)] = np.nan
    return b64encode(narrow.tobytes()).decode()
