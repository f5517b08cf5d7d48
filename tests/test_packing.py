"""Packed rows: the same outputs, the same gradient and no word to the neighbour, on the
architectures of the field.
"""
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import gradient_of
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification
from transformers import (
    AlbertConfig, BertConfig, BloomConfig, DebertaV2Config, DistilBertConfig, ElectraConfig,
    Gemma3TextConfig, GPT2Config, GPTNeoXConfig, LlamaConfig, MistralConfig, ModernBertConfig,
    MPNetConfig, OPTConfig, Qwen2Config, RobertaConfig,
)
from transformers.modeling_outputs import TokenClassifierOutput

from sft_nb.batches.batching import Examples, cut, pad
from sft_nb.batches.losses import cross_entropy, cross_entropy_weight
from sft_nb.models.loading import quiet
from sft_nb.batches.packing import (
    Layout, attention_windows, check_packing, first_fit, first_position, layout_of,
    looks_back_only, pack, packer, plot_packing, row_plan, take_cells,
)
from sft_nb.chance import rng_for, torch_seed
from sft_nb.task import Batch, Task, TrainingError
from sft_nb.training.gradient import effective_gradient, train_mode

# positions reach exactly as far as the longest example: packed rows are wider than the table
WORDS, TAGS, LONGEST = 60, 5, 24
SIZES = dict(
    vocab_size=WORDS, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
    intermediate_size=48, max_position_embeddings=LONGEST, initializer_range=0.1,
    pad_token_id=0, bos_token_id=1, eos_token_id=2,
)
GROUPED = SIZES | dict(num_key_value_heads=2)
STILL = dict(hidden_dropout_prob=0., attention_probs_dropout_prob=0.)

CAUSAL = {
    "gpt2": lambda: GPT2Config(
        vocab_size=WORDS, n_embd=32, n_layer=3, n_head=4, n_inner=48, n_positions=LONGEST,
        initializer_range=0.1, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0, bos_token_id=1,
        eos_token_id=2,
    ),
    "llama": lambda: LlamaConfig(**GROUPED),
    "qwen2": lambda: Qwen2Config(**GROUPED),
    "qwen2-windows": lambda: Qwen2Config(
        **GROUPED, use_sliding_window=True, sliding_window=4, max_window_layers=1
    ),
    "mistral-windows": lambda: MistralConfig(**GROUPED, sliding_window=4),
    "gemma3": lambda: Gemma3TextConfig(
        **GROUPED, head_dim=8, sliding_window=4,
        layer_types=["full_attention", "sliding_attention", "full_attention"],
    ),
    "gpt-neox": lambda: GPTNeoXConfig(**SIZES),
    "opt": lambda: OPTConfig(
        vocab_size=WORDS, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        ffn_dim=48, max_position_embeddings=LONGEST, word_embed_proj_dim=32, dropout=0.0,
        init_std=0.1,
    ),
}
ENCODERS = {
    "bert": lambda: BertConfig(**SIZES, **STILL),
    "roberta": lambda: RobertaConfig(
        **SIZES | dict(pad_token_id=1, max_position_embeddings=LONGEST + 2, type_vocab_size=1),
        **STILL,
    ),
    "distilbert": lambda: DistilBertConfig(
        vocab_size=WORDS, dim=32, n_layers=3, n_heads=4, hidden_dim=48,
        max_position_embeddings=LONGEST, initializer_range=0.1, dropout=0.0,
        attention_dropout=0.0,
    ),
    "modernbert": lambda: ModernBertConfig(
        **SIZES, local_attention=8, global_attn_every_n_layers=2, cls_token_id=1, sep_token_id=2
    ),
    "electra": lambda: ElectraConfig(**SIZES, **STILL),
    "albert": lambda: AlbertConfig(**SIZES, **STILL, embedding_size=16),
    "mpnet": lambda: MPNetConfig(
        **SIZES | dict(pad_token_id=1, max_position_embeddings=LONGEST + 2), **STILL
    ),
}
REFUSED = {
    "deberta-v2": lambda: DebertaV2Config(
        **SIZES, **STILL, relative_attention=True, pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
    ),
    "bloom": lambda: BloomConfig(vocab_size=WORDS, hidden_size=32, n_layer=2, n_head=4),
}
ONLY_EAGER = {"mpnet", "deberta-v2", "bloom"}
CASES = [
    (kind, name, attention)
    for kind, names in (
        ("words", CAUSAL),
        ("tags", ENCODERS),
        ("tags", {"gpt2": 0, "llama": 0, "qwen2": 0}),
    )
    for name in names
    for attention in (("eager",) if name in ONLY_EAGER else ("sdpa", "eager"))
]


