"""Means of weights, smoothed labels and the way uphill: they agree with torch, survive a restart,
and are refused where they cannot work.
"""
import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from cases import CASES
from conftest import alike
from kill_run import RECIPE, TRAIN, VALID
from test_arguments import WRONG, faults, fields_of
from tiny_models import SENTENCES
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sft_nb.all import FineTuner, Recipe, TextClassification, TextRegression, TrainingError
from sft_nb.batches.batching import Examples
from sft_nb.methods.averaging import Ema, Swa, moving, take_in
from sft_nb.methods.lora import Lora
from sft_nb.methods.sharpness import Sam, uphill
from sft_nb.methods.smoothing import LabelSmoothing, even_entropy
from sft_nb.training.gradient import effective_gradient, task_objective
from sft_nb.training.recipe import Method
from sft_nb.training.watching import Listener

QUICK = RECIPE.but(epochs=2, precision="fp32")


@dataclass
class Noted(Method):
    "Shows the weights after each update to others; counts gradients."
    def prepare(self, model):
        self.seen, self.model = [], model
        return model
    def after(self, model):
        self.seen.append({k: v.detach().clone() for k, v in model.state_dict().items()})


def trained(tiny, *methods, kind="bert", task=None, rows=TRAIN, valid=None, **changes):
    recipe = QUICK.but(methods=methods, **changes)
    return FineTuner(task or TextClassification(), tiny(kind), recipe, device="cpu").fit(
        rows, valid
    )


def same(weights, others):
    return weights.keys() == others.keys() and all(
        torch.equal(v, others[k]) for k, v in weights.items()
    )


def near(weights, others, tolerance=1e-6):
    return all(torch.allclose(v, others[k], atol=tolerance) for k, v in weights.items())


# --- means of weights ---

def replayed(model, seen, **how):
    "torch's own mean of these weights."
    theirs = AveragedModel(model, use_buffers=True, **how)
    for weights in seen:
        model.load_state_dict(weights)
        theirs.update_parameters(model)
    return theirs.module.state_dict()


def test_the_plain_mean_is_torchs(tiny):
    noted = Noted()
    tuner = trained(tiny, Swa(start=0.5), noted)
    kept = {k: v.clone() for k, v in tuner.model.state_dict().items()}
    assert len(noted.seen) == 6
    assert near(kept, replayed(tuner.model, noted.seen[3:]))
    assert not near(kept, noted.seen[-1])


def test_the_moving_mean_is_torchs_without_its_beginning(tiny):
    noted, decay = Noted(), 0.8
    tuner = trained(tiny, Ema(decay), noted)
    kept = {k: v.clone() for k, v in tuner.model.state_dict().items()}
    theirs = replayed(tuner.model, noted.seen, multi_avg_fn=get_ema_multi_avg_fn(decay))
    first, d = noted.seen[0], decay ** len(noted.seen)
    assert near(kept, {k: (v - d * first[k]) / (1 - d) for k, v in theirs.items()})


def test_training_knows_nothing_of_the_mean(tiny):
    "The same steps, and the same last weights, with and without."
    noted = [Noted(), Noted()]
    trained(tiny, noted[0])
    trained(tiny, noted[1], Ema())
    assert same(noted[0].seen[-1], noted[1].seen[-1])


def test_a_sample_at_the_end_of_each_epoch(tiny):
    noted = Noted()
    tuner = trained(tiny, Swa(start=0.3, every="epoch"), noted, epochs=4)
    ends = noted.seen[2::3]
    assert len(ends) == 4
    mean = {k: torch.stack([w[k] for w in ends[1:]]).mean(0) for k in ends[0]}
    assert near(tuner.model.state_dict(), mean)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.34, 0.5, 0.99])
def test_how_many_updates_are_left_out(share):
    net, swa = nn.Linear(1, 1), Swa(start=share)
    swa.planned(updates=7, epochs=1)
    for _ in range(7):
        swa.after(net)
    assert swa.samples == 7 - int(share * 7) >= 1


