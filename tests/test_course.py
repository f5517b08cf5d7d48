"""The course: its order, its hours, its links, an answer for every exercise."""
import json
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NBS = ROOT / "nbs"
sys.path.insert(0, str(ROOT / "tools"))
import course
import hours
import road

LISTED = course.read_course()
LESSONS = {lesson.path: lesson for lesson in LISTED if lesson.file.is_file()}
CORE = [lesson for lesson in LISTED if lesson.part["name"] == "Core"]
PAGES = sorted(
    path.relative_to(NBS).as_posix().removesuffix(".ipynb")
    for path in NBS.rglob("*.ipynb")
    if not any(part.startswith((".", "_")) for part in path.relative_to(NBS).parts)
)
RUNS = json.loads((ROOT / "results" / "lessons.json").read_text(encoding="utf-8"))["runs"]
SECONDS = {run["notebook"].removesuffix(".ipynb"): run["processor_seconds"] for run in RUNS}
OUTSIDE = {"index", *(page["path"] for page in course.read_file().get("page", ()))}


@cache
def cells(page):
    "Of a page: all its cells."
    return json.loads((NBS / f"{page}.ipynb").read_text(encoding="utf-8"))["cells"]


def sources(page, kind):
    return ["".join(cell["source"]) for cell in cells(page) if cell["cell_type"] == kind]


# --- order ---------------------------------------------------------------------------------------

def test_every_notebook_is_in_the_course_once():
    "But for the pages that are no lessons; answers are found by name."
    pages = {page for page in PAGES if not page.startswith("answers/")} - OUTSIDE
    twice = [path for path, n in Counter(lesson.path for lesson in LISTED).items() if n > 1]
    assert not twice
    assert not pages - LESSONS.keys(), "give them a place in nbs/course.toml"
    assert not {lesson.path for lesson in LISTED} - pages, "nbs/course.toml lists what is not there"


def test_needs_make_no_circle():
    try:
        list(TopologicalSorter({lesson.path: lesson.needs for lesson in LISTED}).static_order())
    except CycleError as e:
        pytest.fail(" needs ".join(reversed(e.args[1])))


def test_a_lesson_needs_what_comes_before_it():
    "In its own part. What it needs of another part is there, and makes no circle."
    before, wrong = {}, []
    parts = {lesson.path: lesson.part["name"] for lesson in LISTED}
    for lesson in LISTED:
        mine = parts[lesson.path]
        wrong += [
            f"{lesson.path} needs {path}" for path in lesson.needs
            if path not in parts or (parts[path] == mine and path not in before)
        ]
        before[lesson.path] = mine
    assert not wrong


def test_the_core_needs_the_core_alone():
    known, wrong = {LISTED[0].path}, []
    for lesson in CORE:
        wrong += [f"{lesson.path} needs {path}" for path in lesson.needs if path not in known]
        known.add(lesson.path)
    assert not wrong and len(CORE) > 20


def test_every_lesson_says_what_it_is_good_for():
    assert not [lesson.path for lesson in LISTED if not lesson.able or not lesson.about]
    dots = [lesson.path for lesson in LISTED if any(a.endswith(".") for a in lesson.able)]
    assert not dots  # the tool makes the sentence


# --- hours ---------------------------------------------------------------------------------------

def near(said, found, slack):
    "Within half of what was found, or so close that nobody minds."
    return abs(said - found) <= max(found / 2, slack)


@pytest.mark.parametrize("path", LESSONS)
def test_minutes_are_those_of_the_formula(path):
    found = hours.measure(path)
    assert near(LESSONS[path].read, found.minutes, 5), f"{found.minutes:.0f} minutes: {found}"


@pytest.mark.parametrize("path", LESSONS)
def test_seconds_are_those_that_were_measured(path):
    assert path in SECONDS, "run python tests/bench/lessons.py"
    assert near(LESSONS[path].run, SECONDS[path], 10), f"{SECONDS[path]} seconds"


