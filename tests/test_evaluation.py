"Evaluation: what a cell of the lesson cannot show, or should not have to."
import json
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import bootstrap
from sklearn.metrics import f1_score, precision_recall_fscore_support
from torch import nn
from torch.nn import functional as F

from sft_nb.evaluation.class_figures import (
    classification_metrics, confusion_table, per_class_table, plot_confusion,
)
from sft_nb.evaluation.difference import paired_bootstrap
from sft_nb.evaluation.judging import Evaluation, evaluate, predict
from sft_nb.models.layers import evaluation_mode
from sft_nb.chance import rng_for
from sft_nb.task import Batch, DataError, Prediction, SFTError, Task, TrainingError, learned
from sft_nb.tasks.text.classification import TextClassification
from sft_nb.training.baselines import frozen_features


@dataclass
class Colours(Task):
    "Three classes over two numbers; examples have scattered lengths, so batches come out of order."
    label: str = "label"
    labels: list = learned()
    def inputs(self): return ["a", "b"]
    def targets(self): return [self.label]
    def learn(self, rows): return replace(self, labels=sorted(set(rows[self.label])))
    def length(self, example): return int(abs(example["x"][0]) * 1000)
    def encode(self, row, processor, rng=None):
        example = {"x": [float(row["a"]), float(row["b"])]}
        if self.label not in row: return example
        if row[self.label] not in self.labels:
            raise DataError(
                f"Column {self.label!r} holds the label {row[self.label]!r}, which training has "
                "not seen."
            )
        return example | {"y": self.labels.index(row[self.label])}
    def collate(self, examples, processor):
        y = {"y": torch.tensor([e["y"] for e in examples])} if "y" in examples[0] else {}
        return Batch(
            {"input": torch.tensor([e["x"] for e in examples])}, y, torch.arange(len(examples))
        )
    def loss(self, outputs, batch):
        return {"loss": F.cross_entropy(outputs.float(), batch.targets["y"], reduction="sum")}
    def decode(self, outputs, batch):
        probs = outputs.float().softmax(-1).tolist()
        return [Prediction(self.labels[int(np.argmax(p))], max(p)) for p in probs]
    def metrics(self, predictions, targets):
        return classification_metrics(predictions, targets, self.labels)
    def report_tables(self, predictions, targets):
        return {"per class": per_class_table(predictions, targets, self.labels)}
    def plot(self, predictions, targets): return plot_confusion(predictions, targets, self.labels)


@dataclass
class Points(Task):
    "Rows with any number of targets, also none; two loss terms with different weights."
    def inputs(self): return ["a"]
    def targets(self): return ["points"]
    def encode(self, row, processor, rng=None): return dict(row)
    def collate(self, examples, processor):
        points = (
            {"points": [torch.tensor(e["points"]) for e in examples]}
            if "points" in examples[0]
            else {}
        )
        return Batch(
            {"input": torch.tensor([[e["a"]] for e in examples])},
            points,
            torch.arange(len(examples)),
        )
    def weigh(self, batch):
        return {
            "near": float(sum(len(p) for p in batch.targets["points"])),
            "small": float(len(batch)),
        }
    def loss(self, outputs, batch):
        pairs = zip(outputs[:, 0], batch.targets["points"], strict=True)
        near = sum((points - o).abs().sum() for o, points in pairs)
        return {"near": near + 0 * outputs.sum(), "small": outputs.pow(2).sum()}
    def decode(self, outputs, batch): return [Prediction([o]) for o in outputs[:, 0].tolist()]
    def score(self, prediction, target): return float(len(target) == 1)


