"""Digits from mnist-5k over several seeds.

Writes results/image_classification.json, one finished run at a time.

python tests/bench/image_classification.py [--seeds 3] [--ways majority/pixels/…]
    [--train 1000] [--valid 1000] [--out FILE]

What is already in the file is skipped, so that the series survives being cut off. The 3,000 digits
that are judged are the same for every seed; each seed draws its own training and validation digits
from the other 2,000, its own head and its own order.
"""
from pathlib import Path

from series import RESULTS, Spent, command_line, has, machine, save, stored_of_sizes

from sft_nb.data.asset_tables import load_data
from sft_nb.training.baselines import ladder
from sft_nb.data.splitting import split
from sft_nb.training.recipe import Recipe
from sft_nb.tasks.images.classification import ImageClassification

RECIPE = Recipe(epochs=5, learning_rate=5e-4, batch_size=16, precision="fp32")  # chosen on valid
TASK = ImageClassification(size=56)
WAYS = {  # name -> the ladder's rung, the task, changes of the recipe
    "majority": ("majority", TASK, {}),
    "pixels": ("pixels", TASK, {}),
    "frozen": ("frozen", TASK, {}),
    "frozen, 112 pixels": ("frozen", ImageClassification(size=112), {}),
    "last block": ("fine-tuned", TASK, {"unfreeze_last": 2}),
    "full": ("fine-tuned", TASK, {}),
    "full, augmented": ("fine-tuned", ImageClassification(size=56, augment="crop, colour"), {}),
    "scratch": ("scratch", TASK, {}),
}


def rows(seed, train, valid):
    "Train and valid drawn by the seed; what is judged is always the same."
    fixed = split(load_data("mnist-5k"), valid_size=0, certify_size=3000, seed=42)
    drawn = split(fixed.train, valid_size=valid, certify_size=0, seed=seed)
    return drawn.train.head(train), drawn.valid, fixed.certify


def one(way, seed, args):
    "Train and judge one way."
    rung, task, changes = WAYS[way]
    train, valid, judged = rows(seed, args.train, args.valid)
    spent, recipe = Spent(), RECIPE.but(seed=seed, **changes)
    climb = ladder(task, train, valid, judged, "efficientnet-lite0", recipe, (rung,))
    return {
        "way": way, "seed": seed, "metrics": climb.evaluations[rung],
        "processor_seconds": spent.processor_seconds,
        "n": {"train": len(train), "valid": len(valid), "judged": len(judged)},
        "machine": machine(),
    }


def main():
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ways", default="/".join(WAYS), help="with / between them")
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--valid", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULTS / "image_classification.json")
    args = parser.parse_args()
    file = stored_of_sizes(args.out, {"train": args.train, "valid": args.valid})
    file["recipe"] = RECIPE.to_dict()
    for seed in range(args.seeds):
        for way in args.ways.split("/"):
            if has(file["runs"], way=way, seed=seed): continue
            run = one(way, seed, args)
            file["runs"].append(run)
            save(file, args.out)
            print(way, seed, run["metrics"], flush=True)


if __name__ == "__main__":
    main()
