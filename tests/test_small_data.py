"""Few rows: how a recipe is sized, which epoch is kept, and what is said of a model that learned
nothing.
"""
import dataclasses
import json
import math
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from tiny_models import SENTENCES

from sft_nb.all import (
    FineTuner, Recipe, RECIPES, SequenceLabelling, TextClassification, TextRegression, split,
)
from sft_nb.commands.cli import main
from sft_nb.data.table_facts import about
from sft_nb.task import Prediction, TrainingError
from sft_nb.training.selection import Position, learned_nothing, more_than_chance, only_answer

ROWS = pd.DataFrame(
    {"text": [f"{text} {i}" for i in range(6) for text in SENTENCES], "label": ["good", "bad"] * 24}
)


# --- the size of a recipe ---

@pytest.mark.parametrize("rows", [1, 2, 18, 36, 144, 300, 600, 2400, 100_000])
def test_enough_updates(rows):
    plan = Recipe().sized(rows, updates=200)
    updates = plan.epochs * math.ceil(rows / plan.batch_size)
    assert 8 <= plan.batch_size <= 32 and 3 <= plan.epochs <= 60
    assert updates >= 200 or plan.epochs == 60


def test_what_is_said_is_done():
    said = Recipe(epochs=3, batch_size=32, learning_rate=1e-5)
    assert said.sized(36, updates=900, learning_rate=1.) == said
    assert Recipe(epochs=2).sized(36).epochs == 2
    assert Recipe(batch_size=5).sized(36).batch_size == 5
    assert RECIPES["article"].sized(36) == RECIPES["article"]


def test_more_updates_are_more_epochs():
    assert Recipe().sized(36, updates=50).epochs < Recipe().sized(36, updates=100).epochs
    assert Recipe().sized(36, learning_rate=5e-4).learning_rate == 5e-4


@pytest.mark.parametrize(
    "name, value",
    [
        ("learning_rate", math.nan), ("learning_rate", math.inf), ("weight_decay", math.nan),
        ("weight_decay", math.inf), ("max_grad_norm", math.nan), ("max_grad_norm", math.inf),
        ("warmup", math.nan), ("depth_decay", math.nan), ("dropout", math.nan),
        ("epochs", True), ("batch_size", "4"), ("epochs", 0), ("seed", -1),
        ("keep_best", "yes"), ("precision", None),
    ],
)
def test_a_setting_that_cannot_be(name, value):
    with pytest.raises(TrainingError, match=f"This recipe cannot work. {name}="):
        Recipe(**{name: value})


def test_a_fit_takes_the_plan_and_leaves_the_recipe(tiny):
    tuner = FineTuner(TextClassification(), tiny("bert"), Recipe(epochs=1)).fit(ROWS)
    assert tuner.plan == dataclasses.replace(tuner.recipe, batch_size=8, learning_rate=1e-4)
    assert tuner.recipe == Recipe(epochs=1)
    assert tuner.run.updates == 6 and len(tuner.history.steps) == 6


# --- which epoch ---

def test_one_row_in_twelve_is_chance():
    assert not more_than_chance([1.] * 8 + [0.] * 4, [1.] * 7 + [0.] * 5)
    assert more_than_chance([1.] * 800 + [0.] * 400, [1.] * 700 + [0.] * 500)
    assert not more_than_chance([1.], [0.]) and not more_than_chance([1., 1.], [1., 1.])


def tuner_at(best, last, **recipe):
    "A tuner after 5 epochs; the second was the best."
    tuner = FineTuner(TextClassification(), "minilm", Recipe(epochs=5, **recipe))
    tuner.position = Position(epoch=5, best=.7, best_epoch=2, best_scores=best, scores=last)
    return tuner


@pytest.mark.parametrize(
    "keep, right, kept",
    [(None, (8, 7), 5), (None, (12, 2), 2), (True, (8, 7), 2), (False, (12, 2), 5)],
)
def test_the_epoch_that_is_kept(keep, right, kept):
    scores = [[1.] * k + [0.] * (12 - k) for k in right]
    assert tuner_at(*scores, keep_best=keep).kept_epoch == kept


