"""How often each guarantee of a certificate is broken where its truth is known: writes
results/violations.json, one finished row at a time.

python tests/bench/violations.py [--draws 1000]

Every world is made so that its true figure can be written down, and every claim lies just on the
wrong side of it, or the bound is held against it. What is already in the file is skipped.
"""
import argparse
from dataclasses import replace

import numpy as np
import pandas as pd
from series import RESULTS, save, stored

from sft_nb.certification.betting import running_bound
from sft_nb.certification.bounds import exact_bound, trials
from sft_nb.certification.claims import examine
from sft_nb.certification.growth import growing_bound
from sft_nb.certification.ratios import RATIOS, Counts, ratio_bound, ratio_reaches
from sft_nb.certification.roles import Certify, Refused, linked_rows
from sft_nb.certification.selective import learn_threshold
from sft_nb.certification.sets import alpha_for, conformal_quantile
from sft_nb.certification.units import risk_bound, unit_means
from sft_nb.task import Prediction
from sft_nb.tasks.text.classification import TextClassification

FILE = RESULTS / "violations.json"
DELTA = 0.05
TASK = replace(TextClassification(), labels=["ham", "spam"])


# --- bounds on means ---

def zeros_and_ones(rng): return (rng.random(200) < .1).astype(float)
def skewed(rng): return rng.beta(.3, 2.7, 200)  # mean 0.1
def rare(rng): return np.where(rng.random(200) < .02, 1., rng.choice([0., .1], 200))  # mean 0.069


def mixed_choice(rng):
    "Mostly 0 and 1, rarely a fraction: the losses choose between the two bounds. Mean 0.1."
    return np.where(rng.random(60) < .01, .5, rng.random(60) < .095 / .99)


def below(truth): return lambda losses: risk_bound(losses).value < truth


# --- groups: the truth is the mean over groups ---

def sizes_equal(rng, g): return np.full(g, 10)
def sizes_pareto(rng, g): return np.minimum(1 + rng.pareto(1.1, g), 200).astype(int)


def grouped(sizes, adversarial=False, g=60):
    "(losses, units) of g groups; with adversarial sizes, the big ones are bad."
    def draw(rng):
        many = sizes(rng, g)
        risk = rng.beta(.5, 2, g)  # mean 0.2
        if adversarial:
            bad = rng.random(g) < .1
            many, risk = np.where(bad, 150, 2), np.where(bad, .9, .1)  # mean 0.18
        losses = rng.random(many.sum()) < np.repeat(risk, many)
        ends = np.cumsum(many)
        return losses.astype(float), np.split(np.arange(many.sum()), ends[:-1])
    return draw


def groups_below(truth):
    return lambda drawn: risk_bound(unit_means(*drawn)).value < truth


def pasted(rng):
    "Sixty questions, right ones pasted up to thirty times. Risk of a question: 0.1."
    wrong = rng.random(60) < .1
    times = np.where(wrong, 1, rng.integers(1, 31, 60))
    names = np.repeat(np.arange(60), times)
    return np.repeat(wrong, times).astype(float), linked_rows([str(n) for n in names])


# --- chosen on calibrate rows ---

TRIES = np.arange(.9, -.01, -.1)


def unsure(rng):
    "Confidence, losses, units: the risk at confidence c is (1 - c) / 2, with an effect of groups."
    confidence = rng.random(400)
    shift = np.repeat(rng.choice([.5, 1.5], 100), 4)
    wrong = rng.random(400) < shift * (1 - confidence) / 2
    return confidence, wrong.astype(float), np.split(np.arange(400), 100)


def threshold_broken(drawn):
    confidence, wrong, units = drawn
    try:
        found = learn_threshold(confidence, wrong, .2, TRIES, DELTA, units=units)
    except Refused:
        return False
    return (1 - found.value) / 4 > .2 + .002  # the mean risk above t, for groups of one size


def set_broken(strange):
    alpha = alpha_for(.9, len(strange), DELTA)
    return conformal_quantile(strange, alpha) < .9  # of uniform strangeness: the coverage


# --- ratios ---

def classified(rng, n=80, wrong=.03):
    truth = rng.random(n) < .5
    said = truth ^ (rng.random(n) < wrong)
    return Counts(*(x.astype(float) for x in (truth & said, ~truth & said, truth & ~said)))


def classified_groups(rng):
    "Forty groups of six, an effect of the group on errors: 0.15 on average."
    wrong = np.repeat(rng.beta(.6, 3.4, 40), 6)
    return classified(rng, 240, wrong)


ALONE, SIXES = list(np.arange(80)[:, None]), np.split(np.arange(240), 40)


def above(name, truth, units):
    return lambda counts: ratio_bound(RATIOS[name], counts, units).value > truth


# --- whole claims ---

def judged(right, truth=None, **columns):
    n = len(right)
    truth = np.array(["ham", "spam"] * n)[:n] if truth is None else truth
    said = np.where(right, truth, np.where(truth == "ham", "spam", "ham"))
    rows = pd.DataFrame({"text": np.arange(n), "label": truth, **columns})
    answers = [Prediction(str(s), .9) for s in said]
    names = [str(i) for i in range(n)]
    return Certify(TASK, rows, answers, truth.tolist(), np.asarray(right, float), names)


