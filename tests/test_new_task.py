"""A task that is defined outside the package goes the whole road:

this keeps the contract honest.
"""
import json
import sys
from dataclasses import dataclass

import pandas as pd
import pytest
import torch
from toy_detection import ToyDetection, scenes

import sft_nb.commands.cli
from conftest import gradient_of
from sft_nb.commands.cli import main
from sft_nb.finding import task_class, task_from_dict
from sft_nb.data.splitting import split
from sft_nb.task import SFTError, Task
from sft_nb.tasks.text.classification import TextClassification
from sft_nb.training.recipe import Method, Recipe
from sft_nb.training.gradient import effective_gradient
from sft_nb.training.tuner import FineTuner
from sft_nb.training.watching import Lines

RECIPE = Recipe(epochs=24, learning_rate=2e-2, batch_size=16)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenes") / "scenes.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in scenes(240)))
    return path


@pytest.fixture(scope="module")
def data(table):
    return split(ToyDetection().read(table), valid_size=40, certify_size=40, seed=1, stratify=None)


@pytest.fixture(scope="module")
def tuner(data):
    return FineTuner(ToyDetection(), "toy", RECIPE).fit(data.train, data.valid)


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_it_learns(tuner, data):
    result = tuner.evaluate(data.certify)
    assert result.metrics["f1"] > 0.9, result
    assert set(result.losses) == {"heat", "box"}
    assert data.train.boxes.map(len).eq(0).any(), "some rows must have no target at all"


def test_rows_without_any_target_are_harmless(tuner, data):
    empty = data.train[data.train.boxes.map(len) == 0]
    tuned = FineTuner(ToyDetection(), "toy", RECIPE.but(epochs=1)).fit(empty, empty.head(3))
    assert torch.isfinite(parameters(tuned.model)).all()
    assert tuner.evaluate(empty).losses["box"] == 0


@pytest.mark.parametrize("cuts", [(8, 8), (1, 15), (4, 4, 4, 4), (1,) * 16])
def test_gradient_does_not_depend_on_the_cut(data, cuts):
    "Also when all boxes stand in one piece and the others have none."
    task = ToyDetection()
    many = data.train.boxes.map(len)
    rows = pd.concat([data.train[many > 0].head(6), data.train[many == 0].head(10)])
    assert len(rows) == 16
    model = task.build("toy")[0].eval()
    examples = task.encode_all(rows, None)

    def gradient(sizes):
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        pieces = [task.collate(examples[e - s : e], None) for s, e in zip(sizes, ends, strict=True)]
        model.zero_grad()
        effective_gradient(task, model, pieces)
        return gradient_of(model)

    whole = gradient((16,))
    assert (gradient(cuts) - whole).norm() / whole.norm() <= 1e-6


def test_resume_is_bitwise_with_augmentation_and_dropout(data, tmp_path):
    recipe = RECIPE.but(epochs=3)
    whole = FineTuner(ToyDetection(), "toy", recipe).fit(data.train, data.valid)

    class Stop(Lines):
        def step(self, run): run.interrupted = run.position.step == 14

    stopped = FineTuner(ToyDetection(), "toy", recipe, out=tmp_path)
    assert stopped.fit(data.train, data.valid, listeners=[Stop()]).interrupted
    resumed = FineTuner(ToyDetection(), "toy", recipe, out=tmp_path).fit(
        data.train, data.valid, resume="auto"
    )
    assert torch.equal(parameters(whole.model), parameters(resumed.model))
    assert whole.history.epochs == resumed.history.epochs


def test_save_load_predict(tuner, data, tmp_path):
    tuner.save(tmp_path / "run")
    loaded = FineTuner.load(tmp_path / "run")
    assert torch.equal(parameters(loaded.model), parameters(tuner.model))
    unlabelled = data.certify.drop(columns="boxes")
    assert loaded.predict(unlabelled).prediction.tolist() == [
        p.value for p in tuner.evaluate(data.certify).predictions
    ]
    assert len(loaded.predict([data.certify.image.iloc[0]])) == 1


def test_every_row_has_one_score(tuner, data):
    "What certificates will be made of: one number in [0, 1] per row."
    result = tuner.evaluate(data.certify)
    scores = list(map(tuner.task.score, result.predictions, result.targets))
    assert len(scores) == len(data.certify) and all(0 <= s <= 1 for s in scores)


@dataclass
class TwoPasses(Method):
    "Two dropout passes that should agree: wraps the objective."
    def objective(self, inner, task):
        def both(model, batch):
            (first, outputs), (second, _) = inner(model, batch), inner(model, batch)
            apart = {k: (first[k] - second[k]).abs() for k in first}
            return {k: (first[k] + second[k]) / 2 + apart[k] for k in first}, outputs
        return both


@dataclass
class TwoSteps(Method):
    "Two gradients, one step: looks at the gradient a little further up."
    def step(self, model, grad, opt):
        before = [p.detach().clone() for p in model.parameters()]
        grad()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(p.grad, alpha=1e-3)
        grad()
        with torch.no_grad():
            for p, b in zip(model.parameters(), before, strict=True):
                p.copy_(b)
        opt()


