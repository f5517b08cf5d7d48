"""Options and small models shared by the tests."""
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import functools
import json
import re
import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--slow", action="store_true", help="also run what takes minutes or the network"
    )
    parser.addoption("--gpu", action="store_true", help="also run what needs a CUDA device")


def pytest_collection_modifyitems(config, items):
    for mark in ("slow", "gpu"):
        if not config.getoption(f"--{mark}"):
            skip = pytest.mark.skip(reason=f"needs --{mark}")
            for item in items:
                if mark in item.keywords:
                    item.add_marker(skip)


@pytest.fixture
def said(capsys, caplog):
    "All that was printed or logged since the last question: said()."
    def ask():
        text = "".join(capsys.readouterr()) + caplog.text
        caplog.clear()
        return text
    return ask


@pytest.fixture
def sft(capsys):
    """The command inside this process:

    sft('predict', …) -> (standard output, standard error); code: the exit code expected.
    """
    from sft_nb.commands.cli import main

    def type_(*argv, code=0):
        capsys.readouterr()
        with pytest.raises(SystemExit) as e:
            main([str(a) for a in argv])
        out, err = capsys.readouterr()
        assert (e.value.code or 0) == code, (e.value.code, out, err)
        return out, err
    return type_


# --- small checkpoints, as their authors would publish them: random weights, a real tokenizer, the
# model class of pretraining ---

SENTENCES = [
    "a warm and funny film that earns every laugh",
    "the plot is dull and the jokes are older than the hills",
    "what a joy from the first scene to the last",
    "two hours of noise and not one idea",
    "the cast is wonderful and the music stays with you",
    "a lazy sequel that nobody asked for",
    "tender clever and beautifully shot",
    "i wanted my money and my evening back",
]
LONG = (
    "a story that takes its time and then some more of it until the last light in the house is out"
)
CHINESE = [
    "这部电影很温暖也很好笑", "情节无聊笑话老套", "从头到尾都是享受", "两个小时的噪音没有一点想法", "演员出色音乐难忘", "没有人需要的续集", "温柔聪明拍得很美",
    "浪费了我的时间和钱",
]
SIZES = dict(hidden=64, layers=3, heads=4, inner=128, positions=64, drop=.1)


def alike(some, others):
    """Are two lists of answers the same?

    Scores to 1e-6, numbers to 1e-5: weights at another place in memory may change a last bit.
    """
    def same(a, b):
        if isinstance(a, float): return a == pytest.approx(b, rel=1e-5, abs=1e-5)
        if isinstance(a, dict): return set(a) == set(b) and all(same(v, b[k]) for k, v in a.items())
        if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(same, a, b))
        return a == b
    return len(some) == len(others) and all(
        same(a.value, b.value) and a.probs == pytest.approx(b.probs, abs=1e-6)
        for a, b in zip(some, others)
    )


def halves(texts):
    """The first three letters of every word, the rest of it, and single letters:

    pieces that are the same in every process, which a trained vocabulary is not.
    """
    words = sorted({w for t in texts for w in re.findall(r"\w+|[^\w\s]", t.lower())})
    return (
        list(dict.fromkeys(w[:3] for w in words)),
        list(dict.fromkeys(w[3:] for w in words if len(w) > 3)),
        sorted(set("".join(words))),
    )


def wordpiece(texts=(*SENTENCES, LONG), characters=False):
    """A BERT tokenizer for a few sentences, with whole, halved and spelled words; or of their
    characters.
    """
    from transformers import BertTokenizer
    special, (begin, end, letters) = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], halves(texts)
    pieces = letters if characters else [*begin, *letters, *("##" + p for p in [*end, *letters])]
    return BertTokenizer(
        vocab={p: i for i, p in enumerate(dict.fromkeys(special + pieces))},
        model_max_length=SIZES["positions"],
    )


def byte_level(special, texts=SENTENCES):
    "Byte-level BPE trained on a few sentences."
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer, trained.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return trained


def _parts(trained):
    model = json.loads(trained.to_str())["model"]
    return {"vocab": model["vocab"], "merges": [tuple(m) for m in model["merges"]]}


def _bert(tok):
    from transformers import BertConfig, BertForMaskedLM
    s = SIZES
    return BertForMaskedLM(
        BertConfig(
            vocab_size=len(tok), hidden_size=s["hidden"], num_hidden_layers=s["layers"],
            num_attention_heads=s["heads"], intermediate_size=s["inner"],
            max_position_embeddings=s["positions"], hidden_dropout_prob=s["drop"],
            attention_probs_dropout_prob=s["drop"],
        )
    )


