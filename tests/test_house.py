"""The house is in order: what an editor, a type checker and a newcomer find in the package."""
import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import jedi
import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(p for p in (ROOT / "sft_nb").rglob("*.py") if p.name != "_modidx.py")
FUNCTION = ast.FunctionDef, ast.AsyncFunctionDef


# --- completion ----------------------------------------------------------------------------------

START = """
from sft_nb.task import Task
from sft_nb.tasks.text.classification import TextClassification
from sft_nb.training.tuner import FineTuner

task = TextClassification(text="text", label="label")
tuner = FineTuner(task)

def of_any(task: Task):
    return task.inputs()
"""


@pytest.fixture(scope="module")
def completed():
    "completed(code): the names that an editor offers at the end of some code."
    project = jedi.Project(ROOT)
    return lambda code: {c.name for c in jedi.Script(START + code, project=project).complete()}


@pytest.mark.parametrize("name", [
    "fit", "evaluate", "predict", "search_learning_rate",
    "save", "load", "certify",
])
def test_an_editor_finds_what_a_tuner_does(completed, name):
    assert name in completed("tuner.") & completed("FineTuner(task).") & completed("FineTuner.")


@pytest.mark.parametrize("name", [
    "encode", "collate", "learn", "decode", "metrics", "text",
    "read", "check",
])
def test_an_editor_finds_what_a_task_does(completed, name):
    assert name in completed("task.")


def test_an_editor_finds_what_a_tuner_holds(completed):
    assert {"model", "processor", "history", "task", "recipe"} <= completed("tuner.")
    assert {"fit", "evaluate"} <= completed("tuner.fit(None).")  # what comes back is known too


def test_an_editor_goes_to_the_definition():
    script = jedi.Script(START + "tuner.fit", project=jedi.Project(ROOT))
    line = len(START.split("\n"))
    found = script.goto(line, len("tuner.fit"), follow_imports=True)
    assert [(d.full_name, d.type) for d in found] == [
        ("sft_nb.training.tuner.FineTuner.fit", "function")
    ]


def test_an_editor_shows_what_parameters_mean():
    code = START + "tuner.fit("
    shown = jedi.Script(code, project=jedi.Project(ROOT)).get_signatures()[0].docstring()
    assert "Parameters\n----------\ntrain\n    rows with inputs and targets\n" in shown
    assert "Returns\n-------\nFineTuner\n" in shown


# --- types ---------------------------------------------------------------------------------------

def readme_program():
    "README's Python, in one piece."
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def complaints(folder, program):
    "What the type checker says about a program that imports the package."
    (folder / "program.py").write_text(program, encoding="utf-8")
    settings = {"include": ["program.py"], "typeCheckingMode": "basic", "extraPaths": [str(ROOT)]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--level", "error"]
    command += ["--pythonpath", sys.executable, "-p", str(folder)]
    told = subprocess.run(command, capture_output=True, text=True)
    report = json.loads(told.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    found = report["generalDiagnostics"]
    return [f"{d['range']['start']['line'] + 1}: {d['message']}" for d in found]


def test_the_type_checker_sees_a_mistake(tmp_path):
    program = (
        "from sft_nb.training.tuner import FineTuner\nFineTuner(3).fitt()\nFineTuner.kept_epoch()\n"
    )
    assert len(complaints(tmp_path, program)) == 3


def test_the_program_of_the_readme_is_well_typed(tmp_path):
    assert complaints(tmp_path, readme_program()) == []


def test_a_task_of_somebody_else_is_well_typed(tmp_path):
    toy = (ROOT / "tests" / "toy_detection.py").read_text(encoding="utf-8")
    assert complaints(tmp_path, toy) == []


def public(body, above=""):
    "(name, function) of every public function, method and constructor of a module."
    for node in body:
        if isinstance(node, FUNCTION) and (node.name == "__init__" or node.name[0] != "_"):
            yield above + node.name, node
        if isinstance(node, ast.ClassDef) and node.name[0] != "_":
            yield from public(node.body, f"{above}{node.name}.")


def untyped(function):
    "What of a signature has no annotation."
    a = function.args
    every = [*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg]
    for p in every:
        if p is not None and p.annotation is None and p.arg not in ("self", "cls"):
            yield p.arg
    if function.returns is None and function.name != "__init__":
        yield "return"


def missing_types(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {name: what for name, f in public(tree.body) if (what := list(untyped(f)))}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_public_signatures_are_typed(path):
    missing = missing_types(path)
    assert not missing, "\n".join(f"{n}: {', '.join(w)}" for n, w in missing.items())


def test_the_wheel_says_that_it_is_typed():
    assert (ROOT / "sft_nb" / "py.typed").exists()
    assert '"py.typed"' in (ROOT / "setup.py").read_text(encoding="utf-8")
    assert "py.typed" in (ROOT / "MANIFEST.in").read_text(encoding="utf-8")


# --- what is noted about a table -----------------------------------------------------------------

NOTES = ROOT / "sft_nb" / "data" / "table_facts.py"  # the one module that looks into `attrs`


def lines_with_attrs(text):
    "Numbers of the lines that look into a table's `attrs`."
    return [k for k, line in enumerate(text.splitlines(), 1) if re.search(r"\.attrs\b", line)]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_facts_about_a_table_have_one_door(path):
    found = lines_with_attrs(path.read_text(encoding="utf-8"))
    assert not found or path == NOTES, f"lines {found}: use about() and note() of data.table_facts"


def code_of(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


def test_lessons_take_the_same_door():
    books = [p for p in sorted((ROOT / "nbs").rglob("*.ipynb")) if ".ipynb_" not in str(p)]
    found = {p.name for p in books if lines_with_attrs(code_of(p))}
    assert found == {"01b_table_facts.ipynb"}
