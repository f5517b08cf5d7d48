"""Heads that are computed, on what the body says: as scikit-learn's, in every task with one linear
layer; and text models whose head reads the mean.
"""
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import alike, same_tensors, shapes
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from tiny_models import SENTENCES
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from sft_nb.all import (
    DataError, FineTuner, ImageClassification, Lora, Recipe, SequenceLabelling, TextClassification,
    TextRegression, TrainingError, Translation,
)
from sft_nb.batches.batching import Examples
from sft_nb.methods.heads import FitHead, head_features, last_layer, nearest_neighbours
from sft_nb.models.loading import CheckpointError, quiet
from sft_nb.models.pooling import MeanPoolingForSequenceClassification, load_with_mean

ENDS = ["indeed", "really", "again and again", "with a shrug", "by all accounts"]
TEXTS = [f"{s} {end}" for s in SENTENCES for end in ENDS]  # 40
CLASSES = ["good"] * 25 + ["bad"] * 10 + ["so-so"] * 5
HOW = dict(tol=1e-10, max_iter=100_000)
SIX = ["bert", "roberta", "distilbert", "modernbert", "deberta-v2", "gpt2"]


def table(**columns): return pd.DataFrame({"text": TEXTS} | columns)


LABELLED = table(label=CLASSES)
TWO = table(label=["good" if i % 3 else "bad" for i in range(40)])
SEVERAL = table(label=[";".join(k for k, m in (("a", 2), ("b", 3), ("c", 5)) if i % m == 0) or "b"
                       for i in range(40)])
NUMBERS = table(number=[len(t) + i % 7 for i, t in enumerate(TEXTS)],
                other=[i % 5 for i in range(40)])


def fitted(task, folder, rows, head, **how):
    recipe = Recipe(epochs=0, precision="fp32", methods=(head,), **how)
    return FineTuner(task, folder, recipe, device="cpu").fit(rows)


def what_is_read(tuner):
    "Features and targets of the training rows, as the fitted model reads them."
    read, = head_features(tuner.model, tuner.run.examples)
    return read.features.numpy(), next(iter(read.batch.targets.values())).numpy()


def probabilities(tuner, rows):
    said = tuner.predict(list(rows.text))
    return np.array([[p.probs[label] for label in tuner.task.labels] for p in said])


# --- as scikit-learn ---

@pytest.mark.parametrize("rows, twice", [(LABELLED, 1), (TWO, 2)])
@pytest.mark.parametrize("pooling", ["mean", "checkpoint"])
def test_logistic_regression(rows, twice, pooling, tiny):
    tuner = fitted(TextClassification(pooling=pooling), tiny("bert"), rows, FitHead(strength=.5))
    x, y = what_is_read(tuner)
    theirs = LogisticRegression(C=twice / .5, **HOW).fit(x, y)
    ours = probabilities(tuner, rows)
    assert np.abs(ours - theirs.predict_proba(x)).max() < 1e-4


def test_class_weights_are_those_of_the_task(tiny):
    task = TextClassification(balanced=True, pooling="mean")
    tuner = fitted(task, tiny("bert"), LABELLED, FitHead(strength=.5))
    x, y = what_is_read(tuner)
    weights = np.array(tuner.task.class_weights)[y]
    theirs = LogisticRegression(C=2.0, **HOW).fit(x, y, sample_weight=weights)
    assert np.abs(probabilities(tuner, LABELLED) - theirs.predict_proba(x)).max() < 1e-4


def test_several_labels_are_one_against_the_rest(tiny):
    task = TextClassification(multi_label=True, pooling="mean")
    tuner = fitted(task, tiny("bert"), SEVERAL, FitHead(strength=.5))
    x, y = what_is_read(tuner)
    theirs = OneVsRestClassifier(LogisticRegression(C=2.0, **HOW)).fit(x, y)
    assert np.abs(probabilities(tuner, SEVERAL) - theirs.predict_proba(x)).max() < 1e-4