def test_who_waits_for_a_better_epoch_gets_it():
    assert tuner_at([1., 0.], [0., 1.], patience=1).kept_epoch == 2


def test_of_equal_metrics_the_lower_loss():
    position, better = Position(), []
    for epoch, (accuracy, loss) in enumerate([(.6, 1.0), (.6, .8), (.6, .9), (.5, .1)]):
        position.epoch = epoch
        result = SimpleNamespace(
            loss=loss, metrics={"accuracy": accuracy}, predictions=[], targets=[]
        )
        better.append(position.take_in(TextClassification(), result))
    assert better == [True, True, False, False] and position.best_epoch == 2 and position.stale == 2


# --- what was reached ---

def answers(*values):
    return [Prediction(v) for v in values]


def test_the_only_answer():
    assert only_answer(answers("a", "a", "a")) == '"a"' and only_answer(answers("a", "b")) is None
    assert only_answer(answers(["x"], ["x"])) == '["x"]' and only_answer(answers("a")) is None
    assert only_answer(answers(2.5, 2.5)) == "2.5"


def test_a_constant_answer_is_said(tiny, said):
    "Too small a rate moves nothing: one answer for all rows, and one sentence about it."
    tuner = FineTuner(TextClassification(), tiny("bert"), Recipe(epochs=1, learning_rate=1e-9)).fit(
        ROWS, ROWS[:20]
    )
    reached = tuner.history.reached
    text = said()
    assert reached["metric"] == "accuracy" and reached["without_learning"] == .5
    if len({p.value for p in tuner.evaluate(ROWS[:20]).predictions}) == 1:
        assert "to every one of the 20 valid rows" in text
    else:
        assert (
            reached["value"] > 0.5 or "is no better on valid than the most frequent answer" in text
        )
    assert "the most frequent answer every time: 0.5000" in text
    assert (
        not reached["warning"] or reached["warning"] in text and "Try twice the epochs (2)" in text
    )


def test_numbers_stand_beside_the_mean(tiny, said):
    rows = ROWS.assign(number=[float(i % 7) for i in range(len(ROWS))])
    tuner = FineTuner(
        TextRegression(number="number"), tiny("bert"), Recipe(epochs=1, learning_rate=1e-9)
    ).fit(rows, rows[:20])
    reached = tuner.history.reached
    assert reached["plain"] == "mean" and "the mean every time" in said()
    plain = reached["plain"], reached["without_learning"]
    sentence = learned_nothing(tuner.task, tuner.plan, plain[1], plain, None, 20)
    assert "no better on valid than the mean every time" in sentence
    assert "three times the learning rate (3e-09)" in sentence


def test_what_has_learned_is_not_scolded(tiny, said):
    tuner = FineTuner(
        TextClassification(), tiny("bert"), Recipe(epochs=15, learning_rate=3e-3)
    ).fit(ROWS, ROWS)
    assert tuner.history.reached["value"] > .9 and tuner.history.reached["warning"] is None
    assert "has not learned" not in said()


def test_the_command_line_says_it_too(tiny, tmp_path, capsys):
    "On standard error as a warning, and in the last line of --json."
    ROWS.to_csv(tmp_path/"rows.csv", index=False)
    wanted = [
        "fine-tune", tmp_path / "rows.csv", "--task", "text-classification", "--model",
        tiny("bert"), "--out", tmp_path / "run", "--epochs", 1, "--learning-rate", 1e-9,
        "--json",
    ]
    with pytest.raises(SystemExit):
        main([str(w) for w in wanted])
    out, err = capsys.readouterr()
    reached = json.loads(out.splitlines()[-1])["reached"]
    assert reached["metric"] == "accuracy"
    assert reached["plain"] == "majority"
    assert 0 < reached["without_learning"] < 1
    if reached["value"] <= reached["without_learning"]:
        assert reached["warning"] in err.replace("warning: ", "") and "Try twice the epochs" in err
    else:
        assert reached["warning"] is None or "to every one" in reached["warning"]


# --- going on ---

