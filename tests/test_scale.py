"""Big tables and frozen bodies:

nothing is computed twice, nothing lies in memory that need not, and every number stays what it was.
"""
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import sft_nb.data.columns
import sft_nb.batches.frozen
import sft_nb.data.table_reader
from conftest import gradient_of
from sft_nb.batches.batching import Examples
from sft_nb.data.columns import Stored, cells, mapped, records
from sft_nb.data.hashes import row_hashes
from sft_nb.data.table_reader import read_table
from sft_nb.batches.frozen import FrozenStates, cached_forward, frozen_parts, plain_forward
from sft_nb.models.layers import freeze
from sft_nb.training.run import Run
from sft_nb.training.recipe import Method, Recipe
from sft_nb.chance import torch_seed
from sft_nb.task import DataError, TrainingError
from sft_nb.tasks.text.classification import TextClassification
from sft_nb.training.gradient import train_mode
from sft_nb.training.tuner import FineTuner

SCALE = Path(__file__).parent / "bench" / "scale.py"
@dataclass
class Plain(Method):
    "A method that changes nothing."


BY_HEART = Recipe(epochs=3, learning_rate=3e-3, batch_size=4, precision="fp32")


def python(code, *args, **env):
    "Run a program of a few lines in a fresh process."
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        env=os.environ | env,
    )


def parameters(model): return torch.cat([p.detach().flatten() for p in model.parameters()])


# --- columns: plain values, a slice at a time ---

COLUMNS = {
    "texts": pd.Series(["a", "é", None]),
    "objects": pd.Series(["a", None, 5], dtype=object),
    "whole": pd.Series([1, 2, 3]),
    "gaps": pd.array([1, None, 3], dtype="Int64"),
    "floats": pd.Series([1.5, float("nan"), 3]),
    "truth": pd.Series([True, False, True]),
    "dates": pd.to_datetime(["2020-01-01", None, "2021-02-03"]),
    "kinds": pd.Series(["a", "b", "a"], dtype="category"),
    "lists": pd.Series([[1], [], [2, 3]]),
    "narrow": pd.Series(np.arange(3, dtype=np.int8)),
}


@pytest.mark.parametrize("step", [1, 2, 100])
def test_rows_are_what_pandas_says(monkeypatch, step):
    monkeypatch.setattr(sft_nb.data.columns, "STEP", step)
    table = pd.DataFrame(COLUMNS)
    want, got = table.to_dict("records"), list(records(table))

    def same(a, b): return a is b or type(a) is type(b) and (a == b or a != a)
    def same_row(a, b): return list(a) == list(b) and all(same(a[c], b[c]) for c in a)

    assert len(got) == len(want) == 3 and all(map(same_row, want, got)), (want, got)
    assert list(cells(table["texts"][:0])) == [] == list(records(table[:0]))


# --- examples on the disk ---

def pieces(examples, size):
    for i in range(0, len(examples), size):
        yield {k: [e[k] for e in examples[i : i + size]] for k in examples[0]}


@pytest.mark.parametrize("size", [1, 3, 100])
def test_stored_is_the_list(size):
    rng = np.random.default_rng(0)
    examples = [
        {"input_ids": rng.integers(0, 2**31 - 1, n).tolist(), "classes": [n]}
        for n in rng.integers(0, 6, 20)
    ]
    stored = Stored(pieces(examples, size))
    assert list(stored) == examples and len(stored) == 20
    assert [stored[i] for i in range(-20, 20)] == [examples[i] for i in range(-20, 20)]
    assert stored[3:9:2] == examples[3:9:2] and all(type(v) is int for v in stored[3]["input_ids"])
    for i in (20, -21):
        with pytest.raises(IndexError):
            stored[i]
    assert list(Stored([])) == []


