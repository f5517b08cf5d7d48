"""Entities in tweets, the whole ladder over several seeds: writes results/sequence_labelling.json, one finished rung at a time.

python tests/bench/sequence_labelling.py [--seeds 5] [--rungs majority,dictionary,features,frozen,fine-tuned,scratch] [--pieces first,all,none] [--train N] [--valid N] [--certify N] [--epochs N] [--out FILE]

The certify tweets are the same for every seed; a seed draws its training and valid tweets from the others, and its head, order and dropout.
What is already in the file is skipped, so that the series survives being cut off. Sizes and epochs below the defaults are for trying out: give another --out.
"""
import argparse, time
from pathlib import Path

import pandas as pd
from series import RESULTS, machine, save, stored

from sft_nb.training.baselines import ladder
from sft_nb.data.splitting import split
from sft_nb.evaluation.difference import paired_bootstrap
from sft_nb.training.recipe import Recipe
from sft_nb.tasks.tagging.entity_figures import entity_f1
from sft_nb.tasks.tagging.sequence_labelling import SequenceLabelling
from sft_nb.tasks.tagging.baselines import tweets

RECIPE = Recipe(epochs=8, learning_rate=1e-3, depth_decay=0.7, batch_size=16)


def tweet_data(seed, train=None, valid=300, certify=480):
    "Task and rows by role. The certify tweets never change; the rest is drawn by the seed."
    task = SequenceLabelling()
    fixed = split(task.read(tweets()), valid_size=0, certify_size=480, seed=42)
    drawn = split(fixed.train, valid_size=valid, certify_size=0, seed=seed)
    return task, {
        "train": drawn.train[:train], "valid": drawn.valid, "certify": fixed.certify[:certify],
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rungs", default="majority,dictionary,features,frozen,fine-tuned,scratch")
    parser.add_argument(
        "--pieces", default="first,all,none", help="alignments to compare after the ladder"
    )
    parser.add_argument("--train", type=int, help="training tweets; all if not given")
    parser.add_argument("--valid", type=int, default=300)
    parser.add_argument("--certify", type=int, default=480)
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs)
    parser.add_argument("--out", type=Path, default=RESULTS / "sequence_labelling.json")
    args = parser.parse_args()
    recipe = RECIPE.but(epochs=args.epochs)
    file = stored(args.out, {"runs": [], "pieces": {}})
    file["recipe"] = recipe.to_dict()
    for seed in range(args.seeds):
        task, rows = tweet_data(seed, args.train, args.valid, args.certify)
        targets = [task.learn(rows["train"]).target(r) for r in rows["certify"].to_dict("records")]
        run = next((r for r in file["runs"] if r["seed"] == seed), None)
        if run is None:
            file["runs"].append(
                run := {
                    "seed": seed, "n": {k: len(v) for k, v in rows.items()}, "ladder": {},
                    "per type": {}, "tags": {}, "seconds": {}, "machine": machine(),
                }
            )
        for rung in filter(None, args.rungs.split(",")):
            if rung in run["ladder"]: continue
            start = time.perf_counter()
            climb = ladder(
                task, rows["train"], rows["valid"], rows["certify"], "minilm",
                recipe.but(seed=seed), (rung,),
            )
            learned = task.learn(rows["train"])
            run["ladder"][rung], run["seconds"][rung] = (
                climb.evaluations[rung],
                round(time.perf_counter() - start, 1),
            )
            run["tags"][rung] = [
                " ".join(a.value["tags"]) for a in climb.answers[rung]
            ]  # so that any two rungs can be compared later
            types = learned.tables(climb.answers[rung], targets).get("per type")
            if types is not None:
                run["per type"][rung] = {k: round(f, 4) for k, f in types.f1.items()}
            save(file, args.out)
            print(seed, rung, run["ladder"][rung], run["seconds"][rung], flush=True)
        if {"fine-tuned", "features"} <= run["tags"].keys() and "difference" not in run:
            ours, theirs = (
                [t.split() for t in run["tags"][rung]] for rung in ("fine-tuned", "features")
            )
            gap = paired_bootstrap(
                entity_f1, ours, theirs, [t["tags"] for t in targets], draws=1000, seed=seed
            )
            run["difference"] = {
                "f1": round(gap.value, 4), "low": round(gap.low, 4),
                "high": round(gap.high, 4), "tweets": len(targets),
            }
            save(file, args.out)
            print(seed, "fine-tuned minus features", run["difference"], flush=True)
    for seed in range(args.seeds):
        for way in filter(None, args.pieces.split(",")):
            done = file["pieces"].setdefault(way, {})
            if str(seed) in done: continue
            task, rows = tweet_data(seed, args.train, args.valid, args.certify)
            task.pieces = way
            same = way == "first" and next(
                (r["ladder"].get("fine-tuned") for r in file["runs"] if r["seed"] == seed), None
            )
            done[str(seed)] = (
                same
                or ladder(
                    task, rows["train"], rows["valid"], rows["certify"], "minilm",
                    recipe.but(seed=seed), ("fine-tuned",),
                ).evaluations["fine-tuned"]
            )
            save(file, args.out)
            print(seed, "pieces", way, done[str(seed)], flush=True)
    print(
        pd.DataFrame([{k: v["f1"] for k, v in r["ladder"].items()} for r in file["runs"]])
        .agg(["mean", "std", "count"])
        .round(3)
    )


if __name__ == "__main__":
    main()
