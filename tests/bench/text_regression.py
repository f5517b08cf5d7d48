"""Text regression on rated sentences over several seeds.

Writes results/text_regression.json, one finished rung at a time.

python tests/bench/text_regression.py [--seeds 3] [--rungs mean,tfidf,frozen,fine-tuned]
    [--train 4000] [--valid 1000] [--certify 0] [--out FILE]

What is already in the file is skipped, so that the series survives being cut off. After the rung
"fine-tuned" of a seed, its differences to "mean" and "tfidf" on the same sentences are written too:
paired bootstrap over documents, in R² and in RMSE.
"""
from dataclasses import replace
from pathlib import Path

import numpy as np
from series import (
    RESULTS, Spent, command_line, find, machine, save, stored_of_sizes, without_nan,
)
from sklearn.metrics import r2_score, root_mean_squared_error

from sft_nb.training.baselines import ladder
from sft_nb.data.splitting import split
from sft_nb.evaluation.difference import paired_bootstrap
from sft_nb.training.recipe import Recipe
from sft_nb.tasks.text.regression import TextRegression, rated_sentences

RECIPE = Recipe(epochs=2, learning_rate=1e-4, depth_decay=0.8)  # that of the demo
METRICS = {
    "r2": lambda said, true: r2_score(true, said),
    "rmse": lambda said, true: root_mean_squared_error(true, said),
}


def rows(seed, sizes):
    """Training sentences drawn by the seed; the documents of valid and certify are always the
    same. A size of 0 takes all.
    """
    task = TextRegression(number="rating")
    parts = split(
        task.read(rated_sentences()), valid_size=0.15, certify_size=0.25, seed=42, group="document"
    )

    def draw(rows, n, seed):
        n = min(n or len(rows), len(rows))
        return rows.sample(n, random_state=seed).reset_index(drop=True)

    return task, replace(
        parts,
        train=draw(parts.train, sizes["train"], seed),
        valid=draw(parts.valid, sizes["valid"], 0),
        certify=draw(parts.certify, sizes["certify"], 0),
    )


def figures(difference):
    return {
        "value": difference.value, "low": difference.low, "high": difference.high,
        "confidence": difference.confidence, "draws": len(difference.draws),
        "groups": difference.units, "rows": difference.rows,
    }


def numbers(answers): return np.array([a.value for a in answers])


def differences(task, parts, answers):
    "Fine-tuned against the rungs without a network, on the same draws of documents."
    learned, ours, documents = task.learn(parts.train), numbers(answers), parts.certify["document"]
    true = learned.numbers(parts.certify)[:, 0]
    for rival, answer in learned.baselines().items():
        theirs = numbers(answer(parts.train, parts.valid, parts.certify))
        for name, metric in METRICS.items():
            found = paired_bootstrap(metric, ours, theirs, true, groups=documents)
            yield {"against": rival, "metric": name} | figures(found)


def one_rung(run, rung, seed, sizes):
    spent = Spent()
    task, parts = rows(seed, sizes)
    roles, recipe = (parts.train, parts.valid, parts.certify), RECIPE.but(seed=seed)
    climb = ladder(task, *roles, "minilm", recipe, (rung,))
    run["n"] = {role: len(r) for role, r in parts.roles.items()}
    run["ladder"][rung] = without_nan(climb.evaluations[rung])
    if rung == "fine-tuned":
        run["differences"] = list(differences(task, parts, climb.answers[rung]))
    run["seconds"][rung] = spent.seconds


def main():
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rungs", default="mean,tfidf,frozen,fine-tuned")
    for role, n in (("train", 4000), ("valid", 1000), ("certify", 0)):
        parser.add_argument(f"--{role}", type=int, default=n)
    parser.add_argument("--out", type=Path, default=RESULTS / "text_regression.json")
    args = parser.parse_args()
    sizes = {role: getattr(args, role) for role in ("train", "valid", "certify")}
    file = stored_of_sizes(args.out, sizes)
    file["recipe"] = RECIPE.to_dict()
    for rung in args.rungs.split(","):
        for seed in range(args.seeds):
            run = find(file["runs"], seed=seed)
            if run is None:
                run = {"seed": seed, "ladder": {}, "seconds": {}, "differences": []}
                run["machine"] = machine()
                file["runs"].append(run)
            if rung in run["ladder"]: continue
            one_rung(run, rung, seed, sizes)
            save(file, args.out)
            print(seed, rung, run["ladder"][rung], flush=True)
            if rung == "fine-tuned":
                print(*run["differences"], flush=True)


if __name__ == "__main__":
    main()
