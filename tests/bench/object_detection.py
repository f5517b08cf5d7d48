"""Scenes of digits over several seeds.

Writes results/object_detection.json, one finished run at a time.

python tests/bench/object_detection.py [--seeds 3] [--ways fine-tuned/frozen/…]
    [--train 2000] [--valid 200] [--judged 500] [--out FILE]

What is already in the file is skipped, so that the series survives being cut off. The scenes that
are judged are the same for every seed, and made of digits that stand in no other scene; each seed
draws its own training scenes, its own head and its own order.
"""
from pathlib import Path

from series import (
    RESULTS, Spent, command_line, has, machine, save, stored_of_sizes, without_nan,
)

from sft_nb.training.baselines import ladder
from sft_nb.training.recipe import Recipe
from sft_nb.tasks.detection.object_detection import ObjectDetection
from sft_nb.tasks.detection.scenes import digit_scenes

RECIPE = Recipe(  # chosen on valid
    epochs=10, learning_rate=3e-3, batch_size=16, unfreeze_last=8, precision="fp32"
)
TASK = ObjectDetection(size=128)
WAYS = {  # name -> the ladder's rung, the task, changes of the recipe
    "fine-tuned": ("fine-tuned", TASK, {}),
    "blobs": ("blobs", TASK, {}),
    "frozen, linear": ("frozen", TASK, {}),
    "frozen body": ("fine-tuned", TASK, {"unfreeze_last": 0}),
    "scratch": ("scratch", TASK, {"unfreeze_last": None}),
    "fine-tuned, augmented": ("fine-tuned", ObjectDetection(size=128, augment="crop, colour"), {}),
    "all blocks": ("fine-tuned", TASK, {"unfreeze_last": None}),
}


def one(way, seed, sizes):
    "Train and judge one way."
    rung, task, changes = WAYS[way]
    train = digit_scenes(sizes["train"], "train", seed)
    valid = digit_scenes(sizes["valid"], "valid")
    judged = digit_scenes(sizes["judged"], "certify")
    spent, recipe = Spent(), RECIPE.but(seed=seed, **changes)
    climb = ladder(task, train, valid, judged, "efficientnet-lite0", recipe, (rung,))
    spent = spent.to_dict()
    epochs = climb.tuner.history.epochs if climb.tuner else []
    kept = ("train_loss", "valid_loss", "ap", "ap50")
    return {
        "way": way,
        "seed": seed,
        "metrics": without_nan(climb.evaluations[rung]),
        **spent,
        "epochs": [{k: e[k] for k in kept} for e in epochs],
        "machine": machine(),
    }


def main():
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ways", default="/".join(WAYS), help="with / between them")
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--valid", type=int, default=200)
    parser.add_argument("--judged", type=int, default=500)
    parser.add_argument("--out", type=Path, default=RESULTS / "object_detection.json")
    args = parser.parse_args()
    sizes = {"train": args.train, "valid": args.valid, "judged": args.judged}
    file = stored_of_sizes(args.out, sizes)
    file["recipe"] = RECIPE.to_dict()
    for way in args.ways.split("/"):
        for seed in range(args.seeds):
            if has(file["runs"], way=way, seed=seed): continue
            run = one(way, seed, sizes)
            file["runs"].append(run)
            save(file, args.out)
            print(way, seed, run["metrics"], run["seconds"], flush=True)


if __name__ == "__main__":
    main()
