"""A line holds one thought, and fits the page: tools/density.py finds nothing anywhere."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import density

FOLDERS = ("sft_nb", "nbs", "tests", "tools")


def files(folder):
    "The Python files and notebooks of a folder that density.py reads."
    for path in sorted((ROOT / folder).rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(ROOT).parts)
        if path.suffix in (".py", ".ipynb") and path.name != "_modidx.py" and not hidden:
            yield path


FILES = {path.relative_to(ROOT).as_posix(): path for folder in FOLDERS for path in files(folder)}


@pytest.mark.parametrize("name", FILES)
def test_every_line_fits(name):
    faults = density.measure([FILES[name]]).faults
    told = [f"{place.removeprefix(f'{ROOT}/')}: {what}" for place, what in faults.items()]
    assert not told, "\n" + "\n".join(told)


@pytest.mark.parametrize("folder", FOLDERS)
def test_nine_lines_of_ten_are_light(folder):
    found = density.measure([ROOT / folder])
    assert len(found.nodes) > 100 and found.p90 <= density.P90


def test_the_list_is_not_empty():
    assert {name.partition("/")[0] for name in FILES} == set(FOLDERS)
    assert "tests/test_lines.py" in FILES and len(FILES) > 200


# --- the measure itself ---

def faults(text, tmp_path, name="a.py"):
    "What is found in a small text: {line: what}."
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = density.measure([tmp_path / name]).faults
    return {int(place.rpartition(":")[2]): what for place, what in found.items()}


def calls(n): return "f(" + ", ".join("abcdefghijklmnopqrstuvwxyz"[i % 26] for i in range(n)) + ")"


WRONG = {
    "wide code": ("x = 1\nx = " + "1" * 97 + "\n", {2: "101 columns"}),
    "a wide comment": ("# " + "a" * 99 + "\n", {1: "101 columns"}),
    "a wide docstring": ('"' + "a" * 99 + '"\n', {1: "101 columns"}),
    "many nodes": (f"{calls(33)}\nx\n", {1: "36 nodes"}),
    "a long function": (
        "def f():\n    'Short.'\n" + "    x = 1\n" * 31, {1: "f has 31 lines"},
    ),
    "a long method": (
        "class C:\n    async def g(self):\n" + "        x = 1\n" * 31, {2: "g has 31 lines"},
    ),
    "a try of one line": ("try: x\nexcept E: pass\n", {1: "a try of one line"}),
    "a for of one line": ("for x in y: f(x)\n", {1: "a for of one line"}),
    "a while of one line": ("while x: f(x)\n", {1: "a while of one line"}),
    "a with of one line": ("with x: f(x)\n", {1: "a with of one line"}),
}


@pytest.mark.parametrize("case", WRONG)
def test_every_kind_of_fault_is_found(case, tmp_path):
    text, expected = WRONG[case]
    assert faults(text, tmp_path) == expected


FINE = {
    "at the limits": f"x = {'1' * 96}\n{calls(32)}\n" + "def f():\n" + "    x = 1\n" * 30,
    "a docstring of many lines": 'def f():\n    """A.\n' + "    b\n" * 60 + '    """\n    x = 1\n',
    "comments": "def f():\n    x = 1\n" + "    # why\n" * 40 + "x = 1  # " + "a, " * 28 + "\n",
    "short ones": "if x: y\ndef f(x): return x\nclass C: pass\n",
    "blanks at the end": "x = 1" + " " * 99 + "\n",
}


@pytest.mark.parametrize("case", FINE)
def test_what_is_allowed_is_not_found(case, tmp_path):
    assert faults(FINE[case], tmp_path) == {}


def test_docstrings_and_comments_do_not_count(tmp_path):
    text = '"A module."\n# a comment\ndef f(a):\n    "What it does."\n    return a + 1  # more\n'
    (tmp_path / "a.py").write_text(text)
    assert density.measure([tmp_path / "a.py"]).nodes == [1, 4]


def notebook(*cells):
    "A notebook's JSON: pairs of kind and source."
    return json.dumps({"cells": [{"cell_type": k, "source": [text]} for k, text in cells]})


def test_cells_of_notebooks_are_read_without_magics_and_prose(tmp_path):
    text = notebook(
        ("markdown", "a " * 99), ("code", "%matplotlib inline\n!ls\n#| eval: false\nx = 1\n"),
        ("code", "#| fig-alt: " + "a " * 99 + "\nfor x in y: f(x)\n"),
    )
    (tmp_path / "a.ipynb").write_text(text)
    found = density.measure([tmp_path / "a.ipynb"])
    assert found.faults == {f"{tmp_path / 'a.ipynb'} cell 2:2": "a for of one line"}


def test_a_folder_is_read_whole_but_for_what_is_hidden(tmp_path):
    for name in ("a.py", "deep/b.py", ".hidden/c.py", "_modidx.py", "d.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("for x in y: f(x)\n")
    found = density.measure([tmp_path]).faults
    assert set(found) == {f"{tmp_path / name}:1" for name in ("a.py", "deep/b.py")}


def test_the_command_says_where_and_fails(tmp_path):
    (tmp_path / "a.py").write_text("for x in y: f(x)\n")
    command = [sys.executable, ROOT / "tools" / "density.py", tmp_path / "a.py"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    place, count = done.stdout.splitlines()
    assert place == f"{tmp_path / 'a.py'}:1: a for of one line"
    assert count == "1 lines of code, 7 nodes at the 90th percentile"
