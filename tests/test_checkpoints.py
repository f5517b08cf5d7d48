"""Five architectures in small:

every one learns eight rows by heart, is saved, and is read back by us and by plain transformers.
"""
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import alike, same_tensors
from tiny_models import CHINESE, LAYERS, POSITIONS, SENTENCES
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer, pipeline

from sft_nb.all import CheckpointError, FineTuner, Recipe, TextClassification, TrainingError, split
from sft_nb.models.layers import blocks, depth_of, freeze, set_dropout, trainable_table
from sft_nb.models.loading import load, quiet

FIVE = ["bert", "roberta", "distilbert", "modernbert", "gpt2"]
# what pretraining does not supply, and nothing else
HEADS = {
    "bert": {
        "bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight",
        "classifier.bias",
    },
    "roberta": {
        "classifier.dense.weight", "classifier.dense.bias", "classifier.out_proj.weight",
        "classifier.out_proj.bias",
    },
    "distilbert": {
        "pre_classifier.weight", "pre_classifier.bias", "classifier.weight", "classifier.bias",
    },
    "modernbert": {"classifier.weight", "classifier.bias"},  # its dense layer is pretrained
    "gpt2": {"score.weight"},
}
STACKS = {
    "bert": "bert.encoder.layer", "roberta": "roberta.encoder.layer",
    "distilbert": "distilbert.transformer.layer", "modernbert": "model.layers",
    "gpt2": "transformer.h",
}
BY_HEART = Recipe(
    epochs=40, learning_rate=3e-3, batch_size=8, dropout=0.0, schedule="linear", keep_best=False
)


@pytest.fixture(scope="module")
def learned(tiny, reviews, tmp_path_factory):
    "name -> (a tuner that knows the eight rows, the folder it was saved in)"
    made = {}
    def learn(name):
        if name not in made:
            tuner = FineTuner(TextClassification(), tiny(name), BY_HEART).fit(reviews)
            made[name] = tuner, tuner.save(tmp_path_factory.mktemp("runs")/name)
        return made[name]
    return learn


def plainly(folder, texts, batch_size=1, **options):
    "What transformers says without us: per text, label -> score."
    with quiet():
        answers = pipeline("text-classification", model=str(folder), device="cpu", **options)(
            texts, top_k=None, batch_size=batch_size
        )
    return [{a["label"]: a["score"] for a in text} for text in answers]


def same_scores(ours, theirs):
    assert ours and [set(p.probs) for p in ours] == [set(t) for t in theirs]
    np.testing.assert_allclose(
        [[p.probs[k] for k in sorted(p.probs)] for p in ours],
        [[t[k] for k in sorted(t)] for t in theirs],
        atol=1e-5,
        rtol=0,
    )


# --- learn, save, load, answer ---

@pytest.mark.parametrize("name", FIVE)
def test_only_the_head_is_new(tiny, reviews, name):
    model, tokenizer = TextClassification().learn(reviews).build(str(tiny(name)))
    assert set(model.new_parameters) == HEADS[name]
    with quiet():
        body = AutoModel.from_pretrained(tiny(name))
    mine = model.base_model.state_dict()
    old = {k: v for k, v in body.state_dict().items() if k in mine and not k.startswith("pooler.")}
    assert same_tensors({k: v for k, v in mine.items() if not k.startswith("pooler.")}, old)
    assert tokenizer.pad_token_id is not None
    assert model.config.pad_token_id == tokenizer.pad_token_id


@pytest.mark.parametrize("name", FIVE)
def test_eight_rows_by_heart_before_and_after_saving(learned, reviews, name):
    tuner, folder = learned(name)
    assert tuner.evaluate(reviews).metrics["accuracy"] == 1.0
    again = FineTuner.load(folder)
    assert [p.value for p in again.predict(SENTENCES)] == list(reviews["label"])
    assert alike(again.predict(SENTENCES), tuner.predict(SENTENCES))
    assert again.evaluate(reviews).metrics["accuracy"] == 1.0