def test_a_run_that_ends_before_the_first_sample_keeps_its_weights(tiny):
    class Stop(Listener):
        def step(self, run): run.interrupted = run.position.step == 2
    noted = Noted()
    recipe = QUICK.but(methods=(Swa(start=0.9), noted))
    tuner = FineTuner(TextClassification(), tiny("bert"), recipe, device="cpu")
    tuner.fit(TRAIN, listeners=[Stop()])
    assert same(tuner.model.state_dict(), noted.seen[-1])


def test_what_is_judged_chosen_and_saved_is_the_mean(tiny, tmp_path):
    tuner = trained(tiny, Ema(0.9), valid=VALID, keep_best=False, epochs=3)
    last = tuner.history.epochs[-1]
    assert tuner.evaluate(VALID).loss == pytest.approx(last["valid_loss"], rel=1e-6)
    tuner.save(tmp_path / "run")
    loaded = FineTuner.load(tmp_path / "run", device="cpu")
    assert same(loaded.model.state_dict(), tuner.model.state_dict())
    texts = VALID.text.tolist()
    assert alike(loaded.predict(texts), tuner.predict(texts))


def test_the_best_epoch_is_that_of_the_mean(tiny):
    tuner = trained(tiny, Ema(0.9), valid=VALID, keep_best=True, epochs=3)
    best = tuner.history.epochs[tuner.kept_epoch - 1]
    assert tuner.evaluate(VALID).loss == pytest.approx(best["valid_loss"], rel=1e-6)


def test_frozen_parts_are_not_kept_twice(tiny):
    model = trained(tiny, unfreeze_last=1).model
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen and not frozen & moving(model).keys()
    kept = adapted(tiny).mean
    body = [name for name in kept if ".encoder." in name]
    assert body and all("lora_" in name for name in body)  # what is new learns too


def adapted(tiny):
    "The mean during a run with adapters."
    class Kept(Ema):
        def finish(self, model): return model
    ema = Kept()
    trained(tiny, ema, Lora(rank=2, alpha=4))
    return ema


def test_beside_adapters_the_merged_model_is_the_mean(tiny):
    tuner = trained(tiny, Ema(0.9), Lora(rank=2, alpha=4))
    assert not any("lora" in name for name in tuner.model.state_dict())
    other = trained(tiny, Lora(rank=2, alpha=4))
    assert not same(tuner.model.state_dict(), other.model.state_dict())


def test_tied_weights_stay_tied():
    "Two names of one parameter: both have the mean."
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.b.weight = self.a.weight
    net, swa = Tied(), Swa(start=0)
    swa.planned(2, 1)
    for value in (1.0, 3.0):
        nn.init.constant_(net.a.weight, value)
        swa.after(net)
    net.load_state_dict(swa.averaged(net))
    assert net.a.weight is net.b.weight and net.a.weight.unique().tolist() == [2.0]


def test_half_precision_weights_have_a_mean_in_full():
    net, ema = nn.Linear(2, 2).bfloat16(), Ema(0.99)
    for value in (1.0, 1.0078125):
        nn.init.constant_(net.weight, value)
        ema.after(net)
    assert ema.mean["weight"].dtype == torch.float32
    assert 1.0 < ema.mean["weight"][0, 0] < 1.0078125
    net.load_state_dict(ema.averaged(net))


def test_whole_numbers_and_running_statistics():
    "Counters are those of the last update; running statistics are averaged with the weights."
    net, swa = nn.BatchNorm1d(2), Swa(start=0)
    swa.planned(2, 1)
    for mean in (0.0, 4.0):
        net.train()(torch.full((3, 2), mean))
        swa.after(net)
    state = swa.averaged(net)
    assert state["num_batches_tracked"] == 2
    assert torch.allclose(state["running_mean"], torch.full((2,), 0.2))


def test_a_fit_forgets_the_one_before(tiny):
    recipe = QUICK.but(methods=(Ema(0.9),))
    first, second = (
        FineTuner(TextClassification(), tiny("bert"), recipe, device="cpu").fit(TRAIN)
        for _ in range(2)
    )
    assert same(first.model.state_dict(), second.model.state_dict())
    assert not recipe.methods[0].mean


# --- restarts ---

