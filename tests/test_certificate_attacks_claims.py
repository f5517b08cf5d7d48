"""What a claim could be made to say: rows that are pasted, reordered or too few, figures without
spread, groups of unequal size. No network: answers and truths are written down.
"""
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_models import SENTENCES

from sft_nb.all import FineTuner, Recipe, TextClassification, split
from sft_nb.certification import bounds, selective, sets
from sft_nb.certification.claims import examine
from sft_nb.certification.groups import Slices, behave, invariance, worst_group
from sft_nb.certification.language import parse_claim, systems_named
from sft_nb.certification.planning import chance_to_succeed, impossible, rows_needed
from sft_nb.certification.roles import Calibrate, Certify, Refused
from sft_nb.certification.units import risk_bound
from sft_nb.certification.verification import verify
from sft_nb.task import DataError, Prediction, SFTError

ROOT = Path(__file__).parents[1]
TASK = replace(TextClassification(), labels=["ham", "spam"])


def judged(right, kind=Certify, truth=None, group=None, texts=None, **columns):
    "Rows without a network: right or wrong as is said, each with a text of its own."
    right = np.asarray(right, bool)
    n = len(right)
    truth = np.array(["spam", "ham"] * n)[:n] if truth is None else np.asarray(truth)
    said = np.where(right, truth, np.where(truth == "spam", "ham", "spam"))
    texts = [f"text {i}" for i in range(n)] if texts is None else list(texts)
    rows = pd.DataFrame({"text": texts, "label": truth, **columns})
    answers = [Prediction(str(s), .8, {"spam": .8, "ham": .2}) for s in said]
    return kind(TASK, rows, answers, truth.tolist(), right.astype(float), texts, group)


def reordered(certify, seed=0):
    at = np.random.default_rng(seed).permutation(len(certify))
    def taken(values): return [values[i] for i in at]
    rows = certify.rows.iloc[at].reset_index(drop=True)
    return replace(
        certify, rows=rows, predictions=taken(certify.predictions), targets=taken(certify.targets),
        scores=certify.scores[at], hashes=taken(certify.hashes),
    )


def first(claim, certify, **more): return examine(claim, certify, **more)[0]


# --- units ---

def test_one_right_row_fifty_nine_times_is_one_row():
    with pytest.raises(Refused, match="1 question "):
        examine("accuracy >= 0.95", judged([1] * 59, texts=["the same"] * 59))
    three = judged([1] * 300, texts=[f"text {i % 3}" for i in range(300)])
    with pytest.raises(Refused, match="3 questions"):
        examine("accuracy >= 0.98", three)


def unequal():
    "80 authors with a right row each, and one with 130 wrong ones."
    authors = [f"a{i}" for i in range(80)] + ["big"] * 130
    return judged([1] * 80 + [0] * 130, group="author", author=authors)


def test_both_figures_are_shown_and_the_promised_one_is_named():
    found = first("accuracy >= 0.9", unequal())
    assert found.rows == pytest.approx(80 / 210)
    assert found.observed == pytest.approx(80 / 81)
    assert found.promised == "accuracy, averaged over authors" and found.unit == "author"
    alone = first("accuracy >= 0.3", judged([1] * 80 + [0] * 20))
    assert alone.promised == "accuracy, averaged over rows" and alone.rows == alone.observed == .8


MIXED = np.random.default_rng(3).random(300) < .8
AUTHORS = [f"a{i % 40}" for i in range(300)]
GENRES = np.random.default_rng(4).choice(["drama", "horror"], 300)


