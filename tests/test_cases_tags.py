"""Tagged files as people have them:

every scheme and spelling, comments, CoNLL-U, numbers, a word per row, lists without commas.
"""
import json
import random
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, IOE2, Entities

from sft_nb.all import DataError, FineTuner, SequenceLabelling, read_table, split
from sft_nb.commands.cli import main
from sft_nb.data.conll import read_conll
from sft_nb.task import Prediction
from sft_nb.tasks.tagging.schemes import SCHEMES, entities, read_tags, to_iob2, wrong_tag
from sft_nb.tasks.tagging.formats import list_cell, sentence_column
from tag_schemes import from_iob2

INPUTS = Path(__file__).parent / "inputs"


def case(name):
    "The one file of a case."
    file, = (INPUTS / name).iterdir()
    return file


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def pairs(rows, task):
    "Sentences as lists of (word, tag)."
    sentences = zip(rows[task.words], rows[task.tags], strict=True)
    return [list(zip(words, tags, strict=True)) for words, tags in sentences]


def told_once(said):
    "The one warning that was given."
    told = [line for line in said().splitlines() if "d." in line or "row" in line]
    assert len(told) == 1, told
    return told[0]


# --- schemes and spellings ---

ADA = [
    [("Ada", "B-PER"), ("met", "O"), ("Marie", "B-PER"), ("Curie", "I-PER")],
    [("Bob", "B-PER"), ("slept", "O")],
]
LONG = [
    [
        ("Ada", "B-PER"), ("met", "O"), ("Marie", "B-PER"), ("Sklodowska", "I-PER"),
        ("Curie", "I-PER"), ("in", "O"), ("New", "B-LOC"), ("York", "I-LOC"),
    ],
    [("Bob", "B-PER"), ("slept", "O")],
]
GENES = [
    [("p53", "B-ENTITY"), ("protein", "I-ENTITY"), ("binds", "O")],
    [("BRCA1", "B-ENTITY"), ("is", "O")],
]
SPELT = {
    "s02-bilou": (LONG, ["BILOU", "'U-PER' is 'B-PER'", "'L-PER' is 'I-PER'"]),
    "s02c-underscore": (ADA, ["'B_PER' is 'B-PER'"]),
    "s02d-suffix": (ADA, ["'PER-B' is 'B-PER'"]),
    "s02e-bare-bio": (GENES, ["one type", "ENTITY", "'B' is 'B-ENTITY'"]),
    "s02f-lower-case": (
        [[(w, t.replace("PER", "per")) for w, t in s] for s in ADA],
        ["'b-per' is 'B-per'"],
    ),
}


@pytest.mark.parametrize("name", SPELT)
def test_every_spelling_is_read_as_entities_and_told(name, said):
    expected, words = SPELT[name]
    task = SequenceLabelling()
    rows = task.read(case(name))
    told = told_once(said)
    assert pairs(rows, task) == expected and task.learn(rows).metric == ("f1", "max")
    assert all(w in told for w in [*words, "IOB2"]) and "no B- and I-" not in told
    again = task.read(rows)
    # what has been read is IOB2, and nothing is left to say
    assert pairs(again, task) == expected and said() == ""


MORE = {
    "colon": ("B:PER O B:PER I:PER", "B-PER O B-PER I-PER"),
    "a dot behind the type": ("PER.B O PER.B PER.I", "B-PER O B-PER I-PER"),
    "underscore and suffix": ("PER_B O PER_B PER_I", "B-PER O B-PER I-PER"),
    "a type with hyphens": ("B-geo-loc O B-geo-loc I-geo-loc", "B-geo-loc O B-geo-loc I-geo-loc"),
    "a type with hyphens, before the letter": (
        "geo-loc-B O geo-loc-B geo-loc-I",
        "B-geo-loc O B-geo-loc I-geo-loc",
    ),
    "BMES": ("S-PER O B-PER M-PER E-PER", "B-PER O B-PER I-PER I-PER"),
    "BMEWO": ("W-PER O B-PER M-PER E-PER", "B-PER O B-PER I-PER I-PER"),
    "BILUO without hyphen": ("U O B I L", "B-ENTITY O B-ENTITY I-ENTITY I-ENTITY"),
    "bare BIOES": ("S O B I E", "B-ENTITY O B-ENTITY I-ENTITY I-ENTITY"),
    "bare, lower case": ("b o b i", "B-ENTITY O B-ENTITY I-ENTITY"),
    "bare, inside and outside alone": ("I O I I", "B-ENTITY O B-ENTITY I-ENTITY"),
    "IOE2": ("E-PER O I-PER E-PER", "B-PER O B-PER I-PER"),
    "mixed case": ("B-PER O b-PER I-PER", "B-PER O B-PER I-PER"),
    "capitals of the type": ("B-PER O B-PER I-per", "B-PER O B-PER I-PER"),
    "a type that is a letter": ("B-S O B-E I-E", "B-S O B-E I-E"),
}


