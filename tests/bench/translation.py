"""Translation over several seeds: writes results/translation.json, a finished run at a time.

python tests/bench/translation.py [--part cldr,ui] [--seeds 3] [--train N] [--certify N]
    [--epochs N] [--out FILE]

cldr: English to Chinese, from minilm with a new decoder. What is held out is the same for every
seed; a seed draws the strings, the decoder, order and dropout.
ui: English to French interface strings, from smollm2 with LoRA, against the untuned model, copying
the source, and the nearest known string.

What is already in the file is skipped, so that the series survives being cut off. Sizes below the
defaults are for trying out: give another --out.
"""
from pathlib import Path

import torch
from series import RESULTS, Spent, command_line, has, machine, save, stored

from sft_nb.data.asset_tables import load_data
from sft_nb.batches.batching import Examples
from sft_nb.data.splitting import split
from sft_nb.evaluation.judging import evaluate
from sft_nb.models.layers import evaluation_mode
from sft_nb.methods.lora import Lora
from sft_nb.methods.rates import SlowBody
from sft_nb.training.recipe import Recipe
from sft_nb.tasks.writing.bleu import signatures, text_metrics
from sft_nb.tasks.writing.cldr import cldr_pairs
from sft_nb.tasks.writing.translation import Translation
from sft_nb.training.tuner import FineTuner

CLDR = Recipe(
    epochs=3, learning_rate=1e-3, batch_size=32, dropout=0.0, keep_best=False,
    methods=(SlowBody(0.3, words=False),),
)
UI = Recipe(
    epochs=2, learning_rate=1e-3, batch_size=16, dropout=0.0, keep_best=False,
    methods=(Lora(16, 32),),
)


def teacher_forced(tuner, rows):
    """The share of target tokens that are right when the model sees the right ones before, and
    of rows in which all are.
    """
    examples, tokens, whole = Examples(tuner.task, rows, tuner.processor), [], []
    with evaluation_mode(tuner.model):
        for indices in examples.batches(64):
            batch = examples.batch(indices)
            asked = batch.targets["labels"] >= 0
            right = tuner.model(**batch.inputs).logits.argmax(-1) == batch.targets["labels"]
            tokens += right[asked].tolist()
            whole += (right | ~asked).all(1).tolist()
    return {"tokens": sum(tokens) / len(tokens), "rows": sum(whole) / len(whole)}


def cldr_rows(seed, train, certify):
    "Rows by role, so many of them at the most."
    rows = cldr_pairs(seed, dates=4500, times=3600, amounts=2400)
    most = {"train": train, "valid": None, "certify": certify}
    return {
        role: rows[rows.role == role].reset_index(drop=True)[:n] for role, n in most.items()
    }


def cldr_run(seed, args):
    "One seed on dates, times and amounts."
    part = cldr_rows(seed, args.train, args.certify or 1200)
    recipe = CLDR.but(seed=seed, epochs=args.epochs or CLDR.epochs)
    spent = Spent()
    tuner = FineTuner(Translation(max_new_tokens=40), "minilm", recipe).fit(part["train"])
    spent = spent.to_dict()
    result = tuner.evaluate(part["certify"])
    table, learned = result.table, tuner.task
    groups = {k: {"n": len(g), "exact_match": g.right.mean()} for k, g in table.groupby("held")}
    mistakes = table.loc[table.right < 1, ["source", "target", "prediction"]]
    targets = [learned.target(r) for r in part["certify"].to_dict("records")]
    near = learned.baselines()["nearest"](part["train"], part["valid"], part["certify"])
    return {
        "seed": seed, "n": {k: len(v) for k, v in part.items()}, "recipe": recipe.to_dict(),
        **spent, "loss": result.loss, "metrics": result.metrics, "groups": groups,
        "teacher_forced": teacher_forced(tuner, part["certify"]),
        "nearest": learned.metrics(near, targets)["exact_match"],
        "characters": len(learned.characters),
        "mistakes": mistakes.head(40).values.tolist(),
        "machine": machine(),
    }


def strings(seed, train, certify):
    """French interface strings of up to 16 words in one line.

    Certify is the same for every seed; strings that differ in case or marks alone are one string.
    """
    rows = load_data("ui-strings")
    source = rows.source.str
    short = ~source.contains("\n") & (source.split().str.len() <= 16)
    rows = rows[(rows.language == "fr") & short]
    letters = rows.source.str.casefold().str.replace(r"\W", "", regex=True)
    rows = rows[~letters.duplicated()].reset_index(drop=True)
    parts = split(rows[["source", "target"]], valid_size=0, certify_size=certify, seed=42)
    drawn = parts.train.sample(min(train, len(parts.train)), random_state=seed)
    return drawn.reset_index(drop=True), parts.certify


def ui_run(seed, args):
    "One seed on interface strings."
    task = Translation(
        prompt="Translate to French: {}", max_new_tokens=48, max_length=256, tokenize="13a"
    )
    train, certify = strings(seed, args.train or 500, args.certify or 120)
    learned, recipe = task.learn(train), UI.but(seed=seed, epochs=args.epochs or UI.epochs)
    targets = [learned.target(r) for r in certify.to_dict("records")]
    answers = {
        "nearest": learned.baselines()["nearest"](train, None, certify),
        "untuned": evaluate(learned, *learned.build("smollm2"), certify, batch_size=32).predictions,
    }
    spent = Spent()
    tuner = FineTuner(task, "smollm2", recipe).fit(train)
    spent = spent.to_dict()
    answers["LoRA"] = tuner.evaluate(certify, 32).predictions
    said = {"copy": list(certify.source)}
    said |= {name: [p.value for p in some] for name, some in answers.items()}
    shown = zip(certify.source, targets, said["untuned"], said["LoRA"], strict=True)
    return {
        "seed": seed,
        "n": {"train": len(train), "certify": len(certify)},
        "recipe": recipe.to_dict(),
        **spent,
        "metrics": {k: text_metrics(v, targets) for k, v in said.items()},
        "signatures": signatures(),
        "examples": [list(texts) for texts in shown][:8],
        "machine": machine(),
    }


def main():
    parser = command_line(__doc__)
    parser.add_argument("--part", default="cldr,ui")
    parser.add_argument("--seeds", type=int, default=3)
    for name in ("train", "certify", "epochs"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--out", type=Path, default=RESULTS / "translation.json")
    args = parser.parse_args()
    for part in args.part.split(","):
        for seed in range(args.seeds):
            file = stored(args.out, {"cldr": [], "ui": []})
            if has(file[part], seed=seed): continue
            torch.manual_seed(seed)
            run = {"cldr": cldr_run, "ui": ui_run}[part](seed, args)
            file = stored(args.out, {"cldr": [], "ui": []})
            file[part].append(run)
            save(file, args.out)
            print(part, seed, run["metrics"], run["seconds"], flush=True)


if __name__ == "__main__":
    main()
