"Tables as they really arrive, and splits over many seeds: what a notebook cell is too small for."
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_nb.data.cell_values import cell_text
from sft_nb.data.checks import check_labels, check_lengths, check_text, plot_rows, report
from sft_nb.figures import new_figure
from sft_nb.data.hashes import check_duplicates, row_hashes
from sft_nb.data.leaks import check_splits, near_duplicates
from sft_nb.data.splitting import Splits, folds, split
from sft_nb.data.table_facts import TableFacts, about, note, note_only, with_remark
from sft_nb.data.table_reader import read_table
from sft_nb.task import DataError, Task


@dataclass
class Reviews(Task):
    text: str = "text"
    label: str = "label"
    def inputs(self): return [self.text]
    def targets(self): return [self.label]
    def check(self, rows, labelled=True):
        return (
            super().check(rows, labelled)
            + check_text(rows, [self.text])
            + (check_labels(rows, self.label) if labelled else [])
        )


def films(n=60, seed=0, rare=.2):
    "Rows of n films of unequal size; the films differ in their share of labels."
    rng, rows = np.random.default_rng(seed), []
    for film in range(n):
        share = rng.beta(2, 2) * 2 * rare
        rows += [
            dict(
                text=f"text {film} {i}",
                label="rare" if rng.random() < share else "usual",
                movie=f"film {film}",
            )
            for i in range(rng.integers(2, 30))
        ]
    rows = pd.DataFrame(rows)
    return note(rows, target="label")


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


# --- files ---

TABLE = """text,label
"Good, very good",fresh
NA,rotten
null,007
"two
lines",fresh
😀 好,fresh
"""

@pytest.mark.parametrize(
    "encode",
    [
        lambda t: t.encode(), lambda t: b"\xef\xbb\xbf" + t.encode(),
        lambda t: t.replace("\n", "\r\n").encode(),
    ],
)
def test_csv_keeps_texts(tmp_path, encode):
    rows = read_table(write(tmp_path/"a.csv", encode(TABLE)))
    assert list(rows) == ["text", "label"] and list(rows.index) == list(range(5))
    assert rows["text"].tolist()[:3] == ["Good, very good", "NA", "null"]
    assert rows["text"][4] == "😀 好"
    assert rows["label"].tolist() == ["fresh", "rotten", "007", "fresh", "fresh"]

def test_empty_cell_is_missing(tmp_path):
    rows = read_table(write(tmp_path/"a.tsv", "text\tlabel\nx\t\n\tfresh\n"))
    assert rows.isna().to_numpy().tolist() == [[False, True], [True, False]]

def test_all_formats_agree(tmp_path):
    rows = pd.DataFrame({"text": ["NA", "😀 好"], "label": ["007", "b"]})
    rows.to_csv(tmp_path / "a.csv", index=False)
    rows.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    rows.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    rows.to_parquet(tmp_path / "a.parquet")
    for name in ["a.csv", "a.tsv", "a.jsonl", "a.parquet"]:
        pd.testing.assert_frame_equal(read_table(tmp_path / name), rows)
    pd.testing.assert_frame_equal(read_table(rows.to_dict("records")), rows)

def test_jsonl_keeps_types(tmp_path):
    rows = read_table(
        write(
            tmp_path / "a.jsonl",
            '{"text": "a", "label": 5}\n\n{"text": "b"}\r\n{"text": "c", "tags": ["x"]}\n',
        )
    )
    assert rows["label"].tolist()[0] == 5
    assert isinstance(rows["label"].tolist()[0], int)
    assert rows["label"].isna().tolist() == [False, True, True]
    assert rows["tags"][2] == ["x"]

