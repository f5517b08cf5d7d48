"""The shortcuts of sft_nb.speed.quicken leave something out, and change nothing:

the distribution of dropout, every gradient, every weight, every file.
"""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import same_weights
from scipy.stats import chisquare, norm
from torch import nn

from sft_nb.batches.batching import Examples
from sft_nb.methods.lora import Lora
from sft_nb.models.layers import set_dropout
from sft_nb.models.loading import quiet
from sft_nb.training.recipe import Recipe
from sft_nb.training.run import Run
from sft_nb.speed.dropout import FastDropout, keep_mask
from sft_nb.speed.quicken import SHORTCUTS, quicken
from sft_nb.speed.ragged import Ragged
from sft_nb.speed.measuring import training_flops
from sft_nb.speed.untouched_rows import TouchedRows, touched_rows
from sft_nb.chance import torch_seed
from sft_nb.task import TrainingError
from sft_nb.tasks.text.classification import TextClassification
from sft_nb.training.tuner import FineTuner
from sft_nb.training.watching import Lines

BENCH = Path(__file__).parent / "bench" / "training_speed.py"


# --- a tuner with chosen shortcuts ---

def tuner_with(use, folder, recipe, **options):
    "A FineTuner whose runs use these shortcuts; its `quick` tells which applied."
    tuner = FineTuner(TextClassification(), folder, recipe, **options)
    tuner.shortcuts = use
    return tuner


