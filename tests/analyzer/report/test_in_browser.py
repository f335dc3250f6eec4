"""The pages in a real Chromium: no error, nothing fetched from outside, for everyone, on any screen and on paper."""

from __future__ import annotations

import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from builders import random_walk, save_weights, weightlapse_metadata
from commands import weightlapse

from analyzer.figures import FIGURES

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed; on Debian: apt install chromium")

QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
WIDE, NARROW = (1280, 800), (390, 844)
A4 = (688, 1000)  # pixels between the margins
HOSTILE = '<script>alert(1)</script> "quoted" \' \u202egpj.exe'
BLOCKS = {f"layers.{n}.self_attn.{role}_proj.weight": (12, 12) for n in range(3) for role in "qk"}


def make_run(folder, shapes, seed=0, scores=None):
    states = random_walk(9, shapes, seed=seed)
    name = next(iter(shapes))
    states[6][name] *= 40  # a jump, to be found
    states[7][name] *= 40
    states[8][name] *= 40
    for t, weights in enumerate(states):
        save_weights(folder / f"epoch_{t}.safetensors", weights, weightlapse_metadata(t, **(scores or {})))
    return folder


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """A folder with the reports of an ordinary run, of a hostile one, of two runs, and a single file."""
    base = tmp_path_factory.mktemp("pages")
    plain = make_run(base / "runs/plain", {**BLOCKS, "head.weight": (5, 12), "head.bias": (5,)})
    hostile = make_run(
        base / f"hostile/<b>{HOSTILE.replace('/', '')}", {HOSTILE: (8, 6), "b": (6, 6)}, 1, {HOSTILE: "1"}
    )
    make_run(base / "runs/second", BLOCKS, 2)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("analyzer.figures.FIGURES", FIGURES[:4])  # all would take most of the time
        for out, path in (("plain", plain), ("hostile", hostile), ("several", base / "runs")):
            done = weightlapse("report", path, "--out", base / "web" / out)
            assert done.code in (0, 3), done.err
        compared = (base / "web/several", base / "web/hostile")
        done = weightlapse("compare", *compared, "--out", base / "web/compared")
        assert done.code in (0, 3), done.err
        done = weightlapse("report", base / "web/plain", "--single-file", "--out", base / "web/single.html")
        assert done.code in (0, 3), done.err
    return base / "web"


PAGES = ("plain/index.html", "plain/layers/003.html", "hostile/index.html", "hostile/layers/001.html",
         "several/index.html", "several/layers/02-second/002.html", "compared/index.html", "single.html")  # fmt: skip


class WithPolicy(SimpleHTTPRequestHandler):
    """A server that allows a page only what is on this server, and is quiet."""

    def end_headers(self):
        self.send_header("Content-Security-Policy", "default-src 'self'")
        super().end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server(reports):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(WithPolicy, directory=str(reports))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield running
        running.close()


