"""Text regression: the unit in and out, a folder that others can read, several numbers of which
some are missing.
"""
import csv
import io
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import same_tensors
from tiny_models import SENTENCES
from safetensors.torch import load_file
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from sft_nb.all import FineTuner, Prediction, Recipe, TextRegression
from sft_nb.training.baselines import ladder, ridge_words
from sft_nb.commands.cli import main
from sft_nb.models.loading import quiet
from sft_nb.tasks.text.regression import LARGEST_MEAN, regression_figures

MINUTES = [95.5, 140, 88, 122, 101, 133.5, 79, 151]
ROWS = pd.DataFrame(
    {
        "text": SENTENCES,
        "minutes": MINUTES,
        "year": [1994, 2001, 2008, 2010, 1987, 1999, 2020, 1977],
    }
)
SHORT = Recipe(
    epochs=15, learning_rate=1e-3, batch_size=8, dropout=0.0, keep_best=False, precision="fp32"
)
SIX = ["bert", "roberta", "distilbert", "modernbert", "deberta-v2", "gpt2"]


def outputs(folder, texts=SENTENCES):
    "What plain transformers' model says, without us: n k."
    with quiet():
        model, tokenizer = (
            AutoModelForSequenceClassification.from_pretrained(folder),
            AutoTokenizer.from_pretrained(folder),
        )
    with torch.inference_mode():
        return torch.cat(
            [model(**tokenizer([t], return_tensors="pt")).logits for t in texts]
        ).double().numpy(), model.config


# --- a folder that others can read ---

@pytest.mark.parametrize("name", SIX)
def test_plain_transformers_gives_the_users_unit(name, tiny, tmp_path):
    tuner = FineTuner(TextRegression(number="minutes"), tiny(name), SHORT).fit(ROWS)
    before = {k: v.clone() for k, v in tuner.model.state_dict().items()}
    ours = np.array([p.value for p in tuner.predict(SENTENCES)])
    folder = tuner.save(tmp_path/"run")
    assert same_tensors(tuner.model.state_dict(), before), "saving changed nothing"
    assert not hasattr(tuner.model.config, "sft_nb_unit")
    raw, config = outputs(folder)
    left = config.sft_nb_unit
    # GPT-2's head has no bias
    assert left["multiply"] == [1.0] and (left["add"] == [0.0]) == (
        name != "gpt2"
    )
    np.testing.assert_allclose(raw[:, 0] * left["multiply"][0] + left["add"][0], ours, rtol=1e-5)
    assert config.problem_type == "regression" and config.id2label == {0: "minutes"}
    assert (
        "in the unit of the training table: `pipeline" in (folder / "README.md").read_text()
    ) == (name != "gpt2")
    again = FineTuner.load(folder)
    np.testing.assert_allclose([p.value for p in again.predict(SENTENCES)], ours, rtol=1e-5)
    assert again.evaluate(ROWS).loss == pytest.approx(tuner.evaluate(ROWS).loss, rel=1e-4)
    np.testing.assert_allclose(
        [p.value for p in FineTuner.load(again.save(tmp_path / "again")).predict(SENTENCES)],
        ours,
        rtol=1e-5,
    )


def test_a_pipeline_gives_the_users_unit(tiny, tmp_path):
    tuner = FineTuner(TextRegression(number="minutes"), tiny("bert"), SHORT).fit(ROWS)
    with quiet():
        said = pipeline(
            "text-classification", model=str(tuner.save(tmp_path / "run")), device="cpu"
        )(SENTENCES)
    np.testing.assert_allclose(
        [s["score"] for s in said], [p.value for p in tuner.predict(SENTENCES)], rtol=1e-5
    )
    assert {s["label"] for s in said} == {"minutes"}


def test_several_numbers_in_their_own_units(tiny, tmp_path):
    tuner = FineTuner(TextRegression(number="minutes, year"), tiny("bert"), SHORT).fit(ROWS)
    ours = pd.DataFrame([p.value for p in tuner.predict(SENTENCES)])
    raw, config = outputs(tuner.save(tmp_path/"run"))
    assert config.id2label == {0: "minutes", 1: "year"} and list(ours) == ["minutes", "year"]
    np.testing.assert_allclose(raw, ours.to_numpy(), rtol=1e-5)