@pytest.mark.parametrize(
    "methods",
    [
        (Ema(0.9),), (Swa(start=0.2),), (Swa(start=0.3, every="epoch"),),
        (LabelSmoothing(0.2), Sam(0.5), Ema(0.9)),
    ],
    ids=str,
)
@pytest.mark.parametrize("step", [4, 6])
def test_a_resumed_run_ends_with_the_same_bits(tiny, tmp_path, methods, step):
    class Stop(Listener):
        def step(self, run): run.interrupted = run.position.step == step
    recipe = RECIPE.but(methods=methods)
    def tuner(out=None):
        return FineTuner(TextClassification(), tiny("bert"), recipe, out=out, device="cpu")
    whole = tuner().fit(TRAIN, VALID)
    assert tuner(tmp_path).fit(TRAIN, VALID, listeners=[Stop()]).interrupted
    resumed = tuner(tmp_path).fit(TRAIN, VALID, resume="auto")
    assert same(whole.model.state_dict(), resumed.model.state_dict())
    assert whole.history.epochs == resumed.history.epochs


def test_another_setting_is_another_run(tiny, tmp_path):
    class Stop(Listener):
        def step(self, run): run.interrupted = run.position.step == 4
    def tuner(decay):
        recipe = RECIPE.but(methods=(Ema(decay),))
        return FineTuner(TextClassification(), tiny("bert"), recipe, out=tmp_path, device="cpu")
    tuner(0.9).fit(TRAIN, listeners=[Stop()])
    with pytest.raises(TrainingError, match="another run"):
        tuner(0.5).fit(TRAIN, resume="auto")


# --- smoothing ---

def test_smoothing_is_that_of_the_task(tiny):
    "Also with balanced classes; a run has the same losses and the same weights."
    rows = TRAIN.assign(label=["good"] * 8 + ["bad"] * 4)
    for balanced in (False, True):
        task = TextClassification(balanced=balanced)
        ours = trained(tiny, LabelSmoothing(0.2), task=task, rows=rows, dropout=0.0)
        own = replace(task, label_smoothing=0.2)
        theirs = trained(tiny, task=own, rows=rows, dropout=0.0)
        steps = [[s["loss"] for s in tuner.history.steps] for tuner in (ours, theirs)]
        assert np.allclose(*steps, atol=1e-5)


def test_valid_has_the_plain_loss(tiny):
    tuner = trained(tiny, LabelSmoothing(0.5), valid=VALID, keep_best=False)
    plain = replace(tuner.task, label_smoothing=0.0)
    assert plain == tuner.task
    found = tuner.history.epochs[-1]["valid_loss"]
    assert tuner.evaluate(VALID).loss == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3), (2, 2, 2, 7)])
def test_the_even_part_is_torchs(shape):
    torch.manual_seed(0)
    logits, weights = torch.randn(shape, dtype=torch.float64), torch.rand(shape[-1]).double() + 0.1
    targets = torch.randint(0, shape[-1], shape[:-1])
    for w in (None, weights):
        how = {"weight": w, "reduction": "sum"}
        flat = logits.reshape(-1, shape[-1]), targets.flatten()
        plain = nn.functional.cross_entropy(*flat, **how)
        for share in (0.0, 0.1, 0.7):
            theirs = nn.functional.cross_entropy(*flat, label_smoothing=share, **how)
            ours = (1 - share) * plain + share * even_entropy(logits, w)
            assert ours.item() == pytest.approx(theirs.item(), rel=1e-9)


def test_refused_where_there_is_no_choice(tiny):
    rows = pd.DataFrame({"text": SENTENCES, "rating": range(8)})
    with pytest.raises(TrainingError, match="leave the method out"):
        trained(tiny, LabelSmoothing(), task=TextRegression(number="rating"), rows=rows)
    with pytest.raises(TrainingError, match="already"):
        trained(tiny, LabelSmoothing(), task=TextClassification(label_smoothing=0.1))


# --- sharpness ---

class Counted(Sam):
    "Looks at what the optimiser is given, and counts."
    passes: ClassVar[int] = 0

    def step(self, model, grad, opt):
        before = {k: v.detach().clone() for k, v in model.state_dict().items()}
        def counted():
            Counted.passes += 1
            return grad()
        def looked():
            assert same(before, dict(model.state_dict()))
            opt()
        super().step(model, counted, looked)


def test_two_gradients_an_update_and_no_trace(tiny):
    tuner = trained(tiny, Counted(radius=0.5))
    assert Counted.passes == 2 * len(tuner.history.steps) == 12


