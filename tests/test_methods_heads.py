"""What a method does before the first update: once, kept through a restart, saved like any run."""
from dataclasses import dataclass

import pytest
import torch
from conftest import alike, same_tensors

from sft_nb.all import DataError, FineTuner, Recipe, TextClassification, TrainingError
from sft_nb.training.checkpoints import Checkpointer
from sft_nb.training.recipe import Method
from sft_nb.training.watching import Listener


# --- begin: the moment before the first update ---

@dataclass
class Loud(Method):
    "Its head is the same in every run, and easy to recognise."
    size: float = 2.0

    def __post_init__(self): self.calls = []

    @torch.no_grad()
    def begin(self, model, examples):
        self.calls.append((type(examples.task).__name__, len(examples), model.training))
        model.classifier.weight.fill_(self.size)


def tune(tiny, rows, recipe, valid=None, **how):
    return FineTuner(TextClassification(), tiny("bert"), recipe, **how).fit(rows, valid)


@pytest.fixture
def loud(): return Loud()


@pytest.fixture
def idle(loud): return Recipe(epochs=0, methods=(loud,))


def test_a_run_without_epochs(tiny, reviews, loud, idle, said):
    tuner = tune(tiny, reviews, idle, reviews)
    assert loud.calls == [("TextClassification", 8, False)]
    assert (tuner.model.classifier.weight == 2).all()
    assert [e["epoch"] for e in tuner.history.epochs] == [0]
    assert tuner.history.epochs[0]["accuracy"] == tuner.evaluate(reviews).metrics["accuracy"]
    assert tuner.history.steps == [] and tuner.kept_epoch == 0
    assert tuner.history.reached["value"] == .5
    words = said()
    assert "No epochs: what the methods do before the first update is all" in words
    assert "Epoch 0, Validation Loss" in words and "some epochs after" in words
    tuner.history.plot()


def test_it_is_saved_loaded_and_certified(tiny, reviews, idle, tmp_path):
    tuner = tune(tiny, reviews, idle, reviews.tail(4))
    tuner.save(tmp_path / "run")
    assert "No epochs" in (tmp_path / "run" / "README.md").read_text()
    again = FineTuner.load(tmp_path / "run")
    assert alike(again.predict(list(reviews.text)), tuner.predict(list(reviews.text)))
    assert again.recipe == Recipe(learning_rate=1e-4, batch_size=8)  # as always without methods
    again.save(tmp_path / "copy")
    assert "No epochs" in (tmp_path / "copy" / "README.md").read_text()
    fresh = reviews.assign(text=[f"{t}, so to speak" for t in reviews.text])
    assert again.certify(fresh, "accuracy >= 0.1").verdict == "CERTIFIED"
    tuner.fit(reviews).save(tmp_path / "other")  # without valid rows


def test_no_epochs_need_a_method_that_begins():
    @dataclass
    class Plain(Method):
        pass
    for methods in ((), (Plain(),)):
        with pytest.raises(TrainingError, match="epochs=0: at least 1, or None; 0 is for methods"):
            Recipe(epochs=0, methods=methods)
    with pytest.raises(TrainingError, match="epochs=-1: at least 1"):
        Recipe(epochs=-1, methods=(Loud(),))
    assert Recipe(epochs=0, methods=(Loud(), Plain())).sized(36).epochs == 0


class Stop(Listener):
    "Ask to stop, as Ctrl-C does, when so many updates are done."
    def __init__(self, at): self.at = at
    def begun(self, run): self.step(run)
    def step(self, run):
        if run.position.step == self.at: run.interrupted = True


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_resumed_run_has_begun_already(at, tiny, reviews, tmp_path):
    def recipe(): return Recipe(epochs=2, batch_size=4, precision="fp32", methods=(Loud(),))
    whole = tune(tiny, reviews, recipe(), reviews)
    plan = recipe()
    part = FineTuner(TextClassification(), tiny("bert"), plan, out=tmp_path)
    part.fit(reviews, reviews, listeners=(Stop(at),))
    assert part.interrupted and part.position.step == at and len(plan.methods[0].calls) == 1
    again = recipe()
    rest = FineTuner(TextClassification(), tiny("bert"), again, out=tmp_path)
    rest.fit(reviews, reviews, resume="auto")
    assert again.methods[0].calls == []
    assert same_tensors(rest.model.state_dict(), whole.model.state_dict())
    assert rest.history.steps == whole.history.steps


def test_a_run_without_epochs_resumes(tiny, reviews, tmp_path):
    tune(tiny, reviews, Recipe(epochs=0, methods=(Loud(),)), reviews, out=tmp_path)
    assert [f.name for f in (tmp_path / "checkpoints").iterdir()] == ["step-00000000"]
    plan = Recipe(epochs=0, methods=(Loud(),))
    again = FineTuner(TextClassification(), tiny("bert"), plan, out=tmp_path)
    again.fit(reviews, reviews, resume="auto")
    assert plan.methods[0].calls == [] and (again.model.classifier.weight == 2).all()
    assert [e["epoch"] for e in again.history.epochs] == [0]


def test_a_beginning_that_fails_leaves_the_tuner_alone(tiny, reviews, idle):
    @dataclass
    class Refuses(Method):
        def begin(self, model, examples): raise DataError("not these rows")
    tuner = tune(tiny, reviews, idle)
    before = tuner.model
    tuner.recipe = Recipe(epochs=0, methods=(Loud(3.0), Refuses()))
    with pytest.raises(DataError, match="not these rows"):
        tuner.fit(reviews)
    assert tuner.model is before and (before.classifier.weight == 2).all()


def test_runs_that_begin_with_nothing_keep_no_checkpoint_of_it(tiny, reviews, tmp_path):
    told = []

    class Note(Listener):
        def begun(self, run): told.append(run)
    keeper = Checkpointer(tmp_path)
    tuner = FineTuner(TextClassification(), tiny("bert"), Recipe(epochs=1))
    tuner.fit(reviews, listeners=(Note(), keeper))
    assert told == [] and len(keeper.own) == 1