def table(n, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.choice(["blue", "green", "red"], n, p=[.6, .3, .1])
    return pd.DataFrame(
        {"a": rng.normal(size=n).round(3), "b": rng.normal(size=n).round(3), "label": label}
    )

@pytest.fixture
def rows(): return table(203)

@pytest.fixture
def task(): return Colours(labels=["blue", "green", "red"])

@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Linear(2, 3)


# ---- one number, however the rows are cut

def test_result_does_not_depend_on_the_batch_size(task, model, rows):
    whole = evaluate(task, model, None, rows, batch_size=len(rows))
    for size in (1, 2, 5, 8, 64, 1000):
        part = evaluate(task, model, None, rows, batch_size=size)
        assert part.loss == pytest.approx(whole.loss, rel=1e-6)
        assert [p.value for p in part.predictions] == [p.value for p in whole.predictions]
        assert part.metrics == whole.metrics

def test_loss_is_the_mean_over_all_rows(task, model, rows):
    x = torch.tensor(rows[["a", "b"]].to_numpy(np.float32))
    y = torch.tensor([task.labels.index(v) for v in rows["label"]])
    assert evaluate(task, model, None, rows, batch_size=7).loss == pytest.approx(
        F.cross_entropy(model(x), y).item(), rel=1e-6
    )

def test_predictions_come_home(task, model, rows):
    x = torch.tensor(rows[["a", "b"]].to_numpy(np.float32))
    expected = [task.labels[i] for i in model(x).argmax(-1)]
    assert [p.value for p in predict(task, model, None, rows, batch_size=8)] == expected
    assert [
        p.value for p in evaluate(task, model, None, rows, batch_size=8).predictions
    ] == expected

def test_any_index_is_kept(task, model, rows):
    part = rows.iloc[::-3]
    ev = evaluate(task, model, None, part, batch_size=4)
    assert list(ev.table.index) == list(part.index)
    assert list(ev.table["target"]) == list(part["label"])
    doubled = pd.concat([rows[:3], rows[:3]])
    assert evaluate(task, model, None, doubled).table.shape[0] == 6

def test_rows_without_targets_are_harmless():
    torch.manual_seed(0)
    net = nn.Linear(1, 1)
    full = pd.DataFrame({"a": [1., 2., 3.], "points": [[1.], [2., 3.], [0.]]})
    empty = pd.DataFrame({"a": [1., 2.], "points": [[], []]})
    alone = evaluate(Points(), net, None, empty, batch_size=1)
    assert alone.losses["near"] == 0 and np.isfinite(alone.loss)
    both = pd.concat([full, empty], ignore_index=True)
    near = evaluate(Points(), net, None, full).losses["near"]
    for size in (1, 2, 5):
        ev = evaluate(Points(), net, None, both, batch_size=size)
        assert ev.losses["near"] == pytest.approx(near, rel=1e-6)
        assert ev.loss == pytest.approx(sum(ev.losses.values()))
    assert "near" in repr(ev) and "small" in ev._repr_html_()


# ---- the model's mode

def test_mode_comes_back_part_by_part(task, rows):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(2, 64), nn.BatchNorm1d(64), nn.Dropout(0.5), nn.Linear(64, 3)
    ).train()
    net[1].eval()
    before = [m.training for m in net.modules()]
    first, second = evaluate(task, net, None, rows), evaluate(task, net, None, rows)
    assert first.loss == second.loss
    assert [m.training for m in net.modules()] == before
    with pytest.raises(KeyError), evaluation_mode(net):
        raise KeyError
    assert [m.training for m in net.modules()] == before
    assert not any(p.grad is not None for p in net.parameters())

def test_mode_comes_back_after_an_error(task, model, rows):
    model.train()
    with pytest.raises(DataError):
        evaluate(task, model, None, rows.assign(label="pink"))
    nn.init.constant_(model.weight, torch.nan)
    with pytest.raises(TrainingError):
        evaluate(task, model, None, rows)
    assert model.training

def test_autocast_and_progress(task, model, rows):
    opened, seen = [], []
    @contextmanager
    def half():
        opened.append(1)
        with torch.autocast("cpu", torch.bfloat16):
            yield
    ev = evaluate(
        task, model, None, rows, batch_size=50, autocast=half, progress=lambda *a: seen.append(a)
    )
    assert len(opened) == 5 and seen == [(50, 203), (100, 203), (150, 203), (200, 203), (203, 203)]
    exact = evaluate(task, model, None, rows).loss
    assert ev.loss != exact and ev.loss == pytest.approx(exact, rel=2e-2)


# ---- tasks that write their answers

class Writer(Colours):
    def predict(self, model, batch, processor): return [Prediction("blue", .5)] * len(batch)
    def decode(self, outputs, batch):
        raise AssertionError("a task with its own predict is not decoded")

