"""The command line and the files around a run:

nothing of anybody's is lost, messages speak the terminal's words, and no stream is too poor.
"""
import errno
import io
import json
import logging
import os
import shutil
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest
from conftest import same_weights
from tiny_models import SENTENCES

import sft_nb
from sft_nb.training import checkpoints, saving
from sft_nb import telling
from sft_nb.all import CheckpointError, DataError, FineTuner, Recipe, TextClassification, read_table
from sft_nb.commands.cli import main
from sft_nb.files import replacing, write_file

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
ONCE = Recipe(epochs=1, batch_size=16)


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    "A run made by the command line, its table beside it."
    place = tmp_path_factory.mktemp("trained")
    ROWS.to_csv(place/"reviews.csv", index=False)
    with pytest.raises(SystemExit) as e:
        main([str(a) for a in tune(place / "reviews.csv", tiny, place / "run")])
    assert not e.value.code
    return place


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    "A fresh copy of run and table; we stand in it."
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tune(data, tiny, out, *more):
    return [
        "fine-tune", data, "--task", "text-classification", "--model", tiny("bert"), "--out",
        out, "--epochs", 1, "--batch-size", 16, *more,
    ]


def content(folder):
    "Every file below a folder, to the byte."
    return {
        f.relative_to(folder).as_posix(): f.read_bytes()
        for f in sorted(Path(folder).rglob("*"))
        if f.is_file()
    }


# --- what lies in the folder of a run ---

def test_a_run_brings_its_rows_its_curve_and_its_report(place):
    files = {f.name for f in (place/"run").iterdir()}
    assert {
        "train.csv", "valid.csv", "certify.csv", "history.svg", "report.html", "README.md",
        "model.safetensors",
    } <= files
    assert not {f for f in files if f.startswith(".")}
    assert [
        len(read_table(place / "run" / f"{role}.csv")) for role in ("train", "valid", "certify")
    ] == [24, 8, 8]
    page = (place/"run"/"report.html").read_text()
    assert page.count("<img") == 2
    assert all(
        word in page
        for word in ("Learning curve", "How good it is", "flatter", "seed", "sft-nb certify")
    )
    assert "http" not in page
    assert set(json.loads((place / "run" / "sft_nb.json").read_text())["files"]) == files - {
        "sft_nb.json"
    }


def test_a_finished_run_is_not_overwritten_unasked(place, tiny, sft):
    before = content("run")
    pd.DataFrame({"text": [f"row {i}" for i in range(12)], "number": range(12)}).to_csv(
        "n.csv", index=False
    )
    for argv in (
        tune("reviews.csv", tiny, "run"),
        [
            "fine-tune", "n.csv", "--task", "text-regression", "--model", tiny("bert"),
            "--epochs", 1, "--out", "run",
        ],
    ):
        out, err = sft(*argv, code=2)
        assert "run holds a finished run (text-classification)" in err
        assert "--overwrite" in err
        assert "Epoch" not in out
    assert content("run") == before
    sft(*tune("reviews.csv", tiny, "run", "--label", "film", "--overwrite"))
    assert len(FineTuner.load("run").task.labels) == 10


def mine(run):
    (run/"mine.csv").write_text("text,label\n")
    (run/"thesis").mkdir()
    (run/"thesis"/"chapter.txt").write_text("years of work")
    (run/"big").symlink_to(run.parent/"elsewhere")
    (run.parent/"elsewhere").mkdir()
    (run.parent/"elsewhere"/"data.bin").write_bytes(b"1")


def test_what_is_not_ours_stays(place, tiny, sft):
    "Files, folders, and links to other folders, when a run is replaced."
    mine(place/"run")
    sft(*tune("reviews.csv", tiny, "run", "--seed", 1, "--certify-size", 0, "--overwrite"))
    assert (place/"run"/"mine.csv").read_text() == "text,label\n"
    assert (place/"run"/"thesis"/"chapter.txt").exists()
    assert (place/"run"/"big").is_symlink() and (place/"elsewhere"/"data.bin").exists()
    assert not (place/"run"/"certify.csv").exists()  # it was ours, and the new run has none