def test_a_mean_that_a_bias_cannot_hold_stays_outside(tiny, tmp_path):
    """Seconds since 1970, a few seconds apart:

    folded into 32 bits, the answers would be minutes off.
    """
    rows = ROWS.assign(seconds=1.7e9 + np.arange(8.))
    tuner = FineTuner(TextRegression(number="seconds"), tiny("bert"), SHORT).fit(rows)
    assert abs(tuner.task.means[0]) > LARGEST_MEAN * tuner.task.spreads[0]
    ours = np.array([p.value for p in tuner.predict(SENTENCES)])
    folder = tuner.save(tmp_path/"run")
    raw, config = outputs(folder)
    assert config.sft_nb_unit == {"multiply": [1.0], "add": tuner.task.means}
    np.testing.assert_allclose(raw[:, 0] + config.sft_nb_unit["add"][0], ours, atol=1e-3, rtol=0)
    np.testing.assert_allclose(
        [p.value for p in FineTuner.load(folder).predict(SENTENCES)], ours, atol=1e-3, rtol=0
    )
    assert "is added" in (folder/"README.md").read_text()


def test_a_saved_run_is_trained_further_in_another_unit(tiny, tmp_path):
    """The new run begins with the old one's answers, in its own unit; a head of another shape is
    new.
    """
    tuner = FineTuner(TextRegression(number="minutes"), tiny("bert"), SHORT.but(epochs=60)).fit(
        ROWS
    )
    longer = ROWS.assign(minutes=ROWS.minutes * 3 + 100)
    task = TextRegression(number="minutes").learn(longer)
    model, tokenizer = task.build(str(tuner.save(tmp_path/"run")))
    assert not model.new_parameters and not hasattr(model.config, "sft_nb_unit")
    with torch.inference_mode():
        said = task.decode(
            model(**task.collate(task.encode_all(longer, tokenizer), tokenizer).inputs), None
        )
    np.testing.assert_allclose(
        [p.value for p in said], [p.value for p in tuner.predict(SENTENCES)], rtol=1e-4
    )
    wider, _ = TextRegression(number="minutes, year").learn(ROWS).build(str(tmp_path/"run"))
    assert {"classifier.weight", "classifier.bias"} <= set(wider.new_parameters)
    assert wider.classifier.weight.abs().max() < 1
    fresh, _ = task.build(str(tmp_path/"run"), fresh=True)
    assert not hasattr(fresh.config, "sft_nb_unit") and fresh.classifier.weight.abs().max() < 1


def test_a_tuner_saves_the_same_twice(tiny, tmp_path):
    tuner = FineTuner(TextRegression(number="minutes"), tiny("bert"), SHORT.but(epochs=2)).fit(ROWS)
    one, two = (load_file(tuner.save(tmp_path/n)/"model.safetensors") for n in "ab")
    assert same_tensors(one, two)


# --- unit, loss, missing cells ---

def test_the_unit_of_the_table_does_not_matter(tiny):
    "Grams or tonnes: the same training, the same answers."
    runs = [
        FineTuner(TextRegression(number="minutes"), tiny("bert"), SHORT.but(epochs=3)).fit(
            ROWS.assign(minutes=np.array(MINUTES) * s)
        )
        for s in (1.0, 1024.0)
    ]
    a, b = (np.array([p.value for p in r.predict(SENTENCES)]) for r in runs)
    np.testing.assert_allclose(b, a * 1024, rtol=1e-6)
    assert runs[0].evaluate(ROWS).metrics["rmse"] > 1


def test_only_training_rows_are_learned_from(tiny):
    tuner = FineTuner(TextRegression(number="minutes"), tiny("bert"), SHORT.but(epochs=1)).fit(
        ROWS[:4], ROWS[4:].assign(minutes=1e6)
    )
    assert tuner.task.means == [np.mean(MINUTES[:4])]
    assert tuner.task.spreads == [np.std(MINUTES[:4])]


def batch_of(task, rows, tiny):
    model, tokenizer = task.build(str(tiny("bert")))
    batch = task.collate(task.encode_all(rows, tokenizer), tokenizer)
    return model, batch, model(**batch.inputs)


def test_the_loss_is_torchs(tiny):
    task = TextRegression(number="minutes, year").learn(ROWS)
    model, batch, out = batch_of(task, ROWS, tiny)
    y = torch.tensor(task.inside(task.numbers(ROWS)), dtype=torch.float32)
    assert (task.loss(out, batch)["loss"] / task.weigh(batch)["loss"]).item() == pytest.approx(
        F.mse_loss(out.logits, y).item(), rel=1e-6
    )
    assert task.weigh(batch) == {"loss": 16.0}
    # and that of transformers
    assert out.loss is None and model(**batch.inputs, labels=y).loss.item() == pytest.approx(
        F.mse_loss(out.logits, y).item(), rel=1e-6
    )


