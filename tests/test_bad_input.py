"""A catalogue of mistakes, each with the message a user sees: what is wrong, where, and what to do.

Every row of the tables is a mistake and the decisive words of its message. Most of them are made
twice: in Python, where an `SFTError` is raised, and on the command line, where one line on standard
error begins with `error:`, without a traceback, and the exit code is 2.
"""
import io
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import alike
from tiny_models import SENTENCES, wordpiece
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import sft_nb.training.checkpoints
import sft_nb.training.saving
from sft_nb import assets
from sft_nb.all import (
    FineTuner, Recipe, SFTError, SequenceLabelling, TextClassification, TextRegression, ladder,
    paired_bootstrap, read_table, split, suggest_checkpoint,
)
from sft_nb.commands.cli import main
from sft_nb.finding import task_class
from sft_nb.training.recipe import RECIPES, Method
from sft_nb.training.watching import Listener

GOOD = "text,label\n" + "".join(
    f"{text} {i},{'bad' if i % 2 else 'good'}\n" for i, text in enumerate(SENTENCES * 3)
)
FAST = Recipe(epochs=1, batch_size=8, precision="fp32")


def says(message, words):
    assert all(w in message for w in words), f"\nsaid:   {message}\nwanted: {words}"
    assert "Traceback" not in message and len(message) < 700


def typed(argv, words, capsys, monkeypatch=None, stdin=None):
    "Type a command; see that it fails as it should."
    if stdin is not None: monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(SystemExit) as e:
        main([str(a) for a in argv])
    out, err = capsys.readouterr()
    assert e.value.code == 2, (e.value.code, out, err)
    warnings, mark, message = err.rpartition("error: ")
    assert (
        mark
        and err.endswith("\n")
        and all(line.startswith("warning: ") for line in warnings.splitlines())
    ), err
    says(message, words)
    return mark + message


# --- files: name -> (bytes, or what to do with the path), words ---

FILES = {
    "missing file": (None, ["There is no file", "reviews.csv", "We looked in"]),
    "missing file, near name": (
        lambda p: p.with_name("review.csv").write_text(GOOD),
        ["There is no file", "Did you mean", "review.csv"],
    ),
    "missing folder": (
        lambda p: "no/such/" + p.name,
        ["There is no file", "There is no folder", "no/such"],
    ),
    "empty file": ("", ["reviews.csv", "empty", "header and at least one row"]),
    "blank lines only": ("\n \n\n", ["reviews.csv", "empty"]),
    "header only": ("text,label\n", ["reviews.csv", "header but no row"]),
    "directory": (lambda p: p.mkdir(), ["is a folder", "Give one file of it"]),
    "directory with tables": (
        lambda p: (p.mkdir(), (p / "a.csv").write_text(GOOD)),
        ["is a folder", "Give one file of it: a.csv"],
    ),
    "wrong suffix": (
        lambda p: (p.with_suffix(".xlsx").write_text(GOOD), p.with_suffix(".xlsx"))[1],
        ["reviews.xlsx", "files that end in .csv, .tsv, .jsonl, .parquet", "Save it"],
    ),
    "GBK": (
        "text,label\n这部电影很温暖也很好笑,正面\n情节无聊笑话老套,负面\n".encode("gbk"),
        ["reviews.csv, line 2", "not UTF-8", "GBK", "Save it as UTF-8", 'encoding="gbk"'],
    ),
    "Latin-1": (
        "text,label\nun café très agréable,bon\n".encode("latin-1"),
        ["reviews.csv, line 2", "not UTF-8", "Latin-1", 'encoding="latin-1"'],
    ),
    "UTF-16": (GOOD.encode("utf-16"), ["reviews.csv", "not UTF-8", "UTF-16", 'encoding="utf-16"']),
    "a spreadsheet called csv": (
        b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00\xff\xfe" * 9,
        ["reviews.csv", "not a text file", "CSV in UTF-8"],
    ),
    "ragged row": (
        "text,label\na film, nice,good\nb,bad\n",
        ["reviews.csv, line 2", "3 cells where the header has 2", "double quotes"],
    ),
    "semicolons": (
        "text;label\na;good\nb;bad\n",
        ["header is one cell", "';' separates the columns", "delimiter=';'"],
    ),
    "open quote": ('text,label\n"a,good\nb,bad\n', ["reviews.csv", "line 2", "double quote"]),
    "broken JSON line": (
        lambda p: (
            p.with_suffix(".jsonl").write_text(
                '{"text": "a", "label": "x"}\n{"text": "b", "label"\n'
            ),
            p.with_suffix(".jsonl"),
        )[1],
        ["reviews.jsonl, line 2", "not JSON", "one object"],
    ),
    "JSON list": (
        lambda p: (p.with_suffix(".jsonl").write_text('["a", "b"]\n'), p.with_suffix(".jsonl"))[1],
        ["reviews.jsonl, line 1", "list", "object was expected"],
    ),
    "cut Parquet": (
        lambda p: (
            p.with_suffix(".parquet").write_bytes(b"PAR1\x15\x04"),
            p.with_suffix(".parquet"),
        )[1],
        ["reviews.parquet", "cannot be read as Parquet", "copied whole"],
    ),
    "misspelt column": (
        GOOD.replace("text,label", "text,lable"),
        ["There is no column 'label'", "Did you mean 'lable'?", "reviews.csv"],
    ),
    "other case": (
        GOOD.replace("text,label", "Text,label"),
        ["There is no column 'text'", "Did you mean 'Text'?"],
    ),
    "missing column": (
        GOOD.replace("text,label", "a,b"),
        ["There is no column 'text'", "There is no column 'label'", "There is: 'a', 'b'"],
    ),
    "duplicate column": (
        "text,label,text\na,good,b\nb,bad,c\n",
        ["several columns are called 'text'", "Rename or remove"],
    ),
    "empty texts only": (
        "text,label\n ,good\n  ,bad\n",
        ["No row is left", "2 rows without text", "rows 0 and 1"],
    ),
    "missing labels": (
        "text,label\na film,\nanother,\n",
        ["No row is left", "2 rows without label"],
    ),
    "one class only": (
        "text,label\na film,good\nanother,good\n",
        ["Every row has the same label, 'good'", "nothing to tell apart"],
    ),
    "fewer rows than parts": (
        "text,label\na film,good\nanother,bad\n",
        ["would be empty", "2 rows"],
    ),
}


@pytest.fixture
def bad_file(tmp_path, request):
    made, words = FILES[request.param]
    path = tmp_path/"reviews.csv"
    if callable(made):
        path = next(
            (p for p in [made(path)] if isinstance(p, type(path)) or isinstance(p, str)), path
        )
    elif made is not None:
        path.write_bytes(made if isinstance(made, bytes) else made.encode())
    return path, words


@pytest.mark.parametrize("bad_file", FILES, indirect=True)
def test_files_in_python(bad_file):
    path, words = bad_file
    with pytest.raises(SFTError) as e:
        split(TextClassification().read(path), valid_size=0.2, certify_size=0.2)
    says(str(e.value), words)


