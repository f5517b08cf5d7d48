"""Less to train and less to run: save and load, resume, other tasks, and what is refused.

Counts and agreement with peft stand in the lessons.
"""
import copy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import alike
from safetensors.numpy import load_file

from sft_nb.all import (
    DataError, FineTuner, ImageClassification, Lora, Recipe, SequenceLabelling, SFTError,
    TextClassification, TextRegression, TrainingError, ladder,
)
from sft_nb.methods.distillation import Distil, FewerLayers, answered
from sft_nb.methods.small_parts import BiasOnly, Ia3
from sft_nb.methods.static_vectors import static_checkpoint
from sft_nb.models import static
from sft_nb.training.watching import Listener

QUICK = Recipe(
    epochs=3, batch_size=4, learning_rate=3e-3, precision="fp32", schedule="constant", warmup=0.0,
    keep_best=False,
)
PARTS = {
    "lora": Lora(rank=2), "queries": Lora(layers="query,value"), "biases": BiasOnly(),
    "factors": Ia3(), "fewer": FewerLayers(2), "which": FewerLayers((0, 2)),
}


@pytest.fixture(scope="module")
def teacher(tiny, reviews):
    recipe = QUICK.but(epochs=20, dropout=0.0)
    return FineTuner(TextClassification(), tiny("bert"), recipe, device="cpu").fit(reviews)


def tuner_of(folder, *methods, task=None, out=None, **changes):
    recipe = QUICK.but(methods=methods, **changes)
    return FineTuner(task or TextClassification(), folder, recipe, out, device="cpu")


def equal(model, other):
    ours, theirs = model.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(v, theirs[k]) for k, v in ours.items())


# --- each of them ---

@pytest.mark.parametrize("name", PARTS)
def test_saved_it_is_a_model_like_any_other(name, tiny, reviews, tmp_path):
    from transformers import AutoModelForSequenceClassification
    tuner = tuner_of(tiny("bert"), PARTS[name]).fit(reviews)
    folder = tuner.save(tmp_path / "run")
    plain, told = AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    assert not told["missing_keys"] and not told["unexpected_keys"]
    assert plain.config.num_hidden_layers == (2 if name in ("fewer", "which") else 3)
    assert equal(plain, tuner.model)
    again = FineTuner.load(folder, device="cpu")
    assert again.predict(reviews.text.tolist()) == tuner.predict(reviews.text.tolist())


@pytest.mark.parametrize("name", ["lora", "queries", "biases", "factors"])
def test_the_new_head_learns_and_what_is_frozen_stays(name, tiny, reviews):
    before, _ = TextClassification().learn(reviews).build(str(tiny("bert")), seed=42)
    after = tuner_of(tiny("bert"), PARTS[name]).fit(reviews).model.state_dict()
    moved = {k for k, v in before.state_dict().items() if not torch.equal(v, after[k])}
    assert {"classifier.weight", "classifier.bias"} < moved
    assert not any("embeddings.weight" in k for k in moved)
    moved = {k for k in moved if "classifier" not in k and "pooler" not in k}  # both are new
    if name == "biases": assert all(k.endswith("bias") for k in moved)
    if name == "queries": assert all("query.weight" in k or "value.weight" in k for k in moved)


class StopAt(Listener):
    def __init__(self, step): self.at = step
    def step(self, run): run.interrupted = run.position.step == self.at


@pytest.mark.parametrize("name", [*PARTS, "teacher"])
def test_a_resumed_run_is_the_same_to_the_bit(name, tiny, reviews, teacher, tmp_path):
    methods = (FewerLayers(2), Distil(teacher)) if name == "teacher" else (PARTS[name],)
    whole = tuner_of(tiny("bert"), *methods).fit(reviews)
    begun = tuner_of(tiny("bert"), *methods, out=tmp_path).fit(reviews, listeners=[StopAt(3)])
    assert begun.position.step == 3 < whole.position.step
    rest = tuner_of(tiny("bert"), *methods, out=tmp_path).fit(reviews, resume="auto")
    assert equal(rest.model, whole.model)
    assert rest.history.steps == whole.history.steps


