"""Findings that the user knows of: shown, and not counted."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest
from builders import CHECKOUT, random_walk
from commands import weightlapse

from analyzer.auditing import Audit
from analyzer.auditing.accepting import OPENING_RULES, accept, parse
from analyzer.findings.rules import FILE_RULES, RULES
from analyzer.model.run import Finding, Run

RUN = Run("run", "/run", "weightlapse", "epoch", ())


def audit_of(**tensors: list[str]) -> Audit:
    findings = tuple(
        Finding(rule, "warning", f"{rule}.", evidence={"tensors": names}) for rule, names in tensors.items()
    )
    return Audit(RUN, findings)


def frozen(make_run, *names):
    states = random_walk(5)
    for weights in states[1:]:
        weights.update({name: states[0][name] for name in names})
    return make_run(states)


def test_an_accepted_finding_is_shown_and_does_not_count(make_run):
    folder = make_run([*random_walk(3), random_walk(3)[2]])
    plain = weightlapse("audit", folder)
    assert plain.code == 3
    done = weightlapse("audit", folder, "--accept", "same_weights")
    assert (done.code, done.err) == (0, "")
    assert "ACCEPTED (serious): epoch_0003.safetensors contains exactly the weights" in done.out
    assert done.out.splitlines()[-1] == "Verdict: the files are sound, apart from 1 accepted finding."
    (run,) = json.loads(weightlapse("audit", folder, "--accept", "same_weights", "--json").out)["runs"]
    assert [one["accepted"] for one in run["findings"]] == [True]
    assert (run["verdict"]["serious"], run["verdict"]["accepted"]) == (0, 1)


def test_other_findings_count_as_before(make_run):
    states = random_walk(4)
    states[3] = states[2]
    states[1]["fc1.weight"][0, 0] = np.nan
    done = weightlapse("audit", make_run(states), "--accept", "nonfinite_weights:fc1.*")
    assert done.code == 3 and "every number is finite" not in done.out
    assert done.out.splitlines()[-1].startswith("Verdict: not sound, 1 serious defect.")
    assert done.out.splitlines()[-1].endswith(" 1 accepted finding does not count.")


def test_a_pattern_has_to_cover_every_tensor_of_the_finding(make_run):
    folder = frozen(make_run, "fc1.weight", "out.weight")
    one = weightlapse("audit", folder, "--accept", "frozen_tensors:fc1.*")
    assert "ACCEPTED" not in one.out and "usable, with 1 warning" in one.out
    assert "Notice: --accept frozen_tensors:fc1.*: the finding about fc1.weight is about out.weight, too" in one.err
    both = weightlapse("audit", folder, "--accept", "frozen_tensors:fc1.*", "--accept", "frozen_tensors:out.*")
    assert "ACCEPTED (warning)" in both.out and both.err == ""


def test_what_matches_nothing_is_a_notice_and_an_unknown_rule_an_error(make_run):
    folder = make_run()
    idle = weightlapse("audit", folder, "--accept", "frozen_tensors:head.*", "--accept", "same_weights")
    assert idle.code == 0
    assert idle.err.splitlines() == [
        "Notice: --accept frozen_tensors:head.*: matches no finding.",
        "Notice: --accept same_weights: matches no finding.",
    ]
    wrong = weightlapse("audit", folder, "--accept", "frozen_tensor")
    assert wrong.code == 2 and "did you mean frozen_tensors" in wrong.err


@pytest.mark.parametrize("text", ["", ":w", "frozen_tensors:", "refused_run", "step_outlier"])
def test_what_cannot_be_accepted_is_rejected(text):
    with pytest.raises(ValueError, match=r"rule|pattern|folder"):
        parse(text)


def test_a_finding_without_tensors_is_accepted_by_its_rule_alone():
    audit = audit_of(missing_checkpoint=[], frozen_tensors=["a", "b"])
    (by_pattern,), notices = accept([audit], [parse("missing_checkpoint:*"), parse("frozen_tensors:?")])
    assert by_pattern.accepted == {1} and notices == ["--accept missing_checkpoint:*: matches no finding."]
    (by_rule,), notices = accept([audit], [parse("missing_checkpoint")])
    assert by_rule.accepted == {0} and not notices


def test_every_rule_of_an_audit_can_be_accepted():
    """The names of findings are literals in the packages that an audit runs through."""
    named = set()
    for package in ("layouts", "findings"):
        for path in Path(CHECKOUT, "analyzer", package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding":
                    named |= {one.value for one in ast.walk(node.args[0]) if isinstance(one, ast.Constant)}
    assert named - {"refused_run", "not_measured", "all", ""} <= {*OPENING_RULES, *FILE_RULES}
    assert not {*OPENING_RULES} & {*FILE_RULES, *RULES}