@pytest.mark.parametrize("name", FIVE)
def test_plain_transformers_says_the_same(learned, reviews, name):
    ours, folder = FineTuner.load(learned(name)[1]).predict(SENTENCES), learned(name)[1]
    for batch_size in (1, 8):  # 8: padded, with GPT-2's borrowed pad token too
        theirs = plainly(folder, SENTENCES, batch_size)
        assert (
            [max(t, key=t.get) for t in theirs] == [p.value for p in ours] == list(reviews["label"])
        )
        same_scores(ours, theirs)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_answers_are_in_32_bits_whatever_the_training(tiny, reviews, tmp_path, name):
    tuner = FineTuner(
        TextClassification(),
        tiny(name),
        Recipe(epochs=5, learning_rate=1e-3, batch_size=8, precision="bf16"),
    ).fit(reviews, reviews.iloc[:4])
    folder = tuner.save(tmp_path/"run")
    same_scores(FineTuner.load(folder).predict(SENTENCES), plainly(folder, SENTENCES))
    assert alike(tuner.evaluate(reviews).predictions, tuner.predict(SENTENCES))


@pytest.mark.parametrize("name", FIVE)
def test_long_and_odd_texts(learned, name):
    """Cut where the model stops reading; nothing in a text may be mistaken for a special token's
    end of the text.
    """
    texts = ["a film " * 200, "x", "日本 😀 é", " a  b ", "what a joy\nfrom the first scene"]
    tuner, folder = learned(name)
    ours = tuner.predict(texts)
    same_scores(ours, plainly(folder, texts, truncation=True, max_length=POSITIONS))
    alone = [tuner.predict([t])[0] for t in texts]
    np.testing.assert_allclose([p.score for p in ours], [p.score for p in alone], atol=1e-5)


def test_the_saved_folder_carries_what_is_needed(learned):
    for name in FIVE:
        folder = learned(name)[1]
        config = json.loads((folder/"config.json").read_text())
        assert config["id2label"] == {"0": "bad", "1": "good"}
        assert config["problem_type"] == "single_label_classification"
        assert config["pad_token_id"] is not None
        assert AutoTokenizer.from_pretrained(folder).pad_token is not None
        assert {"README.md", "sft_nb.json", "rows.json", "model.safetensors", "tokenizer.json"} <= {
            f.name for f in folder.iterdir()
        }
        # nothing to unpickle
        assert not list(folder.rglob("*.bin")) and not list(
            folder.rglob("*.pt")
        )


# --- other forms of the task ---

def test_several_labels_a_row(tiny, tmp_path):
    rows = pd.DataFrame(
        {
            "text": SENTENCES,
            "label": [
                "warm;funny", "dull", "funny", "", "warm", "dull;lazy", "warm;funny;shot",
                "lazy",
            ],
        }
    )
    tuner = FineTuner(
        TextClassification(multi_label=True), tiny("bert"),
        BY_HEART.but(epochs=300, learning_rate=7e-4),
    ).fit(rows)
    folder = tuner.save(tmp_path/"run")
    ours = FineTuner.load(folder).predict(SENTENCES)
    assert [p.value for p in ours] == [tuner.task.target(r) for r in rows.to_dict("records")]
    theirs = plainly(folder, SENTENCES)
    same_scores(ours, theirs)
    assert [sorted(k for k, v in t.items() if v > .5) for t in theirs] == [p.value for p in ours]


@pytest.mark.parametrize("name", ["bert", "roberta", "modernbert"])
def test_pairs_of_texts(tiny, tmp_path, name):
    "The same texts in another order have another label, so both places must be read."
    rows = pd.DataFrame(
        [
            (a, b, "same" if a == b else "other")
            for a, b in zip(SENTENCES[:4] * 2, SENTENCES[:4] + SENTENCES[1:5], strict=True)
        ],
        columns=["first", "second", "label"],
    )
    tuner = FineTuner(
        TextClassification(text="first", text_pair="second"),
        tiny(name),
        BY_HEART.but(epochs=80, learning_rate=1e-3),
    ).fit(rows)
    assert tuner.evaluate(rows).metrics["accuracy"] == 1.0
    folder = tuner.save(tmp_path/"run")
    pairs = list(zip(rows["first"], rows["second"], strict=True))
    ours = FineTuner.load(folder).predict(pairs)
    assert [p.value for p in ours] == list(rows["label"])
    same_scores(ours, plainly(folder, [{"text": a, "text_pair": b} for a, b in pairs]))


