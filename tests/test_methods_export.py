"""An exported run answers like the run that it was made from, in a folder of its own, without
torch.
"""
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cases import CASES
from tiny_models import SENTENCES

from sft_nb.certification.certificate import Certificate
from sft_nb.data.columns import records
from sft_nb.mistakes import CheckpointError, DataError, SFTError, TrainingError
from sft_nb.models.served import Served
from sft_nb.task import Task
from sft_nb.tasks.text.classification import TextClassification
from sft_nb.training.books import weights_hash
from sft_nb.training.recipe import Recipe
from sft_nb.training.tuner import FineTuner

onnxruntime = pytest.importorskip("onnxruntime")
BATCHES = ([0], [1], [2, 5], [0, 1, 2, 3, 4, 5, 6, 7])  # rows of several lengths
WITHOUT = """
import runpy, sys
class No:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "sft_nb"): raise ImportError(name)
sys.meta_path.insert(0, No())
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def untrained(name, tiny):
    "A tuner with the model of a case, as it was built."
    case = CASES[name]
    task, model, processor = case.begin(tiny)
    tuner = FineTuner(task, case.folder(tiny), device="cpu")
    tuner.model, tuner.processor = model.eval(), processor
    return tuner, case.rows


def largest_difference(tuner, run, rows, batches=BATCHES):
    "Of two logits, over batches of several sizes."
    import torch
    encoded = [tuner.task.encode(row, tuner.processor) for row in records(rows)]
    worst = 0.0
    for some in batches:
        inputs = tuner.task.collate([encoded[i] for i in some], tuner.processor).inputs
        with torch.no_grad():
            ours, theirs = (m(**inputs).logits for m in (tuner.model, run.model))
        worst = max(worst, (ours - theirs).abs().max().item())
    return worst


def without_torch(folder, lines):
    "What serve.py answers where torch cannot be imported."
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(folder / "serve.py")], input="\n".join(lines),
        capture_output=True, text=True, encoding="utf-8", timeout=120,
        env=os.environ | {"PYTHONUTF8": "1"})
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    "The finished run of tiny BERT, as a graph and in eight bits; and itself."
    folder, tuner = tmp_path_factory.mktemp("exported"), FineTuner.load(run, device="cpu")
    return tuner, tuner.export(folder / "fp32"), tuner.export(folder / "int8", int8=True)


# what is written down once for every task: a row a task, and the architectures that differ
QUICK = ["sequence labelling", "image classification"]
ALL = [name for name, case in CASES.items() if type(case.task).serving is not Task.serving]


def agrees(name, tiny, tmp_path):
    tuner, rows = untrained(name, tiny)
    run = tuner.export(tmp_path / "run")
    assert isinstance(run.model, Served)
    assert largest_difference(tuner, run, rows) <= 1e-4
    inputs = rows[tuner.task.inputs()]
    ours, theirs = tuner.predict(inputs), run.predict(inputs)
    assert [str(v) for v in ours.prediction] == [str(v) for v in theirs.prediction] or (
        "regression" in name)
    return tuner, run, rows


@pytest.mark.parametrize("name", QUICK)
def test_the_graph_answers_like_the_model(name, tiny, tmp_path):
    agrees(name, tiny, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ALL if name not in QUICK])
def test_every_graph_answers_like_its_model(name, tiny, tmp_path):
    agrees(name, tiny, tmp_path)


def test_any_number_of_rows_of_any_length(exported):
    tuner, run, _ = exported
    rows = pd.DataFrame({"text": ["a", *SENTENCES, " ".join(SENTENCES)]})
    for size in (1, 3, 64):
        ours, theirs = tuner.predict(rows, size, probs=True), run.predict(rows, size, probs=True)
        assert list(ours.prediction) == list(theirs.prediction)
        np.testing.assert_allclose(ours.prob_good, theirs.prob_good, atol=1e-5)


def test_the_folder_holds_what_a_run_holds(exported):
    tuner, run, small = exported
    names = {f.name for f in run.folder.iterdir()}
    expected = {"model.onnx", "serve.py", "serving.json", "tokenizer.json", "config.json",
                "sft_nb.json", "rows.json", "README.md"}
    assert expected <= names and "model.safetensors" not in names
    told = json.loads((run.folder / "sft_nb.json").read_text(encoding="utf-8"))
    assert names - {"sft_nb.json"} == set(told["files"])
    assert "python serve.py" in (run.folder / "README.md").read_text(encoding="utf-8")
    assert run.seen == tuner.seen and run.task == tuner.task
    sizes = [(r.folder / "model.onnx").stat().st_size for r in (run, small)]
    assert sizes[1] < sizes[0]


def test_eight_bits_are_another_model(exported):
    tuner, run, small = exported
    hashes = {weights_hash(t.task, t.model) for t in exported}
    assert len(hashes) == 3
    assert 0 < largest_difference(tuner, small, CASES["text classification"].rows[["text"]]) < 1


@pytest.mark.parametrize("form", [1, 2])
def test_the_script_needs_no_torch(form, exported):
    run = exported[form]
    lines = [*SENTENCES, "ein Wörtchen", " ".join(SENTENCES * 3)]
    said = without_torch(run.folder, lines)
    ours = run.predict(lines)
    assert [s["prediction"] for s in said] == [p.value for p in ours]
    assert [s["score"] for s in said] == pytest.approx([p.score for p in ours], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ALL if not name.startswith("image")])
def test_the_script_answers_for_every_task_on_texts(name, tiny, tmp_path):
    tuner, rows = untrained(name, tiny)
    if getattr(tuner.task, "stride", None): pytest.skip("the script reads one window")
    run = tuner.export(tmp_path / "run")
    tags, pair = tuner.task.serving()["kind"] == "tags", len(tuner.task.inputs()) > 1
    texts = [rows[c].map(" ".join if tags else str) for c in tuner.task.inputs()]
    lines = ["\t".join(row) for row in zip(*texts, strict=True)] if pair else list(texts[0])
    answers = run.predict(rows[tuner.task.inputs()]).prediction
    for said, right in zip(without_torch(run.folder, lines), answers, strict=True):
        if tags: right = right["tags"]
        near = isinstance(right, (float, dict))
        assert said["prediction"] == (pytest.approx(right, rel=1e-3) if near else right)


def test_it_is_evaluated_and_certified_like_any_run(exported, reviews):
    tuner, run, small = exported
    assert run.evaluate(reviews).loss == pytest.approx(tuner.evaluate(reviews).loss, abs=1e-4)
    words = [f"{a} {b}" for a in SENTENCES for b in SENTENCES if a != b][:40]
    right = [p.value for p in tuner.predict(words)]
    fresh = pd.DataFrame({"text": words, "label": right})
    claim = "accuracy >= original - 0.3"
    found = small.certify(fresh, claim, baselines={"original": tuner})
    assert isinstance(found, Certificate) and found.verdict == "CERTIFIED", found
    assert found.body["fingerprints"]["weights"] == weights_hash(small.task, small.model)
    told = json.loads((small.folder / "sft_nb.json").read_text(encoding="utf-8"))
    assert found.body["files"]["model.onnx"] == told["files"]["model.onnx"]


def test_the_command(exported, run, tmp_path, sft):
    out, _ = sft("export", run, "--out", tmp_path / "small", "--int8", "--json")
    told = json.loads(out.splitlines()[-1])
    assert told["form"] == "onnx-int8" and told["bytes"]["exported"] > 0
    out, _ = sft("predict", tmp_path / "small", "--text", SENTENCES[0])
    assert "good" in out
    _, err = sft("export", run, "--out", tmp_path / "small", code=2)
    assert "overwrite" in err
    _, err = sft("export", run, "--out", run, "--overwrite", code=2)
    assert "the run itself" in err


def test_a_foreign_file_is_never_lost(exported, tmp_path):
    (tmp_path / "model.onnx").write_text("mine")
    with pytest.raises(CheckpointError, match="other files|not written"):
        exported[0].export(tmp_path, overwrite=True)
    assert (tmp_path / "model.onnx").read_text() == "mine"


@pytest.mark.parametrize("change", ["a byte", "cut short", "gone"])
def test_a_damaged_file_is_named(change, exported, tmp_path):
    import shutil
    folder = shutil.copytree(exported[1].folder, tmp_path / "copy")
    path = folder / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if change == "gone": path.unlink()
    else: path.write_bytes(data if change == "a byte" else data[:100])
    with pytest.raises(CheckpointError, match="model.onnx|no weights"):
        FineTuner.load(folder)


def test_what_cannot_be_done_is_said(exported, reviews, tiny, tmp_path):
    tuner, run, _ = exported
    with pytest.raises(TrainingError, match="cannot learn"):
        run.fit(reviews)
    with pytest.raises(TrainingError, match="exported already"):
        run.export(tmp_path / "again")
    with pytest.raises(DataError, match="onnx-int8"):
        tuner.export(tmp_path / "other", "tflite")
    with pytest.raises(SFTError, match="no features"):
        _ = run.model.base_model
    with pytest.raises(TrainingError, match="no model yet"):
        FineTuner(TextClassification(), tiny("bert"), Recipe()).export(tmp_path / "x")
    for name in ("translation, t5", "object detection", "instruction tuning"):
        with pytest.raises(TrainingError, match="a tag per word"):
            untrained(name, tiny)[0].export(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_ten_wrong_inputs(exported, tmp_path):
    wrong = [{"form": w} for w in (None, 3, "", "ONNX", [])]
    wrong += [{"int8": w} for w in (None, "yes", 2)] + [{"overwrite": w} for w in (None, "no")]
    wrong += [{"folder": w} for w in (None, 3, b"x")]
    for some in wrong:
        with pytest.raises(SFTError):
            exported[0].export(**{"folder": tmp_path / "x"} | some)
    assert not (tmp_path / "x").exists()


def test_it_is_saved_again_as_it_is(exported, tmp_path):
    run = exported[2]
    again = FineTuner.load(run.save(tmp_path / "copy"))
    assert weights_hash(again.task, again.model) == weights_hash(run.task, run.model)
    assert replace(again.notes) == replace(run.notes)
