"""Entities in tweets, the whole ladder over several seeds.

Writes results/sequence_labelling.json, one finished rung at a time.

python tests/bench/sequence_labelling.py [--seeds 5] [--pieces first,all,none]
    [--rungs majority,dictionary,features,frozen,fine-tuned,scratch]
    [--train N] [--valid N] [--certify N] [--epochs N] [--out FILE]

The certify tweets are the same for every seed; a seed draws its training and valid tweets from the
others, and its head, order and dropout. What is already in the file is skipped, so that the series
survives being cut off. Sizes and epochs below the defaults are for trying out: give another --out.
"""
from pathlib import Path

import pandas as pd
from series import RESULTS, Spent, command_line, find, listed, machine, save, stored

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


def climb_ladder(task, rows, rung, recipe):
    roles = (rows[role] for role in ("train", "valid", "certify"))
    return ladder(task, *roles, "minilm", recipe, (rung,))


def run_of(file, seed, rows):
    "The seed's entry in the file; a new one if there is none."
    if (run := find(file["runs"], seed=seed)) is None:
        run = {
            "seed": seed, "n": {k: len(v) for k, v in rows.items()}, "ladder": {},
            "per type": {}, "tags": {}, "seconds": {}, "machine": machine(),
        }
        file["runs"].append(run)
    return run


def one_rung(run, task, rows, targets, rung, recipe):
    "The figures of one rung, and its tags, so that any two rungs can be compared later."
    spent = Spent()
    climb = climb_ladder(task, rows, rung, recipe)
    run["ladder"][rung], run["seconds"][rung] = climb.evaluations[rung], spent.seconds
    answers = climb.answers[rung]
    run["tags"][rung] = [" ".join(a.value["tags"]) for a in answers]
    types = task.learn(rows["train"]).report_tables(answers, targets).get("per type")
    if types is not None:
        run["per type"][rung] = {k: round(f, 4) for k, f in types.f1.items()}


def difference(run, targets):
    "Fine-tuned minus features, in F1, on the same draws of tweets."
    ours, theirs = (
        [tags.split() for tags in run["tags"][rung]] for rung in ("fine-tuned", "features")
    )
    true = [t["tags"] for t in targets]
    gap = paired_bootstrap(entity_f1, ours, theirs, true, draws=1000, seed=run["seed"])
    return {
        "f1": round(gap.value, 4), "low": round(gap.low, 4), "high": round(gap.high, 4),
        "tweets": len(targets),
    }


def one_seed(file, seed, args, recipe):
    "Every rung that the seed lacks."
    task, rows = tweet_data(seed, args.train, args.valid, args.certify)
    learned = task.learn(rows["train"])
    targets = [learned.target(r) for r in rows["certify"].to_dict("records")]
    run = run_of(file, seed, rows)
    for rung in listed(args.rungs):
        if rung in run["ladder"]: continue
        one_rung(run, task, rows, targets, rung, recipe.but(seed=seed))
        save(file, args.out)
        print(seed, rung, run["ladder"][rung], run["seconds"][rung], flush=True)
    if {"fine-tuned", "features"} <= run["tags"].keys() and "difference" not in run:
        run["difference"] = difference(run, targets)
        save(file, args.out)
        print(seed, "fine-tuned minus features", run["difference"], flush=True)


def one_alignment(file, seed, way, args, recipe):
    """Fine-tuned with labels on the first piece of a word, or on all of them.

    The first is what the ladder has, if the seed has climbed it.
    """
    done = file["pieces"].setdefault(way, {})
    if str(seed) in done: return
    task, rows = tweet_data(seed, args.train, args.valid, args.certify)
    task.pieces = way
    climbed = find(file["runs"], seed=seed) or {"ladder": {}}
    found = climbed["ladder"].get("fine-tuned") if way == "first" else None
    if found is None:
        climb = climb_ladder(task, rows, "fine-tuned", recipe.but(seed=seed))
        found = climb.evaluations["fine-tuned"]
    done[str(seed)] = found
    save(file, args.out)
    print(seed, "pieces", way, found, flush=True)


def options():
    parser = command_line(__doc__)
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
    return parser.parse_args()


def main():
    args = options()
    recipe = RECIPE.but(epochs=args.epochs)
    file = stored(args.out, {"runs": [], "pieces": {}})
    file["recipe"] = recipe.to_dict()
    for seed in range(args.seeds):
        one_seed(file, seed, args, recipe)
    for seed in range(args.seeds):
        for way in listed(args.pieces):
            one_alignment(file, seed, way, args, recipe)
    reached = [{rung: v["f1"] for rung, v in r["ladder"].items()} for r in file["runs"]]
    print(pd.DataFrame(reached).agg(["mean", "std", "count"]).round(3))


if __name__ == "__main__":
    main()
