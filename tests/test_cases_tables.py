"""Tables and labels as people really have them:

read as they were meant, or named in a sentence. Nothing is silently another class.
"""
import dataclasses
import datetime
import json
import os
import socket
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sft_nb.commands.cli import main
from sft_nb.data.cell_values import label_name
from sft_nb.data.checks import check_labels
from sft_nb.data.hashes import row_hashes
from sft_nb.data.splitting import split
from sft_nb.data.table_facts import about
from sft_nb.data.table_writer import write_table
from sft_nb.data.table_reader import read_table
from sft_nb.task import DataError
from sft_nb.tasks.detection.object_detection import ObjectDetection
from sft_nb.tasks.images.classification import ImageClassification
from sft_nb.tasks.tagging.sequence_labelling import SequenceLabelling
from sft_nb.tasks.writing.instruction_tuning import InstructionTuning
from sft_nb.tasks.writing.translation import Translation
from sft_nb.tasks.text.classification import TextClassification
from sft_nb.tasks.text.regression import TextRegression
from sft_nb.training.tuner import FineTuner
from sft_nb.words import short

INPUTS = Path(__file__).parent / "inputs"

ONE, SEVERAL = TextClassification(), TextClassification(multi_label=True)


def given(name): return next((INPUTS / name).glob("d.*"))

def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path

def labelled(values):
    return pd.DataFrame(
        {
            "text": [f"text {i}" for i in range(len(values))],
            "label": pd.Series(values, dtype=object),
        }
    )

def learned(task, source): return task.learn(task.read(source)).labels

def refusal(task, source, **options):
    with pytest.raises(DataError) as e:
        task.read(source, **options)
    assert len(str(e.value)) < 2500
    return str(e.value)


# --- labels that mean the same ---

@pytest.mark.parametrize("name, labels", {
    "t01-float-labels-mixed": ["0", "1"],
    "e09-float-labels-fit": ["0", "1"],
    "t04-zero-width-label": ["neg", "pos"],
    "t04b-nfc-nfd-label": ["bar", "café"],
}.items())
def test_one_label_in_several_spellings(name, labels, said):
    assert learned(ONE, given(name)) == labels
    assert "written in several ways count as one" in said()

@pytest.mark.parametrize("name, twins", {
    "t04c-inner-blanks": [["'very good'", "'very  good'", "'very_good'", "'very-good'"]],
    "n01-number-text-kinds": [["'1'", "'01'", "'+1'", "'1e0'"], ["'2'", "'２'"]],
    "m03-multi-lookalikes": [["'Funny'", "'funny'"], ["'sad'", "'Sad'"]],
}.items())
def test_labels_that_look_alike(name, twins, said):
    task = SEVERAL if "multi" in name else ONE
    task.read(given(name))
    (line,) = [line for line in said().splitlines() if "look alike" in line]
    groups = [
        set(g.split(" and "))
        for g in line.split("different classes: ")[1].split(". If")[0].split("; ")
    ]
    assert groups == [set(g) for g in twins]

ALIKE = {  # one name for all of these
    "1": [1, 1.0, np.int8(1), np.float32(1), "1", "1.0", "1.00", " 1 ", "\ufeff1", Decimal("1.0")],
    "0": [0, 0.0, -0.0, "0", "0.0", "-0.0", False + 0],
    "-1": [-1, "-1.0", "-1"],
    "café": ["café", "cafe\u0301", "caf\u200bé", "ca\u00adfé", "\u2060café\u00a0", "café\u200e"],
    "very good": ["very good", "\tvery good\r\n", "very \u200bgood"],
}

@pytest.mark.parametrize("name", ALIKE)
def test_one_name(name):
    assert {label_name(v) for v in ALIKE[name]} == {name}

@pytest.mark.parametrize(
    "label",
    [
        "007", "00", "1.10", "1.5", "+1", "1e5", "1.", "v1.0", "1.0.0", ".0", "A-", "C++", "-",
        "O'Neil", "می\u200cخواهم", "👨\u200d👩\u200d👧", "🏴\U000e0067\U000e0062\U000e007f",
        "2020-01-01", "x\u0660",
    ],
)
def test_names_that_stay(label):
    assert label_name(label) == label

@pytest.mark.parametrize(
    "twins, warned",
    {
        "case": (("Fresh", "fresh"), True), "leading zero": (("7", "007"), True),
        "versions": (("1.1", "1.10"), True), "plus": (("1", "+1"), True),
        "exponent": (("100", "1e2"), True), "full width": (("A1", "Ａ１"), True),
        "dash": (("non-fiction", "non fiction"), True),
        "long dash": (("a–b", "a-b"), True),
        "joiner": (("ab", "a\u200db"), True),
        "direction": (("ab", "a\u200fb"), True),
        "ligature": (("ﬁlm", "film"), True),
        "signs": (("1", "-1"), False),
        "grades": (("A", "A-"), False),
        "languages": (("C", "C++"), False),
        "accents": (("cafe", "café"), False),
        "numbers": (("1", "11"), False),
        "decimals": (("1.5", "1.05"), False),
        "years": (("2020", "2020-21"), False),
        "words": (("ab", "a b"), False),
    }.items(),
)
def test_twins(twins, warned, said):
    twins, expected = warned[0], warned[1]
    for task, values in ((ONE, [*twins] * 5), (SEVERAL, [[t] for t in twins] * 5)):
        task.read(labelled(values))
        assert ("look alike" in said()) == expected

