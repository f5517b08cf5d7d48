"""Attacks on what decides which model, which rows and which files a certificate is about.

The books, the files of a run, doubles, and what is kept of the rows.
"""
import json
import multiprocessing
import os
import shutil
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
from tiny_models import SENTENCES

from sft_nb.all import FineTuner, Recipe, TextClassification, split
from sft_nb.certification.bounds import allowed, exact_bound
from sft_nb.certification.certificate import Certificate
from sft_nb.certification.growth import growing_bound
from sft_nb.certification.provenance import Asked, Ledger, deciding, files_hash
from sft_nb.certification.roles import Certify, judge
from sft_nb.certification.seeds import over_seeds
from sft_nb.certification.verification import verify
from sft_nb.data.hashes import question_hashes
from sft_nb.task import DataError
from sft_nb.training.books import Books, books_path, model_key

WORDS = sorted({w for s in SENTENCES for w in s.split()})
RECIPE = Recipe(epochs=2, learning_rate=1e-3, batch_size=8, precision="fp32")


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    "A run, its folder, and rows for every role: 150 authors with three rows or so each."
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "text": [" ".join(rng.choice(WORDS, 9)) for _ in range(400)],
            "author": [f"author {i}" for i in rng.integers(0, 150, 400)],
            "region": rng.choice(["north", "south"], 400),
        }
    ).drop_duplicates("text")
    rows["label"] = ["good" if len(t) % 2 else "bad" for t in rows.text]
    data = split(rows, valid_size=40, certify_size=.7, seed=1, group="author")
    tuner = FineTuner(TextClassification(), tiny("bert"), RECIPE).fit(data.train, data.valid)
    return tuner, data, tuner.save(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def sibling(made, tiny):
    "Another model on the same rows."
    return FineTuner(TextClassification(), tiny("bert"), RECIPE.but(seed=7)).fit(
        made[1].train, made[1].valid
    )


@pytest.fixture
def ask(made, tmp_path):
    "ask(rows, claim, …): a certificate whose books lie in a folder of this test."
    def certify(rows, claim="accuracy >= 0.3", tuner=None, **options):
        rows = rows.copy()
        rows.attrs["group"] = "author"
        return (tuner or made[0]).certify(
            rows, claim, ledger=tmp_path / "ledger.json", train=made[1].train, **options
        )
    return certify


def place(found): return found.body["ledger"]["k"]


# --- the same rows in another dress ---

def blank(rows):
    rows = rows.copy()
    rows.iloc[0, rows.columns.get_loc("text")] += " "
    return rows


DRESSED = {
    "a row less": lambda rows: rows.iloc[1:],
    "a blank": blank,
    "capitals": lambda rows: rows.assign(text=rows.text.str.upper()),
    "an accent": lambda rows: rows.assign(text=rows.text.str.replace("a", "a\u0301")),
    "a label turned": lambda rows: rows.assign(label=["good", *rows.label[1:]]),
    "other regions": lambda rows: rows.assign(region=rows.region.tolist()[::-1]),
    "a half of them": lambda rows: rows.head(len(rows) // 2),
}


@pytest.mark.parametrize("dress", DRESSED)
def test_rows_that_share_a_question_are_the_same_rows(ask, made, dress):
    kept = made[1].certify
    claim = "accuracy >= 0.1 for every region"
    assert place(ask(kept, claim)) == 1
    changed = DRESSED[dress](kept)
    again = ask(changed, claim)
    assert place(again) == (1 if changed.equals(kept) else 2), again
    assert place(ask(kept, claim)) == 1


def test_another_setting_is_another_model(ask, made):
    kept, other = made[1].certify, FineTuner.load(made[2])
    assert place(ask(kept)) == 1
    other.notes.abstain = {"below": 0.9}
    assert place(ask(kept, tuner=other)) == 2
    other.task.max_length = 12
    assert place(ask(kept, tuner=other)) == 3
    assert model_key(made[0]) == model_key(FineTuner.load(made[2]))


def test_another_confidence_is_no_false_alarm(ask, made, tmp_path):
    kept, found = made[1].certify, []
    for confidence in (.95, .99, .9):
        found.append(ask(kept, confidence=confidence))
    found.append(ask(kept, "accuracy >= 0.31", confidence=.99))
    for certificate in found:
        check = verify(certificate, made[0], kept, train=made[1].train)
        assert check.ok, check
    assert [place(c) for c in found] == [1, 1, 1, 2]
    wished = [e["wished"] for e in Ledger(tmp_path / "ledger.json").read()["asked"]]
    assert wished == pytest.approx([.1, .01])


# --- adding rows until it holds ---

def asked_of(names, label="good", units=None):
    alone = [np.array([i]) for i in range(len(names))]
    rows = [f"{n} {label}" for n in names]
    return Asked(rows, [f"{n:0>16}" for n in map(str, names)], units or alone)


def test_a_table_that_grows_is_one_question(tmp_path):
    book = Ledger(tmp_path / "l.json")
    def look(names, **more): return book.spend(asked_of(names, **more), "A", "f1", .05)
    assert (look(range(50)).delta, look(range(60)).delta, look(range(90)).delta) == (
        .05, .025, .025
    )
    assert look(range(90)).total == pytest.approx(.075)
    assert look(range(1, 95)).k == 2  # a row was dropped
    assert look(range(99), label="bad").k == 3  # the old labels were turned
    before = Ledger(tmp_path / "before.json")
    first = [before.spend(asked_of(range(n)), "A", "f1", .05, True) for n in (50, 60, 90)]
    assert [s.delta for s in first] == [.05] * 3 and first[-1].total == .05


def test_a_new_row_in_an_old_unit_is_no_growth(tmp_path):
    book = Ledger(tmp_path / "l.json")
    assert book.spend(asked_of(range(4)), "A", "f1", .05).k == 1
    linked = [np.array([0, 4]), *(np.array([i]) for i in (1, 2, 3))]
    assert book.spend(asked_of(range(5), units=linked), "A", "f1", .05).k == 2


def test_picking_the_batches_that_went_well_is_no_growth(tmp_path):
    book = Ledger(tmp_path / "l.json")
    for start in range(0, 50, 10):
        book.spend(asked_of(range(start, start + 10)), "A", "f1", .05)
    assert not book.spend(asked_of([*range(10), *range(30, 40)]), "A", "f1", .05).grows


def test_add_rows_until_it_holds_is_false_as_seldom_as_promised():
    "200 tries of 10 looks each: the exact bound alone breaks, the ledger's way does not."
    naive = kept = before = 0
    for seed in range(200):
        wrong = (np.random.default_rng(seed).random(1000) < .202).astype(float)
        looks = range(100, 1001, 100)
        exact = [exact_bound(wrong[:n].sum(), n) <= .2 for n in looks]
        grown = [growing_bound(wrong[:n], .025).value <= .2 for n in looks[1:]]
        naive += any(exact)
        kept += exact[0] or any(grown)
        before += any(growing_bound(wrong[:n]).value <= .2 for n in looks)
    assert naive / 200 > allowed(.05, 200)
    assert kept / 200 <= allowed(.075, 200) and before / 200 <= allowed(.05, 200)


def test_certificates_of_a_growing_table(ask, made):
    kept = made[1].certify
    authors = kept.author.unique()
    some = kept[kept.author.isin(authors[:70])]
    first, later = ask(some, "accuracy >= 0.2"), ask(kept, "accuracy >= 0.2")
    assert not first.body["looks"]["grows"] and later.body["looks"]["grows"]
    assert later.body["ledger"]["delta"] == pytest.approx(.025)
    assert "every look" in later.body["findings"][0]["method"]
    assert verify(later, made[0], kept, train=made[1].train).ok
    ratio = ask(some, "f1_macro >= 0.1", grows=True)
    assert ratio.verdict == "REFUSED" and "while rows are added" in ratio.body["reason"]


# --- looks ---

def test_a_look_by_the_same_model_is_told(ask, made):
    kept = made[1].certify
    made[0].evaluate(kept)
    judge(FineTuner.load(made[2]), kept, Certify, "author")
    found = ask(kept)
    assert found.body["looks"] == {"same": 2, "others": 0, "grows": False}
    assert "2 times before" in repr(found)
    assert not any("other model" in w for w in found.body["warnings"])


def test_choosing_by_evaluate_is_warned_of(ask, made, sibling):
    kept = made[1].certify
    sibling.evaluate(kept.head(30))
    found = ask(kept)
    assert found.body["looks"]["others"] == 1 and "with warnings" in repr(found).split("\n")[0]
    assert any("1 other model was judged on these rows" in w for w in found.body["warnings"])
    assert verify(found, made[0], kept, train=made[1].train).ok


def test_choosing_by_over_seeds_is_warned_of(ask, made, sibling):
    kept = made[1].certify
    over_seeds([made[0], sibling], kept, "author")
    assert ask(kept).body["looks"]["others"] == 1


def test_a_new_ledger_for_each_model_is_warned_of(made, sibling, tmp_path):
    kept = made[1].certify
    sibling.certify(kept, "accuracy >= 0.2", ledger=tmp_path / "one.json")
    found = made[0].certify(kept, "accuracy >= 0.2", ledger=tmp_path / "two.json")
    assert found.body["ledger"]["k"] == 1 and found.body["looks"]["others"] == 1


def test_a_model_that_was_asked_has_paid(ask, made, sibling):
    kept = made[1].certify
    ask(kept, tuner=sibling)
    found = ask(kept)
    assert place(found) == 2 and found.body["looks"]["others"] == 0


def test_rows_of_the_run_are_no_look(made):
    made[0].evaluate(made[1].valid)
    made[0].evaluate(made[1].train)
    assert Books().read()["looks"] == []


def test_an_evaluation_without_books_is_still_one(made, monkeypatch, tmp_path, caplog):
    (tmp_path / "l.json").write_text("{")
    monkeypatch.setenv("SFT_NB_BOOKS", str(tmp_path / "l.json"))
    assert made[0].evaluate(made[1].certify).n and "not entered in the ledger" in caplog.text


def test_tests_keep_their_own_books(own_books):
    assert books_path().parent == own_books


# --- the file itself ---

OLD = json.dumps({"0" * 64: [{"model": "A", "claim": "f1", "delta": .05}]})


def entry(**changes):
    whole = dict(data="x", model="A", claim="f1", kind="once", wished=.05, delta=.05, k=1, times=1)
    book = {"format": 2, "sets": {"x": ["0"]}, "looks": [], "asked": [whole | changes]}
    return json.dumps(book)


HOSTILE = {
    "cut short": "{", "a list": "[]", "nothing": "", "deep": "[" * 100_000,
    "a number": "3", "another format": '{"format": 3}', "parts missing": '{"format": 2}',
    "NaN": entry(delta=float("nan")), "beyond 1": entry(wished=7.), "k as text": entry(k="1"),
    "k below 0": entry(k=-5), "a huge k": entry(k=10**400), "rows unknown": entry(data="y"),
    "a name more": entry(more=1), "half a character": entry(model="\ud800"),
    "delta as true": entry(delta=True),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_books_are_a_sentence(text, tmp_path):
    (tmp_path / "l.json").write_text(text)
    with pytest.raises(DataError, match="restore it from a copy") as e:
        Ledger(tmp_path / "l.json").spend(asked_of("ab"), "A", "f1", .05)
    assert len(str(e.value)) < 700 and str(e.value).isprintable()


def test_old_books_are_a_sentence(tmp_path, made):
    (tmp_path / "l.json").write_text(OLD)
    with pytest.raises(DataError, match="earlier version .* another name"):
        made[0].certify(made[1].certify, "accuracy >= 0.2", ledger=tmp_path / "l.json")
    assert (tmp_path / "l.json").read_text() == OLD


def _spend(path, model, ready, results):
    ready.wait()
    spent = Ledger(path).spend(asked_of(range(30)), model, "f1", .05)
    results.put((model, spent.k, spent.delta))


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_two_at_once_are_a_first_and_a_second(tmp_path):
    context = multiprocessing.get_context("fork")
    ready, results = context.Barrier(4), context.Queue()
    names = "ABCD"
    these = [
        context.Process(target=_spend, args=(tmp_path / "l.json", name, ready, results))
        for name in names
    ]
    for process in these:
        process.start()
    said = [results.get(timeout=60) for _ in names]
    for process in these:
        process.join()
    assert sorted(k for _, k, _ in said) == [1, 2, 3, 4]
    kept = {e["model"]: (e["k"], e["delta"]) for e in Ledger(tmp_path / "l.json").read()["asked"]}
    assert kept == {model: (k, delta) for model, k, delta in said}


def test_giving_back_leaves_the_other_asker_his_place(tmp_path):
    book, these = Ledger(tmp_path / "l.json"), asked_of("abc")
    for _ in range(2):
        book.spend(these, "A", "f1", .05)
    book.give_back(these, "A", "f1")
    assert book.spend(these, "B", "f1", .05).k == 2


# --- every file that decides an answer ---

def edited(name, old, new):
    def change(run):
        text = (run / name).read_text(encoding="utf-8")
        assert old in text, text[:200]
        (run / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    return change


def labels_turned(run):
    config = json.loads((run / "config.json").read_text())
    names = config["id2label"]
    config["id2label"] = {"0": names["1"], "1": names["0"]}
    (run / "config.json").write_text(json.dumps(config))


def threshold_moved(run):
    about = json.loads((run / "sft_nb.json").read_text())
    about["notes"]["abstain"] = {"below": 0.0, "alpha": 0.01}
    (run / "sft_nb.json").write_text(json.dumps(about))


def rows_exchanged(run):
    text = json.loads((run / "rows.json").read_text())
    def other(value):
        if isinstance(value, dict): return {k: other(v) for k, v in value.items()}
        return [f"{i:032x}" for i in range(len(value))] if isinstance(value, list) else value
    (run / "rows.json").write_text(json.dumps(other(text)))


FILES = {
    "labels turned round": (labels_turned, "config.json"),
    "a word of the tokenizer": (edited("tokenizer.json", "##", "#!"), "tokenizer.json"),
    "lower case": (edited("tokenizer_config.json", "true", "false"), "tokenizer_config.json"),
    "a chat template": (
        lambda run: (run / "chat_template.jinja").write_text("{{ 'fine' }}"),
        "chat_template.jinja",
    ),
    "a threshold": (threshold_moved, "run"),
    "rows.json": (rows_exchanged, "run"),
}


@pytest.mark.parametrize("change", FILES)
def test_another_file_is_another_model(made, tmp_path, change):
    run = shutil.copytree(made[2], tmp_path / "run")
    before = files_hash(FineTuner.load(run))
    action, name = FILES[change]
    action(run)
    after = files_hash(FineTuner.load(run))
    assert {n for n in before.keys() | after.keys() if before.get(n) != after.get(n)} == {name}


def test_a_run_in_memory_and_its_folder_are_the_same_files(made, ask):
    tuner, data, run = made
    in_memory, loaded = files_hash(tuner), files_hash(FineTuner.load(run))
    assert in_memory == loaded and "config.json" in loaded and "model.safetensors" in loaded
    found = ask(data.certify)
    assert found.body["files"] == loaded == files_hash(tuner)  # to be certified changes nothing
    assert verify(found, FineTuner.load(run), data.certify, train=data.train).ok


def test_a_card_and_results_decide_nothing(made, tmp_path):
    run = shutil.copytree(made[2], tmp_path / "run")
    before = files_hash(FineTuner.load(run))
    for name in ("README.md", "metrics.json", "certificate.json", "plot.svg", "train.csv"):
        (run / name).write_text("other")
    assert files_hash(FineTuner.load(run)) == before


def test_whatever_a_checkpoint_brings_is_looked_at(tiny):
    for name in ("bert", "marian", "t5", "llama-chat", "vit", "deberta-v2", "gpt2"):
        files = {p.relative_to(tiny(name)).as_posix() for p in tiny(name).rglob("*") if p.is_file()}
        assert set(deciding(files)) == files, name


# --- doubles ---

LEARNED = {
    "reversed words": lambda t: " ".join(reversed(t.split())),
    "a word in between": lambda t: t.replace(" ", " so "),
    "another last word": lambda t: t + " indeed",
}


@pytest.mark.parametrize("disguise", LEARNED)
def test_disguised_training_rows_are_named(ask, made, disguise):
    _, data, _ = made
    copied = data.train.head(30)
    mixed = pd.concat([data.certify, copied.assign(
        text=copied.text.map(LEARNED[disguise]), author=[f"new {i}" for i in range(len(copied))])])
    said = " ".join(ask(mixed).body["warnings"])
    assert f"{len(copied)} near doubles" in said, said


def test_near_doubles_among_the_rows_are_named(ask, made):
    one = made[1].certify.iloc[[0]]
    pasted = pd.concat([one] * 59, ignore_index=True)
    pasted["text"] = [f"{one.text.iloc[0]} {word}" for word in (WORDS * 2)[:59]]
    pasted["author"] = [f"author {i + 1000}" for i in range(59)]
    found = ask(pasted, "accuracy >= 0.05")
    assert any("Near doubles among these rows" in w for w in found.body["warnings"]), found


def test_a_foreign_training_table_removes_no_warning(made, tmp_path):
    tuner, data, _ = made
    found = tuner.certify(
        data.certify, "accuracy >= 0.2", train=data.valid, ledger=tmp_path / "l.json"
    )
    assert any("not the table that the run was trained on" in w for w in found.body["warnings"])


# --- what is kept of the rows ---

def test_hashes_are_salted(ask, made):
    kept = made[1].certify
    one, two = ask(kept), ask(kept)
    plain = set(question_hashes(kept, ["text"]))
    mine, theirs = (set(c.body["rows"]["hashes"]) for c in (one, two))
    assert not mine & theirs and not mine & plain
    assert verify(two, made[0], kept, train=made[1].train).ok
    forged = deepcopy(one.body)
    forged["rows"]["salt"] = two.body["rows"]["salt"]
    assert not verify(Certificate(forged), made[0], kept).ok


def test_the_figure_can_be_computed_without_the_rows(ask, made):
    found = ask(made[1].certify)
    rows = found.body["rows"]
    means = pd.Series(rows["scores"]).groupby(rows["unit_of"]).mean()
    assert len(means) == rows["units"] == found.body["findings"][0]["n"]
    assert means.mean() == pytest.approx(found.body["findings"][0]["observed"])


def test_what_it_is_about(made, ask):
    tuner = FineTuner.load(made[2])
    tuner.notes.title, tuner.notes.author, tuner.notes.data = "Reviews", "A. Author", "a table"
    about = ask(made[1].certify, tuner=tuner, expires="2099-01-01").body
    assert about["expires"] == "2099-01-01" and about["format"] == 2
    assert {k: about["about"][k] for k in ("title", "author", "data")} == {
        "title": "Reviews", "author": "A. Author", "data": "a table"
    }
    assert "sft-nb verify" in about["about"]["check"] and "unknown" in about["about"]["base"]


@pytest.mark.parametrize("expires", ["2001-01-01", "tomorrow", "20990101", "2099-13-01", ""])
def test_a_day_that_is_none_is_a_sentence(ask, made, expires):
    with pytest.raises(DataError, match="a day that is still to come"):
        ask(made[1].certify, expires=expires)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "<script>", None, {}])
def test_a_broken_content_is_not_saved(ask, made, tmp_path, value):
    body = deepcopy(ask(made[1].certify).body)
    body["findings"][0]["bound"] = value
    with pytest.raises(DataError, match="not a certificate"):
        Certificate(body).save(tmp_path / "c.json")
    assert not (tmp_path / "c.json").exists()