@pytest.mark.parametrize("claim", [
    "accuracy >= 0.5", "f1_macro >= 0.5", "accuracy >= 0.5 for every genre", "f1 of spam >= 0.5",
    "gap of accuracy by genre <= 0.9", "accuracy >= other - 0.9", "error of answered <= 0.6",
])
@pytest.mark.parametrize("group", [None, "author"])
def test_the_order_of_rows_changes_no_figure(claim, group):
    certify = judged(MIXED, group=group, author=AUTHORS, genre=GENRES)
    theirs = np.random.default_rng(5).random(300).round()
    at = np.random.default_rng(0).permutation(300)
    one = examine(claim, certify, others={"other": theirs}, below=.5)
    two = examine(claim, reordered(certify), others={"other": theirs[at]}, below=.5)
    for a, b in zip(one, two, strict=True):
        assert vars(a) == pytest.approx(vars(b), abs=1e-9)


def test_the_order_of_rows_changes_no_group_threshold_set_or_behaviour():
    certify = judged(MIXED, group="author", author=AUTHORS, genre=GENRES)
    slices = Slices({"drama": lambda rows: rows.genre == "drama"})
    a, b = (worst_group(c, slices) for c in (certify, reordered(certify)))
    pd.testing.assert_frame_equal(a, b)
    assert a.loc["drama", "n"] == 40 and (a["rows"] > a.n).all()
    some = judged(MIXED, Calibrate, group="author", author=AUTHORS)
    assert sets.sets_of(some, .3) == sets.sets_of(reordered(some), .3)
    tuner = FineTuner(TASK, "minilm")
    both = [selective.abstain_above(tuner, c, np.array([.5]), .6) for c in (some, reordered(some))]
    assert both[0] == both[1] and both[0].unit == "author"


def test_slices_count_units_within_the_slice():
    authors, genre = ["x"] * 10 + [f"a{i}" for i in range(90)], ["drama"] * 50 + ["horror"] * 50
    found = examine("accuracy >= 0.5 for every genre",
                    judged([1] * 100, group="author", author=authors, genre=genre))
    assert [f.n for f in found] == [41, 50]


# --- figures that are no mean ---

def test_thirty_right_rows_are_no_perfect_f1():
    with pytest.raises(Refused):
        examine("f1_macro >= 1.0", judged([1] * 30))
    with pytest.raises(Refused):
        examine("f1_macro >= 0.95", judged([1] * 30))


def test_f1_recall_and_precision_are_exact():
    right = np.r_[np.ones(270), np.zeros(30)].astype(bool)
    certify = judged(np.random.default_rng(0).permutation(right))
    truth, said = np.array(certify.targets), np.array([p.value for p in certify.predictions])
    spam, called = truth == "spam", said == "spam"
    both = int((spam & called).sum())
    recall = first("recall of spam >= 0.7", certify)
    assert recall.finite and recall.method.startswith("exact binomial") and recall.holds
    missed = int(spam.sum()) - both
    assert recall.bound == pytest.approx(1 - bounds.exact_bound(missed, int(spam.sum())))
    precision = first("precision of spam >= 0.7", certify)
    wrong = int(called.sum()) - both
    assert precision.bound == pytest.approx(1 - bounds.exact_bound(wrong, int(called.sum())))
    f1 = first("f1 of spam >= 0.7", certify)
    j = 1 - bounds.exact_bound(int((spam ^ called).sum()), int((spam | called).sum()))
    assert f1.bound == pytest.approx(2 * j / (1 + j)) and f1.n == int((spam | called).sum())
    macro = first("f1_macro >= 0.7", certify)
    assert macro.finite and macro.holds and f1.bound - .05 < macro.bound < macro.observed


def test_f1_with_groups_is_bounded_too():
    certify = judged(np.random.default_rng(0).random(600) < .9, group="author",
                     author=[f"a{i % 150}" for i in range(600)])
    for claim in ("f1 of spam >= 0.7", "recall of spam >= 0.7", "f1_macro >= 0.7"):
        found = first(claim, certify)
        assert found.finite and found.holds and .7 < found.bound < found.observed
        assert found.unit == "author" and "author" in found.promised


def test_unknown_classes_are_named():
    with pytest.raises(Refused, match="spam"):
        examine("recall of spma >= 0.5", judged(MIXED))


