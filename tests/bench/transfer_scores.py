"""Do scores rank layers as probes do? Writes results/transfer_scores.json.

python tests/bench/transfer_scores.py [--draws 5]

Six questions about texts, MiniLM's seven layers (0 is the word table). For every question 1,000 of
its rows are read once. A draw takes 300 of them for the scores and as what a probe learns from,
150 to choose the probe's strength, and judges it on 500 others. So a score never sees a row that
judges. Of tweets, a row is a word; nine of ten O's are left out, so that there is something to say.
"""
import numpy as np
import pandas as pd
from scipy.stats import weightedtau
from series import RESULTS, Spent, command_line, has, machine, save, stored

from sft_nb.chance import rng_for
from sft_nb.methods.transfer_scores import h_score, layer_features, logme
from sft_nb.tasks.tagging.baselines import tweets
from sft_nb.tasks.tagging.sequence_labelling import SequenceLabelling
from sft_nb.tasks.text.classification import TextClassification, film_reviews
from sft_nb.tasks.text.regression import TextRegression, rated_sentences
from sft_nb.training.baselines import linear_probe, ridge_probe

OUT = RESULTS / "transfer_scores.json"
ROWS, SCORED, CHOOSE, JUDGED = 1_000, 300, 150, 500


def sources():
    "text, label: from tweets, films or products?"
    return rated_sentences().rename(columns={"source": "label"})


def products():
    rows = rated_sentences()
    rows = rows[(rows.source == "products") & (rows.rating.abs() >= .5)]
    return rows.assign(label=rows.rating.gt(0).map({True: "good", False: "bad"}))


def naming():
    "text, label: does this tweet name anything?"
    rows = tweets()
    label = rows.tags.map(lambda tags: "names" if set(tags) - {"O"} else "none")
    return pd.DataFrame({"text": rows.words.map(" ".join), "label": label})


QUESTIONS = {
    "film verdicts": (TextClassification(), film_reviews),
    "products, good or bad": (TextClassification(), products),
    "where it was written": (TextClassification(), sources),
    "tweets that name something": (TextClassification(), naming),
    "words of tweets": (SequenceLabelling(), tweets),
    "ratings": (TextRegression(number="rating"), rated_sentences),
}


def read(name):
    "Vectors per layer, and what they should say: class numbers, or numbers."
    task, table = QUESTIONS[name]
    rows = table().sample(ROWS, random_state=0).reset_index(drop=True)
    task = task.learn(rows)
    layers = layer_features(task, *task.build("minilm"), rows)
    if isinstance(task, TextRegression): return layers, task.numbers(rows)
    if not task.per_token: return layers, task.classes_of(rows)
    tags = np.concatenate(rows.tags.tolist())
    kept = (tags != "O") | (rng_for("some of O").random(len(tags)) < .1)
    y = pd.factorize(tags)[0][kept]
    return [np.concatenate(layer)[kept] for layer in layers], y


def probed(x, y, parts):
    "Accuracy of a probe on the judged rows, or R² where it answers with numbers."
    (fit, fit_y), (choose, choose_y), (judge, judge_y) = [(x[p], y[p]) for p in parts]
    if y.ndim == 2:
        said = ridge_probe(fit, fit_y, choose, choose_y, judge)
        return 1 - float(np.square(said - judge_y).mean() / judge_y.var())
    names = np.unique(fit_y)
    choose, choose_y = choose[np.isin(choose_y, names)], choose_y[np.isin(choose_y, names)]
    said = linear_probe(fit, fit_y, choose, choose_y, judge)
    return float((names[said.argmax(1)] == judge_y).mean())


def one_draw(name, layers, y, draw):
    spent, order = Spent(), rng_for(name, draw).permutation(len(y))
    parts = np.split(order[:SCORED + CHOOSE + JUDGED], [SCORED, SCORED + CHOOSE])
    numbers = y.ndim == 2
    found = {"logme": [logme(x[parts[0]], y[parts[0]], numbers) for x in layers]}
    if not numbers: found["h_score"] = [h_score(x[parts[0]], y[parts[0]]) for x in layers]
    probe = [probed(x, y, parts) for x in layers]
    tau = {score: float(weightedtau(v, probe).statistic) for score, v in found.items()}
    return {"question": name, "draw": draw, **found, "probe": probe, "tau": tau,
            **spent.to_dict(), "machine": machine()}


def main():
    parser = command_line(__doc__)
    parser.add_argument("--draws", type=int, default=5)
    args = parser.parse_args()
    file = stored(OUT, {"runs": []})
    for name in QUESTIONS:
        draws = [d for d in range(args.draws) if not has(file["runs"], question=name, draw=d)]
        if not draws: continue
        layers, y = read(name)
        for draw in draws:
            file["runs"].append(one_draw(name, layers, y, draw))
            save(file, OUT)
            print(name, draw, file["runs"][-1]["tau"], flush=True)


if __name__ == "__main__":
    main()
