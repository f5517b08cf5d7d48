"""What a finder said, and what runs with fixed rates reached. Writes results/widgets/rates.json.

python tests/bench/widgets_rates.py

Nothing is trained: results/rate_finder.json and results/ensemble.json hold the finder's curves on
200 film reviews, and the accuracy of runs of 100 updates on the same rows, judged on 1,000 reviews
of other films.
"""
from statistics import mean

from series import RESULTS, command_line, machine, save, stored

OUT = RESULTS / "widgets" / "rates.json"


def finder():
    "Seed -> the finder's curve: the rate and the loss, plain and smoothed, of every update."
    table = stored(RESULTS / "rate_finder.json", {})["curves"][0]["table"]
    columns = (table[key] for key in ("seed", "rate", "loss", "smooth"))
    curves = {}
    for seed, rate, loss, smooth in zip(*columns, strict=True):
        curves.setdefault(str(seed), []).append([float(f"{rate:.4g}"), loss, smooth])
    return curves


def whole_runs():
    "Rate, seed and accuracy of each run."
    runs = stored(RESULTS / "rate_finder.json", {})["runs"]
    found = [[r["rate"], r["seed"], r["judged"]] for r in runs if r["draw"] == 0]
    for r in stored(RESULTS / "ensemble.json", {})["runs"]:  # a probability for each review
        pairs = zip(r["judged"], r["judged truth"], strict=True)
        right = [(p > .5) == (truth == "1") for p, truth in pairs]
        if r["draw"] == 0: found.append([1e-4, r["seed"], round(mean(right), 4)])
    return sorted(found)


def main():
    command_line(__doc__).parse_args()
    save({"finder": finder(), "whole": whole_runs(), "machine": machine()}, OUT)


if __name__ == "__main__":
    main()