def test_spellings_across_files(tmp_path, said):
    "1 in the training rows, 1.0 in the valid ones: one class."
    train = ONE.read(INPUTS / "e10-float-valid" / "d.csv")
    valid = ONE.read(INPUTS / "e10-float-valid" / "v.csv")
    task = ONE.learn(train)
    assert task.labels == ["0", "1"]
    assert {task.target(r) for r in valid.to_dict("records")} == {"0", "1"}
    assert task.check(valid) == []
    for other in (0.0, "0.0", " 0", "\u200b0"):
        assert task.target({"label": other}) == "0"

def test_a_twin_in_another_file_is_named():
    task = ONE.learn(labelled(["very good", "bad"]))
    assert "Did you mean 'very good'?" in refusal(task, labelled(["very_good", "bad"]))

def test_a_run_of_before_reads_its_labels():
    "Runs that were trained when '1.0' was a name keep it, and read whatever spelling comes."
    task = TextClassification(labels=["0.0", "1.0"])
    for cells in ([0.0, 1.0], ["0.0", "1.0"], [0, 1]):
        rows = task.read(labelled(cells))
        assert [task.target(r) for r in rows.to_dict("records")] == ["0.0", "1.0"]
    assert TextClassification(labels=["a"], multi_label=True).target({"label": "a;b"}) == ["a", "b"]

def test_the_table_shows_one_class(said):
    rows = ONE.read(given("t01-float-labels-mixed"))
    assert set(rows["label"]) == {"0", "1"}
    assert not [c for c in split(rows, certify_size=0).table if "0.0" in c]

def test_folders_of_one_name_in_two_forms(tmp_path, said):
    from PIL import Image
    for k, name in enumerate(["cafe\u0301", "café", "bar"]):
        (tmp_path / "D" / name).mkdir(parents=True)
        Image.new("RGB", (9, 9), (80 * k, 0, 0)).save(tmp_path / "D" / name / f"{k}.png")
    assert learned(ImageClassification(), tmp_path / "D") == ["bar", "café"]
    assert "they are one class" in said()


# --- lists, vectors, dictionaries ---

@pytest.mark.parametrize("name, labels", {
    "t02-listlike-labels-multi": ["funny", "sad"],
    "t02b-json-list-labels-multi": ["funny", "sad"],
    "e08-listlabels-fit": ["funny", "sad"],
}.items())
def test_lists_in_a_csv(name, labels):
    assert learned(SEVERAL, given(name)) == labels

CLOTHES = [
    ["a", "b"], ("a", "b"), {"a", "b"}, frozenset("ab"), np.array(["a", "b"]), "['a', 'b']",
    '["a", "b"]', "['a' 'b']", "('a', 'b')", "{'a', 'b'}", "[a, b]", " [\"b\",\n\"a\"] ",
    "a;b", "b ; a;",
]

@pytest.mark.parametrize("cell", CLOTHES, ids=range(len(CLOTHES)))
def test_names_in_whatever_clothing(cell):
    task = SEVERAL.learn(SEVERAL.read(labelled([cell, "a", "b"])))
    assert task.labels == ["a", "b"] and task.target({"label": cell}) == ["a", "b"]

def test_cells_without_labels():
    rows = SEVERAL.read(labelled(["[]", [], None, "", "a", "[1, 2]", [1, 2]]))
    assert [SEVERAL.target(r) for r in rows.to_dict("records")] == [
        [], [], [], [], ["a"], ["1", "2"], ["1", "2"],
    ]

@pytest.mark.parametrize("name, says", {
    "m01-multi-hot-list": ["vectors", "[0, 1, 0]", "names"],
    "m01b-multi-hot-float": ["vectors", "names"],
    "m01c-multi-hot-string": ["vectors", "names"],
    "m02-cats-dict": ["dictionary", "'POS'", "max(d, key=d.get)"],
    "m02b-cats-dict-multi": ["dictionary", "share > 0.5"],
    "m02c-label-in-dict": ["dictionary", "'choices'"],
    "t10e-doccano-label-list": ["lists of one label", "Write the label itself"],
}.items())
def test_what_is_no_label(name, says):
    task = SEVERAL if "multi" in name else ONE
    message = refusal(task, given(name))
    assert all(s in message for s in says), message