def _bert_pair():
    tok = wordpiece()
    return _bert(tok), tok
def _chinese_pair():
    tok = wordpiece(CHINESE, characters=True)
    return _bert(tok), tok


def _roberta_pair():
    from transformers import RobertaConfig, RobertaForMaskedLM, RobertaTokenizer
    s = SIZES
    tok = RobertaTokenizer(
        **_parts(byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])),
        model_max_length=SIZES["positions"],
    )
    return RobertaForMaskedLM(
        RobertaConfig(
            vocab_size=len(tok), hidden_size=s["hidden"], num_hidden_layers=s["layers"],
            num_attention_heads=s["heads"], intermediate_size=s["inner"],
            max_position_embeddings=s["positions"] + 2, type_vocab_size=1, pad_token_id=1,
            bos_token_id=0, eos_token_id=2, hidden_dropout_prob=s["drop"],
            attention_probs_dropout_prob=s["drop"],
        )
    ), tok


def _distilbert_pair():
    from transformers import DistilBertConfig, DistilBertForMaskedLM, DistilBertTokenizer
    s, base = SIZES, wordpiece()
    tok = DistilBertTokenizer(vocab=base.get_vocab(), model_max_length=s["positions"])
    return DistilBertForMaskedLM(
        DistilBertConfig(
            vocab_size=len(tok), dim=s["hidden"], n_layers=s["layers"], n_heads=s["heads"],
            hidden_dim=s["inner"], max_position_embeddings=s["positions"], dropout=s["drop"],
            attention_dropout=s["drop"],
        )
    ), tok


def _modernbert_pair():
    from tokenizers.processors import TemplateProcessing
    from transformers import ModernBertConfig, ModernBertForMaskedLM, PreTrainedTokenizerFast
    s, special = SIZES, ["[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"]
    trained = byte_level(special)
    trained.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 0), ("[SEP]", 1)],
    )
    tok = PreTrainedTokenizerFast(
        tokenizer_object=trained, model_max_length=s["positions"], cls_token="[CLS]",
        sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
    )
    return ModernBertForMaskedLM(
        ModernBertConfig(
            vocab_size=len(tok), hidden_size=s["hidden"], num_hidden_layers=s["layers"],
            num_attention_heads=s["heads"], intermediate_size=s["inner"],
            max_position_embeddings=s["positions"], local_attention=16, cls_token_id=0,
            bos_token_id=0, sep_token_id=1, eos_token_id=1, pad_token_id=2,
            embedding_dropout=s["drop"], attention_dropout=s["drop"], mlp_dropout=s["drop"],
            classifier_dropout=s["drop"],
        )
    ), tok


def _deberta_pair():
    from transformers import DebertaV2Config, DebertaV2ForMaskedLM, DebertaV2Tokenizer
    s, (begin, end, letters) = SIZES, halves([*SENTENCES, LONG])
    words = [*("\u2581" + p for p in begin), *end, "\u2581", *letters]
    pieces = (
        [(p, 0.0) for p in ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]]
        + [(p, -9.0) for p in dict.fromkeys(words)]
        + [("[MASK]", 0.0)]
    )
    tok = DebertaV2Tokenizer(vocab=pieces, model_max_length=s["positions"])
    return DebertaV2ForMaskedLM(
        DebertaV2Config(
            vocab_size=len(tok), hidden_size=s["hidden"], num_hidden_layers=s["layers"],
            num_attention_heads=s["heads"], intermediate_size=s["inner"],
            pooler_hidden_size=s["hidden"], max_position_embeddings=s["positions"],
            relative_attention=True, position_buckets=16, norm_rel_ebd="layer_norm",
            share_att_key=True, pos_att_type=["p2c", "c2p"], position_biased_input=False,
            type_vocab_size=0, max_relative_positions=-1, hidden_dropout_prob=s["drop"],
            attention_probs_dropout_prob=s["drop"],
        )
    ), tok


def _gpt2_pair():
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer
    s = SIZES
    tok = GPT2Tokenizer(
        **_parts(byte_level(["<|endoftext|>"])), model_max_length=SIZES["positions"]
    )
    assert tok.pad_token is None
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tok), n_embd=s["hidden"], n_layer=s["layers"], n_head=s["heads"],
            n_inner=s["inner"], n_positions=s["positions"], bos_token_id=0, eos_token_id=0,
            embd_pdrop=s["drop"], attn_pdrop=s["drop"], resid_pdrop=s["drop"],
        )
    ), tok