def test_numbers_that_do_not_fit_are_refused():
    "None is rounded or wrapped."
    with pytest.raises(pa.ArrowInvalid):
        Stored([{"input_ids": [[2**31]]}])
    with pytest.raises(pa.ArrowInvalid):
        Stored([{"input_ids": [[1]]}, {"input_ids": [[1.5]]}])


def test_stored_keeps_kinds():
    examples = [
        {"ids": [1, 2], "score": 1.5, "text": "é", "boxes": [[1, 2], []], "no": None, "is": True},
        {"ids": [], "score": 2.0, "text": "", "boxes": [], "no": None, "is": False},
    ]
    stored = list(Stored(pieces(examples, 1)))
    assert stored == examples and repr(stored) == repr(examples)
    late = [{"classes": []}, {"classes": [3]}]
    assert list(Stored(pieces(late, 1))) == late


def test_nothing_is_left_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    stored = Stored([{"input_ids": [[1, 2]]}])
    assert list(tmp_path.iterdir()) == [] and stored[0] == {"input_ids": [1, 2]}, (
        "the file should have no name"
    )


def test_a_killed_process_leaves_nothing(tmp_path):
    code = ("import os, signal; from sft_nb.data.columns import Stored\ndef pieces():\n  for i in "
            "range(99):\n    yield {'a': [[1] * 1000] * 100}\n    if i == 50: os.kill(os.getpid(), "
            "signal.SIGKILL)\nStored(pieces())")
    assert python(code, TMPDIR=str(tmp_path)).returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told(tmp_path):
    "A limit on the size of files is a disk that is really full."
    code = ("import resource, sys; from sft_nb.data.columns import Stored; from sft_nb.task import "
            "DataError\nresource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\ntry: "
            "Stored([{'a': [[1] * 10_000]}])\nexcept DataError as e: print(e)")
    done = python(code, TMPDIR=str(tmp_path))
    assert str(tmp_path) in done.stdout and "TMPDIR" in done.stdout and not done.stderr, done


def test_other_errors_are_not_blamed_on_the_disk():
    def unplugged():
        yield pa.record_batch({"a": [1]})
        raise OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match="Input/output"):
        mapped(unplugged())


class InMemory(TextClassification):
    "The same task, with its examples in a list."
    name = ""
    def encode_all(self, rows, processor): return list(super().encode_all(rows, processor))


def test_runs_from_disk_and_memory_are_bitwise_equal(tiny, reviews, monkeypatch):
    monkeypatch.setattr("sft_nb.tasks.text.base.STEP", 3)  # several pieces
    tuners = [
        FineTuner(kind(), tiny("bert"), BY_HEART).fit(reviews, reviews)
        for kind in (TextClassification, InMemory)
    ]
    assert isinstance(tuners[0].run.examples.plain, Stored)
    assert isinstance(tuners[1].run.examples.plain, list)
    assert tuners[0].history.steps == tuners[1].history.steps
    assert torch.equal(*[parameters(t.model) for t in tuners])


def test_no_text_is_tokenised_twice(tiny, reviews):
    task = TextClassification(max_length=14).learn(reviews)
    _, tokenizer = task.build(tiny("bert"))
    asked = []
    def processor(*texts, **options):
        asked.append(len(texts[0]))
        return tokenizer(*texts, **options)
    for name in ("model_max_length", "pad_token_id"):
        setattr(processor, name, getattr(tokenizer, name))
    examples = Examples(task, reviews, processor)
    lengths = examples.lengths
    assert sum(asked) == len(reviews)
    found = task.check_lengths(reviews, processor, lengths)
    assert sum(asked) == len(reviews) + (lengths == 14).sum(), (
        "only texts that fill the model are looked at again"
    )
    assert found == task.check_lengths(reviews, tokenizer) and 0 < len(found[0].rows) < len(reviews)


# --- tables ---

