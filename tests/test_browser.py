"""Screens in JupyterLab, in a real browser: reached by keyboard, spoken, in both themes.

Two screens and the notebooks without a kernel in a normal run; with --slow all others, and the
tools that are no screens: labelling, a quiz, the panel over a run. Pictures of what was seen are
left in tests/out/.
"""
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
from browsers import need_browser, open_browser
from test_widgets import HOSTILE, found

ROOT = Path(__file__).parents[1]
OUT = ROOT / "tests" / "out"
QUICK = ("logit_bench", "threshold")
LESSON = "nbs/widgets/01_logit_bench.ipynb"
WHOLE = {"width": 1100, "height": 1100}  # pixels: a screen with its question and its sentence
PATIENCE = 240_000  # milliseconds: a kernel that starts on a busy machine
SCREENS = [
    pytest.param(*one, id="-".join(one), marks=[] if one[0] in QUICK else [pytest.mark.slow])
    for one in found()
]
HOSTILE_SCREEN = f"""
from sft_nb.figures import new_figure
from sft_nb.widgets.screens import Guess, Screen, slider
HOSTILE = {HOSTILE!r}
def plot(x): return new_figure(2, 1)[0]
def describe(x): return f"{{x}}: {{HOSTILE}}."
Screen(plot, describe, {{"x": slider("x", 0, 9, 0)}}, guess=Guess(HOSTILE, {{"a": HOSTILE}}, "a"))
"""
LABELLER = f"""
import pandas as pd
from sft_nb.widgets.labelling import Labeller
Labeller(pd.DataFrame({{"text": [{HOSTILE!r}, "A joy."]}}), ["rotten", "fresh"])
"""
QUIZ = """
from sft_nb.widgets.quizzes import quiz
quiz("batches/00_losses")
"""
PANEL = """
import pandas as pd
from sft_nb.all import FineTuner, Recipe, TextClassification
from sft_nb.widgets.live_panel import LivePanel
rows = pd.DataFrame({{"text": [f"good {{i}}" for i in range(8)] + [f"bad {{i}}" for i in range(8)],
                     "label": ["good"] * 8 + ["bad"] * 8}})
panel = LivePanel(FineTuner(TextClassification(), {model!r}, Recipe(epochs=2, batch_size=8)))
panel.pause()
panel.fit(rows)
"""


# --- a JupyterLab that knows nothing of its owner ------------------------------------------------

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def environment(folder):
    "Settings, trust and workspaces of nobody; the package is this copy of it."
    places = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "IPYTHONDIR": "ipython",
              "JUPYTER_RUNTIME_DIR": "runtime", "JUPYTERLAB_SETTINGS_DIR": "settings",
              "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    owned = {name: str(folder / place) for name, place in places.items()}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | owned | {"PYTHONPATH": path, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}


def quiet_settings(folder):
    "No news, no looking for updates: nothing that leaves this machine."
    place = folder / "settings" / "@jupyterlab" / "apputils-extension"
    place.mkdir(parents=True)
    wanted = {"fetchNews": "false", "checkForUpdates": False}
    (place / "notification.jupyterlab-settings").write_text(json.dumps(wanted))


def until_it_answers(address, process, seconds=400):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            return urllib.request.urlopen(f"{address}/api", timeout=5).close()
        except OSError:
            assert process.poll() is None, "JupyterLab ended before it began."
            time.sleep(.5)
    raise AssertionError("JupyterLab did not answer.")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "(address, folder) of a JupyterLab over an empty folder."
    need_browser()
    pytest.importorskip("jupyterlab")
    home = tmp_path_factory.mktemp("jupyter")
    folder = home / "notebooks"
    folder.mkdir()
    quiet_settings(home)
    port = free_port()
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
        "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.password=",
        f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly"]
    with open(home / "log", "w") as log:
        process = subprocess.Popen(command, env=environment(home), stdout=log, stderr=log, cwd=home)
        try:
            until_it_answers(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}", folder
        finally:
            process.terminate()
            process.wait(300)


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


# --- a notebook on a page ------------------------------------------------------------------------

KNOWN = "Failed to load resource"  # by JupyterLab itself, of what it can miss:
MISSED = ("/favicon.ico", "/lab/api/", "/api/", "/lab/extensions/")


