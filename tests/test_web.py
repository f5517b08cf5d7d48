"""The page that fine-tunes, in a browser: it computes what Python computes, tells a mistake in a
sentence, asks for nothing once it is loaded, and can be used by everybody.
"""
import json
import os
import re
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from browsers import need_browser, open_browser, served

from sft_nb.data.asset_tables import load_data
from sft_nb.mistakes import SFTError
from sft_nb.widgets.page import (
    STRENGTH, draws, fit_head, left_out, network, pieces_of, probabilities, proven_share, vectors,
)

ROOT = Path(__file__).parents[1]
OUT = ROOT / "tests" / "out"
sys.path.insert(0, str(ROOT))
from tools import web

PATIENCE = 120_000  # milliseconds: busy machines are slow, and nothing is asserted about speed
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1200, "height": 900}
TRAP = "Loud & <b>empty</b> <img src=x onerror=document.title='run'>"
NEW = "Brilliant acting, but a touchingly résumé-thin plot 🤷"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "The folder as it is published. Without npm and without its files: a skip, in CI a failure."
    need_browser()
    try:
        return web.build(tmp_path_factory.mktemp("site"))
    except SFTError as e:
        if os.environ.get("CI") == "true": pytest.fail(str(e))
        pytest.skip(str(e))


@pytest.fixture(scope="module")
def address(site):
    with served(site) as address:
        yield address


@pytest.fixture(scope="module")
def browser(site):
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser, address):
    "The page as one finds it, on a desk."
    context = browser.new_context(viewport=DESK)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{address}/index.html")
    yield page
    context.close()


def button(page, name): return page.get_by_role("button", name=name, exact=True)


def fill(page, *classes):
    "Type (name, lines) for each class."
    for box, (name, lines) in zip(page.locator("fieldset").all(), classes, strict=True):
        box.get_by_label("Name").fill(name)
        box.get_by_label("Examples, one a line").fill("\n".join(lines))


def typed(page):
    "Names, texts and classes that stand in the page."
    boxes = page.locator("fieldset").all()
    names = [box.get_by_label("Name").input_value() for box in boxes]
    lines = [box.get_by_label("Examples, one a line").input_value().splitlines() for box in boxes]
    return names, sum(lines, []), np.repeat(range(len(lines)), [len(some) for some in lines])


def train(page):
    button(page, "Train").click()
    page.locator("#status", has_text="Trained.").wait_for()


def decide(page, text):
    page.get_by_label("A sentence that is none of the examples").fill(text)
    button(page, "Decide").click()
    page.locator("#decision").wait_for()


class Visit:
    "A page with its model, what it asked for after the network was cut, and its complaints."
    def __init__(self, browser, address):
        self.asked, self.complaints = [], []
        self.context = browser.new_context(viewport=DESK)
        self.page = page = self.context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self.listen)
        page.goto(f"{address}/index.html")
        button(page, "Fill in: opinions on films").click()
        OUT.mkdir(exist_ok=True)
        pictures(page, "before")
        page.get_by_role("button", name="Load the model").click()
        page.get_by_text("You can switch the network off now.").wait_for()
        assert page.locator("#examples").evaluate("it => it === document.activeElement")

    def listen(self, message):
        if message.type in ("error", "warning"): self.complaints.append(message.text)

    def cut(self):
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.context.set_offline(True)


