"""What pads do to a real model's answers, for the screen of nbs/widgets/02_pad_and_mask.

Writes results/widgets/pad_and_mask.json.

python tests/bench/widgets_pad.py [--train 1500] [--epochs 2] [--out FILE]

MiniLM learns from film reviews with three heads at once, one per read-out: the first place, the
last one, the mean. It learns as it should: pads on the right, masked, and the last *real* place is
read. Then it answers forty reviews of other films, each alone, with so many pads beside it. There
nothing is cured: the first and the last place are read wherever the pads are.
"""
from pathlib import Path

import torch
import torch.nn.functional as F
from few_reviews import films
from series import RESULTS, Spent, command_line, machine, save

from sft_nb.batches.batching import cut, order, pad
from sft_nb.chance import torch_seed
from sft_nb.models.loading import load

OUT = RESULTS / "widgets" / "pad_and_mask.json"
READ = "first", "last", "mean"
PADS = 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64
ROWS, SHORTEST, LONGEST = 40, 8, 24  # what is judged: so many reviews, so many words each


class ThreeHeads(torch.nn.Module):
    "One body, and a head for each read-out: log odds of fresh."
    def __init__(self, model):
        super().__init__()
        self.body = model.base_model
        self.heads = torch.nn.Linear(model.config.hidden_size, len(READ))

    def forward(self, ids, mask, last):
        states = self.body(input_ids=ids, attention_mask=mask).last_hidden_state
        kept = mask.unsqueeze(-1).float()
        mean = (states * kept).sum(1) / kept.sum(1)
        rows = torch.arange(len(ids))
        read = torch.stack([states[:, 0], states[rows, last], mean], 1)  # b 3 d
        return (read * self.heads.weight).sum(-1) + self.heads.bias


def encoded(tokenizer, texts): return tokenizer(list(texts), truncation=True)["input_ids"]


def learn(network, tokenizer, rows, epochs, size=32, rate=1e-4):
    "All three heads learn together; the rate falls to nothing."
    ids, fresh = encoded(tokenizer, rows.text), torch.tensor((rows.label == "fresh").to_numpy())
    steps = epochs * -(-len(rows) // size)
    optimizer = torch.optim.AdamW(network.parameters(), rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, steps)
    for epoch in range(epochs):
        for batch in cut(order(len(rows), 0, epoch), size):
            some = [ids[i] for i in batch]
            x, mask = pad(some, tokenizer.pad_token_id), pad([[1] * len(s) for s in some], 0)
            found = network(x, mask, mask.sum(1) - 1)
            targets = fresh[batch].float().unsqueeze(1).expand_as(found)
            F.binary_cross_entropy_with_logits(found, targets).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()


@torch.no_grad()
def answers(network, tokenizer, ids, pads, side, masked):
    "Log odds in thousandths: a list per review, of one number per read-out."
    found = []
    for row in ids:
        none = [0 if masked else 1] * pads
        x, mask = row + [tokenizer.pad_token_id] * pads, [1] * len(row) + none
        if side == "left":
            x, mask = x[len(row):] + row, mask[len(row):] + mask[:len(row)]
        log_odds = network(torch.tensor([x]), torch.tensor([mask]), torch.tensor([len(x) - 1]))
        found.append([round(1000 * one) for one in log_odds[0].tolist()])
    return found


def grid(network, tokenizer, ids):
    "Every setting: 'pads side mask' -> {read-out: numbers of all reviews}."
    found = {}
    for pads in PADS:
        for side in ("right", "left"):
            for mask in ("on", "off"):
                told = answers(network, tokenizer, ids, pads, side, mask == "on")
                each = zip(READ, zip(*told, strict=True), strict=True)
                found[f"{pads} {side} {mask}"] = {name: list(v) for name, v in each}
    return found


def judged(rows):
    "Short reviews, as many fresh as rotten ones."
    words = rows.text.str.split().str.len()
    short = rows[words.between(SHORTEST, LONGEST)]
    half = ROWS // 2
    return short.groupby("label").sample(half, random_state=0).sample(frac=1, random_state=0)


def main():
    parser = command_line(__doc__)
    parser.add_argument("--train", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    parts, spent = films(), Spent()
    with torch_seed("widgets_pad", 0):
        model, tokenizer = load("minilm", "sequence-classification", num_labels=2)
        network = ThreeHeads(model)
        rows = parts.train.sample(args.train, random_state=0)
        learn(network.train(), tokenizer, rows, args.epochs)
    network.eval()
    rows = judged(parts.certify)
    ids = encoded(tokenizer, rows.text)
    found = {
        "pads": PADS,
        "texts": rows.text.tolist(),
        "fresh": [int(label == "fresh") for label in rows.label],
        "log odds of fresh, in thousandths": grid(network, tokenizer, ids),
        "train": args.train, "epochs": args.epochs,
        "processor_seconds": spent.processor_seconds, "machine": machine(),
    }
    args.out.parent.mkdir(exist_ok=True)
    save(found, args.out)


if __name__ == "__main__":
    main()