NO_LABELS = {
    "one-hot in a single column": (ONE, [[0, 1, 0], [1, 0, 0]], "vectors"),
    "vectors as text": (ONE, ["[0, 1]", "[1, 0]"], "vectors"),
    "vectors of numpy as text": (SEVERAL, ["[0 1 0]", "[1 0 0]"], "vectors"),
    "vectors of bools": (SEVERAL, [[True, False], [False, False]], "vectors"),
    "arrays": (SEVERAL, [np.array([0, 1]), np.array([1, 1])], "vectors"),
    "probabilities": (SEVERAL, [[.2, .8], [.6, .4]], "vectors"),
    "vectors between separators": (SEVERAL, ["0;1;0", "1;1;0"], "vectors"),
    "vectors between commas": (ONE, ["0,1,0", "1,0,0"], "vectors"),
    "vectors between other commas": (SEVERAL, ["0, 1, 0", "1, 1, 0"], "vectors"),
    "dictionary as JSON text": (ONE, ['{"POS": 1.0}', '{"NEG": 1.0}'], "dictionary"),
    "dictionary as Python text": (SEVERAL, ["{'a': 1}", "b"], "dictionary"),
    "one dictionary among labels": (ONE, ["a", {"b": 1}, "c"], "row 1 "),
    "lists of several": (ONE, [["a", "b"], ["c"]], "multi_label=True (--multi-label)"),
    "text of a list": (ONE, ["['a', 'b']", "c"], "multi_label=True (--multi-label)"),
    "text of a list of one": (ONE, ['["a"]', "c"], "lists of one label"),
    "a hole in a list": (SEVERAL, [["a", None], ["b"]], "no label"),
    "a list in a list": (SEVERAL, [["a", ["b"]], ["b"]], "no label"),
    "a dictionary in a list": (SEVERAL, [["a", {"b": 1}], ["b"]], "no label"),
    "half a character": (ONE, ["\ud83d", "b"], "half of a character"),
}

@pytest.mark.parametrize("name", NO_LABELS)
def test_more_that_is_no_label(name):
    task, values, says = NO_LABELS[name]
    message = refusal(task, labelled(values))
    assert says in message and "label" in message

@pytest.mark.parametrize(
    "values",
    [["0,5", "1,0"], ["[OTHER]", "b"], ["(a)", "{b}"], ["[a] and [b]", "c"], ["a, b", "c"]],
)
def test_labels_with_brackets(values):
    assert learned(ONE, labelled(values)) == sorted(values)

@pytest.mark.parametrize(
    "values", [[[0], [1]], [[0, 1], [1]], [[3, 7], [7, 9]], [["0", "a"], ["b", "c"]]]
)
def test_lists_of_numbers_that_are_labels(values):
    assert learned(SEVERAL, labelled(values)) == sorted(
        {str(v) for several in values for v in several}
    )

def test_another_separator(said):
    SEVERAL.read(given("t02c-comma-separated-multi"))
    assert "separator=','" in said()
    assert learned(
        TextClassification(multi_label=True, separator=","), given("t02c-comma-separated-multi")
    ) == ["funny", "long", "sad"]
    for sign in "|/":
        SEVERAL.read(labelled([f"a{sign}b", "a", "b"]))
        assert f"separator={sign!r}" in said()
    SEVERAL.read(labelled(["Washington, DC", "Paris", "Paris"]))
    assert "separator" not in said()

def test_as_many_labels_as_rows(said):
    SEVERAL.read(given("m03b-multi-rare"))
    assert "10 different labels in 10 rows" in said()
    ONE.read(labelled([f"reason {i}" for i in range(8)]))
    assert "8 different labels in 8 rows" in said()
    SEVERAL.read(labelled(["a;b", "b;c", "a", "c", "b", "a"]))
    assert said() == ""


# --- labels and texts that look like nothing ---

@pytest.mark.parametrize(
    "name, shown",
    {
        "t03-nan-as-text": ["'nan' (2 rows)"],
        "n03-placeholder-labels": ["'n/a'", "'None'", "'NULL'", "'?'", "'-'"],
    }.items(),
)
def test_labels_that_look_like_missing_cells(name, shown, said):
    ONE.read(given(name))
    text = said()
    assert "look like missing cells" in text and all(s in text for s in shown)

@pytest.mark.parametrize(
    "label",
    [
        "nan", "NaN", "None", "none", "NULL", "null", "n/a", "N/A", "NA", "#N/A", "<NA>",
        "NaT", "?", "-", "--", "unknown", "Unknown", "nil", "missing", "undefined", "#REF!",
    ],
)
def test_each_of_them(label, said):
    assert any(
        "missing cells" in f.message for f in check_labels(labelled(["a", "b", label] * 3), "label")
    )
    SEVERAL.read(labelled([["a"], ["b"], ["a", label]]))
    assert "missing cells" in said()

@pytest.mark.parametrize(
    "label", ["nano", "nonfiction", "no", "0", "other", "neutral", "N", "A-", "Nantes"]
)
def test_labels_like_any_other(label):
    assert not any(
        "missing cells" in f.message for f in check_labels(labelled(["a", "b", label] * 3), "label")
    )

def test_invisible_texts_are_left_out(said):
    rows = ONE.read(given("t12-empty-and-invisible-texts"))
    assert len(rows) == 4 and "left out: 6 of 10 rows" in said()

