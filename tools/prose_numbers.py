"""Numbers in prose that nothing on the page says.

python tools/prose_numbers.py [NOTEBOOK …]    a line for each: notebook, cell, number, its sentence
python tools/prose_numbers.py --check         exits with 1 if one of them is not accepted

A number is confirmed by an output or the code of its notebook, of one that its cell links to (for
a worked answer: of its lesson), or by a file in results/. Prose may round: 0.83 for 0.8284, 83 %
for .8284, 13,000 for 12808. What a question supposes is left out. What no page can confirm, such
as a figure that somebody published, is accepted in tools/prose_numbers.toml, with the reason.
"""
import html
import re
import sys
import tomllib
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import lessons

ACCEPTED = lessons.ROOT / "tools" / "prose_numbers.toml"
SMALL = 12  # whole numbers up to this one are counts that a reader can check by counting
TIMES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
SPACE = "[ \u00a0\u2009\u202f]"
DIGITS = r"\d{1,3}(?:[,\u2009\u202f\u00a0]\d{3})+(?!\d)|\d{1,3}(?: \d{3})+(?!\d)|\d+"
NUMBER = re.compile(
    rf"(?<![\w.,/#^_{{-])(?P<whole>{DIGITS})?(?P<rest>\.\d+)?(?P<power>e[-+]?\d+)?"
    rf"(?![\w/^]|[.,:]\d|-[a-z])"
    rf"(?:{SPACE}?(?P<percent>%)|{SPACE}(?P<percent2>per ?cent)|"
    rf"{SPACE}(?P<times>{'|'.join(TIMES)}))?"
)
WORDS = dict(zip(
    "one two three four five six seven eight nine ten eleven twelve".split(), range(1, 13),
    strict=True))
SAID = re.compile(rf"(?<![-\w])({'|'.join(WORDS)}) per ?cent\b", re.I)
# Paragraphs that ask: in italics, and the call-outs that do.
ASKING = re.compile(
    r"^(?:> 🔮 \*\*Predict\.|> ✅ \*\*Stop and check\.).*?(?=\n[ \t]*\n|\Z)"
    r"|(?<![^\n])\*(?!\*)[^*]+\*(?=\n[ \t]*\n|\n?\Z)",
    re.S | re.M)
# What is no figure: code, formulas, links' targets, tags, numbers of lists, sections and versions.
LEFT_OUT = re.compile(
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$|\]\([^)]*\)|<[^>]+>|https?:\S+|&\w+;"
    r"|^ *\d+[.)](?= )|^#+ +\d+[a-z]?\b.*?(?=[. ]|$)|\bv?\d+\.\d+\.\d+\S*",
    re.S | re.M)
# Where questions begin, and cells that a tool writes: what they suppose is no claim.
QUESTIONS = re.compile(r"^## Exercises?\b|\*\*(?:Exercises?|A bug to hunt|Bug hunt)\b|"
                       r"^## A bug to hunt|\A<!-- ", re.M | re.I)
USUAL = re.compile(r"(?<![\d.])(?:90|95|99) ?%(?= (?:confidence|intervals?|bounds?)\b)")
IN_EVIDENCE = re.compile(
    r"(?<![\w.])((?:\d[\d,_]*\.?\d*|\.\d+)(?:e[-+]?\d+)?)( ?%| per ?cent)?", re.I)


@dataclass(frozen=True)
class Figure:
    "A number in a sentence."
    text: str  # as it is written
    value: float
    half: float  # of a unit in the last place: what rounding may hide
    percent: bool
    at: int

    @property
    def digits(self):
        "Those that tell it from others: two of them agree with anything."
        return re.sub(r"\D", "", self.text.partition("e")[0]).lstrip("0")


# --- what prose says -----------------------------------------------------------------------------

def is_plain(match):
    "Is it a small count or a year?"
    if match["rest"] or match["power"] or match["percent"] or match["percent2"] or match["times"]:
        return False
    value = int(re.sub(r"\D", "", match["whole"]))
    return value <= SMALL or (1900 <= value <= 2100 and len(match["whole"]) == 4)


def rounding(whole, rest, power):
    "Half a unit of the last place that counts. Of 13,000 that is the second digit."
    if power: return .5 * 10.0 ** (int(power[1:]) - max(len(rest) - 1, 0))
    if rest: return .5 * 10.0 ** (1 - len(rest))
    figures = re.sub(r"\D", "", whole)
    zeros = len(figures) - len(figures.rstrip("0"))
    return .5 * 10.0 ** min(zeros, max(len(figures) - 2, 0)) if len(figures) > 3 else .5


def figure(match):
    whole, rest, power = (match[k] or "" for k in ("whole", "rest", "power"))
    value = float(re.sub(r"\D", "", whole) + rest + power)
    by, half = TIMES.get(match["times"], 1), rounding(whole, rest, power)
    percent = bool(match["percent"] or match["percent2"])
    return Figure(match[0].strip(), value * by, half * by, percent, match.start())


def blank(match):
    return re.sub(r"[^\n]", " ", match[0])


