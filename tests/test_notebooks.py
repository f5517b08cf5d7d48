"""Every notebook is a test: all cells run, in order, in a process of their own, and say what the
saved notebook says.
"""
import math
import multiprocessing
import os
import re
import sys
import tempfile
from difflib import SequenceMatcher
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


WIDGET = "application/vnd.jupyter.widget-view+json"  # another address in every run


# --- what a cell has said: {"printed": text, "shown": [text, …]} ---

def said(outputs):
    "The texts among a cell's outputs; pictures and live views of widgets are left out."
    printed = ["".join(o["text"]) for o in outputs if o.get("name") == "stdout"]
    found = {"printed": "".join(printed), "shown": []}
    for data in (o["data"] for o in outputs if "data" in o):
        data = {kind: text for kind, text in data.items() if kind != WIDGET}
        if set(data) <= {"text/plain", "text/markdown", "text/html"}:
            kinds = (kind for kind in ("text/plain", "text/markdown") if kind in data)
            found["shown"] += ["".join(data[kind]) for kind in kinds]
    return found


def settled(text):
    "Without what is another one in every run: addresses, temporary folders, clocks of bars."
    text = re.sub(r" at 0x[0-9a-f]{4,}", "", text)  # nbdev_clean takes it out of what is stored
    text = re.sub(rf"{re.escape(tempfile.gettempdir())}/[^\s'\",)]+", "FOLDER", text)
    text = re.sub(r"\[\d+:\d+<[^\]]*\]", "[CLOCK]", text)
    return " ".join(text.split())  # a number with another sign moves a column


NUMBER = re.compile(r"(-?\d+\.\d+(?:e[+-]?\d+)?)", re.IGNORECASE)


def near(a, b):
    "Equal to three significant digits."
    a, b = float(a), float(b)
    size = max(abs(a), abs(b))
    return a == b or abs(a - b) <= 10 ** (math.floor(math.log10(size)) - 2)


def same_text(stored, fresh):
    "The same words, and the same numbers to three significant digits."
    ours, theirs = (NUMBER.split(settled(text)) for text in (stored, fresh))
    if len(ours) != len(theirs) or ours[::2] != theirs[::2]: return False
    return all(map(near, ours[1::2], theirs[1::2]))


def alike(stored, fresh):
    "Mostly the same words: what a training says that was rounded in another way."
    ours, theirs = (re.findall(r"[^\W\d_]+", settled(text)) for text in (stored, fresh))
    return SequenceMatcher(None, ours, theirs, autojunk=False).ratio() > .7


def stale(stored, fresh, same=same_text):
    "Does what a cell says differ from what the notebook has kept of it?"
    texts, others = ([one["printed"], *one["shown"]] for one in (stored, fresh))
    return len(texts) != len(others) or not all(map(same, texts, others))


# The stored outputs come from processors that multiply in bfloat16. Where there is none, a training
# ends a little elsewhere: a row of sixty is answered otherwise, another epoch is kept. There only
# the words are compared, and on the former only the words of these notebooks:
STORED_IN_FP32 = ()


def comparison(name):
    "How texts of this notebook are compared on this machine."
    import torch
    asks = [getattr(torch.cpu, f"_is_{f}_supported", None) for f in ("avx512_bf16", "amx_tile")]
    here = "bf16" if any(ask and ask() for ask in asks) else "fp32"
    there = "fp32" if name in STORED_IN_FP32 else "bf16"
    return same_text if here == there else alike


# --- running ---

def run_cells(path, skip):
    "Run a notebook; gives (number, what is stored, what it says now) of every cell that was run."
    import pandas as pd
    from execnb.shell import CaptureShell
    from nbdev.process import NBProcessor

    pd.set_option("display.max_columns", 20)  # as in a kernel; in a terminal, its width decides
    skip, shell, kept, found = set(skip.split()), CaptureShell(path), {}, []
    notebook = NBProcessor(path, process=True).nb

    def left_out(cell):
        flags = getattr(cell, "directives_", None) or {}
        if cell.cell_type != "code" or skip & flags.keys(): return True
        if flags.get("eval:", [""])[0].lower() == "false": return True
        kept[cell.idx_] = said(cell.get("outputs", []))
        cell.outputs = []
        if silent(cell): cell.source += "\n#"  # or execnb takes away what was printed, too
        return False

    def silent(cell): return cell.source.rstrip("# \n").endswith(";")

    def compare(cell):
        outputs = [o for o in cell.outputs if o.output_type != "execute_result" or not silent(cell)]
        found.append((cell.idx_, kept[cell.idx_], said(outputs)))

    try:
        shell.run_all(notebook, exc_stop=True, preproc=left_out, postproc=compare)
    except Exception:
        print(shell.prettytb(fname=path))
        raise
    return found


