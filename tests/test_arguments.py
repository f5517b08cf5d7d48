"""Every argument of every public name gets nineteen wrong values, one at a time.

What is raised is an SFTError, and nothing hangs.
"""
import inspect
import shutil
import signal
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_models import SENTENCES

from sft_nb import all as public
from sft_nb.all import (
    Batch, BiasOnly, Calibrate, Certificate, Certify, Contrastive, Distil, Ema, FewerLayers,
    FineTuner, Finding, FitHead, FreshTop, Ia3, LabelSmoothing, Lora, Prediction, RDrop,
    Recipe, SFTError, Sam, SlowBody, Swa, TextClassification, choose_rows, find_rate,
    fit_ensemble, folds, forgetting, judge, labels_for, ladder, learning_curve, load_data,
    over_seeds, paired_bootstrap, rank_checkpoints, rank_layers, read_table, rows_needed,
    self_train, split, suggest_checkpoint, suggest_loss, suggest_recipe, through, verify,
)
from sft_nb.certification.selective import abstain_above
from sft_nb.tasks.table import ALL

WRONG = {
    "None": lambda: None, "True": lambda: True, "-1": lambda: -1, "0": lambda: 0,
    "1.5": lambda: 1.5, "nan": lambda: float("nan"), "inf": lambda: float("inf"),
    "10**30": lambda: 10**30, "empty text": lambda: "", "text": lambda: "x",
    "half a character": lambda: "\ud800", "bytes": lambda: b"x", "empty list": lambda: [],
    "a list of nothing": lambda: [None], "empty dictionary": lambda: {}, "an object": object,
    "a function": lambda: lambda *a, **k: None, "empty table": pd.DataFrame,
    "nobody's home": lambda: "~nobody-of-this-name/x",
}
SECONDS = 20  # for one call


class Late(BaseException):
    "The time of one call is over."


@contextmanager
def limit(seconds):
    "No call may hang. (Where there are no alarms, the limit of the whole test must do.)"
    if not hasattr(signal, "SIGALRM"):
        yield
        return
    def ring(*_): raise Late
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def faults(call, valid, values=WRONG):
    """Give each argument each wrong value while the others are right; what was raised that is no
    SFTError.
    """
    found = []
    for name in valid:
        for label in values:
            try:
                with limit(SECONDS):
                    made = call(**valid | {name: values[label]()})
                    list(made) if inspect.isgenerator(made) else None
            except SFTError as e:
                assert 0 < len(str(e)) < 2_100
            except Late:
                found.append(f"{name}={label}: more than {SECONDS} seconds")
            except Exception as e:
                found.append(f"{name}={label}: {type(e).__name__}: {str(e)[:150]}")
    return found


# --- what is made: all fields of a class ---

def fields_of(cls):
    "Every argument of a constructor with its default."
    return {
        p.name: p.default
        for p in inspect.signature(cls).parameters.values()
        if p.default is not p.empty
    }


METHODS = (
    BiasOnly, Contrastive, Ema, FewerLayers, FitHead, FreshTop, Ia3, LabelSmoothing, Lora, RDrop,
    Sam, SlowBody, Swa,
)
MADE = {c.__name__: (c, fields_of(c)) for c in (*ALL, Recipe, *METHODS)}
MADE |= {
    "Distil": (Distil, dict(teacher="run", temperature=2.0, share=0.5)),
    "Prediction": (Prediction, dict(value="a", score=0.5, probs={"a": 0.5})),
    "Finding": (Finding, dict(level="warning", message="a", rows=(1,))),
    "Certificate": (Certificate, dict(body={}, tuner=None)),
    "Batch": (Batch, dict(inputs={}, targets={}, index=torch.arange(2), about=None)),
}


@pytest.mark.parametrize("name", MADE)
def test_what_is_made(name):
    cls, valid = MADE[name]
    assert not faults(cls, valid)


