"""Start-up, many texts, two million rows, frozen bodies.

Writes results/scale.json, one finished measurement at a time.

python tests/bench/scale.py [--only startup,tokenise,rows,frozen] [--repeats 5]

Every measurement is a fresh process; what is already in the file is skipped, so that the series
survives being cut off.
"""
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from series import RESULTS, command_line, has, machine, save, stored

HERE = Path(__file__)
OUT = RESULTS / "scale.json"
CASES = {
    "startup": [{"what": "startup", "who": who} for who in (
        "libraries", "version", "help", "import", "names", "ours", "plain")],
    "tokenise": [{"what": "rows", "n": 100_000, "updates": 1}],
    "rows": [{"what": "rows", "n": n, "updates": 200} for n in (200_000, 2_000_000)],
    "frozen": [{"what": "frozen", "n": 2000, "epochs": 5}],
}
# the least that a script with torch and transformers does up to its first update
PLAIN = """
import csv
import sys
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()
_, table, checkpoint = sys.argv
rows = list(csv.DictReader(open(table)))[:32]
model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
tokenizer = AutoTokenizer.from_pretrained(checkpoint)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
batch = tokenizer([r["text"] for r in rows], padding=True, return_tensors="pt")
labels = torch.tensor([int(r["label"] == "fresh") for r in rows])
model(**batch, labels=labels).loss.backward()
optimizer.step()
"""


# our command, up to its first update
FIRST_UPDATE = """
import os
import sft_nb.training.watching as watching
from sft_nb.commands.cli import main

watching.Lines.step = lambda self, tuner: os._exit(0)
main()
"""


def reviews(path, n):
    "A CSV of n short texts: the film reviews over and over, each with a number of its own."
    from sft_nb.tasks.text.classification import film_reviews
    rows = film_reviews()
    texts, labels = rows.text.tolist(), rows.label.tolist()
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows((f"{i} {texts[i % len(texts)]}", labels[i % len(texts)]) for i in range(n))


def seconds(command):
    "Wall clock and processor seconds of a process, from its start to its end."
    def now():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.perf_counter(), used.ru_utime + used.ru_stime
    start, before = now()
    subprocess.run(command, check=True, capture_output=True)
    end, after = now()
    return {"seconds": end - start, "processor_seconds": after - before}


def startup(who):
    """From the start of a process to the version, to the imports, to the first update of our
    command, and of a plain script.
    """
    from sft_nb import assets
    folder = Path(tempfile.mkdtemp())
    reviews(folder / "rows.csv", 106)
    sizes = ["--valid-size", "21", "--certify-size", "21"]  # leaves 64 rows
    sft_nb, task = Path(sys.executable).parent / "sft-nb", ["--task", "text-classification"]
    commands = {
        "libraries": [sys.executable, "-c", "import torch, transformers"],
        "version": [sft_nb, "--version"],
        "help": [sft_nb, "fine-tune", *task, "--help"],
        "import": [sys.executable, "-c", "import sft_nb.all"],
        "names": [sys.executable, "-c", "from sft_nb.all import *"],
        "ours": [
            sys.executable, "-c", FIRST_UPDATE, "fine-tune", folder / "rows.csv", *task,
            "--out", folder / "run", *sizes,
        ],
        "plain": [sys.executable, "-c", PLAIN, folder / "rows.csv", assets.get("minilm")],
    }
    return seconds(commands[who])


class Memory(threading.Thread):
    "The highest resident memory, and the part of it that no file stands behind, in bytes."
    def __init__(self):
        super().__init__(daemon=True)
        self.anonymous = 0
        self.start()

    def run(self):
        while True:
            self.look()
            time.sleep(0.05)

    def look(self):
        try:
            lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
        except OSError:
            return  # not Linux
        self.anonymous = max(self.anonymous, int(lines["RssAnon"].split()[0]) * 1024)

    def to_dict(self):
        self.look()
        return {
            "peak_resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "peak_anonymous": self.anonymous,
        }


class Stages(Memory):
    "Seconds and memory up to the end of each stage."
    def __init__(self):
        super().__init__()
        self.ended = {}

    def begin(self): self.clock = time.perf_counter(), time.process_time()

    def end(self, name):
        seconds, processor = (
            time.perf_counter() - self.clock[0], time.process_time() - self.clock[1],
        )
        spent = {"seconds": seconds, "processor_seconds": processor}
        self.ended[name] = spent | self.to_dict()
        self.begin()