CHATML = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor "
          "%}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


def _chat_tokenizer(**special):
    "Byte-level BPE with the marks of a conversation; like SmolLM2's, it pads with its stop token."
    from transformers import PreTrainedTokenizerFast
    trained = byte_level(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        [*SENTENCES, *["user assistant system Translate to Chinese:"] * 8, *CHINESE],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=trained, eos_token="<|im_end|>", pad_token="<|im_end|>",
        chat_template=CHATML, model_max_length=256, **special,
    )


def _llama_pair():
    from transformers import LlamaConfig, LlamaForCausalLM
    s, tok = SIZES, _chat_tokenizer()
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tok), hidden_size=s["hidden"], num_hidden_layers=s["layers"],
            num_attention_heads=s["heads"], num_key_value_heads=2,
            intermediate_size=s["inner"], max_position_embeddings=256,
            pad_token_id=tok.pad_token_id, bos_token_id=0, eos_token_id=tok.eos_token_id,
            tie_word_embeddings=True,
        )
    ), tok


def _qwen_pair():
    from transformers import Qwen2Config, Qwen2ForCausalLM
    s, tok = SIZES, _chat_tokenizer()
    tok.pad_token = "<|endoftext|>"
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tok), hidden_size=s["hidden"], num_hidden_layers=s["layers"],
            num_attention_heads=s["heads"], num_key_value_heads=2,
            intermediate_size=s["inner"], max_position_embeddings=256,
            pad_token_id=tok.pad_token_id, bos_token_id=0, eos_token_id=tok.eos_token_id,
        )
    ), tok


def _marian_pair():
    "As opus-mt has it: a sentencepiece model for each side, and one vocabulary."
    import tempfile
    from pathlib import Path
    import sentencepiece as spm
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer
    s, d, pieces = SIZES, Path(tempfile.mkdtemp()), []
    for name, texts in (("source", SENTENCES), ("target", CHINESE)):
        with open(d / f"{name}.spm", "wb") as f:
            spm.SentencePieceTrainer.train(
                sentence_iterator=iter(texts), model_writer=f, vocab_size=80,
                model_type="char", hard_vocab_limit=False, character_coverage=1.0,
                minloglevel=2,
            )
        sp = spm.SentencePieceProcessor(model_file=str(d/f"{name}.spm"))
        pieces += [sp.id_to_piece(i) for i in range(sp.get_piece_size())]
    vocab = [
        "</s>",
        "<unk>",
        *dict.fromkeys(p for p in pieces if p not in ("<s>", "</s>", "<unk>")),
        "<pad>",
    ]
    (d/"vocab.json").write_text(json.dumps({p: i for i, p in enumerate(vocab)}))
    tok = MarianTokenizer(
        str(d / "source.spm"), str(d / "target.spm"), str(d / "vocab.json"), model_max_length=128
    )
    return MarianMTModel(
        MarianConfig(
            vocab_size=len(vocab), decoder_vocab_size=len(vocab), d_model=s["hidden"],
            encoder_layers=2, decoder_layers=2, encoder_attention_heads=s["heads"],
            decoder_attention_heads=s["heads"], encoder_ffn_dim=s["inner"],
            decoder_ffn_dim=s["inner"], max_position_embeddings=128,
            pad_token_id=tok.pad_token_id, eos_token_id=0, forced_eos_token_id=0,
            decoder_start_token_id=tok.pad_token_id, dropout=s["drop"], scale_embedding=True,
        )
    ), tok


def _t5_pair():
    from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer
    s, (begin, end, letters) = SIZES, halves([*SENTENCES, LONG])
    words = [
        *("\u2581" + p for p in begin), *end, "\u2581", *letters,
        *sorted(set("".join(CHINESE))),
    ]
    tok = T5Tokenizer(
        vocab=[(p, 0.0) for p in ["<pad>", "</s>", "<unk>"]]
        + [(p, -9.0) for p in dict.fromkeys(words)],
        extra_ids=0,
        model_max_length=s["positions"],
    )
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(tok), d_model=s["hidden"], d_kv=16, d_ff=s["inner"], num_layers=2,
            num_heads=s["heads"], dropout_rate=s["drop"], decoder_start_token_id=0,
        )
    ), tok


