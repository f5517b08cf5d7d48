"""Few labels: guesses that can never judge, rows to ask about, curves that are continued."""
import numpy as np
import pandas as pd
import pytest
from conftest import shapes
from scipy import stats
from sklearn.cluster import kmeans_plusplus
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import SelfTrainingClassifier
from test_arguments import FEW, WRONG, faults
from tiny_models import SENTENCES

from sft_nb.all import (
    Calibrate, DataError, FineTuner, ImageClassification, Recipe, SequenceLabelling, SFTError,
    TextClassification, TextRegression, TrainingError, judge, ladder, read_table,
)
from sft_nb.certification.bounds import exact_bound
from sft_nb.certification.roles import Refused
from sft_nb.data.table_facts import about, note
from sft_nb.data.usable import GUESSED
from sft_nb.methods.choosing_rows import (
    choose_rows, doubt, residuals, spread_out, typicality,
)
from sft_nb.methods.learning_curves import (
    FARTHEST, LearningCurve, fit_power_law, labels_for, learning_curve, power_law, usual_sizes,
)
from sft_nb.methods.pseudo_labels import (
    guess_quality, pseudo_label, self_train, surest, with_guesses,
)

ONCE = Recipe(epochs=1, batch_size=8, learning_rate=1e-3, precision="fp32")
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})
WAYS = ("random", "entropy", "badge", "typical")