def test_csv_in_small_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(sft_nb.data.table_reader, "STEP", 2)
    rows = pd.DataFrame(
        {
            "text": ["a, b", 'say "so"', "two\nlines", "NA", "é好😀", "x", "y"],
            "label": ["1", "007", "", "null", "b", "c", "d"],
        }
    )
    for name, options in (("a.csv", {}), ("a.tsv", {"sep": "\t"})):
        rows.to_csv(tmp_path / name, index=False, **options)
        pd.testing.assert_frame_equal(
            read_table(tmp_path / name), rows.assign(label=rows.label.where(rows.label != ""))
        )
    objects = [{"n": 1}, {"n": 2, "t": "a"}, {"t": "b"}, {"n": 2.5}, {"n": None, "new": [1]}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(o) + "\n" for o in objects))
    whole = pd.DataFrame(objects, dtype=object)
    pd.testing.assert_frame_equal(read_table(tmp_path / "a.jsonl"), whole)


def test_faults_far_down_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(sft_nb.data.table_reader, "STEP", 2)
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "x,y\n" * 7 + "x\n" + "x,y\n" * 3 + "x,y,z\n")
    with pytest.raises(
        DataError, match=r"line 9: 1 cell where the header has 2 \(1 more row of another length\)"
    ):
        read_table(path)
    path.write_bytes(b"text,label\n" + b"x,y\n" * 500_000 + "é,y\n".encode("latin-1"))
    with pytest.raises(DataError, match="line 500002: This file is not UTF-8; it reads as Latin-1"):
        read_table(path)
    path.write_text("text,label\n" + "x,y\n" * 7 + 'x,"y\n')
    with pytest.raises(DataError, match="line 9 has a stray double quote"):
        read_table(path)


def test_fingerprints_are_what_they_always_were():
    "Saved runs carry them: they must never change."
    rows = pd.DataFrame(
        {
            "a": pd.Series(["text", 'a "quote" é \ud800', None], dtype=object),
            "b": pd.array([1, None, 3], dtype="Int64"),
            "c": [[1, "x"], {"k": 2.0}, True],
        }
    )
    assert row_hashes(rows, ["a", "b", "c"]) == [
        "308560b164a1f40a4c5cf130c88318b6", "3e09164a32f75d82f44b8b53a3661e5b",
        "84c5ef2eee115e10cec1ebf35f550b2c",
    ]


# --- what is not needed is not imported ---

LIGHT = {  # module: what it must not load
    "sft_nb.data.columns": (
        "transformers", "sklearn", "scipy", "matplotlib", "IPython", "huggingface_hub",
    ),
    "sft_nb.data.leaks": (
        "transformers", "sklearn", "scipy", "matplotlib.pyplot", "IPython", "huggingface_hub",
    ),
    "sft_nb.data.table_writer": (
        "transformers", "sklearn", "scipy", "matplotlib.pyplot", "IPython", "huggingface_hub",
    ),
}