@pytest.fixture(scope="module")
def wide(tiny, tmp_path_factory):
    "A tiny BERT with 3,000 word vectors, of which its tokenizer uses the first few."
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM
    folder = tmp_path_factory.mktemp("wide")
    with quiet(), torch_seed("wide"):
        config = BertConfig.from_pretrained(tiny("bert"))
        config.vocab_size = 3000
        BertForMaskedLM(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(tiny("bert")).save_pretrained(folder)
    return folder


@pytest.fixture
def rows(reviews):
    "Forty rows of many lengths."
    more = [
        (
            " ".join(reviews.text.iloc[: 1 + i % 4]) if i % 3 else reviews.text[i % 8],
            reviews.label[i % 8],
        )
        for i in range(40)
    ]
    return pd.DataFrame(
        [(f"{text} {i}", label) for i, (text, label) in enumerate(more)], columns=["text", "label"]
    )


def flat(state): return torch.cat([v.flatten().double() for v in state.values()])
def apart(a, b): return ((flat(a) - flat(b)).norm() / flat(b).norm()).item()


RECIPE = Recipe(
    precision="fp32", epochs=2, learning_rate=1e-3, batch_size=8, keep_best=False, weight_decay=0.1
)


# --- dropout ---

@pytest.mark.parametrize("p", [0.1, 0.5, 0.013])
def test_dropout_keeps_as_often_as_it_says_and_forgets_at_once(p):
    with torch_seed("dice", p):
        mask = keep_mask((500_000, 8), p)
    keep, rate = (mask > 0).numpy(), 1 - round(p * 65536) / 65536
    assert abs(rate - (1 - p)) < 1e-5
    assert mask.unique().tolist() == [0, pytest.approx(1 / rate, rel=1e-6)]
    assert abs(norm.ppf(norm.sf((keep.mean() - rate) / np.sqrt(rate * (1 - rate) / keep.size)))) < 4
    # two draws of four decisions: 256 patterns
    patterns = np.bincount(keep @ (1 << np.arange(8)), minlength=256)
    ones = np.array([bin(i).count("1") for i in range(256)])
    expected = len(keep) * rate ** ones * (1 - rate) ** (8 - ones)
    large = expected > 20
    assert (
        chisquare(
            np.append(patterns[large], patterns[~large].sum() + 1e-9),
            np.append(expected[large], expected[~large].sum() + 1e-9),
        ).pvalue
        > 1e-4
    )


def test_dropout_has_the_mean_and_variance_of_torchs():
    x = torch.full((1000, 1000), 2.0)
    with torch_seed("moments"):
        ours, theirs = FastDropout(0.1)(x), nn.Dropout(0.1)(x)
    for moment in (torch.mean, torch.var):
        assert abs(moment(ours) / moment(theirs) - 1) < 0.01


def test_dropout_belongs_to_torchs_seed():
    layer, x = FastDropout(0.3), torch.ones(50, 7)
    draws = []
    for key in ("a", "a", "b"):
        with torch_seed(key):
            draws.append((layer(x), layer(x)))
    assert torch.equal(draws[0][0], draws[1][0]) and torch.equal(draws[0][1], draws[1][1])
    assert not torch.equal(draws[0][0], draws[0][1]) and not torch.equal(draws[0][0], draws[2][0])


def test_dropout_is_nothing_in_evaluation_and_one_gradient_in_training():
    x = torch.randn(9, 5, requires_grad=True)
    layer = FastDropout(0.4).eval()
    assert torch.equal(layer(x), x)
    y = layer.train()(x)
    y.sum().backward()
    assert torch.allclose(y, x * x.grad)
    assert all(g == 0 or g == pytest.approx(1 / 0.6, rel=1e-4) for g in x.grad.flatten().tolist())
    for p, kept in ((0.0, x), (1.0, torch.zeros_like(x))):
        assert torch.equal(FastDropout(p).train()(x), kept)


# --- rows that do not occur ---

def test_a_run_without_the_untouched_rows_ends_in_the_same_weights(wide, rows):
    """Dropout 0: all shortcuts against none, after ten updates with clipping, decay and a
    schedule; rows that no batch contains too.
    """
    recipe = RECIPE.but(dropout=0.0, max_grad_norm=0.1)
    plain, quick = (tuner_with(use, wide, recipe).fit(rows) for use in ((), SHORTCUTS))
    # no dice: nothing is dropped
    assert [u.split()[0] for u in quick.run.quick.used] == [
        "rows", "tokens", "first",
    ]
    a, b = plain.model.state_dict(), quick.model.state_dict()
    assert list(a) == list(b) and apart(b, a) < 1e-6
    name = "bert.embeddings.word_embeddings.weight"
    fresh = TextClassification().learn(rows).build(wide)[0]
    start, busy = fresh.state_dict()[name], set(touched_rows(fresh, quick.run.examples).tolist())
    idle = torch.tensor([i for i in range(3000) if i not in busy])
    assert len(idle) > 2500 and (a[name][idle] - start[idle]).abs().max() > 0  # they have decayed
    assert (a[name][idle] - b[name][idle]).abs().max() < 1e-6 * start.abs().max()


def test_the_model_is_an_ordinary_one_afterwards(wide, rows, tmp_path):
    from transformers import AutoModelForSequenceClassification
    tuner = tuner_with(SHORTCUTS, wide, RECIPE, out=tmp_path / "run").fit(rows[:32], rows[32:])
    assert [u.split()[0] for u in tuner.run.quick.used] == ["dice", "rows", "tokens", "first"]
    assert not any(isinstance(m, (FastDropout, TouchedRows)) for m in tuner.model.modules())
    assert tuner.model.config._attn_implementation == "sdpa"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tuner.model.modules())
    with quiet():
        theirs = AutoModelForSequenceClassification.from_pretrained(tuner.save(tmp_path / "run"))
    assert same_weights(theirs, tuner.model)


def test_who_looks_at_parameters_sees_them_all(wide, rows):
    "For methods that compare every parameter with what it was."
    task = TextClassification().learn(rows)
    model, processor = task.build(wide)
    shapes = [p.shape for p in model.parameters()]
    assert quicken(model, Examples(task, rows, processor), watched=True).used == [
        "dice", "tokens", "first",
    ]
    assert [p.shape for p in model.parameters()] == shapes


def test_evaluation_in_the_middle_knows_all_words(wide, rows):
    "A word that training never sees is looked up in the whole, decayed table."
    run = Run(TextClassification(), str(wide), RECIPE.but(dropout=0.0), rows).prepared()
    start = run.model.state_dict()["bert.embeddings.word_embeddings.weight"][2900].clone()
    idle = torch.tensor([[2900, 5]])
    for batch in run.examples.batches(8, epoch=0)[:3]:
        run.model.train()
        run.update(batch)
        run.position.step += 1
    layer = run.model.eval().get_input_embeddings()
    assert isinstance(layer, TouchedRows)
    assert torch.equal(layer(idle)[0, 0], layer.table()[2900])
    assert not torch.equal(layer.table()[2900], start)
    assert torch.equal(layer(idle)[0, 1], layer.weight[layer.place[5]])


