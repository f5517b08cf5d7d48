"""The first hour of a new user:

README's own lines, typed as they stand into a fresh folder, end in success.
"""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sft_nb import assets

ROOT = Path(__file__).parents[1]
README = (ROOT/"README.md").read_text(encoding="utf-8")


def blocks(language, first):
    "README's blocks of a language, from the one that holds `first` up to the next heading."
    part = README[README.index(first):]
    part = (
        README[README.rindex("\n## ", 0, README.index(first)) : README.index(first)]
        + part[: part.index("\n## ")]
    )
    return re.findall(rf"```{language}\n(.*?)```", part, re.S)


def run(command, folder):
    "In the folder, with the assets that have been fetched, and with books of its own."
    mine = folder.parent/f"home of {folder.name}"
    if not mine.exists():
        mine.mkdir()
        for asset in assets.home().glob("*"):
            if asset.name != "certificates": (mine/asset.name).symlink_to(asset)
    env = os.environ | {"SFT_NB_HOME": str(mine), "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, encoding="utf-8", timeout=1500
    )


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    "The Python lines, in a fresh folder: (folder, what was printed)."
    folder = tmp_path_factory.mktemp("first_hour")
    lines = "\n".join(blocks("python", "film_reviews().sample"))
    # a notebook shows the value of a cell's last line; a script has to print it
    last = "print(tuner.certify("
    assert lines.count("\ntuner.certify(") == 1
    script = re.sub(r"\ntuner\.certify\((.*)\)\n?$", r"\nprint(tuner.certify(\1))\n", lines)
    assert last in script
    done = run([sys.executable, "-c", script], folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_lines_in_python(python):
    folder, said = python
    assert "Epoch 1, Training Loss" in said and re.search(r"^CERTIFIED: accuracy", said, re.M)
    assert (folder/"runs"/"reviews"/"model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_lines_in_a_terminal(python):
    "Each by itself, as they would be typed: every one ends with 0."
    folder, _ = python
    block, = blocks("sh", "sft-nb fine-tune data.csv")
    said = {}
    for line in block.strip().splitlines():
        done = run(["bash", "-c", line.replace("sft-nb", f"{sys.executable} -m sft_nb", 1)], folder)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        said[line.split()[1]] = done.stdout
    assert list(said) == ["fine-tune", "evaluate", "predict", "certify", "verify", "assets"]
    assert json.loads(said["evaluate"].splitlines()[-1])["metrics"]["accuracy"] > .6
    assert said["predict"].splitlines()[0] == "text,prediction,score,prob_fresh,prob_rotten"
    assert said["certify"].startswith("CERTIFIED") and said["verify"].startswith("VERIFIED")
    assert (folder/"runs"/"films"/"report.html").exists()


def test_every_notebook_is_linked():
    linked = set(re.findall(r"\]\((nbs/[\w/]+\.ipynb)\)", README))
    there = {
        p.relative_to(ROOT).as_posix()
        for p in (ROOT / "nbs").rglob("*.ipynb")
        if ".ipynb_checkpoints" not in p.parts
    }
    assert there - linked == {"nbs/index.ipynb"} and linked <= there


def test_readme_is_what_the_notebook_makes():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "build_readme.py"), "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


# --- few rows, and the recipe that nobody has to choose ---

STORED = ROOT/"results"/"small_data.json"
LEARNED = json.loads(STORED.read_text(encoding="utf-8"))["runs"] if STORED.exists() else []
TASKS = [
    "text-classification", "text-regression", "sequence-labelling", "image-classification",
    "object-detection", "translation", "instruction-tuning",
]


def tried(name, rows, seed):
    """One table of the bundled data, tuned with the default recipe:

    (what was reached, what needs no learning).
    """
    sys.path.insert(0, str(ROOT/"tests"/"bench"))
    import small_data
    found = small_data.run(name, rows, seed, {})
    return found["reached"], found["without learning"]


def test_every_stored_run_is_above_what_needs_no_learning():
    """From 60 rows on. The series, five seeds of each task and size, is made by
    tests/bench/small_data.py, in hours.
    """
    below = [
        (r["task"], r["rows"], r["seed"])
        for r in LEARNED
        if r["rows"] >= 60 and r["reached"] <= r["without learning"]
    ]
    assert LEARNED and not below


def test_sixty_rows_are_enough_for_reviews():
    reached, plain = tried("text-classification", 60, 0)
    assert reached > plain


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", TASKS)
def test_sixty_rows_are_enough(name):
    "A seed that no stored run has had."
    reached, plain = tried(name, 60, 5)
    assert reached > plain
