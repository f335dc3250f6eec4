"""Runs beside each other: groups, the common axis, where runs part, what is told and what is not."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from builders import full_count
from compared_runs import LAYERS, stored_run, two_groups, with_settings

from analyzer.comparing import compare_runs
from analyzer.comparing.answers import number
from analyzer.report.comparison import summarize


def answer(comparison, rule):
    return next(one for one in comparison.answers if one.rule == rule)


def difference(comparison, quantity):
    (one,) = (row for row in comparison.differences if row.quantity == quantity)
    return one


# ------------------------------------------------------------------------------------------------- groups


def test_runs_that_differ_in_the_seed_alone_are_a_group_named_by_what_differs():
    runs = [
        stored_run("a", settings=with_settings("orthogonal", 0)),
        stored_run("b", settings=with_settings("normal", 0)),
        stored_run("c", settings=with_settings("orthogonal", 1)),
    ]
    comparison = compare_runs(runs)
    assert [(group.name, group.runs) for group in comparison.groups] == [("orthogonal", ("a", "c")), ("normal", ("b",))]
    faster = dataclasses.replace(runs[2], settings={**runs[2].settings, "lr": "0.1"})
    names = [group.name for group in compare_runs([*runs[:2], faster]).groups]
    assert names == ["init orthogonal, lr 0.005", "init normal, lr 0.005", "init orthogonal, lr 0.1"]


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["orthogonal-seed3", "orthogonal-seed4", "normal-seed3"], ["orthogonal", "normal"]),
        (["mnist_seed=1_big", "mnist_seed=2_big"], ["mnist_big"]),
        (["seed1", "seed2"], ["seed1", "seed2"]),
        (["seedling", "run2"], ["seedling", "run2"]),
    ],
)
def test_without_settings_names_tell_the_groups_and_the_page_says_so(names, groups):
    comparison = compare_runs([stored_run(name, seed=number) for number, name in enumerate(names)])
    assert [group.name for group in comparison.groups] == groups
    assert "names" in comparison.grouped_by


def test_a_byte_identical_copy_counts_once():
    runs = two_groups()
    copy = dataclasses.replace(runs[0], name="copy")
    comparison = compare_runs([*runs, copy])
    assert comparison.groups[0].runs[-1] == "copy"
    assert "copy" not in comparison.groups[0].independent
    assert difference(comparison, "test_accuracy").first_n == 6
    assert any("copy" in note for note in comparison.notes)
    assert answer(comparison, "divergence").severity == "warning"


# ------------------------------------------------------------------------------------------------- alignment


def test_runs_are_aligned_by_epoch_else_by_step_else_in_order():
    runs = [stored_run("a"), stored_run("b", epochs=(0, 2, 4))]
    comparison = compare_runs(runs)
    assert comparison.axis_label == "epoch"
    assert comparison.common.tolist() == [0, 2, 4]

    def without(run, **changes):
        rows = tuple(dataclasses.replace(row, **changes) for row in run.tables.checkpoints)
        return dataclasses.replace(run, tables=dataclasses.replace(run.tables, checkpoints=rows))

    comparison = compare_runs([without(run, epoch=None) for run in runs])
    assert (comparison.axis_label, comparison.common.tolist()) == ("step", [0, 200, 400])
    comparison = compare_runs([without(runs[0], epoch=None, step=None), runs[1]])
    assert comparison.axis_label == "checkpoint (in order)"
    assert comparison.common.tolist() == [0, 1, 2]
    assert any("order" in note for note in comparison.notes)
    assert comparison.ends == {"a": 12, "b": 2}


def test_a_single_checkpoint_at_the_start_is_not_where_the_other_run_ended():
    runs = [stored_run("whole"), stored_run("start", seed=1, epochs=(0,))]
    assert compare_runs(runs).ends == {"whole": 12, "start": 0}
    runs = [stored_run("whole"), stored_run("end", seed=1, epochs=(12,))]
    assert compare_runs(runs).ends == {"whole": 12, "end": 12}


def test_of_runs_with_the_same_value_none_is_first():
    comparison = compare_runs([stored_run("a"), stored_run("b")])
    for rule in ("moved_most", "best_conditioned"):
        assert "b and a are equal here: " in answer(comparison, rule).sentence.replace("a and b", "b and a")


@pytest.mark.parametrize(
    "epochs",
    [
        (0.5, 1.5, 2.5),
        (0, 1.5, 2.5),
        (0, 1, 2.5),  # two in common, but the last of them is before the half of it
    ],
)
def test_runs_without_two_places_in_common_stand_at_their_own_and_end_at_their_last_checkpoints(epochs):
    runs = [stored_run("long"), stored_run("short", seed=1, epochs=epochs)]
    comparison = compare_runs(runs)
    assert comparison.axis_label == "epoch"
    assert comparison.places["short"].tolist() == list(epochs)
    final = {one.run: one.value for one in comparison.finals if (one.scope, one.quantity) == ("score", "test_accuracy")}
    assert final == {run.name: run.tables.scalars["test_accuracy"][-1] for run in runs}
    for rule in ("moved_most", "best_conditioned", "mattered_for_accuracy"):
        sentence = answer(comparison, rule).sentence
        assert "at each run’s last checkpoint (epoch 2.5 to epoch 12) is" in sentence
        assert "beyond" not in sentence
    assert any("too few epochs in common" in note for note in comparison.notes)
    assert not any("lack" in note for note in comparison.notes)
    assert {row.status for row in comparison.swaps} == {"undefined"}
    assert {row.coefficient for row in comparison.swaps} == {None}


def test_what_two_of_several_runs_have_in_common_tells_where_they_part_and_whether_weights_are_their_own():
    same, other = parted(3)
    runs = [stored_run("a-seed1", contents=same), stored_run("a-seed2", seed=1, contents=other)]
    runs.append(stored_run("odd", epochs=(0.5, 1.5)))
    comparison = compare_runs(runs)
    (pair,) = comparison.divergences
    assert (pair.start, pair.place, pair.end) == (0, 3, 12)
    assert {row.n for row in comparison.swaps if row.group == "a"} == {12}


def test_fault_35_final_values_are_those_at_the_last_place_that_all_have_and_gaps_are_told():
    runs = [stored_run("a", epochs=range(8)), stored_run("b", epochs=(0, 1, 2, 4, 5), distance=5.0, condition=6.0)]
    comparison = compare_runs(runs)
    finals = {one.run: one for one in comparison.finals if one.quantity == "initial_distance" and one.scope != "tensor"}
    assert finals["a"].value == runs[0].tables.curves["total", "", "initial_distance"].values[5]
    assert finals["b"].value == runs[1].tables.curves["total", "", "initial_distance"].values[4]
    assert finals["b"].difference == pytest.approx(finals["b"].value - finals["a"].value)
    assert [note for note in comparison.notes if note.startswith("b lacks checkpoints")]
    assert {one.checkpoint for one in comparison.finals} == {"epoch_5"}
    for rule, said in (
        ("moved_most", " had moved most: "),
        ("best_conditioned", " was best conditioned: "),
        ("mattered_for_accuracy", ": test accuracy at epoch 5 is "),
    ):
        sentence = answer(comparison, rule).sentence
        assert said in sentence and " at epoch 5 is" in sentence
    ends = "The runs end at different places: b at epoch 5; a at epoch 7. They are compared at epoch 5, the last epoch"
    assert [note for note in comparison.notes if note.startswith(ends)]


def band_of(comparison, group, quantity, along=None):
    wanted = (group, quantity, along or comparison.axis_label)
    (band,) = [one for one in comparison.bands if (one.group, one.quantity, one.along) == wanted]
    return band


def test_a_band_holds_all_runs_and_has_a_gap_where_one_has_no_value():
    runs = two_groups(3)
    broken = runs[1].tables.scalars["test_accuracy"]
    broken[4] = np.nan
    comparison = compare_runs(runs)
    band = band_of(comparison, "plain", "test_accuracy")
    rows = np.stack([run.tables.scalars["test_accuracy"] for run in runs[:3]])
    assert np.isnan([band.mean[4], band.low[4], band.high[4]]).all()
    keep = np.arange(13) != 4
    assert np.allclose(band.mean[keep], rows.mean(axis=0)[keep])
    assert np.array_equal(band.low[keep], rows.min(axis=0)[keep])
    assert np.array_equal(band.high[keep], rows.max(axis=0)[keep])
    kappa = band_of(comparison, "plain", "condition_number")
    rows = np.stack([run.tables.curves["tensor", LAYERS[0], "condition_number"].values for run in runs[:3]])
    assert np.allclose(kappa.mean, np.exp(np.log(rows).mean(axis=0)))


def test_along_the_path_a_run_is_where_it_has_travelled_so_far():
    runs = [stored_run("a"), stored_run("b", distance=8.0)]
    band = band_of(compare_runs(runs), "a", "test_accuracy", "path_length")
    path = runs[0].tables.curves["total", "", "path_length"].values
    assert band.positions[0] == 0 and band.positions[-1] == path[-1]
    assert np.allclose(band.mean, np.interp(band.positions, path, runs[0].tables.scalars["test_accuracy"]))


def test_fault_14_and_41_scores_that_are_missing_or_constant_get_no_number():
    runs = two_groups(6, accuracy=0.9)
    for run in runs:
        run.tables.scalars["test_accuracy"][:] = 0.1
        run.tables.scalars["test_loss"][-1] = np.nan
    comparison = compare_runs(runs)
    assert (difference(comparison, "test_accuracy").status, difference(comparison, "test_loss").status) == (
        "undefined",
        "missing",
    )
    assert difference(comparison, "test_loss").difference is None
    assert all(row.status == "undefined" for row in comparison.swaps if row.score == "test_accuracy")
    assert {one.status for one in comparison.finals if one.quantity == "test_loss"} == {"missing"}
    json.dumps(summarize(comparison), allow_nan=False)


def test_one_singular_matrix_leaves_the_network_without_a_condition_number_and_with_its_status():
    runs = two_groups(2)
    key = ("tensor", LAYERS[1], "condition_number")
    curve = runs[0].tables.curves[key]
    values = curve.values.copy()
    values[-1] = np.nan
    runs[0].tables.curves[key] = dataclasses.replace(curve, values=values, statuses=(*curve.statuses[:-1], "singular"))
    comparison = compare_runs(runs)
    (final,) = (
        one for one in comparison.finals if (one.run, one.quantity, one.tensor) == ("plain-0", "condition_number", "")
    )
    assert (final.value, final.status) == (None, "singular")
    assert difference(comparison, "condition_number").difference is None


# ------------------------------------------------------------------------------------------------- divergence


def parted(at: int | None, layers=LAYERS[1:2], epochs=range(13)):
    """Contents of two runs: the same bytes but for some layers from checkpoint ``at`` on."""
    same = {f"epoch_{epoch:g}": {layer: f"{epoch}{layer}" for layer in LAYERS} for epoch in epochs}
    other = {
        name: {
            layer: digest + ("'" if at is not None and number >= at and layer in layers else "")
            for layer, digest in row.items()
        }
        for number, (name, row) in enumerate(same.items())
    }
    return same, other


@pytest.mark.parametrize("at", [1, 5, 12])
@pytest.mark.parametrize("layers", [LAYERS[1:2], LAYERS])
def test_the_first_checkpoint_and_layer_at_which_runs_part(at, layers):
    same, other = parted(at, layers)
    runs = [
        stored_run("a", contents=same),
        stored_run("b", seed=1, distance=5.0, contents=other),
        stored_run("c", seed=2),
    ]
    (pair,) = compare_runs(runs).divergences
    assert (pair.first, pair.second, pair.start, pair.place) == ("a", "b", 0, at)
    assert [one.tensor for one in pair.tensors if one.place == at] == list(layers)
    assert all(one.place is None and one.at_most is None for one in pair.tensors if one.tensor not in layers)
    first = next(one for one in pair.tensors if one.place == at)
    near, far = (run.tables.curves["tensor", first.tensor, "initial_distance"].values[at] for run in runs[:2])
    assert first.at_least == pytest.approx(abs(far - near) / 10)
    assert first.at_most == pytest.approx((far + near) / 10)
    sentence = answer(compare_runs(runs), "divergence").sentence
    assert f"epoch {at}" in sentence
    assert (LAYERS[1] if len(layers) == 1 else "all 3 tensors") in sentence


@pytest.mark.parametrize(("name", "counted"), [("a-seed1", "they count as one run"), ("b", "counted in both groups")])
def test_a_copy_that_lacks_a_checkpoint_is_a_copy(name, counted):
    same, _ = parted(None)
    lacking = {place: row for place, row in same.items() if place != "epoch_7"}
    epochs = [epoch for epoch in range(13) if epoch != 7]
    runs = [stored_run("a-seed0", contents=same), stored_run(name, epochs=epochs, contents=lacking)]
    comparison = compare_runs(runs)
    assert comparison.groups[0].independent == ("a-seed0",)
    assert counted in answer(comparison, "divergence").sentence


def test_pairs_that_part_alike_are_one_answer():
    runs = []
    for seed in range(6):
        same, other = (
            {name: {k: f"{seed}{v}" for k, v in row.items()} for name, row in one.items()} for one in parted(3)
        )
        runs += [stored_run(f"plain-{seed}", seed=seed, contents=same), stored_run(f"new-{seed}", contents=other)]
    comparison = compare_runs(runs)
    (one,) = (each for each in comparison.answers if each.rule == "divergence")
    assert len(comparison.divergences) == len(one.evidence["pairs"]) == 6
    assert one.sentence.startswith("Each of 6 pairs of runs (plain-0 and new-0; plain-1 and new-1; ")
    assert (
        "and 2 more) shares its initial weights and diverges at epoch 3, in fc2.weight; the distance of fc2.weight"
        in one.sentence
    )
    bounds = [(pair.at_least, pair.at_most) for pair in comparison.divergences]
    low, high = min(low for low, _ in bounds), max(high for _, high in bounds)
    assert f"is between {number(low)} and {number(high)} of ‖W₀‖." in one.sentence


def test_other_initial_weights_are_no_divergence_and_a_gap_is_no_difference():
    assert compare_runs(two_groups(3)).divergences == ()
    same, other = parted(3)
    other["epoch_3"] = {}
    runs = [stored_run("a", contents=same), stored_run("b", contents=other)]
    assert compare_runs(runs).divergences[0].place == 4
    one_more = {name: {**row, "new": "x"} for name, row in same.items()}
    assert compare_runs([stored_run("a", contents=same), stored_run("b", contents=one_more)]).divergences == ()


# ------------------------------------------------------------------------------------------------- what is told


def test_planted_differences_are_told_with_their_size_and_certainty():
    comparison = compare_runs(two_groups(6, distance=6.0, condition=2.0, accuracy=0.6))
    moved, shaped = answer(comparison, "moved_most"), answer(comparison, "best_conditioned")
    assert (
        moved.sentence.startswith("other moved most") and "more than chance variation between seeds" in moved.sentence
    )
    assert shaped.sentence.startswith("other ended best conditioned")
    assert answer(comparison, "mattered_for_accuracy").sentence.startswith("Yes: ")
    row = difference(comparison, "initial_distance")
    assert row.form == "ratio" and row.low < 1.5 < row.high
    assert row.p_value == pytest.approx(2 / 924) and row.p_value <= row.q_value <= 0.05
    assert "0.0022" in answer(comparison, "how_sure").sentence
    assert all(one.sentence.isprintable() and one.sentence.endswith(".") for one in comparison.answers)


def spoilt(run):
    """Return the run with NaN from the middle on, as after a learning rate that is too high."""
    curves = {
        key: dataclasses.replace(
            one,
            values=np.where(np.arange(len(one.values)) > 5, np.nan, one.values),
            statuses=(*one.statuses[:6], *("nonfinite",) * (len(one.statuses) - 6)),
        )
        for key, one in run.tables.curves.items()
    }
    return dataclasses.replace(run, tables=dataclasses.replace(run.tables, curves=curves))


def test_a_run_that_became_nan_is_left_out_by_name_and_the_others_are_answered_for():
    runs = [stored_run("plain"), stored_run("far", seed=1, distance=8.0), spoilt(stored_run("broken", seed=2))]
    comparison = compare_runs(runs)
    for rule in ("moved_most", "best_conditioned"):
        one = answer(comparison, rule)
        assert one.evidence["left_out"] == ["broken"] and len(one.evidence["order"]) == 2
        assert one.sentence.endswith(" broken is left out: it has no finite value there.")
    assert "far" in answer(comparison, "moved_most").sentence
    two = compare_runs(runs[1:])
    assert answer(two, "moved_most").sentence.startswith("Unknown: ")
    assert "broken is left out" in answer(two, "moved_most").sentence


def test_a_group_with_a_run_that_became_nan_is_described_by_its_others_and_not_tested():
    runs = two_groups(6, distance=6.0)
    comparison = compare_runs([spoilt(runs[0]), *runs[1:]])
    one = answer(comparison, "moved_most")
    assert one.evidence["left_out"] == [runs[0].name] and "Nothing is tested where a run is left out." in one.sentence


def test_without_a_difference_nothing_is_claimed():
    comparison = compare_runs(two_groups(6, first_seed=7))
    assert answer(comparison, "moved_most").sentence.startswith("It is unclear which of")
    assert answer(comparison, "best_conditioned").sentence.startswith("It is unclear which of")
    assert answer(comparison, "mattered_for_accuracy").sentence.startswith("Unclear: ")


@pytest.mark.parametrize(("accuracy", "apart"), [(0.5, True), (0.9, False)])
def test_ranges_that_do_not_overlap_are_said_where_nothing_can_be_tested(accuracy, apart):
    sentence = answer(compare_runs(two_groups(4, accuracy=accuracy)), "mattered_for_accuracy").sentence
    assert sentence.startswith("Too few runs to test: ")
    assert (
        "The ranges of other and plain do not overlap" in sentence.replace("plain and other", "other and plain")
    ) == apart


def test_few_runs_are_described_and_not_judged():
    comparison = compare_runs(two_groups(2, distance=6.0, accuracy=0.5))
    assert {row.p_value for row in comparison.differences} == {None}
    assert {row.status for row in comparison.swaps} == {"too_few"}
    assert answer(comparison, "mattered_for_accuracy").sentence.startswith("Too few runs to test: ")
    assert not any(" p = " in one.sentence or " q = " in one.sentence for one in comparison.answers)
    lone = compare_runs(two_groups(1, distance=6.0))
    assert "groups have 1 run each" in answer(lone, "how_sure").sentence
    assert sum("six" in one.sentence for one in lone.answers) == 1  # it holds for all answers, and is said once
    assert not any("  " in one.sentence or one.sentence.endswith(" ") for one in lone.answers)


def test_seeds_of_one_setting_are_set_beside_each_other():
    comparison = compare_runs(two_groups(3)[:3])
    assert comparison.differences == ()
    assert "seed" in answer(comparison, "moved_most").sentence
    assert answer(comparison, "mattered_for_accuracy").sentence.startswith("The runs differ only in their seed: ")


def test_groups_with_a_planted_difference_are_called_different_and_others_seldom():
    repeats = full_count(300, 40)
    quantities = ("initial_distance", "condition_number", "test_accuracy")
    alike = [compare_runs(two_groups(6, first_seed=1000 * turn)) for turn in range(repeats)]
    # Benjamini-Hochberg over all quantities: with nothing there, any false call at all is as rare as one test's.
    wrong = [any(row.q_value <= 0.05 for row in one.differences if row.q_value is not None) for one in alike]
    assert np.mean(wrong) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / repeats)
    planted = [
        compare_runs(two_groups(6, first_seed=1000 * turn, distance=4.4, condition=6.0, accuracy=0.8))
        for turn in range(repeats)
    ]
    for quantity in quantities:
        assert np.mean([difference(one, quantity).q_value <= 0.05 for one in planted]) > 0.9, quantity


def test_the_swap_test_finds_what_is_a_runs_own():
    generator = np.random.default_rng(0)
    runs = [stored_run(f"r-seed{i}", seed=i, epochs=range(31)) for i in range(6)]
    for run in runs:
        own = generator.standard_normal(30)
        fall = np.exp(-np.arange(30) / 6)
        path = run.tables.curves["total", "", "path_length"]
        path.values[1:] = np.cumsum(fall * np.exp(0.4 * own))
        run.tables.scalars["test_accuracy"][1:] = np.cumsum(0.1 * fall * np.exp(0.4 * own))
    rows = [row for row in compare_runs(runs).swaps if row.quantity == "path_length" and row.score == "test_accuracy"]
    (row,) = rows
    assert (row.rank, row.runs, row.n, row.status) == (1, 6, 30, "ok")
    assert row.p_value < 0.01 and row.coefficient > row.unmatched + 0.1


# ------------------------------------------------------------------------------------------------- other networks


def test_networks_that_share_no_tensor_are_said_to_be_unrelated_before_anything_is_told_of_their_motion():
    runs = [stored_run("small"), stored_run("bert", seed=1, layers=[f"encoder.{n}" for n in range(41)])]
    comparison = compare_runs(runs)
    assert comparison.notes[0].startswith("The runs share 0 of 3 and 41 tensors (by name and shape)")
    for rule in ("moved_most", "best_conditioned"):
        assert answer(comparison, rule).sentence.startswith("The runs share 0 of 3 and 41 tensors (")
        assert "different networks" in answer(comparison, rule).sentence


def test_what_runs_share_is_by_name_and_shape_and_silent_where_it_is_all():
    runs = [stored_run("one"), stored_run("two", seed=1), stored_run("three", seed=2)]
    assert not any("share" in note for note in compare_runs(runs).notes)
    assert "The runs share" not in answer(compare_runs(runs), "moved_most").sentence
    rows = runs[2].tables.tensors
    wider = dataclasses.replace(
        runs[2].tables, tensors=(*rows[:2], dataclasses.replace(rows[2], shape=(4, 9), matrix_shape=(4, 9)))
    )
    comparison = compare_runs([*runs[:2], dataclasses.replace(runs[2], tables=wider)])
    assert comparison.notes[0].startswith("The runs share 2 of 3 tensors (by name and shape)")
