"""Chats and translations as people have them:

every kind of conversation, marks inside texts, prompts, settings and templates that cannot work,
aligned files and catalogues.
"""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_models import CHINESE, SENTENCES

from sft_nb.all import (
    CheckpointError, DataError, FineTuner, InstructionTuning, Recipe, SFTError, Translation,
)
from sft_nb.commands.cli import main
from sft_nb.task import Prediction
from sft_nb.tasks.writing.chat import Talk, answer_tokens, check_template

INPUTS = Path(__file__).parent/"inputs"
QUICK = Recipe(
    epochs=1, learning_rate=1e-3, batch_size=8, dropout=0.0, keep_best=False, precision="fp32"
)
TALKS = pd.DataFrame({"prompt": SENTENCES, "completion": ["good", "bad"] * 4})
PAIRS = pd.DataFrame({"source": SENTENCES, "target": CHINESE})
HI, HO = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
HUMAN, GPT = {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}


def halves(source, **settings):
    "Questions and answers as they are read, each question as a list of messages."
    rows = InstructionTuning(**settings).read(source)
    names = InstructionTuning(**settings)
    as_list = [
        q if isinstance(q, list) else [{"role": "user", "content": q}] for q in rows[names.prompt]
    ]
    return list(zip(as_list, rows[names.completion], strict=True))


# --- conversations that are read ---

@pytest.mark.parametrize(
    "folder, settings",
    [("c01-sharegpt", {}), ("c01b-sharegpt-messages-flag", {"messages": "conversations"})],
)
def test_sharegpt_is_read(folder, settings):
    assert halves(INPUTS/folder/"d.jsonl", **settings) == [([HI], "Hello")] * 3


def test_dolly_is_read_by_its_names():
    for folder, settings in (("c06b-dolly", {}), ("c06c-dolly-flags", {"completion": "response"})):
        assert halves(INPUTS / folder / "d.jsonl", **settings) == [
            ([{"role": "user", "content": f"Say {n}"}], f"r{n}") for n in range(4)
        ]


def test_messages_as_text_are_messages():
    def user(text): return [{"role": "user", "content": text}]

    assert halves(INPUTS / "c04c-prompt-python-string" / "d.csv") == [
        (user("Hi"), "Yo"),
        (user("Bye"), "Ciao"),
    ]
    assert halves(INPUTS / "c04d-prompt-json-indented" / "d.jsonl") == [
        (user("Hi"), "Yo"),
        (user("Bye"), "Yo"),
    ]


SYSTEM = {"role": "system", "content": "Be brief"}
READ = {
    "ShareGPT with a system message": (
        [{"conversations": [{"from": "system", "value": "Be brief"}, HUMAN, GPT]}],
        [SYSTEM, HI],
        "Hello",
    ),
    "ShareGPT in a column `conversation`": ([{"conversation": [HUMAN, GPT]}], [HI], "Hello"),
    "ShareGPT as indented JSON": (
        [{"conversations": json.dumps([HUMAN, GPT], indent=2)}],
        [HI],
        "Hello",
    ),
    "ShareGPT in a prompt, as Python text": (
        [{"prompt": str([HUMAN]), "completion": "Hello"}],
        [HI],
        "Hello",
    ),
    "messages as Python text": ([{"messages": str([SYSTEM, HI, HO])}], [SYSTEM, HI], "Hello"),
    "TRL: prompt and completion are messages": (
        [{"prompt": [SYSTEM, HI], "completion": [HO]}],
        [SYSTEM, HI],
        "Hello",
    ),
    "TRL, as JSON text": (
        [{"prompt": json.dumps([HI]), "completion": json.dumps([HO])}],
        [HI],
        "Hello",
    ),
    "TRL, as Python text": ([{"prompt": str([HI]), "completion": f" {[HO]}\n"}], [HI], "Hello"),
    "a plain question, and messages as answer": (
        [{"prompt": "Hi", "completion": [HO]}], [HI], "Hello",
    ),
    "messages as question, a plain answer": (
        [{"prompt": [HI, HO, HI], "completion": "Yes"}],
        [HI, HO, HI],
        "Yes",
    ),
    "Dolly with a context": (
        [{"instruction": "Add.", "context": "1 2", "response": "3"}],
        [{"role": "user", "content": "Add.\n\n1 2"}],
        "3",
    ),
    "Alpaca": (
        [{"instruction": "Add.", "input": "1 2", "output": "3"}],
        [{"role": "user", "content": "Add.\n\n1 2"}],
        "3",
    ),
    "content as parts of text": (
        [
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}],
                    },
                    HO,
                ]
            }
        ],
        [HI],
        "Hello",
    ),
    "no calls of tools": (
        [{"messages": [HI, HO | {"tool_calls": None, "name": "x"}]}],
        [HI],
        "Hello",
    ),
    "arrays, as Parquet gives them": (
        [
            {
                "messages": np.array(
                    [
                        HI | {"weight": None, "tool_calls": None},
                        HO | {"weight": 1.0, "tool_calls": np.array([])},
                    ],
                    dtype=object,
                )
            }
        ],
        [HI],
        "Hello",
    ),
}


