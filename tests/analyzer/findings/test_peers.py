"""The layer that departs from others of its role and shape."""

from __future__ import annotations

import numpy as np
import pytest
from planted import finding_of, tables_with

from analyzer.findings.peers import layer_departs_from_peers

LLAMA = "model.layers.{}.self_attn.{}_proj.weight"


def of_norms(lasts, name="layers.{}.weight", metric="rms"):
    """Layers whose metric goes from 1 to ``lasts``, layer by layer."""
    curves = {(name.format(n), metric): np.geomspace(1, last, 8) for n, last in enumerate(lasts)}
    return tables_with(curves, shape=(64, 64))


@pytest.mark.parametrize(
    ("lasts", "layer"),
    [
        ([1.0, 1.1, 6.3, 1.2], 2),
        ([1.0, 1.1, 3.5, 1.2], None),  # not three times the nearest at the end, as a median of the last three
        ([1.0, 0.15, 1.1], 1),
        ([1.0, 2.6, 12.0], None),  # the peers differ themselves
        ([1.0, 6.0], None),  # one peer
        ([0.5, 1.0, 2.0, 4.0, 8.0], None),  # a trend with depth
    ],
)
def test_a_norm_far_from_the_nearest_peer_is_named(lasts, layer):
    found = list(layer_departs_from_peers(of_norms(lasts)))
    assert [one.tensor for one in found] == ([] if layer is None else [f"layers.{layer}.weight"])


def test_the_sentence_names_role_block_and_place():
    one = finding_of(layer_departs_from_peers, of_norms([1, 1.1, 12, 1], "model.layers.{}.self_attn.q_proj.weight"))
    assert one.severity == "notice"
    assert "(block 2 q) departs from the 3 other layers of its role (q) and shape" in one.sentence
    assert one.evidence["role"] == {"model.layers.2.self_attn.q_proj.weight": "q"}
    assert one.evidence["depth"] == {"model.layers.2.self_attn.q_proj.weight": 2}


def test_other_roles_are_no_peers():
    curves = {(LLAMA.format(0, role), "rms"): [1, last] * 4 for role, last in zip("qkvo", (1, 1, 9, 1), strict=True)}
    assert list(layer_departs_from_peers(tables_with(curves, shape=(64, 64)))) == []


@pytest.mark.parametrize(("metric", "ratio"), [("initial_distance", 5.5), ("effective_rank", 2.1)])
def test_distance_and_rank_have_limits_of_their_own(metric, ratio):
    for factor, count in ((1.3, 1), (0.9, 0)):
        values = {(f"layers.{n}.w", metric): [4.0] * 8 for n in range(3)}
        values["layers.3.w", metric] = [4 * ratio * factor] * 8
        found = list(layer_departs_from_peers(tables_with(values, shape=(64, 64))))
        assert len(found) == count
