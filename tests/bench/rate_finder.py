"""Does the rate finder agree with a grid, and with itself? Writes results/rate_finder.json.

python tests/bench/rate_finder.py [--draws 1] [--seeds 3]

On 200 film reviews: the curve of the finder for five seeds, and the default recipe with other
rates, judged on the rows that a rate would be chosen by (100) and on 1,000 others. The default's
own rate, 1e-4, is in results/ensemble.json, with the same rows and seeds.
"""
from itertools import product

from few_reviews import accuracy, few_reviews, fitted, right
from series import RESULTS, Spent, command_line, has, machine, save, stored

from sft_nb.methods.rate_finder import find_rate
from sft_nb.tasks.text.classification import TextClassification
from sft_nb.training.recipe import Recipe

OUT = RESULTS / "rate_finder.json"
RATES = (3e-4, 3e-5, 1e-5, 1e-3, 3e-3)  # the likely ones first


def curves(draw):
    "What the finder saw: a record per update."
    spent = Spent()
    found = find_rate(TextClassification(), "minilm", few_reviews(draw)[0], Recipe(seed=0))
    rounded = found.table.round({"loss": 4, "smooth": 4})
    told = {"draw": draw, "table": rounded.to_dict("list")}
    return told | spent.to_dict() | {"machine": machine()}


def one(draw, rate, seed):
    tuner, noted = fitted(draw, Recipe(seed=seed, learning_rate=rate))
    _, valid, judged = few_reviews(draw)
    said = {role: accuracy(right(tuner, rows))
            for role, rows in {"valid": valid, "judged": judged}.items()}
    said |= {"valid_loss": round(tuner.evaluate(valid).loss, 4)}
    return {"draw": draw, "rate": rate, "seed": seed} | said | noted


def main():
    parser = command_line(__doc__)
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    file = stored(OUT, {"curves": [], "runs": []})
    for draw in range(args.draws):
        if not has(file["curves"], draw=draw): file["curves"].append(curves(draw))
        save(file, OUT)
        seeds = range(args.seeds)
        for rate, seed in product(RATES, seeds):
            if has(file["runs"], draw=draw, rate=rate, seed=seed): continue
            file["runs"].append(one(draw, rate, seed))
            save(file, OUT)
            print(draw, seed, rate, file["runs"][-1]["judged"], flush=True)


if __name__ == "__main__":
    main()
