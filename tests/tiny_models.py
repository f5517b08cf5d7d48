"""Small checkpoints, as their authors would publish them: random weights, a real tokenizer or
image processor, the model class of pretraining. `make(name)` makes one of the table at the end.
"""
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
    "这部电影很温暖也很好笑", "情节无聊笑话老套", "从头到尾都是享受",
    "两个小时的噪音没有一点想法", "演员出色音乐难忘", "没有人需要的续集", "温柔聪明拍得很美",
    "浪费了我的时间和钱",
]
LAYERS, POSITIONS = 3, 64  # of the models of texts


# --- tokenizers ---

def halves(texts):
    """The first three letters of every word, the rest of it, and single letters.

    Pieces that are the same in every process, which a trained vocabulary is not.
    """
    words = sorted({w for t in texts for w in re.findall(r"\w+|[^\w\s]", t.lower())})
    begin = dict.fromkeys(w[:3] for w in words)
    end = dict.fromkeys(w[3:] for w in words if len(w) > 3)
    return list(begin), list(end), sorted(set("".join(words)))


def numbered(pieces): return {p: i for i, p in enumerate(dict.fromkeys(pieces))}


def wordpiece(texts=(*SENTENCES, LONG), characters=False):
    """A BERT tokenizer for a few sentences, with whole, halved and spelled words; or of their
    characters.
    """
    from transformers import BertTokenizer
    special, (begin, end, letters) = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], halves(texts)
    pieces = letters if characters else [*begin, *letters, *("##" + p for p in [*end, *letters])]
    return BertTokenizer(vocab=numbered(special + pieces), model_max_length=POSITIONS)


def wordpiece_of_characters(): return wordpiece(CHINESE, characters=True)


def distilbert_tokenizer():
    from transformers import DistilBertTokenizer
    return DistilBertTokenizer(vocab=wordpiece().get_vocab(), model_max_length=POSITIONS)


def byte_level(special, texts=SENTENCES):
    "Byte-level BPE trained on a few sentences."
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    trained.train_from_iterator(texts, trainer)
    return trained


def vocabulary_and_merges(trained):
    model = json.loads(trained.to_str())["model"]
    return {"vocab": model["vocab"], "merges": [tuple(m) for m in model["merges"]]}


def roberta_tokenizer():
    from transformers import RobertaTokenizer
    trained = byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return RobertaTokenizer(**vocabulary_and_merges(trained), model_max_length=POSITIONS)


def gpt2_tokenizer():
    from transformers import GPT2Tokenizer
    trained = byte_level(["<|endoftext|>"])
    tok = GPT2Tokenizer(**vocabulary_and_merges(trained), model_max_length=POSITIONS)
    assert tok.pad_token is None
    return tok


def modernbert_tokenizer():
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast
    trained = byte_level(["[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"])
    trained.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 0), ("[SEP]", 1)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=trained, model_max_length=POSITIONS, cls_token="[CLS]",
        sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
    )


def unigrams(before, texts, after=(), more=()):
    "Pieces with scores: special ones, halves with a mark where a word begins, more, special ones."
    begin, end, letters = halves(texts)
    words = [*("\u2581" + p for p in begin), *end, "\u2581", *letters, *more]
    pieces = [(p, -9.0) for p in dict.fromkeys(words)]
    return [*((p, 0.0) for p in before), *pieces, *((p, 0.0) for p in after)]


def deberta_tokenizer():
    from transformers import DebertaV2Tokenizer
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    pieces = unigrams(special, [*SENTENCES, LONG], after=["[MASK]"])
    return DebertaV2Tokenizer(vocab=pieces, model_max_length=POSITIONS)


def t5_tokenizer():
    from transformers import T5Tokenizer
    signs = sorted(set("".join(CHINESE)))
    pieces = unigrams(["<pad>", "</s>", "<unk>"], [*SENTENCES, LONG], more=signs)
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=POSITIONS)


CHATML = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor "
          "%}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