def test_a_task_with_its_own_predict(task, model, rows):
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    writer = Writer(labels=task.labels)
    assert [p.value for p in predict(writer, model, None, rows)] == ["blue"] * 203
    assert not calls
    assert evaluate(writer, model, None, rows).loss == pytest.approx(
        evaluate(task, model, None, rows).loss
    )

def test_one_prediction_per_row(model, rows):
    class Short(Colours):
        def decode(self, outputs, batch): return super().decode(outputs, batch)[:-1]
    with pytest.raises(SFTError, match="Short gave 63 predictions for 64 rows"):
        predict(Short(labels=["a", "b", "c"]), model, None, rows)


# ---- rows that cannot be judged, models that cannot answer

def test_rows_without_a_label_column(task, model, rows):
    bare = rows.drop(columns="label")
    with pytest.raises(DataError, match="no column 'label'.*For answers alone, ask `predict`"):
        evaluate(task, model, None, bare)
    assert [p.value for p in predict(task, model, None, bare)] == [
        p.value for p in predict(task, model, None, rows)
    ]

def test_rows_with_some_labels_missing(task, model, rows):
    rows.loc[[4, 9], "label"] = None
    said = "evaluation rows cannot be used: 2 rows without label .rows 4 and 9.*`predict`"
    with pytest.raises(DataError, match=said):
        evaluate(task, model, None, rows)
    assert len(predict(task, model, None, rows)) == 203

@pytest.mark.parametrize("ask", [evaluate, predict])
def test_tables_that_are_none(task, model, rows, ask):
    with pytest.raises(DataError, match="no rows"):
        ask(task, model, None, rows[:0])
    with pytest.raises(DataError, match="not 'data.csv'"):
        ask(task, model, None, "data.csv")
    with pytest.raises(DataError, match="no column 'a'"):
        ask(task, model, None, rows.drop(columns="a"))

def test_a_gap_in_what_the_model_reads_is_no_reason_to_ask_for_answers(task, model, rows):
    rows.loc[2, "a"] = None
    with pytest.raises(DataError, match="1 row without a .row 2") as e:
        evaluate(task, model, None, rows)
    assert "`predict`" not in str(e.value)

def test_rows_are_looked_at_once(task, model, rows):
    looked = []
    class Counted(Colours):
        def check(self, rows, labelled=True):
            looked.append(len(rows))
            return super().check(rows, labelled)
    evaluate(Counted(labels=task.labels), model, None, rows)
    assert looked == [203]

def test_a_label_that_training_never_saw(task, model, rows):
    rows.loc[3, "label"] = "mauve"
    with pytest.raises(DataError, match="'mauve'"):
        evaluate(task, model, None, rows)
    assert len(predict(task, model, None, rows)) == 203

@pytest.mark.parametrize("ask", [evaluate, predict])
def test_nan_is_no_class(task, model, rows, ask):
    nn.init.constant_(model.bias, torch.nan)
    with pytest.raises(TrainingError, match=r"NaN.*rows 0 and 1"):
        ask(task, model, None, rows[:2])

def test_nan_in_one_row_of_many(task, model, rows):
    rows.loc[100, "a"] = np.inf  # which a `Linear` makes NaN of
    with pytest.raises(TrainingError, match="NaN"):
        evaluate(Flat(labels=task.labels), model, None, rows)

class Flat(Colours):
    def length(self, example): return 0

def test_nan_hidden_in_a_dictionary(task, model, rows):
    class Deep(nn.Module):
        def forward(self, input):
            return {"logits": model(input), "more": [(model(input) * torch.nan,)]}
    class DeepTask(Flat):
        def decode(self, outputs, batch): return super().decode(outputs["logits"], batch)
    with pytest.raises(TrainingError, match="NaN"):
        predict(DeepTask(labels=task.labels), Deep(), None, rows)

def test_an_infinite_loss(task, model, rows):
    class Sure(Flat):
        def loss(self, outputs, batch): return {"loss": outputs.sum() * 0 + torch.inf}
    with pytest.raises(TrainingError, match="not a finite number"):
        evaluate(Sure(labels=task.labels), model, None, rows)


# ---- figures

