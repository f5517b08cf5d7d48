"""Do guessed labels help? Writes results/pseudo_labels.json.

python tests/bench/pseudo_labels.py [--repeats 20]

Frozen features of film reviews, the head of tests/bench/few_labels.py. A repeat draws so many
labelled rows and a pool whose labels are hidden; each of three rounds of self-training takes the
150 surest rows of each class. Controls: as many rows drawn blindly with the guesses that the model
has for them; the sure rows with their guesses shuffled; the sure rows with their true labels.
Judged by reviews of other films. What is in the file is skipped.
"""
import numpy as np
from few_labels import head, review_features
from series import RESULTS, Spent, command_line, has, machine, save, stored

from sft_nb.chance import rng_for
from sft_nb.methods.pseudo_labels import surest

OUT = RESULTS / "pseudo_labels.json"
LABELS = (16, 64, 256)
POOL = 1000
ROUNDS = 3
PER_CLASS = 150
ARMS = ("surest", "random rows", "shuffled", "true labels")


def drawn(n, repeat):
    "Positions with labels (both classes among them), and of the pool."
    y = review_features()[0][1]
    order = rng_for("labels", n, repeat).permutation(len(y))
    some = order[:n]
    if len(np.unique(y[some])) < 2: some[-1] = order[n:][y[order[n:]] != y[some[0]]][0]
    return some, np.setdiff1d(order[n:], some, assume_unique=True)[:POOL]


def taken(arm, made, x, y, rng):
    "Positions in the pool, and the labels that they get."
    probs = made.predict_proba(x)
    guesses = probs.argmax(1)
    at = surest(probs.max(1), guesses.tolist(), 0.5, PER_CLASS)
    if arm == "random rows": at = rng.permutation(len(x))[:len(at)]
    labels = y[at] if arm == "true labels" else guesses[at]
    return at, rng.permutation(labels) if arm == "shuffled" else labels


def one_repeat(n, arm, repeat):
    (x, y), (x_judge, y_judge) = review_features()
    spent, rng = Spent(), rng_for("arm", arm, n, repeat)
    some, pool = drawn(n, repeat)
    made = head().fit(x[some], y[some])
    reached, right, first = [made.score(x_judge, y_judge)], [], None
    for _ in range(ROUNDS):
        at, labels = taken(arm, made, x[pool], y[pool], rng)
        right.append(float((labels == y[pool][at]).mean()))
        wrong = at[labels != y[pool][at]]
        first = wrong if first is None else first
        both = np.concatenate([x[some], x[pool][at]]), np.concatenate([y[some], labels])
        made = head().fit(*both)
        reached.append(made.score(x_judge, y_judge))
    probs = made.predict_proba(x[pool])
    still = float((probs.argmax(1) != y[pool])[first].mean()) if len(first) else None
    return {
        "labels": n, "arm": arm, "repeat": repeat, "accuracy": np.round(reached, 5).tolist(),
        "right": np.round(right, 5).tolist(), "first errors kept": still,
        "confidence": float(probs.max(1).mean()),
        "pool": float((probs.argmax(1) == y[pool]).mean()), "seconds": spent.processor_seconds,
    }


def main():
    parser = command_line(__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    file = stored(OUT, {"rounds": ROUNDS, "per class": PER_CLASS, "machine": machine(), "runs": []})
    for repeat in range(args.repeats):
        for n in LABELS:
            for arm in ARMS:
                if has(file["runs"], labels=n, arm=arm, repeat=repeat): continue
                file["runs"].append(one_repeat(n, arm, repeat))
                save(file, OUT)
        print(repeat, flush=True)


if __name__ == "__main__":
    main()
