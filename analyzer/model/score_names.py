"""What a score's name means: accuracy or loss, on the training data or on data held out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import isfinite

GAP = "generalization_gap"  # accuracy on the training data less that on data held out
_ACCURACY = frozenset({"accuracy", "acc", "acc1", "top1"})
_OTHER_SHARES = frozenset({"acc5", "top5", "f1", "precision", "recall", "auc"})
_LOSS = frozenset({"loss", "losses"})
_SETS = {"train": "train", "training": "train", "test": "test"}
_SETS |= dict.fromkeys(("eval", "val", "valid", "validation"), "eval")
_JUDGED_BY = ("test", "eval", None, "train")  # first where there is a choice


def is_accuracy(name: str) -> bool:
    """Whether it is the share of right answers, such as ``test_accuracy``, ``val_acc`` or ``eval_top1``."""
    return bool(_words(name) & _ACCURACY) and not _words(name) & (_OTHER_SHARES | _LOSS)


def is_share(name: str) -> bool:
    """Whether it is drawn with the accuracies: one of them, or another share such as ``eval_f1``."""
    return bool(_words(name) & (_ACCURACY | _OTHER_SHARES)) and not _words(name) & _LOSS


def is_loss(name: str) -> bool:
    """Whether it is a loss, such as ``loss`` or ``val_loss``."""
    return bool(_words(name) & _LOSS)


def best_place(name: str, values: Iterable[float]) -> int | None:
    """Where the largest share or the smallest loss stands, the first of equals; None for scores of other kinds."""
    if not (is_share(name) or is_loss(name)):
        return None
    known = [(-value if is_share(name) else value, place) for place, value in enumerate(values) if isfinite(value)]
    return min(known)[1] if known else None


def data_of(name: str) -> str | None:
    """The data that it was taken on: ``train``, ``test``, ``eval`` (or validation); None where its name doesn't say."""
    found = {_SETS[word] for word in _words(name) & _SETS.keys()}
    return next((one for one in ("train", "test", "eval") if one in found), None)


def is_training(name: str) -> bool:
    """Whether it was taken on the training data, as its name says."""
    return data_of(name) == "train"


def is_held_out(name: str) -> bool:
    """Whether it was taken on data held out from training, as its name says."""
    return data_of(name) in ("test", "eval")


def accuracies(names: Iterable[str]) -> list[str]:
    """The accuracies among them: those on data held out first, those on the training data last."""
    return sorted(filter(is_accuracy, names), key=_judged_by)


def losses(names: Iterable[str]) -> list[str]:
    """The losses among them, in the same order."""
    return sorted(filter(is_loss, names), key=_judged_by)


def leading(names: Iterable[str]) -> list[str]:
    """Accuracies, the gap between them, then losses, as tables list them: the training data first."""
    known = list(names)
    found = [sorted(group, key=is_training, reverse=True) for group in (accuracies(known), losses(known))]
    return [*found[0], *([GAP] if GAP in known else []), *found[1]]


def _judged_by(name: str) -> tuple[int, int]:
    """The set of data first, then the plainer of two names."""
    return _JUDGED_BY.index(data_of(name)), len(_words(name))


def _words(name: str) -> frozenset[str]:
    return frozenset(re.split(r"[^a-z0-9]+", name.lower()))