@pytest.mark.parametrize(
    "text",
    [
        "\u200b", "\ufeff", "\u2060\u200d", "\u00ad", "\u3164", "\u2800 ", "\u200e\u200f",
        "\ufe0f", "\0", "\u061c",
    ],
)
def test_each_invisible_text(text):
    assert len(ONE.read(pd.DataFrame({"text": ["a", text, "b"], "label": ["x", "y", "y"]}))) == 2

@pytest.mark.parametrize("text", [".", "…", "\u200b.", "🙂", "👨\u200d👩", "\u0600", "好"])
def test_visible_texts_stay(text):
    assert len(ONE.read(pd.DataFrame({"text": ["a", text, "b"], "label": ["x", "y", "y"]}))) == 3


# --- delimiters, quotes, columns ---

SEPARATED = {
    "comma in tsv": ("a.tsv", ","), "semicolon in csv": ("a.csv", ";"),
    "tab in csv": ("a.csv", "\t"), "bar in csv": ("a.csv", "|"),
    "semicolon in tsv": ("a.tsv", ";"),
}

@pytest.mark.parametrize("quoted", [False, True], ids=["plain", "quoted"])
@pytest.mark.parametrize("name", SEPARATED)
def test_another_delimiter(tmp_path, name, quoted):
    file, sign = SEPARATED[name]
    row = (
        (lambda *cells: sign.join(f'"{c}"' for c in cells))
        if quoted
        else (lambda *cells: sign.join(cells))
    )
    path = write(
        tmp_path / file, "\n".join([row("text", "label"), row("good", "a"), row("bad", "b")])
    )
    message = refusal(ONE, path)
    shown = "\\t" if sign == "\t" else sign
    assert f"task.read(path, delimiter='{shown}')" in message
    assert f"--delimiter '{shown}'" in message
    for said in (sign, shown):
        assert ONE.read(path, delimiter=said)["label"].tolist() == ["a", "b"]

@pytest.mark.parametrize("name, sign", {"t06-semicolon": ";", "t06e-tsv-named-csv": "\\t"}.items())
def test_delimiters_of_the_cases(name, sign):
    message = refusal(ONE, given(name))
    assert f"--delimiter '{sign}'" in message
    assert len(ONE.read(given(name), delimiter=sign)) == 10

@pytest.mark.parametrize("delimiter", [";;", '"', "\n", ""])
def test_no_delimiter(tmp_path, delimiter):
    path = write(tmp_path / "a.csv", "text,label\nx,y\nz,w\n")
    if delimiter: assert "one sign" in refusal(ONE, path, delimiter=delimiter)
    else: assert len(ONE.read(path, delimiter=delimiter)) == 2

def test_a_delimiter_where_there_is_none(tmp_path):
    assert "delimiter" in refusal(
        ONE, write(tmp_path / "a.jsonl", '{"text": "a", "label": "b"}'), delimiter=";"
    )

@pytest.mark.parametrize("codec", ["cp1252", "latin-1", "gbk", "utf-16"])
def test_another_encoding(tmp_path, codec):
    text = {"gbk": "这部电影很好看", "cp1252": "a “quoted” word"}.get(codec, "Übermäßig")
    path = write(tmp_path / "a.csv", f"text,label\n{text},a\nx,b\n".encode(codec))
    message = refusal(ONE, path)
    assert f'task.read(path, encoding="{codec}")' in message and f"--encoding {codec} " in message
    assert ONE.read(path, encoding=codec)["text"][0] == text

def test_the_encoding_of_the_case():
    assert "--encoding cp1252" in refusal(ONE, given("t14-cp1252"))
    assert len(ONE.read(given("t14-cp1252"), encoding="cp1252")) == 10

LOOSE = {
    "case": (None, "line 1"),
    "one row": ('text,label\ngood,a\nbad, "b"\n', "line 3"),
    "with a comma inside": ('text,label\ngood, "a, b"\n', "line 2"),
    "tab before the quote": ('text,label\ngood,\t"a"\n', "line 2"),
    "header only": ('text, "label"\ngood,a\n', "line 1"),
}

@pytest.mark.parametrize("name", LOOSE)
def test_a_blank_before_a_quote(tmp_path, name):
    content, line = LOOSE[name]
    if name == "case":
        message = refusal(TextClassification(label=" label"), given("t05-space-quoted-cells"))
        assert "line 2: there is a blank" in message
        return
    message = refusal(ONE, write(tmp_path / "a.csv", content))
    assert f"{line}: there is a blank" in message and "double quote" in message

@pytest.mark.parametrize("content, text", {
    'text,label\n" ""good"" he said",a\nx,b\n': ' "good" he said',
    'text,label\n  good "film",a\nx,b\n': '  good "film"',
    'text,label\n "Best" film,a\nx,b\n': ' "Best" film',
    'text,label\n "a" and "b",a\nx,b\n': ' "a" and "b"',
}.items())
def test_quotes_that_belong_to_the_text(tmp_path, content, text):
    assert ONE.read(write(tmp_path / "a.csv", content))["text"][0] == text