@pytest.mark.parametrize("bad_file", FILES, indirect=True)
def test_files_typed(bad_file, tiny, tmp_path, capsys):
    path, words = bad_file
    typed(
        [
            "fine-tune", path, "--task", "text-classification", "--model", tiny("bert"),
            "--out", tmp_path / "new",
        ],
        words,
        capsys,
    )
    assert not (tmp_path/"new").exists()


# --- tagged files: name -> (file, text, settings, words) ---

SPANS = '{"text": "Ada met", "spans": [[0, 3, "PER"]]}\n\n'
BORDER = ["line 3", "Move it to a border of words", 'unit="character"']
TAGGED = {
    "a column is missing": (
        "a.conll", "Ada B-PER\nmet O\n\nBob\n", {},
        [
            "a.conll, line 4", "1 column, where line 1 has 2", "separated by blanks",
            "blank line separates sentences",
        ],
    ),
    "a column too many": (
        "a.conll", "Ada B-PER\nNew York O\n", {},
        ["a.conll, line 2", "3 columns, where line 1 has 2"],
    ),
    "an empty column": (
        "a.iob", "Ada\tB-PER\nmet\t\n", {},
        ["a.iob, line 2", "an empty column", "separated by tabs"],
    ),
    "no such column": (
        "a.conll", "Ada B-PER\n", {"tag_column": 3},
        ["a.conll: tag_column=3", "2 columns, 0 to 1"],
    ),
    "no sentence": ("a.conll", "-DOCSTART- O\n\n", {}, ["a.conll: there is no sentence in it"]),
    "an empty file of columns": ("a.conll", "\n\n", {}, ["a.conll", "the file is empty"]),
    "columns in Latin-1": (
        "a.conll", "caf\u00e9 O\n".encode("latin-1"), {},
        ["a.conll, line 1", "not UTF-8", "Latin-1"],
    ),
    "one column, to learn from": (
        "a.conll", "Ada\nmet\n", {},
        ["a.conll: There is no column 'tags'", "There is: 'words'"],
    ),
    "no tag of the scheme": (
        "a.conll", "so O\nBob X-PER\nAda B-PER\nin B-LOC\n", {},
        ["a.conll, line 2: 'X-PER' is no tag of IOB2", "O and B-, I-"],
    ),
    "a wrong tag in CSV": (
        "a.csv",
        'words,tags\n"Ada met",B-PER O\n"so Bob",O PER\n"in Rome",O B-LOC\n',
        {},
        ["a.csv, line 3, word 1: 'PER' is no tag of IOB2"],
    ),
    "more words than tags": (
        "a.csv", "words,tags\nAda met Bob,B-PER O\n", {},
        ["a.csv, line 2: 3 words and 2 tags", "every word has one"],
    ),
    "a hole in a list": (
        "a.jsonl",
        '{"words": ["Ada", null], "tags": ["B-PER", "O"]}\n',
        {},
        ["a.jsonl, line 1", "holds an empty entry"],
    ),
    "a number for words": (
        "a.jsonl", '{"words": 3, "tags": ["O"]}\n', {},
        ["a.jsonl, line 1: 3 is no list", '["a", "b"]'],
    ),
    "a number for a text": (
        "a.jsonl", '{"text": 3, "spans": []}\n', {}, ["a.jsonl, line 1: 3 is no text"],
    ),
    "words that are not in the text": (
        "a.jsonl",
        '{"text": "Ada met", "words": ["Ada", "saw"], "tags": ["B-PER", "O"]}\n',
        {},
        ["a.jsonl, line 1: the word 'saw' does not occur in its text after character 3"],
    ),
    "spans overlap": (
        "a.jsonl",
        SPANS + '{"text": "Ada Lovelace", "spans": [[4, 12, "PER"], [0, 12, "PER"]]}\n',
        {},
        ["a.jsonl, line 3: the span 4 to 12 ('Lovelace') overlaps the span 0 to 12"],
    ),
    "an empty span": (
        "a.jsonl",
        SPANS + '{"text": "Ada", "spans": [[1, 1, "PER"]]}\n',
        {},
        ["a.jsonl, line 3: the span 1 to 1 is empty"],
    ),
    "a span behind the text": (
        "a.jsonl",
        SPANS + '{"text": "Ada", "spans": [[0, 9, "PER"]]}\n',
        {},
        ["a.jsonl, line 3: the span 0 to 9 is not inside the text, which has 3 characters"],
    ),
    "a span turned round": (
        "a.jsonl",
        SPANS + '{"text": "Ada", "spans": [[3, 0, "PER"]]}\n',
        {},
        ["line 3: the span 3 to 0 is not inside the text"],
    ),
    "a span cuts an accent": (
        "a.jsonl",
        SPANS + '{"text": "Jose\u0301 ran", "spans": [[0, 4, "PER"]]}\n',
        {},
        [
            "line 3: the span 0 to 4 cuts the character 'e\u0301' (3 to 5)",
            "code points",
            "JavaScript",
        ],
    ),
    "a span cuts an emoji": (
        "a.jsonl",
        SPANS + '{"text": "\U0001f469\u200d\U0001f680 ran", "spans": [[0, 1, "PER"]]}\n',
        {},
        ["line 3: the span 0 to 1 cuts the character", "(0 to 3)"],
    ),
    "half of a character": (
        "a.jsonl", '{"text": "a \\ud83d b", "spans": []}\n', {},
        ["a.jsonl, line 1: half of a character"],
    ),
    "a span inside a word": (
        "a.jsonl",
        SPANS + '{"text": "Adas cat", "spans": [[0, 3, "PER"]]}\n',
        {},
        ["the span 0 to 3 ('Ada') ends inside the word 'Adas' (0 to 4)", *BORDER],
    ),
    "a span with a blank": (
        "a.jsonl",
        SPANS + '{"text": "Ada ran", "spans": [[0, 4, "PER"]]}\n',
        {},
        ["the span 0 to 4 ('Ada ') ends at a blank", *BORDER],
    ),
    "a span without a label": (
        "a.jsonl",
        SPANS + '{"text": "Ada", "spans": [{"start": 0, "end": 3}]}\n',
        {},
        ["line 3", "is no span", '"start": 0'],
    ),
    "a span with an empty label": (
        "a.jsonl",
        SPANS + '{"text": "Ada", "spans": [[0, 3, ""]]}\n',
        {},
        ["line 3", "has no label"],
    ),
    "half a place": (
        "a.jsonl",
        SPANS + '{"text": "Ada", "spans": [[0, 2.5, "PER"]]}\n',
        {},
        ["line 3", "no whole number"],
    ),
    "spans that are text": (
        "a.csv", "text,spans\nAda,PER\n", {}, ["a.csv, line 2: 'PER' is no list of spans"],
    ),
    "neither words nor text": (
        "a.csv", "sentence,tags\nAda,O\n", {},
        ["There is no column 'words'", "There is: 'sentence', 'tags'"],
    ),
    "one tag alone": (
        "a.conll", "Ada O\nmet O\n", {},
        ["Every word has the same tag, 'O'", "nothing to tell apart"],
    ),
    "another kind of file": (
        "a.docx", "x", {},
        ["files that end in .csv, .tsv, .jsonl, .parquet, .conll"],
    ),
}


