"""The rows and draws behind published figures: do they agree with the packages that made them?"""
import gzip
import pickle
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from sklearn.feature_extraction.text import TfidfVectorizer
from test_assets import FILES, entry, source, toy
from tiny_models import SENTENCES
from transformers import AutoModel, AutoTokenizer

from sft_nb import assets, register
from sft_nb.data import asset_tables
from sft_nb.labs import ledger_data
from sft_nb.labs.ledger_data import (
    Cell, measured, mteb_draws, probe, published, sentence_vectors, setfit_sample, setfit_split,
    words,
)
from sft_nb.mistakes import AssetError, DataError

TABLE = Path(__file__).parents[1] / "nbs/labs/published.toml"
__all__ = ["toy"]  # a fixture


# --- the draws: what setfit 1.2.0 and mteb 2.26.24 took of these 200 labels ---

LABELS = [int(c) for c in (
    "12100202100000113113001001021100001000200212110112010000203111100000201021022210"
    "02102110000201010000210120110112020120020111100000210020311211020200120211130000"
    "0220101102011000121022212000000101010021"
)]
SPLIT = [  # setfit.data.create_samples(rows, 8, seed=1)
    62, 167, 122, 78, 8, 131, 195, 164, 7, 161, 27, 116, 143, 149, 119, 182, 87, 65, 94,
    187, 179, 98, 144, 92, 16, 19, 58, 136, 155,
]
SAMPLE = [  # setfit.sample_dataset(rows, num_samples=8, seed=1)
    119, 153, 7, 121, 31, 155, 47, 90, 136, 181, 198, 58, 16, 111, 63, 24, 112, 144, 88,
    59, 176, 81, 29, 139, 22, 19, 20, 113, 109,
]
MTEB = [  # the fourth experiment of AbsTaskClassification._undersample_data
    127, 137, 195, 89, 139, 171, 158, 49, 192, 10, 164, 187, 44, 128, 40, 1, 148, 169,
    180, 178, 113, 172, 182, 7, 155, 136, 58, 16, 19,
]


def test_draws_are_those_of_the_packages():
    assert setfit_split(LABELS, 8, 1).tolist() == SPLIT
    assert setfit_sample(LABELS, 8, 1).tolist() == SAMPLE
    assert mteb_draws(LABELS, 8, 4)[3].tolist() == MTEB


def test_a_small_class_gives_all_that_it_has():
    small = {i for i, label in enumerate(LABELS) if label == 3}
    for draw in (setfit_split(LABELS, 8, 5), setfit_sample(LABELS, 8, 5), mteb_draws(LABELS)[7]):
        assert Counter(LABELS[i] for i in draw) == {0: 8, 1: 8, 2: 8, 3: 5}
        assert small <= set(draw.tolist()) and len(set(draw.tolist())) == 29


def test_labels_may_be_texts():
    named = ["abcd"[i] for i in LABELS]
    assert setfit_split(named, 8, 1).tolist() == SPLIT
    assert setfit_sample(pd.Series(named), 8, 1).tolist() == SAMPLE
    assert mteb_draws(named, 8, 4)[3].tolist() == MTEB


# --- vectors and heads ---

