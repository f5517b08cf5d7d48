"""The head of an exported module on a page of 100 columns: its docstring, and `__all__`."""
import ast
import textwrap

COLUMNS = 100


def docstring(text):
    "A module's docstring as lines that fit."
    if len(text) + 2 * len('"""') <= COLUMNS:
        return [f'"""{text}"""']
    first, *others = textwrap.wrap(text, COLUMNS - len('"""'))
    return [f'"""{first}', *others, '"""']


def names(found):
    "`__all__` as lines that fit."
    start = "__all__ = ["
    words = ", ".join(map(repr, found)) + "]"
    return textwrap.wrap(
        words, COLUMNS, initial_indent=start, subsequent_indent=" " * len(start),
        break_long_words=False, break_on_hyphens=False)


def narrowed(
    text,  # a module, as nbdev exports it
):  # the same module; its first lines fit the page
    "Lay out the docstring and `__all__`."
    lines = text.split("\n")
    for node in reversed(ast.parse(text).body):
        span = slice(node.lineno - 1, node.end_lineno)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            lines[span] = names(ast.literal_eval(node.value))
        elif node.lineno == 1 and isinstance(node, ast.Expr):
            said = node.value.value
            if '"' not in said and "\\" not in said and "\n" not in said.strip():
                lines[span] = docstring(said)
    return "\n".join(lines)