# --- two small tasks with one target per token; a row is a list of token numbers, the processor the
# number of the pad token ---

@dataclass
class Tags(Task):
    per_token = True
    ids: str = "ids"
    tags: str = "tags"

    def inputs(self): return [self.ids]
    def targets(self): return [self.tags]
    def encode(self, row, processor, rng=None):
        return {"input_ids": row[self.ids], "labels": row[self.tags]}

    def collate(self, examples, processor, side="right"):
        ids, targets = [e["input_ids"] for e in examples], [e["labels"] for e in examples]
        inputs = {
            "input_ids": pad(ids, processor, side),
            "attention_mask": pad([[1] * len(s) for s in ids], 0, side),
        }
        return Batch(inputs, {"labels": pad(targets, -100, side)}, torch.arange(len(ids)))

    def weigh(self, batch): return {"loss": cross_entropy_weight(batch.targets["labels"])}
    def loss(self, outputs, batch):
        return {"loss": cross_entropy(outputs.logits, batch.targets["labels"])}


@dataclass
class NextWord(Tags):
    "A causal language model: targets[t] is what outputs[t] should say, so the shift is done here."
    def targets(self): return []
    def encode(self, row, processor, rng=None):
        return {"input_ids": row[self.ids], "labels": row[self.ids][1:] + [-100]}


def table(lengths, seed=0):
    rng = rng_for("packing", seed)
    return pd.DataFrame(
        {
            "ids": [rng.integers(3, WORDS, n).tolist() for n in lengths],
            "tags": [rng.integers(0, TAGS, n).tolist() for n in lengths],
        }
    )


LENGTHS = [7, 3, LONGEST, 5, 1, 9, 9, 2]
ALL = sum(LENGTHS)


def build(kind, name, attention="eager"):
    "A small model with random weights, and its task."
    config = (CAUSAL | ENCODERS | REFUSED)[name]()
    if kind == "tags": config.num_labels = TAGS
    auto = AutoModelForCausalLM if kind == "words" else AutoModelForTokenClassification
    with quiet(), torch_seed("model", name):
        model = auto.from_config(config, attn_implementation=attention).eval()
    return (NextWord if kind == "words" else Tags)(), model, model.config.pad_token_id or 0


def padded(task, pad_id, lengths=LENGTHS, **options):
    return task.collate(task.encode_all(table(lengths), pad_id), pad_id, **options)


def gradient(task, model, pieces):
    model.zero_grad()
    effective_gradient(task, model, pieces)
    return gradient_of(model)


def off(a, b): return ((a - b).norm() / a.norm()).item()


# --- equal ---

@pytest.mark.parametrize("kind,name,attention", CASES)
def test_packed_equals_padded(kind, name, attention):
    task, model, pad_id = build(kind, name, attention)
    batch = padded(task, pad_id)
    layout = layout_of(model, batch)
    check_packing(task, model, batch, layout)
    assert layout.causal == (name in CAUSAL)
    with torch.no_grad():
        right = model(**batch.inputs).logits
    whole = gradient(task, model, [batch])
    assert whole.norm() > 1e-2 and right.std() > 1e-2
    for capacity in (
        None, 2 * LONGEST, ALL,
    ):  # 3 rows, 2 rows, a single one: wider than the model's table of positions
        source = row_plan(batch.inputs["attention_mask"], capacity)
        packed = pack(batch, capacity, layout)
        assert packed.inputs["input_ids"].shape == source.shape and len(source) < len(batch)
        with torch.no_grad():
            found = model(**packed.inputs).logits
        real = source >= 0
        assert (found[real] - right.flatten(0, 1)[source[real]]).abs().max() <= 1e-5
        assert task.weigh(packed) == task.weigh(batch) and len(packed) == len(batch)
        assert off(whole, gradient(task, model, [packed])) <= 1e-6
    assert len(source) == 1 and source.shape[1] == ALL > LONGEST