@pytest.mark.parametrize("name", MORE)
def test_more_spellings(name):
    given, expected = (t.split() for t in MORE[name])
    rows = SequenceLabelling().read(
        [{"words": [f"w{i}" for i in range(len(given))], "tags": given}] * 2
    )
    assert list(rows.tags) == [expected] * 2


PLAIN = {
    "grades": "A B C B", "grades, and an O": "A B O C", "sides": "A-side B-side A-side none",
    "sides and O": "A-side B-side A-side O", "word segmentation": "B M E S",
    "blood groups": "A B AB O", "sizes": "S M L XL", "notes": "A-flat B-flat E-flat A-flat",
    "parts of speech": "NOUN VERB ADJ NOUN", "underscores": "NN_S VB_P JJ_R DT_O",
    "Korean spacing": "B I I B",
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_tags_stay_as_they_are(name, said):
    tags = PLAIN[name].split()
    rows = SequenceLabelling().read(
        [{"words": list("wxyz"), "tags": tags}, {"words": list("zyxw"), "tags": tags[::-1]}]
    )
    task = SequenceLabelling().learn(rows)
    assert list(rows.tags) == [tags, tags[::-1]]
    assert task.labels == sorted(set(tags))
    assert task.metric == ("accuracy", "max")
    assert task.check(rows) == []
    assert [task.class_ids(t) for t in rows.tags] == [
        [task.labels.index(t) for t in row] for row in rows.tags
    ]
    told = said()
    if name in ("word segmentation", "Korean spacing"): assert "set scheme=" in told
    if "side" in name: assert "'B-side'" in told and "'A-side'" in told
    assert "no B- and I-" not in told or not any(t.startswith("B-") for t in tags)


@pytest.mark.parametrize("column", ["entities", "label", "annotations"])
def test_marked_spans_in_another_column_are_told(column):
    row = {"text": "EU rejects Peter", column: [[0, 2, "ORG"], [11, 16, "PER"]]}
    with pytest.raises(DataError, match=f"spans='{column}'"):
        SequenceLabelling().read([row])
    tags = SequenceLabelling(spans=column).read([row]).tags[0]
    assert tags == ["B-ORG", "O", "B-PER"]


def test_letters_without_an_o_are_entities_where_the_user_says_so(said):
    task = SequenceLabelling(scheme="BMES")
    rows = task.read([{"words": list("wxyz"), "tags": "B M E S".split()}])
    assert list(rows.tags) == [["B-ENTITY", "I-ENTITY", "I-ENTITY", "B-ENTITY"]]
    assert task.learn(rows).metric == ("f1", "max")


def test_a_learned_task_reads_its_kind_of_tags():
    "A small file of a plain set is not taken for entities, though B and O are all that it has."
    groups = pd.DataFrame({"words": [list("abcd")] * 2, "tags": [["A", "B", "AB", "O"]] * 2})
    task = SequenceLabelling().learn(SequenceLabelling().read(groups))
    assert list(task.read([{"words": ["a", "b"], "tags": ["B", "O"]}] * 2).tags) == [["B", "O"]] * 2


# seqeval's IOE1 says of itself that it is not complete
THEIRS = {"IOB1": IOB1, "IOB2": IOB2, "IOE2": IOE2, "BIOES": IOBES, "BILOU": BILOU}


def random_tags(rng, letters, n=7):
    every = ["O", *(f"{letter}-{kind}" for letter in letters for kind in ("x", "y-z"))]
    return [rng.choice(every) for _ in range(rng.randrange(1, n))]


@pytest.mark.parametrize("scheme", THEIRS)
def test_what_is_read_is_seqevals_reading(scheme):
    """Of grammatical files in the scheme, by seqeval's strict reading; and F1 after reading is
    seqeval's F1 before.
    """
    rng = random.Random(6)
    tags = [
        t
        for t in (random_tags(rng, SCHEMES[scheme]) for _ in range(9000))
        if wrong_tag(t, scheme) is None
    ][:400]
    reading = read_tags(tags)
    assert (reading.scheme, reading.many) == (scheme, 0) and len(tags) > 300
    assert [entities(t) for t in reading.tags] == [
        [(e.tag, e.start, e.end) for e in found]
        for found in Entities(tags, THEIRS[scheme]).entities
    ]
    said = [rng.choice([t, ["O"] * len(t)]) for t in tags]
    task = SequenceLabelling(labels=["O", "B-x", "I-x", "B-y-z", "I-y-z"])
    ours = task.metrics(
        [Prediction({"tags": t, "spans": []}) for t in read_tags(said).tags],
        [{"tags": t} for t in reading.tags],
    )["f1"]
    assert ours == pytest.approx(f1_score(tags, said, mode="strict", scheme=THEIRS[scheme]))


@pytest.mark.parametrize("scheme", ["IOB2", "IOB1", "BIOES"])
@given(st.data())
def test_contradictions_are_read_as_the_conll_script_reads_them(scheme, data):
    tags = data.draw(strategies.tags(SCHEMES[scheme], least=1))
    theirs = [(kind, first, last + 1) for kind, first, last in get_entities(tags)]
    assert entities(to_iob2(tags, scheme)) == theirs


# --- the fewest contradictions ---

def in_scheme(scheme, n=400, seed=8):
    "Sentences in a scheme, with neighbours of one type among them."
    rng = random.Random(seed)
    good = [
        t for t in (random_tags(rng, "BI") for _ in range(9 * n)) if wrong_tag(t, "IOB2") is None
    ][:n]
    return good, [from_iob2(t, scheme) for t in good]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_two_slips_do_not_change_the_scheme(scheme, tmp_path, said):
    good, tags = in_scheme(scheme)
    slip = {
        "IOB1": ["O", "B-x"], "IOB2": ["O", "I-x"], "IOE1": ["E-x", "O"], "IOE2": ["I-x", "O"],
    }.get(scheme, ["O", f"{SCHEMES[scheme][1]}-x"])
    read = {"IOE1": ["B-x", "O"], "IOE2": ["B-x", "O"]}.get(scheme, ["O", "B-x"])
    text = "\n\n".join("\n".join(f"w{i} {t}" for i, t in enumerate(s)) for s in [slip, *tags, slip])
    rows = SequenceLabelling().read(write(tmp_path/"d.conll", text + "\n"))
    told = said()
    assert list(rows.tags) == [read, *good, read]
    many = 2 if scheme.startswith("IO") else 4  # in BIOES a lone I- is neither begun nor ended
    assert f"{many} of " in told and f"contradict {scheme}" in told and "line " in told
    assert not any(f"contradict {other}," in told for other in SCHEMES if other != scheme)


def test_a_large_file_in_iob1_with_two_needless_b(said):
    "As the best-known public set of entities has it."
    good, tags = in_scheme("IOB1", 8000)
    tags[17], good[17] = ["O", "B-x", "I-x"], ["O", "B-x", "I-x"]
    tags[500], good[500] = ["B-y-z"], ["B-y-z"]
    rows = SequenceLabelling().read(
        pd.DataFrame({"words": [["w"] * len(t) for t in tags], "tags": tags})
    )
    told = said()
    assert list(rows.tags) == good
    assert "IOB1" in told
    assert "2 of " in told
    assert "row 17 (counting from 0), word 1" in told


def test_a_scheme_that_is_given_is_obeyed(said):
    rows = [
        {"words": list("abc"), "tags": ["I-x", "I-x", "O"]},
        {"words": list("ab"), "tags": ["O", "I-y"]},
    ]
    assert list(SequenceLabelling(scheme="IOB2").read(rows).tags) == [
        ["B-x", "I-x", "O"],
        ["O", "B-y"],
    ]
    assert "2 of 5 tags contradict IOB2" in said()
    assert list(SequenceLabelling(scheme="plain").read(rows).tags) == [
        ["I-x", "I-x", "O"],
        ["O", "I-y"],
    ]
    assert said() == ""
    assert list(SequenceLabelling().read(rows).tags) == [["B-x", "I-x", "O"], ["O", "B-y"]]
    assert "IOB1" in (told := said()) and "contradict" not in told


@pytest.mark.parametrize(
    "name, scheme",
    [("bio", "IOB2"), ("BILUO", "BILOU"), ("iobes", "BIOES"), ("iob1", "IOB1"), ("Plain", "plain")],
)
def test_schemes_have_several_names(name, scheme):
    assert SequenceLabelling(scheme=name).scheme == scheme


def test_a_tag_that_is_none_is_refused_by_its_line(tmp_path):
    path = write(tmp_path/"d.conll", "Ada B-PER\nran X\nto O\nRome B-LOC\nnow O\n")
    with pytest.raises(
        DataError, match=r"d.conll, line 2: 'X' is no tag of IOB2.*scheme=\"plain\""
    ):
        SequenceLabelling().read(path)
    path = write(tmp_path/"d.conll", "Ada PER_B\nran X\nto O\nRome LOC_B\nnow O\n")
    with pytest.raises(
        DataError, match="d.conll, line 2: 'X' is no tag of IOB2, as the others are written here"
    ):
        SequenceLabelling().read(path)


def test_plain_iob2_has_nothing_to_say(said):
    rows = SequenceLabelling().read(
        [{"words": ["a", "b", "c"], "tags": ["B-x", "I-x", "O"]}, {"words": ["d"], "tags": ["O"]}]
    )
    assert said() == "" and list(rows.tags) == [["B-x", "I-x", "O"], ["O"]]


# --- comments and words that begin with # ---

def test_comments_as_wide_as_the_columns():
    task = SequenceLabelling()
    def read(name): return pairs(task.read(case(name)), task)
    assert read("s03-multiconer") == [
        [("ada", "B-PER"), ("lovelace", "I-PER"), ("wrote", "O")],
        [("bob", "B-PER"), ("slept", "O")],
    ]
    assert read("s03b-comment-of-same-width") == [
        [("Ada", "B-PER"), ("ran", "O")],
        [("Bob", "B-PER"), ("sat", "O")],
    ]
    assert read("s03c-pos-comment-silent") == [
        [("Ada", "NOUN"), ("ran", "VERB")],
        [("Bob", "NOUN"), ("sat", "VERB")],
    ]


HASHES = {
    "words, first and within": (
        "# O\nAda B-PER\n# O\n\nBob B-PER\n# O\n",
        [["#", "Ada", "#"], ["Bob", "#"]],
    ),
    "words as wide as comments": (
        "# sent_id = 1\n# SYM x O\nAda NNP x B-PER\n\n# # x O\nBob NNP x B-PER\n",
        [["#", "Ada"], ["#", "Bob"]],
    ),
    "words with features, as wide as comments": (
        "# SYM Abbr=Yes O\nAda PROPN Number=Sing B-PER\n\n#Paris PROPN Number=Sing B-LOC\n",
        [["#", "Ada"], ["#Paris"]],
    ),
    "a rare tag of its own": (
        "# SYM\nAda NOUN\n\nBob NOUN\nran VERB\n\n# SYM\nsat VERB\n",
        [["#", "Ada"], ["Bob", "ran"], ["#", "sat"]],
    ),
    "tabs": (
        "#\tO\nAda\tB-PER\n\n# id 7\tx=y\nBob\tB-PER\nran\tO\n",
        [["#", "Ada"], ["Bob", "ran"]],
    ),
    "hashtags": (
        "#Paris B-LOC\n#1 O\n\n# newdoc\n#Rome B-LOC\n! O\n",
        [["#Paris", "#1"], ["#Rome", "!"]],
    ),
    "no blank behind the sign": (
        "#sent_id = 1\nAda N B-PER\nran V O\n\n#sent_id = 2\nBob N B-PER\n",
        [["Ada", "ran"], ["Bob"]],
    ),
    "marks of documents": (
        "#begin document (a); part 000\nAda B-PER\nran O\n\n#end document\n",
        [["Ada", "ran"]],
    ),
    "numbers of sentences": (
        "# 1\nAda B-PER\n\n# 2\nBob B-PER\nran O\n",
        [["Ada"], ["Bob", "ran"]],
    ),
    "two comments, Windows": (
        "# newdoc id = x\r\n# sent_id = 1\r\nAda N x B-PER\r\nran V x O\r\n",
        [["Ada", "ran"]],
    ),
    "a byte order mark": ("\ufeff# sent_id = 1\nAda N x B-PER\nran V x O\n", [["Ada", "ran"]]),
    "after a document's mark": (
        "-DOCSTART- -X- -X- O\n\n# sent_id = 1\nAda N x B-PER\nran V x O\n",
        [["Ada", "ran"]],
    ),
}


@pytest.mark.parametrize("name", HASHES)
def test_comment_or_word(name, tmp_path):
    text, words = HASHES[name]
    assert list(SequenceLabelling().read_source(write(tmp_path/"d.conll", text)).words) == words


def test_a_comment_that_was_guessed_is_told(tmp_path, said):
    text = "# new x y\nAda a b B-PER\nran a b O\n"
    SequenceLabelling().read_source(write(tmp_path/"d.conll", text))
    assert "line 1" in (told := said()) and "comment" in told


# --- columns ---

UD = [
    [("Dogs", "NOUN"), ("do", "AUX"), ("n't", "PART"), ("bark", "VERB"), (".", "PUNCT")],
    [("Cats", "NOUN"), ("sleep", "VERB"), (".", "PUNCT")],
]


def test_conll_u_by_form_and_upos(said):
    task = SequenceLabelling()
    assert pairs(task.read(case("s01-conllu-default")), task) == UD
    assert "FORM" in (told := told_once(said)) and "UPOS" in told
    given = SequenceLabelling(word_column=1, tag_column=3)
    assert pairs(given.read(case("s01b-conllu-given")), given) == UD and said() == ""
    assert list(task.read(case("s01c-conllu-predict"), labelled=False).words) == [
        [w for w, _ in s] for s in UD
    ]


def test_conll_u_by_its_ten_columns(tmp_path):
    text = case("s01-conllu-default").read_text(encoding="utf-8")
    empty = text.replace("4\tbark", "3.1\tto\tto\tPART\t_\t_\t_\t_\t_\t_\n4\tbark")
    for name, content in (
        ("d.conll", text),
        ("d.txt", "\ufeff" + text.replace("\n", "\r\n")),
        ("d.conllu", empty),
        ("e.conll", empty),
    ):
        task = SequenceLabelling()
        assert pairs(task.read(write(tmp_path/name, content)), task) == UD
    xpos = SequenceLabelling(tag_column=4).read(write(tmp_path/"d.conllu", text))
    assert xpos.tags[0] == ["NNS", "VBP", "RB", "VB", "."] and xpos.words[0][0] == "Dogs"


def test_conll_u_plus_names_its_columns(tmp_path):
    task = SequenceLabelling()
    path = write(
        tmp_path / "d.conllu",
        "# global.columns = ID FORM UPOS X:Y\n1\tDogs\tNOUN\t_\n2\tbark\tVERB\t_\n",
    )
    assert pairs(task.read(path), task) == [[("Dogs", "NOUN"), ("bark", "VERB")]]


def test_a_column_that_counts_the_words_is_not_the_word(tmp_path, said):
    text = "1 Ada NNP B-PER\n2 met VBD O\n\n1 Bob NNP B-PER\n"
    task, path = SequenceLabelling(), write(tmp_path/"d.conll", text)
    assert pairs(task.read(path), task) == [[("Ada", "B-PER"), ("met", "O")], [("Bob", "B-PER")]]
    assert "counts the words" in said()
    first = SequenceLabelling(word_column=0)
    assert first.read(path).words.tolist() == [["1", "2"], ["1"]]


def test_a_header_is_no_word(tmp_path, said):
    task = SequenceLabelling()
    assert pairs(
        task.read(write(tmp_path / "d.txt", "Token\tTag\nAda\tB-PER\nmet\tO\n")), task
    ) == [[("Ada", "B-PER"), ("met", "O")]]
    assert "header" in said()
    words = task.read_source(write(tmp_path/"d.conll", "word NOUN\nwins VERB\n")).words
    assert list(words) == [["word", "wins"]]  # a word that is called so


def test_a_file_that_is_not_utf_8(tmp_path):
    with pytest.raises(
        DataError, match="d.conll, line 1: This file is not UTF-8; it reads as Latin-1"
    ):
        SequenceLabelling().read(case("s10g-cp1252-conll"))
    task = SequenceLabelling()
    assert pairs(
        task.read_source(case("s10g-cp1252-conll"), encoding="latin-1", delimiter=None), task
    ) == [[("Zo\u00eb", "B-PER"), ("ran", "O")], [("Bob", "B-PER"), ("sat", "O")]]
    wide = write(tmp_path/"d.conll", "Zo\u00eb B-PER\nran O\n".encode("utf-16"))
    assert task.read_source(wide, encoding="utf-16").words.tolist() == [["Zo\u00eb", "ran"]]
    table = write(tmp_path/"d.csv", "words;tags\nZo\u00eb ran;B-PER\n".encode("latin-1"))
    with pytest.raises(DataError, match="d.csv, line 2: 2 words and 1 tag"):
        task.read_source(table, encoding="latin-1", delimiter=";")


# --- a word per row ---

def test_words_per_row_are_joined(said):
    pos = SequenceLabelling(tags="labels")
    assert pairs(pos.read(case("s05c-kaggle-words-as-rows")), pos) == [
        [("Dogs", "NOUN"), ("bark", "VERB")],
        [("Cats", "NOUN"), ("sleep", "VERB")],
    ]
    assert "sentence_id" in told_once(said)
    kaggle = SequenceLabelling(words="Word", tags="Tag")
    assert pairs(kaggle.read(case("s05d-kaggle-bio")), kaggle) == [
        [("Ada", "B-per"), ("ran", "O")],
        [("Bob", "B-per"), ("sat", "O")],
    ]
    assert "'Sentence #'" in told_once(said)
    assert kaggle.read(case("s05d-kaggle-bio"), labelled=False).Word.tolist() == [
        ["Ada", "ran"],
        ["Bob", "sat"],
    ]


def test_a_column_of_sentences_can_be_named(tmp_path, said):
    path = write(
        tmp_path / "d.csv",
        "line,doc,words,tags\n1,x,New York,B-LOC\n1,x,is,O\n2,x,Ada,B-PER\n1,y,Bob,B-PER\n",
    )
    task = SequenceLabelling(sentence="line")
    rows = task.read(path)
    assert pairs(rows, task) == [
        [("New York", "B-LOC"), ("is", "O")], [("Ada", "B-PER")], [("Bob", "B-PER")],
    ]
    assert list(rows.doc) == ["x", "x", "y"]
    assert "come back" in told_once(said)
    with pytest.raises(DataError, match="no column 'lines'.*Did you mean 'line'"):
        SequenceLabelling(sentence="lines").read(path)


def test_nobody_takes_rows_for_sentences_in_silence(tmp_path, said):
    SequenceLabelling().read(write(tmp_path/"d.csv", "words,tags\nAda,B-PER\nran,O\n"))
    assert "every sentence has one word" in said().casefold()
    SequenceLabelling().read(write(tmp_path/"d.csv", "words,tags\nAda ran,B-PER O\nBob,B-PER\n"))
    assert said() == ""


def test_blank_lines_in_a_table_end_sentences(tmp_path):
    task = SequenceLabelling()
    for text in (
        "words,tags\nAda,B-PER\nran,O\n\nBob,B-PER\n",
        "words,tags\nAda,B-PER\nran,O\n,\nBob,B-PER\n",
    ):
        assert pairs(task.read(write(tmp_path / "d.csv", text)), task) == [
            [("Ada", "B-PER"), ("ran", "O")],
            [("Bob", "B-PER")],
        ]


def test_a_table_without_header_and_with_blank_lines(tmp_path):
    task = SequenceLabelling()
    genes = [[("p53", "B-GENE"), ("binds", "O")], [("BRCA1", "B-GENE"), ("is", "O")]]
    text = case("s05-biobert-tsv").read_text()
    for name, content in (
        ("a.tsv", text), ("a.txt", text), ("a.csv", text.replace("\t", ",")),
        ("b.tsv", "\ufeff" + text.replace("\n", "\r\n")),
    ):
        assert pairs(task.read(write(tmp_path/name, content)), task) == genes
    quotes = task.read(write(tmp_path/"q.tsv", '"\tO\np53\tB-GENE\n"\tO\n\nso\tO\n'))
    assert list(quotes.words) == [['"', "p53", '"'], ["so"]]  # a quotation mark is a word
    with pytest.raises(DataError, match="no column 'words'"):
        task.read(write(tmp_path / "c.tsv", "p53\tB-GENE\nbinds\tO\n"))


def test_a_word_per_row_names_the_line(tmp_path):
    path = write(
        tmp_path / "d.csv",
        "sentence_id,words,tags\n0,Ada,B-PER\n0,ran,X\n0,to,O\n1,Rome,B-LOC\n1,now,O\n",
    )
    with pytest.raises(DataError, match="d.csv, line 3: 'X' is no tag"):
        SequenceLabelling().read(path)


def test_names_of_columns_of_sentences():
    for name in (
        "sentence_id", "Sentence #", "sent", "sent_id", "SentenceIdx", "sentence",
        "Sentence no.",
    ):
        assert sentence_column(["words", name]) == name
    assert sentence_column(["words", "tags", "sentiment", "sentences", "id"]) is None


# --- tags that are numbers ---

def test_numbers_are_told(said):
    for name in ("s06-hf-int-tags", "s06b-hf-parquet"):
        task = SequenceLabelling(words="tokens", tags="ner_tags")
        rows = task.read(case(name))
        told = told_once(said)
        assert "numbers" in told
        assert "no entities" in told
        assert "--tag-names" in told
        assert task.learn(rows).plain


@pytest.mark.parametrize(
    "names", ["O,B-PER,I-PER,B-LOC,I-LOC", ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]]
)
def test_numbers_get_their_names(names, said):
    for name in ("s06-hf-int-tags", "s06b-hf-parquet"):
        task = SequenceLabelling(words="tokens", tags="ner_tags", tag_names=names)
        rows = task.read(case(name))
        assert pairs(rows, task)[:2] == [
            [("Ada", "B-PER"), ("ran", "O")],
            [("Marie", "B-PER"), ("Curie", "I-PER"), ("ran", "O")],
        ]
        known = task.learn(rows)
        assert known.labels == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
        assert known.metric == ("f1", "max")
        assert said() == ""


