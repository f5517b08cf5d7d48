"""Screens without a kernel: what a page computes and says is what Python computes and says."""
import importlib
import json
import math
import random
import sys
from pathlib import Path

import pytest
from browsers import open_browser, served

ROOT = Path(__file__).parents[1]
OUT = ROOT / "tests" / "out"
sys.path.insert(0, str(ROOT / "tools"))
from web_screens import MOST, SCREENS, TAUGHT, build, embed, told  # noqa: E402

CSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:"
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>
<meta http-equiv="Content-Security-Policy" content="{csp}">
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
</head><body><main><p>{name}</p>{screen}</main></body></html>"""
TRIED = 48  # settings of each screen


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "A folder with the screens, and a page for each lesson."
    folder = tmp_path_factory.mktemp("site")
    build(folder)
    for lesson in [where for where, _, _ in SCREENS.values()] + list(TAUGHT):
        page = folder / f"{lesson}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(PAGE.format(name=lesson, csp=CSP, screen=embed(lesson)))
    return folder


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def address(site):
    with served(site) as address:
        yield address


@pytest.fixture
def shown(browser, address):
    "shown(lesson, **context): a page with its screen; at the end, no complaint and no stranger."
    faults, pages = [], []

    def show(lesson, **context):
        page = browser.new_page(**context)
        pages.append(page)
        page.on("pageerror", lambda e: faults.append(str(e)))
        page.on("console", lambda m: m.type == "error" and faults.append(m.text))
        page.on("request", lambda r: r.url.startswith((address, "data:")) or faults.append(r.url))
        page.goto(f"{address}/{lesson}.html")
        page.wait_for_selector(".screen[data-numbers]")
        return page
    yield show
    for page in pages:
        page.close()
    assert faults == []


def possible(control):
    if control["kind"] == "switch": return [False, True]
    if "options" in control: return control["options"]
    steps = round((control["max"] - control["min"]) / control["step"])
    whole = all(isinstance(control[k], int) for k in ("min", "max", "step"))
    every = [control["min"] + k * control["step"] for k in range(steps + 1)]
    return every if whole else [round(x, 9) for x in every]


def settings_of(name):
    "Settings drawn from all controls, their ends among them; always the same ones."
    every = {c["name"]: possible(c) for c in told(name)["controls"]}
    rng = random.Random(name)
    drawn = [{k: rng.choice(values) for k, values in every.items()} for _ in range(TRIED - 4)]
    ends = [{k: values[end] for k, values in every.items()} for end in (0, -1)]
    mixed = [{k: values[(i + j) % 2 - 1] for i, (k, values) in enumerate(every.items())}
             for j in (0, 1)]
    return drawn + ends + mixed


MOVE = """([settings]) => {
  const screen = document.querySelector('.screen')
  for (const [name, value] of Object.entries(settings)) {
    const input = screen.querySelector(`[name="${name}"]`)
    if (input.type === 'checkbox') input.checked = value
    else if (input.tagName === 'SELECT') input.selectedIndex = value
    else input.value = value
  }
  screen.querySelector('.control input, .control select').dispatchEvent(new Event('input'))
  return [JSON.parse(screen.dataset.settings), JSON.parse(screen.dataset.numbers),
          screen.querySelector('.body > p').textContent]
}"""


def moves(name, settings):
    "What the page's controls are set to: places in lists instead of what is chosen."
    controls = {c["name"]: c for c in told(name)["controls"]}
    return {k: controls[k]["options"].index(v) if "options" in controls[k] else v
            for k, v in settings.items()}


def differing(a, b, where=""):
    "Places at which two plain things differ by more than a millionth."
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [d for k in a for d in differing(a[k], b[k], f"{where}.{k}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return [d for k, (x, y) in pairs for d in differing(x, y, f"{where}[{k}]")]
    number = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in (a, b))
    same = math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6) if number else a == b
    return [] if same else [f"{where}: {a!r}, {b!r}"]


def test_a_difference_would_be_seen():
    one = {"a": [1.0, None, True], "b": "x"}
    assert differing(one, json.loads(json.dumps(one))) == []
    for other in ({"a": [1.001, None, True], "b": "x"}, {"a": [1.0, 0, True], "b": "x"},
                  {"a": [1.0, None], "b": "x"}, {"a": [1.0, None, True], "b": "y"}, {"a": 1}):
        assert differing(one, other)


@pytest.mark.parametrize("name", SCREENS)
def test_a_page_says_what_python_says(shown, name):
    lesson, explore, _ = SCREENS[name]
    short = explore.removeprefix("explore_")
    module = importlib.import_module(f"sft_nb.widgets.{name}")
    data, describe = (getattr(module, f"{kind}_{short}") for kind in ("data", "describe"))
    page, sentences = shown(lesson), set()
    for settings in settings_of(name):
        seen, numbers, words = page.evaluate(MOVE, [moves(name, settings)])
        assert differing(settings, seen) == []
        assert differing(json.loads(json.dumps(data(**settings))), numbers) == [], settings
        assert words == describe(**settings), settings
        sentences.add(words)
    assert len(sentences) > TRIED / 4


@pytest.mark.parametrize("name", SCREENS)
@pytest.mark.parametrize("scheme, width", [("light", 1000), ("dark", 1000), ("light", 360)])
def test_a_page_is_reached_by_keyboard_and_fits(shown, name, scheme, width):
    size = {"width": width, "height": 900}
    page = shown(SCREENS[name][0], color_scheme=scheme, viewport=size)
    assert page.locator(".body").is_hidden()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.wait_for_selector(".body", state="visible")
    assert page.locator(".reply").inner_text()
    for control in told(name)["controls"]:
        before = page.locator(".body > p").inner_text()
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.name")
        assert focused == control["name"]
        label = page.evaluate("document.activeElement.labels[0].textContent")
        assert label == control["label"]
        keys = {"switch": ["Space"], "choice": ["ArrowDown", "ArrowUp"]}
        for key in keys.get(control["kind"], ["Home", "End"]):
            page.keyboard.press(key)
            if page.locator(".body > p").inner_text() != before: break
        assert page.locator(".body > p").inner_text() != before, focused
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width
    OUT.mkdir(exist_ok=True)
    page.screenshot(path=OUT / f"web-{name}-{scheme}-{width}.png", full_page=True)


@pytest.mark.parametrize("lesson", TAUGHT)
def test_the_lesson_that_teaches_it_can_take_it_in(shown, lesson):
    assert shown(lesson).locator(".screen svg text").count() > 3


def test_other_lessons_take_nothing_in():
    assert embed("02_task") == ""


def test_files_are_small_and_know_no_other_place(site):
    files = list((site / "screens").iterdir())
    wanted = {f"{name}.{kind}" for name in SCREENS for kind in ("js", "json")}
    assert wanted < {f.name for f in files}
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert len(text.encode()) <= MOST
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "innerHTML" not in text and "eval(" not in text
