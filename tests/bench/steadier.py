"""What averaging, smoothing and SAM change with few rows: writes results/steadier.json.

python tests/bench/steadier.py [--seeds 8] [--most 3]

The demo's films: 200 training snippets, drawn by the seed; the default recipe, whose last weights
are kept, so that no row chooses an epoch; judged on 500 snippets of the *valid* films, the same for
every run. A mean of weights does not change the run that it is taken from: so `plain` is trained
once, and its last weights, their moving average and their plain mean are judged one after the
other. What is already in the file is skipped, so that the series survives being cut off.
"""
from dataclasses import dataclass
from itertools import product

import numpy as np
from series import RESULTS, Spent, command_line, has, machine, save, stored

from sft_nb.certification.calibration import calibration_error
from sft_nb.commands.demo import demo_data, demo_films
from sft_nb.methods.averaging import Ema, Swa
from sft_nb.methods.sharpness import Sam
from sft_nb.methods.smoothing import LabelSmoothing
from sft_nb.training.recipe import Method, Recipe
from sft_nb.training.tuner import FineTuner

OUT, JUDGED = RESULTS / "steadier.json", 500
MEANS = {"ema": Ema(decay=0.95), "swa": Swa(start=0.5)}


@dataclass
class Beside(Method):
    "Several means of one run, none of which is used in it."
    def prepare(self, model):
        for mean in MEANS.values():
            mean.prepare(model)
        return model

    def planned(self, updates, epochs, examples):
        for mean in MEANS.values():
            mean.planned(updates, epochs, examples)

    def after(self, model):
        for mean in MEANS.values():
            mean.after(model)


RUNS = {
    "plain": {"methods": (Beside(),)}, "smoothing": {"methods": (LabelSmoothing(share=0.1),)},
    "sam": {"methods": (Sam(radius=0.05),)},
}


def judged(tuner, rows):
    result = tuner.evaluate(rows)
    right = [p.value == t for p, t in zip(result.predictions, result.targets, strict=True)]
    sure = [p.score for p in result.predictions]
    return {
        "accuracy": result.metrics["accuracy"], "loss": round(result.loss, 5),
        "ece": round(calibration_error(np.array(sure), np.array(right, float)), 5),
        "confidence": round(float(np.mean(sure)), 5),
    }


def one_run(name, seed):
    "The figures of a run, and of the means beside it, by arm."
    task, parts = demo_data(seed, quick=True)
    rows = demo_films(task).valid.sample(JUDGED, random_state=0).reset_index(drop=True)
    spent, recipe = Spent(), Recipe(seed=seed).but(**RUNS[name])
    tuner = FineTuner(task, recipe=recipe, device="cpu").fit(parts.train)
    told = spent.to_dict() | {
        "updates": tuner.run.updates, "train_loss": tuner.history.epochs[-1]["train_loss"],
        "n": {"train": len(parts.train), "judged": len(rows)}, "machine": machine(),
    }
    found = {name: judged(tuner, rows) | told}
    for kind, mean in MEANS.items() if name == "plain" else ():
        tuner.model.load_state_dict(mean.averaged(tuner.model))
        found[kind] = judged(tuner, rows)
    return [{"arm": arm, "run": name, "seed": seed} | figures for arm, figures in found.items()]


def main():
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--most", type=int, default=10**6, help="runs that are made now")
    args, made = parser.parse_args(), 0
    for seed, name in product(range(args.seeds), RUNS):
        if has(stored(OUT, {"runs": []})["runs"], run=name, seed=seed): continue
        if (made := made + 1) > args.most: break
        found = one_run(name, seed)
        file = stored(OUT, {"runs": []})
        file["runs"] += found
        save(file, OUT)
        for run in found:
            print(run["arm"], seed, run["accuracy"], run["loss"], run["ece"],
                  run.get("processor_seconds", ""), flush=True)


if __name__ == "__main__":
    main()