def chat_tokenizer(pad_token="<|im_end|>"):
    "Byte-level BPE with the marks of a conversation."
    from transformers import PreTrainedTokenizerFast
    trained = byte_level(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        [*SENTENCES, *["user assistant system Translate to Chinese:"] * 8, *CHINESE],
    )
    tok = PreTrainedTokenizerFast(
        tokenizer_object=trained, eos_token="<|im_end|>", pad_token="<|im_end|>",
        chat_template=CHATML, model_max_length=256,
    )
    tok.pad_token = pad_token
    return tok


def qwen_tokenizer(): return chat_tokenizer("<|endoftext|>")


def sentencepieces(path, texts):
    "The pieces of a sentencepiece model of characters, which is written to a file."
    import sentencepiece as spm
    with open(path, "wb") as f:
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=f, vocab_size=80, model_type="char",
            hard_vocab_limit=False, character_coverage=1.0, minloglevel=2,
        )
    found = spm.SentencePieceProcessor(model_file=str(path))
    pieces = map(found.id_to_piece, range(found.get_piece_size()))
    return [p for p in pieces if p not in ("<s>", "</s>", "<unk>")]


def marian_tokenizer():
    "As opus-mt has it: a sentencepiece model for each side, and one vocabulary."
    from transformers import MarianTokenizer
    folder = Path(tempfile.mkdtemp())
    source, target, vocab = (folder / n for n in ("source.spm", "target.spm", "vocab.json"))
    pieces = sentencepieces(source, SENTENCES) + sentencepieces(target, CHINESE)
    vocab.write_text(json.dumps(numbered(["</s>", "<unk>", *pieces, "<pad>"])))
    return MarianTokenizer(str(source), str(target), str(vocab), model_max_length=128)


# --- image processors: those of PIL ---

def square_pictures(size=32):
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
    return ViTImageProcessorPil(size={"height": size, "width": size})


def cropped_pictures():
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
    return ConvNextImageProcessorPil(size={"shortest_edge": 32})


def lite_pictures():
    from sft_nb.tasks.images.efficientnet import EfficientNetLiteImageProcessor
    size, crop_size = {"shortest_edge": 32}, {"height": 32, "width": 32}
    return EfficientNetLiteImageProcessor(size=size, crop_size=crop_size)


def detr_pictures():
    from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
    return DetrImageProcessorPil(size={"height": 64, "width": 64})


def conditional_detr_pictures():
    from transformers.models.conditional_detr.image_processing_pil_conditional_detr import (
        ConditionalDetrImageProcessorPil,
    )
    return ConditionalDetrImageProcessorPil(size={"height": 64, "width": 64}, do_pad=False)


def rt_detr_pictures():
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil
    return RTDetrImageProcessorPil(size={"height": 64, "width": 64})


# --- what random weights lack ---

def see_pictures(model, size=32):
    "BatchNorm has seen some pictures, as in a pretrained network."
    import torch
    norms = [m for m in model.train().modules() if isinstance(m, torch.nn.BatchNorm2d)]
    momentum = [m.momentum for m in norms]
    for m in norms:
        m.momentum = 1.0
    with torch.no_grad():
        model(pixel_values=torch.randn(32, 3, size, size))
    for m, p in zip(norms, momentum, strict=True):
        m.momentum = p
    model.eval()


def ask_differently(model):
    "Queries that differ, as in a trained network."
    import torch
    torch.nn.init.normal_(model.model.query_position_embeddings.weight)
    see_pictures(model, 64)


def leave_anchors(model):
    """Boxes have left their anchors and samples the middles of pixels, as in a trained network.

    At both there are kinks.
    """
    import torch
    for name, p in model.named_parameters():
        if ("bbox" in name or "sampling_offsets" in name) and p.ndim == 2:
            torch.nn.init.normal_(p, std=0.1)
    see_pictures(model, 64)


# --- settings that several have ---

