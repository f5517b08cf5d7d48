"""Every notebook is a test: all cells run, in order, in a process of their own."""
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(
    p.relative_to(ROOT / "nbs").as_posix()
    for p in (ROOT / "nbs").rglob("*.ipynb")
    if not any(s.startswith((".", "_")) for s in p.parts)
)
# What most notebooks import and none of them defines: loaded once, in a process from which each
# notebook's own is forked.
LIBRARIES = [
    "accelerate", "matplotlib.pyplot", "nbdev.test", "pandas", "scipy.stats",
    "sklearn.feature_extraction.text", "sklearn.linear_model", "torch",
    "transformers.models.bert.modeling_bert", "transformers.trainer",
]


def execute(path, skip, output):
    "In the notebook's own process: all its cells; what they print goes to a file."
    with open(output, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(path.parent)
    os.environ["TQDM_DISABLE"] = "1"
    from nbdev.test import test_nb
    ok, _ = test_nb(path, skip_flags=set(skip.split()), do_print=True)
    sys.stdout.flush()
    os._exit(not ok)


def run(name, skip, limit):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    with tempfile.NamedTemporaryFile() as output:
        process = context.Process(target=execute, args=(ROOT / "nbs" / name, skip, output.name))
        process.start()
        process.join(limit)
        late = process.is_alive()
        process.kill()
        process.join()
        assert not late and process.exitcode == 0, (
            f"{name}: "
            + (f"more than {limit} seconds. " if late else "")
            + Path(output.name).read_text()[-6000:]
        )


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook(name):
    run(name, "notest slow gpu", 300)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "name", [n for n in NOTEBOOKS if "#| slow" in (ROOT / "nbs" / n).read_text()]
)
def test_notebook_with_slow_cells(name):
    run(name, "notest gpu", 3600)


def test_a_lesson_through_nbconvert_is_silent(tmp_path):
    "A grader reads stderr as failure: the kernel's cells write none."
    import nbformat
    from nbconvert.preprocessors import ExecutePreprocessor

    nb = nbformat.read(ROOT / "nbs" / "tasks/text/02_classification.ipynb", 4)
    ExecutePreprocessor(timeout=300, kernel_name="python3").preprocess(
        nb, {"metadata": {"path": str(ROOT / "nbs" / "tasks/text")}}
    )
    loud = [
        o
        for c in nb.cells
        if c.cell_type == "code"
        for o in c.outputs
        if o.get("name") == "stderr" or o.output_type == "error"
    ]
    assert not loud, loud[:2]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_saved_outputs(name):
    "Saved outputs hold no errors, no stderr, no folder of the machine they ran on."
    import nbformat

    nb = nbformat.read(ROOT / "nbs" / name, 4)
    text = (ROOT / "nbs" / name).read_text(encoding="utf-8")
    loud = [
        o
        for c in nb.cells
        if c.cell_type == "code"
        for o in c.outputs
        if o.get("name") == "stderr" or o.output_type == "error"
    ]
    assert not loud
    assert str(ROOT) not in text
    assert "/root/" not in text
    assert "site-packages" not in text
