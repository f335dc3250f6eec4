"""Report changes of the layers' spectra: condition numbers, ranks, outliers of the random bulk, power-law tails."""

from __future__ import annotations

from collections.abc import Iterator
from math import log, nan, pi, sqrt

import numpy as np

from analyzer.findings.curves import ReliableCurve, at_the_end, curves_of
from analyzer.findings.rules import Draft, rule
from analyzer.findings.wording import agree, layers, number, place, plural
from analyzer.model.run import PRODUCT, Severity
from analyzer.model.tables import Tables

KAPPA_FACTOR, KAPPA_WARNING = 10, 100  # times the first condition number
KAPPA_CHANCE = 1e-3  # of a random matrix to exceed the bound on its condition number
CHEN_DONGARRA = 6.414  # the constant of theorem 1.1
RANK_LOSS, RANK_WARNING = 0.5, 0.2  # of the first effective rank
FEW_DIRECTIONS, FEW_SHARE = 2.0, 0.1  # limit on the stable rank, absolute and as a share of the first one
MOVE_TOGETHER = frozenset({"embedding", "position"})  # roles of matrices whose rows get a common direction
OUTLIERS_OF_SMALL, SMALL = 2, 50  # below n = 50 a single outlier is often chance
LASTING = 3  # checkpoints at the end that must agree
RUN_CHANCE = 0.05  # of a run of noise to have an outlier in any of its layers
COUNT_SCATTER = 2  # times the square root of a count
ALPHA_LOW, ALPHA_HIGH = 2.0, 6.0
FEWEST_IN_TAIL, LARGEST_KS = 50, 0.1


def random_condition_bound(rows: int, columns: int) -> float:
    """Return the κ that a random Gaussian matrix of this shape exceeds with a probability below `KAPPA_CHANCE`.

    P(κ > x·N/d) < (6.414/x)^d/√(2π), d = abs(rows − columns) + 1, N the larger side, for x ≥ d (Chen & Dongarra 2005).
    """
    freedom = abs(rows - columns) + 1
    x = CHEN_DONGARRA / float((KAPPA_CHANCE * sqrt(2 * pi)) ** (1 / freedom))
    return max(x, freedom) * max(rows, columns) / freedom


@rule("condition_number")
def condition_number_explodes(tables: Tables) -> Iterator[Draft]:
    """Report layers whose condition number rose tenfold, and beyond that of a random matrix of their shape.

    Source: Chen & Dongarra, Condition numbers of Gaussian random matrices (SIAM J. Matrix Anal. 2005), thm 1.1: κ of a
    square random matrix is heavy-tailed, so a factor alone proves nothing. Measured here: in healthy
    trainings κ of matrices that are not square rose at most 8.4-fold, that of square ones 133-fold, but not beyond the
    bound; the limit is 10 (`KAPPA_FACTOR`), and 100 is a warning. Which end of the spectrum moved further (on a
    logarithmic scale) tells the cause: a smallest singular value that fell is a row or column that decays, as that of a
    unit without gradient does under weight decay, and not a weight that is too large.
    """
    risen: list[tuple[float, str, float, float, int, int]] = []
    for series in curves_of(tables, "condition_number"):
        ends, shape = series.ends(), series.tensor.matrix_shape
        if ends is None or shape is None:
            continue
        before, after = float(series.values[ends[0]]), at_the_end(series.values)
        if after >= KAPPA_FACTOR * before > 0 and after > random_condition_bound(*shape):
            passed = np.flatnonzero(series.values >= KAPPA_FACTOR * before)
            since, end = (int(series.places[spot]) for spot in (passed[0], ends[1]))
            risen.append((after / before, series.tensor.name, before, after, since, end))
    if risen:
        risen.sort(reverse=True)
        ratio, worst, before, after, since, end = risen[0]
        others = f"; so does that of {layers([name for _, name, *_ in risen[1:]])}" if len(risen) > 1 else ""
        yield Draft(
            "warning" if ratio >= KAPPA_WARNING else "notice",
            f"The condition number of {layers([worst])} explodes, from {number(before)} to about {number(after)}; it "
            f"first reached ten times its first value at {place(tables, since)}{others}. {_why_kappa(tables, worst)}",
            tensors=[name for _, name, *_ in risen],
            places=[since, end],
            evidence={
                "rise": {name: rise for rise, name, *_ in risen},
                "since": {name: tables.checkpoints[at].name for _, name, _, _, at, _ in risen},
            },
        )