@pytest.mark.parametrize("name", {lesson.part["name"]: 0 for lesson in LISTED})
def test_hours_of_a_part_are_those_of_its_lessons(name):
    mates = [lesson for lesson in LESSONS.values() if lesson.part["name"] == name]
    total, said = sum(lesson.hours for lesson in mates), mates[0].part["hours"]
    assert said * 4 == int(said * 4), "in quarters of an hour"
    assert abs(said - total) <= max(.25, .1 * total), f"{total:.2f} hours"


def test_the_core_takes_about_twelve_hours():
    assert 10 <= CORE[0].part["hours"] <= 14


# --- what a core lesson has ----------------------------------------------------------------------

def test_every_core_lesson_has_a_map_and_stations_of_the_road():
    assert not [lesson.path for lesson in CORE if not lesson.stations]
    assert not [lesson.path for lesson in CORE if not lesson.map.is_file()]
    assert {name for lesson in CORE for name in lesson.stations} == set(road.STATIONS)


def test_every_core_lesson_has_a_questionnaire():
    asked = {lesson.path: hours.questions(lesson.path) for lesson in [LISTED[0], *CORE]}
    assert not [f"{path}: {n} questions" for path, n in asked.items() if not 8 <= n <= 12]


# --- answers -------------------------------------------------------------------------------------

STATIONS = {"": "foundations", "package": "commands"}  # otherwise the name of the folder
FOLDED = re.compile(r"<details>\s*<summary>(?!Hint|Answers<)")


def answers_of(path):
    "The notebook with a lesson's worked answers: the one that it links, or its folder's."
    link = re.search(r"\(\S*\banswers/(\w+)\.ipynb", "\n".join(sources(path, "markdown")))
    if link: return f"answers/{link[1]}"
    folder = Path(path).parent.as_posix().removeprefix("tasks/").removeprefix(".")
    return f"answers/{STATIONS.get(folder, folder)}"


def wanted(path):
    "The headings that a lesson's answers must have."
    texts = sources(path, "markdown")
    yield from (f"Exercise {k + 1}" for k in range(sum(map(hours.exercises, texts))))
    for text in texts:
        _, hunt, story = text.partition("A bug to hunt")
        if hunt and not FOLDED.search(story) and not folded_below(path, text): yield "The bug"


def folded_below(path, text):
    "Is the answer in the cell that follows?"
    texts = ["".join(cell["source"]) for cell in cells(path)]
    below = texts[texts.index(text) + 1:][:1]
    return any(FOLDED.match(one) for one in below)


def answered(page):
    "Of a notebook with answers: lesson -> its headings."
    found, lesson = {}, None
    for line in "\n".join(sources(page, "markdown")).splitlines():
        if line.startswith("## "): lesson = line[3:].strip()
        if line.startswith("### "): found.setdefault(lesson, []).append(line[4:].strip())
    return found


@pytest.mark.parametrize("path", LESSONS)
def test_every_exercise_has_an_answer(path):
    page, asked = answers_of(path), list(wanted(path))
    if not asked: return
    assert page in PAGES, f"{page}: {asked}"
    found = answered(page)
    there = found.get(path) or found.get(path.removeprefix("tasks/")) or []
    missing = [one for one in asked if not any(h.startswith(one) for h in there)]
    assert not missing, f"{page} has no {missing} under '## {path}'"


# --- links, pictures, lines ----------------------------------------------------------------------

LINK = re.compile(r"\]\(((?![a-z]+:)[^)\s]*)\)|<img[^>]* src=\"((?![a-z]+:)[^\"]*)\"")


def slug(text):
    "A heading as an anchor, whoever makes it: small letters and hyphens."
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


