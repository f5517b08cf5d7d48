"""What contributors meet:

the hosted jobs, the hooks, the forms. Their files load, and name what exists.
"""
import importlib
import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
HOOKS = ROOT / ".pre-commit-config.yaml"
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))


def settings():
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    return config["DEFAULT"]


def jobs():
    "The rows of the workflow's matrix."
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    return workflow["jobs"]["test"]["strategy"]["matrix"]["include"]


def hooks():
    config = yaml.safe_load(HOOKS.read_text(encoding="utf-8"))
    return [hook for repo in config["repos"] for hook in repo["hooks"]]


def lower_bounds(requirements):
    "Name -> the oldest version that is allowed."
    return dict(re.match(r"([\w-]+)>=([\d.]+)", r).groups() for r in requirements.split())


# --- the hosted jobs ---

def test_jobs_are_those_that_we_promise():
    rows = jobs()
    assert {row["os"] for row in rows} == {"ubuntu-latest", "macos-latest", "windows-latest"}
    assert {"constraints.txt", "constraints-oldest.txt", ""} == {row["constraints"] for row in rows}
    may_fail = [row for row in rows if row.get("may_fail")]
    assert [row["also"] for row in may_fail] == [
        "git+https://github.com/huggingface/transformers@main"]
    assert min(row["python"] for row in rows) == settings()["min_python"]


def test_jobs_run_the_script_that_is_there():
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    steps = workflow["jobs"]["test"]["steps"]
    runs = [step for step in steps if step.get("run", "").startswith("bash ")]
    assert [step["run"] for step in runs] == ["bash .ci/run"]
    assert (ROOT / ".ci" / "run").is_file()
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    names = runs[0]["env"].keys() - {"PYTEST_ADDOPTS", "PYTHONUTF8"}
    assert names
    for name in names:
        assert f"${{{name}" in script, name  # the script reads what the job sets


def test_files_that_jobs_name_exist():
    for row in jobs():
        if row["constraints"]:
            assert (ROOT / row["constraints"]).is_file()
        for path in re.findall(r"--ignore=(\S+)", row.get("pytest", "")):
            assert (ROOT / path).is_file(), path


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_script_is_bash():
    done = subprocess.run(["bash", "-n", ".ci/run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- versions ---

def test_the_oldest_versions_are_those_of_the_settings():
    lines = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    said, portions = settings(), ("", "tagging_", "detection_", "writing_", "lora_", "certify_")
    bounds = lower_bounds(" ".join(said[f"{portion}requirements"] for portion in portions))
    del bounds["torch"]  # the file says why
    assert pinned == bounds


# --- hooks and forms ---

def test_hooks_name_commands_that_exist():
    assert {hook["id"] for hook in hooks()} >= {"clean", "export", "ruff"}
    for hook in hooks():
        command, *rest = hook["entry"].split()
        assert shutil.which(command), hook["entry"]
        assert all((ROOT / word).is_file() for word in rest if word.endswith(".py")), hook["entry"]
        re.compile(hook["files"])


def test_hooks_do_what_the_script_does():
    "Whoever changes how the package is exported changes both."
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for hook in hooks():
        assert hook["entry"] in script, hook["entry"]


@pytest.mark.parametrize("form", FORMS, ids=lambda p: p.stem)
def test_forms_have_a_head_that_loads(form):
    _, head, body = form.read_text(encoding="utf-8").split("---\n", 2)
    assert set(yaml.safe_load(head)) == {"name", "about", "labels"}
    assert body.strip()


def test_contributing_names_the_forms_and_hooks():
    told = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(FORMS) == 3 and (ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md").is_file()
    for words in ("a mistake, for a lesson", "pull request", ".pre-commit-config.yaml", "ci.yml"):
        assert words in told, words


def test_the_version_has_a_date():
    "The newest section with a number is this version's."
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version, date = re.findall(r"^## (\d\S*) \((.*)\)$", text, re.M)[0]
    assert version == settings()["version"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", date)


# --- the package's public names ---

IN_LESSONS = {  # what a lesson defines for itself, and nobody else calls
    "task": ["seed_everything"],
    "batches.packing": ["packed_share"],
    "tasks.detection.boxes": ["check_boxes"],
    "tasks.tagging.schemes": ["from_iob2"],
    "tasks.images.classification": ["right_and_wrong"],
    "tasks.writing.instruction_tuning": ["by_kind"],
    "tasks.writing.translation": ["Attention", "attention_of"],
    "certification.calibration": ["tempered", "brier"],
}


@pytest.mark.parametrize("module", IN_LESSONS)
def test_what_only_a_lesson_uses_stays_there(module):
    module, names = importlib.import_module(f"sft_nb.{module}"), IN_LESSONS[module]
    assert not [name for name in names if hasattr(module, name)]


def test_a_lesson_without_exports_has_no_module():
    assert not (ROOT / "sft_nb" / "training" / "drafts.py").exists()