@pytest.mark.parametrize("kind,name,attention", CASES)
def test_no_word_to_the_neighbour(kind, name, attention):
    task, model, pad_id = build(kind, name, attention)
    batch = padded(task, pad_id)
    packed = pack(batch, 2 * LONGEST, layout_of(model, batch))
    ids = packed.inputs["input_ids"]
    owner = row_plan(batch.inputs["attention_mask"], 2 * LONGEST).div(
        batch.inputs["input_ids"].shape[1], rounding_mode="floor"
    )
    assert (owner < 0).any() and (owner[0].unique().numel() > 2)
    with torch.no_grad():
        before = model(**packed.inputs).logits
    for example in range(-1, len(batch)):  # -1: the pads
        mine = owner == example
        with torch.no_grad():
            after = model(
                **packed.inputs
                | {"input_ids": torch.where(mine, (ids + 11) % (WORDS - 3) + 3, ids)}
            ).logits
        moved = (after - before).abs().amax(-1)
        assert moved[~mine].max() == 0, f"example {example} is heard elsewhere"
        assert moved[mine].min() > 1e-4  # and the change was a change


@pytest.mark.parametrize(
    "kind,name",
    [
        ("words", "gpt2"), ("words", "llama"), ("tags", "bert"), ("tags", "roberta"),
        ("tags", "modernbert"),
    ],
)
def test_the_cut_does_not_matter(kind, name):
    "Cut into micro-batches of 1 to 8, each packed by itself: one gradient."
    task, model, pad_id = build(kind, name, "sdpa")
    examples = Examples(task, table(LENGTHS), pad_id)
    into_rows = packer(task, model, examples)
    whole = gradient(task, model, [examples.batch(range(8))])
    for size in (1, 2, 3, 8):
        assert (
            off(
                whole,
                gradient(task, model, [into_rows(examples.batch(i)) for i in cut(range(8), size)]),
            )
            <= 1e-6
        )


@pytest.mark.parametrize("kind,name", [("words", "gpt2"), ("tags", "roberta")])
def test_a_packed_run_ends_where_the_padded_run_ends(kind, name):
    ends = []
    for packs in (False, True):
        task, model, pad_id = build(kind, name, "sdpa")
        examples = Examples(task, table([3, 9, 14, 5, 2, 8, 11, 4] * 4), pad_id, seed=1)
        into_rows = packer(task, model, examples) if packs else lambda b: b
        optimizer = torch.optim.SGD(model.parameters(), lr=.1)
        for epoch in range(3):
            for indices in examples.batches(8, epoch):
                train_mode(model)
                optimizer.zero_grad()
                effective_gradient(
                    task,
                    model,
                    [into_rows(examples.batch(i, epoch)) for i in cut(indices, 5)],
                    key=(0, epoch),
                )
                optimizer.step()
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    start = torch.cat([p.detach().flatten() for p in build(kind, name, "sdpa")[1].parameters()])
    assert off(ends[0], start) > .02 and off(*ends) <= 1e-6


def test_the_recipe_packs():
    """FineTuner with packing=True:

    in one batch an epoch the order does not matter, and every update has the padded run's loss and
    gradient.
    """
    from sft_nb.training.recipe import Recipe
    from sft_nb.training.tuner import FineTuner

    @dataclass
    class Learner(NextWord):
        metric = ("loss", "min")
        def check(self, rows, labelled=True): return []
        def build(self, checkpoint, fresh=False, seed=0): return build("words", "gpt2")[1:]

    rows = table(LENGTHS * 4)
    recipe = Recipe(
        epochs=8, batch_size=32, micro_batch_size=10, learning_rate=3e-3, precision="fp32",
        keep_best=False,
    )
    padded, packed = (
        FineTuner(Learner(), "toy", recipe.but(packing=packs)).fit(rows) for packs in (False, True)
    )
    losses, norms = (
        [[s[key] for s in t.history.steps] for t in (padded, packed)]
        for key in ("loss", "grad_norm")
    )
    assert losses[0][-1] < losses[0][0] - .1
    np.testing.assert_allclose(*losses, rtol=1e-5)
    np.testing.assert_allclose(*norms, rtol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "bert", "roberta"])
