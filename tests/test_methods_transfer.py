"""Transfer: through another task, scores before tuning, and what is forgotten."""
import inspect

import numpy as np
import pandas as pd
import pytest
import torch
from cases import CASES
from conftest import alike
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from test_arguments import WRONG, faults
from tiny_models import SENTENCES

from sft_nb.all import FineTuner, Recipe, SFTError, TextClassification, TrainingError
from sft_nb.methods import forgetting as lost
from sft_nb.methods import intermediate as detour
from sft_nb.methods import transfer_scores as scores
from sft_nb.training.baselines import frozen_features

ONCE = Recipe(epochs=1, batch_size=4, precision="fp32")


# --- a detour ------------------------------------------------------------------------------------

WAYS = {  # source, target, and the checkpoint of both
    "classes, then numbers": ("text classification", "text regression", "bert"),
    "as many tags as classes": ("text classification", "sequence labelling", "bert"),
    "tags, then classes": ("sequence labelling", "text classification", "bert"),
    "numbers, then tags": ("text regression", "sequence labelling, plain", "gpt2"),
    "with a decoder": ("translation, a new decoder", "text classification", "bert"),
    "talk, then classes": ("instruction tuning", "text classification", "llama-chat"),
    "pictures": ("image classification", "object detection", "efficientnet-lite"),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_head_is_new_and_nothing_else(way, tiny, tmp_path):
    source, target, checkpoint = (CASES.get(name, name) for name in WAYS[way])
    start = detour.through(
        target.task, tiny(checkpoint), (source.task, source.rows), tmp_path / "start", ONCE)
    later = FineTuner(target.task, start, ONCE, device="cpu").fit(target.rows)
    assert later.notes.root == f"the folder {checkpoint}"
    assert len(later.seen["train of an earlier run"]) == len(source.rows)
    model, _ = target.task.learn(target.rows).build(str(start))
    heads = ("classifier", "score", "up", "smooth", "out", "decoder", "side", "head", "join")
    assert model.new_parameters
    if checkpoint != "efficientnet-lite":
        assert all(name.split(".")[0] in heads for name in model.new_parameters)
    again = FineTuner.load(later.save(tmp_path / "later"), device="cpu")
    answers = [tuner.evaluate(target.rows.head(3)).predictions for tuner in (later, again)]
    if checkpoint != "efficientnet-lite": assert alike(*answers)


def test_a_run_itself_would_have_kept_its_head(tiny, tmp_path):
    "Why the detour is there: as many tags as classes, and the classifier becomes a tagger."
    source, target = CASES["text classification"], CASES["sequence labelling"]
    FineTuner(source.task, tiny("bert"), ONCE).fit(source.rows).save(tmp_path / "run")
    model, _ = target.task.learn(target.rows).build(str(tmp_path / "run"))
    assert model.new_parameters == []


def test_a_language_model_keeps_its_head(tiny, tmp_path):
    source, target = CASES["instruction tuning"], CASES["translation, language model"]
    start = detour.through(
        target.task, tiny("llama-chat"), (source.task, source.rows), tmp_path / "start", ONCE)
    model, _ = target.task.learn(target.rows).build(str(start))
    assert model.new_parameters == []
    assert FineTuner.load(start).task.name == "instruction-tuning"


def test_a_body_on_its_own_is_no_run(tiny, tmp_path):
    case = CASES["text classification"]
    start = detour.through(case.task, tiny("bert"), (case.task, case.rows), tmp_path, ONCE)
    with pytest.raises(SFTError):
        FineTuner.load(start)
    assert "body without a head" in (tmp_path / "README.md").read_text()
    other, way = ONCE.but(seed=1), (case.task, tiny("bert"), (case.task, case.rows), tmp_path)
    with pytest.raises(SFTError, match="overwrite"):
        detour.through(*way, other)
    detour.through(*way, other, overwrite=True)


def test_what_cannot_share_a_body_is_refused_before_training(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(FineTuner, "fit", lambda *a, **k: pytest.fail("it was trained"))
    text, picture = CASES["text classification"], CASES["image classification"]
    with pytest.raises(TrainingError, match="no body can serve both"):
        detour.through(text.task, tiny("bert"), (picture.task, picture.rows), tmp_path)


@pytest.mark.parametrize("name", [n for n in CASES if "toy" not in n])
def test_shuffled_rows_are_still_rows_of_the_task(name):
    case = CASES[name]
    mixed = detour.shuffled(case.rows, case.task)
    columns = case.task.inputs()
    assert mixed[columns].equals(case.rows[columns])
    assert not [f for f in case.task.check(mixed) if f.level == "error"]
    case.task.learn(mixed)


# --- scores --------------------------------------------------------------------------------------

def brute_force(x, y):
    "The most probable that normal targets can be, over both precisions."
    def minus(logs):
        alpha, beta = np.exp(logs)
        around = x @ x.T / alpha + np.eye(len(y)) / beta
        return -multivariate_normal.logpdf(y, cov=around)
    starts = [(0, 0), (3, 1), (6, 0)]
    return -min(minimize(minus, s, method="Nelder-Mead").fun for s in starts)


@pytest.mark.parametrize("n, d", [(30, 3), (20, 40)])
def test_logme_is_the_highest_evidence(n, d):
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, d))
    y = x[:, 0] + rng.normal(size=n)
    y = (y - y.mean()) / y.std()
    assert scores.logme(x, y, numbers=True) * n == pytest.approx(brute_force(x, y), abs=1e-3)


SCORED = {
    "text classification": 4, "text classification, several labels": 4, "text regression": 4,
    "text regression, several numbers, some missing": 4, "sequence labelling, in windows": 4,
    "text classification, no pad token": 4, "image classification, attention": 4,
}


