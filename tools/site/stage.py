"""The notebooks as myst-nb reads them.

Directives go, and what they say becomes tags and alt texts. Links and anchors become MyST's. Each
exported cell gets an anchor, and a line that leads to the reference.
"""
import ast
import json
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import course
import hide
import lessons

WIDGET = "application/vnd.jupyter.widget-view+json"
ANCHOR = re.compile(r'<a id="([\w-]+)"></a>[ \t]*')
LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
ALT = re.compile(r"^#\| *fig-alt: *(.+)$", re.M)
ECHO = re.compile(r"^#\| *echo: *false", re.M)
MODULE = re.compile(r"^#\| *default_exp +(\S+)", re.M)
DIRECTIVES = re.compile(r"^#\|.*\n?", re.M)
FUNCTION = ast.FunctionDef, ast.AsyncFunctionDef
NAMED = (*FUNCTION, ast.ClassDef)


def slug(heading):
    "The anchor of a heading, as Jupyter makes it: `Wrong on purpose` -> `Wrong-on-purpose`."
    return heading.strip().replace(" ", "-")


# --- what a cell defines -------------------------------------------------------------------------

def patched(node):
    "The class that a function with `@patch` is a method of, or None."
    calls = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    first = node.args.args[0].annotation if node.args.args else None
    is_patch = any(isinstance(d, ast.Name) and d.id == "patch" for d in calls)
    return ast.unparse(first).strip("'\"") if is_patch and first else None


def defined(text):
    "The public names that a cell defines; a patched method as `Class.method`."
    found = []
    for node in ast.parse(text).body:
        if isinstance(node, FUNCTION) and (owner := patched(node)):
            found.append(f"{owner}.{node.name}")
        elif isinstance(node, NAMED):
            found.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            inside = [name for target in targets for name in ast.walk(target)]
            found += [name.id for name in inside if isinstance(name, ast.Name)]
    return [name for name in dict.fromkeys(found) if not re.search(r"(^|\.)_", name)]


def module_of(book):
    "The module that a notebook is exported to, or None."
    sources = map(lessons.source, book["cells"])
    return next((match[1] for text in sources if (match := MODULE.search(text))), None)


def exported(book):
    "(cell, names) of the exported cells that define something public."
    for cell in book["cells"]:
        if "export" in lessons.directives(cell) and (names := defined(lessons.source(cell))):
            yield cell, names


@dataclass
class Book:
    "A notebook and its place among the pages."
    path: str  # in nbs/, without the suffix; also the name of the page
    nbs: object  # the folder
    front: bool = False  # the page that comes first: hidden cells are left out
    names: dict = field(default_factory=dict)  # name -> the id of the cell that defines it

    def __post_init__(self):
        self.content = lessons.read(self.nbs / f"{self.path}.ipynb")
        name = module_of(self.content)
        self.module = name and f"sft_nb.{name}".removesuffix(".__init__")
        if self.module:
            for cell, names in exported(self.content):
                self.names |= {name: cell["id"] for name in names if name not in self.names}

    @property
    def anchors(self):
        "The anchors that its prose sets by hand."
        prose = [lessons.source(c) for c in self.content["cells"] if lessons.is_prose(c)]
        return {name for text in prose for name in ANCHOR.findall(text)}


# --- prose ---------------------------------------------------------------------------------------

def address(link, book, anchors, git_url):
    "Where a link of a notebook leads on the site."
    path, _, name = link.partition("#")
    if ":" in link:
        return link
    if name in anchors:
        return f"#{name}"
    place = PurePosixPath("nbs", book.path).parent
    for part in PurePosixPath(path).parts:
        place = place.parent if part == ".." else place / part
    outside = path and place.parts[:1] != ("nbs",)
    return f"{git_url}/blob/main/{place}" if outside else link


def prose(text, book, anchors, git_url):
    "A cell of prose: anchors and links, outside of code."
    parts = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.S)
    for k in range(0, len(parts), 2):
        parts[k] = ANCHOR.sub(r"(\1)=\n", parts[k])
        parts[k] = LINK.sub(lambda m: address(m[1], book, anchors, git_url), parts[k])
    return "".join(parts)


# --- code ----------------------------------------------------------------------------------------

def tags(cell, front):
    "How much of a cell is shown, for myst-nb."
    text, names = lessons.source(cell), lessons.directives(cell)
    if front and "hide" in names:
        return ["remove-cell"]
    return ["remove-input"] if ECHO.search(text) else []


def shown(output):
    "An output without a widget's view, which would need a kernel: its text or picture stays."
    data = {kind: value for kind, value in output.get("data", {}).items() if kind != WIDGET}
    return output | {"data": data} if "data" in output else output


def picture_text(cell, kept):
    "What is said of a cell's pictures: its `fig-alt`, or at least the line that drew them."
    if alt := ALT.search(lessons.source(cell)):
        return alt[1].strip()
    lines = [line.strip() for line in kept.splitlines()] or ["a cell without code"]
    if fits := [line for line in lines if ".fit(" in line]:
        return f"Curves of a training run, drawn by {fits[0]}"
    return f"Picture drawn by {lines[-1]}"


def code(cell, front):
    "A cell of code without its directives."
    kept, metadata = DIRECTIVES.sub("", lessons.source(cell)).strip("\n"), dict(cell["metadata"])
    if any("image/png" in output.get("data", {}) for output in cell["outputs"]):
        metadata["mystnb"] = {"image": {"alt": picture_text(cell, kept)}}
    metadata["tags"] = [*metadata.get("tags", ()), *tags(cell, front)]
    outputs = [shown(output) for output in cell["outputs"]]
    return cell | {"source": kept, "metadata": metadata, "outputs": outputs}


def signpost(cell, names, module):
    "The anchor of an exported cell, and the way to the reference."
    links = " · ".join(f"{{py:obj}}`{name} <{module}.{name}>`" for name in names)
    text = f"(cell-{cell['id']})=\n\n{{.sft-api}}\nReference: {links}"
    return {"cell_type": "markdown", "id": f"{cell['id']}-api", "metadata": {}, "source": text}


# --- a notebook ----------------------------------------------------------------------------------

def is_links(cell):
    "The last cell of a lesson: the site has links to its neighbours of its own."
    return lessons.source(cell).startswith(f"{course.MARK}---")


def cells(book, anchors, public, git_url):
    "The cells of a page."
    for cell in hide.tagged(book.content)["cells"]:
        if lessons.is_prose(cell):
            if not is_links(cell):
                yield cell | {"source": prose(lessons.source(cell), book, anchors, git_url)}
            continue
        names = [name for name, home in book.names.items() if home == cell["id"]]
        names = [name for name in names if f"{book.module}.{name}" in public]
        if names:
            yield signpost(cell, names, book.module)
        made = code(cell, book.front)
        if made["source"] or made["outputs"]:
            yield made


def staged(book, anchors, public, git_url):
    "A notebook for the site, as text."
    made = list(cells(book, anchors, public, git_url))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return json.dumps(book.content | {"cells": made, "metadata": metadata}, ensure_ascii=False)
