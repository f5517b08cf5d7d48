"""How time and memory grow with rows, length, parameters and ranks: writes results/scaling.json, a line per finished measurement.

python tests/bench/scaling.py [--only rows,length,parameters,ranks]

Every measurement is a fresh process with one thread; what is in the file is skipped, so that the series survives being cut off.
Processor seconds are what a clock shows on a machine that does nothing else, but they leave out the time in which a rank waits.
"""
import argparse, json, os, resource, subprocess, sys, time
from pathlib import Path

from series import RESULTS, machine, save, stored

HERE = Path(__file__)
OUT = RESULTS / "scaling.json"
PLAIN = dict(layers=6, hidden=384, length=32, batch=16, rows=64, ranks=1)
SERIES = {
    "rows": [PLAIN | {"rows": n} for n in (64, 128, 256, 512)],
    "length": [PLAIN | {"length": n, "batch": 8} for n in (32, 64, 128, 256, 512)],
    "parameters": [
        PLAIN | {"hidden": h, "layers": l}
        for h, l in ((128, 2), (256, 4), (384, 6), (512, 8), (768, 12), (1024, 12))
    ],
    "ranks": [PLAIN | {"batch": b, "rows": 16 * b, "ranks": n} for b in (16, 64) for n in (1, 2)],
}


def measure(layers, hidden, length, batch, rows, ranks):
    """In a fresh process: seconds of an epoch and of its median update, peak memory, by
    FineTuner on random tokens.
    """
    import numpy as np, pandas as pd, torch
    from transformers import BertConfig, BertForSequenceClassification
    from sft_nb.batches.ranks import ranks as here
    from sft_nb.training.recipe import Recipe
    from sft_nb.tasks import TextClassification
    from sft_nb.training.tuner import FineTuner
    from sft_nb.training.watching import Listener
    torch.set_num_threads(1)

    class Tokens(TextClassification):
        "Rows that are token ids already, for a random BERT of any size."
        def build(self, checkpoint, **options):
            config = BertConfig(
                vocab_size=1000, hidden_size=hidden, num_hidden_layers=layers,
                num_attention_heads=hidden // 32, intermediate_size=4 * hidden,
                max_position_embeddings=512,
            )
            class Processor:
                pad_token_id, model_max_length = 0, 512
            return BertForSequenceClassification(config), Processor()
        def check(self, rows, labelled=True): return []
        def check_lengths(self, rows, processor, lengths=None): return []
        def encode_all(self, rows, processor):
            return [
                {"input_ids": list(t), "classes": self.class_ids(y)}
                for t, y in zip(rows.text, rows.label)
            ]

    class Clock(Listener):
        def start(self, run): self.at = [self.now()]
        def step(self, run): self.at.append(self.now())
        def now(self): return np.array([time.perf_counter(), time.process_time()])

    clock, rng = Clock(), np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "text": [tuple(rng.integers(5, 1000, length)) for _ in range(rows)],
            "label": ["a", "b"] * (rows // 2),
        }
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tuner = FineTuner(
        Tokens(), "random", Recipe(epochs=1, batch_size=batch, precision="fp32"), device="cpu"
    ).fit(table, listeners=[clock])
    if here().is_main_process:
        steps = np.diff(clock.at, axis=0)[1:]  # the first update warms up
        seconds = {"update": np.median(steps, axis=0), "epoch": clock.at[-1] - clock.at[0]}
        print(
            json.dumps(
                {"million_parameters": sum(p.numel() for p in tuner.model.parameters()) / 1e6}
                | {
                    f"{k}_{kind}seconds": v[i]
                    for k, v in seconds.items()
                    for i, kind in enumerate(("", "processor_"))
                }
                | {
                    "peak_megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
                    / 1024
                }
            )
        )


def launch(case):
    "The last line of a fresh process, as a dictionary."
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(case["ranks"])]
        if case["ranks"] > 1
        else []
    )
    done = subprocess.run(
        [sys.executable, *launcher, str(HERE), "--case", json.dumps(case)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(SERIES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--case")
    args = parser.parse_args()
    if args.case: return measure(**json.loads(args.case))
    file = stored(OUT, {"machine": machine() | {"threads": 1}, "runs": []})
    for repeat in range(args.repeats):  # the series in turn, so that a slow minute hits all of them
        for series in args.only.split(","):
            for case in SERIES[series]:
                if any(
                    (r["series"], r["repeat"], r["case"]) == (series, repeat, case)
                    for r in file["runs"]
                ):
                    continue
                file["runs"].append(
                    {"series": series, "repeat": repeat, "case": case} | launch(case)
                )
                save(file, OUT)
                print(json.dumps(file["runs"][-1]), flush=True)


if __name__ == "__main__":
    main()
