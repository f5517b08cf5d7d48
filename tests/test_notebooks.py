"""Every notebook is a test: all cells run, in order, in a process of their own."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(p.relative_to(ROOT / "nbs").as_posix() for p in (ROOT / "nbs").rglob("*.ipynb") if not any(s.startswith((".", "_")) for s in p.parts))
RUN = "import sys; from pathlib import Path; from nbdev.test import test_nb; ok, seconds = test_nb(Path(sys.argv[1]), skip_flags=set(sys.argv[2].split()), do_print=True); sys.exit(not ok)"


def run(name, skip, limit):
    env = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "TQDM_DISABLE": "1"}
    done = subprocess.run([sys.executable, "-c", RUN, str(ROOT / "nbs" / name), skip], cwd=(ROOT / "nbs" / name).parent, env=env, capture_output=True, text=True, timeout=limit)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook(name):
    run(name, "notest slow gpu", 300)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [n for n in NOTEBOOKS if "#| slow" in (ROOT / "nbs" / n).read_text()])
def test_notebook_with_slow_cells(name):
    run(name, "notest gpu", 3600)


def test_a_lesson_through_nbconvert_is_silent(tmp_path):
    "A grader reads stderr as failure: the kernel's cells write none."
    import nbformat
    from nbconvert.preprocessors import ExecutePreprocessor

    nb = nbformat.read(ROOT / "nbs" / "tasks" / "00_text_classification.ipynb", 4)
    ExecutePreprocessor(timeout=300, kernel_name="python3").preprocess(nb, {"metadata": {"path": str(ROOT / "nbs" / "tasks")}})
    loud = [o for c in nb.cells if c.cell_type == "code" for o in c.outputs if o.get("name") == "stderr" or o.output_type == "error"]
    assert not loud, loud[:2]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_saved_outputs(name):
    "Saved outputs hold no errors, no stderr, no folder of the machine they ran on."
    import nbformat

    nb = nbformat.read(ROOT / "nbs" / name, 4)
    text = (ROOT / "nbs" / name).read_text(encoding="utf-8")
    loud = [o for c in nb.cells if c.cell_type == "code" for o in c.outputs if o.get("name") == "stderr" or o.output_type == "error"]
    assert not loud and str(ROOT) not in text and "/root/" not in text and "site-packages" not in text
