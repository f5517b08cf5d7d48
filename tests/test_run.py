"""A fit commits or changes nothing:

a run that is refused leaves the tuner as it was, one that breaks leaves nothing behind.
"""
import subprocess
import sys

import pandas as pd
import pytest
from conftest import same_weights
from tiny_models import SENTENCES

from sft_nb.all import FineTuner, Recipe, SFTError, TextClassification
from sft_nb.training.run import Run
from sft_nb.speed.dropout import FastDropout
from sft_nb.task import TrainingError
from sft_nb.training.watching import Lines, Listener

ROWS = pd.DataFrame({"text": [f"{text} {i}" for i in range(6) for text in SENTENCES],
                     "label": ["good", "bad"] * 24})
FAST = Recipe(epochs=1, learning_rate=1e-3, batch_size=8)


@pytest.fixture(scope="module")
def bert(tiny): return str(tiny("bert"))


def state(tuner):
    "Everything that anybody can ask of a tuner, with bytes for weights."
    kept = {
        name: value
        for name, value in vars(tuner).items()
        if name not in ("model", "run", "trouble")
    }
    weights = None
    if tuner.model is not None:
        weights = {k: v.numpy().tobytes() for k, v in tuner.model.state_dict().items()}
    return {name: repr(value) for name, value in kept.items()} | {"weights": weights}


def no_checkpoints(tuner, folder):
    folder.mkdir()
    tuner.fit(ROWS, resume=folder)


def unknown_folder(tuner, folder):
    tuner.fit(ROWS, resume=folder / "nowhere")


def packed(tuner, folder):
    tuner.recipe = FAST.but(packing=True)
    tuner.fit(ROWS)


def a_label_is_empty(tuner, folder):
    tuner.fit(ROWS.assign(label=[None, *ROWS.label[1:]]))


def valid_knows_another_label(tuner, folder):
    tuner.fit(ROWS, ROWS.head(8).assign(label="ugly"))


def nothing_to_train(tuner, folder):
    class Frozen(TextClassification):
        name = ""
        def build(self, *args, **options):
            model, processor = super().build(*args, **options)
            return model.requires_grad_(False), processor
    tuner.task = Frozen()
    tuner.fit(ROWS)


def a_listener_says_no(tuner, folder):
    class No(Listener):
        def start(self, run): raise TrainingError("not today")
    tuner.fit(ROWS, listeners=[No()])


def no_listener(tuner, folder):
    tuner.fit(ROWS, listeners=[Lines])


def patience_without_valid(tuner, folder):
    tuner.recipe = FAST.but(patience=1)
    tuner.fit(ROWS)


def another_checkpoint(tuner, folder):
    tuner.checkpoint = str(folder / "nothing")
    tuner.fit(ROWS)


REFUSALS = [no_checkpoints, unknown_folder, packed, a_label_is_empty, valid_knows_another_label,
            nothing_to_train, a_listener_says_no, no_listener, patience_without_valid,
            another_checkpoint]


@pytest.mark.parametrize("refused", REFUSALS)
@pytest.mark.parametrize("trained", [False, True], ids=["new", "trained"])
def test_a_refused_fit_changes_nothing(refused, trained, bert, tmp_path):
    tuner = FineTuner(TextClassification(), bert, FAST)
    if trained: tuner.fit(ROWS, ROWS)
    answers = tuner.predict(list(SENTENCES)) if trained else None
    asked = {name: getattr(tuner, name) for name in ("task", "recipe", "checkpoint")}
    before = state(tuner)
    with pytest.raises(SFTError):
        refused(tuner, tmp_path / "folder")
    for name, value in asked.items():
        setattr(tuner, name, value)  # what the case itself has set
    assert state(tuner) == before
    if trained: assert tuner.predict(list(SENTENCES)) == answers
    else:
        with pytest.raises(TrainingError, match="no model yet"):
            tuner.save(tmp_path / "run")


def test_a_first_update_that_breaks_changes_nothing_but_the_trouble(bert):
    tuner = FineTuner(TextClassification(), bert, FAST).fit(ROWS, ROWS)
    before = state(tuner)
    tuner.recipe = FAST.but(learning_rate=9.9, max_grad_norm=None)

    class Spoil(Listener):
        def start(self, run): run.model.classifier.weight.data.fill_(float("nan"))

    with pytest.raises(TrainingError, match="The tuner is what it was before this fit"):
        tuner.fit(ROWS, listeners=[Spoil()])
    tuner.recipe = FAST
    assert state(tuner) == before and len(tuner.trouble) == 8


