"""Whatever table a run keeps aside comes back through `task.read` as the same questions and the
same answers.
"""
import datetime
import io
import json
import os
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sft_nb.finding import task_class
from sft_nb.data.hashes import row_hashes
from sft_nb.data.table_writer import write_csv, write_table
from sft_nb.data.table_reader import read_table
from sft_nb.task import DataError

TEXTS = ["one", "two"]
CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]


def pixels(seed, *shape):
    return np.random.default_rng(seed).integers(0, 255, shape or (24, 32, 3), dtype=np.uint8)

def file_of(array, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()

def objects(*values): return pd.Series(values, dtype=object)

def labels(values, **more):
    return "text-classification", {}, {"text": TEXTS, "label": values, **more}

def several(values):
    return "text-classification", {"multi_label": True}, {"text": TEXTS, "label": values}

def numbers(values): return "text-regression", {}, {"text": TEXTS, "number": values}

def pictures(values, **more):
    return "image-classification", more, {"image": objects(*values), "label": ["x", "y"]}

def boxed(boxes, image=("a.png", "b.png")):
    return "object-detection", {}, {"image": objects(*image), "boxes": boxes}

def texts(*values): return "text-classification", {}, {"text": list(values), "label": ["a", "b"]}

def tagged(**columns): return "sequence-labelling", {}, columns

def asked(**columns): return "instruction-tuning", {}, columns


TABLES = {
    # labels
    "float labels": labels([0.0, 1.0]),
    "float labels 0.5": labels([0.5, 1.0]),
    "float labels with a hole": labels(pd.Series([0.0, 1.0, np.nan])[:2]),
    "large and small floats": labels([1e300, -1e-300]),
    "int labels with NA (Int64)": labels(pd.array([0, 1], dtype="Int64")),
    "int labels beyond 64 bits": labels(objects(10**30, 7)),
    "bool labels": labels([True, False]),
    "bool labels (boolean)": labels(pd.array([True, False], dtype="boolean")),
    "datetime labels": labels(
        [pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-02 03:04:05.678")]
    ),
    "datetime labels with a zone": labels(
        pd.to_datetime(["2020-01-01", "2020-01-02"]).tz_localize("Europe/Paris")
    ),
    "date labels (object)": labels(objects(datetime.date(2020, 1, 1), datetime.date(2020, 1, 2))),
    "duration labels": labels(pd.to_timedelta([1, 2], unit="h")),
    "period labels": labels(pd.period_range("2020-01", periods=2, freq="M")),
    "decimal labels": labels(objects(Decimal("1.0"), Decimal("2"))),
    "decimal labels of two scales": labels(objects(Decimal("1.10"), Decimal("2.5"))),
    "categorical int": labels(pd.Categorical([0.0, 1.0])),
    "categorical text": labels(pd.Categorical(["007", "b"])),
    "float32 0.1": labels(np.array([0.1, 0.2], dtype=np.float32)),
    "float16": labels(np.array([0.1, 0.2], dtype=np.float16)),
    "float32 as objects": labels(objects(np.float32(0.1), np.float32(0.2))),
    "labels of two types": labels(objects(1, "a")),
    "labels 1 and True": labels(objects(2, True)),
    "labels 007 and 7": labels(["007", "7"]),
    "labels that look like numbers in text": labels(["1.0", "2.50"]),
    "string dtype": labels(pd.array(["a", "b"], dtype="string")),
    "labels with separators, quotes and line breaks": labels(["a,b;\"c\"", "d\r\ne\tf"]),
    # several labels
    "list labels": several(objects(["a", "b"], ["a"])),
    "set labels": several(objects({"a", "b"}, {"a"})),
    "tuple labels": several(objects(("a", "b"), ("a",))),
    "array labels": several(objects(np.array(["a", "b"]), np.array(["a"]))),
    "empty list": several(objects(["a", "b"], [])),
    "label with separator in a list": several(objects(["a;b"], ["a"])),
    "number labels in lists": several(objects([1, 2], [2.0, 3])),
    "lists of numbers and texts": several(objects([1, "b"], ["c"])),
    "labels in a text": several(["a;b", "a"]),
    "lists and texts": several(objects(["a", "b"], "c; d")),
    # texts
    "text with CR": texts("one\rtwo", "x\r\ny"),
    "text with a CR at the end": texts("one\r", "\rtwo"),
    "text with NUL": texts("one\0two", "x"),
    "text with quotes": texts('"', 'a "b" c'),
    "text that begins with a blank and a quote": texts(' "a", he said', '\t"b"'),
    "text with U+FEFF first": texts("\ufeffone", "x"),
    "text with odd blanks": texts("a\u2028b\u0085c", "\x0b\x0cd\x1c "),
    "text that looks like JSON": texts('["a"]', '{"b": 1}'),
    "text that a spreadsheet would run": texts("=1+1", "@x"),
    "NA texts": ("text-classification", {}, {"text": ["NA", "null"], "label": ["NA", "None"]}),
    "emoji and accents in two forms": texts("👩\u200d👧 café", "cafe\u0301"),
    "column name with U+FEFF": (
        "text-classification",
        {"text": "\ufefftext"},
        {"\ufefftext": ["one", "x"], "label": ["a", "b"]},
    ),
    "column names with separators": (
        "text-classification",
        {"text": "a;b|c", "label": 'd\t"e",\nf'},
        {"a;b|c": ["one", "x"], 'd\t"e",\nf': ["a", "b"]},
    ),
    "column names that are numbers": (
        "text-classification", {"text": "0", "label": "1"}, {0: ["one", "x"], 1: ["a", "b"]},
    ),
    # other columns
    "other column of bytes": labels(["a", "b"], raw=[b"1", b"2"]),
    "other column of objects": labels(
        ["a", "b"], o=objects({"x": np.float32(1)}, {"y": np.datetime64("2020-01-01")})
    ),
    "other column of timestamps": labels(["a", "b"], o=pd.to_datetime(["2020-01-01", None])),
    "other column of complex numbers": labels(["a", "b"], o=[1 + 2j, 3j]),
    "other column of nested lists": labels(["a", "b"], o=objects([[1, [2]], "x"], [])),
    # numbers
    "regression": numbers([1 / 3, 1e-300]),
    "regression float32": numbers(np.array([0.1, 0.2], dtype=np.float32)),
    "regression float32 as objects": numbers(objects(np.float32(0.1), np.float32(0.2))),
    "regression decimal": numbers(objects(Decimal("1.1"), Decimal("2"))),
    "regression bool": numbers([True, False]),
    "regression duration": numbers(pd.to_timedelta([1, 2], unit="h")),
    "regression int": numbers([1, 2**60]),
    "regression text": numbers(["1.50", " 2e3 "]),
    "regression Int64": numbers(pd.array([1, 2], dtype="Int64")),
    "two numbers, one missing": (
        "text-regression",
        {"number": "n,m"},
        {"text": [*TEXTS, "three"], "n": [1.5, None, 2.0], "m": [3, 4, 5]},
    ),
    # tags
    "words, tags": tagged(
        words=objects(["a b", "c"], ["[x]", '"q"']), tags=objects(["B-X", "O"], ["O", "B-X"])
    ),
    "words that are one list-like word": tagged(
        words=objects(["1", "2"], ["null"]), tags=objects(["B-X", "O"], ["B-X"])
    ),
    "words as arrays": tagged(
        words=objects(np.array(["a", "c"]), np.array(["d"])),
        tags=objects(np.array(["B-X", "O"]), np.array(["O"])),
    ),
    "spans": tagged(text=["Ada met Bob", "it rains"], spans=objects([[0, 3, "PER"]], [])),
    "spans as dictionaries": tagged(
        text=["Ada met Bob", "it rains"],
        spans=objects([{"start": 0, "end": 3, "label": "PER"}], []),
    ),
    # pictures
    "picture paths": pictures(["a.png", "b.png"]),
    "picture arrays": pictures([pixels(1), pixels(2)]),
    "grey arrays": pictures([pixels(1, 9, 9), pixels(2, 9, 9, 1)]),
    "arrays of int64": pictures([pixels(1).astype(int), pixels(2).astype(int)]),
    "arrays with transparency": pictures([pixels(1, 9, 9, 4), pixels(2, 9, 9, 4)]),
    "pictures of PIL": pictures(
        [Image.fromarray(pixels(1)), Image.fromarray(pixels(2)).convert("L")]
    ),
    "picture bytes": pictures([file_of(pixels(1)), file_of(pixels(2), "JPEG")]),
    "picture bytes as in Parquet": pictures(
        [
            {"bytes": file_of(pixels(1)), "path": None},
            {"bytes": file_of(pixels(2), "BMP"), "path": "b.bmp"},
        ]
    ),
    "pictures of several kinds": pictures(["a.png", pixels(2)]),
    "picture lists of labels": (
        "image-classification",
        {"multi_label": True},
        {"image": ["a.png", "b.png"], "label": objects(["x", "y"], ["y"])},
    ),
    "boxes": boxed(objects([{"label": "c", "xyxy": [1, 2, 3, 4]}], [])),
    "boxes numpy": boxed(objects([{"label": 1, "xyxy": np.array([1.0, 2, 3, 4])}], [])),
    "boxes on arrays": boxed(
        objects([{"label": "c", "xyxy": [1, 2, 3, 4]}], []), (pixels(1), pixels(2))
    ),
    "boxes with other keys": boxed(
        objects(
            [
                {"label": "c", "xyxy": [1, 2, 3, 4], "crowd": True},
                {"label": "d", "xywh_relative": [0.1, 0.1, 0.2, 0.25]},
            ],
            [],
        )
    ),
    # answers that are texts
    "pairs": ("translation", {}, {"source": ["a\nb", " c "], "target": ["x", "y\u2028z"]}),
    "prompts": asked(prompt=["hi", "bye"], completion=["x", "  y\n"]),
    "prompts as messages": asked(prompt=objects(CHAT[:1], CHAT[:1]), completion=["x", "y"]),
    "messages": asked(messages=objects(CHAT, [{"role": "system", "content": "be brief"}, *CHAT])),
    "alpaca": asked(instruction=["hi", "bye"], input=["", "x"], output=["x", "y"]),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        Image.fromarray(pixels(seed)).save(f"{name}.png")
    (tmp_path / "run").mkdir()
    return tmp_path


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("name", TABLES)
def test_comes_back(folder, name, ending):
    kind, settings, columns = TABLES[name]
    task = task_class(kind)(**settings)
    rows = task.read(pd.DataFrame(columns))
    task = task.learn(rows)
    path = write_table(rows, folder / "run" / f"certify.{ending}")
    again = task.read(path)
    answers = [[task.target(row) for row in table.to_dict("records")] for table in (rows, again)]
    assert repr(answers[1]) == repr(answers[0])
    assert row_hashes(again, task.inputs()) == row_hashes(rows, task.inputs())


def test_hashes_of_raw_tables_too(folder):
    "A row that was never read by `task.read` is recognised in the table that was kept of it."
    rows = pd.DataFrame({"image": objects(pixels(1), pixels(2)), "label": ["x", "y"]})
    task = task_class("image-classification")()
    path = write_table(task.read(rows), folder / "run" / "certify.csv")
    assert row_hashes(rows, ["image"]) == row_hashes(task.read(path), ["image"])


def test_a_run_folder_can_be_moved(folder):
    task = task_class("image-classification")()
    rows = task.read(pd.DataFrame({"image": objects(pixels(1), pixels(2)), "label": ["x", "y"]}))
    write_table(rows, folder / "run" / "certify.csv")
    os.rename(folder / "run", folder / "moved")
    assert row_hashes(task.read(folder / "moved" / "certify.csv"), ["image"]) == row_hashes(
        rows, ["image"]
    )


def test_the_text_on_standard_output_is_the_text_in_the_file(folder):
    rows = pd.DataFrame(
        {"text": ["one\rtwo", 'say "hi"'], "label": [0.0, 1.0], "o": objects([1, "a"], {"x": None})}
    )
    path = folder / "a.csv"
    write_table(rows, path)
    shown = io.StringIO()
    write_csv(rows, shown)
    assert (
        path.read_bytes().decode()
        == shown.getvalue()
        == 'text,label,o\n"one\rtwo",0,"[1, ""a""]"\n"say ""hi""",1,"{""x"": null}"\n'
    )


# --- writing itself ---

@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_an_old_file_stays_whole_when_writing_fails(folder, ending):
    path = write_table(pd.DataFrame({"text": ["old"]}), folder / f"a.{ending}")
    before = path.read_bytes()
    with pytest.raises(DataError, match="half of a character"):
        write_table(pd.DataFrame({"text": objects("new", "\ud83d")}), path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == sorted(["a.png", "b.png", "run", path.name])

def test_places_that_cannot_be_written(folder):
    rows = pd.DataFrame({"text": ["a"]})
    os.mkfifo(folder / "pipe.csv")
    for path in ("pipe.csv", "run.csv/a.csv", "a.xlsx", "a", "x" * 300 + ".csv", "a\0.csv"):
        with pytest.raises(DataError):
            write_table(rows, folder / path)
    (folder / "link.csv").symlink_to("target.csv")
    write_table(rows, folder / "link.csv")
    assert (folder / "link.csv").is_symlink() and (folder / "target.csv").read_text() == "text\na\n"
    with pytest.raises(DataError, match="several columns are called 'text'"):
        write_table(pd.DataFrame([["a", "b"]], columns=["text", "text"]), folder / "a.csv")

def test_missing_and_empty_cells(folder):
    rows = pd.DataFrame(
        {
            "text": ["a", None, ""],
            "n": pd.array([1, None, 2**60 + 1], dtype="Int64"),
            "o": objects(2**60 + 1, None, 3),
        }
    )
    for ending in ("csv", "jsonl", "parquet"):
        again = read_table(write_table(rows, folder / f"a.{ending}"))
        assert row_hashes(again, ["n", "o"]) == row_hashes(rows, ["n", "o"]), ending
    one = pd.DataFrame({"text": ["a", None, "b"]})
    assert read_table(write_table(one, folder / "one.csv"))["text"].isna().tolist() == [
        False, True, False,
    ]

def test_jsonl_keeps_types(folder):
    rows = pd.DataFrame(
        {
            "a": [1, 2], "b": [True, False], "c": [0.5, np.nan],
            "d": objects(["x", 1], {"y": np.int64(3)}),
        }
    )
    path = write_table(rows, folder / "a.jsonl")
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"a": 1, "b": True, "c": 0.5, "d": ["x", 1]},
        {"a": 2, "b": False, "c": None, "d": {"y": 3}},
    ]
