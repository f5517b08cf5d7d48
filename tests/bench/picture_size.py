"""At which size should a network see small pictures? Digits of 28 pixels.

Writes results/picture_size.jsonl, a line per finished run.

python tests/bench/picture_size.py [--sizes 32,64,96] [--seeds 3] [--train 1000] [--out FILE]

What is already in the file is skipped, so that the series survives being cut off. The 1,000 digits
that are judged are the same for every seed; each seed draws its own training and validation digits
from the other 4,000, its own head and its own order.
"""
import json
from pathlib import Path

from series import RESULTS, Spent, command_line, machine

from sft_nb.all import FineTuner, ImageClassification, Recipe, split
from sft_nb.data.asset_tables import load_data

RECIPE = Recipe(epochs=3, learning_rate=5e-4, batch_size=16, precision="fp32")


def rows(seed, train):
    "Train and valid drawn by the seed; what is judged is always the same."
    fixed = split(load_data("mnist-5k"), valid_size=0, certify_size=1000, seed=42)
    drawn = split(fixed.train, valid_size=500, certify_size=0, seed=seed)
    return drawn.train.head(train), drawn.valid, fixed.certify


def one(size, seed, train):
    "Train once, and judge: a line of results."
    learn, valid, judged = rows(seed, train)
    spent, task = Spent(), ImageClassification(size=size)
    tuner = FineTuner(task, "efficientnet-lite0", RECIPE.but(seed=seed)).fit(learn, valid)
    seconds = spent.processor_seconds
    accuracy = tuner.evaluate(judged).metrics["accuracy"]
    return {
        "size": size, "seed": seed, "train": len(learn), "valid": len(valid),
        "judged": len(judged), "accuracy": accuracy, "processor_seconds": seconds,
        "recipe": {
            "epochs": RECIPE.epochs, "learning_rate": RECIPE.learning_rate,
            "batch_size": RECIPE.batch_size, "precision": RECIPE.precision,
        },
        "machine": machine(),
    }


def main():
    parser = command_line(__doc__)
    parser.add_argument("--sizes", default="32,64,96")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULTS / "picture_size.jsonl")
    args = parser.parse_args()
    lines = args.out.read_text().splitlines() if args.out.exists() else []
    done = {(r["size"], r["seed"], r["train"]) for r in map(json.loads, lines)}
    for seed in range(args.seeds):
        for size in map(int, args.sizes.split(",")):
            if (size, seed, args.train) in done: continue
            run = one(size, seed, args.train)
            with args.out.open("a") as file:
                file.write(json.dumps(run) + "\n")
            print(run["size"], run["seed"], run["accuracy"], run["processor_seconds"], flush=True)


if __name__ == "__main__":
    main()
