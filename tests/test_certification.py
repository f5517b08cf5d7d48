"""Certificates: agreement with other libraries, every task of the table, guards, the command
line. Validity over 1,000 draws stands in the notebooks.
"""
import json
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from cases import CASES
from tiny_models import SENTENCES
from scipy import stats

from sft_nb.all import FineTuner, Recipe, TextClassification, split
from sft_nb.certification import bounds, calibration, claims, comparison, selective, sets
from sft_nb.certification.certificate import Certificate
from sft_nb.certification.schema import SCHEMA, misfits
from sft_nb.certification.groups import behave, invariance, templates
from sft_nb.certification.overlap import row_features, shift_test
from sft_nb.certification.roles import Calibrate, Certify, Refused, judge
from sft_nb.certification.verification import verify
from sft_nb.commands.cli import main
from sft_nb.task import DataError

POOL = json.loads((Path(__file__).parents[1] / "results" / "certification_pool.json").read_text())
FRESH = np.array([c == "1" for c in POOL["pool"]["fresh"]])
FILM = np.array(POOL["pool"]["film"].split(), int)
ODDS = np.array(POOL["log odds of fresh, in thousandths"]["tuned"]["pool"].split(), int) / 1000
WRONG = ((ODDS > 0) != FRESH).astype(float)
PROBS = np.stack([1 / (1 + np.exp(ODDS)), 1 / (1 + np.exp(-ODDS))], 1)


# --- agreement with other libraries ---

@pytest.mark.parametrize("n", [1, 20, 100, 300, 1000])
def test_the_exact_bound_is_scipys_and_statsmodels(n):
    from statsmodels.stats.proportion import proportion_confint
    for k in {0, n // 20, n // 5, n - 1, n}:
        ours = bounds.exact_bound(k, n)
        assert ours == pytest.approx(
            stats.binomtest(k, n, alternative="less").proportion_ci(0.95, "exact").high, abs=1e-9
        )
        assert ours == pytest.approx(proportion_confint(k, n, alpha=.1, method="beta")[1], abs=1e-9)


@pytest.mark.parametrize("n", [100, 300, 1000])
def test_the_bound_keeps_its_word_and_is_no_wider_than_it_must_be(n):
    rng = np.random.default_rng(n)
    k = np.array([WRONG[rng.integers(0, len(WRONG), n)].sum() for _ in range(1000)])
    ours = np.array([bounds.risk_bound(np.repeat([1., 0.], [int(x), n - int(x)])).value for x in k])
    theirs = stats.beta.ppf(.95, k + 1, n - k)
    assert (ours < WRONG.mean()).mean() <= bounds.allowed(.05)
    assert (ours - k / n).mean() == pytest.approx((theirs - k / n).mean(), rel=.05)


def test_whole_groups_and_one_row_of_each():
    rows = [np.flatnonzero(FILM == f) for f in range(FILM.max() + 1)]
    risk = np.mean([WRONG[r].mean() for r in rows])
    def draw(rng):
        films = rng.integers(0, len(rows), 100)
        losses = np.concatenate([WRONG[rows[f]] for f in films])
        groups = np.repeat(np.arange(100), [len(rows[f]) for f in films])
        return losses[bounds.one_per_group(groups, int(rng.integers(1 << 30)))]
    assert bounds.trials(draw, lambda x: bounds.risk_bound(x).value < risk, 200) <= bounds.allowed(
        0.05, 200
    )


def test_the_cluster_robust_error_is_statsmodels():
    import statsmodels.api as sm
    at = np.isin(FILM, range(40))
    fit = sm.OLS(WRONG[at], np.ones(at.sum())).fit(
        cov_type="cluster", cov_kwds={"groups": FILM[at], "use_correction": True}
    )
    ours, g, n = bounds.cluster_bound(WRONG[at], FILM[at]), 40, at.sum()
    assert (ours.value - ours.mean) / stats.t.ppf(0.95, g - 1) == pytest.approx(
        fit.bse[0], rel=2 / n
    )


def test_mcnemar_is_statsmodels():
    from statsmodels.stats.contingency_tables import mcnemar
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, (2, 200))
    table = [[((a == i) & (b == j)).sum() for j in (1, 0)] for i in (1, 0)]
    assert comparison.mcnemar(a, b) == pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-9)


