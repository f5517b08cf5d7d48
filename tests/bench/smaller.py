"""Less to train and less to run, on film snippets: writes results/smaller.json.

python tests/bench/smaller.py [--grid-seeds 2] [--seeds 3] [--rows 1000] [--epochs 4] [--out FILE]

First a grid of learning rates for every method: 1,000 snippets, two epochs, accuracy on the valid
films. Then each method at its best rate, with the same rows, updates and seeds, on films that chose
nothing: accuracy, trained numbers, and processor seconds of training and of predicting in one run.
A grid that is stored is not made again, whichever file the runs go to.
"""
import tempfile
from pathlib import Path

import pandas as pd
from series import RESULTS, Spent, command_line, has, machine, save, stored

from sft_nb.commands.demo import demo_data
from sft_nb.methods.distillation import Distil, FewerLayers
from sft_nb.methods.lora import Lora
from sft_nb.methods.small_parts import BiasOnly, Ia3
from sft_nb.methods.static_vectors import static_checkpoint
from sft_nb.telling import quiet
from sft_nb.training.recipe import Recipe
from sft_nb.training.tuner import FineTuner
from sft_nb.training.watching import Listener

OUT = RESULTS / "smaller.json"
RECIPE = Recipe(epochs=2, batch_size=32, keep_best=False)
GRIDS = {
    "full": ((), (3e-5, 1e-4, 3e-4, 1e-3)),
    "LoRA": ((Lora(),), (3e-4, 1e-3, 3e-3, 1e-2)),
    "biases": ((BiasOnly(),), (1e-3, 3e-3, 1e-2)),
    "(IA)³": ((Ia3(),), (3e-3, 1e-2, 3e-2)),
    "static-256": ((), (3e-3, 1e-2, 3e-2)),
}


class Learning(Listener):
    "How many numbers learn."
    def start(self, run):
        self.numbers = sum(p.numel() for p in run.model.parameters() if p.requires_grad)


def trained(task, train, checkpoint="minilm", **changes):
    """A tuner, how many numbers it has trained, and processor seconds.

    A table gets five times the epochs: they cost next to nothing.
    """
    spent, counted = Spent(), Learning()
    if "static" in Path(checkpoint).name: changes |= {"epochs": 5 * changes.get("epochs", 2)}
    tuner = FineTuner(task, checkpoint, RECIPE.but(**changes), device="cpu")
    tuner.fit(train, listeners=[counted])
    return tuner, counted.numbers, spent.processor_seconds


def tried(name, rate, seed):
    "A cell of the grid."
    task, parts = demo_data(seed)
    methods, _ = GRIDS[name]
    checkpoint = name if name == "static-256" else "minilm"
    train = parts.train.sample(1000, random_state=seed)
    tuner, numbers, seconds = trained(
        task, train, checkpoint, methods=methods, learning_rate=rate, seed=seed
    )
    result = tuner.evaluate(parts.valid)
    return {
        "method": name, "learning_rate": rate, "seed": seed, "loss": result.loss,
        "accuracy": result.metrics["accuracy"], "trained_numbers": numbers,
        "processor_seconds": seconds, "machine": machine(),
    }


def best_rates(grid):
    "method -> the rate with the best mean accuracy on valid."
    mean = pd.DataFrame(grid).groupby(["method", "learning_rate"]).accuracy.mean()
    return {name: mean[name].idxmax() for name in GRIDS}


def arms(rates, teacher, poured):
    "name -> what is changed in the recipe, and the checkpoint."
    fewer = {"learning_rate": rates["full"]}
    top, bottom = FewerLayers(3), FewerLayers((3, 4, 5))
    plain = {
        name: {"methods": GRIDS[name][0], "learning_rate": rates[name]}
        for name in ("LoRA", "biases", "(IA)³")
    }
    return plain | {
        "3 layers, the lower": fewer | {"methods": (top,)},
        "3 layers, the upper": fewer | {"methods": (bottom,)},
        "3 layers with a teacher": fewer | {"methods": (top, Distil(teacher))},
        "static-256": {"checkpoint": "static-256", "learning_rate": rates["static-256"]},
        "static, poured": {"checkpoint": str(poured), "learning_rate": rates["static-256"]},
    }


def judged(name, seed, parts, tuner, numbers, seconds):
    "A finished run."
    asked = parts.certify.head(1000)
    spent = Spent()
    result = tuner.evaluate(asked)
    return {
        "method": name, "seed": seed, "learning_rate": tuner.plan.learning_rate,
        "epochs": tuner.plan.epochs, "n": {"train": len(tuner.run.train), "certify": len(asked)},
        "accuracy": result.metrics["accuracy"],
        "loss": result.loss, "trained_numbers": numbers,
        "numbers": sum(p.numel() for p in tuner.model.parameters()),
        "train_processor_seconds": seconds,
        "predict_processor_seconds": spent.processor_seconds, "machine": machine(),
    }


def one_seed(file, seed, args, rates):
    task, parts = demo_data(seed)
    train, same = parts.train.head(args.rows), {"seed": seed, "epochs": args.epochs}
    teacher, *told = trained(task, train, learning_rate=rates["full"], **same)
    add(file, args.out, judged("full", seed, parts, teacher, *told))
    with tempfile.TemporaryDirectory() as folder:
        texts = train.text.tolist()
        poured = static_checkpoint(teacher, Path(folder) / "static", texts=texts)
        for name, changes in arms(rates, teacher, poured).items():
            if has(file["runs"], method=name, seed=seed): continue
            tuner, *told = trained(task, train, **same, **changes)
            add(file, args.out, judged(name, seed, parts, tuner, *told))


def add(file, out, run, kind="runs"):
    "Keep a run, unless there is one of its name and seed."
    if kind == "runs" and has(file["runs"], method=run["method"], seed=run["seed"]): return
    file[kind].append(run)
    save(file, out)
    print(run["method"], run["seed"], run["learning_rate"], run["accuracy"], flush=True)


def main():
    parser = command_line(__doc__)
    parser.add_argument("--grid-seeds", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    quiet()
    file, grid = stored(args.out, {"grid": [], "runs": []}), stored(OUT, {"grid": []})["grid"]
    seeds = range(args.grid_seeds)
    for cell in [(n, r, s) for s in seeds for n, (_, rates) in GRIDS.items() for r in rates]:
        wanted = dict(zip(("method", "learning_rate", "seed"), cell, strict=True))
        if has(grid, **wanted) or has(file["grid"], **wanted): continue
        add(file, args.out, tried(*cell), "grid")
    rates = best_rates([c for c in grid + file["grid"] if c["seed"] in seeds])
    for seed in range(args.seeds):
        if sum(r["seed"] == seed for r in file["runs"]) < 9: one_seed(file, seed, args, rates)


if __name__ == "__main__":
    main()