def _why_kappa(tables: Tables, layer: str) -> str:
    """Return a sentence that says which end of a layer's spectrum made its condition number rise."""
    ends = [_first_and_last(tables, metric, layer) for metric in ("spectral_norm", "smallest_singular_value")]
    (large_before, large_after), (small_before, small_after) = ends
    if not all(value > 0 for pair in ends for value in pair):  # also skips a missing value, which is NaN
        return "Some directions of the input are almost lost."
    if small_before / small_after >= large_after / large_before:
        return (
            f"Its smallest singular value fell from {number(small_before)} to {number(small_after)}: some directions "
            "decay, as the row or column of a unit without gradient does under weight decay."
        )
    grew = f"from {number(large_before)} to {number(large_after)}"
    return f"Its largest singular value grew {grew}: few directions dominate."


def _first_and_last(tables: Tables, metric: str, layer: str) -> tuple[float, float]:
    """Return a layer's first value of a metric and that at the end, NaN where there is none."""
    for series in curves_of(tables, metric):
        ends = series.ends()
        if series.tensor.name == layer and ends is not None:
            return float(series.values[ends[0]]), at_the_end(series.values)
    return nan, nan


@rule("rank")
def rank_collapses(tables: Tables) -> Iterator[Draft]:
    """Report layers that end with few directions.

    Measured here: over 20 seeds and 7 initializations the effective rank fell to 80 % at worst, and to 61 % with a
    learning rate of 1.5; in healthy trainings, to 74 % (76 % in a head of BERT); the limit is half of the first one
    (`RANK_LOSS`). A stable rank of 2 or less that was ten times as large counts too, since one direction dominates (1.4
    after 40, with that learning rate). Two kinds of matrices lose rank without a defect and are left out: an adapter's
    ΔW, whose rank is small by construction (1.2 of 4 in a healthy LoRA run), and embeddings, whose rows move together
    while the learning rate warms up.
    """
    fallen: dict[str, tuple[float, str, int, int]] = {}  # share left, sentence part, first and last position
    for metric, words in (("effective_rank", "effective rank"), ("stable_rank", "stable rank")):
        for series in curves_of(tables, metric):
            ends = series.ends()
            if ends is None or series.tensor.rule == PRODUCT or series.tensor.role in MOVE_TOGETHER:
                continue
            before, after = float(series.values[ends[0]]), at_the_end(series.values)
            limit = RANK_LOSS * before if metric == "effective_rank" else min(FEW_DIRECTIONS, FEW_SHARE * before)
            if after <= limit and series.tensor.name not in fallen:
                since = int(series.places[np.flatnonzero(series.values <= limit)[0]])
                fell = f"its {words} fell from {number(before)} to about {number(after)}"
                fallen[series.tensor.name] = (after / before, fell, since, int(series.places[ends[1]]))
    if fallen:
        worst = min(fallen, key=lambda name: fallen[name][0])
        _, fell, since, end = fallen[worst]
        severe = any(share <= RANK_WARNING and "effective" in text for share, text, *_ in fallen.values())
        others = [name for name in fallen if name != worst]
        severity: Severity = "warning" if severe else "notice"
        yield Draft(
            severity,
            f"{layers([worst])} collapses onto few directions: {fell}, most of it by {place(tables, since)}"
            + (f"; {layers(others)} also lost rank." if others else "."),
            tensors=[worst, *others],
            places=[since, end],
            evidence={
                "left": {name: share for name, (share, *_) in fallen.items()},
                "since": {name: tables.checkpoints[at].name for name, (_, _, at, _) in fallen.items()},
            },
        )


def noise_soft_rank(rows: int, columns: int, chance: float) -> float:
    """Return the soft rank λ₊/λ_max that a noise matrix falls below with approximately the given probability at most.

    This is the tail of the Tracy–Widom law for β = 1, P(x) ~ exp(−⅔x^{3/2})/(4√π x^{3/4}) (Dumaz & Virág, Ann. Inst. H.
    Poincaré 2013), without its last factor, for x ≥ 1. The scale s², estimated from the median, is uncertain as well:
    measured here, by 1/n to 3/n, of which 1/n is used because it is added in full.
    """
    m, n = max(rows, columns), min(rows, columns)
    root = sqrt(m - 1) + sqrt(n)
    width: float = root * (1 / sqrt(m - 1) + 1 / sqrt(n)) ** (1 / 3)
    quantile: float = (1.5 * log(1 / (4 * sqrt(pi) * chance))) ** (2 / 3)
    largest = root**2 * (1 + sqrt(2 * log(1 / chance)) / n) + width * quantile
    return (sqrt(m) + sqrt(n)) ** 2 / largest


