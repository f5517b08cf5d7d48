"""How much smaller and quicker may a model be served, and is it as good? Writes results/export.json.

python tests/bench/export.py [--work FOLDER] [--rounds 7] [--steps train,export,judge,time]

The claim, fixed before any of the certify rows was answered: accuracy is not lower than the
original's by more than 0.01, on 6,000 snippets of rotten-tomatoes that neither run has seen, at
confidence 0.95. The rows are split one by one, so the unit is the snippet: the claim is about
further snippets about these films. With the film as unit no exact bound could show 0.01: even 286
films without a single difference reach 0.0105. The films of the same rows serve as groups in a
second, approximate interval.

Every form is measured end to end, from texts to answers, in one process on one thread, in
alternation; processor seconds, for the machine may have other work.
"""
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from series import RESULTS, Spent, command_line, find, has, listed, machine, save, stored

from sft_nb.certification.comparison import compare
from sft_nb.data.splitting import split
from sft_nb.models.loading import save_weights
from sft_nb.tasks.text.classification import TextClassification, film_reviews
from sft_nb.training.recipe import Method, Recipe
from sft_nb.training.tuner import FineTuner

OUT = RESULTS / "export.json"
CLAIM = "accuracy >= original - 0.01"
LABELLED, VALID, CERTIFY = 4000, 800, 6000  # rows
TEMPERATURE = 2.0  # of the teacher's answers
FILMS = "movie"


def rows_by_role():
    "Labelled rows, rows without label for the teacher to answer, valid, certify; the films apart."
    task = TextClassification()
    everything = task.read(film_reviews())
    columns = [*task.inputs(), *task.targets(), FILMS]
    parts = split(everything[columns], valid_size=VALID, certify_size=CERTIFY, seed=42)
    films = parts.certify.pop(FILMS)
    rest = parts.train.drop(columns=FILMS)
    valid = parts.valid.drop(columns=FILMS)
    return task, rest[:LABELLED], rest, valid, parts.certify, films


# --- students: to be replaced by the package's own methods of this kind ---

@dataclass(frozen=True)
class Taught(Method):
    "The loss is how far the answers are from a teacher's; labels do not count."
    temperature: float = TEMPERATURE
    answers = None  # n c: the teacher's logits for the training rows

    def objective(self, inner, task):
        def softly(logits): return (logits.float() / self.temperature).log_softmax(-1)
        def taught(model, batch):
            sums, outputs = inner(model, batch)
            right, said = softly(self.answers[batch.index]), softly(outputs.logits)
            apart = (right.exp() * (right - said)).sum()
            return {"loss": self.temperature**2 * apart}, outputs
        return taught


def with_fewer_layers(tuner, layers, folder):
    "The checkpoint that is left of a model without its top layers."
    if not folder.is_dir():
        folder.mkdir(parents=True)
        model = FineTuner.load(tuner.folder).model
        body = model.base_model.encoder
        body.layer = body.layer[:layers]
        model.config.num_hidden_layers = layers
        save_weights(model, tuner.processor, folder)
    return str(folder)


def logits_of(tuner, rows):
    "n c, in the order of the rows."
    probs = [list(a.probs.values()) for a in tuner.predict(rows.text.tolist())]
    return torch.tensor(probs, dtype=torch.float64).log().float()


def fitted(folder, make, train, valid):
    "The run in this folder; made if it is not there."
    if (folder / "sft_nb.json").exists(): return FineTuner.load(folder)
    spent, tuner = Spent(), make()
    tuner.fit(train, valid)
    tuner.save(folder)
    print(folder.name, spent.to_dict(), tuner.history.epochs[-1], flush=True)
    return FineTuner.load(folder)


def trained(work, names):
    "name -> a run; each is made once."
    task, labelled, rest, valid, *_ = rows_by_role()
    runs = {"original": fitted(
        work / "original", lambda: FineTuner(task, "minilm", Recipe(epochs=3)), labelled, valid)}
    for name in names:
        layers, taught = int(name[0]), name.endswith("taught")
        start = with_fewer_layers(runs["original"], layers, work / f"start-{layers}")
        recipe, rows = Recipe(epochs=3), labelled
        if taught:
            method, rows = Taught(), rest  # their labels do not count
            recipe = Recipe(epochs=4, learning_rate=1.5e-4, keep_best=False, methods=(method,))
            if not (work / name / "sft_nb.json").exists():
                object.__setattr__(method, "answers", logits_of(runs["original"], rest))
        runs[name] = fitted(
            work / name, lambda r=recipe, s=start: FineTuner(task, s, r), rows, valid)
    return runs
