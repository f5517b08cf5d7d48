"""A user's script, run alone or launched on several ranks by test_ranks.py:

fine-tune, evaluate, keep the weights.
"""
import itertools
import json
import os
import signal
import sys
from pathlib import Path

import torch
from cases import CASES
from safetensors.torch import save_file

from sft_nb.all import FineTuner, Recipe
from sft_nb.batches.ranks import one_voice, ranks
from sft_nb.batches.shards import held
from sft_nb.training import checkpoints
from sft_nb.training.watching import Listener

CASE = CASES[os.environ.get("CASE", "text classification")]
TASK, ROWS = CASE.task, CASE.rows
RECIPE = Recipe(
    epochs=3, learning_rate=1e-3, batch_size=6, micro_batch_size=2, dropout=0.0,
    precision="fp32", keep_best=False,
)


def rows():
    """43 rows in batches of 6:

    eight updates an epoch, shares of 3 and 3, and of 1 and 0 in the last.
    """
    table = ROWS.sample(43, replace=True, random_state=0).reset_index(drop=True)
    if "text" not in table: return table
    return table.assign(text=[f"{t} {i}" for i, t in enumerate(table.text)])


def die_while_writing(rank, at, note):
    """From now on this rank is killed when it has half written its tensors for the nth time.

    The note says in which folder that was."""
    usual, calls = checkpoints.save_file, itertools.count(1)
    def half(tensors, path):
        usual(tensors, path)
        if (ranks().process_index, next(calls)) != (rank, at): return
        os.truncate(path, os.path.getsize(path) // 2)
        note.write_text(f"{Path(path).parent.name}/{Path(path).name}")
        os.kill(os.getpid(), signal.SIGKILL)
    checkpoints.save_file = half


class Killer(Listener):
    "Kills one rank in the middle of an epoch, as the operating system does."
    rank, at = int(os.environ.get("KILL_RANK", -1)), int(os.environ.get("KILL_AT", -1))
    def step(self, run):
        if (ranks().process_index, run.position.step) == (self.rank, self.at):
            os.kill(os.getpid(), signal.SIGKILL)


def run(out, checkpoint):
    "Fine-tune, or go on with what is in `out`."
    return FineTuner(TASK, str(checkpoint), RECIPE, out=out).fit(
        rows(), ROWS, resume="auto", listeners=[Killer()]
    )


def weights(tuner):
    "Of the whole model; all ranks ask, and of a shared model rank 0 is told."
    whole = held(tuner.model).whole(tuner.model)
    return whole and torch.cat([p.detach().flatten() for p in whole.parameters()]).double()


if __name__ == "__main__":
    out, checkpoint = map(Path, sys.argv[1:])
    if "KILL_WRITE" in os.environ:
        die_while_writing(Killer.rank, int(os.environ["KILL_WRITE"]), out.with_suffix(".died"))
    tuner = run(out, checkpoint)
    result = tuner.evaluate(ROWS)
    with one_voice():
        print("evaluated", json.dumps(result.to_dict()))
    folder = tuner.save(out / "saved")
    assert (folder / "sft_nb.json").is_file(), "every rank finds the saved run"
    final = weights(tuner)
    if ranks().is_main_process: save_file({"weights": final}, out / "final.safetensors")