@pytest.mark.parametrize("moment", ["step", "epoch", "end"])
def test_a_listener_that_breaks_leaves_an_ordinary_model(moment, bert, tmp_path):
    "No replaced class, no hook, no lock; what was learned is there."
    class Breaks(Listener):
        pass
    def broken(self, run): raise RuntimeError("the listener broke")
    setattr(Breaks, moment, broken)
    tuner = FineTuner(TextClassification(), bert, FAST, out=tmp_path / "run")
    with pytest.raises(RuntimeError, match="the listener broke"):
        tuner.fit(ROWS, listeners=[Breaks()])
    parts = list(tuner.model.modules())
    assert not any(isinstance(m, FastDropout) for m in parts) and not tuner.model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in parts)
    assert not (tmp_path / "run" / ".lock").exists()
    tuner.predict(["a warm film"])
    tuner.fit(ROWS)  # the folder is free


def test_every_listener_hears_the_end_although_one_breaks(bert):
    told = []

    class Loud(Lines):
        def end(self, run):
            told.append("end")
            raise RuntimeError("broke")

    class Other(Listener):
        def end(self, run): told.append("other")

    with pytest.raises(RuntimeError, match="broke"):
        FineTuner(TextClassification(), bert, FAST).fit(ROWS, listeners=[Loud(), Other()])
    assert told == ["end", "other"]


def test_moments_in_their_order(bert):
    told = []

    class All(Listener):
        def start(self, run): told.append("start")
        def step(self, run): told.append("step")
        def epoch(self, run): told.append("epoch")
        def end(self, run): told.append("end")

    tuner = FineTuner(TextClassification(), bert, FAST).fit(ROWS.head(16), listeners=(All(),))
    assert told == ["start", "step", "step", "epoch", "end"] and isinstance(tuner.run, Run)


def test_no_attribute_is_born_outside_the_constructor(bert, tmp_path):
    new = set(vars(FineTuner(TextClassification(), bert, FAST)))
    tuner = FineTuner(TextClassification(), bert, FAST, out=tmp_path / "run").fit(ROWS, ROWS)
    made = set(vars(Run(TextClassification(), bert, FAST, ROWS)))
    tuner.save(tmp_path / "run", forget=True)
    assert set(vars(tuner)) == new == set(vars(FineTuner.load(tmp_path / "run")))
    assert set(vars(tuner.run)) == made


def test_a_run_put_away_and_put_back(bert):
    "`state_dict` and `load_state_dict` in one process: the second half ends where the whole does."
    class At(Listener):
        def __init__(self): self.state = None
        def step(self, run):
            if run.position.step == 3: self.state = {k: v for k, v in run.state_dict().items()}
            if run.position.step == 3: run.interrupted = True

    recipe, at = FAST.but(epochs=2, dropout=0.0), At()
    whole = FineTuner(TextClassification(), bert, recipe).fit(ROWS, ROWS)
    FineTuner(TextClassification(), bert, recipe).fit(ROWS, ROWS, listeners=[at])
    run = Run(TextClassification(), bert, recipe, ROWS, ROWS).prepared()
    run.load_state_dict(at.state)
    run.go()
    assert same_weights(whole.model, run.model)


def test_only_training_imported(bert, tmp_path):
    "No module has to be imported for another one's sake; and none changes another."
    code = f"""
import inspect, pandas as pd
from sft_nb.training.tuner import FineTuner
before = inspect.signature(FineTuner.predict)
names = set(dir(FineTuner))
from sft_nb.training.recipe import Recipe
from sft_nb.tasks.text.classification import TextClassification
rows = pd.DataFrame({{"text": ["good film", "bad film"] * 4, "label": ["a", "b"] * 4}})
recipe = Recipe(epochs=1, batch_size=4)
FineTuner(TextClassification(), {bert!r}, recipe, out={str(tmp_path / "run")!r}).fit(rows)
import sft_nb.all, sft_nb.commands.cli, sft_nb.certification, sft_nb.certification.selective
assert inspect.signature(FineTuner.predict) == before and set(dir(FineTuner)) == names
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