@cache
def anchors(page):
    text = "\n".join(sources(page, "markdown"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {slug(name) for name in [*headings, *re.findall(r'<a id="([^"]+)"', text)]}


def leads(page, link):
    "Does a relative link lead to a file, and to a heading in it?"
    target, _, anchor = link.partition("#")
    path = (NBS / page).parent / target if target else NBS / f"{page}.ipynb"
    if not path.exists(): return False
    if not anchor or path.suffix != ".ipynb": return True
    other = path.resolve().relative_to(NBS).as_posix().removesuffix(".ipynb")
    return slug(anchor) in anchors(other)


def links(page):
    text = "\n".join(sources(page, "markdown"))
    text = re.sub(r"^```.*?^```|`[^`\n]*`|\$[^$\n]*\$", "", text, flags=re.MULTILINE | re.DOTALL)
    found = [one or two for one, two in LINK.findall(text)]
    return [link for link in found if not link.endswith(".ipynb")]  # tests/test_links.py has those


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_somewhere(page):
    assert not [link for link in links(page) if not leads(page, link)]


def pictures(page):
    "(what, alternative text) of every picture on a page."
    for text in sources(page, "markdown"):
        yield from ((link, alt) for alt, link in re.findall(r"!\[(.*?)\]\((.*?)\)", text))
        for tag in re.findall(r"<img[^>]*>", text):
            yield tag, "".join(re.findall(r'alt="([^"]+)"', tag))
    for cell in (cell for cell in cells(page) if cell["cell_type"] == "code"):
        shown = [out for out in cell["outputs"] if "image/png" in out.get("data", {})]
        source = "".join(cell["source"])
        told = re.findall(r"^#\| *fig-alt: *(\S.*)", source, re.MULTILINE)
        if shown: yield source[:60], "".join(told)


@pytest.mark.parametrize("page", PAGES)
def test_every_picture_has_words_for_those_who_do_not_see_it(page):
    assert not [what for what, alt in pictures(page) if len(alt) < 10]


@pytest.mark.parametrize("page", PAGES)
def test_no_line_of_code_leaves_the_page(page):
    lines = "\n".join(sources(page, "code")).splitlines()
    assert not [line for line in lines if len(line) > 100 and not line.startswith("#|")]


@pytest.mark.parametrize("page", LESSONS)
def test_what_the_course_says_is_not_said_by_hand(page):
    by_hand = re.compile(r"^\*Time\b.*needs\b.*", re.MULTILINE)
    assert not by_hand.findall("\n".join(sources(page, "markdown")))


@pytest.mark.parametrize("page", PAGES)
def test_no_page_is_unfinished(page):
    "Words that stand for what is to come: XXX, TODO-1, RESULT-2."
    text = "\n".join(sources(page, "markdown") + sources(page, "code"))
    assert not re.findall(r"\bXXX\w*|\bTODO\b\S*|\bRESULT-\w+", text)


# --- the tool ------------------------------------------------------------------------------------

def test_everything_is_as_the_tool_writes_it():
    command = [sys.executable, str(ROOT / "tools" / "course.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


LITTLE = """
[[part]]
name = "Core"
hours = 1
about = "Read it."
[[part.lesson]]
path = "one"
about = "the first thing"
able = ["begin", "go on"]
stations = ["split"]
read = 20
run = 5
[[part.lesson]]
path = "deep/two"
about = "the second thing"
needs = ["one"]
able = ["end"]
read = 30
run = 60
[[part.lesson]]
path = "three"
about = "not written yet"
read = 1
run = 1
"""


def saved(path, *texts):
    "A small notebook; what begins with #| is code."
    made = [
        {"cell_type": "code" if text.startswith("#|") else "markdown", "id": f"c{k}",
         "metadata": {}, "source": text.splitlines(keepends=True)}
        for k, text in enumerate(texts)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(course.dump({"cells": made, "nbformat": 4, "nbformat_minor": 5}))


@pytest.fixture
def little(tmp_path):
    "A course of two lessons, written by the tool."
    (tmp_path / "course.toml").write_text(LITTLE)
    saved(tmp_path / "index.ipynb", "# All", course.MARK)
    saved(tmp_path / "one.ipynb", "#| default_exp one", "# One: first\n\n> Why.\n\nMore.", "End.")
    saved(tmp_path / "deep" / "two.ipynb", "# Two")
    for path, text in course.made(tmp_path).items():
        course.write(path, text)
    return tmp_path


def texts_of(path): return [course.source(cell) for cell in course.load(path)["cells"]]


def test_a_lesson_gets_its_place_and_its_neighbours(little):
    first = texts_of(little / "one.ipynb")
    assert first[:2] == ["#| default_exp one", "# One: first\n\n> Why."]
    assert first[3:5] == ["More.", "End."] and len(first) == 6
    told = first[2]
    assert "](images/road/one.svg)" in told and "lesson 1 of 2" in told
    assert "20 minutes to read, a few seconds to run · needs nothing" in told
    assert told.endswith("**You will be able to**\n\n- begin\n- go on")
    assert first[5].endswith("[all lessons](index.ipynb#The-course) · [Two](deep/two.ipynb) →")
    title, told, links = texts_of(little / "deep" / "two.ipynb")
    assert title == "# Two"
    assert told.endswith("needs [One](../one.ipynb)\n\n**You will be able to** end.")
    assert links.endswith("← [One](../one.ipynb) · [all lessons](../index.ipynb#The-course)")


def test_the_way_on_says_where_a_part_begins(little):
    file = little / "course.toml"
    old = '[[part.lesson]]\npath = "deep/two"'
    new = f'[[part]]\nname = "Tasks"\nhours = 1\nabout = "Choose."\n{old}'
    file.write_text(file.read_text().replace(old, new))
    links = course.made(little)[little / "one.ipynb"]
    assert "· next, *Tasks*: [Two](deep/two.ipynb) →" in links


def test_the_index_has_the_table(little):
    table = texts_of(little / "index.ipynb")[1]
    assert "### Core: an hour\n\nRead it." in table
    assert "| 2 | [Two](deep/two.ipynb) | the second thing | 30 |" in table and "three" not in table


def test_an_index_without_a_place_for_the_table_is_refused(little):
    saved(little / "index.ipynb", "# All")
    with pytest.raises(SystemExit, match="no cell begins with the mark"):
        course.made(little)


def test_a_second_time_changes_nothing_and_a_change_is_seen(little):
    def other(): return [p for p, text in course.made(little).items() if course.differs(p, text)]
    assert other() == []
    file = little / "course.toml"
    file.write_text(file.read_text().replace("the second thing", "another thing"))
    assert other() == [little / "index.ipynb"]
    (little / "images" / "road" / "old.svg").write_text("")
    assert course.made(little)[little / "images" / "road" / "old.svg"] is None


def test_a_map_names_its_place_and_is_the_same_again():
    drawn = road.draw(("loss",), ("split",))
    assert drawn == road.draw(("loss",), ("split",)) and drawn.count(road.PIN) == 1
    assert "You are here: loss." in drawn and drawn.count("<rect") == len(road.STATIONS)
    assert "all of it" in road.told(tuple(road.STATIONS)) and "here" not in road.told()


@pytest.mark.parametrize("number, said", [
    (.1, "a quarter of an hour"), (.5, "half an hour"), (1.05, "an hour"), (1.3, "1¼ hours"),
    (12, "12 hours"),
])
def test_hours_are_said_in_quarters(number, said):
    assert course.spoken_hours(number) == said


@pytest.mark.parametrize("text, count", [
    ("## Recap\n\n1. No.", 0), ("## Exercises\n\n1. See epoch 2. Do.\n2. Go.", 2),
    ("## Exercises\n\n1. Do.\n\n## A bug to hunt\n\n2. No.", 1), ("**Exercise.** Do.", 1),
])
def test_exercises_are_counted(text, count):
    assert hours.exercises(text) == count


def test_what_a_reader_meets_is_counted(tmp_path):
    saved(
        tmp_path / "a.ipynb", "# A *b*\n\n[c](d.ipynb) e", "#| hide\nx = 1", "#| export\nimport x",
        "#| export\ndef f():\n    return 1\n", "#| echo: true\nf()", course.MARK + "not counted",
        "## Exercises\n\n1. Do.",
    )
    page = hours.measure("a", tmp_path)
    assert (page.shown, page.exported, page.exercises, page.questions) == (1, 2, 1, 0)
    assert page.words == 4 + 3 and 4 < page.minutes < 5


def test_a_lesson_that_is_not_in_the_course_is_named():
    with pytest.raises(SystemExit, match="no/such.*such as data/08_leaks"):
        course.main(["no/such"])
