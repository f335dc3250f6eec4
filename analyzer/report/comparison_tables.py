"""List the rows of a comparison's CSV tables as Python objects, None where there is no number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from analyzer.model.comparison import Comparison
from analyzer.report.csv_tables import Row

HEADERS: Mapping[str, str] = {
    "runs": "run,group,seed,independent,checkpoints,path,store",
    "curves": "run,group,checkpoint,epoch,step,path_length,quantity,value,status",
    "groups": "group,quantity,along,position,runs,mean,low,high",
    "final_values": "run,group,checkpoint,scope,tensor,quantity,value,status,difference",
    "differences": "quantity,first,second,first_n,second_n,first_mean,second_mean,form,difference,low,high,p_value,"
    "q_value,status",
    "divergence": "first,second,tensor,shared_at,diverged_at,axis,at_least,at_most",
    "swap": "group,score,quantity,coefficient,unmatched,rank,arrangements,p_value,q_value,runs,n,status",
}


def rows(name: str, comparison: Comparison) -> Iterator[Row]:
    """Return the rows of the table ``name``, a key of :data:`HEADERS`."""
    return {
        "runs": _runs,
        "curves": _curves,
        "groups": _groups,
        "final_values": _final_values,
        "differences": _differences,
        "divergence": _divergence,
        "swap": _swap,
    }[name](comparison)


def _number(value: float) -> float | None:
    return float(value) if value == value else None


def _group_of(comparison: Comparison) -> dict[str, str]:
    return {run: group.name for group in comparison.groups for run in group.runs}


def _runs(comparison: Comparison) -> Iterator[Row]:
    groups = _group_of(comparison)
    independent = {run for group in comparison.groups for run in group.independent}
    for run in comparison.runs:
        counted = "yes" if run.name in independent else "no"
        seed = run.settings.get("seed")
        yield (run.name, groups[run.name], seed, counted, len(run.tables.checkpoints), run.path, run.source)


def _curves(comparison: Comparison) -> Iterator[Row]:
    groups = _group_of(comparison)
    for run in comparison.runs:
        path = comparison.courses.get((run.name, "path_length"))
        for quantity in comparison.quantities:
            course = comparison.courses[run.name, quantity.name]
            for position, row in enumerate(run.tables.checkpoints):
                yield (
                    run.name,
                    groups[run.name],
                    row.name,
                    row.epoch,
                    row.step,
                    _number(path.values[position]) if path else None,
                    quantity.name,
                    _number(course.values[position]),
                    course.statuses[position],
                )


def _groups(comparison: Comparison) -> Iterator[Row]:
    for band in comparison.bands:
        for place, mean, low, high in zip(band.positions, band.mean, band.low, band.high, strict=True):
            numbers = (_number(mean), _number(low), _number(high))
            yield (band.group, band.quantity, band.along, float(place), band.n, *numbers)


def _final_values(comparison: Comparison) -> Iterator[Row]:
    for one in comparison.finals:
        where = (one.run, one.group, one.checkpoint, one.scope, one.tensor)
        yield (*where, one.quantity, one.value, one.status, one.difference)


def _differences(comparison: Comparison) -> Iterator[Row]:
    for one in comparison.differences:
        yield (
            one.quantity,
            one.first,
            one.second,
            one.first_n,
            one.second_n,
            one.first_mean,
            one.second_mean,
            one.form,
            one.difference,
            one.low,
            one.high,
            one.p_value,
            one.q_value,
            one.status,
        )


def _divergence(comparison: Comparison) -> Iterator[Row]:
    axis = comparison.axis_label
    for pair in comparison.divergences:
        for one in pair.tensors:
            yield (pair.first, pair.second, one.tensor, pair.start, one.place, axis, one.at_least, one.at_most)


def _swap(comparison: Comparison) -> Iterator[Row]:
    for one in comparison.swaps:
        yield (
            one.group,
            one.score,
            one.quantity,
            one.coefficient,
            one.unmatched,
            one.rank,
            one.arrangements,
            one.p_value,
            one.q_value,
            one.runs,
            one.n,
            one.status,
        )
