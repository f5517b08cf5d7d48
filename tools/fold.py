"""Move each `@patch` method of an exported module into its class, where an editor looks for it.

A class grows in its notebook method by method, beside the explanation of each. In the module it
stands whole: first what its own cell says, then the methods in the order of the notebook.
"""
import ast
import io
import re
import tokenize
from dataclasses import dataclass, field

HEADER = re.compile(r"# %% .+ #\w+$")  # the line that nbdev writes above a cell
FUNCTION = ast.FunctionDef, ast.AsyncFunctionDef
BECOMES = {"as_prop": "property", "cls_method": "classmethod"}  # what `patch` does, as a decorator


class FoldError(Exception):
    "A method that cannot stand in its class. The message says which, why, and what to do."


class Source:
    "A module's text, its tree, and where in the text a node stands."

    def __init__(self, text):
        self.text, self.tree = text, ast.parse(text)
        self.lines = text.splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))

    def at(self, line, column):
        "The place in the text of a line (from 1) and a column (in bytes, as `ast` counts)."
        if line > len(self.lines):
            return len(self.text)
        before = self.lines[line - 1].encode()[:column].decode()
        return self.starts[line - 1] + len(before)

    def span(self, node):
        first = self.at(node.lineno, node.col_offset)
        return first, self.at(node.end_lineno, node.end_col_offset)

    def of(self, node):
        first, last = self.span(node)
        return self.text[first:last]


def edited(text, edits, start=0, end=None):
    "A piece of the text, with some spans of it replaced: (first, last, new text)."
    parts, here = [], start
    for first, last, new in sorted(edits, key=lambda edit: edit[:2]):
        parts += [text[here:first], new]
        here = last
    return "".join([*parts, text[here:end]])


@dataclass
class Method:
    "One `@patch` method of a class of its own module."
    node: ast.FunctionDef
    owner: ast.ClassDef
    path: str  # the owner's name; "Outer.Inner" for a class inside a class
    patch: ast.expr  # the decorator
    becomes: str | None  # "property", "classmethod", "name.setter" or nothing
    first_line: int
    last_line: int
    quoted: list = field(default_factory=list)  # annotations that can only be read later

    @property
    def name(self):
        return f"{self.path}.{self.node.name}"


# --- what is there -------------------------------------------------------------------------------

def classes(body, above=""):
    "Every class of a module by its path, with the classes inside classes."
    found = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            found[above + node.name] = node
            found |= classes(node.body, f"{above}{node.name}.")
    return found


def patch_of(node):
    "The `@patch` among a function's decorators, or None."
    for decorator in getattr(node, "decorator_list", ()):
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(called, ast.Name) and called.id == "patch":
            return decorator
    return None


def owner_of(node):
    "The class that a patched method names in its first parameter, as text."
    parameters = [*node.args.posonlyargs, *node.args.args]
    annotation = parameters[0].annotation if parameters else None
    if isinstance(annotation, ast.Constant):
        return annotation.value
    return ast.unparse(annotation) if annotation else ""


def becomes(node, patch):
    "The decorator that does in a class what this `@patch(…)` does."
    options = [k.arg for k in getattr(patch, "keywords", ())]
    if not options:
        return None
    if options == ["set_prop"]:
        return f"{node.name}.setter"
    if len(options) == 1 and options[0] in BECOMES:
        return BECOMES[options[0]]
    raise FoldError(
        f"line {node.lineno}: {ast.unparse(patch)} of {node.name} cannot be folded; "
        f"of patch's options only {', '.join(BECOMES)} and set_prop can. Write it into its class."
    )


def extent(source, node):
    "The lines of a function, with the comments that belong to it."
    first = min(d.lineno for d in [node, *node.decorator_list])
    while first > 1:
        above = source.lines[first - 2].rstrip()
        if not above.startswith("#") or HEADER.match(above):
            break
        first -= 1
    last = node.end_lineno
    while last < len(source.lines) and re.match(r"[ \t]+#", source.lines[last]):
        last += 1
    return first, last


def methods(source):
    "The methods to move, and the names of those whose class stands in another module."
    known, moving, left = classes(source.tree.body), [], []
    for node in source.tree.body:
        patch = patch_of(node)
        if patch is None or not isinstance(node, FUNCTION):
            continue
        path = owner_of(node)
        parts = {part.strip() for part in path.split("|")}
        if path not in known:
            if parts & known.keys():
                raise FoldError(
                    f"line {node.lineno}: {node.name} is patched into several classes ({path}). "
                    "Give it to a class that they all inherit from."
                )
            left.append(f"{path}.{node.name}")
            continue
        to = becomes(node, patch)
        moving.append(Method(node, known[path], path, patch, to, *extent(source, node)))
    return moving, left


