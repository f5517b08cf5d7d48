"""A task of another installed package is found by its name:

by Python, the command line and a saved run.
"""
import json
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import sft_nb.tasks.table
from sft_nb import entry_points, finding
from sft_nb.task import SFTError, Task

ROOT = Path(__file__).parents[1]
TOY = (ROOT / "tests" / "toy_detection.py").read_text(encoding="utf-8")


def install(folder, name, module, declared, source=TOY):
    "A distribution with one module and the entry points `declared`, in a folder for sys.path."
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    points = "".join(f"{key} = {value}\n" for key, value in declared.items())
    (info / "entry_points.txt").write_text(f"[sft_nb.tasks]\n{points}")


@pytest.fixture
def python(tmp_path):
    "python(*arguments): in a process that finds what is installed in tmp_path."
    def run(*arguments, code=0):
        start = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv[0] = 'sft-nb'; "
        command = [sys.executable, "-c", start + arguments[0], *arguments[1:]]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == code, done.stderr[-2000:]
        assert "Traceback" not in done.stderr
        return done
    return run


@pytest.fixture
def declared(monkeypatch):
    "declared(name=value, …): what other packages declare, in this process."
    def say(**values):
        points = [EntryPoint(k.replace("_", "-"), v, entry_points.TASKS) for k, v in values.items()]
        monkeypatch.setattr(entry_points, "entry_points", lambda group: points)
    return say


SHELL = "from sft_nb.commands.cli import main; main()"
SAVED = """
import json
from sft_nb.finding import task_class, task_from_dict, task_names
task = task_class("outside-detection")(threshold=0.25)
again = task_from_dict(json.loads(json.dumps(task.to_dict())))
print(json.dumps([type(again).__module__, again.threshold, task_names()]))
"""
BY_NAME_ALONE = """
from sft_nb.finding import task_from_dict
print(type(task_from_dict({"name": "outside-detection", "fields": {}})).__module__)
"""


@pytest.fixture
def outside(tmp_path):
    source = TOY.replace("toy-detection", "outside-detection")
    install(
        tmp_path, "outside", "outside_tasks",
        {"outside-detection": "outside_tasks:ToyDetection"},
        source,
    )


def test_python_finds_it(outside, python):
    module, threshold, names = json.loads(python(SAVED).stdout)
    assert (module, threshold) == ("outside_tasks", 0.25)
    assert "outside-detection" in names and len(names) == 8


def test_a_saved_run_finds_it(outside, python):
    assert python(BY_NAME_ALONE).stdout.strip() == "outside_tasks"


def test_the_command_line_finds_it(outside, python, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    told = python(SHELL, "fine-tune", "--task", "outside-detection", "--help").stdout
    assert "--image" in told and "--threshold" in told
    assert "outside-detection" in python(SHELL, "fine-tune", "a.csv", code=2).stderr


@pytest.mark.parametrize("value, source, words", [
    ("lost:Task", TOY, "ModuleNotFoundError"),
    ("half:Task", "import nothing_like_this", "ModuleNotFoundError"),
    ("half:Nobody", TOY, "AttributeError"),
    ("half:SIZE", TOY, "is no task"),
    ("half:ToyDetection", TOY, "calls itself 'toy-detection'"),
])
def test_a_task_that_cannot_be_loaded_is_one_sentence(value, source, words, tmp_path, python):
    install(tmp_path, "half-baked", "half", {"half": value}, source)
    said = python(SHELL, "fine-tune", "a.csv", "--task", "half", "--out", "x", code=2).stderr
    assert words in said and "'half'" in said and "half-baked" in said
    python(SHELL, "fine-tune", "--task", "text-classification", "--help")  # others are not hurt


@pytest.mark.parametrize("name, value, words", [
    ("odd", "no reference at all!", "is not module:Class"),
    ("translation", "half:ToyDetection", "the name is taken"),
])
def test_a_broken_declaration_is_a_warning(name, value, words, tmp_path, python):
    install(tmp_path, "half-baked", "half", {name: value})
    done = python(SHELL, "fine-tune", "a.csv", code=2)
    assert f"warning: The task {name!r} of the package half-baked is left out" in done.stderr
    assert words in done.stderr and "warning" not in done.stdout
    assert "Which task?" in done.stderr and "odd" not in done.stderr.split("Which task?")[1]


def test_metadata_that_nobody_can_read(monkeypatch, caplog):
    def broken(group): raise ValueError("not enough values to unpack")
    monkeypatch.setattr(entry_points, "entry_points", broken)
    assert "translation" in finding.task_names()
    assert "cannot be listed" in caplog.text


def test_a_name_that_is_declared_nowhere(declared):
    declared(far_away="far:Away")
    with pytest.raises(SFTError, match="Known: .*far-away.*text-classification"):
        finding.task_class("near")


def test_our_own_tasks_are_found_without_any_installation(monkeypatch, declared):
    declared()
    monkeypatch.setattr(Task, "registry", {})
    every = list(sft_nb.tasks.table.ALL)
    assert every and [finding.task_class(task.name) for task in every] == every


@pytest.mark.parametrize("group, option", [
    (entry_points.TASKS, "task_entry_points"), (entry_points.METHODS, "method_entry_points"),
])
def test_the_package_declares_what_its_list_says(group, option):
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    told = [words.partition("=")[::2] for words in config["DEFAULT"][option].split()]
    own = entry_points.own_points(group)
    assert told == [(point.name, point.value) for point in own]
    for point in own:
        assert isinstance(point.load(), type)


def test_the_table_of_tasks_has_all():
    assert [t.name for t in sft_nb.tasks.table.ALL] == list(entry_points.OWN[entry_points.TASKS])


def test_names_are_listed_without_importing_tasks(python):
    code = ("import sys; from sft_nb.finding import task_names; task_names(); print([m for m in "
            "sys.modules if m.startswith('sft_nb.tasks')])")
    assert python(code).stdout.strip() == "[]"
