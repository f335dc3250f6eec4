"""``weightlapse compare`` from outside: what it writes, what it refuses, and that no name gets loose."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from builders import random_walk, save_weights, weightlapse_metadata
from commands import read_csv, weightlapse

import analyzer
from analyzer.comparing.answers import QUESTIONS
from analyzer.figures.compared import COMPARED
from analyzer.report.comparison_tables import HEADERS
from analyzer.store.store import open_store

HOSTILE = "<script>alert(1)</script>\u202e=run\x1b[31m\n'\"&"


def write_run(folder, states, **metadata):
    for epoch, weights in enumerate(states):
        save_weights(folder / f"epoch_{epoch:04d}.safetensors", weights, weightlapse_metadata(epoch, **metadata))
    return folder


def config(**settings):
    return json.dumps({"batch_size": 64, "init": "orthogonal", "seed": 0, **settings}, sort_keys=True)


def parting(epochs=5, at=3, layer="out.weight"):
    """Two runs with the same weights up to epoch ``at``, from which on one layer differs."""
    one = random_walk(epochs)
    two = [dict(weights) for weights in one]
    for epoch in range(at, epochs):
        two[epoch][layer] = two[epoch][layer] + np.float32(0.5)
    return one, two


@pytest.fixture(scope="module")
def two_reports(tmp_path_factory):
    """Two report folders of runs that part at epoch 3 in ``out.weight``."""
    base = tmp_path_factory.mktemp("two")
    for name, states, lr in zip(("slow", "fast"), parting(), (0.1, 0.2), strict=True):
        write_run(base / "runs" / name, states, config=config(lr=lr))
        assert weightlapse("measure", base / "runs" / name, "--store", base / name / "measurements.sqlite").code == 0
    return base


@pytest.fixture(scope="module")
def compared(two_reports):
    out = two_reports / "compared"
    outcome = weightlapse("compare", two_reports / "slow", two_reports / "fast", "--out", out)
    assert (outcome.code, outcome.out) == (0, f"{out}/index.html\n"), outcome.err
    return out


# ------------------------------------------------------------------------------------------------- the folder


def test_the_folder_holds_exactly_what_it_should(compared):
    assert sorted(path.name for path in compared.iterdir()) == [
        "data", "figures", "index.html", "manifest.json", "report.css", "report.js", "summary.json",
    ]  # fmt: skip
    assert sorted(path.name for path in (compared / "data").iterdir()) == sorted(f"{name}.csv" for name in HEADERS)
    figures = sorted(path.name for path in (compared / "figures").iterdir())
    kinds = (".png", ".svg", "-narrow.png")
    assert figures == sorted(f"{spec.name}{kind}" for spec in COMPARED for kind in kinds)
    manifest = json.loads((compared / "manifest.json").read_bytes())
    assert manifest["kind"] == "comparison"
    present = sorted(path.relative_to(compared).as_posix() for path in compared.rglob("*") if path.is_file())
    assert sorted([*manifest["files"], "manifest.json"]) == present
    assert {one["run"] for one in manifest["inputs"]} == {"slow", "fast"}
    assert all(re.fullmatch("[0-9a-f]{32}", one["content"]) for one in manifest["inputs"])


def test_the_tables_have_their_headers_and_whole_rows(compared):
    for name, header in HEADERS.items():
        text = (compared / "data" / f"{name}.csv").read_text(encoding="utf-8")
        assert text.splitlines()[0] == header
        rows = list(csv.reader(text.splitlines(), strict=True))
        assert {len(row) for row in rows} == {len(header.split(","))}
        assert "nan" not in text and "inf" not in text.replace("info", "")
    runs = read_csv(compared / "data" / "runs.csv")
    assert [(row["run"], row["group"], row["seed"]) for row in runs] == [
        ("slow", "lr 0.1", "0"),
        ("fast", "lr 0.2", "0"),
    ]


def test_where_the_runs_part_stands_in_the_table_the_summary_and_once_on_the_page_linked_with_its_figure(compared):
    rows = {row["tensor"]: row for row in read_csv(compared / "data" / "divergence.csv")}
    assert {name: row["diverged_at"] for name, row in rows.items()} == {
        "fc1.bias": "", "fc1.weight": "", "out.bias": "", "out.weight": "3",
    }  # fmt: skip
    one, two = (states[3]["out.weight"].astype(float) for states in parting())
    norm = np.linalg.norm(parting()[0][0]["out.weight"].astype(float))
    apart = np.linalg.norm(one - two) / norm
    assert float(rows["out.weight"]["at_least"]) <= apart * (1 + 1e-6) <= float(rows["out.weight"]["at_most"])
    summary = json.loads((compared / "summary.json").read_bytes())
    (told,) = (row["sentence"] for row in summary["answers"] if row["rule"] == "divergence")
    assert "diverge at epoch 3, in out.weight" in told
    page = (compared / "index.html").read_text(encoding="utf-8")
    assert page.count("diverge at epoch 3, in out.weight") == 1
    (figure,) = re.findall(r'<figure id="compared_motion">.*?</figure>', page, re.DOTALL)
    (answer,) = re.findall(r'href="#(answer-\d+)">Where do runs', figure)
    assert re.search(rf'id="{answer}".*diverge at epoch 3', page)


def test_the_page_answers_the_questions_and_needs_no_script(compared):
    page = (compared / "index.html").read_text(encoding="utf-8")
    assert re.findall("<script[^>]*>", page) == ['<script src="report.js" defer>']
    for rule in ("moved_most", "best_conditioned", "mattered_for_accuracy", "how_sure"):
        assert QUESTIONS[rule] in page
    for link in re.findall(r'(?:href|src)="([^"#]+)"', page):
        assert (compared / link).is_file(), link
    for target in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{target}"' in page


def test_what_needs_attention_is_told_with_its_run_on_the_terminal_and_on_the_page_with_a_way_to_its_report(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name, states in zip(("sound", "a run"), parting(6), strict=True):
        if name == "a run":
            for weights in states[2:]:
                weights["fc1.weight"][0, 0] = np.nan
        write_run(tmp_path / "runs" / name, states)
    assert weightlapse("report", "runs/a run", "--metrics", "motion,size").code == 3
    alone = weightlapse("measure", "runs/a run", "--metrics", "motion,size").err
    both = weightlapse("compare", "runs", "--metrics", "motion,size").err
    apart = weightlapse("compare", "reports/a-run", "runs/sound", "--metrics", "motion,size", "--force")
    said = [line for line in both.splitlines() if line.startswith(("Serious:", "Warning:"))]
    assert said and all(line.split(": ")[1] == "a run" for line in said)
    assert [line.replace(": a run: ", ": ") for line in said] == [
        line for line in alone.splitlines() if line.startswith(("Serious:", "Warning:"))
    ]
    assert apart.code == 3, apart.err
    assert [line for line in apart.err.splitlines() if line.startswith(("Serious:", "Warning:"))] == said
    for folder, link in (("runs-compared", None), ("a-run-and-sound", "../a-run/index.html")):
        page = (tmp_path / "reports" / folder / "index.html").read_text(encoding="utf-8")
        (section,) = re.findall(r'<h3 id="attention">(.*?)</ul>', page, re.DOTALL)
        assert set(re.findall(r"<strong>(.*?)</strong>", section)) == {"a run"}
        assert "fc1.weight" in section
        (table,) = re.findall(r'<h3 id="runs">(.*?)</table>', page, re.DOTALL)
        assert re.findall('href="(.*?)"', table) == ([link] if link else [])


def test_a_run_that_ends_earlier_is_shown_at_its_own_end_and_what_several_runs_share_once(tmp_path):
    accuracies = {}
    for seed, (name, epochs) in enumerate((("long", 6), ("short", 4))):
        states = random_walk(epochs, seed=seed)
        for epoch, weights in enumerate(states):
            if epoch > 1:
                weights["fc1.weight"][0, 0] = np.nan
            accuracies[name] = f"0.{epoch + 1}{seed + 3}"
            metadata = weightlapse_metadata(epoch, test_accuracy=accuracies[name])
            save_weights(tmp_path / "runs" / name / f"epoch_{epoch}.safetensors", weights, metadata)
    out = tmp_path / "out"
    store = ("--store", tmp_path / "runs.sqlite")
    outcome = weightlapse("compare", tmp_path / "runs", "--metrics", "motion,size", *store, "--out", out)
    assert outcome.code == 3, outcome.err
    page = (out / "index.html").read_text(encoding="utf-8")
    ends = "The runs end at different places: short at epoch 3; long at epoch 5. They are compared at epoch 3, the last"
    assert page.count(ends) == 1
    (table,) = re.findall(r'<h3 id="runs">(.*?)</table>', page, re.DOTALL)
    for name, end in (("long", "epoch 5"), ("short", "epoch 3")):
        (row,) = re.findall(f"<tr><th[^>]*>{name}</th>(.*?)</tr>", table)
        assert f"<td>{end}</td>" in row and f">{accuracies[name]}" in row
    (section,) = re.findall(r'<h3 id="attention">(.*?)</ul>', page, re.DOTALL)
    assert section.count("NaN or infinite weights") == 1 and "The same is found in short." in section


# ------------------------------------------------------------------------------------------------- what it accepts


def test_of_a_store_that_holds_more_the_runs_that_were_named_are_compared(tmp_path):
    store = tmp_path / "all.sqlite"
    folders = [write_run(tmp_path / "runs" / name, random_walk(3, seed=n)) for n, name in enumerate(("a", "b", "c"))]
    assert weightlapse("measure", folders[2], "--store", store).code == 0
    outcome = weightlapse("compare", *folders[:2], "--store", store, "--out", tmp_path / "two")
    assert outcome.code == 0, outcome.err
    assert {row["run"] for row in read_csv(tmp_path / "two/data/final_values.csv")} == {"a", "b"}
    assert weightlapse("compare", store, "--out", tmp_path / "three").code == 0
    assert {row["run"] for row in read_csv(tmp_path / "three/data/final_values.csv")} == {"a", "b", "c"}


def test_folders_of_checkpoints_are_measured_first_and_one_store_may_hold_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in range(2):
        for init in ("normal", "orthogonal"):
            states = random_walk(4, seed=seed + 10 * len(init))
            write_run(tmp_path / f"runs/{init}-{seed}", states, config=config(init=init, seed=seed))
    outcome = weightlapse("compare", "runs", "--store", "all.sqlite", "--metrics", "motion,size,spectrum")
    assert (outcome.code, outcome.out) == (0, "reports/runs-compared/index.html\n"), outcome.err
    summary = json.loads((tmp_path / "reports/runs-compared/summary.json").read_bytes())
    assert [(group["name"], len(group["runs"])) for group in summary["groups"]] == [("normal", 2), ("orthogonal", 2)]
    with open_store("all.sqlite") as store:
        assert store.settings("normal-1")["seed"] == "1"
    again = weightlapse("compare", "all.sqlite", "--out", "reports/runs-compared")
    assert again.code == 0, again.err
    apart = weightlapse("compare", "runs/normal-0", "runs/normal-1")
    assert (apart.code, apart.out) == (0, "reports/normal-0-and-normal-1/index.html\n"), apart.err
    assert (tmp_path / "reports/normal-0/measurements.sqlite").is_file()


def test_runs_of_the_same_name_are_told_apart(two_reports, tmp_path):
    for name, source in (("one", "slow"), ("two", "fast")):
        write_run(tmp_path / name / "run", parting()[source == "fast"])
        weightlapse("measure", tmp_path / name / "run", "--store", tmp_path / f"{name}.sqlite", "--metrics", "motion")
    out = tmp_path / "out"
    assert weightlapse("compare", tmp_path / "one.sqlite", tmp_path / "two.sqlite", "--out", out).code == 0
    assert [row["run"] for row in read_csv(out / "data" / "runs.csv")] == ["one/run", "two/run"]


def test_from_python_a_comparison_is_given_back_and_written_where_asked(two_reports, tmp_path):
    stores = (two_reports / "slow", two_reports / "fast" / "measurements.sqlite")
    comparison = analyzer.compare(stores)
    assert [pair.place for pair in comparison.divergences] == [3]
    assert analyzer.compare(stores, tmp_path / "out").answers == comparison.answers
    assert (tmp_path / "out" / "index.html").is_file()


def test_one_run_is_no_comparison(two_reports, tmp_path):
    outcome = weightlapse("compare", two_reports / "slow", two_reports / "slow", "--out", tmp_path / "out")
    assert outcome.code == 2
    assert outcome.err == (
        f"Error: {two_reports / 'slow'}: a comparison needs two or more runs, and there is only slow; name another\n"
    )
    assert weightlapse("compare").code == 2


@pytest.mark.parametrize("command", ["report", "compare", "export"])
def test_a_comparison_is_no_report_and_the_message_names_what_is(two_reports, compared, tmp_path, command):
    options = ["--format", "csv"] if command == "export" else []
    outcome = weightlapse(command, compared, *options, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert outcome.err.startswith(f"Error: {compared}: is the folder of a comparison, which has no measurements")
    for name in ("slow", "fast"):
        assert str(two_reports / name / "measurements.sqlite") in outcome.err
    (compared.parent / "damaged").mkdir(exist_ok=True)
    (compared.parent / "damaged/manifest.json").write_text('{"kind": "comparison", "inputs": [1, {"store": 2}]}')
    assert weightlapse(command, compared.parent / "damaged", *options).code == 2


def test_a_run_without_scores_and_one_of_other_layers_are_compared_as_far_as_it_goes(tmp_path):
    write_run(tmp_path / "a", random_walk(3))
    for epoch, weights in enumerate(random_walk(4, {"w": (6, 6)})):
        save_weights(tmp_path / f"b/epoch_{epoch}.safetensors", weights)
    outcome = weightlapse(
        "compare", tmp_path / "a", tmp_path / "b", "--store", tmp_path / "s.sqlite", "--out", tmp_path / "o"
    )
    assert outcome.code == 0, outcome.err
    rows = read_csv(tmp_path / "o/data/final_values.csv")
    assert {row["status"] for row in rows if row["run"] == "b" and row["scope"] == "score"} == {"missing"}


# ------------------------------------------------------------------------------------------------- what it refuses


def test_fault_34_other_folders_are_refused_and_nothing_foreign_is_touched(two_reports, compared, tmp_path):
    reports = (two_reports / "slow", two_reports / "fast")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("mine")
    outcome = weightlapse("compare", *reports, "--out", foreign)
    assert outcome.code == 1 and "thesis.tex" in outcome.err
    assert [path.name for path in foreign.iterdir()] == ["thesis.tex"]
    assert weightlapse("compare", *reports, "--out", foreign, "--force").code == 0
    assert (foreign / "thesis.tex").read_text() == "mine"
    for taken in (two_reports / "runs" / "slow", two_reports / "runs", two_reports / "slow"):
        before = sorted(path.name for path in taken.rglob("*"))
        outcome = weightlapse("compare", *reports, "--out", taken)
        assert outcome.code == 1 and str(taken) in outcome.err and "--out" in outcome.err
        assert sorted(path.name for path in taken.rglob("*")) == before


def test_the_report_of_the_very_runs_that_are_compared_is_not_written_over(tmp_path):
    for name, states in zip(("a", "b"), parting(), strict=True):
        write_run(tmp_path / "runs" / name, states)
    assert weightlapse("measure", tmp_path / "runs", "--store", tmp_path / "both/measurements.sqlite").code == 0
    outcome = weightlapse("compare", tmp_path / "both", "--out", tmp_path / "both")
    assert outcome.code == 1 and "contains a report, not a comparison" in outcome.err
    assert [path.name for path in (tmp_path / "both").iterdir()] == ["measurements.sqlite"]


def test_a_comparison_is_brought_up_to_date_and_another_one_or_a_report_may_not_take_its_place(two_reports, compared):
    reports = (two_reports / "slow", two_reports / "fast")
    before = (compared / "summary.json").read_bytes()
    assert weightlapse("compare", *reports, "--out", compared).code == 0
    assert (compared / "summary.json").read_bytes() == before
    write_run(two_reports / "third", parting()[0])
    store = ("--store", two_reports / "third.sqlite")
    other = weightlapse("compare", reports[0], two_reports / "third", *store, "--out", compared)
    assert other.code == 1 and "contains the comparison of fast" in other.err
    assert (compared / "summary.json").read_bytes() == before
    report = weightlapse("report", two_reports / "slow", "--out", compared)
    assert report.code == 1 and "contains a comparison, not a report" in report.err
    (compared / "manifest.json").unlink()  # as a killed process leaves it
    assert weightlapse("compare", *reports, "--out", compared).code == 0
    assert (compared / "manifest.json").is_file()


# ------------------------------------------------------------------------------------------------- hostile names


class Tags(HTMLParser):
    """The names of all elements and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen |= {tag, *(name for name, _ in attributes)}