def _pictures(processor, **size):
    "A PIL image processor for pictures of 32 pixels."
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
    return {"vit": ViTImageProcessorPil, "convnext": ConvNextImageProcessorPil}[processor](
        size=size or {"height": 32, "width": 32}
    )


def _vit_pair():
    from transformers import ViTConfig, ViTForImageClassification
    s = SIZES
    return ViTForImageClassification(
        ViTConfig(
            hidden_size=s["hidden"], num_hidden_layers=s["layers"],
            num_attention_heads=s["heads"], intermediate_size=s["inner"], image_size=32,
            patch_size=8, num_labels=5, hidden_dropout_prob=s["drop"],
            attention_probs_dropout_prob=s["drop"],
        )
    ), _pictures("vit")


def _resnet_pair():
    from transformers import ResNetConfig, ResNetForImageClassification
    return _with_statistics(
        ResNetForImageClassification(
            ResNetConfig(
                embedding_size=16, hidden_sizes=[16, 32, 64], depths=[1, 1, 1],
                layer_type="basic", num_labels=5,
            )
        )
    ), _pictures("convnext", shortest_edge=32)


def _convnext_pair():
    from transformers import ConvNextConfig, ConvNextForImageClassification
    return ConvNextForImageClassification(
        ConvNextConfig(
            hidden_sizes=[16, 32, 64], depths=[1, 1, 2], num_stages=3, patch_size=2,
            num_labels=5, drop_path_rate=0.0, layer_scale_init_value=0.1,
        )
    ), _pictures("convnext", shortest_edge=32)


def _swin_pair():
    from transformers import SwinConfig, SwinForImageClassification
    return SwinForImageClassification(
        SwinConfig(
            image_size=32, patch_size=2, embed_dim=16, depths=[1, 2], num_heads=[2, 4],
            window_size=4, num_labels=5, hidden_dropout_prob=SIZES["drop"], drop_path_rate=0.0,
        )
    ), _pictures("vit")


def _lite_pair():
    from sft_nb.tasks.images.efficientnet import (
        EfficientNetLiteConfig, EfficientNetLiteForImageClassification,
        EfficientNetLiteImageProcessor,
    )
    stages = ((3, 1, 1, 1, 16), (3, 2, 2, 3, 24), (5, 1, 2, 3, 32))
    model = EfficientNetLiteForImageClassification(
        EfficientNetLiteConfig(stages=stages, stem_channels=16, top_channels=64, num_labels=5)
    )
    return _with_statistics(model), EfficientNetLiteImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )


_BODY = dict(
    embedding_size=16, hidden_sizes=[16, 16, 32, 32], depths=[1, 1, 1, 1], layer_type="basic"
)
_DETR = dict(
    num_labels=5, num_queries=4, encoder_ffn_dim=64, decoder_ffn_dim=64,
    encoder_attention_heads=4, decoder_attention_heads=4, decoder_layers=2,
)


def _conditional_detr_pair():
    import torch
    from transformers import ConditionalDetrConfig, ConditionalDetrForObjectDetection, ResNetConfig
    from transformers.models.conditional_detr.image_processing_pil_conditional_detr import (
        ConditionalDetrImageProcessorPil,
    )
    body = ResNetConfig(**_BODY, out_features=["stage3"])
    model = ConditionalDetrForObjectDetection(
        ConditionalDetrConfig(
            use_timm_backbone=False, backbone_config=body, d_model=64, encoder_layers=1,
            dropout=SIZES["drop"], auxiliary_loss=False, **_DETR,
        )
    )
    torch.nn.init.normal_(
        model.model.query_position_embeddings.weight
    )  # queries that differ, as in a trained one
    return _with_statistics(model, 64), ConditionalDetrImageProcessorPil(
        size={"height": 64, "width": 64}, do_pad=False
    )


def _rt_detr_pair():
    import torch
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil
    body = RTDetrResNetConfig(**_BODY, out_features=["stage2", "stage3", "stage4"])
    model = RTDetrForObjectDetection(
        RTDetrConfig(
            backbone_config=body, d_model=32, encoder_hidden_dim=32,
            encoder_in_channels=[16, 32, 32], decoder_in_channels=[32, 32, 32],
            num_denoising=0, **_DETR,
        )
    )
    for name, p in model.named_parameters():
        if ("bbox" in name or "sampling_offsets" in name) and p.ndim == 2:
            torch.nn.init.normal_(
                p, std=0.1
            )  # as in a trained one, boxes have left their anchors and samples the middles of pixels, where there are kinks
    return _with_statistics(model, 64), RTDetrImageProcessorPil(size={"height": 64, "width": 64})


