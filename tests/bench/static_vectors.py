"""One rung of the demo's ladder more: writes results/static_vectors.json.

python tests/bench/static_vectors.py [--seeds 5]

A text is the mean of its tokens' vectors in the encoder's own word table: no layer of the network
is run, so that word order and neighbours do not count. On it the same tuned logistic regression as
on frozen features; the same rows and seeds as results/text_classification.json.
"""
import numpy as np
from series import RESULTS, Spent, command_line, has, machine, save, stored

from sft_nb.commands.demo import demo_data
from sft_nb.data.columns import records
from sft_nb.models.loading import load
from sft_nb.training.baselines import linear_probe
from sft_nb.task import Prediction

OUT = RESULTS / "static_vectors.json"


def mean_vectors(texts, table, tokenizer):
    "n texts -> n d: the mean of their tokens' rows in the table."
    ids = tokenizer(texts, add_special_tokens=False, truncation=True)["input_ids"]
    return np.stack([table[row].mean(0) for row in ids])


def one_seed(seed):
    spent = Spent()
    task, parts = demo_data(seed)
    roles = parts.train, parts.valid, parts.certify
    task = task.learn(parts.train)
    model, tokenizer = load("minilm", "sequence-classification", num_labels=2)
    table = model.get_input_embeddings().weight.detach().numpy()
    x = [mean_vectors(rows.text.tolist(), table, tokenizer) for rows in roles]
    targets = [[task.target(row) for row in records(rows)] for rows in roles]
    train, valid = ([task.labels.index(t) for t in some] for some in targets[:2])
    probs = linear_probe(x[0], np.array(train), x[1], np.array(valid), x[2])
    said = [Prediction(task.labels[p.argmax()], float(p.max())) for p in probs]
    return {
        "seed": seed, "metrics": task.metrics(said, targets[2]), "seconds": spent.seconds,
        "n": {role: len(rows) for role, rows in parts.roles.items()}, "machine": machine(),
    }


def main():
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    file = stored(OUT, {"runs": []})
    for seed in range(args.seeds):
        if has(file["runs"], seed=seed): continue
        file["runs"].append(one_seed(seed))
        save(file, OUT)
        print(seed, file["runs"][-1]["metrics"], flush=True)


if __name__ == "__main__":
    main()