def test_a_loaded_run_goes_on_from_its_weights(tiny, tmp_path):
    first = FineTuner(
        TextClassification(), tiny("bert"), Recipe(epochs=15, learning_rate=3e-3, keep_best=False)
    ).fit(ROWS)
    loss = first.evaluate(ROWS).loss
    first.save(tmp_path/"run")
    again = FineTuner.load(tmp_path/"run")
    again.recipe = Recipe(epochs=1, learning_rate=1e-6, keep_best=False)
    again.fit(ROWS)
    assert again.checkpoint == str((tmp_path/"run").resolve())
    assert abs(again.evaluate(ROWS).loss - loss) < .02


# --- tags that the training part happens not to have ---

def test_tags_of_the_whole_table_are_known(tiny, said):
    """A rare tag that the split gave to valid alone is no mistake of the user's:

    it is learned from the table, and said to be untaught.
    """
    words = [t.split()[:4] for t in SENTENCES] * 3
    tags = [["B-PER", "O", "O", "O"]] * 23 + [["O", "O", "B-RARE", "O"]]
    task = SequenceLabelling()
    rows = task.read(pd.DataFrame({"words": words, "tags": tags}))
    parts = split(rows, valid_size=rows.tail(1).shape[0] + 5, certify_size=0, seed=0)
    train, valid = rows.head(20), rows.tail(4)
    assert about(parts.train).tags == ["B-PER", "B-RARE", "O"]
    assert "B-RARE" not in {t for row in train.tags for t in row}
    tuner = FineTuner(task, tiny("bert"), Recipe(epochs=1)).fit(train, valid)
    assert tuner.task.labels == ["O", "B-PER", "I-PER", "B-RARE", "I-RARE"]
    assert "'RARE'" in said() and tuner.evaluate(valid).metrics["f1"] <= 1


def test_tags_without_a_table_are_those_of_the_rows():
    rows = pd.DataFrame({"words": [["a", "b"], ["c"]], "tags": [["B-PER", "O"], ["O"]]})
    assert SequenceLabelling().learn(rows).labels == ["O", "B-PER", "I-PER"]


# --- few rows of many classes ---

@pytest.mark.parametrize(
    "rows, classes", [(60, 10), (128, 70), (40, 20), (30, 2), (9, 3), (160, 90)]
)
def test_training_has_every_class(rows, classes):
    "Our own split is no reason why a class cannot be learned."
    texts, labels = ([f"{kind} {i}" for i in range(rows)] for kind in ("text", "class"))
    labels = labels[:classes] * (rows // classes + 1)
    table = TextClassification().read(pd.DataFrame({"text": texts, "label": labels[:rows]}))
    for seed in range(5):
        parts = split(table, seed=seed)
        assert set(parts.train.label) == set(table.label) and len(parts.valid) == round(.2 * rows)


def test_answers_that_are_hardly_repeated_are_no_classes():
    texts, labels = [f"text {i}" for i in range(30)], [f"{i // 1.2:.0f}" for i in range(30)]
    table = TextClassification().read(pd.DataFrame({"text": texts, "label": labels}))
    assert split(table).stratify is None


# --- weights that are none ---

@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_broken_network_is_not_saved(tiny, tmp_path, value):
    tuner = FineTuner(TextClassification(), tiny("bert"), Recipe(epochs=1)).fit(ROWS)
    with torch.no_grad():
        next(iter(tuner.model.parameters()))[0, 0] = value
    with pytest.raises(TrainingError, match="not numbers.*not saved"):
        tuner.save(tmp_path/"run")
    assert not (tmp_path/"run").exists() or not any((tmp_path/"run").iterdir())


def test_fits_in_threads_are_fits_alone(tiny):
    "Dropout draws from torch's one generator: two fits at once would share it."
    recipe = Recipe(epochs=1, learning_rate=1e-3, precision="fp32")

    def fit(_):
        tuner = FineTuner(TextClassification(), tiny("bert"), recipe).fit(ROWS)
        return tuner.evaluate(ROWS).loss

    alone = fit(0)
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(fit, range(3))) == [alone] * 3
