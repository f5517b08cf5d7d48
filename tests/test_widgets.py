"""Every screen in sft_nb.widgets: its numbers, picture, sentence, controls and question.

A screen is a module with explore_NAME, beside data_NAME, plot_NAME and describe_NAME.
"""
import importlib
import inspect
import json
import pkgutil
import re
from html import escape
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pytest

import sft_nb.widgets
from sft_nb.mistakes import SFTError
from sft_nb.widgets.screens import NO_KERNEL, Guess, png, slider

ROOT = Path(__file__).parents[1]
HOSTILE = '</p><img src=x onerror=alert(1)><script>alert("mine")</script>'


def found():
    "(module, name) of every screen in the package."
    for module in sorted(m.name for m in pkgutil.iter_modules(sft_nb.widgets.__path__)):
        source = (ROOT / "sft_nb" / "widgets" / f"{module}.py").read_text(encoding="utf-8")
        for name in re.findall(r"^def explore_(\w+)\(", source, re.MULTILINE):
            yield module, name


SCREENS = [pytest.param(*one, id=f"{one[0]}-{one[1]}") for one in found()]
each = pytest.mark.parametrize("module, name", SCREENS)


def part(module, kind, name):
    return getattr(importlib.import_module(f"sft_nb.widgets.{module}"), f"{kind}_{name}")


@cache
def screen(module, name): return part(module, "explore", name)()


@cache
def started(module, name): return dict(screen(module, name).settings)


@cache
def opened(module, name):
    "A screen whose question is answered; whoever moves it puts it back."
    made = part(module, "explore", name)()
    if made.guess: made.guess.asked.value = made.guess.right
    return made


def values(control, most=6):
    "What a control can be moved to: all of it, or some of a long range with both ends."
    if isinstance(control, widgets.Checkbox): return [False, True]
    if hasattr(control, "options"):
        return [o[1] if isinstance(o, tuple) else o for o in control.options]
    steps = round((control.max - control.min) / control.step)
    some = np.unique(np.linspace(0, steps, min(steps + 1, most)).round().astype(int))
    kind = int if isinstance(control, widgets.IntSlider) else float
    return [kind(round(control.min + k * control.step, 9)) for k in some]


def test_every_lesson_with_a_screen_is_tested():
    lessons = [p for p in (ROOT / "nbs/widgets").glob("*.ipynb") if "def explore_" in p.read_text()]
    assert lessons and {p.stem[3:] for p in lessons} == {module for module, _ in found()}


# --- numbers, picture, sentence ------------------------------------------------------------------

@each
def test_four_functions_take_the_same_settings(module, name):
    kinds = ("data", "plot", "describe")
    taken = [inspect.signature(part(module, kind, name)).parameters for kind in kinds]
    assert [list(p) for p in taken] == [list(taken[0])] * 3
    assert set(started(module, name)) <= set(taken[0])
    for setting, value in started(module, name).items():
        assert all(p[setting].default == value for p in taken), setting


@each
def test_data_are_plain_and_the_same_twice(module, name):
    data = part(module, "data", name)
    first = json.dumps(data(**started(module, name)), allow_nan=False)
    assert first == json.dumps(data(**started(module, name)), allow_nan=False)
    assert len(first) > 20


def unmoved(controls, start, *told):
    "The controls that change nothing of what is told."
    def seen(setting, control):
        asked = [start | {setting: value} for value in values(control)]
        return {json.dumps([tell(**one) for tell in told]) for one in asked}
    return [setting for setting, control in controls.items() if len(seen(setting, control)) == 1]


@each
def test_every_control_moves_the_data_or_the_sentence(module, name):
    told = part(module, "data", name), part(module, "describe", name)
    assert unmoved(screen(module, name).controls, started(module, name), *told) == []


@each
def test_every_sentence_is_one(module, name):
    describe = part(module, "describe", name)
    for setting, control in screen(module, name).controls.items():
        for value in values(control):
            words = describe(**started(module, name) | {setting: value})
            assert words.endswith("."), words
            assert not re.search(r"\bnan\b|\bNone\b|\binf\b|[{}]|np\.", words), words


@each
def test_a_picture_is_the_same_twice_and_stays_closed(module, name):
    plot = part(module, "plot", name)
    plt.close("all")
    assert png(plot(**started(module, name))) == png(plot(**started(module, name)))
    assert plt.get_fignums() == []


def impossible(control):
    "Values that no one can set with the control."
    if hasattr(control, "options") or isinstance(control, widgets.Checkbox): return ["no such", 99]
    out = [control.max + 1000, control.min - 1000, float("nan"), "no such", None]
    return [*out, control.min + 0.5] if isinstance(control, widgets.IntSlider) else out