def test_where_no_rate_is_named_each_has_its_own(tiny, reviews):
    def rate(*methods):
        tuner = tuner_of(tiny("bert"), *methods, learning_rate=None, epochs=1).fit(reviews)
        return tuner.plan.learning_rate
    own = rate()
    assert rate(Lora()) == pytest.approx(10 * own)
    assert rate(BiasOnly()) > own and rate(Ia3()) > own and rate(FewerLayers(2)) == own
    assert tuner_of(tiny("bert"), Lora(), epochs=1).fit(reviews).plan.learning_rate == 3e-3


@pytest.mark.parametrize("name", ["roberta", "distilbert", "modernbert", "gpt2"])
def test_other_architectures(name, tiny, reviews):
    for method in (Lora(rank=2), BiasOnly(), Ia3(), FewerLayers(2)):
        try:
            tuner = tuner_of(tiny(name), method, epochs=1).fit(reviews)
        except SFTError as e:  # some have no biases, or keys and values in one layer
            assert isinstance(method, (BiasOnly, Ia3, Lora)), (method, e)
            assert "print(model)" in str(e) or "no biases" in str(e) or "LoRA" in str(e)
            continue
        assert len(tuner.predict(["noise"])) == 1


TAGGED = pd.DataFrame({
    "words": [["a", "warm", "film"], ["two", "hours"], ["the", "cast", "is", "wonderful"]] * 3,
    "tags": [["O", "B-X", "O"], ["O", "O"], ["O", "B-X", "O", "O"]] * 3,
})


def test_other_tasks(tiny, reviews, tmp_path):
    numbers = reviews.assign(rating=np.arange(len(reviews)) * 1.0)
    for task, rows, item in (
        (SequenceLabelling(), TAGGED, TAGGED.words[0]),
        (TextRegression(number="rating"), numbers, "a film"),
    ):
        for i, method in enumerate([Lora(rank=2), BiasOnly(), Ia3(), FewerLayers(1)]):
            tuner = tuner_of(tiny("bert"), method, task=task, epochs=1).fit(rows)
            again = FineTuner.load(tuner.save(tmp_path / f"{task.name}-{i}"), device="cpu")
            assert alike(again.predict([item]), tuner.predict([item]))


def test_pictures(tiny, tmp_path):
    rows = pd.DataFrame({
        "image": [np.full((32, 32, 3), 80 * (i % 3), dtype=np.uint8) for i in range(6)],
        "label": ["dark", "grey", "light"] * 2,
    })
    task = ImageClassification()
    first = tuner_of(tiny("vit"), task=task, epochs=1).fit(rows)
    for i, method in enumerate([Lora(rank=2), BiasOnly(), Ia3(), FewerLayers(1), Distil(first)]):
        tuner = tuner_of(tiny("vit"), method, task=task, epochs=1).fit(rows)
        again = FineTuner.load(tuner.save(tmp_path / str(i)), device="cpu")
        pictures = rows.image[:2].tolist()
        assert alike(again.predict(pictures), tuner.predict(pictures))


# --- a teacher ---

def test_a_student_comes_nearer_to_its_teacher(tiny, reviews, teacher):
    "Not only to the labels: on rows with wrong labels, it follows the teacher."
    wrong = reviews.assign(label=reviews.label.map({"good": "bad", "bad": "good"}))
    recipe = {"epochs": 25, "dropout": 0.0}
    alone = tuner_of(tiny("bert"), **recipe).fit(wrong)
    taught = tuner_of(tiny("bert"), Distil(teacher, share=1.0), **recipe).fit(wrong)
    def agree(tuner):
        pairs = zip(tuner.predict(reviews.text.tolist()), reviews.label, strict=True)
        return np.mean([p.value == label for p, label in pairs])
    assert agree(taught) > 0.8 > 0.3 > agree(alone)


def test_a_saved_teacher_is_as_good(tiny, reviews, teacher, tmp_path):
    folder = teacher.save(tmp_path / "teacher")
    both = [tuner_of(tiny("bert"), Distil(t)).fit(reviews) for t in (teacher, folder, str(folder))]
    assert equal(both[0].model, both[1].model) and equal(both[0].model, both[2].model)
    assert equal(FineTuner.load(folder, device="cpu").model, teacher.model)  # it has not moved