@pytest.mark.parametrize("mistake", TAGGED)
def test_tagged_files(mistake, tiny, tmp_path, capsys):
    name, text, settings, words = TAGGED[mistake]
    path = tmp_path/name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SFTError) as e:
        SequenceLabelling(**settings).read(path)
    says(str(e.value), words)
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in settings.items()]
    err = typed(
        [
            "fine-tune", path, "--task", "sequence-labelling", *flags, "--model", tiny("bert"),
            "--out", tmp_path / "new",
        ],
        words,
        capsys,
    )
    assert str(path) in err and not (tmp_path/"new").exists()


LABELLED = pd.DataFrame(
    {"words": [["Ada", "met"], ["so", "Bob"]], "tags": [["B-PER", "O"], ["O", "B-PER"]]}
)
def labeller(tiny, **settings): return FineTuner(SequenceLabelling(**settings), tiny("bert"), FAST)


TAGS_IN_PYTHON = {
    "unknown settings": (
        lambda tiny: SequenceLabelling(
            scheme="IOB3", unit="letter", pieces="last", stride=-1, max_length=3
        ),
        [
            "scheme='IOB3': one of auto, plain, IOB1", "unit='letter'",
            "pieces='last': one of first, all, none", "stride=-1", "max_length=3: at least 8",
        ],
    ),
    "one column for two": (
        lambda tiny: SequenceLabelling(words="tags"),
        ["words='tags', tags='tags'", "four different columns"],
    ),
    "text for lists": (
        lambda tiny: labeller(tiny).fit(LABELLED.assign(words="Ada met")),
        ["'words' should hold lists of words", "rows 0 and 1", "task.read"],
    ),
    "numbers in a list": (
        lambda tiny: labeller(tiny).fit(LABELLED.assign(words=[["Ada", 3], ["so", "Bob"]])),
        ["'words' should hold lists of words", "row 0 ", "['Ada', 3]"],
    ),
    "a blank for a word": (
        lambda tiny: labeller(tiny).fit(LABELLED.assign(words=[["Ada", " "], ["so", "Bob"]])),
        ["row 0 ", "leave no entry empty"],
    ),
    "half of a character for a word": (
        lambda tiny: labeller(tiny).fit(LABELLED.assign(words=[["Ada", "\ud83d"], ["so", "Bob"]])),
        ["row 0 "],
    ),
    "unequal lists": (
        lambda tiny: labeller(tiny).fit(LABELLED.assign(tags=[["B-PER"], ["O", "B-PER"]])),
        ["not as many tags as words in row 0"],
    ),
    "IOB1 that was not read": (
        lambda tiny: labeller(tiny).fit(LABELLED.assign(tags=[["I-PER", "O"], ["O", "I-PER"]])),
        ["no IOB2 in rows 0 and 1", "'I-PER' cannot be the first tag", "task.read"],
    ),
    "a tag in valid alone": (
        lambda tiny: labeller(tiny).fit(
            LABELLED, LABELLED.assign(words=[["a", "b"]] * 2, tags=[["B-LOC", "O"], ["O", "O"]])
        ),
        [
            "valid rows cannot be used", "Tag 'B-LOC' in column 'tags'",
            "training rows' tags (O, B-PER, I-PER)", "row 0",
        ],
    ),
    "no tags": (
        lambda tiny: labeller(tiny).fit(LABELLED[["words"]]),
        ["There is no column 'tags'"],
    ),
    "rows without words": (
        lambda tiny: labeller(tiny).fit(LABELLED.assign(words=[[], ["so", "Bob"]])),
        ["1 row without words (row 0"],
    ),
    "a wide stride": (
        lambda tiny: labeller(tiny, max_length=10, stride=8).fit(LABELLED),
        ["stride=8, but a window holds 8 pieces"],
    ),
    "packing with DeBERTa": (
        lambda tiny: FineTuner(SequenceLabelling(), tiny("deberta-v2"), FAST.but(packing=True)).fit(
            LABELLED
        ),
        ["packing=False"],
    ),
    "predict nothing": (
        lambda tiny: labeller(tiny).fit(LABELLED).predict([" "]),
        ["1 row without words (row 0", "Every row gets a prediction"],
    ),
    "predict a number": (
        lambda tiny: labeller(tiny).fit(LABELLED).predict([3]),
        ["row 0", "3 is no text"],
    ),
    "predict None": (
        lambda tiny: labeller(tiny).fit(LABELLED).predict(["a", None]),
        ["1 row without words (row 1"],
    ),
    "build before learn": (
        lambda tiny: SequenceLabelling().build(str(tiny("bert"))),
        ["no labels yet", "task.learn"],
    ),
}


@pytest.mark.parametrize("mistake", TAGS_IN_PYTHON)
def test_tags_in_python(mistake, tiny):
    wrong, words = TAGS_IN_PYTHON[mistake]
    with pytest.raises(SFTError) as e:
        wrong(tiny)
    says(str(e.value), words)


# --- commands: mistake -> (arguments; CSV, TINY, RUN, NEW stand for paths), words ---

