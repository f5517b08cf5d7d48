"""What share of training on pictures is reading them, and what share is the loss with its targets?

Writes results/picture_shares.json.

python tests/bench/picture_shares.py [--rows 96]

Reading means changing a picture by chance, scaling it and laying a batch out; a second core could
do that beside training. (Files are opened and decoded once, before the first epoch: counted as
"before".) The loss of a detector finds for each picture which places should see which box; that
could be kept from epoch to epoch. Nobody can win more than these shares. One thread, processor
seconds, one epoch, at the size that the task chooses.
"""
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from series import RESULTS, command_line, machine, save

OUT = RESULTS / "picture_shares.json"


def digits(n, folder):
    "Arrays of 28 pixels, as the bundled set has them."
    from sft_nb.data.asset_tables import load_data
    from sft_nb.tasks.images.classification import ImageClassification
    rows = load_data("mnist-5k").sample(n, random_state=0).reset_index(drop=True)
    return ImageClassification(size=96), rows


def photographs(n, folder):
    "JPEG files of the usual 500 by 375 pixels, noise and digits: slow to decode."
    import numpy as np
    import pandas as pd
    from PIL import Image
    from sft_nb.tasks.images.classification import ImageClassification
    _, small = digits(n, folder)
    rng, files = np.random.default_rng(0), []
    for i, cell in enumerate(small.image):
        large = Image.fromarray(np.asarray(cell, dtype=np.uint8)).convert("RGB").resize((500, 375))
        noise = rng.integers(0, 40, (375, 500, 3))
        pixels = np.clip(np.asarray(large) + noise, 0, 255).astype(np.uint8)
        files.append(str(folder / f"{i}.jpg"))
        Image.fromarray(pixels).save(files[-1], quality=90)
    return ImageClassification(), pd.DataFrame({"image": files, "label": small.label})


def scenes(n, folder):
    "Digits scattered over a picture, each with its box."
    from sft_nb.tasks.detection.object_detection import ObjectDetection
    from sft_nb.tasks.detection.scenes import digit_scenes
    return ObjectDetection(), digit_scenes(n)


WORK = {
    "digits, arrays of 28 pixels": digits,
    "photographs, JPEG of 500 by 375 pixels": photographs,
    "boxes, scenes of 128 pixels": scenes,
}


def watched(owner, name, part, spent):
    "Every call of a method adds its seconds to a part."
    usual = getattr(owner, name)

    def call(*args, **kwargs):
        start = time.process_time()
        try:
            return usual(*args, **kwargs)
        finally:
            spent[part] += time.process_time() - start

    setattr(owner, name, call)


def measured(make, n):
    from sft_nb.training.recipe import Recipe
    from sft_nb.training.run import Run
    spent = Counter()
    with tempfile.TemporaryDirectory() as folder:
        task, rows = make(n, Path(folder))
        start = time.process_time()
        run = Run(task, "efficientnet-lite0", Recipe(epochs=1, precision="fp32"), rows).prepared()
        before = time.process_time() - start
        watched(run.examples, "batch", "reading", spent)
        watched(type(run.task), "loss", "loss and targets", spent)
        watched(run.optimizer, "step", "optimiser", spent)
        start = time.process_time()
        run.go()
        whole = time.process_time() - start
    return before, whole, {part: seconds / whole for part, seconds in spent.items()}


def main():
    parser = command_line(__doc__)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    file = {"rows": args.rows, "machine": machine(), "work": {}}
    for name, make in WORK.items():
        before, seconds, shares = measured(make, args.rows)
        shares = {part: round(share, 4) for part, share in shares.items()}
        file["work"][name] = {
            "before": round(before, 2), "processor_seconds": round(seconds, 2), "shares": shares}
        print(name, json.dumps(file["work"][name]), flush=True)
    save(file, args.out)


if __name__ == "__main__":
    main()
