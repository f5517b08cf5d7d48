"""Tasks that write: folders that others can read, rows that are no conversations, prompts that
are too long, packed rows, streams, adapters.
"""
import io
import json
import sys

import pandas as pd
import pytest
import torch
from cases import CASES
from conftest import gradient_of, same_weights
from tiny_models import CHINESE, SENTENCES

from sft_nb.all import (
    CheckpointError, DataError, FineTuner, InstructionTuning, Recipe, TrainingError,
    Translation, split,
)
from sft_nb.batches.batching import Examples
from sft_nb.commands.cli import main
from sft_nb.methods.lora import Lora
from sft_nb.methods.rates import SlowBody
from sft_nb.batches.packing import packer
from sft_nb.tasks.writing.chat import Talk, answer_tokens
from sft_nb.training.gradient import effective_gradient

QUICK = Recipe(
    epochs=2, learning_rate=3e-3, batch_size=8, dropout=0.0, keep_best=False, precision="fp32"
)
PAIRS = pd.DataFrame({"source": SENTENCES, "target": CHINESE})
TALKS = pd.DataFrame({"prompt": SENTENCES, "completion": ["good", "bad"] * 4})


# --- folders ---

def test_two_tokenizers_are_two_folders_that_plain_transformers_reads(tiny, tmp_path):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
    tuner = FineTuner(
        Translation(max_new_tokens=15), tiny("bert"), QUICK.but(epochs=30, methods=(SlowBody(),))
    ).fit(PAIRS)
    folder = tuner.save(tmp_path/"run")
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    source = AutoTokenizer.from_pretrained(folder/"source")
    target = AutoTokenizer.from_pretrained(folder/"target")
    for text, answer in zip(SENTENCES[:3], tuner.predict(SENTENCES[:3]), strict=True):
        ids = model.generate(
            **source(text, return_tensors="pt"), max_new_tokens=15, do_sample=False
        )
        assert target.decode(ids[0], skip_special_tokens=True) == answer.value
        assert 0 < answer.score <= 1
    assert len(target) == len(set("".join(CHINESE))) + 4 and "这" not in source.get_vocab()


def test_digits_stay_apart_after_loading(tiny, tmp_path):
    tuner = FineTuner(Translation(max_new_tokens=5), tiny("bert"), QUICK).fit(PAIRS)
    again = FineTuner.load(tuner.save(tmp_path/"run"))
    assert len(again.processor.source.tokenize("2043")) == 4


# --- rows that are none ---

HI, HO = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}
BAD = {
    "ends with the user": [HI],
    "Message 2 is by the user": [HI, HI, HO],
    "has the role 'bot'": [{"role": "bot", "content": "x"}],
    "is empty": [HI, {"role": "assistant", "content": " "}],
    "Message 1 is by the assistant": [HO],
    "is not text": [{"role": "user", "content": ["x"]}, HO],
    "not a list of messages": "not json",
    "Message 2 is by the system": [HI, {"role": "system", "content": "x"}, HO],
}


@pytest.mark.parametrize("says", BAD)
def test_a_conversation_that_is_none_is_named_with_file_and_line(says, tmp_path):
    file = tmp_path/"talks.jsonl"
    file.write_text(
        "\n".join(["", json.dumps({"messages": [HI, HO]}), json.dumps({"messages": BAD[says]})])
    )
    with pytest.raises(DataError, match=r"talks\.jsonl, line 3: .*" + says):
        InstructionTuning().read(file)


def test_a_bad_prompt_column_is_named_too(tmp_path):
    file = tmp_path/"rows.csv"
    file.write_text(
        'prompt,completion\nHi,Ho\n"[{""role"": ""assistant"", ""content"": ""x""}]",y\n'
    )
    with pytest.raises(DataError, match=r"rows\.csv, line 3: Message 1 is by the assistant"):
        InstructionTuning().read(file)


def test_aligned_files_and_catalogues(tmp_path):
    ours, theirs = tmp_path/"a.en", tmp_path/"a.zh"
    ours.write_text("one\ntwo\n\n")
    theirs.write_text("一\n二\n\n", encoding="utf-8")
    assert Translation().read((ours, theirs)).target.tolist() == ["一", "二"]
    theirs.write_text("一\n二\n\n三\n", encoding="utf-8")
    with pytest.raises(DataError, match="a.en has 3 lines and .*a.zh has 4"):
        Translation().read((ours, theirs))
    theirs.write_text("一\n\n\n", encoding="utf-8")
    with pytest.raises(DataError, match="a.zh, line 2: empty"):
        Translation().read((ours, theirs))
    theirs.write_bytes("好的".encode("gbk"))
    with pytest.raises(DataError, match="a.zh, line 1: This file is not UTF-8"):
        Translation().read((ours, theirs))
    (tmp_path / "x.po").write_text(
        'msgid "a"\nmsgstr "b"\n\nmsgid "one %d"\nmsgid_plural "many"\nmsgstr[0] "un"\nmsgstr[1] '
        '"plus"\n'
    )
    assert Translation().read(tmp_path/"x.po").target.tolist() == ["b", "un"]


