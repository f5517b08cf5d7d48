"""The demo's ladder over five seeds: writes results/text_classification.json, one finished rung at a time.

python tests/bench/text_classification.py [--seeds 5] [--rungs majority,tfidf,frozen,fine-tuned,scratch]

What is already in the file is skipped, so that the series survives being cut off.
"""
import argparse, time

from series import RESULTS, machine, save, stored

from sft_nb.baselines import ladder
from sft_nb.cli import DEMO, demo_data

OUT = RESULTS / "text_classification.json"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rungs", default="majority,tfidf,frozen,fine-tuned,scratch")
    args = parser.parse_args()
    file = stored(OUT, {"runs": []})
    file["recipe"] = DEMO.to_dict()
    for rung in args.rungs.split(","):
        for seed in range(args.seeds):
            run = next((r for r in file["runs"] if r["seed"] == seed), None)
            if run and rung in run["ladder"]:
                continue
            if run is None:
                file["runs"].append(run := {"seed": seed, "ladder": {}, "seconds": {}})
            start = time.perf_counter()
            task, parts = demo_data(seed)
            climb = ladder(task, parts.train, parts.valid, parts.certify, "minilm", DEMO.but(seed=seed), (rung,))
            run["machine"] = machine()
            run["n"] = {role: len(rows) for role, rows in parts.roles.items()}
            run["ladder"][rung], run["seconds"][rung] = climb.evaluations[rung], round(time.perf_counter() - start, 1)
            save(file, OUT)
            print(seed, rung, run["ladder"][rung], flush=True)


if __name__ == "__main__":
    main()
