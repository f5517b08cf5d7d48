"""Forty single changes to data, weights, numbers, report or recipe, and forgeries that are
consistent in themselves: verification catches every one.
"""
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_models import SENTENCES

from sft_nb.all import FineTuner, Recipe, TextClassification, split
from sft_nb.certification.certificate import Certificate, sealed
from sft_nb.certification.report import report_page
from sft_nb.certification.verification import verify


@pytest.fixture(scope="module")
def issued(tiny, tmp_path_factory):
    "A saved run, its certificate as files, its certified and its training rows."
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("issued")
    words = sorted({w for s in SENTENCES for w in s.split()})
    rows = pd.DataFrame(
        {
            "text": [" ".join(rng.choice(words, 8)) for _ in range(150)],
            "author": [f"author {i}" for i in rng.integers(0, 60, 150)],
        }
    ).drop_duplicates("text")
    rows["label"] = ["good" if len(t) % 2 else "bad" for t in rows.text]
    data = split(rows, valid_size=20, certify_size=.7, seed=1, group="author")
    tuner = FineTuner(
        TextClassification(),
        tiny("bert"),
        Recipe(epochs=2, learning_rate=1e-3, batch_size=8, precision="fp32"),
    ).fit(data.train, data.valid)
    certificate = tuner.certify(
        data.certify, "accuracy >= 0.3 for every label", slices=("label",),
        ledger=folder / "ledger.json",
    )
    assert certificate.body["findings"]
    return tuner.save(folder / "run"), certificate.save(folder / "c.json"), data


def fresh(issued): return FineTuner.load(issued[0])


@pytest.fixture(scope="module")
def loaded(issued):
    "The run, loaded once: for tests that leave it as it is."
    return fresh(issued)


def test_the_untouched_one_is_verified(issued):
    run, path, data = issued
    check = verify(
        path, fresh(issued), data.certify.sample(frac=1, random_state=5), train=data.train
    )
    assert check.ok and len(check.of("checked")) >= 15, check


# --- data: 10 changes ---

def _cell(column, row, value):
    def change(rows):
        rows = rows.copy()
        rows.loc[row, column] = value(rows.loc[row, column])
        return rows
    return change


DATA = {
    "a label turned": _cell("label", 3, lambda v: "bad" if v == "good" else "good"),
    "another label turned": _cell("label", 50, lambda v: "bad" if v == "good" else "good"),
    "a letter": _cell("text", 0, lambda t: t + "x"),
    "a blank": _cell("text", 7, lambda t: t.replace(" ", "  ", 1)),
    "a capital": _cell("text", 9, lambda t: t.upper()),
    "a row less": lambda r: r.iloc[1:],
    "a row twice": lambda r: pd.concat([r, r.head(1)]),
    "the last row less": lambda r: r.iloc[:-1],
    "another author": _cell("author", 4, lambda a: a + "!"),
    "two texts swapped": lambda r: r.assign(
        text=[r.text.iloc[1], r.text.iloc[0], *r.text.iloc[2:]]
    ),
}


@pytest.mark.parametrize("change", DATA)
def test_data(issued, loaded, change):
    _, path, data = issued
    assert not verify(path, loaded, DATA[change](data.certify)).ok


# --- weights: 6 changes ---

def _bit(name_part, flat):
    def change(tuner):
        p = next(p for n, p in tuner.model.named_parameters() if name_part in n)
        with torch.no_grad():
            p.view(-1)[flat] = torch.nextafter(p.view(-1)[flat], torch.tensor(9e9))
    return change


def _noise(tuner):
    with torch.no_grad():
        for p in tuner.model.parameters():
            p.add_(1e-6)


WEIGHTS = {
    "a bit of the head": _bit("classifier", 0),
    "a bit of the bias": _bit("classifier.bias", 0),
    "a bit of an unused word": _bit("word_embeddings", -1),
    "a bit inside": _bit("layer.1", 5),
    "a little everywhere": _noise,
    "the head turned round": lambda t: t.model.classifier.weight.data.copy_(
        t.model.classifier.weight.data.flip(0)
    ),
}