def test_a_token_from_nowhere_is_named(wide, rows):
    task = TextClassification().learn(rows)
    model, processor = task.build(wide)
    quicken(model, Examples(task, rows, processor), use=("rows",))
    with pytest.raises(TrainingError, match="2900"):
        model.train().get_input_embeddings()(torch.tensor([[5, 2900]]))


@pytest.mark.parametrize("why", ["tied", "frozen", "augmented", "most"])
def test_the_table_stays_whole_where_it_must(wide, rows, why, tiny):
    from transformers import BertForMaskedLM
    task = TextClassification().learn(rows)
    model, tokenizer = task.build(tiny("bert") if why == "most" else wide)
    if why == "tied": model = BertForMaskedLM.from_pretrained(wide)
    if why == "frozen": model.get_input_embeddings().weight.requires_grad_(False)
    examples = Examples(task, rows, tokenizer)
    if why == "augmented": task.augments = True
    assert touched_rows(model, examples, most=0.01 if why == "most" else 0.5) is None


# --- tokens only ---

@pytest.mark.parametrize("why", ["checkpointing", "layerdrop", "eager"])
def test_what_happens_only_in_training_is_asked_for(wide, rows, why):
    task = TextClassification().learn(rows)
    model, processor = task.build(wide)
    if why == "checkpointing": model.bert.encoder.layer[0].gradient_checkpointing = True
    if why == "layerdrop": model.config.layerdrop = 0.1
    if why == "eager": model.set_attn_implementation("eager")
    assert quicken(model, Examples(task, rows, processor), use=("tokens", "first")).used == []


@pytest.mark.parametrize(
    "name,expected",
    [
        ("bert", ["tokens", "first"]), ("bert with adapters", ["tokens", "first"]),
        ("roberta", ["tokens", "first"]), ("distilbert", ["tokens"]), ("gpt2", ["tokens"]),
        ("modernbert", []),
    ],
)
def test_gradients_without_pads_are_those_with_pads(tiny, rows, name, expected):
    task = TextClassification().learn(rows)
    gradients = []
    for use in ((), ("tokens", "first")):
        model, processor = task.build(tiny(name.split()[0]), seed=1)
        for bias in (p for n, p in model.named_parameters() if n.endswith("bias")):
            nn.init.uniform_(bias, -0.1, 0.1, torch.Generator().manual_seed(2))
        if "adapters" in name: Lora().prepare(model)
        set_dropout(model.double(), 0.0)
        examples = Examples(task, rows, processor)
        quick = quicken(model, examples, use=use)
        batch = examples.batch(np.arange(9))
        model.train()
        task.loss(model(**batch.inputs), batch)["loss"].backward()
        gradients.append(
            {
                n: torch.zeros_like(p) if p.grad is None else p.grad
                for n, p in model.named_parameters()
            }
        )
    assert quick.used == expected
    difference = apart(gradients[1], gradients[0])
    # in 64 bits nothing hides behind rounding
    assert flat(gradients[0]).norm() > 0 and difference <= 1e-9


def test_sixteen_bits_work_too(wide, rows):
    """Under autocast, as on processors with bf16:

    the same gradient as without shortcuts, to what 16 bits can hold.
    """
    task = TextClassification().learn(rows)
    found = []
    for use in ((), SHORTCUTS):
        model, processor = task.build(wide, seed=1)
        set_dropout(model, 0.0)
        examples = Examples(task, rows, processor)
        quicken(model, examples, use=use)
        batch = examples.batch(np.arange(9))
        with torch.autocast("cpu", torch.bfloat16):
            terms = task.loss(model.train()(**batch.inputs), batch)
        terms["loss"].backward()
        found.append({n: p.grad for n, p in model.named_parameters()})
    name = "bert.embeddings.word_embeddings.weight"
    found[0][name] = found[0][name][model.get_input_embeddings().touched]
    assert apart(found[1], found[0]) < 0.05