@each
@pytest.mark.parametrize("kind", ["data", "plot", "describe"])
def test_an_impossible_setting_is_told(module, name, kind):
    for setting, control in screen(module, name).controls.items():
        for value in impossible(control):
            with pytest.raises(SFTError, match=re.escape(repr(value))):
                part(module, kind, name)(**started(module, name) | {setting: value})


# --- the screen ----------------------------------------------------------------------------------

@each
def test_every_control_has_a_label_of_its_own(module, name):
    labels = [c.description.strip() for c in screen(module, name).controls.values()]
    assert all(labels) and len(set(labels)) == len(labels)


@each
def test_a_drag_draws_one_picture(module, name):
    for control in screen(module, name).controls.values():
        assert not getattr(control, "continuous_update", False)


@each
def test_the_height_is_fixed(module, name):
    assert re.fullmatch(r"\d+px", screen(module, name).picture.layout.height)


@each
def test_moving_a_control_says_and_draws_something_else(module, name):
    made = opened(module, name)
    for setting, control in made.controls.items():
        seen = set()
        for value in values(control, most=2):  # an error in a picture at either end comes out here
            control.value = value
            seen.add((made.words.value, made.picture.value))
        control.value = started(module, name)[setting]
        assert len(seen) > 1, setting


@each
def test_nothing_is_fetched(module, name):
    made = opened(module, name)
    made.draw()
    for html in (made.words.value, made.picture.value):
        sources = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", html)
        assert all(one.startswith("data:image/png;base64,") for one in sources)
        assert "http" not in re.sub(r"base64,[^\"]+", "", html)
        assert "<script" not in html


@each
def test_a_sentence_is_spoken(module, name):
    made = opened(module, name)
    made.draw()
    assert 'aria-live="polite"' in made.words.value
    assert made.picture.value.startswith("<img alt=")


@each
def test_the_question_opens_after_any_answer(module, name):
    for answer in getattr(screen(module, name).guess, "replies", ()):
        made = part(module, "explore", name)()
        assert made.body.layout.display == "none"
        made.guess.asked.value = answer
        assert made.body.layout.display is None
        right = made.guess.right
        verdict = "Right." if answer == right else f"Not quite; it is: {right}."
        assert escape(f"{verdict} {made.guess.replies[answer]}") in made.guess.reply.value


@each
def test_without_a_kernel_it_says_what_is_to_be_seen(module, name):
    words = screen(module, name)._repr_mimebundle_()["text/plain"]
    assert words == f"{NO_KERNEL}\n{part(module, 'describe', name)(**started(module, name))}"


@each
def test_hostile_words_stay_words(module, name, monkeypatch):
    made = opened(module, name)
    monkeypatch.setattr(made, "describe", lambda **_: HOSTILE)
    made.draw()
    assert "<img" not in made.words.value and "<script" not in made.words.value
    assert "&lt;script&gt;" in made.words.value


@each
def test_a_mistake_in_the_settings_is_told_in_the_place_of_the_sentence(module, name, monkeypatch):
    made = opened(module, name)

    def refuse(**_): raise SFTError(f"Not so: {HOSTILE}")
    monkeypatch.setattr(made, "plot", refuse)
    made.draw()
    assert made.picture.value == "" and "Not so: &lt;/p&gt;" in made.words.value


def test_hostile_questions_stay_words():
    asked = Guess(HOSTILE, {"a": HOSTILE, "b": "no"}, "a")
    asked.asked.value = "a"
    for html in (asked.children[0].value, asked.reply.value):
        assert "<img" not in html and "<script" not in html and "&lt;script&gt;" in html


def test_a_control_that_changes_nothing_would_be_seen():
    controls = {"x": slider("x", 0, 2, 0), "y": slider("y", 0, 2, 0)}
    assert unmoved(controls, {"x": 0, "y": 0}, lambda x, y: f"y is {y}.") == ["x"]


# --- lessons and stored results ------------------------------------------------------------------

def lesson(module):
    "The notebook that a module is exported from."
    text = (ROOT / "sft_nb" / "widgets" / f"{module}.py").read_text(encoding="utf-8")
    source = re.search(r"File to edit: \.\./\.\./(nbs/\S+\.ipynb)", text).group(1)
    return json.loads((ROOT / source).read_text(encoding="utf-8"))


@each
def test_a_lesson_has_a_strip_with_words(module, name):
    strips = []
    for cell in lesson(module)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and "strip(" in source and "fig-alt:" in source:
            strips += [o for o in cell["outputs"] if "image/png" in o.get("data", {})]
    assert strips


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results" / "widgets").glob("*.json")), ids=lambda p: p.name
)
def test_stored_results_are_small(path):
    assert path.stat().st_size <= 200_000
    json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_wheel_brings_stored_results_along(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q",
               "-w", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    wanted = {f"sft_nb/widgets/stored/{p.name}" for p in (ROOT / "results/widgets").glob("*.json")}
    assert wanted and wanted <= names