def test_swallowed_rows(tmp_path, said):
    path = write(
        tmp_path / "a.csv",
        'text,label\nGood,fresh\n"Bad,rotten\nUgly,rotten\nGrim,rotten\nand '
        'long",fresh\nFine,rotten\n',
    )
    ONE.read(path)
    assert "line 6" in (text := said()) and "double quote left open" in text and "3 lines" in text
    path = write(
        tmp_path / "b.csv",
        'text,label\n"Dear film,\nyou were good, bye\n\nso long, friend",fresh\n"x\ny",rotten\n',
    )
    ONE.read(path)
    assert said() == ""

def test_empty_columns_at_the_edge(tmp_path, said):
    rows = ONE.read(given("t08b-excel-trailing-commas"))
    assert list(rows) == ["text", "label"]
    assert "2 columns without a name and without content left out" in said()
    rows = ONE.read(write(tmp_path / "a.csv", "text,label\na,x,,\nb,y\nc,x,\n"))
    assert list(rows) == ["text", "label"] and len(rows) == 3 and said() == ""
    rows = ONE.read(write(tmp_path / "b.csv", ",text,label\n0,a,x\n1,b,y\n"))
    assert list(rows) == ["", "text", "label"]
    assert "line 2: 3 cells" in refusal(ONE, write(tmp_path / "c.csv", "text,label\na,x,y\nb,y\n"))

def test_columns_of_one_name(tmp_path, said):
    rows = ONE.read(given("t08c-duplicate-unused-column"))
    assert list(rows) == ["text", "label", "note", "note (2)"]
    assert "several columns are called 'note'" in said()
    assert "several columns are called 'text'" in refusal(
        ONE, write(tmp_path / "a.csv", "text,label,text\na,x,b\n")
    )
    assert "several columns are called 'label'" in refusal(
        ONE, read_table(write(tmp_path / "b.csv", "text,label,label\na,x,b\n"))
    )
    assert "several columns are called 'text'" in refusal(
        ONE, pd.DataFrame([["a", "b", "x"]], columns=["text", "text", "label"])
    )
    assert list(read_table(pd.DataFrame([[1, 2, 3, 4]], columns=["a", "a (2)", "a", ""]))) == [
        "a", "a (2)", "a (3)", "",
    ]


# --- other files ---

ROWS = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
JSON = {
    "array": json.dumps(ROWS),
    "array over lines": json.dumps(ROWS, indent=2),
    "lines": "\n".join(map(json.dumps, ROWS)),
    "with CRLF": "\r\n".join(map(json.dumps, ROWS)),
    "with a byte order mark": "\ufeff" + json.dumps(ROWS),
    "blanks around": f"\n\n {json.dumps(ROWS)}\n ",
}

@pytest.mark.parametrize("name", JSON)
def test_json(tmp_path, name):
    assert ONE.read(write(tmp_path / "a.json", JSON[name])).to_dict("records") == ROWS

def test_instructions_as_json(tmp_path):
    rows = [{"instruction": "Add", "input": f"1 + {i}", "output": str(1 + i)} for i in range(3)]
    task = InstructionTuning()
    assert [
        task.target(r)
        for r in task.read(write(tmp_path / "alpaca_data.json", json.dumps(rows))).to_dict(
            "records"
        )
    ] == ["1", "2", "3"]

NO_JSON = {
    "an object": ("a.json", '{"text": ["a"],\n "label": ["b"]}', ["'text', 'label'", "array"]),
    "a text": ("a.json", '"abc"', ["a str where an array"]),
    "cut short": ("a.json", '[{"text": "a"},', ["not JSON"]),
    "a text among objects": ("a.json", '[{"text": "a"}, "b"]', ["entry 1", "str"]),
    "an array named jsonl": ("a.jsonl", json.dumps(ROWS), ["line 1", "end in .json"]),
    "too deep": (
        "a.jsonl",
        '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}",
        ["line 1", "brackets"],
    ),
    "rather deep": (
        "a.jsonl",
        '{"text": "a", "label": "b", "o": ' + '{"a": [' * 300 + "]}" * 300 + "}",
        ["line 1", "brackets"],
    ),
    "too deep in an array": ("a.json", "[" * 100_000, ["brackets"]),
    "one key twice": (
        "a.jsonl",
        '{"text": "a", "label": "b"}\n{"text": "a", "label": "b", "label": "c"}',
        ["line 2", "'label'", "twice"],
    ),
    "one key twice inside": (
        "a.json",
        '[{"text": "a", "label": "b", "o": {"k": 1, "k": 2}}]',
        ["'k'", "twice"],
    ),
    "half of a character": (
        "a.json", '[{"text": "\\ud83d", "label": "b"}]', ["half of a character"],
    ),
}

@pytest.mark.parametrize("name", NO_JSON)
def test_no_json(tmp_path, name):
    file, content, says = NO_JSON[name]
    message = refusal(ONE, write(tmp_path / file, content))
    assert all(s in message for s in [file, *says]), message