def test_a_vector_is_the_mean_of_real_tokens_and_is_kept(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("SFT_NB_HOME", str(tmp_path))
    texts, folder = [*SENTENCES, "", "joy " * 300], tiny("bert")
    found = sentence_vectors(texts, folder, batch_size=4)
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(texts, found, strict=True):
        one = tokenizer(text, truncation=True, return_tensors="pt")
        with torch.no_grad():
            mean = model(**one).last_hidden_state[0].mean(0)
        assert np.allclose(vector, mean / mean.norm(), atol=1e-5)
    monkeypatch.setattr(ledger_data, "_vectors", None)  # nothing is computed again
    assert np.array_equal(sentence_vectors(texts, folder), found)
    with pytest.raises(TypeError):
        sentence_vectors(texts[::-1], folder)


def test_heads_learn_what_is_easy():
    rows = pd.DataFrame({"text": ["good film", "bad film"] * 10, "label": ["up", "down"] * 10})
    assert words(rows, rows) == 1
    x = np.eye(2)[[0, 1] * 10]
    assert probe(x, rows.label, x, rows.label) == 1


# --- the cells ---

def test_the_list_of_cells_is_about_sets_that_we_hold():
    cells = published(TABLE)
    assert {c.data for c in cells} <= set(register.names("dataset"))
    assert all(0 < c.mean <= 100 and c.source for c in cells)
    keys = [(c.data, c.method, c.budget, c.metric) for c in cells]
    assert len(set(keys)) == len(keys)


def test_the_rule():
    spread = Cell("x", "probe", "8 per class", "accuracy", 83.1, "table", sd=2.4, splits=10)
    assert spread.allowed == pytest.approx(2.25, abs=.01)
    assert spread.agrees(81) and not spread.agrees(80.8)
    habit = Cell("x", "words", "1000", "accuracy", 50, "table")
    assert habit.agrees(52) and not habit.agrees(52.1)
    exact = Cell("x", "words", "all", "accuracy", 88.21, "page", exact=True)
    assert exact.agrees(88.213) and not exact.agrees(88.3)


@pytest.mark.parametrize("text", ["not toml", "[[cell]]\nmean = 3", "cell = 3", "[[cell]]\nx = 1"])
def test_a_list_that_is_none(text, tmp_path):
    (tmp_path / "cells.toml").write_text(text)
    with pytest.raises(DataError, match="cells.toml is no list of cells"):
        published(tmp_path / "cells.toml")


def test_words_for_what_is_not_there(tmp_path):
    with pytest.raises(DataError, match="No set is called 'novels'. Known: newsgroups"):
        measured("novels")
    with pytest.raises(DataError, match="at least one"):
        sentence_vectors([])
    with pytest.raises(DataError):
        published(tmp_path / "nowhere.toml")


# --- the readers ---

def test_messages_with_open_quotes(tmp_path):
    (tmp_path / "sms.tsv").write_text('ham\tHe said "no\nspam\t"Win" it\nham\tNA\n')
    rows = asset_tables._messages([tmp_path / "sms.tsv"])
    assert rows.text.tolist() == ['He said "no', '"Win" it', "NA"]
    assert rows.label.tolist() == ["ham", "spam", "ham"]


def test_articles_of_two_encodings(tmp_path):
    (tmp_path / "tech").mkdir()
    for name, coded in ("1", "utf-8"), ("2", "latin-1"):
        (tmp_path / f"tech/{name}.txt").write_bytes("It cost £3.".encode(coded))
    rows = asset_tables._articles(sorted(tmp_path.glob("tech/*.txt")))
    assert rows.text.tolist() == ["It cost £3."] * 2
    assert rows.article.tolist() == ["tech/1", "tech/2"]


def test_clothes(tmp_path):
    for stem, n in ("train", 3), ("t10k", 2):
        head = bytes([0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 28, 0, 0, 0, 28])
        pictures = np.arange(n * 784, dtype=np.uint8).tobytes()
        kinds = bytes([0, 0, 8, 1, 0, 0, 0, n, *range(n)])
        (tmp_path / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + pictures))
        (tmp_path / f"{stem}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(kinds))
    rows = asset_tables._clothes(sorted(tmp_path.iterdir()))
    assert rows.part.tolist() == ["train"] * 3 + ["test"] * 2
    assert rows.label.tolist()[:3] == ["t-shirt", "trouser", "pullover"]
    assert rows.image[1].shape == (28, 28) and rows.image[1][0, 0] == 784 % 256


def test_newsgroups_are_read_and_nothing_is_run(tmp_path):
    from sklearn.utils import Bunch
    def part(text):
        return Bunch(data=[text], target=np.array([1]), target_names=["alt.atheism", "sci.space"])
    post = "From: ada\nSubject: orbit\n\nIt flies.\n\n--\nAda\n"
    file = tmp_path / "posts.pkz"
    file.write_bytes(zlib.compress(pickle.dumps({"train": part(post), "test": part(post)})))
    rows = asset_tables._newsgroups([file])
    assert rows.label.tolist() == ["sci.space"] * 2 and rows.part.tolist() == ["train", "test"]
    assert rows.text[0].strip() == "It flies." and rows.post[0] == post
    class Trap:
        def __reduce__(self): return Path.touch, (tmp_path / "sprung",)
    file.write_bytes(zlib.compress(pickle.dumps({"train": Trap()})))
    with pytest.raises(pickle.UnpicklingError):
        asset_tables._newsgroups([file])
    assert not (tmp_path / "sprung").exists()


# --- several assets in one package ---

@pytest.fixture
def shared(toy, tmp_path):
    "A second asset in the wheel of the first."
    wheel = (tmp_path / "index/toy_model-1.0-py3-none-any.whl").read_bytes()
    other = entry("other") + source("toy-model", wheel, prefix="toy/")
    toy.write_text(toy.read_text() + other.replace("toy.sources", "other.sources"))
    return toy


def test_what_lies_in_the_same_package_is_unpacked_with_it(shared, capfd):
    assets.get("toy", shared)
    assert set(assets.verify(toml=shared).state) == {"complete"}
    folder = assets.get("other", shared)
    assert {n: (folder / n).read_bytes() for n in FILES} == FILES
    assert len(capfd.readouterr().out.splitlines()) == 1


def test_nobody_waits_for_a_guest(shared):
    assets.home().mkdir(parents=True)
    with FileLock(assets.home() / ".other.lock"):
        assets.get("toy", shared)
    assert assets.verify(toml=shared).state.tolist() == ["complete", "not fetched"]
    assert assets.get("other", shared).name == "other"


def test_a_damaged_guest_is_no_trouble_for_its_host(shared):
    text = shared.read_text()
    at = text.index("[other]")
    shared.write_text(text[:at] + text[at:].replace("deep/config.json", "deep/nowhere.json"))
    assert assets.get("toy", shared).name == "toy"
    assert not (assets.home() / "other").exists()
    with pytest.raises(AssetError):
        assets.get("other", shared)


# --- for real ---

@pytest.mark.slow
def test_the_newsgroups_are_those_of_scikit_learn():
    "Its page says: 2,034 posts in four groups, 34,118 words, 159.01327 of them in a post."
    rows = asset_tables.load_data("newsgroups")
    groups = "alt.atheism", "talk.religion.misc", "comp.graphics", "sci.space"
    posts = rows[rows.label.isin(groups) & (rows.part == "train")].post
    vectors = TfidfVectorizer().fit_transform(posts)
    assert vectors.shape == (2034, 34118)
    assert vectors.nnz / vectors.shape[0] == pytest.approx(159.01327, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "train", "test", "classes"), [
    ("newsgroups", 11314, 7532, 20), ("trec-questions", 5452, 500, 6),
    ("sms-spam", 4574, 1000, 2), ("bbc-news", 1225, 1000, 5),
])
def test_measured_for_real(name, train, test, classes):
    rows = measured(name)
    assert (len(rows.train), len(rows.test), rows.train.label.nunique()) == (train, test, classes)
    assert rows.theirs == (name in ("newsgroups", "trec-questions"))
