"""Write what nbs/course.toml knows into the notebooks: the course has its order from there alone.

python tools/course.py              every notebook, the maps, and the tables of nbs/index.ipynb
python tools/course.py NAME …       these alone, such as batches/00_losses or index
python tools/course.py --check      is everything as it would be written?

A lesson gets a cell behind its title and subtitle (where it is in the course, how long it takes,
what it needs, what it is good for; in the core a map of the road) and a last cell with links to its
neighbours. Both are known by a comment, and replaced when the tool runs again.
"""
import json
import os
import sys
import tomllib
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import road

NBS = Path(__file__).parents[1] / "nbs"
MARK = "<!-- made by tools/course.py from nbs/course.toml: change it there -->\n\n"
QUARTERS = ("", "¼", "½", "¾")
SHORT = ("", "a quarter of an hour", "half an hour", "three quarters of an hour", "an hour")


# --- what the file says ---

@dataclass
class Lesson:
    "A notebook and its place in the course."
    path: str  # in nbs/, without the suffix
    part: dict  # what the file says about the part
    about: str  # what one learns, in a line of the table
    read: float  # minutes to read, exercises included
    run: float  # seconds to run
    title: str = ""  # where it differs from the notebook's own
    chapter: str = ""  # of its part
    needs: tuple = ()  # lessons, by path
    also: str = ""  # what else one needs
    able: tuple = ()  # what the reader will be able to do
    stations: tuple = ()  # of the road; core lessons have them
    slow: bool = False  # the cells flagged slow belong to the lesson, and are measured
    nbs: Path = NBS

    @property
    def file(self): return self.nbs / f"{self.path}.ipynb"

    @property
    def map(self): return self.nbs / "images" / "road" / f"{self.path.replace('/', '-')}.svg"

    @property
    def hours(self): return self.read / 60 + self.run / 3600

    @cached_property
    def name(self):
        "The title without what follows a colon."
        return self.title or heading(self.file).partition(": ")[0]

    def link(self, other):
        "A relative link from this lesson to another one."
        to = os.path.relpath(other.file, self.file.parent)
        return f"[{other.name}]({Path(to).as_posix()})"


def read_file(nbs=NBS): return tomllib.loads((nbs / "course.toml").read_text(encoding="utf-8"))


def read_course(nbs=NBS):
    "All lessons of the file in their order, those too whose notebook does not exist."
    parts = read_file(nbs)["part"]
    return [
        Lesson(part=part, nbs=nbs, **lesson) for part in parts for lesson in part.pop("lesson")
    ]


def there(nbs=NBS):
    "The lessons that can be read."
    return [lesson for lesson in read_course(nbs) if lesson.file.is_file()]


# --- notebooks ---

def source(cell): return "".join(cell["source"])


def is_title(cell): return cell["cell_type"] == "markdown" and source(cell).startswith("# ")


def load(path): return json.loads(path.read_text(encoding="utf-8"))


def dump(notebook):
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def heading(path):
    "A notebook's own title."
    titles = [source(cell) for cell in load(path)["cells"] if is_title(cell)]
    if not titles: raise SystemExit(f"{path} has no title: a cell that begins with '# '.")
    return titles[0].splitlines()[0].removeprefix("# ").strip()


def prose(name, text):
    "A cell of ours."
    lines = (MARK + text).splitlines(keepends=True)
    return {"cell_type": "markdown", "id": f"course-{name}", "metadata": {}, "source": lines}


# --- numbers, as one says them ---

def spoken_hours(hours):
    "In quarters of an hour."
    quarters = max(1, round(4 * hours))
    if quarters <= 4: return SHORT[quarters]
    return f"{quarters // 4}{QUARTERS[quarters % 4]} hours"


def spoken_run(seconds):
    if seconds <= 15: return "a few seconds"
    if seconds <= 45: return "half a minute"
    return "a minute" if seconds <= 90 else f"{round(seconds / 60)} minutes"


# --- the two cells of a lesson ---

def position(lesson, lessons):
    "Part, chapter and number."
    mates = [m for m in lessons if (m.part, m.chapter) == (lesson.part, lesson.chapter)]
    where = " · ".join(filter(None, [lesson.part["name"], lesson.chapter]))
    if len(mates) == 1: return f"**{where}**"
    return f"**{where}**, lesson {mates.index(lesson) + 1} of {len(mates)}"


def promise(able):
    if len(able) == 1: return f"**You will be able to** {able[0]}."
    return "**You will be able to**\n\n" + "\n".join(f"- {item}" for item in able)


def place_cell(lesson, lessons):
    "What stands behind the title."
    by_path = {one.path: one for one in lessons}
    needs = [lesson.link(by_path[path]) for path in lesson.needs if path in by_path]
    if lesson.also: needs.append(lesson.also)
    time = f"{lesson.read:g} minutes to read, {spoken_run(lesson.run)} to run"
    facts = [position(lesson, lessons), time, f"needs {', '.join(needs) or 'nothing'}"]
    parts = [" · ".join(facts), promise(lesson.able)]
    if lesson.stations:
        picture = Path(os.path.relpath(lesson.map, lesson.file.parent)).as_posix()
        parts.insert(0, f"![{road.told(lesson.stations)}]({picture})")
    return prose("place", "\n\n".join(parts))


def onward(lesson, after):
    "The link to the next lesson; where a chapter or a part begins, with its name."
    if lesson.chapter == after.chapter and lesson.part == after.part:
        return f"{lesson.link(after)} →"
    begins = after.chapter if lesson.part == after.part else after.part["name"]
    return f"next, *{begins}*: {lesson.link(after)} →"


