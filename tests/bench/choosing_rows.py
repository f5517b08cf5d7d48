"""Which rows shall get labels? Writes results/choosing_rows.json.

python tests/bench/choosing_rows.py [--repeats 20]

Features are computed once and stay frozen; the head is a logistic regression whose strength was
fixed before the first run. In each repeat a pool is drawn; labels are bought for 8 rows, then for
so many more that there are 16, 32 … 256. Entropy and BADGE begin with the random 8, since there is
no model yet; typical points need none. Everything is judged by the same other rows (reviews: of
other films). What is in the file is skipped.
"""
import numpy as np
import pandas as pd
from few_labels import digits, head, review_features
from series import RESULTS, Spent, command_line, has, machine, save, stored

from sft_nb.chance import derive_seed, rng_for
from sft_nb.methods.choosing_rows import choose_rows

OUT = RESULTS / "choosing_rows.json"
BUDGETS = (8, 16, 32, 64, 128, 256)
WAYS = ("random", "entropy", "badge", "typical")
POOL = 1000
SETS = {"reviews": review_features, "digits": digits}


def probabilities(made, x, classes):
    "n c, with zeros for classes that no label has shown."
    found = np.zeros((len(x), classes))
    found[:, made[-1].classes_] = made.predict_proba(x)
    return found


def learned(x, y, at):
    "A model, or None where all labels are the same."
    return head().fit(x[at], y[at]) if len(np.unique(y[at])) > 1 else None


def right(made, y, at, x_judge, y_judge):
    said = np.full(len(y_judge), y[at[0]]) if made is None else made.predict(x_judge)
    return float((said == y_judge).mean())


def next_rows(by, x, y, at, n, seed, classes):
    "n positions of rows without labels."
    left = pd.DataFrame({"at": np.setdiff1d(np.arange(len(x)), at)})
    made = learned(x, y, at) if len(at) else None
    if made is None and by in ("entropy", "badge"): by = "random"
    probs = None if made is None else probabilities(made, x[left["at"]], classes)
    known = x[at] if len(at) else None
    return choose_rows(x[left["at"]], left, n, by, seed, probs, known)["at"].to_numpy()


def one_repeat(name, by, repeat):
    spent, ((x, y), (x_judge, y_judge)) = Spent(), SETS[name]()
    pool = rng_for("pool", name, repeat).permutation(len(x))[:POOL]
    x, y = x[pool], y[pool]
    classes, at, reached = int(max(y.max(), y_judge.max())) + 1, np.array([], int), []
    for budget in BUDGETS:
        seed = derive_seed(name, repeat, budget)
        more = next_rows(by, x, y, at, budget - len(at), seed, classes)
        at = np.concatenate([at, more])
        made = learned(x, y, at)
        reached.append(round(right(made, y, at, x_judge, y_judge), 5))
    return {"set": name, "by": by, "repeat": repeat, "accuracy": reached,
            "seconds": spent.processor_seconds}


def main():
    parser = command_line(__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    empty = {"budgets": BUDGETS, "pool": POOL, "machine": machine(), "runs": []}
    file = stored(OUT, empty)
    for repeat in range(args.repeats):
        for name in SETS:
            for by in WAYS:
                if has(file["runs"], set=name, by=by, repeat=repeat): continue
                file["runs"].append(one_repeat(name, by, repeat))
                save(file, OUT)
        print(repeat, flush=True)


if __name__ == "__main__":
    main()
