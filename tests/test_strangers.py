"""Folders from strangers:

a wrong field of config.json or of the tokenizer is a sentence, and nothing in a folder chooses
code.
"""
import json
import os
import shutil

import pytest
import torch
from conftest import same_weights
from tiny_models import CHINESE, SENTENCES
from safetensors.torch import load_file, save_file

from sft_nb.all import FineTuner, Recipe, SFTError, TextClassification
from sft_nb.models.loading import config_of, load, not_finite
from sft_nb.models.tokenizers import check_unknown
from sft_nb.task import CheckpointError

ONCE = Recipe(epochs=1, batch_size=8, precision="fp32")


@pytest.fixture
def folder(tiny, tmp_path): return shutil.copytree(tiny("bert"), tmp_path/"model")


def edit(path, **changes): path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def used(folder, reviews):
    "Load and train once; the sentence of what went wrong, or None."
    try:
        FineTuner(TextClassification(), folder, ONCE).fit(reviews)
    except SFTError as e:
        return str(e)


# --- config.json: wrong types and values. None of these can be trained as it stands ---

WRONG = {
    "hidden_size": ["64", 0, -1, 1.5, None, [], {}, True, 63, 10**12],
    "num_hidden_layers": ["3", 0, -1, 2.5, None, [3], 10_000_000, 10**30],
    "num_attention_heads": ["4", 0, -4, 3, None, {}],
    "vocab_size": ["100", 0, -1, 7, None, 10**11],
    "intermediate_size": ["128", 0, -1, 5, None],
    "max_position_embeddings": ["64", 0, -2, None],
    "type_vocab_size": [0, "2", None, -1],
    "hidden_act": ["nonsense", 3, None, ["gelu"]],
    "pad_token_id": [99999, -99999, "x", 1.5],
    "layer_norm_eps": ["x", None],
    "hidden_dropout_prob": ["x", 7, -1],
    "model_type": ["bertt", 3, None, ["bert"], ""],
    "id2label": [[], "x", {"a": "b"}, 3],
    "label2id": ["x"],
}
FINE = {("num_attention_heads", -4), ("id2label", "[]")}


@pytest.mark.parametrize("field", WRONG)
def test_a_wrong_field(field, folder, reviews):
    """Every value is refused in one sentence, or the model trains all the same:

    nothing else is raised.
    """
    good = (folder/"config.json").read_text()
    for value in WRONG[field]:
        (folder / "config.json").write_text(good)
        edit(folder / "config.json", **{field: value})
        said = used(folder, reviews)
        assert said is None or len(said) < 2100 and "Traceback" not in said, (value, said)


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("hidden_size", "64", "hidden_size"),
        ("num_hidden_layers", 10_000_000, "more than 1,000"),
        ("num_hidden_layers", 0, "at least one layer"),
        ("num_hidden_layers", -1, "at least one layer"),
        ("num_attention_heads", 0, "cannot be read"),
        ("hidden_act", "nonsense", "'nonsense' is not known"),
        ("pad_token_id", 99999, "cannot be read"),
        ("model_type", "bertt", "bertt"),
        ("model_type", 3, "no model_type"),
        ("model_type", "vit", "none of that kind for sequence-classification"),
        ("hidden_size", 10**9, "GB"),
    ],
)
def test_what_it_says(field, value, words, folder):
    edit(folder/"config.json", **{field: value})
    with pytest.raises(CheckpointError) as e:
        load(folder, "sequence-classification", fresh=field == "hidden_size")
    assert words in str(e.value) and str(folder) in str(e.value), str(e.value)


# --- fields that choose code ---

