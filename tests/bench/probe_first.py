"""A probe, fine-tuning, and a probe before fine-tuning: writes results/probe_first.json.

python tests/bench/probe_first.py [--seeds 3]

64 film snippets a class, drawn anew for every seed, the default recipe. Asked are 400 snippets of
other films, and, as a shift, 400 sentences about products and from tweets whose rating is at least
1 away from neutral: positive ones should be called fresh, negative ones rotten.
"""
from series import RESULTS, Spent, command_line, has, machine, save, stored

from sft_nb.all import FineTuner, Recipe, TextClassification
from sft_nb.chance import rng_for
from sft_nb.methods.heads import FitHead
from sft_nb.tasks.text.classification import film_reviews
from sft_nb.tasks.text.regression import rated_sentences
from sft_nb.telling import quiet

OUT = RESULTS / "probe_first.json"
WAYS = {
    "probe": lambda: Recipe(epochs=0, methods=(FitHead(),)),
    "fine-tuning": Recipe,
    "probe, then fine-tuning": lambda: Recipe(methods=(FitHead(),)),
}


def rows_of(seed):
    "Rows to learn from; rows like them; rows unlike them."
    rows = film_reviews()
    films = rng_for("probe first films").permutation(sorted(rows.movie.unique()))
    aside = rows.movie.isin(films[: len(films) // 5])
    train = rows[~aside].groupby("label").sample(64, random_state=seed).reset_index(drop=True)
    rated = rated_sentences()
    clear = rated[(rated.source != "films") & (rated.rating.abs() >= 1)]
    shifted = clear.assign(label=["fresh" if r > 0 else "rotten" for r in clear.rating])
    return train, rows[aside].sample(400, random_state=0), shifted.sample(400, random_state=0)


def one_run(way, seed):
    train, like, unlike = rows_of(seed)
    spent, recipe = Spent(), WAYS[way]().but(seed=seed)
    tuner = FineTuner(TextClassification(pooling="mean"), "minilm", recipe, device="cpu")
    with quiet():
        tuner.fit(train)
    run = {"way": way, "seed": seed, "processor_seconds": spent.processor_seconds}
    for name, asked in (("like", like), ("unlike", unlike)):
        run[name] = tuner.evaluate(asked.reset_index(drop=True)).metrics["accuracy"]
    return run | {"n": 400, "per_class": 64, "machine": machine()}


def main():
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    file = stored(OUT, {"runs": []})
    for way, seed in [(way, seed) for seed in range(args.seeds) for way in WAYS]:
        if has(file["runs"], way=way, seed=seed): continue
        run = one_run(way, seed)
        file["runs"].append(run)
        save(file, OUT)
        print({k: v for k, v in run.items() if k != "machine"}, flush=True)


if __name__ == "__main__":
    main()
