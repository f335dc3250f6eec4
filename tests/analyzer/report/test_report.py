"""The report folder is a contract: names, headers, digits, what may stand in it and what is never touched."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import unicodedata
from contextlib import closing
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from builders import random_walk, save_weights, weightlapse_metadata
from commands import measured, read_csv, weightlapse
from safetensors.numpy import save_file

import analyzer
from analyzer.errors import ReportError
from analyzer.figures import FIGURES
from analyzer.metrics import METRICS
from analyzer.report.csv_tables import number, with_header
from analyzer.report.rendering import asset, percent, place_number
from analyzer.statistics import curves as curves_module
from analyzer.store.store import open_store

HEADERS = {
    "measurements": "run,checkpoint,epoch,step,scope,tensor,metric,value,bound,status,reference",
    "checkpoints": "run,checkpoint,epoch,step,train_accuracy,test_accuracy,train_loss,test_loss,path,bytes",
    "scalars": "run,checkpoint,epoch,step,scalar,value",
    "tensors": "run,tensor,module,kind,role,depth,shape,matrix_shape,rule,dtype",
    "metrics": "metric,family,unit,definition,source,version",
    "correlations": "run,scope,tensor,metric,scalar,transform,lag,method,coefficient,low,high,n,"
    "n_effective,p_value,q_value,power_05,power_07,status",
}
STATUSES_WITH_VALUE = {"ok", "below_precision", "precision_limited"}
OTHER_STATUSES = {"singular", "undefined", "nonfinite", "missing", "too_few", "unsupported", "not_converged", "error"}

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "quotes": "\"onmouseover='alert(2)' x=\"",
    "image": "<img src=x onerror=alert(3)>",
    "newline": "first\nError: forged line",
    "carriage": "first\r=cmd()",
    "terminal": "\x1b[31mred\x1b]0;title\x07",
    "direction": "\u202egpj.exe",
    "formula": "=cmd()|' /C calc'!A0",
    "formulas": "+1+1",
    "minus": "-2+3",
    "at": "@SUM(1)",
    "path": "../../x",
    "absolute": "/tmp/weightlapse_escape",
    "nul": "a\x00b",
    "long": "n" * 300,
    "template": "{{ 7 * 7 }}{% for x in y %}",
    "case": "Layer.weight",
    "other case": "layer.weight",
    "comma": 'a,b;"c"',
    "math": "$\\frac{1}{0}$ _^ % \\",
    "empty": "",
    "emoji": "🏋️ größe",
}
RUN_NAME = "<b>'\"&\u202e=run\x1b[31m\n$x$"


def states_with_hostile_names():
    shapes = dict.fromkeys(HOSTILE.values(), (5, 4))
    return random_walk(4, shapes)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """(report folder, everything beside it, outcome of the command) of a run whose every name is hostile."""
    base = tmp_path_factory.mktemp("hostile")
    folder = base / "runs" / RUN_NAME
    states = states_with_hostile_names()
    states[2][HOSTILE["script"]][0, 0] = np.nan
    states[3][HOSTILE["terminal"]][0] = 0
    for t, weights in enumerate(states):
        if t == 2:
            del weights[HOSTILE["newline"]]
        save_weights(
            folder / f"epoch_{t}<i>\x1b[1m.safetensors", weights, weightlapse_metadata(t, config=HOSTILE["script"])
        )
    (folder / "epoch_9\nError: forged.safetensors").write_bytes(b"abc")
    before = set(base.rglob("*"))
    outcome = weightlapse("report", folder, "--out", base / "report")
    return base / "report", set(base.rglob("*")) - before, outcome


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """(report folder, states, outcome) of an ordinary run with a gap in its scores, NaN and a singular matrix."""
    base = tmp_path_factory.mktemp("plain")
    states = random_walk(6)
    states[4]["out.weight"][:] = 0
    states[5]["fc1.bias"][0] = np.inf
    for t, weights in enumerate(states):
        save_weights(base / f"demo/epoch_{t:04d}.safetensors", weights, weightlapse_metadata(t))
    outcome = weightlapse("report", base / "demo", "--out", base / "report")
    return base / "report", states, outcome


# ------------------------------------------------------------------------------------------------- the contract


def test_the_folder_holds_exactly_what_the_contract_names(plain):
    folder, _, outcome = plain
    assert outcome.code == 3  # one layer is not finite
    figures = sorted(path.name for path in (folder / "figures").iterdir())
    drawn = sorted({name.rpartition(".")[0].removesuffix("-narrow") for name in figures})
    assert figures == sorted(f"{name}{kind}" for name in drawn for kind in (".png", ".svg", "-narrow.png"))
    assert {"accuracy", "step_distance", "condition_number"} <= set(drawn) <= {spec.name for spec in FIGURES}
    assert sorted(path.name for path in (folder / "data").iterdir()) == sorted(f"{name}.csv" for name in HEADERS)
    assert sorted(path.name for path in folder.iterdir()) == [
        "data", "data.js", "explore.html", "explore.js", "figures", "index.html", "layers", "manifest.json",
        "measurements.sqlite", "plotly.min.js", "report.css", "report.js", "summary.json",
    ]  # fmt: skip
    assert sorted(path.name for path in (folder / "layers").iterdir()) == ["001.html", "002.html"]  # fc1, out


@pytest.mark.parametrize("name", HEADERS)
def test_the_headers_are_literally_those_of_the_contract(plain, name):
    text = (plain[0] / f"data/{name}.csv").read_bytes()
    assert text.startswith(HEADERS[name].encode() + b"\n")
    assert b"\r" not in text and text.endswith(b"\n")
    rows = list(csv.reader(io.StringIO(text.decode()), strict=True))
    assert len(rows) > 1
    assert {len(row) for row in rows} == {HEADERS[name].count(",") + 1}


def test_every_number_is_written_so_that_it_reads_back_exactly(plain):
    rows = read_csv(plain[0] / "data/measurements.csv")
    with open_store(str(plain[0] / "measurements.sqlite")) as store:
        stored = list(store.measurements("demo"))
    assert len(rows) == len(stored) > 500
    for row, one in zip(rows, stored, strict=True):
        assert (row["checkpoint"], row["scope"], row["tensor"], row["metric"]) == (
            one.checkpoint, one.scope, one.tensor, one.metric,
        )  # fmt: skip
        assert (float(row["value"]) if row["value"] else None) == one.value
        assert not row["value"] or len(Decimal(row["value"]).as_tuple().digits) <= 17


def test_an_undefined_number_is_an_empty_field_with_a_status(plain):
    rows = read_csv(plain[0] / "data/measurements.csv")
    assert {row["status"] for row in rows} <= STATUSES_WITH_VALUE | OTHER_STATUSES
    assert {"ok", "undefined", "nonfinite"} <= {row["status"] for row in rows}
    for row in rows:
        assert (row["value"] != "") == (row["status"] in STATUSES_WITH_VALUE)
        assert not row["value"] or np.isfinite(float(row["value"]))
    text = (plain[0] / "data/measurements.csv").read_text().lower()
    assert ",nan," not in text and ",inf," not in text and ",none," not in text


@pytest.mark.parametrize(
    "value", [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 123456789.123456789, 1e22, 2**53 + 2.0]
)
def test_seventeen_digits_give_back_the_very_same_number(value):
    assert float(number(value)).hex() == value.hex()


def test_tokens_in_names_are_a_column_and_the_axis(tmp_path):
    for count in (5, 10, 20):
        save_file({"w": np.full((3, 4), float(count))}, tmp_path / f"model-{count}B.safetensors")
    measurements = analyzer.measure(analyzer.open_run(tmp_path), store=tmp_path / "s.sqlite", metrics=["size"])
    out = tmp_path / "out"
    analyzer.write_report(measurements, out)
    rows = read_csv(out / "data/checkpoints.csv")
    assert list(rows[0])[-2:] == ["bytes", "tokens"]
    assert [row["tokens"] for row in rows] == [f"{count}000000000" for count in (5, 10, 20)]
    assert "5 – 20 billion tokens" in (out / "index.html").read_text()


def test_checkpoints_and_scalars(plain):
    rows = read_csv(plain[0] / "data/checkpoints.csv")
    assert [row["epoch"] for row in rows] == [str(t) for t in range(6)]
    assert [row["step"] for row in rows] == [str(100 * t) for t in range(6)]
    assert rows[0]["train_accuracy"] == "" and rows[1]["train_accuracy"] != ""
    assert float(rows[2]["test_accuracy"]) == 0.9 - 0.8 * 0.7**2
    assert all(int(row["bytes"]) == Path(row["path"]).stat().st_size for row in rows)
    scalars = read_csv(plain[0] / "data/scalars.csv")
    assert ("0", "train_accuracy") not in {(row["epoch"], row["scalar"]) for row in scalars}
    assert {"test_accuracy", "train_loss", "generalization_gap"} <= {row["scalar"] for row in scalars}


def test_tensors_and_metrics_are_described(plain):
    tensors = {row["tensor"]: row for row in read_csv(plain[0] / "data/tensors.csv")}
    assert (tensors["fc1.weight"]["kind"], tensors["fc1.weight"]["shape"]) == ("matrix", "[12, 20]")
    assert json.loads(tensors["fc1.weight"]["matrix_shape"]) == [12, 20]
    assert (tensors["fc1.bias"]["kind"], tensors["fc1.bias"]["matrix_shape"]) == ("vector", "")
    assert tensors["fc1.weight"]["module"] == "fc1" and tensors["fc1.weight"]["dtype"] == "float32"
    metrics = {row["metric"]: row for row in read_csv(plain[0] / "data/metrics.csv")}
    without_rows = {"step_sketch", "unmoved_row_count"}  # kept in a table of its own; there is no embedding
    assert {row["metric"] for row in read_csv(plain[0] / "data/measurements.csv")} == set(metrics) - without_rows
    assert all(row["definition"] and row["unit"] and row["source"] and int(row["version"]) for row in metrics.values())


def test_correlations_of_so_few_checkpoints_are_descriptions_without_p_values(plain):
    rows = read_csv(plain[0] / "data/correlations.csv")
    assert rows
    assert {row["p_value"] + row["q_value"] + row["low"] + row["high"] for row in rows} == {""}
    assert all(row["coefficient"] != "" for row in rows if row["status"] == "ok")
    assert all(row["coefficient"] == "" for row in rows if row["status"] == "undefined")
    assert {row["status"] for row in rows if row["transform"].endswith("trend removed")} <= {"too_few", "undefined"}
    assert all(-1 <= float(row["coefficient"]) <= 1 for row in rows if row["coefficient"])


def test_the_summary(plain):
    summary = json.loads((plain[0] / "summary.json").read_bytes())
    assert list(summary) == ["schema_version", "runs", "findings"]
    (run,) = summary["runs"]
    assert (run["run"], run["layout"], run["checkpoints"], run["tensors"]) == ("demo", "weightlapse", 6, 4)
    assert run["final"]["checkpoint"] == "epoch_0005.safetensors"
    assert run["final"]["scalars"]["test_accuracy"] == 0.9 - 0.8 * 0.7**5
    assert run["final"]["total"]["step_distance"] == {"value": None, "status": "nonfinite"}
    assert {(one["scope"], one["lag"]) for one in run["correlations"]} == {("mean", 0)}
    assert {one["metric"] for one in run["correlations"]} == {"step_distance", "condition_number"}
    assert {one["p_value"] for one in run["correlations"]} == {None}
    keys = {"run", "rule", "severity", "sentence", "tensor", "checkpoints", "evidence", "figure"}
    assert all(finding.keys() == keys for finding in summary["findings"])
    assert {"nonfinite_weights"} <= {finding["rule"] for finding in summary["findings"]}


def test_the_manifest(plain):
    folder, _, _ = plain
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert {"schema_version", "weightlapse", "packages", "python", "blas", "machine", "arguments", "seconds", "inputs",
            "files"} <= manifest.keys()  # fmt: skip
    assert manifest["packages"]["numpy"] == np.__version__
    assert {"find", "measure", "read", "draw"} <= manifest["seconds"].keys()
    assert manifest["arguments"]["out"] == str(folder)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == present - {"manifest.json"}
    assert [one["checkpoint"] for one in manifest["inputs"]] == [f"epoch_{t:04d}.safetensors" for t in range(6)]
    for one in manifest["inputs"]:
        (file,) = one["files"]
        assert file["bytes"] == Path(file["path"]).stat().st_size
    audited = weightlapse("audit", Path(file["path"]).parent, "--json")
    checkpoints = json.loads(audited.out)["runs"][0]["checkpoints"]
    assert [one["content"] for one in manifest["inputs"]] == [one["hash"] for one in checkpoints]
    assert None not in [one["hash"] for one in checkpoints]
    newest = max(path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.suffix != ".sqlite")
    assert (folder / "manifest.json").stat().st_mtime_ns == newest


def test_the_store_in_the_folder_is_sound(plain):
    with closing(sqlite3.connect(plain[0] / "measurements.sqlite")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# ------------------------------------------------------------------------------------------------------- the page


class Page(HTMLParser):
    """Every element with its attributes, and the text between."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_the_page_tells_how_layers_go_together_with_accuracy_and_what_may_be_chance(tmp_path):
    generator = np.random.default_rng(0)
    for t, weights in enumerate(random_walk(40)):
        scores = weightlapse_metadata(t, test_accuracy=repr(0.9 - 0.8 * 0.9**t + 0.01 * generator.standard_normal()))
        save_weights(tmp_path / f"demo/epoch_{t:04d}.safetensors", weights, scores)
    assert weightlapse("report", tmp_path / "demo", "--out", tmp_path / "report").code == 0
    page = Page((tmp_path / "report/index.html").read_text(encoding="utf-8"))
    assert "How the motion of the layers correlates with accuracy" in page.text
    assert "Step distance and test accuracy" in page.text
    rows = read_csv(tmp_path / "report/data/correlations.csv")
    tested = [
        row
        for row in rows
        if (row["metric"], row["scalar"], row["lag"], row["method"])
        == ("step_distance", "test_accuracy", "0", "pearson")
        and row["scope"] == "tensor"
        and row["p_value"]
    ]
    assert {row["tensor"] for row in tested} == {"fc1.weight", "fc1.bias", "out.weight", "out.bias"}
    for row in tested:
        assert row["transform"].startswith("differences of score differences and of log metric, trend")
        for field in ("p_value", "q_value"):
            assert f"{float(row[field]):.2g}" in page.text
        for field in ("coefficient", "low", "high"):
            assert f"{float(row[field]):.2f}".replace("-", "−") in page.text
        assert 0 < float(row["power_05"]) < float(row["power_07"]) <= 1
        assert f"{percent(float(row['power_05']))}, {percent(float(row['power_07']))}" in page.text
    (run,) = json.loads((tmp_path / "report/summary.json").read_bytes())["runs"]
    assert {one["scalar"] for one in run["correlations"]} >= {"test_accuracy", "train_loss", "generalization_gap"}
    assert all(one["p_value"] is not None for one in run["correlations"] if one["scalar"] == "test_accuracy")