def links_cell(lesson, lessons):
    "The way on, and back."
    k = lessons.index(lesson)
    index = Path(os.path.relpath(lesson.nbs / "index.ipynb", lesson.file.parent)).as_posix()
    parts = [f"[all lessons]({index}#The-course)"]
    if k: parts.insert(0, f"← {lesson.link(lessons[k - 1])}")
    if k + 1 < len(lessons): parts.append(onward(lesson, lessons[k + 1]))
    return prose("links", "---\n\n" + " · ".join(parts))


def parted(cell):
    "The title with its subtitle; and what follows them, in a cell of its own."
    lines = source(cell).splitlines()
    head = next((k for k, line in enumerate(lines) if k and line and line[0] != ">"), len(lines))
    title, rest = ("\n".join(part).strip() for part in (lines[:head], lines[head:]))
    others = [cell | {"id": f"{cell['id']}-on", "source": rest.splitlines(keepends=True)}]
    return cell | {"source": title.splitlines(keepends=True)}, others if rest else []


def lesson_text(lesson, lessons):
    "The notebook with its two cells."
    notebook = load(lesson.file)
    kept = [cell for cell in notebook["cells"] if not source(cell).startswith(MARK)]
    k = next(k for k, cell in enumerate(kept) if is_title(cell))
    title, rest = parted(kept[k])
    place, links = place_cell(lesson, lessons), links_cell(lesson, lessons)
    return dump(notebook | {"cells": [*kept[:k], title, place, *rest, *kept[k + 1:], links]})


def map_text(lesson, lessons):
    "The map of a core lesson; stations of the lessons before it have been passed."
    before = lessons[:lessons.index(lesson)]
    been = [one.stations[0] for one in before if len(one.stations) == 1]
    return road.draw(lesson.stations, been)


# --- the tables of the index ---

def rows(lessons):
    for k, lesson in enumerate(lessons, 1):
        link = f"[{lesson.name}]({lesson.path}.ipynb)"
        yield f"| {k} | {link} | {lesson.about} | {lesson.read:g} |"


def part_lines(part, lessons):
    yield f"### {part['name']}: {spoken_hours(part['hours'])}\n\n{part['about']}\n"
    yield "| | lesson | you learn | minutes |\n|---|---|---|---|"
    for chapter, group in groupby(lessons, key=lambda lesson: lesson.chapter):
        mates = list(group)
        hours = spoken_hours(sum(lesson.hours for lesson in mates))
        if chapter: yield f"| | **{chapter}** | *{hours}* | |"
        yield from rows(mates)
    yield ""


def beside(nbs):
    "Links to pages that are no lessons, and to the notebooks with worked answers."
    for page in read_file(nbs).get("page", ()):
        file = nbs / f"{page['path']}.ipynb"
        if file.is_file(): yield f"- [{heading(file)}]({page['path']}.ipynb): {page['about']}"
    links = [f"[{path.stem}](answers/{path.name})" for path in sorted(nbs.glob("answers/*.ipynb"))]
    if links: yield f"- Worked answers to the exercises: {', '.join(links)}"


def index_text(lessons, nbs):
    "The index with the tables of the course."
    notebook = load(nbs / "index.ipynb")
    lines = [f"## The course\n\n![{road.told()}](images/road/index.svg)\n"]
    for _, group in groupby(lessons, key=lambda lesson: lesson.part["name"]):
        mates = list(group)
        lines += part_lines(mates[0].part, mates)
    others = list(beside(nbs))
    if others: lines += ["### Beside the lessons\n", *others]
    table = prose("table", "\n".join(lines).rstrip())
    cells = [table if source(cell).startswith(MARK) else cell for cell in notebook["cells"]]
    if table not in cells: raise SystemExit("nbs/index.ipynb: no cell begins with the mark.")
    return dump(notebook | {"cells": cells})


# --- writing ---

def made(nbs=NBS, only=()):
    "What every file should hold: path -> text; None for a map that no lesson has."
    lessons = there(nbs)
    chosen = [lesson for lesson in lessons if not only or lesson.path in only]
    texts = {lesson.file: lesson_text(lesson, lessons) for lesson in chosen}
    texts |= {lesson.map: map_text(lesson, lessons) for lesson in chosen if lesson.stations}
    if not only or "index" in only:
        texts[nbs / "index.ipynb"] = index_text(lessons, nbs)
        texts[nbs / "images" / "road" / "index.svg"] = road.draw((), tuple(road.STATIONS))
    old = [] if only else [path for path in nbs.glob("images/road/*.svg") if path not in texts]
    return texts | dict.fromkeys(old)


def differs(path, text):
    return text != (path.read_text(encoding="utf-8") if path.exists() else None)


def write(path, text):
    if text is None:
        path.unlink()
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


def main(argv):
    only = [word.removesuffix(".ipynb") for word in argv if not word.startswith("-")]
    if strange := set(only) - {"index", *(lesson.path for lesson in read_course())}:
        sys.exit(f"Not in nbs/course.toml: {', '.join(sorted(strange))}. A lesson is named by its "
                 "path in nbs/, such as data/08_leaks.")
    other = {path: text for path, text in made(only=only).items() if differs(path, text)}
    names = ", ".join(path.relative_to(NBS).as_posix() for path in list(other)[:9])
    if len(other) > 9: names += f" and {len(other) - 9} more"
    if "--check" in argv:
        if other: sys.exit(f"Not as nbs/course.toml says: run python tools/course.py. {names}")
        return
    for path, text in other.items():
        write(path, text)
    print(f"written: {names}" if other else "nothing to do")


if __name__ == "__main__":
    main(sys.argv[1:])