def pictures(page, name):
    "Of the whole page, for people to look at: on a desk and on a phone, by day and by night."
    for size, scheme in ((DESK, "light"), (DESK, "dark"), (PHONE, "light"), (PHONE, "dark")):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        where = "phone" if size is PHONE else "desk"
        page.screenshot(path=OUT / f"page-{name}-{where}-{scheme}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(DESK)


@pytest.fixture(scope="module")
def visit(browser, address):
    "Loaded, cut off, trained on opinions of which one is markup; a sentence was decided."
    visit = Visit(browser, address)
    visit.cut()
    area = visit.page.get_by_label("Examples, one a line").nth(1)
    area.fill(area.input_value().replace("Loud, empty and far too long.", TRAP))
    train(visit.page)
    decide(visit.page, NEW)
    visit.page.locator("summary").click()
    pictures(visit.page, "after")
    yield visit
    visit.context.close()


# --- the same numbers ---

def odd_texts():
    "What tokenizers trip over."
    long = "antidisestablishmentarianism" * 5
    kinds = [
        "", "   ", "\t\n\r", "a\x00b\x07c\x0bd\x85e", "zero\u200bwidth\u200d\ufeff",
        "naïve Ünïcödé",
        "e\u0301 n\u0303", "ΣΊΣΥΦΟΣ ΑΣ", "İstanbul DİYARBAKIR", "Straße ẞ ß", "ﬁne ﬂow",
        "中文和English混合", "日本語のテキスト、です。", "한국어 문장", "नमस्ते दुनिया", "สวัสดีชาวโลก",
        "שָׁלוֹם", "السَّلامُ", "👍🏽 👨‍👩‍👧 🇳🇴 🤷",
        "𝔉𝔯𝔞𝔨𝔱𝔲𝔯 ＦＵＬＬ", "3.14 $5 €7 1,000", 
        "don't can't o'clock",
        "a-b_c/d\\e|f", "[CLS] in [MASK] a [SEP]text", "[UNK][PAD]", "[cls] [Sep",
        "x" * 100, "x" * 101,
        long, "a" * 99 + "é", "é" * 101, "word " * 300, "“quoted” – dash — … ·", "½ ² ™ © ®",
        "a\u00a0b\u2003c\u3000d\u2028e", "\ud7ff\ue000\uf8ff\ufffd", "Ａｂｃ１２３", "ǅ ǆ Ǆ", "ﷺ",
        "don\u2019t \u201cstop\u201d", "C++ C# .NET", "http://a.b/c?d=e&f=g#h", "\u0345\u0301alone",
    ]
    return kinds + [kind.upper() for kind in kinds] + [kind[::-1] for kind in kinds]


def test_pieces_are_those_of_the_tokenizer(page):
    texts = load_data("rotten-tomatoes").text[:400].tolist() + odd_texts()
    found = page.evaluate("""async (texts) => {
        const { tokenize, vocabularyOf } = await import("./tokens.js");
        const words = vocabularyOf(await (await fetch("model/vocab.txt")).text());
        return texts.map((text) => tokenize(text, words));
    }""", texts)
    assert len(texts) > 500
    for text, ours, theirs in zip(texts, found, pieces_of(texts), strict=True):
        assert (ours["pieces"], ours["ids"]) == (theirs.tokens, theirs.ids), ascii(text)
        assert ours["cut"] == bool(theirs.overflowing), ascii(text)


COMMON = [(0, 0x590), (0x2000, 0x20cf), (0x3000, 0x9fff), (0xfe00, 0xffff), (0x1f000, 0x1faff)]


def test_characters_are_treated_alike(page):
    """Every character that this Python knows. Marks and signs that came to Unicode after the
    tokenizer's tables may differ; none of them belongs to a script that is written every day.
    """
    from tokenizers import Tokenizer

    from sft_nb.assets import get
    tokenizer = Tokenizer.from_file(str(get("minilm") / "tokenizer.json"))
    signs = [chr(i) for i in range(0x30000) if unicodedata.category(chr(i)) not in ("Cn", "Cs")]
    texts = [" ".join(f"a{sign}b" for sign in signs[i:i + 50]) for i in range(0, len(signs), 50)]

    def theirs(text):
        plain = tokenizer.normalizer.normalize_str(text)
        return [plain, *(part for part, _ in tokenizer.pre_tokenizer.pre_tokenize_str(plain))]

    def differing(texts):
        ours = page.evaluate("""async (texts) => {
            const { normal, words } = await import("./tokens.js");
            return texts.map((text) => [normal(text), ...words(text)]);
        }""", texts)
        return [text for text, one in zip(texts, ours, strict=True) if one != theirs(text)]

    some = {word for text in differing(texts) for word in text.split(" ")}
    other = [word[1:-1] for word in differing(sorted(some)) if len(word) == 3]
    assert len(signs) > 120_000 and len(other) < 1_000
    assert {unicodedata.category(sign)[0] for sign in other} <= set("CMPS")
    everyday = [sign for sign in other if any(a <= ord(sign) <= b for a, b in COMMON)]
    assert not everyday, list(map(ascii, everyday))


def test_vectors_heads_and_bounds_are_those_of_python(page):
    button(page, "Fill in: mail to a shop, three classes").click()
    _, texts, classes = typed(page)
    ours = page.evaluate("""async ({ texts, classes }) => {
        const { load, embed } = await import("./network.js");
        const { fitHead, leftOut, probabilities, draws } = await import("./head.js");
        await load();
        const x = [];
        for (const text of texts) x.push(await embed(text));
        const head = fitHead(x, classes, 3);
        return { x, head, said: x.map((row) => probabilities(head, row)),
          left: leftOut(x, classes, 3), draws: draws(classes, 3, 20) };
    }""", {"texts": texts, "classes": classes.tolist()})
    x = vectors(texts, network())
    head = fit_head(x, classes)
    assert np.abs(np.array(ours["x"]) - x).max() < 1e-4
    assert np.abs(np.array(ours["head"]) - head).max() < 1e-3
    assert np.abs(np.array(ours["said"]) - probabilities(head, x)).max() < 1e-3
    assert np.abs(np.array(ours["left"]) - left_out(x, classes)).max() < 1e-3
    assert ours["draws"] == draws(classes).tolist()


def test_bounds_and_strength_are_those_of_python(page):
    cases = [(right, n) for n in (1, 4, 7, 16, 33, 64) for right in range(n + 1)]
    ours, strength = page.evaluate("""async (cases) => {
        const { lowerBound } = await import("./proof.js");
        const { STRENGTH } = await import("./head.js");
        return [cases.map(([right, n]) => lowerBound(right, n)), STRENGTH];
    }""", cases)
    assert ours == pytest.approx([proven_share(*case) for case in cases], abs=1e-9)
    assert strength == STRENGTH


def percent(share): return f"{int(100 * share + .5)} %"


def test_what_the_learner_sees_is_what_python_says(visit):
    page = visit.page
    names, texts, classes = typed(page)
    x = vectors([*texts, NEW])
    left = left_out(x[:-1], classes)
    cells = page.locator("#answers [data-shares]").all()
    shares = [json.loads(cell.get_attribute("data-shares")) for cell in cells]
    assert np.abs(np.array(shares) - left).max() < 1e-3
    right = int((left.argmax(1) == classes).sum())
    told = page.locator("#certificate").inner_text()
    assert told.startswith(f"{right} of 16 left-out examples were answered right.")
    assert f"at least {int(100 * proven_share(right, 16))} % of such sentences" in told
    assert f"itself {percent(left.max(1).mean())} sure" in page.locator("#calibration").inner_text()

    said = [float(li.get_attribute("data-share")) for li in page.locator(".shares li").all()]
    p = probabilities(fit_head(x[:-1], classes), x[-1:])[0]
    assert said == pytest.approx(p, abs=1e-3)
    assert f"Decision: {names[p.argmax()]}," in page.locator("#decision").inner_text()
    again = [probabilities(fit_head(x[rows], classes[rows]), x[-1:])[0] for rows in draws(classes)]
    same = sum(one.argmax() == p.argmax() for one in again)
    assert page.locator("#others").inner_text().startswith(f"{same} of 20 other draws")
    assert page.locator(".tokens li").all_inner_texts() == pieces_of([NEW])[0].tokens


# --- nothing leaves the page ---

def test_after_loading_nothing_is_asked_for_and_nothing_goes_wrong(visit):
    assert visit.page.locator("#decision").is_visible()  # trained and decided without a network
    assert visit.asked == [] and visit.complaints == []
    assert visit.page.locator("#load").is_hidden() and visit.page.locator("#bar").is_hidden()


def test_the_policy_binds_the_page_and_its_worker(page, tmp_path):
    """A fetch from another place is refused before it is made."""
    (tmp_path / "file.txt").write_text("here")
    with served(tmp_path) as elsewhere:
        try_it = """(address) =>
            fetch(address, { mode: "no-cors" }).then(() => "came", () => "no")"""
        assert page.context.request.get(f"{elsewhere}/file.txt").text() == "here"
        assert page.evaluate(try_it, f"{elsewhere}/file.txt") == "no"
        [worker] = page.workers
        assert worker.evaluate(try_it, f"{elsewhere}/file.txt") == "no"
    policy = page.locator("meta[http-equiv='Content-Security-Policy']").get_attribute("content")
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy
    assert "'unsafe-eval'" not in policy


def test_no_file_names_another_place():
    for path in (ROOT / "web" / "try").iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        if path.name != "NOTICE.txt": assert not re.search(r"https?:|//\w+\.\w", text), path.name


def test_markup_in_an_example_is_shown_and_not_run(visit):
    page = visit.page
    assert page.get_by_role("rowheader", name=TRAP).count() == 1
    assert page.locator("main img, main b").count() == 0
    assert page.title() == "A page that fine-tunes"


# --- mistakes are told in sentences ---

GOOD = ["a fine film", "a great film"], ["a bad film", "a dull film"]
MISTAKES = {
    "empty class": ([("yes", GOOD[0]), ("no", [" ", ""])], "“no” has no example: type some"),
    "one example": ([("yes", GOOD[0]), ("no", ["bad"])], "“no” has one example: type at least two"),
    "no name": ([("yes", GOOD[0]), (" ", GOOD[1])], "Class 2 has no name: type one."),
    "equal names": ([("Yes", GOOD[0]), ("yes ", GOOD[1])],
                    "Classes 1 and 2 are both called “yes”: rename one of them."),
    "in both": ([("yes", GOOD[0]), ("no", ["A  fine film", "a dull film"])],
                "“A fine film” stands in “yes” and in “no”: delete it in one of them."),
    "too many": ([("yes", GOOD[0]), ("no", [f"no {i}" for i in range(18)])],
                 "“no” has 18 examples, and this page takes 16: delete 2."),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_sentences(page, case):
    classes, sentence = MISTAKES[case]
    fill(page, *classes)
    button(page, "Train").click()
    assert sentence in page.get_by_role("alert").inner_text()
    assert page.locator("[aria-invalid=true]").count() == 1
    assert page.locator("[aria-invalid=true]").evaluate("it => it === document.activeElement")
    assert page.locator("#learned").is_hidden()
    fill(page, ("yes", GOOD[0]), ("no", GOOD[1]))
    page.route("**/parts.json", lambda route: route.abort())  # what was wrong is right: no alert
    button(page, "Train").click()
    page.get_by_text("The model could not be loaded").wait_for()
    assert page.locator("[aria-invalid=true]").count() == 0


def test_a_model_that_is_not_there_is_a_sentence(page):
    page.route("**/model.onnx", lambda route: route.fulfill(status=404))
    page.get_by_role("button", name="Load the model").click()
    told = "could not be loaded: model/model.onnx is not there (404). Try again"
    page.get_by_text(told).wait_for()
    assert page.get_by_role("button", name="Load the model").is_enabled()


def test_long_and_odd_sentences_are_told(visit):
    page = visit.page
    decide(page, "word " * 300)
    page.get_by_text("The sentence is too long").wait_for()
    assert page.locator(".tokens li").count() == 128
    page.get_by_label("A sentence that is none of the examples").fill("  ")
    button(page, "Decide").click()
    page.get_by_text("Type a sentence first.").wait_for()
    decide(page, NEW)


def test_what_has_changed_since_training_is_told(visit):
    """In three classes, one with a long example, one that the model cannot read, one repeated."""
    page = visit.page
    button(page, "Add a class").click()
    assert page.locator("#stale").is_visible()
    page.get_by_role("button", name="Remove class 3").click()
    assert page.locator("#stale").is_hidden()
    button(page, "Fill in: mail to a shop, three classes").click()
    area = page.get_by_label("Examples, one a line").nth(2)
    broken = "word " * 200 + "\nThe lid is broken.\nThe lid is broken."
    area.fill(f"{broken}\n\u200b!\u200b\n\u00ad\u200b")
    button(page, "Train").click()
    page.get_by_text("has nothing that the model can read: delete it.").wait_for()
    area.fill(broken)
    train(page)
    told = page.locator("#remarks").inner_text()
    assert "“defect” has a sentence more than once; it counts once." in told
    assert "The classes have 8 and 8 and 2 examples" in told
    assert "is too long: its beginning was read" in told
    decide(page, "Where is my box?")
    assert "Decision: delivery" in page.locator("#decision").inner_text()
    assert page.locator(".shares li").count() == 3


# --- everybody can use it ---

def serious(page):
    "What axe finds that keeps somebody out."
    from axe_playwright_python.sync_playwright import Axe
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found
            if one["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page, visit, scheme):
    for seen in (page, visit.page):
        seen.emulate_media(color_scheme=scheme)
        assert serious(seen) == []
    fill(page, *MISTAKES["empty class"][0])
    button(page, "Train").click()
    assert serious(page) == []


def test_a_phone_never_scrolls_sideways(page, visit):
    fill(page, ("x" * 60, ["y" * 300, "z"]), ("no", [""]))
    button(page, "Train").click()
    for seen in (page, visit.page):
        for width in (390, 320):
            seen.set_viewport_size({"width": width, "height": 844})
            assert seen.evaluate("document.documentElement.scrollWidth") <= width
        seen.set_viewport_size(DESK)


def test_the_keyboard_reaches_everything_in_order(page):
    reached = []
    for _ in range(11):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("(document.activeElement.labels?.[0] "
                                     "?? document.activeElement).textContent.trim()"))
    assert reached == [
        "Skip to the examples", "Load the model (37 MB)", "Fill in: opinions on films",
        "Fill in: mail to a shop, three classes", "Name", "Examples, one a line", "Name",
        "Examples, one a line", "Add a class", "Train", "Licences"]
    page.get_by_label("Name").first.focus()
    page.keyboard.type("liked it")
    assert page.get_by_label("Name").first.input_value() == "liked it"


def test_results_are_announced(visit):
    page = visit.page
    assert page.locator("#answer").get_attribute("aria-live") == "polite"
    assert page.locator("#mistakes").get_attribute("role") == "alert"
    assert page.locator("#status").get_attribute("role") == "status"
    assert page.locator("#learned").get_attribute("tabindex") == "-1"  # takes the focus


def test_the_size_that_is_told_is_the_size(site, page):
    parts = json.loads((site / "parts.json").read_text())
    megabytes = sum(part["bytes"] for part in parts) / 1e6
    assert page.locator("#size").inner_text() == f"{megabytes:.0f}"


# --- the tool ---

def test_without_npm_the_line_to_type_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("SFT_NB_HOME", str(tmp_path))
    monkeypatch.setattr(web.shutil, "which", lambda _: None)
    with pytest.raises(SFTError, match=r"npm pack onnxruntime-web@1\.30\.0.*put the file into"):
        web.runtime()


def test_another_package_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("SFT_NB_HOME", str(tmp_path))
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / web.PARCEL).write_bytes(b"something else")
    with pytest.raises(SFTError, match="not the file that was registered"):
        web.runtime()
