"""What the exactness tests run over:

small rows and checkpoints for every task of the table. A new task joins by a line in CASES.
"""
from dataclasses import dataclass

import pandas as pd
from conftest import boxed, shapes
from tiny_models import CHINESE, LONG, SENTENCES
from toy_detection import ToyDetection, scenes

from sft_nb.models.layers import set_dropout
from sft_nb.task import Task
from sft_nb.tasks.table import (
    ImageClassification, ObjectDetection, InstructionTuning, SequenceLabelling,
    TextClassification, TextRegression, Translation,
)
from sft_nb.training.gradient import train_mode

SHORT = "fine"


@dataclass
class Case:
    task: Task
    rows: pd.DataFrame  # 8 at least, of different lengths
    checkpoint: str  # a name for the fixture `tiny`, or "toy" for a task that brings its own model

    def begin(self, tiny):
        "The task with what it learned, its model in training mode without dropout, its processor."
        task = self.task.learn(self.rows)
        model, processor = task.build(self.folder(tiny), seed=1)
        return task, train_mode(set_dropout(model, 0.0)), processor

    def folder(self, tiny):
        return self.checkpoint if self.checkpoint == "toy" else str(tiny(self.checkpoint))


def _reviews():
    texts = [
        SHORT, LONG, "dull and slow", "what a joy from the first scene", LONG + " " + SHORT,
        "no", "warm and funny", LONG[:40], "a lazy sequel", "tender",
    ]
    return pd.DataFrame(
        {
            "text": texts,
            "pair": texts[::-1],
            "label": ["good", "bad", "bad", "good", "good", "bad", "good", "so so", "bad", "good"],
            # two rows far off, so that the first eight pull the head one way: where pulls cancel, a
            # relative difference measures rounding
            "stars": [4.5, 1.0, 1.5, 5.0, 3.5, 1.0, 4.0, 2.5, 40.0, 50.0],
            "year": [1994, 2001, None, 2010, 1987, 1999, 2020, None, 2500, 2600],
            "labels": [
                "short;good", "long", "", "joy;good", "long;good", "short", "good", "long", "",
                "short",
            ],
        }
    )


def _sentences():
    words = [t.split() for t in _reviews()["text"]]
    tags = [
        [
            "O"
            if len(w) < 4
            else "B-LONG"
            if i == 0 or len(words[r][i - 1]) < 4 or i % 3 == 0
            else "I-LONG"
            for i, w in enumerate(row)
        ]
        for r, row in enumerate(words)
    ]
    return pd.DataFrame(
        {
            "words": words,
            "tags": tags,
            "speech": [
                ["short" if len(w) < 3 else "long" if len(w) > 4 else "middle" for w in row]
                for row in words
            ],
        }
    )


def _pictures():
    return pd.DataFrame(
        {
            "image": shapes(12, seed=3), "label": ["square", "bar", "other"] * 4,
            "labels": ["square;dark", "", "bar"] * 4,
        }
    )


def _boxes():
    """Twelve pictures; of the first eight, the last four have no box, so that a cut puts all
    boxes on one side.
    """
    some, none = boxed(8, seed=3, empty=0), boxed(4, seed=4, empty=1)
    return pd.concat([some[:4], none, some[4:]], ignore_index=True)


def _translations():
    return pd.DataFrame(
        {"source": [*SENTENCES, SHORT, LONG], "target": [*CHINESE, "好", CHINESE[0] + CHINESE[1]]}
    )


def _conversations():
    asked = [
        *_reviews()["text"][:8],
        [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "no"},
            {"role": "assistant", "content": "a lazy sequel"},
            {"role": "user", "content": SHORT},
        ],
        _reviews()["text"][9],
    ]
    return pd.DataFrame(
        {
            "prompt": [
                [
                    {"role": "user", "content": a},
                    {"role": "assistant", "content": "what a joy"},
                    {"role": "user", "content": "and"},
                ]
                if i == 2
                else a
                for i, a in enumerate(asked)
            ],
            "completion": [
                "good", "dull " * 9, "no", "tender and clever", LONG[:30], "a",
                "the plot is dull", "so so", "yes", "money",
            ],
        }
    )


CASES = {
    "text classification": Case(TextClassification(), _reviews(), "bert"),
    "text classification, balanced and smoothed": Case(
        TextClassification(balanced=True, label_smoothing=0.1), _reviews(), "roberta"
    ),
    "text classification, pairs": Case(
        TextClassification(text_pair="pair"), _reviews(), "modernbert"
    ),
    "text classification, several labels": Case(
        TextClassification(label="labels", multi_label=True), _reviews(), "distilbert"
    ),
    "text classification, no pad token": Case(
        TextClassification(max_length=48), _reviews(), "gpt2"
    ),
    "text regression": Case(TextRegression(number="stars"), _reviews(), "bert"),
    "text regression, several numbers, some missing": Case(
        TextRegression(number="stars, year"), _reviews(), "deberta-v2"
    ),
    "text regression, pairs": Case(
        TextRegression(text_pair="pair", number="stars"), _reviews(), "roberta"
    ),
    "sequence labelling": Case(SequenceLabelling(), _sentences(), "bert"),
    "sequence labelling, all pieces": Case(
        SequenceLabelling(pieces="all"), _sentences(), "modernbert"
    ),
    "sequence labelling, in windows": Case(
        SequenceLabelling(max_length=14, stride=4), _sentences(), "roberta"
    ),
    "sequence labelling, cut, whole words": Case(
        SequenceLabelling(max_length=14, pieces="none"), _sentences(), "deberta-v2"
    ),
    "sequence labelling, plain": Case(
        SequenceLabelling(tags="speech", max_length=48), _sentences(), "gpt2"
    ),
    "image classification": Case(ImageClassification(), _pictures(), "efficientnet-lite"),
    "image classification, attention": Case(
        ImageClassification(balanced=True, label_smoothing=0.1), _pictures(), "vit"
    ),
    "image classification, several labels": Case(
        ImageClassification(label="labels", multi_label=True), _pictures(), "resnet"
    ),
    "image classification, layer norm": Case(ImageClassification(size=48), _pictures(), "convnext"),
    "image classification, windows": Case(ImageClassification(augment="crop"), _pictures(), "swin"),
    "object detection": Case(ObjectDetection(size=64), _boxes(), "efficientnet-lite"),
    "object detection, augmented": Case(
        ObjectDetection(size=48, augment="crop, flip, colour"), _boxes(), "efficientnet-lite"
    ),
    "object detection, queries": Case(ObjectDetection(size=64), _boxes(), "conditional-detr"),
    "translation, a new decoder": Case(Translation(max_new_tokens=12), _translations(), "bert"),
    "translation, marian": Case(Translation(max_new_tokens=12), _translations(), "marian"),
    "translation, t5": Case(Translation(max_new_tokens=12, beams=2), _translations(), "t5"),
    "translation, language model": Case(
        Translation(max_new_tokens=12), _translations(), "llama-chat"
    ),
    "instruction tuning": Case(
        InstructionTuning(max_new_tokens=12), _conversations(), "llama-chat"
    ),
    "instruction tuning, pad token of its own": Case(
        InstructionTuning(max_new_tokens=12), _conversations(), "qwen-chat"
    ),
    "toy detection": Case(ToyDetection(), pd.DataFrame(scenes(12, seed=3)), "toy"),
}