@pytest.mark.parametrize(
    "field, value",
    [
        ("attn_implementation", "evil/kernel"),
        ("_attn_implementation", "evil/kernel"),
        ("_attn_implementation_internal", "evil/kernel"),
        ("attn_implementation", {"": "evil/kernel"}),
        ("experts_implementation", "evil/kernel"),
        ("auto_map", {"AutoConfig": "lure.C", "AutoModel": "lure.M"}),
        ("auto_map", "lure"),
        ("quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True}),
        ("quantization_config", 3),
        ("dtype", "nonsense"),
        ("torch_dtype", "float16"),
        ("dtype", 3),
    ],
)
def test_code_is_not_chosen(field, value, folder, tiny):
    "The field is left out, and the model is the one without it."
    edit(folder/"config.json", **{field: value})
    config = config_of(folder)
    assert config._attn_implementation in (None, "sdpa", "eager")
    assert getattr(config, "quantization_config", None) is None
    model, _ = load(folder, "sequence-classification")
    plain, _ = load(tiny("bert"), "sequence-classification")
    assert same_weights(model, plain)
    assert model.config._attn_implementation == plain.config._attn_implementation


# --- weights that do not fit the description ---

@pytest.mark.parametrize(
    "checkpoint, field",
    [
        ("bert", "num_hidden_layers"), ("roberta", "num_hidden_layers"),
        ("distilbert", "n_layers"), ("gpt2", "n_layer"), ("modernbert", "num_hidden_layers"),
    ],
)
def test_more_layers_in_the_file_than_in_the_description(checkpoint, field, tiny, tmp_path):
    folder = shutil.copytree(tiny(checkpoint), tmp_path/"model")
    config = json.loads((folder/"config.json").read_text())
    shorter = {"layer_types": config["layer_types"][:-1]} if "layer_types" in config else {}
    edit(folder/"config.json", **{field: config[field] - 1}, **shorter)
    with pytest.raises(CheckpointError, match="config.json has no layer"):
        load(folder, "sequence-classification")


@pytest.mark.parametrize(
    "checkpoint",
    ["bert", "roberta", "distilbert", "gpt2", "deberta-v2", "modernbert", "chinese-bert"],
)
def test_left_over_heads_are_no_layers(checkpoint, tiny):
    "Honest checkpoints hold what their pretraining needed."
    load(tiny(checkpoint), "body")
    load(tiny(checkpoint), "sequence-classification")
    load(tiny(checkpoint), "token-classification")


def test_weights_that_are_no_numbers_are_found(tiny):
    model, _ = load(tiny("bert"), "sequence-classification")
    assert not_finite(model) == []
    model.classifier.bias.data[0] = torch.inf
    model.bert.pooler.dense.weight.data[1, 2] = torch.nan
    assert not_finite(model) == ["bert.pooler.dense.weight", "classifier.bias"]


# --- tokenizers ---

def grown(folder, times):
    raw = json.loads((folder/"tokenizer.json").read_text())
    replacement = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}
    raw["normalizer"] = {"type": "Sequence", "normalizers": [replacement] * times}
    (folder/"tokenizer.json").write_text(json.dumps(raw))


TOKENIZERS = {
    "grows": (lambda f: grown(f, 8), "times longer"),
    "nested deeply": (lambda f: (f / "tokenizer.json").write_text("[" * 100_000), "nested"),
    "a list": (lambda f: (f / "tokenizer.json").write_text("[]"), "dictionary"),
    "no JSON": (lambda f: (f / "tokenizer.json").write_text("{oops"), "no JSON"),
    "a length that is text": (
        lambda f: edit(f / "tokenizer_config.json", model_max_length="x"),
        "model_max_length",
    ),
    "a length below zero": (
        lambda f: edit(f / "tokenizer_config.json", model_max_length=-5),
        "model_max_length",
    ),
    "no length at all": (
        lambda f: edit(f / "tokenizer_config.json", model_max_length=0),
        "model_max_length",
    ),
}


@pytest.mark.parametrize("mistake", TOKENIZERS)
def test_tokenizers(mistake, folder, reviews):
    change, words = TOKENIZERS[mistake]
    change(folder)
    assert words in used(folder, reviews)


def test_a_token_beyond_the_model(folder, reviews):
    "As many tokens as before, but one of them has a high number."
    raw = json.loads((folder/"tokenizer.json").read_text())
    vocabulary = raw["model"]["vocab"]
    vocabulary[max(vocabulary, key=vocabulary.get)] = 5000
    (folder/"tokenizer.json").write_text(json.dumps(raw))
    assert "numbers its tokens up to 5,000" in used(folder, reviews)


