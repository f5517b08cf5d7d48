"""Memory of answers from file to file: two hundred thousand rows, and two million.

Writes results/predict_stream.json, one finished measurement at a time.

python tests/bench/predict_stream.py [--only parts,at_once] [--rows 200000,2000000]

The model is a BERT of one layer with random weights, and reads eight tokens of a text: its answers
mean nothing, and a real one is slower. The memory is what is measured, of the command in a process
of its own; what is already in the file is skipped, so that the series survives being cut off.
"parts" is the command as it is, "at_once" answers all rows in one part.
"""
import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scale import reviews
from series import RESULTS, command_line, has, listed, machine, save, stored

sys.path.insert(0, str(Path(__file__).parents[1]))  # tiny_models

OUT = RESULTS / "predict_stream.json"
KEEP_EVERY = {"parts": 4096, "at_once": 0}
LOOK = 0.1  # seconds between two looks at the memory


def saved_run(folder):
    "A run of a BERT of one layer, after one epoch on eight rows."
    import pandas as pd
    from sft_nb.all import FineTuner, Recipe, TextClassification
    from sft_nb.chance import torch_seed
    from tiny_models import SENTENCES, make
    with torch_seed("predict_stream", 0):
        for part in make("bert", num_hidden_layers=1):
            part.save_pretrained(folder / "checkpoint")
    rows = pd.DataFrame({"text": SENTENCES, "label": ["good", "bad"] * 4})
    task = TextClassification(max_length=8)
    tuner = FineTuner(task, folder / "checkpoint", Recipe(epochs=1))
    return tuner.fit(rows).save(folder / "run")


def memory(pid):
    "Of a process, in bytes: the most it ever had resident, and what no file stands behind now."
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    found = dict(line.split(":", 1) for line in lines)
    names = {"peak_resident": "VmHWM", "anonymous": "RssAnon"}
    return {k: int(found[name].split()[0]) * 1024 for k, name in names.items() if name in found}


def children(pid):
    "Processes that it has started and that live."
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


def watched(command):
    "Seconds and peak memory of a command, and how many processes it had at most."
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start, peak, processes = time.perf_counter(), {"peak_resident": 0, "anonymous": 0}, 1
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        tree = [process.pid, *children(process.pid)]
        processes = max(processes, len(tree))
        now = [memory(pid) for pid in tree]
        peak = {k: max(v, sum(m.get(k, 0) for m in now)) for k, v in peak.items()}
        time.sleep(LOOK)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if process.returncode: raise SystemExit(f"{command} ended with {process.returncode}")
    return {
        "seconds": round(seconds, 1), "processor_seconds": round(spent, 1),
        "peak_resident": peak["peak_resident"], "peak_anonymous": peak["anonymous"],
        "processes": processes,
    }


def in_order(table, answers):
    "Does every question stand in its place, with an answer?"
    with (
        open(table, encoding="utf-8", newline="") as asked,
        open(answers, encoding="utf-8", newline="") as found,
    ):
        pairs = zip(csv.reader(asked), csv.reader(found), strict=True)
        return all(b[:2] == a and len(b) == 4 and all(b[2:]) for a, b in pairs)


def measure(way, n, folder):
    table, answers = folder / f"{n}.csv", folder / f"{way}-{n}.csv"
    if not table.exists(): reviews(table, n)
    plain = ["predict", folder / "run", table, "--out", answers, "--keep-every", KEEP_EVERY[way]]
    found = watched([sys.executable, "-m", "sft_nb", *map(str, plain)])
    assert in_order(table, answers)
    answers.unlink()
    per_second = round(n / found["processor_seconds"])
    return found | {"rows_a_processor_second": per_second, "table_bytes": table.stat().st_size}


def main():
    parser = command_line(__doc__)
    parser.add_argument("--only", default="parts,at_once")
    parser.add_argument("--rows", default="200000,2000000")
    args = parser.parse_args()
    model = "a BERT of one layer, random weights, eight tokens of a text"
    file = stored(OUT, {"model": model, "runs": []})
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        saved_run(folder)
        for way in listed(args.only):
            for n in map(int, listed(args.rows)):
                if has(file["runs"], way=way, rows=n): continue
                where = {"way": way, "rows": n, "keep_every": KEEP_EVERY[way]}
                here = machine() | {"load": round(os.getloadavg()[0], 1)}
                run = where | {"machine": here} | measure(way, n, folder)
                file["runs"].append(run)
                save(file, OUT)
                print(run, flush=True)


if __name__ == "__main__":
    main()
