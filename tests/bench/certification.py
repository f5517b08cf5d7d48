"""What certificates are tried out on: writes results/certification_pool.json and
results/certification_seeds.json, one finished step at a time.

python tests/bench/certification.py [--steps tuned,before,…] [--seeds 25]

The pool is most of rotten-tomatoes: thousands of labelled snippets of films that no model here has
seen. It stands in for "the population", so that we can draw from it a thousand times and look how
often a guarantee is broken. What is already in the files is skipped.
"""
from dataclasses import replace

import numpy as np
import torch
from object_detection import RECIPE as DETECTOR
from series import RESULTS, Spent, command_line, listed, machine, save, stored

from sft_nb.training.baselines import frozen_features, ladder
from sft_nb.data.splitting import split
from sft_nb.evaluation.judging import predict
from sft_nb.training.recipe import Recipe, rate_factor
from sft_nb.chance import rng_for, torch_seed
from sft_nb.tasks.detection.errors import found_scores, sort_answers
from sft_nb.tasks.detection.object_detection import ObjectDetection
from sft_nb.tasks.detection.scenes import digit_scenes
from sft_nb.tasks.tagging.sequence_labelling import SequenceLabelling
from sft_nb.tasks.tagging.baselines import tweets
from sft_nb.tasks.text.classification import TextClassification, film_reviews
from sft_nb.training.tuner import FineTuner

POOL, SEEDS = RESULTS / "certification_pool.json", RESULTS / "certification_seeds.json"
TUNED = Recipe(epochs=2, learning_rate=1e-4, depth_decay=0.8)
BY_HEART = Recipe(
    epochs=40, learning_rate=2e-4, batch_size=20, dropout=0.0, weight_decay=0.0, keep_best=False
)
# of a head on frozen features, 200 labels each: the article's settings, and more and larger steps
# with warm-up and decay
RECIPES = {
    "article": {"learning_rate": 1e-5, "epochs": 3, "warmup": 0.0, "decay": False},
    "longer": {"learning_rate": 3e-3, "epochs": 20, "warmup": 0.1, "decay": True},
}


def rows_by_role():
    """Task, and rows: about 4,000 to learn from, 600 to choose with, the rest is the pool; split
    by film.
    """
    task = TextClassification()
    parts = split(
        task.read(film_reviews()), valid_size=0.05, certify_size=0.62, seed=42, group="movie"
    )
    return task, parts


def log_odds(answers):
    return np.array([np.log(p.probs["fresh"] / p.probs["rotten"]) for p in answers]).clip(-30, 30)
def packed(values): return " ".join(str(int(round(1000 * v))) for v in values)  # thousandths
def bits(flags): return "".join("1" if f else "0" for f in flags)


def begin(file):
    "Labels and films of the rows, by role."
    task, parts = rows_by_role()
    films = {f: i for i, f in enumerate(sorted(parts.certify.movie.unique()))}
    file["pool"] = {
        "fresh": bits(parts.certify.label == "fresh"),
        "film": " ".join(str(films[f]) for f in parts.certify.movie),
    }
    file["valid"] = {"fresh": bits(parts.valid.label == "fresh")}
    file["train"] = {"fresh": bits(parts.train.label == "fresh")}
    file["n"] = {role: len(rows) for role, rows in parts.roles.items()}
    file["log odds of fresh, in thousandths"] = {}
    return file


def tuned(file, task, parts):
    "minilm, fine-tuned on all training rows."
    tuner = FineTuner(task, "minilm", TUNED).fit(parts.train, parts.valid)
    file["recipe"] = TUNED.to_dict()
    return {
        name: packed(log_odds(tuner.evaluate(rows).predictions))
        for name, rows in (("train", parts.train), ("valid", parts.valid), ("pool", parts.certify))
    }


def rung(name):
    "A rung of the ladder without fine-tuning, answering pool and valid."
    def run(file, task, parts):
        def odds(rows):
            climb = ladder(task, parts.train, parts.valid, rows, "minilm", rungs=(name,))
            return packed(log_odds(climb.answers[name]))
        return {"pool": odds(parts.certify), "valid": odds(parts.valid)}
    return run


def before(file, task, parts):
    "The network with its new head, before any step."
    learned = task.learn(parts.train)
    model, processor = learned.build("minilm", seed=42)
    return {"pool": packed(log_odds(predict(learned, model, processor, parts.certify)))}


def memoriser(file, task, parts):
    """The same network learns 200 snippets by heart:

    with their own labels, and with labels dealt out at random.
    """
    few, out = parts.train.sample(200, random_state=0).reset_index(drop=True), {}
    shuffled = few.label.sample(frac=1, random_state=1).to_numpy()
    for name, labels in (("true labels", few.label), ("shuffled labels", shuffled)):
        rows = few.assign(label=labels)
        tuner = FineTuner(task, "minilm", BY_HEART).fit(rows)
        seen, unseen = tuner.evaluate(rows), tuner.evaluate(parts.certify.head(2000))
        out[name] = {
            role: {"n": e.n, "loss": round(e.loss, 5), "accuracy": e.metrics["accuracy"]}
            for role, e in (("train", seen), ("pool", unseen))
        }
        print(name, out[name], flush=True)
    return out


class Words(SequenceLabelling):
    "Keeps the confidence of every word beside its tag."
    name = ""  # not on the command line

    def answer(self, text, places, tags, probs=None):
        whole = super().answer(text, places, tags, probs)
        return replace(whole, value=whole.value | {"probs": probs})