def test_tables_equal_scikit_learn():
    rng, labels = np.random.default_rng(1), list("abcd")
    said, true = [rng.choice(labels, 500, p=[.4, .3, .2, .1]).tolist() for _ in range(2)]
    ours = per_class_table(said, true, labels)
    theirs = precision_recall_fscore_support(true, said, labels=labels)
    assert ours[["precision", "recall", "f1", "rows"]].to_numpy().T == pytest.approx(
        np.array(theirs)
    )
    assert classification_metrics(said, true, labels)["f1_macro"] == pytest.approx(
        f1_score(true, said, average="macro")
    )
    assert per_class_table([Prediction(s) for s in said], true, labels).equals(ours)

def test_several_labels_a_row_equal_scikit_learn():
    rng, labels = np.random.default_rng(2), list("abc")
    true, said = rng.random((200, 3)) < .4, rng.random((200, 3)) < .4

    def chosen(row): return [label for label, yes in zip(labels, row, strict=True) if yes]
    def lists(grid): return list(map(chosen, grid))

    ours = per_class_table(lists(said), lists(true), labels)
    figures = classification_metrics(lists(said), lists(true), labels)
    assert ours["f1"].to_numpy() == pytest.approx(f1_score(true, said, average=None))
    assert figures["f1_micro"] == pytest.approx(f1_score(true, said, average="micro"))
    assert figures["f1_macro"] == pytest.approx(f1_score(true, said, average="macro"))
    assert figures["accuracy"] == pytest.approx((true == said).all(1).mean())
    with pytest.raises(DataError, match="per_class_table"):
        confusion_table(lists(said), lists(true), labels)

def test_one_label_only():
    one = classification_metrics([["x"], [], ["x"]], [["x"], ["x"], []], ["x"])
    assert one == pytest.approx({"accuracy": 1 / 3, "f1_macro": .5, "f1_micro": .5})
    assert classification_metrics(["x"], ["x"], ["x"]) == {"accuracy": 1., "f1_macro": 1.}

def test_order_inside_a_list_does_not_matter():
    assert classification_metrics([["a", "b"]], [("b", "a")], ["a", "b"])["accuracy"] == 1

def test_classes_that_are_absent():
    found = per_class_table(["a", "a"], ["a", "b"], ["a", "b", "c"])
    # occurs, never predicted
    assert (
        np.isnan(found.loc["b", "precision"]) and found.loc["b", "f1"] == 0
    )
    assert found.loc["c", ["precision", "recall", "f1"]].isna().all()  # neither
    assert found.loc["a", "f1"] == pytest.approx(2 / 3)
    assert classification_metrics(["a", "a"], ["a", "b"], ["a", "b", "c"])[
        "f1_macro"
    ] == pytest.approx(1 / 3)

def test_values_outside_of_the_labels_are_shown():
    said, true = ["a", "kiwi", "b"], ["a", "b", "plum"]
    assert list(per_class_table(said, true, ["b", "a"]).index) == ["b", "a", "kiwi", "plum"]
    counts = confusion_table(said, true, ["b", "a"])
    assert list(counts.index) == ["b", "a", "kiwi", "plum"]
    assert counts.loc["plum", "b"] == 1
    assert counts.to_numpy().sum() == 3
    assert classification_metrics(said, true, ["b", "a"])["accuracy"] == pytest.approx(1 / 3)
    assert list(per_class_table([None, 3], [3, "a"], ["a"]).index) == ["a", 3, None]  # any mixture

def test_shares_of_a_row():
    shares = confusion_table(["a", "b"], ["a", "a"], ["a", "b"], shares=True)
    assert shares.loc["a"].tolist() == [.5, .5] and shares.loc["b"].isna().all()

@pytest.mark.parametrize("c", [1, 2, 6, 7, 20, 60])
def test_the_picture_draws(c, recwarn):
    labels = [f"a class with a rather long name {i}" for i in range(c - 1)] + ["$\\odd$ & <b>"]
    true = labels * 5
    fig = plot_confusion(true[1:] + true[:1], true, labels)
    fig.canvas.draw()
    assert not recwarn.list
    box = fig.axes[0].get_window_extent()
    assert box.width > .4 * fig.bbox.width  # the names leave room for the matrix


