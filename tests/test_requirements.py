"""Requirements by use: what the heart imports is required, the rest comes in portions, and a
library that is missing is a sentence with the line to type.
"""

import ast
import json
import os
import re
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SETTINGS = ConfigParser(delimiters=["="])
SETTINGS.read(ROOT / "settings.ini", encoding="utf-8")
PORTIONS = ("tagging", "detection", "writing", "lora", "certify", "export")


def wanted(name):  # distribution -> requirement
    found = map(Requirement, SETTINGS["DEFAULT"][name].split())
    return {canonicalize_name(r.name): r for r in found}


HEART = wanted("requirements")
PORTION = {name: wanted(f"{name}_requirements") for name in PORTIONS}


# --- what is imported is required, where it is imported ---

OWNERS = {
    name: {canonicalize_name(d) for d in found} for name, found in packages_distributions().items()
}


def portion_of(node):  # the word in `with needed("word")`
    calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
    named = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "needed"]
    return named[0].args[0].value if named else None


def imports(tree, portion=None):  # (top-level name, portion or None) of every import
    for node in ast.iter_child_nodes(tree):
        inside = portion_of(node) or portion if isinstance(node, ast.With) else portion
        if isinstance(node, ast.Import):
            yield from ((name.name.partition(".")[0], inside) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0], inside
        yield from imports(node, inside)


FOUND = {}
for _file in sorted((ROOT / "sft_nb").rglob("*.py")):
    for _found in imports(ast.parse(_file.read_text(encoding="utf-8"))):
        FOUND.setdefault(_found, _file.relative_to(ROOT).as_posix())
IMPORTED = {
    (name, portion): file
    for (name, portion), file in FOUND.items()
    if name not in sys.stdlib_module_names and name != "sft_nb"
}


@pytest.mark.parametrize("name, portion", sorted(IMPORTED, key=str))
def test_every_import_is_of_something_required(name, portion):
    known = HEART if portion is None else PORTION[portion]
    assert OWNERS[name] & set(known), f"{IMPORTED[name, portion]} imports {name}"


def test_a_portion_holds_nothing_of_the_heart():
    for portion in PORTION.values():
        assert not set(portion) & set(HEART)
    names = [name for portion in PORTION.values() for name in portion]
    assert len(names) == len(set(names))


def test_nothing_is_required_that_nobody_imports():
    used = {owner for name, _ in IMPORTED for owner in OWNERS[name]}
    every = {name for known in (HEART, *PORTION.values()) for name in known}
    assert every - used == set()


def test_the_constraints_are_in_step():
    assert HEART and all(PORTION.values()) and wanted("dev_requirements")
    lines = (ROOT / "constraints.txt").read_text().split()
    exact = {
        canonicalize_name(name): version for name, version in (line.split("==") for line in lines)
    }
    needed = wanted("dev_requirements"), wanted("site_requirements")
    for known in (HEART, *PORTION.values(), *needed):
        for name, requirement in known.items():
            assert requirement.specifier.contains(exact[name]), requirement


