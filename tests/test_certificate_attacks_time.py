"""Attacks that use time: rows added until a claim holds, rows chosen by their losses, a monitor
that is fed twice. And agreement with the libraries that do the same.
"""
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sft_nb.certification.certificate import Certificate
from sft_nb.certification import betting, bounds, monitoring, unlabelled
from sft_nb.chance import rng_for
from sft_nb.mistakes import SFTError
from sft_nb.task import DataError

POOL = json.loads((Path(__file__).parents[1] / "results" / "certification_pool.json").read_text())
FRESH = np.array([c == "1" for c in POOL["pool"]["fresh"]])
FILM = np.array(POOL["pool"]["film"].split(), int)
ODDS = np.array(POOL["log odds of fresh, in thousandths"]["tuned"]["pool"].split(), int) / 1000
WRONG = ((ODDS > 0) != FRESH).astype(float)
SHARES = np.array([WRONG[FILM == f].mean() for f in range(FILM.max() + 1)])
LAWS = {  # (rng, n) -> losses, and their mean
    "never": (lambda rng, n: np.zeros(n), 0),
    "rare": (lambda rng, n: (rng.random(n) < .05) * 1., .05),
    "fifth": (lambda rng, n: (rng.random(n) < .2) * 1., .2),
    "half": (lambda rng, n: (rng.random(n) < .5) * 1., .5),
    "always": (lambda rng, n: np.ones(n), 1),
    "uniform": (lambda rng, n: rng.random(n), .5),
    "beta(1, 9)": (lambda rng, n: rng.beta(1, 9, n), .1),
    "beta(1/2, 19/2)": (lambda rng, n: rng.beta(.5, 9.5, n), .05),
    "groups of 5": (lambda rng, n: rng.binomial(5, rng.beta(2, 8, n)) / 5, .2),
    "films": (lambda rng, n: rng.choice(SHARES, n), SHARES.mean()),
    "rare and big": (lambda rng, n: np.where(rng.random(n) < .01, 1., .1), .109),
}


# --- bounds keep their word ---

def broken(law, n, times):
    draw, truth = LAWS[law]
    return bounds.trials(
        lambda rng: draw(rng, n), lambda x: betting.betting_bound(x) < truth - 1e-12, times
    )


@pytest.mark.parametrize("law", LAWS)
def test_a_bet_keeps_its_word(law):
    assert broken(law, 60, 100) <= bounds.allowed(.05, 100)


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 60, 200, 1000])
@pytest.mark.parametrize("law", LAWS)
def test_a_bet_keeps_its_word_in_two_thousand_draws(law, n):
    assert broken(law, n, 2000) <= bounds.allowed(.05, 2000)


def once_false(law, n, times):
    "Share of streams in which the claim that is just true is refuted, ever."
    draw, truth = LAWS[law]
    def ever(x): return bool((betting.log_capital(x, truth) >= np.log(20)).any())
    return bounds.trials(lambda rng: draw(rng, n), ever, times)


LIVELY = [law for law, (_, truth) in LAWS.items() if 0 < truth < 1]


@pytest.mark.parametrize("law", LIVELY)
def test_no_look_of_a_stream_is_false(law):
    assert once_false(law, 500, 200) <= bounds.allowed(.05, 200)


@pytest.mark.slow
@pytest.mark.parametrize("law", LIVELY)
def test_no_look_of_a_long_stream_is_false_in_two_thousand_draws(law):
    assert once_false(law, 3000, 2000) <= bounds.allowed(.05, 2000)


