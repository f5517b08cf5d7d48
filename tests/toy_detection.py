"""A detection task outside the package.

Rows without any target, two loss terms, augmentation, a model of its own.
"""
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from sft_nb.chance import torch_seed
from sft_nb.task import Batch, Prediction, Task

# a picture is SIZE x SIZE numbers; a box is [x, y, width, height] and starts at a bright pixel
SIZE = 6


@dataclass
class ToyDetection(Task):
    name: ClassVar[str] = "toy-detection"
    metric: ClassVar[tuple] = ("f1", "max")
    augments: ClassVar[bool] = True
    image: str = "image"
    boxes: str = "boxes"
    threshold: float = 0.5

    def inputs(self): return [self.image]
    def targets(self): return [self.boxes]
    def target(self, row): return sorted(tuple(map(int, b)) for b in row[self.boxes])
    def length(self, example): return 1

    def build(self, checkpoint, fresh=False, seed=0):
        with torch_seed("toy", seed):
            return nn.Sequential(
                nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(32, 3, 1)
            ), None

    def encode(self, row, processor, rng=None):
        image = torch.tensor(np.array(list(row[self.image])), dtype=torch.float32)
        boxes = self.target(row) if row.get(self.boxes) is not None else None
        turned = rng is not None and rng.random() < 0.5
        if boxes is not None and turned:  # rows become columns, and boxes follow
            image, boxes = image.T, sorted((y, x, h, w) for x, y, w, h in boxes)
        return {"image": image[None]} | ({} if boxes is None else {"boxes": boxes})

    def collate(self, examples, processor):
        heat, sizes, there = (torch.zeros(len(examples), c, SIZE, SIZE) for c in (1, 2, 1))
        for i, e in enumerate(examples):
            for x, y, w, h in e.get("boxes", ()):
                heat[i, 0, y, x] = there[i, 0, y, x] = 1
                sizes[i, :, y, x] = torch.tensor([w, h]).float()
        targets = {"heat": heat, "sizes": sizes, "there": there} if "boxes" in examples[0] else {}
        return Batch(
            {"input": torch.stack([e["image"] for e in examples])},
            targets,
            torch.arange(len(examples)),
        )

    def weigh(self, batch):
        return {"heat": float(len(batch)), "box": batch.targets["there"].sum().item()}

    def loss(self, out, batch):
        t = batch.targets
        off = (out[:, 1:] - t["sizes"]).abs() * t["there"]
        return {
            "heat": binary_cross_entropy_with_logits(out[:, :1], t["heat"], reduction="sum"),
            "box": off.sum(),
        }

    def decode(self, out, batch):
        return list(map(self.answer, out))

    def answer(self, out):
        "The boxes of one picture, from its three maps."
        p = out[0].sigmoid()
        corners = (p > self.threshold).nonzero().tolist()
        found = [(x, y, *out[1:, y, x].round().int().tolist()) for y, x in corners]
        return Prediction(sorted(found), p.max().item())

    def score(self, prediction, target):
        hit = len(set(map(tuple, prediction.value)) & set(target))
        many = len(prediction.value) + len(target)
        return 2 * hit / many if many else 1.0

    def metrics(self, predictions, targets):
        return {"f1": float(np.mean(list(map(self.score, predictions, targets))))}


def scenes(n, seed=0):
    """Pictures with zero to two boxes.

    A bright pixel each, whose two neighbours tell width and height.
    """
    rng, rows = np.random.default_rng(seed), []
    for k in range(n):
        image, boxes = rng.normal(0, 0.05, (SIZE, SIZE)).round(3), []
        for x, y in [(0, 0), (3, 3)][: rng.integers(0, 3)]:
            w, h = (int(v) for v in rng.integers(1, 4, 2))
            image[y, x], image[y, x + 1], image[y + 1, x] = 5, w, h
            boxes.append([x, y, w, h])
        rows.append({"image": image.tolist(), "boxes": boxes, "id": f"scene-{k}"})
    return rows