def figures(text):
    "The numbers of a prose cell that an output ought to confirm."
    asked = QUESTIONS.search(text)
    text = text[:asked.start()] if asked else text
    for pattern in (ASKING, LEFT_OUT, USUAL):
        text = pattern.sub(blank, text)
    for match in NUMBER.finditer(text):
        if (match["whole"] or match["rest"]) and not is_plain(match):
            yield figure(match)
    for match in SAID.finditer(text):
        yield Figure(match[0], WORDS[match[1].lower()], .5, True, match.start())


# --- what the page shows -------------------------------------------------------------------------

def numbers(text):
    "The values of all numbers in a text; a percentage is its share."
    for match in IN_EVIDENCE.finditer(text):
        word = re.sub(r"[,_]", "", match[1])
        if word.strip("."):
            yield float(word) / 100 if match[2] else float(word)


def shown(book):
    "Everything that a notebook's code and outputs say."
    for cell in book["cells"]:
        if lessons.is_prose(cell):
            continue
        yield re.sub(r"^#\|.*$", "", lessons.source(cell), flags=re.M)
        for kind, text in lessons.texts(cell):
            yield html.unescape(re.sub(r"<[^>]+>", " ", text)) if kind == "text/html" else text


def evidence(parts):
    return sorted({value for part in parts for value in numbers(part)})


def among(found, value, half):
    "Is a value, up to rounding, one of a sorted list?"
    slack = half * (1 + 1e-9) + 1e-12
    first = bisect_left(found, value - slack)
    return first < len(found) and found[first] <= value + slack


LESSON = re.compile(r"\]\(([\w./-]+\.ipynb)(?:#[^)]*)?\)")
HEADING = re.compile(r"^## ((?:\w+/)*\w+)$", re.M)


def others_named(path, book):
    "Of every cell: the notebooks that it links to, and the lesson whose exercises it answers."
    answered = None
    for cell in book["cells"]:
        text = lessons.source(cell)
        links = [path.parent / link for link in LESSON.findall(text)]
        if path.parent.name == "answers" and (heading := HEADING.search(text)):
            answered = path.parents[1] / f"{heading[1]}.ipynb"
        named = [*links, answered] if answered else links
        yield [other.resolve() for other in named if other.is_file()]


@cache
def shown_by(path):
    return evidence(shown(lessons.read(path)))


@cache
def results():
    "The values in each file of results/, by its name."
    files = sorted((lessons.ROOT / "results").glob("*.json*"))
    return {path.name: set(numbers(path.read_text(encoding="utf-8"))) for path in files}


def stored(book):
    "Values of the files in results/ that the notebook names."
    text = "\n".join(lessons.source(cell) for cell in book["cells"])
    named = (values for name, values in results().items() if name in text)
    return sorted(set().union(*named))


@cache
def stored_anywhere():
    return sorted(set().union(*results().values()))


# --- what is left --------------------------------------------------------------------------------

def is_confirmed(said, places):
    "Does one of the sorted lists have the figure, or, if it has three digits, any of the results?"
    by = 100 if said.percent else 1
    value, half = said.value / by, said.half / by
    if any(among(place, value, half) for place in places):
        return True
    return len(said.digits) >= 3 and among(stored_anywhere(), value, min(half, .5))


def unconfirmed(path):
    "(number of the cell, the Figure, its text) of what nothing confirms."
    path = Path(path).resolve()
    book = lessons.read(path)
    page = [evidence(shown(book)), stored(book)]
    for i, (cell, named) in enumerate(zip(book["cells"], others_named(path, book), strict=True)):
        text = lessons.source(cell)
        said = list(figures(text)) if lessons.is_prose(cell) else []
        places = page + [shown_by(other) for other in named] if said else page
        yield from ((i, one, text) for one in said if not is_confirmed(one, places))


def sentence(text, at):
    "The words around a place."
    return re.sub(r"\s+", " ", text[max(0, at - 60):at + 50]).strip()


def accepted(path=ACCEPTED):
    "{(notebook, number)} that stand with a reason."
    table = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    entries = table.get("accepted", [])
    for entry in entries:
        if not entry.get("reason"):
            raise SystemExit(f"{path.name}: {entry} has no reason")
    return {(entry["notebook"], number) for entry in entries for number in entry["numbers"]}


def findings(paths, known=frozenset()):
    "(notebook, cell, number, sentence) that are not accepted, and what is accepted for nothing."
    found, used, paths = [], set(), list(paths)
    for path in paths:
        name = lessons.name(path)
        for i, said, text in unconfirmed(path):
            used.add((name, said.text))
            used.add(("*", said.text))
            if not {(name, said.text), ("*", said.text)} & known:
                found.append((name, i, said.text, sentence(text, said.at)))
    looked_at = {"*", *map(lessons.name, paths)}
    return found, sorted(entry for entry in known - used if entry[0] in looked_at)


def main(words):
    found, idle = findings(lessons.chosen(words), accepted())
    for name, i, number, text in found:
        print(f"{name} cell {i}: {number!r} in … {text} …")
    if "--check" not in words:
        return
    for name, number in idle:
        print(f"{name}: {number!r} is accepted in {ACCEPTED.name}, and no longer needs to be")
    if found or idle:
        raise SystemExit(f"Let outputs say these numbers, correct them, or give {ACCEPTED.name} "
                         "the reason.")


if __name__ == "__main__":
    main(sys.argv[1:])