def test_a_number_without_a_name_is_refused():
    task = SequenceLabelling(words="tokens", tags="ner_tags", tag_names="O,B-PER")
    with pytest.raises(
        DataError, match="d.jsonl, line 2: the tag 2 has no name: there are 2 names, for 0 to 1"
    ):
        task.read(case("s06-hf-int-tags"))
    with pytest.raises(DataError, match="tag_names"):
        SequenceLabelling(tag_names="O,,B-PER")


FEATURES = {
    "List": {
        "feature": {"names": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], "_type": "ClassLabel"},
        "_type": "List",
    },
    "Sequence": {
        "feature": {"names": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], "_type": "ClassLabel"},
        "length": -1,
        "_type": "Sequence",
    },
    "a list": [{"names": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], "_type": "ClassLabel"}],
    "without names": {"feature": {"dtype": "int64", "_type": "Value"}, "_type": "List"},
    "not what it should be": {"feature": {"names": 5, "_type": "ClassLabel"}, "_type": "List"},
}


@pytest.mark.parametrize("kind", FEATURES)
def test_parquet_declares_its_names(kind, tmp_path):
    notes = {"huggingface": json.dumps({"info": {"features": {"ner_tags": FEATURES[kind]}}})}
    table = pa.table(
        {"tokens": [["Ada", "ran"], ["Bob"]], "ner_tags": [[1, 0], [1]]}
    ).replace_schema_metadata(notes)
    pq.write_table(table, tmp_path/"d.parquet")
    task = SequenceLabelling(words="tokens", tags="ner_tags")
    rows = task.read(tmp_path/"d.parquet")
    if kind in ("without names", "not what it should be"):
        assert list(rows.ner_tags) == [["1", "0"], ["1"]]
    else:
        assert list(rows.ner_tags) == [["B-PER", "O"], ["B-PER"]]
        parts = split(rows, valid_size=1, certify_size=0, seed=1)
        # those that the file declares
        assert task.learn(parts.train).labels == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