@pytest.mark.parametrize(
    "content", [lambda n: f'{{"text": "a", "label": {n}}}\n{{"text": "b", "label": 2}}']
)
def test_numbers_beyond_all_measure(tmp_path, content):
    huge = "1" + "0" * 400
    assert learned(ONE, write(tmp_path / "a.jsonl", content(huge))) == ["2", huge]
    assert "should hold numbers" in refusal(
        TextRegression(number="label"), write(tmp_path / "b.jsonl", content(huge))
    )
    assert "not JSON" in refusal(ONE, write(tmp_path / "c.jsonl", content("1" + "0" * 5000)))

@pytest.mark.parametrize(
    "file, says",
    {
        "a.xlsx": "Save it as CSV", "a.csv.gz": "Unpack it first", "a.txt": "rename it",
        "a": "we read files that end in", "a.sqlite": "pass the DataFrame",
    }.items(),
)
def test_other_endings(tmp_path, file, says):
    assert says in refusal(ONE, write(tmp_path / file, b"PK\x03\x04"))

@pytest.mark.parametrize("text", ["\ud83d", "fine \udfff"])
def test_half_characters_from_python(text):
    assert "half of a character" in refusal(
        ONE, [{"text": text, "label": "a"}, {"text": "b", "label": "b"}]
    )


# --- numbers ---

REFUSED = {
    "dates": (pd.to_datetime(["2020-01-01", "2020-01-02"]), "date"),
    "dates as objects": ([datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)], "2020"),
    "dates as text": (["2020-01-01", "2020-01-02"], "2020-01-01"),
    "complex": ([1 + 0j, 2 + 1j], "complex"),
    "complex as text": (["(1+0j)", "(2+1j)"], "(1+0j)"),
    "lists": ([[1.0], [2.0]], "column of its own"),
    "commas": (["3,5", "1,5"], "3,5"),
    "units": (["50%", "3 kg"], "50%"),
    "infinite": ([np.inf, 1.0], "inf"),
    "times of day": (["01:30", "02:30"], "01:30"),
    "underscores": (["1_000", "2_000"], "1_000"),
    "hexadecimal": (["0x10", "0x11"], "0x10"),
    "periods": (pd.period_range("2020-01", periods=2, freq="M"), "2020"),
}

@pytest.mark.parametrize("ending", ["frame", "csv", "jsonl", "parquet"])
@pytest.mark.parametrize("name", REFUSED)
def test_no_numbers(tmp_path, name, ending):
    values, says = REFUSED[name]
    rows = pd.DataFrame({"text": ["a", "b"], "number": values})
    if ending == "parquet" and name == "complex": return  # Parquet has no complex numbers
    source = rows if ending == "frame" else write_table(rows, tmp_path / f"a.{ending}")
    message = refusal(TextRegression(), source)
    assert "'number' should hold numbers" in message and (says in message or ending != "frame")

NUMBERS = {
    "truth": ([True, False], [1.0, 0.0]),
    "truth as text": (["TRUE", "false"], [1.0, 0.0]),
    "decimals": ([Decimal("1.10"), Decimal("2")], [1.1, 2.0]),
    "durations": (pd.to_timedelta([90, 7200], unit="s"), [90.0, 7200.0]),
    "durations of Python": (
        [datetime.timedelta(seconds=90), datetime.timedelta(days=1, hours=2)],
        [90.0, 93600.0],
    ),
    "float32": (np.array([0.5, 0.25], dtype=np.float32), [0.5, 0.25]),
    "categories": (pd.Categorical([1, 2]), [1.0, 2.0]),
    "nullable": (pd.array([1, 2], dtype="Int64"), [1.0, 2.0]),
    "texts": (["1.5", " -2e-3 "], [1.5, -0.002]),
}

@pytest.mark.parametrize("ending", ["frame", "csv", "jsonl", "parquet"])
@pytest.mark.parametrize("name", NUMBERS)
def test_the_same_numbers_from_every_file(tmp_path, name, ending, said):
    values, expected = NUMBERS[name]
    rows = pd.DataFrame({"text": ["a", "b"], "number": values})
    read = TextRegression().read(
        rows if ending == "frame" else write_table(rows, tmp_path / f"a.{ending}")
    )
    assert read["number"].tolist() == expected and read["number"].dtype == float
    assert [TextRegression().target(r) for r in rows.to_dict("records")] == expected
    assert ("read as seconds" in said()) == name.startswith("durations")


# --- files that are none ---

