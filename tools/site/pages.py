"""Pages that no notebook is: the parts of the course, and the page for teachers."""
from functools import cached_property
from itertools import groupby
from pathlib import Path

import course

from .stage import Book

HERE = Path(__file__).parent
ANSWERS = "Worked answers"


class Part:
    "A part of the course and its lessons, by chapter."

    def __init__(self, mates):
        said = mates[0].part
        self.name, self.about, self.spent = said["name"], said["about"], said["hours"]
        self.page = f"course/{self.name.lower().replace(' ', '-')}"
        grouped = groupby(mates, key=lambda lesson: lesson.chapter)
        self.chapters = [Chapter(name, list(group)) for name, group in grouped]

    @property
    def hours(self): return course.spoken_hours(self.spent)

    @property
    def lessons(self): return [lesson for chapter in self.chapters for lesson in chapter.lessons]

    def page_text(self):
        lines = [f"# {self.name}", "", f"> {self.about}", "", f"**{self.hours.capitalize()}**", ""]
        number = 1
        for chapter in self.chapters:
            if chapter.name:
                lines += [f"## {chapter.name}", "", f"*{chapter.hours}*", ""]
            lines += ["| | lesson | you learn | minutes |", "|---|---|---|---|"]
            for lesson in chapter.lessons:
                link = f"[{lesson.name}](/{lesson.path}.ipynb)"
                lines.append(f"| {number} | {link} | {lesson.about} | {lesson.read:g} |")
                number += 1
            lines.append("")
        return "\n".join(lines)


class Chapter:
    "Some lessons of a part that belong together; without a name where a part has no chapters."

    def __init__(self, name, mates):
        self.name, self.lessons = name, mates

    @property
    def hours(self): return course.spoken_hours(sum(lesson.hours for lesson in self.lessons))


class Course:
    "What nbs/course.toml says, and the notebooks that it names."

    def __init__(self, nbs):
        self.nbs = nbs
        self.lessons = course.there(nbs)
        grouped = groupby(self.lessons, key=lambda lesson: lesson.part["name"])
        self.parts = [Part(list(group)) for _, group in grouped]

    @cached_property
    def answers(self):
        "The notebooks with worked answers."
        return [f"answers/{path.stem}" for path in sorted(self.nbs.glob("answers/*.ipynb"))]

    @cached_property
    def beside(self):
        "The pages that are no lessons."
        named = [page["path"] for page in course.read_file(self.nbs).get("page", ())]
        return [path for path in named if (self.nbs / f"{path}.ipynb").is_file()]

    @cached_property
    def books(self):
        "Every notebook that becomes a page, by its path."
        paths = ["index", *(lesson.path for lesson in self.lessons), *self.beside, *self.answers]
        found = {path: Book(path, self.nbs, front=path == "index") for path in paths}
        names = {lesson.path: lesson.name for lesson in self.lessons}
        for path, book in found.items():
            book.title = names.get(path) or course.heading(self.nbs / f"{path}.ipynb")
        return found

    def part_of(self, path):
        "The part that a lesson belongs to, or None."
        return next((p for p in self.parts for lesson in p.lessons if lesson.path == path), None)


# --- pages ---------------------------------------------------------------------------------------

def table_of_parts(parts):
    lines = ["| part | hours | lessons | what it is for |", "|---|---|---|---|"]
    for part in parts:
        link = f"[{part.name}](/{part.page}.md)"
        lines.append(f"| {link} | {part.spent:g} | {len(part.lessons)} | {part.about} |")
    return "\n".join(lines)


def answers_page(known):
    lines = [f"# {ANSWERS}", "", "> Every exercise of every lesson, answered; code included.", ""]
    lines += [f"- [{known.books[path].title}](/{path}.ipynb)" for path in known.answers]
    return "\n".join(lines)


def questionnaires(nbs):
    "How many lessons end with questions."
    return len(list((nbs / "questions").rglob("*.toml")))


def teachers_page(known):
    "The page for teachers: its words stand in teachers.md, its figures come from the course."
    figures = {
        "parts": table_of_parts(known.parts),
        "hours": f"{sum(part.spent for part in known.parts):g}",
        "lessons": str(len(known.lessons)),
        "answers": str(len(known.answers)),
        "questionnaires": str(questionnaires(known.nbs)),
    }
    text = (HERE / "teachers.md").read_text(encoding="utf-8")
    for name, told in figures.items():
        text = text.replace(f"@{name}@", told)
    return text


def toctree(pages, caption):
    "A list that no reader sees: it tells Sphinx the order of the pages."
    lines = ["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"]
    return "\n".join(lines)


def order(known, reference):
    "Every page once, by section."
    yield "course", [page for part in known.parts
                     for page in (part.page, *(lesson.path for lesson in part.lessons))]
    yield "beside", [*known.beside, "teachers", "answers/index", *known.answers]
    yield "reference", ["api/index", *(module.page for module in reference)]


def front_matter(known, reference):
    "The cells that the front page has besides those of nbs/index.ipynb: a picture, and the order."
    picture = (HERE / "front.md").read_text(encoding="utf-8")
    trees = "\n\n".join(toctree(pages, name) for name, pages in order(known, reference))
    return picture, trees


def made(known, reference):
    "Page -> its text."
    pages = {part.page: part.page_text() for part in known.parts}
    pages["answers/index"] = answers_page(known)
    pages["teachers"] = teachers_page(known)
    return pages