TAKEN = {
    "a file of that name": lambda run: (
        (run / "report.html").unlink(),
        (run / "report.html").write_text("my notes"),
    ),
    "a file that was changed": lambda run: (run / "certify.csv").write_text(
        "text,label\nmine,good\n"
    ),
    "a link in its place": lambda run: (
        (run / "model.safetensors").rename(run.parent / "kept"),
        (run / "model.safetensors").symlink_to(run.parent / "kept"),
    ),
    "a folder in its place": lambda run: (
        (run / "train.csv").unlink(),
        (run / "train.csv").mkdir(),
    ),
}


@pytest.mark.parametrize("taken", TAKEN)
def test_the_place_of_one_of_our_files_is_taken(taken, place, tiny, sft):
    "Said before training; nothing is touched."
    TAKEN[taken](place/"run")
    before = content(".")
    out, err = sft(*tune("reviews.csv", tiny, "run", "--overwrite"), code=2)
    assert "not written by this run or changed since" in err
    assert "Move it away" in err
    assert "Epoch" not in out
    assert content(".") == before


def test_a_folder_of_somebody_else(place, tiny, sft):
    (place / "other").mkdir()
    (place / "other" / "sft_nb.json").write_text("[]")
    for out in ("other", "."):
        assert "Epoch" not in sft(*tune("reviews.csv", tiny, out, "--overwrite"), code=2)[0]
    assert (place/"other"/"sft_nb.json").read_text() == "[]"


@pytest.mark.parametrize("option", ["data", "--valid", "--certify", "--model"])
def test_an_input_inside_the_run(option, place, tiny, sft):
    before = content(".")
    argv = tune("run/train.csv" if option == "data" else "reviews.csv", tiny, "run", "--overwrite")
    if option.startswith("--"): argv += [option, {"--model": "run"}.get(option, "run/valid.csv")]
    out, err = sft(*argv, code=2)
    assert "lies in the folder of the run" in err and "Epoch" not in out and content(".") == before


def test_a_certificate_in_the_card_is_a_change_of_ours(place, tiny, sft):
    sft(
        "certify", "run", "run/certify.csv", "--claim", "accuracy >= 0.05", "--out",
        "run/c.json", "--ledger", "books.json",
    )
    sft_nb.Certificate.load("run/c.json").card("run")
    assert "## Certificate" in (place/"run"/"README.md").read_text()
    sft(*tune("reviews.csv", tiny, "run", "--overwrite"))
    assert "## Certificate" not in (place/"run"/"README.md").read_text()
    assert (place/"run"/"c.json").exists()


# --- saving in Python ---

@pytest.fixture(scope="module")
def tuners(tiny):
    "Two tuners of other seeds."
    return [
        FineTuner(TextClassification(), tiny("bert"), ONCE.but(seed=s), device="cpu").fit(ROWS)
        for s in (1, 2)
    ]


def test_saving_again(tuners, tiny, tmp_path):
    "The same tuner, and the same run once more, lose nothing; another run is asked for."
    one, other = tuners
    one.save(tmp_path / "run")
    one.save(tmp_path / "run")
    FineTuner.load(tmp_path/"run").save(tmp_path/"run")
    # the notebook, run again
    FineTuner(TextClassification(), tiny("bert"), ONCE.but(seed=1), device="cpu").fit(ROWS).save(
        tmp_path / "run"
    )
    before = content(tmp_path/"run")
    with pytest.raises(CheckpointError, match="holds a finished run.*overwrite=True"):
        other.save(tmp_path / "run")
    assert content(tmp_path/"run") == before
    other.save(tmp_path/"run", overwrite=True)
    with pytest.raises(CheckpointError, match="finished run"):
        one.save(tmp_path / "run")  # it is no longer its own


def test_a_full_disk_leaves_the_old_run_whole(tuners, tmp_path, monkeypatch):
    one, other = tuners
    one.save(tmp_path/"run")
    before = content(tmp_path/"run")
    def full(*args, **kwargs): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for where in ("save_weights", "model_card", "sha256", "flush", "write_file"):
        with monkeypatch.context() as m:
            m.setattr(saving, where, full)
            with pytest.raises(CheckpointError, match="could not be saved.*No space left"):
                other.save(tmp_path / "run", overwrite=True)
        assert content(tmp_path/"run") == before, where


