"""How time and memory grow with rows, length, parameters and ranks.

Writes results/scaling.json, a line per finished measurement.

python tests/bench/scaling.py [--only rows,length,parameters,ranks]

Every measurement is a fresh process with one thread; what is in the file is skipped, so that the
series survives being cut off. Processor seconds are what a clock shows on a machine that does
nothing else, but they leave out the time in which a rank waits.
"""
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from series import RESULTS, command_line, has, machine, save, stored

HERE = Path(__file__)
OUT = RESULTS / "scaling.json"
PLAIN = dict(layers=6, hidden=384, length=32, batch=16, rows=64, ranks=1)
SERIES = {
    "rows": [PLAIN | {"rows": n} for n in (64, 128, 256, 512)],
    "length": [PLAIN | {"length": n, "batch": 8} for n in (32, 64, 128, 256, 512)],
    "parameters": [
        PLAIN | {"hidden": hidden, "layers": layers}
        for hidden, layers in ((128, 2), (256, 4), (384, 6), (512, 8), (768, 12), (1024, 12))
    ],
    "ranks": [PLAIN | {"batch": b, "rows": 16 * b, "ranks": n} for b in (16, 64) for n in (1, 2)],
}


def random_tokens(layers, hidden):
    "A task whose rows are token ids already, for a random BERT of any size."
    from transformers import BertConfig, BertForSequenceClassification
    from sft_nb.tasks.text.classification import TextClassification

    class Processor:
        pad_token_id, model_max_length = 0, 512

    class Tokens(TextClassification):
        def build(self, checkpoint, **options):
            config = BertConfig(
                vocab_size=1000, hidden_size=hidden, num_hidden_layers=layers,
                num_attention_heads=hidden // 32, intermediate_size=4 * hidden,
                max_position_embeddings=512,
            )
            return BertForSequenceClassification(config), Processor()

        def check(self, rows, labelled=True): return []
        def check_lengths(self, rows, processor, lengths=None): return []
        def encode_all(self, rows, processor):
            return [
                {"input_ids": list(tokens), "classes": self.class_ids(label)}
                for tokens, label in zip(rows.text, rows.label, strict=True)
            ]

    return Tokens()


def step_clock():
    "A listener that looks at both clocks after every update."
    import numpy as np
    from sft_nb.training.watching import Listener

    class Clock(Listener):
        def start(self, run): self.at = [self.now()]
        def step(self, run): self.at.append(self.now())
        def now(self): return np.array([time.perf_counter(), time.process_time()])

    return Clock()


def peak_megabytes(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(layers, hidden, length, batch, rows, ranks):
    """In a fresh process: seconds of an epoch and of its median update, peak memory, by
    FineTuner on random tokens.
    """
    import numpy as np
    import pandas as pd
    import torch
    from sft_nb.batches.ranks import ranks as here
    from sft_nb.training.recipe import Recipe
    from sft_nb.training.tuner import FineTuner
    torch.set_num_threads(1)
    clock, rng, task = step_clock(), np.random.default_rng(0), random_tokens(layers, hidden)
    texts = [tuple(rng.integers(5, 1000, length)) for _ in range(rows)]
    table = pd.DataFrame({"text": texts, "label": ["a", "b"] * (rows // 2)})
    before = peak_megabytes()
    recipe = Recipe(epochs=1, batch_size=batch, precision="fp32")
    tuner = FineTuner(task, "random", recipe, device="cpu").fit(table, listeners=[clock])
    if not here().is_main_process: return
    update = np.median(np.diff(clock.at, axis=0)[1:], axis=0)  # the first update warms up
    epoch = clock.at[-1] - clock.at[0]
    found = {
        "million_parameters": sum(p.numel() for p in tuner.model.parameters()) / 1e6,
        "update_seconds": update[0], "update_processor_seconds": update[1],
        "epoch_seconds": epoch[0], "epoch_processor_seconds": epoch[1],
        "peak_megabytes": peak_megabytes() - before,
    }
    print(json.dumps(found))


def launch(case):
    "The last line of a fresh process, as a dictionary."
    launcher = []
    if case["ranks"] > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        launcher.append(str(case["ranks"]))
    done = subprocess.run(
        [sys.executable, *launcher, str(HERE), "--case", json.dumps(case)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = command_line(__doc__)
    parser.add_argument("--only", default=",".join(SERIES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--case")
    args = parser.parse_args()
    if args.case: return measure(**json.loads(args.case))
    file = stored(OUT, {"machine": machine() | {"threads": 1}, "runs": []})
    for repeat in range(args.repeats):  # the series in turn, so that a slow minute hits all of them
        for series in args.only.split(","):
            for case in SERIES[series]:
                if has(file["runs"], series=series, repeat=repeat, case=case): continue
                run = {"series": series, "repeat": repeat, "case": case} | launch(case)
                file["runs"].append(run)
                save(file, OUT)
                print(json.dumps(run), flush=True)


if __name__ == "__main__":
    main()
