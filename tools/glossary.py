"""Link the first use of a term, in each core lesson, to the glossary.

python tools/glossary.py [NOTEBOOK …]    write the links, and the glossary's own list of terms
python tools/glossary.py --check         exits with 1 if a link or the list is missing

Which words are linked says nbs/glossary.toml. A lesson that already links a term is left alone, and
so is the lesson that explains it. No link goes into headings, code, formulas, tables, other links,
folded answers, exercises, or cells that a tool writes.
"""
import os
import re
import sys
import tomllib
from pathlib import Path

import lessons

GLOSSARY = lessons.NBS / "glossary.ipynb"
MARK = "<!-- glossary: tools/glossary.py writes this cell -->\n\n"
PARTS = "First lesson", "Core"
# Where no link goes. The first word of a lesson stands behind its title and subtitle.
CLOSED = re.compile(
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$|!?\[[^\]]*\]\([^)]*\)|<details>.*?</details>"
    r"|<!--.*?-->|<[^>]+>|https?:\S+|^#+ .*$|^ *\|.*$|\A# .*\n+(?:>.*\n?)*",
    re.S | re.M)
REST = re.compile(r"^## Exercises?\b|\*\*(?:Exercises?|A bug to hunt)\b|^## A bug to hunt", re.M)


# --- the glossary --------------------------------------------------------------------------------

def entries(book):
    "Term -> what the glossary says of it."
    text = "\n".join(lessons.source(cell) for cell in book["cells"] if lessons.is_prose(cell))
    parts = re.split(r"^### (.+)$", text, flags=re.M)[1:]
    return {term.strip(): said.strip() for term, said in zip(parts[::2], parts[1::2], strict=True)}


def anchor(term):
    return term.replace(" ", "-")


def homes(said):
    "The lessons that explain a term."
    return re.findall(r"\]\(([\w/]+\.ipynb)\)", said)


def listed(book):
    "The glossary with the list of its terms, behind its title."
    terms = sorted(entries(book), key=str.casefold)
    text = MARK + " · ".join(f"[{term}](#{anchor(term)})" for term in terms)
    cells = [cell for cell in book["cells"] if not lessons.source(cell).startswith(MARK.strip())]
    cell = {"cell_type": "markdown", "id": "glossary", "metadata": {}, "source": []}
    lessons.set_source(cell, text)
    return book | {"cells": [cells[0], cell, *cells[1:]]}


def words(path=GLOSSARY):
    "Term -> the words that are linked to it; longer ones first."
    table = tomllib.loads(path.with_suffix(".toml").read_text(encoding="utf-8"))["link"]
    return dict(sorted(table.items(), key=lambda item: -max(map(len, item[1]))))


# --- a lesson ------------------------------------------------------------------------------------

def blank(match):
    return re.sub(r"[^\n]", " ", match[0])


def open_text(text):
    "A prose cell with blanks where no link goes; every letter keeps its place."
    if text.startswith("<!--"):
        return ""
    text = CLOSED.sub(blank, text)
    rest = REST.search(text)
    return text[:rest.start()] if rest else text


def place(text, forms):
    "The first use of one of the words, as a match, or None."
    either = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.search(rf"(?<![\w-])(?:{either})(?![\w-])", open_text(text), re.I)


def link(cells, term, forms, target):
    "Link the first use of a term among the cells of a lesson."
    for cell in filter(lessons.is_prose, cells):
        text = lessons.source(cell)
        if found := place(text, forms):
            first, last = found.span()
            linked = f"[{text[first:last]}]({target}#{anchor(term)})"
            return lessons.set_source(cell, text[:first] + linked + text[last:])


def linked(path, terms, said, glossary=GLOSSARY):
    "A lesson with its links."
    book, own = lessons.read(path), Path(path).resolve()
    folder, target = glossary.parent, Path(os.path.relpath(glossary, own.parent)).as_posix()
    for term, forms in terms.items():
        explained_here = own in [(folder / home).resolve() for home in homes(said[term])]
        known = any(f"{target}#{anchor(term)})" in lessons.source(c) for c in book["cells"])
        if not explained_here and not known:
            link(book["cells"], term, forms, target)
    return book


# --- all of them ---------------------------------------------------------------------------------

def core(file=lessons.NBS / "course.toml"):
    "The lessons of the first parts of the course, in order."
    course = tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    parts = [part for part in course.get("part", []) if part["name"] in PARTS]
    paths = [file.parent / f"{one['path']}.ipynb" for part in parts for one in part["lesson"]]
    return [path for path in paths if path.exists()]


def made(paths, glossary=GLOSSARY):
    "Path -> what should stand in it."
    book = listed(lessons.read(glossary))
    said, terms = entries(book), words(glossary)
    if lost := sorted(terms.keys() - said.keys()):
        raise SystemExit(f"The glossary does not explain {', '.join(lost)}.")
    return {glossary: book} | {path: linked(path, terms, said, glossary) for path in paths}


def main(arguments, glossary=GLOSSARY):
    named = [Path(word) for word in arguments if not word.startswith("--")]
    books = made(named or core(glossary.parent / "course.toml"), glossary)
    stale = [lessons.name(path) for path, book in books.items() if book != lessons.read(path)]
    if "--check" in arguments:
        if stale:
            raise SystemExit(f"No link to the glossary yet for some terms of {', '.join(stale)}: "
                             "run python tools/glossary.py")
        return
    for path, book in books.items():
        if lessons.write(path, book):
            print(lessons.name(path))


if __name__ == "__main__":
    main(sys.argv[1:])