@pytest.mark.parametrize("step", [40, 100, 500])
def test_adding_rows_until_it_holds_is_false_in_delta_at_most(step):
    "The exact bound alone lets it through in one case of five; the running bound does not."
    looks = np.arange(200, 5001, step)
    most = np.array([
        next(k for k in range(n // 5, 0, -1) if bounds.exact_bound(k, int(n)) <= .2) for n in looks
    ])
    alone = cured = 0
    for i in range(300):
        x = (rng_for("add rows", step, i).random(5000) < .2001).astype(float)
        alone += bool((np.cumsum(x)[looks - 1] <= most).any())
        cured += bool((betting.log_capital(x, .2)[looks - 1] >= np.log(20)).any())
    assert alone / 300 > .12
    assert cured / 300 <= .05


def test_the_running_bound_is_where_the_capital_says():
    x = rng_for("running").choice(SHARES, 150)
    running = betting.running_bound(x)
    for claim in (.25, .3, .4):
        crossed = betting.log_capital(x, claim) >= np.log(20)
        assert (running <= claim + 1e-12).tolist() == np.logical_or.accumulate(crossed).tolist()


def test_what_comes_later_changes_no_earlier_bound():
    x = rng_for("prefix").choice(SHARES, 120)
    whole = betting.running_bound(x)
    for n in (1, 10, 60, 120):
        assert betting.running_bound(x[:n])[-1] == whole[n - 1]


def test_the_order_of_rows_changes_no_bit():
    x = rng_for("order").random(300)
    orders = [x, x[::-1], np.sort(x), rng_for("another").permutation(x)]
    assert len({betting.betting_bound(y) for y in orders}) == 1


@pytest.mark.parametrize("n", [20, 60, 200, 1000])
@pytest.mark.parametrize("law", ["uniform", "beta(1, 9)", "groups of 5", "films"])
def test_where_losses_are_shares_it_is_narrower_than_hoeffding_bentkus(law, n):
    for i in range(5):
        x = LAWS[law][0](rng_for("narrow", law, n, i), n)
        assert betting.betting_bound(x) < bounds.hb_bound(float(x.mean()), n)


def test_it_is_never_far_wider_than_hoeffding_bentkus():
    for law, (draw, _) in LAWS.items():
        x = draw(rng_for("wide", law), 200)
        mean = float(x.mean())
        theirs = bounds.hb_bound(mean, 200) - mean
        assert betting.betting_bound(x) - mean <= 1.5 * theirs + 1e-9, law


@pytest.mark.parametrize("value", [0., .5, 1.])
def test_a_hundred_thousand_losses_are_no_trouble(value):
    x = np.full(100_000, value)
    assert value <= betting.betting_bound(x) <= min(1, value + .001)
    assert np.isfinite(betting.log_capital(x, .3, waiting=True)).all()


@pytest.mark.parametrize("x", [[0.], [1.], [.3], [0., 1.]])
def test_very_few_losses_give_a_bound(x):
    assert np.mean(x) <= betting.betting_bound(x) <= 1
    assert np.mean(x) <= betting.running_bound(x)[-1] <= 1
    low, high = betting.running_interval(x)
    assert (low <= np.mean(x)).all() and (high >= np.mean(x)).all()


@pytest.mark.parametrize("f", [
    betting.betting_bound, betting.running_bound, betting.betting_interval,
    betting.running_interval, betting.plot_running,
])
@pytest.mark.parametrize("x", [[], [1.1], [-.1], [np.nan], [np.inf], ["a"], None, [[.1, .2]], "x"])
def test_what_is_no_loss_is_a_sentence(f, x):
    with pytest.raises(DataError, match="between 0 and 1"):
        f(x)


@pytest.mark.parametrize("delta", [0., 1., -1., 2.])
def test_what_is_no_delta_is_a_sentence(delta):
    for f in (betting.betting_bound, betting.running_bound):
        with pytest.raises(DataError, match="delta"):
            f([.5], delta)


# --- agreement with other libraries ---

def naive_capital(x, claim):
    "The formula, purse by purse and row by row."
    total = 0
    for k in range(10):
        purse = 1
        for loss in x:
            purse *= 1 + .5**k * (claim - loss) / (1 - claim)
        total += purse / (k + 1)
    return total / sum(1 / (k + 1) for k in range(10))


@pytest.mark.parametrize("claim", [.05, .2, .6])
def test_the_capital_is_the_formula(claim):
    x = rng_for("formula").choice(SHARES, 40)
    for n in (1, 7, 40):
        ours = betting.log_capital(x, claim)[n - 1]
        assert ours == pytest.approx(np.log(naive_capital(x[:n], claim)), abs=1e-5)
    late = sum(naive_capital(x[s:], claim) / ((s + 1) * (s + 2)) for s in range(40))
    waiting = betting.log_capital(x, claim, waiting=True)[-1]
    assert waiting == pytest.approx(np.log(late), abs=1e-5)


@pytest.mark.parametrize("claim", [.1, .25, .5])
def test_the_capital_is_confseqs(claim):
    theirs = pytest.importorskip("confseq.betting")
    x = rng_for("confseq").choice(SHARES, 200)
    stakes = [lambda x, m, c=.5**k: np.full(len(x), c / (1 - m)) for k in range(10)]
    money = 1 / np.arange(1, 11)
    capital = theirs.diversified_betting_mart(
        x, claim, stakes, lambdas_weights=money / money.sum(), theta=0, trunc_scale=1
    )
    assert betting.log_capital(x, claim) == pytest.approx(np.log(capital), abs=1e-8)


def test_the_running_bound_is_about_as_narrow_as_confseqs():
    theirs = pytest.importorskip("confseq.betting")
    x = rng_for("confseq").choice(SHARES, 400)
    _, high = theirs.hedged_cs(x, alpha=.05, theta=0, breaks=500)
    assert betting.running_bound(x)[-1] - x.mean() <= 1.15 * (high[-1] - x.mean())


def mapies(x, claimed):
    "After how many rows MAPIE warns; inf: it does not."
    found = pytest.importorskip("mapie.exchangeability_testing")
    monitor = found.RiskMonitoring(risk="accuracy", threshold=claimed, test_level=.1, warn=False)
    monitor.update(np.ones(len(x), int), 1 - x.astype(int))
    low = monitor.online_risk_lower_bound_sequence_history
    return next(iter(np.flatnonzero(low > claimed) + 1), np.inf)


def ours(x, claimed):
    monitor = monitoring.Monitor(claimed)
    monitor.add(x)
    return monitor.refuted_at or np.inf


@pytest.mark.parametrize("risk", [.1, .2, .5, .7])
def test_a_monitor_says_what_mapies_says(risk):
    "A claim of 0.25 that stands, or falls at once."
    x = (rng_for("mapie", risk).random(250) < risk).astype(float)
    assert np.isfinite(ours(x, .25)) == np.isfinite(mapies(x, .25)) == (risk > .25)


def test_a_monitor_sees_decay_before_mapies_does():
    before, after = [], []
    for i in range(4):
        rng = rng_for("decay", i)
        x = np.concatenate([rng.random(400) < .1, rng.random(600) < .5]).astype(float)
        before.append(ours(x, .25))
        after.append(mapies(x, .25))
    assert max(before) < min(after) and min(before) > 400


# --- the monitor ---

def alarms(times, n, risk=.2):
    "Share of streams of a claim that is just true which are refuted."
    def refuted(x): return ours(x, .2) < np.inf
    return bounds.trials(lambda rng: (rng.random(n) < risk).astype(float), refuted, times)


def test_a_true_claim_is_refuted_in_delta_at_most():
    assert alarms(100, 500) <= .05
    assert alarms(100, 500, .35) >= .95  # and one that is false is found


@pytest.mark.slow
def test_a_true_claim_is_refuted_in_delta_at_most_in_a_thousand_long_streams():
    assert alarms(1000, 5000) <= bounds.allowed(.05, 1000)


def test_looking_often_or_seldom_is_the_same():
    x = (rng_for("looks").random(300) < .3).astype(float)
    often, once = monitoring.Monitor(.2), monitoring.Monitor(.2)
    for loss in x:
        often.add([loss])
    once.add(x)
    assert (often.losses, often.refuted_at) == (once.losses, once.refuted_at)


def test_rows_that_are_handed_in_again_do_not_count():
    monitor = monitoring.Monitor(.2)
    monitor.add([0., 1.], ["a", "b"])
    for _ in range(50):
        assert "2 left out" in monitor.add([0., 0.], ["a", "b"])
    assert monitor.losses == [0., 1.]


def test_a_pasted_row_and_a_whole_group_are_one_unit():
    monitor = monitoring.Monitor(.2)
    monitor.add([1.] * 500, ["the same"] * 500)
    monitor.add([1.] * 99 + [0.], list(range(100)), ["one film"] * 100)
    assert monitor.losses == [1., .99]
    assert monitor


def test_it_goes_on_after_a_restart(tmp_path):
    x = (rng_for("restart").random(200) < .4).astype(float)
    whole = monitoring.Monitor(.2, claim="accuracy >= 0.8")
    parts = monitoring.Monitor(.2, claim="accuracy >= 0.8")
    whole.add(x, list(range(200)))
    for start in range(0, 200, 50):
        at = range(start, start + 50)
        parts.add(x[at], list(at))
        parts = monitoring.Monitor.load(parts.save(tmp_path / "state.json"))
    assert parts.losses == whole.losses and parts.known == whole.known
    assert parts.refuted_at == whole.refuted_at and parts.looks == [50, 100, 150, 200]
    assert parts.plot().axes[0].lines


@pytest.mark.parametrize("change", [
    {"losses": [2.]}, {"losses": "no"}, {"losses": [float("nan")]}, {"looks": [5]},
    {"looks": [-1, 2]}, {"known": [1]}, {"claimed_risk": 0}, {"delta": 2}, {"delta": None},
    {"monitor": 2}, {"more": 1}, {"claim": 3},
])
def test_a_state_that_was_tampered_with_is_a_sentence(tmp_path, change):
    monitor = monitoring.Monitor(.2)
    monitor.add([0., 1.])
    path = monitor.save(tmp_path / "state.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SFTError):
        monitoring.Monitor.load(path)


@pytest.mark.parametrize("body, says", [
    ({"verdict": "NOT CERTIFIED"}, "Certify first"),
    ({"verdict": "CERTIFIED", "claim": "accuracy >= .8 and score >= .7"}, "part="),
    ({"verdict": "CERTIFIED", "claim": "accuracy >= .8 for every x"}, "slice"),
])
def test_what_cannot_be_watched_is_a_sentence(body, says):
    with pytest.raises(DataError, match=says):
        monitoring.monitor_of(body)


def test_at_most_claims_are_watched_too():
    body = {"verdict": "CERTIFIED", "claim": "score <= 0.3 and accuracy >= 0.9", "confidence": .9}
    assert monitoring.monitor_of(body, "score <= 0.3").claimed_risk == .3
    assert monitoring.monitor_of(body, "accuracy >= 0.9").claimed_risk == .1
    assert Certificate(body).monitor("accuracy >= 0.9").claimed_risk == .1


# --- rows without labels ---

HELPER = np.where(rng_for("helper").random(len(FRESH)) < .97, FRESH, ~FRESH)
GUESSES = {
    "a helper": ((ODDS > 0) != HELPER).astype(float),
    "own confidence": 1 / (1 + np.exp(np.abs(ODDS))),
    "always wrong": 1 - WRONG,
}


def powered_false(guess, times):
    def draw(rng): return rng.integers(0, len(WRONG), 200), rng.integers(0, len(WRONG), 1000)
    def low(at):
        found = unlabelled.powered_bound(WRONG[at[0]], guess[at[0]], guess[at[1]])
        return found < WRONG.mean()
    return bounds.trials(draw, low, times)


@pytest.mark.parametrize("name", GUESSES)
def test_a_guess_never_makes_the_bound_false(name):
    assert powered_false(GUESSES[name], 40) <= bounds.allowed(.05, 40)


@pytest.mark.slow
@pytest.mark.parametrize("name", GUESSES)
def test_a_guess_never_makes_the_bound_false_in_a_thousand_draws(name):
    assert powered_false(GUESSES[name], 1000) <= bounds.allowed(.05, 1000)


@pytest.mark.parametrize("name", GUESSES)
def test_the_estimate_is_that_of_ppi_py(name):
    theirs = pytest.importorskip("ppi_py")
    rng = rng_for("ppi", name)
    a, b = rng.integers(0, len(WRONG), 300), rng.integers(0, len(WRONG), 4000)
    guess = GUESSES[name]
    mean, high = unlabelled.powered_estimate(WRONG[a], guess[a], guess[b])
    at = theirs.ppi_mean_pointestimate(WRONG[a], guess[a], guess[b])
    top = theirs.ppi_mean_ci(WRONG[a], guess[a], guess[b], alpha=.1)[1]
    assert mean == pytest.approx(np.ravel(at)[0], abs=2e-3)
    assert high - mean == pytest.approx(np.ravel(top)[0] - np.ravel(at)[0], rel=.01)


def test_without_trust_the_estimate_is_the_usual_one():
    x = SHARES[:100]
    mean, high = unlabelled.powered_estimate(x, x[::-1], x, trust=0.)
    assert mean == x.mean()
    assert high == pytest.approx(x.mean() + stats.norm.ppf(.95) * x.std() / 10)


def test_a_close_guess_helps_and_a_bad_one_is_worth_nothing():
    rng = rng_for("close")
    x, more = rng.random(1000), np.linspace(0, 1, 20_000)
    x += .5 - x.mean()
    x = np.clip(x, 0, 1)  # neither lucky nor unlucky
    close = np.clip(x + .03 * rng.standard_normal(1000), 0, 1)
    assert unlabelled.powered_bound(x, close, more) < betting.betting_bound(x)
    assert unlabelled.labels_worth(x, close, 20_000) > 10_000
    assert unlabelled.labels_worth(x, rng.random(1000), 20_000) < 1050