def test_a_chinese_lesson_row(tiny, tmp_path):
    "A Chinese table and a Chinese checkpoint, through the same lines."
    table = tmp_path/"影评.csv"
    table.write_text(
        "评论,评价\n"
        + "".join(
            f"{text}{mark},{'负面' if i % 2 else '正面'}\n"
            for mark in ("。", "!")
            for i, text in enumerate(CHINESE)
        ),
        encoding="utf-8",
    )
    task = TextClassification(text="评论", label="评价")
    data = split(task.read(table), valid_size=4, certify_size=2, seed=1)
    assert [len(rows) for rows in data.roles.values()] == [10, 4, 2]
    tuner = FineTuner(task, tiny("chinese-bert"), BY_HEART).fit(data.train, data.valid)
    assert tuner.evaluate(data.train).metrics["accuracy"] == 1.0
    assert tuner.task.labels == ["正面", "负面"]
    before = tuner.predict(data.certify)
    folder = tuner.save(tmp_path/"模型")
    again = FineTuner.load(folder).predict(data.certify)
    pd.testing.assert_frame_equal(before, again)
    assert list(again.columns) == ["评论", "评价", "prediction", "score"]
    assert set(again["prediction"]) <= {"正面", "负面"}
    assert "正面" in (folder / "config.json").read_text(encoding="utf-8") or "\\u6b63" in (
        folder / "config.json"
    ).read_text(encoding="utf-8")
    same_scores(tuner.predict(CHINESE), plainly(folder, CHINESE))


# --- what a folder may hold ---

@pytest.mark.parametrize("name", FIVE)
def test_two_labels_then_three(learned, name):
    "The new head is new; everything below it comes from the first run."
    _, folder = learned(name)
    three = pd.DataFrame({"text": SENTENCES[:6], "label": list("abcabc")})
    model, _ = TextClassification().learn(three).build(str(folder))
    last = {k for k in HEADS[name] if model.get_parameter(k).shape[0] == 3}
    assert last and set(model.new_parameters) == last and model.config.num_labels == 3
    published = load_file(folder / "model.safetensors")
    below = {k: v for k, v in published.items() if k not in last}
    assert same_tensors(below, {k: model.state_dict()[k] for k in below})
    losses = (
        FineTuner(TextClassification(), folder, BY_HEART.but(epochs=5, learning_rate=3e-4))
        .fit(three)
        .history.table["train_loss"]
    )
    assert losses.iloc[-1] < losses.iloc[0]