class Opened:
    "A notebook in JupyterLab, and what the browser complained of."
    def __init__(self, browser, lab, path):
        self.page, self.faults = browser.new_page(viewport=WHOLE), []
        self.page.set_default_timeout(PATIENCE)
        self.page.on("pageerror", lambda e: self.faults.append(str(e)))
        self.page.on("console", self._note)
        self.page.on("request", lambda r: self._inside(r.url, lab[0]))
        self.page.goto(f"{lab[0]}/lab/tree/{path}?reset")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")

    def _note(self, message):
        if message.type != "error": return
        asked = urlsplit(message.location.get("url", "")).path
        if not (message.text.startswith(KNOWN) and asked.startswith(MISSED)):
            self.faults.append(f"{message.text} {asked}")

    def _inside(self, url, address):
        if not url.startswith((address, "data:", "blob:", "ws://127.0.0.1")):
            self.faults.append(f"asked for {url}")

    def do(self, command, **options):
        self.page.evaluate(
            "([c, o]) => window.jupyterapp.commands.execute(c, o)", [command, options])

    def run(self):
        self.page.wait_for_function(
            "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel != null")
        self.do("notebook:run-all-cells")

    def go_to(self, element):
        "Run the notebook, wait for the element, and go there with Tab."
        self.run()
        found = self.page.locator(element).first
        found.wait_for(timeout=PATIENCE)
        self.do("notebook:enter-command-mode")
        self.reach(found)
        return found

    def says(self, words):
        "Wait until a sentence has these words."
        self.page.wait_for_function(
            "w => [...document.querySelectorAll('[role=alert]')].some("
            "e => e.innerText.includes(w))", arg=words)

    def pictures(self, name):
        "A picture in each theme, in which the newest sentence can be read."
        OUT.mkdir(exist_ok=True)
        for theme in ("Light", "Dark"):
            self.do("apputils:change-theme", theme=f"JupyterLab {theme}")
            light = f"body[data-jp-theme-light={str(theme == 'Light').lower()}]"
            self.page.wait_for_selector(light, state="attached")
            self.page.wait_for_selector("#jupyterlab-splash", state="detached")
            self.page.wait_for_function("[...document.images].every(one => one.complete)")
            assert self.page.locator("[role=alert]").last.evaluate(CONTRAST) >= 4.5
            self.page.screenshot(path=OUT / f"{name}-{theme.lower()}.png")

    def sentence(self):
        return self.page.locator("[role=alert]").last.inner_text()

    def reach(self, element, most=30):
        "Press Tab until the element has the focus."
        for _ in range(most):
            if element.evaluate("e => e === document.activeElement"): return
            self.page.keyboard.press("Tab")
        raise AssertionError("Tab never gets there.")

    def change(self, keys):
        "Press keys, one after the other, until the sentence is another one."
        before = self.sentence()
        for together in keys:
            for key in together.split():
                self.page.keyboard.press(key)
            try:
                self.page.wait_for_function(
                    "old => [...document.querySelectorAll('[role=alert]')].at(-1).innerText != old",
                    arg=before, timeout=20_000)
                return
            except Exception as e:
                if type(e).__name__ != "TimeoutError": raise
        raise AssertionError(f"{keys} change nothing in: {before}")


@pytest.fixture
def opened(browser, lab):
    "opened(path): a page with this notebook; at the end, no complaint of the browser."
    pages = []

    def open_(path):
        pages.append(Opened(browser, lab, path))
        return pages[-1]
    yield open_
    for one in pages:
        one.page.close()
    assert [one.faults for one in pages] == [[]] * len(pages)


def write(folder, name, *cells):
    nb = nbformat.v4.new_notebook(metadata={"kernelspec": {
        "name": "python3", "display_name": "Python 3", "language": "python"}})
    nb.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    nbformat.write(nb, folder / name)


CONTROLS = ".widget-hslider .noUi-handle, .widget-dropdown select, .widget-checkbox input"
KEYS = {  # presses that belong together; JupyterLab takes arrows for itself while a list is closed
    "SELECT": ("Space ArrowDown Enter", "Space ArrowUp Enter"),
    "INPUT": ("Space",), "DIV": ("Home", "End")}