def test_no_row_sees_another(wide, rows):
    "Changing one row's words leaves the other rows' answers bitwise as they were."
    task = TextClassification().learn(rows)
    model, processor = task.build(wide)
    examples = Examples(task, rows, processor)
    quicken(model, examples, use=("tokens", "first"))
    model.train()
    set_dropout(model, 0.0)
    batch = examples.batch(np.arange(6))
    before = model(**batch.inputs).logits
    batch.inputs["input_ids"][2, 1:3] += 1
    moved = (model(**batch.inputs).logits - before).abs().amax(1)
    assert moved[2] > 0 and moved[[0, 1, 3, 4, 5]].max() < 1e-6


def test_cutting_a_batch_does_not_change_its_gradient(wide, rows):
    "In 64 bits, where nothing hides behind rounding."
    from sft_nb.training.gradient import effective_gradient
    task = TextClassification().learn(rows)
    found = []
    for size in (8, 3, 1):
        model, processor = task.build(wide, seed=1)
        set_dropout(model.double(), 0.0)
        examples = Examples(task, rows, processor)
        quicken(model, examples)
        effective_gradient(
            task,
            model.train(),
            [examples.batch(np.arange(8)[i : i + size]) for i in range(0, 8, size)],
        )
        found.append({n: p.grad for n, p in model.named_parameters()})
    differences = [apart(other, found[0]) for other in found[1:]]
    assert max(differences) <= 1e-9 and flat(found[0]).norm() > 0


def test_whoever_asks_for_more_gets_what_transformers_gives(wide, rows):
    "Hidden states, a part of the model, pads on the left, evaluation: the hooks stand aside."
    task = TextClassification().learn(rows)
    model, processor = task.build(wide)
    examples = Examples(task, rows, processor)
    batch = examples.batch(np.arange(4))
    quick = quicken(model, examples, use=("tokens", "first"))
    model.train()
    set_dropout(model, 0.0)
    b, t = batch.inputs["input_ids"].shape
    want = {}
    for step in ("with", "without"):
        hidden = model(**batch.inputs, output_hidden_states=True).hidden_states[-1]
        model(**batch.inputs)  # with hooks at work; they must be at rest again for the next line
        body = model.base_model(**batch.inputs).last_hidden_state
        left = {k: v.flip(1) for k, v in batch.inputs.items()}
        want[step] = (hidden, body, model(**left).logits, model.eval()(**batch.inputs).logits)
        model.train()
        quick.undo()
    assert want["with"][0].shape[:2] == want["with"][1].shape[:2] == (b, t)
    for a, b in zip(want["with"], want["without"], strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_a_head_that_reads_all_answers_is_not_given_only_the_first(tiny, rows):
    from transformers import BertForTokenClassification
    task = TextClassification().learn(rows)
    _, processor = task.build(tiny("bert"))
    with quiet():
        model = BertForTokenClassification.from_pretrained(tiny("bert"))
    examples = Examples(task, rows, processor)
    batch = examples.batch(np.arange(5))
    quick = quicken(model, examples, use=("tokens", "first"))
    assert quick.used == ["tokens"]
    model.train()
    set_dropout(model, 0.0)
    mask = batch.inputs["attention_mask"].bool()
    with torch.no_grad():
        assert torch.allclose(
            model(**batch.inputs).logits[mask], model.eval()(**batch.inputs).logits[mask], atol=1e-5
        )


class Mean(nn.Module):
    "A pooler that reads pads too."
    def forward(self, hidden): return hidden.mean(1)


def test_a_head_that_reads_pads_keeps_its_pads(wide, rows):
    "A mean over all cells has the right shape without pads, and another value."
    task = TextClassification().learn(rows)
    model, processor = task.build(wide)
    model.bert.pooler = Mean()
    assert quicken(model, Examples(task, rows, processor), use=("tokens", "first")).used == []
    assert model.config._attn_implementation == "sdpa"


def test_ragged_there_and_back():
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]])
    x = torch.randn(3, 3, 4)
    ragged = Ragged(mask)
    assert torch.equal(ragged.unpack(ragged.pack(x))[mask.bool()], x[mask.bool()])
    assert torch.equal(ragged.firsts(ragged.pack(x))[0], x[:, 0])


