"""A small fine-tuning run for test_resume.py, in a process of its own, that can be killed at a
named point.
"""
import hashlib
import itertools
import json
import os
import pkgutil
import resource
import signal
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch
from tiny_models import SENTENCES

import sft_nb.training.checkpoints
from sft_nb.commands import cli
from sft_nb.all import FineTuner, Recipe, TextClassification
from sft_nb.training.checkpoints import Checkpointer
from sft_nb.training.watching import Lines

ROWS = pd.DataFrame(
    {"text": [f"{text} {i}" for i in range(3) for text in SENTENCES], "label": ["good", "bad"] * 12}
)
TRAIN, VALID = ROWS[:12].reset_index(drop=True), ROWS[12:].reset_index(drop=True)
# 3 updates an epoch; the checkpoint's own dropout; the best epoch on valid
RECIPE = Recipe(epochs=3, learning_rate=1e-3, batch_size=4)


@dataclass
class DroppedWords(TextClassification):
    "Text classification whose training texts lose a fifth of their words, others in every epoch."
    name: ClassVar[str] = "toy-dropped-words"
    augments: ClassVar[bool] = True

    def encode(self, row, processor, rng=None):
        if rng is not None:
            row = row | {
                self.text: " ".join(w for w in row[self.text].split() if rng.random() > 0.2)
                or "film"
            }
        return super().encode(row, processor)


# --- what can happen to it, and where ---

def around(where, before=None, after=None):
    "From now on, call `before` and `after` around a function, given as module.name."
    place, name = where.rsplit(".", 1)
    owner = pkgutil.resolve_name(place)
    usual = getattr(owner, name)

    def call(*args, **kwargs):
        if before: before(*args, **kwargs)
        result = usual(*args, **kwargs)
        if after: after(*args, **kwargs)
        return result

    setattr(owner, name, call)


def nth(n, *then, where=lambda *args, **kwargs: True):
    """A function that counts its calls (those that `where` agrees with), and the nth time does
    everything in `then`.
    """
    calls = itertools.count(1)

    def count(*args, **kwargs):
        if where(*args, **kwargs) and next(calls) == n: [f(*args) for f in then]

    return count


def die(*_): os.kill(os.getpid(), signal.SIGKILL)
def halve(_tensors, path): os.truncate(path, os.path.getsize(path) // 2)
def lose_a_file(folder): next(Path(folder).iterdir()).unlink()
def press_ctrl_c(*_): signal.raise_signal(signal.SIGINT)
def small_files_only(*_):
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
def leaving(folder, *_, **__): return Path(folder).suffix == ".gone" and Path(folder).exists()
def judging(*_): return not torch.is_grad_enabled()


DEATHS = {  # name -> n -> arms this process: it ends at the nth such moment
    "in a step, before its gradient": lambda n: around("torch.Tensor.backward", before=nth(n, die)),
    "in a step, the weights have moved": lambda n: around(
        "torch.optim.AdamW.step", after=nth(n, die)
    ),
    "after a step": lambda n: around(
        "sft_nb.training.checkpoints.Checkpointer.step", before=nth(n, die)
    ),
    "before a checkpoint write": lambda n: around(
        "sft_nb.training.checkpoints.write_checkpoint", before=nth(n, die)
    ),
    "in a checkpoint write": lambda n: around(
        "sft_nb.training.checkpoints.save_file", after=nth(n, halve, die)
    ),
    "between its files": lambda n: around(
        "sft_nb.training.checkpoints.save_file", after=nth(n, die)
    ),
    "before its manifest": lambda n: around(
        "sft_nb.training.checkpoints.sha256", before=nth(2 * n, die)
    ),
    "before the rename": lambda n: around("sft_nb.training.checkpoints._place", before=nth(n, die)),
    "at a rename": lambda n: around("os.replace", after=nth(n, die)),
    "after a checkpoint write": lambda n: around(
        "sft_nb.training.checkpoints.write_checkpoint", after=nth(n, die)
    ),
    "half of an old checkpoint is deleted": lambda n: around(
        "shutil.rmtree", before=nth(n, lose_a_file, die, where=leaving)
    ),
    "in evaluation": lambda n: around(
        "kill_run.DroppedWords.loss", before=nth(-(-n // 3), die, where=judging)
    ),
}
# of the command line
LAST = {
    "before the new run is whole": lambda n: around(
        "sft_nb.training.saving._stage", after=nth(n, die)
    ),
    "while it is moved": lambda n: around("sft_nb.training.folders._move", after=nth(n, die)),
}
MISHAPS = {  # what it survives, with a sentence
    "the disk takes no large file": lambda n: around(
        "sft_nb.training.checkpoints.write_checkpoint", before=nth(n, small_files_only)
    ),
    "Ctrl-C": lambda n: around("torch.Tensor.backward", before=nth(n, press_ctrl_c)),
    "Ctrl-C twice in a step": lambda n: around(
        "torch.Tensor.backward", before=nth(n, press_ctrl_c, press_ctrl_c)
    ),
    "Ctrl-C twice in a checkpoint write": lambda n: around(
        "sft_nb.training.checkpoints.save_file", after=nth(n, halve, press_ctrl_c, press_ctrl_c)
    ),
    "Ctrl-C in evaluation": lambda n: around(
        "kill_run.DroppedWords.loss", before=nth(-(-n // 3), press_ctrl_c, where=judging)
    ),
}


# --- a life ---

def digest(tensors):
    return {
        k: hashlib.sha256(torch.as_tensor(v).detach().cpu().numpy().tobytes()).hexdigest()
        for k, v in tensors.items()
    }


def summary(tuner):
    "Everything that must not depend on how often a run was killed."
    run = tuner.run
    moments = {
        f"{i}/{k}": v
        for i, state in run.optimizer.state_dict()["state"].items()
        for k, v in state.items()
    }
    return {
        "kept": digest(tuner.model.state_dict()), "best": digest(run.best_weights),
        "optimizer": digest(moments), "epochs": tuner.history.epochs,
        "steps": tuner.history.steps, "position": vars(tuner.position),
    }


def live(checkpoint, out, every=0, event=None, n=5):
    """Train, going on with what is there.

    Beside `out`: what was said in .txt, and what came out in .json.
    """
    if event: (DEATHS | MISHAPS)[event](n)
    with (
        open(out.with_suffix(".txt"), "a", buffering=1) as said,
        redirect_stdout(said),
        redirect_stderr(said),
    ):
        tuner = FineTuner(DroppedWords(), checkpoint, RECIPE, device="cpu")
        keeper = Checkpointer(out, "auto", every=every)
        try:
            tuner.fit(TRAIN, VALID, listeners=[keeper, Lines()])
        except BaseException as e:
            print(f"{type(e).__name__}: {e}")
            raise SystemExit(1) from e
    if not tuner.interrupted: out.with_suffix(".json").write_text(json.dumps(summary(tuner)))


def type_in(argv, said, event=None, n=5):
    "The command line, in this process; saves after every update."
    if event: (DEATHS | MISHAPS | LAST)[event](n)
    sft_nb.training.checkpoints.Checkpointer = partial(
        Checkpointer, every=0
    )  # `fit` fetches it when it is called
    with open(said, "a", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        cli.main(argv)
