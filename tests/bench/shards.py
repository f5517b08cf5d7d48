"""What a rank holds when the ranks share a model, and what an update costs it.

Writes results/shards.json, a line per finished measurement.

python tests/bench/shards.py [--repeats 1]

A random encoder is trained by FineTuner on a few short rows, so that activations are next to
nothing: what is left are weights, gradients, AdamW's averages, and what is put together for a
while. The system says how much memory the process has at most between the second update and the
last, beside what it had before the model was built. Every case is a launch of its own, with one
thread per rank. Processor seconds leave out the time in which a rank waits for the others.
"""
import json
import os
import subprocess
import sys
from pathlib import Path

from scaling import random_tokens, step_clock
from series import RESULTS, command_line, has, machine, save, stored

HERE = Path(__file__)
OUT = RESULTS / "shards.json"
SIZES = (512, 8), (768, 12)  # width, layers
CASES = [
    {"hidden": hidden, "layers": layers, "ranks": ranks, "shared": ranks > 1, "rows": 4,
     "length": 8}
    for hidden, layers, ranks in ((512, 8, 1), (512, 8, 2), (768, 12, 2))
]


def megabytes(field):
    "What the system says of this process: VmRSS is now, VmHWM the most since it was reset."
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field): return int(line.split()[1]) / 1024
    raise KeyError(field)


def peak_watch():
    "A listener that knows the most memory from the end of the second update on."
    from sft_nb.training.watching import Listener

    class Peak(Listener):
        def step(self, run):
            if run.position.step == 2: Path("/proc/self/clear_refs").write_text("5")
            self.most = megabytes("VmHWM")

    return Peak()


def measure(hidden, layers, ranks, shared, rows, length):
    "On every rank: memory and seconds of a median update; rank 0 prints."
    import numpy as np
    import pandas as pd
    import torch
    from sft_nb.batches.ranks import gathered, ranks as here
    from sft_nb.batches.shards import held
    from sft_nb.training.recipe import Recipe
    from sft_nb.training.tuner import FineTuner
    torch.set_num_threads(1)
    here()
    rng, clock, peak = np.random.default_rng(0), step_clock(), peak_watch()
    texts = [tuple(rng.integers(5, 1000, length)) for _ in range(6 * rows)]
    table = pd.DataFrame({"text": texts, "label": ["a", "b"] * (3 * rows)})
    recipe = Recipe(epochs=1, batch_size=rows, precision="fp32")
    def fitted(hidden, layers, listeners):
        tuner = FineTuner(random_tokens(layers, hidden), "random", recipe, device="cpu")
        tuner.shortcuts = ()
        return tuner.fit(table, listeners=listeners)
    fitted(64, 1, [])  # everything is imported, and the connection has its buffers
    before = megabytes("VmRSS")
    tuner = fitted(hidden, layers, [clock, peak])
    assert held(tuner.model).in_lockstep == shared
    update = np.median(np.diff(clock.at, axis=0)[1:], axis=0)
    own = gathered([(peak.most - before, update[1])])
    in_blocks = sum(p.numel() for p in tuner.model.bert.encoder.parameters())
    if not here().is_main_process: return
    memory, seconds = map(list, zip(*own, strict=True))
    print(json.dumps({
        "parameters": sum(p.numel() for p in tuner.model.parameters()), "in_blocks": in_blocks,
        "megabytes": memory, "processor_seconds": seconds}))


def launch(case):
    "The last line of a fresh process, as a dictionary."
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    launcher = [*launcher, str(case["ranks"])] if case["ranks"] > 1 else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    if case["shared"]: environment |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    done = subprocess.run(
        [sys.executable, *launcher, str(HERE), "--case", json.dumps(case)],
        capture_output=True, text=True, env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = command_line(__doc__)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--case")
    args = parser.parse_args()
    if args.case: return measure(**json.loads(args.case))
    file = stored(OUT, {"machine": machine() | {"threads": 1}, "runs": []})
    for repeat in range(args.repeats):
        for case in CASES:
            if has(file["runs"], series="memory", repeat=repeat, case=case): continue
            run = {"series": "memory", "repeat": repeat, "case": case} | launch(case)
            file["runs"].append(run)
            save(file, OUT)
            print(json.dumps(run), flush=True)


if __name__ == "__main__":
    main()