def test_two_threads_save_into_one_folder(tuners, tmp_path):
    "One after the other, or one is told; the folder is always one of the two."
    for turn in range(5):
        told, folder = [], tmp_path/str(turn)
        def save(tuner, folder=folder, told=told):
            try:
                tuner.save(folder, overwrite=True)
            except CheckpointError as e:
                told.append(str(e))
        threads = [threading.Thread(target=save, args=(t,)) for t in tuners]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        kept = FineTuner.load(folder, device="cpu").model
        assert any(same_weights(t.model, kept) for t in tuners)
        assert all("Another process or thread is writing" in m for m in told) and len(told) < 2


def test_nobody_comes_between_training_and_saving(place, tiny, sft, monkeypatch):
    "While a command saves, another one in the same folder is refused."
    said = []
    stage = saving._stage
    def meanwhile(*args):
        def second():
            try:
                FineTuner(TextClassification(), tiny("bert"), ONCE, out="new", device="cpu").fit(
                    ROWS
                )
            except CheckpointError as e:
                said.append(str(e))
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        return stage(*args)
    monkeypatch.setattr(saving, "_stage", meanwhile)
    sft(*tune("reviews.csv", tiny, "new"))
    assert len(said) == 1
    assert "Another process is training in new" in said[0]
    assert not (place/"new"/"checkpoints").exists()
    assert FineTuner.load("new").predict(["a film"])