TUNE = ["fine-tune", "CSV", "--task", "text-classification", "--model", "TINY", "--out", "NEW"]
COMMANDS = {
    "no task": (
        ["fine-tune", "CSV", "--out", "NEW"],
        ["Which task?", "--task NAME", "text-classification"],
    ),
    "unknown task": (
        ["fine-tune", "CSV", "--task", "text-clasification", "--out", "NEW"],
        ["No task is called 'text-clasification'", "Known: ", "text-classification"],
    ),
    "task in no module": (
        ["fine-tune", "CSV", "--task", "my_tasks:Mine", "--out", "NEW"],
        ["No task 'my_tasks:Mine'", "No module named 'my_tasks'", "PYTHONPATH"],
    ),
    "a class that is no task": (
        ["fine-tune", "CSV", "--task", "pathlib:Path", "--out", "NEW"],
        ["pathlib:Path is no task", "subclasses sft_nb.task.Task"],
    ),
    "no class at all": (
        ["fine-tune", "CSV", "--task", ":", "--out", "NEW"],
        ["No task ':'", "module:Class"],
    ),
    "unknown recipe": (
        [*TUNE, "--recipe", "defualt"],
        ["No recipe is called 'defualt'", "Known: default, article, stable"],
    ),
    "no epoch": ([*TUNE, "--epochs", "0"], ["This recipe cannot work", "epochs=0: at least 1"]),
    "negative rate": (
        [*TUNE, "--learning-rate", "-1e-4"],
        ["This recipe cannot work", "learning_rate=-0.0001: above 0"],
    ),
    "rate of nan": ([*TUNE, "--learning-rate", "nan"], ["learning_rate=nan: a finite number"]),
    "no batch": (
        [*TUNE, "--batch-size", "0", "--epochs", "-2"],
        ["epochs=-2: at least 1", "batch_size=0: at least 1"],
    ),
    "a column that is not there": (
        [*TUNE, "--text", "review"],
        ["There is no column 'review'", "There is: 'text', 'label'"],
    ),
    "one column for two": (
        [*TUNE, "--text", "label"],
        ["This task cannot work", "label='label'", "three different columns"],
    ),
    "impossible length": ([*TUNE, "--max-length", "0"], ["max_length=0: at least 8 tokens"]),
    "settings that exclude each other": (
        [*TUNE, "--multi-label", "--balanced"],
        ["This task cannot work", "balanced", "not with multi_label"],
    ),
    "impossible smoothing": (
        [*TUNE, "--label-smoothing", "1.5"],
        ["label_smoothing=1.5: 0 up to but not 1"],
    ),
    "group not there": (
        [*TUNE, "--group", "film"],
        ["There is no column 'film'", "There is: 'text', 'label'"],
    ),
    "sizes sum to one": (
        [*TUNE, "--valid-size", ".5", "--certify-size", ".5"],
        ["valid_size", "certify_size", "no row of 24 for training", "Ask for less"],
    ),
    "a size of more rows than there are": (
        [*TUNE, "--valid-size", "500"],
        ["500", "no row of 24 for training"],
    ),
    "a size that leaves nothing": (
        [*TUNE, "--valid-size", ".001"],
        ["valid would be empty", "24 rows"],
    ),
    "an infinite size": ([*TUNE, "--valid-size", "inf"], ["share below 1", "not infinite"]),
    "negative size": (
        [*TUNE, "--certify-size", "-0.2"],
        ["certify_size is -0.2", "fraction below 1"],
    ),
    "valid file not there": ([*TUNE, "--valid", "nowhere.csv"], ["There is no file nowhere.csv"]),
    "unknown bundled name": (
        ["fine-tune", "CSV", "--task", "text-classification", "--model", "minilmm", "--out", "NEW"],
        ["'minilmm' is no bundled checkpoint", "Did you mean the bundled 'minilm'?"],
    ),
    "hub id without network": (
        [
            "fine-tune", "CSV", "--task", "text-classification", "--model",
            "bert-base-uncased", "--out", "NEW",
        ],
        ["'bert-base-uncased' is no bundled checkpoint", "hub", "minilm", "HF_ENDPOINT"],
    ),
    "no such folder": (
        [
            "fine-tune", "CSV", "--task", "text-classification", "--model", "./models/none",
            "--out", "NEW",
        ],
        ["No folder './models/none'", "minilm", "owner/name"],
    ),
    "a data set for a model": (
        [
            "fine-tune", "CSV", "--task", "text-classification", "--model", "rotten-tomatoes",
            "--out", "NEW",
        ],
        ["'rotten-tomatoes' is no bundled checkpoint"],
    ),
    "a folder of other things": (
        [*TUNE[:-1], "FULL"],
        ["holds other files (notes.txt)", "empty or a new folder"],
    ),
    "a file for a folder": ([*TUNE[:-1], "CSV"], ["cannot be made a folder", "Give another one"]),
    "below a file": ([*TUNE[:-1], "CSV/run"], ["cannot be made a folder", "Give another one"]),
    "unknown resume": ([*TUNE, "--resume", "yes"], ["--resume 'yes'", "only value is auto"]),
    "evaluate without labels": (
        ["evaluate", "RUN", "UNLABELLED"],
        ["There is no column 'label'", "There is: 'text'"],
    ),
    "evaluate, a label unseen in training": (
        ["evaluate", "RUN", "UNSEEN"],
        [
            "Label 'so-so' in column 'label'",
            "row 1, counting from 0",
            "not among the training rows' labels (bad, good)",
            "Correct it",
        ],
    ),
    "evaluate no run": (
        ["evaluate", "TINY", "CSV"],
        ["no finished run of sft_nb", "sft_nb.json is missing"],
    ),
    "evaluate no folder": (["evaluate", "runs/none", "CSV"], ["There is no folder runs/none"]),
    "evaluate into a file": (
        ["evaluate", "RUN", "CSV", "--out", "CSV"],
        ["cannot be made a folder", "Give another one"],
    ),
    "predict nothing": (["predict", "RUN"], ["Nothing to predict", "--text"]),
    "predict with no run": (
        ["predict", "runs/none", "--text", "a film"],
        ["There is no folder runs/none"],
    ),
    "predict an empty text": (
        ["predict", "RUN", "--text", ""],
        ["1 row without text", "Every row gets a prediction"],
    ),
    "predict with a missing text": (
        ["predict", "RUN", "HOLES"],
        [
            "1 row without text (row 1, counting from 0)",
            "Every row gets a prediction",
            "fill it in, or take it out",
        ],
    ),
    "predict another table": (
        ["predict", "RUN", "OTHER"],
        ["There is no column 'text'", "Did you mean 'texts'?", "other.csv"],
    ),
    "predict into an unknown kind": (
        ["predict", "RUN", "--text", "a film", "--out", "out.xlsx"],
        ["out.xlsx", "cannot write .xlsx", ".csv, .tsv, .jsonl, .parquet"],
    ),
    "predict into no suffix": (
        ["predict", "RUN", "--text", "a film", "--out", "answers"],
        ["answers", "without a suffix"],
    ),
    "predict into nowhere": (
        ["predict", "RUN", "--text", "a film", "--out", "no/such/place.csv"],
        ["no/such/place.csv", "cannot be written"],
    ),
    "unknown asset": (["assets", "get", "minilmm"], ["minilmm", "minilm"]),
}


