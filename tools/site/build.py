"""From the notebooks to a folder of pages."""
import json
import os
import shutil
import tempfile
from pathlib import Path

import course
import lessons
from sphinx.cmd.build import build_main

from . import ROOT, SETTINGS, api, cards, pages
from .check import findings
from .stage import staged

HERE = Path(__file__).parent


def public_names(reference):
    "Every name that the reference explains, dotted."
    return {
        f"{module.name}.{entry.name}" for module, offered in reference.items()
        for one in offered for entry in (one, *one.members)
    }


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def front_page(text, known, reference, means, seeds):
    "The front page with its picture and the order of all pages."
    book = json.loads(text)
    picture, trees = pages.front_matter(known, reference)
    picture = picture.replace("@told@", cards.told(means)).replace("@seeds@", str(seeds))
    kept = book["cells"]
    k = next(k for k, cell in enumerate(kept) if course.is_title(cell))
    title, rest = course.parted(kept[k])
    picture, trees = course.prose("picture", picture), course.prose("order", trees)
    cells = [*kept[:k], title, picture, *rest, *kept[k + 1:], trees]
    return json.dumps(book | {"cells": cells}, ensure_ascii=False)


def stage(folder, known, reference):
    "Everything that Sphinx reads."
    books, public = known.books, public_names(reference)
    anchors = {name for book in books.values() for name in book.anchors}
    means, seeds = cards.ladder(ROOT / "results")
    for path, book in books.items():
        text = staged(book, anchors, public, SETTINGS["git_url"])
        if book.front:
            text = front_page(text, known, reference, means, seeds)
        write(folder / f"{path}.ipynb", text)
    for page, text in pages.made(known, reference).items():
        write(folder / f"{page}.md", text)
    by_module = {book.module: book for book in books.values() if book.module}
    for module, offered in reference.items():
        write(folder / f"{module.page}.md", api.page(module, offered, by_module.get(module.name)))
    write(folder / "api" / "index.md", api.index(reference))
    shutil.copytree(known.nbs / "images", folder / "images")
    cards.front(folder / "images" / "front.svg", means)


def draw_cards(folder, known):
    "A card for each lesson and each part, and one for all other pages."
    said = [("index", "Supervised fine-tuning, proved cell by cell", "a course in notebooks")]
    said += [(part.page, part.name, part.hours) for part in known.parts]
    for lesson in known.lessons:
        place = " · ".join(filter(None, [lesson.part["name"], lesson.chapter]))
        said.append((lesson.path, lesson.name, place))
    cards.draw_all(folder, said)


def complete(out, source, known):
    "What lies beside the pages: notebooks to download, cards, versions."
    for path in known.books:
        to = out / "notebooks" / f"{path}.ipynb"
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(known.nbs / f"{path}.ipynb", to)
    shutil.copytree(source / "cards", out / "cards")
    for left in (".buildinfo", "objects.inv", "_static/webpack-macros.html"):
        (out / left).unlink(missing_ok=True)
    shutil.rmtree(out / "_sources", ignore_errors=True)
    (out / ".nojekyll").touch()


def sphinx(source, out, trees, jobs, page):
    "Run Sphinx; its exit code. A warning is an error."
    words = ["-b", "html", "-q", "-W", "--keep-going", "-j", str(jobs), "-c", str(HERE)]
    if page:
        words += ["-A", "try_page=1"]
    return build_main([*words, "-d", str(trees), str(source), str(out)])


def add_page(out):
    "Put the page that fine-tunes beside the others."
    from tools import web
    web.build(out / "try")


def build(out, jobs=1, page=False):
    "Build the site into an empty folder; sentences about what is wrong with it."
    os.environ.setdefault("MPLBACKEND", "agg")
    out, known = Path(out).resolve(), pages.Course(lessons.NBS)
    reference = api.read_reference(ROOT / "sft_nb")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder).resolve() / "source"
        stage(source, known, reference)
        draw_cards(source / "cards", known)
        if sphinx(source, out, Path(folder) / "trees", jobs, page):
            return ["Sphinx found faults: they stand above."]
        complete(out, source, known)
    if page:
        add_page(out)
    return findings(out)
