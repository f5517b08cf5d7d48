"""How a small translator writes: greedily, with beams, and told the right tokens. Writes
results/widgets/translation.json.

python tests/bench/widgets_translation.py [--train 2400]

MiniLM with a new decoder learns dates, times and amounts, English to Chinese, for two epochs: less
than it needs, so that there are mistakes to look at. 60 strings that it has not seen judge. Of
eight of them every step is kept: some that beams save, some that they spoil, some that are right.
"""
import pandas as pd
import torch
from series import RESULTS, command_line, machine, save
from translation import CLDR, teacher_forced

from sft_nb.batches.batching import Examples
from sft_nb.models.layers import evaluation_mode
from sft_nb.tasks.writing.bleu import text_metrics
from sft_nb.tasks.writing.cldr import cldr_pairs
from sft_nb.tasks.writing.decoding import continuations
from sft_nb.tasks.writing.translation import Translation
from sft_nb.training.tuner import FineTuner

OUT = RESULTS / "widgets" / "translation.json"
BEAMS, ALTERNATIVES = (1, 2, 4, 8), 3
SHOWN = {"saved": 3, "spoiled": 2, "right": 1, "wrong": 2}


def steps_of(tuner, source, text):
    "Of each token of a text: the token, its probability, and the likeliest tokens there."
    rows = pd.DataFrame({"source": [source], "target": [text]})
    batch = Examples(tuner.task, rows, tuner.processor).batch([0])
    with evaluation_mode(tuner.model):
        probs = tuner.model(**batch.inputs).logits[0].softmax(-1)
    read = tuner.processor.target.convert_ids_to_tokens
    for at, token in enumerate(batch.targets["labels"][0].tolist()):
        if token < 0: continue
        best, which = probs[at].topk(ALTERNATIVES)
        pairs = zip(read(which.tolist()), best.tolist(), strict=True)
        others = [[other, round(p, 4)] for other, p in pairs]
        yield {"token": read([token])[0], "p": round(probs[at, token].item(), 4), "likely": others}


def written(tuner, rows):
    "beams -> a text for every row."
    examples = Examples(tuner.task, rows, tuner.processor)
    about = examples.batch(range(len(rows))).about
    for beams in BEAMS:
        with torch.no_grad():
            ids, _ = continuations(tuner.model, about, tuner.processor, 40, beams)
        yield str(beams), [tuner.processor.read(one) for one in ids]


def kind_of(texts, true):
    "What beams make of a string that is written greedily."
    found = [text.strip() == true.strip() for text in texts]
    if all(found): return "right"
    if found[0]: return "spoiled"
    return "saved" if any(found) else "wrong"


def chosen(texts, true):
    "Some strings of each kind; those of which there are too few give their places to others."
    kinds = [kind_of([texts[b][i] for b in texts], target) for i, target in enumerate(true)]
    some = []
    for kind, n in SHOWN.items():
        some += [i for i, each in enumerate(kinds) if each == kind][:n]
    others = [i for i in range(len(true)) if i not in some]
    return some + others[:sum(SHOWN.values()) - len(some)]


def main():
    parser = command_line(__doc__)
    parser.add_argument("--train", type=int, default=2400)
    args = parser.parse_args()
    rows = cldr_pairs(0, dates=1500, times=1200, amounts=800)
    train = rows[rows.role == "train"].sample(args.train, random_state=0)
    judged = rows[rows.role == "certify"].sample(60, random_state=0).reset_index(drop=True)
    recipe = CLDR.but(epochs=2, seed=0, precision="fp32")
    tuner = FineTuner(Translation(max_new_tokens=40), "minilm", recipe).fit(train)
    texts = dict(written(tuner, judged))
    true = list(judged.target)
    figures = {beams: text_metrics(said, true, "zh") for beams, said in texts.items()}
    found = [{
        "source": judged.source[i], "target": judged.target[i],
        "paths": {b: list(steps_of(tuner, judged.source[i], texts[b][i] or " ")) for b in texts},
        "right": list(steps_of(tuner, judged.source[i], judged.target[i])),
        "texts": {b: texts[b][i] for b in texts}} for i in chosen(texts, true)]
    save({"strings": found, "figures": figures, "forced": teacher_forced(tuner, judged),
          "texts": texts, "targets": true, "judged": len(judged), "rows": args.train,
          "machine": machine()}, OUT)


if __name__ == "__main__":
    main()