def test_declared_names_are_remembered(tmp_path):
    "So numbers in another file, which declares nothing, mean the same."
    notes = {"huggingface": json.dumps({"info": {"features": {"tags": FEATURES["List"]}}})}
    table = pa.table(
        {"words": [["Ada", "ran"], ["Bob"]], "tags": [[1, 0], [1]]}
    ).replace_schema_metadata(notes)
    pq.write_table(table, tmp_path/"d.parquet")
    task = SequenceLabelling()
    known = task.learn(task.read(tmp_path/"d.parquet"))
    assert list(known.read([{"words": ["Rome"], "tags": [3]}]).tags) == [["B-LOC"]]
    with pytest.raises(DataError, match="the tag -100 has no name"):
        known.read([{"words": ["Rome"], "tags": [-100]}])


def test_plain_names_keep_their_numbers():
    rows = [{"words": ["Dogs", "bark"], "tags": [2, 1]}, {"words": ["Cats"], "tags": ["2"]}]
    task = SequenceLabelling(tag_names="ADJ, VERB, NOUN")
    table = task.read(rows)
    assert list(table.tags) == [["NOUN", "VERB"], ["NOUN"]]
    assert task.learn(table).labels == ["ADJ", "VERB", "NOUN"]


# --- lists in cells ---

