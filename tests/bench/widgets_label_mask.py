"""What every token of a conversation costs a real model, for nbs/widgets/03_label_mask.

Writes results/widgets/label_mask.json.

python tests/bench/widgets_label_mask.py [--out FILE]

SmolLM2, as it comes, reads four conversations in three templates. For every token there are three
losses: of saying this token at its own place (not shifted), one place before (as it should be), and
two places before (shifted twice).
"""
from pathlib import Path

import torch
from series import RESULTS, command_line, machine, save

from sft_nb.models.layers import evaluation_mode
from sft_nb.models.loading import load
from sft_nb.tasks.writing.chat import answer_tokens, stop_tokens

OUT = RESULTS / "widgets" / "label_mask.json"
SHIFTS = 0, 1, 2
TALKS = {
    "a capital": ("What is the capital of France?", "The capital of France is Paris."),
    "a review": (
        "Is this opinion on a film fresh or rotten? Answer with one word.\n\n"
        "A warm, funny and wonderfully acted film.", "fresh"),
    "a date": ("Translate this date into French.\n\nFriday, 5 June 1998", "vendredi 5 juin 1998"),
    "a list": ("Name three primary colours.", "Red, yellow and blue."),
}
_EACH = "{% for m in messages %}"
_END = "{% endfor %}"
TEMPLATES = {  # a Jinja template each; None: the checkpoint's own
    "the checkpoint's own": None,
    "plain words": (
        _EACH + "{% if m.role == 'user' %}User: {{ m.content }}\nAssistant: {% else %}"
        "{{ m.content }}<|im_end|>{% endif %}" + _END),
    "headings": (
        _EACH + "{% if m.role == 'user' %}### Instruction:\n{{ m.content }}\n\n### Response:\n"
        "{% else %}{{ m.content }}<|im_end|>{% endif %}" + _END),
}


@torch.no_grad()
def costs(model, ids):
    "A list per shift: the loss of every token, in thousandths; None where no place is before it."
    with evaluation_mode(model):
        log_p = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    found = []
    for shift in SHIFTS:
        each = [-log_p[j - shift, token].item() for j, token in enumerate(ids) if j >= shift]
        found.append([None] * shift + [round(1000 * one) for one in each])
    return found


def talk(model, tokenizer, asked, said):
    "One conversation as tokens: their texts, which of them are the answer, and what they cost."
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    ids, mask = answer_tokens(tokenizer, messages, stop_tokens(model, tokenizer))
    texts = [tokenizer.decode([one]) for one in ids]
    return {"tokens": texts, "answer": [int(m) for m in mask], "losses": costs(model, ids)}


def main():
    parser = command_line(__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    model, tokenizer = load("smollm2", "causal-lm")
    own, found = tokenizer.chat_template, {}
    for name, template in TEMPLATES.items():
        tokenizer.chat_template = template or own
        found[name] = {title: talk(model, tokenizer, *pair) for title, pair in TALKS.items()}
    args.out.parent.mkdir(exist_ok=True)
    save({"losses in thousandths of a nat": found, "machine": machine()}, args.out)


if __name__ == "__main__":
    main()