GALLERY = {  # file name: (content, what the message must say)
    "gbk.csv": (
        "text,label\n这部电影很好看,好\n".encode("gbk"),
        ["line 2", "GBK", 'encoding="gbk"', "UTF-8"],
    ),
    "latin.csv": (
        "text,label\nété,frais\n".encode("latin-1"),
        ["line 2", "Latin-1", 'encoding="latin-1"'],
    ),
    "german.tsv": ("text\tlabel\nÜbermäßig schön\tgut\n".encode("latin-1"), ["Latin-1"]),
    "quotes.jsonl": ('{"text": "a “b” c"}\n'.encode("cp1252"), ["Windows-1252"]),
    "wide.csv": ("text,label\nx,y\n".encode("utf-16"), ["UTF-16"]),
    "book.csv": (b"PK\x03\x04\0\0\xff\xfe", ["not a text file"]),
    "empty.csv": (b"", ["is empty"]),
    "blank.jsonl": (b" \n\n", ["is empty"]),
    "header.csv": (b"text,label\n", ["no row"]),
    "reviews.xlsx": (b"PK", [".csv, .tsv, .jsonl, .parquet", "pandas"]),
    "long.csv": (
        b"text,label\nGood,fresh\nBad, very,rotten\n",
        ["line 3", "3 cells", "has 2", "double quotes"],
    ),
    "first.csv": (b"text,label\n1,Bad,rotten\n", ["line 2", "3 cells"]),
    "short.csv": (b"text,label\nGood\n", ["line 2", "1 cell where"]),
    "open.csv": (b'text,label\nx,y\n"never closed,fresh\nmore,fresh\n', ["line 3", "quote"]),
    "stray.csv": (b'text,label\n"Best" film,fresh\n', ["line 2", "quote"]),
    "semicolon.csv": (b"text;label\nx;y\n", ["'text;label'", "delimiter=';'", "--delimiter ';'"]),
    "bad.jsonl": (b'{"text": "a"}\n{"text": }\n', ["bad.jsonl, line 2", "not JSON"]),
    "list.jsonl": (b'{"text": "a"}\n["b"]\n', ["line 2", "list"]),
    "cut.parquet": (b"PAR1", ["cannot be read as Parquet"]),
}

@pytest.mark.parametrize("name", GALLERY)
def test_bad_files(tmp_path, name):
    content, says = GALLERY[name]
    with pytest.raises(DataError) as e:
        read_table(write(tmp_path / name, content))
    assert all(s in str(e.value) for s in [name, *says]), str(e.value)

def test_the_fixes_work(tmp_path):
    gbk = write(tmp_path/"a.csv", "text,label\n这部电影很好看,好\nNA,坏\n".encode("gbk"))
    assert read_table(gbk, encoding="gbk")["text"].tolist() == ["这部电影很好看", "NA"]
    assert list(read_table(write(tmp_path / "b.csv", "text;label\nx;y\n"), delimiter=";")) == [
        "text",
        "label",
    ]
    assert list(
        read_table(
            write(tmp_path / "c.csv", "text,label\nx,y\n".encode("utf-16")), encoding="utf-16"
        )
    ) == ["text", "label"]
    with pytest.raises(DataError, match="no encoding"):
        read_table(gbk, encoding="gkb")

def test_paths(tmp_path):
    write(tmp_path/"reviews.csv", TABLE)
    with pytest.raises(DataError, match="Did you mean .*reviews.csv"):
        read_table(tmp_path / "review.csv")
    with pytest.raises(DataError, match="is a folder.*reviews.csv"):
        read_table(str(tmp_path))
    with pytest.raises(DataError, match="no folder"):
        read_table(tmp_path / "nowhere" / "a.csv")
    for source in (7, ["a text"], None):
        pytest.raises(DataError, read_table, source)
    for source in ([], pd.DataFrame({"text": []})):
        pytest.raises(DataError, read_table, source)

def test_frames():
    rows = pd.DataFrame({"text": ["a", "b"]}, index=pd.Index(["x", "y"], name="movie"))
    rows.attrs["mine"] = 1
    out = read_table(rows)
    assert set(out) == {"text", "movie"}
    assert list(out.index) == [0, 1]
    assert out.attrs == {}
    assert rows.attrs == {"mine": 1}
    out.loc[0, "text"] = "changed"
    assert rows["text"].iloc[0] == "a"
    twice = read_table(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    assert list(twice) == ["a", "a (2)"] and about(twice).twice == ["a"]
    assert list(read_table(pd.DataFrame([[1, 2]]))) == ["0", "1"]

# --- reading with a task ---

def test_everything_at_once():
    with pytest.raises(DataError) as e:
        Reviews(text="txet", label="labels").read([{"text": "a", "label": 1}])
    assert "'txet'" in str(e.value)
    assert "'labels'" in str(e.value)
    assert "Did you mean 'text'?" in str(e.value)
    assert "Did you mean 'label'?" in str(e.value)
    with pytest.raises(DataError) as e:
        Reviews(label="lable").read([{"text": 5, "label": 1}])
    assert "'lable'" in str(e.value) and "should hold text" in str(e.value)

@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA, "", " \t\n", "\u3000"])
def test_left_out(nothing, said):
    rows = Reviews().read(
        pd.DataFrame(
            {"text": ["a", nothing, "c", "d"], "label": ["x", "y", nothing, "y"]},
            index=[9, 9, 8, 7],
        )
    )
    assert rows["text"].tolist() == ["a", "d"] and list(rows.index) == [0, 1]
    told = said()
    assert "left out: 2 of 4 rows" in told and "row 1" in told and "row 2" in told
    assert sorted(i for at in about(rows).left_out.values() for i in at) == [1, 2]
    with pytest.raises(DataError, match="No row is left"):
        Reviews().read(
            [
                {"text": nothing, "label": "x"}, {"text": "a", "label": nothing},
                {"text": nothing, "label": "y"},
            ]
        )

