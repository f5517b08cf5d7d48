"""Make sft_nb/measured.toml from results/: what was tried on how many rows, and what it reached.

python tools/measured.py            write the file
python tools/measured.py --check    is it up to date?

A new series of results is one function more in SOURCES: it yields a record for each finished run.
"""
import json
import re
import statistics
import sys
from functools import partial
from itertools import groupby
from pathlib import Path

from sft_nb.training.recipe import Recipe

ROOT = Path(__file__).parents[1]
OUT = ROOT / "sft_nb" / "measured.toml"
HEAD = "# Made from results/ by tools/measured.py; do not edit.\n"
RUNGS = ("tfidf", "features", "frozen", "scratch")  # of the ladder, beside the fine-tuned model
LEFT_OUT = ("micro_batch_size", "precision", "seed")  # fields that change no figure on purpose


def runs_of(name):
    path = ROOT / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []


def record(task, rows, way, metric, reached, seconds, data, changes=None):
    "One run: the way it was made, on how many training rows, and the figure on rows kept aside."
    return {"task": task, "rows": rows, "way": way, "changes": changes or {}, "metric": metric,
            "reached": reached, "seconds": seconds, "data": data}


DATA = {
    "text-classification": "film reviews", "text-regression": "rated sentences",
    "sequence-labelling": "tweets", "image-classification": "handwritten digits",
    "object-detection": "scenes with digits", "translation": "dates",
    "instruction-tuning": "bundled instructions",
}


def small_data():
    "The default recipe on small tables, and other sizes of it."
    file = json.loads((ROOT / "results" / "small_data.json").read_text(encoding="utf-8"))
    for part in ("runs", "tried"):
        for r in file[part]:
            task, rows = r["task"], r["n"]["train"]
            told = r["metric"], r["reached"], r["processor_seconds"], DATA[task]
            yield record(task, rows, "recipe", *told, r["recipe"] if part == "tried" else {})
            yield record(task, rows, "without learning", r["metric"], r["without learning"], 0,
                         DATA[task])


def changed(stored):
    "The fields of a stored recipe that are not the default's."
    plain = Recipe().to_dict() | {"methods": []}
    own = {k: v for k, v in stored.items() if v != plain.get(k) and k not in LEFT_OUT}
    methods = {"methods": "; ".join(own.pop("methods"))} if own.get("methods") else {}
    return {k: v for k, v in own.items() if v is not None} | methods


def ladder_of(name, task, metric):
    "The rungs of a ladder on a large table."
    file = json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))
    for r in file["runs"]:
        for rung, figures in r["ladder"].items():
            told = metric, figures[metric], r["seconds"].get(rung, 0), DATA[task]
            if rung in RUNGS: yield record(task, r["n"]["train"], rung, *told)
            if rung == "fine-tuned":
                stored = file.get("recipe") or r["made"][rung]["recipe"]
                yield record(task, r["n"]["train"], "recipe", *told, changed(stored))


def small_probe():
    "Rungs without fine-tuning on the same small tables as small_data."
    for r in runs_of("small_probe"):
        yield record(r["task"], r["n"]["train"], r["rung"], r["metric"], r["reached"],
                     r["processor_seconds"], DATA[r["task"]])


def reviews(name, changes):
    "Benches on 200 film reviews: `changes(run)` says what its recipe has changed."
    for r in runs_of(name):
        reached = r["judged"] if isinstance(r.get("judged"), float) else r.get("accuracy")
        if reached is None:  # an ensemble's member keeps its probabilities
            sides = zip(r["judged"], r["judged truth"], strict=True)
            right = [(p >= .5) == (fresh == "1") for p, fresh in sides]
            reached = sum(right) / len(right)
        yield record("text-classification", 200, "recipe", "accuracy", reached,
                     r["processor_seconds"], DATA["text-classification"], changes(r))


def of_arm(run):
    "The setting that an arm is named after."
    name, _, value = run["arm"].rpartition(" ")
    if name == "depth_decay": return {"depth_decay": float(value)}
    return {"methods": f"FreshTop(blocks={value})"}


def of_rate(run): return {"learning_rate": run["rate"]}


SOURCES = {  # file in results/ -> its runs
    "small_data": small_data,
    "small_probe": small_probe,
    "text_classification": partial(
        ladder_of, "text_classification", "text-classification", "accuracy"),
    "text_regression": partial(ladder_of, "text_regression", "text-regression", "r2"),
    "sequence_labelling": partial(ladder_of, "sequence_labelling", "sequence-labelling", "f1"),
    "ensemble": partial(reviews, "ensemble", lambda run: {}),
    "rate_finder": partial(reviews, "rate_finder", of_rate),
    "fresh_top": partial(reviews, "fresh_top", of_arm),
}


def situation(r):
    "What is the same for the runs that are averaged."
    return r["task"], r["rows"], r["way"], json.dumps(r["changes"], sort_keys=True)


def averaged(source, runs):
    "A record per situation: mean, spread over runs, and how many runs."
    for _, some in groupby(sorted(runs, key=situation), key=situation):
        some = list(some)
        figures = [r["reached"] for r in some]
        spread = statistics.stdev(figures) if len(figures) > 1 else 0.0
        seconds = statistics.mean(r["seconds"] for r in some)
        kept = {k: some[0][k] for k in ("task", "rows", "way", "metric", "data", "changes")}
        yield kept | {"mean": round(statistics.mean(figures), 4), "spread": round(spread, 4),
                      "runs": len(figures), "seconds": round(seconds, 1), "source": source}


def line(name, value):
    if isinstance(value, dict):
        inside = ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items())
        return f"{name} = {{{inside}}}"
    return f"{name} = {json.dumps(value)}"


def text():
    found = [row for name, source in SOURCES.items() for row in averaged(name, source())]
    found.sort(key=lambda r: (r["task"], r["rows"], r["way"], json.dumps(r["changes"])))
    tables = ["\n".join(["[[measured]]", *(line(k, v) for k, v in row.items())]) for row in found]
    return HEAD + "\n" + "\n\n".join(tables) + "\n"


def main():
    new = text()
    if "--check" in sys.argv:
        if not OUT.exists() or OUT.read_text(encoding="utf-8") != new:
            sys.exit("sft_nb/measured.toml is not what results/ say: run tools/measured.py.")
        return
    OUT.write_text(new, encoding="utf-8")
    print(f"{len(re.findall('measured]]', new))} situations")


if __name__ == "__main__":
    main()
