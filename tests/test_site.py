"""The site: complete, without lost links, without a remote file, small, readable everywhere.

Built once per session. SFT_NB_SITE=FOLDER takes a site that is built already.
"""
import dataclasses
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from browsers import open_browser, served
from filelock import FileLock
from lxml import html
from PIL import Image
from test_docments import overrides

sys.path.append(str(Path(__file__).parents[1]))
from tools.site import ROOT, api, check, stage
from tools.site.pages import Course

pytestmark = pytest.mark.timeout(1800)  # the first test waits for the build
KNOWN = Course(ROOT / "nbs")
LESSONS = [lesson.path for lesson in KNOWN.lessons]
OUT = ROOT / "tests" / "out"
BUDGET = 1_500_000  # bytes of a page without its pictures
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
TYPICAL = (
    "index.html", "first_model.html", "batches/00_losses.html", "course/tasks.html",
    "tasks/images/02_changes.html", "answers/certification.html", "api/training/tuner.html",
    "teachers.html",
)


def build(folder):
    "Build the site, as one does by hand."
    command = [sys.executable, "-m", "tools.site", "--out", folder, "--jobs", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert not done.returncode, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    "The folder of the built site; whichever process asks first builds it for all."
    if ready := os.environ.get("SFT_NB_SITE"):
        return Path(ready).resolve()
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, done = root / "site", root / "site.done"
    with FileLock(root / "site.lock"):
        if not done.exists():
            build(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def address(site):
    with served(site) as where:
        yield where


@pytest.fixture(scope="module")
def browser():
    with open_browser() as one:
        yield one


def tree(path):
    return html.fromstring(path.read_bytes(), parser=html.HTMLParser(encoding="utf-8"))


def of_class(name, tag="*"):
    "XPath of the elements of a class."
    return f"//{tag}[contains(concat(' ', normalize-space(@class), ' '), ' {name} ')]"


def every(site):
    return sorted(site.rglob("*.html"))


# --- the check itself ----------------------------------------------------------------------------

FAULTS = {
    '<a href="no.html">x</a>': "leads nowhere",
    '<a href="#no">x</a>': "leads nowhere",
    '<a href="other.html#no">x</a>': "leads nowhere",
    '<img src="no.png">': "is not there",
    '<script src="https://cdn.example/x.js"></script>': "fetched from elsewhere",
    '<img src="//cdn.example/x.png">': "fetched from elsewhere",
    '<link rel="stylesheet" href="https://cdn.example/x.css">': "fetched from elsewhere",
    "<style>@font-face { src: url(https://cdn.example/x.woff) }</style>": "fetched from elsewhere",
    '<p style="background: url(http://cdn.example/x.png)">x</p>': "fetched from elsewhere",
}
FINE = (
    '<a href="https://example.org/">x</a>', '<a href="other.html#there">x</a>', '<a href="#">x</a>',
    '<link rel="canonical" href="https://example.org/">', '<img src="data:image/png;base64,AA">',
)


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_would_be_found(text, tmp_path):
    (tmp_path / "other.html").write_text('<p id="there">', encoding="utf-8")
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    found = check.findings(tmp_path)
    assert len(found) == 1 and FAULTS[text] in found[0]


@pytest.mark.parametrize("text", FINE)
def test_what_is_fine_is_no_fault(text, tmp_path):
    (tmp_path / "other.html").write_text('<p id="there">', encoding="utf-8")
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    assert not check.findings(tmp_path)


def test_a_style_sheet_that_fetches_would_be_found(tmp_path):
    (tmp_path / "x.css").write_text('@import "https://cdn.example/x.css";', encoding="utf-8")
    assert "fetched from elsewhere" in check.findings(tmp_path)[0]


# --- staging -------------------------------------------------------------------------------------

def cell(text, **more):
    return {"cell_type": "code", "metadata": {}, "outputs": [], "source": text} | more


def test_directives_become_tags_and_alt_texts():
    picture = [{"output_type": "display_data", "data": {"image/png": "AA"}}]
    drawn = cell("#| export\n#| fig-alt: A bar: 3 of 4.\nplot()", outputs=picture)
    made = stage.code(drawn, front=False)
    assert made["source"] == "plot()"
    assert made["metadata"]["mystnb"] == {"image": {"alt": "A bar: 3 of 4."}}
    made = stage.code(cell("a = 1\na.plot()", outputs=picture), front=False)
    assert made["metadata"]["mystnb"] == {"image": {"alt": "Picture drawn by a.plot()"}}
    made = stage.code(cell("tuner.fit(rows);\nb = 2", outputs=picture), front=False)
    said = made["metadata"]["mystnb"]["image"]["alt"]
    assert said == "Curves of a training run, drawn by tuner.fit(rows);"
    assert stage.code(cell("#| echo: false\nplot()"), False)["metadata"]["tags"] == ["remove-input"]
    assert stage.code(cell("#| hide\nplot()"), True)["metadata"]["tags"] == ["remove-cell"]
    assert stage.code(cell("#| hide\nplot()"), False)["metadata"]["tags"] == []


def test_a_widget_is_shown_as_its_text():
    output = {"output_type": "display_data", "data": {stage.WIDGET: {}, "text/plain": "a slider"}}
    made = stage.code(cell("explore()", outputs=[output]), front=False)
    assert made["outputs"][0]["data"] == {"text/plain": "a slider"}


def test_names_that_a_cell_defines():
    text = "@patch\ndef fit(self: Tuner): ...\nclass A: ...\nX, _y = 1, 2\ndef _no(): ..."
    assert stage.defined(f"{text}\nZ: int = 3") == ["Tuner.fit", "A", "X", "Z"]


# --- what was built ------------------------------------------------------------------------------

def test_no_link_is_lost_and_nothing_is_fetched_from_elsewhere(site):
    assert not check.findings(site)


def test_every_notebook_has_a_page(site):
    assert not [path for path in KNOWN.books if not (site / f"{path}.html").is_file()]


def test_pages_are_small(site):
    sizes = {path.relative_to(site).as_posix(): path.stat().st_size for path in every(site)}
    assert len(sizes) > 400
    assert not {name: size for name, size in sizes.items() if size > BUDGET}


def test_the_order_is_that_of_the_course(site):
    path, walked = site / f"{LESSONS[0]}.html", []
    while len(walked) <= len(LESSONS):
        walked.append(path.relative_to(site).with_suffix("").as_posix())
        after = tree(path).xpath(f"{of_class('right-next', 'a')}/@href")
        if not after: break
        path = (path.parent / after[0]).resolve()
    assert walked == LESSONS


def test_the_way_back_is_the_way(site):
    for before, path in zip(LESSONS[:30], LESSONS[1:], strict=False):
        page = site / f"{path}.html"
        back = tree(page).xpath(f"{of_class('left-prev', 'a')}/@href")
        assert (page.parent / back[0]).resolve() == site / f"{before}.html"
    assert not tree(site / f"{LESSONS[0]}.html").xpath(of_class("left-prev", "a"))


def test_the_side_bar_has_the_parts_and_their_hours(site):
    bar = tree(site / f"{LESSONS[1]}.html").xpath(of_class("sft-course", "nav"))[0]
    names = [a.text_content() for a in bar.xpath("./ul/li/a")]
    assert names == [part.name for part in KNOWN.parts]
    assert bar.xpath("./ul/li/span/text()") == [part.hours for part in KNOWN.parts]
    assert bar.xpath(".//a[@aria-current='page']/text()") == [KNOWN.lessons[1].name]


@pytest.mark.parametrize("path", LESSONS)
def test_a_lesson_can_be_opened_downloaded_and_edited(site, path):
    page = site / f"{path}.html"
    badges = tree(page).xpath(f"{of_class('sft-notebook', 'nav')}/a")
    links = {a.text_content().split()[-1]: a.get("href") for a in badges}
    assert set(links) == {"Colab", "Binder", "Download", "Edit"}
    assert links["Colab"].startswith("https://colab.research.google.com/github/")
    assert links["Colab"].endswith(f"/blob/main/nbs/{path}.ipynb")
    assert links["Binder"].endswith(f"labpath=nbs%2F{path.replace('/', '%2F')}.ipynb")
    assert links["Edit"].endswith(f"/edit/main/nbs/{path}.ipynb")
    there = (page.parent / links["Download"]).resolve()
    assert there.read_bytes() == (ROOT / "nbs" / f"{path}.ipynb").read_bytes()


def shown_wrong(page):
    "What a page shows that it should not: directives, pictures without words, raw formulas."
    for pre in page.xpath(f"{of_class('cell_input')}//pre"):
        if re.search(r"^#\|", pre.text_content(), re.M):
            yield pre.text_content()[:60]
    for img in page.xpath("//article//img"):
        if len(img.get("alt", "")) < 10 or "_images" in img.get("alt"):
            yield img.get("src")
    for formula in page.xpath("//math"):
        if "\\" in formula.text_content():
            yield formula.get("alttext")
    for fault in page.xpath(of_class("system-message")):
        yield fault.text_content()


def test_cells_pictures_and_formulas_are_shown_as_they_should(site):
    wrong, formulas = {}, 0
    for path in every(site):
        page = tree(path)
        formulas += len(page.xpath("//math"))
        if found := list(shown_wrong(page)):
            wrong[path.relative_to(site).as_posix()] = found
    assert not wrong
    assert formulas > 500


def test_what_is_shown_wrong_would_be_seen():
    page = html.fromstring(
        "<article><div class='cell_input x'><pre>#| export</pre></div><img src='a.png' alt='a'>"
        "<math alttext='b'>\\frac</math></article>"
    )
    assert list(shown_wrong(page)) == ["#| export", "a.png", "b"]


def test_folded_cells_are_folded(site):
    "As many as the notebook has; `#| hide` is not on the front page."
    for path in ("data/04_checks", "first_model", "training/06_tuner"):
        marks = [c["metadata"].get("jupyter", {}) for c in KNOWN.books[path].content["cells"]]
        wanted = sum(bool(set(m) & {"source_hidden", "outputs_hidden"}) for m in marks)
        found = tree(site / f"{path}.html").xpath(of_class("hide", "details"))
        assert wanted and len(found) == wanted, path
    assert "tempfile" not in tree(site / "index.html").text_content()


def test_the_front_page_has_a_picture_the_commands_and_the_tasks(site):
    front = tree(site / "index.html").xpath("//article")[0]
    assert front.xpath(".//figure//img/@alt")[0].startswith("Accuracy on reviews")
    commands = [pre.text_content().strip() for pre in front.xpath(".//pre")]
    assert "pip install -c constraints.txt . && sft-nb demo" in commands
    assert 'pip install -c constraints.txt -e ".[dev]" && pytest' in commands
    assert any("object detection" in table.text_content() for table in front.xpath(".//table"))
    assert {*front.xpath(".//a/@href")} >= {f"{path}.html" for path in LESSONS}


def test_previews_of_links(site):
    "Open Graph's tags; each lesson has a picture of its own."
    for path in (*LESSONS[:3], "glossary"):
        tags = tree(site / f"{path}.html").xpath("//meta[@property]")
        said = {tag.get("property"): tag.get("content") for tag in tags}
        assert said["og:title"] and said["og:description"]
        name = said["og:image"].partition("/cards/")[2]
        assert name == (f"{path}.png" if path in LESSONS else "index.png")
        assert (site / "cards" / name).read_bytes()[:4] == b"\x89PNG"


def test_versions_are_named_relative_to_the_site(site):
    import sft_nb
    listed = json.loads((site / "_static" / "switcher.json").read_text(encoding="utf-8"))
    assert sft_nb.__version__ in [entry["version"] for entry in listed]
    assert not [entry for entry in listed if ":" in entry["url"] or entry["url"].startswith("/")]


def test_search_knows_words(site):
    "Each word leads to the lesson that is about it."
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").rstrip().removesuffix(")"))
    about = {
        "leak": "data/08_leaks", "ledger": "certification/05_provenance",
        "dropout": "speed/00_dropout",
    }
    for word, page in about.items():
        found = [index[kind].get(word, []) for kind in ("terms", "titleterms")]
        numbers = {k for ks in found for k in ([ks] if isinstance(ks, int) else ks)}
        assert page in {index["docnames"][k] for k in numbers}, word


# --- the reference -------------------------------------------------------------------------------

REFERENCE = api.read_reference(ROOT / "sft_nb")
MODULES = {module.name: module for module in REFERENCE}
HOMES = {book.module: path for path, book in KNOWN.books.items() if book.module}


def told(head):
    "The parameters that the reference explains below a signature."
    fields = head.xpath("following-sibling::dd[1]/dl[contains(@class, 'field-list')]")
    return {strong.text_content() for one in fields for strong in one.xpath(".//dd//strong")}


def documented(module):
    "(name, thing) of the functions, classes and methods that a module defines itself."
    for name in module.__all__:
        thing = getattr(module, name)
        if getattr(thing, "__module__", "") != module.__name__ or name[0] == "_": continue
        if inspect.isfunction(thing) or inspect.isclass(thing):
            yield name, thing
        for method, f in vars(thing).items() if inspect.isclass(thing) else ():
            f = getattr(f, "__func__", f)
            if method[0] != "_" and inspect.isfunction(f) and f.__module__.startswith("sft_nb"):
                yield f"{name}.{method}", f


def own_constructor(thing):
    "Is a class made by arguments that it names?"
    return dataclasses.is_dataclass(thing) or "__init__" in vars(thing)


def asked(thing, name, module):
    "The parameters that have to be explained; a class above it may have done so."
    if inspect.isclass(thing) and not own_constructor(thing) or overrides(name, module):
        return set()
    left_out = {"self", "cls", "config"}  # a model's configuration is transformers' own
    made = thing.__init__ if inspect.isclass(thing) else thing
    every = inspect.signature(made).parameters.values()
    named = {p.name for p in every if p.kind is not p.VAR_KEYWORD} - left_out
    return {name for name in named if name[0] != "_"}


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_explained(site, name):
    module, lacking = importlib.import_module(name), {}
    page = tree(site / f"{MODULES[name].page}.html")
    heads = {head.get("id"): head for head in page.xpath("//dt[@id]")}
    for said, thing in documented(module):
        head = heads.get(f"{name}.{said}")
        assert head is not None, said
        lacking[said] = asked(thing, said, module) - told(head)
    assert not {said: names for said, names in lacking.items() if names}


@pytest.mark.parametrize("name", MODULES)
def test_the_reference_leads_to_the_lesson_and_back(site, name):
    path = site / f"{MODULES[name].page}.html"
    lesson = tree(site / f"{HOMES[name]}.html")
    anchors = {*lesson.xpath("//@id")}
    back = lesson.xpath(f"{of_class('sft-api')}//a/@href")
    for head in tree(path).xpath("//dt[@id]"):
        links = head.xpath("following-sibling::dd[1]/p[@class='sft-lesson']/a/@href")
        where, _, anchor = links[0].partition("#")
        assert (path.parent / where).resolve() == site / f"{HOMES[name]}.html"
        assert anchor in anchors
    for entry in REFERENCE[MODULES[name]]:
        assert any(link.endswith(f"#{name}.{entry.name}") for link in back), entry.name


# --- in a browser --------------------------------------------------------------------------------

def opened(browser, address, page, size=DESK, scheme="light"):
    context = browser.new_context(viewport=size, color_scheme=scheme)
    tab = context.new_page()
    tab.goto(f"{address}/{page}")
    return tab


LAPTOP = {"width": 1366, "height": 768}
CUT = """() => [...document.querySelectorAll(".cell_input pre")]
    .filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText.slice(0, 80))"""


@pytest.mark.parametrize("page", ["speed/04_measuring.html", "batches/00_losses.html",
                                  "commands/05b_long_tables.html"])
def test_lines_of_code_fit_the_page(browser, address, page):
    "Up to a hundred columns, beside both side bars."
    tab = opened(browser, address, page, LAPTOP)
    assert tab.locator(".cell_input pre").count() > 5 and tab.evaluate(CUT) == []
    tab.context.close()


def test_a_reader_goes_from_lesson_to_lesson(browser, address):
    tab, faults = opened(browser, address, "index.html"), []
    tab.on("pageerror", lambda e: faults.append(str(e)))
    tab.get_by_role("link", name="your first fine-tuned model").first.click()
    tab.wait_for_url("**/first_model.html")
    tab.locator("a.right-next").click()
    tab.wait_for_url(f"**/{LESSONS[1]}.html")
    tab.get_by_role("navigation", name="Sections").get_by_role("link", name="Glossary").click()
    tab.wait_for_url("**/glossary.html")
    tab.context.close()
    assert not faults


def test_a_reader_finds_a_word(browser, address):
    tab = opened(browser, address, f"{LESSONS[3]}.html")
    tab.keyboard.press("Control+k")
    tab.locator("#pst-search-dialog input[name=q]").fill("near duplicates")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/search.html?q=near+duplicates*")
    found = tab.locator("#search-results li a", has_text="Leaks").first
    found.click()
    tab.wait_for_url("**/data/08_leaks.html*")
    tab.context.close()


def test_a_folded_cell_opens(browser, address):
    tab = opened(browser, address, "data/04_checks.html")
    folded = tab.locator(".cell details.hide").first
    inside = folded.locator("pre").first
    assert not inside.is_visible()
    folded.locator("summary").focus()
    tab.keyboard.press("Enter")
    inside.wait_for(state="visible")
    tab.context.close()


def test_the_versions_are_offered(browser, address):
    tab = opened(browser, address, "data/04_checks.html")
    choice = tab.locator("header .sft-versions select")
    choice.wait_for(state="visible")
    assert choice.input_value() == f"{address}/"
    tab.context.close()


@pytest.mark.parametrize("page", TYPICAL)
def test_a_phone_does_not_scroll_sideways(browser, address, page):
    tab = opened(browser, address, page, PHONE)
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    tab.context.close()


LIGHT = """() => {
    const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g);
    return (+r + +g + +b) / 3;
}"""


@pytest.mark.parametrize("page", [TYPICAL[0], TYPICAL[2], TYPICAL[6]])  # front, lesson, reference
@pytest.mark.parametrize(("where", "size"), [("desk", DESK), ("phone", PHONE)])
@pytest.mark.parametrize(("scheme", "low", "high"), [("light", 200, 255), ("dark", 0, 60)])
def test_light_and_dark(browser, address, page, where, size, scheme, low, high):
    "And a picture of each, for people to look at."
    tab = opened(browser, address, page, size, scheme)
    assert tab.evaluate("document.documentElement.dataset.theme") == scheme
    assert low <= tab.evaluate(LIGHT) <= high
    OUT.mkdir(exist_ok=True)
    name = page.removesuffix(".html").replace("/", "-")
    picture = OUT / f"site-{name}-{where}-{scheme}.png"
    tab.screenshot(path=picture)
    shades = Image.open(picture).convert("L").getextrema()
    assert shades[0] < 100 and shades[1] > 150, "letters stand out from the page"
    tab.context.close()


def grave(tab):
    "What axe calls serious or critical: (rule, where)."
    from axe_playwright_python.sync_playwright import Axe
    asked = {"resultTypes": ["violations"]}  # of all else one node, not every one
    found = Axe().run(tab, options=asked).response["violations"]
    return [
        (v["id"], node["target"], node["html"][:160]) for v in found
        if v["impact"] in ("serious", "critical") for node in v["nodes"][:3]
    ]


def axe_on(browser, address, pages, schemes=("light", "dark")):
    "What axe finds on pages, in the light and in the dark."
    found = {}
    for scheme in schemes:
        tab = opened(browser, address, pages[0], scheme=scheme)
        for page in pages:
            tab.goto(f"{address}/{page}")
            found[page, scheme] = grave(tab)
        tab.context.close()
    return {where: faults for where, faults in found.items() if faults}


def test_axe_would_find_a_fault(browser):
    tab = browser.new_page()
    tab.set_content("<html lang='en'><title>x</title><main><img src='x.png'></main></html>")
    assert "image-alt" in [rule for rule, *_ in grave(tab)]
    tab.close()


@pytest.mark.parametrize("page", TYPICAL)
def test_typical_pages_without_barriers(browser, address, page):
    assert not axe_on(browser, address, [page])


PARTS = 16  # of all pages: what one has found is known before the next begins


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("part", range(PARTS))
def test_all_pages_without_barriers(browser, address, site, part, scheme):
    pages = [path.relative_to(site).as_posix() for path in every(site)]
    assert not axe_on(browser, address, pages[part::PARTS], [scheme])