@pytest.mark.parametrize("said", [10**30, 512, 65])
def test_no_text_is_longer_than_the_positions(said, folder, reviews):
    "A tokenizer that allows more than the model has would end in an IndexError."
    edit(folder/"tokenizer_config.json", model_max_length=said)
    assert load(folder)[1].model_max_length == 64
    assert used(folder, reviews.assign(text=[" ".join(SENTENCES * 3)] * 8)) is None


def test_a_shorter_limit_stays(folder):
    edit(folder/"tokenizer_config.json", model_max_length=32)
    assert load(folder)[1].model_max_length == 32


# --- files that are none ---

FILES = {
    "config.json nested deeply": (
        lambda f: (f / "config.json").write_text('{"a":' + "[" * 100_000),
        "nested too deeply",
    ),
    "config.json is a list": (lambda f: (f / "config.json").write_text("[1]"), "dictionary"),
    "config.json in another encoding": (
        lambda f: (f / "config.json").write_bytes('{"model_type": "bért"}'.encode("latin-1")),
        "UTF-8",
    ),
    "config.json is a folder": (
        lambda f: ((f / "config.json").unlink(), (f / "config.json").mkdir()),
        "folder",
    ),
    "a link in a circle": (
        lambda f: (
            (f / "model.safetensors").unlink(),
            (f / "model.safetensors").symlink_to("model.safetensors"),
        ),
        "a link that leads nowhere",
    ),
}


@pytest.mark.parametrize("mistake", FILES)
def test_files(mistake, folder, reviews):
    change, words = FILES[mistake]
    change(folder)
    assert words in used(folder, reviews)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
)
def test_pipes(name, folder, reviews):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert "device or a pipe" in used(folder, reviews)


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0,
    reason="whoever may read everything has no such trouble",
)
def test_no_permission(folder, reviews):
    (folder/"model.safetensors").chmod(0)
    assert "permission" in used(folder, reviews)


def test_no_permission_is_asked_for(folder, reviews, monkeypatch):
    "The same for those who may read everything: the system is asked, and its answer counts."
    may = os.access
    monkeypatch.setattr(
        "os.access",
        lambda path, mode, **more: (
            not str(path).endswith("model.safetensors") and may(path, mode, **more)
        ),
    )
    assert "permission to read model.safetensors" in used(folder, reviews)


def test_weights_in_another_unit_are_taken(folder):
    "Half precision in the file is no mistake."
    save_file(
        {k: v.half() for k, v in load_file(folder / "model.safetensors").items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    assert {p.dtype for p in load(folder)[0].parameters()} == {torch.float32}


# --- a tokenizer for another language ---

ENGLISH_CHINESE = CHINESE[:4] * 2


@pytest.mark.parametrize(
    "checkpoint, texts, told",
    [
        ("bert", ENGLISH_CHINESE, True), ("bert", SENTENCES, False),
        ("chinese-bert", ENGLISH_CHINESE, False), ("gpt2", ENGLISH_CHINESE, False),
        ("roberta", ENGLISH_CHINESE, False),
    ],
)
def test_a_language_that_the_tokenizer_does_not_know(checkpoint, texts, told, tiny, reviews, said):
    "A warning with the share and what to write instead; byte-level tokenizers know everything."
    FineTuner(TextClassification(), tiny(checkpoint), ONCE).fit(reviews.assign(text=texts))
    words = said()
    assert ("The tokenizer does not know" in words) is told
    assert ("bert-base-chinese" in words) is told


def test_words_that_the_tokenizer_does_not_know(tiny):
    tokenizer = load(tiny("bert"))[1]
    found, = check_unknown([list(t) for t in ENGLISH_CHINESE], tokenizer)
    assert found.level == "warning" and "100%" in found.message
    assert check_unknown([s.split() for s in SENTENCES], tokenizer) == []
    assert check_unknown([], tokenizer) == []
    assert check_unknown([3, None], tokenizer) == []
