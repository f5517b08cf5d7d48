"""How many blocks should learn? Writes results/widgets/freezing.json, a finished run at a time.

python tests/bench/widgets_freezing.py [--seeds 3] [--rows 32,128,512]

MiniLM on film reviews: the head and 0, 1, 2, 4 or 6 blocks learn; beside it the same model without
its pretrained weights, and words that are counted. Judged on 300 reviews of films that no training
row is about. Seconds are the processor's, with numbers of 32 bits; so the file holds runs of one
kind of processor alone. What is already in it is skipped.
"""
from itertools import product

from few_reviews import accuracy, films, right
from series import RESULTS, Spent, command_line, has, listed, machine, save, stored

from sft_nb.tasks.text.classification import TextClassification
from sft_nb.training.recipe import Recipe
from sft_nb.training.tuner import FineTuner

OUT = RESULTS / "widgets" / "freezing.json"
EPOCHS = {32: 10, 128: 5, 512: 2}
BLOCKS = 0, 1, 2, 4, 6
JUDGED = 300
KIND = "device", "threads", "capability", "torch"


def reviews(rows, seed):
    "Rows to learn from, and to judge by."
    parts = films()
    train = parts.train.sample(rows, random_state=seed).reset_index(drop=True)
    return train, parts.certify.sample(JUDGED, random_state=0).reset_index(drop=True)


def tuned(rows, seed, way):
    "A run: the number of blocks that learn, or 'scratch'."
    train, judged = reviews(rows, seed)
    free = {"fresh": True} if way == "scratch" else {"unfreeze_last": way}
    recipe = Recipe(
        seed=seed, epochs=EPOCHS[rows], batch_size=8, learning_rate=1e-4 if way else 1e-3,
        precision="fp32", **free)
    spent = Spent()
    tuner = FineTuner(TextClassification(), "minilm", recipe).fit(train)
    seconds = spent.processor_seconds
    learning = [p.numel() for p in tuner.model.parameters() if p.requires_grad]
    every = sum(p.numel() for p in tuner.model.parameters())
    return {
        "accuracy": accuracy(right(tuner, judged)), "seconds": seconds,
        "learning": sum(learning), "parameters": every,
        "losses": [round(step["loss"], 3) for step in tuner.history.steps],
    }


def counted(rows, seed):
    "Words that are counted, and a linear model."
    train, judged = reviews(rows, seed)
    task, spent = TextClassification().learn(train), Spent()
    said = task.baselines()["tfidf"](train, train, judged)
    figures = task.metrics(said, [task.target(r) for r in judged.to_dict("records")])
    return {"accuracy": figures["accuracy"], "seconds": spent.processor_seconds}


def of_here(file):
    "The file, if its runs are of this kind of machine."
    here = machine()
    other = [name for name in KIND if file["machine"][name] != here[name]]
    if other:
        raise SystemExit(
            f"{OUT} holds runs of another machine ({', '.join(other)} differ): seconds of two "
            "machines do not belong into one table. Move the file away to begin anew.")
    return file


def main():
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", default=",".join(map(str, EPOCHS)))
    args = parser.parse_args()
    ways = ["words", *BLOCKS, "scratch"]
    sizes = map(int, listed(args.rows))
    for seed, rows, way in product(range(args.seeds), sizes, ways):
        empty = {"epochs": EPOCHS, "judged": JUDGED, "precision": "fp32"}
        file = of_here(stored(OUT, empty | {"machine": machine(), "runs": []}))
        if has(file["runs"], seed=seed, rows=rows, way=way): continue
        found = counted(rows, seed) if way == "words" else tuned(rows, seed, way)
        file["runs"].append({"seed": seed, "rows": rows, "way": way} | found)
        save(file, OUT)
        print(seed, rows, way, found["accuracy"], found["seconds"], flush=True)


if __name__ == "__main__":
    main()
