"""Twelve hundred answers of a fine-tuned model, for the screen of nbs/widgets/04_threshold.

Writes results/widgets/threshold.json, from results/certification_pool.json.

python tests/bench/widgets_threshold.py [--out FILE]

Six hundred fresh and six hundred rotten snippets of films that the model has not seen, in a drawn
order: the first k of one list and the first 600 - k of the other make rows with any share of fresh.
"""
import json
from pathlib import Path

import numpy as np
from series import RESULTS, command_line, save

from sft_nb.chance import rng_for

OUT = RESULTS / "widgets" / "threshold.json"
ROWS = 600  # of each class


def main():
    parser = command_line(__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    pool = json.loads((RESULTS / "certification_pool.json").read_text())
    name = "log odds of fresh, in thousandths"
    log_odds = np.array(pool[name]["tuned"]["pool"].split(), int)
    fresh = np.array(list(pool["pool"]["fresh"])) == "1"
    order = rng_for("widgets_threshold").permutation(len(fresh))
    kinds = {"fresh": order[fresh[order]], "rotten": order[~fresh[order]]}
    found = {kind: log_odds[at[:ROWS]].tolist() for kind, at in kinds.items()}
    args.out.parent.mkdir(exist_ok=True)
    save({name: found, "machine": pool["machine"]}, args.out)


if __name__ == "__main__":
    main()
