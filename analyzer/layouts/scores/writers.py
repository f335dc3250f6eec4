"""Bring the rows that particular programs log into the form of a table: one place and plain names per row.

Sources: mmengine 0.10 ``LoggerHook`` and ``LocalVisBackend``, mmcv 1.7 ``TextLoggerHook``, transformers 5
``TrainerState``, Ray 2 ``JsonLoggerCallback``, ultralytics 8 ``BaseTrainer.save_metrics``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from analyzer.layouts.naming import parse_score

_NOT_A_SCORE = re.compile(r".*(?:runtime|_time|_per_second)")
_MODES = ("train", "val", "test")
_DEEPEST = 4  # levels of a nested row
_NOT_RESULTS = frozenset({"config", "hist_stats", "perf", "timers", "info"})  # what Ray logs beside its results


def as_logged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with names and places as other tables have them; rows of an unknown writer stay as they are."""
    if any(row.get("mode") in _MODES for row in rows):
        return [_without_mode(row) for row in rows if row.get("mode") in _MODES]
    if any("training_iteration" in row for row in rows):
        return [dict(_flat(row)) for row in rows]
    return _with_epochs_of_validation(rows)


def is_trainer_state(value: Any) -> bool:
    """Check whether a JSON value is a ``trainer_state.json`` of transformers."""
    return isinstance(value, dict) and isinstance(value.get("log_history"), list)


def trainer_rows(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a Trainer's log, without keys that are timings rather than scores."""
    return [
        {key: value for key, value in entry.items() if key in ("step", "loss") or _is_evaluation(key)}
        for entry in state["log_history"]
        if isinstance(entry, dict)
    ]


def counts_epochs_from_one(names: Iterable[str]) -> bool:
    """Check whether scores are those of ultralytics, whose table counts epochs from 1 and its checkpoints from 0.

    YOLOv5 and the first versions of ultralytics count from 0 in both.
    """
    known = list(names)
    return any(name.startswith("metrics/") for name in known) and any(name.startswith("train/") for name in known)


def _is_evaluation(key: str) -> bool:
    return key.startswith("eval_") and not _NOT_A_SCORE.fullmatch(key)


def _without_mode(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of mmcv 1 in which scores of validation are named after it; both modes may log a ``loss``."""
    prefix = "" if row["mode"] == "train" else f"{row['mode']}/"
    places = ("epoch", "iter", "step")
    return {name if name in places else prefix + name: value for name, value in row.items() if name != "mode"}


def _with_epochs_of_validation(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of mmengine with the epoch where ``step`` means it.

    Rows of training have ``iter``, ``step`` and, in training by epoch, ``epoch``. Rows of validation have ``step``
    alone, which is the epoch or the iteration, depending on an option: as epochs, none exceeds those of training.
    """
    epochs = [epoch for row in rows if "iter" in row and (epoch := parse_score(row.get("epoch"))) is not None]
    validations = [row for row in rows if "step" in row and "iter" not in row and "epoch" not in row]
    steps = [step for row in validations if (step := parse_score(row["step"])) is not None]
    if not epochs or not steps or max(steps) > max(epochs) + 1:
        return rows
    known = set(map(id, validations))
    return [{**_without(row, "step"), "epoch": row["step"]} if id(row) in known else row for row in rows]


def _without(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


def _flat(row: Mapping[str, Any], above: str = "", depth: int = 0) -> Iterable[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, dict):
            if depth < _DEEPEST and name not in _NOT_RESULTS:
                yield from _flat(value, f"{above}{name}/", depth + 1)
        else:
            yield above + name, value
