"""Pictures by matplotlib: previews of links ("social cards"), and the one on the front page."""
import json
import textwrap
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from sft_nb.figures import COLORS

INK, PAPER, QUIET = "#1b2a38", "#f7f9fb", "#52616f"
DOTS = 100  # per inch: 1200 × 630 pixels, as previews want them
RUNGS = {
    "majority": "always the frequent label",
    "tfidf": "counting words (TF-IDF)",
    "frozen": "pretrained, frozen",
    "scratch": "not pretrained",
    "fine-tuned": "pretrained, fine-tuned",
}


class Cards:
    "Draws cards on one figure: a new one for each would take most of the time."

    def __init__(self):
        self.figure = Figure(figsize=(12, 6.3), dpi=DOTS, facecolor=PAPER)
        self.figure.text(.07, .11, "sft_nb", size=26, weight="bold", color=COLORS["train"])
        said = "learn supervised fine-tuning by running it"
        self.figure.text(.19, .11, said, size=20, color=QUIET)
        self.place = self.figure.text(.07, .84, "", size=22, color=QUIET)
        self.title = self.figure.text(.07, .74, "", size=50, weight="bold", color=INK, va="top")

    def draw(self, path, title, place):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.place.set_text(place)
        lines = textwrap.wrap(title.replace("$", r"\$"), 26)[:4]
        self.title.set_text("\n".join(lines))
        self.title.set_size(50 if len(lines) < 4 else 40)
        self.figure.savefig(path, metadata={"Software": None})


def ladder(results):
    "(rung, mean accuracy) of the ladder on film reviews, and the number of seeds."
    runs = json.loads((results / "text_classification.json").read_text(encoding="utf-8"))["runs"]
    found = {
        name: [run["ladder"][name]["accuracy"] for run in runs if name in run["ladder"]]
        for name in RUNGS
    }
    return {name: sum(a) / len(a) for name, a in found.items() if a}, len(runs)


def told(means):
    "The ladder for those who do not see it."
    return "; ".join(f"{RUNGS[name]}: {mean:.3f}" for name, mean in means.items())


def front(path, means):
    "The ladder as bars; it reads on a light and on a dark page."
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"svg.fonttype": "none", "svg.hashsalt": "sft_nb", "font.family": "sans-serif"}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(7.2, 2.7), facecolor=PAPER, layout="constrained")
        figure.get_layout_engine().set(w_pad=.15, h_pad=.1)  # a reader's letters may be wider
        axes = figure.add_subplot(facecolor=PAPER)
        best = max(means, key=means.get)
        for k, (name, mean) in enumerate(means.items()):
            color = COLORS["train"] if name == best else COLORS["baseline"]
            axes.barh(k, mean, color=color, height=.72)
            axes.text(mean + .008, k, f"{mean:.1%}", va="center", color=INK, size=12)
        axes.set_yticks(range(len(means)), [RUNGS[name] for name in means], color=INK, size=12)
        axes.set(xlim=(0, 1), xticks=[])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        figure.savefig(path, metadata={"Date": None})


def draw_all(folder: Path, pages):
    "A card for each page: (page, title, place)."
    cards = Cards()
    for page, title, place in pages:
        cards.draw(folder / f"{page}.png", title, place)