@pytest.fixture
def paths(tiny, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tables = {
        "CSV": GOOD,
        "UNLABELLED": "text\na film\n",
        "UNSEEN": "text,label\na film,good\nanother,so-so\n",
        "HOLES": "text,label\na film,good\n,bad\n",
        "OTHER": "texts\na film\n",
    }
    for name, text in tables.items():
        (tmp_path / f"{name.lower()}.csv").write_text(text)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    return {
        "TINY": tiny("bert"), "RUN": run, "NEW": tmp_path / "new", "FULL": tmp_path / "full",
    } | {n: f"{n.lower()}.csv" for n in tables}


@pytest.mark.parametrize("mistake", COMMANDS)
def test_commands(mistake, paths, capsys):
    argv, words = COMMANDS[mistake]
    for name, path in paths.items():
        argv = [
            str(path) + a[len(name) :] if a == name or a.startswith(f"{name}/") else a for a in argv
        ]
    err = typed(argv, words, capsys)
    advice = [line for line in err.splitlines() if "If yours are called otherwise" in line]
    assert err.count("\n") == 1 + len(advice)
    assert not paths["NEW"].exists() or not any(paths["NEW"].rglob("*")), "nothing is left behind"


def test_nothing_from_standard_input(run, capsys, monkeypatch):
    typed(["predict", run, "-"], ["Standard input was empty"], capsys, monkeypatch, io.StringIO(""))


def test_standard_input_in_another_encoding(run, capsys, monkeypatch):
    typed(
        ["predict", run, "-"], ["Standard input is not utf-8", "iconv"], capsys, monkeypatch,
        io.TextIOWrapper(io.BytesIO("这部电影".encode("gbk")), encoding="utf-8"),
    )


# --- folders that are no checkpoint: mistake -> (what is done to a good one), words ---

def weights(change):
    def alter(folder):
        save_file(
            change(load_file(folder / "model.safetensors")),
            folder / "model.safetensors",
            {"format": "pt"},
        )
    return alter


CHECKPOINTS = {
    "no config": (lambda f: (f / "config.json").unlink(), ["cannot be read", "config.json"]),
    "config is no JSON": (
        lambda f: (f / "config.json").write_text("{oops"),
        ["cannot be read", "config.json"],
    ),
    "no model type": (
        lambda f: (f / "config.json").write_text("{}"),
        ["cannot be read", "model_type"],
    ),
    "unknown architecture": (
        lambda f: (f / "config.json").write_text('{"model_type": "bertt"}'),
        ["cannot be read", "bertt"],
    ),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        ["cannot be read", "model.safetensors"],
    ),
    "truncated weights": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:5000]
        ),
        ["cannot be read", ".safetensors", "damaged or cut short", "fetch the folder again"],
    ),
    "half of the weights": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:-5000]
        ),
        ["cannot be read", ".safetensors", "damaged or cut short", "fetch the folder again"],
    ),
    "empty weights": (
        lambda f: (f / "model.safetensors").write_bytes(b""),
        ["cannot be read", ".safetensors", "damaged or cut short", "fetch the folder again"],
    ),
    "other names": (
        weights(lambda w: {f"x.{k}": v for k, v in w.items()}),
        ["weights of the body", "would be random", "damaged"],
    ),
    "other shapes": (
        weights(lambda w: {k: v[..., :8].contiguous() for k, v in w.items()}),
        ["weights of the body", "another shape", "would be random"],
    ),
    "no tokenizer": (
        lambda f: [p.unlink() for p in f.glob("tokenizer*")],
        ["tokenizer", "no vocabulary", "tokenizer.json", "save_pretrained"],
    ),
    "tokenizer of another model": (
        lambda f: (f / "tokenizer.json").write_text(
            (f.parent / "roberta" / "tokenizer.json").read_text()
        ),
        ["tokenizer", f"tokens, the model {len(wordpiece())}:", "do not belong together"],
    ),
    "tokenizer is no JSON": (
        lambda f: (f / "tokenizer.json").write_text("{oops"),
        ["cannot be read", "tokenizer"],
    ),
    "a larger vocabulary than embeddings": (
        weights(
            lambda w: {
                k: v[:50].contiguous()
                if v.shape[:1] == w["bert.embeddings.word_embeddings.weight"].shape[:1]
                else v
                for k, v in w.items()
            }
        ),
        ["weights of the body", "word_embeddings"],
    ),
    "NaN weights": (
        weights(lambda w: {k: v * torch.nan for k, v in w.items()}),
        ["Not a finite number", "nan", "update 1", "training rows", "smaller learning rate"],
    ),
}


@pytest.mark.parametrize("mistake", CHECKPOINTS)
def test_checkpoint_folders(mistake, tiny, reviews, tmp_path, capsys):
    change, words = CHECKPOINTS[mistake]
    folder = shutil.copytree(tiny("bert"), tmp_path / "model")
    shutil.copytree(tiny("roberta"), tmp_path / "roberta")
    change(folder)
    with pytest.raises(SFTError) as e:
        FineTuner(TextClassification(), folder, FAST).fit(reviews)
    says(str(e.value), words)
    (tmp_path/"good.csv").write_text(GOOD)
    typed(
        [
            "fine-tune", tmp_path / "good.csv", "--task", "text-classification", "--model",
            folder, "--out", tmp_path / "new",
        ],
        words,
        capsys,
    )


# --- runs that are none ---

def edited(change):
    def alter(folder):
        about = json.loads((folder / "sft_nb.json").read_text())
        change(about)
        (folder/"sft_nb.json").write_text(json.dumps(about))
    return alter


RUNS = {
    "no sft_nb.json": (
        lambda f: (f / "sft_nb.json").unlink(),
        ["no finished run", "sft_nb.json is missing"],
    ),
    "only checkpoints": (
        lambda f: ((f / "sft_nb.json").unlink(), (f / "checkpoints").mkdir()),
        ["no finished run", "go on with resume"],
    ),
    "cut sft_nb.json": (
        lambda f: (f / "sft_nb.json").write_text((f / "sft_nb.json").read_text()[:100]),
        ["sft_nb.json", "cannot be read", "Copy the folder again"],
    ),
    "sft_nb.json of something else": (
        lambda f: (f / "sft_nb.json").write_text("[]"),
        ["sft_nb.json", "cannot be read"],
    ),
    "a part is missing": (
        edited(lambda a: a.pop("recipe")),
        ["sft_nb.json", "cannot be read", "recipe"],
    ),
    "a part is no part": (
        edited(lambda a: a.update(recipe="default")),
        ["sft_nb.json", "cannot be read"],
    ),
    "a field from the future": (
        edited(lambda a: a["recipe"].update(warp=9)),
        ["sft_nb.json", "cannot be read", "warp"],
    ),
    "a format from the future": (
        edited(lambda a: a.update(format=99)),
        ["format 99", "this version of sft_nb reads 2"],
    ),
    "a task that is not here": (
        edited(lambda a: a["task"].update(name="mine", module="my_tasks", **{"class": "Mine"})),
        ["defined outside sft_nb", "import my_tasks first", "--task my_tasks:Mine"],
    ),
    "no rows.json": (lambda f: (f / "rows.json").unlink(), ["rows.json", "cannot be read"]),
    "the head is gone": (
        weights(lambda w: {k: v for k, v in w.items() if "classifier" not in k}),
        ["damaged", "2 weights", "classifier"],
    ),
    "a label too many": (
        edited(lambda a: a["task"]["fields"].update(labels=["bad", "good", "so-so"])),
        ["damaged", "2 weights", "classifier"],
    ),
    "truncated weights": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:5000]
        ),
        ["cannot be read", ".safetensors", "damaged or cut short", "fetch the folder again"],
    ),
}


@pytest.mark.parametrize("mistake", RUNS)
def test_damaged_runs(mistake, run, tmp_path, capsys):
    change, words = RUNS[mistake]
    folder = shutil.copytree(run, tmp_path/"run")
    change(folder)
    with pytest.raises(SFTError) as e:
        FineTuner.load(folder)
    says(str(e.value), words)
    typed(["predict", folder, "--text", "a film"], words, capsys)


# --- Python alone: mistake -> (what is written), words ---

ROWS = pd.DataFrame({"text": SENTENCES, "label": ["good", "bad"] * 4})
def tuner(tiny, **recipe): return FineTuner(TextClassification(), tiny("bert"), FAST.but(**recipe))


