"""Methods that choose a recipe: a fresh top, a rate finder, an ensemble of seeds, a suggestion."""
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import same_tensors, same_weights, shapes
from tiny_models import SENTENCES
from torch import nn

from sft_nb.all import (
    RECIPES, Certify, CheckpointError, DataError, FineTuner, ImageClassification, Listener, Recipe,
    SequenceLabelling, SFTError, TextClassification, TextRegression, TrainingError, Translation,
    judge, over_seeds,
)
from sft_nb.methods.ensemble import MEMBERS, Committee, Ensemble, fit_ensemble
from sft_nb.methods.fresh_top import FreshTop
from sft_nb.methods.lora import Lora
from sft_nb.methods.rate_finder import RULES, FoundRate, find_rate, smoothed
from sft_nb.methods.rates import SlowBody
from sft_nb.methods.suggesting import measured, suggest_recipe
from sft_nb.models import loading
from sft_nb.models.layers import blocks

ROOT = Path(__file__).parents[1]
ROWS = pd.DataFrame(
    {"text": [f"{text} {i}" for i in range(3) for text in SENTENCES], "label": ["good", "bad"] * 12}
)
ONCE = Recipe(epochs=1, learning_rate=3e-3, precision="fp32")


def fitted(folder, seed=0, task=None, rows=ROWS, **changes):
    task = task or TextClassification()
    return FineTuner(task, folder, ONCE.but(seed=seed, **changes), device="cpu").fit(rows)


@pytest.fixture(scope="module")
def three(tiny):
    return Ensemble([fitted(tiny("bert"), seed) for seed in range(3)])


# --- named recipes ---

def test_stable_makes_more_updates_than_the_default_and_never_fewer():
    for rows in (36, 200, 1000, 50_000):
        for asked in (100, 600):
            plans = [RECIPES[name].sized(rows, asked) for name in ("default", "stable")]
            assert plans[0].batch_size == plans[1].batch_size
            assert plans[0].epochs <= plans[1].epochs <= 60
    assert RECIPES["stable"].sized(200).epochs == 12
    assert set(RECIPES["default"].diff(RECIPES["stable"]).field) == {"updates", "keep_best"}


def test_a_wrong_number_of_updates_is_named():
    for wrong in (0, -3, 1.5, "many", True):
        with pytest.raises(TrainingError, match="updates="):
            Recipe(updates=wrong)


# --- a fresh top ---

HEADS = {"vit": "image-classification", "llama-chat": None, "t5": None, "detr": None,
         "resnet": "image-classification", "efficientnet-lite": "image-classification"}


def loaded(tiny, name):
    head = HEADS.get(name, "sequence-classification")
    options = {"num_labels": 2} if head else {}
    return loading.load(str(tiny(name)), *([head] if head else []), **options)[0]


@pytest.mark.parametrize(
    "name", ["bert", "roberta", "distilbert", "modernbert", "deberta-v2", "gpt2", "llama-chat",
             "vit"]
)
def test_only_the_top_begins_again(name, tiny):
    model = loaded(tiny, name)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    where, stack = blocks(model)
    top = f"{where}.{len(stack) - 1}."
    FreshTop(1).prepare(model)
    changed = {k for k, v in model.state_dict().items() if not torch.equal(before[k], v)}
    assert any(k.startswith(top) for k in changed)
    assert all(k.startswith(top) or "pooler" in k for k in changed)
    assert {n for n, _ in model.named_parameters() if n.startswith(top)} <= {*model.new_parameters}
    matrices = [p for p in stack[-1].parameters() if p.ndim == 2]
    assert all(.001 < p.std() < .05 for p in matrices)


@pytest.mark.parametrize("name, words", [
    ("t5", "has two"), ("resnet", "BatchNorm"), ("efficientnet-lite", "BatchNorm"),
    ("detr", "has two"),
])
def test_a_model_without_one_top_is_refused(name, words, tiny):
    with pytest.raises(TrainingError, match=words):
        FreshTop(1).prepare(loaded(tiny, name))


def test_a_plain_network_is_refused():
    for model in (nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))):
        with pytest.raises(TrainingError, match="leave"):
            FreshTop(1).prepare(model)


