"""What is planned, what it costs, how it is cut, and how much runs at a time in a given memory."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from analyzer.engine import planning
from analyzer.engine.fingerprints import expected_bases
from analyzer.engine.planning import Task, affordable_streams, checkpoints_together, equal_parts, needs_blocks, plan
from analyzer.errors import WeightlapseError
from analyzer.metrics import select_metrics
from analyzer.model.run import Checkpoint, Run, TensorInfo
from analyzer.numerics import blocks

MIB = 1 << 20
PROCESS = 250 * MIB  # measured: Python, numpy, scipy and a plan take less


def task(memory):
    return Task((), {}, bytes=0, memory=memory, cost=0.0, overlap=0.0)


@pytest.mark.parametrize(
    ("memory", "streams"),
    [(350 * MIB, 1), (450 * MIB - 1, 1), (450 * MIB, 2), (1250 * MIB - 1, 9), (1250 * MIB, 10), (100_250 * MIB, 1000)],
)
def test_what_is_left_beside_the_process_is_shared_by_streams_of_the_largest_size(memory, streams):
    assert affordable_streams([task(10 * MIB), task(100 * MIB), task(1)], memory) == streams


def test_less_than_the_process_and_one_stream_is_an_error_that_says_how_much_is_needed():
    with pytest.raises(WeightlapseError, match=r"--max-memory 367 MB: the largest task needs 367 MB .* for example"):
        affordable_streams([task(100 * MIB)], 350 * MIB - 1)
    assert affordable_streams([task(100 * MIB)], 350 * MIB) == 1


def test_a_plan_without_tasks_affords_any_number_of_streams():
    assert affordable_streams([], PROCESS + 4) == 4
    with pytest.raises(WeightlapseError):
        affordable_streams([], PROCESS)


def test_small_tensors_are_bundled_up_to_8_mib_and_a_large_one_is_alone():
    mebibytes = {"a": 3, "b": 5, "c": 3, "d": 4, "e": 2, "large": 20, "f": 1}
    infos = {name: TensorInfo(name, "float32", (size * MIB // 4,), ()) for name, size in mebibytes.items()}
    run = Run("r", "", "", "", tuple(Checkpoint(str(at), "", at, None, {}, infos, ()) for at in (0.0, 1.0)))
    tasks = plan(run, select_metrics(["size"]), lambda _: {})
    assert sorted(tuple(one.wanted) for one in tasks) == [("a", "b"), ("c", "d"), ("e",), ("f",), ("large",)]


def test_a_walk_that_is_cut_measures_every_checkpoint_once():
    info = TensorInfo("w", "float32", (1000, 1000), ())
    run = Run("r", "", "", "", tuple(Checkpoint(str(at), "", at, None, {}, {"w": info}, ()) for at in range(13)))
    tasks = plan(run, select_metrics(["spectrum"]), lambda _: {}, jobs=4)
    assert len(tasks) > 1
    assert sorted(position for one in tasks for position in one.wanted["w"]) == list(range(13))


def run_with(infos, count):
    """A run all of whose checkpoints have these tensors."""
    named = {info.name: info for info in infos}
    return Run("r", "", "", "", tuple(Checkpoint(f"c{at}", "", at, None, {}, named, ()) for at in range(count)))


def needs_of(*names):
    return frozenset(need for metric in select_metrics(list(names)) for need in metric.needs)


def planned(run, names, **options):
    return plan(run, select_metrics(names), lambda _: {}, **options)


def test_the_estimates_of_a_walk_over_sums():
    """Per row 0.4 ms and 5 ns an element; a further segment would read three states again, in chunks."""
    (found,) = planned(run_with([TensorInfo("w", "float32", (1000,), ())], 3), ["rms"])
    assert (found.bytes, found.memory) == (3 * 4000, 4 * 4000)
    assert found.cost == pytest.approx(3 * (4e-4 + 5e-9 * 1000), rel=1e-12)
    assert found.overlap == pytest.approx(3 * 1000 * 1.5e-9, rel=1e-12)
    assert {position: set(names) for position, names in found.wanted["w"].items()} == {at: {"rms"} for at in range(3)}


def test_the_estimates_of_a_walk_with_spectra():
    """Of a square matrix, which is loaded whole: n²(m + 4n) for the spectrum, and squares of n² in its memory."""
    (found,) = planned(run_with([TensorInfo("w", "float32", (60, 50), ())], 2), ["spectrum"])
    assert (found.bytes, found.memory) == (2 * 12_000, 4 * 12_000 + 8 * 50 * (6 * 50 + 60))
    assert found.cost == pytest.approx(2 * (4e-4 + 5e-9 * 3000 + 2.2e-11 * 50**2 * (60 + 4 * 50)), rel=1e-12)
    assert found.overlap == pytest.approx(3 * 3000 * 9e-9, rel=1e-12)


def test_a_bundle_sums_what_its_tensors_take_and_shares_the_memory_of_a_spectrum():
    infos = [TensorInfo(name, "float32", shape, ()) for name, shape in (("a", (9, 8)), ("b", (8, 7)), ("v", (10,)))]
    (found,) = planned(run_with(infos, 2), ["rms", "condition_number"])
    elements = 72 + 56 + 10
    assert (found.bytes, found.memory) == (2 * 4 * elements, 4 * 4 * elements + 8 * 8 * (6 * 8 + 9))
    spectra = 8**2 * (9 + 4 * 8) + 7**2 * (8 + 4 * 7)
    assert found.cost == pytest.approx(2 * (3 * 4e-4 + 5e-9 * elements + 2.2e-11 * spectra), rel=1e-12)


def test_every_matrix_of_a_stack_costs_its_own_spectrum_and_the_largest_takes_memory():
    (found,) = planned(run_with([TensorInfo("experts.w", "float32", (3, 9, 8), ())], 1), ["condition_number"])
    assert found.memory == 4 * 4 * 216 + 8 * 8 * (6 * 8 + 9)
    assert found.cost == pytest.approx(4e-4 + 5e-9 * 216 + 3 * 2.2e-11 * 8**2 * (9 + 4 * 8), rel=1e-12)


def test_a_walk_takes_the_memory_of_its_largest_state_and_a_gap_costs_nothing():
    run = run_with([TensorInfo("w", "float32", (10,), ())], 4)
    first, second, third, fourth = run.checkpoints
    wider = replace(second, tensors={"w": TensorInfo("w", "float32", (30,), ())})
    run = replace(run, checkpoints=(first, wider, replace(third, tensors={}), fourth))
    (found,) = planned(run, ["rms"])
    assert (found.bytes, found.memory) == (40 + 120 + 40, 4 * 120)
    assert found.cost == pytest.approx(3 * 4e-4 + 5e-9 * 50, rel=1e-12)
    assert found.overlap == pytest.approx(3 * 30 * 1.5e-9, rel=1e-12)


def test_a_long_matrix_needs_no_more_than_a_block_of_rows_beside_its_squares(monkeypatch):
    monkeypatch.setattr(blocks, "MIN_BLOCK", 50)
    assert blocks.block_rows(5) == 30
    (found,) = planned(run_with([TensorInfo("w", "float32", (400, 5), ())], 1), ["condition_number"])
    assert found.memory == 4 * 4 * 2000 + 8 * 5 * (6 * 5 + 30)


@pytest.mark.parametrize(
    ("shape", "dtype", "names", "wanted", "together"),
    [
        ((1000,), "float32", ["frobenius_norm"], 9, 128),
        ((1000,), "float32", ["step_distance", "changed_fraction"], 9, 128),
        ((1000,), "float32", ["rms"], 9, 16),  # its magnitudes near zero are kept
        ((0, 5), "float32", ["rms"], 9, 0),
        ((1000,), "float32", [], 9, 0),
        ((9, 9), "float32", ["frobenius_norm", "overlap_previous"], 9, 0),  # needs whole tensors
        ((64, 4), "float32", ["overlap_previous"], 9, 0),
        ((60, 50), "float32", ["condition_number"], 9, 0),  # no tall matrix, hence one block
        ((64, 4), "float32", ["condition_number"], 9, 4),
        ((64, 4), "float64", ["condition_number"], 9, 0),  # may have to be scaled
        ((64, 4), "float64", ["dead_row_count"], 9, 4),
        ((64, 2, 2), "float32", ["condition_number"], 9, 4),
        ((64,), "float32", ["dead_row_count"], 9, 0),
        ((64, 1), "float32", ["dead_row_count"], 9, 0),
        # 24 rows in a block: 4 states of 4·4·rows bytes over 384 bytes and 128 of the Gram matrix
        ((25, 4), "float32", ["condition_number"], 9, 3),
        ((25, 4), "float32", ["dead_row_count"], 9, 4),
        ((24, 4), "float32", ["dead_row_count"], 9, 0),
        ((25, 4), "float16", ["condition_number"], 9, 0),  # room for two of nine
        ((25, 4), "float16", ["condition_number"], 3, 0),
        ((25, 4), "float16", ["condition_number"], 2, 2),
        ((25, 4), "float16", ["condition_number"], 1, 2),
    ],
)
def test_at_how_many_checkpoints_a_tensor_is_measured_together(monkeypatch, shape, dtype, names, wanted, together):
    monkeypatch.setattr(blocks, "MIN_BLOCK", 4)
    info = TensorInfo("w", dtype, shape, ())
    assert checkpoints_together(info, needs_of(*names) if names else frozenset(), wanted) == together


def test_what_cannot_be_read_and_a_stack_are_not_measured_in_pieces(monkeypatch):
    monkeypatch.setattr(blocks, "MIN_BLOCK", 4)
    assert checkpoints_together(TensorInfo("w", "float32", (9,), (), "why"), needs_of("frobenius_norm"), 9) == 0
    assert checkpoints_together(TensorInfo("experts.w", "float32", (64, 2, 2), ()), needs_of("spectrum"), 9) == 0


def test_only_what_sums_do_not_serve_needs_blocks():
    assert not needs_blocks(needs_of("motion")) and not needs_blocks(frozenset())
    assert needs_blocks(needs_of("frobenius_norm", "dead_row_count"))
    assert needs_blocks(needs_of("condition_number"))


@pytest.mark.parametrize(
    ("length", "count", "parts"),
    [(6, 3, [[0, 1], [2, 3], [4, 5]]), (7, 3, [[0, 1], [2, 3], [4, 5, 6]]), (5, 1, [[0, 1, 2, 3, 4]])],
)
def test_positions_are_cut_into_parts_of_about_equal_length(length, count, parts):
    assert [list(part) for part in equal_parts(range(length), count)] == parts


def costing(cost, positions=12, overlap=0.0, memory=0):
    wanted = {"w": dict.fromkeys(range(positions), frozenset({"rms"}))}
    return Task((), wanted, bytes=0, memory=memory, cost=cost, overlap=overlap)


@pytest.mark.parametrize(
    ("cost", "positions", "longest", "count"),
    [(12.0, 12, 12.0, 1), (12.0, 12, 11.9, 2), (12.0, 12, 4.0, 3), (12.0, 12, 1.0, 4), (12.0, 11, 1.0, 3),
     (12.0, 2, 1.0, 1), (12.0, 12, inf, 1)],
)  # fmt: skip
def test_a_walk_is_cut_into_segments_no_longer_than_asked_nor_shorter_than_three_checkpoints(
    cost, positions, longest, count
):
    assert planning._segment_count(costing(cost, positions), longest) == count


def test_the_last_job_ends_after_the_longest_first_with_what_is_read_again():
    tasks = [costing(12.0, overlap=1.0), costing(2.0, overlap=5.0), costing(3.0, overlap=5.0)]
    assert planning._makespan(tasks, 1, inf) == 17
    assert planning._makespan(tasks, 2, inf) == 12
    assert planning._makespan(tasks, 2, 6.0) == 10  # 7 and 7, then 3 and 2 behind them
    assert planning._makespan(tasks, 3, 6.0) == 7
    assert planning._makespan([costing(cost) for cost in (4.0, 3.0, 3.0, 2.0)], 2, inf) == 6


@pytest.mark.parametrize(
    ("tasks", "jobs", "longest"),
    [
        ([costing(12.0), costing(1.0)], 1, inf),
        ([costing(8.0), costing(8.0)], 2, inf),  # busy to the end without a cut
        ([costing(8.0)], 2, 4.0),
        ([costing(8.0)], 3, 8 / 3),
        ([costing(8.0, 24), costing(8.0, 24), costing(8.0, 24)], 2, 6.0),  # the total, shared by two, in two parts
        ([costing(8.0, overlap=4.1)], 2, inf),  # a cut would take longer
        ([], 2, inf),
    ],
)
def test_walks_are_cut_where_the_last_job_then_ends_earlier(tasks, jobs, longest):
    assert planning._longest_segment(tasks, jobs) == longest


def test_a_cut_walk_covers_neighboring_checkpoints_and_counts_only_its_own():
    tasks = planned(run_with([TensorInfo("w", "float32", (300, 300), ())], 13), ["spectrum"], jobs=4)
    (whole,) = planned(run_with([TensorInfo("w", "float32", (300, 300), ())], 13), ["spectrum"])
    spans = sorted(sorted(one.wanted["w"]) for one in tasks)
    assert spans == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11, 12]]
    assert [len(one.wanted["w"]) for one in tasks] == [4, 3, 3, 3]  # the most expensive first
    assert [one.bytes for one in tasks] == [360_000 * count for count in (4, 3, 3, 3)]
    assert sum(one.cost for one in tasks) == pytest.approx(whole.cost)


def test_a_tensor_without_rows_in_a_segment_is_not_part_of_it():
    late, early = (TensorInfo(name, "float32", (300, 300), ()) for name in ("late", "early"))
    run = run_with([late, early], 12)
    without = [replace(one, tensors={"early": early}) for one in run.checkpoints[:9]]
    tasks = planned(replace(run, checkpoints=(*without, *run.checkpoints[9:])), ["spectrum"], jobs=4)
    found = sorted((min(one.wanted["early"]), tuple(one.wanted)) for one in tasks)
    assert found[0] == (0, ("early",)) and found[-1][1] == ("early", "late")
    assert all(moments for one in tasks for moments in one.wanted.values())


@pytest.mark.parametrize(
    ("count", "every", "spectra"), [(7, 3, {0, 3, 6}), (6, 3, {0, 3, 5}), (4, 1, {0, 1, 2, 3}), (1, 5, {0})]
)
@pytest.mark.parametrize("is_known", [False, True])
def test_spectra_of_every_nth_checkpoint_and_of_the_last(count, every, spectra, is_known):
    run = run_with([TensorInfo("w", "float32", (9, 8), ())], count)
    known = {("w", "rms", "of another run"): "x"} if is_known else {}
    metrics = select_metrics(["rms", "condition_number"])
    (found,) = plan(run, metrics, lambda _: known, spectra_every=every)
    both = frozenset({"rms", "condition_number"})
    assert found.wanted["w"] == {at: both if at in spectra else {"rms"} for at in range(count)}


def test_a_vector_has_no_place_in_a_plan_of_spectra():
    infos = [TensorInfo("v", "float32", (9,), ()), TensorInfo("w", "float32", (9, 8), ())]
    assert [set(one.wanted) for one in planned(run_with(infos, 3), ["condition_number"], spectra_every=2)] == [{"w"}]
    assert planned(run_with(infos[:1], 3), ["condition_number"], spectra_every=2) == []


def test_what_is_stored_with_the_same_basis_is_not_planned_again():
    metrics = select_metrics(["rms", "step_distance"])
    run = run_with([TensorInfo("w", "float32", (9,), ())], 4)
    bases = list(expected_bases(run, "w", metrics))
    known = {("w", metric, f"c{position}"): basis for position, metric, basis in bases}
    assert plan(run, metrics, lambda _: known) == []
    known["w", "rms", "c2"] = "other bytes"
    del known["w", "step_distance", "c3"]
    (found,) = plan(run, metrics, lambda _: known)
    assert found.wanted == {"w": {2: {"rms"}, 3: {"step_distance"}}}
    known["w[0]", "rms", "c1"] = "the bytes of one expert are others"
    (found,) = plan(run, metrics, lambda _: known)
    assert found.wanted == {"w": {1: {"rms"}, 2: {"rms"}, 3: {"step_distance"}}}


def test_tensors_are_named_in_the_order_of_their_first_appearance():
    a, b, c = (TensorInfo(name, "float32", (2,), ()) for name in "abc")
    run = run_with([b, a], 2)
    later = replace(run.checkpoints[1], tensors={"c": c, "a": a})
    assert planning.tensor_names(replace(run, checkpoints=(run.checkpoints[0], later))) == ["b", "a", "c"]


@pytest.mark.parametrize("mebibytes", [8, 9])
def test_no_bundle_is_empty_where_the_first_tensor_fills_one(mebibytes):
    infos = [TensorInfo("large", "float32", (mebibytes * MIB // 4,), ()), TensorInfo("v", "float32", (1,), ())]
    assert sorted(tuple(one.wanted) for one in planned(run_with(infos, 1), ["rms"])) == [("large",), ("v",)]