def test_unlabelled(said):
    rows = Reviews().read([{"text": "a"}, {"text": "b"}], labelled=False)
    assert len(rows) == 2 and about(rows).target is None
    assert len(Reviews().read([{"text": "a", "label": None}], labelled=False)) == 1
    with pytest.raises(DataError, match="Every row gets a prediction"):
        Reviews().read([{"text": "a"}, {"text": None}], labelled=False)
    assert said() == ""

def test_file_name_in_messages(tmp_path):
    path = write(tmp_path/"mine.csv", "text,label\na,x\nb,x\n")
    with pytest.raises(DataError, match="mine.csv: Every row has the same label, 'x'"):
        Reviews().read(path)

# --- what is noted about a table ---

FACTS = {
    "source": "a.csv", "target": "label", "group": "movie", "left_out": {"1 row": [3]},
    "remarks": ["A remark."], "twice": ["note"], "classes": ["x", "y"],
    "tags": ["O"], "numbers": {"x": 7}, "ids": {"a.jpg": 139},
}


def noted(**fields):
    return note(pd.DataFrame({"text": ["a", "b", "c"], "x": [-1, 0, 1]}), **fields or FACTS)


def test_a_table_without_notes_has_empty_facts():
    facts = about(pd.DataFrame())
    assert facts == TableFacts() and not any(vars(facts).values())
    assert set(vars(facts)) == set(FACTS)


@pytest.mark.parametrize("change", [
    lambda rows: rows[rows.x > 0],
    lambda rows: rows.copy(),
    lambda rows: rows.drop(columns="x").rename(columns={"text": "words"}),
    lambda rows: rows.sample(2, random_state=0).reset_index(drop=True),
    lambda rows: pd.concat([rows[:1], rows[1:]]),
])
def test_facts_go_with_a_table(change):
    assert about(change(noted())) == TableFacts(**FACTS)


def test_facts_go_through_parquet_and_not_through_csv(tmp_path):
    noted().to_parquet(tmp_path / "a.parquet")
    assert about(pd.read_parquet(tmp_path / "a.parquet")) == TableFacts(**FACTS)
    noted().to_csv(tmp_path / "a.csv")
    assert about(pd.read_csv(tmp_path / "a.csv")) == TableFacts()


def test_pieces_that_disagree_lose_their_facts():
    pieces = [noted(), noted(target="text")]
    assert about(pd.concat(pieces)) == TableFacts()
    assert about(pd.concat([noted(), note(noted(), group="movie")])) == TableFacts(**FACTS)


def test_what_is_noted_is_plain_and_nobody_elses():
    classes = ["x"]
    rows = note(noted(), classes=classes, twice=("a", "b"))
    json.dumps(rows.attrs)
    classes.append("later")
    about(rows).classes.append("later")
    assert about(rows).classes == ["x"] and about(rows).twice == ["a", "b"]
    part = note(rows[:1], target="text")
    assert about(rows).target == "label" and about(part).target == "text"


def test_nothing_is_the_same_as_never_noted():
    assert note(noted(), **dict.fromkeys(FACTS)).attrs == {}
    assert note(noted(), left_out={}, source=None).attrs.keys() == FACTS.keys() - {
        "left_out", "source"
    }