def test_pads_on_the_left(name):
    """Packing does not care where the pads were; a model with a table of positions is told them
    by its task.
    """
    kind = "words" if name == "gpt2" else "tags"
    task, model, pad_id = build(kind, name, "sdpa")
    right, left = padded(task, pad_id), padded(task, pad_id, side="left")
    layout = layout_of(model, right)
    a, b = pack(right, None, layout), pack(left, None, layout)
    for x, y in ((a.inputs, b.inputs), (a.targets, b.targets)):
        assert x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


def test_two_segments_and_own_positions_move_along():
    task, model, pad_id = build("tags", "bert", "sdpa")
    batch = padded(task, pad_id)
    segments = (torch.arange(LONGEST) % 3 == 1).long().expand(len(batch), -1).contiguous()
    batch.inputs |= {
        "token_type_ids": segments,
        "position_ids": torch.arange(LONGEST).flip(0).expand(len(batch), -1).contiguous(),
    }
    layout = layout_of(model, batch)
    check_packing(task, model, batch, layout)
    without = Batch(
        {k: v for k, v in batch.inputs.items() if k != "token_type_ids"}, batch.targets, batch.index
    )
    assert (
        off(gradient(task, model, [batch]), gradient(task, model, [pack(batch, None, layout)]))
        <= 1e-6
        < 1e-3
        < off(gradient(task, model, [batch]), gradient(task, model, [without]))
    )


