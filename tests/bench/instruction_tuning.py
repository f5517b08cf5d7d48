"""Instruction tuning of smollm2 over several seeds.

Writes results/instruction_tuning.json, a finished run at a time.

python tests/bench/instruction_tuning.py [--ways LoRA,full] [--seeds 3] [--train 200]
    [--certify 50] [--epochs N] [--out FILE]

Sizes are rows of each of three kinds: judge a review, list the names in a tweet, translate a date.
A seed draws the rows (no film, tweet or day on both sides), the adapters and the order. What is
already in the file is skipped, so that the series survives being cut off. Sizes other than the
defaults are for trying out: give another --out.
"""
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from series import RESULTS, Spent, command_line, has, machine, save, stored

from sft_nb.data.asset_tables import load_data
from sft_nb.data.splitting import split
from sft_nb.evaluation.judging import evaluate
from sft_nb.methods.lora import Lora
from sft_nb.training.recipe import Recipe
from sft_nb.tasks.writing.instruction_tuning import (
    InstructionTuning, bundled_instructions, parsed_f1, text_loss,
)
from sft_nb.training.tuner import FineTuner

COMMON = Recipe(epochs=2, batch_size=8, dropout=0., keep_best=False, packing=True)
RECIPES = {
    "LoRA": COMMON.but(learning_rate=1e-3, methods=(Lora(16, 32),)),
    "full": COMMON.but(learning_rate=1e-4),
}
TASK = InstructionTuning(max_new_tokens=48, max_length=512)


def rows_of(seed, train, certify):
    "Training and certify rows, so many of each kind; what they are made from stays on one side."
    rows = bundled_instructions(seed, train + 3 * certify)
    parts = split(rows, valid_size=0, certify_size=.4, seed=seed, group="source", stratify=None)

    def first(part, n):
        return part.groupby("kind").head(n).reset_index(drop=True)

    return first(parts.train, train), first(parts.certify, certify)


def bare(text):
    "Without blanks, full stops and capitals."
    return text.strip().strip(".").casefold()


def by_kind(kinds, said, true):
    "A figure per kind of instruction: exact match of reviews and dates, F1 of lines for entities."
    rows = pd.DataFrame({"kind": kinds, "said": said, "true": true})
    figures = {}
    for kind, part in rows.groupby("kind"):
        pairs = zip(part.said, part.true, strict=True)
        right = float(np.mean([bare(s) == bare(t) for s, t in pairs]))
        lines = parsed_f1(list(part.said), list(part.true))
        figures[kind] = lines if kind == "entities" else right
    return figures


def judged(task, model, processor, rows):
    "A figure per kind, the losses on the answers and on other texts, and the first answers."
    result = evaluate(task, model, processor, rows, batch_size=30)
    said, true = [p.value for p in result.predictions], result.targets
    answers = zip(rows.kind, true, said, strict=True)
    return {
        "kinds": by_kind(rows.kind.tolist(), said, true),
        "exact_match": result.metrics["exact_match"],
        "loss": result.loss,
        "other_text": text_loss(model, processor.tokenizer, other_texts()),
        "answers": [[kind, t, s[:200]] for kind, t, s in answers][:12],
    }


@cache
def other_texts():
    "What nobody trains on here: sentences about products."
    return load_data("rated-sentences").query("source == 'products'").text.iloc[:48].tolist()


def add(path, where, what):
    """One more finished thing; what another process has stored meanwhile stays, and is not
    stored twice.
    """
    file = stored(path, {"before": [], "runs": []})
    if not has(file[where], seed=what["seed"], way=what.get("way")):
        file[where].append(what)
        save(file, path)


def before(seed, certify):
    "What the model says that nobody has tuned."
    model, processor = TASK.build("smollm2")
    return {"seed": seed, **judged(TASK, model, processor, certify)}


def one(way, seed, train, certify, epochs):
    "Tune once, and judge."
    recipe = RECIPES[way].but(seed=seed, epochs=epochs)
    spent = Spent()
    tuner = FineTuner(TASK, "smollm2", recipe).fit(train)
    spent = spent.to_dict()
    return {
        "seed": seed,
        "way": way,
        "n": {"train": len(train), "certify": len(certify)},
        "recipe": recipe.to_dict(),
        **spent,
        **judged(tuner.task, tuner.model, tuner.processor, certify),
        "machine": machine(),
    }


def main():
    parser = command_line(__doc__)
    parser.add_argument("--ways", default="LoRA,full")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=200)
    parser.add_argument("--certify", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=COMMON.epochs)
    parser.add_argument("--out", type=Path, default=RESULTS / "instruction_tuning.json")
    args = parser.parse_args()
    for seed in range(args.seeds):
        for way in args.ways.split(","):
            file = stored(args.out, {"before": [], "runs": []})
            if has(file["runs"], seed=seed, way=way): continue
            train, certify = rows_of(seed, args.train, args.certify)
            if not has(file["before"], seed=seed):
                found = before(seed, certify)
                add(args.out, "before", found)
                print(seed, "before", found["kinds"], flush=True)
            run = one(way, seed, train, certify, args.epochs)
            add(args.out, "runs", run)
            print(seed, way, run["kinds"], run["other_text"], run["seconds"], flush=True)


if __name__ == "__main__":
    main()