PYTHON = {
    "unknown field of a recipe": (
        lambda tiny, run: RECIPES["default"].but(epoch=3),
        ["A recipe has no epoch", "Its fields: epochs, updates, learning_rate"],
    ),
    "dropout above one": (
        lambda tiny, run: Recipe(dropout=1.5),
        ["dropout=1.5: 0 up to but not 1"],
    ),
    "several at once": (
        lambda tiny, run: Recipe(epochs=0, schedule="cosin", precision="fp16", warmup=2),
        [
            "epochs=0",
            "warmup=2",
            "schedule='cosin': one of constant, linear, cosine",
            "precision='fp16': auto, fp32 or bf16",
        ],
    ),
    "decay below zero": (
        lambda tiny, run: Recipe(
            weight_decay=-0.1, max_grad_norm=0, depth_decay=1.1, length_window=0, patience=0,
            micro_batch_size=0,
        ),
        [
            "weight_decay=-0.1", "max_grad_norm=0", "depth_decay=1.1", "length_window=0",
            "patience=0", "micro_batch_size=0",
        ],
    ),
    "text for a number": (lambda tiny, run: Recipe(epochs="3"), ["epochs='3': a whole number"]),
    "half an epoch": (
        lambda tiny, run: Recipe(epochs=0.5, learning_rate="1e-4"),
        ["epochs=0.5: a whole number", "learning_rate='1e-4': a finite number"],
    ),
    "unknown task": (
        lambda tiny, run: task_class("translate"),
        ["No task is called 'translate'", "text-classification"],
    ),
    "label is text": (
        lambda tiny, run: TextClassification(text="a", label="a"),
        ["three different columns"],
    ),
    "predict before fit": (
        lambda tiny, run: tuner(tiny).predict(["a film"]),
        ["no model yet", "fit(train, valid)", "FineTuner.load"],
    ),
    "evaluate before fit": (lambda tiny, run: tuner(tiny).evaluate(ROWS), ["no model yet"]),
    "save before fit": (lambda tiny, run: tuner(tiny).save("new"), ["no model yet"]),
    "a table that is a path": (
        lambda tiny, run: tuner(tiny).fit("data.csv"),
        ["train rows should be a table, not str", "task.read"],
    ),
    "no rows": (lambda tiny, run: tuner(tiny).fit(ROWS[:0]), ["There are no rows in train"]),
    "no valid rows": (
        lambda tiny, run: tuner(tiny).fit(ROWS, ROWS[:0]),
        ["There are no rows in valid"],
    ),
    "unread rows with a hole": (
        lambda tiny, run: tuner(tiny).fit(ROWS.assign(text=[None, *SENTENCES[1:]])),
        ["train rows cannot be used", "1 row without text (row 0, counting from 0)", "task.read"],
    ),
    "numbers for text": (
        lambda tiny, run: tuner(tiny).fit(ROWS.assign(text=range(8))),
        ["'text' should hold text", "rows 0, 1, 2, 3, 4 and 3 more", "astype(str)"],
    ),
    "one class": (
        lambda tiny, run: tuner(tiny).fit(ROWS.assign(label="good")),
        ["Every row has the same label, 'good'"],
    ),
    "a label in valid alone": (
        lambda tiny, run: tuner(tiny).fit(ROWS, ROWS.assign(label="so-so")),
        [
            "valid rows cannot be used",
            "Label 'so-so'",
            "not among the training rows' labels (bad, good)",
        ],
    ),
    "no label in any row": (
        lambda tiny, run: FineTuner(TextClassification(multi_label=True), tiny("bert"), FAST).fit(
            ROWS.assign(label="")
        ),
        ["No row has any label", "separator"],
    ),
    "more blocks than there are": (
        lambda tiny, run: tuner(tiny, unfreeze_last=9).fit(ROWS),
        ["unfreeze_last=9", "3 blocks", "0 to 3"],
    ),
    "evaluate a path": (
        lambda tiny, run: FineTuner.load(run).evaluate("data.csv"),
        ["should be a table", "not 'data.csv'", "task.read"],
    ),
    "evaluate without labels": (
        lambda tiny, run: FineTuner.load(run).evaluate(ROWS[["text"]]),
        ["There is no column 'label'"],
    ),
    "evaluate with a label missing": (
        lambda tiny, run: FineTuner.load(run).evaluate(ROWS.assign(label=[None, *ROWS.label[1:]])),
        ["evaluation rows cannot be used", "1 row without label (row 0"],
    ),
    "evaluate an unseen label": (
        lambda tiny, run: FineTuner.load(run).evaluate(
            ROWS.assign(label=["so-so", *ROWS.label[1:]])
        ),
        ["Label 'so-so' in column 'label' (row 0, counting from 0)", "(bad, good)"],
    ),
    "predict no item": (
        lambda tiny, run: FineTuner.load(run).predict([]),
        ["nothing to predict", "the list is empty"],
    ),
    "predict a single text": (
        lambda tiny, run: FineTuner.load(run).predict("A fine film."),
        ["A single text is given in a list", "predict(['A fine film.'])"],
    ),
    "predict a number": (
        lambda tiny, run: FineTuner.load(run).predict([3]),
        ["'text' should hold text", "row 0", "3"],
    ),
    "predict None": (
        lambda tiny, run: FineTuner.load(run).predict(["a film", None]),
        ["1 row without text (row 1", "Every row gets a prediction"],
    ),
    "predict a pair with one text": (
        lambda tiny, run: FineTuner.load(run).predict([("a", "b")]),
        ["should hold text", "('a', 'b')"],
    ),
    "predict other columns": (
        lambda tiny, run: FineTuner.load(run).predict([{"txt": "a film"}]),
        ["There is no column 'text'", "Did you mean 'txt'?"],
    ),
    "one text for a pair": (
        lambda tiny, run: TextClassification(text_pair="second").as_rows(["a film"]),
        ["Item 0", "1 value, but the model reads 2 columns: text, second", "tuple of 2"],
    ),
    "three texts for a pair": (
        lambda tiny, run: TextClassification(text_pair="second").as_rows(
            [("a", "b"), ("a", "b", "c")]
        ),
        ["Item 1", "3 values", "2 columns"],
    ),
    "resume from nothing": (
        lambda tiny, run: tuner(tiny).fit(ROWS, resume="nowhere"),
        ["no usable checkpoint in nowhere", "without resume"],
    ),
    "load a model that is no run": (
        lambda tiny, run: FineTuner.load(tiny("bert")),
        ["no finished run of sft_nb"],
    ),
    "resume from nowhere": (
        lambda tiny, run: tuner(tiny).fit(ROWS, resume="auto"),
        ['resume="auto"', "FineTuner(…, out=folder)"],
    ),
    "resume True": (
        lambda tiny, run: FineTuner(TextClassification(), tiny("bert"), FAST, out="new").fit(
            ROWS, resume=True
        ),
        ["resume=True", '"auto", the folder of a run, or None'],
    ),
    "patience without valid": (
        lambda tiny, run: tuner(tiny, patience=1).fit(ROWS),
        ["patience=1", "give valid rows, or patience=None"],
    ),
    "a recipe by name": (
        lambda tiny, run: FineTuner(TextClassification(), tiny("bert"), "default"),
        ["recipe should be a Recipe", 'RECIPES["default"]', "not 'default'"],
    ),
    "a task by name": (
        lambda tiny, run: FineTuner("text-classification", tiny("bert")),
        [
            "task should be a Task",
            "a task with its columns, such as TextClassification(",
            "not 'text-classification'",
        ],
    ),
    "a task without parentheses": (
        lambda tiny, run: FineTuner(TextClassification, tiny("bert")),
        ["task should be a Task", "TextClassification("],
    ),
    "a method alone": (
        lambda tiny, run: Recipe(methods=Method()),
        ["methods=", "tuple of Method objects"],
    ),
    "a method without parentheses": (
        lambda tiny, run: Recipe(methods=(Method,)),
        ["methods=", "with parentheses"],
    ),
    "a device that is not here": (
        lambda tiny, run: FineTuner(TextClassification(), tiny("bert"), device="gpu"),
        ["The device 'gpu' is not here", "Give None"],
    ),
    "lists of labels": (
        lambda tiny, run: tuner(tiny).fit(ROWS.assign(label=[["good"], ["bad", "dull"]] * 4)),
        ["Column 'label' holds lists of labels", "multi_label=True"],
    ),
    "predict a Series": (
        lambda tiny, run: FineTuner.load(run).predict(ROWS["text"]),
        ["not a Series", "list(…)"],
    ),
    "rates without valid": (
        lambda tiny, run: tuner(tiny).search_learning_rate(ROWS, None),
        ["the rates are compared here"],
    ),
    "a ladder without valid": (
        lambda tiny, run: ladder(TextClassification(), ROWS, None, ROWS, tiny("bert"), FAST),
        ["valid should be a table", "not None"],
    ),
    "a ladder with an unseen label": (
        lambda tiny, run: ladder(
            TextClassification(), ROWS, ROWS, ROWS.assign(label="so-so"), tiny("bert"), FAST
        ),
        ["answered rows cannot be used", "Label 'so-so'"],
    ),
    "a rung that is not there": (
        lambda tiny, run: ladder(
            TextClassification(), ROWS, ROWS, ROWS, tiny("bert"), FAST, rungs=("tfdif",)
        ),
        ["No rung is called 'tfdif'", "majority, tfidf, static, frozen"],
    ),
    "numbers of nobody": (
        lambda tiny, run: TextRegression(number="stars").build(str(tiny("bert"))),
        ["no unit yet", "task.learn(training_rows)"],
    ),
    "a number that never changes": (
        lambda tiny, run: FineTuner(TextRegression(number="n"), tiny("bert"), FAST).fit(
            ROWS.assign(n=2.5)
        ),
        ["train rows cannot be used", "Every row has the same n, 2.5"],
    ),
    "infinite numbers": (
        lambda tiny, run: FineTuner(TextRegression(number="n"), tiny("bert"), FAST).fit(
            ROWS.assign(n=[1.0, float("-inf")] * 4)
        ),
        ["'n' should hold numbers, but rows 1, 3, 5 and 7", "-inf"],
    ),
    "a valid row without its number": (
        lambda tiny, run: FineTuner(TextRegression(number="n"), tiny("bert"), FAST).fit(
            ROWS.assign(n=range(8)), ROWS.assign(n=[None, *range(7)])
        ),
        ["valid rows cannot be used", "1 row without n (row 0, counting from 0)"],
    ),
    "lists of numbers": (
        lambda tiny, run: TextRegression(number="n").read(ROWS.assign(n=[[1.0, 2.0]] * 8)),
        ["'n' should hold numbers", "[1.0, 2.0]"],
    ),
    "a bootstrap of one group": (
        lambda tiny, run: paired_bootstrap(
            lambda p, t: 0.0, [1, 2], [1, 2], [1, 2], groups=["a", "a"]
        ),
        ["There is 1 group to draw from", "at least 2"],
    ),
    "a suggestion for no device": (
        lambda tiny, run: suggest_checkpoint(TextRegression, device="tpu"),
        ["No speed is known for the device 'tpu'", "cpu, mps, cuda", "speed="],
    ),
    "unknown asset": (
        lambda tiny, run: assets.get("rotten-tomatos"),
        ["rotten-tomatos", "rotten-tomatoes"],
    ),
    "a table that is a number": (
        lambda tiny, run: read_table(3),
        ["A table is a path, a DataFrame or a list of dicts", "3"],
    ),
}