def special(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket.csv"))
    server.close()
    (tmp_path / "device.csv").symlink_to("/dev/urandom")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    (tmp_path / "nowhere.csv").symlink_to("gone.csv")
    return tmp_path

@pytest.mark.parametrize(
    "file, says",
    {
        "pipe.csv": "no file", "socket.csv": "no file", "device.csv": "no file",
        "zero.jsonl": "no file", "loop.csv": "symbolic links",
        "nowhere.csv": "is a link to 'gone.csv'", "a\0b.csv": "no path",
        "x" * 300 + ".csv": "name too long", "https://example.org/a.csv": "download",
    }.items(),
    ids=[
        "pipe", "socket", "device", "zero", "loop", "link to nothing", "NUL", "long name",
        "address",
    ],
)
def test_files_that_are_none(tmp_path, monkeypatch, file, says):
    monkeypatch.chdir(special(tmp_path))
    message = refusal(ONE, file)
    assert says in message.casefold().replace("too many levels of ", "") or says in message
    assert "Did you mean" not in message and len(message) < 600

def test_a_file_without_permission(tmp_path, monkeypatch):
    path = write(tmp_path / "a.csv", "text,label\na,b\n")
    opened = Path.open
    def closed(self, *args, **kwargs):
        if self == path: raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *args, **kwargs)
    monkeypatch.setattr(Path, "open", closed)
    assert "cannot be read: Permission denied" in refusal(ONE, path)

@pytest.mark.parametrize(
    "start",
    [
        b"\x7fELF\2\1\1" + b"\0" * 9, b"text,label\n" + b"\xff\0\x01",
        b"SQLite format 3\0" + bytes(range(100)) * 9,
    ],
)
def test_a_huge_binary_is_refused_at_once(tmp_path, start):
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.write(start)
        file.truncate(6 * 10**9)  # a hole: it takes no room
    began = time.process_time()
    assert "not a text file" in refusal(ONE, path)
    assert time.process_time() - began < 5  # seconds; minutes, and all memory, if it were read

def test_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.csv", "text,label\na,x\nb,y\n")
    assert about(ONE.read("~/a.csv")).source == str(tmp_path / "a.csv")
    assert len(read_table(Path("~/a.csv"))) == 2
    assert "There is no file" in refusal(ONE, "~nobody_of_this_name/a.csv")


# --- messages stay short ---

def test_messages_stay_short(tmp_path):
    wide = ",".join(f"column {i}" for i in range(30_000))
    message = refusal(ONE, write(tmp_path / "wide.csv", f"{wide}\n{','.join('x' * 30_000)}\n"))
    assert "29,992 more" in message and len(message) < 2000
    for long in (5_000, 2**20):
        message = refusal(ONE, write(tmp_path / "long.csv", f"{'x' * long},text\na,b\n"))
        assert len(message) < 1000
        message = refusal(
            TextClassification(label="y" * long), write(tmp_path / "short.csv", "text,label\na,b\n")
        )
        assert len(message) < 1000
    assert len(refusal(ONE, labelled(["z" * 10**6] * 3))) < 1000
    assert len(refusal(ONE, pd.DataFrame({"text": [["x" * 10**6]], "label": ["a"]}))) < 1000


# --- what a run keeps aside ---

@pytest.mark.parametrize(
    "name, task",
    {
        "w21-own-certify-float": ONE, "w22-own-certify-multilabel": SEVERAL,
        "k04-text-cr": ONE,
    }.items(),
)
def test_rows_that_are_kept_aside(tmp_path, name, task):
    parts = split(task.read(given(name)), seed=42)
    learned_task = task.learn(parts.train)
    kept = learned_task.read(write_table(parts.certify, tmp_path / "certify.csv"))
    assert row_hashes(kept, ["text"]) == row_hashes(parts.certify, ["text"])
    assert [learned_task.target(r) for r in kept.to_dict("records")] == [
        learned_task.target(r) for r in parts.certify.to_dict("records")
    ]

def command(*words):
    with pytest.raises(SystemExit) as e:
        main([str(w) for w in words])
    assert e.value.code == 0

@pytest.mark.parametrize(
    "name, more",
    {"w21-own-certify-float": [], "w22-own-certify-multilabel": ["--multi-label"]}.items(),
)
def test_a_run_reads_its_own_file(tiny, tmp_path, name, more):
    command(
        "fine-tune", given(name), "--task", "text-classification", *more, "--model",
        tiny("bert"), "--epochs", 1, "--out", tmp_path / "run",
    )
    command("evaluate", tmp_path / "run", tmp_path / "run" / "certify.csv")

def test_predictions_can_be_predicted_again(run, tmp_path, capsys):
    write(
        tmp_path / "a.jsonl",
        json.dumps({"text": "one\rtwo"}) + "\n" + json.dumps({"text": "a\r\nb"}),
    )
    command("predict", run, tmp_path / "a.jsonl", "--out", tmp_path / "o.csv")
    command("predict", run, tmp_path / "o.csv")
    assert read_table(tmp_path / "o.csv")["text"].tolist() == ["one\rtwo", "a\r\nb"]

def test_a_set_has_one_fingerprint_in_every_process():
    code = ("import pandas as pd; from sft_nb.data.hashes import row_hashes; "
            "print(row_hashes(pd.DataFrame({'o': pd.Series([{'a', 'b', 'c', 'd'}], "
            "dtype=object)}), ['o'])[0])")
    said = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True,
            env={**os.environ, "PYTHONHASHSEED": s}, check=True,
        ).stdout
        for s in "12"
    }
    assert len(said) == 1