@pytest.mark.parametrize("name", ["../thesis.txt", "/etc/hosts", "a/../../b"])
def test_a_list_that_leads_out_of_the_folder(name, place):
    (place/"thesis.txt").write_text("years of work")
    about = json.loads((place/"run"/"sft_nb.json").read_text())
    about["files"][name] = checkpoints.sha256(place/"thesis.txt")
    (place/"run"/"sft_nb.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="not the name of a file"):
        saving.may_replace(place / "run", [], True)
    (place / "run" / ".saving").mkdir()
    (place / "run" / ".saving" / "ready.json").write_text(
        json.dumps({"old": [name], "new": [], "forget": False})
    )
    with pytest.raises(CheckpointError, match="not the name of a file"):
        FineTuner.load(place / "run")
    assert (place/"thesis.txt").exists()


# --- what a command writes ---

OVER = {
    "a certificate over the data": [
        "certify", "run", "data.json", "--claim", "accuracy >= 0.1", "--out", "data.json",
    ],
    "over another person's file": [
        "certify", "run", "run/certify.csv", "--claim", "accuracy >= 0.1", "--out",
        "data.json",
    ],
    "over the run": [
        "certify", "run", "run/certify.csv", "--claim", "accuracy >= 0.1", "--out",
        "run/sft_nb.json",
    ],
    "over the rows of the run": [
        "certify", "run", "run/certify.csv", "--claim", "accuracy >= 0.1", "--out",
        "run/rows.json",
    ],
    "its page over a page": [
        "certify", "run", "run/certify.csv", "--claim", "accuracy >= 0.1", "--out",
        "site.json",
    ],
    "over the books": [
        "certify", "run", "run/certify.csv", "--claim", "accuracy >= 0.1", "--ledger",
        "books.json", "--out", "books.json",
    ],
    "books over the data": [
        "certify", "run", "run/certify.csv", "--claim", "accuracy >= 0.1", "--ledger",
        "data.json", "--out", "new.json",
    ],
    "answers over their questions": ["predict", "run", "reviews.csv", "--out", "reviews.csv"],
    "through a link": ["predict", "run", "reviews.csv", "--out", "link.csv"],
    "answers over a table": ["predict", "run", "run/valid.csv", "--out", "reviews.csv"],
    "answers over the model": ["predict", "run", "run/valid.csv", "--out", "run/train.csv"],
    "an evaluation over a table": ["evaluate", "run", "run/valid.csv", "--out", "mine"],
    "an evaluation over its rows": ["evaluate", "run", "run/valid.csv", "--out", "run"],
}


@pytest.mark.parametrize("over", OVER)
def test_nothing_is_written_over_what_is_not_ours(over, place, sft):
    (place / "data.json").write_text(ROWS.to_json(orient="records"))
    (place / "site.html").write_text("<h1>my site</h1>")
    (place / "books.json").write_text("{}")
    (place / "link.csv").symlink_to("reviews.csv")
    (place / "mine").mkdir()
    (place / "mine" / "predictions.csv").write_text("my,own\n1,2\n")
    before = content(".")
    out, err = sft(*OVER[over], code=2)
    assert err.splitlines()[-1].startswith("error: ") and content(".") == before


def test_over_our_own_it_is_written(place, sft):
    "The same command twice."
    for argv in (
        ["predict", "run", "reviews.csv", "--out", "a.csv"],
        ["predict", "run", "reviews.csv", "--out", "a.jsonl"],
        ["predict", "run", "reviews.csv", "--out", "a.parquet"],
        ["predict", "run", "reviews.csv", "--out", "a.tsv"],
        [
            "certify", "run", "run/certify.csv", "--claim", "accuracy >= 0.05", "--ledger",
            "books.json", "--out", "c.json",
        ],
        ["evaluate", "run", "run/certify.csv", "--out", "figures"],
    ):
        sft(*argv)
        sft(*argv)
    assert not list(place.glob(".new-*"))


def test_python_too(trained, tmp_path):
    tuner = FineTuner.load(trained/"run", device="cpu")
    found = tuner.certify(
        read_table(trained / "run" / "certify.csv"), "accuracy >= 0.05",
        ledger=tmp_path / "books.json",
    )
    for name in ("a.json", "a.html"):
        (tmp_path/name).write_text("my own")
        with pytest.raises(DataError, match="not a certificate of ours"):
            found.save(tmp_path / "a.json")
        (tmp_path/name).unlink()
    (tmp_path/"metrics.json").write_text("{}")
    with pytest.raises(DataError, match="no evaluation of ours"):
        tuner.evaluate(ROWS).save(tmp_path)


def test_a_file_is_old_or_new(tmp_path):
    file = write_file(tmp_path/"a.csv", "old")
    with pytest.raises(KeyboardInterrupt):
        with replacing(file) as new:
            new.write_text("ne")
            raise KeyboardInterrupt
    assert content(tmp_path) == {"a.csv": b"old"}


@pytest.mark.parametrize("what", ["certificate", "answers", "evaluation"])
def test_a_full_disk_leaves_what_was_written_before(what, place, sft, monkeypatch):
    argv = {
        "certificate": [
            "certify", "run", "run/certify.csv", "--claim", "accuracy >= 0.05", "--ledger",
            "books.json", "--out", "old.json",
        ],
        "answers": ["predict", "run", "reviews.csv", "--out", "old.csv"],
        "evaluation": ["evaluate", "run", "run/certify.csv", "--out", "old"],
    }[what]
    sft(*argv)
    before = content(".")
    def full(fd): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "fsync", full)
    _, err = sft(*argv, code=2)
    assert "No space left" in err and content(".") == before


# --- a run that is finished ---

def test_resume_on_a_finished_run(place, tiny, sft):
    before = content("run")
    out, _ = sft(*tune("reviews.csv", tiny, "run", "--resume", "auto", "--json"))
    assert "there is nothing left to do" in out and content("run") == before
    last = json.loads(out.splitlines()[-1])
    assert last["n"] == {"train": 24, "valid": 8, "certify": 8}
    assert last["out"] == "run"
    assert "accuracy" in last["valid"]
    ROWS.assign(text=ROWS.text + " more").to_csv("other.csv", index=False)
    for argv, word in (
        (tune("other.csv", tiny, "run"), "other training rows"),
        (tune("reviews.csv", tiny, "run", "--epochs", 2), "--epochs 1 then, 2 now"),
        (tune("reviews.csv", tiny, "run", "--method", "lora"), "methods none then, Lora("),
        (tune("reviews.csv", tiny, "run", "--recipe", "article"), "--schedule linear then"),
    ):
        _, err = sft(*argv, "--resume", "auto", code=2)
        assert "holds a finished run, and not this one" in err and word in err
    assert content("run") == before


