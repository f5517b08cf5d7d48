"""Rungs without fine-tuning on the small tables of small_data.py: writes results/small_probe.json.

python tests/bench/small_probe.py [--tasks text-classification] [--rows 60,240] [--seeds 5]

The same tables, splits and rows to judge by as in results/small_data.json.
"""
from series import RESULTS, Spent, command_line, has, listed, machine, save, stored
from small_data import TRIALS

from sft_nb.data.splitting import split
from sft_nb.training.baselines import ladder

OUT = RESULTS / "small_probe.json"
RUNGS = ("tfidf", "frozen")


def climbed(name, n, seed, rung):
    "One rung on one table, judged on the rows that stand in no table."
    trial = TRIALS[name]
    parts = split(trial.task.read(trial.table(seed, n)), seed=seed, group=trial.group)
    rows, spent = trial.task.read(trial.judged()), Spent()
    reached = ladder(trial.task, parts.train, parts.valid, rows, rungs=(rung,))
    sizes = {role: len(part) for role, part in parts.roles.items()}
    figure = reached.evaluations[rung][reached.metric]
    found = {"task": name, "rows": n, "seed": seed, "rung": rung, "metric": reached.metric}
    told = {"reached": figure, "n": sizes | {"judged": len(rows)}, "machine": machine()}
    return found | told | spent.to_dict()


def main():
    parser = command_line(__doc__)
    parser.add_argument("--tasks", default="text-classification")
    parser.add_argument("--rows", default="60,240")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    file = stored(OUT, {"runs": []})
    for name in listed(args.tasks):
        for n in map(int, listed(args.rows)):
            for seed in range(args.seeds):
                for rung in RUNGS:
                    if has(file["runs"], task=name, rows=n, seed=seed, rung=rung): continue
                    file["runs"].append(climbed(name, n, seed, rung))
                    save(file, OUT)
                    print(name, n, seed, rung, file["runs"][-1]["reached"], flush=True)


if __name__ == "__main__":
    main()