def test_tasks_recipes_and_methods_are_checked_when_they_are_made():
    "Not only accepted in silence."
    for cls, field, value in (
        (TextClassification, "multi_label", "no"), (TextClassification, "text", ["a"]),
        (TextClassification, "max_length", "64"), (Recipe, "weight_decay", float("nan")),
        (Recipe, "max_grad_norm", float("inf")), (Recipe, "batch_size", "4"),
        (Recipe, "learning_rate", float("nan")), (Recipe, "dropout", float("nan")),
        (Recipe, "keep_best", "no"), (Recipe, "seed", 1.5),
    ):
        with pytest.raises(SFTError, match=field):
            cls(**{field: value})


@pytest.mark.parametrize("cls", [c for c in ALL if "max_new_tokens" in fields_of(c)])
def test_answers_have_at_least_a_token(cls):
    for field, value in (("max_new_tokens", -1), ("max_new_tokens", 0), ("beams", 0)):
        with pytest.raises(SFTError, match=field):
            cls(**{field: value})


# --- what is called ---

ONCE = Recipe(epochs=1, batch_size=8, precision="fp32")
# where an accepted value means training
FEW = {
    k: WRONG[k]
    for k in ("None", "1.5", "10**30", "half a character", "a list of nothing", "an object")
}


@pytest.fixture(scope="module")
def things(tiny, run, tmp_path_factory):
    "A finished run, rows of every role, a certificate and what else the calls need."
    folder = tmp_path_factory.mktemp("things")
    rng, words = np.random.default_rng(0), sorted({w for s in SENTENCES for w in s.split()})
    rows = pd.DataFrame(
        {
            "text": [" ".join(rng.choice(words, 8)) for _ in range(150)],
            "label": ["good", "bad"] * 75,
            "group": [f"g{i // 2}" for i in range(150)],
        }
    ).drop_duplicates("text")
    data = split(rows, valid_size=20, certify_size=.6, seed=1)
    tuner = FineTuner(TextClassification(), tiny("bert"), ONCE).fit(data.train, data.valid)
    tuner.save(folder/"run")
    twin = FineTuner.load(shutil.copytree(folder/"run", folder/"twin"))
    certificate = tuner.certify(data.certify, "accuracy >= 0.1", ledger=folder/"ledger.json")
    certificate.save(folder/"c.json")
    rows.head(30).to_csv(folder/"rows.csv", index=False)
    def fresh(**more):
        return FineTuner(TextClassification(), tiny("bert"), ONCE, **more)
    return SimpleNamespace(
        folder=folder, rows=rows, data=data, tuner=tuner, certificate=certificate, fresh=fresh,
        bert=str(tiny("bert")), evaluation=tuner.evaluate(data.valid),
        calibrate=judge(twin, data.certify, Calibrate), features=rng.normal(size=(20, 4)),
        curve=learning_curve(
            TextClassification(), data.train, data.valid, (8, 16, 24, 32), 2,
            lambda train, valid: 1 - 1 / len(train)),
    )