# --- numbers: mistake -> (table, the columns of the numbers, words) ---

def stars(*values):
    some = zip(SENTENCES[:len(values)], values, strict=True)
    return "text,stars\n" + "".join(f"{text},{value}\n" for text, value in some)


NUMBERS = {
    "targets that are text": (
        stars(4, "four", 3.5, 2),
        "stars",
        [
            "reviews.csv",
            "'stars' should hold numbers, but row 1 (counting from 0) holds 'four'",
            "Write 3.5 rather than 3,5, without units.",
        ],
    ),
    "a decimal comma": (
        stars(4, '"3,5"', 2, '"1,0"'),
        "stars",
        [
            "'stars' should hold numbers, but rows 1 and 3 (counting from 0) hold '3,5'",
            "Write 3.5 rather than 3,5",
        ],
    ),
    "a unit": (
        stars("4 stars", "3 stars"),
        "stars",
        [
            "'stars' should hold numbers, but rows 0 and 1 (counting from 0) hold '4 stars'",
            "without units",
        ],
    ),
    "an infinite target": (
        stars(1, 2, "inf", 3),
        "stars",
        ["'stars' should hold numbers, but row 2 (counting from 0) holds 'inf'"],
    ),
    "no number at all": (
        stars("", "", ""),
        "stars",
        ["No row is left", "3 rows without stars (rows 0, 1 and 2, counting from 0)"],
    ),
    "the same number everywhere": (
        stars(3, 3.0, 3),
        "stars",
        [
            "Every row has the same stars, 3: there is nothing to learn.",
            "Add rows with other numbers, or name another column.",
        ],
    ),
    "an unknown target column": (
        stars(1, 2, 3),
        "star",
        ["There is no column 'star'", "Did you mean 'stars'?", "reviews.csv"],
    ),
    "one of several is unknown": (
        stars(1, 2, 3),
        "stars, year",
        ["There is no column 'year'", "There is: 'text', 'stars'"],
    ),
    "one of several is constant": (
        "text,stars,year\na,1,2000\nb,2,2000\nc,3,2000\n",
        "stars, year",
        ["Every row has the same year, 2000: there is nothing to learn."],
    ),
    "one of several is empty": (
        "text,stars,year\na,1,\nb,2,\nc,3,\n",
        "stars,year",
        ["No row has a number in 'year'.", "leave the column out"],
    ),
    "the text as the target": (
        stars(1, 2, 3),
        "text",
        [
            "This task cannot work", "text='text', text_pair=None, number='text'",
            "three different columns",
        ],
    ),
    "a target twice": (
        stars(1, 2, 3),
        "stars, stars",
        ["This task cannot work", "number='stars, stars': all different columns"],
    ),
    "no column named": (
        stars(1, 2, 3),
        " , stars",
        ["This task cannot work", "number=' , stars': a column between the commas"],
    ),
}


