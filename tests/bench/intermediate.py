"""A detour through another task, and its controls: writes results/intermediate.json.

python tests/bench/intermediate.py [--seeds 5] [--sizes 20,100]

The target: sentences about products, good or bad (rated-sentences, by the sign of the mean rating;
those between -0.5 and 0.5 are left out), 20 or 100 of them to learn from, 400 of other documents
to judge by. The sources, 600 rows each and two epochs: verdicts on films, the same verdicts
shuffled, and names in tweets. Every seed draws its own rows; the starts of one seed share theirs.
"""
import tempfile
from pathlib import Path

import pandas as pd
from series import RESULTS, Spent, command_line, has, listed, machine, save, stored

from sft_nb.data.splitting import split
from sft_nb.methods.intermediate import controls
from sft_nb.tasks.tagging.baselines import tweets
from sft_nb.tasks.tagging.sequence_labelling import SequenceLabelling
from sft_nb.tasks.text.classification import TextClassification, film_reviews
from sft_nb.tasks.text.regression import rated_sentences
from sft_nb.training.recipe import Recipe
from sft_nb.training.tuner import FineTuner

OUT = RESULTS / "intermediate.json"
SOURCE = Recipe(epochs=2)
ROWS, JUDGED = 600, 400


def products():
    "text, label (good or bad), document."
    rows = rated_sentences()
    rows = rows[(rows.source == "products") & (rows.rating.abs() >= .5)]
    label = rows.rating.gt(0).map({True: "good", False: "bad"})
    return rows.assign(label=label)[["text", "label", "document"]].reset_index(drop=True)


def drawn(rows, n, seed): return rows.sample(n, random_state=seed).reset_index(drop=True)


def few(rows, n, seed):
    "So many rows, half of each label."
    parts = [drawn(some, n // 2, seed) for _, some in rows.groupby("label")]
    return pd.concat(parts, ignore_index=True)


def starts(seed, folder):
    "Where each arm begins."
    films = TextClassification(), drawn(film_reviews(), ROWS, seed)
    names = SequenceLabelling(), drawn(tweets(), ROWS, seed)
    return controls(
        TextClassification(), "minilm", films, folder, unrelated=names,
        recipe=SOURCE.but(seed=seed))


def one_run(start, checkpoint, rows, judged, seed):
    spent = Spent()
    tuner = FineTuner(TextClassification(), checkpoint, Recipe(seed=seed)).fit(rows)
    figures = tuner.evaluate(judged)
    return {
        "start": start, "n": len(rows), "seed": seed, "accuracy": figures.metrics["accuracy"],
        "loss": figures.loss, "judged": len(judged), **spent.to_dict(), "machine": machine(),
    }


def one_seed(seed, sizes, parts, file):
    with tempfile.TemporaryDirectory() as folder:
        begun = starts(seed, Path(folder))
        judged = drawn(parts.certify, JUDGED, 0)
        for n in sizes:
            for start, checkpoint in begun.items():
                if has(file["runs"], start=start, n=n, seed=seed): continue
                run = one_run(start, checkpoint, few(parts.train, n, seed), judged, seed)
                file["runs"].append(run)
                save(file, OUT)
                print(seed, n, start, run["accuracy"], flush=True)


def main():
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sizes", default="20,100")
    args = parser.parse_args()
    sizes = [int(n) for n in listed(args.sizes)]
    file = stored(OUT, {"runs": []})
    parts = split(products(), valid_size=0, certify_size=.5, seed=42, group="document")
    for seed in range(args.seeds):
        done = sum(run["seed"] == seed for run in file["runs"])
        if done < 4 * len(sizes): one_seed(seed, sizes, parts, file)


if __name__ == "__main__":
    main()