# --- the words of a terminal ---

def test_help_needs_no_task(sft, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out, _ = sft("fine-tune", "--help")
    assert all(
        o in out
        for o in (
            "--out", "--epochs", "--learning-rate", "--patience", "--overwrite", "--encoding",
            "--delimiter", "--device", "--quiet", "--json",
        )
    )


@pytest.mark.parametrize(
    "task", ["text-classification", "sequence-labelling", "instruction-tuning"]
)
def test_help_says_what_a_column_is(task, sft, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    from sft_nb.commands.cli import task_settings
    out, _ = sft("fine-tune", "--task", task, "--help")
    asked = task_settings(task)
    assert asked and all(s.comment for s in asked)
    told = [s.comment.replace("None: ", "not given: ")[:40] for s in asked]
    assert not [words for words in told if words not in out]


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("--lr", "--learning-rate"), ("--bs", "--batch-size"), ("--epoch", "--epochs"),
        ("--output", "--out"), ("--learning-rates", "--learning-rate"),
        ("--learning_rate", "--learning-rate"),
    ],
)
def test_did_you_mean(typed, meant, sft):
    assert meant in " ".join(
        sft(
            "fine-tune", "a.csv", "--task", "text-classification", "--out", "x", typed, "1", code=2
        )[1].split()
    )


def test_the_parts_are_told_in_one_line(place, tiny, sft):
    out, _ = sft(*tune("reviews.csv", tiny, "a"))
    assert (
        "24 rows to learn from; 8 to choose the epoch with, split off from reviews.csv "
        "(--valid-size); 8 for a certificate, split off from reviews.csv (--certify-size)."
        in out
    )
    shutil.copy("run/valid.csv", "v.csv")
    shutil.copy("run/train.csv", "t.csv")
    out, _ = sft(*tune("t.csv", tiny, "b", "--valid", "v.csv", "--json"))
    assert (
        "24 rows to learn from; 8 to choose the epoch with, from v.csv; none for a certificate."
        in out
    )
    assert "kept aside" not in out
    out, _ = sft(*tune("t.csv", tiny, "c", "--certify", "v.csv", "--json"))
    assert "split off from t.csv (--valid-size); 8 for a certificate, from v.csv." in out


def test_encoding_and_delimiter(place, tiny, sft):
    "A table in another code page, with semicolons, through every command."
    ROWS.assign(text=ROWS.text + " café").to_csv("l.csv", index=False, sep=";", encoding="cp1252")
    how = ["--encoding", "cp1252", "--delimiter", ";"]
    sft(*tune("l.csv", tiny, "new", *how))
    assert sft("evaluate", "new", "l.csv", *how)
    assert "café" in sft("predict", "new", "l.csv", *how)[0]


def test_probabilities(place, sft):
    out, _ = sft("predict", "run", "run/certify.csv", "--probs")
    rows = pd.read_csv(io.StringIO(out))
    assert list(rows)[-3:] == ["score", "prob_bad", "prob_good"]
    assert (rows[["prob_bad", "prob_good"]].sum(axis=1) - 1).abs().max() < 1e-6
    assert (rows[["prob_bad", "prob_good"]].max(axis=1) - rows.score).abs().max() < 1e-6
    assert "prob_good" in FineTuner.load("run").predict(ROWS, probs=True)


def test_probabilities_that_are_not_there(tiny, tmp_path, sft):
    from sft_nb.all import TextRegression
    rows = pd.DataFrame({"text": SENTENCES, "number": range(8)})
    rows.to_csv(tmp_path/"n.csv", index=False)
    FineTuner(TextRegression(), tiny("bert"), ONCE).fit(rows).save(tmp_path/"run")
    assert (
        "no probabilities by class"
        in sft("predict", tmp_path / "run", tmp_path / "n.csv", "--probs", code=2)[1]
    )