@pytest.mark.parametrize(
    ("epochs", "said"),
    [
        ([0, 1, 2, 3], "here 1 epoch of training"),
        ([0, 1, 4, 5], "here 1 to 3 epochs of training."),
        ([0, 0.5, 1, 1.5], "here 0.5 epochs of training."),
        ([None, None, None], "here 100 steps of training."),
        ([2], None),
    ],
)
def test_what_a_step_distance_spans_is_said_once_and_as_it_is_in_this_run(tmp_path, epochs, said):
    for t, (epoch, weights) in enumerate(zip(epochs, random_walk(len(epochs)), strict=True)):
        place = {"step": str(100 * t)} | ({} if epoch is None else {"epoch": str(epoch)})
        save_weights(tmp_path / f"demo/step_{t}.safetensors", weights, place)
    assert weightlapse("report", tmp_path / "demo", "--out", tmp_path / "report").code == 0
    text = Page((tmp_path / "report/index.html").read_text(encoding="utf-8")).text
    lines = [line for line in text.splitlines() if "of training." in line]
    assert [said in line for line in lines] == [True] if said else not lines


def test_the_best_of_each_score_is_told_with_its_place_where_it_is_known_which_is_better(tmp_path):
    scores = {
        "val_acc": (0.1, 0.97, 0.5, 0.22),
        "val_loss": (2.0, 0.4, 0.3, 0.9),
        "train_loss": (2.0, 0.4, 0.1, 0.1),
        "eval_f1": (0.1, None, 0.5, 0.6),
        "generalization_gap": (0.0, 0.1, 0.2, 0.1),
        "learning_rate": (0.3, 0.2, 0.1, 0.0),
    }
    for t, weights in enumerate(random_walk(4)):
        now = {name: repr(values[t]) for name, values in scores.items() if values[t] is not None}
        save_weights(tmp_path / f"demo/step_{t}.safetensors", weights, {"step": str(135 * t), **now})
    assert weightlapse("report", tmp_path / "demo", "--out", tmp_path / "report").code == 0
    text = Page((tmp_path / "report/index.html").read_text(encoding="utf-8")).text
    for said in (
        "val acc0.22 at the end, best 0.97 at step 135\n",
        "val loss0.9 at the end, best 0.3 at step 270\n",
        "train loss0.1 at the end, its best, first reached at step 270\n",
        "eval f10.6 at the end, its best\n",
        "generalization gap0.1 at the end\n",
    ):
        assert said in text
    (run,) = json.loads((tmp_path / "report/summary.json").read_bytes())["runs"]
    assert run["best"].keys() == {"val_acc", "val_loss", "train_loss", "eval_f1"}
    assert run["best"]["val_acc"] == {"value": 0.97, "checkpoint": "step_1.safetensors", "epoch": None, "step": 135}
    assert run["final"]["scalars"]["val_acc"] == 0.22


