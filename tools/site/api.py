"""The reference: what each public name takes and gives, from signatures and docments.

Read from the exported modules, without importing them: nothing heavy is needed to build the site.
"""
import ast
import re
from dataclasses import dataclass, field
from functools import cached_property
from inspect import cleandoc

import hover
from fold import FUNCTION, Source

SECTION = re.compile(r"^(Parameters|Returns|Yields)\n-{3,}\n", re.M)
LONGEST = 80  # characters of a value that is shown


@dataclass
class Entry:
    "A public name."
    name: str  # in its module; a method as `Class.method`
    kind: str  # of Sphinx's domain: function, class, method, property, data …
    signature: str = ""
    summary: str = ""  # Markdown
    parameters: dict = field(default_factory=dict)  # name -> what its comment says
    returned: str = ""
    members: list = field(default_factory=list)  # of a class
    node: ast.AST = None
    bases: tuple = ()


@dataclass(frozen=True, eq=False)
class Module:
    "An exported module."
    name: str
    path: object

    @cached_property
    def source(self): return Source(self.path.read_text(encoding="utf-8"))

    @cached_property
    def said(self): return hover.comments(self.source.text)

    @property
    def page(self):
        short = self.name.partition(".")[2] or self.name
        return f"api/{short.replace('.', '/')}"

    @property
    def about(self): return plain(ast.get_docstring(self.source.tree) or "")

    @cached_property
    def names(self):
        "What the module offers, in the order of its lesson."
        for node in self.source.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                return [name for name in ast.literal_eval(node.value) if name[0] != "_"]
        return []


# --- words ---------------------------------------------------------------------------------------

def plain(text):
    "A docstring as Markdown that shows it letter by letter, but for `code`."
    parts = re.split(r"(``[^`]+``|`[^`]+`)", text)
    for k in range(0, len(parts), 2):
        parts[k] = re.sub(r"([\\*_\[\]<>$#|{}~])", r"\\\1", parts[k])
    return "".join(parts)


def on_one_line(text): return " ".join(text.split())


def sections(docstring):
    "(what comes first, parameters with their comments, comment of the result) of a docstring."
    parts = SECTION.split(cleandoc(docstring or ""))
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    told, name = {}, ""
    for line in found.get("Parameters", "").splitlines():
        if line and line[0] != " ":
            name = line.lstrip("*")
        elif name:
            told[name] = f"{told.get(name, '')} {line.strip()}".strip()
    result = found.get("Returns") or found.get("Yields") or ""
    lines = result.strip("\n").splitlines()
    indented = [line for line in lines if line.startswith(" ")]
    return parts[0].strip(), told, on_one_line(" ".join(indented or lines))


# --- names ---------------------------------------------------------------------------------------

def arguments(node, method):
    "The arguments of a function as text, without `self`."
    a = node.args
    copy = ast.arguments(**{name: getattr(a, name) for name in a._fields})
    static = any(ast.unparse(d) == "staticmethod" for d in node.decorator_list)
    if method and not static:
        copy.posonlyargs, copy.args = list(a.posonlyargs), list(a.args)
        (copy.posonlyargs or copy.args).pop(0)
    return copy


def parameters(a):
    "The names of arguments."
    every = [*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg]
    return [p.arg for p in every if p is not None]


def function(name, node, source, method=False):
    "The entry of a function or a method."
    decorators = {ast.unparse(d).partition("(")[0] for d in node.decorator_list}
    taken = arguments(node, method)
    summary, told, returned = sections(ast.get_docstring(node))
    gives = hover.returned_type(source, node.returns)
    kind = "property" if decorators & {"property", "cached_property"} else "method"
    if "classmethod" in decorators: kind = "classmethod"
    if "staticmethod" in decorators: kind = "staticmethod"
    signature = "" if kind == "property" else f"({ast.unparse(taken)})"
    return Entry(
        name, kind if method else "function",
        signature + (f" -> {on_one_line(gives)}" if gives and kind != "property" else ""),
        plain(summary), {p: told.get(p, "") for p in parameters(taken)}, returned, node=node,
    )


def own_fields(node):
    "name -> `name: type = value` for what the constructor of a record takes."
    found = {}
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            text = ast.unparse(part)
            if "ClassVar" not in text and "init=False" not in text:
                found[part.target.id] = "*" if "KW_ONLY" in text else text
    return found


def record(node, classes):
    "The fields of a record, those of the records above it first."
    found = {}
    for base in map(ast.unparse, node.bases):
        if base in classes and hover.is_record(classes[base]):
            found |= record(classes[base], classes)
    return found | own_fields(node)


def constructor(node, source, classes):
    "(signature, names) of what makes an object of a class, its own or that of a class above it."
    for one in lineage(node, classes):
        for part in one.body:
            if isinstance(part, FUNCTION) and part.name == "__init__":
                taken = arguments(part, method=True)
                return f"({ast.unparse(taken)})", parameters(taken)
        if hover.is_record(one):
            found = record(one, classes)
            return f"({', '.join(found.values())})", [name for name in found if name != "_"]
    return "", []


def lineage(node, classes):
    "A class, and the classes of this package above it."
    yield node
    for base in map(ast.unparse, node.bases):
        if base in classes:
            yield from lineage(classes[base], classes)


