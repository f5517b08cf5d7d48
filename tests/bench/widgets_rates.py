"""Training losses at seven learning rates. Writes results/widgets/rates.json.

python tests/bench/widgets_rates.py [--seeds 2]

MiniLM on 200 film reviews, 30 updates of 8 rows each, with the default schedule: the training loss
of every update. Beside them stand what results/rate_finder.json and results/ensemble.json have on
the same rows: the finder's curves, and the accuracy on 1,000 reviews of other films after a whole
run. What is already in the file is skipped.
"""
from itertools import product
from statistics import mean

from few_reviews import few_reviews
from series import RESULTS, command_line, has, machine, save, stored

from sft_nb.tasks.text.classification import TextClassification
from sft_nb.training.recipe import Recipe
from sft_nb.training.tuner import FineTuner

OUT = RESULTS / "widgets" / "rates.json"
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)


def finder():
    "The finder's curves: a rate and a smoothed loss per update and seed."
    table = stored(RESULTS / "rate_finder.json", {})["curves"][0]["table"]
    keep = zip(table["seed"], table["rate"], table["smooth"], strict=True)
    curves = {}
    for seed, rate, loss in keep:
        curves.setdefault(str(seed), []).append([float(f"{rate:.4g}"), loss])
    return curves


def whole_runs():
    "Rate, seed and accuracy of runs of 100 updates on the same rows."
    runs = stored(RESULTS / "rate_finder.json", {})["runs"]
    found = [[r["rate"], r["seed"], r["judged"]] for r in runs if r["draw"] == 0]
    for r in stored(RESULTS / "ensemble.json", {})["runs"]:  # a probability for each review
        pairs = zip(r["judged"], r["judged truth"], strict=True)
        right = [(p > .5) == (truth == "1") for p, truth in pairs]
        if r["draw"] == 0: found.append([1e-4, r["seed"], mean(right)])
    return found


def losses(rate, seed):
    train = few_reviews(0)[0].head(120)
    recipe = Recipe(seed=seed, learning_rate=rate, batch_size=8, epochs=2)
    steps = FineTuner(TextClassification(), "minilm", recipe).fit(train).history.steps
    return [round(step["loss"], 4) for step in steps]


def main():
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    start = {"finder": finder(), "whole": whole_runs(), "machine": machine(), "runs": []}
    for seed, rate in product(range(args.seeds), RATES):
        file = stored(OUT, start)
        if has(file["runs"], seed=seed, rate=rate): continue
        file["runs"].append({"seed": seed, "rate": rate, "losses": losses(rate, seed)})
        save(file, OUT)
        print(seed, rate, file["runs"][-1]["losses"][-1], flush=True)


if __name__ == "__main__":
    main()