@rule("outliers")
def outliers_leave_bulk(tables: Tables) -> Iterator[Draft]:
    """Report singular values that rise out of the random bulk and stay outside.

    Source: Martin & Mahoney, Implicit self-regularization in deep neural networks (JMLR 2021), sec. 3.3 ("bulk plus
    spikes"). The largest must exceed what noise reaches in any layer in one of twenty runs (`RUN_CHANCE`, with a
    Bonferroni correction) at each of the last three checkpoints, however much these depend on each other. The number of
    outliers must have grown by one and by more than the scatter of a count; below n = 50 by two, since the median is
    uncertain there.
    """
    soft_ranks = {soft.tensor.name: soft for soft in curves_of(tables, "mp_soft_rank")}
    examined = [
        (series, soft, shape)
        for series in curves_of(tables, "mp_outlier_count")
        if (soft := soft_ranks.get(series.tensor.name)) is not None
        and (shape := series.tensor.matrix_shape) is not None
        and np.isfinite(series.values).sum() > LASTING
    ]
    risen: list[tuple[int, str, int, int, int]] = []  # since, layer, outliers, of how many, last position
    for series, soft, shape in examined:
        known = np.flatnonzero(np.isfinite(series.values))
        counts, places = series.values[known], series.places[known]
        needed = (OUTLIERS_OF_SMALL if min(shape) < SMALL else 1) + COUNT_SCATTER * sqrt(counts[0])
        surely = soft.places[soft.values < noise_soft_rank(*shape, RUN_CHANCE / len(examined))]
        above = (counts >= counts[0] + needed) & np.isin(places, surely)
        if above[-LASTING:].all():
            since = len(above) - int(np.argmin(above[::-1]))  # the first is never above itself
            risen.append((int(places[since]), series.tensor.name, int(counts[-1]), min(shape), int(places[-1])))
    if risen:
        risen.sort(key=lambda layer: layer[0])
        since, first, now, of, end = risen[0]
        yield Draft(
            "info",
            f"{plural(len(risen), 'layer')} {agree(len(risen), 'has', 'have')} directions that stand out from noise: "
            "singular values rise out of the random (Marchenko–Pastur) bulk, further than noise does in 19 of 20 runs. "
            f"The first is {layers([first])}, from {place(tables, since)} on; {now} of its {of} "
            f"{agree(now, 'is', 'are')} outside at {place(tables, end)}.",
            tensors=[name for _, name, *_ in risen],
            places=[since, end],
            evidence={
                "outliers": {name: now for _, name, now, *_ in risen},
                "since": {name: tables.checkpoints[at].name for at, name, *_ in risen},
            },
        )


@rule("alpha")
def alpha_out_of_range(tables: Tables) -> Iterator[Draft]:
    """Report power-law tails whose exponent is significantly below 2 or above 6 at the last checkpoint.

    Source: Martin, Peng & Mahoney, Predicting trends in the quality of state-of-the-art networks (Nat. Commun. 2021)
    for the range 2 to 6; Clauset, Shalizi & Newman (SIAM Review 2009), sec. 3.1 and eq. 3.2, for at least 50
    eigenvalues in the tail and for the standard error, of which the exponent must be two away; docs/metrics.md for a KS
    distance of at most 0.1.
    """
    tails = {tail.tensor.name: tail for tail in curves_of(tables, "alpha_tail_count")}
    distances = {distance.tensor.name: distance for distance in curves_of(tables, "alpha_ks_distance")}
    out: dict[str, list[tuple[str, float, int, float]]] = {"below 2": [], "above 6": []}
    for series in curves_of(tables, "alpha"):
        name = series.tensor.name
        alpha, count, distance = (_last(curve) for curve in (series, tails.get(name), distances.get(name)))
        if not (count >= FEWEST_IN_TAIL and distance <= LARGEST_KS):  # also skips a missing value, which is NaN
            continue
        error = 2 * (alpha - 1) / sqrt(count)
        if alpha + error < ALPHA_LOW:
            out["below 2"].append((name, alpha, int(count), distance))
        elif alpha - error > ALPHA_HIGH:
            out["above 6"].append((name, alpha, int(count), distance))
    meanings = {
        "below 2": "a very heavy tail, as in overtrained layers or with a few dominating directions",
        "above 6": "hardly a tail, as in layers that learned little",
    }
    for side, found in out.items():
        if found:
            name, alpha, count, distance = found[0]
            more = f", and of {plural(len(found) - 1, 'more layer')}" if len(found) > 1 else ""
            yield Draft(
                "info",
                f"The power-law exponent of {layers([name])} ends {side} (alpha {number(alpha)}, on {count} "
                f"eigenvalues, KS distance {number(distance)}){more}: {meanings[side]}. This is a rule of thumb "
                "from trained language and image models, not a verdict.",
                tensors=[name for name, *_ in found],
                places=[len(tables.checkpoints) - 1],
                evidence={"alpha": {name: alpha for name, alpha, *_ in found}},
            )


def _last(series: ReliableCurve | None) -> float:
    """Return the value at the last checkpoint that has a row, NaN if there is none."""
    return float(series.values[-1]) if series is not None and len(series.values) else float("nan")