def _with_statistics(model, size=32):
    "A network whose BatchNorm has seen some pictures, as a pretrained one has."
    import torch
    norms = [m for m in model.train().modules() if isinstance(m, torch.nn.BatchNorm2d)]
    momentum = [m.momentum for m in norms]
    for m in norms:
        m.momentum = 1.0
    with torch.no_grad():
        model(pixel_values=torch.randn(32, 3, size, size))
    for m, p in zip(norms, momentum):
        m.momentum = p
    return model.eval()


CHECKPOINTS = {
    "marian": _marian_pair, "t5": _t5_pair, "llama-chat": _llama_pair, "qwen-chat": _qwen_pair,
    "vit": _vit_pair, "resnet": _resnet_pair, "convnext": _convnext_pair, "swin": _swin_pair,
    "efficientnet-lite": _lite_pair, "conditional-detr": _conditional_detr_pair,
    "rt-detr": _rt_detr_pair, "bert": _bert_pair, "roberta": _roberta_pair,
    "distilbert": _distilbert_pair, "modernbert": _modernbert_pair,
    "deberta-v2": _deberta_pair, "gpt2": _gpt2_pair, "chinese-bert": _chinese_pair,
}


def shapes(n, size=40, seed=0):
    "Pictures (size size 3, uint8) of noise with a bright square or a bright bar, in turn."
    import numpy as np
    rng, out = np.random.default_rng(seed), []
    for i in range(n):
        picture = rng.integers(0, 90, (size, size, 3), dtype=np.uint8)
        x, y = rng.integers(2, size // 2, 2)
        picture[y:y + 14, x:x + (14 if i % 2 else 4)] = rng.integers(150, 256, 3)
        out.append(picture)
    return out


def boxed(n, size=64, seed=0, empty=0.25):
    """Rows (image, boxes) of noise with up to two bright shapes:

    a square, a bar lying or standing. Some have none.
    """
    import numpy as np
    import pandas as pd
    rng, rows = np.random.default_rng(seed), []
    for _ in range(n):
        picture, boxes = rng.integers(0, 90, (size, size, 3), dtype=np.uint8), []
        for corner in [(2, 2), (size // 2, size // 2)][
            : 0 if rng.random() < empty else rng.integers(1, 3)
        ]:
            x, y = (int(c + d) for c, d in zip(corner, rng.integers(0, 6, 2)))
            label, (w, h) = [("square", (20, 20)), ("lying", (22, 10)), ("standing", (10, 22))][
                rng.integers(3)
            ]
            picture[y:y + h, x:x + w] = rng.integers(150, 256, 3)
            boxes.append({"label": label, "xyxy": [x, y, x + w, y + h]})
        rows.append({"image": picture, "boxes": boxes})
    return pd.DataFrame(rows)


@pytest.fixture(scope="session", autouse=True)
def states(tmp_path_factory):
    "What frozen blocks compute in tests is not kept in anybody's cache."
    import sft_nb.batches.frozen
    folder = tmp_path_factory.mktemp("features")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sft_nb.batches.frozen,
            "features_folder",
            functools.wraps(sft_nb.batches.frozen.features_folder)(lambda: folder),
        )
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    "tiny(name): the folder of a small checkpoint, made once per session."
    @functools.cache
    def make(name):
        from sft_nb.models.loading import quiet
        from sft_nb.chance import torch_seed
        folder = tmp_path_factory.mktemp("checkpoints")/name
        with quiet(), torch_seed("tiny", name):
            model, processor = CHECKPOINTS[name]()
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
        return folder
    return make


@pytest.fixture(scope="session")
def reviews():
    "Eight rows to memorise: text, label (good, bad)."
    import pandas as pd
    return pd.DataFrame({"text": SENTENCES, "label": ["good", "bad"] * 4})


@pytest.fixture(scope="session")
def run(tiny, reviews, tmp_path_factory):
    "A finished run: tiny BERT that knows the eight rows, saved."
    from sft_nb.all import FineTuner, Recipe, TextClassification
    recipe = Recipe(
        epochs=40, learning_rate=3e-3, batch_size=8, dropout=0.0, schedule="constant",
        keep_best=False,
    )
    return (
        FineTuner(TextClassification(), tiny("bert"), recipe)
        .fit(reviews)
        .save(tmp_path_factory.mktemp("runs") / "reviews")
    )
