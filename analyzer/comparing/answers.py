"""What a comparison says in plain words: one finding for each question, with its numbers and how sure it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from analyzer.comparing.aligning import IN_ORDER, mean_of
from analyzer.comparing.quantities import by_name
from analyzer.comparing.testing import end_values
from analyzer.model.comparison import Comparison, Divergence, Group, GroupDifference, Quantity, TensorDivergence
from analyzer.model.names import listed, printable
from analyzer.model.run import Finding
from analyzer.model.score_names import accuracies
from analyzer.statistics import least_p_value

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

QUESTIONS = {
    "moved_most": "Which moved most?",
    "best_conditioned": "Which is best conditioned?",
    "mattered_for_accuracy": "Did it matter for accuracy?",
    "how_sure": "How sure is that?",
    "own_weights": "Does a run’s accuracy go with its own weights?",
    "divergence": "Where do runs part that start alike?",
}
_DOING = {
    "moved_most": ("moved most", "had moved most"),
    "best_conditioned": ("ended best conditioned", "was best conditioned"),
}
_MEASURES = {
    "moved_most": "‖W−W₀‖ of all parameters",
    "best_conditioned": "κ, the geometric mean over the weight matrices,",
}
LEVEL = 0.05
MOST_TOLD = 4


def answers(comparison: Comparison) -> tuple[Finding, ...]:
    """The answers to :data:`QUESTIONS`, as far as the runs give any."""
    named = by_name(comparison.quantities)
    found: list[Finding] = []
    if "initial_distance" in named:
        found += _extreme(comparison, "moved_most", named["initial_distance"], largest=True)
    if "condition_number" in named:
        found += _extreme(comparison, "best_conditioned", named["condition_number"], largest=False)
    found += _mattered(comparison)
    found += _how_sure(comparison)
    found += _own_weights(comparison)
    found += _divergences(comparison)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Side:
    """A group's (or a lone run's) values at the end."""

    name: str
    mean: float
    low: float
    high: float
    n: int

    def told(self) -> str:
        spread = f" ({number(self.low)} to {number(self.high)})" if self.n > 1 else ""
        return f"{number(self.mean)}{spread} in {printable(self.name, 60)}"


def _sides(comparison: Comparison, quantity: Quantity) -> list[_Side]:
    """All groups, or all runs of the only group, from the least to the largest; those without a value are left out."""
    groups: Sequence[Group] = comparison.groups
    if len(groups) == 1:
        groups = [Group(run, (run,), (run,)) for run in groups[0].runs]
    sides = []
    for group in groups:
        values = end_values(comparison, group, quantity)
        if np.isfinite(values).all():
            mean = float(mean_of(values[:, None], ratio=quantity.ratio)[0])
            sides.append(_Side(group.name, mean, float(values.min()), float(values.max()), len(values)))
    return sorted(sides, key=lambda side: side.mean)


def _extreme(comparison: Comparison, rule: str, quantity: Quantity, *, largest: bool) -> Iterator[Finding]:
    """Which group (or run) is at the end of the order, and whether it is so beyond the luck of the seed."""
    sides = _sides(comparison, quantity)
    if len(sides) < 2:
        return
    ordered = sides[::-1] if largest else sides
    best, second = ordered[:2]
    pair = _pair(comparison, quantity.name, best.name, second.name)
    doing = _DOING[rule][bool(_going_on(comparison))]
    if pair is not None and pair.p_value is not None and not _is_sure(pair):
        opening = f"It cannot be told which of {_and(best.name, second.name)} {doing}"
    elif best.mean == second.mean:
        opening = f"{_and(best.name, second.name)} are equal here"
    else:
        opening = f"{printable(best.name, 60)} {doing}"
    caveat = f"{shared}: what follows compares different networks. " if (shared := _shared(comparison)) else ""
    values = f"{_MEASURES[rule]} {at_end(comparison)} is {_told(ordered)}"
    sentence = f"{caveat}{opening}: {values}.{_beyond(comparison)}{_verdict(comparison, pair)}"
    if rule == "moved_most":
        sentence += _relative_to_start(comparison, best)
    yield Finding(
        rule,
        "info",
        sentence,
        evidence={"quantity": quantity.name, "order": [asdict(side) for side in ordered], **_evidence(pair)},
        figure="compared_motion" if rule == "moved_most" else "compared_shape",
    )


def _told(ordered: Sequence[_Side]) -> str:
    more = f" and {len(ordered) - MOST_TOLD} more" if len(ordered) > MOST_TOLD else ""
    return f"{', '.join(side.told() for side in ordered[:MOST_TOLD])}{more}"


def _relative_to_start(comparison: Comparison, best: _Side) -> str:
    """Large weights have further to go: whether the same one moved most for where it began."""
    quantity = by_name(comparison.quantities).get("relative_initial_distance")
    ordered = _sides(comparison, quantity)[::-1] if quantity else []
    if not ordered:
        return ""
    if ordered[0].name == best.name:
        return f" The same holds as a share of ‖W₀‖: {_told(ordered)}."
    return f" As a share of ‖W₀‖ it is another: {_told(ordered)}."


def _mattered(comparison: Comparison) -> Iterator[Finding]:
    """Whether it mattered for the first accuracy that two groups (or runs) have at the end."""
    scores = {one.name: one for one in comparison.quantities if one.is_score}
    for name in accuracies(scores):
        sides = _sides(comparison, scores[name])
        if len(sides) > 1:
            yield _accuracy(comparison, scores[name], sides)
            return
    known = {run.name: accuracies(run.tables.scalars) for run in comparison.runs}
    told = [f"{printable(run, 60)} has {listed(names) if names else 'none'}" for run, names in known.items()]
    if not any(known.values()):
        told = ["no run has one under a name that says so"]
    more = f" and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    yield Finding(
        "mattered_for_accuracy",
        "info",
        f"That cannot be told: no accuracy is known {at_end(comparison)} under the same name in two of them; "
        f"{', '.join(told[:MOST_TOLD])}{more}. report --scalars FILE adds scores under names of your choice.",
        evidence={"accuracies": known},
    )


def _accuracy(comparison: Comparison, accuracy: Quantity, sides: Sequence[_Side]) -> Finding:
    ordered = sides[::-1]
    best, worst = ordered[0], ordered[-1]
    title = accuracy.title.lower()
    pairs = [one for one in comparison.differences if one.quantity == accuracy.name]
    sure = [one for one in pairs if _is_sure(one)]
    tested = [one for one in pairs if one.p_value is not None]
    widest = _pair(comparison, accuracy.name, best.name, worst.name)
    if sure:
        told = [f"{_and(one.first, one.second)} (by {_interval(one)}, q = {probability(one.q_value)})" for one in sure]
        unsure = [_and(one.first, one.second) for one in tested if one not in sure]
        rest = f" It cannot be told for {'; '.join(unsure[:MOST_TOLD])}." if unsure else ""
        opening, verdict = (
            "Yes",
            f" The difference is more than seeds make by chance for {'; '.join(told[:MOST_TOLD])}.{rest}",
        )
    elif tested:
        opening = "That cannot be told"
        verdict = f" No difference is larger than seeds alone may bring about.{_verdict(comparison, widest)}"
    else:
        opening, verdict = "That cannot be tested with so few runs", _verdict(comparison, widest)
    if len(comparison.groups) == 1:
        opening = "There is only the seed to matter"
    final = "" if _going_on(comparison) else "final "
    values = f"{final}{title} {at_end(comparison)} is {_told(ordered)}"
    sentence = f"{opening}: {values}.{_beyond(comparison)}{verdict}"
    return Finding(
        "mattered_for_accuracy",
        "info",
        sentence,
        evidence={
            "quantity": accuracy.name,
            "order": [asdict(side) for side in ordered],
            "differences": [asdict(one) for one in pairs],
        },
        figure="compared_scores",
    )


def _verdict(comparison: Comparison, pair: GroupDifference | None) -> str:
    """How a difference stands against chance, as a sentence that follows; none where there are too few runs for one."""
    if len(comparison.groups) == 1:
        return " All of these differ in their seed only: this is how far seeds alone lead apart."
    if pair is None or pair.difference is None:
        return " The first two have no numbers to be set against each other."
    if pair.status == "too_few":
        is_apart = _is_apart(comparison, pair)
        return f" The ranges of {_and(pair.first, pair.second)} do not overlap." if is_apart else ""
    if pair.p_value is None:
        return " All of these numbers are the same, so there is nothing to be tested."
    sure = "more than seeds make by chance" if _is_sure(pair) else "no more than seeds may make by chance"
    return (
        f" {_and(pair.first, pair.second)} differ by {_interval(pair)}, {sure} "
        f"(p = {probability(pair.p_value)}, q = {probability(pair.q_value)}, "
        f"{pair.first_n} and {pair.second_n} runs)."
    )


def _is_apart(comparison: Comparison, pair: GroupDifference) -> bool:
    """Whether all runs of one group lie beyond all of the other, with two runs or more in each."""
    quantity, groups = by_name(comparison.quantities)[pair.quantity], {one.name: one for one in comparison.groups}
    first, second = (end_values(comparison, groups[name], quantity) for name in (pair.first, pair.second))
    return min(len(first), len(second)) > 1 and bool(first.max() < second.min() or second.max() < first.min())


def _interval(pair: GroupDifference) -> str:
    """A difference with its interval; ratios are told as the larger over the smaller."""
    numbers = [value for value in (pair.difference, pair.low, pair.high) if value is not None]
    if pair.form == "ratio":
        if numbers[0] < 1:
            numbers = [1 / numbers[0], *sorted(1 / value for value in numbers[1:])]
        text = f"a factor of {number(numbers[0])}"
    else:
        if numbers[0] < 0:
            numbers = [-numbers[0], *sorted(-value for value in numbers[1:])]
        text = number(numbers[0])
    return f"{text}, 95 % interval {number(numbers[1])} to {number(numbers[2])}" if len(numbers) == 3 else text


def _how_sure(comparison: Comparison) -> Iterator[Finding]:
    groups = comparison.groups
    counts = sorted({len(group.independent) for group in groups})
    each = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    tested = [one for one in comparison.differences if one.p_value is not None]
    if len(groups) < 2:
        runs = "1 run" if each == "1" else f"{each} runs"
        sentence = f"There is one group of {runs}, so nothing is set against chance; the ranges are over its runs."
    elif not tested:
        sentence = (
            f"The {len(groups)} groups have {each} run{'s' if each != '1' else ''} each: all these numbers describe "
            "these runs, and another seed may turn them round. It takes six runs in both groups to tell a difference "
            "from chance; below that no p-value is given."
        )
    else:
        sure = sum(_is_sure(one) for one in tested)
        least = min(least_p_value(one.first_n, one.second_n) for one in tested)
        sentence = (
            f"As sure as {each} runs in each group make it (ranges are from the least to the largest of them): {sure} "
            f"of {len(tested)} differences that were tested hold when at most {LEVEL:.0%} of those called so may be "
            f"false (q ≤ {LEVEL}). p is of permutations by Welch’s t and is {probability(least)} at least "
            "with so few runs. It tells differences from the luck of the seed, not what another network, data set or "
            "learning rate would give."
        ).replace("%", " %")
    yield Finding("how_sure", "info", sentence, evidence={"runs": counts, "tested": len(tested)}, figure=None)


def _own_weights(comparison: Comparison) -> Iterator[Finding]:
    rows = [row for row in comparison.swaps if row.group is not None and row.p_value is not None]
    if not rows:
        return
    sure = [row for row in rows if row.q_value is not None and row.q_value <= LEVEL]
    named = by_name(comparison.quantities)
    told = [
        f"{printable(str(row.group), 60)}: changes of {named[row.score].title.lower()} beside those of "
        f"{'the condition number' if row.quantity == 'condition_number' else 'the path length'} "
        f"(r = {_signed(row.coefficient)} for its own, {_signed(row.unmatched)} for others’, "
        f"q = {probability(row.q_value)})"
        for row in sure
    ]
    if told:
        more = f" and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
        sentence = f"In {len(sure)} of {len(rows)} swap tests it does. {'; '.join(told[:MOST_TOLD])}{more}."
    else:
        least = min(row.q_value for row in rows if row.q_value is not None)
        sentence = (
            f"In none of {len(rows)} swap tests: a run’s changes in score go with its own weights no better than with "
            f"those of other seeds of the same group (least q = {probability(least)})."
        )
    yield Finding(
        "own_weights", "info", sentence, evidence={"tests": [asdict(row) for row in rows]}, figure="accuracy_along_path"
    )


def _divergences(comparison: Comparison) -> Iterator[Finding]:
    """Pairs of runs that part at the same place in the same tensors are one answer."""
    alike: dict[tuple[float | None, float, tuple[str, ...]], list[Divergence]] = {}
    for one in comparison.divergences:
        parted = tuple(tensor.tensor for tensor in one.tensors if tensor.place == one.place is not None)
        alike.setdefault((one.place, one.end, parted), []).append(one)
    for (where, end, parted), pairs in list(alike.items())[:MOST_TOLD]:
        told = [_and(one.first, one.second) for one in pairs]
        more = f" and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
        each = f"Each of {len(told)} pairs of runs ({'; '.join(told[:MOST_TOLD])}{more})"
        evidence = {
            "place": where,
            "tensors": list(parted),
            "pairs": [[one.first, one.second, one.at_least, one.at_most] for one in pairs],
        }
        if where is None:
            who = f"{told[0]} have" if len(told) == 1 else f"{each} has"
            group_of = {run: group.name for group in comparison.groups for run in group.runs}
            is_told = all(group_of[one.first] == group_of[one.second] for one in pairs)
            counted = "they count as one run" if is_told else "one run under two names, counted in both groups"
            sentence = f"{who} the same bytes at every checkpoint that both have: {counted}."
            yield Finding("divergence", "warning", sentence, evidence=evidence, figure="compared_motion")
            continue
        every = len(parted) == len(pairs[0].tensors) > 1
        layers = f"all {len(parted)} tensors" if every else listed(parted, MOST_TOLD)
        firsts = [next(tensor for tensor in one.tensors if tensor.tensor == parted[0]) for one in pairs]
        who = f"{told[0]} share their" if len(told) == 1 else f"{each} shares its"
        part = "part" if len(told) == 1 else "parts"
        yield Finding(
            "divergence",
            "info",
            f"{who} initial weights and {part} at {place(comparison, where)}, in {layers}"
            f"{_apart(firsts, f'{printable(parted[0], 80)} there')}"
            f"{_apart(pairs, f'all weights at {place(comparison, end)}')}.",
            tensor=parted[0] if len(parted) == 1 else None,
            evidence=evidence,
            figure="compared_motion",
        )


def _apart(bounds: Sequence[Divergence | TensorDivergence], what: str) -> str:
    """Between which distances all of them lie, where that is known of all."""
    low = [one.at_least for one in bounds if one.at_least is not None]
    high = [one.at_most for one in bounds if one.at_most is not None]
    if not len(low) == len(high) == len(bounds):
        return ""
    return f"; {what}: between {number(min(low))} and {number(max(high))} of ‖W₀‖ apart"


def notes(comparison: Comparison) -> tuple[str, ...]:
    """What limits the comparison: how runs are matched, runs that count once, gaps."""
    shared = _shared(comparison)
    found = [f"{shared}, so sizes of their motion and of their spectra mean different things."] if shared else []
    if comparison.axis_label == IN_ORDER:
        found.append(
            "Neither epochs nor steps are known in all runs, so checkpoints are matched by their order, which does not "
            "tell how long a run was trained; final values are those of each run’s last checkpoint."
        )
    elif not len(comparison.common):
        found.append(
            f"The runs have too few {comparison.axis_label}s in common: curves stand at their own, and final values "
            "are those of each run’s last checkpoint, after trainings that need not be equally long."
        )
    gapped = [name for name, places in comparison.places.items() if np.setdiff1d(_asked(comparison), places).size]
    if gapped:
        found.append(
            f"{listed(gapped)} {'lacks' if len(gapped) == 1 else 'lack'} checkpoints that other runs have: a "
            "path across a gap is measured too short, and the swap test uses what all runs have."
        )
    copies = [run for group in comparison.groups for run in group.runs if run not in group.independent]
    if copies:
        found.append(f"{listed(copies)}: the same bytes throughout as an earlier run, so not counted again.")
    return tuple(found)


def _shared(comparison: Comparison) -> str:
    """How many tensors all runs have, by name and shape; nothing to say where they all have the same."""
    held = [frozenset((row.name, row.shape) for row in run.tables.tensors) for run in comparison.runs]
    if len(set(held)) == 1:
        return ""
    counts = sorted({len(one) for one in held})
    of = str(counts[0]) if len(counts) == 1 else f"{counts[0]} {'and' if len(held) == 2 else 'to'} {counts[-1]}"
    return f"The runs share {len(frozenset.intersection(*held))} of {of} tensors (by name and shape)"


def _asked(comparison: Comparison) -> FloatArray:
    """Every place up to the last common one that any run has."""
    every = np.unique(np.concatenate(list(comparison.places.values())))
    return np.asarray(every[every <= max(comparison.common, default=-np.inf)])


def place(comparison: Comparison, where: float) -> str:
    """``epoch 50``, ``step 700``, ``checkpoint 7``."""
    if comparison.axis_label == IN_ORDER:
        return f"checkpoint {where + 1:.10g}"
    return f"{comparison.axis_label} {where:.10g}"


def at_end(comparison: Comparison) -> str:
    """Where final values are: ``at epoch 50``, ``at each run’s last checkpoint (step 300 to step 1185)``."""
    first, last = (place(comparison, end(comparison.ends.values())) for end in (min, max))
    return f"at {first}" if first == last else f"at each run’s last checkpoint ({first} to {last})"


def _going_on(comparison: Comparison) -> list[str]:
    """The runs that go on beyond the place of their final values."""
    return [run for run, places in comparison.places.items() if places[-1] > comparison.ends[run]]


def _beyond(comparison: Comparison) -> str:
    """Said where values are those of the middle of a run."""
    if not (longer := _going_on(comparison)):
        return ""
    return (
        f" That is the last that all runs have; {listed(longer)} {'goes' if len(longer) == 1 else 'go'} on beyond it."
    )


def _pair(comparison: Comparison, quantity: str, one: str, two: str) -> GroupDifference | None:
    return next(
        (row for row in comparison.differences if row.quantity == quantity and {row.first, row.second} == {one, two}),
        None,
    )


def _is_sure(pair: GroupDifference) -> bool:
    return pair.q_value is not None and pair.q_value <= LEVEL


def _evidence(pair: GroupDifference | None) -> dict[str, object]:
    return {"difference": asdict(pair)} if pair else {}


def _and(one: str, two: str) -> str:
    return f"{printable(one, 60)} and {printable(two, 60)}"


def number(value: float) -> str:
    """Three significant digits, zeros too, so that numbers stand beside each other; thousands are written out."""
    if value == 0 or 1000 <= abs(value) < 1e6:
        return f"{value:.0f}".replace("-", "−")
    return f"{value:#.3g}".rstrip(".").replace("-", "−")


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def probability(value: float | None) -> str:
    """Two significant digits."""
    return "–" if value is None else f"{value:.2g}"