# --- what is left out says why ---

def tuple_blocks(monkeypatch):
    "BERT as older releases wrote it: a block gives a tuple, and the encoder takes its first part."
    from transformers.models.bert import modeling_bert as bert
    plain = bert.BertLayer.forward

    def encoder(self, hidden_states, attention_mask=None, **kwargs):
        for layer in self.layer:
            hidden_states = layer(hidden_states, attention_mask, **kwargs)[0]
        return bert.BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden_states)

    def as_tuple(self, *args, **kwargs):
        return (plain(self, *args, **kwargs),)
    monkeypatch.setattr(bert.BertLayer, "forward", as_tuple)
    monkeypatch.setattr(bert.BertEncoder, "forward", encoder)


def test_every_shortcut_is_used_or_says_why_not(wide, rows):
    task = TextClassification().learn(rows)
    for use in ((), ("rows", "tokens"), SHORTCUTS):
        model, processor = task.build(wide)
        quick = quicken(model, Examples(task, rows, processor), use=use)
        used = [u.split()[0] for u in quick.used]
        assert sorted([*used, *quick.skipped]) == sorted(SHORTCUTS)
        assert all(len(why) > 10 and "\n" not in why for why in quick.skipped.values())
        unasked = set(SHORTCUTS) - set(use)
        assert all(quick.skipped[name] == "it was not asked for" for name in unasked)


def test_blocks_that_return_tuples_are_trained_in_full_and_named(wide, rows, monkeypatch):
    "The same weights as without shortcuts; history and file say what was left out, and why."
    recipe = RECIPE.but(dropout=0.0)
    plain = tuner_with((), wide, recipe).fit(rows).model.state_dict()
    tuple_blocks(monkeypatch)
    tuner = tuner_with(SHORTCUTS, wide, recipe).fit(rows)
    assert apart(tuner.model.state_dict(), plain) < 1e-6
    shortcuts = tuner.history.shortcuts
    assert [u.split()[0] for u in shortcuts["used"]] == ["rows"]
    assert "blocks return a tuple" in shortcuts["skipped"]["tokens"]
    assert "blocks return a tuple" in shortcuts["skipped"]["first"]
    assert tuner.model.config._attn_implementation == "sdpa"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tuner.model.modules())


def test_a_saved_run_tells_its_shortcuts(wide, rows, tmp_path):
    tuner = tuner_with(("dice", "rows"), wide, RECIPE.but(epochs=1)).fit(rows)
    saved = json.loads((tuner.save(tmp_path / "run") / "sft_nb.json").read_text(encoding="utf-8"))
    quick = tuner.run.quick
    told = {"used": quick.used, "skipped": quick.skipped, "chosen": {}}  # fp32 was asked for
    assert saved["history"]["shortcuts"] == told
    assert FineTuner.load(tmp_path / "run").history.shortcuts == tuner.history.shortcuts


def test_a_resumed_run_tells_the_shortcuts_of_its_own_process(wide, rows, tmp_path):
    class Stop(Lines):
        def step(self, run): run.interrupted = run.interrupted or run.position.step == 3

    out = tmp_path / "run"
    first = tuner_with((), wide, RECIPE, out=out)
    assert first.fit(rows, listeners=[Stop()]).interrupted
    assert first.history.shortcuts["used"] == []
    second = tuner_with(SHORTCUTS, wide, RECIPE, out=out).fit(rows, resume="auto")
    used = [u.split()[0] for u in second.history.shortcuts["used"]]
    assert used == ["dice", "rows", "tokens", "first"]


MODELS_SAY = {
    "checkpointing": "twice to save memory",
    "layerdrop": "at random",
    "eager": "eager",
    "other answers": "differ by",
    "a bug": "ZeroDivisionError: division by zero",
    "other parts": "other parts than BERT's",
}