# ---- the object

def test_html_is_escaped(model, rows):
    nasty = "<script>alert('x')</script>"
    rows = rows.assign(label=rows["label"].replace("red", nasty))
    task = Colours(labels=["blue", "green", nasty])
    ev = evaluate(task, model, None, rows)
    ev.metrics["<img src=x>"] = 1.
    html = ev._repr_html_()
    assert "<script" not in html and "<img" not in html and "&lt;script&gt;" in html

def test_prints_in_a_terminal(task, model, rows):
    lines = repr(evaluate(task, model, None, rows)).splitlines()
    assert lines[0] == "Evaluation of 203 rows"
    assert [line.split()[0] for line in lines[1:]] == ["loss", "accuracy", "f1_macro"]

def test_table_keeps_columns_of_the_same_name(task, model, rows):
    ev = evaluate(task, model, None, rows.assign(score=7, film="Alien"))
    assert list(ev.table.columns) == [
        "a", "b", "score_in_rows", "film", "target", "prediction", "score", "right",
    ]
    assert (ev.table["score_in_rows"] == 7).all() and ev.table["score"].between(0, 1).all()
    assert ev.table["right"].mean() == pytest.approx(ev.metrics["accuracy"])

def test_no_two_columns_of_a_table_have_one_name(task, model, rows):
    theirs = dict(prediction="x", prediction_in_rows="y", right=1, right_in_rows=2)
    table = evaluate(task, model, None, rows.assign(**theirs)).table
    assert table.columns.is_unique and len(table.columns) == 2 + 4 + 4
    assert (table["prediction_in_rows_in_rows"] == "x").all()
    assert (table["prediction_in_rows"] == "y").all()

def test_most_confident_mistakes_first(task, model, rows):
    worst = evaluate(task, model, None, rows).mistakes(5)
    assert len(worst) == 5
    assert (worst["target"] != worst["prediction"]).all()
    assert worst["score"].is_monotonic_decreasing
    right = evaluate(
        task, model, None, rows.assign(label=[p.value for p in predict(task, model, None, rows)])
    )
    assert right.metrics["accuracy"] == 1 and right.mistakes().empty

def test_mistakes_without_scores():
    ev = evaluate(
        Points(), nn.Linear(1, 1), None, pd.DataFrame({"a": [1.0, 2.0], "points": [[1.0], []]})
    )
    assert list(ev.mistakes().index) == [1] and ev.plot() is None

def test_save_and_read_back(task, model, rows, tmp_path):
    ev = evaluate(task, model, None, rows.assign(text='a, "quoted"\nline — 好'))
    folder = ev.save(tmp_path / "deep" / "result")
    assert (
        json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        == ev.to_dict()
        == {"n": 203, "loss": ev.loss, "metrics": ev.metrics}
    )
    back = pd.read_csv(folder / "predictions.csv", index_col="row")
    pd.testing.assert_frame_equal(back, ev.table, check_names=False, check_dtype=False)
    per_class = pd.read_csv(folder / "table_per_class.csv", index_col="label")
    pd.testing.assert_frame_equal(
        per_class, ev.tables["per class"], check_dtype=False, check_index_type=False
    )
    first = (folder / "plot.svg").read_bytes()
    assert b"<svg" in first and (ev.save(folder) / "plot.svg").read_bytes() == first

def test_save_lists_and_undefined_metrics(tmp_path):
    rows = pd.DataFrame({"a": [1., 2.], "points": [[1.], []]})
    ev = evaluate(Points(), nn.Linear(1, 1), None, rows)
    ev.metrics["undefined"] = float("nan")
    folder = ev.save(tmp_path)
    assert json.loads((folder / "metrics.json").read_text())["metrics"]["undefined"] is None
    assert [json.loads(t) for t in pd.read_csv(folder / "predictions.csv")["target"]] == [[1.], []]
    assert isinstance(ev, Evaluation) and not (folder / "plot.svg").exists()


# --- paired bootstrap ---

def right(said, true):
    return float(np.mean([p.value == t for p, t in zip(said, true, strict=True)]))


def answers(values): return [Prediction(v) for v in values]


