"""A metric of the user's own, from a file of theirs."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest
from builders import random_walk
from commands import read_csv, weightlapse

from analyzer.errors import MetricError
from analyzer.metrics import METRICS, metric, registry, select_metrics
from analyzer.metrics.registry import _LOADED_FILES, load_installed_metrics, load_metrics_file
from analyzer.model.observed import Role
from analyzer.model.tables import MetricRow

WORKING = """
import numpy as np
import analyzer
from analyzer import Value

@analyzer.metric(family="mine", unit="1", definition="share of elements above 0", source="me")
def positive_fraction(current):
    return np.mean(current > 0)

@analyzer.metric(family="mine", unit="1", definition="log10 of the product of singular values", source="me")
def log_volume(singular_values):
    return Value(float(np.log10(singular_values).sum())) if singular_values[-1] > 0 else Value(None, "undefined")

@analyzer.metric(family="mine", unit="weight units", definition="max |W - V|", source="me")
def largest_step(current, previous):
    return np.abs(current.astype(float) - previous.astype(float)).max()

@analyzer.metric(family="mine", unit="1", definition="norm over root of count", source="me")
def my_rms(weights):
    return (weights.current / weights.count) ** 0.5
"""


@pytest.fixture(autouse=True)
def register_as_before():
    """Each test loads its own file, as each command does in a process of its own."""
    before, files = dict(METRICS), dict(_LOADED_FILES)
    yield
    METRICS.clear()
    METRICS.update(before)
    _LOADED_FILES.clear()
    _LOADED_FILES.update(files)


@pytest.fixture
def measure(make_run, tmp_path):
    states = random_walk(4)
    folder = make_run(states)
    script = tmp_path / "mine.py"

    def run(code, *options):
        script.write_text(code)
        outcome = weightlapse(
            "measure", folder, "--store", tmp_path / "s.sqlite", "--metrics-from", script, "--jobs", 1, *options
        )
        rows = {}
        if outcome.code in (0, 3):
            out = tmp_path / "rows.csv"
            weightlapse("export", tmp_path / "s.sqlite", "--format", "csv", "--out", out)
            rows = {(one["checkpoint"][6:10], one["scope"], one["tensor"], one["metric"]): one for one in read_csv(out)}
        return outcome, rows, states

    return run


def test_a_file_of_metrics_is_measured_with_the_built_in_ones(measure):
    outcome, rows, states = measure(WORKING)
    assert outcome.code == 0
    for t, state in enumerate(states):
        for name, array in state.items():
            row = rows[f"{t:04d}", "tensor", name, "positive_fraction"]
            assert float(row["value"]) == pytest.approx(np.mean(array > 0))
            if t:
                step = np.abs(array.astype(float) - states[t - 1][name].astype(float)).max()
                assert float(rows[f"{t:04d}", "tensor", name, "largest_step"]["value"]) == step
                assert rows[f"{t:04d}", "tensor", name, "largest_step"]["reference"] == f"epoch_{t - 1:04d}.safetensors"
        s = np.linalg.svd(state["fc1.weight"].astype(float), compute_uv=False)
        volume = float(rows[f"{t:04d}", "tensor", "fc1.weight", "log_volume"]["value"])
        assert volume == pytest.approx(np.log10(s).sum(), rel=1e-9)
        everything = np.concatenate([array.ravel().astype(float) for array in state.values()])
        total = float(rows[f"{t:04d}", "total", "", "my_rms"]["value"])  # additive needs give totals for free
        assert total == pytest.approx(np.sqrt(np.mean(everything**2)))
        assert (f"{t:04d}", "mean", "", "log_volume") in rows
    assert ("0001", "tensor", "fc1.bias", "log_volume") not in rows
    assert ("0000", "tensor", "fc1.weight", "largest_step") not in rows
    assert ("0001", "tensor", "fc1.weight", "step_distance") in rows


def test_the_family_option_keeps_the_files_own_metrics(measure):
    _, rows, _ = measure(WORKING, "--metrics", "size")
    names = {key[3] for key in rows}
    assert {"positive_fraction", "log_volume", "rms"} <= names
    assert not names & {"step_distance", "condition_number"}


def test_an_edited_file_is_measured_again(measure):
    measure(WORKING)
    _, rows, states = measure(WORKING.replace("np.mean(current > 0)", "np.mean(current < 0)"))
    value = float(rows["0002", "tensor", "fc1.weight", "positive_fraction"]["value"])
    assert value == pytest.approx(np.mean(states[2]["fc1.weight"] < 0))
    assert value != pytest.approx(np.mean(states[2]["fc1.weight"] > 0))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("raise ValueError('no such luck')", "error"),
        ("return 1 / 0", "error"),
        ("return None", "error"),
        ("return 'five'", "error"),
        ("return np.ones(3)", "error"),
        ("return analyzer.Value(3.0, 'undefined')", "error"),
        ("return analyzer.Value(None, 'ok')", "error"),
        ("return float('nan')", "nonfinite"),
        ("return float('inf')", "nonfinite"),
        ("return analyzer.Value(None, 'undefined')", "undefined"),
        ("return np.float32(0.5)", "ok"),
        ("return True", "ok"),
        ("return 7", "ok"),
    ],
)
def test_whatever_a_function_returns_or_raises_is_its_own_rows_affair(measure, body, status):
    code = (
        "import analyzer\nimport numpy as np\n"
        "@analyzer.metric(family='mine', unit='1', definition='d', source='s')\n"
        f"def odd(current):\n    {body}\n"
    )
    outcome, rows, _ = measure(code)
    mine = [row for (_, scope, _, metric), row in rows.items() if (scope, metric) == ("tensor", "odd")]
    assert len(mine) == 16
    assert {row["status"] for row in mine} == {status}
    assert all(bool(row["value"]) == (status == "ok") for row in mine)
    assert outcome.code == (3 if status == "error" else 0)
    if "luck" in body:
        assert "ValueError: no such luck" in outcome.err
    assert rows["0001", "tensor", "fc1.weight", "step_distance"]["status"] == "ok"


DECLARED = "import analyzer\n@analyzer.metric(family='mine', unit='1', definition='d', source='s')\n"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise RuntimeError('on import')", "RuntimeError: on import"),
        ("def f(:", "SyntaxError"),
        ("import sys; sys.exit(5)", "SystemExit"),
        ("import no_such_module_at_all", "ModuleNotFoundError"),
        ("x = 1\ny = 2", "declares no metric"),
        ("", "declares no metric"),
        (DECLARED + "def rms(current): return 1", "metric rms .*exists already; rename"),
        (DECLARED + "def odd(weight): return 1", "metric odd .*unknown: weight"),
        (DECLARED + "def odd(): return 1", "metric odd .*none given at all"),
        (DECLARED + "def odd(*arrays): return 1", "metric odd .*unknown: arrays"),
        (DECLARED.replace("'d'", "' '") + "def odd(current): return 1", "metric odd .*its definition is empty"),
        (DECLARED.replace(", source='s'", "") + "def odd(current): return 1", "TypeError.*source"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(measure, tmp_path, code, message):
    outcome, _, _ = measure(code)
    assert outcome.code == 1
    assert "mine.py" in outcome.err
    import re

    assert re.search(message, outcome.err), outcome.err
    assert "Traceback" not in outcome.err


def test_a_name_that_is_taken_twice_in_one_file(measure):
    outcome, _, _ = measure(DECLARED + "def odd(current): return 1\n" + DECLARED + "def odd(current): return 2\n")
    assert outcome.code == 1 and "exists already" in outcome.err


def test_a_file_that_failed_leaves_nothing_registered(measure):
    before = set(METRICS)
    outcome, _, _ = measure(DECLARED + "def odd(current): return 1\nraise RuntimeError\n")
    assert outcome.code == 1
    assert set(METRICS) == before


def test_a_file_that_does_not_exist_is_a_usage_error(make_run):
    assert weightlapse("measure", make_run(), "--metrics-from", "absent.py").code == 2


def test_a_function_that_changes_its_input_spoils_no_other_metric(measure):
    _, rows, states = measure(DECLARED + "def aaa(current):\n    current *= 0\n    return 1.0\n")
    assert rows["0001", "tensor", "fc1.bias", "aaa"]["status"] in ("ok", "error")
    for t in (1, 2):
        step = np.linalg.norm(states[t]["fc1.weight"].astype(float) - states[t - 1]["fc1.weight"])
        assert float(rows[f"{t:04d}", "tensor", "fc1.weight", "step_distance"]["value"]) == pytest.approx(step)


# ------------------------------------------------------------------------------------------------ one declaration

CURRENT, PREVIOUS, EARLIER, INITIAL = Role.CURRENT, Role.PREVIOUS, Role.BEFORE_PREVIOUS, Role.INITIAL


def declared(parameters, **options):
    """The registered metric of a function with these parameters."""
    namespace = {}
    exec(f"def odd({parameters}): return 1.0", namespace)  # no file: only its name and parameters matter
    METRICS.pop("odd", None)
    described = {"family": "mine", "unit": "u", "definition": "d", "source": "s"} | options
    assert metric(**described)(namespace["odd"]) is namespace["odd"]
    assert METRICS["odd"].function is namespace["odd"]
    return METRICS["odd"]


@pytest.mark.parametrize(
    ("parameters", "roles", "reference", "matrix_only", "any_bits", "any_dtype", "is_additive"),
    [
        ("current", {CURRENT}, None, False, False, False, False),
        ("previous", {PREVIOUS}, PREVIOUS, False, False, False, False),
        ("initial", {INITIAL}, INITIAL, False, False, False, False),
        ("previous, initial", {PREVIOUS, INITIAL}, INITIAL, False, False, False, False),
        ("weights", {CURRENT}, None, False, False, False, True),
        ("consecutive_steps", {CURRENT, PREVIOUS, EARLIER}, PREVIOUS, False, False, False, True),
        ("drift, step", {CURRENT, PREVIOUS, INITIAL}, INITIAL, False, False, False, True),
        ("step, interval", {CURRENT, PREVIOUS}, PREVIOUS, False, False, False, True),
        ("weights, current", {CURRENT}, None, False, False, False, False),
        ("weights, matrix", {CURRENT}, None, True, False, False, False),
        ("dead_lines", {CURRENT}, None, True, False, False, True),
        ("finiteness", {CURRENT}, None, False, True, False, True),
        ("changed_bits", {CURRENT, PREVIOUS}, PREVIOUS, False, True, True, True),
        ("changed_bits, finiteness", {CURRENT, PREVIOUS}, PREVIOUS, False, True, False, True),
        ("changed_bits, weights", {CURRENT, PREVIOUS}, PREVIOUS, False, False, False, True),
    ],
)
def test_a_metric_has_the_properties_of_its_needs(
    parameters, roles, reference, matrix_only, any_bits, any_dtype, is_additive
):
    found = declared(parameters)
    assert [need.name for need in found.needs] == parameters.split(", ")
    assert (found.roles, found.reference) == (roles, reference)
    assert (found.matrix_only, found.any_bits, found.any_dtype) == (matrix_only, any_bits, any_dtype)
    assert found.is_additive == is_additive


def test_a_declaration_is_a_row_and_the_digest_is_that_of_name_and_version():
    found = declared("current")
    assert found.row == MetricRow("odd", "mine", "u", "d", "s", 1)
    assert found.digest == sha256(b"odd:1").hexdigest()[:8]
    later = declared("current", version=2)
    assert later.row == MetricRow("odd", "mine", "u", "d", "s", 2)
    assert later.digest == sha256(b"odd:2").hexdigest()[:8]


@pytest.mark.parametrize("label", ["family", "unit", "definition", "source"])
def test_no_description_may_be_empty(label):
    for text in ("", " \n"):
        with pytest.raises(MetricError, match=f"metric odd .*its {label} is empty"):
            declared("current", **{label: text})
    assert "odd" not in METRICS


def test_a_file_that_is_loaded_again_replaces_its_metrics_and_their_digests(tmp_path):
    script = tmp_path / "mine.py"
    before = set(METRICS)
    one = DECLARED + "def odd(current): return 1\n" + DECLARED + "def even(current): return 2\n"
    script.write_text(one)
    assert load_metrics_file(str(script)) == ["odd", "even"]
    plain = sha256(b"odd:1").hexdigest()[:8]
    whole = sha256(f"{plain}:{sha256(one.encode()).hexdigest()}".encode()).hexdigest()[:8]
    assert METRICS["odd"].digest == whole
    assert load_metrics_file(str(script)) == ["odd", "even"]
    assert METRICS["odd"].digest == whole
    script.write_text(DECLARED + "def odd(current): return 3\n")
    assert load_metrics_file(str(script)) == ["odd"]
    assert METRICS["odd"].digest != whole
    assert METRICS["odd"].function(0) == 3
    assert set(METRICS) == before | {"odd"}
    script.write_text("import sys\nraise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_metrics_file(str(script))
    assert set(METRICS) == before


def test_a_file_without_metrics_is_told_what_it_defines(tmp_path):
    script = tmp_path / "mine.py"
    for code, message in (("x = 1\n_y = 2\nz = 3", r"the file defines x, z\)"), ("_y = 2", r"defines nothing\)")):
        script.write_text(code)
        with pytest.raises(MetricError, match=message):
            load_metrics_file(str(script))


class Plugin:
    """An entry point that fails, or not."""

    name, value = "my-plugin", "module:thing"

    def __init__(self, error):
        self.error, self.loaded = error, 0

    def load(self):
        self.loaded += 1
        if self.error:
            raise self.error


def test_every_plugin_is_loaded_and_a_broken_one_is_named(monkeypatch):
    plugins, groups = [Plugin(None), Plugin(None)], []
    monkeypatch.setattr(registry, "entry_points", lambda group: groups.append(group) or plugins)
    load_installed_metrics()
    assert (groups, [one.loaded for one in plugins]) == (["weightlapse.metrics"], [1, 1])
    plugins.append(Plugin(ValueError("no luck")))
    with pytest.raises(MetricError, match=r"the plug-in my-plugin \(module:thing\) fails: no luck"):
        load_installed_metrics()


def test_metrics_are_selected_by_family_and_by_name():
    every = list(METRICS.values())
    on_request = {"subspace", "pruning", "update"}
    assert select_metrics() == [one for one in every if one.row.family not in on_request]
    assert select_metrics([]) == []
    assert [one.row.name for one in select_metrics(["rms", "mask_churn", "update"])] == [
        one.row.name for one in every if one.row.name in ("rms", "mask_churn") or one.row.family == "update"
    ]
    assert len(select_metrics(["rms", "mask_churn", "update"])) == 5
    assert select_metrics(["size", "rms"]) == [one for one in every if one.row.family == "size"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["spectrun"], r"--metrics spectrun: no such family or metric; did you mean spectrum\? Families are motion, "),
        (["zzzz", "rms", "motoin"], r"--metrics motoin,zzzz: no such family or metric; did you mean motion\? Families"),
        (["zzzz"], r"--metrics zzzz: no such family or metric\. Families are .*pruning, random_matrix, size, spectrum"),
    ],
)
def test_an_unknown_name_is_told_with_what_is_near(names, message):
    with pytest.raises(MetricError, match=message):
        select_metrics(names)