@pytest.mark.parametrize("columns", ["number", "number,other"])
def test_numbers_are_ridge_regression(columns, tiny):
    tuner = fitted(TextRegression(number=columns, pooling="mean"), tiny("bert"), NUMBERS,
                   FitHead(strength=.5))
    x, y = what_is_read(tuner)
    theirs = Ridge(alpha=.25).fit(x, y)  # our pull is on half of the squares
    layer = last_layer(tuner.model)
    with torch.no_grad():
        ours = layer(torch.as_tensor(x, dtype=torch.float32)).numpy()
    assert np.abs(ours - theirs.predict(x).reshape(ours.shape)).max() < 1e-3


def test_prototypes_are_the_nearest_centroid(tiny):
    tuner = fitted(TextClassification(pooling="mean"), tiny("bert"), LABELLED,
                   FitHead("prototypes"))
    x, y = what_is_read(tuner)
    ours = probabilities(tuner, LABELLED).argmax(1)
    assert (ours == NearestCentroid().fit(x, y).predict(x)).all()
    hot = fitted(TextClassification(pooling="mean"), tiny("bert"), LABELLED,
                 FitHead("prototypes", temperature=1e-3))
    assert probabilities(hot, LABELLED).max(1).min() >= probabilities(tuner, LABELLED).max(1).min()


@pytest.mark.parametrize("k", [1, 4])
def test_neighbours(k):
    draw = np.random.default_rng(0)
    x, y, asked = draw.normal(size=(30, 5)), draw.integers(0, 3, 30), draw.normal(size=(9, 5))
    theirs = KNeighborsClassifier(k).fit(x, y).predict_proba(asked)
    assert (nearest_neighbours(x, y, asked, k) == theirs).all()


# --- in other tasks ---

def test_pictures(tiny):
    rows = pd.DataFrame({"image": shapes(12), "label": ["bar", "square"] * 6})
    tuner = fitted(ImageClassification(size=32), tiny("efficientnet-lite"), rows,
                   FitHead(strength=1.0))
    x, y = what_is_read(tuner)
    theirs = LogisticRegression(C=2.0, **HOW).fit(x, y)
    said = tuner.predict(list(rows.image))
    ours = np.array([[p.probs[k] for k in tuner.task.labels] for p in said])
    assert np.abs(ours - theirs.predict_proba(x)).max() < 1e-4


def test_tags(tiny):
    words = [s.split() for s in SENTENCES]
    rows = pd.DataFrame({"words": words, "tags": [["LONG" if len(w) > 4 else "SHORT" for w in ws]
                                                  for ws in words]})
    before = fitted(SequenceLabelling(scheme="plain"), tiny("bert"), rows, FitHead("prototypes"))
    tuner = fitted(SequenceLabelling(scheme="plain"), tiny("bert"), rows, FitHead(strength=.01))
    assert tuner.evaluate(rows).metrics["accuracy"] > .8
    assert tuner.evaluate(rows).loss < before.evaluate(rows).loss


def test_where_there_is_no_such_layer(tiny):
    pairs = pd.DataFrame({"source": SENTENCES, "target": SENTENCES})
    with pytest.raises(TrainingError, match="leave FitHead out|Leave FitHead out"):
        fitted(Translation(), tiny("marian"), pairs, FitHead())
    with pytest.raises(TrainingError, match='pooling="mean" gives such a head'):
        fitted(TextClassification(), tiny("gpt2"), LABELLED, FitHead())
    with pytest.raises(TrainingError, match="take ridge"):
        fitted(TextRegression(), tiny("bert"), NUMBERS, FitHead("logistic"))
    with pytest.raises(TrainingError, match="take logistic"):
        several = TextClassification(multi_label=True)
        fitted(several, tiny("bert"), SEVERAL, FitHead("prototypes"))
    with pytest.raises(TrainingError, match="of every class"):
        declared = TextClassification(classes=["good", "bad", "so-so", "never"])
        fitted(declared, tiny("bert"), LABELLED, FitHead("prototypes"))


