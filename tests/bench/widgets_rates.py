"""Curves of seven learning rates and three seeds. Writes results/widgets/rates.json.

python tests/bench/widgets_rates.py [--seeds 3]

MiniLM on 200 film reviews, 50 updates of 8 rows each, with the default schedule: the training loss
of every update, and the accuracy on 200 reviews of other films. Beside them stand the curves of the
finder from results/rate_finder.json, which were made on the same rows. What is already in the file
is skipped.
"""
from itertools import product

from few_reviews import accuracy, few_reviews, right
from series import RESULTS, command_line, has, machine, save, stored

from sft_nb.tasks.text.classification import TextClassification
from sft_nb.training.recipe import Recipe
from sft_nb.training.tuner import FineTuner

OUT = RESULTS / "widgets" / "rates.json"
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
JUDGED = 200


def finder():
    "The finder's curves: a rate and a smoothed loss per update and seed."
    table = stored(RESULTS / "rate_finder.json", {})["curves"][0]["table"]
    keep = zip(table["seed"], table["rate"], table["smooth"], strict=True)
    curves = {}
    for seed, rate, loss in keep:
        curves.setdefault(str(seed), []).append([float(f"{rate:.4g}"), loss])
    return curves


def one(rate, seed):
    train, _, judged = few_reviews(0)
    recipe = Recipe(seed=seed, learning_rate=rate, batch_size=8, epochs=2)
    tuner = FineTuner(TextClassification(), "minilm", recipe)
    tuner.fit(train)
    losses = [round(step["loss"], 4) for step in tuner.history.steps]
    return {"losses": losses, "accuracy": accuracy(right(tuner, judged[:JUDGED]))}


def main():
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    for seed, rate in product(range(args.seeds), RATES):
        file = stored(OUT, {"finder": finder(), "judged": JUDGED, "machine": machine(), "runs": []})
        if has(file["runs"], seed=seed, rate=rate): continue
        file["runs"].append({"seed": seed, "rate": rate} | one(rate, seed))
        save(file, OUT)
        print(seed, rate, file["runs"][-1]["accuracy"], flush=True)


if __name__ == "__main__":
    main()