def test_more_blocks_than_there_are(tiny):
    with pytest.raises(TrainingError, match="3 blocks. Give 0 to 3"):
        FreshTop(4).prepare(loaded(tiny, "bert"))


@pytest.mark.parametrize("wrong", [-1, 1.5, "1", None, True, float("nan"), 2**63])
def test_settings_of_a_fresh_top(wrong):
    for name in ("blocks", "seed"):
        with pytest.raises(TrainingError, match=f"{name}="):
            FreshTop(**{name: wrong})


def test_the_same_top_again_and_another_with_another_seed(tiny):
    one, same, other = (FreshTop(2, seed).prepare(loaded(tiny, "bert")) for seed in (0, 0, 1))
    body = {k: v for k, v in one.state_dict().items() if not k.startswith("classifier")}
    theirs = [{k: m.state_dict()[k] for k in body} for m in (same, other)]
    assert same_tensors(body, theirs[0]) and not same_tensors(body, theirs[1])
    state = torch.get_rng_state()
    FreshTop(1).prepare(one)
    assert torch.equal(state, torch.get_rng_state())


def test_what_is_random_must_learn(tiny):
    with pytest.raises(TrainingError, match="does not learn"):
        fitted(tiny("bert"), methods=(FreshTop(2),), unfreeze_last=1)
    with pytest.raises(TrainingError, match="before the method that freezes it"):
        fitted(tiny("bert"), methods=(Lora(), FreshTop(1)))
    fitted(tiny("bert"), methods=(FreshTop(1),), unfreeze_last=1)


def test_a_fresh_top_is_new_for_a_slow_body(tiny):
    model = FreshTop(1).prepare(loaded(tiny, "bert"))
    groups = SlowBody(.1).groups(model, 1.)
    fast = {n for g in groups if g["lr"] == 1. for n in g["names"]}
    assert any(n.startswith("bert.encoder.layer.2.") for n in fast)
    assert not any(n.startswith("bert.encoder.layer.1.") for n in fast)


class Stop(Listener):
    "Asks the run to stop after three updates."
    def step(self, run):
        if run.position.step == 3: run.interrupted = True


def test_a_resumed_run_has_the_same_top(tiny, tmp_path):
    def tuner(out=None):
        recipe = ONCE.but(epochs=2, methods=(FreshTop(1, 5),))
        return FineTuner(TextClassification(), tiny("bert"), recipe, out=out, device="cpu")
    whole = tuner().fit(ROWS)
    tuner(tmp_path).fit(ROWS, listeners=[Stop()])
    again = tuner(tmp_path).fit(ROWS, resume="auto")
    assert again.position.step == whole.position.step == 6
    assert same_weights(whole.model, again.model)


TAGGED = pd.DataFrame({"words": [t.split()[:4] for t in SENTENCES] * 2,
                       "tags": [["B-PER", "O", "O", "O"], ["O", "O", "B-LOC", "O"]] * 8})