def test_no_radius_is_the_plain_run(tiny):
    "The same dropout in both gradients, and the same bits at the end."
    assert same(
        trained(tiny, Sam(radius=0.0)).model.state_dict(), trained(tiny).model.state_dict()
    )
    assert not near(
        trained(tiny, Sam(radius=0.5)).model.state_dict(), trained(tiny).model.state_dict()
    )


def test_the_gradient_is_that_of_the_whole_batch(tiny):
    runs = [
        trained(tiny, Sam(radius=0.5), dropout=0.0, micro_batch_size=size, epochs=1)
        for size in (None, 1, 3)
    ]
    for cut in runs[1:]:
        for one, other in zip(runs[0].history.steps, cut.history.steps, strict=True):
            assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)
            assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)


def test_clipping_comes_last(tiny):
    "The gradient that is measured is the second one."
    plain, steep = (
        trained(tiny, *methods, dropout=0.0, epochs=1, batch_size=12, max_grad_norm=0.01)
        for methods in ((), (Sam(radius=2.0),))
    )
    norms = [tuner.history.steps[0]["grad_norm"] for tuner in (plain, steep)]
    losses = [tuner.history.steps[0]["loss"] for tuner in (plain, steep)]
    assert losses[0] == losses[1] and abs(norms[0] - norms[1]) > 1e-3


def test_beside_everything_else(tiny):
    "Frozen parts, bf16, adapters, smoothing and a mean: it trains, and frozen parts stay."
    tuner = trained(
        tiny, LabelSmoothing(), Sam(), Ema(0.9), unfreeze_last=1, precision="bf16",
        micro_batch_size=2,
    )
    task = tuner.task
    fresh, _ = task.build(str(tiny("bert")), seed=QUICK.seed)
    changed = {
        k for k, v in fresh.state_dict().items() if not torch.equal(v, tuner.model.state_dict()[k])
    }
    assert changed and not any("embeddings" in name for name in changed)
    assert trained(tiny, Sam(), Lora(rank=2, alpha=4)).history.steps


def test_a_loss_that_is_not_a_number_leaves_the_weights_alone(tiny):
    "The second pass fails uphill; the tuner has the weights from before the update."
    @dataclass
    class Cliff(Method):
        def objective(self, inner, task):
            def falls(model, batch):
                sums, outputs = inner(model, batch)
                self.calls = getattr(self, "calls", 0) + 1
                if self.calls == 4: sums = {k: v * math.nan for k, v in sums.items()}
                return sums, outputs
            return falls
    noted = Noted()
    recipe = QUICK.but(methods=(Cliff(), Sam(radius=3.0), noted))
    tuner = FineTuner(TextClassification(), tiny("bert"), recipe, device="cpu")
    with pytest.raises(TrainingError, match="before this update"):
        tuner.fit(TRAIN)
    assert len(noted.seen) == 1
    assert same(tuner.model.state_dict(), noted.seen[-1])


def test_running_statistics_do_not_learn_uphill():
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    x = torch.randn(8, 4)
    def grad():
        net.zero_grad()
        net(x).square().mean().backward()
    Sam(radius=1.0).step(net, grad, lambda: None)
    assert net[1].num_batches_tracked == 1


# --- settings ---

@pytest.mark.parametrize(
    "kind, wrong",
    [
        (Ema, {"decay": 1}), (Ema, {"decay": -0.1}), (Ema, {"decay": "0.9"}),
        (Ema, {"decay": None}), (Ema, {"decay": math.nan}), (Swa, {"start": 1.0}),
        (Swa, {"start": -1}), (Swa, {"start": [0.5]}), (Swa, {"every": "step"}),
        (Swa, {"every": 2}), (Sam, {"radius": -1}), (Sam, {"radius": "0.05"}),
        (Sam, {"radius": math.inf}), (Sam, {"radius": True}), (LabelSmoothing, {"share": 1}),
        (LabelSmoothing, {"share": -0.1}), (LabelSmoothing, {"share": "0.1"}),
        (LabelSmoothing, {"share": None}),
    ],
    ids=str,
)
def test_what_cannot_be_is_named(kind, wrong):
    with pytest.raises(TrainingError, match=next(iter(wrong))):
        kind(**wrong)


