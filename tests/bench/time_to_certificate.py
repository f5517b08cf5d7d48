"""How long from a table to a certificate? From cold Python to CERTIFIED, beside a short script.

Writes results/time_to_certificate.json.

python tests/bench/time_to_certificate.py [--seeds 0,1,2,3,4] [--ways ours,short,tuned]
python tests/bench/time_to_certificate.py --limit
python tests/bench/time_to_certificate.py --entry quick --options "--epochs 2 --learning-rate 2e-4"

Every way gets the same file of film reviews and the same encoder from the disk, splits by film into
60, 20 and 20 per cent, trains, looks at the valid rows after every epoch, and says whether the
accuracy, averaged over films, is at least 0.60 at a confidence of 95 per cent. All of it counts:
starting Python, importing, reading, training, judging, writing. The ways take turns.

    ours    sft-nb fine-tune, then sft-nb certify, with nothing chosen
    short   the shortest honest script with the transformers Trainer, as it comes; the bound of the
            certificate is this package's
    tuned   the same script with what one would set: batches of 32, similar lengths together, a
            higher rate, bfloat16 where the processor has it, fused AdamW

An entry is another recipe for `sft-nb fine-tune`: its options, under a name. The seed changes the
split and the training. The clock is the processor time of all processes; the wall's is stored too.
"""
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from series import RESULTS, command_line, has, listed, machine, save, stored

OUT = RESULTS / "time_to_certificate.json"
CLAIM, REVIEWS = 0.60, 1500
SCRIPT = Path(__file__).with_name("trainer_certificate.py")


def table(folder):
    "The reviews, as anybody would have them."
    from sft_nb.tasks.text.classification import film_reviews
    path = folder / "reviews.csv"
    film_reviews().sample(REVIEWS, random_state=0).to_csv(path, index=False)
    return path


def encoder():
    "The folder of the encoder, fetched before any clock runs."
    from sft_nb.assets import get
    return get("minilm")


def commands(way, options, reviews, folder, seed):
    "What would be typed, a list of words each."
    if way != "ours": return [[sys.executable, SCRIPT, reviews, encoder(), seed, way, CLAIM]]
    own = [sys.executable, "-m", "sft_nb"]
    run, certificate = folder / "run", folder / "certificate.json"
    columns = ["--task", "text-classification", "--group", "movie", "--seed", seed]
    return [
        [*own, "fine-tune", reviews, *columns, "--out", run, *shlex.split(options)],
        [*own, "certify", run, run / "certify.csv", "--claim", f"accuracy >= {CLAIM}",
         "--out", certificate, "--ledger", folder / "ledger.json"],
    ]


def spent(words, folder):
    "Run a command: what it said, and its seconds by the wall and of the processor."
    start = time.perf_counter()
    said = folder / "said.txt"
    with open(said, "w", encoding="utf-8") as out:
        process = subprocess.Popen([str(w) for w in words], stdout=out, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    text = said.read_text(encoding="utf-8")
    if process.returncode not in (0, 1): raise SystemExit(f"{words} ended with {status}: {text}")
    return text, time.perf_counter() - start, usage.ru_utime + usage.ru_stime


def one(way, options, seed):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        reviews = table(folder)
        told = [spent(words, folder) for words in commands(way, options, reviews, folder, seed)]
    last = told[-1][0]
    return {
        "way": way, "seed": seed,
        "certified": bool(re.search(r"^CERTIFIED", last, re.M)),
        "observed": float(re.search(r"Observed ([\d.]+)", last)[1]),
        "at_least": float(re.search(r"at least ([\d.]+)", last)[1]),
        "processor_seconds": round(sum(cpu for _, _, cpu in told), 1),
        "seconds": round(sum(wall for _, wall, _ in told), 1),
    }


def summary(runs):
    "For every way: how often certified, and its seconds: mean and standard deviation."
    import pandas as pd
    table = pd.DataFrame(runs).groupby("name", sort=False)
    found = table.agg(
        runs=("seed", "size"), certified=("certified", "sum"), observed=("observed", "mean"),
        at_least=("at_least", "mean"), processor_seconds=("processor_seconds", "mean"),
        sd=("processor_seconds", "std"), seconds=("seconds", "mean"))
    ours = found.processor_seconds.get("ours", float("nan"))
    found["times_ours"] = found.processor_seconds / ours
    return json.loads(found.round(3).reset_index().to_json(orient="records"))


def limit():
    "What the matrix products of an epoch take at least, on one thread of this machine."
    import pandas as pd
    import torch
    from sft_nb.batches.batching import Examples
    from sft_nb.speed.measuring import training_flops
    from sft_nb.tasks.text.classification import TextClassification
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        rows = pd.read_csv(table(Path(place)), keep_default_na=False)
    task = TextClassification().learn(rows)
    model, tokenizer = task.build(encoder())
    flops = training_flops(model, Examples(task, rows, tokenizer, seed=0).lengths) / len(rows)
    a, b, seconds = torch.randn(4096, 384), torch.randn(384, 1536), []
    for _ in range(60):
        start = time.process_time()
        a @ b
        seconds.append(time.process_time() - start)
    rate = 2 * a.numel() * b.shape[1] / min(seconds)
    return {"flops_a_row": flops, "flops_a_second": rate, "machine": machine()}


def main():
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=listed, default=list("01234"))
    parser.add_argument("--ways", type=listed, default=["ours", "short", "tuned"])
    parser.add_argument("--entry", help="a name for the options of another recipe")
    parser.add_argument("--options", default="", help="of sft-nb fine-tune, for the entry")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--limit", action="store_true", help="how fast could it be? Nothing else")
    args = parser.parse_args()
    empty = {"claim": f"accuracy >= {CLAIM}", "reviews": REVIEWS, "runs": []}
    file = stored(args.out, empty)
    if args.limit:
        save(file | {"limit": limit()}, args.out)
        return
    ways = [(args.entry, "ours", args.options)] if args.entry else [(w, w, "") for w in args.ways]
    encoder()
    for seed in map(int, args.seeds):
        for name, way, options in ways:
            if has(file["runs"], name=name, seed=seed): continue
            found = {"name": name, "options": options} | one(way, options, seed)
            file["runs"].append(found | {"machine": machine()})
            file["summary"] = summary(file["runs"])
            save(file, args.out)
            print(f"{name}, seed {seed}: {found['processor_seconds']} s, "
                  f"{'certified' if found['certified'] else 'not certified'}", flush=True)


if __name__ == "__main__":
    main()