@pytest.mark.parametrize(("value", "said"), [(123456.0, "123456"), (7.0, "7"), (0.42553191, "0.4255")])
def test_whole_epochs_and_steps_are_written_out(value, said):
    assert place_number(value) == said


def test_whatever_was_asked_for_is_drawn_and_what_was_not_has_no_column(make_run, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(
        "import analyzer\n\n"
        "@analyzer.metric(family='mine', unit='1', definition='σ₁', source='own')\n"
        "def largest_of_all(singular_values):\n    return float(singular_values[0])\n"
    )
    asked = ("--metrics", "motion,subspace,update,pruning", "--metrics-from", own)
    shapes = {"fc1.weight": (12, 20), "out.weight": (10, 12)}
    done = weightlapse("report", make_run(random_walk(5, shapes)), "--out", tmp_path / "report", *asked)
    METRICS.pop("largest_of_all")
    assert done.code == 0, done.err
    drawn = {path.stem for path in (tmp_path / "report/figures").glob("*.png")}
    assert {"step_distance", "subspace_overlap", "update_rank", "pruning_mask", "own_metrics"} <= drawn
    assert not {"condition_number", "rank", "alpha", "outliers"} & drawn
    page = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    columns = re.search('<th scope="col">Shape</th>(.*?)</tr>', page)
    assert columns is not None
    assert re.findall(">([^<]+)</th>", columns[1]) == ["last step ‖ΔW‖", "from start ‖W−W₀‖"]


def test_names_in_tables_keep_a_width_to_be_read_at_on_a_narrow_screen():
    (rule,) = re.findall(r"^tbody th \{(.*)\}", asset("report.css").decode(), flags=re.MULTILINE)
    width = re.search(r"min-width: (\d+)rem", rule)
    assert width is not None and 10 <= int(width[1]) <= 16  # rem: 390 px are 24


def test_what_is_too_much_to_relate_is_said_in_the_page_the_summary_and_the_table(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(curves_module, "MOST_PAIRS", 60)  # step distance, condition number and some of the others
    done = weightlapse("report", make_run(random_walk(6)), "--out", tmp_path / "report")
    assert done.code == 0
    (run,) = json.loads((tmp_path / "report/summary.json").read_bytes())["runs"]
    assert run["uncorrelated"] and not {"step_distance", "condition_number"} & set(run["uncorrelated"])
    page = Page((tmp_path / "report/index.html").read_text(encoding="utf-8"))
    said = next(line for line in page.text.splitlines() if "too many tensors and scores" in line)
    rows = read_csv(tmp_path / "report/data/correlations.csv")
    for metric in run["uncorrelated"]:
        assert metric in said
        its = [row for row in rows if (row["metric"], row["scope"]) == (metric, "tensor")]
        assert {(row["tensor"], row["coefficient"], row["status"]) for row in its} == {("", "", "missing")}
        assert {row["scalar"] for row in its} == {row["scalar"] for row in rows}


EXPECTED_TAGS = {
    *("html", "head", "meta", "title", "link", "script", "body", "header", "main", "section", "nav", "footer"),
    *("h1", "h2", "h3", "h4", "p", "a", "em", "strong", "span", "div", "ul", "ol", "li", "dl", "dt", "dd"),
    *("figure", "img", "picture", "source", "figcaption", "table", "thead", "tbody", "tr", "th", "td"),
    *("details", "summary", "svg", "path", "rect", "text", "g"),
}
CONTROLS = {"form", "label", "select", "input", "button", "output", "noscript"}  # only on the interactive page
SCRIPTS = ("report.js", "explore.js", "data.js", "plotly.min.js")


@pytest.mark.parametrize("which", ["plain", "hostile"])
def test_fault_15_the_pages_have_no_inline_script_no_event_and_no_address_outside_the_folder(which, request):
    folder = request.getfixturevalue(which)[0]
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    anchors = {path: {one["id"] for _, one in page.elements if "id" in one} for path, page in pages.items()}
    assert len(pages) > 2
    for path, page in pages.items():
        assert {tag for tag, _ in page.elements} <= EXPECTED_TAGS | (CONTROLS if path.name == "explore.html" else set())
        for tag, attributes in page.elements:
            assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
            assert tag != "script" or attributes["src"].rpartition("/")[2] in SCRIPTS
            for name in ("href", "src"):
                if (target := attributes.get(name)) is not None:
                    assert not re.match(r"[a-z]+:|//|/", target), target
                    file, _, anchor = target.partition("#")
                    found = (path.parent / file).resolve() if file else path
                    assert found.is_file() and found.is_relative_to(folder.resolve()), target
                    assert not anchor or anchor in anchors[found] or found.name == "explore.html"
        assert "://" not in path.read_text(encoding="utf-8")
    assert "url(" not in (folder / "report.css").read_text()
    assert "@import" not in (folder / "report.css").read_text()


def test_fault_15_hostile_names_are_shown_as_text(hostile):
    page = Page((hostile[0] / "index.html").read_text(encoding="utf-8"))
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "\\x1b[31mred" in page.text and "\\u202egpj.exe" in page.text
    for text in (page.text, *(str(value) for _, attributes in page.elements for value in attributes.values())):
        assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cf") and c != "\n" and c != "\ufe0f"]


def test_fault_15_figures_of_hostile_names_are_sound_and_inert(hostile):
    import xml.etree.ElementTree as ElementTree

    for path in (hostile[0] / "figures").iterdir():
        if path.suffix == ".svg":
            for element in ElementTree.parse(path).iter():
                assert not element.tag.endswith("}script")
                assert not [name for name in element.attrib if name.startswith("on")]
        else:
            data = path.read_bytes()
            assert data.startswith(b"\x89PNG") and data.endswith(b"IEND\xaeB`\x82")


def test_fault_15_the_terminal_gets_no_control_characters_and_no_forged_line(hostile):
    outcome = hostile[2]
    assert outcome.code == 3
    for line in outcome.err.split("\n"):
        assert not [c for c in line if unicodedata.category(c)[0] == "C"], line
        assert not line.startswith("Error: forged")
    audit = weightlapse("audit", hostile[0].parent / "runs" / RUN_NAME)
    assert not [c for c in audit.out + audit.err if unicodedata.category(c)[0] == "C" and c != "\n"]
    assert not re.search("(?m)^Error: forged", audit.out + audit.err)


def test_fault_16_no_name_becomes_a_path(hostile):
    folder, new, _ = hostile
    assert new
    for path in new:
        assert path == folder or path.is_relative_to(folder)
    names = {path.name for path in folder.rglob("*")}
    assert names <= {"figures", "data", "layers", "index.html", "explore.html", "report.css", "summary.json", *SCRIPTS,
                     "manifest.json", "measurements.sqlite", *(f"{name}.csv" for name in HEADERS),
                     *(f"{number:03d}.html" for number in range(1, len(HOSTILE) + 1)),
                     *(spec.name + kind for spec in FIGURES for kind in (".png", ".svg", "-narrow.png"))}  # fmt: skip
    assert not Path("/tmp/weightlapse_escape").exists()


def test_fault_17_text_that_a_spreadsheet_takes_for_a_formula_is_neutralised(hostile):
    seen = set()
    for path in (hostile[0] / "data").iterdir():
        for row in read_csv(path):
            for column, cell in row.items():
                if column in ("run", "checkpoint", "tensor", "reference", "module", "path", "scalar", "metric"):
                    assert cell[:1] not in tuple("=+-@\t\r"), (path, column, cell)
                    seen.add(cell)
    assert "'=cmd()|' /C calc'!A0" in seen and "'+1+1" in seen and "'@SUM(1)" in seen


def test_fault_16_every_name_stays_apart_and_comes_back_from_the_table(hostile):
    rows = read_csv(hostile[0] / "data/tensors.csv")
    names = [row["tensor"] for row in rows]
    assert len(names) == len(set(names)) == len(HOSTILE)
    assert {name.removeprefix("'") if name[1:2] in tuple("=+-@") else name for name in names} == set(HOSTILE.values())
    for name in ("case", "other case"):
        values = [row["value"] for row in read_csv(hostile[0] / "data/measurements.csv")
                  if (row["tensor"], row["metric"]) == (HOSTILE[name], "frobenius_norm")]  # fmt: skip
        assert len(values) == 4 and len(set(values)) == 4


def test_fault_16_hostile_names_can_be_asked_for_from_python(hostile):
    measurements = analyzer.open_measurements(hostile[0] / "measurements.sqlite")
    assert measurements.run == RUN_NAME
    for name in HOSTILE.values():
        assert measurements.series(name, "frobenius_norm").statuses.count("ok") >= 3


def test_a_leading_sign_is_no_formula_in_a_number():
    table = with_header(HEADERS["scalars"], [("run", "-c", -1.5, -3, "=x", -0.25)]).decode().splitlines()
    assert table[1] == "run,'-c,-1.5,-3,'=x,-0.25"


# ---------------------------------------------------------------------------------------------- whose folder it is


@pytest.fixture
def without_figures(monkeypatch):
    monkeypatch.setattr("analyzer.report.writer.draw_figures", lambda *_: [])


@pytest.fixture
def report(make_run, tmp_path, without_figures):
    """A command that reports a run into ``tmp_path/report``."""

    def make(name="run", *options, out="report", seed=0):
        if not (tmp_path / name).exists():
            make_run(random_walk(3, seed=seed), name)
        return weightlapse("report", tmp_path / name, "--out", tmp_path / out, *options)

    return make


@pytest.mark.parametrize("out", ["run", "run/", ".", "link", "sub/../run"])
@pytest.mark.parametrize("options", [(), ("--force",)])
def test_fault_34_a_report_into_the_checkpoints_is_refused_even_by_force(report, make_run, tmp_path, out, options):
    make_run()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    (tmp_path / "sub").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    outcome = report("run", *options, out=out)
    assert outcome.code == 1
    assert "contains the checkpoints of 'run'" in outcome.err and "--out" in outcome.err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_fault_34_foreign_files_are_refused_and_kept(report, tmp_path):
    foreign = tmp_path / "report/thesis.txt"
    foreign.parent.mkdir()
    foreign.write_text("precious")
    outcome = report()
    assert outcome.code == 1
    assert "thesis.txt" in outcome.err and "--force" in outcome.err
    assert [path.name for path in foreign.parent.iterdir()] == ["thesis.txt"]
    assert report("run", "--force").code == 0
    assert foreign.read_text() == "precious"
    assert (tmp_path / "report/manifest.json").exists()


def test_fault_34_force_keeps_foreign_files_everywhere(report, tmp_path):
    report()
    foreign = [tmp_path / "report" / name for name in ("notes.md", "data/mine.csv", "figures/mine.png", ".hidden",
                                                       "data/.mine.tmp", "figures/sub/x.svg")]  # fmt: skip
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text(path.name)
    assert report("run", "--force").code == 0
    assert [path.read_text() for path in foreign] == [path.name for path in foreign]
    manifest = json.loads((tmp_path / "report/manifest.json").read_bytes())
    assert "notes.md" not in manifest["files"]


def test_fault_34_the_report_of_another_run_is_refused_without_force(report, tmp_path):
    assert report("a", seed=1).code == 0
    before = (tmp_path / "report/data/measurements.csv").read_bytes()
    outcome = report("b", seed=2)
    assert outcome.code == 1 and "report of a" in outcome.err and "not of b" in outcome.err
    assert (tmp_path / "report/data/measurements.csv").read_bytes() == before
    assert report("b", "--force").code == 0
    assert {row["run"] for row in read_csv(tmp_path / "report/data/measurements.csv")} == {"b"}


def test_fault_34_a_run_of_the_same_name_elsewhere_is_another_run(report, tmp_path):
    assert report("x/run", seed=1).code == 0
    assert report("y/run", seed=2).code == 1
    assert report("x/run").code == 0
    (tmp_path / "x").rename(tmp_path / "moved")  # a run that was moved is the same run
    assert weightlapse("report", tmp_path / "moved/run", "--out", tmp_path / "report").code == 0


def test_a_report_of_the_same_run_is_brought_up_to_date(report, tmp_path):
    report()
    save_weights(tmp_path / "run/epoch_0003.safetensors", random_walk(4)[3], weightlapse_metadata(3))
    assert report().code == 0
    assert len(read_csv(tmp_path / "report/data/checkpoints.csv")) == 4


@pytest.mark.parametrize("blocker", ["report", "report/data", "report/figures", "report/index.html"])
def test_a_file_or_folder_in_the_way_is_a_named_error(report, tmp_path, blocker):
    path = tmp_path / blocker
    path.parent.mkdir(exist_ok=True)
    if blocker == "report/index.html":
        path.mkdir()
    else:
        path.write_text("in the way")
    outcome = report()
    assert outcome.code == 1
    assert outcome.err.startswith("Error: ") and "report" in outcome.err and "Traceback" not in outcome.err
    assert not (tmp_path / "report/manifest.json").exists()


def test_a_stale_figure_of_our_own_goes(make_run, tmp_path):
    """Once the scores are gone there is no accuracy to draw, so no old picture of it may stay."""
    from analyzer.figures import FigureSpec

    store = tmp_path / "s.sqlite"
    measurements = measured(make_run(), store)
    (tmp_path / "report/figures").mkdir(parents=True)
    for suffix in (".png", ".svg", "-narrow.png"):
        (tmp_path / f"report/figures/accuracy{suffix}").write_text("old")
    specs = (FigureSpec("accuracy", "t", "h.", 1, lambda tables: None),)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("analyzer.figures.FIGURES", specs)
        analyzer.write_report(measurements, tmp_path / "report")
    assert list((tmp_path / "report/figures").iterdir()) == []


def test_stale_pages_of_our_own_go_and_others_stay(report, tmp_path):
    report()
    ours = ("layers/007.html", "layers/02-other/001.html", "figures/02-other/accuracy.png")
    others = ("layers/notes.html", "layers/7.html", "figures/accuracy-mine.png", "data/001.html")
    for name in (*ours, *others):
        (tmp_path / "report" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "report" / name).write_text(name)
    assert report().code == 0
    assert [name for name in (*ours, *others) if (tmp_path / "report" / name).exists()] == list(others)


def test_fault_31_read_only_checkpoints_are_only_read(report, make_run, tmp_path):
    folder = make_run(random_walk(3))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    stamp = folder.stat().st_mtime_ns
    try:
        assert report().code == 0
        assert folder.stat().st_mtime_ns == stamp  # nothing was made in it, even by root
        assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before
    finally:
        folder.chmod(0o755)


def test_write_report_from_python_is_of_that_run_alone(make_run, tmp_path, without_figures):
    store = tmp_path / "s.sqlite"
    for name in ("a", "b"):
        last = measured(make_run(random_walk(3), name), store)
    analyzer.write_report(last, tmp_path / "out")
    assert {row["run"] for row in read_csv(tmp_path / "out/data/checkpoints.csv")} == {"b"}
    with pytest.raises(ReportError, match="report of b"):
        analyzer.write_report(analyzer.open_measurements(store, "a"), tmp_path / "out")
    analyzer.write_report(analyzer.open_measurements(store, "a"), tmp_path / "out", force=True)
    assert {row["run"] for row in read_csv(tmp_path / "out/data/checkpoints.csv")} == {"a"}