@pytest.mark.parametrize("kind", [Ema, Swa, LabelSmoothing, Sam])
def test_any_value_is_taken_or_refused_with_a_sentence(kind):
    assert not faults(kind, fields_of(kind))


def test_functions_refuse_what_they_cannot_use():
    net = nn.Linear(2, 1)
    plain = {name: WRONG[name] for name in ("None", "True", "-1", "text", "empty dictionary")}
    assert not faults(even_entropy, {"logits": torch.zeros(2, 3)}, plain)
    assert not faults(moving, {"model": net})
    assert not faults(take_in, {"mean": {}, "model": net, "share": 0.5})
    assert not faults(lambda **given: uphill(**given).__enter__(), {"model": net, "radius": 0.1})


def test_two_means_or_two_steps_are_refused():
    with pytest.raises(TrainingError, match="averaged"):
        Recipe(methods=(Ema(), Swa()))
    with pytest.raises(TrainingError, match="step"):
        Recipe(methods=(Sam(), Sam()))


def test_settings_are_printed_and_compared():
    assert repr(Ema()) == "Ema(decay=0.95)" and repr(Swa()) == "Swa(start=0.5, every='update')"
    recipe = Recipe(methods=(LabelSmoothing(), Sam(), Ema()))
    assert recipe == Recipe(methods=(LabelSmoothing(), Sam(), Ema()))
    assert recipe.to_dict()["methods"][:2] == ["LabelSmoothing(share=0.1)", "Sam(radius=0.05)"]
    assert len(recipe.diff(Recipe(methods=(LabelSmoothing(), Sam(), Ema(0.5))))) == 1


# --- tasks of every kind ---

@pytest.mark.parametrize(
    "name",
    ["text classification, several labels", "sequence labelling, in windows",
     "image classification", "instruction tuning"],
)
def test_smoothing_is_exact_however_a_batch_is_cut(name, tiny):
    "Padding and what is not asked are left out; torch's own loss where a target is one class."
    case = CASES[name]
    task, model, processor = case.begin(tiny)
    examples = Examples(task, case.rows, processor)
    objective = LabelSmoothing(0.2).objective(task_objective(task), task)

    def gradient(cuts):
        pieces = [examples.batch(cut) for cut in cuts]
        sums, _ = effective_gradient(task, model, pieces, objective)
        return sums["loss"], torch.cat([p.grad.flatten() for p in model.parameters()])

    (loss, one), (parts, cut) = gradient([range(8)]), gradient([range(3), range(3, 8)])
    assert parts == pytest.approx(loss, rel=1e-5)
    assert (one - cut).norm() / one.norm() < 1e-4
    batch = examples.batch(range(8))
    targets = batch.targets.get("labels", batch.targets.get("classes"))
    if targets.is_floating_point(): return
    logits = model(**batch.inputs).logits.flatten(0, -2)
    torchs = nn.CrossEntropyLoss(label_smoothing=0.2, reduction="sum")(logits, targets.flatten())
    assert loss == pytest.approx(torchs.item(), rel=1e-5)


@pytest.mark.parametrize(
    "name, methods",
    [
        ("text regression", (Sam(), Ema(0.5))),
        ("sequence labelling", (LabelSmoothing(), Sam(), Swa())),
        ("image classification", (LabelSmoothing(), Sam(), Ema(0.5))),
        ("object detection", (Sam(), Ema(0.5))),
        ("instruction tuning", (LabelSmoothing(), Sam(), Swa())),
    ],
)
def test_a_run_of_every_kind(name, methods, tiny, tmp_path):
    "Trained, saved, loaded and asked; with BatchNorm in training where there is some."
    case = CASES[name]
    recipe = Recipe(
        epochs=2, batch_size=4, learning_rate=1e-3, methods=methods, keep_best=False,
        train_batchnorm=True,
    )
    tuner = FineTuner(case.task, case.folder(tiny), recipe, device="cpu").fit(case.rows)
    tuner.save(tmp_path / "run")
    loaded = FineTuner.load(tmp_path / "run", device="cpu")
    assert loaded.evaluate(case.rows).loss == pytest.approx(
        tuner.evaluate(case.rows).loss, rel=1e-5
    )
