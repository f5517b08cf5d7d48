"""What the benches of methods share: 200 film reviews to learn from, 100 to choose by, and 1,000
to judge by.

Those that choose and those that judge are of films of which no review is in another part. A draw
is another 200 and another 100; it is judged on the same 1,000.
"""
from functools import cache

from series import Spent, machine

from sft_nb.data.splitting import split
from sft_nb.tasks.text.classification import TextClassification, film_reviews
from sft_nb.training.tuner import FineTuner


@cache
def films():
    return split(film_reviews(), valid_size=0.25, certify_size=0.25, seed=42, group="movie")


def few_reviews(draw):
    "Three tables: to learn from, to choose by, to judge by."
    parts = films()
    train, valid = parts.train.sample(200, random_state=draw), parts.valid
    valid, judged = valid.sample(100, random_state=draw), parts.certify.sample(1000, random_state=0)
    return [rows.reset_index(drop=True) for rows in (train, valid, judged)]


def fitted(draw, recipe):
    "A run on one draw, and what there is to note about it."
    train, valid, _ = few_reviews(draw)
    spent = Spent()
    tuner = FineTuner(TextClassification(), "minilm", recipe).fit(train, valid)
    noted = {"kept": tuner.kept_epoch, "updates": tuner.run.updates} | spent.to_dict()
    return tuner, noted | {"machine": machine()}


def right(tuner, rows):
    "A digit per row: was the answer right?"
    said = tuner.predict(rows)["prediction"]
    return "".join("01"[int(a == b)] for a, b in zip(said, rows.label, strict=True))


def accuracy(digits): return digits.count("1") / len(digits)
