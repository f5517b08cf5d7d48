"""One road: what a module imports stands before it, nothing private crosses, no module is too
long to read.
"""
import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 400  # lines of a module, docstrings not counted
STATIONS = [  # folders of notebooks, in the order of the road; "" is what everybody uses
    "", "data", "models", "batches", "evaluation", "speed", "training", "certification", "methods",
    "tasks/text", "tasks/tagging", "tasks/images", "tasks/detection", "tasks/writing", "tasks",
    "labs", "widgets",
    "commands", "package",
]


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {name_of(p): p for p in sorted((ROOT / "sft_nb").rglob("*.py")) if p.name != "_modidx.py"}


@cache
def tree_of(module): return ast.parse(PATHS[module].read_text(encoding="utf-8"))


def absolute(module, node):
    "The module that a `from … import` names."
    if not node.level: return node.module or ""
    parts = module.split(".")
    if PATHS[module].name != "__init__.py": parts = parts[:-1]
    base = parts[:len(parts) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def names_imported(module, nodes):
    "(module, name) of every import from our package among these nodes."
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            source = absolute(module, node)
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                if whole in PATHS: yield whole, ""
                elif source in PATHS: yield source, alias.name
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name in PATHS)


def imported(module):
    "The modules of ours that are needed to import this one."
    found = {source for source, _ in names_imported(module, tree_of(module).body)}
    return found - {module, "sft_nb"}


def notebook_of(module):
    text = PATHS[module].read_text(encoding="utf-8")
    found = re.search(r"File to edit: (?:\.\./)+nbs/(\S+?\.ipynb)", text)
    return found and found[1]


def place(notebook):
    "Where a notebook stands on the road."
    *folder, file = notebook.split("/")
    return STATIONS.index("/".join(folder)), file


def test_imports_make_no_circle():
    try:
        list(TopologicalSorter({m: imported(m) for m in PATHS}).static_order())
    except CycleError as e:
        pytest.fail(" imports ".join(reversed(e.args[1])))


def test_a_notebook_sorts_after_what_it_imports():
    backward = []
    for module in PATHS:
        mine = notebook_of(module)
        for other in imported(module) if mine else ():
            theirs = notebook_of(other)
            if theirs and place(theirs) >= place(mine): backward.append(f"{mine} imports {theirs}")
    assert not backward, "\n".join(backward)


def test_a_module_lies_where_its_notebook_lies():
    "Only `package/` makes modules of the top folder; a folder's own name is what it offers."
    elsewhere = []
    for module in PATHS:
        if not (mine := notebook_of(module)) or mine.startswith("package/"):
            continue
        path = re.sub(r"(^|/)\d+[a-z]*_", r"\1", mine.removesuffix(".ipynb"))
        folder, _, name = path.rpartition("/")
        if name == folder.rpartition("/")[2]:
            path = folder
        if module != f"sft_nb.{path.replace('/', '.')}":
            elsewhere.append(f"{mine} makes {module}")
    assert not elsewhere, "\n".join(elsewhere)


def test_no_private_name_crosses_modules():
    crossing = [f"{module}: {source}.{name}" for module in PATHS
                for source, name in names_imported(module, ast.walk(tree_of(module)))
                if name.startswith("_") and not name.startswith("__")]
    assert not crossing, "\n".join(crossing)


def docstring_lines(tree):
    "How many lines docstrings take beyond their first."
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            yield node.body[0].end_lineno - node.body[0].lineno


@pytest.mark.parametrize("module", PATHS)
def test_a_module_is_not_too_long_to_read(module):
    lines = len(PATHS[module].read_text(encoding="utf-8").splitlines())
    assert lines - sum(docstring_lines(tree_of(module))) <= LONGEST
