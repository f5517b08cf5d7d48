"""Words, tags and spans:

formats, alignment, what is cut off, windows, offsets, and four architectures that learn eight
sentences by heart.
"""
import html
import io
import json
import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import regex
import strategies
import torch
from cases import CASES
from conftest import gradient_of
from tiny_models import SENTENCES
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, IOE2, Entities
from sklearn.metrics import accuracy_score
from transformers import pipeline

from sft_nb.all import DataError, FineTuner, Recipe, SequenceLabelling, split
from sft_nb.training.baselines import ladder
from sft_nb.batches.batching import Examples, cut
from sft_nb.data.hashes import check_duplicates, row_hashes
from sft_nb.data.table_facts import about
from sft_nb.data.table_reader import read_table
from sft_nb.evaluation.judging import evaluate
from sft_nb.models.loading import load, quiet
from sft_nb.batches.packing import packer
from sft_nb.task import Prediction, SFTError
from sft_nb.tasks.tagging.entity_figures import UNSEEN, entity_f1
from sft_nb.tasks.tagging.showing import html_spans, plain_spans
from sft_nb.tasks.tagging.word_pieces import best_window, windows, word_pieces
from sft_nb.tasks.tagging.schemes import (
    SCHEMES, entities, guess_scheme, may_follow, to_iob2, wrong_tag,
)
from sft_nb.tasks.tagging.spans import locate, spans_to_tags, split_words, tags_to_spans
from sft_nb.training.gradient import effective_gradient
from tag_schemes import from_iob2

FOUR = ["bert", "roberta", "modernbert", "deberta-v2"]
BY_HEART = Recipe(
    epochs=60, learning_rate=3e-3, batch_size=8, dropout=0.0, schedule="linear", keep_best=False
)
THINGS = {
    "film", "plot", "jokes", "scene", "noise", "idea", "cast", "music", "sequel", "money",
    "evening",
}
PEOPLE = {"i", "you", "nobody"}


def tagged():
    "The eight sentences with made-up entities: a thing with the word before it, or somebody."
    words = [s.split() for s in SENTENCES]
    tags = [
        [
            "B-WHO"
            if w in PEOPLE
            else "B-THING"
            if i + 1 < len(row) and row[i + 1] in THINGS
            else "I-THING"
            if w in THINGS
            else "O"
            for i, w in enumerate(row)
        ]
        for row in words
    ]
    tags = [
        [
            "B" + t[1:] if t[0] == "I" and before[1:] != t[1:] else t
            for before, t in pairwise(["O", *row])
        ]
        for row in tags
    ]
    return pd.DataFrame({"words": words, "tags": tags})


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def tables(path, **settings):
    return SequenceLabelling(**settings).read(path)[["words", "tags"]].to_dict("list")


# --- reading: the same rows from every format ---

