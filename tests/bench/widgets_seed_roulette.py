"""Ten runs each of eight recipes, for the screen of nbs/widgets/05_seed_roulette.

Writes results/widgets/seed_roulette.json, from results/labs/few_labels.jsonl.

python tests/bench/widgets_seed_roulette.py [--out FILE]

The runs are those of the second lab with 16 labels of each class: every recipe learns from the same
ten draws of labels, and is judged on the same rows. Accuracies are stored in thousandths, which is
exact.
"""
import json
from pathlib import Path

from scipy import stats
from series import RESULTS, command_line, save

from sft_nb.chance import rng_for

OUT = RESULTS / "widgets" / "seed_roulette.json"
BUDGET, SPINS = 16, 20
WAYS = {  # as the lab calls them, and as a reader does
    "full": "all weights", "lora": "LoRA", "probe": "frozen features", "probe first": "head first",
    "contrastive": "contrastive", "words": "bag of words", "static": "static vectors",
    "scratch": "from scratch",
}


def accuracies():
    "Recipe -> thousandths, a number per draw."
    lines = (RESULTS / "labs" / "few_labels.jsonl").read_text().splitlines()
    runs = [json.loads(line) for line in lines]
    found = {}
    for way, name in WAYS.items():
        wanted = {"way": way, "budget": BUDGET, "part": "judged", "rate": None}
        ours = [run for run in runs if wanted.items() <= run["settings"].items()]
        ours.sort(key=lambda run: run["settings"]["draw"])
        found[name] = [round(1000 * run["found"]["accuracy"]) for run in ours]
    return found


def main():
    parser = command_line(__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    found = accuracies()
    draws = min(map(len, found.values()))
    spins = [rng_for("spin", k).permutation(draws).tolist() for k in range(SPINS)]
    wide = {n: float(stats.t.ppf(.975, n - 1)) for n in range(2, draws + 1)}
    found = {"thousandths right": found, "labels of each class": BUDGET,
             "orders": spins, "t": wide}
    args.out.parent.mkdir(exist_ok=True)
    save(found, args.out)


if __name__ == "__main__":
    main()