def test_a_student_has_seen_what_its_teacher_has(tiny, reviews, teacher):
    more = pd.DataFrame({"text": ["a new one", "another"], "label": ["good", "bad"]})
    student = tuner_of(tiny("bert"), Distil(teacher), epochs=1).fit(more)
    assert any(len(rows) == len(reviews) for rows in student.seen.values())
    certificate = student.certify(reviews, "accuracy >= 0.5")
    assert certificate.body["verdict"] != "passed"


def test_another_teacher_does_not_go_on(tiny, reviews, teacher, tmp_path):
    other = tuner_of(tiny("bert"), epochs=1, seed=7).fit(reviews)
    begin = tuner_of(tiny("bert"), Distil(teacher.save(tmp_path / "t")), out=tmp_path / "run")
    begin.fit(reviews, listeners=[StopAt(3)])
    other.save(tmp_path / "t", overwrite=True)
    again = tuner_of(tiny("bert"), Distil(tmp_path / "t"), out=tmp_path / "run")
    with pytest.raises(TrainingError, match="another teacher"):
        again.fit(reviews, resume="auto")


def test_teacher_and_student_must_read_and_answer_alike(tiny, reviews, teacher):
    other = reviews.assign(label=["fine", "poor"] * 4)
    numbers = reviews.assign(rating=np.arange(8) * 1.0)
    for folder, task, rows, words in (
        (tiny("bert"), TextClassification(), other, "other questions"),
        (tiny("bert"), TextRegression(number="rating"), numbers, "leave the method out"),
        (tiny("roberta"), TextClassification(), reviews, "vocabularies"),
        (tiny("bert"), SequenceLabelling(), TAGGED, "other questions"),
    ):
        with pytest.raises(TrainingError, match=words):
            tuner_of(folder, Distil(teacher), task=task).fit(rows)
    untrained = tuner_of(tiny("bert"))
    with pytest.raises(TrainingError, match="no model yet"):
        tuner_of(tiny("bert"), Distil(untrained)).fit(reviews)
    with pytest.raises(SFTError, match="no folder"):
        tuner_of(tiny("bert"), Distil("/no/such/folder")).fit(reviews)


def test_guesses_are_marked(reviews, teacher):
    rows = reviews.assign(label=reviews.label.where(reviews.index % 2 == 0))
    filled = answered(teacher, rows)
    assert filled.guessed.tolist() == [False, True] * 4
    assert filled.label[::2].tolist() == reviews.label[::2].tolist()
    said = teacher.predict(reviews.text[1::2].tolist())
    assert filled.label[1::2].tolist() == [p.value for p in said]
    assert rows.label.isna().sum() == 4  # the table that was given is as before
    assert answered(teacher, reviews.drop(columns="label")).guessed.all()
    assert not answered(teacher, reviews).guessed.any()


# --- tables ---

