"""What the default recipe reaches with few rows.

Writes results/small_data.json, a finished run at a time.

python tests/bench/small_data.py [--tasks text-classification,…] [--rows 30,60,120] [--seeds 5]
    [--but learning_rate=1e-4,…] [--out FILE]

A run has a table of so many rows, as a person would bring it: a fifth is split off to choose the
epoch with, a fifth to certify, the rest is trained on. What is judged is another set, the same for
every run of a task, and not one row or group of it stands in any table. What is already in the file
is skipped, so that the series survives being cut off. `--but` tries another recipe: give another
--out.
"""
import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Callable

from series import (
    RESULTS, Spent, command_line, has, listed, machine, save, stored, without_nan,
)

from sft_nb.data.asset_tables import load_data
from sft_nb.data.splitting import split
from sft_nb.evaluation.judging import predict
from sft_nb.training.recipe import Recipe
from sft_nb.task import Task
from sft_nb.tasks.writing.cldr import cldr_pairs
from sft_nb.tasks.images.classification import ImageClassification
from sft_nb.tasks.writing.instruction_tuning import InstructionTuning, bundled_instructions
from sft_nb.tasks.detection.object_detection import ObjectDetection
from sft_nb.tasks.detection.scenes import digit_scenes
from sft_nb.tasks.tagging.sequence_labelling import SequenceLabelling
from sft_nb.tasks.tagging.baselines import tweets
from sft_nb.tasks.text.classification import TextClassification, film_reviews
from sft_nb.tasks.text.regression import TextRegression, rated_sentences
from sft_nb.tasks.writing.translation import Translation
from sft_nb.training.selection import PLAIN
from sft_nb.training.tuner import FineTuner

ROWS = (30, 60, 120, 240, 500, 1000, 4000)


@dataclass(frozen=True)
class Trial:
    "A task on data that comes with the package."
    task: Task  # with its columns
    table: Callable  # (seed, n) -> n rows, as a person would bring them
    judged: Callable  # () -> rows that stand in no table
    group: str | None = None  # column that the table is split by


def pool(rows, judged, group=None):
    "The rows that tables are drawn from, and so many others to judge by."
    size = min(4 * judged, len(rows) // 4) if group else judged
    parts = split(rows, valid_size=0, certify_size=size, seed=42, group=group)
    return parts.train, parts.certify.sample(judged, random_state=0).reset_index(drop=True)


def drawn(rows, judged, group=None):
    "The two functions of a trial on one table of rows."
    parts = []

    def both():
        if not parts:
            parts.extend(pool(rows(), judged, group))
        return parts

    def table(seed, n):
        return both()[0].sample(n, random_state=seed).reset_index(drop=True)

    return table, lambda: both()[1]


def talks(seed, n):
    """Instructions of three kinds, shuffled, made of other reviews, tweets and days than those
    that are judged.
    """
    rows = bundled_instructions(seed, 2 * n)
    fresh = rows[~rows.source.isin(judged_talks().source)]
    return (
        fresh.groupby("kind").head(-(-n // 3)).sample(n, random_state=seed).reset_index(drop=True)
    )


@cache
def judged_talks():
    return bundled_instructions(10_000, 20)


def posts():
    "Tweets and sentences about products; the film reviews are another trial's."
    return rated_sentences().query("source != 'films'").reset_index(drop=True)


def dates(seed, role):
    rows = cldr_pairs(seed, dates=4500, times=3600, amounts=2400)
    return rows[rows.role == role].reset_index(drop=True)


TRIALS = {
    "text-classification": Trial(
        TextClassification(), *drawn(film_reviews, 1000, "movie"), "movie"
    ),
    "text-regression": Trial(
        TextRegression(number="rating"), *drawn(posts, 1000, "document"), "document"
    ),
    "sequence-labelling": Trial(SequenceLabelling(), *drawn(tweets, 480)),
    "image-classification": Trial(
        ImageClassification(), *drawn(lambda: load_data("mnist-5k"), 500)
    ),
    "object-detection": Trial(
        ObjectDetection(),
        lambda seed, n: digit_scenes(n, "train", seed),
        lambda: digit_scenes(100, "certify"),
    ),
    "translation": Trial(
        Translation(max_new_tokens=40), lambda seed, n: dates(seed, "train").head(n),
        lambda: dates(0, "certify").head(200),
    ),
    "instruction-tuning": Trial(
        InstructionTuning(max_new_tokens=48), talks, judged_talks, "source"
    ),
}


def without_learning(task, train, rows):
    "The answer that needs no model: the most frequent one, the mean, or no box at all."
    ways = task.baselines()
    plain = next(ways[name] for name in PLAIN if name in ways)
    return plain(train, train, rows)


def run(name, n, seed, changes):
    "One table, one fit, one judgement."
    trial = TRIALS[name]
    table = trial.task.read(trial.table(seed, n))
    parts = split(table, seed=seed, group=trial.group)
    spent, recipe = Spent(), Recipe(seed=seed).but(**changes)
    tuner = FineTuner(trial.task, recipe=recipe).fit(parts.train, parts.valid)
    spent = spent.to_dict()
    rows = trial.judged()
    task, (metric, _) = tuner.task, tuner.task.metric
    truth = trial.task.read(rows)  # the learned task would refuse tags that few rows did not show
    targets = [task.target(row) for row in truth.to_dict("records")]
    answers = predict(task, tuner.model, tuner.processor, task.read(rows, labelled=False))
    reached = task.metrics(answers, targets)
    plain = task.metrics(without_learning(task, parts.train, truth), targets)
    sizes = {role: len(part) for role, part in parts.roles.items()}
    chosen = {k: getattr(tuner.plan, k) for k in ("epochs", "learning_rate", "batch_size")}
    return {
        "task": name, "rows": n, "seed": seed, "n": sizes | {"judged": len(rows)},
        "recipe": chosen, "updates": tuner.run.updates, "kept": tuner.kept_epoch,
        "metric": metric, "reached": reached[metric], "without learning": plain[metric],
        "metrics": without_nan(reached), **spent, "machine": machine(),
    }


def main():
    parser = command_line(__doc__)
    parser.add_argument("--tasks", default=",".join(TRIALS))
    parser.add_argument("--rows", default=",".join(map(str, ROWS)))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--but", default="", help="changes of the recipe, such as learning_rate=2e-4,epochs=10"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "small_data.json")
    args = parser.parse_args()
    settings = (setting.split("=") for setting in listed(args.but))
    changes = {name: ast.literal_eval(value) for name, value in settings}
    for n in map(int, args.rows.split(",")):
        for seed in range(args.seeds):
            for name in args.tasks.split(","):
                done = stored(args.out, {"runs": []})["runs"]
                if has(done, task=name, rows=n, seed=seed): continue
                result = run(name, n, seed, changes)
                file = stored(args.out, {"runs": []})
                file["runs"].append(result)
                save(file, args.out)
                print(
                    name, n, seed, result["recipe"], round(result["reached"], 4), "against",
                    round(result["without learning"], 4), result["processor_seconds"],
                    flush=True,
                )


if __name__ == "__main__":
    main()
