"""First layers that hardly move while the last ones do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted import finding_of, tables_with

from analyzer.findings.depth import first_layers_hardly_move, stages

VANISHING = (1e-3, 1e-3, 5e-3, 2e-2, 1e-1)
HEALTHY = (2e-2, 3e-2, 2e-2, 3e-2, 8e-2)


def of_rates(rates, name="{}.weight", until=20, intervals=20):
    """A chain of layers, each with a constant rate up to an epoch; from there on all move alike."""
    epochs = np.arange(intervals + 1)
    return tables_with(
        {
            (name.format(n), "relative_step_distance"): np.where(epochs <= until, rate, 0.05)
            for n, rate in enumerate(rates)
        }
    )


@pytest.mark.parametrize(
    ("rates", "slow"),
    [
        (VANISHING, 3),
        (HEALTHY, 0),
        ((1e-3, 1e-3, 1e-3, 1e-3, 1e-1), 0),  # a new head on a trained network
        ((1.1e-2, 1e-3, 5e-3, 2e-2, 1e-1), 0),  # the first moves a ninth as far as the last
        (VANISHING[::-1], 0),
        ((1e-3, 2e-2, 1e-1), 0),  # three layers are too few to see a trend
    ],
)
def test_a_chain_is_reported_if_its_first_half_is_ten_times_slower_than_its_end(rates, slow):
    found = list(first_layers_hardly_move(of_rates(rates)))
    assert [one.evidence["tensors"] for one in found] == [[f"{n}.weight" for n in range(slow)]] * bool(slow)


@pytest.mark.parametrize(("until", "is_reported"), [(4, True), (3, False)])
def test_it_takes_a_fifth_of_the_run(until, is_reported):
    one = finding_of(first_layers_hardly_move, of_rates(VANISHING, until=until))
    assert (one is not None) == is_reported
    assert one is None or one.checkpoints == ("c0", "c4")


def test_the_sentence_names_the_rates_and_both_causes():
    one = finding_of(first_layers_hardly_move, of_rates(VANISHING))
    assert one.severity == "warning"
    assert (
        "from epoch 0 to 20, 0.weight, 1.weight and 2.weight go at most 0.5 % of their norm per epoch, and"
        in one.sentence
    )
    assert "0.weight 100 times less than 4.weight, the last, with 10 %" in one.sentence
    assert "lower learning rates" in one.sentence


def chain_of(*names):
    return stages(tables_with({(name, "relative_step_distance"): [0, 1] for name in names}))


def test_stages_follow_the_numbers_of_the_blocks_and_end_with_the_head():
    names = [f"model.layers.{n}.mlp.{part}_proj.weight" for n in (10, 2) for part in ("up", "down")]
    assert chain_of("lm_head.weight", "model.embed_tokens.weight", *names) == [
        names[2:],
        names[:2],
        ["lm_head.weight"],
    ]


def test_numbered_layers_are_stages_without_blocks_and_others_have_no_place():
    assert chain_of("conv1.weight", "conv2.weight", "fc.weight", "between.weight", "rnn.weight_hh_l0") == [
        ["conv1.weight"],
        ["conv2.weight"],
        ["fc.weight"],
    ]


def test_layers_that_do_not_move_at_all_are_frozen_not_slow():
    assert finding_of(first_layers_hardly_move, of_rates((0, 0, 5e-3, 2e-2, 1e-1))) is None


def test_a_step_hidden_by_rounding_is_short_nevertheless():
    tables = of_rates(VANISHING)
    key = "tensor", "0.weight", "relative_step_distance"
    curves = {**tables.curves, key: replace(tables.curves[key], statuses=("below_precision",) * 21)}
    assert finding_of(first_layers_hardly_move, replace(tables, curves=curves)).evidence["tensors"][0] == "0.weight"