def test_attrs_of_somebody_else():
    rows = pd.DataFrame({"x": [1]})
    rows.attrs = {"mine": 1, "source": {"url": "…"}, "classes": 3}
    assert about(rows) == TableFacts()
    assert note(rows, target="x").attrs["mine"] == 1
    assert note_only(rows, target="x").attrs == {"target": "x"}


@pytest.mark.parametrize("write_down", [note, note_only])
def test_an_unknown_field_is_told_with_those_that_there_are(write_down):
    with pytest.raises(DataError, match="no field 'clases'.*'classes'.*There is: 'source'"):
        write_down(noted(), clases=["x"])


@pytest.mark.parametrize("name, value, kind", [
    ("classes", "x", "a list"), ("target", 3, "a text"), ("ids", ["a"], "a dictionary"),
])
def test_a_value_of_another_kind_is_told(name, value, kind):
    rows = noted()
    with pytest.raises(DataError, match=f"{name}=.*: {kind} is needed"):
        note(rows, **{name: value})
    assert about(rows) == TableFacts(**FACTS)


def test_remarks_add_up():
    rows = with_remark(with_remark(pd.DataFrame({"x": [1]}), "One."), "Two.", "Three.")
    assert about(rows).remarks == ["One.", "Two.", "Three."]


def test_facts_travel_and_where_they_do_not():
    rows = Reviews().read(films())
    for derived in (
        rows[rows["label"] == "rare"], rows.head(3), rows.assign(new=1),
        rows.drop_duplicates("text"), rows.sample(5, random_state=0), rows.copy(),
        rows.reset_index(drop=True),
    ):
        assert about(derived).target == "label"
    data = split(rows, group="movie")
    assert all(about(part).target == "label" for part in data.roles.values())
    other = note_only(rows.copy())
    assert about(pd.concat([data.train, data.valid])).target == "label"
    assert pd.concat([rows, other]).attrs == {}
    assert split(pd.concat([rows, other]), stratify="label").stratify == "label"
    assert split(other).stratify is None
    rows.to_json()
    json.dumps(rows.attrs)

# --- labels, lengths, duplicates ---

def test_labels():
    def levels(labels):
        return [f.level for f in check_labels(pd.DataFrame({"label": labels}), "label")]
    assert levels(["a", "b"]) == []
    assert levels(["a", "a"]) == ["error"]
    assert levels([None, None]) == []
    assert levels([1, 2, np.nan]) == []
    assert levels(["007", "7"]) == ["warning"]
    assert levels(["Fresh", "fresh "]) == ["warning"]
    assert levels(["a"] * 99 + ["b"]) == ["warning"]
    assert levels([f"name {i}" for i in range(50)]) == ["warning"]

def test_lengths_with_a_real_tokenizer(capfd):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    core = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, "[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    processor = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="[UNK]", model_max_length=4
    )
    (found,) = check_lengths(["a a", "a " * 10, "a " * 6], processor, 4)
    assert found.rows == (1, 2)
    assert "2 of 3 texts" in found.message
    assert "44.4%" in found.message
    assert "10" in found.message
    assert check_lengths(["a a"], processor, 4) == []
    assert check_lengths(["a a"], processor, 4, pairs=["a a a"])[0].rows == (0,)
    assert capfd.readouterr().err == ""

def test_duplicates():
    rows = pd.DataFrame({"text": ["a", "b", "a", "a", "c"], "label": ["x", "x", "x", "y", "x"]})
    again, torn = check_duplicates(rows, ["text"], ["label"])
    assert again.rows == (2, 3) and torn.rows == (0, 2, 3)
    assert check_duplicates(rows, ["text", "label"], [])[0].rows == (2,)
    assert check_duplicates(rows[1:3], ["text"], ["label"]) == []

def test_near_duplicates_is_exact_and_fast():
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(5000)])
    texts = [" ".join(words[rng.zipf(1.4, 25) % 5000]) for _ in range(13_000)]
    for i in range(50):
        texts[12_000 + i] = "So: " + texts[i].upper() + "!"
    start = time.perf_counter()
    pairs = near_duplicates(texts[:9_000], texts[9_000:])
    assert {(i, j) for i, j, _ in pairs} >= {(i, 3_000 + i) for i in range(50)}
    assert all(s >= .7 for *_, s in pairs)
    # a few seconds on an idle machine, hours for all pairs one by one
    assert time.perf_counter() - start < 60