class Known:
    "A fitted classifier for MAPIE that knows the pool's probabilities: the input is a position."
    def __init__(self, probs): self.probs, self.classes_ = probs, np.array([0, 1])
    def fit(self, x, y): return self
    def predict_proba(self, x): return self.probs[np.asarray(x, int).ravel()]
    def predict(self, x): return self.predict_proba(x).argmax(1)
    def __sklearn_is_fitted__(self): return True
    def __sklearn_tags__(self):
        from sklearn.base import BaseEstimator, ClassifierMixin
        class Like(ClassifierMixin, BaseEstimator):
            pass
        return Like().__sklearn_tags__()
    def get_params(self, deep=True): return {"probs": self.probs}
    def set_params(self, **params): return self


def test_prediction_sets_are_mapies():
    from mapie.classification import SplitConformalClassifier
    at = np.random.default_rng(0).permutation(len(FRESH))
    cal, new, truth = at[:300], at[300:800], FRESH.astype(int)
    theirs = SplitConformalClassifier(
        Known(PROBS), confidence_level=0.9, conformity_score="lac", prefit=True
    )
    theirs.conformalize(cal[:, None], truth[cal])
    ours = sets.prediction_sets(PROBS[new], sets.conformal_quantile(1 - PROBS[cal, truth[cal]], .1))
    said = theirs.predict_set(new[:, None])[1][:, :, 0]
    assert said.shape == ours.shape and (said == ours).mean() >= 0.998  # ties at the last bit


def test_hoeffding_bentkus_is_mapies():
    from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value as compute
    for r, n, alpha in [(.05, 200, .1), (.2, 500, .25), (.0, 50, .1)]:
        theirs = np.ravel(compute(np.array([r]), n, alpha)).item()
        assert bounds.hb_p_value(r, n, alpha) == pytest.approx(theirs, rel=1e-6)


# --- validity of what is chosen on calibrate rows ---

STRANGE, SIZES = 1 - PROBS[np.arange(len(FRESH)), FRESH.astype(int)], np.bincount(FILM)
ORDER, STARTS = np.argsort(FILM, kind="stable"), np.cumsum(SIZES) - SIZES


def drawn(unit, n):
    """rng -> n rows of the population, and the weight of each of its rows:

    rows, or one random row of each of n films drawn whole.
    """
    if unit == "row":
        return lambda rng: rng.integers(0, len(WRONG), n), np.full(len(WRONG), 1 / len(WRONG))
    def one_each(rng):
        films = rng.integers(0, len(SIZES), n)
        return ORDER[STARTS[films] + (rng.random(n) * SIZES[films]).astype(int)]
    return one_each, (1 / SIZES)[FILM] / len(SIZES)


by_unit = pytest.mark.parametrize("unit", ["row", "film"])
by_size = pytest.mark.parametrize("n", [100, 300, 1000])


@by_unit
@by_size
def test_thresholds_keep_their_promise_and_the_obvious_one_does_not(n, unit):
    (draw, weight), confidence = drawn(unit, n), PROBS.max(1)
    tries = selective.candidates(confidence[::7], np.arange(.1, 1.001, .05))
    def risk(t):
        kept = confidence >= (2 if t is None else t)
        return np.average(WRONG[kept], weights=weight[kept]) if kept.any() else 0.0
    def tested(at):
        try:
            return selective.learn_threshold(confidence[at], WRONG[at], 0.1, tries).value
        except Refused:
            return None
    def kept_risk(at, t):
        kept = confidence[at] >= t
        return WRONG[at][kept].mean() if kept.any() else np.inf
    def obvious(at):
        return min((t for t in tries if kept_risk(at, t) <= 0.1), default=None)
    assert bounds.trials(draw, lambda at: risk(tested(at)) > .1) <= bounds.allowed(.05)
    assert bounds.trials(draw, lambda at: risk(obvious(at)) > .1, 200) > .2


