"What is written twice is mended once, and stays wrong in the other place."
import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]


def body_of(function):
    "Its statements as text, without the docstring."
    has_docstring = ast.get_docstring(function) is not None
    return [ast.unparse(statement) for statement in function.body[has_docstring:]]


def written_twice(files):
    "Places of functions with the same body of two statements or more."
    places = defaultdict(list)
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef): continue
            body = body_of(node)
            if len(body) > 1: places["\n".join(body)].append(f"{file.name}: {node.name}")
    return [" and ".join(same) for same in places.values() if len(same) > 1]


def test_the_same_body_is_found_whatever_its_docstring(tmp_path):
    body = "    y = x + 1\n    return y\n"
    (tmp_path/"a.py").write_text(f"def f(x):\n    'One more.'\n{body}", encoding="utf-8")
    (tmp_path/"b.py").write_text(f"def g(x):\n{body}", encoding="utf-8")
    assert written_twice(sorted(tmp_path.iterdir())) == ["a.py: f and b.py: g"]


def test_no_function_of_the_package_is_written_twice():
    assert not written_twice(sorted((ROOT / "sft_nb").rglob("*.py")))