BODY = dict(hidden_size=64, num_hidden_layers=LAYERS, num_attention_heads=4, intermediate_size=128)
DROPOUT = dict(hidden_dropout_prob=.1, attention_probs_dropout_prob=.1)
ENCODER = BODY | DROPOUT | dict(max_position_embeddings=POSITIONS)
CHAT = BODY | dict(
    num_key_value_heads=2, max_position_embeddings=256, bos_token_id=0, eos_token_id=2
)
STAGES = dict(
    embedding_size=16, hidden_sizes=[16, 16, 32, 32], depths=[1, 1, 1, 1], layer_type="basic"
)
DETR = dict(
    num_labels=5, num_queries=4, encoder_ffn_dim=64, decoder_ffn_dim=64,
    encoder_attention_heads=4, decoder_attention_heads=4, decoder_layers=2,
)


def resnet(*features):
    from transformers import ResNetConfig
    return ResNetConfig(**STAGES, out_features=list(features))


def rt_resnet(*features):
    from transformers import RTDetrResNetConfig
    return RTDetrResNetConfig(**STAGES, out_features=list(features))


def size_of_vocabulary(tok): return {"vocab_size": len(tok)}


def marian_vocabulary(tok):
    size, pad = len(tok), tok.pad_token_id
    return {
        "vocab_size": size, "decoder_vocab_size": size, "pad_token_id": pad,
        "decoder_start_token_id": pad,
    }


# --- the table ---

@dataclass(frozen=True)
class Tiny:
    what: str  # in a few words
    model: str  # class of transformers, or of ours
    processor: Callable  # () -> tokenizer or image processor
    settings: dict  # of the configuration; a callable value is called first
    from_processor: Callable = lambda processor: {}  # settings that it decides
    finish: Callable = lambda model: None  # what random weights lack


def of_texts(what, model, tokenizer, settings, from_processor=size_of_vocabulary):
    return Tiny(what, model, tokenizer, settings, from_processor)


