"""Does the interval of a learning curve hold? Writes results/learning_curves.json.

python tests/bench/learning_curves.py [--draws 20] [--only digits,tumours]

A draw takes so many rows as somebody might have, trains with a sixteenth of them, an eighth … and
with all, fits the curve, and predicts one run with twice and with four times as many rows. Then
that run is made, on rows that contain the first ones, and judged by the same other rows. Intervals
are stored as the draws give them, unwidened. What is in the file is skipped.

The set A is there to choose the factor WIDEN of methods/learning_curves with, the set B to test it;
which is which was decided before the first run.
"""
import warnings
from functools import cache

import numpy as np
import pandas as pd
from few_labels import bundled, digits, head, review_features, reviews
from series import RESULTS, Spent, command_line, has, machine, save, stored
from sklearn.datasets import load_breast_cancer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from sft_nb.chance import rng_for
from sft_nb.methods.learning_curves import LearningCurve

OUT = RESULTS / "learning_curves.json"
SHARE = 0.8  # what the intervals promise
PARTS = (16, 8, 4, 2, 1)


def words():
    "Texts as they are."
    parts = [np.array(rows.text, dtype=object) for rows in reviews()]
    return [(x, y) for x, (_, y) in zip(parts, review_features(), strict=True)]


def counted():
    return make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=3))


TASKS = {  # name -> (set, rows, model, rows that somebody has)
    "reviews, minilm": ("A", review_features, head, 512),
    "digits, regression": ("A", digits, lambda: head(.1), 256),
    "tumours, regression": ("A", lambda: bundled(load_breast_cancer, 169), lambda: head(.1), 96),
    "reviews, words": ("B", words, counted, 512),
    "digits, normal curves": ("B", digits, lambda: GaussianNB(var_smoothing=1e-2), 256),
    "digits, neighbours": ("B", digits, lambda: KNeighborsClassifier(1), 256),
    "tumours, neighbours": (
        "B", lambda: bundled(load_breast_cancer, 169),
        lambda: make_pipeline(head()[0], KNeighborsClassifier(3)), 96),
}
rows_of = cache(lambda name: TASKS[name][1]())


def error(name, at):
    "Of a model that learned from these rows."
    (x, y), (x_judge, y_judge) = rows_of(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a regression that stops early is a model too
        made = TASKS[name][2]().fit(x[at], y[at])
    return float((made.predict(x_judge) != y_judge).mean())


def runs_of(name, have, rng, repeats=5):
    "n, repeat, error, as `learning_curve` makes them."
    found = []
    for repeat in range(repeats):
        order = rng.permutation(have)
        for part in PARTS:
            if part == 1 and repeat: continue
            n = len(have) // part
            found.append((n, repeat, error(name, order[:n])))
    return pd.DataFrame(found, columns=["n", "repeat", "error"])


def one_draw(name, number):
    kind, _, _, n = TASKS[name]
    rng, spent = rng_for("draw", name, number), Spent()
    order = rng.permutation(len(rows_of(name)[0][0]))
    curve = LearningCurve(runs_of(name, order[:n], rng), seed=number)
    later = [2 * n, 4 * n]
    told = curve.predict(later, SHARE, widen=1.0)
    return {
        "task": name, "set": kind, "draw": number, "n": n, "later": later,
        "low": told.low.round(5).tolist(), "likely": told.likely.round(5).tolist(),
        "high": told.high.round(5).tolist(),
        "came": [round(error(name, order[:m]), 5) for m in later],
        "runs": curve.points.round(5).to_numpy().tolist(), "seconds": spent.processor_seconds,
    }


def main():
    parser = command_line(__doc__)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--only", default="reviews,digits,tumours", help="parts of names of tasks")
    args = parser.parse_args()
    chosen = [n for n in TASKS if any(part.strip() in n for part in args.only.split(","))]
    file = stored(OUT, {"share": SHARE, "machine": machine(), "draws": []})
    for number in range(args.draws):
        for name in chosen:
            if has(file["draws"], task=name, draw=number): continue
            file["draws"].append(one_draw(name, number))
            save(file, OUT)
        print(number, flush=True)


if __name__ == "__main__":
    main()
