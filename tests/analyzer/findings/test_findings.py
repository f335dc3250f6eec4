"""Each rule finds what was planted, with the right layer and interval, and nothing else there."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from builders import full_count, random_walk, save_weights, weightlapse_metadata
from commands import measured
from planted import ALL_FAMILIES, alarming, checked, found_in, only

import analyzer
from analyzer.findings import SEVERITIES, by_severity, find
from analyzer.findings.shape import outliers_leave_bulk, random_condition_bound
from analyzer.findings.wording import number
from analyzer.metrics.random_matrix import mp_outlier_count, mp_soft_rank
from analyzer.model.observed import Spectrum
from analyzer.model.run import CheckpointRow, Curve, Finding, Tables, TensorRow
from analyzer.report.reading import read_tables
from analyzer.store.store import open_store

SHAPES = {"fc1.weight": (40, 30), "fc1.bias": (40,), "fc2.weight": (24, 40), "out.weight": (10, 24)}


def name(*epochs):
    return tuple(f"epoch_{epoch}.safetensors" for epoch in epochs)


def drawn_out(states, tensor, step):
    """The states with a tensor that takes ``step(epoch) -> array`` into each epoch instead."""
    weights = states[0][tensor].astype(np.float64)
    for epoch in range(1, len(states)):
        weights = weights + step(epoch)
        states[epoch][tensor] = weights.astype(states[0][tensor].dtype)
    return states


@pytest.mark.parametrize("seed", range(full_count(20, 2)))
def test_an_ordinary_run_has_nothing_alarming(tmp_path, seed):
    findings = found_in(tmp_path, random_walk(12, SHAPES, seed), ALL_FAMILIES)
    assert alarming(findings) == []
    assert {one.rule for one in findings} <= {"outliers_leave_bulk"}


def test_short_runs_say_nothing_about_trends(tmp_path):
    for epochs in (1, 2, 3):
        assert found_in(tmp_path / str(epochs), random_walk(epochs, SHAPES), ALL_FAMILIES) == []


def test_the_most_serious_comes_first_and_ties_keep_their_order():
    findings = [Finding(str(n), severity, "") for n, severity in enumerate((*SEVERITIES[::-1], *SEVERITIES))]
    assert [one.rule for one in by_severity(findings)] == ["3", "4", "2", "5", "1", "6", "0", "7"]


# ------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("later", [0, 1])
def test_row39_nan_is_serious_with_its_count_place_and_figure(tmp_path, later):
    states = random_walk(5)
    states[1]["fc1.weight"][0, :3] = np.nan
    if later:
        states[3]["fc1.weight"][0, 0] = np.inf
    one = only(found_in(tmp_path, states), "nonfinite_weights")
    assert (one.severity, one.tensor, one.figure) == ("serious", "fc1.weight", "step_distance")
    assert one.checkpoints == name(1, 3)[: 1 + later]
    assert one.evidence["count"] == {"fc1.weight": 3}
    assert "3 elements" in one.sentence and "fc1.weight" in one.sentence
    assert ("at epoch 1 and in 1 later checkpoint" if later else "at epoch 1 only") in one.sentence
    assert f"leave {'those checkpoints' if later else 'that checkpoint'} out" in one.sentence
    assert "Go back" not in one.sentence


def test_nan_at_the_last_checkpoint_is_no_single_bad_file(tmp_path):
    states = random_walk(5)
    for epoch, key in ((1, "fc1.weight"), (4, "out.weight")):
        states[epoch][key][0, 0] = np.nan
    one = only(found_in(tmp_path, states), "nonfinite_weights")
    assert "Go back to the checkpoint before" in one.sentence and "recovered" not in one.sentence


def test_nan_at_epoch_7_in_all_layers_is_one_finding_and_not_a_frozen_layer_too(tmp_path):
    states = random_walk(12)
    for weights in states[7:]:
        for array in weights.values():
            array[...] = np.nan
    findings = found_in(tmp_path, states)
    one = only(findings, "nonfinite_weights")
    assert "from epoch 7 on, to the end, in all 4 tensors" in one.sentence
    assert one.checkpoints == name(7, 8, 9, 10, 11) and len(one.evidence["tensors"]) == 4
    assert alarming(findings) == ["nonfinite_weights"]


def test_nan_that_spreads_is_one_finding(tmp_path):
    states = random_walk(8)
    for epoch, weights in enumerate(states):
        for start, key in ((3, "fc1.weight"), (4, "fc1.bias"), (5, "out.weight")):
            if epoch >= start:
                weights[key][0] = np.nan
    one = only(found_in(tmp_path, states), "nonfinite_weights")
    assert "from epoch 3 on, to the end, in fc1.weight (20 elements at first); later also in" in one.sentence
    assert one.evidence["since"] == dict(zip(("fc1.weight", "fc1.bias", "out.weight"), name(3, 4, 5), strict=True))


def test_row40_a_singular_matrix_is_named_with_its_checkpoints(tmp_path):
    states = random_walk(6)
    for weights in states[2:5]:
        weights["out.weight"][1] = 0
    one = only(found_in(tmp_path, states), "singular_matrix")
    assert (one.tensor, one.checkpoints, one.figure) == ("out.weight", name(2, 4), "condition_number")
    assert "in 3 checkpoints from epoch 2 to 4" in one.sentence


def test_rows_that_die_are_told_from_rows_that_were_always_zero(tmp_path):
    states = random_walk(6, SHAPES)
    for epoch, weights in enumerate(states):
        weights["fc2.weight"][:, 5] = 0
        weights["fc1.weight"][: max(0, 2 * (epoch - 2))] = 0
    findings = found_in(tmp_path, states)
    died, always = (only(findings, rule) for rule in ("dead_rows", "dead_columns"))
    assert (died.severity, died.tensor, died.evidence["newly_dead"]) == ("warning", "fc1.weight", {"fc1.weight": 6})
    assert "6 of 40 rows became exactly zero, the first at epoch 3" in died.sentence
    assert (always.severity, always.evidence["dead"]) == ("info", {"fc2.weight": 1})


def test_one_other_layer_with_dead_rows_is_no_plural(tmp_path):
    states = random_walk(6, SHAPES)
    for epoch, weights in enumerate(states):
        weights["fc1.weight"][: max(0, 2 * (epoch - 2))] = 0
        weights["fc2.weight"][: max(0, epoch - 4)] = 0
    assert "(and rows of 1 other layer)" in only(found_in(tmp_path, states), "dead_rows").sentence


def test_what_failed_for_one_reason_is_one_sentence(tmp_path):
    for t, weights in enumerate(random_walk(2)):
        save_weights(tmp_path / f"run/epoch_{t}.safetensors", weights, weightlapse_metadata(t))
    measurements = measured(tmp_path / "run")
    problems = [
        (f"epoch_{t}.safetensors", tensor, "odd", "ValueError: \x1b[31mno") for t in (0, 1) for tensor in ("a", "b")
    ]
    with open_store(measurements.path) as store:
        (one,) = find(read_tables(store, "run"), problems)
    assert (one.rule, one.severity) == ("not_measured", "serious")
    assert one.evidence["tensors"] == ["a", "b"] and len(one.checkpoints) == 2
    assert "\x1b" not in one.sentence and "odd of a, b could not be measured" in one.sentence


def test_row15_hostile_names_are_harmless_in_sentences(tmp_path):
    hostile = "\x1b[31m<b>\u202e\n"
    states = [{hostile: np.full((3, 3), np.nan, np.float32)}, {hostile: np.zeros((3, 3), np.float32)}] * 2
    findings = found_in(tmp_path, states)
    assert findings and {one.tensor for one in findings} == {hostile}  # the field keeps it as it is


# ------------------------------------------------------------------------------------------------------- motion


def test_row37_frozen_tensors_are_named_with_their_intervals(tmp_path):
    states = random_walk(7)
    for t in range(1, 7):
        states[t]["fc1.bias"] = states[0]["fc1.bias"]
        if t > 2:
            states[t]["fc1.weight"] = states[2]["fc1.weight"]
    states[4]["out.bias"] = states[3]["out.bias"]
    findings = {one.tensor: one for one in found_in(tmp_path, states) if one.rule == "frozen_tensor"}
    assert findings.keys() == {"fc1.bias", "fc1.weight", "out.bias"}
    whole, sudden, part = (findings[key] for key in ("fc1.bias", "fc1.weight", "out.bias"))
    assert whole.severity == "notice" and "from epoch 0 to 6, the whole run" in whole.sentence
    assert sudden.severity == "warning" and "from epoch 2 to 6: frozen on purpose, or its gradient" in sudden.sentence
    assert sudden.checkpoints == name(2, 3, 4, 5, 6)
    assert part.severity == "notice" and "from epoch 3 to 4" in part.sentence


def test_pauses_are_one_finding_and_in_coarse_storage_none(tmp_path):
    states = random_walk(9)
    states[2]["out.bias"] = states[1]["out.bias"]
    states[5] = states[4]
    states[7]["fc1.bias"] = states[6]["fc1.bias"]
    one = only(found_in(tmp_path / "wide", states), "frozen_tensor")
    assert "all 4 tensors did not change in a single bit from epoch 4 to 5" in one.sentence
    assert "So did fc1.bias, out.bias at other times." in one.sentence
    most = one.evidence["spells"][0]
    assert (most["from"], most["to"]) == name(4, 5)
    assert len(one.evidence["spells"]) == 3 and one.severity == "notice"
    narrow = [{key: array.astype(ml_dtypes.bfloat16) for key, array in weights.items()} for weights in states]
    assert "frozen_tensor" not in {other.rule for other in found_in(tmp_path / "narrow", narrow)}


@pytest.mark.parametrize(
    ("tensor", "still", "severity"),
    [
        ("fc1.weight", range(1, 9), "warning"),
        ("fc1.bias", range(1, 9), "notice"),
        ("fc1.weight", range(3, 5), "warning"),
        ("fc1.weight", range(3, 4), "notice"),
        ("fc1.bias", range(3, 6), "notice"),
        ("fc1.weight", range(5, 9), "warning"),
        ("fc1.bias", range(5, 9), "notice"),
    ],
)
def test_a_standstill_is_as_serious_as_in_the_audit(tmp_path, tensor, still, severity):
    states = random_walk(9)
    for epoch in still:
        states[epoch][tensor] = states[epoch - 1][tensor]
    one = only(found_in(tmp_path, states), "frozen_tensor")
    run = analyzer.open_run(tmp_path / "run")
    audited = only(analyzer.audit(run), "frozen_tensors")
    assert one.severity == audited.severity == severity
    assert ("vectors may do so by themselves" in one.sentence) == (tensor == "fc1.bias")
    assert "died" not in one.sentence or tensor == "fc1.weight"


def test_the_pause_that_matters_is_told_not_that_of_most_tensors(tmp_path):
    states = random_walk(9)
    states[2] |= {name: states[1][name] for name in ("fc1.bias", "out.bias")}
    states[4]["fc1.weight"] = states[5]["fc1.weight"] = states[3]["fc1.weight"]
    one = only(found_in(tmp_path, states), "frozen_tensor")
    assert one.severity == "warning" and one.sentence.startswith(
        "fc1.weight did not change in a single bit from epoch 3"
    )


def test_layers_frozen_together_are_one_finding(tmp_path):
    shapes = {f"layers.{n}.weight": (4, 5) for n in range(30)} | {"head.weight": (3, 5)}
    states = random_walk(5, shapes)
    for weights in states[1:]:
        weights.update({key: states[0][key] for key in weights if key.startswith("layers")})
    one = only(found_in(tmp_path, states), "frozen_tensor")
    assert "layers.0.weight, layers.1.weight, layers.2.weight and 27 more did not change" in one.sentence
    assert len(one.evidence["tensors"]) == 30


def test_motion_below_precision_is_said_and_a_frozen_tensor_is_not_that(tmp_path):
    w = np.random.default_rng(0).standard_normal((20, 20))
    moved = w.copy()
    moved[0, 0] += 0.1
    states = [{"w": one.astype(ml_dtypes.bfloat16), "still": np.ones(3, ml_dtypes.bfloat16)} for one in (w, moved)]
    one = only(found_in(tmp_path, states), "motion_below_precision")
    assert (one.tensor, one.evidence["steps"]) == ("w", {"w": 1})


def test_bfloat16_storage_hides_small_steps_and_no_other_finding_rests_on_them(tmp_path):
    """Steps of 0.01 %, a layer that moves a hundred times less, and one that swings: all below what bf16 shows."""
    generator = np.random.default_rng(0)
    states = [{key: generator.standard_normal(shape) for key, shape in SHAPES.items()}]
    for epoch in range(1, 14):
        step = {key: 1e-4 * generator.standard_normal(shape) for key, shape in SHAPES.items()}
        step["fc2.weight"] *= 0.01
        step["out.weight"] = 2e-4 * (-1) ** epoch * np.ones(SHAPES["out.weight"])
        states.append({key: states[-1][key] + step[key] for key in SHAPES})
    narrow = [{key: array.astype(ml_dtypes.bfloat16) for key, array in weights.items()} for weights in states]
    findings = found_in(tmp_path / "narrow", narrow)
    one = only(findings, "motion_below_precision")
    assert {"fc1.weight", "out.weight"} <= set(one.evidence["tensors"]) and "bfloat16" in one.sentence
    assert not {"layer_hardly_moves", "oscillating_updates", "motion_spike"} & {other.rule for other in findings}
    wide = found_in(tmp_path / "wide", [{k: a.astype(np.float32) for k, a in w.items()} for w in states])
    assert alarming(wide) == ["layer_hardly_moves", "oscillating_updates"]


def test_a_layer_that_hardly_moves_has_its_interval_and_factor(tmp_path):
    generator = np.random.default_rng(1)
    shape = SHAPES["fc2.weight"]

    def slow_from_5(epoch):
        return (0.01 if epoch <= 4 else 1e-5) * generator.standard_normal(shape)

    one = only(found_in(tmp_path, drawn_out(random_walk(14, SHAPES), "fc2.weight", slow_from_5)), "layer_hardly_moves")
    assert (one.severity, one.tensor, one.checkpoints) == ("notice", "fc2.weight", name(4, 13))
    assert 800 < one.evidence["times_less"]["fc2.weight"] < 1200
    assert "0.00097 % of its norm per epoch from epoch 4 to 13, 1000 times less" in one.sentence


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_exactly_frozen_layer_is_not_a_slow_one_too(tmp_path, dtype):
    states = random_walk(8, SHAPES, dtype=dtype)
    for weights in states:
        weights["fc2.weight"] = states[0]["fc2.weight"]
    assert alarming(found_in(tmp_path, states)) == ["frozen_tensor"]


@pytest.mark.parametrize("back", [False, True])
def test_a_jump_at_one_checkpoint_and_a_foreign_checkpoint(tmp_path, back):
    states = random_walk(14, SHAPES)
    for weights in states[6:7] if back else states[6:]:
        for key in ("fc1.weight", "fc2.weight"):
            weights[key] = weights[key] + np.float32(0.3) * np.sign(states[0][key])
    one = only(found_in(tmp_path, states), "motion_spike")
    assert one.evidence["tensors"] == ["fc1.weight", "fc2.weight"] and "2 of 3 layers" in one.sentence
    assert one.severity == ("warning" if back else "notice") and one.evidence["came_back"] == back
    assert one.checkpoints == (name(6, 7) if back else name(6))
    assert ("at epoch 6 and came back at epoch 7" in one.sentence) == back


def test_a_jump_is_as_far_as_the_figure_shows_though_the_norm_grows_with_it(tmp_path):
    generator = np.random.default_rng(1)
    shape = SHAPES["fc2.weight"]
    lengths = {epoch: 0.3 if epoch < 6 else 120.0 if epoch == 6 else 10.0 for epoch in range(1, 14)}

    def walking(epoch):
        step = generator.standard_normal(shape)
        return lengths[epoch] * step / np.linalg.norm(step)

    one = only(found_in(tmp_path, drawn_out(random_walk(14, SHAPES), "fc2.weight", walking)), "motion_spike")
    assert one.evidence["times_as_far"]["fc2.weight"] == pytest.approx(12, rel=1e-3)
    assert "fc2.weight moved in one jump at epoch 6, 12 times as far per epoch as between any of" in one.sentence


SCHEDULES = {
    "warm-up and cosine": lambda share: min(1.0, 20 * share) * (1 + np.cos(np.pi * share)) / 2 + 1e-4,
    "a jump after a warm-up": lambda share: 0.001 if share < 0.15 else 1.0,
    "one restart": lambda share: (1 + np.cos(np.pi * (2 * share % 1))) / 2 + 1e-4,
    "many restarts": lambda share: (1 + np.cos(np.pi * (8 * share % 1))) / 2 + 1e-4,
    "steps of ten": lambda share: 0.1 ** int(3 * share),
}


@pytest.mark.parametrize("spacing", ["every epoch", "widening"])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_healthy_schedule_of_the_learning_rate_is_no_warning(tmp_path, schedule, spacing):
    generator = np.random.default_rng(0)
    weights = {key: generator.standard_normal(shape) for key, shape in SHAPES.items()}
    kept = range(41) if spacing == "every epoch" else (0, 1, 2, 4, 6, 9, 13, 18, 24, 31, 40)
    for epoch in range(41):
        if epoch in kept:
            single = {key: array.astype(np.float32) for key, array in weights.items()}
            save_weights(tmp_path / f"run/epoch_{epoch}.safetensors", single, weightlapse_metadata(epoch))
        drift = 0.01 * schedule(epoch / 40)
        weights = {key: array + drift * generator.standard_normal(array.shape) for key, array in weights.items()}
    with open_store(measured(tmp_path / "run").path) as store:
        findings = checked(find(read_tables(store, "run"), store.problems("run")))
    assert [one.sentence for one in findings if one.severity in ("warning", "serious")] == []
    assert not {"layer_hardly_moves", "oscillating_updates", "motion_spike"} & {one.rule for one in findings}


def test_oscillating_updates_have_their_interval(tmp_path):
    generator = np.random.default_rng(2)

    def swinging(epoch):
        noise = 0.01 * generator.standard_normal(SHAPES["fc1.weight"])
        return noise + (0.02 * (-1) ** epoch if epoch >= 5 else 0)

    one = only(found_in(tmp_path, drawn_out(random_walk(12, SHAPES), "fc1.weight", swinging)), "oscillating_updates")
    assert (one.severity, one.tensor, one.checkpoints) == ("notice", "fc1.weight", name(6, 11))
    assert one.evidence["median_cosine"]["fc1.weight"] == pytest.approx(-0.8, abs=0.05)


# -------------------------------------------------------------------------------------------------------- shape


def test_an_exploding_layer_is_named_with_the_epoch(tmp_path):
    states = random_walk(12, SHAPES)
    for epoch, weights in enumerate(states):
        weights["fc2.weight"] = weights["fc2.weight"] * np.float32(2.0 ** max(0, epoch - 4))
    findings = found_in(tmp_path, states)
    one = only(findings, "norm_explodes")
    assert (one.severity, one.tensor, one.checkpoints) == ("warning", "fc2.weight", name(8, 11))
    assert one.evidence["growth"]["fc2.weight"] == pytest.approx(128, rel=0.05)
    assert "at epoch 11 its norm is 130 times the first one, and was ten times it at epoch 8" in one.sentence
    assert alarming(findings) == ["norm_explodes"]


def blown_up(states, tensor, epoch, factor):
    """The states with a matrix of rank one, ``factor`` times as large as the tensor, added from an epoch on."""
    generator = np.random.default_rng(3)
    first = states[0][tensor]
    outer = np.outer(*(generator.standard_normal(side) for side in first.shape))
    for weights in states[epoch:]:
        weights[tensor] = weights[tensor] + (factor * outer).astype(np.float32)
    return states


def test_what_an_explosion_brings_about_is_not_told_beside_it(tmp_path):
    states = blown_up(random_walk(14, SHAPES), "fc1.weight", 6, 30.0)
    for weights in states[9:]:  # a layer of its own, with what the other's explosion would hide
        left, sizes, right = np.linalg.svd(weights["fc2.weight"], full_matrices=False)
        sizes[-1] /= 10_000
        weights["fc2.weight"] = (left * sizes @ right).astype(np.float32)
    findings = found_in(tmp_path, states)
    told = [one.rule for one in findings if "fc1.weight" in one.evidence.get("tensors", ())]
    assert told == ["norm_explodes"]
    assert only(findings, "condition_number_explodes").tensor == "fc2.weight"


def test_a_layer_whose_explosion_is_told_still_counts_among_the_layers(tmp_path):
    shapes = {**SHAPES, "fc3.weight": (24, 24), "fc4.weight": (24, 24)}
    states = blown_up(random_walk(14, shapes), "fc1.weight", 6, 30.0)
    for tensor in ("fc2.weight", "fc3.weight"):
        states = blown_up(states, tensor, 6, 2.0)
    matrices = sum(len(shape) > 1 for shape in shapes.values())
    one = only(found_in(tmp_path, states), "motion_spike")
    assert one.sentence.startswith(f"2 of {matrices} layers moved in one jump at epoch 6")


def test_no_compression_is_advised_for_a_matrix_that_jumped(tmp_path):
    states = blown_up(random_walk(14, SHAPES), "fc1.weight", 6, 5.0)
    for weights in states:
        weights["fc2.weight"] = blown_up([weights], "fc2.weight", 0, 5.0)[0]["fc2.weight"]
    findings = found_in(tmp_path, states)
    assert only(findings, "motion_spike").tensor == "fc1.weight"
    assert only(findings, "could_be_cut_in_rank").tensor == "fc2.weight"


def test_a_jump_is_told_without_what_it_brings_about_unless_that_is_graver(tmp_path):
    states = blown_up(random_walk(14, SHAPES), "fc1.weight", 6, 5.0)
    assert alarming(found_in(tmp_path / "rank", states)) == ["motion_spike"]
    for weights in states[6:]:
        left, sizes, right = np.linalg.svd(weights["fc1.weight"], full_matrices=False)
        sizes[-1] /= 10_000
        weights["fc1.weight"] = (left * sizes @ right).astype(np.float32)
    findings = found_in(tmp_path / "condition", states)
    assert alarming(findings) == ["condition_number_explodes", "motion_spike"]
    assert only(findings, "condition_number_explodes").evidence["since"] == {"fc1.weight": name(6)[0]}


def test_what_begins_after_a_jump_is_told_beside_it(tmp_path):
    states = random_walk(14, SHAPES)
    for weights in states[6:]:
        weights["fc1.weight"] = weights["fc1.weight"] + np.float32(0.3) * np.sign(states[0]["fc1.weight"])
    findings = found_in(tmp_path, blown_up(states, "fc1.weight", 12, 5.0))
    assert {"motion_spike", "rank_collapses"} <= set(alarming(findings))


def test_a_layer_that_starts_near_zero_may_grow(tmp_path):
    states = random_walk(12, SHAPES)
    for epoch, weights in enumerate(states):
        weights["fc2.weight"] = weights["fc2.weight"] * np.float32(0.001 + 0.09 * epoch)
    assert alarming(found_in(tmp_path, states)) == []


def test_a_collapsing_layer(tmp_path):
    states = random_walk(12, SHAPES)
    for epoch, weights in enumerate(states):
        weights["fc2.weight"] = weights["fc2.weight"] * np.float32(0.7**epoch)
    one = only(found_in(tmp_path, states), "norm_collapses")
    assert (one.severity, one.tensor, one.checkpoints) == ("warning", "fc2.weight", name(0, 11))


@pytest.mark.parametrize("epoch", [1, 5, 10])
@pytest.mark.parametrize("factor", [4e36, 1e-30])
def test_one_damaged_checkpoint_is_neither_an_explosion_nor_a_collapse(tmp_path, epoch, factor):
    states = random_walk(12, SHAPES)
    if factor > 1:
        states[epoch]["fc2.weight"][3, 4] = factor
    else:
        states[epoch]["fc2.weight"] *= np.float32(factor)
    findings = found_in(tmp_path, states)
    assert [one.rule for one in findings if one.severity == "warning"] == ["norm_jumps"]
    one = only(findings, "norm_jumps")
    assert (one.tensor, one.checkpoints) == ("fc2.weight", name(epoch))
    assert f"at epoch {epoch} and is back at the next checkpoint" in one.sentence
    assert "motion_spike" not in {one.rule for one in findings}  # the same, said twice


def test_a_collapse_is_seen_beside_a_damaged_checkpoint(tmp_path):
    states = random_walk(12, SHAPES)
    for epoch, weights in enumerate(states):
        weights["fc2.weight"] = weights["fc2.weight"] * np.float32(0.7**epoch)
    states[6]["fc2.weight"][0, 0] = 4e36
    one = only(found_in(tmp_path, states), "norm_collapses")
    assert one.checkpoints == name(0, 11) and 0.01 < one.evidence["left"]["fc2.weight"] < 0.1


def test_a_condition_number_beyond_chance(tmp_path):
    states = random_walk(10, SHAPES)
    for epoch, weights in enumerate(states):
        left, sizes, right = np.linalg.svd(weights["fc1.weight"], full_matrices=False)
        sizes[-1] /= 4.0**epoch
        weights["fc1.weight"] = (left * sizes @ right).astype(np.float32)
    one = only(found_in(tmp_path, states), "condition_number_explodes")
    assert (one.severity, one.tensor, one.figure) == ("warning", "fc1.weight", "condition_number")
    assert one.checkpoints == name(2, 9)
    median = np.linalg.cond(states[8]["fc1.weight"])  # of the last three, so it is not the one at the last checkpoint
    assert f" to about {number(median)}, tenfold since epoch 2" in one.sentence


def test_square_random_matrices_do_not_alarm(tmp_path):
    """Their condition numbers wander by factors of ten all by themselves."""
    shapes = {f"layers.{n}.weight": (12, 12) for n in range(60)}
    generator = np.random.default_rng(0)
    states = [{key: generator.standard_normal(shape) for key, shape in shapes.items()} for _ in range(6)]
    conditions = np.array([[np.linalg.cond(array) for array in weights.values()] for weights in states])
    assert (np.median(conditions[-3:], axis=0) > 10 * conditions[0]).any()  # the factor alone would alarm
    findings = found_in(tmp_path, [{k: a.astype(np.float32) for k, a in w.items()} for w in states])
    assert "condition_number_explodes" not in {one.rule for one in findings}


@pytest.mark.parametrize("shape", [(12, 12), (14, 12), (30, 12), (12, 60)])
def test_the_bound_on_random_condition_numbers_holds(shape):
    conditions = np.linalg.cond(np.random.default_rng(3).standard_normal((full_count(20000, 4000), *shape)))
    bound = random_condition_bound(*shape)
    assert np.mean(conditions > bound) <= 1e-3 + 2e-3
    assert bound < 1000 * np.median(conditions)  # and it is no empty bound


def test_a_collapsing_rank(tmp_path):
    states = random_walk(10, SHAPES)
    for epoch, weights in enumerate(states):
        left, sizes, right = np.linalg.svd(weights["fc2.weight"], full_matrices=False)
        weights["fc2.weight"] = (left * sizes ** (1 + epoch) @ right / sizes[0] ** epoch).astype(np.float32)
    findings = found_in(tmp_path, states)
    one = only(findings, "rank_collapses")
    assert (one.tensor, one.figure) == ("fc2.weight", "rank")
    assert one.severity == "notice" and 0.2 < one.evidence["left"]["fc2.weight"] <= 0.5


def test_outliers_leave_the_bulk_and_when(tmp_path):
    shapes = {"wide.weight": (60, 80), "other.weight": (60, 80)}
    states = random_walk(10, shapes)
    generator = np.random.default_rng(4)
    direction = np.outer(generator.standard_normal(60), generator.standard_normal(80)) / np.sqrt(60 * 80)
    for epoch, weights in enumerate(states[4:], start=1):
        weights["wide.weight"] += (25 * epoch * direction).astype(np.float32)
    one = only(found_in(tmp_path, states), "outliers_leave_bulk")
    assert (one.severity, one.tensor, one.checkpoints[0]) == ("info", "wide.weight", "epoch_4.safetensors")
    assert "in 1 layer, " in one.sentence and "from epoch 4 on; 1 of 60 at epoch 9" in one.sentence


def spectra_in_tables(runs_of_layers):
    """Tables of the random-matrix numbers of some layers: ``[layer][checkpoint]`` is a matrix."""
    curves, tensors = {}, []
    for n, states in enumerate(runs_of_layers):
        shape, count = states[0].shape, len(states)
        spectra = [Spectrum(np.linalg.svd(one, compute_uv=False), *shape, roundoff=0.0) for one in states]
        tensors.append(TensorRow(f"w{n}", "", "matrix", shape, shape, "", "float32"))
        for metric in (mp_outlier_count, mp_soft_rank):
            values = np.array([metric(spectrum).value for spectrum in spectra])
            key = ("tensor", f"w{n}", metric.__name__)
            curves[key] = Curve(*key, values, ("ok",) * count, (None,) * count)
    rows = tuple(CheckpointRow(f"c{position}", float(position), position, "", 1) for position in range(count))
    return Tables("run", np.arange(float(count)), "epoch", rows, tuple(tensors), {}, {}, curves, {}, (), ())


@pytest.mark.parametrize(("layers", "shape"), [(12, (128, 256)), (60, (50, 50)), (30, (12, 12))])
def test_noise_has_no_outliers_in_more_than_one_of_twenty_runs(layers, shape):
    """However many layers it has; checkpoints depend on each other, as each is the one before and a small step."""
    generator, runs = np.random.default_rng(0), full_count(200, 40)
    told = 0
    for _ in range(runs):
        starts = generator.standard_normal((layers, *shape))
        steps = 0.05 * generator.standard_normal((4, layers, *shape))
        walks = np.concatenate((starts[None], starts + np.cumsum(steps, axis=0)))
        told += bool(list(outliers_leave_bulk(spectra_in_tables(walks.swapaxes(0, 1)))))
    assert told <= runs / 20


def test_an_outlier_is_found_among_many_layers_of_noise():
    generator = np.random.default_rng(1)
    walks = np.repeat(generator.standard_normal((12, 1, 128, 256)), 6, axis=1)
    spike = np.outer(generator.standard_normal(128), generator.standard_normal(256)) / np.sqrt(128 * 256)
    walks[3, 2:] += 1.5 * (np.sqrt(128) + np.sqrt(256)) * spike
    (one,) = outliers_leave_bulk(spectra_in_tables(walks))
    assert one.evidence["outliers"] == {"w3": 1} and one.evidence["since"] == {"w3": "c2"}
    assert "in 1 layer, " in one.sentence and "learned" not in one.sentence


@pytest.mark.parametrize(("alpha", "said"), [(1.5, "below 2"), (3.0, None), (12.0, "above 6")])
def test_power_law_exponents_outside_2_to_6(tmp_path, alpha, said):
    generator = np.random.default_rng(5)
    eigenvalues = (1 - (np.arange(150) + 0.5) / 150) ** (-1 / (alpha - 1))
    left, right = (np.linalg.qr(generator.standard_normal((n, 150)))[0] for n in (150, 160))
    states = [{"w": (left * np.sqrt(eigenvalues) @ right.T * (1 + 0.001 * t)).astype(np.float32)} for t in range(3)]
    findings = [one for one in found_in(tmp_path, states) if one.rule == "alpha_out_of_range"]
    assert [one.evidence["alpha"]["w"] for one in findings] == ([pytest.approx(alpha, rel=0.1)] if said else [])
    assert all(said in one.sentence and "KS distance" in one.sentence for one in findings)


# -------------------------------------------------------------------------------------------------- compression


def test_low_rank_updates_are_told_from_full_ones(tmp_path):
    generator = np.random.default_rng(6)

    def rank_two(epoch):
        return 0.01 * generator.standard_normal((40, 2)) @ generator.standard_normal((2, 30))

    one = only(
        found_in(tmp_path, drawn_out(random_walk(6, SHAPES), "fc1.weight", rank_two), ALL_FAMILIES), "low_rank_updates"
    )
    assert (one.severity, one.tensor) == ("info", "fc1.weight")
    assert 1.5 < one.evidence["median_effective_rank"]["fc1.weight"] < 2.5
    assert "of 30 directions" in one.sentence and "1 of 2 layers" in one.sentence  # out.weight is too small to tell


def test_a_layer_of_low_rank_could_be_cut(tmp_path):
    generator = np.random.default_rng(7)
    states = random_walk(4, SHAPES)
    left, right = generator.standard_normal((40, 3)), generator.standard_normal((3, 30))
    for weights in states:
        weights["fc1.weight"] = (left @ right + 0.05 * weights["fc1.weight"]).astype(np.float32)
    one = only(found_in(tmp_path, states), "could_be_cut_in_rank")
    assert (one.tensor, one.evidence["rank"]) == ("fc1.weight", {"fc1.weight": 3})
    assert "rank 3 of 30" in one.sentence and "82 % fewer parameters" in one.sentence


def test_a_settled_pruning_mask_and_a_layer_that_could_be_pruned(tmp_path):
    states = random_walk(12, SHAPES)
    generator = np.random.default_rng(8)
    for weights in states[:4]:
        weights["fc1.weight"] = generator.standard_normal((40, 30)).astype(np.float32)
    for weights in states:
        weights["fc2.weight"] = weights["fc2.weight"] ** 3
    findings = found_in(tmp_path, states, ALL_FAMILIES)
    settled, light = only(findings, "pruning_mask_settled"), only(findings, "could_be_pruned")
    assert settled.checkpoints == name(5) and settled.severity == "info"
    assert light.tensor == "fc2.weight" and light.evidence["share"]["fc2.weight"] > 0.97


@pytest.mark.parametrize("zeros", [0.3, 0.6])
def test_a_layer_that_is_sparse_already_is_not_said_to_be_prunable(tmp_path, zeros):
    states = random_walk(6, SHAPES)
    for weights in states:
        sizes = np.abs(states[0]["fc1.weight"])
        weights["fc1.weight"][sizes < np.quantile(sizes, zeros)] = 0
    findings = found_in(tmp_path, states, ALL_FAMILIES)
    assert "could_be_pruned" not in {one.rule for one in findings}


# ------------------------------------------------------------------------------------------- large, odd, repeated


def test_300_layers_do_not_print_300_lines(tmp_path):
    shapes = {f"layers.{n}.weight": (6, 8) for n in range(300)}
    states = random_walk(9, shapes)
    for n, key in enumerate(shapes):
        for epoch, weights in enumerate(states):
            if n % 3 == 0:
                weights[key] = weights[key] * np.float32(2.0**epoch)
            if n % 3 == 1 and epoch > 3:
                weights[key] = states[3][key]
            if n % 3 == 2 and epoch == 5:
                weights[key][0, 0] = np.inf
    findings = found_in(tmp_path, states, ("motion", "size"))
    assert len(findings) <= 6
    assert len(only(findings, "norm_explodes").evidence["tensors"]) == 100
    assert len(only(findings, "frozen_tensor").evidence["tensors"]) == 100
    assert len(only(findings, "nonfinite_weights").evidence["tensors"]) == 100


def test_places_are_named_where_neither_epoch_nor_step_orders_the_run(tmp_path):
    states = random_walk(5)
    for weights in states[1:]:
        weights["fc1.bias"] = states[0]["fc1.bias"]
    folder = tmp_path / "names"
    for stem, weights in zip("abcde", states, strict=True):
        save_weights(folder / f"{stem}.safetensors", weights)
    measurements = measured(folder)
    with open_store(measurements.path) as store:
        one = only(checked(find(read_tables(store, "names"), [])), "frozen_tensor")
    assert "from a.safetensors to e.safetensors, the whole run" in one.sentence