class F1Task(TextClassification):
    "A task of somebody else, whose one metric is the F1 of the class `yes`."
    name = "one of two"

    def metrics(self, predictions, targets):
        from sklearn.metrics import f1_score
        said = [p.value for p in predictions]
        return {"f1": float(f1_score(targets, said, pos_label="yes", zero_division=0))}


def test_one_class_without_an_error_makes_no_mean_of_f1():
    n = 100
    rows, answers = pd.DataFrame({"text": range(n)}), [Prediction("yes", .9)] * n
    toy = Certify(F1Task(), rows, answers, ["yes"] * n, np.ones(n), [str(i) for i in range(n)])
    with pytest.raises(Refused):
        examine("f1 >= 0.9", toy)
    assert first("score >= 0.9", toy).holds
    assert first("accuracy >= 0.9", judged([1] * 100, truth=["ham"] * 100)).holds


def test_an_estimate_without_spread_is_refused():
    n = 100
    rows, truth = pd.DataFrame({"text": range(n)}), ["yes", "no"] * 50
    right = Certify(F1Task(), rows, [Prediction(t, .9) for t in truth], truth, np.ones(n),
                    [str(i) for i in range(n)])
    with pytest.raises(Refused, match="no error"):
        examine("f1 >= 0.9", right)
    wrong = replace(right, predictions=[Prediction("yes", .9)] * n, scores=np.array([1., 0.] * 50))
    assert not first("f1 >= 0.5", wrong).finite
    with pytest.raises(Refused, match="draws"):
        examine("f1 >= 0.5", wrong, delta=.05 / 2**11)


# --- several parts ---

def test_parts_that_must_all_hold_are_each_judged_at_full_delta():
    genre = np.repeat([f"g{i}" for i in range(10)], 59)
    found = examine("accuracy >= 0.95 for every genre", judged([1] * 590, genre=genre))
    assert all(f.holds for f in found) and {f.n for f in found} == {59}
    assert {f.delta for f in found} == {.005}
    assert all(f.bound == pytest.approx(1 - bounds.exact_bound(0, 59, .005)) for f in found)
    assert all(f.alone == pytest.approx(1 - bounds.exact_bound(0, 59, .05)) for f in found)
    with pytest.raises(Refused, match="58 rows"):
        examine("accuracy >= 0.95 for every genre", judged([1] * 580, genre=np.repeat(
            [f"g{i}" for i in range(10)], 58)))


# --- comparisons ---

def test_better_than_another_and_not_worse():
    rng = np.random.default_rng(0)
    certify = judged(rng.random(800) < .9)
    worse = (rng.random(800) < .7).astype(float)
    found = first("accuracy >= baseline + 0.1", certify, others={"baseline": worse})
    assert found.holds and found.finite and .1 < found.bound < found.observed
    assert found.promised == "accuracy minus accuracy of baseline, averaged over rows"
    twin = first("accuracy >= full - 0.01", certify, others={"full": certify.scores})
    assert twin.holds and twin.observed == 0
    assert not first("accuracy >= full + 0.01", certify, others={"full": certify.scores}).holds
    assert systems_named("accuracy >= full - 0.01 and error <= before tuning - 0.1") == [
        "full", "before tuning"]
    with pytest.raises(Refused, match="full"):
        examine("accuracy >= full - 0.01", certify)


def test_a_gap_between_groups():
    rng = np.random.default_rng(0)
    genre = np.array(["drama", "horror"])[np.arange(2000) % 2]
    certify = judged(rng.random(2000) < .9, genre=genre)
    found = first("gap of accuracy by genre <= 0.1", certify)
    assert found.holds and found.observed < found.bound < .1
    apart = judged(rng.random(2000) < np.where(genre == "drama", .95, .7), genre=genre)
    assert not first("gap of accuracy by genre <= 0.1", apart).holds