@dataclass
class Average(Method):
    "A moving average of the weights, which survives a restart."
    def prepare(self, model):
        self.mean = None
        return model
    def after(self, model):
        now = {k: v.clone() for k, v in model.state_dict().items()}
        self.mean = (
            now if self.mean is None else {k: self.mean[k].lerp(v, 0.1) for k, v in now.items()}
        )
    def averaged(self, model): return self.mean
    def state_dict(self): return {"mean": self.mean}
    def load_state_dict(self, state): self.mean = state["mean"]


@dataclass
class Split(Method):
    "Prepares the model and makes its own groups: only the last layer learns."
    def prepare(self, model):
        model[0].requires_grad_(False)
        return model
    def groups(self, model, learning_rate):
        return [{"params": list(model[3].parameters()), "lr": learning_rate}]


@pytest.mark.parametrize("method", [TwoPasses, TwoSteps, Average, Split])
def test_methods_fit_without_touching_the_loop(data, method):
    recipe = RECIPE.but(epochs=2)
    plain = FineTuner(ToyDetection(), "toy", recipe).fit(data.train, data.valid)
    other = FineTuner(ToyDetection(), "toy", recipe.but(methods=(method(),))).fit(
        data.train, data.valid
    )
    assert not torch.equal(parameters(plain.model), parameters(other.model))
    assert other.history.table.train_loss.iloc[-1] < other.history.table.train_loss.iloc[0] * 1.1
    if method is Split:
        assert torch.equal(
            other.model[0].weight, ToyDetection().build("toy", seed=recipe.seed)[0][0].weight
        )


def test_generation_overrides_predict_alone(data):
    """A task that runs the model several times per answer:

    `predict` is its own, loss and loop are not.
    """
    class Twice(ToyDetection):
        name = "toy-twice"
        def predict(self, model, batch, processor):
            return self.decode((model(**batch.inputs) + model(**batch.inputs)) / 2, batch)

    tuned = FineTuner(Twice(), "toy", RECIPE.but(epochs=2)).fit(data.train, data.valid)
    assert len(tuned.predict(data.certify)) == 40


def run(*argv):
    with pytest.raises(SystemExit) as e:
        main([str(a) for a in argv])
    return e.value.code or 0


def test_command_line(table, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sft_nb.training.recipe.RECIPES, "toy", RECIPE.but(epochs=4))
    task = ("--task", "toy_detection:ToyDetection")
    assert (
        run(
            "fine-tune", table, *task, "--recipe", "toy", "--out", tmp_path / "run",
            "--valid-size", 40, "--certify-size", 40, "--threshold", 0.4, "--json",
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["n"] == {
        "train": 160, "valid": 40, "certify": 40,
    }
    assert run("evaluate", tmp_path / "run", table, *task, "--json") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["n"] == 240 and set(result) == {"n", "loss", "metrics"}
    assert run("predict", tmp_path / "run", table, "--out", tmp_path / "answers.jsonl", *task) == 0
    assert len(pd.read_json(tmp_path / "answers.jsonl", lines=True)) == 240
    assert run("fine-tune", table, *task, "--help") == 0
    help_text = capsys.readouterr().out
    assert "--image" in help_text and "--threshold" in help_text


def test_a_saved_run_never_imports_code(tuner, monkeypatch):
    saved = tuner.task.to_dict()
    monkeypatch.delitem(Task.registry, "toy-detection")
    monkeypatch.delitem(sys.modules, "toy_detection")
    with pytest.raises(SFTError, match="import toy_detection first"):
        task_from_dict(saved)
    assert "toy_detection" not in sys.modules


MINE = """
from sft_nb.all import TextClassification
class Mine(TextClassification): pass
"""


def test_a_run_is_of_the_class_that_it_was_trained_with(tmp_path, monkeypatch):
    "Of two modules with a class of the same name; and where it went by its parent's name."
    for name in ("mine_one", "mine_two"):
        (tmp_path / f"{name}.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    kinds = [task_class(f"{name}:Mine") for name in ("mine_one", "mine_two")]
    for kind in kinds:
        saved = kind().to_dict()
        assert type(task_from_dict(saved)) is kind
        assert type(task_from_dict(saved | {"name": "text-classification"})) is kind
    old = kinds[0]().to_dict() | {"name": "text-classification", "module": "not_imported"}
    with pytest.raises(SFTError, match="import not_imported first"):
        task_from_dict(old)
    moved = TextClassification().to_dict() | {"module": "sft_nb.elsewhere", "class": "Older"}
    assert type(task_from_dict(moved)) is TextClassification
    Task.registry.pop("Mine")


def test_a_changed_copy_of_a_task_does_not_take_its_place():
    class Louder(ToyDetection):
        def metrics(self, predictions, targets): return super().metrics(predictions, targets)

    class Twice(Louder): pass

    for kind in (Louder, Twice):
        assert task_class(ToyDetection.name) is ToyDetection
        assert task_class(kind.__name__) is kind and kind().to_dict()["name"] == kind.__name__
        assert type(task_from_dict(kind().to_dict())) is kind
        Task.registry.pop(kind.name)
