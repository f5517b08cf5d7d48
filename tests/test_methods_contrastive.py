"""Pairs, their loss, and SetFit beside the package of that name."""
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import alike, same_tensors, shapes
from test_methods_computed import LABELLED, NUMBERS, SEVERAL, TEXTS

from sft_nb.all import (
    FineTuner, ImageClassification, Recipe, SequenceLabelling, TextClassification, TextRegression,
    TrainingError,
)
from sft_nb.methods.contrastive import Contrastive, cosine_loss, make_pairs
from sft_nb.methods.heads import FitHead, head_features

STORED = Path(__file__).parents[1] / "results" / "setfit_agreement.json"
MEAN = TextClassification(pooling="mean")


def tuned(folder, *methods, rows=LABELLED, task=MEAN, epochs=0, **how):
    recipe = Recipe(epochs=epochs, precision="fp32", methods=methods)
    return FineTuner(task, folder, recipe, device="cpu", **how).fit(rows)


# --- pairs ---

ASKED = [
    (16, dict(num_iterations=20)), (24, {}), (64, dict(max_pairs=640)),
    (21, dict(sampling_strategy="undersampling")), (15, dict(sampling_strategy="unique")),
]


@pytest.mark.parametrize("n, asked", ASKED)
@pytest.mark.parametrize("several", [False, True])
def test_the_same_pairs_as_setfit(n, asked, several):
    sampler = pytest.importorskip("setfit.sampler", reason="the package setfit is not installed")
    draw = np.random.default_rng(n)
    y = draw.integers(0, 2, (n, 3)) if several else draw.integers(0, 3, n)
    theirs = sampler.ContrastiveDataset([str(i) for i in range(n)], list(y), several, **asked)
    names = dict(num_iterations="iterations", sampling_strategy="strategy", max_pairs="most")
    pairs, marks = make_pairs(y, **{names[k]: v for k, v in asked.items()})
    ours = [(str(a), str(b), m) for (a, b), m in zip(pairs, marks, strict=True)]
    assert ours == [(p["sentence_1"], p["sentence_2"], p["label"]) for p in theirs]


def test_the_stored_agreement_with_setfit():
    stored = json.loads(STORED.read_text())
    assert len(stored["pairs"]) >= 6 and all(p["equal"] for p in stored["pairs"])
    loss = stored["loss"]
    assert loss["ours"] == pytest.approx(loss["theirs"], abs=1e-6) and loss["gradient"] < 1e-5
    ours, theirs = (np.array([r[who] for r in stored["accuracy"]]) for who in ("ours", "theirs"))
    if len(ours) > 2: assert abs((ours - theirs).mean()) < max(.02, theirs.std(ddof=1))


def test_pairs_by_hand():
    pairs, marks = make_pairs(np.array([0, 0, 1]), strategy="unique")
    said = {tuple(sorted(p)): m for p, m in zip(pairs.tolist(), marks, strict=True)}
    assert said == {(0, 0): 1, (0, 1): 1, (1, 1): 1, (2, 2): 1, (0, 2): 0, (1, 2): 0}
    assert marks.tolist() == [1, 0, 1, 0, 1, 1]
    for most in (2, 7, 100):
        pairs, marks = make_pairs(np.arange(40) % 4, most, iterations=20)
        assert len(pairs) == most // 2 * 2 and marks.mean() == .5


def test_pairs_of_many_rows_are_drawn():
    y = np.arange(30_000) % 3
    pairs, marks = make_pairs(y, 1_000, 20)
    assert len(pairs) == 1_000 and len(np.unique(pairs)) > 1_500
    assert ((y[pairs[:, 0]] == y[pairs[:, 1]]) == marks).all()


# --- the loss ---

def test_the_loss_by_hand_and_by_torch():
    a, b = torch.tensor([[1., 0.], [3., 4.]]), torch.tensor([[2., 0.], [4., -3.]])
    assert cosine_loss(a, b, torch.tensor([1., 0.])) == pytest.approx(0, abs=1e-12)
    assert cosine_loss(a, b, torch.tensor([0., 0.])) == pytest.approx(.5)
    assert cosine_loss(7 * a, b, torch.tensor([0., 0.])) == pytest.approx(.5)


# --- in a run ---

