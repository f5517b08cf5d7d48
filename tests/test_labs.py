"""Labs: plans that can be carried out, runs that survive a kill, sentences from intervals."""
import inspect
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sft_nb.labs import __main__ as command
from sft_nb.data.columns import records
from sft_nb.labs import comparing
from sft_nb.labs.judging import judged
from sft_nb.labs.rows import SETS, rows_of
from sft_nb.labs.running import Lab, finished, missing, repeat, table
from sft_nb.methods.contrastive import Contrastive
from sft_nb.task import DataError, Prediction
from sft_nb.training.tuner import FineTuner

ROOT = Path(__file__).parents[1]
STORED = ROOT / "results" / "labs"
LABS = {name: command.lab_of(name) for name in command.LABS}


def sure(settings):
    "What a run might have found: the same for the same settings."
    rng = random.Random(json.dumps(settings, sort_keys=True))
    figure = round(rng.uniform(.5, .9), 3)
    answers = "".join(rng.choice("01") for _ in range(60))
    return {
        "accuracy": figure, "f1": figure, "figure": figure, "answers": answers, "updates": 10,
        "accuracy abroad": figure - .1, "answers abroad": answers, "train": 10 * figure,
        "answer": figure, "reference": 1., "megabytes": 20., "trained": 1000}


def carried_out(lab, most=10_000):
    "All stages of a lab, with invented results."
    runs = []
    while left := missing(lab, runs):
        runs += [{"settings": s, "found": sure(s)} for s in left]
        assert len(runs) < most, "it never ends"
    return runs


@pytest.mark.parametrize("name", LABS)
def test_a_lab_can_be_carried_out_to_its_end(name):
    lab = LABS[name]
    runs = carried_out(lab)
    settings = [json.dumps(run["settings"], sort_keys=True) for run in runs]
    assert len(set(settings)) == len(settings) > 10
    wanted = set(inspect.signature(lab.run).parameters)
    assert all(set(run["settings"]) <= wanted for run in runs)
    said = lab.sentences(runs)
    assert said and all(isinstance(sentence, str) and sentence.endswith(".") for sentence in said)


@pytest.mark.parametrize("name", LABS)
def test_every_part_of_a_rule_is_judged(name):
    lab = LABS[name]
    verdicts = lab.verdicts(carried_out(lab))
    parts = {part for part in ("(1)", "(2)", "(3)", "(4)", "(5)") if part in lab.rule}
    assert verdicts and parts <= {v.part[:3] for v in verdicts}
    assert all(v.found and isinstance(v.holds, bool) for v in verdicts)
    assert {v.part for v in verdicts} == set(comparing.judged_rule(verdicts)["part of the rule"])


@pytest.mark.parametrize("name", LABS)
def test_a_lab_says_beforehand_what_it_expects(name):
    lab = LABS[name]
    assert lab.name == name and lab.question.endswith("?")
    assert len(lab.prediction.split()) > 20 and "(1)" in lab.rule or ":" in lab.rule


@pytest.mark.parametrize("name", LABS)
def test_stored_runs_are_those_that_the_lab_asks_for(name):
    lab, runs = LABS[name], finished(STORED / f"{name}.jsonl")
    kept = []
    while new := [run for run in runs if run["settings"] in missing(lab, kept)]:
        kept += new
    strange = [run["settings"] for run in runs if run not in kept]
    assert not strange
    settings = [json.dumps(run["settings"], sort_keys=True) for run in runs]
    assert len(settings) == len(set(settings))


@pytest.mark.parametrize("name", SETS)
def test_every_right_answer_of_every_set_is_stored_as_a_character(name):
    rows = rows_of(name)
    task = rows.task.learn(rows.pool)
    right = [Prediction(task.target(row)) for row in records(task.read(rows.judged))]
    found = judged(rows, task, right)
    assert found[task.metric[0]] == 1
    cells = rows.judged[task.targets()[0]]
    assert len(right) == len(cells)
    many = sum(len(cell) if isinstance(cell, list) else 1 for cell in cells)
    assert len(found["answers"]) == many and "?" not in found["answers"]
    assert len(set(found["answers"])) > 1


SIZES = {"seed", "draw", "rate", "labels", "budget", "part", "epochs"}  # how much, how often


def kinds(lab):
    "One setting of every kind that a lab asks for: its sets and arms, not its seeds and budgets."
    found = {}
    for run in carried_out(lab):
        settings = run["settings"]
        kind = tuple((key, value) for key, value in settings.items() if key not in SIZES)
        found.setdefault((lab.name, *kind), settings)
    return found


KINDS = {kind: settings for lab in LABS.values() for kind, settings in kinds(lab).items()}


MADE = dict(SETS)


@cache
def few(name):
    rows = MADE[name]()
    return replace(rows, valid=rows.valid.head(40), judged=rows.judged.head(40))


@pytest.fixture
def little(monkeypatch):
    "Forty rows to judge by, 24 to learn from, one epoch."
    modules = [module for name, module in sys.modules.items() if name.startswith("sft_nb.labs.")]
    kept = [thing for module in modules for thing in vars(module).values()
            if hasattr(thing, "cache_clear")]

    def forget():
        for function in kept:
            function.cache_clear()

    fit = FineTuner.fit

    def short(method):
        return replace(method, pairs=8) if isinstance(method, Contrastive) else method

    def briefly(self, train, valid=None, **more):
        self.recipe = self.recipe.but(methods=tuple(map(short, self.recipe.methods)))
        if self.recipe.epochs != 0: self.recipe = self.recipe.but(epochs=1)
        return fit(self, train.sample(min(24, len(train)), random_state=0), valid, **more)

    for name in MADE:
        monkeypatch.setitem(SETS, name, partial(few, name))
    monkeypatch.setattr(FineTuner, "fit", briefly)
    forget()
    yield
    forget()


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", KINDS, ids=lambda kind: "-".join([kind[0], *(str(v) for _, v in kind[1:])]))
def test_a_run_of_every_kind_ends_in_a_line(kind, little):
    "A mistake in a way is met here, not in the tenth hour."
    settings = KINDS[kind]
    found = LABS[kind[0]].run(**settings)
    assert json.loads(json.dumps(found)) == found
    assert "broke" not in found
    for name, value in found.items():
        if name.startswith("answers"): assert value