@pytest.fixture(scope="module")
def table(teacher, reviews, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables") / "small"
    return static_checkpoint(teacher, folder, size=16, texts=reviews.text.tolist())


def test_a_table_is_a_checkpoint_like_any_other(table, reviews, tmp_path):
    tuner = tuner_of(table, learning_rate=0.03, epochs=40).fit(reviews)
    assert tuner.evaluate(reviews).metrics["accuracy"] == 1.0
    folder = tuner.save(tmp_path / "run")
    again = FineTuner.load(folder, device="cpu")
    texts = reviews.text.tolist()
    assert again.predict(texts) == tuner.predict(texts)
    numbers = load_file(folder / "model.safetensors")
    for text, p in zip(texts, tuner.predict(texts), strict=True):
        mean = numbers["static.words.weight"][again.processor(text)["input_ids"]].mean(0)
        z = numbers["classifier.weight"] @ mean + numbers["classifier.bias"]
        assert tuner.task.labels[z.argmax()] == p.value
        assert np.exp(z).max() / np.exp(z).sum() == pytest.approx(p.score, abs=1e-5)


def test_order_does_not_count_and_pads_neither(table, reviews):
    tuner = tuner_of(table, epochs=1).fit(reviews)
    one, turned, long = tuner.predict(["warm and funny", "funny and warm", "noise " * 300])
    assert one.score == pytest.approx(turned.score, abs=1e-6) and long.score


def test_tables_for_tags_and_numbers(table, reviews, tmp_path):
    numbers = reviews.assign(rating=np.arange(8) * 1.0)
    for task, rows, item in (
        (SequenceLabelling(), TAGGED, TAGGED.words[0]),
        (TextRegression(number="rating"), numbers, "a film"),
    ):
        tuner = tuner_of(table, task=task, epochs=2).fit(rows)
        again = FineTuner.load(tuner.save(tmp_path / task.name), device="cpu")
        assert alike(again.predict([item]), tuner.predict([item]))


def test_a_resumed_table(table, reviews, tmp_path):
    whole = tuner_of(table).fit(reviews)
    tuner_of(table, out=tmp_path).fit(reviews, listeners=[StopAt(3)])
    rest = tuner_of(table, out=tmp_path).fit(reviews, resume="auto")
    assert equal(rest.model, whole.model)


def test_the_rung_is_climbed_if_named_and_else_fetches_nothing(tiny, reviews, monkeypatch, table):
    from sft_nb.training import baselines
    asked = []
    def build(task, checkpoint, **options):
        asked.append(checkpoint)
        return usual(task, str(table) if checkpoint == static.STATIC else checkpoint, **options)
    usual = TextClassification.build
    monkeypatch.setattr(TextClassification, "build", build)
    few, recipe = (reviews,) * 3, QUICK.but(epochs=1)
    climb = ladder(TextClassification(), *few, tiny("bert"), recipe, device="cpu")
    assert "static" not in climb.evaluations and static.STATIC not in asked
    climb = ladder(TextClassification(), *few, tiny("bert"), rungs=("majority", "static"))
    assert list(climb.evaluations) == ["majority", "static"] and static.STATIC in asked
    assert baselines.ASKED_FOR == ("static",)


# --- what is refused ---

@pytest.mark.parametrize("make, words", [
    (lambda: Lora(rank=0), "rank=0"), (lambda: Lora(rank="8"), "rank='8'"),
    (lambda: Lora(dropout=1.0), "dropout"), (lambda: Lora(layers=""), "layers"),
    (lambda: Lora(alpha=float("nan")), "alpha"), (lambda: Ia3(inner=3), "inner"),
    (lambda: FewerLayers(0), "keep=0"), (lambda: FewerLayers((1, "2")), "keep="),
    (lambda: Distil(None), "FineTuner"), (lambda: Distil("x", share=0), "share=0"),
    (lambda: Distil("x", temperature=-1), "temperature=-1"),
])
def test_settings_that_cannot_be(make, words):
    with pytest.raises(TrainingError, match=words):
        make()


def test_what_a_model_does_not_have(tiny, reviews):
    for method, words in (
        (Lora(layers="nothing"), "LoRA cannot be put into"), (Ia3(inner="nothing"), "inner="),
        (FewerLayers(9), "3 layers"), (FewerLayers((0, 3)), "3 layers"),
    ):
        with pytest.raises(TrainingError, match=words):
            tuner_of(tiny("bert"), method).fit(reviews)
    plain = SimpleNamespace(targets=lambda: ["a", "b"], name="toy")
    pretender = copy.copy(tuner_of(tiny("bert")))
    pretender.task = plain
    with pytest.raises(DataError, match="one column"):
        answered(pretender, reviews)


# --- going on ---

@pytest.mark.parametrize("again", [(), (Lora(rank=2),)])
def test_a_loaded_run_says_that_it_goes_on_without_its_methods(
        again, tiny, reviews, tmp_path, caplog):
    folder = tuner_of(tiny("bert"), Lora(rank=2), epochs=1).fit(reviews).save(tmp_path / "run")
    tuner = FineTuner.load(folder, device="cpu")
    assert "without" not in caplog.text  # whoever only asks it is not told
    tuner.recipe = tuner.recipe.but(methods=again)
    tuner.fit(reviews)
    said = "trained with Lora(rank=2" in caplog.text and "goes on without" in caplog.text
    assert said == (not again)