@pytest.mark.parametrize("module", LIGHT)
def test_imports_are_lean(module):
    done = python(
        f"import sys, {module}; print([m for m in {LIGHT[module]!r} if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done


# --- frozen blocks ---

def frozen_tuner(tiny, reviews, name, unfreeze_last):
    task = TextClassification().learn(reviews)
    model, tokenizer = task.build(tiny(name), seed=1)
    return task, freeze(model, unfreeze_last), Examples(task, reviews, tokenizer)


def gradient(task, model, forward, batch):
    "Loss and gradient with the dropout of one seed, frozen parts in evaluation mode."
    still(model, batch)
    model.zero_grad()
    with torch_seed("dropout", 7):
        loss = task.loss(forward(model, batch), batch)["loss"]
        loss.backward()
    return loss.item(), gradient_of(model)


def still(model, batch):
    "Training mode; what is done before anything learns is in evaluation mode."
    model.train()
    for part in frozen_parts(model, batch)[1]:
        part.eval()
    return model


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "modernbert", "gpt2"])
@pytest.mark.parametrize("unfreeze_last", [0, 1])
def test_loss_and_gradient_from_states(tiny, reviews, tmp_path, name, unfreeze_last):
    task, model, examples = frozen_tuner(tiny, reviews, name, unfreeze_last)
    forward = cached_forward(task, model, examples, folder=tmp_path)
    assert isinstance(forward, FrozenStates)
    assert forward.read == ("all" if unfreeze_last else "last" if name == "gpt2" else "first")
    for indices in ([0, 1, 2, 3, 4, 5, 6, 7], [5], [6, 2]):
        batch = examples.batch(indices)
        (loss, g), (loss_, g_) = (gradient(task, model, f, batch) for f in (forward, plain_forward))
        assert (
            abs(loss - loss_) <= 1e-6 * max(1, abs(loss_)) and (g - g_).norm() <= 1e-6 * g_.norm()
        ), (name, indices)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_whole_runs_from_states(tiny, reviews, name):
    recipe, tuners = BY_HEART.but(unfreeze_last=0, micro_batch_size=2), []
    for shortcuts in ((), ("states",)):
        tuners.append(tuner := FineTuner(TextClassification(), tiny(name), recipe))
        tuner.shortcuts = shortcuts
        tuner.fit(reviews, reviews)
        assert tuner.run.quick.used == list(shortcuts)
    a, b = (parameters(t.model) for t in tuners)
    moved = (a - parameters(tuners[0].task.build(tiny(name), seed=recipe.seed)[0])).norm()
    assert moved > 0 and (a - b).norm() <= 1e-5 * moved, ((a - b).norm(), moved)


@pytest.mark.parametrize(
    "options", [{"methods": (Plain(),)}, {"train_batchnorm": True}], ids=["a method", "BatchNorm"]
)
def test_who_looks_closer_computes_all(tiny, reviews, options):
    """A method may look into frozen blocks, and statistics that are updated are not what is on
    the disk.
    """
    tuner = FineTuner(
        TextClassification(), tiny("bert"), BY_HEART.but(unfreeze_last=0, **options)
    ).fit(reviews)
    assert "states" not in tuner.run.quick.used and "dice" in tuner.run.quick.used


def test_frozen_parts_are_at_rest(tiny, reviews):
    """What runs before anything learns is in evaluation mode while the rest is trained, with and
    without shortcuts.
    """
    for shortcuts in ((), ("states",)):
        recipe = BY_HEART.but(unfreeze_last=1)
        run = Run(
            TextClassification(), str(tiny("bert")), recipe, reviews, shortcuts=shortcuts
        ).prepared()
        body = train_mode(run.model, still=run.still).bert
        assert not body.embeddings.dropout.training and not body.encoder.layer[0].training
        assert body.encoder.layer[-1].training and run.model.dropout.training


def test_states_are_computed_once(tiny, reviews, tmp_path):
    task, model, examples = frozen_tuner(tiny, reviews, "bert", 0)
    calls = []
    model.bert.encoder.layer[0].attention.register_forward_hook(lambda *a: calls.append(1))
    first = cached_forward(task, model, examples, folder=tmp_path)
    many = len(calls)
    later = cached_forward(task, model, examples, folder=tmp_path)
    few = len(calls) - many
    assert first.path == later.path and few < many and len(list(tmp_path.iterdir())) == 1
    calls.clear()
    later(model, examples.batch(range(8)))
    assert not calls


