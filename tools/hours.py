"""How long a lesson takes to read: a formula over what is on the page.

python tools/hours.py [PATH …]    minutes of notebooks in nbs/, such as batches/00_losses

200 words of prose a minute; 15 lines of lesson code a minute, or 60 of the package's own, which
most people skim; 4 minutes for each exercise and each bug to hunt, half a minute for each question
of the questionnaire. Imports, hidden cells, and cells that tools write are not counted.
"""
import json
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

NBS = Path(__file__).parents[1] / "nbs"
PER_MINUTE = {"words": 200, "shown": 15, "exported": 60, "exercises": 1 / 4, "questions": 2}
MADE = re.compile(r"<!-- .*\btools/\w+\.py")
TAG = re.compile(r"<[^>]+>|\]\([^)]*\)|[|#>*`]")
EXERCISES = re.compile(
    r"^(?:## |\*\*)Exercises?\b(.*?)(?=^## |\*\*A bug|<details>|\Z)", re.MULTILINE | re.DOTALL
)
IMPORT = re.compile(r"(from|import)\b|[ )]|$")


@dataclass
class Page:
    "What a reader meets in a notebook."
    words: int = 0
    shown: int = 0  # lines of code that belong to the lesson
    exported: int = 0  # lines of code of the package
    exercises: int = 0  # bugs to hunt among them
    questions: int = 0

    @property
    def minutes(self): return sum(getattr(self, k) / v for k, v in PER_MINUTE.items())


def cells(path):
    "Of a notebook: (kind, source) of each cell."
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [(cell["cell_type"], "".join(cell["source"])) for cell in found]


def exercises(source):
    "How many exercises a cell has: 1. …, 2. …, in order; or a single one without a number."
    match = EXERCISES.search(source)
    count = 0
    for number in re.findall(r"^(\d+)\. ", match[1] if match else "", re.M):
        count += int(number) == count + 1
    return count or int(match is not None)


def hunts(source):
    "How many bugs a cell has to hunt."
    return len(re.findall(r"^## A bug to hunt|\*\*A bug to hunt", source, re.M))


def questions(name, nbs=NBS):
    "How many questions the questionnaire of a lesson has; 0 where there is none."
    path = nbs / "questions" / f"{name}.toml"
    return len(tomllib.loads(path.read_text(encoding="utf-8"))["question"]) if path.exists() else 0


def count_code(page, source):
    if re.search(r"^#\| *(hide|echo: false)\b", source, re.M): return
    lines = [line for line in source.splitlines() if line.strip() and not line.startswith("#|")]
    if all(map(IMPORT.match, lines)): return
    if re.search(r"^#\| *exporti?\b", source, re.M): page.exported += len(lines)
    else: page.shown += len(lines)


def measure(name, nbs=NBS):
    "What a reader meets in a lesson."
    page = Page(questions=questions(name, nbs))
    for kind, source in cells(nbs / f"{name}.ipynb"):
        if MADE.match(source): continue
        if kind == "code": count_code(page, source)
        if kind != "markdown": continue
        page.words += len(TAG.sub(" ", source).split())
        page.exercises += exercises(source) + hunts(source)
    return page


if __name__ == "__main__":
    for name in sys.argv[1:]:
        page = measure(name)
        print(f"{name}: {page.minutes:.0f} minutes, {page}")