@by_unit
@by_size
def test_sets_and_risk_control_keep_their_promises(n, unit):
    "Coverage with confidence, coverage on average, and the expected loss."
    (draw, weight), settings = drawn(unit, n), np.linspace(.02, .98, 97)
    def covered(at, alpha):
        return weight[STRANGE <= sets.conformal_quantile(STRANGE[at], alpha)].sum()

    promise = sets.alpha_for(.9, n)
    assert bounds.trials(draw, lambda at: covered(at, promise) < 0.9) <= bounds.allowed(0.05)
    losses = (STRANGE[:, None] > settings).astype(float)
    expected, samples = weight @ losses, [draw(np.random.default_rng(i)) for i in range(1000)]
    coverage = np.array([covered(at, .1) for at in samples])
    assert coverage.mean() >= .9 - 3 * coverage.std() / np.sqrt(1000)
    risk = np.array([expected[sets.control_risk(losses[at], .1)] for at in samples])
    assert risk.mean() <= .1 + 3 * risk.std() / np.sqrt(1000)


# --- every task of the table ---

RECIPE = Recipe(epochs=1, learning_rate=1e-3, batch_size=8, precision="fp32", keep_best=False)


@pytest.mark.parametrize("case", CASES, ids=lambda name: name.replace(" ", "-"))
def test_every_task_certifies_and_verifies(case, tiny, tmp_path):
    one = CASES[case]
    train, kept = one.rows.iloc[:8].reset_index(drop=True), one.rows.iloc[8:].reset_index(drop=True)
    tuner = FineTuner(one.task, one.folder(tiny), RECIPE).fit(train)
    found = tuner.certify(kept, "score >= 0.1", ledger=tmp_path / "ledger.json")
    assert found.verdict in ("CERTIFIED", "NOT CERTIFIED"), found
    jsonschema.validate(found.body, SCHEMA)
    path, run = found.save(tmp_path / "c.json"), tuner.save(tmp_path / "run")
    check = verify(path, FineTuner.load(run), kept.iloc[::-1], train=train)
    assert check.ok, check
    assert (
        tuner.certify(train, "score >= 0.1", ledger=tmp_path / "ledger.json").verdict == "REFUSED"
    )
    metric = one.task.learn(train).metric[0]
    again = tuner.certify(kept, f"{metric} >= 0.1", ledger=tmp_path / "ledger.json")
    assert again.verdict in VERDICTS_BY_NEED(again), again
    behaviour = behave(
        tuner,
        judge(tuner, kept),
        [invariance("nothing", lambda row, rng: row, tuner.task.same), *templates(tuner.task)],
    )
    assert behaviour.failed["invariance: nothing"] == 0
    assert len(behaviour) == 1 + len(tuner.task.harmless())
    assert (behaviour.failed <= behaviour.cases).all() and (behaviour["at most"] > 0).all()


def VERDICTS_BY_NEED(found):
    "A mean has a bound; anything else is estimated, for which four rows are too few."
    return ("CERTIFIED", "NOT CERTIFIED") if found.body["findings"] else ("REFUSED",)


# --- guards ---

@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    "A tiny run on sentences of a small grammar, with rows for every role."
    rng = np.random.default_rng(0)
    words = sorted({w for s in SENTENCES for w in s.split()})
    rows = pd.DataFrame(
        {
            "text": [" ".join(rng.choice(words, 9)) for _ in range(500)],
            "author": rng.integers(0, 150, 500),
        }
    ).drop_duplicates("text")
    rows["label"] = ["good" if len(t) % 2 else "bad" for t in rows.text]
    data = split(rows, valid_size=40, certify_size=.7, seed=1, group="author")
    tuner = FineTuner(TextClassification(), tiny("bert"), RECIPE.but(epochs=2)).fit(
        data.train, data.valid
    )
    return tuner, data, tmp_path_factory.mktemp("books")


def certify(made, rows, claim="accuracy >= 0.3", **options):
    return made[0].certify(rows, claim, ledger=made[2] / "ledger.json", **options)