def test_a_system_that_may_be_silent():
    rng = np.random.default_rng(0)
    certify = judged(rng.random(500) < .8)
    sure = rng.random(500) < .7
    answers = [replace(p, score=.9 if s else .5)
               for p, s in zip(certify.predictions, sure, strict=True)]
    scores = np.where(sure, rng.random(500) < .99, certify.scores).astype(float)
    certify = replace(certify, predictions=answers, scores=scores)
    claim = "error of answered <= 0.05 and answered >= 0.6"
    error, share = examine(claim, certify, below=.8)
    assert error.holds and error.n == sure.sum() and share.holds and share.n == 500
    assert error.alone == pytest.approx(bounds.exact_bound((1 - scores[sure]).sum(), sure.sum()))
    with pytest.raises(Refused, match="threshold"):
        examine(claim, certify)


# --- from the outside ---

@pytest.fixture(scope="module")
def two_runs(tiny, tmp_path_factory):
    "Two tiny runs, one of them saved, and rows that neither has seen."
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("runs")
    words = sorted({w for s in SENTENCES for w in s.split()})
    rows = pd.DataFrame({"text": [" ".join(rng.choice(words, 9)) for _ in range(240)]})
    rows["label"] = ["good" if len(t) % 2 else "bad" for t in rows.text]
    data = split(rows.drop_duplicates("text"), valid_size=30, certify_size=.6, seed=1)
    recipe = Recipe(epochs=1, learning_rate=1e-3, batch_size=8, precision="fp32")
    ours, twin = (FineTuner(TextClassification(), tiny("bert"), recipe.but(seed=s)).fit(
        data.train, data.valid) for s in (0, 1))
    return ours, twin.save(folder / "twin"), data, folder / "ledger.json"


def test_a_claim_against_another_run_and_against_a_rung(two_runs):
    ours, twin, data, ledger = two_runs
    claim = "accuracy >= twin - 0.5 and accuracy >= majority - 0.5"
    found = ours.certify(
        data.certify, claim, valid=data.valid, baselines={"twin": twin}, ledger=ledger)
    assert found.verdict == "CERTIFIED", found
    assert list(found.findings.promised) == [
        "accuracy minus accuracy of twin, averaged over rows",
        "accuracy minus accuracy of majority, averaged over rows",
    ]
    checks = verify(found, ours, data.certify, valid=data.valid, train=data.train,
                    baselines={"twin": twin})
    assert checks.ok and "findings" in checks.of("checked"), checks
    for less, needed in (({}, "'twin'"), ({"baselines": {"twin": twin}}, "train and valid")):
        alone = verify(found, ours, data.certify, **less)  # nothing is false, and nothing was shown
        assert not alone and not alone.of("false") and needed in repr(alone).split("\n")[0]
    seen = FineTuner.load(twin).fit(data.certify.head(24), data.valid)
    refused = ours.certify(
        data.certify, claim, valid=data.valid, baselines={"twin": seen}, ledger=ledger)
    assert refused.verdict == "REFUSED" and "served as train" in refused.body["reason"]
    with pytest.raises(DataError, match="majority"):
        ours.certify(data.certify, "accuracy >= majorty - 0.5", ledger=ledger)


@pytest.mark.parametrize("claim", [None, .8, ["accuracy >= 0.8"]])
def test_certify_takes_a_sentence(two_runs, claim):
    ours, _, data, ledger = two_runs
    for more in ({"claim": claim}, {"claim": "accuracy >= 0.5", "confidence": "0.95"}):
        with pytest.raises(SFTError, match="certify"):
            ours.certify(data.certify, **more, ledger=ledger)


# --- feasibility and plans ---

def test_what_cannot_be_certified_is_said_before_rows_are_spent():
    assert "59" in impossible("accuracy >= 0.95", 58) and not impossible("accuracy >= 0.95", 59)
    assert impossible("accuracy >= 0.9 and accuracy >= 0.95", 40)
    assert selective.most_answered(.2, .05) == pytest.approx(.8 / .95)


