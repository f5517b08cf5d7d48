"""Gradient checkpointing: a field of the recipe that changes memory, and no number."""
import logging
from contextlib import contextmanager

import pytest
import torch
from cases import CASES
from conftest import gradient_of
from transformers.utils import logging as warnings

from sft_nb.all import FineTuner, Recipe, TextClassification
from sft_nb.models.layers import blocks, compute_twice, is_computed_twice, set_dropout
from sft_nb.task import TrainingError
from sft_nb.training.gradient import effective_gradient
from sft_nb.training.watching import Listener

RECIPE = Recipe(epochs=1, learning_rate=1e-3, batch_size=4, precision="fp32")
ABLE = [name for name in CASES if CASES[name].checkpoint != "toy"]


def bits(tuner): return torch.cat([p.detach().flatten() for p in tuner.model.parameters()])


@pytest.mark.parametrize("name", ABLE, ids=lambda name: name.replace(" ", "-"))
def test_the_gradient_is_the_same(tiny, name):
    "With dropout, which draws the same numbers the second time."
    task, model, processor = CASES[name].begin(tiny)
    if not getattr(model, "supports_gradient_checkpointing", False):
        with pytest.raises(TrainingError, match="cannot compute its blocks twice"):
            compute_twice(model)
        return
    set_dropout(model, 0.1)
    batch = task.collate(task.encode_all(CASES[name].rows.head(4), processor), processor)
    effective_gradient(task, model, [batch], key=(1, 2))
    one = gradient_of(model)
    effective_gradient(task, compute_twice(model), [batch], key=(1, 2))
    two = gradient_of(model)
    assert one.norm() > 0 and (one - two).norm() <= 1e-6 * one.norm()


def test_a_run_ends_with_the_same_weights(tiny, reviews):
    "Of two plain runs, with dropout and without shortcuts, one computes its blocks twice."
    ends = []
    for twice in (False, True):
        tuner = FineTuner(TextClassification(), tiny("bert"),
                          RECIPE.but(gradient_checkpointing=twice))
        tuner.shortcuts = ()
        tuner.fit(reviews)
        assert not is_computed_twice(tuner.model)
        ends.append(bits(tuner))
    assert (ends[0] - ends[1]).norm() <= 1e-6 * ends[0].norm()


@pytest.mark.parametrize("name", ABLE, ids=lambda name: name.replace(" ", "-"))
def test_shortcuts_do_not_ask_for_what_is_not_kept(tiny, name):
    "Every shortcut that fits is in use, and the run ends where it ends without."
    case, ends = CASES[name], []
    def taught(twice):
        recipe = RECIPE.but(gradient_checkpointing=twice, dropout=0.0)
        return FineTuner(case.task, case.folder(tiny), recipe).fit(case.rows)
    if not getattr(case.begin(tiny)[1], "supports_gradient_checkpointing", False):
        with pytest.raises(TrainingError, match="cannot compute its blocks twice"):
            taught(twice=True)
        return
    for twice in (False, True):
        tuner = taught(twice)
        assert not is_computed_twice(tuner.model)
        ends.append(bits(tuner))
    assert (ends[0] - ends[1]).norm() <= 1e-6 * ends[0].norm()


class Count(Listener):
    "How often something inside the first block computes while the model learns."
    def start(self, run):
        self.times = 0
        inside = next(blocks(run.model)[1][0].children())
        inside.register_forward_pre_hook(self.note)
    def note(self, part, *_): self.times += part.training


@pytest.mark.parametrize("twice", [False, True])
def test_blocks_are_computed_twice(tiny, reviews, twice):
    count = Count()
    tuner = FineTuner(TextClassification(), tiny("bert"), RECIPE.but(gradient_checkpointing=twice))
    tuner.fit(reviews, listeners=[count])
    assert count.times == (2 if twice else 1) * tuner.position.step


@contextmanager
def heard():
    "What transformers says, which it says once in a process."
    said, logger = [], logging.getLogger("transformers")
    listening = logging.Handler()
    listening.emit = lambda record: said.append(record.getMessage())
    warnings.warning_once.cache_clear()
    logger.addHandler(listening)
    try:
        yield said
    finally:
        logger.removeHandler(listening)


def caches(model):
    "What each part's configuration says about keys and values."
    configs = [m.config for m in model.modules() if hasattr(m, "config")]
    return [getattr(config, "use_cache", None) for config in configs]


WRITERS = ["translation, a new decoder", "translation, marian", "translation, t5",
           "translation, language model", "instruction tuning"]


@pytest.mark.parametrize("name", ["text classification", *WRITERS],
                         ids=lambda name: name.replace(" ", "-"))
def test_nobody_is_warned_of_a_cache(tiny, name):
    "Every part's configuration is afterwards as it was."
    case = CASES[name]
    tuner = FineTuner(case.task, case.folder(tiny), RECIPE.but(gradient_checkpointing=True))
    with heard() as said:
        tuner.fit(case.rows)
    assert not [line for line in said if "cache" in line]
    assert caches(tuner.model) == caches(case.begin(tiny)[1])
    if name in WRITERS: assert True in caches(tuner.model)


def test_switched_off_twice_and_on_again(tiny):
    "What had no cache before has none afterwards."
    _, model, _ = CASES["translation, t5"].begin(tiny)
    model.encoder.config.use_cache = False
    before = caches(model)
    for on in (True, True, False, False):
        compute_twice(model, on)
        assert (True in caches(model)) is not on
    assert caches(model) == before