def test_the_unit_is_what_was_split_by(made):
    found = certify(made, made[1].certify)
    assert found.body["findings"][0]["unit"] == "a random row of a random author"
    assert (
        found.body["findings"][0]["n"]
        == made[1].certify.author.nunique()
        == found.body["rows"]["groups"]
    )
    with pytest.raises(DataError, match="author"):
        judge(made[0], made[1].certify.drop(columns="author"), Certify)


def test_rows_of_another_role_are_refused(made):
    tuner, data, _ = made
    assert "served as train" in certify(made, data.train).body["reason"]
    assert "served as valid" in certify(made, data.valid).body["reason"]
    mixed = pd.concat([data.certify.head(100), data.train.head(1)])
    mixed.attrs["group"] = "author"
    assert "1 row served as train" in certify(made, mixed).body["reason"]
    with pytest.raises(Refused):
        judge(tuner, data.valid, Calibrate)


def test_near_doubles_and_shift_are_warned_of(made):
    _, data, _ = made
    copied = data.train.head(20).assign(text=lambda r: r.text + " so")
    mixed = pd.concat([data.certify, copied], ignore_index=True)
    mixed.attrs["group"] = "author"
    found = certify(made, mixed)
    assert any("near doubles" in w for w in found.body["warnings"])
    assert found.body["doubles"]["without any double"]["rows"] <= len(data.certify)
    words = [w for w in sorted({w for s in SENTENCES for w in s.split()}) if len(w) > 5]
    strange = data.certify.assign(
        text=[
            " ".join(np.random.default_rng(i).choice(words, 3)) + f" {words[i % len(words)]}"
            for i in range(len(data.certify))
        ]
    )
    strange.attrs["group"] = "author"
    assert any(
        "unlike the training rows" in w
        for w in certify(made, strange.drop_duplicates("text")).body["warnings"]
    )


def test_one_row_of_each_group_is_compared(made):
    "Groups that are thinned on one side alone look like no shift: without any, p is spread evenly."
    tuner, data, _ = made
    found, rows = row_features(tuner, data.certify, group="author")
    assert len(found) == len(rows) == data.certify.author.nunique() and rows.author.is_unique
    ps = []
    for s in range(40):
        mine = data.certify.author.isin(
            np.random.default_rng(s).permutation(data.certify.author.unique())[:50]
        )
        sides = data.certify[mine], data.certify[~mine].drop_duplicates("author")
        (a, ra), (b, rb) = (row_features(tuner, side, group="author") for side in sides)
        ps.append(shift_test(a, b, ra.author, rb.author, draws=99, seed=s).p)
    assert .3 < np.mean(ps) < .7 and np.mean(np.array(ps) <= .1) <= .25


def test_the_books_halve_delta_for_every_further_model(made, tiny, tmp_path):
    _, data, _ = made
    kept = data.certify.head(200)
    runs = [
        FineTuner(TextClassification(), tiny("bert"), RECIPE.but(seed=s)).fit(data.train.head(24))
        for s in range(3)
    ]
    deltas = [
        t.certify(kept, "accuracy >= 0.2", ledger=tmp_path / "l.json", group="author").body[
            "ledger"
        ]["delta"]
        for t in [*runs, runs[1]]
    ]
    assert deltas == pytest.approx([.05, .025, .0125, .025])


def test_slices_against_and_conjunctions(made):
    _, data, _ = made
    kept = data.certify.head(120)
    kept.attrs["group"] = "author"
    both = certify(made, kept, "accuracy >= 0.1 and f1_macro >= 0.05").body
    assert both["verdict"] == "ESTIMATED"
    assert [f["finite"] for f in both["findings"]] == [True, False]
    assert sum(f["delta"] for f in both["findings"]) == pytest.approx(both["ledger"]["delta"])
    apart = certify(
        made, kept, "accuracy >= 0.1 for every label", valid=data.valid,
        against=("majority", "before tuning"), slices=("label",),
    )
    assert [f["slice"] for f in apart.body["findings"]] == ["bad", "good"]
    assert sum(f["delta"] for f in apart.body["findings"]) == pytest.approx(
        apart.body["ledger"]["delta"]
    )
    assert set(apart.body["against"]) == {"majority", "before tuning"}
    assert set(apart.body["slices"]) == {"label: bad", "label: good"}
    assert verify(apart, made[0], kept, train=data.train, valid=data.valid).ok
    jsonschema.validate(apart.body, SCHEMA)


