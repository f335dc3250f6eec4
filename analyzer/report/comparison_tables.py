"""List the rows of a comparison's CSV tables as Python objects, None where there is no number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import attrgetter

from analyzer.model.comparison import Comparison
from analyzer.report.csv_tables import Row, or_none

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
    of_fields = {"final_values": comparison.finals, "differences": comparison.differences, "swap": comparison.swaps}
    if name in of_fields:
        return map(attrgetter(*HEADERS[name].split(",")), of_fields[name])
    composed = {"runs": _runs, "curves": _curves, "groups": _groups, "divergence": _divergence}
    return composed[name](comparison)


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
                length = or_none(path.values[position]) if path else None
                value, status = or_none(course.values[position]), course.statuses[position]
                where = (run.name, groups[run.name], row.name, row.epoch, row.step)
                yield (*where, length, quantity.name, value, status)


def _groups(comparison: Comparison) -> Iterator[Row]:
    for band in comparison.bands:
        for place, mean, low, high in zip(band.positions, band.mean, band.low, band.high, strict=True):
            numbers = (or_none(mean), or_none(low), or_none(high))
            yield (band.group, band.quantity, band.along, float(place), band.n, *numbers)


def _divergence(comparison: Comparison) -> Iterator[Row]:
    axis = comparison.axis_label
    for pair in comparison.divergences:
        for one in pair.tensors:
            yield (pair.first, pair.second, one.tensor, pair.start, one.place, axis, one.at_least, one.at_most)
