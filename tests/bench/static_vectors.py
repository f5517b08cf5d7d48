"""One rung of the demo's ladder more: writes results/static_vectors.json.

python tests/bench/static_vectors.py [--seeds 5]

A text is the mean of its tokens' vectors: no layer of the network is run, so that word order and
neighbours do not count. On it the same tuned logistic regression as on frozen features; the same
rows and seeds as results/text_classification.json. Three tables: the encoder's own word table
("runs"), and under "tables" the bundled static-256 and minilm poured into a table of 256 numbers
a word, its words weighed by the training rows. "speed" holds processor seconds of reading 1,000
snippets, from texts to vectors, with minilm and with the table, in turn in one run.
"""
import tempfile
import time
from pathlib import Path

import numpy as np
from series import RESULTS, Spent, command_line, has, machine, save, stored

from sft_nb.commands.demo import demo_data
from sft_nb.data.columns import records
from sft_nb.methods.static_vectors import rarity, static_checkpoint
from sft_nb.models.loading import load
from sft_nb.models.static import STATIC
from sft_nb.task import Prediction
from sft_nb.training.baselines import frozen_features, linear_probe

OUT = RESULTS / "static_vectors.json"


def mean_vectors(texts, table, tokenizer):
    "n texts -> n d: the mean of their tokens' rows in the table."
    ids = tokenizer(texts, add_special_tokens=False, truncation=True)["input_ids"]
    return np.stack([table[row].mean(0) for row in ids])


def word_table(checkpoint):
    model, tokenizer = load(checkpoint)
    return model.get_input_embeddings().weight.detach().numpy(), tokenizer


def one_seed(seed, table, tokenizer, weigh=False):
    spent = Spent()
    task, parts = demo_data(seed)
    roles = parts.train, parts.valid, parts.certify
    task = task.learn(parts.train)
    if weigh:
        ids = tokenizer(parts.train.text.tolist())["input_ids"]
        counts = np.bincount([i for row in ids for i in row], minlength=len(table))
        table = table * rarity(counts)[:, None]
    x = [mean_vectors(rows.text.tolist(), table, tokenizer) for rows in roles]
    targets = [[task.target(row) for row in records(rows)] for rows in roles]
    train, valid = ([task.labels.index(t) for t in some] for some in targets[:2])
    probs = linear_probe(x[0], np.array(train), x[1], np.array(valid), x[2])
    said = [Prediction(task.labels[p.argmax()], float(p.max())) for p in probs]
    return {
        "seed": seed, "metrics": task.metrics(said, targets[2]), "seconds": spent.seconds,
        "n": {role: len(rows) for role, rows in parts.roles.items()}, "machine": machine(),
    }


def read_in_turn():
    "Processor seconds of the same work with two checkpoints."
    task, parts = demo_data(0)
    task, few, seconds = task.learn(parts.train), parts.valid.head(1000), {}
    for name in ("minilm", STATIC):
        model, tokenizer = task.build(name)
        spent = time.process_time()
        frozen_features(task, model, tokenizer, few)
        seconds[name] = time.process_time() - spent
    return seconds


def add(file, kind, run):
    file[kind].append(run)
    save(file, OUT)
    print(run.get("table", "minilm"), run["seed"], run["metrics"], flush=True)


def poured(folder):
    "minilm as a table, every word counting alike: the weights come from each seed's rows."
    return static_checkpoint("minilm", Path(folder) / "table", a=1e9)


def main():
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    file = {"tables": []} | stored(OUT, {"runs": []})
    seeds = range(args.seeds)
    for seed in seeds:
        if has(file["runs"], seed=seed): continue
        add(file, "runs", one_seed(seed, *word_table("minilm")))
    with tempfile.TemporaryDirectory() as folder:
        for name in (STATIC, "poured"):
            left = [s for s in seeds if not has(file["tables"], table=name, seed=s)]
            if not left: continue
            table = word_table(STATIC if name == STATIC else poured(folder))
            for seed in left:
                run = one_seed(seed, *table, weigh=name == "poured")
                add(file, "tables", run | {"table": name})
    if "speed" not in file:
        file["speed"] = [read_in_turn() for _ in range(3)]
        save(file, OUT)


if __name__ == "__main__":
    main()