# --- tables as pandas and Excel write them --------------------------------------------------------

KEPT = pd.DataFrame({"text": ["fine", "dull"], "label": ["good", "bad"]}, index=[3, 8])


@pytest.mark.parametrize("settings", [
    {}, {"indent": 1}, {"orient": "index"}, {"orient": "records"}])
def test_what_pandas_writes_as_json_is_a_table(settings, tmp_path):
    KEPT.to_json(path := tmp_path / "a.json", **settings)
    assert ONE.read(path).to_dict("records") == KEPT.to_dict("records")


def test_one_object_is_still_one_row(tmp_path):
    path = write(tmp_path / "a.json", '{"text": "fine", "label": "good"}')
    assert len(read_table(path)) == 1
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    path = write(tmp_path / "b.json", json.dumps({"messages": messages}))
    assert len(InstructionTuning().read(path)) == 1


def test_columns_of_unequal_rows_are_no_table(tmp_path):
    path = write(tmp_path / "a.json", '{"text": {"0": "fine"}, "label": {"1": "good"}}')
    assert "label" in refusal(ONE, path)


@pytest.mark.parametrize("sign", [";", "\t"])
def test_the_line_of_excel_that_names_the_delimiter(sign, tmp_path):
    rows = f"text{sign}label\nfine, really{sign}good\ndull{sign}bad\n"
    path = write(tmp_path / "a.csv", f"sep={sign}\n{rows}")
    assert "first line" in refusal(ONE, path)
    assert "first line" in refusal(ONE, path, delimiter=sign)
    path = write(path, rows)
    assert len(ONE.read(path, delimiter=sign)) == 2


# --- columns that are called otherwise ------------------------------------------------------------

TASKS = {  # task, settings that it advises for a table without its columns
    "text": (ONE, ["text", "label"]),
    "several texts": (TextClassification(text_pair="other"), ["text", "text_pair", "label"]),
    "numbers": (TextRegression(number=["mood", "taste"]), ["text", "number"]),
    "pictures": (ImageClassification(), ["image", "label"]),
    "boxes": (ObjectDetection(), ["image", "boxes"]),
    "tags": (SequenceLabelling(), ["words", "tags"]),
    "questions": (InstructionTuning(), ["prompt", "completion"]),
    "translations": (Translation(), ["source", "target_text"]),
}


@pytest.mark.parametrize("kind", TASKS)
def test_who_has_other_names_is_told_how_to_say_so(kind):
    task, settings = TASKS[kind]
    told = refusal(task, [{"review": "fine", "sentiment": "good"}])
    flags = ", ".join("--" + name.replace("_", "-") for name in settings)
    assert f"{', '.join(f'{name}=…' for name in settings)} (fine-tune: {flags})" in told
    assert set(settings) <= {field.name for field in dataclasses.fields(task)}


def test_only_what_is_missing_is_asked_for():
    told = refusal(ONE, [{"text": "fine", "sentiment": "good"}])
    assert "label=…" in told and "text=…" not in told


def test_a_task_that_has_learned_cannot_be_given_other_names():
    task = ONE.learn(ONE.read([{"text": "fine", "label": "a"}, {"text": "dull", "label": "b"}]))
    assert "=…" not in refusal(task, [{"review": "fine", "label": "a"}])
    assert "=…" not in refusal(task, [{"review": "fine"}], labelled=False)


def test_rows_for_training_are_told_the_same(tiny):
    with pytest.raises(DataError, match="text=…, label=…"):
        FineTuner(ONE, tiny("bert")).fit(pd.DataFrame({"review": ["a", "b"], "stars": ["1", "2"]}))


# --- a text where a table belongs -----------------------------------------------------------------

SAID = ["what a joy", "It was ok. Really good.", "fine " * 200, "it's a joy, a warm one"]


@pytest.mark.parametrize("text", SAID)
def test_a_text_in_place_of_a_table_is_told_the_option(text, run, sft):
    _, err = sft("predict", run, text, code=2)
    assert "--text" in err and err.count("\n") == 1 and len(err) < 400


NAMES = ["reviws.csv", "my reviews.csv", "reviews", "no/such folder/a.csv"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_not_there_is_no_text(name, run, sft):
    _, err = sft("predict", run, name, code=2)
    assert "There is no file" in err and "--text" not in err


# --- values in messages ---------------------------------------------------------------------------

@pytest.mark.parametrize("value,told", [
    (np.int64(3), "3"), (np.float64(.5), "0.5"), (np.bool_(True), "True"), (np.str_("a"), "'a'"),
    (3, "3"), ("a" * 99, "'" + "a" * 58 + "…"), (None, "None")])
def test_a_value_is_shown_as_a_person_writes_it(value, told):
    assert short(value) == told


def test_parts_of_a_split_are_named(tiny):
    parts = split(labelled(["a", "b"] * 8), valid_size=.25, certify_size=.25, seed=0)
    with pytest.raises(DataError, match=r"not Splits.*data\.train"):
        FineTuner(ONE, tiny("bert")).fit(parts)
