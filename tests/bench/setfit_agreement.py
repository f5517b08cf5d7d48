"""Contrastive and FitHead beside the package setfit: writes results/setfit_agreement.json.

python tests/bench/setfit_agreement.py [--splits 3]

Needs setfit and sentence-transformers, which are no requirements of ours. On the same film reviews:

pairs     the pairs that both make of the same labels, in the same order: equal or not
loss      sentence-transformers' CosineSimilarityLoss and ours on one batch of pairs, the same
          weights, no dropout: the difference of the values, and of the gradients by their norms
accuracy  8 snippets a class, 20 pairs of each kind per snippet, one epoch, then logistic
          regression with C=1 on the mean of the last states, in 32 bits: both on 400 other snippets
"""
import tempfile

import numpy as np
import torch
from contrastive import drawn
from series import RESULTS, Spent, command_line, has, machine, save, stored

from sft_nb.all import FineTuner, Recipe, TextClassification
from sft_nb.chance import torch_seed
from sft_nb.methods.contrastive import Contrastive, cosine_loss, make_pairs
from sft_nb.methods.heads import FitHead
from sft_nb.models.layers import set_dropout
from sft_nb.models.loading import resolve
from sft_nb.models.pooling import load_with_mean, mean_of_tokens
from sft_nb.telling import quiet

OUT = RESULTS / "setfit_agreement.json"
LABELS = ["fresh", "rotten"]


def their_body(dropout=None):
    "sentence-transformers' encoder with the mean of the last states, from the same folder."
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    words = Transformer(resolve("minilm")[0])
    mean = Pooling(384, pooling_mode="mean")
    body = SentenceTransformer(modules=[words, mean], device="cpu")
    return body if dropout is None else set_dropout(body, dropout)


def compared_pairs():
    "(how both were asked, are the pairs and their marks equal?)"
    from setfit.sampler import ContrastiveDataset
    draw, found = np.random.default_rng(0), []
    for n, how, several in [
        (16, {"num_iterations": 20}, False), (24, {}, False), (64, {"max_pairs": 640}, False),
        (21, {"sampling_strategy": "undersampling"}, False), (24, {"num_iterations": 3}, True),
        (15, {"sampling_strategy": "unique"}, True),
    ]:
        y = draw.integers(0, 2, (n, 3)) if several else draw.integers(0, 3, n)
        theirs = ContrastiveDataset([str(i) for i in range(n)], list(y), several, **how)
        names = {"num_iterations": "iterations", "sampling_strategy": "strategy",
                 "max_pairs": "most"}
        pairs, alike = make_pairs(y, **{names[k]: v for k, v in how.items()})
        ours = [(str(a), str(b), s) for (a, b), s in zip(pairs, alike, strict=True)]
        said = [(p["sentence_1"], p["sentence_2"], p["label"]) for p in theirs]
        found.append({"rows": n, "asked": how, "several_labels": several, "pairs": len(ours),
                      "equal": ours == said})
    return found


def compared_loss():
    "Differences of loss and gradient on 16 pairs; of the gradients, over all parameters."
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss
    rows, _ = drawn(8, 0)
    pairs, alike = make_pairs(np.array([LABELS.index(label) for label in rows.label]), 16)
    sides = [[rows.text[i] for i in pairs[:, side]] for side in (0, 1)]
    theirs = their_body(0.0)
    read = [theirs.preprocess(texts) for texts in sides]
    loss = CosineSimilarityLoss(theirs)(read, torch.tensor(alike, dtype=torch.float32))
    loss.backward()
    model, tokenizer = load_with_mean("minilm", num_labels=2)
    set_dropout(model, 0.0)
    both = [tokenizer(texts, padding=True, return_tensors="pt") for texts in sides]
    vectors = [mean_of_tokens(model.body(**b).last_hidden_state, b["attention_mask"]) for b in both]
    own = cosine_loss(*vectors, torch.tensor(alike))
    own.backward()
    grads = {n.split("auto_model.")[-1].split("model.")[-1]: p.grad
             for n, p in theirs.named_parameters()}
    here = {n: p.grad for n, p in model.body.named_parameters()}
    assert set(here) <= set(grads), sorted(set(here) - set(grads))[:3]
    apart = sum((g - grads[n]).square().sum() for n, g in here.items()).sqrt()
    size = sum(g.square().sum() for g in here.values()).sqrt()
    return {"theirs": loss.item(), "ours": own.item(), "gradient": (apart / size).item()}


def their_accuracy(train, asked, seed):
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments
    from sklearn.linear_model import LogisticRegression
    with torch_seed("setfit", seed), tempfile.TemporaryDirectory() as folder:
        model = SetFitModel(model_body=their_body(), model_head=LogisticRegression())
        args = TrainingArguments(
            output_dir=folder, num_iterations=20, num_epochs=1, batch_size=16, seed=42,
            report_to="none", save_strategy="no", show_progress_bar=False,
        )
        data = Dataset.from_dict({"text": train.text.tolist(), "label": train.label.tolist()})
        Trainer(model, args=args, train_dataset=data).train()
        said = model.predict(asked.text.tolist(), use_labels=False)
    return float(np.mean(np.array(said) == asked.label.to_numpy()))


def our_accuracy(train, asked):
    methods = Contrastive(pairs=None, precision="fp32"), FitHead(strength=2.0)
    recipe = Recipe(epochs=0, precision="fp32", methods=methods)
    tuner = FineTuner(TextClassification(pooling="mean"), "minilm", recipe, device="cpu")
    with quiet():
        tuner.fit(train)
    return tuner.evaluate(asked).metrics["accuracy"]


def main():
    from importlib.metadata import version
    parser = command_line(__doc__)
    parser.add_argument("--splits", type=int, default=3)
    args = parser.parse_args()
    names = ("setfit", "sentence-transformers", "transformers", "scikit-learn")
    file = stored(OUT, {"versions": {n: version(n) for n in names}, "accuracy": []})
    for name, compare in (("pairs", compared_pairs), ("loss", compared_loss)):
        if name in file: continue
        file[name] = compare()
        save(file, OUT)
        print(name, file[name], flush=True)
    for split in range(args.splits):
        if has(file["accuracy"], split=split): continue
        train, asked = drawn(8, split)
        spent = Spent()
        run = {"split": split, "per_class": 8, "n": len(asked), "machine": machine()}
        run |= {"ours": our_accuracy(train, asked), "our_seconds": spent.processor_seconds}
        spent = Spent()
        run |= {"theirs": their_accuracy(train, asked, split)}
        run |= {"their_seconds": spent.processor_seconds}
        file["accuracy"].append(run)
        save(file, OUT)
        print({k: v for k, v in run.items() if k != "machine"}, flush=True)


if __name__ == "__main__":
    main()
