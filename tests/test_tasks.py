"""Every task of the table goes the whole road, in Python and by command line; those on texts
with four architectures. A new task joins by an entry in EXAMPLES.
"""
import csv
import io
import json
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from conftest import alike, boxed, shapes
from tiny_models import CHINESE, SENTENCES

from sft_nb.all import (
    FineTuner, ImageClassification, ObjectDetection, InstructionTuning, Recipe,
    SequenceLabelling, TextClassification, TextRegression, Translation, read_table,
    suggest_checkpoint, suggest_loss,
)
from sft_nb.commands.cli import main
from sft_nb.finding import task_class
from sft_nb.task import Task
from sft_nb.tasks.table import ALL
from sft_nb.tasks.text.base import Texts

FOUR = ["bert", "roberta", "deberta-v2", "modernbert"]
BY_HEART = Recipe(
    epochs=60, learning_rate=3e-3, batch_size=8, dropout=0.0, schedule="linear",
    keep_best=False, precision="fp32",
)


@dataclass
class Example:
    "Eight rows that a small model can learn by heart."
    task: Task
    rows: pd.DataFrame
    checkpoints: list = field(default_factory=lambda: FOUR)  # names for the fixture `tiny`
    recipe: Recipe = BY_HEART
    least: float = 1.0  # the score that every row must reach
    suffix: str = ".csv"  # how the table is written for the command line


EXAMPLES = {
    TextClassification: Example(
        TextClassification(), pd.DataFrame({"text": SENTENCES, "label": ["good", "bad"] * 4})
    ),
    TextRegression: Example(
        TextRegression(number="minutes"),
        pd.DataFrame({"text": SENTENCES, "minutes": [95.5, 140, 88, 122, 101, 133.5, 79, 151]}),
        recipe=BY_HEART.but(epochs=300, learning_rate=7e-4),
        least=0.9,
    ),
    SequenceLabelling: Example(
        SequenceLabelling(),
        pd.DataFrame(
            {
                "words": [s.split() for s in SENTENCES],
                "tags": [["B-LONG" if len(w) > 4 else "O" for w in s.split()] for s in SENTENCES],
            }
        ),
        suffix=".jsonl",
    ),
    ObjectDetection: Example(
        ObjectDetection(size=64), boxed(8, seed=2), checkpoints=["efficientnet-lite"],
        suffix=".jsonl",
    ),
    ImageClassification: Example(
        ImageClassification(),
        pd.DataFrame({"image": shapes(8), "label": ["bar", "square"] * 4}),
        checkpoints=["efficientnet-lite", "vit", "resnet", "convnext", "swin"],
        suffix=".jsonl",
    ),
    Translation: Example(
        Translation(max_new_tokens=40),
        pd.DataFrame({"source": SENTENCES, "target": CHINESE}),
        checkpoints=["bert", "marian", "t5", "llama-chat"],
        recipe=BY_HEART.but(epochs=150),
    ),
    InstructionTuning: Example(
        InstructionTuning(max_new_tokens=40),
        pd.DataFrame({"prompt": SENTENCES, "completion": [s[::-1][:9].strip() for s in SENTENCES]}),
        checkpoints=["llama-chat", "qwen-chat"],
        recipe=BY_HEART.but(epochs=100, packing=True),
        suffix=".jsonl",
    ),
}
ROADS = [(t, c) for t, e in EXAMPLES.items() for c in e.checkpoints]
named = pytest.mark.parametrize("task, checkpoint", ROADS, ids=[f"{t.name}-{c}" for t, c in ROADS])


def test_every_task_has_an_example():
    assert set(EXAMPLES) == set(ALL), "add an entry to EXAMPLES"
    assert all(set(e.checkpoints) >= set(FOUR) for t, e in EXAMPLES.items() if issubclass(t, Texts))
    assert all(type(e.task) is t and len(e.rows) == 8 for t, e in EXAMPLES.items())


@pytest.mark.parametrize("task", ALL, ids=lambda t: t.name)
def test_found_by_name_and_says_what_suits_it(task):
    assert task_class(task.name) is task and task().metric[1] in ("max", "min")
    assert len(suggest_checkpoint(task))
    assert len(suggest_checkpoint(task, language="zh"))
    assert suggest_loss(task)
    assert suggest_checkpoint(task).index[0] == task.first


# --- in Python ---

def asked(task, rows): return rows[task.inputs()]
def scores(task, rows, answers):
    return [
        task.score(a, task.target(r)) for a, r in zip(answers, rows.to_dict("records"), strict=True)
    ]


