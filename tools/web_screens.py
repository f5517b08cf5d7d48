"""Screens on pages without Python: writes web/screens with their numbers to a folder.

python tools/web_screens.py OUT

    build(out)      OUT/screens: the modules of web/screens, and NAME.json for each of them, made
                    from the screens of sft_nb.widgets and from results/widgets
    embed(lesson)   what a page of this lesson takes in, with relative links; "" for other lessons

A page shows what Python would: tests/test_web_screens.py compares them, number by number.
"""
import json
import shutil
import sys
from functools import cache
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "web" / "screens"
MOST = 300_000  # bytes of a file of numbers
SCREENS = {  # name -> (its lesson, the function that makes it, its title)
    "logit_bench": ("widgets/01_logit_bench", "explore_logits", "The logit bench"),
    "pad_and_mask": ("widgets/02_pad_and_mask", "explore_pads", "Pad and mask"),
    "label_mask": ("widgets/03_label_mask", "explore_label_mask", "The label-mask painter"),
    "threshold": ("widgets/04_threshold", "explore_threshold", "Threshold, prevalence, silence"),
    "seed_roulette": ("widgets/05_seed_roulette", "explore_roulette", "Seed roulette"),
}
TAUGHT = {  # the lesson where the idea is taught -> its screen
    "batches/00_losses": "logit_bench",
    "batches/01_batching": "pad_and_mask",
    "tasks/writing/01_chat": "label_mask",
    "certification/11_selective": "threshold",
    "certification/09_seeds": "seed_roulette",
}


# --- what Python knows -----------------------------------------------------------------------

def screen_of(name):
    "The screen, as a notebook makes it."
    import importlib
    return getattr(importlib.import_module(f"sft_nb.widgets.{name}"), SCREENS[name][1])()


def base(name):
    "The numbers that a page computes with; none for the logit bench."
    from sft_nb.widgets.screens import stored
    if name == "logit_bench": return {}
    found = stored(name)
    if name == "threshold": return found["log odds of fresh, in thousandths"]
    if name == "label_mask":
        talks = found["losses in thousandths of a nat"]
        return {template: {"a date": each["a date"]} for template, each in talks.items()}
    if name == "seed_roulette":
        return {"runs": found["thousandths right"], "orders": found["orders"], "t": found["t"]}
    odds = found["log odds of fresh, in thousandths"]
    return {"pads": found["pads"], "fresh": found["fresh"], "odds": odds}


def described(name, control):
    "A control as a page makes it: kind, label, range or options, first value."
    import ipywidgets as widgets
    told = {"name": name, "label": control.description, "value": control.value}
    if isinstance(control, widgets.Checkbox): return told | {"kind": "switch"}
    if isinstance(control, widgets.SelectionSlider):
        return told | {"kind": "steps", "options": list(control.options)}
    if isinstance(control, widgets.Dropdown):
        return told | {"kind": "choice", "options": list(control.options)}
    return told | {"kind": "slider", "min": control.min, "max": control.max, "step": control.step}


@cache
def told(name):
    "All that a page needs to know of a screen."
    screen = screen_of(name)
    controls = [described(k, control) for k, control in screen.controls.items()]
    found = {"title": SCREENS[name][2], "controls": controls, "base": base(name), "guess": None}
    if screen.guess:
        guess = screen.guess
        found["guess"] = {"question": guess.asks, "replies": guess.replies, "right": guess.right}
    return found


# --- what a page takes -----------------------------------------------------------------------

def build(out):
    "Write OUT/screens; gives its files."
    place = Path(out) / "screens"
    place.mkdir(parents=True, exist_ok=True)
    for file in sorted(SOURCE.iterdir()):
        shutil.copy(file, place)
    for name in SCREENS:
        text = json.dumps(told(name), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        if len(text.encode()) > MOST:
            raise SystemExit(f"{name}.json would have more than {MOST} bytes.")
        (place / f"{name}.json").write_text(text, encoding="utf-8")
    return sorted(place.iterdir())


def name_of(lesson):
    "The screen that belongs to a lesson, or None."
    own = {where: name for name, (where, _, _) in SCREENS.items()}
    return (own | TAUGHT).get(lesson)


def embed(lesson):
    "The piece of HTML for the page of a lesson, such as widgets/04_threshold; screens is beside."
    name = name_of(lesson)
    if name is None: return ""
    up = "../" * lesson.count("/")
    return (
        f'<link rel="stylesheet" href="{up}screens/screen.css">\n'
        f'<div class="screen" data-screen="{name}" role="group" '
        f'aria-label="{escape(SCREENS[name][2])}">'
        "<noscript>This screen needs JavaScript. The pictures and sentences on this page say what "
        "it shows.</noscript></div>\n"
        f'<script type="module" src="{up}screens/screen.js"></script>\n')


if __name__ == "__main__":
    if len(sys.argv) != 2: raise SystemExit(__doc__)
    for file in build(sys.argv[1]):
        print(file)