def test_the_plan_says_how_often_it_succeeds():
    n = rows_needed("accuracy >= 0.80", .85)
    assert 300 < n < 420 and chance_to_succeed("accuracy >= 0.80", .85, n) >= .8
    assert all(chance_to_succeed("accuracy >= 0.80", .85, m) < .8 for m in range(200, n))
    assert rows_needed("accuracy >= 0.80", .85, power=.5) < n
    assert rows_needed("accuracy >= 0.95", 1.) == 59
    scored = rows_needed("score >= 0.80", .85, binary=False)
    assert 100 < scored


# --- language ---

@pytest.mark.parametrize("claim, said", [
    ("accuracy > 0.8", '"accuracy >= 0.8"'),
    ("accuracy >= 0,5", '"accuracy >= 0.5"'),
    ("accuracy >= 0.5 AND f1_macro >= 0.5", '"accuracy >= 0.5 and f1_macro >= 0.5"'),
    ("accuracy >= 0.5 && f1_macro >= 0.5", '"accuracy >= 0.5 and f1_macro >= 0.5"'),
    ("accuracy >= 0.5 for each genre", '"accuracy >= 0.5 for every genre"'),
    ("accuracy => 0.5", '"accuracy >= 0.5"'),
])
def test_a_near_miss_is_shown_how_it_should_read(claim, said):
    with pytest.raises(DataError, match="Did you mean") as e:
        parse_claim(claim)
    assert said in str(e.value)


@pytest.mark.parametrize("claim, said", [
    ("accuracy >= 80", "80 %"), ("accuracy >= 0", "always"), ("accuracy <= 1", "always"),
    ("accuracy >= -1", "always"), ("accuracy >= 1.5", "never"),
    ("accuracy >= 0.5 for every genre", "genre"),
])
def test_a_number_that_means_nothing_is_a_sentence(claim, said):
    with pytest.raises(DataError, match=said):
        examine(claim, judged(MIXED))


@pytest.mark.parametrize("name", ["acc", "Accuracy", "accuracies"])
def test_a_metric_by_nearly_its_name(name):
    with pytest.raises(Refused, match="Did you mean 'accuracy'"):
        examine(f"{name} >= 0.5", judged(MIXED))


@pytest.mark.parametrize("claim", [None, .8, ["accuracy >= 0.8"], float("nan")])
def test_a_claim_of_another_type_is_a_sentence(claim):
    with pytest.raises(DataError, match="text"):
        parse_claim(claim)


class Rmse(F1Task):
    name = "an error in degrees"

    def metrics(self, predictions, targets): return {"rmse": 2.5}


def test_a_percentage_of_no_share_is_refused():
    with pytest.raises(DataError, match="%"):
        examine("rmse <= 300%", replace(judged(MIXED), task=Rmse()))


def test_a_printed_claim_is_never_rounded():
    part, = parse_claim("accuracy >= 0.4999999999")
    assert str(part) == "accuracy >= 0.4999999999"
    assert str(parse_claim("accuracy >= 55%")[0]) == "accuracy >= 0.55"
    assert str(parse_claim("mae <= 3")[0]) == "mae <= 3"
    for text in ("gap of accuracy by first genre <= 0.1", "recall of very bad >= 0.9",
                 "accuracy >= full - 0.01 for every genre", "error of answered <= 0.05",
                 "answered >= 0.6", "accuracy >= before tuning + 0.02"):
        assert str(parse_claim(text)[0]) == text


def test_missing_and_empty_slices_are_named():
    genre = np.array(["drama"] * 150 + ["horror"] * 150, dtype=object)
    genre[7] = None
    with pytest.raises(DataError, match=r"row 7.*genre"):
        examine("accuracy >= 0.5 for every genre", judged(MIXED, genre=genre))
    genre[7] = "drama"
    kinds = pd.Categorical(genre, ["drama", "horror", "comedy"])
    with pytest.raises(Refused, match="comedy"):
        examine("accuracy >= 0.5 for every genre", judged(MIXED, genre=kinds))
    with pytest.raises(Refused, match="spam"):
        examine("accuracy >= 0.5 for every label", judged(MIXED, truth=["ham"] * 300))


