"""Small folders as trainers leave them, and what is read of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from stored import alarms, names

import analyzer
from analyzer.model.run import Run

State = dict[str, torch.Tensor]
SHAPES: Mapping[str, tuple[int, ...]] = {"body.weight": (6, 8), "body.bias": (6,), "head.weight": (3, 6)}
OTHER_SHAPES: Mapping[str, tuple[int, ...]] = {"conv.weight": (5, 7), "conv.bias": (5,)}


def states(count: int, seed: int = 0, shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> list[State]:
    """States of one network, each a small step from the one before."""
    generator = torch.Generator().manual_seed(seed)
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    made = []
    for _ in range(count):
        made.append({name: value.clone() for name, value in weights.items()})
        weights = {
            name: value + 0.01 * torch.randn(value.shape, generator=generator) for name, value in weights.items()
        }
    return made


def save(path: Path, content: Any, metadata: Mapping[str, str] | None = None) -> Path:
    """Save a checkpoint in the format that the suffix of its name stands for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(content, path, metadata=dict(metadata) if metadata else None)
    else:
        torch.save(content, path)
    return path


def series(
    folder: Path,
    file_names: Sequence[str],
    wrap: Callable[[State, int], Any] = lambda state, number: state,
    seed: int = 0,
    shapes: Mapping[str, tuple[int, ...]] = SHAPES,
) -> list[State]:
    """Save the states of one network under these names, in order of time; return the states.

    ``wrap`` makes the content of a file from a state and its number in the series.
    """
    made = states(len(file_names), seed, shapes)
    for number, (name, state) in enumerate(zip(file_names, made, strict=True)):
        save(folder / name, wrap(state, number))
    return made


def opened(folder: Path) -> dict[str, Run]:
    """The runs in a folder by name, without that of the folder itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a folder below that cannot be used
        runs = analyzer.open_runs(folder)
    return {run.name.removeprefix(f"{folder.name}/") if run.name != folder.name else "": run for run in runs}


def orders(folder: Path, warned: Sequence[str] = ()) -> dict[str, list[str]]:
    """The names of the checkpoints of each run, in order; the audit warns of nothing but these rules."""
    runs = opened(folder)
    raised = [one for run in runs.values() for one in alarms(analyzer.audit(run))]
    assert [one.sentence for one in raised if one.rule not in warned or one.severity == "serious"] == []
    return {name: names(run) for name, run in runs.items()}


def unplaced(run: Run) -> list[str]:
    """The checkpoints that have no place in a run."""
    return [one.name for one in run.unplaced]