def test_an_empty_cell_takes_no_part(tiny):
    rows = ROWS.assign(year=[None, 2001, None, 2010, 1987, None, 2020, 1977])
    task = TextRegression(number="minutes, year").learn(rows)
    assert task.means[1] == np.mean([2001, 2010, 1987, 2020, 1977])
    model, batch, out = batch_of(task, rows, tiny)
    known = ~np.isnan(task.numbers(rows))
    want = ((out.logits.detach().numpy() - task.inside(task.numbers(rows)))[known]**2).sum()
    assert task.weigh(batch)["loss"] == 13
    assert task.loss(out, batch)["loss"].item() == pytest.approx(want, rel=1e-5)
    task.loss(out, batch)["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    targets = [task.target(r) for r in rows.to_dict("records")]
    assert targets[0] == {"minutes": 95.5} and targets[1] == {"minutes": 140.0, "year": 2001.0}
    result = FineTuner(task, tiny("bert"), SHORT.but(epochs=1)).fit(rows, rows).evaluate(rows)
    table = result.tables["per target"]
    assert table["rows"].to_dict() == {"minutes": 8, "year": 5}
    assert task.targets() == ["minutes", "year"]
    for c in task.targets():
        pairs = [(p, t) for p, t in zip(result.predictions, targets, strict=True) if c in t]
        said, true = [p.value[c] for p, _ in pairs], [t[c] for _, t in pairs]
        assert table.loc[c, "rmse"] == pytest.approx(root_mean_squared_error(true, said))
        assert result.metrics[f"rmse_{c}"] == table.loc[c, "rmse"]
        assert result.metrics[f"mae_{c}"] == table.loc[c, "mae"]
    assert result.metrics["r2"] == pytest.approx(table["r2"].mean())
    assert result.metrics["pearson"] == pytest.approx(table["pearson"].mean())


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_all_formats_give_the_same_numbers(suffix, tmp_path):
    path = tmp_path/f"rows{suffix}"
    {
        ".csv": lambda: ROWS.to_csv(path, index=False),
        ".tsv": lambda: ROWS.to_csv(path, sep="\t", index=False),
        ".jsonl": lambda: ROWS.to_json(path, orient="records", lines=True),
        ".parquet": lambda: ROWS.to_parquet(path),
    }[suffix]()
    task = TextRegression(number=["minutes", "year"])
    rows = task.read(path)
    np.testing.assert_array_equal(task.numbers(rows), ROWS[["minutes", "year"]].to_numpy(float))
    assert task.learn(rows).means == pytest.approx(ROWS[["minutes", "year"]].mean().tolist())


def test_several_numbers_by_command_line(tiny, tmp_path, capsys):
    "Typed with commas; a CSV has them as JSON, a JSONL as an object."
    (table := tmp_path/"rows.csv").write_text(pd.concat([ROWS] * 3).to_csv(index=False))
    def type_(*argv):
        with pytest.raises(SystemExit) as e:
            main([str(a) for a in argv])
        out, err = capsys.readouterr()
        assert not e.value.code, err
        return out
    type_(
        "fine-tune", table, "--task", "text-regression", "--number", "minutes, year",
        "--model", tiny("bert"), "--out", tmp_path / "run", "--epochs", 1, "--valid-size", 8,
        "--certify-size", 8,
    )
    said = [
        json.loads(row["prediction"])
        for row in csv.DictReader(
            io.StringIO(type_("predict", tmp_path / "run", "--text", "a film", "--text", "another"))
        )
    ]
    assert [p.value for p in FineTuner.load(tmp_path/"run").predict(["a film", "another"])] == said
    assert set(said[0]) == {"minutes", "year"}
    type_("predict", tmp_path/"run", table, "--out", tmp_path/"answers.jsonl")
    assert {"minutes", "year"} == set(
        json.loads((tmp_path / "answers.jsonl").read_text().splitlines()[0])["prediction"]
    )
    assert {"r2", "rmse_minutes", "mae_year"} <= set(
        json.loads(type_("evaluate", tmp_path / "run", table, "--json").splitlines()[-1])["metrics"]
    )


def test_columns_with_a_comma_are_given_as_a_list():
    assert TextRegression(number=["a, b"]).targets() == ["a, b"]
    assert TextRegression(number="a, b").targets() == ["a", "b"]


# --- figures ---

def test_figures_are_those_of_scikit_learn_and_scipy():
    rng = np.random.default_rng(0)
    said, true = rng.normal(size=50).round(1), rng.normal(size=50).round(1)
    holes = true.copy()
    holes[::7] = math.nan
    known = ~np.isnan(holes)
    for t, k in ((true, slice(None)), (holes, known)):
        f = regression_figures(said, t)
        assert f["r2"] == pytest.approx(r2_score(true[k], said[k]))
        assert f["rmse"] == pytest.approx(root_mean_squared_error(true[k], said[k]))
        assert f["mae"] == pytest.approx(mean_absolute_error(true[k], said[k]))
        assert f["pearson"] == pytest.approx(pearsonr(true[k], said[k]).statistic)
        assert f["spearman"] == pytest.approx(spearmanr(true[k], said[k]).statistic)


@pytest.mark.parametrize(
    "said, true, undefined",
    [
        ([1.0], [2.0], {"r2", "pearson", "spearman"}),
        ([1.0, 2.0], [3.0, 3.0], {"r2", "pearson", "spearman"}),
        ([2.0, 2.0], [1.0, 3.0], {"pearson", "spearman"}),
        ([], [], {"r2", "rmse", "mae", "pearson", "spearman"}),
        ([1.0], [math.nan], {"r2", "rmse", "mae", "pearson", "spearman"}),
    ],
)
def test_undefined_figures_are_nan_and_nothing_is_warned_of(said, true, undefined, recwarn):
    f = regression_figures(np.array(said), np.array(true))
    assert {k for k, v in f.items() if math.isnan(v)} == undefined and not recwarn.list


def test_score_is_in_the_unit_interval_and_falls_with_the_error():
    task = TextRegression(number="n", means=[10.], spreads=[2.])
    s = [task.score(Prediction(10. + e), 10.) for e in (0, 1, -1, 2, 4, 1e9)]
    assert s == pytest.approx([1, .75, .75, .5, 0, 0])
    two = TextRegression(number="a, b", means=[0., 0.], spreads=[1., 10.])
    assert two.score(Prediction({"a": 1., "b": 1e6}), {"a": 0.}) == pytest.approx(.5)
    assert two.score(Prediction({"a": 0., "b": 10.}), {"a": 0., "b": 0.}) == pytest.approx(.75)


def test_the_largest_errors_come_first(tiny):
    tuner = FineTuner(TextRegression(number="minutes"), tiny("bert"), SHORT.but(epochs=1)).fit(ROWS)
    worst = tuner.evaluate(ROWS).mistakes(3)
    errors = np.abs(np.array([p.value for p in tuner.predict(SENTENCES)]) - MINUTES)
    assert (worst["prediction"] - worst["target"]).abs().tolist() == pytest.approx(
        sorted(errors, reverse=True)[:3]
    )


def test_the_ladder_answers_in_the_users_unit(tiny):
    rows = pd.concat([ROWS] * 3, ignore_index=True)
    climb = ladder(
        TextRegression(number="minutes"), rows, rows, rows, tiny("bert"), SHORT.but(epochs=1),
        rungs=("mean", "tfidf", "frozen"),
    )
    assert {p.value for p in climb.answers["mean"]} == {np.mean(MINUTES)}
    assert climb.table.loc["mean", "r2"] == pytest.approx(0)
    assert climb.table.loc["tfidf", "rmse"] < 5 and climb.table.loc["frozen", "rmse"] < 20
    assert json.dumps(climb.to_dict())


def test_ridge_is_fitted_on_the_rows_that_have_the_number():
    y = np.array([[1., 10.], [-1., math.nan], [1., 10.], [-1., -10.]])
    texts = ["good film", "bad film", "good cast", "bad cast"]
    both = ridge_words(texts, y, texts, y, ["good", "bad"])
    some = [texts[i] for i in (0, 2, 3)]
    alone = ridge_words(some, y[[0, 2, 3], 1:], some, y[[0, 2, 3], 1:], ["good", "bad"])
    np.testing.assert_allclose(both[:, 1:], alone)
    assert both[0, 0] > 0 > both[1, 0]
