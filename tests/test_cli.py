"""The command line as scripts use it:

exit codes, what goes to standard output and what to standard error, interruption and resumption.
"""
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import same_tensors, same_weights
from tiny_models import SENTENCES
from safetensors.torch import load_file

import sft_nb
from sft_nb.all import FineTuner, Recipe, TextClassification, read_table
from sft_nb.data.hashes import question_hashes
from sft_nb.training.recipe import Method
from sft_nb.training.watching import Lines, Listener

SFT_NB = Path(sys.executable).with_name("sft-nb")
ROWS = pd.DataFrame(
    {
        "text": [
            f"{text} {word}" for word in ("film", "plot", "joy", "noise", "cast")
            for text in SENTENCES
        ],
        "label": ["good", "bad"] * 20,
        "film": [f"film {i // 4}" for i in range(40)],
    }
)


def start(*argv, **options):
    "The command as a process of its own: the installed script, or the module where there is none."
    command = (
        [str(SFT_NB)]
        if SFT_NB.exists()
        else [sys.executable, "-c", "from sft_nb.commands.cli import main; main()"]
    )
    return subprocess.Popen(
        [*command, *map(str, argv)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, encoding="utf-8", **options,
    )


def finish(process, stdin=None, code=0):
    out, err = process.communicate(stdin, timeout=180)
    assert process.returncode == code, (process.returncode, out, err)
    return out, err


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")/"reviews.csv"
    ROWS.to_csv(path, index=False)
    return path


def tune(table, tiny, out, *more):
    return [
        "fine-tune", table, "--task", "text-classification", "--model", tiny("bert"), "--out",
        out, "--epochs", 2, "--batch-size", 8, *more,
    ]


# --- words that print and end ---

def test_version(sft): assert sft("--version") == (f"{sft_nb.__version__}\n", "")


def test_help_of_everything(sft):
    out, err = sft("--help")
    assert all(
        word in out
        for word in (
            "fine-tune", "evaluate", "predict", "promise", "certify", "verify", "revoke", "monitor",
            "export-certificate", "sign", "assets", "demo", "--version",
        )
    )
    assert not err


def test_help_shows_the_columns_of_the_task(sft, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    out, _ = sft("fine-tune", "--task", "text-classification", "--help")
    options = {w.strip("│ ") for w in out.split()}
    assert {
        "--text", "--label", "--text-pair", "--multi-label", "--max-length", "--balanced",
    } <= options
    assert {
        "--task", "--out", "--valid", "--certify", "--group", "--model", "--recipe",
        "--epochs", "--learning-rate", "--batch-size", "--valid-size", "--certify-size",
        "--seed", "--resume", "--json",
    } <= options
    assert not {"--labels", "--class-weights"} & options  # learned, not asked


@pytest.mark.parametrize(
    "argv",
    [
        ["fine-tune", "--help"], ["evaluate", "--help"], ["predict", "--help"],
        ["certify", "--help"], ["verify", "--help"], ["monitor", "--help"],
        ["assets", "--help"], ["demo", "--help"],
        ["promise", "--help"], ["export-certificate", "--help"], ["sign", "--help"],
        ["export", "--help"],
    ],
)
def test_help(sft, argv):
    assert "Usage" in sft(*argv)[0]


@pytest.mark.parametrize(
    "argv",
    [
        ["tune"], ["predict"], ["evaluate", "run"],
        ["fine-tune", "a.csv", "--task", "text-classification"],
        ["predict", "run", "--txt", "a"],
        ["fine-tune", "a.csv", "--task", "text-classification", "--out", "b", "--epochs", "three"],
    ],
)
def test_usage_errors_are_code_2(sft, argv):
    out, err = sft(*argv, code=2)
    assert not out and "Usage" in err and "Traceback" not in err


def test_assets_list(sft):
    out, err = sft("assets", "list")
    assert all(
        name in out for name in ("minilm", "rotten-tomatoes", "tweets-ner", "mnist-5k", "smollm2")
    )
    assert not err


# --- fine-tune, evaluate, predict ---

@pytest.fixture(scope="module")
def tuned(table, tiny, tmp_path_factory):
    """A run made by the installed command, with what it wrote.

    (folder, standard output, standard error)
    """
    out = tmp_path_factory.mktemp("runs") / "reviews"
    argv = tune(table, tiny, out, "--valid-size", ".2", "--certify-size", ".2", "--json")
    return out, *finish(start(*argv))


def test_fine_tune_through_a_pipe(tuned):
    folder, out, err = tuned
    assert all(line.startswith("warning: ") for line in err.splitlines())
    assert not set("\r\x1b█▏") & set(out) and "%|" not in out and "it/s" not in out
    lines = out.splitlines()
    epochs = [line for line in lines if line.startswith("Epoch")]
    assert [line.split(",")[0] for line in epochs] == ["Epoch 1", "Epoch 2"]
    first = epochs[0]
    assert "Training Loss: " in first and "Validation Loss: " in first and "accuracy: " in first
    last = json.loads(lines[-1])
    assert last["n"] == {"train": 24, "valid": 8, "certify": 8}
    assert last["out"] == str(folder)
    assert {"epoch", "valid_loss", "accuracy"} <= set(last["valid"])
    assert not (folder/"checkpoints").exists() and len(read_table(folder/"certify.csv")) == 8


def test_the_same_seed_gives_the_same_run(tuned, table, tiny, sft, tmp_path):
    sft(*tune(table, tiny, tmp_path/"run"))
    ours = load_file(tuned[0]/"model.safetensors")
    theirs = load_file(tmp_path/"run"/"model.safetensors")
    assert same_tensors(ours, theirs)
    sft(*tune(table, tiny, tmp_path/"other", "--seed", 1))
    assert not torch.equal(
        load_file(tmp_path / "other" / "model.safetensors")["classifier.weight"],
        ours["classifier.weight"],
    )


def test_evaluate(tuned, sft, tmp_path):
    folder = tuned[0]
    out, err = sft("evaluate", folder, folder/"certify.csv", "--json", "--out", tmp_path/"report")
    result = json.loads(out.splitlines()[-1])
    assert list(result) == ["n", "loss", "metrics"]
    assert result["n"] == 8
    assert {"accuracy", "f1_macro"} <= set(result["metrics"])
    assert not err
    assert "warning" not in out and "Evaluation of 8 rows" in out
    tuner = FineTuner.load(folder)
    assert tuner.evaluate(tuner.task.read(folder/"certify.csv")).to_dict() == result
    assert json.loads((tmp_path/"report"/"metrics.json").read_text()) == result
    assert (tmp_path/"report"/"predictions.csv").exists()


def test_evaluate_warns_of_rows_used_before(tuned, table, sft):
    out, err = sft("evaluate", tuned[0], table, "--json")
    assert err.startswith("warning: 32 of these rows were used in training or selection")
    assert json.loads(out.splitlines()[-1])["n"] == 40


def test_predict_texts(tuned, sft):
    folder, texts = tuned[0], ["a warm film, and funny", "two hours\nof noise"]
    out, err = sft("predict", folder, "--text", texts[0], "--text", texts[1])
    rows = list(csv.DictReader(io.StringIO(out)))
    ours = FineTuner.load(folder).predict(texts)
    assert [r["text"] for r in rows] == texts
    found = [(r["prediction"], float(r["score"])) for r in rows]
    assert found == [(p.value, p.score) for p in ours]
    assert not err


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet", ".CSV"])
def test_predict_a_table_into_every_format(tuned, table, sft, tmp_path, suffix):
    out, err = sft("predict", tuned[0], table, "--out", tmp_path/f"answers{suffix}")
    assert out == "" and "40 predictions in" in err
    rows = read_table(tmp_path/f"answers{suffix}")
    ours = FineTuner.load(tuned[0]).predict(ROWS)
    assert list(rows) == ["text", "label", "film", "prediction", "score"]
    assert rows[["text", "label", "film", "prediction"]].equals(
        ours[["text", "label", "film", "prediction"]].astype(rows["text"].dtype)
    )
    np.testing.assert_allclose(rows["score"].astype(float), ours["score"], atol=1e-9)


def test_predict_reads_every_format_alike(tuned, sft, tmp_path):
    rows = ROWS[["text"]]
    rows.to_csv(tmp_path / "a.csv", index=False)
    rows.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    rows.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    rows.to_parquet(tmp_path / "a.parquet")
    answers = {
        sft("predict", tuned[0], tmp_path / f"a{s}")[0]
        for s in (".csv", ".tsv", ".jsonl", ".parquet")
    }
    assert len(answers) == 1 and len(answers.pop().splitlines()) == 41


def test_predict_lines_of_standard_input_through_a_pipe(tuned):
    """Only the table is on standard output, so that it can be piped on; a tab is just white
    space for one input column.
    """
    out, err = finish(
        start("predict", tuned[0], "-"), "a warm film\nwhat a joy\twhat a cast\n电影 é\n"
    )
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == ["text", "prediction", "score"]
    assert [r[0] for r in rows[1:]] == ["a warm film", "what a joy\twhat a cast", "电影 é"]
    assert err == ""
    assert len(rows) == 4 and {r[1] for r in rows[1:]} <= {"good", "bad"}
    assert all(.5 <= float(r[2]) <= 1 for r in rows[1:])


def test_predict_keeps_warnings_off_standard_output(tuned, sft):
    out, err = sft("predict", tuned[0], "--text", "a caf\ufffd with films")
    assert out.startswith("text,prediction,score\n")
    assert len(out.splitlines()) == 2
    assert "warning" in err


def test_predict_twice(tuned, table, sft, tmp_path):
    "Answers given to a table that holds answers do not overwrite them."
    sft("predict", tuned[0], table, "--out", tmp_path / "once.csv")
    sft("predict", tuned[0], tmp_path / "once.csv", "--out", tmp_path / "twice.csv")
    rows = read_table(tmp_path/"twice.csv")
    assert list(rows) == [
        "text", "label", "film", "prediction_in_rows", "score_in_rows", "prediction", "score",
    ]


def test_pairs_on_the_command_line(tiny, sft, tmp_path, monkeypatch):
    pairs = pd.DataFrame(
        {"first": SENTENCES * 3, "second": SENTENCES[::-1] * 3, "label": ["yes", "no"] * 12}
    )
    pairs.to_json(tmp_path/"pairs.jsonl", orient="records", lines=True)
    sft(
        *tune(
            tmp_path / "pairs.jsonl", tiny, tmp_path / "run", "--text", "first", "--text-pair",
            "second",
        )
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO("a film\tanother film\nwhat a joy\tnoise\n"))
    out, _ = sft("predict", tmp_path/"run", "-")
    assert out.splitlines()[0] == "first,second,prediction,score"
    assert out.splitlines()[2].startswith("what a joy,noise,")
    _, err = sft("predict", tmp_path/"run", "--text", "one text only", code=2)
    assert "Item 0" in err and "2 columns: first, second" in err


def test_several_labels_on_the_command_line(tiny, sft, tmp_path):
    ROWS.assign(label=["warm|funny", "dull", "funny", ""] * 10).to_csv(
        tmp_path / "rows.csv", index=False
    )
    sft(*tune(tmp_path/"rows.csv", tiny, tmp_path/"run", "--multi-label", "--separator", "|"))
    assert FineTuner.load(tmp_path/"run").task.labels == ["dull", "funny", "warm"]
    out, _ = sft("evaluate", tmp_path/"run", tmp_path/"run"/"certify.csv", "--json")
    assert "f1_micro" in json.loads(out.splitlines()[-1])["metrics"]


# --- who plays which part ---

def test_valid_and_certify_from_files(table, tiny, sft, tmp_path):
    ROWS.iloc[:6].to_csv(tmp_path / "valid.csv", index=False)
    ROWS.iloc[6:10].to_parquet(tmp_path / "certify.parquet")
    ROWS.iloc[10:].to_csv(tmp_path / "train.csv", index=False)
    out, err = sft(
        *tune(
            tmp_path / "train.csv", tiny, tmp_path / "run", "--valid", tmp_path / "valid.csv",
            "--certify", tmp_path / "certify.parquet", "--json",
        )
    )
    assert json.loads(out.splitlines()[-1])["n"] == {"train": 30, "valid": 6, "certify": 4}
    # the texts differ in a number
    assert "6 rows of valid nearly also in train" in err and "also stand in train" not in err
    assert not (tmp_path/"run"/"certify.csv").exists()
    out, err = sft("evaluate", tmp_path/"run", tmp_path/"certify.parquet")
    assert "warning" not in out + err


def test_one_file_given_one_part_split_off(table, tiny, sft, tmp_path):
    ROWS.iloc[:6].assign(text=lambda r: r.text + " again").to_csv(tmp_path/"valid.csv", index=False)
    out, _ = sft(
        *tune(
            table, tiny, tmp_path / "run", "--valid", tmp_path / "valid.csv", "--certify-size",
            10, "--json",
        )
    )
    assert json.loads(out.splitlines()[-1])["n"] == {"train": 30, "valid": 6, "certify": 10}


def test_rows_of_valid_that_also_stand_in_train(table, tiny, sft, tmp_path):
    ROWS.iloc[:6].to_csv(tmp_path/"valid.csv", index=False)
    _, err = sft(
        *tune(table, tiny, tmp_path / "run", "--valid", tmp_path / "valid.csv", "--certify-size", 0)
    )
    assert "warning: 6 of 6 valid rows also stand in train" in err


def test_groups_stay_whole(table, tiny, sft, tmp_path):
    sft(*tune(table, tiny, tmp_path/"run", "--group", "film"))
    kept = read_table(tmp_path/"run"/"certify.csv")
    assert 0 < len(kept) < 40 and (kept["film"].value_counts() == 4).all()
    seen, tuner = json.loads((tmp_path/"run"/"rows.json").read_text()), TextClassification()
    films = {role: set() for role in seen}
    for h, film in zip(question_hashes(ROWS, tuner.inputs()), ROWS["film"], strict=True):
        for role in seen:
            films[role] |= {film} if h in seen[role]["questions"] else set()
    assert sum(map(len, films.values())) == 10 and not films["train"] & films["valid"]


def test_rows_left_out_are_told(tiny, sft, tmp_path):
    ROWS.assign(text=["", " ", *ROWS.text[2:]]).to_csv(tmp_path/"holes.csv", index=False)
    out, err = sft(*tune(tmp_path/"holes.csv", tiny, tmp_path/"run", "--json"))
    assert "left out: 2 of 40 rows: 2 rows without text (rows 0 and 1, counting from 0)" in err
    assert sum(json.loads(out.splitlines()[-1])["n"].values()) == 38


def test_the_figures_are_those_of_the_weights(table, tiny, sft, tmp_path):
    "The article's recipe keeps the last epoch; report and card say which one the default kept."
    for recipe in ("article", "default"):
        out, _ = sft(
            *tune(
                table, tiny, tmp_path / recipe, "--recipe", recipe, "--learning-rate", "3e-3",
                "--epochs", 3, "--json",
            )
        )
        about = json.loads((tmp_path/recipe/"sft_nb.json").read_text())
        history, position = about["history"]["epochs"], about["position"]
        assert json.loads(out.splitlines()[-1])["valid"] == history[position["kept"] - 1]
        best = recipe == "default" and position["kept"] == position["best_epoch"]
        assert recipe == "default" or position["kept"] == 3
        card = (tmp_path/recipe/"README.md").read_text()
        assert (
            f"weights are those of epoch {position['kept']}, the best"
            if best
            else "weights are those of the last epoch"
        ) in card


def test_a_finished_run_is_replaced(table, tiny, sft, tmp_path):
    sft(*tune(table, tiny, tmp_path / "run"))
    sft(*tune(table, tiny, tmp_path / "run", "--label", "film", "--overwrite"))
    assert len(FineTuner.load(tmp_path/"run").task.labels) == 10


# --- interrupted, resumed ---

def interrupted_command(argv, out):
    "(standard output, standard error) of a process that gets Ctrl-C after its first checkpoint."
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process, until = start(*argv, env=os.environ | threads), time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        if list(out.glob("checkpoints/step-*")): break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    return finish(process, code=130)


def test_interrupted_and_resumed_is_as_if_nothing_had_happened(table, tiny, sft, tmp_path):
    def command(out): return tune(table, tiny, out, "--epochs", 25, "--batch-size", 4)

    out = tmp_path / "run"
    said, err = interrupted_command(command(out), out)
    assert "Interrupted after" in said
    assert err.splitlines()[-1] == f"Continue with: --resume auto --out {out}"
    steps = sorted(int(f.name.split("-")[1]) for f in out.glob("checkpoints/step-*"))
    assert steps and steps[-1] < 150 and not (out/"sft_nb.json").exists()
    _, err = sft("predict", out, "--text", "a film", code=2)
    assert "no finished run" in err and "go on with resume" in err
    said, _ = sft(*command(out), "--resume", "auto", "--json")
    whole, _ = sft(*command(tmp_path/"whole"), "--json")
    ours, theirs = (load_file(f/"model.safetensors") for f in (out, tmp_path/"whole"))
    assert same_tensors(ours, theirs)
    assert json.loads(said.splitlines()[-1])["valid"] == json.loads(whole.splitlines()[-1])["valid"]
    histories = [
        json.loads((f / "sft_nb.json").read_text())["history"] for f in (out, tmp_path / "whole")
    ]
    assert histories[0]["epochs"] == histories[1]["epochs"]
    assert histories[0]["steps"] == histories[1]["steps"]
    assert not (out/"checkpoints").exists()


@pytest.fixture
def interrupted(table, tiny, tmp_path, monkeypatch, sft):
    "A run that was stopped after its third update, inside this process."
    class Stop(Listener):
        def step(self, run): run.interrupted = run.interrupted or run.position.step == 3
    with monkeypatch.context() as m:
        class Both(Lines, Stop):
            pass
        m.setattr("sft_nb.training.tuner.watcher", Both)
        sft(*tune(table, tiny, tmp_path/"run"), code=130)
    assert [f.name for f in (tmp_path/"run"/"checkpoints").iterdir()] == ["step-00000003"]
    return tmp_path/"run"


def test_resume_only_the_same_run(interrupted, table, tiny, sft):
    _, err = sft(
        *tune(table, tiny, interrupted, "--resume", "auto", "--learning-rate", 1e-3), code=2
    )
    assert (
        "error: This checkpoint belongs to another run: learning_rate: 0.0001 then, 0.001 now"
        in err
    )
    assert (interrupted/"checkpoints").exists()
    sft(*tune(table, tiny, interrupted, "--resume", "auto"))
    assert (interrupted/"sft_nb.json").exists()


def test_beginning_anew_is_told(interrupted, table, tiny, sft):
    _, err = sft(*tune(table, tiny, interrupted))
    assert "holds an unfinished run, which is started again from the beginning" in err
    assert "--resume auto would have continued it" in err
    assert (interrupted/"sft_nb.json").exists()


def damage(folder):
    file = folder/"tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tiny, tmp_path, capsys, caplog):
    FineTuner(
        TextClassification(), tiny("bert"), Recipe(epochs=2, batch_size=8), out=tmp_path / "run"
    ).fit(ROWS)  # leaves its checkpoints
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    damage(newest)
    capsys.readouterr()
    again = FineTuner(
        TextClassification(), tiny("bert"), Recipe(epochs=2, batch_size=8), out=tmp_path / "run"
    ).fit(ROWS, resume="auto")
    told = capsys.readouterr().out.splitlines()
    assert newest.name in caplog.text and "damaged" in caplog.text
    assert told[0].startswith("2 epochs of 5 updates, 8 rows each")
    assert [line[:7] for line in told[1:]] == ["Epoch 2"], "epoch 1 is not repeated"
    assert again.position.step == 10


def test_only_damaged_checkpoints(interrupted, table, tiny, sft):
    "Nothing is begun anew behind the user's back."
    damage(interrupted/"checkpoints"/"step-00000003")
    _, err = sft(*tune(table, tiny, interrupted, "--resume", "auto"), code=2)
    *warnings, error = err.splitlines()
    assert any("step-00000003" in w and "damaged" in w for w in warnings)
    assert error.startswith("error: There is no usable checkpoint in")
    assert "without resume" in error


def test_resume_auto_with_nothing_to_resume(table, tiny, sft, tmp_path):
    sft(*tune(table, tiny, tmp_path/"run", "--resume", "auto"))
    assert (tmp_path/"run"/"sft_nb.json").exists()


def test_a_second_interruption_stops_at_once_and_saves_nothing_half_done(tiny, tmp_path):
    """The update under way is torn:

    the run goes on from the last whole checkpoint, as if nothing had happened.
    """
    armed, done = [], []
    class Count(Listener):
        def step(self, run): done.append(run.position.step)
    @dataclass
    class Torn(Method):
        def after(self, model):
            if not (armed and done[-1:] == [7]): return
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
    recipe, task = Recipe(epochs=3, batch_size=8, methods=(Torn(),)), TextClassification()
    tuner = whole = FineTuner(task, tiny("bert"), recipe).fit(ROWS)
    tuner = FineTuner(task, tiny("bert"), recipe, out=tmp_path / "run")
    armed.append(True)
    with pytest.raises(KeyboardInterrupt):
        tuner.fit(ROWS, listeners=[Count()])
    assert tuner.interrupted
    assert [f.name for f in (tmp_path/"run"/"checkpoints").iterdir()] == ["step-00000005"]
    armed.clear()
    again = FineTuner(task, tiny("bert"), recipe, out=tmp_path/"run").fit(ROWS, resume="auto")
    assert again.history.steps == whole.history.steps
    assert same_weights(again.model, whole.model)