def altered(source, folder, change):
    "A copy of a checkpoint with its weights changed."
    shutil.copytree(source, folder)
    weights = change(load_file(folder/"model.safetensors"))
    save_file(weights, folder/"model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("name", FIVE)
def test_a_body_with_other_names_is_refused(tiny, reviews, tmp_path, name):
    folder = altered(tiny(name), tmp_path/name, lambda w: {f"other_{k}": v for k, v in w.items()})
    with pytest.raises(
        CheckpointError, match=r"\d+ weights of the body are not in the checkpoint.*would be random"
    ):
        FineTuner(TextClassification(), folder).fit(reviews)


@pytest.mark.parametrize("name", FIVE)
def test_one_missing_weight_of_the_body_is_enough(tiny, reviews, tmp_path, name):
    lost = next(
        k
        for k in load_file(tiny(name) / "model.safetensors")
        if ".1." in k and k.endswith("weight")
    )
    folder = altered(tiny(name), tmp_path/name, lambda w: {k: v for k, v in w.items() if k != lost})
    with pytest.raises(CheckpointError, match="1 weights? of the body") as e:
        FineTuner(TextClassification(), folder).fit(reviews)
    assert ".1." in str(e.value)


@pytest.mark.parametrize("name", FIVE)
def test_from_scratch(tiny, reviews, name):
    tuner = FineTuner(TextClassification(), tiny(name), BY_HEART.but(fresh=True)).fit(reviews)
    assert tuner.evaluate(reviews).metrics["accuracy"] == 1.0
    task = TextClassification().learn(reviews)
    fresh, other = (task.build(str(tiny(name)), fresh=True, seed=s)[0].state_dict() for s in (1, 2))
    stack = f"{STACKS[name]}.0"
    taken = {
        k
        for k, v in task.build(str(tiny(name)))[0].state_dict().items()
        if k.startswith(stack) and v.ndim > 1 and torch.equal(v, fresh[k])
    }
    assert not taken
    assert not any(
        torch.equal(v, other[k]) for k, v in fresh.items() if k.startswith(stack) and v.ndim > 1
    )


# --- parts of a model ---

@pytest.mark.parametrize("name", FIVE)
def test_blocks_finds_the_real_stack(tiny, reviews, name):
    model = TextClassification().learn(reviews).build(str(tiny(name)))[0]
    where, stack = blocks(model)
    assert where == STACKS[name] and len(stack) == LAYERS
    depth = depth_of(model)
    assert {v for k, v in depth.items() if k in HEADS[name]} == {LAYERS + 1}
    assert set(depth.values()) == set(range(LAYERS + 2))
    assert all("embed" in k or "wte" in k or "wpe" in k for k, v in depth.items() if v == 0)


@pytest.mark.parametrize("name", FIVE)
@pytest.mark.parametrize("k", [0, 1, 3, None])
def test_freezing_by_depth(tiny, reviews, name, k):
    model = freeze(TextClassification().learn(reviews).build(str(tiny(name)))[0], k)
    _, stack = blocks(model)
    learning = [all(p.requires_grad for p in b.parameters()) for b in stack]
    assert [any(p.requires_grad for p in b.parameters()) for b in stack] == learning
    n = LAYERS if k is None else k
    assert learning == [False] * (LAYERS - n) + [True] * n  # the top ones
    assert model.get_input_embeddings().weight.requires_grad == (k is None)
    assert all(model.get_parameter(p).requires_grad for p in HEADS[name])
    assert list(trainable_table(model).part) == [
        "head", "block 3", "block 2", "block 1", "embeddings",
    ]


@pytest.mark.parametrize("name", FIVE)
def test_frozen_parts_do_not_move(tiny, reviews, name):
    tuner = FineTuner(
        TextClassification(), tiny(name), BY_HEART.but(epochs=2, unfreeze_last=1)
    ).fit(reviews)
    task = TextClassification().learn(reviews)
    before = task.build(str(tiny(name)), seed=BY_HEART.seed)[0].state_dict()
    after = tuner.model.state_dict()
    depth = depth_of(tuner.model)
    moved = {k for k in depth if not torch.equal(before[k], after[k])}
    assert {depth[k] for k in moved} == {LAYERS, LAYERS + 1}


@pytest.mark.parametrize("name", FIVE)
def test_without_dropout_training_mode_is_deterministic(tiny, reviews, name):
    task = TextClassification().learn(reviews)
    model, tokenizer = task.build(str(tiny(name)))
    batch = task.collate(task.encode_all(reviews, tokenizer), tokenizer)
    model.train()
    def again():
        return model(**batch.inputs).logits.detach()
    assert not torch.equal(again(), again()), "dropout was on in the checkpoint"
    set_dropout(model, 0)
    assert torch.equal(again(), again())
    model.eval()
    torch.testing.assert_close(
        again(), model.train()(**batch.inputs).logits.detach(), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("k", [-1, 4, 99])
def test_more_blocks_than_there_are(tiny, reviews, k):
    with pytest.raises(
        (CheckpointError, TrainingError), match=rf"unfreeze_last={k}.*3 blocks.*0 to 3"
    ):
        FineTuner(TextClassification(), tiny("bert"), Recipe(unfreeze_last=k)).fit(reviews)


def test_load_takes_any_head(tiny):
    for head in ("body", "token-classification", "sequence-classification"):
        model, tokenizer = load(tiny("bert"), head)
        assert not model.training and tokenizer("a film")["input_ids"]
    assert load(tiny("gpt2"), "causal-lm")[0].new_parameters == []
