"""The shortest honest script from a table to a certificate, with the transformers Trainer.

python trainer_certificate.py REVIEWS.csv ENCODER SEED short|tuned CLAIM

`time_to_certificate.py` runs it. The rows that the certificate is about are split off by film and
looked at once, at the end; the bound is that of `sft_nb.certification`.
"""
import sys
import tempfile

import pandas as pd
import torch
from sklearn.model_selection import GroupShuffleSplit
from transformers import (
    AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments, set_seed,
)

from sft_nb.certification.units import means_by, risk_bound

reviews, encoder, seed, way, claim = sys.argv[1:]
seed = int(seed)
set_seed(seed)
rows = pd.read_csv(reviews, keep_default_na=False)


def split_off(rows, share):
    "Two tables without a film in common."
    splitter = GroupShuffleSplit(1, test_size=share, random_state=seed)
    rest, off = next(splitter.split(rows, groups=rows.movie))
    return rows.iloc[rest], rows.iloc[off]


rest, certify = split_off(rows, 0.2)
train, valid = split_off(rest, 0.25)
classes = sorted(train.label.unique())
tokenizer = AutoTokenizer.from_pretrained(encoder)
model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=len(classes))


def encoded(part):
    ids = tokenizer(part.text.tolist(), truncation=True)["input_ids"]
    labels = map(classes.index, part.label)
    return [{"input_ids": i, "label": y} for i, y in zip(ids, labels, strict=True)]


def accuracy(found):
    return {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())}


tuned = {
    "per_device_train_batch_size": 32, "learning_rate": 1e-4, "warmup_steps": 0.1,
    "train_sampling_strategy": "group_by_length", "optim": "adamw_torch_fused",
    "bf16": torch.cpu._is_avx512_bf16_supported(),
} if way == "tuned" else {}
arguments = TrainingArguments(
    tempfile.mkdtemp(), num_train_epochs=3, eval_strategy="epoch", save_strategy="no",
    report_to="none", use_cpu=True, disable_tqdm=True, seed=seed, **tuned)
trainer = Trainer(
    model, arguments, train_dataset=encoded(train), eval_dataset=encoded(valid),
    processing_class=tokenizer, compute_metrics=accuracy)
trainer.train()

found = trainer.predict(encoded(certify))
wrong = (found.predictions.argmax(-1) != found.label_ids).astype(float)
bound = risk_bound(means_by(wrong, pd.factorize(certify.movie)[0]), unit="movie")
verdict = "CERTIFIED" if 1 - bound.value >= float(claim) else "NOT CERTIFIED"
print(f"{verdict}: accuracy >= {claim}. Observed {1 - bound.mean:.4f}; "
      f"at least {1 - bound.value:.4f} ({bound.n} movies).")