@pytest.mark.parametrize("why", MODELS_SAY)
def test_reasons_can_be_read(wide, tiny, rows, why, monkeypatch):
    task = TextClassification().learn(rows)
    model, processor = task.build(tiny("distilbert") if why == "other parts" else wide)
    if why == "checkpointing": model.bert.encoder.layer[0].gradient_checkpointing = True
    if why == "layerdrop": model.config.layerdrop = 0.1
    if why == "eager": model.set_attn_implementation("eager")
    if why == "other answers": model.bert.pooler = Mean()
    if why == "a bug": monkeypatch.setattr("sft_nb.speed.ragged.Ragged.by_head", lambda *_: 1 / 0)
    quick = quicken(model, Examples(task, rows, processor), use=("tokens", "first"))
    told = quick.skipped["first" if why == "other parts" else "tokens"]
    assert re.search(MODELS_SAY[why], told), told


TABLES_SAY = {
    "frozen": "are frozen",
    "augmented": "augmented",
    "most": "of the table's",
    "watched": "looks at",
}


@pytest.mark.parametrize("why,words", TABLES_SAY.items())
def test_a_whole_table_says_why(wide, tiny, rows, why, words):
    task = TextClassification().learn(rows)
    model, processor = task.build(tiny("bert") if why == "most" else wide)
    if why == "frozen": model.get_input_embeddings().weight.requires_grad_(False)
    examples = Examples(task, rows, processor)
    if why == "augmented": task.augments = True
    quick = quicken(model, examples, use=("rows",), watched=why == "watched")
    assert not quick.used and re.search(words, quick.skipped["rows"]), quick.skipped


MOVED = """
import sys
import transformers.modeling_utils  # transformers itself knows where its parts are
sys.modules["transformers.integrations.sdpa_attention"] = None  # for others the import fails
import pandas as pd
import sft_nb.training.tuner
from sft_nb.batches.batching import Examples
from sft_nb.speed.quicken import quicken
from sft_nb.tasks.text.classification import TextClassification
rows = pd.DataFrame({"text": ["good", "a bad film", "fine"], "label": ["a", "b", "a"]})
task = TextClassification().learn(rows)
model, processor = task.build(sys.argv[1])
quick = quicken(model, Examples(task, rows, processor))
print([u.split()[0] for u in quick.used], quick.skipped["tokens"], sep="|")
"""