def test_a_certificate_survives_the_disk_and_refuses_rubbish(made, tmp_path):
    found = certify(made, made[1].certify)
    assert Certificate.load(found.save(tmp_path / "c.json")).body == found.body
    assert (tmp_path / "c.html").read_text().count("<h2") >= 6
    for text in (
        "", "[]", "{}",
        json.dumps(found.body | {"verdict": "SPLENDID"}),
        json.dumps({k: v for k, v in found.body.items() if k != "rows"}),
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(DataError, match=r"bad\.json"):
            Certificate.load(tmp_path / "bad.json")
    assert misfits(found.body | {"confidence": "high"})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found.body | {"verdict": "SPLENDID"}, SCHEMA)


# --- the command line ---

def sft(*argv):
    with pytest.raises(SystemExit) as e:
        main([str(a) for a in argv])
    return e.value.code or 0


@dataclass
class Desk:
    "A run, its rows as files, and a book of claims."
    run: Path
    here: Path

    @property
    def kept(self): return self.here / "kept.csv"

    @property
    def train(self): return self.here / "train.csv"

    @property
    def certificate(self): return self.here / "cert.json"

    def ask(self, claim, *more, rows=None):
        return sft(
            "certify", self.run, rows or self.kept, "--claim", claim, "--out", self.certificate,
            "--group", "author", "--ledger", self.here / "ledger.json", *more,
        )


@pytest.fixture
def desk(made, tmp_path):
    tuner, data, _ = made
    found = Desk(tuner.save(tmp_path / "run"), tmp_path)
    data.certify.to_csv(found.kept, index=False)
    data.train.to_csv(found.train, index=False)
    return found


def last_json(capsys): return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_command_line(desk, capsys):
    assert desk.ask("accuracy >= 0.2", "--json", "--train", desk.train) == 0
    said = last_json(capsys)
    assert said["verdict"] == "CERTIFIED" and said["findings"][0]["holds"]
    look = ("verify", desk.certificate, "--model", desk.run, "--data")
    assert sft(*look, desk.kept, "--train", desk.train, "--json") == 0
    said = last_json(capsys)
    assert said["verified"] and not said["wrong"] and "findings" in said["checked"]
    pd.read_csv(desk.kept).head(30).to_csv(desk.here / "fewer.csv", index=False)
    assert sft(*look, desk.here / "fewer.csv") == 1
    assert desk.ask("accuracy >= 0.95") == 1
    assert desk.ask("accuracy >= 0.2", rows=desk.train) == 1
    assert desk.ask("bleu >= 0.2") == 1
    assert "REFUSED" in capsys.readouterr().out


def test_mistakes_on_the_command_line(desk, capsys):
    run, kept = desk.run, desk.kept
    claim = ("certify", run, kept, "--claim", "accuracy >= 0.2", "--out")
    for wrong in (
        ("certify", run, kept, "--claim", "good", "--out", desk.certificate),
        (*claim, desk.here / "c.txt"),
        (*claim, desk.certificate, "--confidence", 2),
        ("verify", kept, "--model", run, "--data", kept),
        ("verify", desk.here / "no.json", "--model", run, "--data", kept),
    ):
        assert sft(*wrong) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ") and "Traceback" not in err


# --- small things ---

def test_refusals_name_their_reason():
    with pytest.raises(DataError, match="rises"):
        sets.control_risk(np.array([[0.0, 1.0]]), 0.5)
    with pytest.raises(Refused):
        sets.alpha_for(0.99, 20)
    with pytest.raises(Refused):
        selective.learn_threshold(np.array([0.9]), np.array([0.0]), 0.1, np.array([0.5]))
    with pytest.raises(DataError):
        claims.parse_claim("accuracy == 1")
    assert claims.rows_needed("accuracy >= 0.95", 1.0) == 59
    assert shift_test(np.eye(4), np.eye(4)).p == 1
    assert calibration.calibration_error(
        np.array([0.8] * 10), np.array([1] * 8 + [0] * 2)
    ) == pytest.approx(0)