SAME = {
    "words": [["Ada", "met", "Mary", "Shelley"], ["in", "Rome", "."]],
    "tags": [["B-PER", "O", "B-PER", "I-PER"], ["O", "B-LOC", "O"]],
}
FILES = {
    "columns, blanks": (
        "a.conll",
        "Ada B-PER\nmet O\nMary B-PER\nShelley I-PER\n\nin O\nRome B-LOC\n. O\n",
        {},
    ),
    "columns, tabs, Windows line ends, no end": (
        "a.iob",
        "Ada\tB-PER\r\nmet\tO\r\nMary\tB-PER\r\nShelley\tI-PER\r\n\r\n\r\n"
        "in\tO\r\nRome\tB-LOC\r\n.\tO",
        {},
    ),
    "a byte order mark, documents, comments": (
        "a.txt",
        "\ufeff-DOCSTART- -X- O\n\n# a comment here, longer\nAda x B-PER\nmet x O\nMary x "
        "B-PER\nShelley x I-PER\n\n-DOCSTART- -X- O\n\nin x O\nRome x B-LOC\n. x O\n",
        {},
    ),
    "four columns in IOB1": (
        "a.bio",
        "1 Ada NNP I-PER\n2 met VB O\n3 Mary NNP I-PER\n4 Shelley NNP I-PER\n\n1 in IN O\n2 Rome "
        "NNP I-LOC\n3 . . O\n",
        {"word_column": 1},
    ),
    "the tag first, in BIOES": (
        "a.conll",
        "S-PER Ada\nO met\nB-PER Mary\nE-PER Shelley\n\nO in\nS-LOC Rome\nO .\n",
        {"word_column": 1, "tag_column": 0},
    ),
    "CoNLL-U": (
        "a.conllu",
        "# sent_id = "
        "1\n1-2\tAdamet\t_\n1\tAda\tB-PER\n2\tmet\tO\n3\tMary\tB-PER\n4\tShelley\tI-PER\n\n# text "
        "= in Rome.\n1\tin\tO\n2\tRome\tB-LOC\n2.1\tx\tO\n3\t.\tO\n",
        {"word_column": 1},
    ),
    "CSV, blanks": (
        "a.csv",
        "words,tags\nAda met Mary Shelley,B-PER O B-PER I-PER\nin Rome .,O B-LOC O\n",
        {},
    ),
    "CSV, JSON": (
        "a.csv",
        'words,tags\n"[""Ada"", ""met"", ""Mary"", ""Shelley""]","[""B-PER"", ""O"", ""B-PER"", '
        '""I-PER""]"\n"[""in"", ""Rome"", "".""]","[""O"", ""B-LOC"", ""O""]"\n',
        {},
    ),
    "TSV, Python's lists, other names": (
        "a.tsv",
        "tokens\tner\n['Ada', 'met', 'Mary', 'Shelley']\t['B-PER', 'O', 'B-PER', 'I-PER']\n['in', "
        "'Rome', '.']\t['O', 'B-LOC', 'O']\n",
        {"words": "tokens", "tags": "ner"},
    ),
    "JSONL, spans": (
        "a.jsonl",
        '{"text": "Ada met Mary Shelley", "spans": [{"start": 8, "end": 20, "label": "PER"}, '
        '{"start": 0, "end": 3, "label": "PER"}]}\n{"text": "in Rome.", "spans": [[3, 7, '
        '"LOC"]]}\n',
        {},
    ),
    "JSONL, words and spans": (
        "a.jsonl",
        '{"words": ["Ada", "met", "Mary", "Shelley"], "text": "Ada  met Mary\\tShelley", "spans": '
        '[[0, 3, "PER"], [9, 21, "PER"]]}\n{"text": "in Rome.", "spans": [[3, 7, "LOC"]]}\n',
        {},
    ),
    "JSONL, lists": (
        "a.jsonl",
        "\n".join(json.dumps({k: v[i] for k, v in SAME.items()}) for i in range(2)),
        {},
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_same_rows_from_every_file(kind, tmp_path):
    name, text, settings = FILES[kind]
    rows = SequenceLabelling(**settings).read(write(tmp_path/name, text))
    task = SequenceLabelling(**settings)
    assert {"words": list(rows[task.words]), "tags": list(rows[task.tags])} == SAME
    # reading twice changes nothing
    assert (
        about(rows).target == task.tags and task.read(rows)[task.tags].tolist() == SAME["tags"]
    )


def test_parquet_and_back_through_every_writer(tmp_path):
    from sft_nb.data.table_writer import TABLE_WRITERS
    for suffix, writer in TABLE_WRITERS.items():
        writer(pd.DataFrame(SAME), tmp_path/f"a{suffix}")
        assert tables(tmp_path/f"a{suffix}") == SAME


def test_the_table_is_an_ordinary_one(tmp_path):
    rows = SequenceLabelling().read(
        pd.concat([tagged()] * 5, ignore_index=True).assign(n=range(40))
    )
    parts = split(rows, valid_size=8, certify_size=8, seed=1)
    assert [len(r) for r in parts.roles.values()] == [24, 8, 8]
    assert len(check_duplicates(rows, ["words"], ["tags"])) == 1
    assert row_hashes(rows, ["words"])[:8] == row_hashes(rows, ["words"])[8:16]
    rows.to_parquet(tmp_path/"a.parquet")
    assert row_hashes(read_table(tmp_path / "a.parquet"), ["words", "tags"]) == row_hashes(
        rows, ["words", "tags"]
    )


def test_rows_without_tags_are_left_out_and_named(tmp_path, said):
    path = write(
        tmp_path / "a.jsonl",
        '{"text": "Ada", "spans": [[0, 3, "PER"]]}\n{"text": " ", "spans": []}\n{"text": "Bob '
        'and"}\n{"text": "so it is", "spans": []}\n',
    )
    rows = SequenceLabelling().read(path)
    assert rows.words.tolist() == [["Ada"], ["so", "it", "is"]] and "rows 1 and 2" in said()
    assert SequenceLabelling().learn(rows).labels == ["O", "B-PER", "I-PER"]


def test_rows_to_predict_need_no_tags(tmp_path):
    bad = write(tmp_path/"a.conll", "Ada I-PER\nmet X\nso B-PER\nit B-PER\n")
    assert SequenceLabelling().read(bad, labelled=False).words.tolist() == [
        ["Ada", "met", "so", "it"]
    ]
    assert SequenceLabelling().read(
        write(tmp_path / "b.conll", "Ada\nmet\n\nBob\n"), labelled=False
    ).words.tolist() == [["Ada", "met"], ["Bob"]]


# --- schemes against seqeval ---

# seqeval's IOE1 says of itself that it is not complete
THEIRS = {"IOB1": IOB1, "IOB2": IOB2, "IOE2": IOE2, "BIOES": IOBES, "BILOU": BILOU}


def by_seqeval(tags, scheme):
    return [(e.tag, e.start, e.end) for e in Entities([tags], THEIRS[scheme]).entities[0]]


@given(strategies.tags("BI", most=6))
def test_entities_are_seqevals_also_where_they_are_ungrammatical(tags):
    assert entities(tags) == by_seqeval(tags, "IOB2")


@given(st.sampled_from(list(THEIRS)), strategies.sentences())
def test_entities_are_seqevals_in_every_scheme(scheme, good):
    tags = from_iob2(good, scheme)
    assert entities(tags if scheme == "IOB2" else to_iob2(tags, scheme)) == entities(good)
    assert by_seqeval(tags, scheme) == entities(good)


@given(st.sampled_from(list(SCHEMES)), strategies.sentences())
def test_what_is_written_in_a_scheme_is_read_back(scheme, good):
    tags = from_iob2(good, scheme)
    assert wrong_tag(tags, scheme) is None
    assert to_iob2(tags, scheme) == good


@settings(max_examples=300)
@given(st.sampled_from(list(SCHEMES)), st.data())
def test_a_sequence_is_refused_where_nobody_would_write_it(scheme, data):
    "Grammatical is exactly what some IOB2 sequence is written as."
    tags = data.draw(strategies.tags(SCHEMES[scheme], least=1, most=4, kinds="xy"))
    read = to_iob2(tags, scheme)
    rewritten = from_iob2(read, scheme) if wrong_tag(read, "IOB2") is None else None
    assert (wrong_tag(tags, scheme) is None) == (rewritten == tags), tags


def test_guessing():
    assert (
        guess_scheme([["O"], ["NOUN"]]) == guess_scheme([]) == guess_scheme([["O", "O"]]) == "plain"
    )
    assert guess_scheme([["I-a", "B-a"], ["O", "I-b"]]) == "IOB1"
    assert guess_scheme([["B-a", "B-a"]]) == "IOB2"
    assert guess_scheme([["S-a"]]) == "BIOES"
    assert not may_follow("O", "I-a", "IOB2") and may_follow("O", "I-a", "IOB1")


# --- offsets ---

SIGNS = [
    "a", "é", "e\u0301", "👩‍🚀", "👍🏽", "🇯🇵", "京都", "カﾞ", "한국", "न\u093f", " ", "\n", "_9",
    "1️⃣", "-", "<b>", "ไทย", "\u200d", "\ufe0f", "😀", "don't", "[UNK]", "مي\u200cخو",
]


TEXTS = st.lists(st.sampled_from(SIGNS), min_size=1, max_size=14).map("".join)


@settings(max_examples=300)
@given(TEXTS, st.sampled_from(["word", "character"]), st.data())
def test_offsets_round_trip(text, unit, data):
    places = split_words(text, unit)
    borders = {m.start() for m in regex.finditer(r"\X", text)} | {len(text)}
    assert {side for place in places for side in place} <= borders
    words = [text[a:b] for a, b in places]
    assert all(words) and locate(words, text) == places
    n = len(words)
    tags = data.draw(strategies.sentences(least=n, most=n, kinds="xy"))
    spans = tags_to_spans(tags, places, text)
    assert spans_to_tags(text, spans, places) == tags
    assert all(text[s["start"]:s["end"]] == s["text"] for s in spans)


def test_words_of_every_sign_are_found():
    "All but blanks and line ends stand in some word; a joiner alone belongs to the sign before it."
    text = " ".join(sign for sign in SIGNS if sign not in ("\u200d", "\ufe0f"))
    found = "".join(text[a:b] for a, b in split_words(text))
    assert found == "".join(text.split())


def test_spans_at_any_wrong_place_are_refused():
    "Of all pairs of numbers exactly those on borders of words are taken."
    text = "José's 👩‍🚀 é 東京 x"
    places = split_words(text)
    starts, ends = {a for a, _ in places}, {b for _, b in places}
    for a in range(-2, len(text) + 3):
        for b in range(-2, len(text) + 3):
            try:
                tags = spans_to_tags(text, [[a, b, "X"]], places)
            except DataError:
                assert not (a < b and a in starts and b in ends)
                continue
            assert a in starts
            assert b in ends
            assert a < b
            assert tags_to_spans(tags, places, text)[0]["start"] == a


# --- alignment ---

WORDS = ["the", "plot", "wojtyla", "é", "\u200d", "東", "😀", "don't", "and", "a"]


@pytest.mark.parametrize("name", [*FOUR, "gpt2", "distilbert"])
def test_every_word_has_its_pieces(tiny, name):
    _, processor = load(tiny(name), "token-classification", num_labels=3)
    pieces = word_pieces([WORDS, ["stop"], []], processor)
    assert [len(p) for p in pieces] == [10, 1, 0] and all(pieces[0])
    # words that a blank alone separates: the pieces are those of the text
    plain = ["the", "plot", "is", "dull"]
    assert [t for p in word_pieces([plain], processor)[0] for t in p] == processor(
        " ".join(plain), add_special_tokens=False
    )["input_ids"]


@pytest.mark.parametrize("name", ["roberta", "modernbert", "gpt2"])
def test_blanks_of_byte_level_tokenizers(tiny, name):
    "As with the tokenizer's own add_prefix_space, after the first word; and not as without."
    _, processor = load(tiny(name), "token-classification", num_labels=3)
    words = ["the", "plot", "is", "dull"]
    ours = word_pieces([words], processor)[0]
    bare = processor(words, is_split_into_words=True, add_special_tokens=False)["input_ids"]
    processor.backend_tokenizer.pre_tokenizer.add_prefix_space = True
    theirs = processor(words, is_split_into_words=True, add_special_tokens=False)
    by_word = [[], [], [], []]
    for token, word in zip(theirs["input_ids"], theirs.word_ids(), strict=True):
        by_word[word].append(token)
    assert ours[1:] == by_word[1:] and sum(ours, []) != bare
    assert word_pieces([words], processor)[0] == by_word  # whoever has set it gets it


@pytest.mark.parametrize("name", FOUR)
@pytest.mark.parametrize("pieces", ["first", "all", "none"])
def test_which_pieces_are_asked(tiny, name, pieces):
    rows = pd.DataFrame(
        {"words": [WORDS], "tags": [["O", "B-x", "I-x", "O", "B-y", "B-y", "I-y", "B-x", "O", "O"]]}
    )
    task = SequenceLabelling(pieces=pieces).learn(rows)
    _, processor = task.build(str(tiny(name)))
    example = task.encode_all(rows, processor)[0]
    many = [len(p) for p in word_pieces([WORDS], processor)[0]]
    asked = {w: [] for w in range(10)}
    word = -1
    for place, label in zip(example["place"][1:-1], example["asked"][1:-1], strict=True):
        word = max(word, place)
        asked[word].append(task.labels[label] if label >= 0 else "")
    assert max(many) > 1
    assert [len(asked[w]) for w in range(10)] == many
    assert [p for p in example["place"] if p >= 0] == list(range(10))
    for w, tag in enumerate(rows.tags[0]):
        first = tag if pieces != "none" or many[w] == 1 else ""
        later = "O" if tag == "O" else "I" + tag[1:]
        if pieces != "all": later = ""
        assert asked[w] == [first] + [later] * (many[w] - 1)


def test_our_frame_is_the_tokenizers(tiny):
    for name in [*FOUR, "gpt2"]:
        task = SequenceLabelling().learn(tagged())
        _, processor = task.build(str(tiny(name)))
        for row in tagged().to_dict("records"):
            whole = processor(" ".join(row["words"]))["input_ids"]
            assert task.encode(row, processor)["input_ids"] == whole
            short = replace(task, max_length=12)
            assert (
                short.encode(row, processor)["input_ids"]
                == processor(" ".join(row["words"]), truncation=True, max_length=12)["input_ids"]
            )


# --- too long ---

def room_left(i, window, n):
    "Words to the nearer end of a window that is not an end of the sentence."
    begin, end = window
    return min(i - begin if begin else n, end - 1 - i if end < n else n)


def test_windows_are_the_tokenizers(tiny):
    _, processor = load(tiny("bert"), "token-classification", num_labels=2)
    for n in (1, 5, 9, 10, 11, 23, 40):
        for room, stride in ((5, 0), (5, 2), (9, 6), (10, 3)):
            theirs = processor(
                ["a"] * n, is_split_into_words=True, add_special_tokens=False, truncation=True,
                max_length=room, stride=stride, return_overflowing_tokens=True,
            )["input_ids"]
            ours = windows(n, room, stride)
            assert [b - a for a, b in ours] == list(map(len, theirs))
            assert {i for a, b in ours for i in range(a, b)} == set(range(n))
            for i in range(n):
                chosen = ours[best_window(i, ours, n)]
                around = [window for window in ours if window[0] <= i < window[1]]
                most = max(room_left(i, window, n) for window in around)
                assert chosen in around and room_left(i, chosen, n) == most


class Oracle(torch.nn.Module):
    "Knows the tag of every word by its first piece's id."
    def __init__(self, answers, classes):
        super().__init__()
        self.answers, self.classes, self.p = answers, classes, torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids, attention_mask):
        from transformers.modeling_outputs import TokenClassifierOutput
        best = torch.tensor([[self.answers.get(t, 0) for t in row] for row in input_ids.tolist()])
        return TokenClassifierOutput(
            logits=9.0 * torch.nn.functional.one_hot(best, self.classes) + self.p
        )


@pytest.fixture
def oracle(tiny):
    "A task of long rows, a processor, and a model that is right wherever it is asked."
    rng = random.Random(4)
    words = [[rng.choice("a e i o u n s t".split()) for _ in range(n)] for n in (3, 40, 100, 1)]
    rows = pd.DataFrame(
        {"words": words, "tags": [["B-V" if w in "aeiou" else "O" for w in row] for row in words]}
    )
    task = SequenceLabelling(max_length=20).learn(rows)
    _, processor = task.build(str(tiny("bert")))
    return (
        rows, task, processor,
        Oracle(
            {
                processor.convert_tokens_to_ids(w): task.labels.index(
                    "B-V" if w in "aeiou" else "O"
                )
                for w in "aeionstu"
            },
            len(task.labels),
        ),
    )


def test_words_after_the_cut_count_as_errors(oracle):
    rows, task, processor, model = oracle
    result = evaluate(task, model, processor, rows)
    for p, words in zip(result.predictions, rows.words, strict=True):
        tags = p.value["tags"]
        assert tags[:18] == ["B-V" if w in "aeiou" else "O" for w in words[:18]]
        assert tags[18:] == [UNSEEN] * len(words[18:])
    assert [p.score for p in result.predictions][1:3] == [0.0, 0.0]
    seen = 3 + 18 + 18 + 1
    # the O among the unseen are not right either
    assert result.metrics["token_accuracy"] == pytest.approx(seen / 144)
    found = sum(len(entities(t[:18])) for t in rows.tags)
    there = sum(len(entities(t)) for t in rows.tags)
    assert result.metrics["recall"] == pytest.approx(found / there)
    assert result.metrics["precision"] == 1.0
    warning, = task.check_lengths(rows, processor)
    assert "2 of 4 rows are longer than the 20 tokens" in warning.message
    assert f"{144 - seen} words" in warning.message
    assert "stride" in warning.message
    assert [
        f.message
        for f in task.check_lengths(rows, processor, Examples(task, rows, processor).lengths)
    ] == [warning.message]


@pytest.mark.parametrize("stride", [0, 1, 9, 17])
def test_windows_read_every_word_once(oracle, stride):
    rows, task, processor, model = oracle
    task = replace(task, stride=stride)
    examples = task.encode_all(rows, processor)
    for e, words in zip(examples, rows.words, strict=True):
        assert sorted(p for p in e["place"] if p >= 0) == list(range(len(words)))
        assert sum(a >= 0 for a in e["asked"]) == len(words)
        assert max(e["windows"]) <= 20 and sum(e["windows"]) == len(e["input_ids"])
    batch = task.collate(list(examples), processor)
    assert len(batch) == 4 < len(batch.inputs["input_ids"]) and task.weigh(batch) == {"loss": 144.0}
    for size in (1, 3, 64):
        result = evaluate(task, model, processor, rows, batch_size=size)
        assert result.metrics["f1"] == result.metrics["token_accuracy"] == 1.0
        assert [p.value["tags"] for p in result.predictions] == rows.tags.tolist()
    assert task.check_lengths(rows, processor) == []


def test_a_stride_as_wide_as_the_window_is_refused(oracle):
    rows, task, processor, _ = oracle
    with pytest.raises(DataError, match="stride=18, but a window holds 18 pieces"):
        replace(task, stride=18).encode_all(rows, processor)


def test_training_in_windows_learns_what_a_cut_hides(tiny):
    "The tag of a word far behind is learned with windows alone."
    rows = pd.concat(
        [
            pd.DataFrame(
                {
                    "words": [["a"] * 16 + ["funny"], ["the"] * 16 + ["dull"]],
                    "tags": [["O"] * 16 + ["B-X"], ["O"] * 16 + ["B-Y"]],
                }
            )
        ]
        * 4,
        ignore_index=True,
    )
    ends = {}
    for stride in (None, 4):
        tuner = FineTuner(
            SequenceLabelling(max_length=12, stride=stride), tiny("bert"), BY_HEART.but(epochs=25)
        ).fit(rows)
        ends[stride] = tuner.evaluate(rows).metrics["f1"]
    assert ends == {None: 0.0, 4: 1.0}


def test_frozen_blocks_and_windows(tiny):
    "Several windows a row: nothing is taken from the cache of states, and the run is the same."
    rows = tagged()
    runs = []
    for shortcuts in (FineTuner.shortcuts, ()):
        tuner = FineTuner(
            SequenceLabelling(max_length=12, stride=3),
            tiny("bert"),
            BY_HEART.but(epochs=2, unfreeze_last=1, precision="fp32"),
        )
        tuner.shortcuts = shortcuts
        runs.append(tuner.fit(rows))
        if shortcuts: assert "states" not in tuner.run.quick.used
    np.testing.assert_allclose(*[[s["loss"] for s in t.history.steps] for t in runs], rtol=1e-4)


def test_frozen_blocks_without_windows_use_the_cache(tiny):
    tuner = FineTuner(
        SequenceLabelling(), tiny("bert"), BY_HEART.but(epochs=2, unfreeze_last=1, precision="fp32")
    ).fit(tagged())
    plain = FineTuner(
        SequenceLabelling(), tiny("bert"), BY_HEART.but(epochs=2, unfreeze_last=1, precision="fp32")
    )
    plain.shortcuts = ()
    np.testing.assert_allclose(
        *[[s["loss"] for s in t.history.steps] for t in (tuner, plain.fit(tagged()))], rtol=1e-4
    )
    assert "states" in tuner.run.quick.used


# --- loss and packing ---

@pytest.mark.parametrize("name", FOUR)
def test_loss_is_the_librarys(tiny, name):
    task = SequenceLabelling().learn(tagged())
    model, processor = task.build(str(tiny(name)))
    batch = task.collate(list(task.encode_all(tagged(), processor)), processor)
    with torch.no_grad():
        out = model(**batch.inputs, labels=batch.targets["labels"])
    words = sum(map(len, tagged().words))
    assert task.weigh(batch) == {"loss": words}
    assert (task.loss(out, batch)["loss"] / words).item() == pytest.approx(
        out.loss.item(), rel=1e-6
    )


@pytest.mark.parametrize(
    "name",
    [
        n
        for n, c in CASES.items()
        if isinstance(c.task, SequenceLabelling) and c.checkpoint != "deberta-v2"
    ],
)
def test_packed_and_cut_the_gradient_is_one(name, tiny):
    task, model, processor = CASES[name].begin(tiny)
    examples = Examples(task, CASES[name].rows, processor)
    into_rows = packer(task, model, examples)
    def gradient(pieces):
        effective_gradient(task, model, pieces)
        return gradient_of(model)
    whole = gradient([examples.batch(range(10))])
    for size in (1, 3, 10):
        pieces = [into_rows(examples.batch(i)) for i in cut(range(10), size)]
        assert ((gradient(pieces) - whole).norm() / whole.norm()).item() <= 1e-6
    assert len(pieces[0].inputs["input_ids"]) < len(examples.batch(range(10)).inputs["input_ids"])


def test_deberta_is_refused_before_training(tiny):
    with pytest.raises(SFTError, match="packing=False"):
        FineTuner(SequenceLabelling(), tiny("deberta-v2"), BY_HEART.but(packing=True)).fit(tagged())


# --- metrics ---

FIVE_TAGS = ["O", "B-x", "I-x", "B-y", "I-y"]


@st.composite
def answered(draw):
    "(said, true): tags of a few sentences, twice."
    sentence = st.lists(st.tuples(*[st.sampled_from(FIVE_TAGS)] * 2), min_size=1, max_size=7)
    both = draw(st.lists(sentence, min_size=1, max_size=4))
    return tuple([[pair[side] for pair in words] for words in both] for side in (0, 1))


@given(answered())
def test_metrics_are_seqevals_and_sklearns(both):
    (said, true), task = both, SequenceLabelling(labels=FIVE_TAGS)
    answers = [Prediction({"tags": t, "spans": []}) for t in said]
    targets = [{"tags": t} for t in true]
    found = task.metrics(answers, targets)
    strict = f1_score(true, said, mode="strict", scheme=IOB2, zero_division=0)
    assert found["f1"] == pytest.approx(strict) == pytest.approx(entity_f1(said, true))
    assert found["f1_lenient"] == pytest.approx(f1_score(true, said, zero_division=0))
    right = accuracy_score(sum(true, []), sum(said, []))
    assert found["token_accuracy"] == pytest.approx(right)
    tables = task.report_tables(answers, targets)
    assert tables["words"].to_numpy().sum() == sum(map(len, true))
    many = sum(len(entities(t)) for t in true)
    assert ("per type" in tables) >= bool(many)
    if many: assert tables["per type"].entities.sum() == many


def test_nothing_to_find():
    task = SequenceLabelling(labels=["O", "B-x", "I-x"])
    answers, targets = [Prediction({"tags": ["O", "O"], "spans": []})], [{"tags": ["O", "O"]}]
    assert task.metrics(answers, targets)["token_accuracy"] == 1.0
    assert task.metrics(answers, targets)["f1"] == 0.0
    assert task.score(answers[0], targets[0]) == 1.0
    assert set(task.report_tables(answers, targets)) == {"words"}
    assert task.plot(answers, targets).axes
    assert task.score(Prediction({"tags": ["B-x", "O"]}), targets[0]) == 0.0


def test_plain_tags():
    rows = pd.DataFrame(
        {
            "words": tagged().words,
            "tags": [["LONG" if len(w) > 4 else "short" for w in row] for row in tagged().words],
        }
    )
    task = SequenceLabelling().learn(rows)
    assert task.metric == ("accuracy", "max")
    assert task.labels == ["LONG", "short"]
    assert SequenceLabelling().metric == ("f1", "max")
    target = task.target(rows.iloc[0].to_dict())
    assert len(target["spans"]) == len(rows.words[0])
    assert (
        task.score(Prediction({"tags": ["LONG"] * 9 + [UNSEEN]}), {"tags": ["LONG", "short"] * 5})
        == 0.5
    )
    result = task.metrics([Prediction(target)], [target])
    assert result == {"accuracy": 1.0, "f1_macro": 1.0}
    assert set(task.report_tables([Prediction(target)], [target])) == {"per tag", "words"}


# --- showing ---

def test_everything_is_escaped():
    bad = "<script>alert('x')</script> & \"you\""
    task = SequenceLabelling(labels=["O", "B-<i>", "I-<i>"])
    page = html_spans(bad, [{"start": 0, "end": 8, "label": "<i>"}])
    assert "<script" not in page
    assert "<i>" not in page
    assert "&lt;script&gt;" in page
    assert "&amp; &#34;you&#34;" in page
    rows = task.read([{"text": bad, "spans": [[0, 8, "<i>"]]}])
    shown = task.show(rows, [task.answer(bad, split_words(bad), ["O"] * len(split_words(bad)))])
    assert "<script" not in shown._repr_html_()
    assert "<i>" not in shown._repr_html_()
    assert repr(shown).startswith("truth: [<script> <i>]alert(")
    assert html.unescape(regex.sub(r"<[^>]*>", "", page)) == "<script> <i>" + bad[8:]
    assert plain_spans("a 😀 b", [{"start": 2, "end": 3, "label": "E"}]) == "a [😀 E] b"


def test_a_label_has_one_colour_everywhere():
    def tints(*labels):
        spans = [{"start": 2 * i, "end": 2 * i + 1, "label": x} for i, x in enumerate(labels)]
        page = html_spans("a b c d", spans)
        return dict(zip(labels, regex.findall("background:(#[0-9A-F]{6})", page), strict=True))
    alone = [tints(label)[label] for label in ("PER", "LOC", "ORG", "MISC")]
    together = tints("MISC", "ORG", "LOC", "PER")
    assert list(together.values()) == alone[::-1]
    assert len(set(alone)) == 4
    assert tints("\ud800")


# --- by heart, saved, loaded ---

@pytest.fixture(scope="module")
def learned(tiny, tmp_path_factory):
    made = {}
    def learn(name):
        if name not in made:
            tuner = FineTuner(SequenceLabelling(), tiny(name), BY_HEART).fit(tagged())
            made[name] = tuner, tuner.save(tmp_path_factory.mktemp("runs")/name)
        return made[name]
    return learn


@pytest.mark.parametrize("name", FOUR)
def test_eight_sentences_by_heart_before_and_after_saving(learned, name):
    tuner, folder = learned(name)
    assert (
        tuner.evaluate(tagged()).metrics["f1"]
        == tuner.evaluate(tagged()).metrics["token_accuracy"]
        == 1.0
    )
    again = FineTuner.load(folder)
    assert [
        p.value["tags"] for p in again.predict(SENTENCES)
    ] == tagged().tags.tolist()  # the plain texts
    assert [
        p.value["tags"] for p in again.predict(tagged().words.tolist())
    ] == tagged().tags.tolist()  # lists of words
    assert again.task == tuner.task and again.evaluate(tagged()).metrics["f1"] == 1.0
    for p, text in zip(again.predict(SENTENCES), SENTENCES, strict=True):
        assert (
            all(text[s["start"] : s["end"]] == s["text"] for s in p.value["spans"])
            and 0 <= p.score <= 1
        )


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_plain_transformers_says_the_same(learned, name):
    tuner, folder = learned(name)
    with quiet():
        theirs = pipeline(
            "token-classification", model=str(folder), device="cpu", aggregation_strategy="first"
        )(SENTENCES)
    assert sum(map(len, theirs)) > 8
    for p, found in zip(tuner.predict(SENTENCES), theirs, strict=True):
        ours = {(s["start"], s["end"], s["label"]) for s in p.value["spans"]}
        assert {(f["start"], f["end"], f["entity_group"]) for f in found} == ours


def test_texts_with_difficult_signs(learned):
    tuner, _ = learned("bert")
    texts = ["the 👩‍🚀 asked for a film", "e\u0301 東京 \u200d\ufe0f", "\t<script> i "]
    for p, text in zip(tuner.predict(texts), texts, strict=True):
        assert len(p.value["tags"]) == len(split_words(text))
        assert all(text[s["start"]:s["end"]] == s["text"] for s in p.value["spans"])
    json.dumps([p.value for p in tuner.predict(texts)])


def test_the_ladder(tiny):
    rows = pd.concat([tagged()] * 3, ignore_index=True)
    climb = ladder(
        SequenceLabelling(), rows, tagged(), tagged(), str(tiny("bert")), BY_HEART.but(epochs=2)
    )
    assert list(climb.evaluations) == [
        "majority", "dictionary", "features", "frozen", "scratch", "fine-tuned",
    ]
    assert climb.evaluations["majority"]["f1"] == 0
    assert climb.evaluations["features"]["f1"] == 1.0
    assert climb.evaluations["frozen"]["f1"] > .5
    assert climb.metric == "f1" and climb.plot().axes
    speech = pd.DataFrame(
        {
            "words": rows.words,
            "tags": [["LONG" if len(w) > 4 else "short" for w in row] for row in rows.words],
        }
    )
    climb = ladder(
        SequenceLabelling(), speech, speech[:8], speech[:8], str(tiny("bert")), BY_HEART,
        rungs=("dictionary", "frozen"),
    )
    assert climb.metric == "accuracy"
    assert climb.evaluations["dictionary"]["accuracy"] == 1.0
    assert climb.plot().axes


# --- typed ---

@pytest.fixture
def file(tmp_path):
    "The sentences three times over, as CoNLL has them."
    def lines(words, tags): return [f"{w} {t}" for w, t in zip(words, tags, strict=True)]
    sentences = ["\n".join(lines(r.words, r.tags)) for r in tagged().itertuples()]
    return write(tmp_path / "data.conll", "\n\n".join(sentences * 3))


@pytest.fixture
def typed_run(tiny, file, tmp_path, sft):
    run = tmp_path / "run"
    out, _ = sft(
        "fine-tune", file, "--task", "sequence-labelling", "--model", tiny("bert"), "--out", run,
        "--epochs", 25, "--learning-rate", 3e-3, "--batch-size", 8, "--stride", 8, "--json",
    )
    assert 0 <= json.loads(out.splitlines()[-1])["valid"]["f1"] <= 1
    return run


def test_typed(typed_run, file, tmp_path, sft):
    run, report, both = typed_run, tmp_path / "report", tmp_path / "both.parquet"
    assert FineTuner.load(run).task.stride == 8
    out, _ = sft("evaluate", run, file, "--json")
    assert {"f1", "token_accuracy"} <= set(json.loads(out.splitlines()[-1])["metrics"])
    sft("evaluate", run, run / "certify.csv", "--out", report)  # lists in a CSV come back
    assert (report / "table_per_type.csv").exists()
    assert (report / "plot.svg").exists()
    sft("predict", run, file, "--out", tmp_path / "answers.jsonl")
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 24 and set(answers[0]["prediction"]) == {"tags", "spans"}
    out, err = sft("predict", run, "--text", "i wanted a film", "--text", "<b> & you")
    table = pd.read_csv(io.StringIO(out))
    assert [set(json.loads(p)) for p in table.prediction] == [{"tags", "spans"}] * 2
    assert list(table.text) == ["i wanted a film", "<b> & you"]
    assert err == ""
    sft("predict", run, file, "--text", "one more", "--out", both)
    assert len(read_table(both)) == 25


def test_help_names_the_settings(sft, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out, _ = sft("fine-tune", "--task", "sequence-labelling", "--help")
    options = (
        "words", "tags", "stride", "tag-column", "scheme", "sentence", "tag-names", "pieces",
        "max-length",
    )
    assert [name for name in options if f"--{name}" not in out] == []
    assert "--labels" not in out
