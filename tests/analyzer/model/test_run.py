"""The order of statuses, and which of them need a value or attention."""

from __future__ import annotations

from typing import get_args

import pytest

from analyzer.model.run import (
    EXPERT,
    NEED_ATTENTION,
    STATUSES_WITH_VALUE,
    UNDEFINED,
    Checkpoint,
    Checksum,
    FileStamp,
    Finding,
    Part,
    Product,
    Run,
    Severity,
    Status,
    TensorInfo,
    Value,
)
from analyzer.model.tables import NO_RUN, StoredElements, TensorRow, is_expert


def test_statuses_go_from_the_worst_to_the_best():
    assert get_args(Status) == (
        "nonfinite", "error", "missing", "unsupported", "not_converged", "singular", "too_few", "undefined",
        "below_precision", "precision_limited", "ok",
    )  # fmt: skip
    assert {"ok", "below_precision", "precision_limited"} == STATUSES_WITH_VALUE


def test_warnings_and_what_is_serious_need_attention():
    assert get_args(Severity) == ("info", "notice", "warning", "serious")
    assert {"warning", "serious"} == NEED_ATTENTION


def test_what_is_not_said_has_a_neutral_default():
    assert Value(1.0) == (1.0, "ok", None) and UNDEFINED == (None, "undefined", None)
    part, info = Part("a", 1, 2), TensorInfo("w", "float32", (2,), ())
    assert (part.start, part.shape, part.strides, part.inflated, part.checksum) == (None,) * 5
    assert (info.unsupported, info.big_endian, info.product) == (None, False, None)
    assert not Product(info, info, 1.0).is_scale_assumed
    assert (Checksum("e", 0, 1, 2).seed, Checksum("e", 0, 1, 2).deflated) == (0, False)
    assert FileStamp("a", 1, 2).etag == "" and Checkpoint("c", "", None, None, {}, {}, ()).settings == {}
    finding = Finding("rule", "info", "Said.")
    assert (finding.tensor, finding.checkpoints, finding.evidence, finding.figure) == (None, (), {}, None)
    assert Run("", "", "", "", ()) == NO_RUN and not NO_RUN.is_partial
    assert StoredElements() == StoredElements(None, None, None, (), None, ())


@pytest.mark.parametrize(("rule", "found"), [("expert 0", True), ("as stored", False), ("an expert 1", False)])
def test_a_matrix_of_a_stack_is_known_by_its_rule(rule, found):
    assert EXPERT == "expert "
    assert is_expert(TensorRow("w[0]", "", "matrix", (2, 2), (2, 2), rule, "float32")) is found