# --- what stands in the way ----------------------------------------------------------------------

def bound(node):
    "The names that a statement of a module or of a class gives a meaning to."
    if isinstance(node, (*FUNCTION, ast.ClassDef)):
        return set() if patch_of(node) else {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(a.asname or a.name).split(".")[0] for a in node.names}
    inside = (n for n in ast.walk(node) if isinstance(n, ast.Name))
    return {n.id for n in inside if isinstance(n.ctx, ast.Store)}


def names(node):
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def later(tree, method):
    "Names whose meaning, where the class begins, is not yet what it is at the method."
    first, last = method.owner.lineno, method.node.lineno
    between = (node for node in tree.body if first <= node.lineno < last)
    return set().union(*(bound(node) for node in between), {method.path.split(".")[0]})


def annotations(function):
    "All annotations of a function but the first parameter's."
    a = function.args
    rest = [*a.posonlyargs, *a.args][1:] + [*a.kwonlyargs, a.vararg, a.kwarg]
    found = [p.annotation for p in rest if p is not None] + [function.returns]
    return [x for x in found if x is not None and not isinstance(x, ast.Constant)]


def evaluated(method):
    "What Python computes when it defines the method: (what it is, in words; the expression)."
    a = method.node.args
    defaults = [*a.defaults, *(d for d in a.kw_defaults if d is not None)]
    others = [d for d in method.node.decorator_list if d is not method.patch]
    return [("A default", d) for d in defaults] + [("A decorator", d) for d in others]


def check(source, method, siblings):
    "Refuse what would mean something else inside the class; note the annotations to be quoted."
    where = f"line {method.node.lineno}: {method.name}"
    own = set().union(*(bound(node) for node in method.owner.body))
    after, inside = later(source.tree, method), own | {m.node.name for m in siblings}
    if method.node.name in own:
        raise FoldError(f"{where} is defined in its class too. Keep one of the two.")
    for what, expression in evaluated(method):
        if missing := sorted(names(expression) & after):
            raise FoldError(
                f"{where}: {what[0].lower()}{what[1:]} needs {missing[0]}, which is not there yet "
                "where the class begins. Move its cell above the class."
            )
        if hidden := sorted(names(expression) & inside):
            raise FoldError(
                f"{where}: {what[0].lower()}{what[1:]} needs {hidden[0]}, but inside the class "
                "this is one of its own members. Rename one of the two."
            )
    private = [n.attr for n in ast.walk(method.node) if isinstance(n, ast.Attribute)]
    if mangled := [n for n in private if n.startswith("__") and not n.endswith("__")]:
        raise FoldError(f"{where}: Python renames {mangled[0]} in a class. Use one underscore.")
    method.quoted = [a for a in annotations(method.node) if names(a) & (after | inside)]


def check_all(source, moving):
    "Every method by itself, and none twice."
    seen = set()
    for method in moving:
        check(source, method, [m for m in moving if m.owner is method.owner])
        setter = (method.becomes or "").endswith(".setter")
        if method.name in seen and not setter:
            raise FoldError(
                f"line {method.node.lineno}: {method.name} is patched twice. Export one of the two."
            )
        seen.add(method.name)


# --- the method as it stands in its class --------------------------------------------------------

def quoted(annotation):
    text = ast.unparse(annotation)
    return repr(text) if '"' in text else f'"{text}"'


def member(source, method):
    "The method's text without `@patch` and without its first annotation, not yet indented."
    node = method.node
    start, end = source.at(method.first_line, 0), source.at(method.last_line + 1, 0)
    first = [*node.args.posonlyargs, *node.args.args][0]
    edits = [(*source.span(first), first.arg)]
    edits += [(*source.span(a), quoted(a)) for a in method.quoted]
    edits.append((source.at(method.patch.lineno, 0), source.at(method.patch.end_lineno + 1, 0), ""))
    if method.becomes:
        top = source.at(min(d.lineno for d in node.decorator_list), 0)
        edits.append((top, top, f"@{method.becomes}\n"))
    return edited(source.text, edits, start, end).rstrip("\n")


