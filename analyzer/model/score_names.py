"""Classify scores by name: accuracy or loss, on training or held-out data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import isfinite

GAP = "generalization_gap"  # accuracy on the training data minus accuracy on held-out data
_ACCURACY = frozenset({"accuracy", "acc", "acc1", "top1"})
_OTHER_SHARES = frozenset({"acc5", "top5", "f1", "precision", "recall", "auc"})
_LOSS = frozenset({"loss", "losses"})
_SETS = {"train": "train", "training": "train", "test": "test"}
_SETS |= dict.fromkeys(("eval", "val", "valid", "validation"), "eval")
_PREFERENCE = ("test", "eval", None, "train")  # of data sets, if there is a choice


def is_accuracy(name: str) -> bool:
    """Check whether a score is the share of correct answers: ``test_accuracy``, ``val_acc``, ``eval_top1``."""
    return bool(_words(name) & _ACCURACY) and not _words(name) & (_OTHER_SHARES | _LOSS)


def is_share(name: str) -> bool:
    """Check whether a score is drawn with the accuracies: an accuracy, or another share such as ``eval_f1``."""
    return bool(_words(name) & (_ACCURACY | _OTHER_SHARES)) and not _words(name) & _LOSS


def is_loss(name: str) -> bool:
    """Check whether a score is a loss, such as ``loss`` or ``val_loss``."""
    return bool(_words(name) & _LOSS)


def best_place(name: str, values: Iterable[float]) -> int | None:
    """Return the index of the largest share or the smallest loss, the first of equals; None for other scores."""
    if not (is_share(name) or is_loss(name)):
        return None
    known = [(-value if is_share(name) else value, place) for place, value in enumerate(values) if isfinite(value)]
    return min(known)[1] if known else None


def data_of(name: str) -> str | None:
    """Return the data of a score: ``train``, ``test`` or ``eval`` (also for validation); None if not in its name."""
    found = {_SETS[word] for word in _words(name) & _SETS.keys()}
    return next((one for one in ("train", "test", "eval") if one in found), None)


def is_training(name: str) -> bool:
    """Check whether a score's name states that it was computed on the training data."""
    return data_of(name) == "train"


def is_held_out(name: str) -> bool:
    """Check whether a score's name states that it was computed on data held out from training."""
    return data_of(name) in ("test", "eval")


def accuracies(names: Iterable[str]) -> list[str]:
    """Return the accuracies among the names, those on held-out data first, those on training data last."""
    return sorted(filter(is_accuracy, names), key=_preference)


def losses(names: Iterable[str]) -> list[str]:
    """Return the losses among the names, in the same order."""
    return sorted(filter(is_loss, names), key=_preference)


def leading(names: Iterable[str]) -> list[str]:
    """Return accuracies, the gap between them, and losses, in the order of tables: training data first."""
    known = list(names)
    found = [sorted(group, key=is_training, reverse=True) for group in (accuracies(known), losses(known))]
    return [*found[0], *([GAP] if GAP in known else []), *found[1]]


def _preference(name: str) -> tuple[int, int]:
    """Return a sort key: the data first, then the number of words, so that the simpler of two names wins."""
    return _PREFERENCE.index(data_of(name)), len(_words(name))


def _words(name: str) -> frozenset[str]:
    return frozenset(re.split(r"[^a-z0-9]+", name.lower()))
