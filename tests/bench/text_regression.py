"""Text regression on rated sentences over several seeds: writes results/text_regression.json, one finished rung at a time.

python tests/bench/text_regression.py [--seeds 3] [--rungs mean,tfidf,frozen,fine-tuned] [--train 4000] [--valid 1000] [--certify 0] [--out FILE]

What is already in the file is skipped, so that the series survives being cut off. After the rung "fine-tuned" of a seed, its differences to
"mean" and "tfidf" on the same sentences are written too: paired bootstrap over documents, in R² and in RMSE.
"""
import argparse, time
from dataclasses import replace
from pathlib import Path

import numpy as np
from series import RESULTS, machine, save, stored
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
    draw = lambda rows, n, s: rows.sample(
        min(n or len(rows), len(rows)), random_state=s
    ).reset_index(drop=True)
    return task, replace(
        parts,
        train=draw(parts.train, sizes["train"], seed),
        valid=draw(parts.valid, sizes["valid"], 0),
        certify=draw(parts.certify, sizes["certify"], 0),
    )


def differences(task, parts, answers):
    "Fine-tuned against the rungs without a network, on the same draws of documents."
    learned = task.learn(parts.train)
    numbers = lambda answers: np.array([a.value for a in answers])
    true = learned.numbers(parts.certify)[:, 0]
    for rival, f in learned.baselines().items():
        theirs = numbers(f(parts.train, parts.valid, parts.certify))
        for name, metric in METRICS.items():
            d = paired_bootstrap(
                metric, numbers(answers), theirs, true, groups=parts.certify["document"]
            )
            yield (
                rival,
                {
                    "metric": name, "value": d.value, "low": d.low, "high": d.high,
                    "confidence": d.confidence, "draws": len(d.draws), "groups": d.units,
                    "rows": d.rows,
                },
            )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rungs", default="mean,tfidf,frozen,fine-tuned")
    for role, n in (("train", 4000), ("valid", 1000), ("certify", 0)):
        parser.add_argument(f"--{role}", type=int, default=n)
    parser.add_argument("--out", type=Path, default=RESULTS / "text_regression.json")
    args = parser.parse_args()
    sizes = {role: getattr(args, role) for role in ("train", "valid", "certify")}
    file = stored(args.out, {"sizes": sizes, "runs": []})
    if file["sizes"] != sizes:
        raise SystemExit(
            f"{args.out} holds a series of other sizes, {stored['sizes']}: give another --out, or "
            "the same sizes."
        )
    file["recipe"] = RECIPE.to_dict()
    for rung in args.rungs.split(","):
        for seed in range(args.seeds):
            run = next((r for r in file["runs"] if r["seed"] == seed), None)
            if run and rung in run["ladder"]: continue
            if run is None:
                file["runs"].append(
                    run := {
                        "seed": seed, "ladder": {}, "seconds": {}, "differences": [],
                        "machine": machine(),
                    }
                )
            start = time.perf_counter()
            task, parts = rows(seed, sizes)
            climb = ladder(
                task, parts.train, parts.valid, parts.certify, "minilm", RECIPE.but(seed=seed),
                (rung,),
            )
            run["n"] = {role: len(r) for role, r in parts.roles.items()}
            run["ladder"][rung] = {
                k: None if np.isnan(v) else v for k, v in climb.evaluations[rung].items()
            }  # JSON has no NaN
            if rung == "fine-tuned":
                run["differences"] = [
                    {"against": rival} | d
                    for rival, d in differences(task, parts, climb.answers[rung])
                ]
            run["seconds"][rung] = round(time.perf_counter() - start, 1)
            save(file, args.out)
            print(
                seed, rung, run["ladder"][rung],
                *run["differences"] if rung == "fine-tuned" else (),
                flush=True,
            )


if __name__ == "__main__":
    main()