def test_near_duplicates_of_a_form_letter():
    letters = [
        f"Dear customer {i}, thank you for your order, which we have sent to you today by post "
        "with our best wishes."
        for i in range(4000)
    ]
    assert len(near_duplicates(letters[:2000], letters[2000:])) == 2000

def test_near_duplicates_odd_texts():
    assert near_duplicates([], ["a"]) == [] and near_duplicates(["a"], []) == []
    assert [
        p[:2]
        for p in near_duplicates(["!!!", "?", "这部电影很好看。"], ["?", "这部电影很好看!", "😀"])
    ] == [(1, 0), (2, 1)]

# --- fingerprints ---

def test_hashes_do_not_hang_on_dtype():
    same = [
        pd.DataFrame({"n": values, "t": ["x", "y"]})
        for values in (
            [5, 7], np.array([5, 7], np.int8), [5.0, 7.0], ["5", "7"],
            pd.array([5, 7], dtype="Int64"), pd.Series([5, 7], dtype=object),
            pd.Categorical([5, 7]),
        )
    ]
    assert len({tuple(row_hashes(rows, ["n", "t"])) for rows in same}) == 1
    gaps = [pd.DataFrame({"n": [gap]}, dtype=object) for gap in (None, np.nan, pd.NA, pd.NaT)]
    assert len({row_hashes(rows, ["n"])[0] for rows in gaps}) == 1
    texts = [
        "", "nan", "None", "null", "NA", "7", "07", "a", "A", "a ", "é", "e\u0301", "[]",
        "\ud800",
    ]
    cells = pd.DataFrame({"n": [*texts, None]}, dtype=object)
    assert len(set(row_hashes(cells, ["n"]))) == len(texts) + 1

def hash_of(*cells):
    "Of a row with these cells."
    names = [f"column {i}" for i, _ in enumerate(cells)]
    row = {name: pd.Series([cell], dtype=object) for name, cell in zip(names, cells, strict=True)}
    return row_hashes(pd.DataFrame(row), names)[0]

TWO_TEXTS = st.tuples(st.text(max_size=3), st.text(max_size=3))

@given(TWO_TEXTS, TWO_TEXTS)
def test_hashes_are_equal_where_all_cells_are(some, others):
    "Where a cell ends is part of the content: xy and z are not x and yz."
    assert (hash_of(*some) == hash_of(*others)) == (some == others)