def spread(tuner):
    "Mean cosine of pairs of a class, and of two classes."
    read, = head_features(tuner.model, tuner.run.examples)
    x, y = read.features, read.batch.targets["classes"]
    cosine = torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=-1)
    same = y[:, None] == y
    return cosine[same].mean().item(), cosine[~same].mean().item()


def test_classes_move_apart(tiny, tmp_path):
    method = Contrastive(iterations=2, epochs=2, learning_rate=1e-3, precision="fp32")
    before = tuned(tiny("bert"), FitHead(strength=1.0))
    after = tuned(tiny("bert"), method, FitHead())
    (a, b), (c, d) = spread(before), spread(after)
    assert c - d > a - b + .1
    assert len(method.losses) == 2 * 10 and np.mean(method.losses[-5:]) < np.mean(method.losses[:5])
    after.save(tmp_path)
    assert alike(FineTuner.load(tmp_path).predict(TEXTS), after.predict(TEXTS))


def test_it_is_repeatable_and_resumes(tiny, tmp_path):
    def methods(): return Contrastive(pairs=32, precision="fp32"), FitHead(strength=1.0)
    whole = tuned(tiny("bert"), *methods(), epochs=1)
    first = tuned(tiny("bert"), *methods(), epochs=1, out=tmp_path)
    assert same_tensors(first.model.state_dict(), whole.model.state_dict())
    again = methods()
    recipe = Recipe(epochs=1, precision="fp32", methods=again)
    rest = FineTuner(MEAN, tiny("bert"), recipe, out=tmp_path, device="cpu")
    rest.fit(LABELLED, resume="auto")
    assert again[0].losses == [] and same_tensors(rest.model.state_dict(), whole.model.state_dict())


def test_frozen_blocks_stay(tiny):
    method = Contrastive(pairs=16, learning_rate=1e-3)
    recipe = Recipe(epochs=0, unfreeze_last=1, methods=(method, FitHead()))
    tuner = FineTuner(MEAN, tiny("bert"), recipe).fit(LABELLED)
    fresh, _ = MEAN.learn(LABELLED).build(tiny("bert"), seed=42)
    now, then = tuner.model.state_dict(), fresh.state_dict()
    moved = {name for name in now if not torch.equal(now[name], then[name])}
    top = max(int(n.split("layer.")[1].split(".")[0]) for n in now if "layer." in n)
    assert moved and all(f"layer.{top}." in n or "classifier" in n for n in moved)


def test_several_labels_and_pictures(tiny):
    several = TextClassification(multi_label=True, pooling="mean")
    tuned(tiny("bert"), Contrastive(pairs=32), FitHead(), rows=SEVERAL, task=several)
    rows = pd.DataFrame({"image": shapes(8), "label": ["bar", "square"] * 4})
    task = ImageClassification(size=32)
    tuned(tiny("efficientnet-lite"), Contrastive(pairs=16), FitHead(), rows=rows, task=task)


# --- what cannot be ---

WRONG = [
    dict(pairs=1), dict(pairs=1.5), dict(iterations=0), dict(strategy="all"), dict(epochs=0),
    dict(learning_rate=0), dict(learning_rate=float("nan")), dict(batch_size=0),
    dict(precision="fp8"), dict(seed=-1), dict(max_grad_norm=0),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(TrainingError, match=f"cannot work. {next(iter(wrong))}="):
        Contrastive(**wrong)


def test_rows_that_cannot_be(tiny):
    with pytest.raises(TrainingError, match="no labels: leave it out"):
        tuned(tiny("bert"), Contrastive(), rows=NUMBERS, task=TextRegression(pooling="mean"))
    tags = pd.DataFrame({"words": [t.split() for t in TEXTS[:6]]})
    tags["tags"] = [["X" if len(w) > 4 else "Y" for w in ws] for ws in tags.words]
    with pytest.raises(TrainingError, match="no labels: leave it out"):
        tuned(tiny("bert"), Contrastive(), rows=tags, task=SequenceLabelling(scheme="plain"))
    with pytest.raises(TrainingError, match="one vector per row"):
        tuned(tiny("gpt2"), Contrastive(), task=TextClassification())
    with pytest.raises(TrainingError, match="at least two classes"):
        make_pairs(np.zeros(5, dtype=int))