@pytest.mark.parametrize("kind", READ)
def test_a_conversation_is_read(kind):
    rows, question, answer = READ[kind]
    assert halves(rows) == [(question, answer)]


PLAIN = [
    "[1, 2, 3]", "[INST] Hi [/INST]", '[{"a": 1}]', '[{"from": "Rome", "to": "Paris"}]',
    '[{"role": "admin", "name": "Ann"}]', "[{x}]",
    '[{"role": "user", "content": "Hi"}] is JSON. Why?',
    "{}",
    "[]",
    "[{'role'",
]


@pytest.mark.parametrize("text", PLAIN)
def test_brackets_that_are_no_conversation_stay_text(text):
    assert InstructionTuning().read([{"prompt": text, "completion": text}])[
        ["prompt", "completion"]
    ].values.tolist() == [[text, text]]


def test_a_csv_of_conversations_comes_back(tmp_path):
    file = tmp_path/"d.csv"
    # Python's own text of lists
    pd.DataFrame({"messages": [[HI, HO], [SYSTEM, HI, HO]]}).to_csv(
        file, index=False
    )
    assert halves(file) == [([HI], "Hello"), ([SYSTEM, HI], "Hello")]


# --- conversations that are refused, by name ---

CALL = [{"function": {"name": "w", "arguments": "{}"}}]
REFUSED = {
    "a call of a tool": (
        [HI, {"role": "assistant", "content": None, "tool_calls": CALL}],
        "Message 2, by the assistant, has tool_calls",
    ),
    "a call beside a text": (
        [HI, HO | {"tool_calls": CALL}],
        "Message 2, by the assistant, has tool_calls",
    ),
    "calls of tools in arrays": (
        str([HI, HO | {"tool_calls": [1, 2]}]),
        "Message 2, by the assistant, has tool_calls",
    ),
    "what a tool says": (
        [HI, {"role": "tool", "content": "sun"}, HO],
        "Message 2 has the role 'tool': what tools say is not read",
    ),
    "what a tool says in ShareGPT": (
        [HUMAN, {"from": "observation", "value": "sun"}, GPT],
        "Message 2 has the role 'observation': what tools say",
    ),
    "an empty content": (
        [HI, {"role": "assistant", "content": None}],
        "Message 2, by the assistant, is empty",
    ),
    "a picture": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, HO],
        "Message 1, by the user, has a part of the type 'image_url': only text",
    ),
    "neither role nor from": (
        [{"speaker": "a", "text": "Hi"}],
        "Message 1 has no role: it has 'speaker', 'text'. A message is",
    ),
    "a role of None": ([{"role": None, "content": "Hi"}, HO], "Message 1 has no role"),
    "texts alone": (["Hi", "Hello"], "Message 1 is 'Hi', where .* should be"),
    "an unknown speaker": (
        [{"from": "narrator", "value": "Hi"}],
        "has the role 'narrator'. Known: human, gpt",
    ),
    "reasoning": (
        [HI, HO | {"reasoning_content": "hm"}],
        "has reasoning_content, which is not read",
    ),
    "half a weight": ([HI, HO | {"weight": 0.5}], "has the weight 0.5: 1, which is learned, or 0"),
    "a weight of the user's": (
        [HI | {"weight": 1}, HO],
        "by the user, has the weight 1, but only the assistant",
    ),
    "nothing to learn": ([HI, HO | {"weight": 0}], "The last answer has the weight 0"),
    "a number": (3, "not a list of messages|A conversation is a list"),
    "text that is cut short": (
        '[{"role": "user", "content": "Hi"}, {"role"',
        "is not a list of messages",
    ),
    "numpy's text, without commas": (f"[{HI}\n {HO}]", "is not a list of messages"),
    "JSON that is nested too deeply": ("[" * 50_000, "is not a list of messages"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_conversation_is_refused_by_name(kind, tmp_path):
    messages, says = REFUSED[kind]
    (tmp_path/"d.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    with pytest.raises(DataError, match=rf"d\.jsonl, line 1: .*({says})") as told:
        InstructionTuning().read(tmp_path / "d.jsonl")
    assert "role None" not in str(told.value) and len(str(told.value)) < 500


def test_calls_of_tools_in_arrays_are_refused_too():
    messages = np.array(
        [HI, HO | {"tool_calls": np.array([{"function": "w"}, {"function": "v"}])}], dtype=object
    )
    with pytest.raises(DataError, match="Message 2, by the assistant, has tool_calls"):
        InstructionTuning().read([{"messages": messages}])


def test_a_file_with_tools_is_refused_by_name():
    with pytest.raises(DataError, match="line 1: Message 2, by the assistant, has tool_calls"):
        InstructionTuning().read(INPUTS / "c02-tool-calls" / "d.jsonl")


@pytest.mark.parametrize("folder", ["c08b-prompt-number", "c08c-prompt-dict", "g05-dict-prompt"])
def test_questions_that_are_no_text_are_refused(folder):
    with pytest.raises(
        DataError, match=r"line 1: A question is a text or a list of messages, not (0|\{)"
    ):
        InstructionTuning().read(INPUTS / folder / "d.jsonl")


@pytest.mark.parametrize("cell", [3, 2.5, True, {"a": 1}])
@pytest.mark.parametrize("column", ["prompt", "completion"])
def test_cells_that_are_no_text_are_refused_in_training_too(cell, column, tiny):
    rows = TALKS.astype(object)
    rows.at[2, column] = cell
    with pytest.raises(DataError, match=f"'{column}' should hold text, but row 2"):
        FineTuner(InstructionTuning(), tiny("llama-chat"), QUICK).fit(rows)
    with pytest.raises(DataError, match="should hold text, but row 0"):
        Translation().read([{"source": 3, "target": "x"}])


FORMS = {
    "question and answer": (
        [{"question": "Hi", "answer": "Ho"}],
        "There is no column 'prompt'.*There is no column 'completion'.*"
        "prompt=…, completion=…",
    ),
    "preferences": (
        [{"prompt": "Hi", "chosen": "a", "rejected": "b"}],
        "There is no column 'completion'.*'chosen'",
    ),
    "whole texts": (
        [{"text": "Hi Ho"}],
        "There is no column 'prompt'.*in a column 'messages' or 'conversations'",
    ),
    "instructions without answers": (
        [{"instruction": "Hi", "reply": "Ho"}],
        "answers to the column 'instruction' are looked for in 'completion', 'output' or "
        "'response'.*'reply'",
    ),
}


def test_instructions_that_are_no_text_are_refused():
    for row in (
        {"instruction": 3, "input": "a"}, {"instruction": "a", "input": {"b": 1}},
        {"instruction": 3},
    ):
        with pytest.raises(DataError, match="hold texts, not|a text or a list of messages, not"):
            InstructionTuning().read([row | {"output": "x"}])


LANGUAGES = [{"id": "1", "translation": {"en": "Hi", "de": "Hallo"}},
             {"id": "2", "translation": {"en": "Bye", "de": "Ade"}}]


@pytest.mark.parametrize("how", ["list", "jsonl", "parquet"])
def test_translations_in_an_object_have_a_column_per_language(how, tmp_path):
    "As the best-known public sets of translations have it."
    source = LANGUAGES
    if how != "list":
        source, rows = tmp_path / f"a.{how}", pd.DataFrame(LANGUAGES)
        rows.to_parquet(source) if how == "parquet" else rows.to_json(
            source, orient="records", lines=True)
    rows = Translation(source="en", target_text="de").read(source)
    assert rows.en.tolist() == ["Hi", "Bye"] and rows.de.tolist() == ["Hallo", "Ade"]
    with pytest.raises(DataError, match="(?s)no column 'source'.*'en', 'de'"):
        Translation().read(source)


def test_a_language_that_is_missing_in_a_row_is_an_empty_cell():
    holes = [{"translation": {"de": "Moin"}}, {"translation": None}]
    rows = [*LANGUAGES, *holes]
    assert len(Translation(source="en", target_text="de").read(rows)) == 2


def test_a_column_of_the_language_is_never_replaced():
    rows = [{"en": "mine", "translation": {"en": "theirs", "de": "x"}}]
    assert Translation(source="en", target_text="de").read(rows).en.tolist() == ["mine"]


@pytest.mark.parametrize("kind", FORMS)
def test_another_form_is_told_which_there_are(kind):
    rows, says = FORMS[kind]
    with pytest.raises(DataError, match=f"(?s){says}"):
        InstructionTuning().read(rows)


def test_columns_that_belong_to_the_question_are_not_passed_over_in_silence(said):
    InstructionTuning().read([{"messages": [HI, HO], "tools": "[w]", "history": None}])
    told = said()
    assert "The column 'tools' is not read" in told and "history" not in told
    InstructionTuning(prompt="instruction", completion="response").read(
        [{"instruction": "Add.", "context": "1 2", "response": "3"}]
    )
    assert "The column 'context' is not read" in said()
    InstructionTuning().read(
        [{"instruction": "Add.", "context": "1 2", "response": "3", "category": "sums"}]
    )
    assert "not read" not in said()


# --- weights per message ---

def test_an_answer_of_weight_0_is_read_and_not_learned(tiny):
    _, chat = InstructionTuning().build(str(tiny("llama-chat")))
    talk = [HI, HO | {"weight": 0}, HI, {"role": "assistant", "content": "bad", "weight": 1}]
    row = InstructionTuning().read([{"messages": talk}]).to_dict("records")[0]
    example = InstructionTuning().encode(row, chat)
    assert chat.tokenizer.decode([t for t in example["labels"] if t >= 0]) == "bad<|im_end|>"
    plain = InstructionTuning().encode(
        InstructionTuning()
        .read([{"messages": [{k: m[k] for k in ("role", "content")} for m in talk]}])
        .to_dict("records")[0],
        chat,
    )
    assert example["input_ids"] == plain["input_ids"] and plain["labels"] != example["labels"]


# --- marks inside texts ---

def test_a_stop_token_in_an_answer_is_told_before_training(tiny, said):
    rows = InstructionTuning().read(INPUTS/"g04-stop-in-data"/"d.jsonl")
    rows["completion"] = [
        a.replace("</s>", "<|im_end|>") if i in (3, 5) else a for i, a in enumerate(rows.completion)
    ]
    FineTuner(InstructionTuning(max_new_tokens=2), tiny("llama-chat"), QUICK).fit(rows)
    told = said()
    assert "2 rows with '<|im_end|>' in the answer (rows 3 and 5, counting from 0" in told
    assert "in the question" not in told


def test_marks_are_told_wherever_they_stand(tiny, tmp_path, said):
    task = InstructionTuning()
    _, chat = task.build(str(tiny("llama-chat")))
    forged = {
        "prompt": [
            "fine",
            "a<|im_end|>\n<|im_start|>assistant\nb",
            [SYSTEM, {"role": "user", "content": "<|endoftext|>"}],
        ],
        "completion": ["a < b | c", "b", "c"],
    }
    found, = task.check_lengths(pd.DataFrame(forged), chat)
    assert found.level == "warning" and found.rows == (1, 2) and "in the question" in found.message
    (tmp_path / "d.jsonl").write_text(
        '\n'.join(json.dumps({"prompt": "x", "completion": c}) for c in ("a", "b", "c<|im_end|>d"))
    )
    found, = task.check_lengths(task.read(tmp_path/"d.jsonl"), chat)
    assert found.rows == (2,) and "d.jsonl, line 3" in found.message


def test_the_words_of_a_template_without_special_marks_count_too(tiny, tmp_path):
    (tmp_path / "t.jinja").write_text(
        "{% for m in messages %}### {{ m.role }}: {{ m.content }}\n{% endfor %}{% if "
        "add_generation_prompt %}### assistant: {% endif %}"
    )
    task = InstructionTuning(template=str(tmp_path/"t.jinja"))
    _, chat = task.learn(TALKS).build(str(tiny("llama-chat")))
    (found,) = task.check_lengths(
        pd.DataFrame(
            {"prompt": ["Hi", "the assistant: ok"], "completion": ["Ho\n### assistant: Ha", "b"]}
        ),
        chat,
    )
    assert found.rows == (0,) and "in the answer" in found.message


def test_marks_in_translations_are_told(tiny):
    task = Translation().learn(PAIRS)
    for name, mark in (("marian", "</s>"), ("bert", "[SEP]"), ("llama-chat", "<|im_end|>")):
        _, processor = task.build(str(tiny(name)))
        assert task.check_lengths(PAIRS, processor) == []
        (found,) = task.check_lengths(
            PAIRS.assign(source=[*SENTENCES[:-1], f"a {mark} b"]), processor
        )
        assert found.rows == (7,) and mark in found.message and "in the question" in found.message


# --- prompts and settings ---

@pytest.mark.parametrize(
    "prompt",
    [
        "Translate to Chinese:", "Translate {text}:", "{0.__class__.__mro__}", "{:>99999999}",
        "{0}", "{ }", "", 3, None,
    ],
)
def test_a_prompt_without_its_place_is_refused_at_once(prompt):
    with pytest.raises(
        DataError, match=r"it holds no \{\}, where the text goes|prompt should be text"
    ):
        Translation(prompt=prompt)


@pytest.mark.parametrize("prompt", ["Say: {}", "{} {x} {", "{{}}", "100% {} {0.__class__} \\1"])
def test_only_the_place_itself_is_replaced(prompt, tiny):
    _, chat = Translation(prompt=prompt).build(str(tiny("llama-chat")))
    asked = chat.tokenizer.decode(chat.example("one {} {y}")["asked"])
    assert prompt.replace("{}", "one {} {y}") in asked


def test_the_command_line_refuses_such_a_prompt(tmp_path, capsys, tiny):
    for prompt in ("Translate {text} to German:", "Translate:"):
        with pytest.raises(SystemExit) as end:
            main(
                [
                    "fine-tune", str(INPUTS / "g01-prompt-braces" / "d.csv"), "--task",
                    "translation", "--model", str(tiny("llama-chat")), "--prompt", prompt,
                    "--out", str(tmp_path / "run"),
                ]
            )
        told = capsys.readouterr()
        assert end.value.code == 2
        assert "error: " in told.err
        assert "it holds no {}" in told.err
        assert not told.out


SETTINGS = {
    "--tokenize de": "sacrebleu knows none, zh, 13a",
    "--tokenize ja-mecab": r"pip install sacrebleu\[ja\]",
    "--beams 0": "beams should be 1 or more",
    "--beams 100000": "beams=100000",
    "--max-new-tokens 0": "max_new_tokens should be 1 or more",
    "--max-new-tokens -1": "max_new_tokens should be 1 or more",
    "--max-length 0": "max_length=0: a whole number",
    "--max-length 4": "and the model reads 4. Nothing is cut",
    "--max-length 99999": "max_length=99,999, and this model reads 256",
    "--max-new-tokens 99999": "max_new_tokens=99,999, and this model has room for 256",
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("task", ["translation", "instruction-tuning"])
def test_settings_that_cannot_work_are_refused_before_training(
    settings, task, tmp_path, capsys, tiny
):
    data = {
        "translation": INPUTS / "g08-settings" / "d.csv",
        "instruction-tuning": INPUTS / "g04-stop-in-data" / "d.jsonl",
    }[task]
    with pytest.raises(SystemExit) as end:
        main(
            [
                "fine-tune", str(data), "--task", task, "--model", str(tiny("llama-chat")),
                "--out", str(tmp_path / "run"), "--epochs", "1", *settings.split(),
            ]
        )
    told = capsys.readouterr()
    assert end.value.code == 2 and "Epoch" not in told.out
    assert told.err.startswith("error: ") and re.search(SETTINGS[settings], told.err), told.err


def test_valid_rows_that_are_too_long_are_refused_before_training_too(tiny, said):
    long = TALKS.assign(
        completion=["good " * 300, *TALKS.completion[1:]], prompt=TALKS.prompt + "!"
    )
    with pytest.raises(DataError, match="Row 0 .* with its answer has"):
        FineTuner(InstructionTuning(), tiny("llama-chat"), QUICK).fit(TALKS, long)
    assert "Epoch" not in said()


@pytest.mark.parametrize("task", [Translation, InstructionTuning])
@pytest.mark.parametrize(
    "wrong",
    [
        {"beams": 1.5}, {"beams": True}, {"beams": "2"}, {"max_new_tokens": None},
        {"max_new_tokens": "64"}, {"max_length": -5}, {"max_length": "64"},
        {"tokenize": "zzz"}, {"tokenize": None}, {"tokenize": ["zh"]},
    ],
)
def test_settings_of_a_wrong_kind_are_refused_at_once(task, wrong):
    with pytest.raises(DataError, match=f"{next(iter(wrong))}(=| should be )"):
        task(**wrong)


def test_settings_that_work_still_do(tiny):
    for name in ("none", "zh", "13a", "intl", "char"):
        Translation(tokenize=name, beams=4, max_new_tokens=1, max_length=64)
    InstructionTuning(max_new_tokens=250, max_length=256).build(str(tiny("llama-chat")))
    with pytest.raises(DataError, match="answer's column is another"):
        Translation(source="a", target_text="a")


def test_a_checkpoint_of_pictures_cannot_translate(tiny):
    with pytest.raises(CheckpointError, match="cannot read the texts"):
        FineTuner(Translation(), tiny("vit"), QUICK).fit(PAIRS)


# --- templates ---

LOOPS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
BROKEN = {
    "two loops": (LOOPS, "takes too long, or writes too much"),
    "two loops of a macro": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) "
        "}}",
        "takes too long",
    ),
    "two loops where something is learned": (
        "{% generation %}" + LOOPS + "{% endgeneration %}",
        "takes too long",
    ),
    "two loops for long talks": (
        "{% for m in messages %}{{ m.content }}{% endfor %}{% if messages | length > 9 %}"
        + LOOPS
        + "{% endif %}",
        "takes too long",
    ),
    "a text of gigabytes": ("{{ 'x' * 10**10 }}", "writes too much"),
    "a number of gigabytes": ("{{ 10 ** (10 ** 10) }}", "takes too long"),
    "a hundred megabytes": (
        "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
        "writes too much",
    ),
    "a loop without an end": ("{% for m in messages %}{{ m.content }}", "has a mistake in line 1"),
    "an unknown filter": (
        "{{ messages[0].content | shout }}",
        "has a mistake in line 1: No filter named 'shout",
    ),
    "an error without words": (
        "{{ raise_exception('') }}",
        r"cannot write the smallest conversation \(TemplateError\)",
    ),
    "an error": (
        "{{ raise_exception('not today') }}",
        r"cannot write the smallest conversation \(not today\)",
    ),
    "a slip of the pen": (
        "{{ message.content.text }}",
        r"cannot write the smallest conversation \('message' is undefined\)",
    ),
    "a range that the sandbox refuses": (
        "{% for i in range(10**9) %}{% endfor %}",
        r"cannot write the smallest conversation \(Range too big",
    ),
    "the user is not heard": (
        "{% for m in messages %}{{ m.role }}{% endfor %}",
        "leaves out what the user says",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_template_is_blamed_and_does_not_hang(kind, tiny, tmp_path):
    template, says = BROKEN[kind]
    (tmp_path/"t.jinja").write_text(template)
    with pytest.raises(CheckpointError, match=says) as told:
        FineTuner(
            InstructionTuning(template=str(tmp_path / "t.jinja")), tiny("llama-chat"), QUICK
        ).fit(TALKS)
    assert "Row" not in str(told.value) and len(str(told.value)) < 400


def test_templates_that_are_fine_stay_so(tiny):
    _, chat = InstructionTuning().build(str(tiny("llama-chat")))
    for template in (
        "{% if messages[0].role != 'system' %}{{ raise_exception('system first') }}{% endif %}{% "
        "for m in messages %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{% generation %}{{ m.content | upper }}{% endgeneration %}{% if "
        "loop.last %}{% break %}{% endif %}{% endfor %}",
        "{{ bos_token }}{{ strftime_now('%Y') }}{% for m in messages %}{{ m | tojson(indent=1) "
        "}}{% endfor %}",
    ):
        chat.tokenizer.chat_template = template
        assert "hello" in check_template(chat.tokenizer).lower()
    chat.tokenizer.chat_template = ("{% for m in messages %}{% if m.role == 'system' %}{{ "
                                    "raise_exception('no system') }}{% endif %}{{ m.content }}{% "
                                    "endfor %}")
    check_template(chat.tokenizer)
    with pytest.raises(DataError, match="cannot write this conversation .no system"):
        answer_tokens(chat.tokenizer, [SYSTEM, HI, HO], [2])


FILES = {
    "utf-16": ("{{ messages }}é".encode("utf-16"), "is not UTF-8"),
    "latin-1": ("{{ messages }}é".encode("latin-1"), "is not UTF-8"),
    "empty": (b" \n", "is empty"),
    "a folder": (None, "is not a file"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_template_file_that_cannot_be_read(kind, tiny, tmp_path):
    data, says = FILES[kind]
    file = tmp_path/"t.jinja"
    if data is None: file.mkdir()
    else: file.write_bytes(data)
    with pytest.raises(DataError, match=rf"The chat template .*t\.jinja {says}"):
        FineTuner(InstructionTuning(template=str(file)), tiny("llama-chat"), QUICK).fit(TALKS)
    with pytest.raises(DataError, match="template should be text"):
        InstructionTuning(template=3)


def test_a_checkpoint_whose_template_is_not_utf8_is_told(tiny, tmp_path):
    folder = shutil.copytree(tiny("llama-chat"), tmp_path/"model")
    (folder/"chat_template.jinja").write_bytes("{{ messages }}é".encode("latin-1"))
    for task in (InstructionTuning(), Translation()):
        with pytest.raises(
            CheckpointError, match=r"The chat template .*chat_template\.jinja is not UTF-8"
        ):
            task.build(str(folder))


def test_a_byte_order_mark_of_a_template_goes(tmp_path):
    (tmp_path/"t.jinja").write_text("{{ messages }}", encoding="utf-8-sig")
    assert (
        InstructionTuning(template=str(tmp_path / "t.jinja")).learn(TALKS).template_text
        == "{{ messages }}"
    )


# --- aligned files and catalogues ---

def test_lines_end_at_line_feeds_alone():
    one = INPUTS/"x02-aligned-u2028"
    assert Translation().read(f"{one}/d.en,{one}/d.de").target.tolist() == [
        "eins zwei", "drei", "vier",
    ]
    two = INPUTS/"x02b-aligned-u2028-silent"
    rows = Translation().read((two/"d.en", two/"d.de"))
    assert [" ".join(t.split()) for t in rows.source] == ["one two", "three", "four"]
    assert [" ".join(t.split()) for t in rows.target] == ["eins zwei", "drei", "vier fünf"]


@pytest.mark.parametrize(
    "sign", ["\u2028", "\u2029", "\u0085", "\f", "\v", "\x1c", "\x1d", "\x1e", "\r"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_no_other_sign_ends_a_line(sign, end, tmp_path):
    (tmp_path/"a.en").write_text(f"one{sign}two{end}three{end}", encoding="utf-8", newline="")
    (tmp_path/"a.de").write_text(f"eins zwei{end}drei", encoding="utf-8", newline="")
    assert Translation().read((tmp_path / "a.en", tmp_path / "a.de")).values.tolist() == [
        [f"one{sign}two", "eins zwei"],
        ["three", "drei"],
    ]


def test_byte_order_marks_go(tmp_path):
    (tmp_path/"a.en").write_text("one\ntwo\n", encoding="utf-8-sig")
    (tmp_path/"a.de").write_text("eins\nzwei\n", encoding="utf-8")
    assert Translation().read((tmp_path/"a.en", tmp_path/"a.de")).source.tolist() == ["one", "two"]
    (tmp_path/"a.po").write_text('msgid "a"\nmsgstr "b"\n', encoding="utf-8-sig")
    assert Translation().read(tmp_path/"a.po").target.tolist() == ["b"]


def test_lines_that_end_with_carriage_returns_are_told(tmp_path):
    (tmp_path/"a.en").write_bytes(b"one\rtwo\r")
    (tmp_path/"a.de").write_bytes(b"eins\rzwei\r")
    with pytest.raises(DataError, match="carriage returns alone"):
        Translation().read((tmp_path / "a.en", tmp_path / "a.de"))


def test_a_catalogue_is_read_in_the_encoding_of_its_head(tmp_path):
    assert Translation().read(INPUTS / "x01j-po-latin1" / "d.po").values.tolist() == [
        ["Open", "Öffnen"]
    ]
    for charset, word in (
        ("windows-1251", "Открыть"), ("Shift_JIS", "開く"), ("UTF-8", "Öffnen"),
        ("CHARSET", "Öffnen"), ("iso-8859-2", "Otevřít"),
    ):
        head = ('# A comment\nmsgid ""\nmsgstr ""\n"Language: x\\n"\n"Content-Type: text/plain; '
                f'charset={charset}\\n"\n\nmsgid "Open"\nmsgstr "{word}"\n')
        (tmp_path/"a.po").write_bytes(head.encode("utf-8" if charset == "CHARSET" else charset))
        assert Translation().read(tmp_path/"a.po").target.tolist() == [word], charset
    (tmp_path/"a.po").write_bytes('msgid "Open"\nmsgstr "Öffnen"\n'.encode("latin-1"))
    with pytest.raises(
        DataError, match=r"a\.po, line 2: This file is not UTF-8; it reads as Latin-1"
    ):
        Translation().read(tmp_path / "a.po")
    rows = Translation().read_source(tmp_path/"a.po", encoding="latin-1")
    assert rows.target.tolist() == ["Öffnen"]
    (tmp_path / "a.po").write_text(
        'msgid ""\nmsgstr "Content-Type: text/plain; charset=klingon\\n"\n"Content-Type: '
        'text/plain; charset=klingon\\n"\n'
    )
    with pytest.raises(DataError, match="no encoding 'klingon'"):
        Translation().read(tmp_path / "a.po")


def test_tables_take_an_encoding_and_a_delimiter(tmp_path):
    (tmp_path/"a.de").write_bytes("schön\n".encode("latin-1"))
    (tmp_path/"a.en").write_bytes(b"nice\n")
    assert Translation().read_source(
        (tmp_path / "a.en", tmp_path / "a.de"), encoding="latin-1"
    ).values.tolist() == [["nice", "schön"]]
    (tmp_path/"a.csv").write_bytes("source;target\nnice;schön\n".encode("cp1252"))
    assert Translation().read_source(
        tmp_path / "a.csv", encoding="cp1252", delimiter=";"
    ).values.tolist() == [["nice", "schön"]]
    (tmp_path/"b.csv").write_bytes("prompt;completion\nnice;schön\n".encode("cp1252"))
    assert InstructionTuning().read_source(
        tmp_path / "b.csv", encoding="cp1252", delimiter=";"
    ).completion.tolist() == ["schön"]
    (tmp_path / "b.csv").write_bytes(
        "prompt;completion\n\"[{'role': 'bot', 'content': 'ö'}]\";x\n".encode("cp1252")
    )
    with pytest.raises(
        DataError, match=r"b\.csv, row 0 .counting from 0.: Message 1 has the role 'bot'"
    ):
        InstructionTuning().read_source(tmp_path / "b.csv", encoding="cp1252", delimiter=";")


# --- which epoch is kept ---

@pytest.mark.parametrize("task", [Translation(), InstructionTuning(tokenize="zh")])
def test_a_better_text_is_kept_though_none_is_exact(task):
    """Two answers that are both wrong:

    the nearer one wins, where exact match would keep the first. It is shown all the same.
    """
    right = ["今天是星期四"] * 3
    assert task.metric == ("chrf", "max")
    metrics = [task.metrics([Prediction(said, 1.)] * 3, right) for said in ("没有", "今天是星期五")]
    assert [m["exact_match"] for m in metrics] == [0, 0]
    assert metrics[0][task.metric[0]] < metrics[1][task.metric[0]] < 100
    assert task.metrics([Prediction(right[0], 1.)] * 3, right)["chrf"] == 100


# --- texts that are none; talking ---

@pytest.mark.parametrize(
    "task, checkpoint, rows",
    [
        (Translation(max_new_tokens=3), "marian", PAIRS),
        (InstructionTuning(max_new_tokens=3), "llama-chat", TALKS),
    ],
)
def test_half_a_character_is_a_sentence(task, checkpoint, rows, tiny):
    tuner = FineTuner(task, tiny(checkpoint), QUICK).fit(rows)
    for text in ("\ud83d", "caf\udce9"):
        with pytest.raises(DataError, match="half of a character") as told:
            tuner.predict(["fine", text])
        str(told.value).encode()
    if checkpoint == "llama-chat":
        with pytest.raises(DataError, match="half of a character"):
            tuner.predict([[{"role": "user", "content": "\ud83d"}]])
        with pytest.raises(DataError, match="half of a character"):
            Talk(tuner, stream=False)("\ud83d")


def test_an_empty_answer_does_not_end_the_talk(tiny, said, monkeypatch):
    tuner = FineTuner(InstructionTuning(max_new_tokens=3), tiny("llama-chat"), QUICK).fit(TALKS)
    talk, answers = Talk(tuner, system="be brief", stream=False), iter(["", "good", "bad"])
    monkeypatch.setattr(tuner.processor, "read", lambda ids: next(answers))
    said()
    assert talk("a joy") == ""
    assert "The model answered nothing" in said()
    assert talk.messages == [{"role": "system", "content": "be brief"}]
    assert [talk("a joy"), talk("so dull")] == ["good", "bad"] and len(talk.messages) == 5


@pytest.mark.parametrize("how", ["bad bytes", "closed"])
def test_a_terminal_that_cannot_be_read_is_a_sentence(how, tiny, tmp_path):
    run = (
        FineTuner(InstructionTuning(max_new_tokens=3), tiny("llama-chat"), QUICK)
        .fit(TALKS)
        .save(tmp_path / "run")
    )
    command = [sys.executable, "-m", "sft_nb", "chat", str(run)]
    if how == "bad bytes":
        done = subprocess.run(
            command, input=b"a \xff joy\n", capture_output=True,
            env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
        )
    else:
        done = subprocess.run(["bash", "-c", f"{' '.join(command)} <&-"], capture_output=True)
    assert b"Traceback" not in done.stderr and done.returncode == (
        2 if how == "bad bytes" else 0
    ), done.stderr


def test_every_mistake_here_is_one_of_ours():
    for wrong in ({"prompt": object()}, {"beams": 10**400}, {"max_new_tokens": float("nan")}):
        with pytest.raises(SFTError):
            Translation(**wrong)