def test_a_tsv_and_an_empty_cell(tmp_path, said):
    (tmp_path/"a.tsv").write_text("source\ttarget\nyes\toui\nno\t\n")
    assert len(Translation().read(tmp_path/"a.tsv")) == 1
    assert "1 row without target (row 1" in said()


# --- lengths and templates ---

def test_what_is_too_long_is_refused_with_its_row_and_never_cut(tiny):
    long = pd.concat(
        [TALKS, pd.DataFrame({"prompt": ["fine"], "completion": ["good " * 300]})],
        ignore_index=True,
    )
    with pytest.raises(
        DataError, match=r"Row 8 .* with its answer has .* tokens, and the model reads 256"
    ):
        FineTuner(InstructionTuning(), tiny("llama-chat"), QUICK).fit(long)
    with pytest.raises(DataError, match=r"Row 0 .*The source has .* the model reads 64"):
        FineTuner(Translation(), tiny("bert"), QUICK).fit(
            PAIRS.assign(source=["dull " * 80, *SENTENCES[1:]])
        )
    tuner = FineTuner(InstructionTuning(max_new_tokens=4), tiny("llama-chat"), QUICK).fit(TALKS)
    with pytest.raises(DataError, match="Row 1 .*The question has"):
        tuner.predict(["fine", "dull " * 300])


def test_what_is_too_long_is_named_by_file_and_line(tiny, tmp_path):
    "Also after a split has moved the rows; by its row, where the file has changed since."
    def talk(n):
        asked = {"role": "user", "content": f"dull {n}"}
        answer = {"role": "assistant", "content": "good " * (300 if n == 7 else 1)}
        return json.dumps({"messages": [asked, answer]})

    lines = [talk(n) for n in range(1, 11)]
    # an empty line counts as a line
    (tmp_path / "talks.jsonl").write_text("\n".join([*lines[:3], "", *lines[3:]]))
    rows = InstructionTuning().read(tmp_path/"talks.jsonl")
    for seed in range(3):
        parts = split(rows, valid_size=2, certify_size=2, seed=seed)
        role = next(p for p in parts.roles.values() if p.completion.str.len().max() > 999)
        with pytest.raises(
            DataError, match=r"talks\.jsonl, line 8: .* with its answer has .* tokens"
        ):
            FineTuner(InstructionTuning(), tiny("llama-chat"), QUICK).fit(role)
    (tmp_path/"talks.jsonl").write_text("\n".join(lines[:3]))
    with pytest.raises(DataError, match=r"Row 6 \(counting from 0\)"):
        FineTuner(InstructionTuning(), tiny("llama-chat"), QUICK).fit(rows)
    PAIRS.assign(source=[*SENTENCES[:-1], "dull " * 80]).to_csv(tmp_path/"pairs.csv", index=False)
    with pytest.raises(DataError, match=rf"pairs\.csv, line {len(PAIRS) + 1}: The source has"):
        FineTuner(Translation(), tiny("bert"), QUICK).fit(
            Translation().read(tmp_path / "pairs.csv")
        )


def test_a_template_that_is_missing_and_one_of_ones_own(tiny, tmp_path):
    with pytest.raises(CheckpointError, match="has no chat template"):
        FineTuner(InstructionTuning(), tiny("gpt2"), QUICK).fit(TALKS)
    with pytest.raises(DataError, match="nowhere.jinja cannot be read"):
        FineTuner(InstructionTuning(template="nowhere.jinja"), tiny("gpt2"), QUICK).fit(TALKS)
    (tmp_path / "t.jinja").write_text(
        "{% for m in messages %}{{ m.role[0] }}: {{ m.content }}\n{% endfor %}{% if "
        "add_generation_prompt %}a: {% endif %}"
    )
    short = pd.DataFrame({"prompt": ["a", "b"] * 4, "completion": ["good", "bad"] * 4})
    tuner = FineTuner(
        InstructionTuning(template=str(tmp_path / "t.jinja"), max_new_tokens=8),
        tiny("gpt2"),
        QUICK.but(epochs=60),
    ).fit(short)
    folder = tuner.save(tmp_path/"run")
    (tmp_path/"t.jinja").unlink()
    assert [p.value for p in FineTuner.load(folder).predict(["a", "b"])] == ["good", "bad"]


# --- masks and packing ---