CONTRAST = """e => {
  const parts = c => c.match(/[\\d.]+/g).map(Number)
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0)
  let under = e
  while (under && (parts(getComputedStyle(under).backgroundColor)[3] ?? 1) === 0)
    under = under.parentElement
  const [a, b] = [getComputedStyle(e).color, getComputedStyle(under).backgroundColor]
    .map(c => light(parts(c)) + .05)
  return Math.max(a, b) / Math.min(a, b)
}"""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("module, name", SCREENS)
def test_a_screen_is_moved_with_the_keyboard(opened, lab, module, name):
    code = f"from sft_nb.widgets.{module} import explore_{name}\nexplore_{name}()"
    write(lab[1], f"{module}-{name}.ipynb", code)
    one = opened(f"{module}-{name}.ipynb")
    one.run()
    one.page.wait_for_selector(".jupyter-widgets", timeout=PATIENCE)
    if one.page.locator(".widget-radio-box input").count():
        one.page.locator(".widget-radio-box input").first.focus()
        one.page.keyboard.press("Space")
    one.page.wait_for_selector(CONTROLS)
    for element in one.page.locator(CONTROLS).all():
        one.reach(element)
        one.change(KEYS[element.evaluate("e => e.tagName")])
    one.page.wait_for_function(  # what was moved last is drawn
        "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status == 'idle'")
    one.pictures(f"{module}-{name}")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rows_are_labelled_with_keys(opened, lab):
    write(lab[1], "labelling.ipynb", LABELLER)
    one = opened("labelling.ipynb")
    one.go_to(".widget-text input")
    assert one.page.locator("img[src='x']").count() == 0
    one.page.keyboard.press("2")
    one.says("1 of 2 done.")
    one.page.keyboard.press("b")
    one.says("Until now: fresh.")
    one.pictures("labelling")
    one.page.keyboard.press("1")
    one.page.keyboard.press("0")
    one.says("2 of 2 done.")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_quiz_answers_back(opened, lab):
    write(lab[1], "quiz.ipynb", QUIZ)
    one = opened("quiz.ipynb")
    one.go_to(".widget-radio-box input")
    one.page.keyboard.press("Space")
    one.page.wait_for_selector("[role=alert]")
    assert one.sentence().startswith(("Right. ", "Not this one. "))
    assert "1 of " in one.page.locator(".jupyter-widgets p").last.inner_text()
    one.pictures("quiz")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_goes_on_at_the_press_of_a_key(opened, lab, tiny):
    write(lab[1], "panel.ipynb", PANEL.format(model=str(tiny("bert"))))
    one = opened("panel.ipynb")
    one.go_to("button:has-text('Go on')")
    one.says("Paused after update 0.")
    one.page.keyboard.press("Space")
    one.says("Epoch 2")
    one.page.wait_for_selector(".jupyter-widgets img")
    one.pictures("live_panel")


@pytest.mark.timeout(900)
def test_html_and_script_in_data_are_shown_and_not_run(opened, lab):
    write(lab[1], "hostile.ipynb", HOSTILE_SCREEN)
    one = opened("hostile.ipynb")
    one.page.evaluate("() => { window.alert = () => { window.ran = Error().stack } }")
    one.run()
    one.page.wait_for_selector(".widget-radio-box input", timeout=PATIENCE)
    one.page.locator(".widget-radio-box input").first.focus()
    one.page.keyboard.press("Space")
    one.page.wait_for_selector(".widget-hslider .noUi-handle")
    assert one.page.locator("img[src='x']").count() == 0
    assert one.page.evaluate("window.ran") is None
    assert "<img src=x" in one.sentence()


@pytest.mark.timeout(900)
def test_an_untrusted_notebook_still_reads(opened, lab):
    "Nothing has been run here, and nobody has trusted it: the strip and the words are there."
    (lab[1] / "lesson.ipynb").write_bytes((ROOT / LESSON).read_bytes())
    one = opened("lesson.ipynb")
    one.page.evaluate("window.jupyterapp.shell.currentWidget.content.defer = false")
    for cell in range(one.page.evaluate(
            "window.jupyterapp.shell.currentWidget.content.widgets.length")):
        one.page.evaluate(
            "k => window.jupyterapp.shell.currentWidget.content.scrollToItem(k)", cell)
    shown = one.page.locator(".jp-OutputArea-output img")
    shown.first.wait_for()
    assert shown.first.evaluate("e => e.naturalWidth") > 1000
    assert one.page.evaluate(
        "[...window.jupyterapp.shell.currentWidget.content.widgets]"
        ".some(c => c.model.type === 'code' && c.model.trusted)") is False
    words = one.page.locator(".jp-OutputArea-output").all_inner_texts()
    assert any("needs a running kernel" in text for text in words)
    OUT.mkdir(exist_ok=True)
    one.page.screenshot(path=OUT / "untrusted.png")