def test_fault_15_and_17_hostile_names_are_escaped_everywhere(tmp_path):
    states = random_walk(4, {HOSTILE: (5, 4), "=cmd()": (4, 3)})
    for name in (HOSTILE, "=cmd()-seed1"):
        write_run(tmp_path / "runs" / name.replace("/", "∕"), states, config=config(init=name, lr=HOSTILE))
        states = random_walk(4, {HOSTILE: (5, 4), "=cmd()": (4, 3)}, seed=0)
        states[-1][HOSTILE] += np.float32(1)
    outcome = weightlapse("compare", tmp_path / "runs", "--store", tmp_path / "s.sqlite", "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "\x1b" not in outcome.err and "\u202e" not in outcome.err
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert page.count("<script") == page.count('<script src="report.js" defer></script>') == 1
    assert not any(name.startswith("on") for name in tags.seen)
    assert "alert(1)" in page and "\u202e" not in page and "\x1b" not in page
    for name in HEADERS:
        with (tmp_path / f"out/data/{name}.csv").open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file, strict=True) for cell in row]
        assert not any(cell[:1] in ("=", "@", "\t", "\r") for cell in cells), name
    assert {row["group"] for row in read_csv(tmp_path / "out/data/runs.csv")} == {HOSTILE, "'=cmd()-seed1"}


@pytest.mark.parametrize(
    "text", ["[" * 9000, "[1, 2]", "not json", '"text"', '{"seed": ' + "1" * 9990 + "}", "x" * 100_000]
)
def test_a_config_that_is_none_tells_no_settings(tmp_path, text):
    write_run(tmp_path / "run", random_walk(3), config=text)
    weightlapse("measure", tmp_path / "run", "--store", tmp_path / "s.sqlite", "--metrics", "motion")
    with open_store(str(tmp_path / "s.sqlite")) as store:
        assert store.settings("run").keys() <= {"seed"}


def test_settings_that_change_within_a_run_are_none_of_its_settings(tmp_path):
    for epoch, weights in enumerate(random_walk(3)):
        metadata = weightlapse_metadata(epoch, config=config(lr=0.1 if epoch < 2 else 0.2))
        save_weights(tmp_path / f"run/epoch_{epoch}.safetensors", weights, metadata)
    weightlapse("measure", tmp_path / "run", "--store", tmp_path / "s.sqlite", "--metrics", "motion")
    with open_store(str(tmp_path / "s.sqlite")) as store:
        assert store.settings("run") == {"batch_size": "64", "init": '"orthogonal"', "seed": "0"}