@pytest.mark.parametrize("checkpoint", ["llama-chat", "qwen-chat"])
def test_answers_and_stop_tokens_are_learned_and_nothing_else(checkpoint, tiny):
    _, chat = InstructionTuning().build(str(tiny(checkpoint)))
    tok, stop = chat.tokenizer, chat.stops[0]
    ids, mask = answer_tokens(
        tok,
        [
            {"role": "system", "content": "be brief"}, HI, HO, HI,
            {"role": "assistant", "content": "the plot is dull"},
        ],
        chat.stops,
    )
    learned = [t for t, m in zip(ids, mask, strict=True) if m]
    assert tok.decode(learned) == "Ho<|im_end|>the plot is dull<|im_end|>"
    assert learned.count(stop) == 2
    assert ids[-1] == stop
    assert (tok.pad_token_id == stop) == (checkpoint == "llama-chat")


@pytest.mark.parametrize("name", ["instruction tuning", "translation, language model"])
def test_packed_and_padded_rows_teach_the_same(name, tiny):
    case = CASES[name]
    task, model, processor = case.begin(tiny)
    examples = Examples(task, case.rows, processor)
    gradients = []
    for form in (lambda b: b, packer(task, model, examples, capacity=256)):
        effective_gradient(task, model.train(), [form(examples.batch(range(len(case.rows))))])
        gradients.append(gradient_of(model))
    assert ((gradients[0] - gradients[1]).norm() / gradients[0].norm()).item() <= 1e-6


def test_a_translator_cannot_be_packed_and_says_so(tiny):
    with pytest.raises(TrainingError, match="packing=False"):
        FineTuner(Translation(), tiny("marian"), QUICK.but(packing=True)).fit(PAIRS)


# --- talking ---

def test_talk_streams_and_remembers(tiny, capsys):
    rows = pd.DataFrame(
        {"prompt": ["a joy", "so dull"] * 4, "completion": ["good film", "bad film"] * 4}
    )
    tuner = FineTuner(
        InstructionTuning(max_new_tokens=12), tiny("llama-chat"), QUICK.but(epochs=60)
    ).fit(rows)
    capsys.readouterr()
    talk = Talk(tuner)
    assert talk("a joy") == "good film" and capsys.readouterr().out.strip() == "good film"
    assert [m["role"] for m in talk.messages] == ["user", "assistant"]
    quiet = Talk(tuner, system="be brief", stream=False)
    quiet("a joy")
    assert capsys.readouterr().out == "" and len(quiet.messages) == 3
    with pytest.raises(DataError):
        quiet(" ")


def test_a_terminal_talks(tiny, tmp_path, capsys, monkeypatch):
    """Lines in, answers out; an empty line, the end of the input or Ctrl-C end it; a run that
    does not chat says so.
    """
    rows = pd.DataFrame(
        {"prompt": ["a joy", "so dull"] * 4, "completion": ["good film", "bad film"] * 4}
    )
    run = (
        FineTuner(InstructionTuning(max_new_tokens=12), tiny("llama-chat"), QUICK.but(epochs=60))
        .fit(rows)
        .save(tmp_path / "run")
    )
    other = FineTuner(Translation(), tiny("marian"), QUICK).fit(PAIRS).save(tmp_path/"other")

    def chat(folder, lines):
        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        with pytest.raises(SystemExit) as end:
            main(["chat", str(folder)])
        said = capsys.readouterr()
        return end.value.code, said.out.split("\n"), said.err

    assert chat(run, "a joy\n\nso dull\n")[:2] == (0, ["good film", ""])
    code, said, _ = chat(run, "so dull\na joy\n")
    assert code == 0 and said[0] == "bad film" and len(said) == 3
    code, said, error = chat(other, "a joy\n")
    assert code == 2
    assert "does not chat: its task is translation" in error
    assert "Traceback" not in error
    monkeypatch.setattr("builtins.input", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert chat(run, "")[0] == 130



# --- adapters ---

def test_lora_is_merged_saved_and_resumed(tiny, tmp_path):
    from transformers import AutoModelForCausalLM
    recipe = QUICK.but(epochs=3, methods=(Lora(4, 8),))
    tuner = FineTuner(
        InstructionTuning(max_new_tokens=6), tiny("llama-chat"), recipe, out=tmp_path / "run"
    ).fit(TALKS)
    assert not any("lora" in n for n, _ in tuner.model.named_parameters())
    plain = AutoModelForCausalLM.from_pretrained(tuner.save(tmp_path/"saved"))
    ids = torch.tensor([tuner.processor.example("a joy")["asked"]])
    with torch.no_grad():
        assert torch.allclose(plain(ids).logits, tuner.model(ids).logits, atol=1e-5)
    again = FineTuner(
        InstructionTuning(max_new_tokens=6), tiny("llama-chat"), recipe, out=tmp_path / "run"
    ).fit(TALKS, resume="auto")
    assert same_weights(tuner.model, again.model)
