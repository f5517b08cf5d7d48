"""How many epochs of the article's recipe cost as much as the recommended recipe's?

Writes results/same_seconds.json, a finished pair at a time. Lab 1 takes its arm of equal seconds
from it, so the measurement belongs on the machine that makes the lab's runs.

python tests/bench/same_seconds.py [--sets reviews,tweets,digits] [--turns 4] [--out FILE]

An epoch is what two more epochs cost, halved: loading and encoding drop out. The two recipes go in
turns, each first in every second one.
"""
from pathlib import Path

from series import RESULTS, Spent, command_line, has, listed, machine, save, stored

from sft_nb.labs.rows import rows_of
from sft_nb.labs.stability import ARMS, LABELS
from sft_nb.training.tuner import FineTuner

RECIPES = {"article": "article as printed", "stable": "stable"}  # name -> the lab's arm


def spent(name, recipe):
    "Processor seconds of a training on the lab's rows."
    rows = rows_of(name)
    tuner, train = FineTuner(rows.task, None, recipe), rows.drawn(LABELS, seed=0)
    clock = Spent()
    tuner.fit(train)
    return clock.processor_seconds


def an_epoch(name, recipe):
    one, three = (spent(name, recipe.but(epochs=n)) for n in (1, 3))
    return round((three - one) / 2, 2)


def pair(name, turn):
    "Seconds of an epoch by both recipes."
    order = list(RECIPES)[::-1 if turn % 2 else 1]
    found = {way: an_epoch(name, ARMS[name][RECIPES[way]].but(seed=turn)) for way in order}
    return {"set": name, "turn": turn, **{way: found[way] for way in RECIPES}, "machine": machine()}


def main():
    parser = command_line(__doc__)
    parser.add_argument("--sets", default=",".join(ARMS))
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--out", type=Path, default=RESULTS / "same_seconds.json")
    given = parser.parse_args()
    file = stored(given.out, {"runs": []})
    for name in listed(given.sets):
        for turn in range(given.turns):
            if has(file["runs"], set=name, turn=turn): continue
            file["runs"].append(pair(name, turn))
            save(file, given.out)


if __name__ == "__main__":
    main()