@pytest.fixture
def open_page(browser):
    """A function that opens an address, and collects what went wrong and what was requested."""
    contexts = []

    def open_at(address, size=WIDE, scheme="light", scripts=True):
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, java_script_enabled=scripts
        )
        contexts.append(context)
        page = context.new_page()
        page.problems, page.requests = [], []
        page.on("console", lambda message: page.problems.append(message.text))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("dialog", lambda dialog: page.problems.append(dialog.message) or dialog.dismiss())
        page.on("requestfailed", lambda request: page.problems.append(request.url))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(address, wait_until="load")
        return page

    yield open_at
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_from_disk_asks_for_nothing_outside_its_folder(reports, open_page, name):
    page = open_page((reports / name).as_uri())
    page.evaluate("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    assert page.problems == []
    assert page.evaluate("[...document.images].filter((image) => image.naturalWidth === 0).length") == 0
    assert {url for url in page.requests if not url.startswith((reports.as_uri(), "data:"))} == set()


@pytest.mark.parametrize("name", [name for name in PAGES if name != "single.html"])
def test_a_page_works_on_a_server_that_allows_only_itself(server, open_page, name):
    page = open_page(server + name)
    assert page.problems == []
    assert page.locator("main").evaluate("(main) => getComputedStyle(main).maxWidth") == "1060px"  # it has its style
    assert page.locator("thead button").count() > 3  # and its script


@pytest.mark.parametrize("name", PAGES)
def test_a_page_reads_without_scripts(reports, open_page, name):
    page = open_page((reports / name).as_uri(), scripts=False)
    assert page.locator(".finding").first.is_visible()
    assert page.locator("tbody tr").first.is_visible()
    assert page.locator("thead button").count() == page.locator("input").count() == 0


@pytest.mark.parametrize("name", ["plain/index.html", "single.html"])
def test_layers_can_be_sorted_and_filtered(reports, open_page, name):
    page = open_page((reports / name).as_uri())
    table = page.locator(".scroll[aria-label=Layers] table")
    headings, first = table.locator("thead th"), table.locator("tbody th")
    norm = headings.filter(has_text="from start")
    norm.locator("button").click()
    column = [one.strip() for one in headings.all_text_contents()].index("from start ‖W−W₀‖")
    cells = [float(row.split("\t")[column]) for row in table.locator("tbody").inner_text().strip().split("\n")]
    assert cells == sorted(cells) and norm.get_attribute("aria-sort") == "ascending"
    norm.locator("button").press("Enter")
    assert norm.get_attribute("aria-sort") == "descending"
    assert first.first.inner_text() == "layers.0.self_attn.q_proj.weight"  # the one that was made to jump
    page.get_by_label("Filter the rows").first.fill(".1. k_proj")
    assert table.locator("tbody tr:visible th").all_inner_texts() == ["layers.1.self_attn.k_proj.weight"]
    assert page.get_by_role("status").first.inner_text() == "1 of 7"


def test_a_finding_leads_to_its_layer_and_from_there_to_the_neighbors(reports, open_page):
    page = open_page((reports / "plain/index.html").as_uri())
    page.locator(".finding").get_by_role("link", name="layers.0.self_attn.q_proj.weight").first.click()
    assert page.locator("h1").inner_text() == "layers.0.self_attn.q_proj.weight"
    assert page.locator(".chart .mark").count() > 0
    page.get_by_role("row", name="role q").get_by_role("link").click()
    assert page.locator("h1").inner_text() == "layers.1.self_attn.q_proj.weight"
    page.get_by_role("row", name="block 1").get_by_role("link").click()
    assert page.locator("h1").inner_text() == "layers.1.self_attn.k_proj.weight"


def test_hostile_names_stay_text(reports, open_page):
    for name in ("hostile/index.html", "hostile/layers/001.html", "compared/index.html"):
        page = open_page((reports / name).as_uri())
        assert "<script>alert(1)</script>" in page.locator("body").inner_text()
        assert page.evaluate("document.scripts.length") == 1
        assert page.locator("b").count() == 0
        assert page.problems == []


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_a_phone_but_what_scrolls_in_its_box(reports, open_page, name):
    page = open_page((reports / name).as_uri(), NARROW)
    assert page.evaluate("document.documentElement.scrollWidth") == NARROW[0]


def test_a_comparison_fits_its_screen_and_leads_from_an_answer_to_its_figure_and_back(reports, open_page):
    page = open_page((reports / "compared/index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == WIDE[0]
    answer = page.locator(".finding").filter(has_text="Which moved most?")
    answer.get_by_role("link").click()
    assert page.url.endswith("#compared_motion")
    page.locator("#compared_motion").get_by_role("link", name="Which moved most?").click()
    assert page.evaluate("document.querySelector(':target').textContent").startswith("Which moved most?")
    assert page.get_by_text("Which moved most?").count() == 2  # the answer, and the link to it


@pytest.mark.parametrize("name", PAGES)
def test_on_paper_tables_fit_and_what_is_folded_is_open(reports, open_page, name):
    page = open_page((reports / name).as_uri(), A4)
    page.emulate_media(media="print")
    widest = (
        "Math.max(...[...document.querySelectorAll('table, figure')].map((one) => one.getBoundingClientRect().right))"
    )
    assert page.evaluate(widest) <= A4[0] + 1
    for text in page.locator("details:not(.menu) tbody tr").all():
        assert text.is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.parametrize("medium", ["light", "dark", "print"])
@pytest.mark.parametrize("size", [WIDE, NARROW])
@pytest.mark.parametrize(
    "name", ["plain/index.html", "plain/layers/003.html", "several/index.html", "compared/index.html"]
)
def test_axe_finds_no_serious_fault(reports, open_page, name, size, medium):
    page = open_page((reports / name).as_uri(), size, "dark" if medium == "dark" else "light")
    if medium == "print":
        page.emulate_media(media="print")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = axe.Axe().run(page).response["violations"]
    faults = [
        (one["id"], one["help"], [node["html"] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert faults == []


# ------------------------------------------------------------------------------------------- the interactive page


def traces(page, plot):
    """Return (name, number of points, values) of the lines of a plot."""
    return page.evaluate(
        f"document.getElementById('{plot}').data.map((one) => [one.name, one.x.length, Array.from(one.y)])"
    )


@pytest.mark.parametrize("name", ["plain", "hostile", "several"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_interactive_page_draws_from_disk_without_an_error(reports, open_page, name, scheme):
    page = open_page((reports / name / "explore.html").as_uri(), scheme=scheme)
    assert page.problems == []
    assert {url for url in page.requests if not url.startswith((reports.as_uri(), "data:", "blob:"))} == set()
    assert page.locator("#curves .main-svg").count() > 0 and page.locator("#map .main-svg").count() > 0
    assert page.locator("#spectrum .bars path").count() > 3
    assert page.locator("#findings .finding").count() > 0


def test_its_controls_choose_layers_metrics_axes_and_checkpoints(reports, open_page):
    page = open_page((reports / "plain/explore.html").as_uri() + "#layer=layers.1.self_attn.q_proj.weight")
    assert [name for name, *_ in traces(page, "curves") if name.endswith("weight")] == [
        "layers.1.self_attn.q_proj.weight"
    ]
    page.fill("#filter", "k_proj")
    assert page.locator("#layers option").count() == 3
    page.click("#all")
    names = [name for name, *_ in traces(page, "curves") if name.endswith("weight")]
    assert names == [f"layers.{n}.self_attn.k_proj.weight" for n in range(3)]
    page.select_option("#metric", "frobenius_norm")
    before = traces(page, "curves")[0][2]
    page.check("#relative")
    after = traces(page, "curves")[0][2]
    assert after[0] == 1 and before[0] != 1 and after[-1] == pytest.approx(before[-1] / before[0])
    page.uncheck("#relative")
    page.set_checked("#log", True)
    assert page.evaluate("document.getElementById('curves').layout.yaxis.type") == "log"
    heights = page.evaluate("Array.from(document.getElementById('spectrum').data[0].y)")
    page.fill("#time", "0")
    page.dispatch_event("#time", "input")
    assert "0" in page.inner_text("#when")
    assert page.evaluate("Array.from(document.getElementById('spectrum').data[0].y)") != heights
    page.click("#none")
    assert [name for name, *_ in traces(page, "curves") if name.endswith("weight")] == []
    page.locator("#findings button").first.click()
    assert any(name.endswith("weight") for name, *_ in traces(page, "curves"))
    assert page.problems == []


def test_several_runs_are_drawn_beside_each_other(reports, open_page):
    page = open_page((reports / "several/explore.html").as_uri())
    page.select_option("#run", ["0", "1"])
    names = {name.partition(":")[0] for name, *_ in traces(page, "curves")}
    assert names == {"plain", "second"}


def test_its_links_lead_to_the_pages_of_the_layers_and_back(reports, open_page):
    page = open_page((reports / "plain/explore.html").as_uri())
    page.locator("#links a").first.click()
    page.wait_for_load_state()
    assert page.url.endswith("/layers/001.html")
    layer = page.locator("h1").inner_text()
    page.locator('a[href*="explore.html"]').click()
    page.wait_for_load_state()
    assert page.url.endswith(f"explore.html#layer={layer}")
    assert page.locator("#layers option:checked").all_inner_texts() == [layer]


def test_hostile_names_stay_text_on_the_interactive_page(reports, open_page):
    page = open_page((reports / "hostile/explore.html").as_uri())
    assert page.problems == [] and page.locator("script:not([src])").count() == 0
    assert "<script>alert(1)" in page.locator("#layers").inner_text()


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_the_interactive_page_has_no_serious_fault_for_anyone(reports, open_page, size, scheme):
    page = open_page((reports / "plain/explore.html").as_uri(), size, scheme)
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_the_interactive_page_says_where_to_read_without_scripts(reports, open_page):
    page = open_page((reports / "plain/explore.html").as_uri(), scripts=False)
    assert "needs JavaScript" in page.inner_text("body")
