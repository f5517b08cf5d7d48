"""What the exactness tests run over: small rows and checkpoints for every task of the table. A new task joins by a line in CASES."""
from dataclasses import dataclass

import pandas as pd
from toy_detection import ToyDetection, scenes

from sft_nb.models import set_dropout
from sft_nb.task import Task
from sft_nb.tasks import TextClassification

SHORT, LONG = "fine", "a story that takes its time and then some more of it until the last light in the house is out"


@dataclass
class Case:
    task: Task
    rows: pd.DataFrame  # 8 at least, of different lengths
    checkpoint: str  # a name for the fixture `tiny`, or "toy" for a task that brings its own model

    def begin(self, tiny):
        "The task with what it learned, its model in training mode without dropout, its processor."
        task = self.task.learn(self.rows)
        model, processor = task.build(self.folder(tiny), seed=1)
        return task, set_dropout(model, 0.0).train(), processor

    def folder(self, tiny): return self.checkpoint if self.checkpoint == "toy" else str(tiny(self.checkpoint))


def _reviews():
    texts = [SHORT, LONG, "dull and slow", "what a joy from the first scene", LONG + " " + SHORT, "no", "warm and funny", LONG[:40], "a lazy sequel", "tender"]
    return pd.DataFrame({"text": texts, "pair": texts[::-1], "label": ["good", "bad", "bad", "good", "good", "bad", "good", "so so", "bad", "good"],
                         "labels": ["short;good", "long", "", "joy;good", "long;good", "short", "good", "long", "", "short"]})


CASES = {
    "text classification": Case(TextClassification(), _reviews(), "bert"),
    "text classification, balanced and smoothed": Case(TextClassification(balanced=True, label_smoothing=0.1), _reviews(), "roberta"),
    "text classification, pairs": Case(TextClassification(text_pair="pair"), _reviews(), "modernbert"),
    "text classification, several labels": Case(TextClassification(label="labels", multi_label=True), _reviews(), "distilbert"),
    "text classification, no pad token": Case(TextClassification(max_length=48), _reviews(), "gpt2"),
    "toy detection": Case(ToyDetection(), pd.DataFrame(scenes(12, seed=3)), "toy"),
}