QUICK = {  # name -> things -> (what is called, right arguments)
    "load_data": lambda t: (load_data, dict(name="no data of this name", toml=None)),
    "read_table": lambda t: (
        read_table,
        dict(source=str(t.folder / "rows.csv"), encoding="utf-8", delimiter=","),
    ),
    "split": lambda t: (
        split,
        dict(rows=t.rows, valid_size=0.2, certify_size=0.2, seed=1, group=None, stratify="auto"),
    ),
    "folds": lambda t: (
        lambda **k: list(folds(**k)),
        dict(rows=t.rows, k=3, seed=1, group=None, stratify="auto"),
    ),
    "suggest_checkpoint": lambda t: (
        suggest_checkpoint,
        dict(
            task=TextClassification, language="en", rows=t.rows, device="cpu", batch_size=8,
            speed=None,
        ),
    ),
    "suggest_loss": lambda t: (suggest_loss, dict(task=TextClassification())),
    "paired_bootstrap": lambda t: (
        paired_bootstrap,
        dict(
            metric=lambda a, b: float(np.mean(np.asarray(a) == np.asarray(b))),
            ours=[1, 0, 1],
            theirs=[0, 0, 1],
            targets=[1, 1, 1],
            groups=None,
            draws=5,
            seed=0,
            confidence=0.9,
        ),
    ),
    "rows_needed": lambda t: (
        rows_needed,
        dict(claim="accuracy >= 0.8", expected=0.9, confidence=0.95, binary=True),
    ),
    "choose_rows": lambda t: (
        choose_rows,
        dict(
            source=t.features, unlabelled=t.rows.head(20), n=3, by="typical", seed=0,
            known=t.features[:2], several=False,
        ),
    ),
    "labels_for": lambda t: (labels_for, dict(curve=t.curve, accuracy=0.9, error=None, share=0.8)),
    "suggest_recipe": lambda t: (
        suggest_recipe,
        dict(task=TextClassification(), rows=t.rows, device="cpu"),
    ),
    "Recipe.but": lambda t: (Recipe().but, fields_of(Recipe)),
    "Recipe.diff": lambda t: (Recipe().diff, dict(other=Recipe())),
    "Evaluation.mistakes": lambda t: (t.evaluation.mistakes, dict(n=3)),
    "Evaluation.save": lambda t: (t.evaluation.save, dict(folder=t.folder / "evaluation")),
    "Certificate.load": lambda t: (Certificate.load, dict(path=t.folder / "c.json", tuner=t.tuner)),
    "Certificate.save": lambda t: (t.certificate.save, dict(path=t.folder / "again.json")),
    "Certificate.card": lambda t: (t.certificate.card, dict(folder=t.folder / "run")),
    "Certificate.applies_to": lambda t: (
        t.certificate.applies_to,
        dict(rows=t.data.valid, group=None),
    ),
    "Task.learn": lambda t: (TextClassification().learn, dict(rows=t.rows)),
    "Task.check": lambda t: (TextClassification().check, dict(rows=t.rows, labelled=True)),
    "Task.read": lambda t: (
        TextClassification().read,
        dict(source=str(t.folder / "rows.csv"), labelled=True),
    ),
    "Task.as_rows": lambda t: (TextClassification().as_rows, dict(items=["a film"])),
    "Task.show": lambda t: (
        t.tuner.task.show,
        dict(rows=t.data.valid, predictions=t.evaluation.predictions),
    ),
    "Task.metrics": lambda t: (
        t.tuner.task.metrics,
        dict(predictions=t.evaluation.predictions, targets=t.evaluation.targets),
    ),
    "FineTuner": lambda t: (
        FineTuner,
        dict(task=TextClassification(), checkpoint=t.bert, recipe=ONCE, out=None, device="cpu"),
    ),
    "FineTuner.load": lambda t: (FineTuner.load, dict(folder=t.folder / "run", device="cpu")),
    "FineTuner.predict": lambda t: (
        t.tuner.predict,
        dict(items=["a film"], batch_size=2, abstain=False),
    ),
    "FineTuner.evaluate": lambda t: (
        t.tuner.evaluate,
        dict(rows=t.data.valid.head(8), batch_size=8),
    ),
    "FineTuner.save": lambda t: (t.tuner.save, dict(folder=t.folder / "saved")),
    "abstain_above": lambda t: (
        abstain_above,
        dict(
            tuner=t.tuner, calibrate=t.calibrate, tries=np.array([0.9, 0.5]), alpha=0.4,
            confidence=0.9,
        ),
    ),
}
HEAVY = {
    "judge": lambda t: (
        judge,
        dict(tuner=t.tuner, rows=t.data.certify.head(20), kind=Certify, group=None, batch_size=8),
    ),
    "over_seeds": lambda t: (
        over_seeds,
        dict(runs=[t.folder / "run", t.folder / "run"], rows=t.data.certify.head(20), group=None),
    ),
    "FineTuner.certify": lambda t: (
        t.tuner.certify,
        dict(
            rows=t.data.certify, claim="accuracy >= 0.1", confidence=0.9, group=None,
            train=None, valid=t.data.valid, against=(), slices=(),
            ledger=t.folder / "other.json",
        ),
    ),
    "verify": lambda t: (
        verify,
        dict(
            certificate=t.folder / "c.json", tuner=t.tuner, rows=t.data.certify, train=None,
            valid=None, report=None, revoked=None,
        ),
    ),
    "ladder": lambda t: (
        ladder,
        dict(
            task=TextClassification(), train=t.data.train, valid=t.data.valid,
            rows=t.data.valid, checkpoint=t.bert, recipe=ONCE, rungs=("majority",),
            device="cpu", tell=lambda *a: None,
        ),
    ),
    "find_rate": lambda t: (
        find_rate,
        dict(
            task=TextClassification(), checkpoint=t.bert, rows=t.data.train.head(16), recipe=ONCE,
            seeds=1, lowest=1e-5, highest=1e-2, updates=10, rule="tenth", device="cpu",
        ),
    ),
    "fit_ensemble": lambda t: (
        fit_ensemble,
        dict(tuner=t.fresh(), train=t.data.train.head(8), valid=None, seeds=2),
    ),
    "self_train": lambda t: (
        self_train,
        dict(
            tuner=t.fresh(), train=t.data.train.head(8), valid=t.data.valid,
            unlabelled=t.data.certify[["text"]].head(8), rounds=1, above=0.5, per_class=None,
            take="surest",
        ),
    ),
    "learning_curve": lambda t: (
        learning_curve,
        dict(
            task=TextClassification(), train=t.data.train, valid=t.data.valid,
            sizes=(8, 16, 24, 32), repeats=2, fit=t.fresh(), checkpoint=None, seed=0,
        ),
    ),
    "through": lambda t: (
        through,
        dict(
            task=TextClassification(), checkpoint=t.bert,
            source=(TextClassification(), t.data.train.head(8)), out=t.folder / "source",
            recipe=ONCE, device="cpu", overwrite=True,
        ),
    ),
    "rank_layers": lambda t: (
        rank_layers,
        dict(task=TextClassification(), checkpoint=t.bert, rows=t.rows.head(40), device="cpu"),
    ),
    "rank_checkpoints": lambda t: (
        rank_checkpoints,
        dict(task=TextClassification(), names=[t.bert], rows=t.rows.head(40), device="cpu"),
    ),
    "forgetting": lambda t: (
        forgetting,
        dict(
            before=t.tuner, after=t.folder / "run", rows=t.data.valid, group=None, among=None,
            probe=None, delta=0.1,
        ),
    ),
    "FineTuner.fit": lambda t: (
        t.fresh().fit,
        dict(train=t.data.train.head(8), valid=None, resume=None),
    ),
    "FineTuner.search_learning_rate": lambda t: (
        t.fresh().search_learning_rate,
        dict(train=t.data.train.head(8), valid=t.data.valid.head(4), rates=(1e-4,), epochs=1),
    ),
}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    "Whatever is written without a folder lands in one of ours."
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", QUICK)
def test_what_is_called(name, things, elsewhere):
    call, valid = QUICK[name](things)
    assert not faults(call, valid)


@pytest.mark.parametrize("name", HEAVY)
def test_what_works_long(name, things, elsewhere):
    call, valid = HEAVY[name](things)
    assert not faults(call, valid, FEW)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", HEAVY)
def test_what_works_long_with_every_value(name, things, elsewhere):
    call, valid = HEAVY[name](things)
    assert not faults(call, valid)


APART = {  # public names that are not called with a user's arguments
    "Task": "a subclass is made",
    "Method": "a subclass is made",
    "Listener": "a subclass is made",
    "learned": "takes any default",
    "Talk": "needs a chat model: tests/test_generation.py",
    "RECIPES": "a table",
    "Ladder": "a result",
    "Splits": "a result",
    "Difference": "a result",
    "Evaluation": "a result",
    "History": "a result",
    "Calibrate": "a result",
    "Certify": "a result",
}


def test_no_public_name_is_forgotten():
    tried = {n.split(".")[0] for n in (*MADE, *QUICK, *HEAVY)}
    errors = {
        n
        for n in public.__all__
        if isinstance(getattr(public, n), type) and issubclass(getattr(public, n), Exception)
    }
    assert set(public.__all__) - tried - errors - set(APART) == set()
