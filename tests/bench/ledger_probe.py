"""Published cells, and what a frozen encoder gives beside them: results/ledger_probe.jsonl.

python tests/bench/ledger_probe.py [--sets newsgroups,bbc-news] [--skip words]

A line per finished run, with the published figure beside it where there is one; what is there is
skipped. Four kinds of runs: the cells of scikit-learn's own pages, to the digit (is this the same
data?); words at 1,000 labels, as in model2vec's table; and a probe on frozen vectors of
all-MiniLM-L6-v2, drawn as SetFit draws (seeds 0 to 9; 8, 16, 32, 64 per class, and 1,000 in all)
and as MTEB draws (10 experiments of 8 and 16 per class).
"""
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from series import RESULTS, Spent, command_line, find, listed, machine
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import accuracy_score, f1_score
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from sft_nb.data.asset_tables import load_data
from sft_nb.labs.ledger_data import (
    LEDGER, measured, mteb_draws, probe, published, sentence_vectors, setfit_split, words,
)

OUT = RESULTS / "ledger_probe.jsonl"
CELLS = published(Path(__file__).parents[2] / "nbs/labs/published.toml")
COUNTED = {c.data for c in CELLS if c.method == "words, 1000 drawn"}
SPLITS, WORDS_DRAWS = 10, 5
PER_CLASS, MTEB_PER_CLASS = (8, 16, 32, 64), (8, 16)


# --- the file ---

def done():
    if not OUT.exists(): return []
    return [json.loads(line) for line in OUT.read_text(encoding="utf-8").splitlines()]


def beside(settings):
    "The published cell of a run's settings, if there is one."
    keys = "data", "method", "budget", "metric"
    for cell in CELLS:
        if all(asdict(cell)[k] == settings[k] for k in keys):
            return {"mean": cell.mean, "sd": cell.sd, "source": cell.source}
    return None


def keep(runs, settings, score):
    "Do the run if it is not there; `score` gives points and whatever else is to be kept."
    if find([r["settings"] for r in runs], **settings): return
    spent = Spent()
    points, about = score()
    run = {
        "settings": settings, "found": {"points": round(points, 2)} | about,
        "published": beside(settings), "processor_seconds": spent.processor_seconds,
        "machine": machine(),
    }
    with open(OUT, "a", encoding="utf-8") as f:
        f.write(json.dumps(run, ensure_ascii=False, sort_keys=True) + "\n")
    runs.append(run)
    print(settings, run["found"], flush=True)


# --- scikit-learn's own pages ---

RELIGION = "alt.atheism", "talk.religion.misc", "comp.graphics", "sci.space"
TUTORIAL = "alt.atheism", "soc.religion.christian", "comp.graphics", "sci.med"


def four_groups(rows, groups):
    some = rows[rows.label.isin(groups)]
    return some[some.part == "train"], some[some.part == "test"]


def classic(train, test, model, read, judged, metric):
    fitted = make_pipeline(TfidfVectorizer(), model).fit(train[read], train.label)
    if metric == "accuracy": return accuracy_score(test.label, fitted.predict(test[judged]))
    return f1_score(test.label, fitted.predict(test[judged]), average="macro")


def pages(runs):
    rows = load_data("newsgroups")
    for method, groups, smoothing, read, judged in (
        ("naive Bayes, four groups, whole posts", RELIGION, .01, "post", "post"),
        ("naive Bayes, four groups, bare test", RELIGION, .01, "post", "text"),
        ("naive Bayes, four groups, bare posts", RELIGION, .01, "text", "text"),
        ("naive Bayes, tutorial", TUTORIAL, 1.0, "post", "post"),
    ):
        metric = "accuracy" if "tutorial" in method else "macro F1"
        train, test = four_groups(rows, groups)
        def score(train=train, test=test, a=smoothing, read=read, judged=judged, metric=metric):
            got = classic(train, test, MultinomialNB(alpha=a), read, judged, metric)
            return 100 * got, {"n_train": len(train), "n_test": len(test)}
        keep(runs, cell("newsgroups", method, "all", metric, 0), score)
    train, test = four_groups(rows, TUTORIAL)
    for seed in range(SPLITS):
        def svm(seed=seed):
            model = SGDClassifier(alpha=1e-3, max_iter=5, tol=None, random_state=seed)
            got = classic(train, test, model, "post", "post", "accuracy")
            return 100 * got, {"n_train": len(train), "n_test": len(test)}
        keep(runs, cell("newsgroups", "linear SVM, tutorial", "all", "accuracy", seed), svm)


def cell(data, method, budget, metric, draw):
    return {"data": data, "method": method, "budget": budget, "metric": metric, "draw": draw}


# --- words and vectors ---

def thousand(n, draw): return np.random.default_rng(draw).permutation(n)[:1000]


def count_words(runs, name):
    rows = measured(name)
    for draw in range(WORDS_DRAWS):
        def score(draw=draw):
            some = rows.train.iloc[thousand(len(rows.train), draw)]
            return 100 * words(some, rows.test), {"n_train": len(some), "n_test": len(rows.test)}
        keep(runs, cell(name, "words, 1000 drawn", "1000", "accuracy", draw), score)


def draws_of(rows):
    "method, budget, draw, row numbers: everything that a probe is fitted on."
    labels = rows.train.label.tolist()
    for n in PER_CLASS:
        for draw in range(SPLITS):
            yield "probe", f"{n} per class", draw, setfit_split(labels, n, draw)
    for draw in range(SPLITS):
        yield "probe", "1000", draw, thousand(len(labels), draw)
    for n in MTEB_PER_CLASS:
        for draw, at in enumerate(mteb_draws(labels, n)):
            yield "probe, drawn as MTEB does", f"{n} per class", draw, at


def probes(runs, name):
    rows = measured(name)
    x, x_test = (sentence_vectors(part.text.tolist()) for part in (rows.train, rows.test))
    labels, judged = rows.train.label, rows.test.label
    for method, budget, draw, at in draws_of(rows):
        def score(at=at):
            got = probe(x[at], labels.iloc[at], x_test, judged)
            return 100 * got, {"n_train": len(at), "n_test": len(judged)}
        keep(runs, cell(name, method, budget, "accuracy", draw), score)


def main():
    parser = command_line(__doc__)
    parser.add_argument("--sets", default=",".join(LEDGER), help="names with commas")
    parser.add_argument("--skip", default="", help="pages, words, probes: kinds with commas")
    args = parser.parse_args()
    runs, skipped = done(), listed(args.skip)
    if "pages" not in skipped: pages(runs)
    largest_last = sorted(listed(args.sets), key=lambda name: name == "newsgroups")
    for name in largest_last:
        if "words" not in skipped and name in COUNTED: count_words(runs, name)
        if "probes" not in skipped: probes(runs, name)


if __name__ == "__main__":
    main()
