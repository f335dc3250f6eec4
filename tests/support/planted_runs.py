"""For each rule with a figure, a run in which what it reports was planted: small, real, and measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import ml_dtypes
import numpy as np
from builders import random_walk, save_weights
from commands import measured
from planted import (
    ALL_FAMILIES,
    DECAYING,
    EPOCHS,
    FALLING_LOSS,
    LEARNED,
    SHAPES,
    STEADY,
    TIME,
    drawn_out,
    given_scores,
    read,
    tables_in,
    walk,
)

from analyzer.findings import find
from analyzer.model.tables import Tables

States = list[dict[str, np.ndarray]]
DAMAGE = np.random.default_rng(11)
ADAPTER = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q"], "fan_in_fan_out": False}
LAYERS = {f"layers.{n}.weight": (32, 24) for n in range(5)}


@dataclass(frozen=True)
class Planted:
    """The states of a run, what to measure of them, and its scores by name if they matter."""

    states: States
    families: tuple[str, ...] = ("motion", "size")
    scores: Mapping[str, np.ndarray] = field(default_factory=dict)

    def tables(self, folder: Path) -> Tables:
        """Write and measure the run."""
        return tables_in(folder, self.states, self.families, given_scores(**self.scores) if self.scores else None)


class UntrainedAdapter:
    """An adapter whose second factor stays zero."""

    def tables(self, folder: Path) -> Tables:
        """Write and measure the run."""
        prefix = "base_model.model.h.0.q"
        for step in range(3):
            checkpoint = folder / f"run/checkpoint-{60 * step}"
            first = DAMAGE.standard_normal((4, 32)).astype(np.float32)
            second = np.zeros((48, 4), np.float32)
            factors = {f"{prefix}.lora_A.weight": first, f"{prefix}.lora_B.weight": second}
            save_weights(checkpoint / "adapter_model.safetensors", factors)
            (checkpoint / "adapter_config.json").write_text(json.dumps(ADAPTER))
            (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": 60 * step, "log_history": []}))
        return read(measured(folder / "run").path)


class FrozenEncoder:
    """A component, in a folder of its own below each checkpoint, that never changes."""

    def tables(self, folder: Path) -> Tables:
        """Write and measure the run, and name it as a component."""
        tables = tables_in(folder, [random_walk(1, SHAPES)[0]] * 6, ("motion",))
        rows = tuple(replace(row, path=f"{row.name}/encoder") for row in tables.checkpoints)
        tables = replace(tables, checkpoints=rows, source=replace(tables.source, name="run/encoder"))
        return replace(tables, findings=tuple(find(tables)))


class TrainedInBfloat16:
    """Weights in bfloat16 of which fewer and fewer elements change, although the steps stay as long."""

    def tables(self, folder: Path) -> Tables:
        """Write and measure a run, and replace the shares of elements that change."""
        states = random_walk(16, SHAPES, dtype=ml_dtypes.bfloat16)
        tables = tables_in(folder, states, ("motion", "size"))
        curves = {
            key: replace(one, values=np.linspace(0.9, 0.2, 16)) if one.metric == "changed_fraction" else one
            for key, one in tables.curves.items()
        }
        tables = replace(tables, curves=curves)
        return replace(tables, findings=tuple(find(tables)))


Plant = Callable[[], Planted | UntrainedAdapter | FrozenEncoder | TrainedInBfloat16]
RUNS: dict[str, Plant] = {}


def plants(*rules: str) -> Callable[[Plant], Plant]:
    """Register a run as the one for some rules."""

    def register(plant: Plant) -> Plant:
        RUNS.update(dict.fromkeys(rules, plant))
        return plant

    return register


def with_scores(rates: np.ndarray = STEADY, **scores: np.ndarray) -> Planted:
    usual = {"train_accuracy": LEARNED, "test_accuracy": LEARNED * 0.97, "train_loss": FALLING_LOSS}
    return Planted(walk(rates), ("motion",), {**usual, "test_loss": FALLING_LOSS + 0.1, **scores})


@plants("norm_explodes")
def explosion() -> Planted:
    states = random_walk(12, SHAPES)
    for epoch, weights in enumerate(states):
        weights["fc2.weight"] = weights["fc2.weight"] * np.float32(2.0 ** max(0, epoch - 4))
    return Planted(states)


@plants("norm_collapses")
def collapse() -> Planted:
    states = random_walk(12, SHAPES)
    for epoch, weights in enumerate(states):
        weights["fc2.weight"] = weights["fc2.weight"] * np.float32(0.7**epoch)
    return Planted(states)


@plants("norm_jumps", "motion_spike")
def damaged_checkpoint() -> Planted:
    states = random_walk(20, SHAPES)
    states[7]["fc2.weight"][3, 4] = 4e6
    states[14]["fc1.weight"] += DAMAGE.standard_normal((40, 30)).astype(np.float32)
    return Planted(states)


@plants("norm_jumps_for_good")
def jump_of_a_bias() -> Planted:
    states = random_walk(12, SHAPES)
    for weights in states[6:]:
        weights["fc1.bias"] = weights["fc1.bias"] + np.float32(40)
    return Planted(states)


@plants("unusual_initialization", "pruning_mask_settled", "could_be_pruned")
def pruning() -> Planted:
    states = random_walk(12, SHAPES)
    generator = np.random.default_rng(8)
    for weights in states[:4]:
        weights["fc1.weight"] = generator.standard_normal((40, 30)).astype(np.float32)
    for weights in states:
        weights["fc2.weight"] = weights["fc2.weight"] ** 3
    return Planted(states, ALL_FAMILIES)


@plants("singular_matrix", "dead_rows", "dead_columns")
def dead() -> Planted:
    states = random_walk(6, SHAPES)
    for epoch, weights in enumerate(states):
        weights["fc2.weight"][:, 5] = 0
        weights["fc1.weight"][: max(0, 2 * (epoch - 2))] = 0
    for weights in states[2:5]:
        weights["out.weight"][1] = 0
    return Planted(states, ("size", "spectrum"))


@plants("weights_become_zero")
def pruned() -> Planted:
    states = random_walk(10, SHAPES)
    smaller = np.abs(states[6]["fc2.weight"]) < np.median(np.abs(states[6]["fc2.weight"]))
    for weights in states[6:]:
        weights["fc2.weight"][smaller] = 0
    return Planted(states)


@plants("units_died")
def dead_units() -> Planted:
    states = random_walk(12, SHAPES)
    for weights in states[6:]:
        weights["fc1.weight"][:25], weights["fc1.bias"][:25] = states[5]["fc1.weight"][:25], states[5]["fc1.bias"][:25]
    return Planted(states)


@plants("missing_checkpoint")
def gap() -> Planted:
    return Planted([weights if epoch not in (5, 6) else {} for epoch, weights in enumerate(random_walk(12, SHAPES))])


@plants("zero_update")
def untrained() -> UntrainedAdapter:
    return UntrainedAdapter()


@plants("frozen_component")
def encoder() -> FrozenEncoder:
    return FrozenEncoder()


@plants("same_weights")
def copies() -> Planted:
    states = random_walk(12, SHAPES)
    states[7] = states[6]
    return Planted(states)


@plants("weights_stand_still")
def standstill() -> Planted:
    states = random_walk(12, SHAPES)
    states[7:] = [states[6]] * 5
    score = 0.9 - 0.8 * 0.7 ** np.minimum(np.arange(12), 6)
    names = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")
    return Planted(states, scores=dict.fromkeys(names, score))


@plants("frozen_tensors")
def frozen() -> Planted:
    states = random_walk(12, SHAPES)
    for weights in states[5:]:
        weights["fc1.bias"] = states[4]["fc1.bias"]
    return Planted(states)


@plants("part_of_another_checkpoint")
def part_of_another() -> Planted:
    states = random_walk(9, SHAPES)
    states[2]["fc1.weight"] = states[6]["fc1.weight"]
    return Planted(states)


@plants("nonfinite_weights")
def nan() -> Planted:
    states = random_walk(9, SHAPES)
    for weights in states[5:]:
        weights["fc2.weight"][0, :3] = np.nan
    return Planted(states)


@plants("first_layers_hardly_move")
def vanishing() -> Planted:
    states = random_walk(20, LAYERS)
    for name, rate in zip(LAYERS, (1e-3, 1e-3, 5e-3, 2e-2, 1e-1), strict=True):
        drawn_out(states, name, lambda _, rate=rate: rate * DAMAGE.standard_normal((32, 24)))
    return Planted(states)


@plants("layer_hardly_moves")
def slow_layer() -> Planted:
    return Planted(
        drawn_out(
            random_walk(14, SHAPES),
            "fc2.weight",
            lambda epoch: (0.01 if epoch <= 4 else 1e-5) * DAMAGE.standard_normal((24, 40)),
        )
    )


@plants("oscillating_updates")
def swinging() -> Planted:
    there = DAMAGE.standard_normal((24, 40))
    return Planted(
        drawn_out(random_walk(20, SHAPES), "fc2.weight", lambda epoch: 0.02 * (-1) ** epoch * (there + 0.1 * epoch))
    )


@plants("motion_below_precision")
def too_small_for_bfloat16() -> Planted:
    states = random_walk(14, SHAPES)
    drawn_out(states, "fc2.weight", lambda _: 1e-5 * DAMAGE.standard_normal((24, 40)))
    return Planted([{name: array.astype(ml_dtypes.bfloat16) for name, array in weights.items()} for weights in states])


@plants("updates_lost_in_rounding")
def in_bfloat16() -> TrainedInBfloat16:
    return TrainedInBfloat16()


@plants("step_length_changes")
def other_optimizer() -> Planted:
    states = random_walk(31, LAYERS)
    for number, name in enumerate(LAYERS):
        drawn_out(
            states,
            name,
            lambda epoch, number=number: (0.01 if epoch < 16 or number else 0.2) * DAMAGE.standard_normal((32, 24)),
        )
    return Planted(states)


@plants("layer_departs_from_peers")
def departing() -> Planted:
    states = random_walk(10, LAYERS)
    for epoch, weights in enumerate(states):
        weights["layers.2.weight"] = weights["layers.2.weight"] * np.float32(1.25**epoch)
    return Planted(states)


@plants("low_rank_updates")
def low_rank() -> Planted:
    return Planted(
        drawn_out(
            random_walk(6, SHAPES),
            "fc1.weight",
            lambda _: 0.01 * DAMAGE.standard_normal((40, 2)) @ DAMAGE.standard_normal((2, 30)),
        ),
        ALL_FAMILIES,
    )


@plants("could_be_cut_in_rank")
def of_low_rank() -> Planted:
    states = random_walk(4, SHAPES)
    product = DAMAGE.standard_normal((40, 3)) @ DAMAGE.standard_normal((3, 30))
    for weights in states:
        weights["fc1.weight"] = (product + 0.05 * weights["fc1.weight"]).astype(np.float32)
    return Planted(states, ("spectrum", "size"))


@plants("condition_number_explodes")
def ill_conditioned() -> Planted:
    states = random_walk(10, SHAPES)
    for epoch, weights in enumerate(states):
        left, sizes, right = np.linalg.svd(weights["fc1.weight"], full_matrices=False)
        sizes[-1] /= 4.0**epoch
        weights["fc1.weight"] = (left * sizes @ right).astype(np.float32)
    return Planted(states, ("spectrum", "size"))


@plants("rank_collapses")
def collapsing_rank() -> Planted:
    states = random_walk(10, SHAPES)
    for epoch, weights in enumerate(states):
        left, sizes, right = np.linalg.svd(weights["fc2.weight"], full_matrices=False)
        weights["fc2.weight"] = (left * sizes ** (1 + epoch) @ right / sizes[0] ** epoch).astype(np.float32)
    return Planted(states, ("spectrum", "size"))


@plants("outliers_leave_bulk")
def outliers() -> Planted:
    states = random_walk(10, {"wide.weight": (60, 80), "other.weight": (60, 80)})
    direction = np.outer(DAMAGE.standard_normal(60), DAMAGE.standard_normal(80)) / np.sqrt(60 * 80)
    for epoch, weights in enumerate(states[4:], start=1):
        weights["wide.weight"] += (25 * epoch * direction).astype(np.float32)
    return Planted(states, ("spectrum", "random_matrix", "size"))


def straight(count: int = 20) -> States:
    """A path on which each checkpoint is far from all but its neighbors."""
    return walk(np.linspace(0.05, 0.02, count))


@plants("exchanged_checkpoints")
def exchanged() -> Planted:
    states = straight()
    states[6], states[13] = states[13], states[6]
    return Planted(states, ("motion", "trajectory"))


@plants("foreign_checkpoint")
def foreign() -> Planted:
    states = straight()
    states[9] = {name: DAMAGE.standard_normal(array.shape).astype(np.float32) for name, array in states[9].items()}
    return Planted(states, ("motion", "trajectory"))


@plants("goes_back")
def resumed() -> Planted:
    states = random_walk(14, SHAPES)
    again = random_walk(14, SHAPES, seed=5)
    return Planted(
        [*states, *({k: states[4][k] + w[k] - again[0][k] for k in w} for w in again[1:])], ("motion", "trajectory")
    )


@plants("nothing_learned")
def chance() -> Planted:
    flat = np.full(EPOCHS, 2.303) + 0.001 * np.cos(TIME)
    accuracy = 0.1 + 0.01 * np.sin(TIME)
    return with_scores(train_accuracy=accuracy, test_accuracy=accuracy, train_loss=flat, test_loss=flat)


@plants("training_at_rest")
def at_rest() -> Planted:
    return with_scores(DECAYING)


@plants("overfitting")
def memorized() -> Planted:
    test = np.where(TIME < 15, LEARNED, LEARNED[15] - 0.003 * (TIME - 15))
    loss = np.where(TIME < 15, FALLING_LOSS + 0.3, FALLING_LOSS[15] + 0.3 + 0.01 * (TIME - 15))
    return with_scores(test_accuracy=test, test_loss=loss)


@plants("test_loss_rises")
def overconfident() -> Planted:
    return with_scores(test_loss=np.where(TIME < 15, FALLING_LOSS + 0.3, FALLING_LOSS[15] + 0.3 + 0.02 * (TIME - 15)))


@plants("condition_beside_overfitting")
def stretched_beside_overfitting() -> Planted:
    states = walk(STEADY)
    for epoch, weights in enumerate(states):
        left, sizes, right = np.linalg.svd(weights["fc1.weight"], full_matrices=False)
        sizes[0] *= 1 + 0.1 * epoch
        weights["fc1.weight"] = (left * sizes @ right).astype(np.float32)
    behind = LEARNED - 0.2 / (1 + np.exp((15 - TIME) / 2))
    return Planted(states, ("spectrum",), {"train_accuracy": LEARNED, "test_accuracy": behind})


@plants("score_collapses")
def lost() -> Planted:
    fallen = np.where(TIME < 20, LEARNED, 0.1)
    loss = np.where(TIME < 20, FALLING_LOSS, 2.3)
    return with_scores(train_accuracy=fallen, test_accuracy=0.97 * fallen, train_loss=loss, test_loss=loss + 0.1)


@plants("task_changes")
def other_task() -> Planted:
    return with_scores(test_accuracy=np.where(TIME < 20, 0.97 * LEARNED, 0.005))


@plants("impossible_accuracy")
def beyond_all() -> Planted:
    return with_scores(test_accuracy=np.where(TIME == 12, 1.7, 0.97 * LEARNED))


@plants("alpha_out_of_range")
def heavy_tail() -> Planted:
    eigenvalues = (1 - (np.arange(150) + 0.5) / 150) ** -2.0  # an exponent of 1.5
    left, right = (np.linalg.qr(DAMAGE.standard_normal((n, 150)))[0] for n in (150, 160))
    matrix = left * np.sqrt(eigenvalues) @ right.T
    states = [{"w": (matrix * (1 + 0.001 * epoch)).astype(np.float32)} for epoch in range(3)]
    return Planted(states, ("spectrum", "tail", "size"))
