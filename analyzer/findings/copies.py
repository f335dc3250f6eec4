"""Report checkpoints that contain exactly the same weights: copies, a standstill of training, a frozen component."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from analyzer.findings.adapters import is_untrained
from analyzer.findings.histories import complete_digests
from analyzer.findings.rules import Draft, file_rule
from analyzer.findings.wording import agree, capitalized, place
from analyzer.model.names import listed
from analyzer.model.score_names import accuracies, is_held_out, losses
from analyzer.model.tables import Tables

STANDSTILL = 3  # equal checkpoints up to the end; two may be one that was saved twice when training ended
PAUSE = 4  # equal neighbors in the middle of a run, from which on a pause of training is as likely as copies
SAME_SCORE = 1e-3  # share of a score's size; evaluating the same weights again differs by less


@file_rule("step_distance")
def same_weights(tables: Tables) -> Iterator[Draft]:
    """Checkpoints that contain exactly the same weights: neighbors, or the same one under other names.

    Untrained adapters, whose updates are all zero, are alike without being copies (`zero_update`). So are checkpoints
    from which on nothing was learned any more (`weights_stand_still`), and NaN that stays NaN (`nonfinite_weights`).

    Source: exact comparison of the hashes of all tensors; no threshold. Measured here: in `p_duplicate` of the shared
    trainings epoch 13 was written again as 14 and 15. From `PAUSE` equal neighbors on, a learning rate of 0 for a while
    is named beside copies.
    """
    for positions in _alike(tables):
        if _stands_still(tables, positions):
            continue
        first, *others = (tables.checkpoints[position].name for position in positions)
        neighbors = _are_neighbors(positions)
        verb, which = agree(len(others), "contains", "contain"), agree(len(others), "it", "them")
        twice = "it was saved twice, or one was copied over the other"
        reason = agree(len(others), twice, "it was saved several times, or one was copied over the others")
        before = f", the checkpoint before {which}" if neighbors else ""
        score = _changing_score(tables, positions)
        if score is not None:
            reason += f". {capitalized(score.replace('_', ' '))} differs between them, so training went on"
        elif neighbors and len(positions) >= PAUSE:
            reason += ", or nothing was learned for that time, as with a learning rate of 0"
        yield Draft(
            "serious",
            f"{listed(others)} {verb} exactly the weights of {listed([first])}{before}: {reason}.",
            places=positions,
            evidence={"neighbors": neighbors, "score_that_differs": score},
            apart=True,
        )


@file_rule("step_distance")
def weights_stand_still(tables: Tables) -> Iterator[Draft]:
    """Checkpoints up to the end of a run, or all of them, whose weights are the same bit by bit.

    Copies are less likely than a schedule that ended or a learning rate of 0, unless a score on held-out data changes
    by more than `SAME_SCORE`: then the trained weights are not those that were saved. All checkpoints alike are a
    serious defect either way.

    Measured here: in `p_lrzero` of the shared trainings, with a learning rate of 0 from epoch 11 on, all scores stayed
    the same to the last digit; in nine others the test loss changed by more than 0.1 % in 242 of 250 intervals, and no
    weights were ever the same. Requires `STANDSTILL` equal checkpoints.
    """
    for positions in _alike(tables):
        if not _stands_still(tables, positions):
            continue
        score = _changing_score(tables, positions)
        if positions[0] == 0:
            why = (
                "the parameters were left out of the optimizer, or the learning rate is 0"
                if score is None
                else f"but {score.replace('_', ' ')} changes, so the weights that were trained are not those that were "
                "saved"
            )
            sentence = f"All {len(positions)} checkpoints contain exactly the same weights: {why}."
        else:
            sentence = (
                f"Nothing was learned any more from {place(tables, positions[1])} on: to the end, the weights are bit "
                f"by bit those of {place(tables, positions[0])}. A schedule that ended or a learning rate of 0 does "
                "this; if training went on, the later files are copies."
            )
        yield Draft(
            "serious" if positions[0] == 0 else "warning",
            sentence,
            places=positions,
            evidence={"since": tables.checkpoints[positions[1]].name, "score_that_differs": score},
        )


def _alike(tables: Tables) -> list[list[int]]:
    """Return the positions of the checkpoints that have the same weights, two or more each."""
    if _is_frozen_component(tables):  # has a rule of its own
        return []
    alike: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for position, held in enumerate(complete_digests(tables)):
        if held and not is_untrained(tables, list(held), position):
            alike.setdefault(tuple(sorted(held.items())), []).append(position)
    return [positions for positions in alike.values() if len(positions) > 1]


def _are_neighbors(positions: Sequence[int]) -> bool:
    return positions[-1] - positions[0] + 1 == len(positions)


def _stands_still(tables: Tables, positions: Sequence[int]) -> bool:
    """Check whether equal checkpoints are a standstill of training rather than copies."""
    lasts = _are_neighbors(positions) and positions[-1] == len(tables.checkpoints) - 1
    if not lasts or len(positions) < STANDSTILL:
        return False
    return positions[0] == 0 or _changing_score(tables, positions) is None


def _changing_score(tables: Tables, positions: Sequence[int]) -> str | None:
    """Return a score on held-out data that differs between checkpoints of the same weights, or None.

    A score on training data says nothing: it may be an average over the epoch, with dropout and augmentation.
    """
    for name in filter(is_held_out, [*accuracies(tables.scalars), *losses(tables.scalars)]):
        known = tables.scalars[name][list(positions)]
        known = known[np.isfinite(known)]
        if len(known) > 1 and np.ptp(known) > SAME_SCORE * np.abs(known).max():
            return name
    return None


@file_rule("step_distance")
def frozen_component(tables: Tables) -> Iterator[Draft]:
    """One of several components of the same checkpoints that never changes, as a frozen encoder does.

    Source: exact comparison of the hashes of all tensors; no threshold.
    """
    if _is_frozen_component(tables):
        count = len(tables.checkpoints)
        yield Draft(
            "notice",
            f"All {count} checkpoints of this component contain exactly the same weights: it was not trained, as a "
            "frozen part of a model is, or it was never saved anew.",
            places=range(count),
        )


def _is_frozen_component(tables: Tables) -> bool:
    """Check whether a run is one of several components, in a folder below every checkpoint's, and never changes."""
    _, has_branch, component = tables.source.name.rpartition("/")
    is_component = bool(has_branch) and all(
        row.path.endswith(f"/{component}") and row.name != component for row in tables.checkpoints
    )
    first, *others = complete_digests(tables) or [{}]
    return is_component and bool(first) and bool(others) and all(one == first for one in others)
