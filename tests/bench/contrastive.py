"""What training on pairs adds to a head on frozen features: writes results/contrastive.json.

python tests/bench/contrastive.py [--splits 5] [--per-class 8,32]

Film reviews. A split draws its labelled snippets from four fifths of the films, and both ways are
judged on the same 400 snippets of the other films. "probe": FitHead on the frozen body.
"contrastive": Contrastive with its defaults, then FitHead.
"""
from series import RESULTS, Spent, command_line, has, listed, machine, save, stored

from sft_nb.all import FineTuner, Recipe, TextClassification
from sft_nb.chance import rng_for
from sft_nb.methods.contrastive import Contrastive
from sft_nb.methods.heads import FitHead
from sft_nb.tasks.text.classification import film_reviews
from sft_nb.telling import quiet

OUT = RESULTS / "contrastive.json"
WAYS = {
    "probe": lambda: (FitHead(),),
    "contrastive": lambda: (Contrastive(), FitHead()),
}


def drawn(per_class, split, asked=400):
    "Labelled rows of one split, and the rows to be answered, which are the same in all splits."
    rows = film_reviews()
    films = rng_for("contrastive films").permutation(sorted(rows.movie.unique()))
    aside = rows.movie.isin(films[: len(films) // 5])
    answered = rows[aside].sample(asked, random_state=0).reset_index(drop=True)
    some = rows[~aside].groupby("label").sample(per_class, random_state=split)
    return some.reset_index(drop=True), answered


def one_run(way, per_class, split):
    train, asked = drawn(per_class, split)
    methods, spent = WAYS[way](), Spent()
    recipe = Recipe(epochs=0, methods=methods)
    tuner = FineTuner(TextClassification(pooling="mean"), "minilm", recipe, device="cpu")
    with quiet():
        tuner.fit(train)
    seconds = spent.processor_seconds
    return {
        "way": way, "per_class": per_class, "split": split,
        "accuracy": tuner.evaluate(asked).metrics["accuracy"],
        "strength": methods[-1].found["strength"], "processor_seconds": seconds,
        "n": len(asked), "machine": machine(),
    }


def main():
    parser = command_line(__doc__)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--per-class", default="8,32")
    args = parser.parse_args()
    file = stored(OUT, {"runs": []})
    sizes = [int(k) for k in listed(args.per_class)]
    wanted = [(w, k, s) for k in sizes for s in range(args.splits) for w in WAYS]
    for way, per_class, split in wanted:
        if has(file["runs"], way=way, per_class=per_class, split=split): continue
        run = one_run(way, per_class, split)
        file["runs"].append(run)
        save(file, OUT)
        print(way, per_class, split, run["accuracy"], run["processor_seconds"], flush=True)


if __name__ == "__main__":
    main()