@pytest.mark.parametrize("change", WEIGHTS)
def test_weights(issued, change):
    _, path, data = issued
    tuner = fresh(issued)
    WEIGHTS[change](tuner)
    assert verify(path, tuner, data.certify)["fingerprints.weights"].said


# --- recipe, task, what was learned: 5 changes ---

SETTINGS = {
    "rate": lambda t: setattr(t, "plan", t.plan.but(learning_rate=2e-3)),
    "seed": lambda t: setattr(t, "plan", t.plan.but(seed=7)),
    "epochs": lambda t: setattr(t, "plan", t.plan.but(epochs=3)),
    "checkpoint": lambda t: setattr(t, "checkpoint", "minilm"),
    "labels": lambda t: t.task.labels.reverse(),
}


@pytest.mark.parametrize("change", SETTINGS)
def test_settings(issued, change):
    _, path, data = issued
    tuner = fresh(issued)
    SETTINGS[change](tuner)
    assert verify(path, tuner, data.certify)["fingerprints.settings"].said


# --- numbers and words in the JSON: 15 changes; each also with the digest made anew, which only
# recomputation catches ---

def _put(*keys, to):
    def change(body):
        at = body
        for k in keys[:-1]:
            at = at[k]
        at[keys[-1]] = to(at[keys[-1]]) if callable(to) else to
    return change


JSON = {
    "bound": _put("findings", 0, "bound", to=lambda v: v + 1e-4),
    "observed": _put("findings", 1, "observed", to=lambda v: v + 0.01),
    "holds": _put("findings", 0, "holds", to=lambda v: not v),
    "finite": _put("findings", 0, "finite", to=False),
    "units": _put("findings", 0, "n", to=lambda v: v + 1),
    "delta of a part": _put("findings", 0, "delta", to=lambda v: v / 2),
    "verdict": _put("verdict", to=lambda v: "CERTIFIED" if v != "CERTIFIED" else "ESTIMATED"),
    "claim": _put("claim", to=lambda v: v.replace("0.3", "0.31")),
    "confidence": _put("confidence", to=0.99),
    "a score": _put("rows", "scores", 3, to=lambda v: 1 - v),
    "a confidence": _put("rows", "confidence", 5, to=lambda v: v + 1e-5),
    "a row's hash": _put("rows", "hashes", 0, to="0" * 32),
    "delta in the books": _put("ledger", "delta", to=0.1),
    "hash of the data": _put("fingerprints", "data", to="0" * 64),
    "hash of the weights": _put("fingerprints", "weights", to="0" * 64),
    "a slice": _put("slices", "label: good", "mean score", to=lambda v: v + 0.1),
    "a warning less": _put("warnings", to=["all is well"]),
    "shift": _put("shift", "p", to=lambda v: v / 2),
    "the sketch": _put("sketch", "numbers", 0, 0, to=lambda v: v + 0.01),
}


AROUND = ("a warning less", "shift")  # computed anew only with the training rows


@pytest.mark.parametrize("resealed", [False, True], ids=["as it is", "hashed again"])
@pytest.mark.parametrize("change", JSON)
def test_content(issued, loaded, change, resealed):
    _, path, data = issued
    body = deepcopy(Certificate.load(path).body)
    JSON[change](body)
    check = verify(
        Certificate(sealed(body) if resealed else body),
        loaded,
        data.certify,
        train=data.train if change in AROUND else None,
    )
    assert (
        not check.ok and bool(check["digest"].said) is not resealed
    ), check


# --- the page: 5 changes ---

PAGE = {
    "a number": ("0.", "1."),
    "the verdict": ("CERTIFIED</h1>", "CERTIFIED BY LAW</h1>"),
    "a limit left out": ("<li>It speaks of the mean.", "<li>"),
    "the claim": ("accuracy", "precision"),
    "a remark": ("</html>", "<p>Recommended.</p></html>"),
}


@pytest.mark.parametrize("change", PAGE)
def test_page(issued, loaded, change):
    _, path, data = issued
    page = report_page(Certificate.load(path).body)
    changed = page.replace(*PAGE[change], 1)
    assert changed != page and verify(path, loaded, data.certify, report=changed)["page"].said


def test_there_are_forty():
    assert len(DATA) + len(WEIGHTS) + len(SETTINGS) + len(JSON) + len(PAGE) >= 40
