"""Ten seeds of the default recipe on 200 film reviews: writes results/ensemble.json.

python tests/bench/ensemble.py [--draws 1] [--seeds 10]

A run keeps its probability of "fresh" for each of the rows that it may be chosen by and each of
those that it is judged by, so that the lesson can put any members together afterwards.
"""
from few_reviews import few_reviews, fitted
from series import RESULTS, command_line, has, save, stored

from sft_nb.training.recipe import Recipe

OUT = RESULTS / "ensemble.json"


def probabilities(tuner, rows):
    return [round(p.probs["fresh"], 4) for p in tuner.predict(rows.text.tolist())]


def digits(rows):
    "A digit per row: is it fresh?"
    return "".join("01"[int(label == "fresh")] for label in rows.label)


def one(draw, seed):
    tuner, noted = fitted(draw, Recipe(seed=seed))
    _, valid, judged = few_reviews(draw)
    parts = {"valid": valid, "judged": judged}
    said = {role: probabilities(tuner, rows) for role, rows in parts.items()}
    truth = {f"{role} truth": digits(rows) for role, rows in parts.items()}
    return {"draw": draw, "seed": seed} | said | truth | noted


def main():
    parser = command_line(__doc__)
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    file = stored(OUT, {"runs": []})
    for draw in range(args.draws):
        for seed in range(args.seeds):
            if has(file["runs"], draw=draw, seed=seed): continue
            file["runs"].append(one(draw, seed))
            save(file, OUT)
            print(draw, seed, file["runs"][-1]["processor_seconds"], flush=True)


if __name__ == "__main__":
    main()
