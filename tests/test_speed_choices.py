"""Shortcuts of language models, and the precision that a run chooses by a trial: neither changes
what is computed.
"""
import pandas as pd
import pytest
import torch
from conftest import same_weights
from test_generation import TALKS

from sft_nb.methods.lora import Lora
from sft_nb.tasks.text.classification import TextClassification
from sft_nb.tasks.writing.instruction_tuning import InstructionTuning
from sft_nb.training import choosing
from sft_nb.training.recipe import Recipe
from sft_nb.training.run import Run
from sft_nb.training.tuner import FineTuner
from sft_nb.training.watching import Listener

ONCE = Recipe(epochs=2, learning_rate=1e-3, batch_size=4, precision="fp32", keep_best=False)
SYSTEM = {"role": "system", "content": "You are good and answer in a word."}


def flat(model): return torch.cat([v.flatten().double() for v in model.state_dict().values()])


def apart(a, b): return ((flat(a) - flat(b)).norm() / flat(b).norm()).item()


def talks(system=True):
    "Conversations that begin alike, or not at all alike."
    first = [SYSTEM] if system else []
    asked = [[*first, {"role": "user", "content": text}] for text in TALKS.prompt]
    return TALKS.assign(prompt=asked)


def taught(folder, shortcuts, recipe=ONCE, rows=None):
    tuner = FineTuner(InstructionTuning(), folder, recipe)
    tuner.shortcuts = shortcuts
    return tuner.fit(talks() if rows is None else rows)


# --- a language model is asked where a target stands ---

@pytest.mark.parametrize("name", ["llama-chat", "qwen-chat"])
@pytest.mark.parametrize("micro", [None, 3, 1])
def test_answers_alone_and_a_shared_start_end_in_the_same_weights(tiny, name, micro):
    recipe = ONCE.but(micro_batch_size=micro)
    plain = taught(tiny(name), (), recipe)
    quick = taught(tiny(name), ("answers", "start"), recipe)
    assert quick.run.quick.used == ["answers", "start"]
    assert apart(quick.model, plain.model) < 1e-6
    assert [s["loss"] for s in quick.history.steps] == pytest.approx(
        [s["loss"] for s in plain.history.steps], rel=1e-5)


def test_packed_rows_may_be_asked_for_answers_alone(tiny):
    recipe = ONCE.but(packing=True)
    plain, quick = (taught(tiny("llama-chat"), use, recipe) for use in ((), ("answers", "start")))
    assert "answers" in quick.run.quick.used and apart(quick.model, plain.model) < 1e-6


def test_an_adapter_may_be_trained_on_answers_alone(tiny):
    def recipe(): return ONCE.but(methods=(Lora(rank=2, dropout=0.0),))
    plain, quick = (
        taught(tiny("llama-chat"), use, recipe()) for use in ((), ("answers", "start")))
    assert "answers" in quick.run.quick.used and apart(quick.model, plain.model) < 1e-6


def test_dropout_forbids_a_shared_start_and_the_reason_is_kept(tiny):
    tuner = taught(tiny("llama-chat"), ("answers", "start"), ONCE.but(dropout=0.1, epochs=1))
    shortcuts = tuner.history.shortcuts
    assert shortcuts["used"] == ["answers"] and "random numbers" in shortcuts["skipped"]["start"]


def test_a_start_without_its_condition_is_not_used(tiny):
    tuner = taught(tiny("llama-chat"), ("start",), ONCE.but(epochs=1))
    assert tuner.history.shortcuts["skipped"]["start"] == "it needs answers alone"


def test_a_classifier_is_not_asked_for_answers(tiny, reviews):
    tuner = FineTuner(TextClassification(), tiny("bert"), ONCE.but(epochs=1)).fit(reviews)
    assert "no head" in tuner.history.shortcuts["skipped"]["answers"]


# --- the precision is chosen by a trial ---

AUTO = Recipe(epochs=3, learning_rate=1e-3, batch_size=4, keep_best=False)


def chooses(monkeypatch, precision):
    "A trial that ends in this way, wherever it is held."
    found = precision, {precision: 0.5, "other": 1.0}
    monkeypatch.setattr(choosing, "choose_precision", lambda *_: found)


class Stop(Listener):
    "Ends a run after so many steps, as Ctrl-C does."
    def __init__(self, at): self.at = at

    def step(self, run):
        run.interrupted = run.position.step == self.at


def fit(tiny, rows, out=None, recipe=AUTO, **how):
    return FineTuner(TextClassification(), tiny("bert"), recipe, out=out).fit(rows, **how)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_chosen_is_what_was_asked_for_by_name(tiny, reviews, monkeypatch, precision):
    chooses(monkeypatch, precision)
    chosen, named = (fit(tiny, reviews, recipe=r) for r in (AUTO, AUTO.but(precision=precision)))
    assert same_weights(chosen.model, named.model)
    assert chosen.history.shortcuts["chosen"]["precision"] == precision
    assert named.history.shortcuts["chosen"] == {}


def test_a_resumed_run_goes_on_in_the_precision_that_it_began_with(
    tiny, reviews, monkeypatch, tmp_path
):
    chooses(monkeypatch, "bf16")
    whole = fit(tiny, reviews)
    fit(tiny, reviews, tmp_path, listeners=(Stop(3),))
    chooses(monkeypatch, "fp32")  # the machine is busy, and the trial ends otherwise
    again = fit(tiny, reviews, tmp_path, resume="auto")
    assert again.run.precision == "bf16" and same_weights(again.model, whole.model)


def test_a_precision_by_name_is_not_tried(tiny, reviews, monkeypatch):
    def never(*_): raise AssertionError("no trial was asked for")
    monkeypatch.setattr(choosing, "choose_precision", never)
    fit(tiny, reviews, recipe=AUTO.but(precision="fp32"))


def test_a_trial_changes_no_weight_no_dice_and_no_mode(tiny, reviews, monkeypatch):
    monkeypatch.setattr(choosing, "SMALL", 0.0)  # however small, it is tried
    run = Run(TextClassification(), str(tiny("bert")), AUTO, reviews).prepared()
    before, dice = flat(run.model).clone(), torch.get_rng_state().clone()
    chosen, shares = choosing.try_precisions(run.task, run.model, run.examples)
    assert chosen in ("fp32", "bf16") and set(shares) == {"fp32", "bf16"}
    assert torch.equal(flat(run.model), before) and torch.equal(torch.get_rng_state(), dice)
    assert all(p.grad is None for p in run.model.parameters())


def test_a_trial_has_no_more_rows_in_memory_than_the_run(tiny, reviews, monkeypatch, tmp_path):
    monkeypatch.setattr(choosing, "SMALL", 0.0)
    seen = []

    class Watching(TextClassification):
        def loss(self, outputs, batch):
            seen.append(len(batch))
            return super().loss(outputs, batch)

    recipe = AUTO.but(micro_batch_size=1)
    monkeypatch.setattr(choosing, "own_folder", lambda name: tmp_path / name)
    Run(Watching(), str(tiny("bert")), recipe, reviews).prepared()
    assert seen and set(seen) == {1}


def test_two_rows_are_enough_for_a_trial(tiny, monkeypatch):
    monkeypatch.setattr(choosing, "SMALL", 0.0)
    rows = pd.DataFrame({"text": ["a good film", "a bad film"], "label": ["a", "b"]})
    run = Run(TextClassification(), str(tiny("bert")), AUTO, rows).prepared()
    assert choosing.try_precisions(run.task, run.model, run.examples)[1]