def test_training_goes_on_from_the_probe(tiny, tmp_path):
    "Saved and loaded as any run; with LoRA too; and what was chosen survives a restart."
    recipe = Recipe(epochs=1, precision="fp32", methods=(FitHead(),))
    task = TextClassification(pooling="mean")
    tuner = FineTuner(task, tiny("bert"), recipe, out=tmp_path / "out").fit(LABELLED)
    again = Recipe(epochs=1, precision="fp32", methods=(FitHead(),))
    rest = FineTuner(task, tiny("bert"), again, out=tmp_path / "out")
    rest.fit(LABELLED, resume="auto")
    assert again.methods[0].found == recipe.methods[0].found != {}
    assert same_tensors(rest.model.state_dict(), tuner.model.state_dict())
    both = Recipe(epochs=1, methods=(Lora(2, 4), FitHead(strength=1.0)))
    with_lora = FineTuner(task, tiny("bert"), both).fit(LABELLED)
    assert len(with_lora.history.steps) == 5


# --- a head on the mean ---

@pytest.mark.parametrize("name", SIX)
def test_the_mean_of_any_encoder(name, tiny, tmp_path):
    task = TextClassification(pooling="mean").learn(LABELLED)
    model, processor = task.build(tiny(name), seed=3)
    batch = Examples(task, LABELLED, processor).batch(range(6))
    with torch.inference_mode():
        features = task.features(model, batch)
        assert torch.allclose(model.classifier(features), model(**batch.inputs).logits, atol=1e-5)
    with quiet():
        model.save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
        again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
        assert AutoTokenizer.from_pretrained(tmp_path).vocab_size == processor.vocab_size
    assert isinstance(again, MeanPoolingForSequenceClassification)
    assert same_tensors(again.state_dict(), model.state_dict())


def test_a_run_with_it(tiny, tmp_path):
    task = TextClassification(pooling="mean")
    tuner = FineTuner(task, tiny("bert"), Recipe(epochs=1)).fit(LABELLED)
    assert {"tokens", "dice"} <= set(tuner.history.shortcuts["used"])
    tuner.save(tmp_path / "run")
    assert "import sft_nb.models.pooling" in (tmp_path / "run" / "README.md").read_text()
    again = FineTuner.load(tmp_path / "run")
    assert again.task.pooling == "mean"
    assert alike(again.predict(TEXTS[:5]), tuner.predict(TEXTS[:5]))
    more = FineTuner(task, tmp_path / "run", Recipe(epochs=1)).fit(TWO)  # other labels
    assert len(more.task.labels) == 2


def test_frozen_states_change_nothing(tiny):
    task = TextClassification(pooling="mean")
    plan = Recipe(epochs=2, unfreeze_last=0, precision="fp32", dropout=0.0)
    quick = FineTuner(task, tiny("bert"), plan).fit(LABELLED)
    slow = FineTuner(task, tiny("bert"), plan)
    slow.shortcuts = ()
    slow.fit(LABELLED)
    assert "states" in quick.history.shortcuts["used"]
    assert same_tensors(quick.model.state_dict(), slow.model.state_dict(), 1e-5)


def test_numbers_in_the_users_unit(tiny, tmp_path):
    tuner = FineTuner(TextRegression(pooling="mean"), tiny("bert"), Recipe(epochs=1)).fit(NUMBERS)
    tuner.save(tmp_path)
    said = np.array([p.value for p in tuner.predict(TEXTS[:4])])
    assert alike(FineTuner.load(tmp_path).predict(TEXTS[:4]), tuner.predict(TEXTS[:4]))
    with quiet():
        plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
        tokenizer = AutoTokenizer.from_pretrained(tmp_path)
        tokens = tokenizer(TEXTS[:4], return_tensors="pt", padding=True)
    with torch.inference_mode():
        assert np.allclose(plain(**tokens).logits[:, 0].numpy(), said, rtol=1e-4)


def test_what_it_refuses(tiny):
    with pytest.raises(DataError, match='pooling=\'max\': "checkpoint" or "mean"'):
        TextClassification(pooling="max")
    with pytest.raises(CheckpointError, match="needs an encoder of texts"):
        load_with_mean(tiny("t5"), num_labels=2)
    with pytest.raises(TrainingError, match="one answer per row"):
        plan = Recipe(packing=True, epochs=1)
        FineTuner(TextClassification(pooling="mean"), tiny("bert"), plan).fit(LABELLED)