CHANGES = {
    "other weights": lambda task, model, rows: (
        task,
        model.bert.encoder.layer[1].output.dense.weight.data.mul_(1.001),
        rows,
    )[::2],
    "another text": lambda task, model, rows: (
        task,
        rows.assign(text=["something else", *rows.text[1:]]),
    ),
    "fewer rows": lambda task, model, rows: (task, rows.head(7)),
    "shorter texts": lambda task, model, rows: (TextClassification(max_length=8).learn(rows), rows),
    "one more block": lambda task, model, rows: (task, freeze(model, 1), rows)[::2],
    "eager attention": lambda task, model, rows: (
        task, model.set_attn_implementation("eager"), rows,
    )[::2],
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_key(tiny, reviews, tmp_path, change):
    task, model, examples = frozen_tuner(tiny, reviews, "bert", 0)
    path = cached_forward(task, model, examples, folder=tmp_path).path
    task, rows = CHANGES[change](task, model, reviews)
    other = cached_forward(task, model, Examples(task, rows, examples.processor), folder=tmp_path)
    assert other.path != path and path.exists()


def test_the_same_key(tiny, reviews, tmp_path):
    """Targets, names of labels, the head's own weights and the order of the rows' epoch say
    nothing about the frozen blocks.
    """
    task, model, examples = frozen_tuner(tiny, reviews, "bert", 0)
    path = cached_forward(task, model, examples, folder=tmp_path).path
    model.classifier.weight.data.add_(1)
    rows = reviews.assign(label=["x", "y", "y", "x"] * 2)
    other = TextClassification().learn(rows)
    assert (
        cached_forward(
            other, model, Examples(other, rows, examples.processor, seed=9), folder=tmp_path
        ).path
        == path
    )


def test_precision_is_part_of_the_key(tiny, reviews, tmp_path):
    task, model, examples = frozen_tuner(tiny, reviews, "bert", 0)
    def bf16(): return torch.autocast("cpu", torch.bfloat16)
    paths = [
        cached_forward(task, model, examples, how, folder=tmp_path).path
        for how in (nullcontext, bf16)
    ]
    assert paths[0] != paths[1]
    forward = cached_forward(task, model, examples, bf16, folder=tmp_path)
    batch = examples.batch(range(8))
    with bf16():
        (loss, g), (loss_, g_) = (gradient(task, model, f, batch) for f in (forward, plain_forward))
    assert abs(loss - loss_) <= 1e-6 * abs(loss_) and (g - g_).norm() <= 1e-6 * g_.norm()


@pytest.mark.parametrize("how", ["cut", "flipped", "empty"])
def test_a_damaged_file_is_computed_anew(tiny, reviews, tmp_path, how):
    task, model, examples = frozen_tuner(tiny, reviews, "bert", 0)
    path = cached_forward(task, model, examples, folder=tmp_path).path
    data = path.read_bytes()
    damaged = {
        "cut": data[:-100],
        "flipped": data[:999] + bytes([data[999] ^ 4]) + data[1000:],
        "empty": b"",
    }[how]
    path.write_bytes(damaged)
    assert cached_forward(task, model, examples, folder=tmp_path).path == path
    assert path.read_bytes() == data


def test_a_killed_write_is_no_file(tiny, reviews, tmp_path, monkeypatch):
    task, model, examples = frozen_tuner(tiny, reviews, "bert", 0)
    monkeypatch.setattr(
        "sft_nb.batches.frozen.states_of",
        lambda *a: (
            (_ for _ in ()).throw(KeyboardInterrupt) if any(tmp_path.iterdir()) else real(*a)
        ),
    )
    with pytest.raises(KeyboardInterrupt):
        cached_forward(task, model, examples, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


from sft_nb.batches.frozen import states_of as real  # noqa: E402


def test_a_full_disk_stops_with_a_sentence(tiny, reviews, tmp_path, monkeypatch):
    task, model, examples = frozen_tuner(tiny, reviews, "bert", 0)
    def full(*a): raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("sft_nb.batches.frozen._write", full)
    with pytest.raises(TrainingError, match="cannot be kept in .*No space left.*SFT_NB_HOME"):
        cached_forward(task, model, examples, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_where_states_are_kept(tmp_path, monkeypatch):
    features_folder = sft_nb.batches.frozen.features_folder.__wrapped__
    monkeypatch.setenv("SFT_NB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert features_folder() == tmp_path / "home" / "features"
    # a folder for the whole class, which may only be read
    monkeypatch.setattr(os, "access", lambda *a: False)
    assert tmp_path / "home" not in features_folder().parents


def test_old_states_go_first(tiny, reviews, tmp_path):
    task, model, examples = frozen_tuner(tiny, reviews, "bert", 0)
    paths = [
        cached_forward(
            task, model, Examples(task, reviews.head(n), examples.processor), folder=tmp_path
        ).path
        for n in (4, 5, 6)
    ]
    for age, path in zip((30, 10, 20), paths, strict=True):
        os.utime(path, (1e9 - age, 1e9 - age))
    newest = cached_forward(
        task, model, examples, folder=tmp_path, gigabytes=2.5 * paths[1].stat().st_size / 1e9
    ).path
    assert set(tmp_path.iterdir()) == {newest, paths[1]}


def test_what_cannot_be_stored_is_computed(tiny, reviews, tmp_path):
    """Everything trainable; embeddings that learn; rows that change between epochs; more than
    may be kept.
    """
    task, model, examples = frozen_tuner(tiny, reviews, "bert", None)
    assert cached_forward(task, model, examples, folder=tmp_path) is plain_forward
    freeze(model, 0).bert.embeddings.word_embeddings.weight.requires_grad_(True)
    assert cached_forward(task, model, examples, folder=tmp_path) is plain_forward
    model.bert.embeddings.requires_grad_(False)
    class Augmented(TextClassification):
        name = ""
        augments = True
    assert (
        cached_forward(Augmented().learn(reviews), model, examples, folder=tmp_path)
        is plain_forward
    )
    size = 8 * 64 * 4 / 1e9  # gigabytes: rows, numbers, bytes
    assert (
        cached_forward(task, model, examples, folder=tmp_path, gigabytes=0.99 * size)
        is plain_forward
    )
    assert not list(tmp_path.iterdir())
    assert isinstance(
        cached_forward(task, model, examples, folder=tmp_path, gigabytes=1.01 * size), FrozenStates
    )


class Mean(torch.nn.Module):
    """A model whose head reads the mean of all tokens, or the sum of the first and the last
    block's states, which no single cut gives.
    """
    def __init__(self, bert, both):
        super().__init__()
        self.bert, self.both, self.classifier = bert, both, torch.nn.Linear(64, 2)

    def forward(self, input_ids, attention_mask, token_type_ids):
        out = self.bert(input_ids, attention_mask, token_type_ids, output_hidden_states=self.both)
        states = (
            out.hidden_states[1] + out.last_hidden_state if self.both else out.last_hidden_state
        )
        mask = attention_mask[..., None]
        return type(
            "Outputs", (), {"logits": self.classifier((states * mask).sum(1) / mask.sum(1))}
        )


@pytest.mark.parametrize("both", [False, True])
def test_heads_that_read_more(tiny, reviews, tmp_path, both):
    task, model, examples = frozen_tuner(tiny, reviews, "bert", 0)
    with torch_seed("mean"):
        model = Mean(model.bert.requires_grad_(False), both)
    forward = cached_forward(task, model, examples, folder=tmp_path)
    if both:
        assert forward is plain_forward
        return
    assert forward.read == "all"
    batch = examples.batch([0, 3, 5])
    (loss, g), (loss_, g_) = (gradient(task, model, f, batch) for f in (forward, plain_forward))
    assert abs(loss - loss_) <= 1e-6 * abs(loss_) and (g - g_).norm() <= 1e-6 * g_.norm()


# --- two million rows ---

@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_million_rows_in_three_gigabytes():
    case = {"what": "rows", "n": 2_000_000, "updates": 200}
    done = subprocess.run(
        [sys.executable, str(SCALE), "--case", json.dumps(case)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["tokens"] > 2_000_000 * 20 and found["peak_resident"] < 3e9, found
