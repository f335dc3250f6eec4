"""Keep the tables of measured runs in one small file, as far as rules read them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from analyzer.model.describing import describe
from analyzer.model.run import Checkpoint, Run, Status, TensorInfo
from analyzer.model.tables import Curve, StoredElements, Tables, TensorRow
from analyzer.model.trajectory import Trajectory

KEPT_BITS = 11  # of the 24 bits of a float32's significand: a relative error of 2.4e-4, and integers up to 2048
STATUSES: tuple[Status | None, ...] = (*get_args(Status), None)


def keep(path: Path, runs: Mapping[str, Tables], metrics: Collection[str]) -> None:
    """Write the tables of runs: scores, tensors, hashes, the path, and the curves of some metrics as rounded float32.

    Hashes are replaced by numbers, as only their equality matters. The path is turned into as many dimensions as there
    are checkpoints, which changes no distance.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, tables in runs.items():
        for part, values in _arrays(tables, metrics).items():
            arrays[f"{name}/{part}"] = values
    np.savez_compressed(path, **arrays)


def kept(path: Path) -> dict[str, Tables]:
    """Return the tables of the runs in a file that :func:`keep` wrote."""
    with np.load(path) as file:
        names = list(dict.fromkeys(key.split("/")[0] for key in file.files))
        return {
            name: _tables({key.split("/")[1]: file[key] for key in file.files if key.split("/")[0] == name})
            for name in names
        }


def _arrays(tables: Tables, metrics: Collection[str]) -> dict[str, np.ndarray]:
    curves = [curve for curve in tables.curves.values() if curve.metric in metrics]
    positions = {row.name: at for at, row in enumerate(tables.checkpoints)} | {None: -1}
    held = [tables.elements.get(row.name, {}) for row in tables.checkpoints]
    digests: dict[str | None, int] = {None: -1}
    states = [
        [digests.setdefault(one.get(row.name, StoredElements()).digest, len(digests)) for one in held]
        for row in tables.tensors
    ]
    described = {
        "run": tables.run,
        "source": {name: getattr(tables.source, name) for name in ("layout", "ordered_by", "score_files")},
        "checkpoints": [[one.name, one.epoch, one.step, dict(one.scores)] for one in tables.source.checkpoints],
        "tensors": [asdict(row) for row in tables.tensors],
        "curves": [[curve.scope, curve.tensor, curve.metric] for curve in curves],
        "parts": tables.trajectory.parts,
    }
    return {
        "described": np.frombuffer(json.dumps(described).encode(), np.uint8),
        "states": np.array(states, np.int16),
        "values": _planes(np.array([curve.values for curve in curves])),
        "statuses": np.array([[STATUSES.index(one) for one in curve.statuses] for curve in curves], np.uint8),
        "references": np.array([[positions[one] for one in curve.references] for curve in curves], np.int16),
        "path": np.linalg.qr(tables.trajectory.positions.T, mode="r").T.astype(np.float32),
        "traveled": tables.trajectory.traveled.astype(np.float32),
    }


def _tables(arrays: Mapping[str, np.ndarray]) -> Tables:
    described: dict[str, Any] = json.loads(arrays["described"].tobytes())
    rows = [
        TensorRow(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()})
        for row in described["tensors"]
    ]
    infos = {row.name: TensorInfo(row.name, row.dtype, row.shape, ()) for row in rows}
    checkpoints = tuple(
        Checkpoint(name, name, epoch, step, scores, infos, ()) for name, epoch, step, scores in described["checkpoints"]
    )
    source = described["source"] | {"score_files": tuple(described["source"]["score_files"])}
    run = Run(described["run"], "", checkpoints=checkpoints, **source)
    elements = {
        one.name: {
            row.name: StoredElements(str(state[at]), 0, 0)
            for row, state in zip(rows, arrays["states"], strict=True)
            if state[at] >= 0
        }
        for at, one in enumerate(checkpoints)
    }
    names = [*(one.name for one in checkpoints), None]  # the last for −1
    curves = {
        (scope, tensor, metric): Curve(
            scope,
            tensor,
            metric,
            values,
            tuple(STATUSES[code] for code in statuses),
            tuple(names[at] for at in references),
        )
        for (scope, tensor, metric), values, statuses, references in zip(
            described["curves"], _joined(arrays["values"]), arrays["statuses"], arrays["references"], strict=True
        )
    }
    path = Trajectory(
        arrays["path"].astype(np.float64), tuple(described["parts"]), arrays["traveled"].astype(np.float64)
    )
    return replace(describe(run, rows, elements), curves=curves, trajectory=path)


def _planes(values: np.ndarray) -> np.ndarray:
    """Return the bytes of values (curves, checkpoints) as rounded float32, all first bytes before all second ones."""
    fraction, exponent = np.frexp(values)
    rounded = np.ldexp(np.round(np.ldexp(fraction, KEPT_BITS)), exponent - KEPT_BITS).astype("<f4")
    return np.ascontiguousarray(rounded.view(np.uint8).reshape(*values.shape, 4).transpose(2, 0, 1))


def _joined(planes: np.ndarray) -> np.ndarray:
    """Return the values (curves, checkpoints) as float64."""
    return np.ascontiguousarray(planes.transpose(1, 2, 0)).view("<f4")[..., 0].astype(np.float64)