def execute(path, skip, output, compared):
    "In the notebook's own process: all its cells; what they print goes to a file."
    with open(output, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(path.parent)
    books = f"{output}.books.json"  # looks in lessons reach nobody's own books
    os.environ |= {"TQDM_DISABLE": "1", "IN_TEST": "1", "SFT_NB_BOOKS": books}
    same = comparison(Path(os.path.relpath(path, ROOT/"nbs")).as_posix())
    differing = [cell for cell in run_cells(path, skip) if compared and stale(*cell[1:], same)]
    for number, stored, fresh in differing:
        print(f"Cell {number} is stale.\n  stored: {stored}\n  now:    {fresh}")
    sys.stdout.flush()
    os._exit(bool(differing))


def run(name, skip, limit, compared=True):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    with tempfile.NamedTemporaryFile() as output:
        arguments = (ROOT / "nbs" / name, skip, output.name, compared)
        process = context.Process(target=execute, args=arguments)
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
    run(name, "notest slow gpu", 570)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "name", [n for n in NOTEBOOKS if "#| slow" in (ROOT / "nbs" / n).read_text()]
)
def test_notebook_with_slow_cells(name):
    run(name, "notest gpu", 3600, compared=False)


def loud(nb):
    "Outputs that are errors, or went to stderr."
    outputs = [o for c in nb.cells if c.cell_type == "code" for o in c.outputs]
    return [o for o in outputs if o.get("name") == "stderr" or o.output_type == "error"]


def test_a_lesson_through_nbconvert_is_silent(tmp_path):
    "A grader reads stderr as failure: the kernel's cells write none."
    import nbformat
    from nbconvert.preprocessors import ExecutePreprocessor

    nb = nbformat.read(ROOT / "nbs" / "training/06_tuner.ipynb", 4)
    ExecutePreprocessor(timeout=300, kernel_name="python3").preprocess(
        nb, {"metadata": {"path": str(ROOT / "nbs" / "training")}}
    )
    assert loud(nb) == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_saved_outputs(name):
    "Saved outputs hold no errors, no stderr, no folder of the machine they ran on."
    import nbformat

    text = (ROOT / "nbs" / name).read_text(encoding="utf-8")
    assert loud(nbformat.reads(text, 4)) == []
    assert str(ROOT) not in text
    assert "/root/" not in text
    assert "site-packages" not in text


# --- the comparison itself ---

SAME = [
    ("loss 0.12349", "loss 0.12351"),
    ("<Run at 0x7f0a12bc>", "<Run at 0x7fffaa00>"),
    ("<Styler>", "<Styler at 0x7fffaa00>"),
    ("4/4 [00:01<00:00, 3.1it/s] done", "4/4 [00:07<00:00, 0.4it/s] done"),
    ("a   b\n1   2.0", "a b\n1 2.000"),
    (f"saved to {tempfile.gettempdir()}/tmpabc/run.", f"saved to {tempfile.gettempdir()}/x1/run."),
]
OTHER = [
    ("loss 0.1234", "loss 0.1254"), ("12 rows", "13 rows"), ("0.5", "-0.5"), ("1.5", "fine"),
    ("two", "two three"), ("", "0"),
]


@pytest.mark.parametrize("stored, fresh", SAME)
def test_texts_that_differ_in_the_run_alone_are_the_same(stored, fresh):
    assert same_text(stored, fresh)


@pytest.mark.parametrize("stored, fresh", OTHER)
def test_texts_that_say_something_else_are_not(stored, fresh):
    assert not same_text(stored, fresh)


def test_elsewhere_a_training_may_end_otherwise_and_no_more():
    text = "Kept epoch {}: accuracy {}, the most frequent answer every time: 0.55."
    assert alike(text.format(3, .6333), text.format(2, .6167)) and alike("0.583", "0.5")
    assert not alike(text.format(3, .6333), "no row is left") and not alike("a head", "a body")


LITTLE = """{"cells": [
 {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": null,
  "source": ["print('one')\\n", "'two'"], "outputs": [
   {"output_type": "stream", "name": "stdout", "text": ["one\\n"]},
   {"output_type": "execute_result", "execution_count": 1, "metadata": {},
    "data": {"text/plain": ["'RESULT'"]}}]},
 {"cell_type": "code", "id": "b", "metadata": {}, "execution_count": null,
  "source": ["#| slow\\n", "print('three')"], "outputs": [
   {"output_type": "stream", "name": "stdout", "text": ["stale, and not run\\n"]}]},
 {"cell_type": "code", "id": "c", "metadata": {}, "execution_count": null,
  "source": ["print('four');"], "outputs": [
   {"output_type": "stream", "name": "stdout", "text": ["four\\n"]}]}],
 "metadata": {"kernelspec": {"language": "python", "name": "python3", "display_name": "x"}},
 "nbformat": 4, "nbformat_minor": 5}"""


def test_a_stale_output_fails_and_a_fresh_one_does_not(tmp_path):
    fresh, old = tmp_path / "fresh.ipynb", tmp_path / "old.ipynb"
    fresh.write_text(LITTLE.replace("RESULT", "two"))
    old.write_text(LITTLE.replace("RESULT", "three"))
    run(fresh, "slow", 60)
    with pytest.raises(AssertionError, match="Cell 0 is stale"):
        run(old, "slow", 60)