@named
def test_eight_rows_by_heart_before_and_after_saving(task, checkpoint, tiny, tmp_path):
    example = EXAMPLES[task]
    tuner = FineTuner(example.task, tiny(checkpoint), example.recipe).fit(
        example.task.read(example.rows)
    )
    items = [
        tuple(r) if len(r) > 1 else r[0]
        for r in asked(example.task, example.rows).to_numpy().tolist()
    ]
    before = tuner.predict(items)
    assert min(scores(tuner.task, example.rows, before)) >= example.least
    again = FineTuner.load(tuner.save(tmp_path/"run"))
    assert again.task == tuner.task and alike(before, again.predict(items))
    one, other = tuner.evaluate(example.rows), again.evaluate(example.rows)
    assert other.loss == pytest.approx(one.loss, rel=1e-3, abs=1e-6)
    assert other.metrics == pytest.approx(one.metrics, rel=1e-3, abs=1e-5, nan_ok=True)
    assert example.task.metric[0] in one.metrics
    table = again.predict(example.rows)
    assert len(table) == 8
    assert {"prediction", "score"} <= set(table)
    assert np.array(scores(tuner.task, example.rows, again.predict(items))).min() >= example.least


@pytest.mark.parametrize("task", ALL, ids=lambda t: t.name)
def test_a_report_of_every_task_can_be_written(task, tiny, tmp_path):
    example = EXAMPLES[task]
    tuner = FineTuner(example.task, tiny(example.checkpoints[0]), example.recipe.but(epochs=2)).fit(
        example.task.read(example.rows), example.task.read(example.rows)
    )
    result = tuner.evaluate(example.rows)
    files = {f.name for f in result.save(tmp_path/"report").iterdir()}
    assert {"metrics.json", "predictions.csv", "plot.svg"} <= files
    assert any(f.startswith("table_") for f in files)
    assert json.loads((tmp_path/"report"/"metrics.json").read_text())["n"] == 8
    assert result._repr_html_()
    assert len(result.mistakes()) <= 8


@pytest.mark.parametrize("task", ALL, ids=lambda t: t.name)
def test_the_ladder_of_every_task(task, tiny):
    from sft_nb.training.baselines import ladder
    example = EXAMPLES[task]
    rows = example.task.read(example.rows)
    climb = ladder(
        example.task, rows, rows, rows, tiny(example.checkpoints[0]), example.recipe.but(epochs=1)
    )
    frozen = {"frozen"} if task.features is not Task.features else set()
    assert frozen | {"scratch", "fine-tuned"} < set(climb.table.index)
    assert len(climb.table) >= 4
    assert climb.plot()


# --- by command line ---

@pytest.fixture
def sft(capsys):
    def type_(*argv):
        capsys.readouterr()
        with pytest.raises(SystemExit) as e:
            main([str(a) for a in argv])
        out, err = capsys.readouterr()
        assert (e.value.code or 0) == 0, (e.value.code, out, err)
        return out
    return type_


def flags(task):
    "The columns as they are typed."
    plain = type(task)()
    return [
        w
        for f in vars(plain)
        if f in task.__dataclass_fields__ and getattr(task, f) != getattr(plain, f)
        for w in (f"--{f.replace('_', '-')}", getattr(task, f))
    ]


@pytest.mark.parametrize("task", ALL, ids=lambda t: t.name)
def test_the_whole_road_by_command_line(task, tiny, sft, tmp_path):
    example, run = EXAMPLES[task], tmp_path/"run"
    table = tmp_path/f"rows{example.suffix}"
    many = pd.concat([example.rows] * 5, ignore_index=True)
    many.to_json(
        table, orient="records", lines=True
    ) if example.suffix == ".jsonl" else many.to_csv(table, index=False)
    out = sft(
        "fine-tune", table, "--task", task.name, *flags(example.task), "--model",
        tiny(example.checkpoints[0]), "--out", run, "--epochs", 2, "--batch-size", 8,
        "--learning-rate", "1e-3", "--json",
    )
    last = json.loads(out.splitlines()[-1])
    assert last["n"] == {"train": 24, "valid": 8, "certify": 8}
    assert example.task.metric[0] in last["valid"]
    result = json.loads(sft("evaluate", run, table, "--json").splitlines()[-1])
    assert result["n"] == 40
    assert np.isfinite(result["loss"])
    assert example.task.metric[0] in result["metrics"]
    said = list(csv.DictReader(io.StringIO(sft("predict", run, table))))
    # after two epochs, silence is an answer
    assert len(said) == 40 and (
        task.free_text or all(row["prediction"] for row in said)
    )
    sft("predict", run, table, "--out", tmp_path/"answers.jsonl")
    assert len(read_table(tmp_path/"answers.jsonl")) == 40
    ours = FineTuner.load(run).predict(table)
    assert [json.dumps(v) if isinstance(v, dict) else str(v) for v in ours["prediction"]] == [
        row["prediction"] for row in said
    ]
