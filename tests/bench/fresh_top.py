"""A random top, and rates that fall with depth, on 200 film reviews: writes results/fresh_top.json.

python tests/bench/fresh_top.py [--draws 1] [--seeds 3]

Every arm is the default recipe with one change. Its runs are judged on the same 1,000 reviews. The
default recipe itself is in results/ensemble.json, with the same rows and seeds.
"""
from few_reviews import accuracy, few_reviews, fitted, right
from series import RESULTS, command_line, has, save, stored

from sft_nb.methods.fresh_top import FreshTop
from sft_nb.training.recipe import Recipe

OUT = RESULTS / "fresh_top.json"
BLOCKS, DECAYS = (1, 2), (0.8,)


def arms(seed):
    "Name -> recipe."
    plain = Recipe(seed=seed)
    fresh = {f"fresh top {n}": plain.but(methods=(FreshTop(n, seed),)) for n in BLOCKS}
    slower = {f"depth_decay {x}": plain.but(depth_decay=x) for x in DECAYS}
    return fresh | slower


def one(draw, name, seed):
    tuner, noted = fitted(draw, arms(seed)[name])
    digits = right(tuner, few_reviews(draw)[2])
    found = {"draw": draw, "arm": name, "seed": seed, "accuracy": accuracy(digits)}
    return found | {"right": digits} | noted


def main():
    parser = command_line(__doc__)
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    file = stored(OUT, {"runs": []})
    for draw in range(args.draws):
        for seed in range(args.seeds):
            for name in arms(seed):
                if has(file["runs"], draw=draw, arm=name, seed=seed): continue
                file["runs"].append(one(draw, name, seed))
                save(file, OUT)
                print(draw, name, seed, file["runs"][-1]["accuracy"], flush=True)


if __name__ == "__main__":
    main()
