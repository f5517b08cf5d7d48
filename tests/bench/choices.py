"""What could a trial win? The same batches, computed in other ways.

Writes results/choices.json.

python tests/bench/choices.py [--repeats 3]

The usual way: batches of similar lengths, padded, each computed as a whole, attention "sdpa". Every
other way computes the gradient of the very same rows, to rounding (without dropout), but for
`packed, any order`, which cuts the same rows into other batches. A figure is processor seconds of
one epoch on one thread as a share of the usual way's, the ways taking turns at every batch.
"""
from functools import partial
from statistics import mean, stdev

import torch
from all_tasks import BATCH, WORK
from series import RESULTS, command_line, machine, save

OUT = RESULTS / "choices.json"
ROWS = {"sentences": 128, "entities": 128, "pictures": 128, "instructions": 16}
USUAL, WINDOW = "as a whole", 16


class Bench:
    "One task, its model in training mode, and its rows."
    def __init__(self, name):
        from sft_nb.batches.batching import Examples
        from sft_nb.training.gradient import train_mode
        self.task, checkpoint, rows = WORK[name](ROWS[name])
        self.task = self.task.learn(rows)
        model, processor = self.task.build(checkpoint, seed=0)
        self.model = train_mode(model)
        self.examples = Examples(self.task, rows, processor, seed=0)
        self.batch_size = BATCH[name]

    def batches(self, window):
        "Of the first epoch; all of them are whole."
        return self.examples.batches(self.batch_size, epoch=0, window=window)

    def packer(self):
        "Puts several examples into a row; None where the task cannot."
        from sft_nb.batches.packing import packer
        from sft_nb.task import TrainingError
        try:
            return packer(self.task, self.model, self.examples)
        except TrainingError:
            return None

    def gradient(self, rows, pieces=1, pack=None):
        self.model.zero_grad()
        for part in rows.reshape(pieces, -1):
            batch = self.examples.batch(part)
            batch = pack(batch) if pack else batch
            sum(self.task.loss(self.model(**batch.inputs), batch).values()).backward()

    def eager(self, rows):
        "With torch's plain products; both switches are in the time, and take none."
        self.model.set_attn_implementation("eager")
        self.gradient(rows)
        self.model.set_attn_implementation("sdpa")

    def ways(self, k):
        "Name -> the k-th batch in that way."
        rows = self.batches(WINDOW)[k]
        found = {
            USUAL: partial(self.gradient, rows),
            "in halves": partial(self.gradient, rows, 2),
            "in quarters": partial(self.gradient, rows, 4),
        }
        if getattr(self.model.config, "_attn_implementation", None) == "sdpa":
            found["eager attention"] = partial(self.eager, rows)
        if pack := self.packer():
            found["packed"] = partial(self.gradient, rows, pack=pack)
            other = self.batches(1)[k]
            found["packed, any order"] = partial(self.gradient, other, pack=pack)
        return found


def shares(bench):
    "Every way's seconds over an epoch, as a share of the usual one's."
    from sft_nb.training.choosing import seconds_of
    total = {}
    for k in range(len(bench.batches(WINDOW))):
        for name, work in bench.ways(k).items():
            total[name] = total.get(name, 0.0) + seconds_of(work)
    return {name: seconds / total[USUAL] for name, seconds in total.items()}


def main(repeats):
    torch.set_num_threads(1)
    table = {}
    for name in ROWS:
        bench = Bench(name)
        for first in bench.ways(0).values():
            first()  # pays for what is set up once
        runs = [shares(bench) for _ in range(repeats)]
        table[name] = {
            way: {"mean": round(mean(r[way] for r in runs), 3),
                  "sd": round(stdev(r[way] for r in runs), 3)}
            for way in runs[0] if way != USUAL
        }
        print(name, table[name], flush=True)
    save({"machine": machine(), "repeats": repeats, "shares": table}, OUT)


if __name__ == "__main__":
    parser = command_line(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    main(**vars(parser.parse_args()))
