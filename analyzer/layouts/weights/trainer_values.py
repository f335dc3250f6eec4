"""Find epoch, step and scores where trainers keep them below the top level of a torch file.

The places are those of fairseq 0.12 (trainer.py, data/iterators.py), nnU-Net 2.8 (nnUNetTrainer.py), mmengine 0.10
(runner/runner.py; mmcv 1 has the same ``meta``) and ultralytics 8.4 (engine/trainer.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from analyzer.layouts.naming import STEP_KEYS, parse_count

MOST_SCORES = 1000
# What utils.save_checkpoint of Glow-TTS, VITS and their descendants saves; it is called with the epoch as iteration.
_VITS = frozenset({"model", "iteration", "optimizer", "learning_rate"})
# Lists in nnU-Net's log that are no scores.
_NOT_LOGGED = ("lrs", "epoch_start_timestamps", "epoch_end_timestamps")


def trainer_values(tree: Mapping[Any, Any], metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata of a torch file with the epoch, step and scores that its trainer keeps elsewhere in it.

    What the top level tells itself takes precedence.

    Args:
        tree: the content of the file.
        metadata: the plain values at its top level.
    """
    found = dict(metadata)
    epoch, step = _place(tree)
    # nnU-Net's name of the epoch; a negative one (ultralytics, after training) is unknown.
    current = found.pop("current_epoch", None) if "epoch" not in found else None
    if "epoch" in found and _is_number(tree.get("epoch")) and tree["epoch"] < 0:
        del found["epoch"]
    for text in (current, epoch):
        if text is not None and "epoch" not in found and "epoch" not in tree:
            found["epoch"] = text
    if step is not None and not any(key in found for key in STEP_KEYS):
        found["step"] = step
    if set(tree) == _VITS and "iteration" in found:
        found["epoch"] = found.pop("iteration")
    if "updates" in tree and "ema" in tree:
        found.pop("updates", None)  # how often ultralytics averaged the weights
    for count, (name, value) in enumerate(_scores(tree)):
        if count == MOST_SCORES:
            break
        found.setdefault(name, repr(value))
    return found


def _place(tree: Mapping[Any, Any]) -> tuple[str | None, str | None]:
    """Return (epoch, step) from fairseq's or mmengine's places, as text."""
    meta, iterator = tree.get("meta"), _inside(tree, "extra_state", "train_iterator")
    if isinstance(iterator, dict) or "optimizer_history" in tree:
        history = tree.get("optimizer_history")
        last = history[-1] if isinstance(history, list) and history else None
        updates = _count(last.get("num_updates")) if isinstance(last, dict) else None
        return _finished_epoch(iterator), updates
    if isinstance(meta, dict):
        return _count(meta.get("epoch")), _count(meta.get("iter"))
    return None, None


def _finished_epoch(iterator: Any) -> str | None:
    """Return fairseq's epoch; at an epoch's end its iterator is at the start of the next one."""
    if not isinstance(iterator, dict) or (text := _count(iterator.get("epoch"))) is None:
        return None
    is_at_start = _is_number(iterator.get("iterations_in_epoch")) and iterator["iterations_in_epoch"] == 0
    return str(int(text) - 1) if is_at_start and int(text) > 0 else text


def _scores(tree: Mapping[Any, Any]) -> Iterator[tuple[str, float]]:
    """Yield the scores of ultralytics, nnU-Net and fairseq by name."""
    metrics = tree.get("train_metrics")
    if isinstance(metrics, dict):
        yield from _numbers(metrics)
    logged = tree.get("logging")
    if isinstance(logged, dict):
        yield from _numbers(_last_values(logged))
    if isinstance(extra := tree.get("extra_state"), dict):
        yield from _numbers({name: extra[name] for name in ("val_loss", "best") if name in extra})


def _last_values(logged: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the last value of each list; a list that is shorter than the others does not reach this epoch."""
    lists = {name: values for name, values in logged.items() if isinstance(values, list) and values}
    longest = max((len(values) for values in lists.values()), default=0)
    return {name: values[-1] for name, values in lists.items() if len(values) == longest and name not in _NOT_LOGGED}


def _numbers(values: Mapping[Any, Any]) -> Iterator[tuple[str, float]]:
    return ((name, value) for name, value in values.items() if isinstance(name, str) and _is_number(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _count(value: Any) -> str | None:
    count = parse_count(value) if _is_number(value) else None
    return None if count is None else str(count)


def _inside(tree: Any, *keys: str) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree
