"""transformers' Trainer and our loop on the same work:

equal where the Trainer is right, and the known deviation where it is not.
"""
import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from test_packing import build, table
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

from sft_nb.batches.batching import Examples, cut
from sft_nb.models.layers import set_dropout
from sft_nb.models.loading import quiet
from sft_nb.training.recipe import Recipe
from sft_nb.tasks.text.classification import TextClassification
from sft_nb.training.gradient import effective_gradient
from sft_nb.training.tuner import FineTuner

WORDS = "warm funny dull slow joy noise clever lazy tender old".split()


@pytest.fixture(scope="module")
def rows():
    "48 reviews of six words each, so of constant length."
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 6)) for _ in range(48)]
    return pd.DataFrame(
        {"text": texts, "label": ["good" if "joy" in t or "warm" in t else "bad" for t in texts]}
    )


@pytest.fixture(autouse=True)
def in_table_order(monkeypatch):
    "Both read the rows in the order of the table."
    monkeypatch.setattr(
        Examples,
        "batches",
        lambda self, batch_size, epoch=None, window=16: cut(np.arange(len(self)), batch_size),
    )


def vector(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()]).double()


def apart(a, b):
    return ((a - b).norm() / b.norm()).item()


class Rows(torch.utils.data.Dataset):
    def __init__(self, examples): self.examples = examples
    def __len__(self): return len(self.examples)
    def __getitem__(self, i): return self.examples[i]


def trainer(model, examples, collate, folder, optimizers=(None, None), **arguments):
    plain = dict(
        report_to="none", disable_tqdm=True, save_strategy="no", logging_strategy="no",
        use_cpu=True, seed=1, train_sampling_strategy="sequential", optim="adamw_torch",
    )
    return Trainer(
        model,
        TrainingArguments(str(folder), **plain | arguments),
        train_dataset=Rows(examples),
        data_collator=collate,
        optimizers=optimizers,
    )


def tuned(tiny, rows, folder, steps_by_hand=False, **changes):
    "Our run and the Trainer's from the same weights: (ours, theirs, start)."
    recipe = Recipe(
        epochs=2, learning_rate=1e-3, batch_size=8, dropout=0.0, keep_best=False, precision="fp32"
    ).but(**changes)
    task = TextClassification().learn(rows)
    model, processor = task.build(str(tiny("bert")), seed=recipe.seed)
    start, model = vector(model), set_dropout(model, 0.0)
    ours = FineTuner(TextClassification(), str(tiny("bert")), recipe).fit(rows)
    micro = recipe.micro_batch_size or recipe.batch_size

    def collate(examples):
        batch = task.collate(examples, processor)
        return {**batch.inputs, "labels": batch.targets["classes"]}

    with quiet():
        trainer(
            model, task.encode_all(rows, processor), collate, folder,
            num_train_epochs=recipe.epochs, learning_rate=recipe.learning_rate,
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=recipe.batch_size // micro,
            warmup_steps=int(recipe.warmup * recipe.epochs * 6),
            weight_decay=recipe.weight_decay,
            remove_unused_columns=False,
            max_grad_norm=recipe.max_grad_norm or 0.0,
        ).train()
    return vector(ours.model), vector(model), start


def test_equal_where_the_trainer_is_right(tiny, rows, tmp_path, capsys):
    "Twelve updates with warm-up, decay and clipping, one micro-batch each: the same weights."
    ours, theirs, start = tuned(tiny, rows, tmp_path)
    moved = (theirs - start).norm()
    assert moved / start.norm() > 1e-3, "nothing was learned"
    assert ((ours - theirs).norm() / moved).item() < 1e-3 and apart(ours, theirs) <= 1e-5


def gradient_of_trainer(model, examples, collate, folder, micro, of=8):
    "What one update of the Trainer with plain gradient descent at rate 1 subtracts."
    start, sgd = vector(model), torch.optim.SGD(model.parameters(), lr=1.0)
    constant = torch.optim.lr_scheduler.LambdaLR(sgd, lambda step: 1.0)
    with quiet():
        trainer(
            model, examples[:of], collate, folder, (sgd, constant), num_train_epochs=1,
            per_device_train_batch_size=micro, gradient_accumulation_steps=of // micro,
            max_grad_norm=0.0, remove_unused_columns=False,
        ).train()
    return start - vector(model)


def test_accumulation_multiplies_the_trainers_gradient(tiny, rows, tmp_path, capsys):
    """Issue 47688 of transformers.

    Heads that ignore num_items_in_batch get their gradient times the number of micro-batches.
    """
    task = TextClassification().learn(rows)

    def fresh():
        model, processor = task.build(str(tiny("bert")), seed=1)
        return set_dropout(model, 0.0), processor

    def collate(examples):
        batch = task.collate(examples, processor)
        return {**batch.inputs, "labels": batch.targets["classes"]}

    model, processor = fresh()
    examples = task.encode_all(rows, processor)
    whole, cut4 = (
        gradient_of_trainer(fresh()[0], examples, collate, tmp_path, micro) for micro in (8, 2)
    )
    ratio = (cut4.norm() / whole.norm()).item()
    with capsys.disabled():
        told(f"4 micro-batches give the Trainer {ratio:.2f} times the gradient of one batch", ratio)
    assert ratio == pytest.approx(1, abs=0.01) or ratio == pytest.approx(4, abs=0.02)
    ours, ours_cut = (our_gradient(task, model, examples, processor, micro) for micro in (8, 2))
    assert apart(ours_cut, ours) <= 1e-6
    assert apart(whole, ours) <= 1e-4, "in one batch both have the same gradient"


def told(text, ratio, within=0.01):
    "What the Trainer of today does, and whether it is mended."
    mended = " (mended)" if np.allclose(ratio, 1, rtol=0, atol=within) else ""
    print(f"\ntransformers {transformers.__version__}: {text}{mended}")


def our_gradient(task, model, examples, processor, micro):
    "Of the first eight examples, in pieces of so many."
    pieces = [task.collate(examples[i:i + micro], processor) for i in range(0, 8, micro)]
    model.zero_grad()
    effective_gradient(task, model, pieces)
    whole = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]
    return torch.cat([g.flatten() for g in whole]).double()


def test_our_run_does_not_change_with_micro_batches(tiny, rows, tmp_path, capsys):
    """Clipping at 1 hides a gradient that is four times too long; without it the Trainer's
    weights go elsewhere.
    """
    ours, theirs, start = tuned(tiny, rows, tmp_path / "one")
    ours_cut, theirs_cut, _ = tuned(tiny, rows, tmp_path / "four", micro_batch_size=2)
    assert apart(ours_cut, ours) <= 1e-5
    drift = ((theirs_cut - theirs).norm() / (theirs - start).norm()).item()
    our_drift = ((ours_cut - ours).norm() / (ours - start).norm()).item()
    with capsys.disabled():
        print(
            f"\nTrainer in 4 micro-batches: {drift:.1%} of the way it moved; ours: {our_drift:.4%}"
        )


def test_the_model_is_plain_transformers(tiny):
    "The comparison is fair: both train the class that AutoModel gives."
    with quiet():
        assert (
            type(AutoModelForSequenceClassification.from_pretrained(tiny("bert"))).__name__
            == "BertForSequenceClassification"
        )


def our_loss(task, model, examples, pad_id, size):
    "A target's loss, of eight examples in batches of so many."
    batches = [task.collate(examples[i:i + size], pad_id) for i in range(0, 8, size)]
    with torch.no_grad():
        losses = [task.loss(model(**b.inputs), b)["loss"].item() for b in batches]
    return sum(losses) / sum(task.weigh(b)["loss"] for b in batches)


def test_evaluation_loss_of_the_trainer(tmp_path, capsys):
    """Issue 39241 of transformers.

    With the usual labels (the ids themselves) it divides by first words, which no output says: then
    the loss is too small, and depends on the batch size.
    """
    task, model, pad_id = build("words", "gpt2")
    examples = task.encode_all(table([3, 20, 5, 2, 24, 7, 4, 9]), pad_id)

    def theirs(size, first_word=True):
        def collate(rows):
            batch = task.collate(rows, pad_id)
            real = batch.inputs["attention_mask"] == 1
            labels = torch.where(real, batch.inputs["input_ids"], -100)
            if not first_word: labels[:, 0] = -100
            return {**batch.inputs, "labels": labels}
        with quiet():
            judge = trainer(
                model, examples, collate, tmp_path, per_device_eval_batch_size=size,
                remove_unused_columns=False,
            )
            return judge.evaluate(Rows(examples))["eval_loss"]

    alone, together = theirs(1), theirs(8)
    ours, ours_alone = (our_loss(task, model, examples, pad_id, size) for size in (8, 1))
    with capsys.disabled():
        text = f"eval_loss {alone:.3f} at batch size 1 and {together:.3f} at 8; ours {ours:.3f}"
        told(text, (alone / ours, together / ours), 1e-3)
    assert ours_alone == pytest.approx(ours, rel=1e-6)
    # where the first word is left out by hand, one batch has our loss
    assert theirs(8, first_word=False) == pytest.approx(ours, rel=1e-4)


def test_accumulation_of_tagging_heads(tiny, tmp_path, capsys):
    "The same defect with targets per token: not only longer, but in another direction."
    task, model, pad_id = build("tags", "bert")
    examples = task.encode_all(table([3, 20, 5, 2, 24, 7, 4, 9]), pad_id)

    def collate(examples):
        batch = task.collate(examples, pad_id)
        return {**batch.inputs, "labels": batch.targets["labels"]}

    whole, cut2 = (
        gradient_of_trainer(build("tags", "bert")[1], examples, collate, tmp_path, micro)
        for micro in (8, 2)
    )
    ratio = (cut2.norm() / whole.norm()).item()
    cosine = (cut2 @ whole / cut2.norm() / whole.norm()).item()
    with capsys.disabled():
        text = f"token classification: {ratio:.2f} times as long, cosine {cosine:.3f}"
        told(text, (ratio, cosine))
    ours, ours_cut = (our_gradient(task, model, examples, pad_id, micro) for micro in (8, 2))
    assert apart(ours_cut, ours) <= 1e-6 and apart(whole, ours) <= 1e-4