@given(st.lists(strategies.plain_cells, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_hashes_do_not_hang_on_order_or_index(cells, random):
    rows = pd.DataFrame({"cell": pd.Series(cells, dtype=object)})
    order = list(rows.index)
    random.shuffle(order)
    hashes = row_hashes(rows, ["cell"])
    assert row_hashes(rows.iloc[order], ["cell"]) == [hashes[i] for i in order]
    assert hashes == [hash_of(cell) for cell in cells]

@given(strategies.plain_cells)
def test_a_cell_that_went_through_json_has_the_same_hash(cell):
    assert hash_of(json.loads(json.dumps(cell))) == hash_of(cell)

def test_hashes_of_nested_cells(tmp_path):
    rows = pd.DataFrame(
        {"boxes": [[{"xyxy": [1, 2, 3, 4], "name": "dog"}], []], "tags": [["a", "b"], ["c"]]}
    )
    rows.to_parquet(tmp_path/"a.parquet")
    assert row_hashes(rows, ["boxes", "tags"]) == row_hashes(
        read_table(tmp_path / "a.parquet"), ["boxes", "tags"]
    )
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert hash_of(image) == hash_of(image.copy()) != hash_of(image[::-1])
    assert hash_of(image) != hash_of(image.reshape(2, 6))
    with pytest.raises(DataError, match="no text of its own"):
        hash_of(object())
    assert cell_text(float("inf")) == "inf"

def test_hashes_in_another_process():
    code = ("import pandas as pd; from sft_nb.data.hashes import row_hashes; "
            "print(row_hashes(pd.DataFrame({'t': ['好', 'b']}, index=[5, 6]), ['t']))")
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONHASHSEED": "7"},
    ).stdout
    assert eval(said) == row_hashes(pd.DataFrame({"t": ["好", "b"]}), ["t"])
    assert hash_of("好") == "411f2510695b1983f126c22560e03acc", "saved runs depend on it"

# --- splits ---

@pytest.mark.parametrize("group", [None, "movie"])
def test_split_is_a_partition_that_hangs_on_content(group):
    rows = films()
    data = split(rows, group=group)
    shuffled = split(rows.sample(frac=1, random_state=1), group=group)
    for role, part in data.roles.items():
        pd.testing.assert_frame_equal(part, shuffled.roles[role])
        pd.testing.assert_frame_equal(part, rows.iloc[data.positions[role]].reset_index(drop=True))
    assert sorted(np.concatenate(list(data.positions.values()))) == list(range(len(rows)))
    assert set(split(rows, group=group, seed=1).certify["text"]) != set(data.certify["text"])

@settings(max_examples=30)
@given(strategies.seeds())
def test_groups_stay_whole_and_shares_alike(seed):
    rows = films()
    share, biggest = (rows["label"] == "rare").mean(), rows.groupby("movie").size().max()
    data = split(rows, group="movie", seed=seed)
    names = [set(part["movie"]) for part in data.roles.values()]
    assert sum(map(len, names)) == len(set.union(*names)) == 60
    for role, size in dict(train=.6, valid=.2, certify=.2).items():
        part = data.roles[role]
        assert abs(len(part) - size * len(rows)) <= biggest
        assert abs((part["label"] == "rare").mean() - share) < .05

def test_large_and_small_groups_are_drawn_alike():
    rows = films()
    drawn = [split(rows, group="movie", seed=seed).certify["movie"].unique() for seed in range(40)]
    chosen = pd.Series(np.concatenate(drawn)).value_counts()
    size = rows.groupby("movie").size()[chosen.index]
    assert len(chosen) == 60, "every film is drawn by some seed"
    assert abs(np.corrcoef(chosen, size)[0, 1]) < 0.5

@given(strategies.grouped_tables(), strategies.seeds())
def test_any_table_is_divided_and_its_groups_stay_whole(rows, seed):
    data = split(rows, group="group", seed=seed)
    assert sorted(pd.concat(data.roles.values())["text"]) == sorted(rows["text"])
    names = [set(part["group"]) for part in data.roles.values()]
    assert sum(map(len, names)) == len(set.union(*names)) and all(names)

@settings(max_examples=30)
@given(strategies.seeds(), st.integers(1, 200))
def test_stratified_sizes_are_exact(seed, certify_size):
    rows = films(rare=.05)
    data = split(rows, valid_size=.1, certify_size=certify_size, seed=seed)
    assert [len(data.valid), len(data.certify)] == [round(.1 * len(rows)), certify_size]
    share = (rows["label"] == "rare").mean()
    for part in data.roles.values():
        assert abs((part["label"] == "rare").sum() - len(part) * share) <= 1.5

def test_without_strata():
    rows = films(rare=.05)
    plain = split(rows, stratify=None)
    assert plain.stratify is None and len(plain.certify) == round(.2 * len(rows))

def test_auto_stratifies_few_values_only():
    rows = films()
    rows["stars"] = np.random.default_rng(0).random(len(rows))
    rows["tags"] = [["a"]] * len(rows)
    for target, chosen in [
        ("label", "label"), ("stars", None), ("tags", "tags"), ("gone", None), (None, None),
    ]:
        note(rows, target=target)
        assert split(rows).stratify == chosen

@pytest.mark.parametrize(
    "sizes, group, says",
    [
        ((0.5, 0.5), None, "leave no row"), ((0.9, 400), None, "leave no row"),
        ((1.0, 0.2), None, "must be below 1"), ((-0.1, 0.2), None, "valid_size"),
        ((0.2, "a"), None, "certify_size"), ((True, 0.2), None, "valid_size"),
        ((float("nan"), 0.2), None, "valid_size"),
        ((0.0001, 0.2), None, "valid would be empty"),
        ((0.2, 0.2), "moive", "Did you mean 'movie'"),
        ((0.2, 0.2), "one", "groups stay whole"),
        ((0.2, 0.2), "gap", "group is missing|without gap"),
    ],
)
def test_impossible_splits(sizes, group, says):
    rows = films(20).assign(one="x")
    rows["gap"] = rows["movie"].mask(rows.index == 3)
    with pytest.raises(DataError, match=says):
        split(rows, *sizes, group=group)

def test_tiny_tables():
    two = pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"]})
    with pytest.raises(DataError):
        split(two)
    assert len(split(two, valid_size=1, certify_size=0).train) == 1
    three = split(pd.DataFrame({"text": list("abc")}), valid_size=1, certify_size=1)
    assert [len(p) for p in three.roles.values()] == [1, 1, 1]
    uneven = pd.DataFrame({"text": [str(i) for i in range(100)], "g": ["big"] * 98 + ["b", "c"]})
    assert sorted(len(p) for p in split(uneven, group="g").roles.values()) == [1, 1, 98]
    alone = split(two, valid_size=0, certify_size=0)
    assert [len(p) for p in alone.roles.values()] == [2, 0, 0]
    assert list(alone.certify) == ["text", "label"]

@pytest.mark.parametrize("group", [None, "movie"])
def test_folds(group):
    rows = films()
    pairs = list(folds(rows, k=4, group=group))
    assert len(pairs) == 4
    assert sorted(t for _, valid in pairs for t in valid["text"]) == sorted(rows["text"])
    for train, valid in pairs:
        assert len(train) + len(valid) == len(rows)
        assert not set(train["text"]) & set(valid["text"])
        assert about(train).target == "label"
        if group: assert not set(train["movie"]) & set(valid["movie"])
        else: assert abs(len(valid) - len(rows) / 4) < 1
    for k in (1, 10_000):
        pytest.raises(DataError, folds, rows, k)

def test_check_splits():
    rows = films()
    task = Reviews()
    rows.loc[len(rows)] = dict(
        text="one two three four five six seven eight", label="usual", movie="x"
    )
    rows.loc[len(rows)] = dict(
        text="one two three four five six seven eight nine", label="usual", movie="y"
    )
    rows.loc[len(rows)] = dict(
        text="one two three four five six seven eight", label="rare", movie="z"
    )
    found = [
        f.message
        for seed in range(5)
        for f in check_splits(task, split(rows, seed=seed, group="movie"))
    ]
    assert any("also in" in m and "nearly" not in m for m in found)
    assert any("nearly also in" in m for m in found)
    few, both = rows[rows["label"] == "rare"], rows.head(20)
    assert {
        f.level for f in check_splits(task, Splits(few, both, few, 0)) if "usual" in f.message
    } == {"error", "warning"}
    assert any("not looked for" in f.message for f in check_splits(task, split(rows), limit=10))

def test_report(said):
    report(check_text(pd.DataFrame({"text": ["caf\ufffd"]}), ["text"]), "a.csv: ")
    assert "a.csv: 1 text" in said()

def test_pictures():
    data = split(films(), group="movie")
    for figure in (
        data.plot(), split(films(), stratify=None).plot(), plot_rows(data.train, "text"),
        plot_rows(data.train, "text", None), new_figure()[0],
    ):
        figure.canvas.draw()
    import matplotlib.pyplot as plt
    assert plt.get_fignums() == []
    html = split(films().rename(columns={"movie": "<b>"}), group="<b>")._repr_html_()
    assert "<b>" not in html and "&lt;b&gt;" in html and "train" in repr(data)
    odd = split(films().replace({"label": {"rare": "rows", "usual": "share"}}), stratify="label")
    assert odd.table["rows"].sum() == len(films()) and odd.plot()
    with pytest.raises(DataError):
        plot_rows(data.train, "txt")

def test_long_table(tmp_path):
    n = 200_000
    rows = pd.DataFrame(
        {
            "text": [f"text number {i}, with a comma" for i in range(n)],
            "label": np.arange(n) % 3,
            "group": np.arange(n) // 20,
        }
    )
    rows.to_csv(tmp_path/"long.csv", index=False)
    start = time.perf_counter()
    rows = Reviews().read(tmp_path/"long.csv")
    data = split(rows, group="group")
    assert len(data.train) + len(data.valid) + len(data.certify) == n
    assert set(data.table.loc["train", ["label: 0", "label: 1", "label: 2"]] > 0) == {True}
    assert time.perf_counter() - start < 120  # seconds; about ten on an idle machine


def test_half_a_character_is_refused_with_its_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"text": "whole \\ud83d\\ude00", "label": "a"}\n{"text": "half \\ud800", "label": "b"}\n'
    )
    with pytest.raises(DataError, match="line 2: half of a character"):
        read_table(path)