def test_all_is_the_sum_and_dev_holds_it():
    code = (
        "import json, runpy, setuptools\n"
        "setuptools.setup = lambda **k: print(json.dumps(k['extras_require']))\n"
        "runpy.run_path('setup.py')"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    extras = json.loads(found.stdout)
    portions = {r for name in PORTIONS for r in extras[name]}
    assert set(extras["all"]) == portions and portions < set(extras["dev"])
    assert extras["site"] and set(extras["site"]) < set(extras["dev"])
    assert {*PORTIONS, "all", "dev"} <= set(extras)


# --- without them ---

WITHOUT = """
import importlib.machinery, sys

GONE = {gone!r}

class Without(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in GONE else super().find_spec(name, path, target)

sys.meta_path[:] = [Without if f is importlib.machinery.PathFinder else f for f in sys.meta_path]
sys.path.insert(0, {tests!r})
"""

NAMES = sorted(
    name for name, owners in OWNERS.items() if owners & {d for p in PORTION.values() for d in p}
)

HELP = """
import contextlib, io, json, sys
import sft_nb.all, sft_nb.tasks.table
from sft_nb.commands.cli import main

def told(*argv):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try: main(list(argv))
        except SystemExit as e: return e.code or 0, out.getvalue()

found = {"": told("--help")}
for task in sft_nb.tasks.table.ALL:
    found[task.name] = told("fine-tune", "--task", task.name, "--help")
found["here"] = sorted(GONE & set(sys.modules))
print(json.dumps(found))
"""

WORK = """
import json
from pathlib import Path
from test_tasks import EXAMPLES
from sft_nb.all import FineTuner, Lora, TextClassification, load_data
from sft_nb.data.asset_tables import read_gettext
from sft_nb.task import SFTError
from sft_nb.tasks.writing import cldr, gguf
from sft_nb.tasks.detection import voc

def said(f, *args):
    try: f(*args)
    except SFTError as e: return f"{type(e).__name__}: {e}"
    return ""

def fit(task, **how):
    example = EXAMPLES[task]
    recipe = example.recipe.but(epochs=1, **how)
    return FineTuner(example.task, checkpoint, recipe).fit(example.rows)

tuner = fit(TextClassification)
answers = tuner.predict(["one film", "two films"])
Path(here, "a.xml").write_text("<a/>")
found = {
    **{task.name: said(fit, task) for task in EXAMPLES},
    "lora": said(lambda: fit(TextClassification, methods=(Lora(),))),
    "xml": said(voc.safe_xml, Path(here, "a.xml")),
    "gettext": said(read_gettext, ['msgid "a"', 'msgstr "b"']),
    "dates": said(lambda: cldr.cldr_pairs(dates=3, times=0, amounts=0)),
    "gguf": said(gguf.convert_gguf, Path(here), Path(here, "out")),
    "answers": len(answers),
    "saved": sorted(p.name for p in tuner.save(Path(here, "run")).iterdir())[-1],
}
print(json.dumps(found))
"""


def without(code, gone, **values):
    "What a Python without these libraries prints last."
    head = WITHOUT.format(gone=set(gone), tests=str(ROOT / "tests"))
    code = head + "".join(f"{k} = {v!r}\n" for k, v in values.items()) + code
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=500,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_everything_can_be_imported_and_asked_for_help_without_the_portions():
    assert {
        "seqeval", "pycocotools", "defusedxml", "sacrebleu", "babel", "gguf", "sentencepiece",
        "peft",
    } <= set(NAMES)
    found = without(HELP, NAMES)
    assert found.pop("here") == []
    assert len(found) == 8 and all(code == 0 and "--help" in text for code, text in found.values())


PLAIN = ("text-classification", "text-regression", "image-classification")
LINES = {
    "sequence-labelling": ("Judging entities needs seqeval", "tagging"),
    "object-detection": ("Judging boxes needs pycocotools", "detection"),
    "translation": ("Judging written texts needs sacrebleu", "writing"),
    "instruction-tuning": ("Judging written texts needs sacrebleu", "writing"),
    "lora": ("LoRA needs peft", "lora"),
    "xml": ("Reading XML from strangers needs defusedxml", "detection"),
    "gettext": ("A gettext catalogue needs babel", "writing"),
    "dates": ("Writing dates and amounts needs babel", "writing"),
    "gguf": ("Reading a GGUF file needs gguf", "writing"),
}


def test_texts_are_classified_without_the_portions_and_the_rest_says_what_to_type(tiny, tmp_path):
    found = without(WORK, NAMES, checkpoint=str(tiny("bert")), here=str(tmp_path))
    assert found["answers"] == 2 and found["saved"]
    for name, (words, portion) in LINES.items():
        line = f'{words}, which is not installed. Type: pip install "sft_nb[{portion}]"'
        assert found[name] == f"MissingError: {line}", name
    for name in PLAIN:
        assert "MissingError" not in found[name]


COMMAND = """
from sft_nb.commands.cli import main
main(argv)
"""


def test_the_command_line_says_it_in_one_line(tiny, tmp_path):
    (tmp_path / "a.csv").write_text(
        "source,target\n" + "".join(f"text {n},Text {n}\n" for n in range(20))
    )
    argv = [
        "fine-tune", str(tmp_path / "a.csv"), "--task", "translation", "--model",
        str(tiny("bert")), "--out", str(tmp_path / "run"),
    ]
    code = (
        WITHOUT.format(gone=set(NAMES), tests=str(ROOT / "tests")) + f"argv = {argv!r}\n" + COMMAND
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    last = done.stderr.strip().splitlines()[-1]
    assert (
        done.returncode == 2
        and 'pip install "sft_nb[writing]"' in last
        and "Traceback" not in done.stderr
    )
    assert not list((tmp_path / "run").glob("*"))


def test_a_tokenizer_of_sentences_says_it_too(tiny):
    "Marian's tokenizer is read by transformers with sentencepiece."
    code = """
import json
from sft_nb.models.loading import load
from sft_nb.task import SFTError
try: load(folder, "seq2seq-lm")
except SFTError as e: print(json.dumps(f"{type(e).__name__}: {e}"))
else: print(json.dumps(""))
"""
    said = without(code, ["sentencepiece"], folder=str(tiny("marian")))
    assert re.search(r'^MissingError: .*sentencepiece.*pip install "sft_nb\[writing\]"', said), said


def test_the_readme_installs_what_its_commands_need():
    lines = re.findall(r"^pip install .*$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    assert any(line.endswith("&& pytest") and '".[dev]"' in line for line in lines)
    assert any(line.endswith("&& sft-nb demo") for line in lines)
