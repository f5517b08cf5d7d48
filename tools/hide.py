"""Fold what stands between a reader and the lesson: import walls, hidden tests, long outputs.

python tools/hide.py [NOTEBOOK …]    set `source_hidden` and `outputs_hidden` by rule
python tools/hide.py --check         exits with 1 if that would change a notebook

Jupyter's own marks for folded cells; a click opens them. Nothing is taken away but the live view of
a widget, which has another address in every run; its words stay.

    source   a cell of imports with more than four lines; a cell with `#| hide`
    output   of a cell with `#| hide` or `#| hide_output`; of more than forty lines
"""
import ast
import sys

import lessons

IMPORTS = 4  # lines that may stand open
OUTPUT = 40
KEYS = "source_hidden", "outputs_hidden"
TAGS = "hide-input", "hide-output"
VIEW = "application/vnd.jupyter.widget-view+json"


def parsed(cell):
    "The statements of a cell, or none if they are not plain Python."
    try:
        return ast.parse(lessons.source(cell)).body
    except SyntaxError:
        return []


def only_imports(cell):
    "Does a cell import and nothing else, but for a setting or two, such as a logger's?"
    body = parsed(cell)
    imports = [s for s in body if isinstance(s, (ast.Import, ast.ImportFrom))]
    others = [s for s in body if s not in imports]
    settings = all(isinstance(s, ast.If) or is_setting(s) for s in others)
    return len(imports) > len(others) and settings and not cell.get("outputs")


def is_setting(statement):
    "A call of something that a module has, for what it does: `logging.disable_progress_bar()`."
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)


def code_lines(cell):
    lines = lessons.source(cell).splitlines()
    return sum(bool(line.strip()) and not line.startswith("#|") for line in lines)


def length(cell):
    "How many lines a cell's longest output takes; rows of a table count as lines."
    counts = [
        max(text.count("<tr"), text.count("<br")) if kind == "text/html" else len(text.splitlines())
        for kind, text in lessons.texts(cell)
    ]
    return max(counts, default=0)


def wanted(cell):
    "The marks that a code cell ought to have."
    names, marks = lessons.directives(cell), {}
    if "hide" in names or (only_imports(cell) and code_lines(cell) > IMPORTS):
        marks["source_hidden"] = True
    hidden = names & {"hide", "hide_output"} or length(cell) > OUTPUT
    if hidden and cell.get("outputs"):
        marks["outputs_hidden"] = True
    return marks


def mark(cell):
    "Give a cell its marks; other things that Jupyter notes about it stay."
    if cell["cell_type"] != "code":
        return
    for output in cell["outputs"]:
        output.get("data", {}).pop(VIEW, None)
    noted = cell["metadata"].pop("jupyter", {})
    kept = {k: v for k, v in noted.items() if k not in KEYS} | wanted(cell)
    if kept:
        cell["metadata"]["jupyter"] = kept


def marked(path):
    "A notebook with its marks."
    book = lessons.read(path)
    for cell in book["cells"]:
        mark(cell)
    return book


def tagged(book):
    "A notebook for myst-nb, which folds by tags: `hide-input` and `hide-output`."
    cells = []
    for cell in book["cells"]:
        marks = cell["metadata"].get("jupyter", {})
        tags = [tag for key, tag in zip(KEYS, TAGS, strict=True) if marks.get(key)]
        known = cell["metadata"].get("tags", [])
        more = {"tags": [*known, *(tag for tag in tags if tag not in known)]} if tags else {}
        cells.append(cell | {"metadata": cell["metadata"] | more})
    return book | {"cells": cells}


def main(words):
    check, stale = "--check" in words, []
    for path in lessons.chosen(words):
        book = marked(path)
        if check and book != lessons.read(path):
            stale.append(lessons.name(path))
        if not check and lessons.write(path, book):
            print(lessons.name(path))
    if stale:
        raise SystemExit(f"Cells to fold in {', '.join(stale)}: run python tools/hide.py")


if __name__ == "__main__":
    main(sys.argv[1:])