def test_answers_to_answers_to_answers(trained):
    tuner, rows = FineTuner.load(trained/"run", device="cpu"), ROWS
    for _ in range(4):
        rows = tuner.predict(rows)
    assert rows.columns.is_unique and len(rows.columns) == 3 + 2 * 4


def test_certify_finds_the_training_rows(place, sft):
    out, err = sft(
        "certify", "run", "run/certify.csv", "--claim", "accuracy >= 0.05", "--ledger",
        "books.json", "--out", "c.json", "--json",
    )
    assert "not looked for" not in out + err and "train=" not in out + err
    assert json.loads((place/"c.json").read_text())["shift"]
    sft("verify", "c.json", "--model", "run", "--data", "run/certify.csv")


def test_assets_list_fits_the_screen(sft):
    out, _ = sft("assets", "list")
    assert max(map(len, out.splitlines())) <= 100
    assert all(name in out for name in ("minilm", "rotten-tomatoes", "Apache-2.0"))


# --- warnings ---

def test_warnings_are_on_standard_error(place, sft):
    out, err = sft("evaluate", "run", "reviews.csv")
    assert err.startswith("warning: 32 of these rows were used") and "warning" not in out
    assert sft("evaluate", "run", "reviews.csv", "--quiet")[1] == ""


def test_quiet(place, tiny, sft):
    out, err = sft(*tune("reviews.csv", tiny, "quiet", "--quiet"))
    assert "Epoch" not in out and "Saved to quiet" in out and err == "" and not telling.is_quiet()


def test_a_library_warns_through_logging(tiny, caplog, capsys):
    rows = ROWS.assign(text=["", *ROWS.text[1:]])
    TextClassification().read(rows)
    assert [(r.name, r.levelname) for r in caplog.records] == [("sft_nb", "WARNING")]
    assert "left out: 1 of 40 rows" in caplog.text
    caplog.clear()
    with sft_nb.quiet():
        TextClassification().read(rows)
    assert not caplog.records and capsys.readouterr().out == ""


def test_a_notebook_prints_its_warnings(capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(telling.LOGGER, "handlers", [telling.Printer()])
    telling.warn("two rows")
    assert capsys.readouterr() == ("warning: two rows\n", "")


# --- streams ---

class Stream(io.TextIOWrapper):
    "A stream in an old code page."
    def __init__(self, encoding, terminal=False):
        super().__init__(io.BytesIO(), encoding=encoding)
        self.terminal = terminal
    def isatty(self): return self.terminal
    def text(self):
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "gbk"])
def test_a_stream_that_cannot_write_everything(encoding, place, monkeypatch):
    """The table, the certificate's sentence, an error:

    none ends in a traceback; the books and the certificate agree.
    """
    for argv, code in (
        (["predict", "run", "--text", "电影 é 😀"], 0),
        (
            [
                "certify", "run", "run/certify.csv", "--claim", "accuracy ≥ 0.05", "--ledger",
                "books.json", "--out", "电影.json",
            ],
            0,
        ),
        (["predict", "run", "电影😀.csv"], 2),
        (["assets", "list"], 0),
    ):
        out, err = Stream(encoding), Stream(encoding)
        with monkeypatch.context() as m:
            m.setattr(sys, "stdout", out)
            m.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit) as e:
                main(argv)
        assert (e.value.code or 0) == code, (err.text(), out.text())
    assert (place/"电影.json").exists() and json.loads((place/"books.json").read_text())


def test_the_table_says_that_it_is_escaped(place, monkeypatch):
    out, err = Stream("ascii"), Stream("ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with pytest.raises(SystemExit):
        main(["predict", "run", "--text", "caf\xe9"])
    assert "caf\\xe9" in out.text()
    assert "Standard output is ascii" in err.text()
    assert "--out FILE" in err.text()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_text_does_not_command_the_terminal(terminal, place, monkeypatch):
    out, text = Stream("utf-8", terminal), "good\x1b]0;owned\x07 film\ta\x9b2J"
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit):
        main(["predict", "run", "--text", text])
    assert ("\x1b" in out.text()) != terminal
    assert ("\\x1b]0;owned\\x07 film\ta\\x9b2J" in out.text()) == terminal


