"""What the benches about few labels share: rows, features that are computed once, and a head."""
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sft_nb.batches.frozen import features_folder
from sft_nb.data.splitting import split
from sft_nb.tasks.text.classification import TextClassification, film_reviews
from sft_nb.training.baselines import frozen_features

STRENGTH = 0.01  # of the regression on standardised features, fixed before any run


def kept(name, make):
    "An array from the cache, made if it is not there."
    path = features_folder() / f"{name}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, make())
    return np.load(path)


def reviews():
    "3,000 rows to learn from, and 1,500 rows of other films to judge by."
    parts = split(film_reviews(), valid_size=0, certify_size=.3, seed=42, group="movie")
    sizes = (parts.train, 3000), (parts.certify, 1500)
    return [rows.sample(n, random_state=0).reset_index(drop=True) for rows, n in sizes]


def review_features():
    "(features, classes) of the train rows, and of those to judge by: minilm, mean-pooled."
    found, task = [], TextClassification()
    for role, rows in zip(("train", "judge"), reviews(), strict=True):
        learned = task.learn(rows)

        def make(rows=rows, learned=learned):
            return frozen_features(learned, *learned.build("minilm", seed=0), rows)

        found.append((kept(f"reviews-minilm-{role}", make), learned.classes_of(rows)))
    return found


def bundled(load, judged):
    "(features, classes) of a table of scikit-learn's to learn from, and of rows to judge by."
    x, y = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    some, others = order[:-judged], order[-judged:]
    return (x[some], y[some]), (x[others], y[others])


def digits():
    "Handwritten digits of 8 by 8 pixels: 1,197 to learn from, 600 to judge by."
    return bundled(load_digits, 600)


def head(strength=STRENGTH):
    "Standardised features and logistic regression."
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200))