def entity_tweets(file, task, parts):
    """How sure the model is that a word belongs to an entity, in tweets that it did not see.

    1 where it says so, else 1 minus its confidence in O. Neither training nor selection saw them.
    """
    task = Words()
    drawn = split(task.read(tweets()), valid_size=200, certify_size=1000, seed=42)
    recipe = Recipe(epochs=5, learning_rate=1e-3, depth_decay=0.7, batch_size=16)
    tuner = FineTuner(task, "minilm", recipe).fit(drawn.train, drawn.valid)
    result = tuner.evaluate(drawn.certify)

    def sure(answer):
        tagged = zip(answer["tags"], answer["probs"], strict=True)
        return [1.0 if tag != "O" else 1 - p for tag, p in tagged]

    found = [
        list(zip(sure(answer.value), target["tags"], strict=True))
        for answer, target in zip(result.predictions, result.targets, strict=True)
    ]

    def chosen(entities):
        return [packed(s for s, t in words if (t != "O") == entities) for words in found]

    return {
        "f1": result.metrics["f1"],
        "n": {role: len(rows) for role, rows in drawn.roles.items()},
        "words of entities": chosen(True),
        "other words": chosen(False),
    }


def digits_in_scenes(file, task, parts):
    """Per scene made of digits that training never saw:

    the score that finds each digit (0: none does), and the scores of the answers that find nothing.
    """
    train, new = digit_scenes(2000, "train", 0), digit_scenes(1000, "certify")
    task = ObjectDetection(size=128, least=0.01)
    tuner = FineTuner(task, "efficientnet-lite0", DETECTOR).fit(train)
    result = tuner.evaluate(new)
    answers = [a.value for a in result.predictions]
    pairs = list(zip(answers, result.targets, strict=True))

    def wrong(said, true):
        kinds, *_ = sort_answers(said, true)
        return [a["score"] for a, kind in zip(said, kinds, strict=True) if kind != "right"]

    return {
        "ap50": result.metrics["ap50"],
        "n": {"train": len(train), "certify": len(new)},
        "objects": [packed(found_scores(*p)) for p in pairs],
        "other boxes": [packed(wrong(*p)) for p in pairs],
    }


STEPS = {
    "tuned": tuned, "before": before, "memoriser": memoriser, "tweets": entity_tweets,
    "scenes": digits_in_scenes, "frozen": rung("frozen"), "tfidf": rung("tfidf"),
}


def one_seed(train, fresh, pool, settings, seed, batch=16):
    """A linear head on frozen features, and its answers to the pool's rows.

    The seed draws 200 snippets, the head's start and its order.
    """
    few = rng_for("200 labels", seed).permutation(len(train))[:200]
    x, y, order = train[few], fresh[few].long(), rng_for("order", seed)
    with torch_seed("head", seed):
        head = torch.nn.Linear(x.shape[1], 2)
    optimizer = torch.optim.AdamW(head.parameters(), lr=settings["learning_rate"])
    steps = settings["epochs"] * -(-len(x) // batch)
    step, schedule = 0, "linear" if settings["decay"] else "constant"
    for _ in range(settings["epochs"]):
        for at in torch.from_numpy(order.permutation(len(x))).split(batch):
            factor = rate_factor(step, steps, settings["warmup"], schedule)
            for g in optimizer.param_groups:
                g["lr"] = settings["learning_rate"] * factor
            loss = torch.nn.functional.cross_entropy(head(x[at]), y[at])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return {
        "train_loss": round(torch.nn.functional.cross_entropy(head(x), y).item(), 4),
        "fresh": bits(head(pool).argmax(1).tolist()),
    }


def seeds(task, parts, n):
    "All seeds of both recipes; the body is frozen and answers once."
    learned, rows = task.learn(parts.train), parts.certify.head(1000)
    model, processor = learned.build("minilm")

    def features(rows):
        return torch.from_numpy(frozen_features(learned, model, processor, rows))

    train, pool = features(parts.train), features(rows)
    mean, spread = train.mean(0), train.std(0)
    train, pool = (train - mean) / spread, (pool - mean) / spread
    fresh = torch.tensor((parts.train.label == "fresh").to_numpy())
    runs = {}
    for name, settings in RECIPES.items():
        runs[name] = {str(s): one_seed(train, fresh, pool, settings, s) for s in range(n)}
    return {
        "recipes": RECIPES,
        "what": "linear heads on frozen features, 200 labels each",
        "rows": "the first 1,000 of the pool",
        "truth": bits(rows.label == "fresh"),
        "runs": runs,
        "machine": machine(),
    }


def take_step(name, file, task, parts):
    "One step of the pool's file, unless it is there already."
    whole = name in ("memoriser", "tweets", "scenes")
    into = file if whole else file["log odds of fresh, in thousandths"]
    if name in into: return
    spent = Spent()
    into[name] = STEPS[name](file, task, parts)
    file["machine"] = machine()
    file.setdefault("seconds", {})[name] = spent.seconds
    save(file, POOL)
    print(name, file["seconds"][name], flush=True)


def accuracies(runs, truth):
    right = [[a == b for a, b in zip(r["fresh"], truth, strict=True)] for r in runs.values()]
    return np.mean(right, axis=1).round(3)


def main():
    parser = command_line(__doc__)
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--seeds", type=int, default=25)
    args = parser.parse_args()
    task, parts = rows_by_role()
    file = stored(POOL, None) or begin({})
    for name in listed(args.steps):
        take_step(name, file, task, parts)
    have = stored(SEEDS, {"runs": {"none": {}}})["runs"]
    if any(len(r) < args.seeds for r in have.values()):
        found = seeds(task, parts, args.seeds)
        save(found, SEEDS)
        for name, runs in found["runs"].items():
            print(name, accuracies(runs, found["truth"]))


if __name__ == "__main__":
    main()