def texts(n, seed=0):
    "n different texts of eight words, labels in turn."
    rng = np.random.default_rng(seed)
    made = [" ".join(rng.choice(WORDS, 8)) for _ in range(n)]
    return pd.DataFrame({"text": made, "label": ["good", "bad"] * (n // 2)})


@pytest.fixture(scope="module")
def tuner(tiny):
    return FineTuner(TextClassification(), tiny("bert"), ONCE, device="cpu").fit(
        texts(24), texts(12, 1))


@pytest.fixture(scope="module")
def pool(): return texts(40, 2).drop(columns="label")


# --- pseudo-labels ---

@pytest.mark.parametrize("threshold", [.4, .5, .7, .9])
def test_the_first_round_is_scikit_learns(threshold):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(at, 1.2, (60, 4)) for at in (-1, 0, 1)])
    y = np.repeat([0, 1, 2], 60)
    known = np.where(rng.random(180) < .2, y, -1)
    model = LogisticRegression().fit(x[known >= 0], y[known >= 0])
    theirs = SelfTrainingClassifier(LogisticRegression(), threshold=threshold, max_iter=1)
    theirs.fit(x, known)
    left = np.flatnonzero(known < 0)
    probs = model.predict_proba(x[left])
    ours = left[surest(probs.max(1), probs.argmax(1).tolist(), threshold)]
    assert ours.tolist() == np.flatnonzero(theirs.labeled_iter_ == 1).tolist()
    assert (theirs.transduction_[ours] == model.predict(x[ours])).all()


def test_guesses_are_the_tuners_answers(tuner, pool):
    got = pseudo_label(tuner, pool, above=.5)
    said = tuner.predict(pool)
    assert 0 < len(got) <= len(pool) and list(got.index) == list(said.index[said.score > .5])
    assert got.label.tolist() == said.prediction[got.index].tolist()
    assert got.guess_score.to_numpy() == pytest.approx(said.score[got.index].to_numpy(), abs=1e-6)
    assert got[GUESSED].all() and "label" not in pool


def test_answers_in_the_pool_are_not_read(tuner, pool):
    wrong = pool.assign(label="no such label")
    assert pseudo_label(tuner, wrong, .5).equals(
        pseudo_label(tuner, pool.assign(label=""), .5))


def test_the_blind_control_is_as_large(tuner, pool):
    sure = pseudo_label(tuner, pool, .5, per_class=3)
    blind = pseudo_label(tuner, pool, .5, per_class=3, take="random", seed=1)
    assert len(sure) == len(blind) and list(sure.index) != list(blind.index)
    assert sure.label.value_counts().max() <= 3


@pytest.mark.parametrize("role", ["valid", "evaluate", "judge", "ladder"])
def test_no_role_but_train_takes_guesses(tuner, pool, role, tiny):
    got = pseudo_label(tuner, pool, 0.)
    ways = {
        "valid": lambda: FineTuner(TextClassification(), tiny("bert"), ONCE).fit(texts(24), got),
        "evaluate": lambda: tuner.evaluate(got),
        "judge": lambda: judge(tuner, got, Calibrate),
        "ladder": lambda: ladder(TextClassification(), texts(24), texts(12, 1), got,
                                 rungs=("majority",)),
    }
    with pytest.raises(DataError, match="a model guessed"):
        ways[role]()


def test_no_certificate_counts_guesses(tuner, pool):
    verdict = repr(tuner.certify(pseudo_label(tuner, pool, 0.), "accuracy >= 0.1"))
    assert "REFUSED" in verdict and "a model guessed" in verdict


def test_a_mark_outlives_a_file(tuner, pool, tmp_path):
    got = pseudo_label(tuner, pool, 0.)
    got.to_csv(tmp_path / "guesses.csv", index=False)
    again = read_table(tmp_path / "guesses.csv")
    with pytest.raises(DataError, match=f"{len(got)} of {len(got)} evaluation rows"):
        tuner.evaluate(again)


def test_without_the_mark_a_learned_guess_is_still_refused(tuner, pool, tiny):
    got = pseudo_label(tuner, pool, 0.)
    rows = with_guesses(texts(24), got)
    student = FineTuner(TextClassification(), tiny("bert"), ONCE, device="cpu").fit(rows)
    with pytest.raises(Refused, match="served as train"):
        judge(student, got.drop(columns=[GUESSED, "guess_score"]))


def test_a_table_with_guesses_keeps_its_facts(tuner, pool):
    train = note(texts(24).assign(film=["a", "b"] * 12), group="film")
    got = pseudo_label(tuner, pool.assign(film="c"), 0.)
    both = with_guesses(train, got)
    assert about(both).group == "film" and both[GUESSED].sum() == len(got)
    twice = with_guesses(both, got)
    assert twice[GUESSED].sum() == 2 * len(got) and list(twice) == list(both)


def test_rounds(tuner, pool):
    train, valid = texts(24), texts(12, 1)
    found = self_train(tuner, train, valid, pool, rounds=2, above=0., per_class=5)
    assert found.rounds["round"].tolist() == [0, 1, 2] and found.rounds.kept.sum() == 1
    assert found.rounds.guesses.tolist() == [0, *map(len, found.guesses)]
    best = found.rounds.accuracy.idxmax()
    assert found.rounds.kept[best]
    assert found.tuner.evaluate(valid).metrics["accuracy"] == pytest.approx(
        found.rounds.accuracy[best])
    assert found.plot().axes and "kept" in repr(found)


def test_a_self_trained_model_is_saved_and_loaded(tuner, pool, tmp_path):
    found = self_train(tuner, texts(24), texts(12, 1), pool, rounds=1, above=0.)
    again = FineTuner.load(found.tuner.save(tmp_path / "run"))
    assert again.predict(pool).equals(found.tuner.predict(pool))
    further = self_train(again, texts(24), texts(12, 1), pool, rounds=1, above=0.)
    assert len(further.rounds) == 2 and "train of an earlier run" in further.tuner.seen


def test_no_sure_guess_ends_the_rounds(tuner, pool):
    found = self_train(tuner, texts(24), texts(12, 1), pool, rounds=3, above=1 - 1e-9)
    assert len(found.rounds) == 1 and found.guesses == []


def test_rows_in_two_roles_are_refused(tuner, pool, said):
    train, valid = texts(24), texts(12, 1)
    with pytest.raises(DataError, match="2 unlabelled rows also stand in valid"):
        self_train(tuner, train, valid, pd.concat([pool, valid[["text"]][:2]]))
    self_train(tuner, train, valid, pd.concat([pool, train[["text"]][:3]]), rounds=1, above=.99)
    assert "3 unlabelled rows also stand in train" in said()
    films = [note(rows.assign(film=name), group="film")
             for rows, name in ((train, "a"), (valid, "b"))]
    with pytest.raises(DataError, match="1 group by film"):
        self_train(tuner, *films, pool.assign(film="b"))
    with pytest.raises(DataError, match="no column 'film'"):
        self_train(tuner, *films, pool)


def test_quality_is_counted_on_valid(tuner):
    valid = texts(30, 5)
    table = guess_quality(tuner, valid, (.5, .6), confidence=.9)
    said = tuner.predict(valid)
    kept = said.score > .5
    right = (said.prediction == valid.label)[kept]
    assert table.guesses[0] == kept.sum() and table.right[0] == pytest.approx(right.mean())
    assert table.at_least[0] == pytest.approx(1 - exact_bound((~right).sum(), len(right), .05))
    grouped = note(valid.assign(film=np.arange(30) // 10), group="film")
    assert guess_quality(tuner, grouped, (.0,)).at_least[0] < table.at_least[0]


def test_several_labels_and_pictures(tiny):
    rows = texts(24).assign(label=["good", "bad;good", "bad"] * 8)
    task = TextClassification(multi_label=True)
    several = FineTuner(task, tiny("bert"), ONCE, device="cpu").fit(rows)
    got = pseudo_label(several, texts(20, 3)[["text"]], 0.)
    targets = [several.task.target(row) for row in got.to_dict("records")]
    assert targets == several.predict(got).prediction.tolist()
    images = pd.DataFrame({"image": shapes(24), "label": ["bar", "square"] * 12})
    seeing = FineTuner(ImageClassification(), tiny("vit"), ONCE, device="cpu").fit(images[:12])
    assert len(pseudo_label(seeing, images[["image"]][12:], 0.)) == 12
    for by in WAYS:
        assert len(choose_rows(seeing, images[["image"]][12:], 5, by)) == 5
        assert len(choose_rows(several, texts(20, 3)[["text"]], 5, by)) == 5


def test_tasks_without_classes_say_so(tiny):
    rows = texts(16).assign(number=np.arange(16.))
    numbers = FineTuner(TextRegression(number="number"), tiny("bert"), ONCE).fit(rows)
    with pytest.raises(TrainingError, match="no probabilities"):
        pseudo_label(numbers, rows)
    with pytest.raises(TrainingError, match="no probabilities"):
        choose_rows(numbers, rows, 3)
    assert len(choose_rows(numbers, rows, 3, "typical")) == 3


# --- choosing rows ---

def test_doubt_is_scipys_entropy():
    probs = np.random.default_rng(0).dirichlet(np.ones(5), 50)
    assert doubt(probs) == pytest.approx(stats.entropy(probs.T))
    two = np.random.default_rng(0).random((9, 3))
    by_hand = sum(stats.entropy([two[:, k], 1 - two[:, k]]) for k in range(3))
    assert doubt(two, several=True) == pytest.approx(by_hand)


@pytest.mark.parametrize("classes", [2, 5])
def test_gradients_are_spread_as_by_scikit_learn(classes):
    rng = np.random.default_rng(classes)
    pulls, x = residuals(rng.dirichlet(np.ones(classes), 200)), rng.normal(size=(200, 6))
    points = np.einsum("nc,nd->ncd", pulls, x).reshape(200, -1)
    for seed in range(10):
        _, theirs = kmeans_plusplus(points, 12, random_state=seed, n_local_trials=1)
        ours = spread_out(pulls, x, 12, np.random.RandomState(seed))
        assert ours.tolist() == theirs.tolist()


def test_typicality_by_brute_force():
    x = np.random.default_rng(0).normal(size=(60, 3))
    apart = np.sort(np.linalg.norm(x[:, None] - x, axis=-1), axis=1)[:, 1:21]
    assert typicality(x) == pytest.approx(1 / apart.mean(1))


@pytest.mark.parametrize("by", WAYS)
def test_rows_are_chosen_once_and_again_the_same(by, tuner, pool, said):
    double = pd.concat([pool, pool])
    chosen = choose_rows(tuner, double, 10, by, seed=3)
    assert len(chosen) == chosen.text.nunique() == 10
    assert chosen.equals(choose_rows(tuner, double, 10, by, seed=3))
    assert "different ones" not in said()
    every = choose_rows(tuner, double, 100, by)
    assert len(every) == every.text.nunique() == len(pool)
    assert "100 rows asked for, and only 40 different ones" in said()


def test_the_most_doubtful_come_first(tuner, pool):
    chosen = choose_rows(tuner, pool, 7)
    scores = tuner.predict(pool).score
    assert sorted(chosen.index) == sorted(scores.nsmallest(7).index)


def test_typical_rows_keep_away_from_labelled_ones():
    rng = np.random.default_rng(0)
    crowds = [rng.normal(10 * k, .1, (30, 2)) for k in range(4)]
    x, rows = np.concatenate(crowds), pd.DataFrame({"k": np.repeat(range(4), 30)})
    assert set(choose_rows(x, rows, 4, "typical").k) == {0, 1, 2, 3}
    left = choose_rows(x[30:], rows[30:], 3, "typical", known=crowds[0])
    assert set(left.k) == {1, 2, 3}


def test_features_that_do_not_fit(pool):
    x = np.zeros((40, 2))
    for source, more in (
        (x[:5], {}), (x * np.nan, {}), (x, dict(by="entropy")), (x, dict(n=0)),
        (x, dict(by="badge", probs=x[:3])), (x, dict(by="badge", probs=x + 2)),
        (x, dict(by="typical", known=pool)),
    ):
        with pytest.raises(DataError):
            choose_rows(source, pool, **dict(n=3, by="random") | more)


# --- learning curves ---

def drawn(a, b, c, seed=0, spread=.3, sizes=(32, 64, 128, 256, 512), repeats=5):
    rng = np.random.default_rng(seed)
    return pd.DataFrame([
        (n, r, power_law(n, a, b, c) + rng.normal() * spread / n**.5)
        for n in sizes for r in range(repeats)], columns=["n", "repeat", "error"]).clip(lower=0)


@pytest.mark.parametrize("abc", [(.9, .4, .1), (2, .7, 0), (.5, .2, .05)])
def test_a_curve_without_noise_is_found(abc):
    n = np.array([20, 40, 80, 160, 320, 640])
    found = fit_power_law(n, power_law(n, *abc), 1 / np.sqrt(n))
    assert power_law(4 * n, *found) == pytest.approx(power_law(4 * n, *abc), rel=1e-2)


def test_intervals_hold_where_the_law_is_true():
    inside = []
    for seed in range(10):
        curve = LearningCurve(drawn(.9, .4, .1, seed), seed=seed)
        run = power_law(2048, .9, .4, .1) + np.random.default_rng(seed).normal() * .3 / 2048**.5
        told = curve.predict([2048])
        inside.append(told.low[0] <= run <= told.high[0])
    assert np.mean(inside) >= .7


def test_labels_lie_where_the_band_crosses():
    curve = LearningCurve(drawn(2, .5, 0, spread=.1))
    answer = labels_for(curve, accuracy=1 - power_law(900, 2, .5, 0))
    assert answer.low <= 900 <= answer.high
    at = curve.predict([answer.likely, answer.likely * .9])
    assert at.likely[0] <= 1 - answer.goal <= at.likely[1]
    assert answer.more[0] == max(answer.low - 512, 0)


SAID = {
    "which you have": (drawn(2, .7, 0), .8),
    "more than measured": (drawn(2, .5, 0, spread=.1), .93),
    "not said": (drawn(.9, .1, 0, spread=.02), .8),
    "never, by this curve": (drawn(2, 1., .2, spread=.02), .9),
}


@pytest.mark.parametrize("words", SAID)
def test_every_answer(words):
    points, goal = SAID[words]
    assert words in repr(labels_for(LearningCurve(points), accuracy=goal))


def test_a_probe_and_a_tuner_are_measured(tiny, said):
    train, valid = texts(48), texts(12, 1)
    curve = learning_curve(
        TextClassification(), train, valid, repeats=2, sizes=(8, 12, 24, 48),
        checkpoint=str(tiny("bert")))
    counts = curve.points.groupby("n").size()
    assert counts.to_dict() == {8: 2, 12: 2, 24: 2, 48: 1}
    tuner = FineTuner(TextClassification(), tiny("bert"), ONCE, device="cpu")
    full = learning_curve(TextClassification(), train, valid, (8, 12, 24, 48), 2, tuner)
    assert full.points.groupby("n").size().to_dict() == {8: 2, 12: 2, 24: 2, 48: 2}
    assert full.points.error.between(0, 1).all() and tuner.model is None
    assert curve.plot(accuracy=.7).axes


def test_tags_and_numbers_are_measured(tiny):
    rows = pd.DataFrame({"words": [s.split() for s in SENTENCES] * 6})
    rows["tags"] = [["O"] * (len(words) - 1) + ["B-END"] for words in rows.words]
    how = dict(sizes=(4, 8, 16, 32), repeats=2, checkpoint=str(tiny("bert")))
    tags = learning_curve(SequenceLabelling(), rows[:40], rows[40:], **how)
    assert tags.rising and tags.points.error.between(0, 1).all()
    numbers = texts(48).assign(number=np.arange(48.))
    curve = learning_curve(TextRegression(number="number"), numbers[:40], numbers[40:], **how)
    assert curve.metric in repr(labels_for(curve, error=curve.points.error.max()))


def test_a_function_of_ones_own():
    asked = []
    def fit(train, valid):
        asked.append((len(train), train.label.nunique(), len(valid)))
        return 1 - len(train)**-.5
    curve = learning_curve(TextClassification(), texts(200), texts(12, 1), repeats=3, fit=fit)
    assert {n for n, _, _ in asked} == set(usual_sizes(200)) and {c for _, c, _ in asked} == {2}
    assert curve.predict([FARTHEST * 200]).likely[0] == pytest.approx(800**-.5, rel=.05)
    with pytest.raises(TrainingError, match="a finite number is needed"):
        learning_curve(TextClassification(), texts(200), texts(12, 1), fit=lambda *_: None)


def test_runs_that_are_no_curve():
    good = drawn(.9, .4, .1)
    for bad in (
        good[:0], good.drop(columns="error"), good[good.n < 200], good[good["repeat"] == 0],
        good.assign(error=np.nan), good.assign(n=0), good.assign(error="x"), good.assign(error=-1),
    ):
        with pytest.raises(DataError):
            LearningCurve(bad)
    rows, valid = texts(48), texts(12, 1)
    for sizes in ((), (8, 16, 32), (8, 16, 32, 64), (1, 8, 16, 32), ("a", 1, 2, 3)):
        with pytest.raises(SFTError):
            learning_curve(TextClassification(), rows, valid, sizes)


# --- wrong arguments ---

def calls(tuner, pool):
    train, valid = texts(24), texts(12, 1)
    curve, x = LearningCurve(drawn(.9, .4, .1)), np.random.default_rng(0).normal(size=(40, 3))
    return {
        "surest": (surest, dict(scores=[.9], answers=["a"], above=.5, per_class=1)),
        "pseudo_label": (pseudo_label, dict(
            tuner=tuner, unlabelled=pool, above=.5, per_class=3, take="random", seed=0,
            batch_size=8)),
        "guess_quality": (guess_quality, dict(
            tuner=tuner, valid=valid, tries=(.5, .9), confidence=.9, batch_size=8)),
        "with_guesses": (with_guesses, dict(train=train, guesses=pseudo_label(tuner, pool, 0.))),
        "choose_rows": (choose_rows, dict(
            source=x, unlabelled=pool, n=3, by="typical", seed=0, probs=None, known=None,
            several=False)),
        "doubt": (doubt, dict(probs=x, several=False)),
        "predict": (curve.predict, dict(n=[100], share=.8, widen=1.)),
        "labels_for": (labels_for, dict(curve=curve, accuracy=.8, error=None, share=.8)),
        "plot": (curve.plot, dict(accuracy=.8, error=None)),
        "LearningCurve": (LearningCurve, dict(
            points=drawn(.9, .4, .1), metric="accuracy", rising=True, seed=0)),
    }


NAMES = ("surest", "pseudo_label", "guess_quality", "with_guesses", "choose_rows", "doubt",
         "predict", "labels_for", "plot", "LearningCurve")


@pytest.mark.parametrize("name", NAMES)
def test_wrong_arguments(name, tuner, pool):
    call, valid = calls(tuner, pool)[name]
    assert not faults(call, valid, WRONG)


def test_wrong_arguments_of_what_works_long(tuner, pool):
    train, valid = texts(24), texts(12, 1)
    rows = dict(tuner=tuner, train=train, valid=valid, unlabelled=pool)
    more = dict(rounds=1, above=.999, per_class=1, take="surest")
    few = {name: FEW[name] for name in ("None", "half a character", "an object")}
    assert not faults(self_train, rows | more, few)
    asked = dict(task=TextClassification(), train=train, valid=valid, sizes=(4, 8, 12, 24),
                 repeats=2, fit=lambda *_: .5, checkpoint=None, seed=0)
    assert not faults(learning_curve, asked, few)