@pytest.mark.parametrize("name", ["gpt2", "bert", "modernbert"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_sixteen_bits(name, attention):
    "Under autocast and with 16-bit weights packed rows stay apart and finite."
    task, model, pad_id = build("tags", name, attention)
    batch = padded(task, pad_id)
    with torch.no_grad():
        exact = model(**batch.inputs).logits
    source = row_plan(batch.inputs["attention_mask"])
    for weights in (torch.float32, torch.bfloat16):
        model.to(weights)
        layout = layout_of(model, batch)
        assert layout.dtype == weights
        check_packing(task, model, batch, layout)
        with (
            torch.no_grad(),
            torch.autocast("cpu", torch.bfloat16, enabled=weights == torch.float32),
        ):
            found = model(**pack(batch, None, layout).inputs).logits
        assert (
            found[source >= 0] - exact.flatten(0, 1)[source[source >= 0]]
        ).abs().max() < 0.05 * exact.abs().max()


# --- refused ---

def says(task, model, batch, layout):
    try:
        check_packing(task, model, batch, layout)
    except TrainingError as e:
        return str(e)
    return ""


@pytest.mark.parametrize("name", REFUSED)
def test_architectures_that_cannot(name):
    task, model, pad_id = build("words" if name == "bloom" else "tags", name)
    with pytest.raises(TrainingError, match="packing=False"):
        packer(task, model, Examples(task, table(LENGTHS), pad_id))


@pytest.mark.parametrize(
    "kind,name", [("words", n) for n in CAUSAL] + [("tags", n) for n in ENCODERS]
)
def test_a_wrong_layout_is_noticed(kind, name):
    task, model, pad_id = build(kind, name, "eager")
    batch = padded(task, pad_id)
    good = layout_of(model, batch)
    wrong = {"causal": Layout(not good.causal, good.windows, good.first_position, good.pad_id)}
    if any(good.windows.values()):
        wrong["windows"] = Layout(
            good.causal, {"full_attention": None}, good.first_position, good.pad_id
        )
    if name in ("gpt2", "bert", "roberta", "distilbert", "electra", "albert", "mpnet"):
        wrong["positions"] = Layout(good.causal, good.windows, None, good.pad_id)
    if name in ("roberta", "mpnet"):
        wrong["start"] = Layout(good.causal, good.windows, 0, good.pad_id)
    assert wrong
    for what, layout in wrong.items():
        word = "packing=False" if what == "positions" else "apart"  # positions may also run out
        assert word in says(task, model, batch, layout), what


class Deaf(nn.Module):
    "Drops one of the things that it is told."
    def __init__(self, model, drops):
        super().__init__()
        self.model, self.drops, self.config = model, drops, model.config

    def forward(self, input_ids, attention_mask=None, position_ids=None, **more):
        told = {"attention_mask": attention_mask, "position_ids": position_ids}
        if (
            self.drops == "attention_mask"
            and attention_mask is not None
            and attention_mask.ndim == 4
        ):
            told["attention_mask"] = None
        if self.drops == "position_ids": told["position_ids"] = None
        return self.model(input_ids=input_ids, **told, **more)


@pytest.mark.parametrize("drops", ["attention_mask", "position_ids"])
@pytest.mark.parametrize("spread", [.02, .1])
def test_a_model_that_ignores_what_it_is_told(drops, spread):
    """Caught by the guard alone, also on untrained weights (where attention is nearly even) and
    on long rows.
    """
    for lengths in (LENGTHS, [LONGEST] * 8, [LONGEST - 1, LONGEST]):
        task = Tags()
        config = BertConfig(
            **SIZES | {"initializer_range": spread, "max_position_embeddings": 4 * LONGEST},
            **STILL,
            num_labels=TAGS,
        )
        with torch_seed("deaf"):
            model = AutoModelForTokenClassification.from_config(config).eval()
        packer(task, Deaf(model, None), Examples(task, table(lengths), 0))
        with pytest.raises(TrainingError, match="does not keep packed examples apart"):
            packer(task, Deaf(model, drops), Examples(task, table(lengths), 0))


def test_mixing_outside_attention_is_noticed():
    class Convolution(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.mix = nn.Embedding(WORDS, TAGS), nn.Conv1d(TAGS, TAGS, 3, padding=1)

        def forward(self, input_ids, attention_mask):
            return TokenClassifierOutput(
                logits=self.mix(self.embed(input_ids).transpose(1, 2)).transpose(1, 2)
            )
    task = Tags()
    with torch_seed("convolution"), pytest.raises(TrainingError, match="Convolution does not keep"):
        packer(task, Convolution(), Examples(task, table(LENGTHS), 0))


def test_targets_that_cross_the_border_are_noticed():
    @dataclass
    class LateShift(NextWord):
        def encode(self, row, processor, rng=None):
            return {"input_ids": row["ids"], "labels": row["ids"]}
        def weigh(self, batch):
            return {"loss": cross_entropy_weight(batch.targets["labels"][:, 1:])}
        def loss(self, outputs, batch):
            return {"loss": cross_entropy(outputs.logits[:, :-1], batch.targets["labels"][:, 1:])}

    @dataclass
    class CountsRows(NextWord):
        def weigh(self, batch): return {"loss": float(len(batch.inputs["input_ids"]))}

    _, model, pad_id = build("words", "gpt2")
    for task, message in (
        (LateShift(), "LateShift: the loss of 'loss' is "),
        (CountsRows(), "CountsRows: the weight of 'loss' is 8 padded and 2 packed"),
    ):
        batch = padded(task, pad_id)
        assert says(task, model, batch, layout_of(model, batch)).startswith(message)


def test_one_answer_per_row_is_refused():
    from sft_nb.all import TextClassification
    with pytest.raises(
        TrainingError,
        match="text-classification gives one answer per row.*packing=False.*similar length",
    ):
        packer(TextClassification(), None, None)
    task, model, pad_id = build("tags", "bert")
    batch = padded(task, pad_id)
    with pytest.raises(TrainingError, match="'label' cannot be packed"):
        pack(Batch(batch.inputs, {"label": torch.arange(8)}, batch.index))
    with pytest.raises(TrainingError, match="attention_mask"):
        pack(Batch({"input_ids": batch.inputs["input_ids"]}, {}, batch.index))


def test_a_row_too_small_is_said_before_training():
    task, model, pad_id = build("tags", "bert")
    with pytest.raises(TrainingError, match="longest example has 24 tokens, a packed row holds 20"):
        packer(task, model, Examples(task, table(LENGTHS), pad_id), capacity=20)


def test_asking_leaves_no_trace():
    """Modes, gradients, random numbers and precision are as before:

    a run with the guard is the run without it.
    """
    task, model, pad_id = build("tags", "bert", "sdpa")
    model.train()
    model.bert.encoder.layer[0].eval()
    torch.set_float32_matmul_precision("high")
    try:
        modes, dice = [m.training for m in model.modules()], torch.get_rng_state()
        packer(task, model, Examples(task, table(LENGTHS), pad_id))
        assert [m.training for m in model.modules()] == modes
        assert torch.equal(torch.get_rng_state(), dice)
        assert all(p.grad is None for p in model.parameters())
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


# --- the parts ---

def test_what_models_answer():
    batch = padded(Tags(), 0)
    def ask(kind, name): return layout_of(build(kind, name)[1], batch)
    assert ask("words", "qwen2-windows").windows == {"full_attention": None, "sliding_attention": 4}
    assert ask("words", "mistral-windows").windows == {"sliding_attention": 4}
    assert ask("tags", "roberta") == Layout(False, {"full_attention": None}, 2, 1)
    assert first_position(build("tags", "mpnet")[1]) == 2
    assert first_position(nn.Linear(2, 2)) is None
    assert attention_windows(nn.Linear(2, 2)) == {"full_attention": None}
    assert looks_back_only(build("words", "opt")[1], batch)
    assert not looks_back_only(build("tags", "distilbert")[1], batch)


@given(st.lists(st.integers(0, 49), min_size=1, max_size=39), st.integers(1, 49))
def test_few_rows_for_any_lengths(lengths, spare):
    lengths, capacity = np.array(lengths), max(lengths) + spare
    rows = first_fit(lengths, capacity)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert all(lengths[row].sum() <= capacity for row in rows)
    assert len(rows) <= 2 * lengths.sum() / capacity + 1


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.none() | st.integers(0, 99))
def test_the_plan_loses_and_doubles_nothing(lengths, spare):
    longest = max(lengths)
    capacity = None if spare is None else longest + spare
    mask = pad([[1] * n for n in lengths], 0)
    x = torch.arange(mask.numel() * 3).reshape(*mask.shape, 3)
    source = row_plan(mask, capacity)
    used = source >= 0
    assert sorted(source[used].tolist()) == mask.flatten().nonzero().flatten().tolist()
    assert source.shape[1] <= (capacity or longest)
    moved = take_cells(x, source, -1)
    assert torch.equal(moved[used], x.flatten(0, 1)[source[used]])
    assert (moved[~used] == -1).all()


def test_picture():
    fig = plot_packing(LENGTHS, 30)
    assert [ax.get_title() for ax in fig.axes] == [
        "padded: 8 rows of 24, 69% pads",
        "packed: 2 rows of 30, 0% pads",
    ]
    assert len(plot_packing([]).axes) == 2


@pytest.mark.slow
def test_minilm():
    "A pretrained model and real sentences."
    from sft_nb.data.asset_tables import load_data
    from sft_nb.models.layers import set_dropout
    from sft_nb.models.loading import load
    model, tokenizer = load("minilm", "token-classification", num_labels=TAGS)
    set_dropout(model, 0.)
    ids = [tokenizer(t)["input_ids"] for t in load_data("rotten-tomatoes").text[:48]]
    rows = pd.DataFrame({"ids": ids, "tags": [[i % TAGS for i in s] for s in ids]})
    task = Tags()
    examples = Examples(task, rows, tokenizer.pad_token_id)
    into_rows, batch = packer(task, model, examples), examples.batch(np.arange(48))
    packed, source = into_rows(batch), row_plan(batch.inputs["attention_mask"])
    with torch.no_grad():
        right, found = model(**batch.inputs).logits, model(**packed.inputs).logits
    assert len(source) < 40
    assert (found[source >= 0] - right.flatten(0, 1)[source[source >= 0]]).abs().max() <= 1e-5
    assert off(gradient(task, model, [batch]), gradient(task, model, [packed])) <= 1e-6