# --- running -------------------------------------------------------------------------------------

SLOW = '''
import sys, time
from sft_nb.labs.running import Lab, repeat
def run(k):
    time.sleep(.2)
    return {"square": k * k}
lab = Lab("squares", "?", "", "", lambda runs: [{"k": k} for k in range(12)], run, list, list)
repeat(lab, sys.argv[1], (int(sys.argv[2]), int(sys.argv[3])))
'''


def started(file, mine=1, every=1):
    words = [sys.executable, "-c", SLOW, str(file), str(mine), str(every)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)


def squares(file):
    return sorted(run["found"]["square"] for run in finished(file))


def test_a_killed_lab_goes_on(tmp_path):
    file = tmp_path / "squares.jsonl"
    first = started(file)
    while len(finished(file)) < 3:
        time.sleep(.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    with open(file, "a", encoding="utf-8") as f:
        f.write('{"settings": {"k"')  # as if it had been killed while it wrote
    assert started(file).wait() == 0
    assert squares(file) == [k * k for k in range(12)]


def test_two_processes_share_a_lab(tmp_path):
    file = tmp_path / "squares.jsonl"
    both = [started(file, mine, 2) for mine in (1, 2)]
    assert [process.wait() for process in both] == [0, 0]
    assert squares(file) == [k * k for k in range(12)]


def test_a_run_that_breaks_is_no_line(tmp_path):
    def run(k):
        if k == 2: raise RuntimeError("out of luck")
        return {"k squared": k * k}
    lab = Lab("luck", "?", "", "", lambda runs: [{"k": k} for k in range(4)], run, list, list)
    with pytest.raises(RuntimeError):
        repeat(lab, tmp_path / "luck.jsonl", tell=lambda line: None)
    assert len(finished(tmp_path / "luck.jsonl")) == 2


@pytest.mark.parametrize("part", [(0, 2), (3, 2), (-1, 1)])
def test_a_part_that_cannot_be(tmp_path, part):
    with pytest.raises(DataError, match="part="):
        repeat(LABS["stability"], tmp_path / "x.jsonl", part)


def test_a_folder_that_cannot_be_is_told_before_the_first_run(tmp_path):
    (tmp_path / "taken").write_text("a file")
    ran = []
    lab = Lab("none", "?", "", "", lambda runs: [{"k": 1}],
              lambda k: ran.append(k) or {}, list, list)
    with pytest.raises(DataError, match="cannot be stored"):
        repeat(lab, tmp_path / "taken" / "none.jsonl")
    assert not ran


# --- comparing -----------------------------------------------------------------------------------

def test_a_paired_interval_is_scipys():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(.7, .05, 12), rng.normal(.68, .05, 12)
    found = comparing.paired(ours, theirs)
    wanted = stats.ttest_rel(ours, theirs).confidence_interval()
    assert np.allclose([found.low, found.high], [wanted.low, wanted.high])


def covered(draw, truth, times=200):
    "How often an interval holds the truth."
    rng = np.random.default_rng(0)
    found = [draw(rng) for _ in range(times)]
    return np.mean([interval.low <= truth <= interval.high for interval in found])


def test_the_interval_of_a_spread_ratio_holds_the_truth():
    def draw(rng): return comparing.spread_ratio(rng.normal(0, 1, 25), rng.normal(0, 2, 25))
    assert covered(draw, .5, 100) > .86


def test_the_interval_of_churn_holds_the_truth():
    share = np.where(np.arange(300) < 240, .97, .5)
    truth = np.mean(2 * share * (1 - share))
    def draw(rng): return comparing.churn((rng.random((12, 300)) < share).astype(int).tolist())
    assert covered(draw, truth, 100) > .85


@pytest.mark.parametrize(("low", "high", "word"), [
    (.01, .05, "more"), (-.05, -.01, "less"), (-.01, .02, "no difference was seen"),
    (0., .02, "no difference was seen")])
def test_a_sentence_is_chosen_by_its_interval(low, high, word):
    found = comparing.Interval((low + high) / 2, low, high, 10)
    assert word in comparing.compared("ours", "theirs", found)


@pytest.mark.parametrize("runs", [0, 1])
def test_one_run_has_no_interval(runs):
    with pytest.raises(DataError, match="needs two"):
        comparing.mean_interval([.5] * runs)


# --- the command ---------------------------------------------------------------------------------

def test_the_command_says_what_is_there(tmp_path, capsys):
    assert command.main(["stability", "--out", str(tmp_path), "--say"]) == 0
    said = capsys.readouterr().out
    assert "We expected" in said and "0 runs are stored" in said


def test_the_command_names_what_it_does_not_know(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["magic"])
    assert stopped.value.code == 2
    assert "stability" in capsys.readouterr().err


def test_a_table_has_settings_and_findings():
    runs = [{"settings": {"k": 1}, "found": {"square": 1}}]
    assert table(runs).columns.tolist() == ["k", "square"]