def inherited(entry, method, owner, classes):
    "Fill in what a method leaves to the class above it that asks the same question."
    for above in list(lineage(owner, classes))[1:]:
        for node in above.body:
            if isinstance(node, FUNCTION) and node.name == method:
                summary, told, returned = sections(ast.get_docstring(node))
                entry.summary = entry.summary or plain(summary)
                entry.returned = entry.returned or returned
                filled = {name: said or told.get(name, "")
                          for name, said in entry.parameters.items()}
                entry.parameters = filled


def a_class(name, node, source, classes):
    "The entry of a class with its public methods."
    summary, told, _ = sections(ast.get_docstring(node))
    signature, names = constructor(node, source, classes)
    for above in list(lineage(node, classes))[1:]:
        told = sections(ast.get_docstring(above))[1] | told
    entry = Entry(
        name, "class", signature, plain(summary), {p: told.get(p, "") for p in names}, node=node,
        bases=tuple(map(ast.unparse, node.bases)),
    )
    for part in node.body:
        if isinstance(part, FUNCTION) and part.name[0] != "_":
            member = function(f"{name}.{part.name}", part, source, method=True)
            inherited(member, part.name, node, classes)
            entry.members.append(member)
    return entry


def value(name, node, module):
    "The entry of a name that is given a value."
    text = ast.unparse(node.value) if getattr(node, "value", None) else ""
    shown = text if len(text) <= LONGEST else ""
    said = hover.remark(module.said, node.lineno)
    return Entry(name, "data", f" = {shown}" if shown else "", plain(said), node=node)


def statements(tree):
    "name -> the statement that defines it."
    found = {}
    for node in tree.body:
        if isinstance(node, (*FUNCTION, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
            found |= dict.fromkeys(names, node)
    return found


def entries(module, classes):
    "The public names of a module that it defines itself."
    known = statements(module.source.tree)
    for name in module.names:
        node = known.get(name)
        if isinstance(node, FUNCTION):
            yield function(name, node, module.source)
        elif isinstance(node, ast.ClassDef):
            yield a_class(name, node, module.source, classes)
        elif node is not None:
            yield value(name, node, module)


def read_modules(package):
    "The exported modules of a package that offer something."
    for path in sorted(package.rglob("*.py")):
        dotted = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(part for part in dotted if part != "__init__")
        if not any(part[0] == "_" for part in name.split(".")):
            module = Module(name, path)
            if module.names:
                yield module


def read_reference(package):
    "Module -> its entries."
    modules = list(read_modules(package))
    classes = {
        node.name: node for module in modules for node in module.source.tree.body
        if isinstance(node, ast.ClassDef)
    }
    found = {module: list(entries(module, classes)) for module in modules}
    return {module: offered for module, offered in found.items() if offered}


# --- pages ---------------------------------------------------------------------------------------

def body(entry, where):
    "What stands below a signature."
    lines = [entry.summary, ""]
    if entry.bases:
        lines += [f"Is a kind of: {', '.join(f'`{base}`' for base in entry.bases)}.", ""]
    named = {name: said for name, said in entry.parameters.items() if said}
    lines += [f":param {name}: {plain(said)}" for name, said in named.items()]
    if entry.returned:
        lines.append(f":returns: {plain(entry.returned)}")
    cell = where.get(entry.name) or where.get(entry.name.partition(".")[0])
    if cell:
        lines += ["", "{.sft-lesson}", f"[Explained in the lesson](#cell-{cell})"]
    return lines


def directive(entry, where, fence=6):
    "An entry as a directive of Sphinx's Python domain."
    ticks = "`" * fence
    lines = [f"{ticks}{{py:{entry.kind}}} {entry.name.split('.')[-1]}{entry.signature}"]
    if entry.kind == "data":
        name, _, shown = f"{entry.name}{entry.signature}".partition(" = ")
        lines = [f"{ticks}{{py:data}} {name}", *([f":value: {shown}"] if shown else [])]
    lines += ["", *body(entry, where)]
    for member in entry.members:
        lines += ["", *directive(member, where, fence - 1)]
    return [*lines, ticks]


def page(module, offered, book):
    "The page of a module; `book`: the notebook that it is exported from."
    where = book.names if book else {}
    lines = [f"# {module.name}", "", module.about, ""]
    if book:
        lines += [f"Made by the lesson [{book.title}](/{book.path}.ipynb).", ""]
    lines += ["```{py:module} " + module.name, "```", ""]
    for entry in offered:
        lines += [*directive(entry, where), ""]
    return "\n".join(lines)


def index(reference):
    "The list of modules, by folder."
    folders = {}
    for module in reference:
        parts = module.name.split(".")
        folder = parts[1] if len(parts) > 2 or module.path.stem == "__init__" else "everywhere"
        folders.setdefault(folder, []).append(module)
    lines = [
        "# Reference", "", "Every public name, with what it takes and gives. Each name leads to the"
        " lesson that explains it, and each lesson leads back. All names in one list:"
        " {ref}`the index <genindex>`.", "",
    ]
    for folder, modules in folders.items():
        lines += [f"## {folder}", ""]
        for module in modules:
            first = module.about.split("\n\n")[0].replace("\n", " ")
            lines.append(f"- [`{module.name}`](/{module.page}.md): {first}")
        lines.append("")
    return "\n".join(lines)