RATED = ROWS.assign(rating=[float(i % 5) for i in range(len(ROWS))])
PICTURES = pd.DataFrame({"image": shapes(12, 32), "label": ["square", "bar"] * 6})
TASKS = {
    "texts": (TextClassification(), "bert", ROWS),
    "several labels": (
        TextClassification(multi_label=True), "bert",
        ROWS.assign(label=[["good"], ["good", "bad"], []] * 8),
    ),
    "numbers": (TextRegression(number="rating"), "bert", RATED),
    "tags": (SequenceLabelling(), "bert", TAGGED),
    "pictures": (ImageClassification(), "vit", PICTURES),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_fresh_top_learns_saves_and_loads(name, tiny, tmp_path):
    task, checkpoint, rows = TASKS[name]
    tuner = fitted(tiny(checkpoint), task=task, rows=rows, methods=(FreshTop(1),))
    again = FineTuner.load(tuner.save(tmp_path / "run"), device="cpu")
    assert same_weights(tuner.model, again.model, 1e-6)


# --- the rate finder ---

def test_what_is_smoothed_is_not_shifted():
    step = np.where(np.arange(40) < 20, 1., 0.)
    assert np.argmax(smoothed(step) < .5) == 20
    assert smoothed(step[::-1])[::-1] == pytest.approx(smoothed(step))
    assert smoothed(np.ones(9)) == pytest.approx(np.ones(9))


def curve(seed, losses, rates=None):
    rates = np.geomspace(1e-5, 1e-1, len(losses)) if rates is None else rates
    columns = {"seed": seed, "update": range(1, len(losses) + 1), "rate": rates, "loss": losses}
    return pd.DataFrame(columns | {"smooth": smoothed(losses)})


def test_a_suggestion_is_the_geometric_mean_over_seeds():
    bowls = [np.abs(np.arange(41) - low) / 40. for low in (20, 30)]
    found = FoundRate(pd.concat([curve(i, bowl) for i, bowl in enumerate(bowls)]))
    assert found.each.tolist() == pytest.approx([1e-4, 1e-3])
    assert found.rate == pytest.approx(10**-3.5)
    assert found.spread == pytest.approx((1e-4, 1e-3))
    assert any("factor of 10" in doubt for doubt in found.doubts) and "factor" in repr(found)
    assert found.plot().axes[0].get_xscale() == "log"


def test_doubts():
    falling, flat = np.linspace(1, .5, 30), np.ones(30)
    assert any("still falls" in d for d in FoundRate(curve(0, falling)).doubts)
    assert any("hardly fell" in d for d in FoundRate(curve(0, flat)).doubts)
    assert any("One seed" in d for d in FoundRate(curve(0, falling)).doubts)
    for rule in RULES:
        assert FoundRate(curve(0, flat), rule).rate > 0


def test_a_rate_is_found_and_nothing_is_touched(tiny):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    how = dict(seeds=2, updates=20, lowest=1e-4, highest=1., device="cpu")
    found = find_rate(TextClassification(), tiny("bert"), ROWS, ONCE, **how)
    again = find_rate(TextClassification(), tiny("bert"), ROWS, ONCE, **how)
    assert torch.equal(state, torch.get_rng_state())
    pd.testing.assert_frame_equal(found.table, again.table)
    assert found.table.seed.unique().tolist() == [42, 43]
    first = found.table.groupby("seed").rate.first()
    assert first.tolist() == [1e-4, 1e-4] and 1e-5 <= found.rate <= 1.


def test_the_first_update_of_a_finder_is_that_of_a_run(tiny):
    "Same head, same order, same dropout: the same loss."
    recipe = ONCE.but(warmup=0., schedule="constant", learning_rate=1e-4)
    tuner = FineTuner(TextClassification(), tiny("bert"), recipe, device="cpu").fit(ROWS)
    how = dict(seeds=1, updates=10, lowest=1e-4, highest=1e-3, device="cpu")
    table = find_rate(TextClassification(), tiny("bert"), ROWS, recipe, **how).table
    steps = [step["loss"] for step in tuner.history.steps]
    assert table.loss[:2].tolist() == pytest.approx(steps[:2], rel=1e-6)


def test_groups_keep_their_share_of_the_rate(tiny, monkeypatch):
    rates = []
    real = torch.optim.AdamW.step
    def step(self, *args, **kwargs):
        rates.append({g["lr"] for g in self.param_groups})
        return real(self, *args, **kwargs)
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    how = dict(seeds=1, updates=10, lowest=1e-4, highest=1e-3, device="cpu")
    find_rate(TextClassification(), tiny("bert"), ROWS, ONCE.but(depth_decay=.5), **how)
    for i, rate in enumerate(np.geomspace(1e-4, 1e-3, 10)):
        assert max(rates[i]) == pytest.approx(rate) and min(rates[i]) == pytest.approx(rate / 16)


@pytest.mark.parametrize("name", TASKS)
def test_a_rate_for_other_tasks(name, tiny):
    task, checkpoint, rows = TASKS[name]
    how = dict(seeds=1, updates=10, lowest=1e-4, highest=1e-1, device="cpu")
    assert find_rate(task, tiny(checkpoint), rows, ONCE, **how).rate > 0


@pytest.mark.parametrize("wrong, words", [
    (dict(lowest=0.), "lowest="), (dict(lowest=1e-1, highest=1e-3), "from lowest"),
    (dict(highest=float("nan")), "highest"), (dict(highest=20.), "below 10"),
    (dict(seeds=0), "seeds=0"), (dict(updates=3), "updates=3"), (dict(seeds="2"), "seeds"),
    (dict(rule="best"), "tenth, steepest"), (dict(rows=ROWS.head(0)), "row"),
    (dict(rows=ROWS.drop(columns="label")), "label"), (dict(task="text"), "task"),
    (dict(checkpoint="/no/such/folder"), "no/such"), (dict(device="nowhere"), "nowhere"),
    (dict(recipe="default"), "recipe"),
])
def test_wrong_questions_to_the_finder(wrong, words, tiny):
    given = dict(task=TextClassification(), checkpoint=tiny("bert"), rows=ROWS) | wrong
    with pytest.raises(SFTError, match=words):
        find_rate(**given)


# --- an ensemble ---

def test_an_ensemble_is_the_mean_of_its_members(three):
    said = three.predict(ROWS.text.tolist())
    each = [t.predict(ROWS.text.tolist()) for t in three.tuners]
    mean = np.mean([[p.probs["good"] for p in some] for some in each], axis=0)
    assert [p.probs["good"] for p in said] == pytest.approx(mean, abs=1e-5)
    losses = [t.evaluate(ROWS).loss for t in three.tuners]
    assert three.evaluate(ROWS).loss <= np.mean(losses) + 1e-6


@pytest.mark.parametrize("name", TASKS)
def test_ensembles_of_other_tasks(name, tiny):
    task, checkpoint, rows = TASKS[name]
    two = Ensemble([fitted(tiny(checkpoint), seed, task, rows) for seed in range(2)])
    told = two.predict(rows.head(5), apart=True)
    assert len(told) == 5 and (told["apart"] >= 0).all()
    losses = [t.evaluate(rows).loss for t in two.tuners]
    assert two.evaluate(rows).loss <= np.mean(losses) + 1e-5


def test_numbers_are_averaged_and_their_spread_is_told(tiny):
    task, checkpoint, rows = TASKS["numbers"]
    two = Ensemble([fitted(tiny(checkpoint), seed, task, rows) for seed in range(2)])
    told = two.predict(rows.head(6), apart=True)
    each = np.array([t.predict(rows.head(6))["prediction"] for t in two.tuners])
    assert told["prediction"].tolist() == pytest.approx(each.mean(0), abs=1e-4)
    assert told["apart"].tolist() == pytest.approx(each.std(0), abs=1e-4)


def test_an_ensemble_is_judged_like_a_run(three, tiny):
    rows = ROWS.assign(text=[f"another {t}" for t in ROWS.text])
    judged = judge(three, rows, Certify)
    assert judged.scores.mean() == three.evaluate(rows).metrics["accuracy"]
    pair = Ensemble([fitted(tiny("bert"), seed) for seed in (7, 8)])
    assert 0 <= over_seeds([three, pair], rows).churn() <= 1
    with pytest.raises(SFTError, match="served as train"):
        judge(three, ROWS, Certify)


def test_rows_that_any_member_has_seen_are_known(tiny):
    halves = ROWS.head(12), ROWS.tail(12)
    both = Ensemble([fitted(tiny("bert"), rows=half) for half in halves])
    for half in halves:
        with pytest.raises(SFTError, match="12 rows served"):
            judge(both, half, Certify)


def test_an_ensemble_is_saved_and_loaded(three, tmp_path):
    folder = three.save(tmp_path / "three")
    again = Ensemble.load(folder, device="cpu")
    assert len(again) == 3 and json.loads((folder / MEMBERS).read_text())["format"] == 1
    texts = ROWS.text.tolist()
    mine, theirs = ([p.probs["good"] for p in e.predict(texts)] for e in (three, again))
    assert mine == pytest.approx(theirs, abs=1e-6)
    with pytest.raises(CheckpointError, match="not an empty folder"):
        three.save(folder)
    with pytest.raises(CheckpointError, match="not an empty folder"):
        three.save(folder / MEMBERS)
    again.save(folder, overwrite=True)
    shutil.rmtree(folder / "member-1")
    with pytest.raises(SFTError, match="member-1"):
        Ensemble.load(folder)
    for wrong in ('{"members": ["../three"]}', "{}", "[]", '{"format": 1, "members": [3]}', "x"):
        (folder / MEMBERS).write_text(wrong)
        with pytest.raises(CheckpointError):
            Ensemble.load(folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="not an empty folder"):
        three.save(tmp_path / "other", overwrite=True)
    with pytest.raises(CheckpointError, match="list of an ensemble's members"):
        Ensemble.load(tmp_path / "other")


def test_fit_ensemble_leaves_the_tuner_alone(tiny):
    tuner = FineTuner(TextClassification(), tiny("bert"), ONCE.but(seed=5), device="cpu")
    two = fit_ensemble(tuner, ROWS, ROWS.tail(4), seeds=2)
    assert tuner.model is None and [t.recipe.seed for t in two.tuners] == [5, 6]
    for wrong, words in ((1, "2 to 1000"), ("2", "seeds"), (True, "seeds")):
        with pytest.raises(SFTError, match=words):
            fit_ensemble(tuner, ROWS, seeds=wrong)


def test_members_must_fit(three, tiny):
    other = fitted(tiny("bert"), rows=ROWS.assign(label=["x", "y"] * 12))
    with pytest.raises(TrainingError, match="Member 1 has another task"):
        Ensemble([three.tuners[0], other])
    reader = fitted(tiny("distilbert"))
    reader.processor = loading.load(str(tiny("roberta")))[1]
    with pytest.raises(TrainingError, match="reads its inputs in another way"):
        Ensemble([three.tuners[0], reader])
    for wrong in ([], [three.tuners[0]], [1, 2], "ab", None, [three.tuners[0], None]):
        with pytest.raises(SFTError):
            Ensemble(wrong)
    with pytest.raises(TrainingError, match="fit_ensemble"):
        three.fit(ROWS)
    with pytest.raises(TrainingError, match="one of its members"):
        three.certify(ROWS, "accuracy >= 0.5")
    with pytest.raises(TrainingError, match="give its tuners"):
        Ensemble([three.tuners[0], three])
    with pytest.raises(SFTError, match="label"):
        fit_ensemble(three.tuners[0], ROWS.drop(columns="label"))
    writes = FineTuner(Translation(), tiny("t5"), ONCE)
    with pytest.raises(TrainingError, match="answers with something else"):
        fit_ensemble(writes, pd.DataFrame({"source": ["a", "b"], "target": ["c", "d"]}))


class Boxes(nn.Module):
    def forward(self): return {"logits": torch.zeros(1, 2), "pred_boxes": torch.zeros(1, 2, 4)}


def test_boxes_have_no_mean():
    committee = Committee([Boxes(), Boxes()], TextClassification(labels=["a", "b"]))
    with pytest.raises(TrainingError, match="pred_boxes"):
        committee()


# --- a suggestion ---

def rows_of(n): return pd.DataFrame({"text": ["a"] * n})


def test_the_table_is_what_the_results_say():
    script = [sys.executable, str(ROOT / "tools" / "measured.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_situation_can_be_suggested():
    table = measured()
    assert {"recipe", "without learning"} <= set(table.way) and (table.runs > 0).all()
    tasks = {t.name: t for t in (TextClassification(), TextRegression(number="n"),
                                 SequenceLabelling(), ImageClassification(), Translation())}
    for name, task in tasks.items():
        for n in table[table.task == name].rows.unique():
            found = suggest_recipe(task, rows_of(n), device="cpu")
            assert len(found.evidence) and "results/" in found.reason


def test_nothing_is_promised_that_was_not_measured():
    task = TextClassification()
    for n in (1, 9, 1000, 10**6):
        found = suggest_recipe(task, rows_of(n), device="cpu")
        assert found.recipe == Recipe() and found.reason.startswith("Not measured")
        assert not len(found.evidence) and found.first == ()
    task.name = "something-else"
    assert "not measured at all" in suggest_recipe(task, rows_of(144)).reason


@pytest.mark.parametrize("wrong", [
    dict(task="text"), dict(task=None), dict(rows=200), dict(rows=rows_of(0)),
    dict(rows=None), dict(device="nowhere"), dict(device=3.5),
])
def test_wrong_questions_for_a_suggestion(wrong):
    with pytest.raises((DataError, TrainingError)):
        suggest_recipe(**dict(task=TextClassification(), rows=rows_of(144)) | wrong)