def in_a_process(code, *argv):
    "What another Python prints."
    command = [sys.executable, "-c", code, *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def test_a_transformers_that_moved_its_internals_costs_a_shortcut(wide):
    used, why = in_a_process(MOVED, wide).splitlines()[-1].split("|")
    assert used == "['dice', 'rows']"
    assert why.startswith("transformers has moved") and "sdpa_attention" in why


def test_importing_changes_nothing_of_the_process():
    "Neither the environment nor transformers' tables of attention."
    code = """
import os, torch, transformers, pandas, matplotlib.pyplot, sklearn
from transformers import AttentionInterface
before, known = dict(os.environ), set(AttentionInterface._global_mapping)
import sft_nb.all, sft_nb.speed.quicken, sft_nb.speed.measuring
changed = {k for k in before.keys() | os.environ.keys() if before.get(k) != os.environ.get(k)}
print(changed or "nothing", set(AttentionInterface._global_mapping) - known or "nothing")
"""
    assert in_a_process(code) == "nothing nothing"

# --- the run as a whole ---

@pytest.mark.parametrize("at", [3, 5, 7])
def test_resumed_is_bitwise_uninterrupted(wide, rows, tmp_path, at):
    "With dropout, in the middle of an epoch and at its end; the whole table is in the checkpoint."
    class Stop(Lines):
        def step(self, run): run.interrupted = run.interrupted or run.position.step == at

    whole = tuner_with(SHORTCUTS, wide, RECIPE).fit(rows[:32], rows[32:]).model
    again = tuner_with(SHORTCUTS, wide, RECIPE).fit(rows[:32], rows[32:]).model
    stopped = tuner_with(SHORTCUTS, wide, RECIPE, out=tmp_path / "run")
    assert stopped.fit(rows[:32], rows[32:], listeners=[Stop()]).interrupted
    resumed = tuner_with(SHORTCUTS, wide, RECIPE, out=tmp_path / "run")
    resumed.fit(rows[:32], rows[32:], resume="auto")
    assert same_weights(whole, again) and same_weights(whole, resumed.model)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_learns(wide, rows, precision):
    "Forty rows by heart, with dropout and all shortcuts."
    tuner = tuner_with(SHORTCUTS, wide, RECIPE.but(epochs=25, precision=precision)).fit(rows)
    assert tuner.evaluate(rows).metrics["accuracy"] > 0.95


def counted(task, model, batch):
    "What torch counts in one step."
    from torch.utils.flop_counter import FlopCounterMode
    with FlopCounterMode(display=False) as counter:
        task.loss(model.train()(**batch.inputs), batch)["loss"].backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("picked", [[0], [0, 1, 2], range(9)])
@pytest.mark.parametrize("use", [(), ("tokens",), ("tokens", "first")])
def test_work_is_counted_as_torch_counts_it(tiny, rows, use, picked):
    "To 2 %: with pads where the model computes pads, and with the few that shortcuts keep."
    task = TextClassification().learn(rows)
    model, processor = task.build(tiny("bert"))
    examples = Examples(task, rows, processor)
    batch = examples.batch(picked)
    quick = quicken(model, examples, use=use)
    assert quick.used == list(use)
    measured = counted(task, model, batch)
    quick.undo()
    b, t = batch.inputs["input_ids"].shape
    laid = Ragged(batch.inputs["attention_mask"], tokens=16, width=4)  # as the hooks lay it
    width, tokens = (laid.wide, laid.n) if use else (t, b * t)
    ours = training_flops(model, [width] * b, first_only="first" in use, tokens=tokens)
    assert measured == pytest.approx(ours, rel=0.02)
    asked = training_flops(model, examples.lengths[list(picked)], first_only="first" in use)
    assert asked <= ours  # a model's definition asks for no pads


def bench(*flags):
    "What the bench prints, line by line."
    done = subprocess.run(
        [sys.executable, BENCH, *flags], capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_bench_works_and_skips_what_it_has(tiny, tmp_path):
    few = (
        "--rows", "64", "--batch", "16", "--checkpoint", str(tiny("bert")), "--results",
        tmp_path / "speed.json",
    )
    told = bench(*few, "--repeats", "1", "--ways", "trainer_default,trainer_tuned,bare,sft_nb")
    last = json.loads(told[-1])
    assert set(last) == {"ratios", "mfu"}
    assert set(last["ratios"]) == {"trainer_default", "trainer_tuned"}
    assert last["mfu"] > 0
    ways = [line.split()[1] for line in told if line[:1] == "0"]
    assert ways == ["peak", "trainer_default", "trainer_tuned", "bare", "sft_nb"]
    again = bench(*few, "--repeats", "2", "--ways", "sft_nb")
    ran = [line.split()[:2] for line in again if line[:1] in "01"]
    assert ran == [["1", "peak"], ["1", "sft_nb"]], "the first repeat is there"
    accuracy = (*few, "--accuracy", "--seeds", "1", "--valid-rows", "40")
    assert json.loads(bench(*accuracy)[-1])["seeds"] == 1
    assert not [line for line in bench(*accuracy)[:-1] if "accuracy" in line]


@pytest.mark.gpu
@pytest.mark.timeout(1200)
def test_on_a_graphics_card(wide, rows, tmp_path):
    """Only rows are left out there; the bench compares bf16 at batch 32 x 128 with a model of
    BERT's size, and writes the device's name.
    """
    tuner = tuner_with(SHORTCUTS, wide, RECIPE).fit(rows)
    assert [u.split()[0] for u in tuner.run.quick.used] == ["rows"]
    assert not any(isinstance(m, TouchedRows) for m in tuner.model.modules())
    bench(
        "--checkpoint", "bert-base", "--length", "128", "--rows", "1600", "--repeats", "1",
        "--ways", "trainer_default,trainer_tuned,sft_nb", "--results", tmp_path / "r.json",
    )
    assert torch.cuda.get_device_name() in next(iter(json.loads((tmp_path / "r.json").read_text())))
