"""The same script on one process and on two:

the same weights, the same figures, one voice; also when a rank is killed.
"""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rank_run import ROWS, RECIPE, rows, run, weights
from safetensors.torch import load_file

from sft_nb.data.table_reader import read_table

HERE = Path(__file__).parent
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
ACCELERATE = [
    "-m", "accelerate.commands.launch", "--cpu", "--num_machines", "1", "--mixed_precision",
    "no", "--dynamo_backend", "no", "--num_processes",
]


def launch(*arguments, expect=0, seconds=240, **environment):
    "Standard output of a launched command."
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=seconds,
        env=os.environ | environment,
    )
    assert (done.returncode == 0) == (expect == 0), done.stderr[-3000:]
    return done.stdout


def apart(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.fixture(scope="module")
def alone(tiny, tmp_path_factory):
    "The uninterrupted run in this process."
    return run(tmp_path_factory.mktemp("alone"), tiny("bert"))


@pytest.fixture(scope="module")
def together(tiny, tmp_path_factory):
    "The same on two ranks: (folder, standard output)."
    out = tmp_path_factory.mktemp("together")
    return out, launch(*TORCHRUN, 2, HERE / "rank_run.py", out, tiny("bert"))


@pytest.fixture(scope="module")
def killed(tiny, tmp_path_factory):
    "Two ranks, one of which was killed in the second of three epochs."
    out = tmp_path_factory.mktemp("killed")
    launch(
        *TORCHRUN, 2, HERE / "rank_run.py", out, tiny("bert"), expect=1, KILL_RANK="1", KILL_AT="10"
    )
    assert list((out / "checkpoints").glob("step-*")) and not (out / "final.safetensors").exists()
    return out


def final(out): return load_file(out / "final.safetensors")["weights"]


def test_two_ranks_end_where_one_process_ends(alone, together):
    assert alone.position.step == 24 and len(rows()) % RECIPE.batch_size == 1
    assert apart(final(together[0]), weights(alone)) <= 1e-6


def test_evaluation_is_divided_and_the_same(alone, together):
    figures = json.loads(together[1].split("evaluated ")[1].splitlines()[0])
    mine = alone.evaluate(ROWS).to_dict()
    assert figures["metrics"] == mine["metrics"]
    assert figures["loss"] == pytest.approx(mine["loss"], rel=1e-5)


def test_only_rank_0_speaks_and_writes(together):
    out, said = together
    epochs = [line.split(",")[0] for line in said.splitlines() if line.startswith("Epoch")]
    assert epochs == ["Epoch 1", "Epoch 2", "Epoch 3"]
    assert said.count("evaluated") == 1
    assert not [f.name for f in out.rglob(".*")], "no temporary files are left"


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_killed_rank_does_not_matter(alone, killed, tiny, tmp_path, ranks):
    "The launcher stops the other rank; the run goes on with one rank or with two."
    out = tmp_path / "run"
    shutil.copytree(killed, out)
    if ranks == 1: found = weights(run(out, tiny("bert")))
    else:
        launch(*TORCHRUN, 2, HERE / "rank_run.py", out, tiny("bert"))
        found = final(out)
    assert apart(found, weights(alone)) <= 1e-6


def test_command_line_under_accelerate(tiny, reviews, tmp_path):
    "accelerate launch -m sft_nb … is the same command, and says everything once."
    table, out = tmp_path / "reviews.csv", tmp_path / "run"
    reviews.to_csv(table, index=False)
    command = [
        "-m", "sft_nb", "fine-tune", table, "--task", "text-classification", "--model",
        tiny("bert"), "--out", out, "--valid", table, "--certify-size", "0", "--epochs", "2",
        "--json",
    ]
    said = launch(*ACCELERATE, 2, *command)
    assert said.count("Epoch 1,") == said.count("Saved to") == 1
    assert json.loads(said.splitlines()[-1])["n"] == {"train": 8, "valid": 8}
    assert (out / "sft_nb.json").is_file()
    judged = launch(*TORCHRUN, 2, "-m", "sft_nb", "evaluate", out, table, "--json").splitlines()
    assert sum(line.startswith("{") for line in judged) == 1 and json.loads(judged[-1])["n"] == 8


@pytest.mark.slow
def test_ranks_answer_a_long_table_together(run, reviews, tmp_path):
    "Nothing is put away, and no rank finds the folder in the hands of another one."
    table, out = tmp_path / "reviews.csv", tmp_path / "answers.csv"
    reviews.to_csv(table, index=False)
    launch(*ACCELERATE, 2, "-m", "sft_nb", "predict", run, table, "--out", out,
           "--keep-every", 3)
    assert len(read_table(out)) == 8
    assert not [f.name for f in tmp_path.rglob(".*")]