@pytest.mark.parametrize("name", SCORED)
def test_layers_are_ranked_and_the_last_is_what_the_task_says(name, tiny):
    case = CASES[name]
    table = scores.rank_layers(case.task, case.folder(tiny), case.rows, "cpu")
    assert sorted(table.index) == list(range(SCORED[name]))
    of_last = scores.rank_checkpoints(case.task, [case.folder(tiny)], case.rows, "cpu")
    task = case.task.learn(case.rows)
    model, processor = task.build(case.folder(tiny))
    layers = scores.layer_features(task, model, processor, case.rows)
    true = frozen_features(task, model, processor, case.rows)
    np.testing.assert_allclose(np.concatenate(layers[-1]), np.concatenate(true), atol=1e-6)
    assert table.columns.drop("seconds").isin(of_last.columns).all()


def test_bodies_without_layers_are_named(tiny):
    case = CASES["image classification"]
    with pytest.raises(TrainingError, match="rank_checkpoints"):
        scores.rank_layers(case.task, case.folder(tiny), case.rows)


# --- what is forgotten ---------------------------------------------------------------------------

@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory):
    "An earlier run that knows its eight rows, and eight other rows of its task."
    rows = pd.DataFrame({"text": SENTENCES, "label": ["good", "bad"] * 4})
    recipe = Recipe(epochs=20, learning_rate=3e-3, batch_size=8, precision="fp32", dropout=0.)
    before = FineTuner(TextClassification(), tiny("bert"), recipe, device="cpu").fit(rows)
    before.save(folder := tmp_path_factory.mktemp("runs") / "before")
    others = rows.assign(text=[f"{t} and that was it" for t in SENTENCES])
    return before, folder, others


@pytest.mark.parametrize("name", ["text regression", "sequence labelling", "text classification"])
def test_a_body_under_another_head_is_measured_with_the_old_one(name, runs):
    before, folder, rows = runs
    case = CASES[name]
    after = FineTuner(case.task, folder, ONCE, device="cpu").fit(case.rows)
    kept = {k: v.clone() for k, v in before.model.state_dict().items()}
    found = lost.forgetting(before, after, rows, probe=(rows[:4], rows[4:]))
    assert found.head == "the earlier run's" and found.answers.n == 8
    assert 0 < found.alike <= 1
    now = before.model.state_dict()
    assert all(torch.equal(kept[k], now[k]) for k in kept)


def test_nothing_is_forgotten_by_the_same_weights(runs):
    before, folder, rows = runs
    found = lost.forgetting(folder, before, rows)
    assert (found.answers.value, found.answers.p) == (0, 1)
    assert found.alike == pytest.approx(1)


def test_rows_that_a_run_has_learned_are_refused(runs):
    before, folder, rows = runs
    after = FineTuner(TextClassification(), folder, ONCE, device="cpu").fit(rows)
    with pytest.raises(SFTError, match="later run was trained on 8 rows"):
        lost.forgetting(before, after, rows)


def test_surprise_is_the_loss_of_transformers(tiny):
    case = CASES["instruction tuning"]
    tuner = FineTuner(case.task, tiny("llama-chat"), ONCE, device="cpu").fit(case.rows)
    for text, ours in zip(SENTENCES, lost.text_losses(tuner, SENTENCES), strict=True):
        ids = tuner.processor.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            assert ours == pytest.approx(tuner.model(ids, labels=ids).loss.item(), abs=1e-5)
    same = lost.text_forgetting(tuner, tuner, SENTENCES)
    assert (same.value, same.p) == (0, 1)


# --- wrong arguments -----------------------------------------------------------------------------

X, NAMES = np.random.default_rng(0).normal(size=(12, 3)), ["a", "b", "c"] * 4
CALLS = {
    "logme": (scores.logme, dict(features=X, labels=NAMES, numbers=False)),
    "h_score": (scores.h_score, dict(features=X, labels=NAMES, shrink=True)),
    "leep": (scores.leep, dict(source_probabilities=np.full((12, 2), .5), labels=NAMES)),
    "cka": (lost.cka, dict(x=X, y=X)),
    "rehearsed": (
        lost.rehearsed,
        dict(new=pd.DataFrame({"a": range(20)}), old=pd.DataFrame({"a": range(9)}), share=.1,
             seed=0),
    ),
    "shuffled": (
        detour.shuffled,
        dict(rows=pd.DataFrame({"text": NAMES, "label": NAMES}), task=TextClassification(), seed=0),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_arguments_of_plain_functions(name):
    call, valid = CALLS[name]
    call(**valid)
    assert set(valid) == set(inspect.signature(call).parameters)
    assert not faults(call, valid)


def test_wrong_arguments_of_what_trains(runs, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before, _, rows = runs
    task, bert = TextClassification(), str(tiny("bert"))
    few = {k: WRONG[k] for k in WRONG if k not in ("text", "empty text", "True")}
    source = (task, rows)
    start = dict(task=task, checkpoint=bert, source=source, out=tmp_path / "o", recipe=ONCE,
                 device="cpu", overwrite=True)
    assert not faults(detour.through, start, few)
    ranked = dict(task=task, checkpoint=bert, rows=rows, device="cpu")
    assert not faults(scores.rank_layers, ranked, few)
    several = dict(task=task, names=[bert], rows=rows, device="cpu")
    assert not faults(scores.rank_checkpoints, several, few)
    asked = dict(before=before, after=before, rows=rows, group=None, among=None, probe=None,
                 delta=.05)
    assert not faults(lost.forgetting, asked)
