"""Answers for long tables, from file to file: in parts, in order, the same bytes after a kill.
"""
import csv
import importlib
import inspect
import json
import os
from contextlib import redirect_stderr
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toy_detection
import torch
from kill_run import around, die, nth
from tiny_models import SENTENCES

import sft_nb.commands.long_tables
from sft_nb.commands.answering import predict
from sft_nb.commands.cli import main
from sft_nb.all import FineTuner, Recipe, TextClassification, read_table
from sft_nb.commands.long_tables import KEEP_EVERY, _source, answered, predict_file
from sft_nb.finding import task_class
from sft_nb.mistakes import CheckpointError, DataError, TrainingError
from sft_nb.task import Task
from sft_nb.training.folders import held

N = 30
KINDS = [".csv", ".tsv", ".jsonl", ".parquet"]
forks = pytest.mark.skipif(os.name != "posix", reason="forks and kills")


def texts(n): return [f"{SENTENCES[i % 8]}{' film' * (i % 5)} {i}" for i in range(n)]


@pytest.fixture
def place(run, tmp_path, monkeypatch):
    "A folder with a table of thirty rows, in which we stand."
    rows = pd.DataFrame({"text": texts(N), "code": ["007"] * 20 + ["x"] * 10})
    rows.to_csv(tmp_path / "new.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def tuner(run): return FineTuner.load(run)


@pytest.fixture
def work(monkeypatch):
    "How many rows were answered, part by part."
    usual, seen = sft_nb.commands.long_tables._answers_of, []

    def watched(tuner, rows, *how):
        seen.append(len(rows))
        return usual(tuner, rows, *how)

    monkeypatch.setattr(sft_nb.commands.long_tables, "_answers_of", watched)
    return seen


def hidden(folder="."): return sorted(p.name for p in Path(folder).glob(".*"))


# --- the same answers, whatever the size of a part ---

@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_a_part_changes_no_byte(tuner, place, kind, work):
    "With one row a batch, no row can feel its neighbours."
    rows, files = tuner.task.read("new.csv", labelled=False), {}
    for size in (0, 1, 7, N):
        how = {"probs": True, "batch_size": 1, "keep_every": size}
        files[size] = predict_file(tuner, "new.csv", f"a{size}{kind}", **how).read_bytes()
    assert len(set(files.values())) == 1
    assert work == [N] + [1] * N + [7] * 4 + [2] + [N]
    there = read_table(f"a7{kind}")
    assert list(there) == ["text", "code", "prediction", "score", "prob_bad", "prob_good"]
    assert list(there.text) == list(rows.text)
    assert list(there.code) == list(rows.code) and there.code[0] == "007"
    assert list(there.prediction) == list(tuner.predict(rows).prediction)
    assert hidden() == []


@pytest.mark.parametrize("kind", KINDS)
def test_in_batches_of_64_one_part_is_the_whole(run, tuner, sft, place, kind):
    "The command writes what the tuner answers at once; other parts differ in a last digit at most."
    from sft_nb.data.table_writer import write_table
    sft("predict", run, "new.csv", "--out", f"parts{kind}", "--keep-every", 7, "--probs")
    sft("predict", run, "new.csv", "--out", f"one{kind}", "--probs")
    write_table(tuner.predict("new.csv", probs=True), f"before{kind}")
    assert Path(f"one{kind}").read_bytes() == Path(f"before{kind}").read_bytes()
    one, parts = read_table(f"one{kind}"), read_table(f"parts{kind}")
    assert list(one.prediction) == list(parts.prediction)
    for c in ("score", "prob_good"):
        np.testing.assert_allclose(one[c].astype(float), parts[c].astype(float), atol=1e-6)


def test_the_command_has_the_default_of_the_library(sft):
    "It is read from the source, so it stands there as a number."
    keep_every = inspect.signature(predict).parameters["keep_every"]
    assert keep_every.default == KEEP_EVERY and KEEP_EVERY % 64 == 0
    assert "--keep-every" in sft("predict", "--help")[0]


def test_standard_output_is_the_file(run, sft, place):
    sft("predict", run, "new.csv", "--out", "a.csv", "--keep-every", 7)
    said, _ = sft("predict", run, "new.csv", "--keep-every", 7)
    assert said == Path("a.csv").read_text()


def test_parts_of_a_table_from_a_folder_of_files(tuner, place):
    rows = pd.DataFrame({"text": texts(N)})
    Path("big").mkdir()
    for i in range(3):
        rows[i * 10:i * 10 + 10].to_parquet(f"big/part-{i}.parquet")
    predict_file(tuner, "big", "a.csv", keep_every=7)
    assert list(read_table("a.csv").text) == texts(N)


# --- what a cell is does not depend on the part that it is in ---

def test_a_column_of_numbers_that_becomes_text(tuner, place):
    "In JSON: whole numbers, then texts, then nothing; the last part alone would be another kind."
    cells = [*range(10), *"abcdefghij", *[None] * 10]
    lines = [json.dumps({"text": t, "n": c}) + "\n" for t, c in zip(texts(N), cells, strict=True)]
    Path("new.jsonl").write_text("".join(lines))
    for kind in KINDS:
        for size in (0, 7):
            how = {"batch_size": 1, "keep_every": size}
            predict_file(tuner, "new.jsonl", f"a{size}{kind}", **how)
        assert Path(f"a0{kind}").read_bytes() == Path(f"a7{kind}").read_bytes()
    assert [json.loads(line)["n"] for line in Path("a7.jsonl").read_text().splitlines()] == cells


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_cell_over_several_lines_at_the_end_of_a_part(run, sft, place, newline):
    "A byte order mark, semicolons and another encoding besides."
    rows = texts(9)
    rows[3] = rows[4] = 'two lines;\n"quoted" café'
    with open("new.csv", "w", newline="", encoding="utf-16") as file:
        write = csv.writer(file, delimiter=";", lineterminator=newline).writerow
        write(["text"])
        for text in rows:
            write([text])
    how = ["--encoding", "utf-16", "--delimiter", ";", "--keep-every", 4]
    sft("predict", run, "new.csv", "--out", "a.csv", *how)
    assert list(read_table("a.csv").text) == rows


# --- what is wrong is said as before ---

def test_a_bad_row_in_the_last_part_has_its_number_in_the_file(run, sft, place, work):
    rows = pd.DataFrame({"text": texts(N)})
    rows.loc[[24, 29], "text"] = ""
    rows.to_csv("holes.csv", index=False)
    rows.rename(columns={"text": "txt"}).to_csv("other.csv", index=False)
    for size in (0, 7):
        how = ["--out", "a.csv", "--keep-every", size]
        _, err = sft("predict", run, "holes.csv", *how, code=2)
        assert "2 rows without text (rows 24 and 29, counting from 0)" in err
        _, err = sft("predict", run, "other.csv", *how, code=2)
        assert "no column 'text'" in err and "'txt'" in err
    assert work == [] and hidden() == [] and not Path("a.csv").exists()


def test_a_table_without_rows(run, sft, place):
    Path("none.csv").write_text("text\n")
    for size in (0, 7):
        _, err = sft("predict", run, "none.csv", "--out", "a.csv", "--keep-every", size, code=2)
        assert "a header but no row" in err


def test_an_answer_that_is_not_a_number_names_the_row_and_keeps_the_rest(run, place, capsys):
    "It is one of rows 14 to 20, the third part; what was answered before it is kept."
    tuner = FineTuner.load(run)
    known = tuner.task.collate

    def broken(examples, processor):
        batch = known(examples, processor)
        if len(seen) == 20: tuner.model.classifier.weight.data.fill_(float("nan"))
        seen.append(len(examples))
        return batch

    seen, tuner.task.collate = [], broken
    with pytest.raises(Exception, match=r"row (1[4-9]|20)\b"):
        predict_file(tuner, "new.csv", "a.csv", batch_size=1, keep_every=7)
    assert "14 of 30 rows are answered and kept" in capsys.readouterr().err
    assert hidden() == [".a.csv.unfinished"] and not Path("a.csv").exists()


@pytest.mark.parametrize("size", [0, 7])
@pytest.mark.parametrize("out", ["no/such/place.csv", "new.csv/a.csv"])
def test_nowhere_to_write_is_said_before_the_work(run, sft, place, work, out, size):
    _, err = sft("predict", run, "new.csv", "--out", out, "--keep-every", size, code=2)
    assert "cannot be written" in err and work == []


@forks
def test_a_name_that_leads_to_itself_is_said_before_the_work(run, sft, place, work):
    Path("loop.csv").symlink_to("loop.csv")
    _, err = sft("predict", run, "new.csv", "--out", "loop.csv", "--keep-every", 7, code=2)
    assert "Too many levels of symbolic links" in err and work == [] and hidden() == []


@pytest.mark.parametrize("out, said", [
    ("a.pdf", "ends in .csv, .tsv, .jsonl, .parquet"),
    ("a", "ends in .csv"),
    ("folder.csv", "is a folder"),
    ("new.csv", "which is read"),
    ("notes.csv", "not a table of answers of ours"),
    ("essays.csv", "not a table of answers of ours"),
    ("folder/more.parquet", "among the parts"),
])
def test_what_must_not_be_written_is_said_before_the_table_is_read(
    tuner, place, monkeypatch, out, said
):
    Path("folder.csv").mkdir()
    Path("notes.csv").write_text("who,what\n")
    Path("essays.csv").write_text("text,score\nA day,0.5\n")
    Path("folder").mkdir()
    read_table("new.csv").to_parquet("folder/one.parquet")
    monkeypatch.setattr(TextClassification, "read", None)
    data = ["folder", "folder/*.parquet"] if out.startswith("folder/") else ["new.csv"]
    for one in data:
        with pytest.raises(DataError, match=said):
            predict_file(tuner, one, out, keep_every=7)
    assert hidden() == []


def test_a_folder_of_nobody_is_a_sentence(run, sft, place):
    _, err = sft("predict", run, "new.csv", "--out", "~nobody_of_this_name/a.csv", code=2)
    assert err.startswith("error: ")


def test_a_tuner_without_a_model_is_told_so(place):
    for size in (0, 7):
        with pytest.raises(TrainingError, match="has no model yet"):
            predict_file(FineTuner(TextClassification(), "tiny"), "new.csv", "a.csv",
                         keep_every=size)
    assert hidden() == []


def test_a_size_that_makes_no_sense(run, sft, place):
    _, err = sft("predict", run, "new.csv", "--out", "a.csv", "--keep-every", -1, code=2)
    assert "0 keeps nothing" in err


# --- killed, and given again ---

def killed(arm, argv):
    "A forked process that runs a command, armed to die in it."
    def child():
        with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
            arm()
            main([str(a) for a in argv])

    process = get_context("fork").Process(target=child)
    process.start()
    process.join(120)
    return process.exitcode


HERE = "sft_nb.commands.long_tables."
DEATHS = {  # where -> (arms a process, rows that are left to answer)
    "before the first part": (lambda: around(HERE + "_answers_of", before=nth(1, die)), 30),
    "in the third part": (
        lambda: around("sft_nb.evaluation.judging._answer", before=nth(3, die)), 16
    ),
    "before a part has its name": (lambda: around(HERE + "_put", before=nth(3, die)), 16),
    "half a part is written": (
        lambda: around("sft_nb.files.flush", before=nth(4, lambda p: os.truncate(p, 40), die)), 16
    ),
    "when a part has its name": (lambda: around(HERE + "_put", after=nth(3, die)), 9),
    "before the result is written": (lambda: around(HERE + "_table", after=nth(1, die)), 0),
    "while the result is written": (
        lambda: around("sft_nb.data.table_writer.records", before=nth(1, die)), 0
    ),
    "when the result has its name": (
        lambda: around("sft_nb.commands.answering.write_table", after=nth(1, die)), 0
    ),
    "while the parts are cleared away": (
        lambda: around("pathlib.Path.unlink", after=nth(10, die)), None
    ),
}


@forks
@pytest.mark.parametrize("death", DEATHS)
def test_killed_and_given_again_is_as_if_nothing_had_happened(run, sft, place, work, death):
    arm, left = DEATHS[death]
    torch.set_num_threads(1)  # a fork has one thread
    command = ["predict", run, "new.csv", "--out", "a.csv", "--keep-every", 7]
    assert killed(arm, command) == -9
    assert ".a.csv.unfinished" in hidden()
    if left: assert not Path("a.csv").exists()
    _, err = sft(*command)
    assert "30 predictions in a.csv" in err and "warning" not in err
    assert left is None or sum(work) == left
    sft("predict", run, "new.csv", "--out", "whole.csv", "--keep-every", 7)
    assert Path("a.csv").read_bytes() == Path("whole.csv").read_bytes()
    assert ".a.csv.unfinished" not in hidden()


@forks
def test_an_old_result_stays_whole_until_the_new_one_is(run, sft, place):
    sft("predict", run, "--text", "an old question", "--out", "a.csv")
    old = Path("a.csv").read_bytes()
    command = ["predict", run, "new.csv", "--out", "a.csv", "--keep-every", 7]
    for where in (HERE + "_put", "sft_nb.data.table_writer.records"):
        assert killed(lambda w=where: around(w, before=nth(1, die)), command) == -9
        assert Path("a.csv").read_bytes() == old


def test_ctrl_c_says_what_is_kept(run, sft, place, monkeypatch):
    usual = sft_nb.commands.long_tables._put
    Path(".a.csv.unfinished").mkdir()
    Path(".a.csv.unfinished/000003.json").write_text("damaged")

    def put(kept, number, *what):
        usual(kept, number, *what)
        if number == 1: raise KeyboardInterrupt

    monkeypatch.setattr(sft_nb.commands.long_tables, "_put", put)
    command = ["predict", run, "new.csv", "--out", "a.csv", "--keep-every", 7]
    _, err = sft(*command, code=130)
    assert "14 of 30 rows are answered and kept" in err and "same command" in err


# --- what no longer fits is not used ---

def begun(tuner, parts=3, **how):
    "A result of which some parts are there; gives their files."
    class Stop(Exception): pass

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        around_put(patch, parts, Stop)
        predict_file(tuner, "new.csv", "a.csv", keep_every=7, **how)
    return sorted(Path(".a.csv.unfinished").glob("0*.json"))


def around_put(patch, parts, error):
    usual = sft_nb.commands.long_tables._put

    def put(kept, number, *what):
        usual(kept, number, *what)
        if number + 1 == parts: raise error

    patch.setattr(sft_nb.commands.long_tables, "_put", put)


def whole(tuner, **how):
    return predict_file(tuner, "new.csv", "whole.csv", keep_every=7, **how).read_bytes()


def test_what_is_there_is_used(tuner, place, work):
    assert len(begun(tuner)) == 3
    work.clear()
    assert predict_file(tuner, "new.csv", "a.csv", keep_every=7).read_bytes() == whole(tuner)
    assert work[:2] == [7, 2]


SPOILED = {
    "half of it": lambda p: os.truncate(p, p.stat().st_size // 2),
    "empty": lambda p: p.write_text(""),
    "other bytes": lambda p: p.write_bytes(b"\xff\xfe\x00"),
    "an answer changed by hand": lambda p: p.write_text(p.read_text().replace("bad", "good")),
    "the next part's": lambda p: p.write_bytes(p.with_name("000002.json").read_bytes()),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_damaged_part_is_answered_again(tuner, place, work, caplog, how):
    SPOILED[how](begun(tuner)[1])
    work.clear()
    assert predict_file(tuner, "new.csv", "a.csv", keep_every=7).read_bytes() == whole(tuner)
    assert work[:3] == [7, 7, 2]
    assert "1 kept part of 7 rows could not be used" in caplog.text


def test_other_rows_are_answered_again_and_no_more(tuner, place, work, caplog):
    "A row of the second part is corrected; a column with right answers is filled in."
    begun(tuner)
    rows = read_table("new.csv").assign(label="good")
    rows.loc[8, "text"] = "a dull film"
    rows.to_csv("new.csv", index=False)
    work.clear()
    done = predict_file(tuner, "new.csv", "a.csv", keep_every=7).read_bytes()
    assert work == [7, 7, 2] and "1 kept part" in caplog.text
    assert done == whole(tuner) and b"a dull film" in done


def test_a_shorter_table(tuner, place):
    begun(tuner)
    read_table("new.csv")[:10].to_csv("new.csv", index=False)
    done = predict_file(tuner, "new.csv", "a.csv", keep_every=7).read_bytes()
    assert done == whole(tuner) and len(read_table("a.csv")) == 10 and hidden() == []


@pytest.mark.parametrize("what", ["model", "probs", "batch", "note", "no note"])
def test_what_another_model_or_option_made_is_thrown_away(
    run, tuner, reviews, place, work, caplog, what
):
    begun(tuner)
    note, how = Path(".a.csv.unfinished/made_by.json"), {}
    if what == "model":
        tuner = FineTuner(TextClassification(), str(tuner.folder), Recipe(epochs=1)).fit(reviews)
    if what == "probs": how = {"probs": True}
    if what == "batch": how = {"batch_size": 2}
    if what == "note": note.write_text("[1, 2]")
    if what == "no note": note.unlink()
    work.clear()
    done = predict_file(tuner, "new.csv", "a.csv", keep_every=7, **how).read_bytes()
    assert work == [7, 7, 7, 7, 2] and "all rows are answered again" in caplog.text
    assert done == whole(tuner, **how)


def test_a_note_is_of_the_model_that_made_the_parts(tiny, tuner, reviews, place, work):
    "One model dies before its first part, another one after two; then the first goes on."
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sft_nb.commands.long_tables, "_answers_of", interrupted)
        patch.setattr(sft_nb.commands.long_tables._Kept, "clear", lambda self: None)  # a kill
        predict_file(tuner, "new.csv", "a.csv", keep_every=7)
    assert hidden() == [".a.csv.unfinished"]
    begun(FineTuner(TextClassification(), str(tiny("bert")), Recipe(epochs=1)).fit(reviews), 2)
    work.clear()
    assert predict_file(tuner, "new.csv", "a.csv", keep_every=7).read_bytes() == whole(tuner)
    assert work[:5] == [7, 7, 7, 7, 2]


def interrupted(*_): raise KeyboardInterrupt


OWN = """
from sft_nb.all import TextClassification

class Own(TextClassification):
    name = "own-streaming"

    def decode(self, outputs, batch): return super().decode(outputs, batch)
"""


@pytest.mark.parametrize("one, other", [
    ("return x in {'a', 'b'}", "return x in {'a', 'c'}"), ("return x", "return [x]"),
    ("return [y for y in x]", "return [y + 1 for y in x]")])
def test_what_a_typed_function_does_is_told_apart(one, other):
    def told(body, default="1", words="['a']"):
        made = {"__name__": "typed"}
        exec(f"class Own:\n words = {words}\n def f(self, x={default}): {body}", made)
        return _source(made["Own"])

    assert told(one) == told(one) != told(other)
    assert told(one) != told(one, default="2") and told(one) != told(one, words="['b']")


def test_a_place_beside_a_pattern_is_free(tuner, place):
    Path("folder").mkdir()
    read_table("new.csv").to_parquet("folder/part-0.parquet")
    predict_file(tuner, "folder/part-*.parquet", "folder/answers.parquet", keep_every=7)
    assert len(read_table("folder/answers.parquet")) == N


@pytest.mark.parametrize("typed", [False, True])
def test_the_code_of_a_task_is_in_the_note(typed, place, monkeypatch):
    "In a file, with what it is made from; or typed into a notebook."
    base = "from sft_nb.all import TextClassification\nclass Base(TextClassification):\n"
    def source(does): return base + f"    def decode(self, outputs, batch): return {does}\n"
    leaf = "class Leaf(Base): pass\n"
    found = []
    for i, does in enumerate(["outputs", "batch", "outputs"]):
        place_of = {"__name__": "typed_in"}
        if typed: exec(source(does) + leaf, place_of)
        else:
            Path(f"made_{i}.py").write_text(source(does))
            Path(f"leaf_{i}.py").write_text(f"from made_{i} import Base\n{leaf}")
            monkeypatch.syspath_prepend(place)
            place_of = vars(importlib.import_module(f"leaf_{i}"))
        found.append(_source(place_of["Leaf"]))
    assert found[0] != found[1]
    if typed: assert found[0] == found[2]
    Task.registry.pop("Base")
    Task.registry.pop("Leaf")


def test_a_task_that_reads_answers_otherwise_is_another_hand(
    tiny, reviews, place, work, caplog, monkeypatch
):
    Path("own_task.py").write_text(OWN)
    monkeypatch.syspath_prepend(place)
    tuner = FineTuner(task_class("own_task:Own")(), str(tiny("bert")), Recipe(epochs=1))
    tuner.fit(reviews)
    begun(tuner)
    work.clear()
    Path("own_task.py").write_text(OWN.replace("super()", "(super())"))
    predict_file(tuner, "new.csv", "a.csv", keep_every=7)
    assert work == [7, 7, 7, 7, 2] and "made by another code" in caplog.text
    Task.registry.pop("own-streaming")


@pytest.mark.parametrize("how", [{"keep_every": 0}, {"keep_every": N}, {}])
def test_what_an_earlier_call_has_left_goes(tuner, place, how):
    begun(tuner)
    predict_file(tuner, "new.csv", "a.csv", **how)
    assert hidden() == []


def test_ranks_put_nothing_away(tuner, place, monkeypatch):
    "Each would find the folder in the hands of another one."
    monkeypatch.setattr(sft_nb.commands.long_tables, "alone", lambda: False)
    monkeypatch.setattr(sft_nb.commands.long_tables, "_Kept", None)
    assert len(read_table(predict_file(tuner, "new.csv", "a.csv", keep_every=7))) == N


def test_another_process_is_refused(tuner, place):
    begun(tuner)
    kept = {p.name: p.read_bytes() for p in Path(".a.csv.unfinished").glob("*.json")}
    answers = []

    def second():
        with pytest.raises(CheckpointError, match="Another process or thread"):
            predict_file(tuner, "new.csv", "a.csv", keep_every=7)
        answers.append("refused")

    from threading import Thread
    with held(".a.csv.unfinished"):
        thread = Thread(target=second)
        thread.start()
        thread.join()
    assert answers == ["refused"]
    assert kept == {p.name: p.read_bytes() for p in Path(".a.csv.unfinished").glob("*.json")}


def test_files_of_others_in_the_folder_stay(tuner, place):
    Path(".a.csv.unfinished").mkdir()
    Path(".a.csv.unfinished/thesis.tex").write_text("Chapter 1")
    predict_file(tuner, "new.csv", "a.csv", keep_every=7)
    assert [p.name for p in Path(".a.csv.unfinished").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("parts", [0, 2])
def test_a_full_disk_keeps_what_it_has(tuner, place, monkeypatch, parts):
    def full(path, text): raise OSError(28, "No space left on device")

    if parts: begun(tuner, parts)
    monkeypatch.setattr(sft_nb.commands.long_tables, "write_file", full)
    with pytest.raises(DataError, match="No space left on device"):
        predict_file(tuner, "new.csv", "a.csv", keep_every=7)
    assert len(list(Path(".a.csv.unfinished").glob("0*.json"))) == parts


# --- tasks whose answers are more than a label ---

def test_answers_that_json_would_change_are_not_kept_and_the_same(place):
    "Tuples of a task outside the package."
    task = toy_detection.ToyDetection()
    tuner = FineTuner(task, "none")
    tuner.model, tuner.processor = task.build("none")
    rng = np.random.default_rng(0)
    images = [rng.random((toy_detection.SIZE, toy_detection.SIZE)).tolist() for _ in range(9)]
    rows = Task.read(task, pd.DataFrame({"image": images}), labelled=False)
    with answered(tuner, rows, "a.jsonl", keep_every=4) as some:
        kept = sorted(Path(".a.jsonl.unfinished").glob("0*.json"))
    assert list(some.prediction) == list(tuner.predict(rows).prediction)
    empty = [not any(some.prediction[i:i + 4]) for i in (0, 4, 8)]  # JSON knows an empty list
    assert [int(p.stem) for p in kept] == [i for i in range(3) if empty[i]] != [0, 1, 2]


# --- two hundred thousand rows ---

@pytest.mark.slow
def test_two_hundred_thousand_rows(tuner, place, work):
    n = 200_000
    pd.DataFrame({"text": texts(n), "id": np.arange(n)}).to_parquet("new.parquet")
    predict_file(tuner, "new.parquet", "a.parquet")
    there = pd.read_parquet("a.parquet")
    assert list(there.id) == list(range(n)) and list(there.text) == texts(n)
    assert work == [4096] * 48 + [n - 48 * 4096]
    labels = there.prediction.groupby(there.text.str.replace(r" \d+$", "", regex=True)).nunique()
    assert len(labels) == 40
