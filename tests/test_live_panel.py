"""The panel over a run in a thread: pause, go on, stop, another rate, and what goes wrong."""
import time

import pandas as pd
import pytest
from conftest import same_weights
from tiny_models import SENTENCES

from sft_nb.all import FineTuner, Recipe, TextClassification
from sft_nb.task import TrainingError
from sft_nb.training.guards import change_rate
from sft_nb.training.watching import Listener
from sft_nb.widgets.live_panel import NO_KERNEL, LivePanel

ROWS = pd.DataFrame({"text": [f"{text} {i}" for i in range(6) for text in SENTENCES],
                     "label": ["good", "bad"] * 24})
RECIPE = Recipe(epochs=2, learning_rate=1e-3, batch_size=8, seed=3)  # 12 updates
MOST = 120  # seconds that a thread may take; a test that waits so long has failed


@pytest.fixture(scope="module")
def bert(tiny): return str(tiny("bert"))


def tuner_of(bert, **changes): return FineTuner(TextClassification(), bert, RECIPE.but(**changes))


def until(true):
    "Wait until something is true."
    end = time.monotonic() + MOST
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(.01)


def started_paused(tuner, rows=ROWS, valid=None):
    "A panel whose run holds before its first update."
    panel = LivePanel(tuner)
    panel.pause()
    panel.fit(rows, valid)
    until(lambda: panel.state in ("paused", "failed"))
    assert panel.error is None
    return panel


class AfterSteps(Listener):
    "Does something to a panel after the given update."
    def __init__(self, step, act): self.at, self.act = step, act

    def step(self, run):
        if run.position.step == self.at: self.act(run)


def fit_with(panel, listener, rows=ROWS, valid=None):
    "Fit in the panel's thread, with a listener that is told before the panel's own."
    plain = panel.tuner.fit
    panel.tuner.fit = lambda **given: plain(
        **given | {"listeners": [listener, *given["listeners"]]})
    panel.fit(rows, valid)


def ended(panel):
    panel.wait(MOST)
    assert not panel.thread.is_alive()
    return panel


def test_a_pause_really_holds(bert):
    panel = LivePanel(tuner_of(bert))
    fit_with(panel, AfterSteps(3, lambda run: panel.pause()))
    until(lambda: panel.state == "paused")
    weights = {k: v.clone() for k, v in panel.run.model.state_dict().items()}
    time.sleep(.5)  # many times what an update of so small a model takes
    assert panel.run.position.step == 3 and panel.state == "paused" and panel.thread.is_alive()
    now = panel.run.model.state_dict()
    assert all((weights[k] == now[k]).all() for k in weights)
    assert "Paused after update 3." in panel.lines[-1]
    panel.resume()
    ended(panel)
    assert panel.tuner.history.steps[-1]["step"] == 12 and panel.state == "finished"


def test_a_paused_run_ends_bitwise_as_one_that_was_not(bert):
    whole = tuner_of(bert).fit(ROWS, ROWS)
    panel = LivePanel(tuner_of(bert))
    fit_with(panel, AfterSteps(5, lambda run: panel.pause()), valid=ROWS)
    until(lambda: panel.state == "paused")
    panel.resume()
    ended(panel)
    assert same_weights(whole.model, panel.tuner.model)
    assert panel.tuner.history.steps == whole.history.steps
    assert panel.tuner.history.epochs == whole.history.epochs


def test_stop_keeps_the_best_epoch(bert):
    panel = LivePanel(tuner_of(bert, epochs=6, keep_best=True))
    kept = {}

    def note_and_stop(run):
        kept.update({k: v.clone() for k, v in run.best_weights.items()}, epoch=run.kept_epoch)
        panel.stop()

    fit_with(panel, AfterSteps(15, note_and_stop), valid=ROWS)
    ended(panel)
    tuner = panel.tuner
    assert panel.state == "stopped" and tuner.interrupted
    assert len(tuner.history.steps) == 15 and len(tuner.history.epochs) == 2
    assert tuner.kept_epoch == kept.pop("epoch")
    now = tuner.model.state_dict()
    assert all((kept[k] == now[k]).all() for k in kept)
    assert len(tuner.predict(ROWS)) == len(ROWS)