@pytest.mark.parametrize("mistake", NUMBERS)
def test_numbers(mistake, tiny, tmp_path, capsys):
    table, number, words = NUMBERS[mistake]
    (path := tmp_path/"reviews.csv").write_text(table)
    with pytest.raises(SFTError) as e:
        TextRegression(number=number).read(path)
    says(str(e.value), words)
    typed(
        [
            "fine-tune", path, "--task", "text-regression", "--number", number, "--model",
            tiny("bert"), "--out", tmp_path / "new",
        ],
        words,
        capsys,
    )
    assert not (tmp_path/"new").exists()


def test_rows_without_a_number_are_left_out_and_named(tmp_path, said):
    (path := tmp_path/"reviews.csv").write_text(stars(1, "", 3, 4))
    rows = TextRegression(number="stars").read(path)
    assert len(rows) == 3
    assert "left out: 1 of 4 rows: 1 row without stars (row 1, counting from 0)" in said()


def test_rows_with_some_of_their_numbers_are_kept_and_counted(tmp_path, said):
    (path := tmp_path/"reviews.csv").write_text("text,stars,year\na,1,2000\nb,,2001\nc,3,\nd,,\n")
    rows = TextRegression(number="stars, year").read(path)
    out = said()
    assert len(rows) == 3
    assert "1 row without stars or year (row 3, counting from 0)" in out
    assert "2 rows without some of stars, year (rows 1 and 2, counting from 0)" in out


@pytest.mark.parametrize("mistake", PYTHON)
def test_python(mistake, tiny, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong, words = PYTHON[mistake]
    with pytest.raises(SFTError) as e:
        wrong(tiny, run)
    says(str(e.value), words)


# --- mistakes that take two steps ---

def test_save_among_other_files(run, tmp_path):
    (tmp_path/"thesis.docx").write_text("years of work")
    with pytest.raises(SFTError) as e:
        FineTuner.load(run).save(tmp_path)
    says(str(e.value), [str(tmp_path), "holds other files (thesis.docx)", "empty or a new folder"])
    assert [f.name for f in tmp_path.iterdir()] == ["thesis.docx"]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_save_where_no_folder_can_be(run, tmp_path, place):
    (tmp_path/"file").write_text("a file")
    with pytest.raises(SFTError) as e:
        FineTuner.load(run).save(tmp_path / place)
    says(str(e.value), [str(tmp_path/place), "cannot be made a folder", "Give another one"])


def test_a_crash_while_saving_does_not_block_the_folder(run, tmp_path, monkeypatch):
    tuner = FineTuner.load(run)
    with monkeypatch.context() as m:
        m.setattr(sft_nb.training.saving, "model_card", lambda t: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tuner.save(tmp_path / "run")
    tuner.save(tmp_path/"run")
    assert alike(FineTuner.load(tmp_path/"run").predict(["a film"]), tuner.predict(["a film"]))


def test_a_full_disk(run, tiny, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise SafetensorError("I/O error: No space left on device (os error 28)")
    monkeypatch.setattr(sft_nb.training.checkpoints, "save_file", full)
    monkeypatch.setattr(sft_nb.training.saving, "save_weights", full)
    with pytest.raises(SFTError) as e:
        FineTuner(TextClassification(), tiny("bert"), FAST, out=tmp_path / "new").fit(ROWS)
    says(
        str(e.value),
        [
            "step-00000001", "could not be written", "No space left on device",
            "Earlier checkpoints are intact", "resume",
        ],
    )
    with pytest.raises(SFTError) as e:
        FineTuner.load(run).save(tmp_path / "other")
    says(str(e.value), ["could not be saved", "No space left on device", "save again"])
    assert not (tmp_path/"other"/"sft_nb.json").exists()


def test_a_file_that_may_not_be_read(run, tmp_path, capsys, monkeypatch):
    opened = Path.open
    def refuse(self, *options, **more):
        if self.name == "secret.csv": raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *options, **more)
    (tmp_path/"secret.csv").write_text(GOOD)
    monkeypatch.setattr("pathlib.Path.open", refuse)
    typed(["predict", run, tmp_path/"secret.csv"], ["secret.csv", "Permission denied"], capsys)


def test_a_run_in_the_home_folder(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FineTuner.load(run).save("~/mine") == tmp_path/"mine"
    assert FineTuner.load("~/mine").task.labels == ["bad", "good"]


def test_labels_that_look_like_no_number_keep_their_order():
    rows = pd.DataFrame({"text": SENTENCES[:5], "label": ["nan", "10", "inf", "9", "x"]})
    assert (
        TextClassification().learn(rows).labels
        == TextClassification().learn(rows[::-1]).labels
        == ["9", "10", "inf", "nan", "x"]
    )


CHANGES = {
    "recipe": (
        lambda t, d: (t.recipe.but(learning_rate=1e-3), d),
        ["another run", "learning_rate: 0.0001 then, 0.001 now", "same settings", "start again"],
    ),
    "rows": (lambda t, d: (t.recipe, d[:6]), ["another run", "the training or validation rows"]),
    "labels": (
        lambda t, d: (t.recipe, d.assign(label=["x", "y"] * 4)),
        ["another run", "the task or what it learned"],
    ),
}


@pytest.mark.parametrize("mistake", CHANGES)
def test_resume_another_run(mistake, tiny, tmp_path):
    first = FineTuner(TextClassification(), tiny("bert"), FAST, out=tmp_path/"run").fit(ROWS)
    recipe, rows = CHANGES[mistake][0](first, ROWS)
    with pytest.raises(SFTError) as e:
        FineTuner(TextClassification(), tiny("bert"), recipe, out=tmp_path / "run").fit(
            rows, resume="auto"
        )
    says(str(e.value), CHANGES[mistake][1])


def test_resume_with_another_checkpoint(tiny, tmp_path):
    FineTuner(TextClassification(), tiny("bert"), FAST, out=tmp_path/"run").fit(ROWS)
    with pytest.raises(SFTError, match="another run: checkpoint: .*bert then, .*roberta now"):
        FineTuner(TextClassification(), tiny("roberta"), FAST, out=tmp_path / "run").fit(
            ROWS, resume="auto"
        )


def test_a_loss_that_is_not_a_number_leaves_the_tuner_usable(tiny):
    "Diverges in the second epoch; the weights of the first are kept."
    @dataclass
    class Diverges(Method):
        def after(self, model):
            if len(ended.epochs) == 1: model.classifier.weight.data.fill_(float("nan"))
    class Ended(Listener):
        def __init__(self): self.epochs = []
        def epoch(self, run): self.epochs.append(run.position.epoch)
    ended = Ended()
    tuner = FineTuner(
        TextClassification(), tiny("bert"), FAST.but(epochs=3, batch_size=4, methods=(Diverges(),))
    )
    with pytest.raises(SFTError) as e:
        tuner.fit(ROWS, ROWS, listeners=[ended])
    says(
        str(e.value),
        [
            "Not a finite number", "nan", "at update 4", "training rows",
            "smaller learning rate", "holds the weights of epoch 1",
        ],
    )
    assert len(tuner.predict(["a film"])) == 1 and tuner.evaluate(ROWS).loss > 0