def test_bootstrap_draws_what_scipy_draws():
    rng = np.random.default_rng(3)
    a, b = rng.normal(1, 1, 70), rng.normal(.8, 1, 70)
    for confidence in (.8, .95):
        ours = paired_bootstrap(
            lambda said, true: np.mean(said), a, b, np.zeros(70), draws=300, seed=5,
            confidence=confidence,
        )
        theirs = bootstrap(
            (a, b),
            lambda x, y, axis: x.mean(axis) - y.mean(axis),
            paired=True,
            n_resamples=300,
            method="percentile",
            confidence_level=confidence,
            rng=rng_for("bootstrap", 5),
        )
        assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=1e-12)
        assert ours.value == pytest.approx(a.mean() - b.mean())


def test_bootstrap_judges_both_on_the_same_draw():
    "Two systems that always differ by the same amount differ by it on every draw."
    a = np.random.default_rng(0).normal(size=50)
    d = paired_bootstrap(lambda said, true: np.mean(said), a + .25, a, a, draws=50)
    assert d.draws == pytest.approx(.25)
    assert d.low == pytest.approx(.25)
    assert d.high == pytest.approx(.25)


def test_bootstrap_holds_every_answer_against_its_own_target():
    perfect = answers(range(30))
    assert set(paired_bootstrap(right, perfect, perfect, list(range(30)), draws=20).draws) == {0.}
    assert set(
        paired_bootstrap(right, perfect, answers([-1] * 30), list(range(30)), draws=20).draws
    ) == {1.0}


def test_bootstrap_keeps_groups_whole():
    """In each group ours has one row right and one wrong, so no draw of whole groups can differ
    from one half.
    """
    ours, theirs, targets = answers([1, 0] * 20), answers([0, 0] * 20), [1] * 40
    whole = paired_bootstrap(
        right, ours, theirs, targets, groups=[i // 2 for i in range(40)], draws=50
    )
    loose = paired_bootstrap(right, ours, theirs, targets, draws=50)
    assert set(whole.draws) == {.5}
    assert whole.units == 20
    assert len(set(loose.draws)) > 5
    assert loose.units == loose.rows == 40
    assert "20 groups with 40 rows" in repr(whole) and "50 draws of 40 rows" in repr(loose)


def test_bootstrap_does_not_depend_on_the_order_of_groups_within_themselves():
    said, targets, groups = answers([1, 2, 3, 1, 2, 3]), [1, 2, 3, 4, 5, 6], list("aabbcc")
    one = paired_bootstrap(right, said, answers([0] * 6), targets, groups=groups, draws=100)
    swapped = [1, 0, 2, 3, 5, 4]
    two = paired_bootstrap(
        right, [said[i] for i in swapped], answers([0] * 6), [targets[i] for i in swapped],
        groups=groups, draws=100,
    )
    assert (one.draws == two.draws).all()


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(groups=[1, 2]), "3 rows, but 2 groups"),
        (dict(groups=[1, None, float("nan")]), "rows 1 and 2 (counting from 0) without a group"),
        (dict(groups=["a"] * 3), "There is 1 group to draw from"),
        (dict(draws=0), "draws=0"),
        (dict(confidence=95), "confidence=95"),
        (dict(ours=[1.0]), "1 and 3 predictions for 3 targets"),
        (dict(ours=[], theirs=[], targets=[]), "no rows"),
        (dict(metric=lambda said, true: float("nan")), "not a number on 1000 of 1000 draws"),
    ],
)
def test_bootstrap_refuses(change, words):
    given = (
        dict(
            metric=lambda said, true: np.mean(said), ours=[1.0, 2.0, 3.0],
            theirs=[0.0, 0.0, 0.0], targets=[0, 0, 0],
        )
        | change
    )
    with pytest.raises(DataError) as e:
        paired_bootstrap(**given)
    assert words in str(e.value)


def test_frozen_features_leave_the_model_in_its_mode(tiny, reviews):
    task = TextClassification().learn(reviews)
    model, processor = task.build(tiny("bert"))
    model.train()
    vectors = frozen_features(task, model, processor, reviews[:5])
    assert vectors.shape[0] == 5 and model.training
    assert (vectors == frozen_features(task, model, processor, reviews[:5])).all()