def watch(stages, updates):
    "A listener that ends stages, and the run after some updates."
    from sft_nb.all import Listener

    class Watch(Listener):
        def start(self, run):
            stages.end("prepare")
            len(run.examples.lengths)
            stages.end("encode")

        def step(self, run): run.interrupted = run.position.step >= updates
        def end(self, run): stages.end("updates")

    return Watch()


def write_elsewhere(table, n):
    "In another process, so that its memory does not count here."
    code = "import sys; import scale; scale.reviews(sys.argv[1], int(sys.argv[2]))"
    subprocess.run([sys.executable, "-c", code, table, str(n)], check=True, cwd=HERE.parent)


def rows(n, updates):
    """Read, split and fine-tune n rows; stop after some updates.

    Seconds and memory up to the end of each stage.
    """
    stages = Stages()
    from sft_nb.all import FineTuner, Recipe, TextClassification, split
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "rows.csv"
        write_elsewhere(table, n)
        stages.begin()
        task = TextClassification()
        parts = task.read(table)
        stages.end("read")
        parts = split(parts, valid_size=1000, certify_size=0)
        stages.end("split")
        tuner = FineTuner(task, "minilm", Recipe(epochs=1, batch_size=8)).fit(
            parts.train, parts.valid, listeners=[watch(stages, updates)]
        )
        return {
            "stages": stages.ended,
            "tokens": int(tuner.run.examples.lengths.sum()),
            "megabytes_of_text": table.stat().st_size / 1e6,
        } | stages.to_dict()


def frozen(n, epochs):
    """Epochs of a head on a frozen body:

    everything computed anew, states computed and kept, states read.
    """
    from sft_nb.batches.batching import Examples
    from sft_nb.data.splitting import split
    from sft_nb.batches.frozen import cached_forward, plain_forward
    from sft_nb.models.layers import freeze
    from sft_nb.tasks.text.classification import TextClassification, film_reviews
    train = split(film_reviews(), n, 0, stratify="label").valid
    task = TextClassification().learn(train)
    model, tokenizer = task.build("minilm")
    freeze(model, 0)
    examples = Examples(task, train, tokenizer, seed=1)
    folder = Path(tempfile.mkdtemp())
    out = {"megabytes": None}
    len(examples.lengths)  # encoded before the clock runs
    for name in ("plain", "first", "later"):
        start, seen = time.perf_counter(), []
        forward = (
            plain_forward
            if name == "plain"
            else cached_forward(task, model, examples, folder=folder)
        )
        seen.append(time.perf_counter() - start)
        for epoch in range(1 if name == "plain" else epochs):
            start = time.perf_counter()
            for indices in examples.batches(32, epoch=epoch):
                batch = examples.batch(indices)
                task.loss(forward(model, batch), batch)["loss"].backward()
                model.zero_grad()
            seen.append(time.perf_counter() - start)
        out[name] = {"prepare_seconds": seen[0], "epoch_seconds": seen[1:]}
    return out | {"megabytes": sum(f.stat().st_size for f in folder.iterdir()) / 1e6}


def launch(case):
    "The last line of a fresh process, as a dictionary."
    done = subprocess.run(
        [sys.executable, str(HERE), "--case", json.dumps(case)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(case):
    case = dict(case)
    return {"startup": startup, "rows": rows, "frozen": frozen}[case.pop("what")](**case)


def main():
    parser = command_line(__doc__)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument(
        "--repeats", type=int, default=5, help="of the start-up; the others run once"
    )
    parser.add_argument("--case", help="one measurement, in this process")
    args = parser.parse_args()
    if args.case: return print(json.dumps(measure(json.loads(args.case))))
    file = stored(OUT, {"runs": []})
    for series in args.only.split(","):
        for repeat in range(args.repeats if series == "startup" else 1):
            for case in CASES[series]:
                if has(file["runs"], series=series, repeat=repeat, case=case): continue
                where = {"series": series, "repeat": repeat, "case": case}
                here = machine() | {"load": os.getloadavg()[0]}
                run = where | {"machine": here} | launch(case)
                file["runs"].append(run)
                save(file, OUT)
                print(json.dumps(run), flush=True)


if __name__ == "__main__":
    main()