TINY = {
    "marian": of_texts(
        "writes a translation; two sentencepiece models", "MarianMTModel", marian_tokenizer,
        dict(
            d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128,
            max_position_embeddings=128, eos_token_id=0, forced_eos_token_id=0, dropout=.1,
            scale_embedding=True,
        ),
        marian_vocabulary,
    ),
    "t5": of_texts(
        "writes, with relative positions", "T5ForConditionalGeneration", t5_tokenizer,
        dict(
            d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, dropout_rate=.1,
            decoder_start_token_id=0,
        ),
    ),
    "llama-chat": of_texts(
        "talks; like SmolLM2, it pads with its stop token", "LlamaForCausalLM", chat_tokenizer,
        CHAT | dict(pad_token_id=2, tie_word_embeddings=True),
    ),
    "qwen-chat": of_texts(
        "talks, with a pad token of its own", "Qwen2ForCausalLM", qwen_tokenizer,
        CHAT | dict(pad_token_id=0),
    ),
    "vit": Tiny(
        "sees a picture in patches", "ViTForImageClassification", square_pictures,
        BODY | DROPOUT | dict(image_size=32, patch_size=8, num_labels=5),
    ),
    "resnet": Tiny(
        "sees a picture by convolution, with BatchNorm", "ResNetForImageClassification",
        cropped_pictures,
        dict(
            embedding_size=16, hidden_sizes=[16, 32, 64], depths=[1, 1, 1], layer_type="basic",
            num_labels=5,
        ),
        finish=see_pictures,
    ),
    "convnext": Tiny(
        "sees a picture by convolution, with LayerNorm", "ConvNextForImageClassification",
        cropped_pictures,
        dict(
            hidden_sizes=[16, 32, 64], depths=[1, 1, 2], num_stages=3, patch_size=2, num_labels=5,
            drop_path_rate=0.0, layer_scale_init_value=0.1,
        ),
    ),
    "swin": Tiny(
        "sees a picture in shifted windows", "SwinForImageClassification", square_pictures,
        dict(
            image_size=32, patch_size=2, embed_dim=16, depths=[1, 2], num_heads=[2, 4],
            window_size=4, num_labels=5, hidden_dropout_prob=.1, drop_path_rate=0.0,
        ),
    ),
    "efficientnet-lite": Tiny(
        "our own network for pictures, as it is bundled", "EfficientNetLiteForImageClassification",
        lite_pictures,
        dict(
            stages=((3, 1, 1, 1, 16), (3, 2, 2, 3, 24), (5, 1, 2, 3, 32)), stem_channels=16,
            top_channels=64, num_labels=5,
        ),
        finish=see_pictures,
    ),
    "detr": Tiny(
        'finds objects; its softmax has a class "nothing", which we refuse',
        "DetrForObjectDetection", detr_pictures,
        DETR | dict(
            use_timm_backbone=False, backbone_config=lambda: resnet("stage4"), d_model=32,
            encoder_layers=1,
        ),
    ),
    "conditional-detr": Tiny(
        "finds objects, each with a query", "ConditionalDetrForObjectDetection",
        conditional_detr_pictures,
        DETR | dict(
            use_timm_backbone=False, backbone_config=lambda: resnet("stage3"), d_model=64,
            encoder_layers=1, dropout=.1, auxiliary_loss=False,
        ),
        finish=ask_differently,
    ),
    "rt-detr": Tiny(
        "finds objects on three maps, by deformable attention", "RTDetrForObjectDetection",
        rt_detr_pictures,
        DETR | dict(
            backbone_config=lambda: rt_resnet("stage2", "stage3", "stage4"), d_model=32,
            encoder_hidden_dim=32, encoder_in_channels=[16, 32, 32],
            decoder_in_channels=[32, 32, 32], num_denoising=0,
        ),
        finish=leave_anchors,
    ),
    "bert": of_texts("reads words and their pieces", "BertForMaskedLM", wordpiece, ENCODER),
    "roberta": of_texts(
        "reads bytes; its positions begin behind the pad", "RobertaForMaskedLM", roberta_tokenizer,
        ENCODER | dict(
            max_position_embeddings=POSITIONS + 2, type_vocab_size=1, pad_token_id=1,
            bos_token_id=0, eos_token_id=2,
        ),
    ),
    "distilbert": of_texts(
        "BERT without token types, and with other names", "DistilBertForMaskedLM",
        distilbert_tokenizer,
        dict(
            dim=64, n_layers=LAYERS, n_heads=4, hidden_dim=128, max_position_embeddings=POSITIONS,
            dropout=.1, attention_dropout=.1,
        ),
    ),
    "modernbert": of_texts(
        "reads with local attention and rotated positions", "ModernBertForMaskedLM",
        modernbert_tokenizer,
        BODY | dict(
            max_position_embeddings=POSITIONS, local_attention=16, cls_token_id=0, bos_token_id=0,
            sep_token_id=1, eos_token_id=1, pad_token_id=2, embedding_dropout=.1,
            attention_dropout=.1, mlp_dropout=.1, classifier_dropout=.1,
        ),
    ),
    "deberta-v2": of_texts(
        "reads with relative positions alone", "DebertaV2ForMaskedLM", deberta_tokenizer,
        ENCODER | dict(
            pooler_hidden_size=64, relative_attention=True, position_buckets=16,
            norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type=["p2c", "c2p"],
            position_biased_input=False, type_vocab_size=0, max_relative_positions=-1,
        ),
    ),
    "gpt2": of_texts(
        "writes on; it has no pad token", "GPT2LMHeadModel", gpt2_tokenizer,
        dict(
            n_embd=64, n_layer=LAYERS, n_head=4, n_inner=128, n_positions=POSITIONS,
            bos_token_id=0, eos_token_id=0, embd_pdrop=.1, attn_pdrop=.1, resid_pdrop=.1,
        ),
    ),
    "chinese-bert": of_texts(
        "reads characters", "BertForMaskedLM", wordpiece_of_characters, ENCODER
    ),
}


def make(name, **changes):
    "(model, processor) of the table, with some settings of the configuration changed."
    import transformers
    from sft_nb.tasks.images import efficientnet
    entry = TINY[name]
    processor = entry.processor()
    settings = entry.settings | entry.from_processor(processor) | changes
    settings = {k: v() if callable(v) else v for k, v in settings.items()}
    home = efficientnet if hasattr(efficientnet, entry.model) else transformers
    of_model = getattr(home, entry.model)
    model = of_model(of_model.config_class(**settings))
    entry.finish(model)
    return model, processor