def stdin(data):
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")


LINES = {
    "a byte order mark": (b"\xef\xbb\xbfa fine film\n", ["a fine film"]),
    "one with CRLF": (b"\xef\xbb\xbfa fine film\r\nanother\r\n", ["a fine film", "another"]),
    "no line feed at the end": (b"a fine film", ["a fine film"]),
    "other line ends inside a line": ("a\u2028b\x0cc\n".encode(), ["a\u2028b\x0cc"]),
}


@pytest.mark.parametrize("lines", LINES)
def test_lines_of_standard_input(lines, place, sft, monkeypatch):
    data, texts = LINES[lines]
    monkeypatch.setattr(sys, "stdin", stdin(data))
    out, err = sft("predict", "run", "-")
    assert pd.read_csv(io.StringIO(out)).text.tolist() == texts and err == ""


BAD = {
    "a NUL": (b"a film\nb\0c\n", ["line 2", "NUL"]),
    "bytes that are no text": (b"a film\ncaf\xe9\n", ["line 2", "utf-8", "iconv", "--encoding"]),
    "nothing": (b"", ["empty"]),
}


@pytest.mark.parametrize("bad", BAD)
def test_standard_input_that_is_no_text(bad, place, sft, monkeypatch):
    data, words = BAD[bad]
    monkeypatch.setattr(sys, "stdin", stdin(data))
    out, err = sft("predict", "run", "-", code=2)
    assert out == "" and all(w in err for w in words)


def test_standard_input_in_another_encoding(place, sft, monkeypatch):
    monkeypatch.setattr(sys, "stdin", stdin("un café\n".encode("cp1252")))
    assert "un café" in sft("predict", "run", "-", "--encoding", "cp1252")[0]


@pytest.mark.parametrize("closed", [None, "closed"])
def test_standard_input_that_is_closed(closed, place, sft, monkeypatch):
    source = stdin(b"")
    source.close()
    monkeypatch.setattr(sys, "stdin", closed and source)
    assert "closed" in sft("predict", "run", "-", code=2)[1]


@pytest.mark.parametrize(
    "argv",
    [
        ["predict", "run", "--text", "caf\udce9"],
        ["fine-tune", "a.csv", "--task", "text-classification", "--out", "o\udcff"],
    ],
)
def test_words_that_are_no_utf8(argv, place, sft):
    assert "is not UTF-8" in sft(*argv, code=2)[1]


# --- other people's words ---

def test_markdown_is_escaped(tiny, tmp_path):
    "A folder's name, a label, a reason: none becomes a tag, a link or a heading in a card."
    bad = "<script>alert(1)<"
    rows = ROWS.assign(label=[bad, "[x](http://evil)"] * 20, film=[bad] * 20 + ["b"] * 20)
    odd = shutil.copytree(tiny("bert"), tmp_path/"a <b>\n\n# Heading `c`")
    tuner = FineTuner(TextClassification(), odd, ONCE, device="cpu").fit(rows)
    card = (tuner.save(tmp_path/"run")/"README.md").read_text().split("---", 2)[2]
    found = tuner.certify(
        rows.assign(text=rows.text + " new"), "accuracy >= 0.01 for every label",
        ledger=tmp_path / "books.json",
    )
    for text in (card, found.card()):
        outside = "".join(text.split("`")[::2])
        assert "<script" not in outside and "<b>" not in outside and "\n# Heading" not in text
        assert outside.count("](http") == outside.count("\\](http")


# --- the package as a module ---

def test_names_are_found_when_they_are_asked_for():
    import subprocess
    code = ("import sys, sft_nb; assert 'FineTuner' in dir(sft_nb) and 'torch' not in sys.modules; "
            "from sft_nb import FineTuner, TextClassification, quiet; sft_nb.Recipe(); assert not "
            "hasattr(sft_nb, 'Nothing')")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""
    assert (Path(sft_nb.__file__).parent/"py.typed").exists()