def fixed_lines(text):
    "The lines that begin inside a string: a space more would change its value."
    docstring = getattr(ast.parse(text).body[0], "body", [None])[0]
    is_text = isinstance(docstring, ast.Expr) and isinstance(docstring.value, ast.Constant)
    free = docstring.lineno if is_text else None
    inside, begun = set(), []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "FSTRING_START":
            begun.append(token.start[0])
        first = begun.pop() if kind == "FSTRING_END" else token.start[0]
        if kind in ("STRING", "FSTRING_END") and first != free:
            inside |= set(range(first + 1, token.end[0] + 1))
    return inside


def indented(text, by):
    fixed = fixed_lines(text)
    lines = text.split("\n")
    moves = (line.strip() and number not in fixed for number, line in enumerate(lines, 1))
    return "\n".join(by + line if m else line for line, m in zip(lines, moves, strict=True))


def opened(source, owner):
    "Edits that give the body of a class lines of its own, and take a lone `pass` away."
    head, first = owner.body[0], source.span(owner.body[0])[0]
    line = source.at(head.lineno, 0)
    by = " " * (owner.col_offset + 4)
    edits = []
    if isinstance(owner.body[-1], ast.Pass):
        start, end = source.span(owner.body[-1])
        while source.text[start - 1] in " \t\n;":
            start -= 1
        edits.append((start, end, ""))
    if source.text[line:first].strip() and not isinstance(head, ast.Pass):
        edits.append((len(source.text[:first].rstrip()), first, f"\n{by}"))
    return edits


def grown(source, moving):
    "Edits that put the methods of each class behind what it has."
    edits, known = [], classes(source.tree.body)
    for path in sorted(known, key=lambda path: -path.count(".")):  # inner classes first
        own = [m for m in moving if m.path == path]
        if not own:
            continue
        owner = known[path]
        inline = source.text[source.at(owner.body[0].lineno, 0):source.span(owner.body[0])[0]]
        by = " " * (owner.col_offset + 4) if inline.strip() else inline
        added = "".join(f"\n\n{indented(member(source, m), by)}" for m in own)
        only_pass = len(owner.body) == 1 and isinstance(owner.body[0], ast.Pass)
        end = len(source.text[:source.at(extent(source, owner)[1] + 1, 0)].rstrip("\n"))
        edits.append((end, end, added[1:] if only_pass else added))
        edits += opened(source, owner)
    return edits


# --- what is left --------------------------------------------------------------------------------

def gaps(source, moving):
    "Edits that take the methods out, each with the empty lines below it."
    for method in moving:
        end = method.last_line
        while end < len(source.lines) and not source.lines[end].strip():
            end += 1
        yield source.at(method.first_line, 0), source.at(end + 1, 0), ""


def tidy(text):
    "No cell without content; one empty line between cells."
    kept, cell = [], []
    for line in [*text.split("\n"), None]:
        if line is None or HEADER.match(line):
            content = "\n".join(cell).strip("\n")
            if content and not HEADER.fullmatch(content):
                kept.append(content)
            cell = []
        cell.append(line)
    return "\n\n".join(kept) + "\n"


def without_patch(text):
    "The module without an import of `patch` that it no longer uses."
    source = Source(text)
    if any(isinstance(n, ast.Name) and n.id == "patch" for n in ast.walk(source.tree)):
        return text
    edits = []
    for node in source.tree.body:
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("fastcore"):
            continue
        rest = [ast.unparse(a) for a in node.names if a.name != "patch"]
        if len(rest) == len(node.names):
            continue
        first, last = source.span(node)
        if rest:
            edits.append((first, last, f"from {node.module} import {', '.join(rest)}"))
        elif source.of(node) == source.lines[node.lineno - 1].strip():
            edits.append((first, source.at(node.end_lineno + 1, 0), ""))
    return edited(text, edits)


@dataclass
class Folded:
    text: str
    moved: int  # methods that stand in their class now
    left: list  # methods of another module's class


def fold(
    text,  # an exported module
):  # Folded: the module with whole classes
    "Move every `@patch` method of a class of this module into the class. Raises FoldError."
    source = Source(text)
    moving, left = methods(source)
    if not moving:
        return Folded(text, 0, left)
    check_all(source, moving)
    text = edited(text, [*grown(source, moving), *gaps(source, moving)])
    return Folded(tidy(without_patch(text)), len(moving), left)