def test_lists_without_commas_are_lists():
    task = SequenceLabelling()
    assert pairs(task.read(case("s09b-numpy-repr-csv")), task) == [
        [("Ada", "B-PER"), ("ran", "O"), ("home", "O")],
        [("Bob", "B-PER"), ("sat", "O")],
    ]


@pytest.mark.parametrize(
    "text, words",
    [
        ("['Ada' 'ran']", ["Ada", "ran"]), ("[\"don't\" 'go']", ["don't", "go"]),
        ("['New York'\n 'is']", ["New York", "is"]), ("[1 0]", ["1", "0"]),
        ("[0 1\n 2]", ["0", "1", "2"]), ("['Ada']", ["Ada"]),
        ("['Ada', 'ran']", ["Ada", "ran"]), ('["Ada", "ran"]', ["Ada", "ran"]),
        ("('Ada', 'ran')", ["Ada", "ran"]), ("[]", []), ("['a, b', 'c']", ["a, b", "c"]),
        ("['a' 'b, c']", ["a", "b, c"]), ("[sic] he said", ["[sic]", "he", "said"]),
        ("[ he said ]", ["[", "he", "said", "]"]), ("Ada ran", ["Ada", "ran"]),
        ("' '", ["'", "'"]),
    ],
)
def test_every_way_of_writing_a_list(text, words):
    assert list_cell(text) == words