# --- numbers that are none ---

def test_numbers_that_are_none_are_refused():
    for wrong in ((-1, 5), (6, 5), (float("nan"), 10), (1, 0)):
        with pytest.raises(DataError):
            bounds.exact_bound(*wrong)
    for losses in ([], [1.2], [np.nan]):
        with pytest.raises(DataError):
            risk_bound(losses)
    with pytest.raises(DataError):
        sets.conformal_quantile(np.array([.1, np.nan, .2]))
    with pytest.raises(DataError):
        sets.prediction_sets(np.array([[np.nan, .5]]), .5)
    with pytest.raises(DataError, match="worst"):
        sets.control_risk(np.array([[10., 0.]]), .5)
    nan = [replace(p, probs={"spam": np.nan, "ham": .2}) for p in judged(MIXED).predictions]
    with pytest.raises(DataError):
        sets.sets_of(replace(judged(MIXED, Calibrate), predictions=nan))


# --- rules and behaviour ---

RULE = """
def longer(limit): return lambda rows: sorted(rows.text, key=lambda t: len(t) > limit)
found = Slices({"long": longer(25), "one of": lambda rows: rows.text.isin({"a", "b", "c"})})
"""


def test_a_fingerprint_covers_all_that_a_rule_hangs_on():
    def longer(limit): return lambda rows: rows.text.str.len() > limit
    def default(rows, limit=25): return rows.text.str.len() > limit
    def other(rows, limit=99): return rows.text.str.len() > limit
    rules = [longer(25), longer(99), default, other]
    assert len({Slices({"long": rule}).fingerprint for rule in rules}) == 4
    assert Slices({"long": longer(25)}).fingerprint == Slices({"long": longer(25)}).fingerprint


def test_a_fingerprint_is_the_same_in_every_process():
    here = {"Slices": Slices}
    exec(RULE, here)
    there = f"from sft_nb.certification.groups import Slices\n{RULE}\nprint(found.fingerprint)"
    told = subprocess.run(
        [sys.executable, "-c", there], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)},
    )
    assert told.stdout.strip() == here["found"].fingerprint


class Says:
    "Always the same answer."
    task = TASK

    def __init__(self, value):
        self.value, self.notes = value, type("Notes", (), {"abstain": None})()

    def predict(self, rows): return [Prediction(self.value, .8) for _ in rows]


def test_only_rows_that_were_changed_count():
    "16 of 150 rows are changed, and 8 of these turn: half fail, not one in twenty."
    texts = [("now " if i < 16 else "") + f"text {i}" for i in range(150)]
    certify = judged([1] * 150, truth=["ham"] * 8 + ["spam"] * 8 + ["ham"] * 134, texts=texts)
    def without(row, rng): return row | {"text": row["text"].removeprefix("now ")}
    table = behave(Says("ham"), certify, [invariance("now", without)])
    found = table.iloc[0]
    assert found.cases == found.changed == 16 and found.failed == 8 and found.rate == .5
    assert found["at most"] > .5
    never = behave(Says("ham"), certify, [invariance("nothing", lambda row, rng: row)]).iloc[0]
    assert never.cases == 0 and never.failed == 0 and never["at most"] == 1


# --- the table of rates ---

RATES = json.loads((ROOT / "results" / "violations.json").read_text())["rates"]


@pytest.mark.parametrize("row", RATES, ids=lambda row: row["guarantee"])
def test_every_guarantee_keeps_its_word(row):
    assert row["draws"] >= 1000 and row["broken"] <= bounds.allowed(row["delta"], row["draws"])


def test_the_table_has_every_guarantee():
    told = " ".join(row["guarantee"] for row in RATES)
    for word in ("exact", "betting", "equal", "Pareto", "adversarial", "pasted", "abstain", "sets",
                 "F1", "recall", "slices", "until it holds"):
        assert word in told


