"""What does a model of film verdicts forget while it learns about tweets?

Writes results/forgetting.json.

python tests/bench/forgetting.py [--seeds 5]

Task A: is a review fresh or rotten? 600 rows. Task B: does a tweet name something? 500 rows.
One head with four outputs for both, so that A and then B are two fits of the same task. B is
learned in four ways: in full, with the word table and four of six blocks frozen, with LoRA (at ten
times the rate), and in full with 50 rows of A mixed in. A is then asked again, on 300 reviews of
other films. A new head for A learns from 200 of A's rows.
"""
import tempfile

import pandas as pd
from series import RESULTS, Spent, command_line, find, has, machine, save, stored

from sft_nb.data.splitting import split
from sft_nb.methods.forgetting import forgetting, rehearsed
from sft_nb.methods.lora import Lora
from sft_nb.tasks.tagging.baselines import tweets
from sft_nb.tasks.text.classification import TextClassification, film_reviews
from sft_nb.training.recipe import Recipe
from sft_nb.training.tuner import FineTuner

OUT = RESULTS / "forgetting.json"
FRESH = ["fresh", "rotten"]
TASK = TextClassification(classes=[*FRESH, "names", "none"])
RECIPE = Recipe(epochs=2, keep_best=False)
WAYS = {
    "full": {},
    "lower blocks frozen": {"unfreeze_last": 2},
    "LoRA": {"learning_rate": 1e-3, "methods": (Lora(),)},
    "rehearsal": {},
}


def naming():
    "text, label: does this tweet name anything?"
    rows = tweets()
    label = rows.tags.map(lambda tags: "names" if set(tags) - {"O"} else "none")
    return pd.DataFrame({"text": rows.words.map(" ".join), "label": label})


def drawn(rows, n, seed): return rows.sample(n, random_state=seed).reset_index(drop=True)


def tables(seed):
    "Rows of A and B to learn, and rows of both to judge by."
    films = split(film_reviews(), valid_size=0, certify_size=.3, seed=42, group="movie")
    named = split(naming(), valid_size=0, certify_size=300, seed=42)
    learn = [drawn(films.train, 600, seed), drawn(named.train, 500, seed)]
    columns = ["text", "label"]
    return [rows[columns] for rows in learn], drawn(films.certify, 300, 0), named.certify


def one_way(way, seed, earlier, folder, rows, judged):
    spent, ((a, b), (judge_a, judge_b)) = Spent(), (rows, judged)
    learn = rehearsed(b, a, .1, seed) if way == "rehearsal" else b
    recipe = RECIPE.but(seed=seed, **WAYS[way])
    later = FineTuner(TASK, folder, recipe).fit(learn)
    lost = forgetting(earlier, later, judge_a, "movie", among=FRESH, probe=(a[:200], a[200:300]))
    named = {"answers": lost.answers, "among": lost.among, "probe": lost.probe}
    return {
        "way": way, "seed": seed, "alike": lost.alike,
        **{name: [c.value, c.low, c.high, c.p] for name, c in named.items()},
        "b": later.evaluate(judge_b).metrics["accuracy"], **spent.to_dict(), "machine": machine(),
    }


def one_seed(seed, file):
    rows, *judged = tables(seed)
    with tempfile.TemporaryDirectory() as folder:
        earlier = FineTuner(TASK, "minilm", RECIPE.but(seed=seed)).fit(rows[0])
        earlier.save(folder)
        if not find(file["before"], seed=seed):
            a = earlier.evaluate(judged[0]).metrics["accuracy"]
            file["before"].append({"seed": seed, "a": a})
        for way in WAYS:
            if has(file["runs"], way=way, seed=seed): continue
            file["runs"].append(one_way(way, seed, earlier, folder, rows, judged))
            save(file, OUT)
            run = file["runs"][-1]
            print(seed, way, run["answers"], run["among"][0], run["probe"][0], run["b"], flush=True)


def main():
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    file = stored(OUT, {"before": [], "runs": []})
    for seed in range(args.seeds):
        if sum(run["seed"] == seed for run in file["runs"]) < len(WAYS): one_seed(seed, file)


if __name__ == "__main__":
    main()