@pytest.mark.parametrize(
    "text",
    [
        "['Ada' 'ran', 'home']", "['Ada' 'ran' ... 'home']",
        "array(['Ada', 'ran'], dtype=object)", "['Ada', 'ran' 'home']", "['Ada', ran]",
    ],
)
def test_a_list_is_never_glued(text):
    with pytest.raises(DataError, match="no list"):
        list_cell(text)


# --- from a file to a model ---

FITS = {
    "e01-bilou-fit": ("f1", []), "e02-bare-bio-fit": ("f1", []),
    "e03-comment-ner-fit": ("f1", []), "e04-conllu-fit": ("accuracy", []),
    "e06-int-tags-fit": ("accuracy", ["--words", "tokens", "--tags", "ner_tags"]),
    "e07-word-rows-fit": ("f1", ["--tags", "labels"]),
}


def typed(*argv):
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in argv])
    return end.value.code


@pytest.mark.parametrize("name", FITS)
def test_files_train_models(name, tiny, tmp_path, said):
    metric, flags = FITS[name]
    run = tmp_path/"run"
    assert typed(
        "fine-tune", case(name), "--task", "sequence-labelling", *flags, "--model",
        tiny("bert"), "--epochs", 1, "--out", run,
    ) in (0, None), said()
    tuner = FineTuner.load(run)
    assert tuner.task.metric == (metric, "max")
    if name == "e06-int-tags-fit": assert "--tag-names" in said()
    if name == "e04-conllu-fit":
        assert set(tuner.predict(["Dogs bark ."])[0].value["tags"]) <= {"NOUN", "VERB", "PUNCT"}
    kept = tuner.task.read(run/"certify.csv")  # what was kept aside comes back
    assert len(kept) == 2 and set(tuner.evaluate(kept).metrics) >= {metric}
    answers = tuner.predict(case(name))  # of the file itself
    assert len(answers) == 12
    assert metric != "f1" or {t[:2] for p in answers.prediction for t in p["tags"]} <= {
        "O", "B-", "I-",
    }


def test_numbers_with_names_train_entities(tiny, tmp_path, said):
    flags = ["--words", "tokens", "--tags", "ner_tags", "--tag-names", "O,B-PER,I-PER"]
    assert typed(
        "fine-tune", case("e06-int-tags-fit"), "--task", "sequence-labelling", *flags,
        "--model", tiny("bert"), "--epochs", 1, "--out", tmp_path / "run",
    ) in (0, None), said()
    tuner = FineTuner.load(tmp_path/"run")
    assert tuner.task.labels == ["O", "B-PER", "I-PER"]
    assert tuner.task.tag_names == ["O", "B-PER", "I-PER"]
    assert tuner.evaluate(tuner.task.read(case("e06-int-tags-fit"))).metrics["f1"] >= 0


def test_a_file_in_columns_is_read_whole(tmp_path):
    rows, lines, told = read_conll(write(tmp_path/"d.conll", "Ada B-PER\n\n\nBob B-PER\n"))
    assert rows.to_dict("list") == {"words": [["Ada"], ["Bob"]], "tags": [["B-PER"], ["B-PER"]]}
    assert lines == [[1], [4]]
    assert told == []
    assert len(read_table([{"a": 1}])) == 1
