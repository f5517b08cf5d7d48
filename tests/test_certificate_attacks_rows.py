"""Attacks on which rows a certificate is about: questions in disguise, runs that forget their
ancestors, groups that are lost on the way.
"""
import numpy as np
import pandas as pd
import pytest

from sft_nb.data.hashes import plain_characters, question_hashes, row_hashes

# --- one question in disguise ---

PLAIN = "The café was naive, said Straße 5"
DISGUISES = {
    "capitals": PLAIN.upper(),
    "no capitals": PLAIN.lower(),
    "blanks doubled": PLAIN.replace(" ", "  "),
    "blanks around": f" \n{PLAIN}\t ",
    "a no-break space": PLAIN.replace(" ", "\u00a0"),
    "lines for blanks": PLAIN.replace(" ", "\r\n"),
    "accents as marks": PLAIN.replace("é", "e\u0301"),
    "no accents": PLAIN.replace("é", "e"),
    "marks on every letter": "".join(c + "\u0323" * c.isalpha() for c in PLAIN),
    "zero-width blanks": "\u200b".join(PLAIN),
    "a joiner": PLAIN.replace("was", "w\u200das"),
    "a byte order mark": "\ufeff" + PLAIN,
    "soft hyphens": PLAIN.replace("naive", "na\u00adive"),
    "a control character": PLAIN.replace("said", "sa\x07id"),
    "tags that nobody sees": PLAIN + "\U000e0041\U000e0042",
    "a variation selector": PLAIN.replace("5", "5\ufe0f"),
    "wide letters": "".join(chr(ord(c) + 0xfee0) if "!" <= c <= "~" else c for c in PLAIN),
    "a ligature of letters": PLAIN.replace("Straße", "Strasse"),
}


@pytest.mark.parametrize("how", DISGUISES)
def test_a_question_in_disguise_is_the_same_question(how):
    shown = pd.DataFrame({"text": [PLAIN, DISGUISES[how]]})
    assert len(set(row_hashes(shown, ["text"]))) == 2
    assert len(set(question_hashes(shown, ["text"]))) == 1


@pytest.mark.parametrize("how", DISGUISES)
@pytest.mark.parametrize("nested", [
    lambda text: [{"role": "user", "content": text}], lambda text: ["tokens", text],
    lambda text: {"question": {"en": text}}, lambda text: np.array(["tokens", text], dtype=object),
])
def test_in_lists_and_dictionaries_too(how, nested):
    cells = pd.DataFrame({"messages": [nested(PLAIN), nested(DISGUISES[how])]})
    assert len(set(question_hashes(cells, ["messages"]))) == 1


@pytest.mark.parametrize("others", [
    ["a good film", "a good film!"], ["film", "films"], ["कि", "की"], ["a b", "ab"], ["5", "50"],
    ["很好", "不好"], ["+1", "-1"], ["👍", "👎"], [["a", "b"], ["ab"]], [["a b"], ["a", "b"]],
    [4, 5], [None, "none"], [{"user": "a"}, {"system": "a"}],
])
def test_another_question_is_another(others):
    assert len(set(question_hashes(pd.DataFrame({"q": pd.Series(others)}), ["q"]))) == 2


def test_what_is_no_text_is_compared_as_ever():
    rows = pd.DataFrame({"n": [1, 2.5, None], "t": [True, False, None]})
    again = pd.DataFrame({"n": ["1", "2.5", None], "t": ["True", "FALSE", None]})
    assert question_hashes(rows, ["n", "t"]) == question_hashes(again, ["n", "t"])


def test_plain_twice_is_plain():
    for text in (*DISGUISES.values(), "İstanbul", "ǰ", "ﬃ", "\u0345x", "\ud800"):
        assert plain_characters(plain_characters(text)) == plain_characters(text)
