"""The demo's ladder over five seeds: writes results/text_classification.json, one finished rung at a time.

python tests/bench/text_classification.py [--seeds 5] [--rungs majority,tfidf,frozen,fine-tuned,scratch]

What is already in the file is skipped, so that the series survives being cut off.
"""
import argparse, datetime, json, os, platform, subprocess, time
from pathlib import Path

import torch
import transformers

from sft_nb.baselines import ladder
from sft_nb.cli import DEMO, demo_data

RESULTS = Path(__file__).parents[2] / "results" / "text_classification.json"


def machine():
    "What the numbers hang on; no names of hosts or folders."
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=RESULTS.parent).stdout.strip()
    return {"cpu": platform.processor() or platform.machine(), "threads": torch.get_num_threads(), "capability": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__, "transformers": transformers.__version__, "date": datetime.date.today().isoformat(), "commit": commit}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rungs", default="majority,tfidf,frozen,fine-tuned,scratch")
    args = parser.parse_args()
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"runs": []}
    stored["recipe"] = DEMO.to_dict()
    for rung in args.rungs.split(","):
        for seed in range(args.seeds):
            run = next((r for r in stored["runs"] if r["seed"] == seed), None)
            if run and rung in run["ladder"]:
                continue
            if run is None:
                stored["runs"].append(run := {"seed": seed, "ladder": {}, "seconds": {}})
            start = time.perf_counter()
            task, parts = demo_data(seed)
            climb = ladder(task, parts.train, parts.valid, parts.certify, "minilm", DEMO.but(seed=seed), (rung,))
            run["machine"] = machine()
            run["n"] = {role: len(rows) for role, rows in parts.roles.items()}
            run["ladder"][rung], run["seconds"][rung] = climb.evaluations[rung], round(time.perf_counter() - start, 1)
            temporary = RESULTS.with_suffix(".tmp")
            temporary.write_text(json.dumps(stored, indent=1))
            os.replace(temporary, RESULTS)
            print(seed, rung, run["ladder"][rung], flush=True)


if __name__ == "__main__":
    main()
