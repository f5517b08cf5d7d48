"""Say in a docstring what the comments of a signature say, so that an editor shows it on hover.

The comments stay where they are: `show_doc` and the tests read them. The docstring gets numpydoc's
sections, "Parameters" and "Returns", made of them.
"""
import ast
import io
import re
import textwrap
import tokenize
from inspect import cleandoc

from fold import FUNCTION, Source, edited

COLUMNS = 100
SECTION = re.compile(r"^[ \t]*(Parameters|Returns|Yields)[ \t]*\n[ \t]*---", re.MULTILINE)


# --- what the comments say -----------------------------------------------------------------------

def comments(text):
    "Line (from 1) -> (its comment, without `#`; does it stand alone on the line?)."
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            alone = token.line.lstrip().startswith("#")
            found[token.start[0]] = token.string.lstrip("#").strip(), alone
    return found


def beside(said, line):
    text, alone = said.get(line, ("", True))
    return "" if alone else text


def remark(said, line):
    "The comment beside a line; if there is none, the comments that stand above it."
    if text := beside(said, line):
        return text
    above = []
    while said.get(line - 1, ("", False))[1]:
        line -= 1
        above.insert(0, said[line][0])
    return " ".join(above)


def last_line(source, function):
    "The line on which a signature ends, with its colon."
    text = "".join(source.lines[function.lineno - 1:function.end_lineno])
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(text.lstrip()).readline):
        if token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
            if token.string == ":" and not depth:
                return function.lineno + token.start[0] - 1
    return function.lineno


def signature(source, function, said):
    "([(parameter, comment)], comment of the result) of a function, in the order of the signature."
    a = function.args
    every = [*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg]
    every = [p for p in every if p is not None]
    stars = {id(a.vararg): "*", id(a.kwarg): "**"}
    asked = [p for p in every if p.arg not in ("self", "cls")]
    last, typed = last_line(source, function), function.returns is not None
    shared = any(p.lineno == last for p in asked)  # one line: its comment has to choose
    returned = beside(said, last) if typed or not shared else ""
    by_line = {p.lineno: p for p in asked if not (typed and p.lineno == last)}
    found = [(stars.get(id(p), "") + p.arg, remark(said, p.lineno)) for p in by_line.values()]
    return [(name, text) for name, text in found if text], returned


def fields(owner, said):
    "[(field, comment)] of a dataclass, for what its constructor takes."
    found = []
    for node in owner.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        kind, value = ast.unparse(node.annotation), node.value and ast.unparse(node.value)
        if "ClassVar" in kind or "init=False" in (value or ""):
            continue
        text = remark(said, node.lineno) or beside(said, node.end_lineno)
        if text:
            found.append((node.target.id, text))
    return found


def is_record(owner):
    "Is a class's constructor made of its fields?"
    words = " ".join(map(ast.unparse, [*owner.decorator_list, *owner.bases]))
    return bool(re.search(r"\b(dataclass|NamedTuple)\b", words))


def constructor(source, owner, said):
    "[(parameter, comment)] of a class's constructor."
    for node in owner.body:
        if isinstance(node, FUNCTION) and node.name == "__init__":
            return signature(source, node, said)[0]
    return fields(owner, said) if is_record(owner) else []


# --- the docstring -------------------------------------------------------------------------------

def sections(told, kind, returned):
    "numpydoc's sections: parameters with their comments, the type and the comment of the result."
    lines = []
    if told:
        lines += ["", "Parameters", "----------"]
        for name, text in told:
            lines += [name, f"    {text}"]
    if returned:
        lines += ["", "Returns", "-------", *([kind, f"    {returned}"] if kind else [returned])]
    return lines


def narrow(line, width):
    "A line of prose as lines that fit the page, indented as it is."
    indent = line[:len(line) - len(line.lstrip())]
    return textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False) or [""]


def literal(lines, by):
    "Lines as a docstring that stands at an indent."
    width = COLUMNS - len(by)
    shown = narrow(lines[0], width - len('"""'))
    for line in lines[1:]:
        shown += narrow(line, width)
    text = f"\n{by}".join(shown).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    shown = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    return f'"""{shown}\n{by}"""'


def docstring(source, node):
    "The expression of a docstring that stands on lines of its own, or None."
    head = node.body[0]
    if not isinstance(head, ast.Expr) or not isinstance(head.value, ast.Constant):
        return None
    before = source.lines[head.lineno - 1][:head.col_offset]
    alone = isinstance(head.value.value, str) and not before.strip()
    return head if alone and not SECTION.search(head.value.value) else None


def public(body):
    "The public classes and functions of a module, and the public methods of these classes."
    for node in body:
        if not isinstance(node, (*FUNCTION, ast.ClassDef)) or node.name.startswith("_"):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            yield from public(node.body)


def returned_type(source, annotation):
    "An annotation as a reader writes it: without quotes; "" if there is none."
    if isinstance(annotation, ast.Constant):
        return str(annotation.value)
    return source.of(annotation) if annotation else ""


def replaced(source, node, said):
    "The edit that completes one docstring, or None where there is nothing to add."
    head = docstring(source, node)
    if head is None:
        return None
    if isinstance(node, ast.ClassDef):
        told, returned, kind = constructor(source, node, said), "", ""
    else:
        told, returned = signature(source, node, said)
        kind = returned_type(source, node.returns)
    added = sections(told, kind, returned)
    if not added:
        return None
    lines = [*cleandoc(head.value.value).split("\n"), *added]
    return *source.span(head), literal(lines, " " * head.col_offset)


def explained(
    text,  # a module
):  # the module; its public docstrings tell of parameters and results
    "Fold the comments of signatures and fields into docstrings."
    source = Source(text)
    said = comments(text)
    edits = (replaced(source, node, said) for node in public(source.tree.body))
    return edited(text, [edit for edit in edits if edit])
