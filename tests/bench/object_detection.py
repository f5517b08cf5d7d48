"""Scenes of digits over several seeds: writes results/object_detection.json, one finished run at a time.

python tests/bench/object_detection.py [--seeds 3] [--ways fine-tuned/frozen/…] [--train 2000] [--valid 200] [--judged 500] [--out FILE]

What is already in the file is skipped, so that the series survives being cut off. The scenes that are judged are the same for every seed, and made of
digits that stand in no other scene; each seed draws its own training scenes, its own head and its own order.
"""
import argparse
import time
from pathlib import Path

from series import RESULTS, machine, save, stored

from sft_nb.training.baselines import ladder
from sft_nb.training.recipe import Recipe
from sft_nb.tasks.detection.object_detection import ObjectDetection
from sft_nb.tasks.detection.scenes import digit_scenes

RECIPE = Recipe(
    epochs=10, learning_rate=3e-3, batch_size=16, unfreeze_last=8, precision="fp32"
)  # chosen on valid
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


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ways", default="/".join(WAYS), help="with / between them")
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--valid", type=int, default=200)
    parser.add_argument("--judged", type=int, default=500)
    parser.add_argument("--out", type=Path, default=RESULTS / "object_detection.json")
    args = parser.parse_args()
    sizes = {"train": args.train, "valid": args.valid, "judged": args.judged}
    file = stored(args.out, {"sizes": sizes, "runs": []})
    if file["sizes"] != sizes:
        raise SystemExit(
            f"{args.out} holds a series of other sizes, {file['sizes']}: give another --out, or "
            "the same sizes."
        )
    file["recipe"] = RECIPE.to_dict()
    for way in args.ways.split("/"):
        for seed in range(args.seeds):
            if any((r["way"], r["seed"]) == (way, seed) for r in file["runs"]): continue
            rung, task, changes = WAYS[way]
            train = digit_scenes(args.train, "train", seed)
            valid = digit_scenes(args.valid, "valid")
            judged = digit_scenes(args.judged, "certify")
            start, clock = time.process_time(), time.perf_counter()
            climb = ladder(
                task, train, valid, judged, "efficientnet-lite0",
                RECIPE.but(seed=seed, **changes), (rung,),
            )
            spent = {
                "processor_seconds": round(time.process_time() - start, 1),
                "seconds": round(time.perf_counter() - clock, 1),
            }
            epochs = climb.tuner.history.epochs if climb.tuner else []
            file["runs"].append(
                {
                    "way": way,
                    "seed": seed,
                    "metrics": {
                        k: v if v == v else None for k, v in climb.evaluations[rung].items()
                    },
                    **spent,
                    "epochs": [
                        {k: e[k] for k in ("train_loss", "valid_loss", "ap", "ap50")}
                        for e in epochs
                    ],
                    "machine": machine(),
                }
            )
            save(file, args.out)
            print(way, seed, climb.evaluations[rung], spent, flush=True)


if __name__ == "__main__":
    main()