def certified(claim, certify, **more):
    try:
        return all(f.holds for f in examine(claim, certify, **more))
    except Refused:
        return False


def ten_slices(rng):
    "One of ten slices lies just below the claim, the others are perfect."
    genre = np.repeat(np.arange(10), 60)
    return judged(rng.random(600) < np.where(genre == 3, .949, 1.), genre=genre.astype(str))


def two_systems(rng):
    "Ours is worse by 0.05 and a hair; the claim says by 0.05 at most."
    both = rng.random(300)
    ours, theirs = both < .85, (both < .8) | (both > .899)
    return judged(ours), theirs.astype(float)


def not_worse(drawn):
    certify, theirs = drawn
    return certified("score >= full - 0.05", certify, others={"full": theirs})


def two_genres(rng):
    genre = np.arange(400) % 2
    return judged(rng.random(400) < np.where(genre, .95, .849), genre=genre.astype(str))


def bounds_together(certify):
    "Is any of the bounds that are printed side by side too high?"
    return any(f.bound > .9 for f in examine("score >= 0.01 for every genre", certify))


def five_slices(rng): return judged(rng.random(300) < .9, genre=(np.arange(300) % 5).astype(str))


# --- again and again ---

def until_it_holds(rng):
    "Losses in the order in which they come, risk 0.201: claimed is 0.2."
    return (rng.random(2000) < .201).astype(float)


def ever_certified(losses):
    return bool((running_bound(losses, DELTA)[99::40] <= .2).any())


def ever_certified_naively(losses):
    looks = np.arange(100, 2001, 40)
    return any(exact_bound(losses[:n].sum(), n, DELTA) <= .2 for n in looks)


def ever_certified_by_the_ledger(losses):
    "The first look exact at delta; then, without a word before, the growing bound at delta/2."
    if exact_bound(losses[:100].sum(), 100, DELTA) <= .2: return True
    later = range(140, 2001, 40)
    return any(growing_bound(losses[:n], DELTA / 2).value <= .2 for n in later)


def ever_certified_when_announced(losses):
    return any(growing_bound(losses[:n], DELTA).value <= .2 for n in range(100, 2001, 40))


ROWS = {
    "exact binomial, 200 rows": (zeros_and_ones, below(.1)),
    "betting, skewed losses": (skewed, below(.1)),
    "betting, rare large losses": (rare, below(.02 + .98 * .05)),
    "exact or betting, as the losses choose": (mixed_choice, below(.005 + .99 * .095 / .99)),
    "groups of equal size": (grouped(sizes_equal), groups_below(.2)),
    "groups of Pareto sizes": (grouped(sizes_pareto), groups_below(.2)),
    "adversarial groups: the big ones are bad": (grouped(sizes_equal, True), groups_below(.18)),
    "right rows pasted up to thirty times": (pasted, groups_below(.1)),
    "abstaining by groups: risk of what is answered": (unsure, threshold_broken),
    "prediction sets, coverage with confidence": (lambda rng: rng.random(200), set_broken),
    "F1 of a class, 3 % errors": (classified, above("f1", .97, ALONE)),
    "recall of a class, 3 % errors": (classified, above("recall", .97, ALONE)),
    "F1 of a class, by groups": (
        classified_groups, lambda c: ratio_reaches(RATIOS["f1"], c, SIXES, .85)),
    "a claim for ten slices, one of them false": (
        ten_slices, lambda c: certified("score >= 0.95 for every genre", c)),
    "bounds of five slices, printed together": (five_slices, bounds_together),
    "not worse than another system": (two_systems, not_worse),
    "a gap between slices": (
        two_genres, lambda c: certified("gap of score by genre <= 0.1", c)),
    "rows added until it holds": (until_it_holds, ever_certified),
    "rows added until it holds, announced with grows=True": (
        until_it_holds, ever_certified_when_announced),
    "rows added until it holds, not announced: 1.5 delta": (
        until_it_holds, ever_certified_by_the_ledger),
}
LARGER = {"rows added until it holds, not announced: 1.5 delta": 1.5 * DELTA}
CONTROLS = {  # what the guarantees above replace, in the same worlds
    "rows counted where groups were drawn": (
        grouped(sizes_pareto), lambda drawn: risk_bound(drawn[0]).value < .2),
    "pasted rows counted": (pasted, lambda drawn: risk_bound(drawn[0]).value < .1),
    "rows added until it holds, each look at delta": (until_it_holds, ever_certified_naively),
}


def main():
    ask = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ask.add_argument("--draws", type=int, default=1000)
    draws = ask.parse_args().draws
    found = stored(FILE, {"rates": [], "controls": []})
    for kind, rows in (("rates", ROWS), ("controls", CONTROLS)):
        done = {row["guarantee"] for row in found[kind]}
        for name, (draw, broken) in rows.items():
            if name in done: continue
            rate = trials(draw, broken, draws)
            print(f"{rate:.3f}  {name}", flush=True)
            delta = LARGER.get(name, DELTA)
            found[kind].append({"guarantee": name, "delta": delta, "draws": draws, "broken": rate})
            save(found, FILE)


if __name__ == "__main__":
    main()