def test_stop_while_paused_leaves_a_usable_tuner(bert):
    panel = LivePanel(tuner_of(bert))
    fit_with(panel, AfterSteps(2, lambda run: panel.pause()))
    until(lambda: panel.state == "paused")
    panel.stop()
    ended(panel)
    assert len(panel.tuner.history.steps) == 2 and panel.tuner.model is not None


def test_a_changed_rate_is_used_and_stands_in_the_history(bert):
    whole = tuner_of(bert).fit(ROWS)
    panel = LivePanel(tuner_of(bert))
    fit_with(panel, AfterSteps(4, lambda run: panel.learn_at(1e-4)))
    ended(panel)
    history = panel.tuner.history
    assert history.changes == [{"step": 4, "factor": pytest.approx(.1)}]
    pairs = list(zip(history.steps, whole.history.steps, strict=True))
    assert [a["learning_rate"] for a, _ in pairs[:4]] == [b["learning_rate"] for _, b in pairs[:4]]
    for a, b in pairs[4:]:
        assert a["learning_rate"] == pytest.approx(.1 * b["learning_rate"])
    assert not same_weights(whole.model, panel.tuner.model)


def test_a_changed_rate_survives_a_restart(bert, tmp_path):
    class Changes(Listener):
        def step(self, run):
            if run.position.step == 4: change_rate(run, .5)

    whole = tuner_of(bert).fit(ROWS, listeners=[Changes()])
    cut = FineTuner(TextClassification(), bert, RECIPE, out=tmp_path)
    cut.fit(ROWS, listeners=[Changes(), AfterSteps(8, lambda run: vars(run).update(interrupted=1))])
    assert cut.interrupted
    cut.fit(ROWS, resume="auto")
    assert same_weights(whole.model, cut.model)
    assert cut.history.changes == whole.history.changes == [{"step": 4, "factor": .5}]


def test_the_slider_is_another_way_to_ask(bert):
    panel = started_paused(tuner_of(bert))
    panel.rate.value = 1e-2
    panel.resume_button.click()
    ended(panel)
    assert panel.tuner.history.changes == [{"step": 0, "factor": pytest.approx(10)}]


def test_buttons_do_what_they_say(bert):
    panel = started_paused(tuner_of(bert))
    panel.stop_button.click()
    ended(panel)
    assert panel.state == "stopped"
    panel.pause_button.click()
    assert not panel.going.is_set()
    labels = [b.description for b in (panel.pause_button, panel.resume_button, panel.stop_button)]
    assert labels == ["Pause", "Go on", "Stop"]


def test_one_run_at_a_time(bert):
    first = started_paused(tuner_of(bert))
    second = LivePanel(tuner_of(bert))
    with pytest.raises(TrainingError, match="under way"):
        second.fit(ROWS)
    first.stop()
    ended(first)
    assert ended(second.fit(ROWS)).state == "finished"


def test_an_error_in_the_thread_is_told_and_frees_the_place(bert):
    panel = ended(LivePanel(tuner_of(bert)).fit(ROWS.assign(label=None)))
    assert panel.state == "failed" and "label" in panel.words.value
    assert panel.tuner.model is None

    class Breaks(Listener):
        def step(self, run): raise ZeroDivisionError("<b>oh</b>")

    panel = LivePanel(tuner_of(bert))
    fit_with(panel, Breaks())
    ended(panel)
    assert panel.lines[-1].startswith("ZeroDivisionError") and "<b>" not in panel.words.value
    assert ended(LivePanel(tuner_of(bert)).fit(ROWS)).state == "finished"


def test_a_finished_panel_can_fit_again(bert):
    panel = ended(LivePanel(tuner_of(bert)).fit(ROWS))
    panel.stop()  # too late for this run, and not meant for the next
    assert ended(panel.fit(ROWS)).state == "finished"


def test_the_curve_is_drawn_and_words_are_there_without_a_kernel(bert):
    panel = ended(LivePanel(tuner_of(bert)).fit(ROWS))
    assert "data:image/png" in panel.picture.value
    assert panel._repr_mimebundle_()["text/plain"] == NO_KERNEL
    assert not panel.thread.is_alive()


@pytest.mark.parametrize("rate", [0, -1, 11, None, "1", True, float("nan")])
def test_no_rate(bert, rate):
    with pytest.raises(TrainingError, match="a learning rate is a number between 0 and 10"):
        LivePanel(tuner_of(bert)).learn_at(rate)
