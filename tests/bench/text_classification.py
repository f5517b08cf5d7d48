"""The demo's ladder over five seeds: writes results/text_classification.json, a rung at a time.

python tests/bench/text_classification.py [--seeds 5]
    [--rungs majority,tfidf,frozen,fine-tuned,scratch]
python tests/bench/text_classification.py --choose [--seeds 3]

--choose: how the demo's recipe was chosen, on all valid rows; nothing else is opened. What is
already in the file is skipped, so that the series survives being cut off.
"""
import contextlib
import sys
import time

from series import RESULTS, Spent, command_line, find, has, machine, save, stored

from sft_nb.training.baselines import ladder
from sft_nb.commands.demo import DEMO, demo_data, demo_films
from sft_nb.methods.agreement import RDrop
from sft_nb.training.recipe import Recipe
from sft_nb.training.tuner import FineTuner

OUT = RESULTS / "text_classification.json"
FIRST = Recipe(epochs=2, learning_rate=1e-4, depth_decay=0.8)
CHOICE = {
    "2 epochs, rate 1e-4, depth decay 0.8": FIRST,
    "rate 1.5e-4": FIRST.but(learning_rate=1.5e-4),
    "3 epochs": FIRST.but(epochs=3),
    "3 epochs, rate 1.5e-4": FIRST.but(epochs=3, learning_rate=1.5e-4),
    "rate 1.5e-4, depth decay 0.9": FIRST.but(learning_rate=1.5e-4, depth_decay=0.9),
    "3 epochs, rate 1.5e-4, depth decay 0.9": FIRST.but(
        epochs=3, learning_rate=1.5e-4, depth_decay=0.9
    ),
    "3 epochs, R-Drop": FIRST.but(epochs=3, methods=(RDrop(4),)),
    "3 epochs, rate 1.5e-4, depth decay 0.9, R-Drop": FIRST.but(
        epochs=3, learning_rate=1.5e-4, depth_decay=0.9, methods=(RDrop(4),)
    ),
}


def choose(seeds):
    "A line per recipe and seed: accuracy and loss on the valid films after the last epoch."
    for seed in range(seeds):
        for name, recipe in CHOICE.items():
            file = stored(OUT, {"runs": []})
            lines = file.setdefault("choice", [])
            if has(lines, recipe=name, seed=seed): continue
            task, parts = demo_data(seed)
            valid = demo_films(task).valid
            tuner = FineTuner(task, "minilm", recipe.but(seed=seed, keep_best=False))
            start = time.process_time()
            with contextlib.redirect_stdout(sys.stderr):
                tuner.fit(parts.train)
            spent, result = time.process_time() - start, tuner.evaluate(valid)
            lines.append(
                {
                    "recipe": name, "seed": seed, "accuracy": result.metrics["accuracy"],
                    "loss": result.loss, "cpu_seconds": round(spent), "n": len(valid),
                    "machine": machine(),
                }
            )
            save(file, OUT)
            print(seed, name, round(lines[-1]["accuracy"], 4), flush=True)


def one_rung(run, rung, seed):
    spent = Spent()
    task, parts = demo_data(seed)
    roles, recipe = (parts.train, parts.valid, parts.certify), DEMO.but(seed=seed)
    climb = ladder(task, *roles, "minilm", recipe, (rung,))
    run.setdefault("made", {})[rung] = {"machine": machine(), "recipe": DEMO.to_dict()}
    run["n"] = {role: len(rows) for role, rows in parts.roles.items()}
    run["ladder"][rung], run["seconds"][rung] = climb.evaluations[rung], spent.seconds


def main():
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--rungs", default="majority,tfidf,frozen,fine-tuned,scratch")
    args = parser.parse_args()
    if args.choose: return choose(args.seeds or 3)
    file = stored(OUT, {"runs": []})
    for rung in args.rungs.split(","):
        for seed in range(args.seeds or 5):
            run = find(file["runs"], seed=seed)
            if run is None:
                run = {"seed": seed, "ladder": {}, "seconds": {}}
                file["runs"].append(run)
            if rung in run["ladder"]: continue
            one_rung(run, rung, seed)
            save(file, OUT)
            print(seed, rung, run["ladder"][rung], flush=True)


if __name__ == "__main__":
    main()
