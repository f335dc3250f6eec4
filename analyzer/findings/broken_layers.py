"""Report broken layers: tensors that could not be measured, singular matrices, dead rows, columns and units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.findings.curves import MATRICES, PARAMETERS, curves_of
from analyzer.findings.histories import NARROW
from analyzer.findings.rules import Draft, rule
from analyzer.findings.wording import agree, layers, percent, place, plural, span
from analyzer.model.names import listed, printable
from analyzer.model.run import PRODUCT, Finding
from analyzer.model.tables import Problem, Tables

ZEROED = 0.2  # share of a matrix that must become zero
AT_ONCE = 0.8  # share of the new zeros that one interval brings if they come at once
NEWLY_DEAD = 0.05  # share of a layer's rows or columns that turns a notice into a warning
SOME_DIED, MANY_DIED = 0.1, 0.5  # shares of a layer's units that are a notice, and a warning
AT_THE_END = 3  # intervals in which the same number of biases does not change


def not_measured(problems: Sequence[Problem]) -> Iterator[Finding]:
    """Report each reason why something could not be measured once.

    Args:
        problems: (checkpoint, tensor, metric, reason); without a metric, the tensor itself could not be read.
    """
    by_reason: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for checkpoint, tensor, metric, reason in problems:
        by_reason.setdefault((metric, reason), []).append((checkpoint, tensor))
    for (metric, reason), places in by_reason.items():
        tensors = list(dict.fromkeys(tensor for _, tensor in places))
        checkpoints = tuple(dict.fromkeys(checkpoint for checkpoint, _ in places))
        what = f"{metric} of {listed(tensors)} could not be measured" if metric else f"{listed(tensors)} cannot be read"
        yield Finding(
            "not_measured" if metric else "unreadable_tensor",
            "serious",
            f"{what} in {listed(checkpoints)}: {printable(reason)}",
            tensor=tensors[0] if len(tensors) == 1 else None,
            checkpoints=checkpoints,
            evidence={"metric": metric or "all", "tensors": tensors, "reason": reason},
            apart=True,
        )


@rule("condition_number")
def singular_matrix(tables: Tables) -> Iterator[Draft]:
    """Report matrices whose smallest singular value is mere rounding, so that no condition number exists.

    Source: Golub & Van Loan, Matrix Computations, 4th ed., sec. 5.4.1: σ_n ≤ max(m, n)·eps·σ₁.
    """
    singular: dict[str, list[int]] = {}
    for series in curves_of(tables, "condition_number"):
        pairs = zip(series.places, series.statuses, strict=True)
        where = [int(position) for position, status in pairs if status == "singular"]
        if where:
            singular[series.tensor.name] = where
    if not singular:
        return
    names = sorted(singular, key=lambda name: len(singular[name]), reverse=True)
    where = singular[names[0]]
    when = f"in {len(where)} checkpoints from {span(tables, where[0], where[-1])}"
    when = f"at {place(tables, where[0])}" if len(where) == 1 else when
    are = agree(len(names) - 1, "is", "are")
    others = f", and so {are} {layers(names[1:])} at times" if len(names) > 1 else ""
    yield Draft(
        "notice",
        f"{layers(names[:1])} is singular {when}{others}: some directions are lost entirely, and the condition number "
        "does not exist there. Common causes are dead rows or columns, and rows that are copies of each other.",
        tensors=names,
        places=sorted({where[0], where[-1]}),
        evidence={"checkpoints": {name: len(places) for name, places in singular.items()}},
    )


@rule("sparsity")
def weights_become_zero(tables: Tables) -> Iterator[Draft]:
    """Report weight matrices of which a good part became exactly zero, and stayed so to the end.

    Source: Han et al., Learning both weights and connections (NeurIPS 2015): pruning sets weights to zero and keeps
    them there; gradient descent on floating-point numbers does not. Measured here: in 18 shared trainings and the
    healthy ones (`tests/benchmarks/healthy_trainings.py`) no matrix ended with a larger share of zeros than at its
    start; in one, where the smaller half of every matrix was set to zero, the share rose by 0.5. The limit of a fifth
    (`ZEROED`) is chosen: fewer zeros are reported where they fill whole rows or columns.
    """
    zeroed = _zeroed(tables)
    if not zeroed:
        return
    first = min(spell.since for spell in zeroed.values())
    together = {name: spell for name, spell in zeroed.items() if spell.since == first}
    count = sum(series.tensor.kind in MATRICES for series in curves_of(tables, "zero_fraction"))
    share = float(np.median([spell.share for spell in together.values()]))
    who = f"all {count} matrices" if len(together) == count > 1 else layers(list(together))
    later = [name for name in zeroed if name not in together]
    more = f" Later so did part of {layers(later)}." if later else ""
    at_once = all(spell.at_once for spell in together.values())
    where = place(tables, first)
    when = f"became exactly zero at {where}" if at_once else f"became exactly zero bit by bit, half of it by {where},"
    yield Draft(
        "warning" if at_once else "notice",
        f"{percent(share)} of the weights of {who} {when} and stayed so to the end.{more} Pruning does this on "
        "purpose.",
        tensors=list(zeroed),
        places=[first, len(tables.checkpoints) - 1],
        evidence={
            "share": {name: spell.share for name, spell in zeroed.items()},
            "since": {name: tables.checkpoints[spell.since].name for name, spell in zeroed.items()},
        },
    )


@dataclass(frozen=True, slots=True)
class _Zeros:
    """The share of a matrix that became zero, the position since which most of it is, and whether it came at once."""

    share: float
    since: int
    at_once: bool


def zeroed_at_once(tables: Tables) -> dict[str, int]:
    """Return the matrices of which a good part became zero in one interval, with the position at its end."""
    return {name: zeros.since for name, zeros in _zeroed(tables).items() if zeros.at_once}


def _zeroed(tables: Tables) -> dict[str, _Zeros]:
    """Return the matrices of which at least `ZEROED` became zero and stayed so."""
    found = {}
    for series in curves_of(tables, "zero_fraction"):
        known = np.flatnonzero(np.isfinite(series.values))
        values = series.values[known]
        if len(values) < 2 or series.tensor.rule == PRODUCT or values[-1] - values[0] < ZEROED:
            continue
        gained = float(values[-1] - values[0])
        below = values < values[0] + gained / 2
        since = len(below) - int(np.argmax(below[::-1]))
        at_once = bool(values[since] - values[since - 1] >= AT_ONCE * gained)
        found[series.tensor.name] = _Zeros(gained, int(series.places[known[since]]), at_once)
    return found


@rule("dead_rows_and_columns")
def dead_rows(tables: Tables) -> Iterator[Draft]:
    """Report rows (outputs) of a weight matrix that are exactly zero; rows that died during the run come first.

    Source: docs/metrics.md, `dead_row_count`: a count without a threshold. It is a warning if one row in twenty
    (`NEWLY_DEAD`) died; that share is chosen, not measured.
    """
    yield from _dead(tables, "dead_row_count", 0, "row", ("this output is always off", "these outputs are always off"))


@rule("changed_fraction")
def units_died(tables: Tables) -> Iterator[Draft]:
    """Report units that stopped learning for good: their biases no longer change by a single bit, nor do their weights.

    A unit that never fires has a gradient of exactly zero. Without weight decay its bias and its row of the weight
    matrix then stay as they are, bit by bit. So the share of a layer's biases that change becomes less than 1 and
    the same in each of the last `AT_THE_END` intervals, and that of the weights no larger. A tenth of the units
    (`SOME_DIED`) is a notice, half of them (`MANY_DIED`) a warning. If all died, the whole layer stands still, which
    `frozen_tensors` reports. Where units died as part of the layer was set to zero, `weights_become_zero` reports it.

    Source: Lu et al., Dying ReLU and initialization (Commun. Comput. Phys. 2020). Measured here: where 40 of 64
    biases had been moved by −30, exactly 40 are counted; in healthy trainings without weight decay at most 5 of 96
    units died, in an autoencoder.
    """
    curves = {one.tensor.name: one for one in curves_of(tables, "changed_fraction", PARAMETERS)}
    zeroed = _zeroed(tables)
    died: list[tuple[float, str, int, int, int]] = []  # share, layer, how many, of, position since which they stay
    for name, weights in curves.items():
        biases = curves.get(name.removesuffix("weight") + "bias") if name.endswith(".weight") else None
        if biases is None or weights.tensor.kind not in MATRICES or weights.tensor.dtype.startswith(NARROW):
            continue
        (units,) = biases.tensor.shape
        still = np.round(units * (1 - biases.values))
        count = still[-1] if len(still) > AT_THE_END else np.nan
        if not (max(2.0, SOME_DIED * units) <= count < units and still.min() < count):
            continue
        if (still[-AT_THE_END:] == count).all() and (weights.values <= biases.values)[-AT_THE_END:].all():
            since = int(biases.places[len(still) - int(np.argmin((still >= count)[::-1]))])
            if name not in zeroed or not 0 <= since - zeroed[name].since <= 1:
                died.append((count / units, name, int(count), units, since))
    if died:
        died.sort(reverse=True)
        share, worst, count, of, since = died[0]
        others = f"; so did units of {layers([name for _, name, *_ in died[1:]])}" if died[1:] else ""
        yield Draft(
            "warning" if share >= MANY_DIED else "notice",
            f"{count} of {of} units of {layers([worst])} died: from {span(tables, since, len(tables.checkpoints) - 1)} "
            f"their biases did not change by a single bit, nor did as many rows of weights{others}. Such units give "
            "zero for all data and learn no more; a step that was too long, or a bias far below zero, does this.",
            tensors=[name for _, name, *_ in died],
            places=[since, len(tables.checkpoints) - 1],
            evidence={"units": {name: number for _, name, number, *_ in died}},
        )


@rule("dead_rows_and_columns")
def dead_columns(tables: Tables) -> Iterator[Draft]:
    """Report columns (inputs) of a weight matrix that are exactly zero; columns that died during the run come first.

    Source: docs/metrics.md, `dead_column_count`: as for rows.
    """
    yield from _dead(tables, "dead_column_count", 1, "column", ("this input is ignored", "these inputs are ignored"))


def _dead(tables: Tables, metric: str, axis: int, what: str, meaning: tuple[str, str]) -> Iterator[Draft]:
    """Report rows or columns that are zero at the last checkpoint: those that died, and those that always were zero.

    Args:
        tables: one run.
        metric: what counts them.
        axis: the side of the matrix that they are counted along.
        what: what they are called.
        meaning: what it means if one of them, or several, are zero.
    """
    zeroed = _zeroed(tables)  # single weights became zero there, with whole rows among them: reported as such
    died: list[tuple[float, str, int, int, int]] = []  # share, layer, how many, of, position of the first death
    always: dict[str, int] = {}
    for series in curves_of(tables, metric, PARAMETERS):
        ends, shape = series.ends(), series.tensor.matrix_shape
        if ends is None or shape is None or series.tensor.name in zeroed:
            continue
        first, last = (int(series.values[end]) for end in ends)
        if last > first:
            since = int(series.places[np.flatnonzero(series.values > first)[0]])
            died.append(((last - first) / shape[axis], series.tensor.name, last - first, shape[axis], since))
        elif last:
            always[series.tensor.name] = last
    if died:
        share, worst, count, of, since = max(died)
        others = f" (and {what}s of {plural(len(died) - 1, 'other layer')})" if len(died) > 1 else ""
        yield Draft(
            "warning" if share >= NEWLY_DEAD else "notice",
            f"{layers([worst])}: {count} of {plural(of, what)}{others} became exactly zero, "
            f"{agree(count, 'at', 'the first at')} {place(tables, since)}: {agree(count, *meaning)}. Pruning does this "
            "on purpose; otherwise check weight decay and units that no longer fire.",
            tensors=[layer for _, layer, *_ in sorted(died, reverse=True)],
            places=[since, len(tables.checkpoints) - 1],
            evidence={"newly_dead": {layer: number for _, layer, number, *_ in died}},
        )
    if always:
        total = sum(always.values())
        yield Draft(
            "info",
            f"{plural(total, what)} of {layers(list(always))} {agree(total, 'is', 'are')} exactly zero at the end "
            "and did not become so during the run, as with padding or pruned weights.",
            tensors=list(always),
            evidence={"dead": always},
        )
