"""How much stands on a line, in Python files and notebooks.

python tools/density.py [PATH …]    figures, and the places that are too dense; exits with 1 if any

A line has at most 100 columns and begins at most 35 expressions and statements, nine lines of ten
at most 15; a function's body has at most 30 lines; `try`, `for`, `while` and `with` stand on lines
of their own. Comments and docstrings do not count, cells of magics are read without them.
"""
import ast
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
COLUMNS, NODES, P90, BODY = 100, 35, 15, 30
FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef
BLOCKS = ast.Try, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith


@dataclass
class Lines:
    "What was counted, and what is too much: place -> what it is."
    nodes: list[int] = field(default_factory=list)  # of every line of code
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def p90(self):
        return sorted(self.nodes)[int(.9 * len(self.nodes))] if self.nodes else 0


def sources(path):
    "(place, text) of a file, of the code cells of a notebook, or of all of them in a folder."
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
            if file.suffix in (".py", ".ipynb") and file.name != "_modidx.py" and not hidden:
                yield from sources(file)
    elif path.suffix == ".ipynb":
        for i, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
            if cell["cell_type"] == "code":
                lines = "".join(cell["source"]).splitlines()
                magic = [line.lstrip().startswith(("%", "!")) for line in lines]
                kept = ["" if m else line for line, m in zip(lines, magic, strict=True)]
                yield f"{path} cell {i}", "\n".join(kept) + "\n"
    else:
        yield str(path), path.read_text(encoding="utf-8")


def is_docstring(node):
    kinds = ast.Module, ast.ClassDef, *FUNCTIONS
    return isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None


def documentation(tree):
    "The numbers of the lines of docstrings."
    every = (node.body[0] for node in ast.walk(tree) if is_docstring(node))
    return {i for text in every for i in range(text.lineno, text.end_lineno + 1)}


def nodes_per_line(tree, ignored):
    count = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.expr | ast.stmt) and node.lineno not in ignored:
            count[node.lineno] = count.get(node.lineno, 0) + 1
    return count


def body_length(function):
    body = function.body[1:] if is_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def structure_faults(tree):
    "(line, what) of functions that are too long and blocks of one line."
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS) and (length := body_length(node)) > BODY:
            yield node.lineno, f"{node.name} has {length} lines"
        if isinstance(node, BLOCKS) and node.body[0].lineno == node.lineno:
            yield node.lineno, f"a {type(node).__name__.lower()} of one line"


def measure(paths):
    found = Lines()
    for path in paths:
        for place, text in sources(path):
            tree = ast.parse(text)
            ignored = documentation(tree)
            per_line = nodes_per_line(tree, ignored)
            found.nodes += per_line.values()
            faults = [(i, f"{n} nodes") for i, n in per_line.items() if n > NODES]
            faults += structure_faults(tree)
            for i, line in enumerate(text.splitlines(), 1):
                if len(line.rstrip()) > COLUMNS and not line.startswith("#|"):
                    faults.append((i, f"{len(line.rstrip())} columns"))
            found.faults |= {f"{place}:{i}": what for i, what in faults}
    return found


if __name__ == "__main__":
    every = [ROOT / name for name in ("sft_nb", "nbs", "tests", "tools")]
    found = measure([Path(a) for a in sys.argv[1:]] or every)
    for place, what in found.faults.items():
        print(f"{place}: {what}")
    print(f"{len(found.nodes)} lines of code, {found.p90} nodes at the 90th percentile")
    sys.exit(bool(found.faults) or found.p90 > P90)
